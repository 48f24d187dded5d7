//! Reads a small tree whole and compares it: names, kinds, bytes, permission bits, files' mtimes.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands at a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file: its bytes, permission bits, and mtime in seconds and nanoseconds.
    File(Vec<u8>, u32, (i64, i64)),
    /// A directory: its permission bits.
    Directory(u32),
    /// A symlink: where it points.
    Symlink(PathBuf),
}

/// A tree, by path below its root.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// Reads everything below `root` but `.file-sync`.
///
/// # Errors
/// When anything cannot be read.
pub fn read(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        for entry in root.join(&directory).read_dir()? {
            let entry = entry?;
            if entry.file_name() == ".file-sync" {
                continue;
            }
            let path = directory.join(entry.file_name());
            let found = read_entry(&entry.path())?;
            if matches!(found, Entry::Directory(_)) {
                open.push(path.clone());
            }
            tree.insert(path, found);
        }
    }
    Ok(tree)
}

fn read_entry(path: &Path) -> io::Result<Entry> {
    let metadata = path.symlink_metadata()?;
    let mode = metadata.mode() & 0o777;
    if metadata.is_symlink() {
        return Ok(Entry::Symlink(path.read_link()?));
    }
    if metadata.is_dir() {
        return Ok(Entry::Directory(mode));
    }
    Ok(Entry::File(std::fs::read(path)?, mode, (metadata.mtime(), metadata.mtime_nsec())))
}

/// The first path at which two trees differ.
pub fn difference<'a>(left: &'a Tree, right: &'a Tree) -> Option<&'a Path> {
    let paths = left.keys().chain(right.keys());
    paths.filter(|path| left.get(*path) != right.get(*path)).min().map(PathBuf::as_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_differ_by_name_kind_bytes_mode_and_mtime() {
        let file = |bytes: &str, mode, nanoseconds| Entry::File(bytes.into(), mode, (1, nanoseconds));
        let tree = |entry| Tree::from([(PathBuf::from("a"), entry)]);
        let base = tree(file("x", 0o644, 2));
        assert_eq!(difference(&base, &base), None);
        assert_eq!(difference(&base, &Tree::new()), Some(Path::new("a")));
        for other in [Entry::Directory(0o644), file("y", 0o644, 2), file("x", 0o600, 2), file("x", 0o644, 3)]
        {
            assert_eq!(difference(&base, &tree(other)), Some(Path::new("a")));
        }
    }
}
