//! Compares trees by hash: names, kinds, bytes and targets. Modes and times are left out, since not every peer keeps them.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Result, bail};
use walkdir::{DirEntry, WalkDir};

use crate::world::World;

/// What peers keep for themselves in a root.
const NOT_THE_USERS: &[&str] = &[".file-sync", ".stfolder", ".stversions", ".stignore"];

/// Asserts that all members have what the source has.
///
/// # Errors
/// When one has not.
pub fn compare(world: &World) -> Result<()> {
    let source = hash(&world.source().root)?;
    for receiver in world.receivers() {
        if hash(&receiver.root)? != source {
            bail!("{} has another tree than the source", receiver.name);
        }
    }
    Ok(())
}

fn hash(root: &Path) -> Result<blake3::Hash> {
    let is_users = |entry: &DirEntry| !NOT_THE_USERS.iter().any(|name| entry.file_name() == *name);
    let mut all = blake3::Hasher::new();
    for entry in WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().filter_entry(is_users) {
        let entry = entry?;
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path()).as_os_str().as_bytes();
        let (kind, content) = if entry.file_type().is_dir() {
            (b'd', blake3::hash(b""))
        } else if entry.file_type().is_symlink() {
            (b'l', blake3::hash(std::fs::read_link(entry.path())?.as_os_str().as_bytes()))
        } else {
            let mut content = blake3::Hasher::new();
            content.update_reader(File::open(entry.path())?)?;
            (b'f', content.finalize())
        };
        all.update(&(path.len() as u64).to_le_bytes())
            .update(path)
            .update(&[kind])
            .update(content.as_bytes());
    }
    Ok(all.finalize())
}

/// Bytes of all files below a path, or of the file there; what is not there has none.
///
/// # Errors
/// When it cannot be read.
pub fn bytes_below(path: &Path) -> Result<u64> {
    let mut n_bytes = 0;
    for entry in WalkDir::new(path) {
        match entry {
            Ok(entry) if entry.file_type().is_file() => n_bytes += entry.metadata()?.len(),
            Ok(_) => {}
            Err(error)
                if error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(n_bytes)
}
