//! File events, by inotify: hints where to look, never facts.
//!
//! Directories are watched through their descriptors; a directory that moves keeps its watch and is known by its new
//! path as soon as the walk that its move asks for has been there. Nothing is looked at here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use file_sync_core::path::{RESERVED_NAME, SyncPath};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::at;

/// How many hints are gathered at once.
const N_HINTS_MAX: usize = 4_096;
/// What is read from the kernel at once, in bytes.
const READ_BYTES: usize = 64 << 10;

/// Where to look.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hint {
    /// Something about this path has changed.
    Changed(SyncPath),
    /// Who may do what with this directory may have changed: see whether it can be listed.
    Attributes(SyncPath),
    /// A directory has appeared here: walk it.
    Tree(SyncPath),
    /// Events were lost: walk everything.
    Overflow,
    /// The root itself was moved, removed or unmounted: prove it.
    RootGone,
}

/// Why a directory is not watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system allows no more watches.
    #[error("{path}: the limit of watches is reached; raise fs.inotify.max_user_watches")]
    Limit {
        /// Which directory.
        path: SyncPath,
    },
    /// Anything else.
    #[error("{path}: cannot be watched: {source}; it is scanned instead")]
    Io {
        /// Which directory.
        path: SyncPath,
        /// The system's word.
        source: std::io::Error,
    },
}

/// Directories that are not watched.
#[derive(Debug)]
pub struct Missed {
    /// How many.
    pub n_directories: u64,
    /// How many of them because the system allows no more watches.
    pub n_for_limit: u64,
    /// The first of the others, and the system's word.
    pub other: Option<(SyncPath, std::io::Error)>,
}

fn is_limit(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::NOMEM)
}

/// The watches of one root. One thread reads the hints, others may add watches meanwhile.
#[derive(Debug)]
pub struct Watcher {
    inotify: OwnedFd,
    stop: OwnedFd,
    is_closed: AtomicBool,
    watches: Mutex<Watches>,
}

#[derive(Debug, Default)]
struct Watches {
    paths: HashMap<i32, SyncPath>,
    ids: BTreeMap<SyncPath, i32>,
    /// Directories that could not be watched, and why not.
    missed: BTreeMap<SyncPath, Errno>,
}

impl Watcher {
    /// Makes one that watches nothing yet.
    ///
    /// # Errors
    /// When the system allows no more of them (`fs.inotify.max_user_instances`).
    pub fn new() -> std::io::Result<Watcher> {
        Ok(Watcher {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            is_closed: AtomicBool::new(false),
            watches: Mutex::default(),
        })
    }

    /// Watches an open directory, known by this path from now on.
    ///
    /// # Errors
    /// When it cannot be; it is counted as missed.
    pub fn watch(&self, directory: BorrowedFd<'_>, path: &SyncPath) -> Result<(), WatchError> {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        // Held over both calls: an event of the new watch waits until its path is known.
        let mut watches = self.watches();
        match inotify::add_watch(&self.inotify, at::proc_path(directory), flags) {
            Ok(id) => {
                watches.missed.remove(path);
                if let Some(replaced) = watches.insert(id, path) {
                    let _ = inotify::remove_watch(&self.inotify, replaced);
                }
                Ok(())
            }
            Err(errno) => {
                let is_first = watches.missed.is_empty();
                watches.missed.insert(path.clone(), errno);
                let path = path.clone();
                let error = match errno {
                    errno if is_limit(errno) => WatchError::Limit { path },
                    errno => WatchError::Io { path, source: errno.into() },
                };
                if is_first {
                    tracing::warn!(%error, "not all directories are watched");
                }
                Err(error)
            }
        }
    }

