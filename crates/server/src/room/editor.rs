//! Acts on a directory that are its user's, done through the server: versions brought back, conflicts resolved.
//!
//! They are made on the disk by the disk worker, in order with the engine's own and as carefully, and are then found there
//! like any user's act: the engine makes new versions of them. What they displace is kept.

mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use file_sync_core::conflict::origins;
use file_sync_core::effect::{Kept, Op, OpOutcome, Source};
use file_sync_core::engine::{Deed, Engine, Explanation, moved_from_below_why, moved_here_why};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Record, Stat};
use file_sync_core::version::{Content, ContentHash, Time, Value};
use file_sync_disk::Root;
use file_sync_index::{Act, ActsAfter, AlsoActs, DirectoryReader};
use tokio::sync::oneshot;

pub(crate) use self::resolve::Settled;
use super::disk_worker::DiskJob;
use super::lock;
use crate::api::command::Refusal;
use crate::provider::HOLDERS_MAX;

/// Why a kept version is not brought back that is not what it was.
pub(crate) const KEPT_IS_OTHER: &str = "what is kept here of that version has gone, or holds other bytes by now: somebody wrote into it, or it has rotted";

/// Mode of a directory that has to be made again, where nothing tells which it had.
const DIRECTORY_MODE: u16 = 0o700;
/// The most that is changed in one batch.
const OPS_MAX: usize = 1_000;
/// The most that the engine is asked about at once.
const LISTED_MAX: usize = 1_000;

/// What a user's acts need of a directory. Everything here blocks.
pub(crate) struct Editor {
    pub(super) engine: Arc<Mutex<Engine>>,
    pub(crate) root: Arc<Root>,
    pub(super) reader: Arc<Mutex<DirectoryReader>>,
    pub(super) disk: Sender<DiskJob>,
    /// Set when the directory's work is ended.
    pub(crate) cancel: Arc<AtomicBool>,
}

/// A version that is to be put at a path.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) path: SyncPath,
    pub(crate) content: Content,
    pub(crate) mode: u16,
    pub(crate) mtime: Time,
    pub(crate) bytes: Bytes,
    /// What was there when it was asked for. Nothing else is replaced, however long the bytes took to come.
    pub(crate) expect: Option<Record>,
}

/// Why a version is not at its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unplaced {
    /// Something else is there than was when it was asked for.
    Changed,
    /// Its bytes are not where they were found, or are others by now.
    Rotten,
    Failed(String),
}

/// By their paths.
pub(crate) type AllUnplaced = BTreeMap<SyncPath, Unplaced>;

/// Where a version's bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Bytes {
    /// In the kept version of this name.
    Kept(String),
    /// In the file at this path.
    At(SyncPath),
    /// In the staging area.
    Staged,
    /// Here: they are a symlink's target.
    Target(Box<[u8]>),
}

