//! Finding users' acts: walks and hints say where to look, looks say what is there, hashes say which bytes.
//!
//! A walk and a hint only name paths. What counts is a look, which is carried out in order with the engine's own changes
//! of the disk, so that its answer is never older than they are. What differs from its record then becomes part of a
//! transaction: both halves of a rename in one, as far as they are found within the time allowed (`transact`).

mod transact;

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Engine, RootState, RulesSnapshot};
use crate::effect::{ChunkList, Trouble, TroubleKind};
use crate::mistake::{Mistake, is_made};
use crate::path::{IGNORE_NAME, SyncPath};
use crate::record::{Kind, Record, Seen};
use crate::version::{Content, ContentHash};

/// How long hints are collected before they are looked at.
const DEBOUNCE_MS: u64 = 5;
/// How long new paths wait for the deletes found with them, or the other way round.
const PAIRING_MS: u64 = 1_000;
const LOOKS_MAX: usize = 65_536;
/// New paths found by a walk before they are looked at while it goes on.
const WALK_FLUSH: usize = 4_096;

/// A word from the watcher.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hint {
    /// Something happened at this path.
    Path(SyncPath),
    /// A directory has appeared here, or moved: everything below is unknown.
    Tree(SyncPath),
    /// Events were lost: everything is unknown.
    Overflow,
}

/// One directory, as a walk found it.
#[derive(Debug)]
pub struct Listing {
    /// Which.
    pub directory: SyncPath,
    /// All its items.
    pub result: Result<Vec<(SyncPath, Seen)>, Trouble>,
    /// Items that are there and could not be looked at.
    pub troubled: Vec<(SyncPath, Trouble)>,
    /// Names that cannot be synced, and why.
    pub other: Vec<(Vec<u8>, String)>,
}

/// What is being looked for, and what was found.
#[derive(Debug, Default)]
pub(super) struct Observer {
    /// Paths to look at, and when.
    look_queue: BTreeMap<SyncPath, u64>,
    looking: BTreeSet<SyncPath>,
    /// Asked for while something was at work on them.
    again: BTreeSet<SyncPath>,
    walk: Option<Walk>,
    walk_queue: BTreeSet<SyncPath>,
    n_walks: u64,
    n_batches: u64,
    hashing: BTreeMap<u64, Vec<(SyncPath, u64)>>,
    found: BTreeMap<SyncPath, Found>,
    missing: BTreeSet<SyncPath>,
    /// Missing, and when that was found no version said that it ought to be there: nobody is told that it is gone.
    pub(super) gone_elsewhere: BTreeSet<SyncPath>,
    /// Since when something is missing and may be one half of a rename.
    pairing_since: Option<u64>,
    pub(super) transactions: BTreeMap<u64, Transaction>,
    pace: BTreeMap<SyncPath, Pace>,
    /// Where other file systems are mounted: what the records say below them is hidden, not gone.
    mounts: BTreeSet<SyncPath>,
    first_walk_done: bool,
    /// Everything asked for at the start has been found out.
    pub(super) is_ready: bool,
    /// The counter of the last version that the first scan of a new member, or of a new epoch, made; the highest there
    /// is while that scan goes on.
    pub(super) first_scan_through: u64,
    /// Number of the last walk of everything that has ended.
    pub(super) full_walk_ended: u64,
    /// The last such walk that told which of what was under way at the start was done.
    doubted_after: u64,
}

#[derive(Debug)]
struct Walk {
    id: u64,
    from: SyncPath,
    missing: BTreeSet<SyncPath>,
}

/// Something on the disk that is unlike its record.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) record: Record,
    pub(super) target: Option<Box<[u8]>>,
    pub(super) chunks: Option<ChunkList>,
    /// It was recorded at another path when it was found here.
    pub(super) is_moved: bool,
}

/// What is minted in one step.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) found: BTreeMap<SyncPath, Found>,
    pub(super) missing: BTreeSet<SyncPath>,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    not_before: u64,
    interval_ms: u64,
}

