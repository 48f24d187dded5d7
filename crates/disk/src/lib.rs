//! Everything below a synced root, by descriptor: Linux only, blocking, no async.
//!
//! It carries out what the core asks of the disk (`file_sync_core::effect`) and reports; it decides nothing. Every
//! path is resolved beneath the root's descriptor with `openat2`, symlinks and mounts refused, and every change is a
//! one-component call on its parent's descriptor, so that nothing outside a root is ever touched, whatever is renamed
//! meanwhile. What a user may have written is renamed, never unlinked.
//!
//! The engine's own files are in `.file-sync/` of each root: `marker` (who the directory is), `stage/` (files that are
//! not whole yet or wait for their place; never a user's) and `kept/` (displaced and removed versions).

mod abilities;
mod apply;
mod at;
mod boot;
mod chunk;
mod clock;
mod copy;
mod culprit;
mod granularity;
mod hash;
mod keep;
mod look;
mod marker;
mod metadata;
mod moving;
mod pieces;
mod prepare;
mod root;
mod scan;
mod serve;
mod shell;
mod space;
mod stage;
mod stage_file;
mod swap;
#[cfg(test)]
mod tests;
mod trouble;
mod watch;

pub use abilities::Abilities;
pub use boot::boot_id;
pub use chunk::average_bytes;
pub use root::{Root, RootError};
pub use scan::{Flow, Listing};
pub use serve::ContentFile;
pub use shell::quoted;
pub use stage::Reserved;
pub use stage_file::StageFile;
pub use trouble::Attempt;
pub use watch::{Hint, Missed, WatchError, Watcher};
