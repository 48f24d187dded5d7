//! What a first merge will do, told before anything is done: the engine of a directory that was only looked through takes
//! in what a remote knows, and says what follows. Nothing of it is carried out.

use std::collections::BTreeSet;

use super::{Engine, Mode};
use crate::conflict::origins;
use crate::message::{Entry, Page};
use crate::path::SyncPath;
use crate::record::Record;
use crate::size::entry_bytes_max;
use crate::tree::Node;
use crate::version::{Content, Value, Version};

/// What a first merge does about one file or symlink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is the same on both sides.
    Adopted,
    /// It is only there, or newer there than what is here, and comes here.
    Fetched,
    /// It is only here, and goes there.
    Sent,
    /// It differs: one side has the name, the other stands beside it.
    Conflict {
        /// The other's names; none: it stays here alone.
        copies: Vec<SyncPath>,
        /// True if this side has the name.
        is_named_here: bool,
    },
    /// It equals what others have deleted: it goes, and is kept.
    Removed,
    /// It is only here, and stays here alone.
    Local,
    /// It is only there, and stays there alone.
    Left,
}

/// What a first merge does about one path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Foreseen {
    /// Which.
    pub path: SyncPath,
    /// What.
    pub outcome: Outcome,
    /// Bytes of the regular file that has the name here afterwards, or that goes; a symlink has none.
    pub bytes: u64,
    /// True for a directory.
    pub is_directory: bool,
}

/// What one page holds at the least, in bytes; the last entry may go beyond.
const PAGE_BYTES: usize = 256 << 10;

impl Engine {
    /// What this device knows, durably, of the paths after one, or from the first on: for a device that thinks of joining.
    pub fn page(&self, after: Option<&SyncPath>) -> Page {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let durable = self.commits.announced();
        let is_told = |node: &Node| !node.register.is_empty() && node.sequence <= durable;
        for (path, node) in self.tree.after(after).filter(|(_, node)| is_told(node)) {
            if bytes >= PAGE_BYTES {
                return self.page_of(entries, false);
            }
            bytes += entry_bytes_max(path, &node.register);
            entries.push(Entry { path: path.clone(), register: node.register.clone(), holds: false });
        }
        self.page_of(entries, true)
    }

    fn page_of(&self, entries: Vec<Entry>, is_last: bool) -> Page {
        let n_troubled = self.told_troubles().count() as u64;
        Page { only_author: self.config.only_author, entries, is_last, n_troubled }
    }

    /// Takes in what a remote knows, as if it had said so, and says what would follow at every path where there is a file
    /// or symlink now or then, and of every directory that is on one side alone and has nothing in it that is told of. To
    /// be asked of an engine that has looked through its disk, with no remotes.
    pub fn foresee(&mut self, entries: Vec<Entry>) -> Vec<Foreseen> {
        for Entry { path, register, .. } in entries {
            let register = match self.config.only_author {
                Some(author) => self.passed_on(&author, &path, &register),
                None => register,
            };
            if self.tree.merge(&path, &register) {
                self.let_go_of_deleted(&path);
            }
        }
        let mut foreseen: Vec<Foreseen> = self.foreseen().collect();
        foreseen.sort_by(|a, b| a.path.cmp(&b.path));
        without_parents(foreseen)
    }

    /// What follows at every path from what is known and on the disk, in no order.
    pub(super) fn foreseen(&self) -> impl Iterator<Item = Foreseen> {
        let known = self.tree.iter().filter_map(|(path, node)| self.foresee_at(path, node.record));
        let local = self.local_changes.keys().filter(|path| !self.tree.is_any_known(path));
        known.chain(local.filter_map(|path| self.foresee_at(path, None)))
    }

