//! Files that are to be put where nothing is yet, and for which a round had no room.
//!
//! They were assessed once, and are assessed again when it is their turn, or when anything about them changes. In between
//! they only count: whoever takes staged bytes has to know whether another file is to get the same.

use std::collections::BTreeMap;

use super::round::Round;
use crate::conflict::has_stamp;
use crate::engine::Engine;
use crate::path::SyncPath;
use crate::version::{ContentHash, Value};

#[derive(Debug, Default)]
pub(super) struct Left {
    files: BTreeMap<SyncPath, ContentHash>,
    uses: BTreeMap<ContentHash, usize>,
}

impl Left {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// How many of them are to get a content.
    pub(super) fn uses(&self, content: &ContentHash) -> usize {
        self.uses.get(content).copied().unwrap_or_default()
    }

    /// A path is assessed, or is to be.
    pub(super) fn remove(&mut self, path: &SyncPath) {
        let Some(content) = self.files.remove(path) else { return };
        let uses = self.uses.get_mut(&content).expect("what is left is counted");
        *uses -= 1;
        if *uses == 0 {
            self.uses.remove(&content);
        }
    }

    /// Takes all, for where more has to be known of each than what it is to get.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = SyncPath> + use<> {
        std::mem::take(self).files.into_keys()
    }

    fn insert(&mut self, path: SyncPath, content: ContentHash) {
        self.remove(&path);
        self.files.insert(path, content);
        *self.uses.entry(content).or_default() += 1;
    }
}

impl Engine {
    /// True while files may be left without a thought: nothing is held, and nothing is only here.
    pub(super) fn may_leave(&self) -> bool {
        self.holds.is_empty() && self.local_changes.is_empty()
    }

    /// Leaves a path for a later round. Beside what goes, which may be what it is to get, and at the names of copies it is
    /// assessed again in the next.
    pub(super) fn leave(&mut self, round: &Round, path: SyncPath, value: &Value) {
        let is_plain = self.tree.record(&path).is_none() && !has_stamp(&path);
        match value {
            Value::File { content, .. } if is_plain && self.may_leave() && !round.has_leaving() => {
                self.planner.left.insert(path, *content);
            }
            _ => {
                self.planner.todo.insert(path);
            }
        }
    }

    /// The next file to put, in the order of paths, of those that were assessed for this round and those left by the last;
    /// none: there is no room for more.
    pub(super) fn next_to_put(
        &mut self,
        round: &mut Round,
        put: &mut BTreeMap<SyncPath, Value>,
    ) -> Option<(SyncPath, Value)> {
        while !round.is_full() {
            let left = self.planner.left.files.first_key_value().map(|(path, _)| path);
            let is_left_first = left.is_some_and(|left| put.keys().next().is_none_or(|first| left < first));
            let Some(path) = left.filter(|_| is_left_first).cloned() else { return put.pop_first() };
            self.planner.left.remove(&path);
            match self.consider(&path) {
                Some(Value::File { content, length, mode, mtime }) if self.tree.record(&path).is_none() => {
                    round.count_use(content);
                    return Some((path, Value::File { content, length, mode, mtime }));
                }
                Some(_) => self.planner.reconsider(path), // It has become something else: with the next round.
                None => {}
            }
        }
        None
    }
}
