//! What a first merge will do, told before anything is done: the engine of a directory that was only looked through takes
//! in what a remote knows, and says what follows. Nothing of it is carried out.

use super::peer::only_by;
use super::{Engine, Mode};
use crate::conflict::origins;
use crate::message::{Entry, Page};
use crate::path::SyncPath;
use crate::projection::Projection;
use crate::size::entry_bytes_max;
use crate::tree::Node;
use crate::version::{Content, Value};

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
    /// Bytes of what has the name afterwards, or of what goes.
    pub bytes: u64,
}

/// What one page holds at the least, in bytes; the last entry may go beyond.
const PAGE_BYTES: usize = 256 << 10;

impl Engine {
    /// What this device knows of the paths after one, or from the first on: for a device that thinks of joining.
    pub fn page(&self, after: Option<&SyncPath>) -> Page {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for (path, node) in self.tree.after(after).filter(|(_, node)| !node.register.is_empty()) {
            if bytes >= PAGE_BYTES {
                return Page { only_author: self.config.only_author, entries, is_last: false };
            }
            bytes += entry_bytes_max(path, &node.register);
            entries.push(Entry { path: path.clone(), register: node.register.clone(), holds: false });
        }
        Page { only_author: self.config.only_author, entries, is_last: true }
    }

    /// Takes in what a remote knows, as if it had said so, and says what would follow at every path where there is a file
    /// or symlink now or then. To be asked of an engine that has looked through its disk, with no remotes.
    pub fn foresee(&mut self, entries: Vec<Entry>) -> Vec<Foreseen> {
        for Entry { path, register, .. } in entries {
            let register = match self.config.only_author {
                Some(author) => only_by(&author, &register),
                None => register,
            };
            if self.tree.merge(&path, &register) {
                self.let_go_of_deleted(&path);
            }
        }
        let known = self.tree.iter().filter_map(|(path, node)| self.foresee_at(path, Some(node)));
        let local = self.local_changes.keys().filter(|path| self.tree.get(path).is_none());
        let mut foreseen: Vec<Foreseen> =
            known.chain(local.filter_map(|path| self.foresee_at(path, None))).collect();
        foreseen.sort_by(|a, b| a.path.cmp(&b.path));
        foreseen
    }

    fn foresee_at(&self, path: &SyncPath, node: Option<&Node>) -> Option<Foreseen> {
        let own = node.map(|node| node.register.versions()).unwrap_or_default();
        let local = self.local_changes.get(path).and_then(Option::as_ref);
        let here = local.or_else(|| node?.record.as_ref());
        if own.is_empty() && here.is_none() && !origins(path).is_empty() {
            return None; // A copy, told with what it is a copy of.
        }
        let then = self.tree.project(path);
        if self.is_unknown(path) {
            return None; // Told as trouble.
        }
        if self.is_left_alone(path) || self.is_ignored(path, here.is_none()) {
            let is_there = here.is_none() && then.value.content().is_bytes();
            return is_there.then(|| Foreseen { path: path.clone(), outcome: Outcome::Left, bytes: 0 });
        }
        let here_bytes = here.map_or(0, |record| record.stat.size);
        let here = here.map_or(Content::Absent, |record| record.content);
        let is_there_too =
            own.iter().any(|version| version.value.content() == here && !self.is_own(&version.dot.actor));
        let outcome = self.outcome(here, local.is_some(), is_there_too, then.clone())?;
        let bytes = match then.value {
            Value::File { length, .. } => length,
            _ => here_bytes,
        };
        Some(Foreseen { path: path.clone(), outcome, bytes })
    }

    fn is_unknown(&self, path: &SyncPath) -> bool {
        self.troubles.contains_key(path) || path.ancestors().any(|above| self.troubles.contains_key(&above))
    }

    fn outcome(
        &self,
        here: Content,
        is_local: bool,
        is_there_too: bool,
        then: Projection,
    ) -> Option<Outcome> {
        let named = then.value.content();
        if !here.is_bytes() && !named.is_bytes() && then.losers.is_empty() {
            return None; // Directories merge.
        }
        Some(if is_local && named != Content::Absent && named != here {
            Outcome::Conflict { copies: Vec::new(), is_named_here: false }
        } else if is_local && named == Content::Absent {
            Outcome::Local
        } else if !then.losers.is_empty() {
            let copies = then.losers.into_iter().map(|loser| loser.copy).collect();
            Outcome::Conflict { copies, is_named_here: named == here }
        } else if here == named {
            if is_there_too { Outcome::Adopted } else { Outcome::Sent }
        } else if self.config.mode == Mode::SendOnly {
            if here == Content::Absent { Outcome::Left } else { Outcome::Local }
        } else if named == Content::Absent {
            Outcome::Removed
        } else {
            Outcome::Fetched
        })
    }
}
