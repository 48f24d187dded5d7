//! `sync up --dry-run`: what a first merge would do. The remote tells what it knows, page by page; then an engine that has
//! no remotes, no database and no say over the disk looks the directory through, and is asked what would follow.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use file_sync_core::engine::{self, Config, Counters, Effect, Engine, Event, Now, Outcome, Stored};
use file_sync_core::message::{Entry, Page};
use file_sync_core::path::SyncPath;
use file_sync_core::size::announced_bytes;
use file_sync_core::version::{DeviceId, DirectoryId};
use file_sync_disk::{Root, RootError};

use super::House;
use crate::api::command::{Refusal, Reply, SyncUp};
use crate::api::names::printable;
use crate::api::types::{Foreseen, ForeseenCount, ForeseenFile, Mode, PathMessage, Preview};
use crate::clock;
use crate::input::answer;
use crate::room::Looker;

/// Time goes faster for an engine that is only asked: what it would wait for is not waited for.
const TICK_MS: u64 = 50;
/// How long a tick takes here, and how many there are: files that change all the time are not waited for longer.
const TICK: Duration = Duration::from_millis(2);
const TICKS_MAX: u64 = 10_000;

/// What a remote has told of a directory so far.
#[derive(Default)]
pub(super) struct Told {
    only_author: Option<DeviceId>,
    entries: Vec<Entry>,
    bytes: u64,
}

impl Told {
    /// Takes a page in. Returns after which path more has to be asked for; none: that was all.
    pub(super) fn take_in(&mut self, page: Page, bytes_max: u64) -> Result<Option<SyncPath>, String> {
        let weigh = |entry: &Entry| announced_bytes(&entry.path, &entry.register, None) as u64;
        self.bytes += page.entries.iter().map(weigh).sum::<u64>();
        if self.bytes > bytes_max {
            return Err(
                "it holds more than there is memory for; restart the server with a higher --announced-max"
                    .to_owned(),
            );
        }
        let last = self.entries.last().map(|entry| entry.path.clone());
        let next = page.entries.last().map(|entry| entry.path.clone());
        let is_going_on =
            page.is_last || next.as_ref().is_some_and(|next| last.is_none_or(|last| *next > last));
        if !is_going_on {
            return Err("its answers do not come to an end".to_owned());
        }
        self.only_author = page.only_author;
        self.entries.extend(page.entries);
        Ok(next.filter(|_| !page.is_last))
    }
}

impl House {
    /// Looks the directory through, on a thread of its own, and answers what would follow.
    pub(super) fn rehearse(&self, request: &SyncUp, path: PathBuf, told: Told, reply: Reply<Preview>) {
        let rehearsal = Rehearsal {
            remote: printable(request.remote.as_str().as_ref()),
            name: request.name.as_str().to_owned(),
            path,
            mode: request.mode,
            home: self.context.home.clone(),
            device: self.context.identity.device_id(),
        };
        tokio::task::spawn_blocking(move || {
            let result = rehearsal.run(told, &|| reply.is_closed());
            answer(reply, result);
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
    fn run(self, told: Told, is_given_up: &dyn Fn() -> bool) -> Result<Preview, Refusal> {
        let refused =
            |error: &dyn std::fmt::Display| Refusal::new(format!("{}: {error}", self.path.display()));
        let scratch = tempfile::Builder::new().prefix("preview-").tempdir_in(&self.home);
        let scratch = scratch.map_err(|error| refused(&error))?;
        let mut engine = self.engine(told.only_author);
        match peek(&self.path, scratch.path()) {
            Ok(Some(root)) => {
                look_through(&mut engine, &root, is_given_up).map_err(|reason| refused(&reason))?
            }
            Ok(None) => {}
            Err(error) => return Err(Refusal::new(error.to_string())),
        }
        let files: Vec<ForeseenFile> = engine.foresee(told.entries).into_iter().map(shown).collect();
        let errors = engine.status().problems.into_iter();
        let errors = errors.map(|problem| {
            let path = if problem.path.is_empty() { b".".as_slice() } else { &problem.path };
            PathMessage::new(path, problem.message)
        });
        Ok(Preview {
            remote: self.remote,
            name: self.name,
            path: self.path.as_path().into(),
            mode: self.mode,
            read_only: told.only_author.is_some(),
            counts: counts(&files),
            files,
            errors: errors.collect(),
        })
    }

    fn engine(&self, only_author: Option<DeviceId>) -> Engine {
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
            incarnations: Vec::new(),
        };
        let stored = Stored {
            rows: Vec::new(),
            counters: Counters { index_id: 1, epoch: 1, counter: 0, sequence: 0 },
            members: Default::default(),
            peers: Default::default(),
            kept: Vec::new(),
            doubts: Default::default(),
            first_scan_done: false,
        };
        Engine::new(config, stored, false, clock::now())
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
fn look_through(
    engine: &mut Engine,
    root: &Root,
    is_given_up: &dyn Fn() -> bool,
) -> Result<(), &'static str> {
    let started = clock::now();
    let mut looker = Looker::new(root);
    for tick in 0..TICKS_MAX {
        let now = Now { monotonic_ms: started.monotonic_ms + tick * TICK_MS, ..started };
        let mut effects = VecDeque::from(engine.step(now, Event::Tick));
        while let Some(effect) = effects.pop_front() {
            if is_given_up() {
                return Err("nobody waits for it any more");
            }
            carry_out(effect, &mut looker, &mut |event| effects.extend(engine.step(now, event)));
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

fn carry_out(effect: Effect, looker: &mut Looker<'_>, tell: &mut dyn FnMut(Event)) {
    match effect {
        Effect::Walk { walk, from, rules } => {
            looker.walk(&from, rules.0, &mut |listing| tell(Event::Listed { walk, listing }));
            tell(Event::Walked { walk });
        }
        Effect::Look(paths) => tell(Event::Looked(looker.look(paths))),
        Effect::Hash { batch, items, .. } => tell(Event::Hashed { batch, outcomes: looker.hash(items) }),
        // Nothing is made durable for a question.
        Effect::Sync { batch, .. } => tell(Event::Synced { batch, result: Ok(()) }),
        Effect::Apply(_)
        | Effect::Fetch(_)
        | Effect::Send { .. }
        | Effect::CleanStage(_)
        | Effect::WaitDone(_)
        | Effect::MembersChanged(_) => {}
    }
}

fn shown(foreseen: engine::Foreseen) -> ForeseenFile {
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
    ForeseenFile { path: (&foreseen.path).into(), what, bytes: foreseen.bytes, named_here, copies }
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