impl Observer {
    /// True if nothing is being walked, looked at, hashed or waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.walk.is_none()
            && self.walk_queue.is_empty()
            && self.is_looked_through()
            && self.transactions.is_empty()
    }

    fn is_looked_through(&self) -> bool {
        self.look_queue.is_empty()
            && self.looking.is_empty()
            && self.again.is_empty()
            && self.hashing.is_empty()
            && self.found.is_empty()
            && self.missing.is_empty()
    }

    /// True if something was found to be unlike its record, and is not minted yet.
    pub(super) fn has_found(&self) -> bool {
        !self.found.is_empty() || !self.missing.is_empty() || !self.transactions.is_empty()
    }

    /// Notes that the disk was never looked through under this epoch.
    pub(super) fn begin_first_scan(&mut self) {
        self.first_scan_through = u64::MAX;
    }

    pub(super) fn is_first_scan(&self) -> bool {
        self.first_scan_through == u64::MAX
    }

    pub(super) fn is_scanning(&self) -> bool {
        self.walk.is_some() || !self.hashing.is_empty()
    }

    /// The number that the next walk of everything will have, at the least.
    pub(super) fn next_walk(&self) -> u64 {
        self.n_walks + 1
    }
}

impl Engine {
    pub(super) fn request_walk(&mut self, from: SyncPath) {
        if self.observer.walk_queue.iter().any(|queued| *queued == from || queued.is_ancestor_of(&from)) {
            return;
        }
        self.observer.walk_queue.retain(|queued| !from.is_ancestor_of(queued));
        self.observer.walk_queue.insert(from);
    }

    pub(super) fn request_look(&mut self, path: SyncPath) {
        self.look_at(path, 0);
    }

    /// Looks at everything that is waiting for its time.
    pub(super) fn hurry_looks(&mut self) {
        self.observer.look_queue.values_mut().for_each(|due| *due = 0);
    }

    fn look_at(&mut self, path: SyncPath, delay_ms: u64) {
        if path.is_root() {
            return;
        }
        let now = self.now.monotonic_ms;
        let not_before = self.observer.pace.get(&path).map_or(0, |pace| pace.not_before);
        let due = (now + delay_ms).max(if delay_ms > 0 { not_before } else { 0 });
        let queued = self.observer.look_queue.entry(path).or_insert(due);
        *queued = (*queued).min(due);
    }

    pub(super) fn on_hints(&mut self, hints: Vec<Hint>) {
        for hint in hints {
            match hint {
                Hint::Path(path) => self.look_at(path, DEBOUNCE_MS),
                Hint::Tree(path) => {
                    self.request_walk(path.clone());
                    self.look_at(path, DEBOUNCE_MS);
                }
                Hint::Overflow if is_made(Mistake::OverflowIgnored) => {}
                Hint::Overflow => self.request_walk(SyncPath::root()),
            }
        }
    }

