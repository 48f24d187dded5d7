//! The kept versions of one directory, looked after: at a start those that a crash left unlisted, and every hour all.
//!
//! A displaced file may still be written to by whoever had it open (promise L2). Such bytes are a user's: they come back
//! as a copy beside the file that displaced it. How long kept versions stay is `core::retention`'s word (promise L3).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use file_sync_core::conflict::late_copy_path;
use file_sync_core::effect::{Kept, OpOutcome, Trouble};
use file_sync_core::engine::{KeptSweep, Stored};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Seen};
use file_sync_core::retention::{Reason, expired};
use file_sync_core::unlisted::Origins;
use file_sync_core::version::{Content, ContentHash, DeviceId, Time};
use file_sync_disk::Root;

use crate::config::KeptMax;

/// Bytes that were written late are left alone until nobody has written for this long, in seconds.
const RESTED: u64 = 60;
/// What unlisted files are called where nothing says what they were.
const UNKNOWN: &str = "recovered";

/// Lists the kept versions that the database does not know, as a crash leaves them, in `stored`.
///
/// What is a version of some path, or was its record, is one more kept version. Anything else was a user's edit that was
/// about to be put back: it comes back as a file.
///
/// # Errors
/// When the store cannot be listed.
pub(super) fn reconcile(
    root: &Root,
    device: DeviceId,
    now: Time,
    stored: &mut Stored,
) -> Result<Vec<Kept>, Trouble> {
    let unlisted = unlisted(root, &stored.kept)?;
    if unlisted.is_empty() {
        return Ok(Vec::new());
    }
    let mut origins = Origins::default();
    for (path, register, record, _) in stored.rows.iter() {
        origins.note(&path, &register, record.as_ref());
    }
    let mut added = Vec::new();
    for (name, seen) in unlisted {
        if seen.kind == Kind::Directory {
            bring_back_directory(root, device, &name, &seen);
            continue;
        }
        let Some(mut kept) = describe(root, name, seen, now) else { continue };
        match origins.of_kept(&kept.name, kept.stat.inode, kept.content) {
            Some(path) => kept.path = path.clone(),
            None => bring_back(root, device, &kept),
        }
        added.push(kept);
    }
    tracing::info!(n_kept = added.len(), root = %root.path().display(), "listed kept versions that a stop had left unlisted");
    stored.kept.extend(added.iter().cloned());
    Ok(added)
}

/// Lists the kept versions that the database does not know, because it is not the one that they were kept under.
///
/// Nothing can be told apart, so nothing comes back: it may have been deleted long ago.
pub(super) fn list(root: &Root, listed: &[Kept], now: Time, cancel: &AtomicBool) -> KeptSweep {
    let mut sweep = KeptSweep::default();
    match unlisted(root, listed) {
        Ok(unlisted) => {
            let is_file = |(_, seen): &(String, Seen)| seen.kind != Kind::Directory;
            for (name, seen) in unlisted.into_iter().filter(is_file) {
                if cancel.load(Ordering::Relaxed) {
                    break;
                }
                sweep.changed.extend(describe(root, name, seen, now));
            }
        }
        Err(trouble) => tracing::warn!(%trouble, "cannot list the kept versions"),
    }
    sweep
}

/// Brings back the directories that a stop has left among the kept versions. No engine keeps any: they are users'. To be
/// called before an engine is at work.
///
/// # Errors
/// When the store cannot be listed.
pub(super) fn bring_back_directories(root: &Root, device: DeviceId) -> Result<(), Trouble> {
    for (name, seen) in unlisted(root, &[])?.iter().filter(|(_, seen)| seen.kind == Kind::Directory) {
        bring_back_directory(root, device, name, seen);
    }
    Ok(())
}

fn unlisted(root: &Root, listed: &[Kept]) -> Result<Vec<(String, Seen)>, Trouble> {
    let listed: BTreeSet<&str> = listed.iter().map(|kept| kept.name.as_str()).collect();
    Ok(root.kept_list()?.into_iter().filter(|(name, _)| !listed.contains(name.as_str())).collect())
}

fn describe(root: &Root, name: String, seen: Seen, now: Time) -> Option<Kept> {
    let hash =
        root.kept_hash(&name).map_err(|trouble| tracing::warn!(name, %trouble, "a kept version")).ok()?;
    let content = match seen.kind {
        Kind::Symlink(_) => Content::Symlink(hash),
        _ => Content::File(hash),
    };
    let path = SyncPath::parse(UNKNOWN.as_bytes()).ok()?;
    Some(Kept { name, path, content, stat: seen.stat, at: now })
}

