//! What the first merge of a directory did, told when it has ended.
//!
//! It is counted in one life of the engine: who is stopped in the middle says nothing of it afterwards.

use super::{Engine, Foreseen, Mode, Outcome};
use crate::conflict::origins;
use crate::effect::Op;
use crate::path::SyncPath;
use crate::version::Content;

/// How many files and symlinks met which end in a first merge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FirstMerge {
    /// The same on both sides.
    pub adopted: u64,
    /// Brought here.
    pub fetched: u64,
    /// Told to the others, who did not have them.
    pub sent: u64,
    /// Conflict copies shown.
    pub conflicts: u64,
    /// Taken away here, because others had deleted or replaced them.
    pub removed: u64,
    /// Only here, or different here, and kept here alone: where changes go one way.
    pub local: u64,
    /// Only there, and left there: where changes go one way.
    pub left: u64,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Merging {
    /// There was one already, in an earlier life.
    Before,
    UnderWay(FirstMerge),
    Done(FirstMerge),
}

impl Merging {
    pub(super) fn begin(was_before: bool) -> Merging {
        if was_before { Merging::Before } else { Merging::UnderWay(FirstMerge::default()) }
    }
}

impl Engine {
    /// What the first merge did, if it has ended in this life of the engine.
    pub fn first_merge(&self) -> Option<FirstMerge> {
        if let Merging::Done(merge) = &self.merging { Some(*merge) } else { None }
    }

    /// True for a conflict copy, and for what copies are shown of.
    fn is_in_conflict(&self, path: &SyncPath) -> bool {
        self.tree.is_shown_copy(path) || !self.tree.project(path).losers.is_empty()
    }

    /// An op was done.
    pub(super) fn note_merging(&mut self, op: &Op) {
        if !matches!(self.merging, Merging::UnderWay(_)) {
            return;
        }
        let is_in_conflict = self.is_in_conflict(op.path());
        let Merging::UnderWay(merge) = &mut self.merging else { return };
        match op {
            _ if is_in_conflict => {} // Counted by its copies, at the end.
            Op::Place { expect, .. } | Op::PlaceSymlink { expect, .. } => {
                merge.fetched += 1;
                merge.removed += u64::from(expect.is_some());
            }
            Op::Remove { .. } => merge.removed += 1,
            _ => {}
        }
    }

    /// Ends the counting once everything here and all that a remote knows is merged, and this disk follows.
    pub(super) fn advance_merging(&mut self) {
        let Merging::UnderWay(merge) = &self.merging else { return };
        let mut merge = *merge;
        let follows = self.planner.is_idle() && self.fetcher.is_idle() && self.commits.is_idle();
        let is_over = self.observer.is_ready
            && self.observer.is_idle()
            && (follows || self.config.mode == Mode::SendOnly)
            && self.peers.values().any(super::peer::Peer::has_told_all);
        if !is_over {
            return;
        }
        match self.may_send() && self.config.mode != Mode::SendOnly {
            true => self.count_both_ways(&mut merge),
            false => self.count_one_way(&mut merge),
        }
        self.merging = Merging::Done(merge);
    }

    fn count_both_ways(&self, merge: &mut FirstMerge) {
        for (path, node) in self.tree.iter() {
            let content = node.record.as_ref().map(|record| record.content);
            let Some(content) = content.filter(|content| content.is_bytes()) else { continue };
            merge.conflicts += u64::from(self.tree.is_shown_copy(path));
            match self.is_in_conflict(path) {
                true => {}
                false if self.is_there(path, content) => merge.adopted += 1,
                false => merge.sent += 1,
            }
        }
        merge.adopted = merge.adopted.saturating_sub(merge.fetched);
    }

    /// Where changes go one way, what stays as it is follows from what is known by now, as it did before.
    fn count_one_way(&self, merge: &mut FirstMerge) {
        let n_placed = merge.fetched;
        for Foreseen { path, outcome, .. } in self.foreseen().filter(|foreseen| !foreseen.is_directory) {
            match outcome {
                Outcome::Adopted => merge.adopted += 1,
                Outcome::Sent => merge.sent += 1,
                Outcome::Conflict { .. } => merge.conflicts += 1,
                Outcome::Local => match self.took_its_name(&path) {
                    Some(content) => {
                        merge.conflicts += 1;
                        merge.fetched -= u64::from(content.is_bytes() && merge.fetched > 0);
                    }
                    None => merge.local += 1,
                },
                Outcome::Left => merge.left += 1,
                Outcome::Fetched | Outcome::Removed => {} // Held, or in trouble.
            }
        }
        merge.adopted = merge.adopted.saturating_sub(n_placed);
    }

    /// Of what had to leave its name to something of a remote's: what has the name now.
    fn took_its_name(&self, copy: &SyncPath) -> Option<Content> {
        origins(copy).iter().find_map(|origin| self.tree.record(origin)).map(|record| record.content)
    }
}