    pub(super) fn on_listed(&mut self, walk: u64, listing: Listing) {
        if self.observer.walk.as_ref().is_none_or(|active| active.id != walk) {
            return;
        }
        let directory = listing.directory;
        let items = match listing.result {
            Ok(items) => items,
            Err(trouble) => {
                if !directory.is_root() {
                    self.trouble(&directory, trouble);
                    self.look_at(directory, 0);
                }
                return; // Unknown is never absent: nothing below is compared.
            }
        };
        let is_empty = items.is_empty() && listing.troubled.is_empty() && listing.other.is_empty();
        // What could not be removed because of what it holds can be listed all the same; that is over when it is empty.
        if is_empty || !self.is_not_empty(&directory) {
            self.is_over_trouble(&directory);
        }
        for (name, reason) in listing.other {
            let joined =
                if directory.is_root() { name } else { [directory.as_bytes(), b"/", &name].concat() };
            self.unsupported.insert(joined, reason);
        }
        let rules = items
            .iter()
            .find(|(path, _)| path.name() == IGNORE_NAME)
            .and_then(|(_, seen)| seen.rules.clone());
        self.set_rules(&directory, rules, true);
        let troubled: Vec<SyncPath> = listing.troubled.iter().map(|(path, _)| path.clone()).collect();
        let listed: BTreeSet<&SyncPath> = items.iter().map(|(path, _)| path).chain(&troubled).collect();
        let gone: Vec<SyncPath> =
            self.tree.children(&directory).into_iter().filter(|child| !listed.contains(child)).collect();
        let busy = self.busy_children(&directory).into_iter().filter(|child| !listed.contains(child));
        let local = self.local_below(&directory).filter_map(|(path, _)| directory.child_towards(path));
        let local: BTreeSet<SyncPath> = local.filter(|child| !listed.contains(child)).collect();
        let left_alone = self.left_alone_in(&directory);
        let left_alone: BTreeSet<SyncPath> =
            left_alone.into_iter().filter(|path| !listed.contains(path)).collect();
        let gone = gone.into_iter().chain(busy).chain(local.iter().chain(&left_alone).cloned());
        let gone: BTreeSet<SyncPath> = gone.collect();
        for child in gone {
            // What lies in a directory may be recorded while the directory itself is not yet.
            let has_record = self.tree.record(&child).is_some()
                || self.busy.contains(&child)
                || local.contains(&child)
                || left_alone.contains(&child)
                || self.tree.below(&child).any(|(_, node)| node.record.is_some());
            if let (true, Some(active)) = (has_record, &mut self.observer.walk) {
                active.missing.insert(child);
            }
        }
        for (path, trouble) in listing.troubled {
            self.trouble(&path, trouble);
        }
        for (path, seen) in items {
            let is_known = self.tree.record(&path).is_some_and(|record| record.matches(&seen));
            let is_listed_trouble =
                self.troubles.contains_key(&path) || self.unsupported.contains_key(path.as_bytes());
            // A look that is under way may have been before the listing, and then does not know what that has found.
            let is_overtaking = self.busy.contains(&path) || self.observer.looking.contains(&path);
            if !is_known || is_listed_trouble || is_overtaking {
                self.look_at(path, PAIRING_MS);
            }
        }
        if self.observer.look_queue.len() >= WALK_FLUSH {
            self.hurry_looks();
        }
    }

    /// Items of a directory that are left alone, as mounts are: they have no records, and are to be left alone no longer
    /// when they have gone.
    fn left_alone_in(&self, directory: &SyncPath) -> Vec<SyncPath> {
        let prefix = if directory.is_root() { Vec::new() } else { [directory.as_bytes(), b"/"].concat() };
        let below = self.unsupported.range(prefix.clone()..).map(|(name, _)| name);
        let below = below.take_while(|name| name.starts_with(&prefix));
        let paths = below.filter_map(|name| SyncPath::parse(name).ok());
        paths.filter(|path| path.parent().as_ref() == Some(directory)).collect()
    }

    /// Items of a directory that something is at work on: what is known of them may be overtaken.
    fn busy_children(&self, directory: &SyncPath) -> Vec<SyncPath> {
        let below = self.busy.range(directory.clone()..).skip_while(|path| *path == directory);
        let below = below.take_while(|path| directory.is_ancestor_of(path));
        below.filter(|path| path.parent().as_ref() == Some(directory)).cloned().collect()
    }

    pub(super) fn on_walked(&mut self, walk: u64) {
        let Some(active) = self.observer.walk.take_if(|active| active.id == walk) else { return };
        for path in active.missing {
            if is_made(Mistake::WalkTrusted) { self.found_nothing(&path) } else { self.look_at(path, 0) }
        }
        self.hurry_looks();
        if active.from.is_root() {
            self.observer.full_walk_ended = walk;
            self.observer.first_walk_done = true;
        }
    }

    /// Takes over what an ignore file says, and looks again at what it froze or freed.
    fn set_rules(&mut self, directory: &SyncPath, source: Option<Vec<u8>>, is_listed: bool) {
        let is_gone = source.is_none();
        if !self.rules.set(directory, source.as_deref()) {
            return;
        }
        // The first walk goes by the rules that it lists itself; it has passed what is only looked at, and has left out what
        // rules ignored that are gone.
        if self.observer.is_ready || !is_listed || is_gone {
            self.request_walk(directory.clone());
        }
        let below: Vec<SyncPath> = self.tree.below(directory).map(|(path, _)| path.clone()).collect();
        below.into_iter().for_each(|path| self.planner.reconsider(path));
    }

