//! Starting a directory: opening its root and database, judging whether they still belong together.
//!
//! The first start of a directory in a server's life writes that server's random incarnation to the database, by which
//! the dots of this life are told from others', and then to the root's marker. A marker that remembers one that the
//! database does not know says that the database is older than it was, or somebody else's (promise C5): then the
//! directory's epoch and numbering are new ones, and the first scan infers no deletion. So it does when the root's device
//! or inode is another.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use file_sync_core::effect::Trouble;
use file_sync_core::engine::{Config, Counters, Engine, HoldLimit, Incarnation, Mode, PeerProgress, Stored};
use file_sync_core::version::{DeviceId, DirectoryId};
use file_sync_disk::{Root, RootError};
use file_sync_index::{Batch, Directory, DirectoryIndex, DirectoryReader, DirectoryState, IndexError};
use file_sync_net::Identity;
use tokio::sync::mpsc;

use super::index_worker::IndexWorker;
use super::scan_worker::Watching;
use super::{Room, Workers, disk_worker, kept, scan_worker};
use crate::clock;
use crate::input::{Input, Reports};
use crate::transfer::Transfer;

/// Stack of a worker's thread, in bytes.
const STACK_BYTES: usize = 512 << 10;
/// The priority that gives way to all others.
const LOWEST_PRIORITY: i32 = 19;

/// Why a directory did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoomError {
    /// Its root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// Its database.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The system has no more threads, or no randomness.
    #[error("cannot start the workers of {}: {error}", .path.display())]
    System {
        /// The root.
        path: PathBuf,
        /// The system's word.
        error: std::io::Error,
    },
}

/// What a home remembers of a directory's root.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    /// Its device and inode when it was last at work.
    pub(crate) identity: Option<(u64, u64)>,
    /// A start in doubt has not ended its first scan, as far as is known.
    pub(crate) is_doubted: bool,
    /// The machine has started anew since all that was on this disk was last known to be durable.
    pub(crate) may_have_fallen_back: bool,
    /// Deletions were held when it was last at work.
    pub(crate) was_holding: bool,
    /// Its kept versions are of a database that is no more, and not all listed in this one yet.
    pub(crate) is_unlisted: bool,
    /// Deletions of more than this are held; none: no deletion is.
    pub(crate) hold: Option<HoldLimit>,
}

/// What all directories of a server share.
#[derive(Clone)]
pub(crate) struct RoomContext {
    pub(crate) home: PathBuf,
    pub(crate) identity: Arc<Identity>,
    pub(crate) incarnation: u64,
    pub(crate) inputs: mpsc::Sender<Input>,
    /// True if walking and hashing gives way to everything else on the machine.
    pub(crate) is_low_priority: bool,
    /// True if entries of remotes are taken in only as far as authors bear witness.
    pub(crate) is_strict: bool,
}

impl RoomContext {
    /// Where a directory's database lies.
    pub(crate) fn database(&self, directory: &DirectoryId) -> PathBuf {
        self.home.join("directories").join(format!("{directory}.db"))
    }

    /// Starts a directory. To be told of a doubt, durably, before anything says that this home worked here: `doubt`.
    ///
    /// # Errors
    /// When its root or database is not as it has to be; nothing was changed.
    pub(crate) fn start(
        &self,
        row: Directory,
        root: Root,
        life: u64,
        known: &Known,
        doubt: &mut dyn FnMut() -> Result<(), IndexError>,
    ) -> Result<Room, RoomError> {
        let path = self.database(&row.directory);
        let mut index = open_or_create(&path)?;
        let remembered = index.state().cloned();
        let is_new = remembered.is_none();
        let is_moved = known.identity.is_some_and(|known| known != root.identity());
        let is_foreign = remembered.as_ref().is_some_and(|state| is_foreign(state, &root, self.incarnation));
        let was_doubted = known.is_doubted && remembered.as_ref().is_some_and(|state| !state.first_scan_done);
        let is_doubted = is_foreign || is_moved || was_doubted;
        let mut state = remembered.unwrap_or_default();
        if is_new {
            (state.index_id, state.epoch) = (random(&row.path)?, random(&row.path)?);
        } else if is_foreign {
            tracing::warn!(directory = %row.name, "this home is not the one that last worked here; starting a new epoch");
            (state.index_id, state.epoch) = (random(&row.path)?, random(&row.path)?);
            (state.counter, state.remotes) = (0, Default::default());
        }
        if is_doubted {
            doubt()?;
            state.first_scan_done = false;
        }
        self.leave_mark(&mut index, &root, &mut state)?;
        let mut stored = load(&mut index, &state)?;
        let device = self.identity.device_id();
        if known.is_unlisted {
            kept::bring_back_directories(&root, device).map_err(|trouble| unusable(&row.path, &trouble))?;
        } else {
            let listed = kept::reconcile(&root, device, clock::now().wall, &mut stored);
            let kept_added = listed.map_err(|trouble| unusable(&row.path, &trouble))?;
            index.commit(&Batch { kept_added, ..Default::default() })?;
        }
        let config = Config {
            directory: row.directory,
            device,
            mode: match row.mode {
                file_sync_index::Mode::TwoWay => Mode::TwoWay,
                file_sync_index::Mode::ReceiveOnly => Mode::ReceiveOnly,
                file_sync_index::Mode::SendOnly => Mode::SendOnly,
            },
            only_author: row.only_author,
            time_step_ns: root.time_step_ns().map_err(|trouble| unusable(&row.path, &trouble))?,
            doubted: is_doubted,
            may_have_fallen_back: known.may_have_fallen_back,
            hold: known.hold,
            was_holding: known.was_holding,
            is_strict: self.is_strict,
            incarnations: state.incarnations.clone(),
        };
        let engine = Arc::new(Mutex::new(Engine::new(config, stored, row.paused, clock::now())));
        self.assemble(row, Arc::new(root), life, engine, index, state.incarnations)
    }