impl Editor {
    /// The kept versions of a path, of what was shown as its conflict copies, or of all below a directory, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn versions(&self, path: &SyncPath) -> Result<Vec<Kept>, Refusal> {
        let kept = self.reader.lock().unwrap_or_else(PoisonError::into_inner).kept();
        let mut kept = kept.map_err(|error| Refusal::new(error.to_string()))?;
        let is_at = |place: &SyncPath| place == path || path.is_ancestor_of(place);
        kept.retain(|kept| is_at(&kept.path) || origins(&kept.path).contains(path));
        kept.sort_by(|one, other| (other.at, &other.name).cmp(&(one.at, &one.name)));
        Ok(kept)
    }

    /// What was done to users' bytes at a path, below it, and to the directories above, and where its user has moved what was
    /// there; the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn acts(&self, path: &SyncPath, limit: usize) -> Result<Vec<Act>, Refusal> {
        let moved = AlsoActs {
            what: Deed::MovedHere.word().to_owned(),
            why: moved_here_why(path),
            why_begins: moved_from_below_why(path),
        };
        let acts = self.reader.lock().unwrap_or_else(PoisonError::into_inner).acts_and(path, &moved, limit);
        acts.map_err(|error| Refusal::new(error.to_string()))
    }

    /// The same, from where an earlier listing has come to; with where this one has come to, if it lists as many.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn acts_after(
        &self,
        path: &SyncPath,
        after: Option<ActsAfter>,
        limit: usize,
    ) -> Result<(Vec<Act>, Option<ActsAfter>), Refusal> {
        let acts = self.reader.lock().unwrap_or_else(PoisonError::into_inner).acts_after(path, after, limit);
        acts.map_err(|error| Refusal::new(error.to_string()))
    }

    /// True unless what is listed as kept has gone from the store, or is of another length by now.
    pub(crate) fn is_in_store(&self, name: &str, stat: &Stat) -> bool {
        match self.root.kept_stat(name) {
            Ok(seen) => seen.is_some_and(|seen| seen.stat.size == stat.size),
            // Whoever reads it says why it cannot be read.
            Err(_) => true,
        }
    }

    /// What this device's users moved, as [`moved_here_why`] says it, and when: at one
    /// of these times.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn moves(&self, times: &BTreeSet<Time>) -> Result<BTreeSet<(String, Time)>, Refusal> {
        let Some(first) = times.first() else { return Ok(BTreeSet::new()) };
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let moves = reader.whys(Deed::MovedHere.word(), *first, |(_, at)| times.contains(at));
        moves.map_err(|error| Refusal::new(error.to_string()))
    }

    /// What is at a path of the disk, as far as it was noted.
    pub(crate) fn on_disk(&self, path: &SyncPath) -> Option<Record> {
        lock(&self.engine).on_disk(path)
    }

    /// True if something is at a path of the disk, as far as it was noted.
    pub(crate) fn is_present(&self, path: &SyncPath) -> bool {
        path.is_root() || lock(&self.engine).on_disk(path).is_some()
    }

    /// True once the directory's work is to end: nothing may keep its root open for long.
    pub(crate) fn is_ending(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// All files and symlinks that are recorded.
    pub(crate) fn recorded(&self) -> Vec<(SyncPath, Record)> {
        lock(&self.engine).recorded()
    }

    /// The files at a path and below it whose deletion here is held.
    pub(crate) fn held(&self, path: &SyncPath) -> BTreeMap<SyncPath, ContentHash> {
        let engine = lock(&self.engine);
        let gone = engine.held().filter_map(|(held, has_gone)| has_gone.then_some(held));
        let below = gone.filter(|held| *held == path || path.is_ancestor_of(held));
        below.filter_map(|held| Some((held.clone(), engine.record(held)?.content.hash()))).collect()
    }

    /// What the versions say is to be at a path and below it, where this device's user has put something else, and that stays
    /// here.
    pub(crate) fn changed_here_alone(&self, path: &SyncPath) -> Vec<(SyncPath, Value, Time)> {
        lock(&self.engine).changed_here_alone(path)
    }

    /// What is recorded at a path.
    pub(crate) fn record(&self, path: &SyncPath) -> Option<Record> {
        lock(&self.engine).record(path)
    }

    /// How many paths differ here alone.
    pub(crate) fn n_local(&self) -> u64 {
        lock(&self.engine).n_local()
    }

    /// True where its user's changes are told to others.
    pub(crate) fn may_send(&self) -> bool {
        lock(&self.engine).may_send()
    }

    /// True if a remote has not followed yet what was done here.
    pub(crate) fn is_followed_late(&self) -> bool {
        lock(&self.engine).is_followed_late()
    }

    /// True if the disk is not as it was noted at a path, or if something in it has gone: what its user has just done is not
    /// noted yet.
    pub(crate) fn is_behind(&self, path: &SyncPath) -> bool {
        if !self.is_nobodys(path) && !self.is_as_noted(path) {
            return true;
        }
        self.is_directory(path) && self.has_lost_some(path)
    }

    /// True if something that was noted below a directory has gone. The engine is asked for some at a time, and is free while
    /// they are looked at.
    fn has_lost_some(&self, directory: &SyncPath) -> bool {
        let mut after = directory.clone();
        loop {
            let (some, last) = lock(&self.engine).on_disk_below(directory, &after, LISTED_MAX);
            if some.iter().any(|below| self.has_gone(below)) {
                return true;
            }
            let Some(last) = last else { return false };
            after = last;
        }
    }

    /// True if the disk is as it was noted at a path, as far as what is there is a version's.
    fn is_as_noted(&self, path: &SyncPath) -> bool {
        match (self.on_disk(path), self.root.look(path)) {
            (None, Ok(None)) => true,
            (Some(record), Ok(Some(seen))) if record.content == Content::Directory => {
                seen.kind == Kind::Directory
            }
            (Some(record), Ok(Some(seen))) => record.matches(&seen),
            _ => path.is_root(),
        }
    }

    /// True of what nothing is noted of any more, as rules match it by now.
    pub(crate) fn is_nobodys(&self, path: &SyncPath) -> bool {
        !path.is_root() && lock(&self.engine).is_nobodys(path)
    }

    /// Waits until what is noted by now can be read from the database too; false if that takes long.
    pub(crate) fn await_noted(&self) -> bool {
        super::await_noted(&self.engine)
    }

    /// True if a directory is at a path, as far as it was noted.
    pub(crate) fn is_directory(&self, path: &SyncPath) -> bool {
        path.is_root() || self.on_disk(path).is_some_and(|record| record.content == Content::Directory)
    }

    /// True if nothing is at a path of the disk, whatever is recorded.
    pub(crate) fn has_gone(&self, path: &SyncPath) -> bool {
        matches!(self.root.look(path), Ok(None))
    }

    /// Why a path is as it is.
    pub(crate) fn explain(&self, path: &SyncPath) -> Explanation {
        lock(&self.engine).explain(path)
    }

    /// Where else a content is: at another path of the directory, or else in the store, with what is known of it there.
    pub(crate) fn holder(&self, content: &ContentHash, path: &SyncPath) -> Option<(Bytes, Stat)> {
        let at = self.held_at(content, path).map(|(path, record)| (Bytes::At(path), record.stat));
        at.or_else(|| self.in_store(content).next().map(|(name, stat)| (Bytes::Kept(name), stat)))
    }

    /// Another path of the directory at which a content is.
    fn held_at(&self, content: &ContentHash, path: &SyncPath) -> Option<(SyncPath, Record)> {
        let engine = lock(&self.engine);
        let holders = engine.holders(content).filter(|(holder, _)| *holder != path);
        let holders: Vec<_> =
            holders.take(HOLDERS_MAX).map(|(holder, record)| (holder.clone(), record)).collect();
        drop(engine);
        let is_there = |(holder, record): &(SyncPath, Record)| {
            self.root.look(holder).is_ok_and(|seen| seen.is_some_and(|seen| record.matches(&seen)))
        };
        holders.into_iter().find(is_there)
    }

    /// The kept versions that hold a content, if they are in the store.
    fn in_store(&self, content: &ContentHash) -> impl Iterator<Item = (String, Stat)> {
        let engine = lock(&self.engine);
        let kept: Vec<(String, Stat)> =
            engine.kept_holders(content).map(|(name, stat)| (name.to_owned(), *stat)).collect();
        drop(engine);
        kept.into_iter().filter(|(name, stat)| self.is_in_store(name, stat))
    }

    /// Where a content is besides a place where it was not: its bytes are looked at.
    pub(crate) fn other_holder(&self, content: &ContentHash, path: &SyncPath, not: &Bytes) -> Option<Bytes> {
        let at = self.held_at(content, path).map(|(path, _)| Bytes::At(path)).filter(|at| at != not);
        let is_whole = |name: &String| self.root.kept_hash(name).is_ok_and(|hash| hash == *content);
        at.or_else(|| self.in_store(content).map(|(name, _)| name).find(is_whole).map(Bytes::Kept))
    }

    /// True if the engine wants a content, or has it staged.
    pub(crate) fn is_wanted_by_engine(&self, content: &ContentHash) -> bool {
        lock(&self.engine).wants(content)
    }

    /// Which of these are still to be put in place, and which cannot be, as something is in the way. At the path of the others
    /// is what they hold.
    pub(crate) fn lacking(&self, wanted: &[Wanted]) -> (BTreeSet<SyncPath>, AllUnplaced) {
        let (mut lacking, mut unplaced) = (BTreeSet::new(), AllUnplaced::new());
        for some in wanted.chunks(LISTED_MAX) {
            let (_, to_place) = self.places(some, &mut BTreeSet::new(), &mut unplaced);
            lacking.extend(to_place.into_iter().map(|wanted| wanted.path.clone()));
        }
        (lacking, unplaced)
    }

    /// Brings back one version of each path: all that can be. Those are returned that could not.
    pub(crate) fn bring_back(&self, wanted: &[Wanted]) -> AllUnplaced {
        let mut uses: BTreeMap<ContentHash, usize> = BTreeMap::new();
        wanted.iter().for_each(|wanted| *uses.entry(wanted.content.hash()).or_default() += 1);
        let (mut made, mut unplaced) = (BTreeSet::new(), AllUnplaced::new());
        for some in wanted.chunks(OPS_MAX) {
            let (mut ops, to_place) = self.places(some, &mut made, &mut unplaced);
            let mut placed = BTreeSet::new();
            for wanted in to_place {
                match self.placing(wanted, uses[&wanted.content.hash()] == 1) {
                    Ok(op) => {
                        ops.push(op);
                        placed.insert(&wanted.path);
                    }
                    Err(reason) => _ = unplaced.insert(wanted.path.clone(), reason),
                }
            }
            match self.outcomes(ops) {
                Ok(outcomes) => note_unplaced(&outcomes, &placed, &mut unplaced),
                Err(refusal) => {
                    let failed =
                        |path: &&SyncPath| ((*path).clone(), Unplaced::Failed(refusal.message.clone()));
                    unplaced.extend(placed.iter().map(failed));
                }
            }
            // What was there already, as is recorded, may have been changed meanwhile.
            let is_there =
                |wanted: &&Wanted| !placed.contains(&wanted.path) && !self.is_as_noted(&wanted.path);
            for wanted in some.iter().filter(is_there) {
                unplaced.entry(wanted.path.clone()).or_insert(Unplaced::Changed);
            }
        }
        unplaced
    }

    /// The directories to be made, and what is to be put in place. `made`: directories that were made for this already; the
    /// engine may not have found them yet.
    fn places<'a>(
        &self,
        wanted: &'a [Wanted],
        made: &mut BTreeSet<SyncPath>,
        unplaced: &mut AllUnplaced,
    ) -> (Vec<Op>, Vec<&'a Wanted>) {
        let (mut ops, mut to_place) = (Vec::new(), Vec::new());
        let engine = lock(&self.engine);
        let content_at = |path: &SyncPath| engine.on_disk(path).map(|record| record.content);
        for wanted in wanted {
            let mut above: Vec<SyncPath> = wanted.path.ancestors().filter(|above| !above.is_root()).collect();
            above.reverse();
            let is_other =
                |path: &&SyncPath| content_at(path).is_some_and(|content| content != Content::Directory);
            let found = content_at(&wanted.path);
            let is_directory = found == Some(Content::Directory);
            let hindrance = above.iter().find(is_other).or(is_directory.then_some(&wanted.path));
            if let Some(hindrance) = hindrance {
                let reason = in_the_way(hindrance).message;
                unplaced.insert(wanted.path.clone(), Unplaced::Failed(reason));
                continue;
            }
            if found == Some(wanted.content) && engine.is_damaged(&wanted.path) {
                let reason = "its bytes have rotted; it is replaced as soon as the right ones are found";
                unplaced.insert(wanted.path.clone(), Unplaced::Failed(reason.to_owned()));
                continue;
            }
            if found == Some(wanted.content) {
                continue;
            }
            for above in above {
                if content_at(&above).is_none() && made.insert(above.clone()) {
                    let mode = engine.mode_of_gone(&above).unwrap_or(DIRECTORY_MODE);
                    ops.push(Op::MakeDirectory { path: above, mode, mtime: None });
                }
            }
            to_place.push(wanted);
        }
        (ops, to_place)
    }

    /// Reads files, so the engine must not be locked. `is_last`: nothing else wants the same bytes from the stage.
    fn placing(&self, wanted: &Wanted, is_last: bool) -> Result<Op, Unplaced> {
        let Wanted { path, content, mode, mtime, bytes, expect } = wanted.clone();
        let place = |content, source| Op::Place { path: path.clone(), content, source, mode, mtime, expect };
        let link = |target| Op::PlaceSymlink { path: path.clone(), target, copy: None, expect };
        Ok(match (content, bytes) {
            (Content::Symlink(hash), Bytes::Kept(name)) => match self.root.kept_target(&name) {
                Ok(target) if ContentHash::of(&target) == hash => link(target),
                _ => return Err(Unplaced::Rotten),
            },
            (Content::Symlink(_), Bytes::Target(target)) => link(target),
            // Somebody may have written into it since, or it has rotted.
            (content, Bytes::Kept(name)) => {
                match self.root.kept_hash(&name) {
                    Ok(hash) if hash == content.hash() => {}
                    Ok(_) => return Err(Unplaced::Rotten),
                    Err(trouble) => {
                        tracing::warn!(%trouble, name, "a kept version cannot be read");
                        return Err(Unplaced::Rotten);
                    }
                }
                place(content.hash(), Source::Kept { name })
            }
            (_, Bytes::At(path)) => place(content.hash(), Source::Local { path }),
            (_, Bytes::Staged) => {
                // Whoever restores the same bytes at the same time has reserved them as well.
                let is_alone = self.root.n_reserved(content.hash()) <= 1;
                let consume = is_last && is_alone && !self.is_wanted_by_engine(&content.hash());
                place(content.hash(), Source::Staged { consume })
            }
            (_, Bytes::Target(_)) => return Err(Unplaced::Failed("it is no symlink".to_owned())),
        })
    }

    /// Has ops carried out as a user's acts, all of them.
    fn apply(&self, ops: Vec<Op>) -> Result<(), Refusal> {
        for (path, outcome) in self.outcomes(ops)? {
            match why_not(&outcome) {
                None => {}
                Some(Unplaced::Failed(reason)) => return Err(Refusal::new(format!("{path}: {reason}"))),
                Some(Unplaced::Rotten) => {
                    return Err(Refusal::new(format!("{path}: the version is not there any more")));
                }
                Some(Unplaced::Changed) => {
                    return Err(Refusal::new(format!(
                        "{path}: something else is there, or it has just changed; look, and try again"
                    )));
                }
            }
        }
        Ok(())
    }

    /// What came of ops that are a user's acts, in their order.
    fn outcomes(&self, ops: Vec<Op>) -> Result<Vec<(SyncPath, OpOutcome)>, Refusal> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        let paths: Vec<SyncPath> = ops.iter().map(|op| op.path().clone()).collect();
        // The disk worker ends when its directory does, be it to start again.
        let ended = || {
            Refusal::new("the directory is being stopped or started again; look at its status, and try again")
        };
        self.disk.send(DiskJob::Edit { ops, reply }).map_err(|_| ended())?;
        let outcomes = answer.blocking_recv().map_err(|_| ended())?;
        let outcomes = outcomes.map_err(|trouble| Refusal::new(trouble.message))?;
        Ok(paths.into_iter().zip(outcomes).collect())
    }
}

