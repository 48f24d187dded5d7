//! The threads that find out what is below a root: one walks, one reads the watcher, two hash.
//!
//! Small files are not kept waiting behind large ones. Ignored directories are not entered; the rules are taken from
//! the ignore files as the walk meets them, so that a directory and what is ignored in it are judged together.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use file_sync_core::effect::{HashItem, Trouble};
use file_sync_core::engine::{Event, Hint, Listing};
use file_sync_core::ignore::Rules;
use file_sync_core::path::{IGNORE_NAME, SyncPath};
use file_sync_disk::{Flow, Root, Watcher};

use super::disk_worker::DiskJob;
use crate::input::Reports;

/// How long the watcher's thread waits before it looks whether it is to end.
const WATCH_WAIT: Duration = Duration::from_secs(60);

/// A walk to be made.
#[derive(Debug)]
pub(super) struct WalkJob {
    pub(super) walk: u64,
    pub(super) from: SyncPath,
    pub(super) rules: Rules,
}

/// Files to be hashed.
#[derive(Debug)]
pub(super) struct HashJob {
    pub(super) batch: u64,
    pub(super) items: Vec<HashItem>,
}

/// A directory's watcher, once the system allows one: until then each whole walk asks for it.
#[derive(Clone)]
pub(super) struct Watching {
    watcher: Arc<Mutex<Option<Arc<Watcher>>>>,
    to_thread: Sender<Arc<Watcher>>,
    cancel: Arc<AtomicBool>,
}

impl Watching {
    /// Begins one if it can, which the thread that reads hints is to receive.
    pub(super) fn new(cancel: Arc<AtomicBool>) -> (Watching, Receiver<Arc<Watcher>>) {
        let (to_thread, watchers) = channel();
        let watching = Watching { watcher: Arc::default(), to_thread, cancel };
        if let Err(error) = watching.begin() {
            tracing::warn!(%error, "cannot watch for changes; scanning instead");
        }
        (watching, watchers)
    }

    /// The watcher, if there is one.
    pub(super) fn watcher(&self) -> Option<Arc<Watcher>> {
        self.slot().clone()
    }

    fn begin(&self) -> std::io::Result<()> {
        let mut slot = self.slot();
        // Who ends the directory says so first, and then closes what is here.
        if slot.is_none() && !self.cancel.load(Ordering::Relaxed) {
            let watcher = Arc::new(Watcher::new()?);
            let _ = self.to_thread.send(watcher.clone()); // It ends only with the directory.
            *slot = Some(watcher);
        }
        Ok(())
    }

    /// Ends the thread that reads hints, if it has begun.
    pub(super) fn close(&self) {
        if let Some(watcher) = &*self.slot() {
            watcher.close();
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Watcher>>> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn walk(root: &Arc<Root>, watching: &Watching, jobs: &Receiver<WalkJob>, reports: &Reports) {
    while let Ok(job) = jobs.recv() {
        if job.from.is_root() {
            let _ = watching.begin(); // That there is none yet is listed as trouble.
        }
        let rules = RefCell::new(job.rules);
        let skip = |directory: &SyncPath| rules.borrow().is_ignored(directory, true);
        root.walk(&job.from, watching.watcher().as_deref(), &skip, &mut |listing| {
            let listing = listed(listing, &rules);
            if reports.engine(Event::Listed { walk: job.walk, listing }) {
                Flow::Continue
            } else {
                Flow::Stop
            }
        });
        if !reports.engine(Event::Walked { walk: job.walk }) {
            return;
        }
    }
}

/// What a walk found in a directory, for the engine; the rules that it met are noted.
pub(super) fn listed(mut listing: file_sync_disk::Listing, rules: &RefCell<Rules>) -> Listing {
    if let Some(trouble) = unreadable_rules(&listing) {
        listing.result = Err(trouble);
    }
    note_rules(&mut rules.borrow_mut(), &listing);
    Listing {
        directory: listing.directory,
        result: listing.result,
        troubled: listing.troubled,
        other: listing.other,
    }
}

/// Without its rules nobody can tell what in a directory is to stay here: then all of it is unknown (promise L7).
fn unreadable_rules(listing: &file_sync_disk::Listing) -> Option<Trouble> {
    let (_, trouble) = listing.troubled.iter().find(|(path, _)| path.name() == IGNORE_NAME)?;
    let message =
        format!("nothing in it is looked at while its .syncignore cannot be read: {}", trouble.message);
    Some(Trouble { message, ..trouble.clone() })
}

fn note_rules(rules: &mut Rules, listing: &file_sync_disk::Listing) {
    let Ok(items) = &listing.result else { return };
    let ignore_file = items.iter().find(|(path, _)| path.name() == IGNORE_NAME);
    rules.set(&listing.directory, ignore_file.and_then(|(_, seen)| seen.rules.as_deref()));
}

pub(super) fn watch(
    root: &Root,
    watchers: &Receiver<Arc<Watcher>>,
    disk: &Sender<DiskJob>,
    reports: &Reports,
) {
    let Ok(watcher) = watchers.recv() else { return };
    while !watcher.is_closed() {
        let mut hints = Vec::new();
        for hint in watcher.next(WATCH_WAIT) {
            match hint {
                file_sync_disk::Hint::Changed(path) => hints.push(Hint::Path(path)),
                // What cannot be listed any more a look at the directory itself does not notice.
                file_sync_disk::Hint::Attributes(path) if !root.may_list(&path) => {
                    hints.push(Hint::Tree(path));
                }
                file_sync_disk::Hint::Attributes(path) => hints.push(Hint::Path(path)),
                file_sync_disk::Hint::Tree(path) => hints.push(Hint::Tree(path)),
                file_sync_disk::Hint::Overflow => hints.push(Hint::Overflow),
                file_sync_disk::Hint::RootGone => {
                    let _ = disk.send(DiskJob::Prove); // Ended already, when it is at its end.
                }
            }
        }
        if !hints.is_empty() && !reports.engine(Event::Hints(hints)) {
            return;
        }
    }
}

pub(super) fn hash(root: &Arc<Root>, jobs: &Receiver<HashJob>, cancel: &AtomicBool, reports: &Reports) {
    while let Ok(job) = jobs.recv() {
        let outcomes = root.hash(&job.items, cancel);
        let outcomes = job.items.into_iter().map(|item| item.path).zip(outcomes).collect();
        let is_heard = reports.engine(Event::Hashed { batch: job.batch, outcomes });
        if !is_heard || cancel.load(Ordering::Relaxed) {
            return;
        }
    }
}