    /// When there is something to look at, or to make versions of, that is not waiting for an answer.
    pub(super) fn observation_deadline(&self) -> Option<u64> {
        if self.root != RootState::Proved {
            return None;
        }
        let observer = &self.observer;
        let look =
            if observer.looking.is_empty() { observer.look_queue.values().min().copied() } else { None };
        look.into_iter().chain(self.pairing_until()).min()
    }

    pub(super) fn advance_observation(&mut self) {
        if self.root != RootState::Proved {
            return;
        }
        self.start_walk();
        self.start_looks();
        self.pair();
        let full_walk_ended = self.observer.full_walk_ended;
        if self.planner.has_doubts()
            && self.observer.doubted_after < full_walk_ended
            && self.observer.is_idle()
        {
            self.observer.doubted_after = full_walk_ended;
            self.doubt_only_what_is_untold();
        }
        if !self.observer.is_ready && self.observer.first_walk_done && self.observer.is_idle() {
            self.observer.is_ready = true;
            self.displaced.clear();
            self.commits.note_first_scan_done();
            if self.observer.is_first_scan() {
                self.observer.first_scan_through = self.commits.counters.counter;
            }
        }
    }

    fn start_walk(&mut self) {
        if self.observer.walk.is_some() {
            return;
        }
        let Some(from) = self.observer.walk_queue.pop_first() else { return };
        self.observer.n_walks += 1;
        let id = self.observer.n_walks;
        self.observer.walk = Some(Walk { id, from: from.clone(), missing: BTreeSet::new() });
        self.effects.push(Effect::Walk { walk: id, from, rules: RulesSnapshot(self.rules.clone()) });
    }

