//! One directory at work: its engine, its root, its database, and the threads that carry out what the engine asks.
//!
//! The engine is stepped by the main loop alone; others lock it only to look up which path holds a content. Every
//! worker gets messages and returns messages.

mod disk_worker;
mod editor;
mod index_worker;
mod kept;
mod looker;
mod scan_worker;
mod signing;
mod start;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use file_sync_core::engine::{Effect, Engine, Event, WaitId};
use file_sync_core::message::Message;
use file_sync_core::version::{DeviceId, DirectoryId};
use file_sync_disk::{Missed, Root};
use file_sync_index::{Directory, Role};
use file_sync_net::Link;

pub(crate) use disk_worker::PROVE_EVERY;
pub(crate) use editor::{AllUnplaced, Bytes, Editor, KEPT_IS_OTHER, Settled, Unplaced, Wanted};
pub(crate) use looker::Looker;
pub(crate) use start::{Known, RoomContext, RoomError, add_member, random};

use crate::clock;
use crate::config::KeptMax;
use crate::input::RoomEvent;
use crate::transfer::{Beside, Transfer};
use disk_worker::DiskJob;
use index_worker::IndexJob;
use scan_worker::{HashJob, WalkJob, Watching};

/// How often it is looked whether a directory's tasks have let go of it.
const END_POLL: Duration = Duration::from_millis(10);
/// So long what is noted may take until it is durable, for whoever is to be told of it, and so often that is looked at.
const DURABLE_WITHIN: Duration = Duration::from_secs(2);
const DURABLE_PAUSE: Duration = Duration::from_millis(2);

/// What a directory's engine wants of the main loop.
pub(crate) enum Outward {
    /// Say something to a remote.
    Send(DeviceId, Message),
    /// A wait has ended well.
    WaitDone(WaitId),
    /// The member list has changed.
    MembersChanged,
    /// The directory has to be stopped, and started again from what is stored.
    Failed(String),
}

/// One directory at work.
pub(crate) struct Room {
    /// As the home's database has it.
    pub(crate) row: Directory,
    /// Tells this life of the directory from earlier ones.
    pub(crate) life: u64,
    device: DeviceId,
    engine: Arc<Mutex<Engine>>,
    root: Arc<Root>,
    workers: Workers,
    transfer: Transfer,
    /// Why nothing can be committed at present.
    commit_trouble: Option<String>,
}

struct Workers {
    disk: Sender<DiskJob>,
    walk: Sender<WalkJob>,
    hash_small: Sender<HashJob>,
    hash_large: Sender<HashJob>,
    index: Sender<IndexJob>,
    watching: Watching,
    cancel: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What the system does not let be watched of a directory.
pub(crate) enum Unwatched {
    /// All of it.
    Everything,
    /// Some directories.
    Some(Missed),
}

/// Locks an engine; one that panicked is as it was before the step that failed to end, and is not used further.
pub(crate) fn lock(engine: &Mutex<Engine>) -> MutexGuard<'_, Engine> {
    engine.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until what an engine has noted by now is durable, and so in the database; false if that takes long.
pub(crate) fn await_noted(engine: &Mutex<Engine>) -> bool {
    let (_, awaited) = lock(engine).commits();
    let deadline = Instant::now() + DURABLE_WITHIN;
    while lock(engine).commits().0 < awaited {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(DURABLE_PAUSE);
    }
    true
}

impl Room {
    /// Its id.
    pub(crate) fn id(&self) -> DirectoryId {
        self.row.directory
    }

    /// Its engine, to read or to ask.
    pub(crate) fn engine(&self) -> MutexGuard<'_, Engine> {
        lock(&self.engine)
    }

    /// Takes an event in and has everything carried out that follows.
    pub(crate) fn drive(
        &mut self,
        event: RoomEvent,
        links: &dyn Fn(DeviceId) -> Option<Link>,
    ) -> Vec<Outward> {
        let event = match event {
            RoomEvent::Engine(event) => event,
            RoomEvent::Committed { sequence, signatures } => {
                let mut engine = lock(&self.engine);
                for (path, dot, signature) in signatures {
                    engine.sign(&path, &dot, signature);
                }
                Event::Committed { sequence }
            }
            RoomEvent::KeptSwept(sweep) => {
                return self.with_engine(links, |engine| engine.kept_was_swept(clock::now(), sweep));
            }
            RoomEvent::Damaged(damaged) => {
                return self.with_engine(links, |engine| engine.heal(clock::now(), damaged));
            }
            RoomEvent::CommitTrouble(trouble) => {
                self.commit_trouble = trouble;
                return Vec::new();
            }
            RoomEvent::Failed(message) => return vec![Outward::Failed(message)],
        };
        tracing::trace!(directory = %self.row.name, ?event);
        self.with_engine(links, |engine| engine.step(clock::now(), event))
    }

    /// Has the engine do something and carries out what follows.
    pub(crate) fn with_engine(
        &mut self,
        links: &dyn Fn(DeviceId) -> Option<Link>,
        act: impl FnOnce(&mut Engine) -> Vec<Effect>,
    ) -> Vec<Outward> {
        let (effects, commit) = {
            let mut engine = lock(&self.engine);
            let effects = act(&mut engine);
            (effects, engine.take_commit())
        };
        if let Some(commit) = commit {
            self.transfer.note_chunks(&commit.chunks);
            self.tell_index(IndexJob::Commit(Box::new(commit)));
        }
        effects.iter().for_each(|effect| tracing::trace!(directory = %self.row.name, ?effect));
        effects.into_iter().filter_map(|effect| self.carry_out(effect, links)).collect()
    }