/// Notes of what was to be placed what was not. What failed since its directory could not be made says that.
fn note_unplaced(
    outcomes: &[(SyncPath, OpOutcome)],
    placed: &BTreeSet<&SyncPath>,
    unplaced: &mut AllUnplaced,
) {
    let not_done = outcomes.iter().filter_map(|(path, outcome)| Some((path, why_not(outcome)?)));
    let (files, directories): (AllUnplaced, AllUnplaced) =
        not_done.map(|(path, why)| (path.clone(), why)).partition(|(path, _)| placed.contains(path));
    for (path, why) in files {
        let above = path.ancestors().find_map(|above| directories.get_key_value(&above));
        let why = match above {
            Some((above, Unplaced::Changed)) => Unplaced::Failed(in_the_way(above).message),
            Some((above, Unplaced::Failed(reason))) => Unplaced::Failed(format!("{above}: {reason}")),
            Some((_, Unplaced::Rotten)) | None => why,
        };
        unplaced.insert(path, why);
    }
}

fn why_not(outcome: &OpOutcome) -> Option<Unplaced> {
    match outcome {
        OpOutcome::Done { .. } => None,
        OpOutcome::Trouble(trouble) => Some(Unplaced::Failed(trouble.to_string())),
        OpOutcome::NoSource => Some(Unplaced::Rotten),
        OpOutcome::Differs { .. } => Some(Unplaced::Changed),
    }
}

fn in_the_way(path: &SyncPath) -> Refusal {
    Refusal::new(format!("{path} is in the way; move it first, or use --to FILE"))
}

fn has_changed(path: &SyncPath) -> Refusal {
    Refusal::new(format!("{path} has just changed; look, and try again"))
}
