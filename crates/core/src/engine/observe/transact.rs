//! From what was found to transactions: hashing, pacing, and pairing both halves of a rename.

use std::collections::BTreeSet;

use super::{DEBOUNCE_MS, Found, PAIRING_MS, Pace, Transaction};
use crate::conflict::origins;
use crate::effect::{HashItem, HashOutcome, Trouble};
use crate::engine::{Effect, Engine};
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::record::Record;
use crate::version::Content;

/// A file that is written over and over is looked at this often at first, then less and less.
const PACE_MS_MIN: u64 = 50;
const PACE_MS_MAX: u64 = 10_000;
/// The longest interval at first, by the file's size: a small file costs little, and who saves it again and again waits for
/// it to be seen elsewhere. What goes on for long waits for so large a share of how long it has.
const PACE_MS_MAX_SMALL: u64 = 200;
const PACE_BYTES_PER_MS: u64 = 4 << 10;
const PACE_SHARE: u64 = 20;
/// The same while a file is being hashed that may be the other half, or where so much is missing that it would be held
/// while a walk goes on.
const PAIRING_HASHING_MS: u64 = 60_000;
const HASH_FILES_MAX: usize = 256;
const HASH_BYTES_MAX: u64 = 64 << 20;

impl Engine {
    pub(super) fn start_hashes(&mut self, mut to_hash: Vec<(SyncPath, u64)>) {
        to_hash.sort();
        let (large, small): (Vec<_>, Vec<_>) =
            to_hash.into_iter().partition(|(_, size)| *size > HASH_BYTES_MAX / 8);
        large.into_iter().for_each(|item| self.start_hash(vec![item], true));
        let mut group = Vec::new();
        let mut group_bytes = 0;
        for (path, size) in small {
            group_bytes += size;
            group.push((path, size));
            if group.len() >= HASH_FILES_MAX || group_bytes >= HASH_BYTES_MAX {
                self.start_hash(std::mem::take(&mut group), false);
                group_bytes = 0;
            }
        }
        if !group.is_empty() {
            self.start_hash(group, false);
        }
    }

    fn start_hash(&mut self, group: Vec<(SyncPath, u64)>, large: bool) {
        self.observer.n_batches += 1;
        let batch = self.observer.n_batches;
        let items = group.iter().map(|(path, _)| HashItem { path: path.clone() }).collect();
        self.busy.extend(group.iter().map(|(path, _)| path.clone()));
        self.observer.hashing.insert(batch, group);
        self.effects.push(Effect::Hash { batch, items, large });
    }

    pub(in crate::engine) fn on_hashed(&mut self, batch: u64, outcomes: Vec<(SyncPath, HashOutcome)>) {
        self.observer.hashing.remove(&batch);
        for (path, outcome) in outcomes {
            match outcome {
                HashOutcome::Hashed { seen, content, chunks } => {
                    let record = Record { content: Content::File(content), stat: seen.stat };
                    self.found(path, record, None, chunks);
                    continue; // Stays busy until it is minted.
                }
                HashOutcome::Changing => {
                    self.slow_down(&path);
                    self.look_at(path.clone(), PACE_MS_MIN);
                }
                HashOutcome::Differs => self.look_at(path.clone(), DEBOUNCE_MS),
                HashOutcome::Trouble(trouble) => self.trouble(&path, trouble),
            }
            self.release(&path);
        }
    }

    /// Nothing is at work on the path any more.
    pub(in crate::engine) fn release(&mut self, path: &SyncPath) {
        self.busy.remove(path);
        if self.observer.again.remove(path) {
            self.look_at(path.clone(), 0);
        }
        self.planner.reconsider(path.clone());
        self.reconsider_waiting_for_copy(path);
        self.reconsider_needed_above(path);
        if let Some(Content::File(content)) = self.tree.record(path).map(|record| record.content) {
            self.reconsider_wanting(&content);
        }
    }

    pub(super) fn slow_down(&mut self, path: &SyncPath) {
        let now = self.now.monotonic_ms;
        let before = self.observer.pace.get(path).map(|pace| (pace.interval_ms, pace.since));
        let (interval_ms, since) = before.unwrap_or((PACE_MS_MIN / 2, now));
        let interval_ms = (interval_ms * 2).min(self.pace_ms_max(path, now.saturating_sub(since)));
        self.observer.pace.insert(path.clone(), Pace { not_before: now + interval_ms, interval_ms, since });
    }

    /// How long a file that has been changing for so long waits at most. What is not recorded yet may be of any size.
    fn pace_ms_max(&self, path: &SyncPath, changing_ms: u64) -> u64 {
        let Some(record) = self.tree.record(path) else { return PACE_MS_MAX };
        let by_size = PACE_MS_MAX_SMALL + record.stat.size / PACE_BYTES_PER_MS;
        by_size.max(changing_ms / PACE_SHARE).min(PACE_MS_MAX)
    }

