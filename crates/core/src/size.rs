//! How long entries can get when they are encoded, from above: so that no batch is longer than a message may be, and
//! no register ever grows too long to be passed on.
//!
//! `wire` alone knows the bytes; its tests hold these bounds against them.

use crate::path::SyncPath;
use crate::register::Register;
use crate::version::{Value, Version};

/// A dot, its actor named in full.
const DOT_BYTES: usize = 60;
/// A version without its dots, paths and target.
const VERSION_BYTES: usize = 256;
/// An entry without its path and register.
const ENTRY_BYTES: usize = 48;
/// What a settled version takes besides itself and its copy's path.
const SETTLED_BYTES: usize = 16;
/// By how much a copy's path is longer than the path that it is a copy of, at most.
const STAMP_BYTES: usize = 64;

/// The most bytes that an entry takes in a message, now and after any of its versions have settled.
pub fn entry_bytes_max(path: &SyncPath, register: &Register) -> usize {
    let path_bytes = path.as_bytes().len();
    let settling = path_bytes + STAMP_BYTES + SETTLED_BYTES;
    let versions = register.versions().iter().map(|version| version_bytes(version) + settling);
    let settled = register
        .settled()
        .iter()
        .map(|settled| version_bytes(&settled.version) + settled.copy.as_bytes().len() + SETTLED_BYTES);
    let n_dots = register.context().highest().len() + register.context().foreign().len();
    ENTRY_BYTES + path_bytes + DOT_BYTES * n_dots + versions.chain(settled).sum::<usize>()
}

fn version_bytes(version: &Version) -> usize {
    let target_bytes = if let Value::Symlink { target } = &version.value { target.len() } else { 0 };
    let born_at_bytes = version.born_at.as_ref().map_or(0, |path| path.as_bytes().len());
    VERSION_BYTES + target_bytes + born_at_bytes + DOT_BYTES * (1 + version.replaced.len())
}
