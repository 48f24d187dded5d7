//! `sync up --dry-run`: what a first merge would do. The remote tells what it knows, page by page; then an engine that has
//! no remotes, no database and no say over the disk looks the directory through, and is asked what would follow.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use file_sync_core::effect::HashOutcome;
use file_sync_core::engine::{
    self, Config, Counters, Effect, Engine, Event, HoldLimit, Now, Outcome, Problem, Stored,
};
use file_sync_core::message::{Entry, Page};
use file_sync_core::path::SyncPath;
use file_sync_core::record::Kind;
use file_sync_core::size::announced_bytes;
use file_sync_core::version::{DeviceId, DirectoryId};
use file_sync_disk::{Root, RootError};

use super::House;
use super::verify::Progress;
use crate::api::command::{Refusal, Reply, SyncUp};
use crate::api::names::printable;
use crate::api::types::{
    Foreseen, ForeseenCount, ForeseenDirectory, ForeseenFile, Mode, PathMessage, Preview, Reading,
};
use crate::clock;
use crate::input::answer;
use crate::room::{Looker, RoomError, random};

/// Time goes faster for an engine that is only asked: what it would wait for is not waited for.
const TICK_MS: u64 = 50;
/// How long a tick takes here, and how many there are: files that change all the time are not waited for longer.
const TICK: Duration = Duration::from_millis(2);
const TICKS_MAX: u64 = 10_000;
/// Within this time the remote has to tell all.
const TOLD_WITHIN: Duration = Duration::from_secs(600);
/// How the directories are called that previews work in, below the home.
const SCRATCH_PREFIX: &str = "preview-";

/// How a preview is getting on while it is being made.
#[derive(Default)]
pub(super) struct Making {
    /// What it takes in memory, in bytes.
    weight: AtomicU64,
    reading: Progress,
}

/// What a remote has told of a directory so far.
pub(super) struct Told {
    only_author: Option<DeviceId>,
    entries: Vec<Entry>,
    n_troubled: u64,
    making: Arc<Making>,
    deadline: Instant,
}

impl Told {
    /// Nothing is told yet: the question is put from the beginning.
    pub(super) fn begin_anew(&mut self) {
        self.entries.clear();
        self.making.weight.store(0, Ordering::Relaxed);
    }

    /// The last path that was told of.
    pub(super) fn last(&self) -> Option<&SyncPath> {
        self.entries.last().map(|entry| &entry.path)
    }

    /// When all has to be told.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes a page in, of at most so many bytes more. True if that was all.
    pub(super) fn take_in(&mut self, page: Page, bytes_max: u64) -> Result<bool, String> {
        let weigh = |entry: &Entry| announced_bytes(&entry.path, &entry.register, None) as u64;
        let bytes = page.entries.iter().map(weigh).sum::<u64>();
        if bytes > bytes_max {
            let message =
                "it holds more than there is memory for; restart the server with a higher --announced-max";
            return Err(message.to_owned());
        }
        let told = page.entries.iter().map(|entry| &entry.path);
        let paths: Vec<&SyncPath> = self.last().into_iter().chain(told).collect();
        let is_in_order = paths.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_in_order || (page.entries.is_empty() && !page.is_last) {
            return Err("its answers make no sense".to_owned());
        }
        self.making.weight.fetch_add(bytes, Ordering::Relaxed);
        self.n_troubled = page.n_troubled;
        self.only_author = page.only_author;
        self.entries.extend(page.entries);
        Ok(page.is_last)
    }
}

/// Ends a rehearsal whose task is gone, whatever has become of it.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Removes what previews have left in a home whose server was stopped or killed while they were made.
pub(crate) fn remove_leftovers(home: &Path) {
    for entry in std::fs::read_dir(home).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(SCRATCH_PREFIX.as_bytes())
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(%error, path = %entry.path().display(), "cannot remove what a preview has left");
        }
    }
}

impl House {
    /// None: one is being made already.
    pub(super) fn begin_preview(&mut self) -> Option<Told> {
        if self.preview.upgrade().is_some() {
            return None;
        }
        let making = Arc::new(Making::default());
        self.preview = Arc::downgrade(&making);
        let deadline = Instant::now() + TOLD_WITHIN;
        Some(Told { only_author: None, entries: Vec::new(), n_troubled: 0, making, deadline })
    }

    pub(super) fn previewed_bytes(&self) -> u64 {
        self.preview.upgrade().map_or(0, |making| making.weight.load(Ordering::Relaxed))
    }

    /// How far the reading for a preview is, while one is being made.
    pub(super) fn previewing(&self) -> Option<Reading> {
        self.preview.upgrade().map(|making| making.reading.shown())
    }

