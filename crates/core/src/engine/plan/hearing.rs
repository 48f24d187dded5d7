//! What waits for the rest of what a remote is saying: a rename is two changes, and one may be heard of, and be durable,
//! before the other.

use super::Planner;
use crate::engine::Engine;
use crate::path::SyncPath;
use crate::version::Content;

/// How long it waits at most for the next part.
const HEARING_MS: u64 = 5_000;
/// How long for all of them: a remote that always says that there is more must not keep anything from being done.
const HEARING_MAX_MS: u64 = 60_000;

impl Planner {
    /// A remote has said something.
    pub(in crate::engine) fn hears(&mut self, now_ms: u64) {
        self.heard_at_ms = now_ms;
    }

    fn deferred_until(&self) -> Option<u64> {
        let since = self.deferred_since?;
        Some((since.max(self.heard_at_ms) + HEARING_MS).min(since + HEARING_MAX_MS))
    }
}

impl Engine {
    /// When what is deferred is taken up whatever remotes say, if nothing else is waited for.
    pub(in super::super) fn plan_deadline(&self) -> Option<u64> {
        let may_take_up = self.may_change_disk() && !self.planner.is_applying;
        self.planner.deferred_until().filter(|_| may_take_up)
    }

    /// Notes up to where all has to be durable of what a remote says in several messages, and so in several commits.
    pub(super) fn note_parts(&mut self) {
        if self.is_hearing_more() {
            self.planner.heard_through = None;
        } else {
            self.planner.heard_through.get_or_insert(self.commits.counters.sequence);
        }
    }

    /// True while a remote is about to say more, or what it has said in parts is durable in part alone: of a rename, one
    /// half may be seen without the other.
    fn is_hearing_parts(&self) -> bool {
        let sequence = self.commits.counters.sequence;
        let through = self.planner.heard_through.map(|through| through.min(sequence));
        through.is_none_or(|through| through > self.commits.committed)
    }

    pub(super) fn take_up_deferred(&mut self) {
        let now = self.now.monotonic_ms;
        let is_over = self.planner.deferred_until().is_some_and(|until| now >= until);
        let is_hearing = self.is_hearing_parts();
        self.planner.has_heard_enough = is_hearing && (self.planner.has_heard_enough || is_over);
        if !is_hearing || is_over {
            let deferred = std::mem::take(&mut self.planner.deferred);
            self.planner.todo.extend(deferred);
            self.planner.deferred_since = None;
        }
    }

    pub(super) fn defer(&mut self, path: SyncPath) {
        self.planner.deferred_since.get_or_insert(self.now.monotonic_ms);
        self.planner.deferred.insert(path);
    }

    /// True while removals, and what another path may be renamed to, wait for the rest of what a remote is saying.
    pub(super) fn is_deferring(&self) -> bool {
        self.is_hearing_parts() && !self.planner.has_heard_enough
    }

    /// What has no parent yet is assessed again when that is made; or moved here, with all that is to be in it.
    pub(super) fn await_parent(&mut self, path: SyncPath) {
        if self.is_deferring() {
            self.defer(path);
        }
    }

    /// True for a directory whose first file is elsewhere on this disk: that may be in a directory which is to go, as will
    /// be said.
    pub(super) fn may_be_moved_to(&self, directory: &SyncPath) -> bool {
        let mut below = self.tree.below(directory).map(|(path, node)| self.tree.shown(path, &node).content());
        match below.find(|content| matches!(content, Content::File(_))) {
            Some(Content::File(content)) => self.holders.contains_key(&content, &self.tree),
            _ => false,
        }
    }
}
