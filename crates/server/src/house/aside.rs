//! Versions of a path that are to be had and in no act of its own: what was shown of it under other names, and what stands where
//! this device's user has put something else for itself.

use file_sync_core::effect::Kept;
use file_sync_core::path::SyncPath;
use file_sync_core::version::{Time, Value};

use super::elsewhere::Other;
use super::history::{Noted, Version, of_kept};
use super::went::{Going, Goings, Gone};
use crate::room::{Bytes, Editor};

/// What this device's user has changed for themselves, as a member's that may not send, is in no act: what stands there went last.
/// The members that are connected have it, as far as they have followed; or it is here under another name.
pub(super) fn add_standing(
    editor: &Editor,
    path: &SyncPath,
    (now, n_acts): (Time, usize),
    others: &[Other],
    versions: &mut Vec<Version>,
    goings: &mut Goings,
) {
    for (path, value, rank) in editor.changed_here_alone(path) {
        let content = value.content();
        let (length, mode, mtime, here) = match value {
            Value::File { length, mode, mtime, .. } => (length, mode, mtime, None),
            Value::Symlink { target } => (target.len() as u64, 0o777, rank, Some(Bytes::Target(target))),
            Value::Absent { .. } | Value::Directory { .. } => continue,
        };
        let here = here.or_else(|| editor.holder(&content.hash(), &path).map(|(bytes, _)| bytes));
        let connected = others.iter().filter(|other| other.link.is_ok());
        let keepers = connected.map(|other| (other.device, length)).collect();
        let is_end = editor.has_gone(&path);
        let version = Version {
            path: path.clone(),
            content,
            length,
            mode,
            mtime,
            at: now,
            here,
            keepers,
            noted: Some(now),
            is_rotten: false,
            copy: None,
            is_standing: true,
        };
        let what = match version.is_had() {
            true => Gone::Had(Box::new(version.clone())),
            false => Gone::Missing(content.hash()),
        };
        goings.entry(path).or_default().insert(0, Going { order: (n_acts + 1, 0), at: now, what, is_end });
        versions.extend(Some(version).filter(Version::is_had));
    }
}

/// What went at the names of a path's conflict copies, and is kept here, is a version of the path as well: to whoever names it.
/// It never was what the path held last, or at any time.
pub(super) fn add_copies(
    path: &SyncPath,
    copies: Vec<Kept>,
    is_there: &dyn Fn(&Kept) -> bool,
    versions: &mut Vec<Version>,
) {
    for kept in copies {
        let is_same = |version: &Version| {
            version.path == *path && version.content == kept.content && version.here.is_some()
        };
        if is_there(&kept) && !versions.iter().any(is_same) {
            let copy = Some(kept.path.clone());
            let kept = Kept { path: path.clone(), ..kept };
            versions.push(Version { copy, ..of_kept(kept, &mut Noted::new(&[]), is_there) });
        }
    }
}
