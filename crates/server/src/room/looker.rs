//! Looking a directory through without watching it, and without changing anything in it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use file_sync_core::effect::{HashItem, HashOutcome, Trouble};
use file_sync_core::engine::Listing;
use file_sync_core::ignore::Rules;
use file_sync_core::path::SyncPath;
use file_sync_core::record::Seen;
use file_sync_disk::{Flow, Root};

use super::scan_worker::listed;

/// Answers an engine's questions about a root, on the thread that asks.
pub(crate) struct Looker<'a> {
    pub(crate) root: &'a Root,
    /// Set when nobody waits for the answers any more.
    pub(crate) cancel: &'a AtomicBool,
}

impl Looker<'_> {
    /// Lists everything from a directory on, by the rules and those that it meets.
    pub(crate) fn walk(&self, from: &SyncPath, rules: Rules, tell: &mut dyn FnMut(Listing)) {
        let rules = RefCell::new(rules);
        let skip = |directory: &SyncPath| rules.borrow().is_ignored(directory, true);
        self.root.walk(from, None, &skip, &mut |listing| {
            tell(listed(listing, &rules));
            if self.cancel.load(Ordering::Relaxed) { Flow::Stop } else { Flow::Continue }
        });
    }

    pub(crate) fn look(&self, paths: Vec<SyncPath>) -> Vec<(SyncPath, Result<Option<Seen>, Trouble>)> {
        let look = |path: SyncPath| {
            let seen = self.root.look(&path);
            (path, seen)
        };
        paths.into_iter().map(look).collect()
    }

    pub(crate) fn hash(&self, items: Vec<HashItem>) -> Vec<(SyncPath, HashOutcome)> {
        let outcomes = self.root.hash(&items, self.cancel);
        items.into_iter().map(|item| item.path).zip(outcomes).collect()
    }
}