    fn foresee_at(&self, path: &SyncPath, record: Option<Record>) -> Option<Foreseen> {
        if path.is_root() || self.is_unknown(path) {
            return None; // What is unknown is told as trouble.
        }
        let local = self.local_changes.get(path).and_then(Option::as_ref);
        let here = local.or(record.as_ref());
        let then = self.tree.project(path).value;
        let bytes_here = here.map_or(0, bytes_of);
        let bytes = match then {
            Value::File { length, .. } => length,
            Value::Symlink { .. } => 0,
            Value::Absent { .. } | Value::Directory { .. } => bytes_here,
        };
        let here = here.map_or(Content::Absent, |record| record.content);
        let is_file = here.is_bytes() || then.content().is_bytes();
        let told =
            |outcome, bytes| Some(Foreseen { path: path.clone(), outcome, bytes, is_directory: !is_file });
        let is_directory = here == Content::Directory || then.content() == Content::Directory;
        if self.is_left_alone(path) || self.is_ignored(path, is_directory) {
            let is_only_there = here == Content::Absent && then.content() != Content::Absent;
            return if is_only_there { told(Outcome::Left, bytes) } else { None };
        }
        if let Some(conflict) = self.conflict_at(path, here, local.is_some()) {
            return told(conflict, bytes);
        }
        let is_copy_of_conflict = |origin: &SyncPath| {
            let record = self.local_changes.get(origin).copied().flatten();
            let record = record.or_else(|| self.tree.record(origin));
            let content = record.map_or(Content::Absent, |record| record.content);
            self.conflict_at(origin, content, false).is_some()
        };
        if here == Content::Absent && origins(path).iter().any(is_copy_of_conflict) {
            return None; // Told with what it is a copy of.
        }
        let outcome = self.outcome(path, here, local.is_some(), then.content())?;
        let bytes = if outcome == Outcome::Local { bytes_here } else { bytes };
        told(outcome, bytes)
    }

    /// What differs on both sides.
    fn conflict_at(&self, path: &SyncPath, here: Content, is_local: bool) -> Option<Outcome> {
        let then = self.tree.project(path);
        let named = then.value.content();
        if here == Content::Absent || named == Content::Absent {
            return None;
        }
        let is_there_too = self.is_there(path, here);
        let has_lost_the_name = named != here
            && here.is_bytes()
            && (is_local || then.losers.iter().any(|loser| loser.value.content() == here));
        let others = then.losers.into_iter().filter(|loser| {
            let record = self.tree.record(&loser.copy);
            record.is_none_or(|record| record.content != loser.value.content())
        });
        let copies: Vec<SyncPath> = others.map(|loser| loser.copy).collect();
        let gives_a_copy = named == here && !is_there_too && !copies.is_empty();
        (has_lost_the_name || gives_a_copy)
            .then_some(Outcome::Conflict { copies, is_named_here: gives_a_copy })
    }

    /// True if a remote has this at a path, or at the copy's name that it is.
    pub(super) fn is_there(&self, path: &SyncPath, content: Content) -> bool {
        let is_others = |version: &&Version| !self.is_own(&version.dot.actor);
        let known = self.tree.get(path);
        let standing = self.tree.standing_with(path, known.as_ref().map(|node| &node.register));
        standing.into_iter().filter(is_others).any(|version| version.value.content() == content)
    }

    fn is_unknown(&self, path: &SyncPath) -> bool {
        self.troubles.contains_key(path) || path.ancestors().any(|above| self.troubles.contains_key(&above))
    }

    fn outcome(&self, path: &SyncPath, here: Content, is_local: bool, named: Content) -> Option<Outcome> {
        let is_directory = !here.is_bytes() && !named.is_bytes();
        if is_directory && (here == Content::Absent) == (named == Content::Absent) {
            // Directories merge, and what is here alone by now goes to the others.
            let is_sent = here == Content::Directory && !is_local && !self.is_there(path, here);
            return is_sent.then_some(Outcome::Sent);
        }
        Some(if here == named {
            if self.is_there(path, here) { Outcome::Adopted } else { Outcome::Sent }
        } else if is_local || self.config.mode == Mode::SendOnly {
            if here == Content::Absent { Outcome::Left } else { Outcome::Local }
        } else if named.is_bytes() || is_directory && named == Content::Directory {
            Outcome::Fetched
        } else {
            Outcome::Removed
        })
    }
}

/// `status` counts them the same way.
fn bytes_of(record: &Record) -> u64 {
    if matches!(record.content, Content::File(_)) { record.stat.size } else { 0 }
}

/// Leaves out directories that come or go with what is told of in them.
fn without_parents(foreseen: Vec<Foreseen>) -> Vec<Foreseen> {
    let mut parents = BTreeSet::new();
    let mut kept: Vec<Foreseen> = Vec::new();
    // What lies in a directory comes after it.
    for one in foreseen.into_iter().rev() {
        if !one.is_directory || !parents.contains(&one.path) {
            parents.extend(one.path.ancestors());
            kept.push(one);
        }
    }
    kept.reverse();
    kept
}
