//! Healing: files whose bytes are not those that were recorded, although nobody changed them (promise C6).
//!
//! A disk may give back other bytes than it was given, without a sign in any stat. Whoever reads all bytes again finds
//! out and says so here. What is damaged is taken for no edit, is no source of its content any more, and is replaced by
//! the right bytes as soon as a copy here, a kept version or a remote has them; what was damaged is kept.

use super::{Effect, Engine, Now};
use crate::path::SyncPath;
use crate::record::Record;
use crate::version::{Content, ContentHash};

/// A file that was found to be damaged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Which.
    pub path: SyncPath,
    /// What is recorded of it.
    pub record: Record,
    /// What its bytes are.
    pub found: ContentHash,
}

impl Engine {
    /// All files and symlinks that are recorded, with their records: where something else is here alone, that.
    pub fn recorded(&self) -> Vec<(SyncPath, Record)> {
        let records = self.tree.records().filter(|(path, _)| !self.local_changes.contains_key(*path));
        let local = self.local_changes.iter().filter_map(|(path, local)| Some((path, (*local)?)));
        let files = records
            .chain(local)
            .filter(|(path, record)| record.content.is_bytes() && !self.holds.is_about(path));
        files.map(|(path, record)| (path.clone(), record)).collect()
    }

    /// How many paths differ here alone: nobody is told, and nothing is to be done about them.
    pub fn n_local(&self) -> u64 {
        self.local_changes.len() as u64
    }

    /// Has files replaced that were found to be damaged while they had the stat that was recorded.
    pub fn heal(&mut self, now: Now, damaged: Vec<Damage>) -> Vec<Effect> {
        self.now = now;
        for Damage { path, record, found } in damaged {
            let is_meant = self.tree.record(&path) == Some(record);
            let Content::File(content) = record.content else { continue };
            if is_meant {
                self.holders.is_not_held(&content, &path, &self.tree);
                self.damaged.insert(path.clone(), found);
                self.planner.reconsider(path);
            }
        }
        self.settle()
    }

    /// True for a file that is to be replaced by its own content.
    pub fn is_damaged(&self, path: &SyncPath) -> bool {
        self.damaged.contains_key(path)
    }
}
