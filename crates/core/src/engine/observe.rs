//! Finding users' acts: walks and hints say where to look, looks say what is there, hashes say which bytes.
//!
//! A walk and a hint only name paths. What counts is a look, which is carried out in order with the engine's own changes
//! of the disk, so that its answer is never older than they are (`look`). What differs from its record then becomes part
//! of a transaction: both halves of a rename in one, as far as they are found within the time allowed (`transact`).

mod look;
mod transact;

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Engine, RootState, RulesSnapshot};
use crate::effect::{ChunkList, Trouble};
use crate::mistake::{Mistake, is_made};
use crate::path::{IGNORE_NAME, SyncPath};
use crate::record::{Record, Seen};

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
    /// Something was found, or recorded, since the edits were last looked for among all that was found.
    pub(super) may_have_edits: bool,
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
    /// The first such walk since the root was last not there: what was listed before may be of what lay in its place.
    trusted_from: u64,
    /// The last such walk that told which of what was under way at the start was done.
    doubted_after: u64,
    /// Which files and symlinks were seen, by inode, where the engine may have put something; whether they could be read or
    /// not.
    pub(super) seen_in_doubt: SeenInDoubt,
}

/// Where files and symlinks were seen, and their inodes.
#[derive(Debug, Default)]
pub(super) struct SeenInDoubt {
    inodes: BTreeMap<SyncPath, u64>,
    paths: BTreeSet<(u64, SyncPath)>,
}

impl SeenInDoubt {
    fn note(&mut self, path: &SyncPath, inode: u64) {
        self.forget(path);
        self.inodes.insert(path.clone(), inode);
        self.paths.insert((inode, path.clone()));
    }

    fn forget(&mut self, path: &SyncPath) {
        if let Some(inode) = self.inodes.remove(path) {
            self.paths.remove(&(inode, path.clone()));
        }
    }

    /// The paths where an inode was seen.
    pub(super) fn at(&self, inode: u64) -> impl Iterator<Item = &SyncPath> {
        let later = self.paths.range((inode, SyncPath::root())..);
        later.take_while(move |(other, _)| *other == inode).map(|(_, path)| path)
    }
}

#[derive(Debug)]
struct Walk {
    id: u64,
    from: SyncPath,
    missing: BTreeSet<SyncPath>,
    /// Where it began could be listed.
    has_begun: bool,
}

/// Something on the disk that is unlike its record.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) record: Record,
    pub(super) target: Option<Box<[u8]>>,
    pub(super) chunks: Option<ChunkList>,
    /// Where it was recorded when it was found here, and how, if at another path.
    pub(super) moved_from: Option<(SyncPath, Record)>,
    /// When, in monotonic milliseconds.
    at: u64,
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
    /// Since when it has been changing without a rest.
    since: u64,
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

    fn is_walking(&self) -> bool {
        self.walk.is_some() || !self.walk_queue.is_empty()
    }

    pub(super) fn is_scanning(&self) -> bool {
        self.walk.is_some() || !self.hashing.is_empty()
    }

    /// The number that the next walk of everything will have, at the least.
    pub(super) fn next_walk(&self) -> u64 {
        self.n_walks + 1
    }

    /// True once the whole disk was listed since the root was last not there: its rules are known again.
    pub(super) fn knows_root(&self) -> bool {
        self.full_walk_ended >= self.trusted_from
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
                self.trouble(&directory, trouble);
                self.look_at(directory, 0);
                return; // Unknown is never absent: nothing below is compared.
            }
        };
        if let Some(active) = self.observer.walk.as_mut().filter(|active| active.from == directory) {
            active.has_begun = true;
        }
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
        let gone = self.unlisted_in(&directory, &listed);
        if let Some(active) = &mut self.observer.walk {
            active.missing.extend(gone);
        }
        for (path, trouble) in listing.troubled {
            self.trouble(&path, trouble);
        }
        for (path, seen) in items {
            self.note_seen_in_doubt(&path, &seen); // A look at it may fail.
            let is_known = self.tree.record(&path).is_some_and(|record| record.matches(&seen));
            let is_listed_trouble =
                self.troubles.contains_key(&path) || self.unsupported.contains_key(path.as_bytes());
            // A look that is under way may have been before the listing, and then does not know what that has found.
            let is_overtaking = self.busy.contains(&path)
                || self.observer.looking.contains(&path)
                || self.holds.is_missing(&path);
            if !is_known || is_listed_trouble || is_overtaking {
                self.look_at(path, PAIRING_MS);
            } else {
                self.planner.doubts.end([&path]); // Nothing was done there.
            }
        }
        if self.observer.look_queue.len() >= WALK_FLUSH {
            self.hurry_looks();
        }
    }

    /// What was not listed in a directory, and has to be looked at: something is recorded there, or below, or there was
    /// reason to think that something is.
    fn unlisted_in(&self, directory: &SyncPath, listed: &BTreeSet<&SyncPath>) -> Vec<SyncPath> {
        let is_unlisted = |child: &SyncPath| !listed.contains(child);
        // What lies in a directory may be recorded while the directory itself is not yet.
        let is_recorded = |child: &SyncPath| {
            self.tree.record(child).is_some() || self.tree.below(child).any(|(_, node)| node.record.is_some())
        };
        let recorded = self.tree.children(directory).into_iter().filter(is_unlisted).filter(is_recorded);
        let local = self.local_below(directory).filter_map(|(path, _)| directory.child_towards(path));
        // Where nothing is, and nothing is recorded, the engine may have been about to put something.
        let doubtful = self.planner.doubts.below(directory).filter_map(|path| directory.child_towards(path));
        let others = self.busy_children(directory).into_iter().chain(self.left_alone_in(directory));
        let others = others.chain(local).chain(doubtful).filter(is_unlisted);
        recorded.chain(others).collect()
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
        if active.from.is_root() && active.has_begun {
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
        if !self.planner.doubts.is_empty()
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
        self.observer.walk =
            Some(Walk { id, from: from.clone(), missing: BTreeSet::new(), has_begun: false });
        self.effects.push(Effect::Walk { walk: id, from, rules: RulesSnapshot(self.rules.clone()) });
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
            self.observer.trusted_from = self.observer.next_walk();
            self.request_walk(SyncPath::root());
            // A walk passes over what is as recorded, and the looks that these were waiting for are forgotten.
            self.planner.unsure().for_each(|path| self.request_look(path));
            self.planner.reconsider_all(&self.tree);
        }
    }
}