    /// Forgets the paces of what has rested.
    pub(in crate::engine) fn prune_paces(&mut self) {
        let now = self.now.monotonic_ms;
        self.observer.pace.retain(|_, pace| now < pace.not_before + PACE_MS_MAX);
    }

    /// A path that is found changed at its earliest time, again and again, is looked at less and less often.
    pub(in crate::engine) fn pace(&mut self, path: &SyncPath) {
        let now = self.now.monotonic_ms;
        match self.observer.pace.get(path) {
            Some(pace) if now < pace.not_before + pace.interval_ms / 2 => self.slow_down(path),
            _ => {
                let pace = Pace { not_before: now + PACE_MS_MIN, interval_ms: PACE_MS_MIN, since: now };
                self.observer.pace.insert(path.clone(), pace);
            }
        }
    }

    /// Makes transactions of what was found: edits at once; what is new and what is missing together, since they may
    /// be the two halves of renames, once nothing more is being found out or the time is up.
    pub(super) fn pair(&mut self) {
        if self.observer.found.is_empty() && self.observer.missing.is_empty() {
            return;
        }
        let wait = !self.observer.missing.is_empty() && !self.is_pairing_over();
        if wait && !self.observer.may_have_edits {
            return;
        }
        let mut transaction = Transaction::default();
        if wait {
            // What took the place of a directory waits with what is missing in it, which else would ask for it back.
            let is_edit = |(path, found): &(&SyncPath, &Found)| {
                self.tree.record(path).is_some_and(|record| {
                    record.content != Content::Directory || found.record.content == Content::Directory
                })
            };
            let edits: Vec<SyncPath> =
                self.observer.found.iter().filter(is_edit).map(|(path, _)| path.clone()).collect();
            self.observer.may_have_edits = !edits.is_empty(); // They may be held back below.
            for path in edits {
                transaction.found.extend(self.observer.found.remove_entry(&path));
            }
        } else {
            transaction.found = std::mem::take(&mut self.observer.found);
            transaction.missing = std::mem::take(&mut self.observer.missing);
            self.observer.pairing_since = None;
        }
        self.hold_back_doubtful(&mut transaction);
        self.hold_back_orphans(&mut transaction);
        self.hold_back_put_back(&mut transaction);
        self.begin(transaction);
    }

    /// No version is made of an item before there is one of the directory that it is in: else a crash in between would
    /// leave a user's directory that the registers ask for only because of what lies in it, and a file that was found there
    /// before would be shown beside it.
    fn hold_back_orphans(&mut self, transaction: &mut Transaction) {
        let mut unknown = BTreeSet::new();
        let paths: Vec<SyncPath> = transaction.found.keys().cloned().collect();
        for path in paths.into_iter().rev() {
            let is_unknown = |above: &SyncPath| match transaction.found.get(above) {
                Some(found) => found.record.content != Content::Directory,
                None => self.may_be_found(above),
            };
            let above = path.ancestors().filter(|above| !above.is_root());
            let mut above = above.filter(is_unknown).peekable();
            if above.peek().is_none() {
                continue;
            }
            unknown.extend(above);
            self.observer.found.extend(transaction.found.remove_entry(&path));
        }
        unknown.retain(|above| !self.observer.looking.contains(above) && !self.busy.contains(above));
        unknown.into_iter().for_each(|above| self.request_look(above));
    }

    /// True for a directory, if it is one, that is not recorded and of which a look would tell more.
    fn may_be_found(&self, directory: &SyncPath) -> bool {
        let is_directory = |record: &Record| record.content == Content::Directory;
        let local = self.local_changes.get(directory).and_then(Option::as_ref);
        !self.tree.record(directory).is_some_and(|record| is_directory(&record))
            && !local.is_some_and(is_directory)
            && !self.is_ignored(directory, true)
            && !self.troubles.contains_key(directory)
            && !self.unsupported.contains_key(directory.as_bytes())
    }

    /// Who exchanges a conflict copy with what is at the name that it is a copy of has replaced neither: what was found at
    /// the name is judged with what is found at the copy's, not before.
    fn hold_back_put_back(&mut self, transaction: &mut Transaction) {
        let is_early = |(path, found): (&SyncPath, &Found)| {
            let (copy, _) = found.moved_from.as_ref()?;
            let is_copy = origins(copy).contains(path) && !transaction.found.contains_key(copy);
            let is_late = self.now.monotonic_ms >= found.at + PAIRING_HASHING_MS;
            (is_copy && !is_late && self.is_being_found(copy)).then(|| path.clone())
        };
        let early: Vec<SyncPath> = transaction.found.iter().filter_map(is_early).collect();
        for path in early {
            self.observer.found.extend(transaction.found.remove_entry(&path));
        }
    }

