//! What was announced: no dot ever names two versions (promise C3).

use std::collections::{BTreeMap, BTreeSet};

use file_sync_core::message::Entry;
use file_sync_core::path::SyncPath;
use file_sync_core::version::{DeviceId, Dot, Version};

/// Every version announced, by its name.
#[derive(Clone, Debug, Default)]
pub struct Announced {
    versions: BTreeMap<Dot, (SyncPath, Version)>,
    /// Devices that were put back to what they were.
    reverted: BTreeSet<DeviceId>,
    /// Dots that named two.
    pub broken: Vec<String>,
}

impl Announced {
    /// A device was put back to what it was.
    pub fn revert(&mut self, device: DeviceId) {
        self.reverted.insert(device);
    }

    /// Of devices that were put back, what nobody knows any more was never announced.
    pub fn forget_unknown(&mut self, is_known: impl Fn(&Dot) -> bool) {
        let reverted = &self.reverted;
        self.versions.retain(|dot, _| !reverted.contains(&dot.actor.device) || is_known(dot));
    }

    /// True if there is anything to forget.
    pub fn has_reverted(&self) -> bool {
        !self.reverted.is_empty()
    }

    /// Entries were sent.
    pub fn note(&mut self, entries: &[Entry]) {
        for entry in entries {
            for version in entry.register.versions() {
                let born_at = version.born_at.as_ref().unwrap_or(&entry.path);
                let first =
                    self.versions.entry(version.dot).or_insert_with(|| (born_at.clone(), version.clone()));
                let (path, first) = first;
                if path != born_at || first.value != version.value || first.replaced != version.replaced {
                    self.broken
                        .push(format!("C3: {:?} names {first:?} at {path} and {version:?}", version.dot));
                }
            }
        }
    }
}