    fn start_looks(&mut self) {
        if !self.observer.looking.is_empty() {
            return;
        }
        let now = self.now.monotonic_ms;
        let due: Vec<SyncPath> = self
            .observer
            .look_queue
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(path, _)| path.clone())
            .take(LOOKS_MAX)
            .collect();
        let mut paths = Vec::new();
        for path in due {
            self.observer.look_queue.remove(&path);
            if self.busy.contains(&path) {
                self.observer.again.insert(path);
            } else {
                self.observer.looking.insert(path.clone());
                paths.push(path);
            }
        }
        if !paths.is_empty() {
            self.effects.push(Effect::Look(paths));
        }
    }

    pub(super) fn on_looked(&mut self, results: Vec<(SyncPath, Result<Option<Seen>, Trouble>)>) {
        if self.root != RootState::Proved {
            self.observer.looking.clear();
            return;
        }
        let mut to_hash = Vec::new();
        let mut looked_at = Vec::new();
        for (path, result) in results {
            self.observer.looking.remove(&path);
            looked_at.push(path.clone());
            if self.busy.contains(&path) && !is_made(Mistake::BusyLookTrusted) {
                self.observer.again.insert(path);
                continue;
            }
            match result {
                Err(_) if is_made(Mistake::UnreadableIsAbsent) => self.found_nothing(&path),
                Err(trouble) => self.trouble(&path, trouble),
                Ok(None) => self.found_nothing(&path),
                Ok(Some(seen)) => to_hash.extend(self.found_something(path, seen)),
            }
        }
        self.start_hashes(to_hash);
        looked_at.retain(|path| !self.busy.contains(path));
        for path in looked_at {
            self.planner.is_sure(&path);
            self.reconsider_needed_above(&path);
        }
    }

    /// True while it is being found out whether anything is, still, below a path.
    pub(super) fn is_found_out_below(&self, path: &SyncPath) -> bool {
        let observer = &self.observer;
        let is_above_one = |set: &BTreeSet<SyncPath>| {
            let later = set.range(path.clone()..).find(|later| *later != path);
            later.is_some_and(|later| path.is_ancestor_of(later))
        };
        let queued = observer.look_queue.range(path.clone()..).find(|(later, _)| *later != path);
        is_above_one(&self.busy)
            || is_above_one(&observer.looking)
            || queued.is_some_and(|(later, _)| path.is_ancestor_of(later))
    }

    /// The look at a path worked: an earlier trouble with it is over, unless the plan meets it again. Where ops meet
    /// something else than looks do, only time tells.
    fn is_over_trouble(&mut self, path: &SyncPath) {
        let is_over = |trouble: &Trouble| trouble.kind != TroubleKind::Restless;
        if self.troubles.get(path).is_some_and(|(trouble, _)| is_over(trouble)) {
            self.troubles.remove(path);
            self.planner.reconsider(path.clone());
        }
        self.observer.mounts.remove(path);
        if self.unsupported.remove(path.as_bytes()).is_some() {
            let below: Vec<SyncPath> = self.tree.below(path).map(|(path, _)| path.clone()).collect();
            below.into_iter().chain([path.clone()]).for_each(|path| self.planner.reconsider(path));
        }
    }

    /// True for a mount and for all below it: nothing can be told of what the records say there.
    pub(super) fn is_hidden(&self, path: &SyncPath) -> bool {
        let mounts = &self.observer.mounts;
        !mounts.is_empty() && (mounts.contains(path) || path.ancestors().any(|above| mounts.contains(&above)))
    }

    fn found_nothing(&mut self, path: &SyncPath) {
        self.is_over_trouble(path);
        if path.name() == IGNORE_NAME {
            let parent = path.parent().unwrap_or_else(SyncPath::root);
            self.set_rules(&parent, None, false);
        }
        self.local_creation_is_gone(path);
        self.drop_found_below(path);
        self.nothing_is_in_doubt_at(path);
        let mounts = self.observer.mounts.iter().filter(|mount| path.is_ancestor_of(mount));
        mounts.cloned().collect::<Vec<_>>().into_iter().for_each(|mount| self.request_look(mount));
        let below: Vec<SyncPath> = self.recorded_below(path);
        if self.tree.record(path).is_some() && !self.is_recorded_ignored(path) {
            self.found_missing(path.clone());
        }
        below.into_iter().for_each(|path| self.found_missing(path));
    }

    /// Nothing is there and nothing is recorded: whatever comes there next is no work of the engine's.
    fn nothing_is_in_doubt_at(&mut self, path: &SyncPath) {
        if !self.observer.is_ready || !self.planner.has_doubts() {
            return;
        }
        let below = self.tree.below(path).map(|(path, _)| path).chain([path]);
        let is_told = |at: &&SyncPath| self.tree.record(at).is_none() && !self.busy.contains(*at);
        let told: Vec<SyncPath> = below.filter(is_told).cloned().collect();
        self.planner.is_told(&told);
    }

    /// True while it is being found out what is at a path, or in all of the directory.
    pub(super) fn is_found_out_about(&self, path: &SyncPath) -> bool {
        let observer = &self.observer;
        !observer.first_walk_done
            || self.busy.contains(path)
            || observer.looking.contains(path)
            || observer.look_queue.contains_key(path)
            || observer.again.contains(path)
    }

    fn recorded_below(&self, path: &SyncPath) -> Vec<SyncPath> {
        let recorded = self.tree.below(path).filter(|(_, node)| node.record.is_some());
        recorded.map(|(path, _)| path.clone()).filter(|path| !self.is_recorded_ignored(path)).collect()
    }

    fn is_recorded_ignored(&self, path: &SyncPath) -> bool {
        let is_directory = self.tree.record(path).is_some_and(|record| record.content == Content::Directory);
        self.is_ignored(path, is_directory)
    }

    fn found_missing(&mut self, path: SyncPath) {
        if self.is_hidden(&path) {
            return;
        }
        if self.busy.contains(&path) && !is_made(Mistake::BusyLookTrusted) {
            self.observer.again.insert(path);
            return;
        }
        // What comes to this path from now on its user has not seen.
        if self.is_gone_elsewhere(&path) {
            self.observer.gone_elsewhere.insert(path.clone());
        } else {
            self.observer.gone_elsewhere.remove(&path);
        }
        self.busy.insert(path.clone());
        self.observer.missing.insert(path);
        self.observer.pairing_since.get_or_insert(self.now.monotonic_ms);
    }

    /// Returns the path and size if it has to be hashed.
    fn found_something(&mut self, path: SyncPath, seen: Seen) -> Option<(SyncPath, u64)> {
        if seen.kind != Kind::Directory {
            self.is_over_trouble(&path); // A directory's is over when it can be listed.
        }
        if path.name() == IGNORE_NAME {
            let parent = path.parent().unwrap_or_else(SyncPath::root);
            self.set_rules(&parent, seen.rules.clone(), false);
        }
        let is_directory = seen.kind == Kind::Directory;
        if !is_directory {
            self.local_creations_below_are_gone(&path);
            self.drop_found_below(&path);
        }
        if self.is_ignored(&path, is_directory) {
            self.is_over_trouble(&path); // It is no concern any more.
            return None;
        }
        if self.tree.record(&path).is_some_and(|record| record.matches(&seen)) {
            self.local_change_is_undone(&path);
            return None;
        }
        if matches!(self.local_changes.get(&path), Some(Some(local)) if local.matches(&seen)) {
            return None;
        }
        if seen.kind == Kind::Mount {
            self.observer.mounts.insert(path.clone());
        }
        if !is_directory {
            self.recorded_below(&path).into_iter().for_each(|below| self.found_missing(below));
            let overtaken = self.busy.range(path.clone()..).skip_while(|busy| **busy == path);
            let overtaken = overtaken.take_while(|busy| path.is_ancestor_of(busy)).cloned();
            self.observer.again.extend(overtaken);
        }
        self.found_kind(path, seen)
    }

    fn found_kind(&mut self, path: SyncPath, seen: Seen) -> Option<(SyncPath, u64)> {
        let content = match &seen.kind {
            Kind::Unsupported => {
                self.unsupported
                    .insert(path.as_bytes().to_vec(), "not a file, directory or symlink: left alone".into());
                return None;
            }
            Kind::Mount => {
                self.unsupported.insert(
                    path.as_bytes().to_vec(),
                    "another file system is mounted here: left alone".into(),
                );
                return None;
            }
            Kind::Directory => {
                if self.tree.record(&path).is_none_or(|record| record.content != Content::Directory) {
                    self.request_walk(path.clone());
                }
                Content::Directory
            }
            Kind::Symlink(target) => Content::Symlink(ContentHash::of(target)),
            Kind::File => match self.content_by_inode(&seen) {
                Some(content) => content,
                None => return Some((path, seen.stat.size)),
            },
        };
        let target = if let Kind::Symlink(target) = seen.kind { Some(target) } else { None };
        self.busy.insert(path.clone());
        self.found(path, Record { content, stat: seen.stat }, target, None);
        None
    }

    fn found(
        &mut self,
        path: SyncPath,
        record: Record,
        target: Option<Box<[u8]>>,
        chunks: Option<ChunkList>,
    ) {
        let is_moved = self.inodes.get(&record.stat.inode).is_some_and(|other| *other != path);
        self.observer.found.insert(path, Found { record, target, chunks, is_moved });
    }

    /// The content of a file that has another name in the records, if nothing about its inode has changed.
    fn content_by_inode(&self, seen: &Seen) -> Option<Content> {
        let record = self.tree.record(self.inodes.get(&seen.stat.inode)?)?;
        (record.matches(seen) || is_made(Mistake::InodeTrusted)).then_some(record.content)
    }

    /// Forgets everything that was being found out: the root is not what it was.
    pub(super) fn on_root_lost(&mut self, reason: String) {
        self.root = RootState::Lost(reason);
        let observer = &mut self.observer;
        let held = observer.found.keys().chain(&observer.missing).chain(
            observer
                .transactions
                .values()
                .flat_map(|transaction| transaction.found.keys().chain(&transaction.missing)),
        );
        let held: Vec<SyncPath> = held.cloned().collect();
        observer.found.clear();
        observer.missing.clear();
        observer.gone_elsewhere.clear();
        observer.transactions.clear();
        observer.pairing_since = None;
        observer.look_queue.clear();
        observer.again.clear();
        observer.walk = None;
        held.iter().for_each(|path| {
            self.busy.remove(path);
        });
    }

    pub(super) fn on_root_proved(&mut self) {
        if self.root != RootState::Proved {
            self.root = RootState::Proved;
            self.request_walk(SyncPath::root());
            // A walk passes over what is as recorded, and the looks that these were waiting for are forgotten.
            self.planner.unsure().for_each(|path| self.request_look(path));
            self.planner.reconsider_all(&self.tree);
        }
    }
}
