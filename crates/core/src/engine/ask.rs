//! Questions about paths: what is recorded there, and what is in conflict.

use super::Engine;
use crate::path::SyncPath;
use crate::record::Record;
use crate::version::{DeviceId, Time, Value};

/// A conflict copy that nobody has edited, moved, deleted or resolved yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// The path that it is a copy of.
    pub path: SyncPath,
    /// Where it is shown.
    pub copy: SyncPath,
    /// The device whose version lost.
    pub device: DeviceId,
    /// When that version was made, by its device's clock.
    pub at: Time,
    /// What the copy shows.
    pub value: Value,
}

impl Engine {
    /// What is recorded at a path: what it was when it was last looked at.
    pub fn record(&self, path: &SyncPath) -> Option<&Record> {
        self.tree.record(path)
    }

    /// All conflict copies that are shown on this disk, by their names.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let shown = self.tree.iter().filter(|(_, node)| node.record.is_some());
        let copies = shown.filter_map(|(copy, _)| {
            let (path, version) = self.tree.shown_copy(copy)?;
            Some(Conflict {
                path,
                copy: copy.clone(),
                device: version.dot.actor.device,
                at: version.rank,
                value: version.value.clone(),
            })
        });
        copies.collect()
    }
}