    /// Writes this start's incarnation to the database, then to the root's marker.
    ///
    /// A marker that could not be made durable may stand there nevertheless, and may be gone after a power cut. So the
    /// database forgets an incarnation only where the next start finds that it did not come to the marker, and one that
    /// did is made durable before another follows it: however often a start fails, and wherever it is cut short, what
    /// the marker carries is among the last two that the database knows.
    fn leave_mark(
        &self,
        index: &mut DirectoryIndex,
        root: &Root,
        state: &mut DirectoryState,
    ) -> Result<(), RoomError> {
        let is_known = state.incarnations.last().map(|last| last.number) == Some(self.incarnation);
        if !is_known {
            let marked = Some(root.incarnation());
            let mut last = state.incarnations.iter().rev().map(|life| life.number);
            if last.next() == marked {
                root.set_incarnation(root.incarnation())?;
            } else if last.next() == marked {
                state.incarnations.pop(); // A start that was cut short here.
            }
            state.incarnations.push(Incarnation { number: self.incarnation, began: state.sequence });
        }
        index.commit(&Batch { state: Some(state.clone()), ..Default::default() })?;
        if is_known {
            // It may have been read from a log that could not be made durable when it was written.
            index.checkpoint()?;
        }
        Ok(root.set_incarnation(self.incarnation)?)
    }

    fn assemble(
        &self,
        row: Directory,
        root: Arc<Root>,
        life: u64,
        engine: Arc<Mutex<Engine>>,
        index: DirectoryIndex,
        incarnations: Vec<Incarnation>,
    ) -> Result<Room, RoomError> {
        let stop = Arc::new(AtomicBool::new(false));
        let reports = Reports { inputs: self.inputs.clone(), directory: row.directory, life, stop };
        let reader = Arc::new(Mutex::new(DirectoryReader::open(&self.database(&row.directory))?));
        let transfer = Transfer::new(row.directory, root.clone(), engine.clone(), reader, reports.clone());
        let index_worker = IndexWorker {
            index,
            identity: self.identity.clone(),
            directory: row.directory,
            incarnations,
            reports: reports.clone(),
        };
        let workers = spawn(&row, &root, index_worker, &reports, self.is_low_priority)?;
        let device = self.identity.device_id();
        Ok(Room { row, life, device, engine, root, workers, transfer, commit_trouble: None })
    }
}

fn unusable(path: &Path, trouble: &Trouble) -> RoomError {
    RoomError::System { path: path.to_owned(), error: std::io::Error::other(trouble.clone()) }
}

fn open_or_create(path: &Path) -> Result<DirectoryIndex, IndexError> {
    match DirectoryIndex::open(path) {
        Err(IndexError::Missing { .. }) => DirectoryIndex::create(path),
        result => result,
    }
}

/// A crash may leave the marker one incarnation behind the database; anything else is another life.
fn is_foreign(state: &DirectoryState, root: &Root, incarnation: u64) -> bool {
    let marked = root.incarnation();
    let mut known = state.incarnations.iter().rev().take(2);
    marked != incarnation && !known.any(|known| known.number == marked)
}