fn bring_back(root: &Root, device: DeviceId, kept: &Kept) {
    match restore(root, device, kept) {
        Ok(path) => tracing::warn!(%path, "an edit that a stop had caught half way is back"),
        Err(trouble) => {
            tracing::error!(name = kept.name, %trouble, "an edit is whole among the kept versions, but not back")
        }
    }
}

/// A directory was displaced by a user's hand that was quicker than an op, and a stop kept it from being put back.
fn bring_back_directory(root: &Root, device: DeviceId, name: &str, seen: &Seen) {
    let Ok(path) = SyncPath::parse(UNKNOWN.as_bytes()) else { return };
    let to = late_copy_path(&path, seen.stat.mtime, ContentHash::of(name.as_bytes()), device, true);
    match root.bring_back_directory(name, &to) {
        Ok(()) => tracing::warn!(path = %to, "a directory that a stop had caught half way is back"),
        Err(trouble) => {
            tracing::error!(name, %trouble, "a directory is whole among the kept versions, but not back")
        }
    }
}

/// Puts a copy of a kept version beside the path that it was displaced from, or as near to it as there still is a
/// directory.
fn restore(root: &Root, device: DeviceId, kept: &Kept) -> Result<SyncPath, String> {
    let mut refused = "its name is taken".to_owned();
    let near = kept.path.ancestors().filter_map(|directory| directory.join(kept.path.name()).ok());
    for path in near {
        for distinguish in [false, true] {
            let to = late_copy_path(&path, kept.stat.mtime, kept.content.hash(), device, distinguish);
            match root.restore_kept(&kept.name, &to) {
                OpOutcome::Done { .. } => return Ok(to),
                OpOutcome::Trouble(trouble) => refused = trouble.message,
                OpOutcome::Differs { .. } | OpOutcome::NoSource => {}
            }
        }
    }
    Err(refused)
}

/// Looks at all kept versions: brings back what was written late, and removes what may go.
pub(super) fn sweep(
    root: &Root,
    device: DeviceId,
    kept: Vec<Kept>,
    now: Time,
    kept_max: KeptMax,
    cancel: &AtomicBool,
) -> KeptSweep {
    let mut sweep = KeptSweep::default();
    let mut current = Vec::with_capacity(kept.len());
    for kept in kept {
        if cancel.load(Ordering::Relaxed) {
            return sweep;
        }
        match root.kept_stat(&kept.name) {
            Ok(Some(seen)) if is_untouched(&kept, &seen) => current.push(kept),
            Ok(Some(seen)) if is_young(&seen, now) => current.push(kept),
            Ok(Some(_)) => current.push(take_late_bytes(root, device, kept, &mut sweep)),
            Ok(None) => sweep.removed.push(kept.name),
            Err(trouble) => tracing::warn!(name = kept.name, %trouble, "cannot look at a kept version"),
        }
    }
    if let Ok(total_bytes) = root.total_bytes() {
        let expired = expired(&current, now, kept_max.bytes_of(total_bytes));
        remove_expired(root, device, &current, expired, cancel, &mut sweep);
    }
    sweep
}

fn is_untouched(kept: &Kept, seen: &Seen) -> bool {
    kept.stat.size == seen.stat.size && kept.stat.mtime == seen.stat.mtime
}

/// True if somebody may still be at work on it. A time far in the future says nothing of that: a clock was set back.
fn is_young(seen: &Seen, now: Time) -> bool {
    seen.stat.mtime.seconds.abs_diff(now.seconds) < RESTED
}

/// If a kept version's bytes are others than they were, puts them into the tree; returns what it is now.
fn take_late_bytes(root: &Root, device: DeviceId, kept: Kept, sweep: &mut KeptSweep) -> Kept {
    let (Ok(Some(seen)), Ok(hash)) = (root.kept_stat(&kept.name), root.kept_hash(&kept.name)) else {
        return kept;
    };
    let is_same = hash == kept.content.hash();
    let now_kept = match kept.content {
        Content::File(_) => Kept { content: Content::File(hash), stat: seen.stat, ..kept.clone() },
        _ => return kept,
    };
    if !is_same {
        match restore(root, device, &now_kept) {
            Ok(path) => {
                tracing::warn!(%path, "bytes that were written into a displaced file are back as a copy");
                sweep.restored.push(path);
            }
            Err(trouble) => {
                tracing::error!(path = %kept.path, trouble, "cannot bring late bytes back; trying again later");
                return kept;
            }
        }
    }
    sweep.changed.push(now_kept.clone());
    now_kept
}