    /// True if what is at a path will be known without anything else coming to pass.
    fn is_being_found(&self, path: &SyncPath) -> bool {
        let observer = &self.observer;
        let is_due = |due: &u64| *due <= self.now.monotonic_ms + DEBOUNCE_MS;
        observer.looking.contains(path)
            || observer.look_queue.get(path).is_some_and(is_due)
            || observer.found.contains_key(path)
            || observer.hashing.values().flatten().any(|(hashing, _)| hashing == path)
            || observer.transactions.values().any(|transaction| transaction.found.contains_key(path))
    }

    /// There is no directory here any more: what was found in it is looked at again.
    pub(super) fn drop_found_below(&mut self, path: &SyncPath) {
        let below = self.observer.found.range(path.clone()..).map(|(below, _)| below);
        let below = below.skip_while(|below| *below == path).take_while(|below| path.is_ancestor_of(below));
        for below in below.cloned().collect::<Vec<_>>() {
            self.observer.found.remove(&below);
            self.release(&below);
            self.look_at(below, 0);
        }
    }

    /// What may be the engine's own work of before the start is judged together with its copies, found elsewhere.
    fn hold_back_doubtful(&mut self, transaction: &mut Transaction) {
        if self.observer.is_ready || self.is_drained() {
            return;
        }
        let (planner, observer) = (&self.planner, &mut self.observer);
        let is_doubtful = |path: &&SyncPath| planner.doubts.is_about(path);
        let found: Vec<SyncPath> = transaction.found.keys().filter(is_doubtful).cloned().collect();
        let missing: Vec<SyncPath> = transaction.missing.iter().filter(is_doubtful).cloned().collect();
        for path in found {
            observer.found.extend(transaction.found.remove_entry(&path));
        }
        for path in missing {
            observer.missing.extend(transaction.missing.take(&path));
        }
        if !observer.missing.is_empty() {
            observer.pairing_since.get_or_insert(self.now.monotonic_ms);
        }
    }

    /// True if nothing more is being found out at present.
    fn is_drained(&self) -> bool {
        let observer = &self.observer;
        observer.walk.is_none()
            && observer.walk_queue.is_empty()
            && observer.looking.is_empty()
            && observer.hashing.is_empty()
            && observer.look_queue.values().all(|due| *due > self.now.monotonic_ms + DEBOUNCE_MS)
    }

    fn is_pairing_over(&self) -> bool {
        self.is_drained() || self.pairing_until().is_some_and(|until| self.now.monotonic_ms >= until)
    }

    /// Until when what is missing waits for its other halves.
    pub(super) fn pairing_until(&self) -> Option<u64> {
        let observer = &self.observer;
        let since = observer.pairing_since?;
        if observer.is_walking() && self.would_be_held(observer.missing.len()) {
            return Some(since + PAIRING_HASHING_MS); // The walk may find all of it, moved.
        }
        if observer.hashing.is_empty() {
            return Some(since + PAIRING_MS);
        }
        let missing_sizes: BTreeSet<u64> = observer
            .missing
            .iter()
            .filter_map(|path| self.tree.record(path))
            .map(|record| record.stat.size)
            .collect();
        let is_candidate_hashing =
            observer.hashing.values().flatten().any(|(_, size)| missing_sizes.contains(size));
        Some(since + if is_candidate_hashing { PAIRING_HASHING_MS } else { PAIRING_MS })
    }

    fn begin(&mut self, transaction: Transaction) {
        if transaction.found.is_empty() && transaction.missing.is_empty() {
            return;
        }
        if is_made(Mistake::SyncForgotten) {
            return self.mint(transaction);
        }
        self.observer.n_batches += 1;
        let batch = self.observer.n_batches;
        let needs_sync =
            |found: &Found| !matches!(found.record.content, Content::File(_)) || found.chunks.is_none();
        let named =
            transaction.found.iter().filter(|(_, found)| needs_sync(found)).map(|(path, _)| path.clone());
        let paths: Vec<SyncPath> = named.chain(transaction.missing.iter().cloned()).collect();
        self.observer.transactions.insert(batch, transaction);
        self.effects.push(Effect::Sync { batch, paths });
    }

    pub(in crate::engine) fn on_synced(&mut self, batch: u64, result: Result<(), Trouble>) {
        let Some(transaction) = self.observer.transactions.remove(&batch) else { return };
        match result {
            Ok(()) => self.mint(transaction),
            Err(trouble) => {
                for path in transaction.found.into_keys().chain(transaction.missing) {
                    self.trouble(&path, trouble.clone());
                    self.release(&path);
                }
            }
        }
    }
}