    /// Looks the directory through, on a thread of its own, and answers what would follow.
    pub(super) fn rehearse(&self, request: &SyncUp, path: PathBuf, told: Told, mut reply: Reply<Preview>) {
        let rehearsal = Rehearsal {
            remote: printable(request.remote.as_str().as_ref()),
            name: request.name.as_str().to_owned(),
            path,
            mode: request.mode,
            home: self.context.home.clone(),
            device: self.context.identity.device_id(),
        };
        let cancel = Arc::new(AtomicBool::new(false));
        let end = CancelOnDrop(cancel.clone());
        let work = tokio::task::spawn_blocking(move || rehearsal.run(told, &cancel));
        tokio::spawn(async move {
            let result = tokio::select! {
                result = work => Some(result),
                () = reply.closed() => None,
            };
            if let Some(result) = result {
                let failed = |_| Err(Refusal::new("the preview has failed; the server's log says why"));
                answer(reply, result.unwrap_or_else(failed));
            }
            drop(end);
        });
    }
}

struct Rehearsal {
    remote: String,
    name: String,
    path: PathBuf,
    mode: Mode,
    home: PathBuf,
    device: DeviceId,
}

impl Rehearsal {
    fn run(self, told: Told, cancel: &AtomicBool) -> Result<Preview, Refusal> {
        let refused =
            |error: &dyn std::fmt::Display| Refusal::new(format!("{}: {error}", self.path.display()));
        let scratch = tempfile::Builder::new().prefix(SCRATCH_PREFIX).tempdir_in(&self.home);
        let scratch = scratch.map_err(|error| refused(&error))?;
        let mut engine = self.engine(told.only_author).map_err(|error| refused(&error))?;
        match peek(&self.path, scratch.path()) {
            Ok(Some(root)) => {
                let looker = Looker { root: &root, cancel };
                look_through(&mut engine, &looker, &told.making.reading)
                    .map_err(|reason| refused(&reason))?;
            }
            Ok(None) => {}
            Err(error) => return Err(Refusal::new(error.to_string())),
        }
        let foreseen = engine.foresee(told.entries).into_iter();
        let (directories, files): (Vec<_>, Vec<_>) =
            foreseen.map(shown).partition(|(_, is_directory)| *is_directory);
        let [directories, files] = [directories, files].map(|all| all.into_iter().map(|(file, _)| file));
        let files: Vec<ForeseenFile> = files.collect();
        let status = engine.status();
        Ok(Preview {
            remote: self.remote,
            name: self.name,
            path: self.path.as_path().into(),
            mode: self.mode,
            read_only: told.only_author.is_some(),
            held: would_be_held(&files),
            counts: counts(&files),
            files,
            directories: directories
                .map(|ForeseenFile { path, what, .. }| ForeseenDirectory { path, what })
                .collect(),
            unsupported: status.left_alone.into_iter().map(message).collect(),
            errors: status.problems.into_iter().map(message).collect(),
            remote_errors: told.n_troubled,
        })
    }

    fn engine(&self, only_author: Option<DeviceId>) -> Result<Engine, RoomError> {
        // As a join's would be: nobody can have replaced anything in its name.
        let epoch = random(&self.path)?;
        let config = Config {
            directory: DirectoryId([0; 16]),
            device: self.device,
            mode: match self.mode {
                Mode::TwoWay => engine::Mode::TwoWay,
                Mode::ReceiveOnly => engine::Mode::ReceiveOnly,
                Mode::SendOnly => engine::Mode::SendOnly,
            },
            only_author,
            time_step_ns: 1,
            doubted: false,
            may_have_fallen_back: false,
            hold: None,
            was_holding: false,
            is_strict: false,
            incarnations: Vec::new(),
        };
        let stored = Stored {
            rows: Default::default(),
            counters: Counters { index_id: 1, epoch, counter: 0, sequence: 0 },
            members: Default::default(),
            peers: Default::default(),
            kept: Vec::new(),
            doubts: Default::default(),
            first_scan_done: false,
        };
        Ok(Engine::new(config, stored, false, clock::now()))
    }
}

/// None: there is nothing yet.
fn peek(path: &Path, scratch: &Path) -> Result<Option<Root>, RootError> {
    match Root::peek(path, scratch) {
        Ok(root) => Ok(Some(root)),
        Err(RootError::Missing { path: missing }) if missing == path => Ok(None),
        Err(error) => Err(error),
    }
}