    fn carry_out(&mut self, effect: Effect, links: &dyn Fn(DeviceId) -> Option<Link>) -> Option<Outward> {
        match effect {
            Effect::Look(paths) => self.tell_disk(DiskJob::Look(paths)),
            Effect::Apply(ops) => self.tell_disk(DiskJob::Apply(ops)),
            Effect::Sync { batch, paths } => self.tell_disk(DiskJob::Sync { batch, paths }),
            Effect::CleanStage(keep) => self.tell_disk(DiskJob::CleanStage(keep)),
            Effect::Walk { walk, from, rules } => {
                let job = WalkJob { walk, from, rules: rules.0 };
                self.workers.walk.send(job).unwrap_or_else(|_| is_ended("walk"));
            }
            Effect::Hash { batch, items, large } => {
                let lane = if large { &self.workers.hash_large } else { &self.workers.hash_small };
                lane.send(HashJob { batch, items }).unwrap_or_else(|_| is_ended("hash"));
            }
            Effect::Fetch(requests) => self.transfer.fetch(requests, links),
            Effect::Send { to, message } => return Some(Outward::Send(to, message)),
            Effect::WaitDone(id) => return Some(Outward::WaitDone(id)),
            Effect::MembersChanged(_) => return Some(Outward::MembersChanged),
        }
        None
    }

    fn tell_disk(&self, job: DiskJob) {
        // One that has failed has said so, and the directory is about to be started again.
        let _ = self.workers.disk.send(job);
    }

    fn tell_index(&self, job: IndexJob) {
        self.workers.index.send(job).unwrap_or_else(|_| is_ended("index"));
    }

    /// What cannot be committed: trouble that is the directory's own rather than a path's.
    pub(crate) fn commit_trouble(&self) -> Option<String> {
        self.commit_trouble.clone()
    }

    /// What the system does not let be watched, if anything.
    pub(crate) fn unwatched(&self) -> Option<Unwatched> {
        match self.workers.watching.watcher() {
            None => Some(Unwatched::Everything),
            Some(watcher) => watcher.missed().map(Unwatched::Some),
        }
    }

    /// True if some changes are found only by scans.
    pub(crate) fn is_partly_watched(&self) -> bool {
        self.workers.watching.watcher().is_none_or(|watcher| watcher.n_missed() > 0)
    }

    /// For acts that its user does through the server.
    pub(crate) fn editor(&self) -> Editor {
        Editor {
            engine: self.engine.clone(),
            root: self.root.clone(),
            reader: self.transfer.reader(),
            disk: self.workers.disk.clone(),
            cancel: self.workers.cancel.clone(),
        }
    }

    /// For acts that want contents of remotes.
    pub(crate) fn beside(&self) -> Beside {
        self.transfer.beside()
    }

    /// What remotes' requests for content are answered from.
    pub(crate) fn serving(&self) -> crate::provider::Serving {
        crate::provider::Serving {
            engine: self.engine.clone(),
            root: self.root.clone(),
            reader: self.transfer.reader(),
            only_to: (self.row.role == Role::Offered && !self.row.offered_to.is_empty())
                .then(|| self.row.offered_to.clone()),
        }
    }

    /// Has all kept versions looked at, and before that those listed which the database does not know, if that is still
    /// to be done. To be called inside a tokio runtime.
    pub(crate) fn sweep_kept(&self, is_unlisted: bool, kept_max: KeptMax) {
        let (root, reader, reports) = (self.root.clone(), self.transfer.reader(), self.transfer.reports());
        let (device, cancel) = (self.device, self.workers.cancel.clone());
        tokio::task::spawn_blocking(move || {
            let listed = reader.lock().unwrap_or_else(PoisonError::into_inner).kept();
            match listed {
                Ok(listed) if is_unlisted => {
                    let sweep = kept::list(&root, &listed, clock::now().wall, &cancel);
                    reports.send(RoomEvent::KeptSwept(sweep));
                }
                Ok(listed) => {
                    let sweep = kept::sweep(&root, device, listed, clock::now().wall, kept_max, &cancel);
                    reports.send(RoomEvent::KeptSwept(sweep));
                }
                Err(error) => tracing::warn!(%error, "cannot read the list of kept versions"),
            }
        });
    }

    /// Ends it, and returns when nothing of it is at work any more, however long that takes.
    pub(crate) fn end(self) {
        self.end_within(Duration::MAX);
    }

    /// The same, but that tasks which read for remotes are waited for so long at most.
    pub(crate) fn end_within(self, limit: Duration) {
        let root = self.root.clone();
        for thread in self.stop() {
            let _ = thread.join(); // One that panicked has said so.
        }
        let ended = Instant::now();
        while Arc::strong_count(&root) > 1 && ended.elapsed() < limit {
            std::thread::sleep(END_POLL);
        }
    }

    /// Ends its threads; the database is closed when they have.
    pub(crate) fn stop(self) -> Vec<JoinHandle<()>> {
        let Room { workers, transfer, .. } = self;
        workers.cancel.store(true, Ordering::Relaxed);
        workers.watching.close();
        transfer.stop();
        drop(transfer); // With its reader: the last to close a database clears its log away, and a reader cannot.
        let _ = workers.index.send(IndexJob::Close); // It may have ended by itself.
        workers.threads
    }
}

/// A worker's thread ended before its directory did.
fn is_ended(worker: &str) {
    tracing::error!(worker, "a worker has ended unexpectedly; restart the server");
}
