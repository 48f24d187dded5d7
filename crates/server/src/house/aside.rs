//! Versions of a path that are to be had and in no act of its own: what was shown of it under other names.

use file_sync_core::effect::Kept;
use file_sync_core::path::SyncPath;

use super::history::{Noted, Version, of_kept};

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
