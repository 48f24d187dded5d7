//! Promises that hold at every moment, asked after every call that changes a disk for an engine.
//!
//! Nothing partial has a name (V1), nothing that a user had is gone but into the store of kept versions (L2, L3), what is
//! ignored is not touched (L7).

use file_sync_core::effect::Op;
use file_sync_core::path::{IGNORE_NAME, SyncPath};

use crate::disk::{Body, Item};
use crate::world::{World, name};

impl World {
    /// What an op's next call may displace of a user's: all but what it has just put there itself.
    pub(crate) fn displaced_by(&self, device: usize, op: &Op, ours: Option<u64>) -> Vec<(SyncPath, Item)> {
        let disk = &self.devices[device].disk;
        let mut paths = vec![op.path()];
        if let Op::Move { from, .. } | Op::MoveDirectory { from, .. } = op {
            paths.push(from);
        }
        let found = paths.into_iter().filter_map(|path| Some((path.clone(), disk.get(path)?.clone())));
        found.filter(|(_, item)| Some(item.inode) != ours).collect()
    }

    /// Looks at what a call has left, and at what was there before it.
    pub(crate) fn check_moment(&mut self, device: usize, op: &Op, before: Vec<(SyncPath, Item)>) {
        self.stats.n_checks += 1;
        let disk = &self.devices[device].disk;
        let mut wrong = Vec::new();
        if let Some(item) = disk.get(op.path())
            && !self.oracle.is_whole(&item.body)
        {
            wrong.push(format!("V1: {} on {} has bytes that nobody wrote", op.path(), name(device)));
        }
        for (path, item) in before {
            let is_changed = disk.get(&path).is_none_or(|now| now.inode != item.inode);
            let is_kept = disk.kept.values().chain(disk.items.values()).any(|other| {
                other.inode == item.inode && (other.body == item.body || item.body == Body::Directory)
            });
            let may_go = item.body == Body::Directory && matches!(op, Op::RemoveDirectory { .. });
            if is_changed && !is_kept && !may_go {
                wrong.push(format!("L2: {op:?} on {} left nothing of {path}", name(device)));
            }
            if is_changed && self.is_ignored_by_user(device, &path) {
                wrong.push(format!("L7: {path} is ignored on {}, and {op:?} changed it", name(device)));
            }
        }
        self.devices[device].disk.broken.extend(wrong);
    }

    /// True if an ignore file that has been there since all were at rest names a path, or what it lies in.
    fn is_ignored_by_user(&self, device: usize, path: &SyncPath) -> bool {
        let disk = &self.devices[device].disk;
        path.ancestors().chain([path.clone()]).filter(|at| !at.is_root()).any(|at| {
            at.ancestors().any(|directory| {
                let Ok(rules) = directory.join(IGNORE_NAME) else { return false };
                let is_rested = |item: &&Item| self.oracle.is_rested(device, &rules, item);
                let Some(item) = disk.get(&rules).filter(is_rested) else { return false };
                let Body::File(bytes) = &item.body else { return false };
                bytes.split(|byte| *byte == b'\n').any(|rule| !rule.is_empty() && rule == at.name())
            })
        })
    }
}