    /// Waits for hints, at most for `timeout`. None come when it has passed, or once the watcher is closed.
    ///
    /// Hints are in the order of their events; one that is repeated is given once.
    pub fn next(&self, timeout: Duration) -> Vec<Hint> {
        if self.is_closed() {
            return Vec::new();
        }
        let mut polled = [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) | Err(_) => Vec::new(),
            Ok(_) if self.is_closed() => Vec::new(),
            Ok(_) => self.read(),
        }
    }

    /// Ends the wait of [`Watcher::next`], now and for good.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        // The counter is nowhere near its end, where alone a write could fail.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }

    /// True once it is closed.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// How many directories are watched.
    pub fn n_watched(&self) -> usize {
        self.watches().paths.len()
    }

    /// How many directories could not be watched; if any, events are missing.
    pub fn n_missed(&self) -> u64 {
        self.watches().missed.len() as u64
    }

    /// What is missing; none if nothing is.
    pub fn missed(&self) -> Option<Missed> {
        let watches = self.watches();
        let n_for_limit = watches.missed.values().filter(|errno| is_limit(**errno)).count() as u64;
        let other = watches.missed.iter().find(|(_, errno)| !is_limit(**errno));
        let other = other.map(|(path, errno)| (path.clone(), (*errno).into()));
        let n_directories = watches.missed.len() as u64;
        (n_directories > 0).then_some(Missed { n_directories, n_for_limit, other })
    }

    fn read(&self) -> Vec<Hint> {
        let mut buffer = vec![MaybeUninit::uninit(); READ_BYTES];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let (mut hints, mut known) = (Vec::new(), BTreeSet::new());
        let mut add = |hint: Hint| {
            if known.insert(hint.clone()) {
                hints.push(hint);
            }
        };
        let mut n_events = 0;
        // What was read from the kernel is gone there: it is all turned into hints.
        while n_events < N_HINTS_MAX || !reader.is_buffer_empty() {
            let Ok(event) = reader.next() else { break };
            n_events += 1;
            let name = event.file_name().map(std::ffi::CStr::to_bytes);
            if let Some(hint) = self.hint(event.wd(), event.events(), name) {
                add(hint);
            }
        }
        hints
    }

    fn hint(&self, id: i32, events: ReadFlags, name: Option<&[u8]>) -> Option<Hint> {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            return Some(Hint::Overflow);
        }
        let mut watches = self.watches();
        if events.contains(ReadFlags::IGNORED) {
            watches.forget(id);
            return None;
        }
        let directory = watches.paths.get(&id)?.clone();
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return self_hint(directory, events);
        };
        if name == RESERVED_NAME {
            return None;
        }
        let path = directory.join(name).ok()?;
        if !events.contains(ReadFlags::ISDIR) {
            return Some(Hint::Changed(path));
        }
        if events.intersects(ReadFlags::MOVED_FROM | ReadFlags::DELETE) {
            watches.forget_missed(&path);
        }
        if events.contains(ReadFlags::MOVED_FROM) {
            // It may have left the root. If not, the walk of its new place watches it again.
            for id in watches.forget_tree(&path) {
                let _ = inotify::remove_watch(&self.inotify, id);
            }
        }
        let is_new = events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        Some(match events.contains(ReadFlags::ATTRIB) {
            _ if is_new => Hint::Tree(path),
            true => Hint::Attributes(path),
            false => Hint::Changed(path),
        })
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an event of a watched directory itself says.
fn self_hint(directory: SyncPath, events: ReadFlags) -> Option<Hint> {
    let is_gone = events.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT);
    match (directory.is_root(), is_gone) {
        (true, true) => Some(Hint::RootGone),
        (true, false) => None, // It is proved every few seconds.
        (false, false) if events.contains(ReadFlags::ATTRIB) => Some(Hint::Attributes(directory)),
        (false, _) => Some(Hint::Changed(directory)),
    }
}

impl Watches {
    /// Notes a watch's path; returns a watch of another directory that was known by it.
    fn insert(&mut self, id: i32, path: &SyncPath) -> Option<i32> {
        if let Some(old) = self.paths.insert(id, path.clone())
            && old != *path
            && self.ids.get(&old) == Some(&id)
        {
            self.ids.remove(&old);
        }
        let replaced = self.ids.insert(path.clone(), id).filter(|replaced| *replaced != id)?;
        self.paths.remove(&replaced);
        Some(replaced)
    }

    fn forget(&mut self, id: i32) {
        if let Some(path) = self.paths.remove(&id)
            && self.ids.get(&path) == Some(&id)
        {
            self.ids.remove(&path);
        }
    }

    /// Misses nothing at a directory and below it any more.
    fn forget_missed(&mut self, top: &SyncPath) {
        while let Some((next, _)) = self.missed.range(top..).next()
            && (next == top || top.is_ancestor_of(next))
        {
            let gone = next.clone();
            self.missed.remove(&gone);
        }
    }

    /// Forgets a directory and all below it; returns their watches.
    fn forget_tree(&mut self, top: &SyncPath) -> Vec<i32> {
        let tree =
            self.ids.range(top.clone()..).take_while(|(path, _)| *path == top || top.is_ancestor_of(path));
        let ids: Vec<i32> = tree.map(|(_, id)| *id).collect();
        ids.iter().for_each(|id| self.forget(*id));
        ids
    }
}
