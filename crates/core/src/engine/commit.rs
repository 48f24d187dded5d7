//! What has to be durable before anybody hears of it.
//!
//! Rows, counters and how far remotes are merged go into one transaction; one is under way at a time, and while it is,
//! the next one gathers. A sequence number is told to remotes once its commit is durable (promise C3).

use std::collections::{BTreeMap, BTreeSet};

use super::Engine;
use super::acts::ActRecord;
use super::peer::PeerProgress;
use super::plan::Doubt;
use crate::conflict::origins;
use crate::effect::{ChunkList, Kept};
use crate::message::Members;
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::register::Register;
use crate::tree::StoredNode;
use crate::version::{ContentHash, DeviceId, Dot, Signature, Version};

/// The numbers that are never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Numbering of sequence numbers: random, anew whenever they may restart.
    pub index_id: u64,
    /// This device's epoch in this directory.
    pub epoch: u64,
    /// The last dot's counter.
    pub counter: u64,
    /// The last sequence number.
    pub sequence: u64,
}

/// One transaction for the index.
#[derive(Debug, Default)]
pub struct Commit {
    /// Paths with all that is known of them; without register and record: nothing any more.
    pub rows: Vec<StoredNode>,
    /// How contents divide.
    pub chunks: Vec<(ContentHash, ChunkList)>,
    /// New kept versions.
    pub kept_added: Vec<Kept>,
    /// Kept versions that are gone, by name.
    pub kept_removed: Vec<String>,
    /// Acts.
    pub acts: Vec<ActRecord>,
    /// Doubts to store; none: to forget.
    pub doubts: Vec<(SyncPath, Option<Doubt>)>,
    /// The counters that the rows use.
    pub counters: Counters,
    /// The member list.
    pub members: Members,
    /// How far each remote's entries are in the rows.
    pub peers: BTreeMap<DeviceId, PeerProgress>,
    /// What the first scan of the whole disk found is in the rows.
    pub first_scan_done: bool,
}

#[derive(Debug)]
pub(super) struct Commits {
    pub(super) counters: Counters,
    /// Durable up to this sequence number.
    pub(super) committed: u64,
    rows: BTreeSet<SyncPath>,
    /// Paths whose register changed, and is not in a commit yet, or in the one under way.
    numbered: BTreeSet<SyncPath>,
    numbered_under_way: BTreeSet<SyncPath>,
    /// Durable numbers of paths that have a newer one, in no commit yet, or in the one under way.
    superseded: BTreeSet<u64>,
    superseded_under_way: BTreeSet<u64>,
    unsigned: BTreeSet<SyncPath>,
    chunks: Vec<(ContentHash, ChunkList)>,
    kept_added: Vec<Kept>,
    kept_removed: Vec<String>,
    acts: Vec<ActRecord>,
    is_state_changed: bool,
    is_under_way: bool,
    /// How many transactions are durable.
    n_done: u64,
    first_scan_done: bool,
}

impl Commits {
    pub(super) fn new(counters: Counters, first_scan_done: bool) -> Commits {
        Commits {
            counters,
            committed: counters.sequence,
            rows: BTreeSet::new(),
            numbered: BTreeSet::new(),
            numbered_under_way: BTreeSet::new(),
            superseded: BTreeSet::new(),
            superseded_under_way: BTreeSet::new(),
            unsigned: BTreeSet::new(),
            chunks: Vec::new(),
            kept_added: Vec::new(),
            kept_removed: Vec::new(),
            acts: Vec::new(),
            is_state_changed: false,
            is_under_way: false,
            n_done: 0,
            first_scan_done,
        }
    }

    pub(super) fn note_row(&mut self, path: &SyncPath) {
        self.rows.insert(path.clone());
    }

    pub(super) fn note_chunks(&mut self, content: ContentHash, chunks: ChunkList) {
        self.chunks.push((content, chunks));
    }

    pub(super) fn note_kept(&mut self, kept: Kept) {
        self.kept_added.push(kept);
    }

    pub(super) fn note_kept_removed(&mut self, name: String) {
        self.kept_removed.push(name);
    }

    pub(super) fn note_act(&mut self, act: ActRecord) {
        self.acts.push(act);
    }

    pub(super) fn note_state(&mut self) {
        self.is_state_changed = true;
    }

    pub(super) fn note_first_scan_done(&mut self) {
        self.is_state_changed |= !self.first_scan_done;
        self.first_scan_done = true;
    }

    /// True if what a path shows follows from a register that is not durable.
    ///
    /// A disk that is ahead of the registers would, after a crash, show a remote's value as a user's. What a path shows
    /// follows from its register, from those below it, which may ask for a directory, and at a copy's name from both of
    /// the path that it is a copy of.
    pub(super) fn is_uncommitted(&self, path: &SyncPath) -> bool {
        if is_made(Mistake::UncommittedPlaced) {
            return false;
        }
        let sets = [&self.numbered, &self.numbered_under_way];
        let is_in = |path: &SyncPath| sets.iter().any(|set| set.contains(path));
        let is_above_one = |path: &SyncPath| {
            let mut later =
                sets.iter().filter_map(|set| set.range(path.clone()..).find(|later| *later != path));
            later.any(|later| path.is_ancestor_of(later))
        };
        let follows = |path: &SyncPath| is_in(path) || is_above_one(path);
        follows(path) || origins(path).iter().any(follows)
    }