fn remove_expired(
    root: &Root,
    device: DeviceId,
    kept: &[Kept],
    expired: Vec<(usize, Reason)>,
    cancel: &AtomicBool,
    sweep: &mut KeptSweep,
) {
    for (index, reason) in expired {
        if cancel.load(Ordering::Relaxed) {
            return;
        }
        let kept = &kept[index];
        // A write may hide behind a time that was set back: what goes is read once more.
        let is_same = || root.kept_hash(&kept.name).is_ok_and(|hash| hash == kept.content.hash());
        if !is_same() {
            let found = take_late_bytes(root, device, kept.clone(), sweep);
            if found.content == kept.content {
                continue;
            }
        }
        if reason == Reason::NoRoomForYoung {
            tracing::warn!(path = %kept.path, "a version kept for less than a day had to go for want of space");
        }
        match root.kept_remove(&kept.name) {
            Ok(()) => sweep.expired.push((kept.clone(), reason)),
            Err(trouble) => tracing::warn!(name = kept.name, %trouble, "cannot remove a kept version"),
        }
    }
    let gone: BTreeSet<&String> = sweep.expired.iter().map(|(kept, _)| &kept.name).collect();
    let changed = std::mem::take(&mut sweep.changed);
    sweep.changed = changed.into_iter().filter(|kept| !gone.contains(&kept.name)).collect();
}

#[cfg(test)]
mod tests {
    use std::fs;

    use file_sync_core::effect::{HashItem, HashOutcome, Op};
    use file_sync_core::record::Record;
    use file_sync_core::version::DirectoryId;

    use super::*;

    const DEVICE: DeviceId = DeviceId([0xab; 32]);
    const DAY: i64 = 86_400;
    /// Within the time for which late bytes are left alone, and beyond it, in seconds.
    const SOON: i64 = 50;
    const LATER: i64 = 120;

    struct Scene {
        directory: tempfile::TempDir,
        root: Root,
    }

    impl Scene {
        fn new() -> Scene {
            let directory = tempfile::tempdir().unwrap();
            let (root, _) = Root::offer(directory.path(), DirectoryId([7; 16])).unwrap();
            Scene { directory, root }
        }

        /// Has the engine take a file away.
        fn displaced(&self, path: &str, bytes: &str) -> Kept {
            fs::write(self.directory.path().join(path), bytes).unwrap();
            let path = SyncPath::parse(path.as_bytes()).unwrap();
            let outcomes = self.root.hash(&[HashItem { path: path.clone() }], &AtomicBool::new(false));
            let HashOutcome::Hashed { seen, content, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
            let expect = Record { content: Content::File(*content), stat: seen.stat };
            match self.root.apply(&[Op::Remove { path, expect }]).unwrap().pop() {
                Some(OpOutcome::Done { kept: Some(kept), .. }) => kept,
                outcome => panic!("{outcome:?}"),
            }
        }

        fn write_late(&self, kept: &Kept, bytes: &str) {
            fs::write(self.directory.path().join(".file-sync/kept").join(&kept.name), bytes).unwrap();
        }

        fn sweep_after(&self, seconds: i64, kept: &Kept) -> KeptSweep {
            let now = Time { seconds: kept.at.seconds + seconds, nanoseconds: 0 };
            sweep(&self.root, DEVICE, vec![kept.clone()], now, KeptMax::default(), &AtomicBool::new(false))
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.directory.path()).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name != ".file-sync").collect()
        }