/// Answers what the engine asks of the disk until it has found out everything.
fn look_through(engine: &mut Engine, looker: &Looker<'_>, reading: &Progress) -> Result<(), &'static str> {
    let started = clock::now();
    for tick in 0..TICKS_MAX {
        let now = Now { monotonic_ms: started.monotonic_ms + tick * TICK_MS, ..started };
        let mut effects = VecDeque::from(engine.step(now, Event::Tick));
        while let Some(effect) = effects.pop_front() {
            if looker.cancel.load(Ordering::Relaxed) {
                return Err("nobody waits for it any more");
            }
            carry_out(effect, looker, reading, &mut |event| effects.extend(engine.step(now, event)));
            if let Some(commit) = engine.take_commit() {
                effects.extend(engine.step(now, Event::Committed { sequence: commit.counters.sequence }));
            }
        }
        if engine.has_found_out() {
            return Ok(());
        }
        std::thread::sleep(TICK);
    }
    Err("files in it change all the time; try again when they rest")
}

fn carry_out(effect: Effect, looker: &Looker<'_>, reading: &Progress, tell: &mut dyn FnMut(Event)) {
    match effect {
        Effect::Walk { walk, from, rules } => {
            looker.walk(&from, rules.0, &mut |listing| {
                let found = listing.result.iter().flatten().filter(|(_, seen)| seen.kind == Kind::File);
                let (files, bytes) = found.fold((0, 0), |(n, sum), (_, seen)| (n + 1, sum + seen.stat.size));
                reading.are_to_be_read(files, bytes);
                tell(Event::Listed { walk, listing });
            });
            tell(Event::Walked { walk });
        }
        Effect::Look(paths) => tell(Event::Looked(looker.look(paths))),
        Effect::Hash { batch, items, .. } => {
            let outcomes = looker.hash(items);
            let read = outcomes.iter().filter_map(|(_, outcome)| match outcome {
                HashOutcome::Hashed { seen, .. } => Some(seen.stat.size),
                _ => None,
            });
            let (files, bytes) = read.fold((0, 0), |(n, sum), size| (n + 1, sum + size));
            reading.are_read(files, bytes);
            tell(Event::Hashed { batch, outcomes });
        }
        // Names need not be durable for a question; bytes are made so by the hashing, which does no harm.
        Effect::Sync { batch, .. } => tell(Event::Synced { batch, result: Ok(()) }),
        Effect::CleanStage(_) => tell(Event::StageCleaned),
        Effect::Apply(_)
        | Effect::Fetch(_)
        | Effect::Send { .. }
        | Effect::WaitDone(_)
        | Effect::MembersChanged(_) => {}
    }
}

fn message(problem: Problem) -> PathMessage {
    let path = if problem.path.is_empty() { b".".as_slice() } else { &problem.path };
    PathMessage { mend: problem.mend, ..PathMessage::new(path, problem.message) }
}

/// Also whether it is a directory.
fn shown(foreseen: engine::Foreseen) -> (ForeseenFile, bool) {
    let (what, named_here, copies) = match foreseen.outcome {
        Outcome::Adopted => (Foreseen::Adopt, None, Vec::new()),
        Outcome::Fetched => (Foreseen::Fetch, None, Vec::new()),
        Outcome::Sent => (Foreseen::Send, None, Vec::new()),
        Outcome::Conflict { copies, is_named_here } => (Foreseen::Conflict, Some(is_named_here), copies),
        Outcome::Removed => (Foreseen::Remove, None, Vec::new()),
        Outcome::Local => (Foreseen::Local, None, Vec::new()),
        Outcome::Left => (Foreseen::Left, None, Vec::new()),
    };
    let copies = copies.iter().map(Into::into).collect();
    let path = (&foreseen.path).into();
    (ForeseenFile { path, what, bytes: foreseen.bytes, named_here, copies }, foreseen.is_directory)
}

/// True if the join would wait for its user's word before it takes so much away (promise L6).
fn would_be_held(files: &[ForeseenFile]) -> bool {
    let limit = HoldLimit::default();
    let count = |is_it: fn(Foreseen) -> bool| files.iter().filter(|file| is_it(file.what)).count() as u64;
    let n_removed = count(|what| what == Foreseen::Remove);
    let n_here = count(|what| what != Foreseen::Left);
    n_removed > limit.files && n_removed * 100 > limit.percent * n_here
}

fn counts(files: &[ForeseenFile]) -> Vec<ForeseenCount> {
    let mut counts: Vec<ForeseenCount> = Vec::new();
    for file in files {
        match counts.iter_mut().find(|count| count.what == file.what) {
            Some(count) => (count.files, count.bytes) = (count.files + 1, count.bytes + file.bytes),
            None => counts.push(ForeseenCount { what: file.what, files: 1, bytes: file.bytes }),
        }
    }
    counts.sort_by_key(|count| count.what);
    counts
}