    /// What may be announced: up to this sequence number.
    pub(super) fn announced(&self) -> u64 {
        if is_made(Mistake::AnnouncedBeforeDurable) { self.counters.sequence } else { self.committed }
    }

    /// Up to which number all can be told to a remote that was told up to `after`.
    ///
    /// A crash gives a path that has changed again its durable number back: nobody may have been told that there is
    /// nothing else up to that number.
    pub(super) fn tellable_after(&self, after: u64) -> u64 {
        let sets = [&self.superseded, &self.superseded_under_way];
        let held_back = sets.iter().filter_map(|set| set.range(after + 1..).next()).min();
        held_back.map_or(u64::MAX, |number| number - 1).min(self.announced())
    }

    /// True if everything noted is durable.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_under_way && !self.is_waiting()
    }

    fn is_waiting(&self) -> bool {
        self.is_state_changed
            || !self.rows.is_empty()
            || !self.chunks.is_empty()
            || !self.kept_added.is_empty()
            || !self.kept_removed.is_empty()
            || !self.acts.is_empty()
    }
}

impl Engine {
    /// Gives every changed register its sequence number, and notes whom to tell.
    pub(super) fn number_changes(&mut self) {
        for path in self.tree.take_changed() {
            self.commits.unsigned.insert(path.clone());
            self.number(&path);
        }
        self.planner.forget_exact_origins();
    }

    /// Gives one path the next sequence number.
    pub(super) fn number(&mut self, path: &SyncPath) {
        self.commits.counters.sequence += 1;
        let sequence = self.commits.counters.sequence;
        let superseded = self.tree.get(path).map_or(0, |node| node.sequence);
        self.tree.set_sequence(path, sequence);
        self.commits.note_row(path);
        // Between two commits the first number alone may be durable.
        if self.commits.numbered.insert(path.clone()) && superseded > 0 {
            self.commits.superseded.insert(superseded);
        }
        self.tell_peers(path, sequence);
    }

    /// Versions of this device that have no signature yet, each with the path it was written at.
    pub fn take_unsigned(&mut self) -> Vec<(SyncPath, SyncPath, Version)> {
        let mut unsigned = Vec::new();
        for path in std::mem::take(&mut self.commits.unsigned) {
            let Some(node) = self.tree.get(&path) else { continue };
            for version in node.register.versions().iter().filter(|version| version.signature.0.is_none()) {
                if version.dot.actor.device == self.config.device {
                    let born_at = version.born_at.clone().unwrap_or_else(|| path.clone());
                    unsigned.push((path.clone(), born_at, version.clone()));
                }
            }
        }
        unsigned
    }

    /// Puts a signature on a version.
    pub fn sign(&mut self, path: &SyncPath, dot: &Dot, signature: Signature) {
        self.tree.sign(path, dot, signature);
    }

    /// The next transaction, if there is anything to commit and none is under way, nor ops that follow from what would be
    /// replaced; [`super::Event::Committed`] with
    /// its sequence number must follow once it is durable.
    pub fn take_commit(&mut self) -> Option<Commit> {
        let is_waiting = self.commits.is_waiting() || self.planner.doubts.is_news();
        if !is_waiting || self.commits.is_under_way {
            return None;
        }
        let must_wait = self.commits.numbered.iter().any(|path| self.is_being_applied(path));
        if must_wait && !is_made(Mistake::CommittedUnderOps) {
            return None;
        }
        self.planner.is_being_committed();
        let commits = &mut self.commits;
        commits.is_under_way = true;
        commits.is_state_changed = false;
        commits.numbered_under_way = std::mem::take(&mut commits.numbered);
        let doubts = self.planner.doubts.take_changes(commits.numbered_under_way.iter());
        commits.superseded_under_way = std::mem::take(&mut commits.superseded);
        let rows = std::mem::take(&mut commits.rows);
        let rows = rows.into_iter().map(|path| match self.tree.get(&path) {
            Some(node) => (path, node.register.clone(), node.record, node.sequence),
            None => (path, Register::default(), None, 0), // Forgotten.
        });
        let rows = rows.collect();
        for peer in self.peers.values_mut() {
            peer.merged_under_way = peer.merged;
        }
        Some(Commit {
            rows,
            chunks: std::mem::take(&mut commits.chunks),
            kept_added: std::mem::take(&mut commits.kept_added),
            kept_removed: std::mem::take(&mut commits.kept_removed),
            acts: std::mem::take(&mut commits.acts),
            doubts,
            counters: commits.counters,
            members: self.members.clone(),
            peers: self.peers.iter().map(|(device, peer)| (*device, peer.progress())).collect(),
            first_scan_done: commits.first_scan_done,
        })
    }

    /// How many transactions of this life are durable, and how many will be once all that is noted now is.
    pub fn commits(&self) -> (u64, u64) {
        let Commits { n_done, is_under_way, .. } = &self.commits;
        (*n_done, n_done + u64::from(*is_under_way) + u64::from(self.commits.is_waiting()))
    }

    pub(super) fn on_committed(&mut self, sequence: u64) {
        self.commits.n_done += u64::from(self.commits.is_under_way);
        self.commits.is_under_way = false;
        self.commits.numbered_under_way.clear();
        self.commits.superseded_under_way.clear();
        self.planner.is_committed();
        self.commits.committed = self.commits.committed.max(sequence);
        for peer in self.peers.values_mut() {
            peer.merged_durable = peer.merged_under_way;
        }
    }
}