fn load(index: &mut DirectoryIndex, state: &DirectoryState) -> Result<Stored, IndexError> {
    let mut stored = Stored {
        rows: Default::default(),
        counters: Counters {
            index_id: state.index_id,
            epoch: state.epoch,
            counter: state.counter,
            sequence: state.sequence,
        },
        members: state.members.clone(),
        peers: state.remotes.iter().map(|(device, remote)| (*device, progress(remote))).collect(),
        kept: Vec::new(),
        doubts: index.doubts()?,
        first_scan_done: state.first_scan_done,
    };
    index.load(|row| stored.rows.push((row.path, row.register, row.record, row.sequence)))?;
    index.kept(|kept| stored.kept.push(kept))?;
    Ok(stored)
}

fn progress(remote: &file_sync_index::RemoteState) -> PeerProgress {
    PeerProgress {
        index_id: remote.index_id,
        merged: remote.merged,
        acknowledged: remote.acknowledged,
        incarnation: remote.incarnation,
        heard: remote.heard,
    }
}

fn spawn(
    row: &Directory,
    root: &Arc<Root>,
    index_worker: IndexWorker,
    reports: &Reports,
    is_low_priority: bool,
) -> Result<Workers, RoomError> {
    let (disk, disk_jobs) = channel();
    let (walk, walk_jobs) = channel();
    let (hash_small, small_jobs) = channel();
    let (hash_large, large_jobs) = channel();
    let (index, index_jobs) = channel();
    let cancel = reports.stop.clone();
    let (watching, watchers) = Watching::new(cancel.clone());
    let mut threads = Vec::new();
    let mut start = |what: &str, work: Box<dyn FnOnce() + Send>| -> Result<(), RoomError> {
        let builder =
            std::thread::Builder::new().name(format!("{what} {}", row.name)).stack_size(STACK_BYTES);
        let thread =
            builder.spawn(work).map_err(|error| RoomError::System { path: row.path.clone(), error })?;
        threads.push(thread);
        Ok(())
    };
    let context = || (root.clone(), reports.clone(), cancel.clone());
    let (own_root, own_reports, _) = context();
    start("disk", Box::new(move || disk_worker::run(&own_root, &disk_jobs, &own_reports)))?;
    let (own_root, own_reports, _) = context();
    let own_watching = watching.clone();
    let walk_work = move || scan_worker::walk(&own_root, &own_watching, &walk_jobs, &own_reports);
    start("walk", giving_way(is_low_priority, walk_work))?;
    for (what, jobs) in [("hash", small_jobs), ("hash large", large_jobs)] {
        let (own_root, own_reports, own_cancel) = context();
        let hash_work = move || scan_worker::hash(&own_root, &jobs, &own_cancel, &own_reports);
        start(what, giving_way(is_low_priority, hash_work))?;
    }
    let ((own_root, own_reports, _), own_disk) = (context(), disk.clone());
    start("watch", Box::new(move || scan_worker::watch(&own_root, &watchers, &own_disk, &own_reports)))?;
    start("index", Box::new(move || index_worker.run(&index_jobs)))?;
    Ok(Workers { disk, walk, hash_small, hash_large, index, watching, cancel, threads })
}

/// The work of a thread, and of all that it starts, that takes what nobody else wants of the processor, if that is asked
/// for; and of the disk likewise, since the kernel derives the one from the other.
fn giving_way(is_low_priority: bool, work: impl FnOnce() + Send + 'static) -> Box<dyn FnOnce() + Send> {
    Box::new(move || {
        // On Linux it is the calling thread whose priority this sets.
        if is_low_priority && let Err(error) = rustix::process::setpriority_process(None, LOWEST_PRIORITY) {
            tracing::warn!(%error, "cannot lower a thread's priority");
        }
        work();
    })
}

/// Random bits, for numbers that must not be guessed or met again.
pub(crate) fn random(path: &Path) -> Result<u64, RoomError> {
    getrandom::u64()
        .map_err(|error| RoomError::System { path: path.to_owned(), error: std::io::Error::other(error) })
}

/// Adds a device to a member list.
pub(crate) fn add_member(
    members: &file_sync_core::message::Members,
    device: DeviceId,
    key: [u8; 32],
    active: bool,
) -> file_sync_core::message::Members {
    let number = members.get(&device).map_or(1, |member| member.number.saturating_add(1));
    let member = file_sync_core::message::Member { number, active, key };
    std::iter::once((device, member)).collect()
}
