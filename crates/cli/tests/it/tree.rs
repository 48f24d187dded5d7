//! Reads a tree from the disk as the tests compare it: paths, kinds, bytes by hash, modes and mtimes.
//!
//! The marker's directory is left out, at the root and at any depth, as are FIFOs, sockets and devices.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// What stands at one path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// A regular file: length in bytes, BLAKE3 hash, permission bits, mtime in seconds and nanoseconds.
    File { length: u64, hash: String, mode: u32, mtime: (i64, i64) },
    /// A directory: permission bits.
    Directory { mode: u32 },
    /// A symlink: target.
    Symlink { target: Vec<u8> },
}

impl Node {
    /// True for two files of equal bytes.
    pub fn has_bytes_of(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::File { hash, .. }, Node::File { hash: other, .. }) => hash == other,
            _ => false,
        }
    }
}

/// A tree by path, relative to its root, in bytes.
pub type Tree = BTreeMap<Vec<u8>, Node>;

/// Reads a whole tree.
pub fn tree_of(root: &Path) -> Tree {
    try_tree_of(root).unwrap_or_else(|error| panic!("{error}"))
}

/// Reads a whole tree that somebody may be changing.
pub fn try_tree_of(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    read_into(&mut tree, root, b"")?;
    Ok(tree)
}

/// The tree as text, a line a path: `d/`, `f "bytes"` (bytes of up to 60, else the length), `l -> target`.
pub fn text_of(root: &Path) -> Vec<String> {
    let line = |(path, node): (&Vec<u8>, &Node)| {
        let name = String::from_utf8_lossy(path);
        match node {
            Node::Directory { .. } => format!("{name}/"),
            Node::Symlink { target } => format!("{name} -> {}", String::from_utf8_lossy(target)),
            Node::File { length, .. } if *length > 60 => format!("{name} ({length} bytes)"),
            Node::File { .. } => {
                let bytes = fs::read(root.join(OsStr::from_bytes(path))).expect("a file of the tree");
                format!("{name} {:?}", String::from_utf8_lossy(&bytes))
            }
        }
    };
    tree_of(root).iter().map(line).collect()
}

/// The first few paths at which two trees differ, or `None`.
pub fn difference(left: &Tree, right: &Tree) -> Option<String> {
    let paths: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let unlike: Vec<_> = paths.into_iter().filter(|path| left.get(*path) != right.get(*path)).collect();
    let line = |path: &&Vec<u8>| {
        format!("\n  {}: {:?} | {:?}", String::from_utf8_lossy(path), left.get(*path), right.get(*path))
    };
    match unlike.len() {
        0 => None,
        n_unlike => Some(format!("{n_unlike} paths{}", unlike.iter().take(5).map(line).collect::<String>())),
    }
}

fn read_into(tree: &mut Tree, directory: &Path, prefix: &[u8]) -> io::Result<()> {
    for entry in fs::read_dir(directory).map_err(|error| at(directory, &error))? {
        let entry = entry?;
        if entry.file_name() == ".file-sync" {
            continue;
        }
        let path = [prefix, entry.file_name().as_bytes()].concat();
        let node = node_at(&entry.path()).map_err(|error| at(&entry.path(), &error))?;
        if let Some(node) = node {
            let is_directory = matches!(node, Node::Directory { .. });
            tree.insert(path.clone(), node);
            if is_directory {
                read_into(tree, &entry.path(), &[&path[..], b"/"].concat())?;
            }
        }
    }
    Ok(())
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn node_at(path: &Path) -> io::Result<Option<Node>> {
    let metadata = fs::symlink_metadata(path)?;
    let (kind, mode) = (metadata.file_type(), metadata.permissions().mode() & 0o777);
    if kind.is_symlink() {
        let target = fs::read_link(path)?;
        return Ok(Some(Node::Symlink { target: target.as_os_str().as_bytes().to_vec() }));
    }
    if kind.is_dir() {
        return Ok(Some(Node::Directory { mode }));
    }
    if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        return Ok(None);
    }
    let mtime = (metadata.mtime(), metadata.mtime_nsec());
    Ok(Some(Node::File { length: metadata.len(), hash: hash_of(path)?, mode, mtime }))
}

fn hash_of(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            n_bytes => hasher.update(&buffer[..n_bytes]),
        };
    }
}
