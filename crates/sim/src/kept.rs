//! Kept versions, looked after as the server does: at a start those that a crash left unlisted, and every hour all of
//! them for bytes that were written late.

use file_sync_core::conflict::late_copy_path;
use file_sync_core::effect::Kept;
use file_sync_core::engine::KeptSweep;
use file_sync_core::path::SyncPath;
use file_sync_core::unlisted::Origins;
use file_sync_core::version::{Content, Time};

use crate::device::Device;
use crate::disk::{Body, Item};
use crate::world::{World, name};

/// Late bytes are left alone until nobody has written for this long, in seconds.
const RESTED: u64 = 60;
/// What unlisted files are called where nothing says what they were.
const UNKNOWN: &str = "recovered";

impl World {
    /// Lists kept versions that a crash kept from being listed. What is known of nowhere was a user's edit that was about
    /// to be put back: it comes back as a file.
    pub(crate) fn list_kept(&mut self, device: usize) {
        let at = self.devices[device].wall(self.now_us);
        let machine = &mut self.devices[device];
        // Where the home is not the one that they were kept under no files can be told apart, and none comes back. No engine
        // keeps directories: those are users'.
        let is_other_home = std::mem::take(&mut machine.is_other_home);
        let listed = &machine.durable.kept;
        let unlisted: Vec<(String, Item)> =
            machine.disk.kept.iter().filter(|(name, _)| !listed.contains_key(*name)).map(owned).collect();
        if unlisted.is_empty() {
            return;
        }
        let rows = machine.durable.rows.iter();
        let origins =
            Origins::of(rows.map(|(path, (register, record, _))| (path, register, record.as_ref())));
        for (name, item) in unlisted {
            let Some(content) = item.content() else { continue };
            let path = SyncPath::parse(UNKNOWN.as_bytes()).expect("a valid path");
            let mut kept = Kept { name, path, content, stat: item.stat(), at };
            let origin = content.is_bytes().then(|| origins.of_kept(&kept.name, kept.stat.inode, content));
            match origin.flatten() {
                Some(path) => kept.path = path.clone(),
                _ if is_other_home && content.is_bytes() => {}
                _ => {
                    machine.bring_back(&kept, at);
                }
            }
            if content.is_bytes() {
                machine.durable.kept.insert(kept.name.clone(), kept);
            }
        }
        self.is_durable(device); // What has come back is durable before it is listed.
    }

    /// Looks at all kept versions; bytes that were written late come back beside what displaced the file (promise L2).
    pub fn sweep_kept(&mut self, device: usize) {
        let now = self.devices[device].now(self.now_us);
        let machine = &mut self.devices[device];
        if machine.is_root_lost
            || machine.engine.is_none()
            || machine.disk.is_read_only
            || machine.disk.is_full
        {
            return;
        }
        let mut sweep = KeptSweep::default();
        for kept in machine.durable.kept.values().cloned().collect::<Vec<_>>() {
            let Some(item) = machine.disk.kept.get(&kept.name).cloned() else {
                sweep.removed.push(kept.name);
                continue;
            };
            let stat = item.stat();
            // A write may hide behind a coarse time: before a kept version goes it is read, which is not waited for here.
            let is_touched = (stat.size, stat.mtime) != (kept.stat.size, kept.stat.mtime)
                || item.content() != Some(kept.content);
            let is_rested = stat.mtime.seconds.abs_diff(now.wall.seconds) >= RESTED;
            let (true, true, Some(content)) = (is_touched, is_rested, item.content()) else { continue };
            let now_kept = Kept { content, stat, ..kept.clone() };
            if content != kept.content {
                let Some(restored) = machine.bring_back(&now_kept, now.wall) else { continue };
                sweep.restored.push(restored);
            }
            sweep.changed.push(now_kept);
        }
        if sweep == KeptSweep::default() {
            return;
        }
        self.note(|| format!("{} sweeps {sweep:?}", name(device)));
        self.is_durable(device);
        self.with_engine(device, |engine, now| engine.kept_was_swept(now, sweep));
    }
}

fn owned((name, item): (&String, &Item)) -> (String, Item) {
    (name.clone(), item.clone())
}

impl Device {
    /// The name under which a kept version comes back, if one is free: beside where it was, or as near as there still
    /// is a directory.
    fn late_name(&self, kept: &Kept) -> Option<SyncPath> {
        let near = kept.path.ancestors().filter_map(|directory| directory.join(kept.path.name()).ok());
        let names = near.flat_map(|path| {
            [false, true].map(|distinguish| {
                late_copy_path(&path, kept.stat.mtime, kept.content.hash(), self.id, distinguish)
            })
        });
        let is_free = |path: &SyncPath| self.disk.has_parent(path) && self.disk.get(path).is_none();
        names.into_iter().find(is_free)
    }

    fn bring_back(&mut self, kept: &Kept, wall: Time) -> Option<SyncPath> {
        let to = self.late_name(kept)?;
        if kept.content == Content::Directory {
            self.disk.bring_back(&kept.name, &to);
            return Some(to);
        }
        let Item { body, mode, mtime, .. } = self.disk.kept.get(&kept.name).cloned()?;
        debug_assert!(matches!(body, Body::File(_) | Body::Symlink(_)), "directories are moved");
        self.disk.create(&to, body, mode, wall).mtime = mtime;
        Some(to)
    }
}
