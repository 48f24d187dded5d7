//! Looking a directory through without watching it, and without changing anything in it.

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;

use file_sync_core::effect::{HashItem, HashOutcome, Trouble};
use file_sync_core::engine::Listing;
use file_sync_core::ignore::Rules;
use file_sync_core::path::SyncPath;
use file_sync_core::record::Seen;
use file_sync_disk::{Flow, Root};

use super::scan_worker::listed;

/// Answers an engine's questions about a root, on the thread that asks.
pub(crate) struct Looker<'a> {
    root: &'a Root,
    cancel: AtomicBool,
}

impl Looker<'_> {
    pub(crate) fn new(root: &Root) -> Looker<'_> {
        Looker { root, cancel: AtomicBool::new(false) }
    }

    /// Lists everything from a directory on, by the rules and those that it meets.
    pub(crate) fn walk(&self, from: &SyncPath, rules: Rules, tell: &mut dyn FnMut(Listing)) {
        let rules = RefCell::new(rules);
        let skip = |directory: &SyncPath| rules.borrow().is_ignored(directory, true);
        self.root.walk(from, None, &skip, &mut |listing| {
            tell(listed(listing, &rules));
            Flow::Continue
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
        let outcomes = self.root.hash(&items, &self.cancel);
        items.into_iter().map(|item| item.path).zip(outcomes).collect()
    }
}