        fn only_file(&self) -> (String, String) {
            let names = self.names();
            assert_eq!(names.len(), 1, "{names:?}");
            (names[0].clone(), fs::read_to_string(self.directory.path().join(&names[0])).unwrap())
        }
    }

    #[test]
    fn l2_bytes_written_late_into_a_displaced_file_come_back_as_a_copy() {
        let scene = Scene::new();
        let kept = scene.displaced("f.txt", "early");
        scene.write_late(&kept, "late bytes");
        assert_eq!(scene.sweep_after(SOON, &kept), KeptSweep::default(), "it may still be written to");
        let swept = scene.sweep_after(LATER, &kept);
        let (name, bytes) = scene.only_file();
        assert_eq!(bytes, "late bytes");
        assert!(name.starts_with("f.sync-conflict-") && name.ends_with("-abababa.txt"), "{name}");
        assert_eq!(swept.restored, [SyncPath::parse(name.as_bytes()).unwrap()]);
        assert_eq!(swept.changed[0].content, Content::File(ContentHash::of(b"late bytes")));
        assert_eq!(scene.sweep_after(LATER, &swept.changed[0]), KeptSweep::default(), "once");
    }

    #[test]
    fn l2_late_bytes_come_back_although_the_clock_was_set_back_since() {
        let scene = Scene::new();
        let kept = scene.displaced("f", "early");
        scene.write_late(&kept, "late bytes");
        assert_eq!(scene.sweep_after(-DAY, &kept).restored.len(), 1);
        assert_eq!(scene.only_file().1, "late bytes");
    }

    #[test]
    fn l2_late_bytes_come_back_further_up_where_their_directory_is_gone() {
        let scene = Scene::new();
        fs::create_dir(scene.directory.path().join("d")).unwrap();
        let kept = scene.displaced("d/f", "early");
        scene.write_late(&kept, "late bytes");
        fs::remove_dir(scene.directory.path().join("d")).unwrap();
        assert_eq!(scene.sweep_after(LATER, &kept).restored.len(), 1);
        let (name, bytes) = scene.only_file();
        assert!(name.starts_with("f.sync-conflict-") && bytes == "late bytes", "{name}: {bytes}");
    }

    #[test]
    fn c1_a_directory_that_a_crash_left_among_the_kept_versions_comes_back() {
        let scene = Scene::new();
        let kept = scene.directory.path().join(".file-sync/kept/1-2-abc");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("x"), "a user's").unwrap();
        let mut stored = Stored::default();
        assert!(reconcile(&scene.root, DEVICE, Time::default(), &mut stored).unwrap().is_empty());
        let names = scene.names();
        assert!(names.len() == 1 && names[0].starts_with("recovered.sync-conflict-"), "{names:?}");
        let inside = scene.directory.path().join(&names[0]).join("x");
        assert_eq!(fs::read_to_string(inside).unwrap(), "a user's");
    }

    #[test]
    fn l2_bytes_that_leave_no_trace_in_the_stat_come_back_before_the_file_goes() {
        let scene = Scene::new();
        let kept = scene.displaced("f", "early");
        scene.write_late(&kept, "later");
        let stat = scene.root.kept_stat(&kept.name).unwrap().unwrap().stat;
        let hidden = Kept { stat, ..kept };
        assert_eq!(scene.sweep_after(DAY, &hidden), KeptSweep::default());
        let swept = scene.sweep_after(31 * DAY, &hidden);
        let expired: Vec<&str> = swept.expired.iter().map(|(kept, _)| kept.name.as_str()).collect();
        assert_eq!((expired, swept.restored.len()), (vec![hidden.name.as_str()], 1));
        assert_eq!(scene.only_file().1, "later");
        assert!(scene.root.kept_list().unwrap().is_empty());
    }

    #[test]
    fn l3_a_kept_version_goes_after_30_days() {
        let scene = Scene::new();
        let kept = scene.displaced("f", "bytes");
        assert_eq!(scene.sweep_after(30 * DAY, &kept), KeptSweep::default());
        assert_eq!(scene.sweep_after(30 * DAY + 1, &kept).expired, [(kept, Reason::Old)]);
        assert!(scene.names().is_empty() && scene.root.kept_list().unwrap().is_empty());
    }

    #[test]
    fn c1_an_edit_that_a_crash_left_among_the_kept_versions_comes_back() {
        let scene = Scene::new();
        let kept = scene.displaced("f", "an edit");
        let mut stored = Stored::default();
        let added = reconcile(&scene.root, DEVICE, kept.at, &mut stored).unwrap();
        assert_eq!(added.iter().map(|kept| &kept.name).collect::<Vec<_>>(), [&kept.name]);
        assert_eq!(scene.only_file().1, "an edit");
        assert!(reconcile(&scene.root, DEVICE, kept.at, &mut stored).unwrap().is_empty(), "once");
    }

    #[test]
    fn d3_what_a_lost_database_no_longer_lists_is_kept_and_does_not_come_back() {
        let scene = Scene::new();
        let kept = scene.displaced("f", "deleted long ago");
        fs::create_dir(scene.directory.path().join(".file-sync/kept/1-2-abc")).unwrap();
        bring_back_directories(&scene.root, DEVICE).unwrap();
        let sweep = list(&scene.root, &[], kept.at, &AtomicBool::new(false));
        assert_eq!(sweep.changed.iter().map(|kept| &kept.name).collect::<Vec<_>>(), [&kept.name]);
        let names = scene.names();
        assert!(
            names.len() == 1 && names[0].starts_with("recovered.sync-conflict-"),
            "no engine keeps {names:?}"
        );
    }

    #[test]
    fn c1_what_a_crash_left_displaced_is_listed_under_its_path() {
        let scene = Scene::new();
        let kept = scene.displaced("f", "a version");
        let record = Record { content: kept.content, stat: kept.stat };
        let rows = [(kept.path.clone(), Default::default(), Some(record), 1)].into_iter().collect();
        let mut stored = Stored { rows, ..Stored::default() };
        let added = reconcile(&scene.root, DEVICE, kept.at, &mut stored).unwrap();
        assert_eq!((&added[0].path, &added[0].content), (&kept.path, &kept.content));
        assert!(scene.names().is_empty());
    }
}
