//! What an engine knows of one remote: how far each has come with the other's entries, what was refused, and how often
//! it may have this device do what costs much.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::pace::Pace;
use crate::engine::wait;
use crate::message::{Attach, Progress};
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;

/// Paths of a remote's refused entries that are remembered, to be listed.
const REFUSED_MAX: usize = 1_024;
/// Sequence numbers that may be under way to a remote before it has said that it merged them.
const WINDOW: u64 = 65_536;
/// Bytes of entries that may be under way likewise.
const WINDOW_BYTES: usize = 24 << 20;
/// To attach costs a pass over all paths: the pause between two is so long in milliseconds, and one more for so many
/// paths.
pub(super) const ATTACH_PAUSE_MS: u64 = 1_000;
pub(super) const ATTACH_PATHS_EACH_MS: u64 = 1_000;

/// How far a remote's entries are merged, as it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PeerProgress {
    /// The remote's numbering.
    pub index_id: u64,
    /// Merged up to here.
    pub merged: u64,
    /// How far the remote's disk has followed this device's numbering, all that it had done before being known here.
    pub acknowledged: u64,
    /// The start of the remote's server of which entries were merged last; 0: none.
    pub incarnation: u64,
    /// The highest number that the remote was ever said to have given, by whom entries were merged.
    pub heard: u64,
}

#[derive(Debug, Default)]
pub(in crate::engine) struct Peer {
    pub(super) index_id: u64,
    pub(super) incarnation: u64,
    /// The start of the remote's server that is linked; it counts once its entries are taken.
    pub(super) attached_incarnation: u64,
    /// The highest number that it was ever said to have given, by a server of which entries were merged. Not merely what
    /// was merged: of what was told up to a number, that which had changed again since was left out.
    pub(super) heard: u64,
    pub(in crate::engine) merged: u64,
    pub(in crate::engine) merged_under_way: u64,
    pub(in crate::engine) merged_durable: u64,
    /// The remote's newest sequence number that it has told of.
    pub(super) latest: u64,
    pub(super) is_up: bool,
    pub(super) has_attached: bool,
    pub(super) has_detached: bool,
    /// It was told last that this device takes no part.
    pub(super) is_detached_from: bool,
    /// It has detached to be started again, and comes back in a moment.
    pub(super) is_to_return: bool,
    pub(in crate::engine) sends_only: bool,
    /// As it has said last: see [`Progress::expecting`].
    pub(in crate::engine) expecting: u32,
    /// As it has said last: how many paths are in trouble there.
    pub(in crate::engine) n_troubles: u64,
    /// What it has not been told yet, by sequence number.
    pub(super) outbox: BTreeMap<u64, SyncPath>,
    pub(super) sent_through: u64,
    pub(super) merged_ours: u64,
    pub(in crate::engine) applied_ours: u64,
    /// The same, as it was when all that it had done had been told before.
    pub(in crate::engine) followed_ours: u64,
    /// Paths heard of from it that this disk has not followed yet, with the number that holds back the progress.
    pub(in crate::engine) awaiting: BTreeMap<SyncPath, u64>,
    pub(super) awaiting_numbers: BTreeSet<(u64, SyncPath)>,
    /// Paths whose entries were not taken in, and the lowest number that holds back the progress for them.
    pub(super) refused: BTreeMap<SyncPath, Refusal>,
    pub(super) refused_from: Option<u64>,
    /// More was refused than is remembered: nothing takes that back before the next start.
    pub(super) has_refused_more: bool,
    /// What it has made this directory take since the start, in bytes of memory.
    pub(super) added_bytes: u64,
    /// From when on it is told again who has followed all that is known here.
    pub(super) level_due_ms: u64,
    /// Then it may be news.
    pub(super) is_level_owed: bool,
    pub(super) told: Option<Progress>,
    /// What was sent and not yet acknowledged as merged: up to which number, and how many bytes.
    pub(super) in_flight: VecDeque<(u64, usize)>,
    pub(super) in_flight_bytes: usize,
    /// How often it may have this device attach, and what of that waits: its own word, and ours to it.
    pub(super) attach_pace: Pace,
    pub(super) attach_put_off: Option<Attach>,
    pub(super) must_attach: bool,
    /// While its word waited it said something that was not taken in.
    pub(super) has_missed: bool,
    /// It wants to hear that this disk has been looked at.
    pub(in crate::engine) check: Option<wait::Check>,
}

/// Why an entry was not taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Refusal {
    /// It could not be passed on.
    TooLong,
    /// Its sender has announced all that it may.
    TooMuch,
    /// It speaks of versions of this device that it never made.
    Untrue,
    /// It takes for gone what nobody is known to have replaced.
    Unproved,
}

impl Peer {
    pub(in crate::engine) fn new(known: PeerProgress) -> Peer {
        Peer {
            index_id: known.index_id,
            incarnation: known.incarnation,
            heard: known.heard.max(known.merged),
            merged: known.merged,
            merged_under_way: known.merged,
            merged_durable: known.merged,
            applied_ours: known.acknowledged,
            followed_ours: known.acknowledged,
            ..Peer::default()
        }
    }

    pub(in crate::engine) fn progress(&self) -> PeerProgress {
        // What was refused is asked for again after a start: by then it may be taken in.
        let merged = self.refused_from.map_or(self.merged, |number| self.merged.min(number - 1));
        let merged = if is_made(Mistake::ProgressAheadOfRows) { merged.max(self.latest) } else { merged };
        PeerProgress {
            index_id: self.index_id,
            merged,
            acknowledged: self.followed_ours,
            incarnation: self.incarnation,
            heard: self.heard,
        }
    }

    pub(in crate::engine) fn is_attached(&self) -> bool {
        self.is_up && self.has_attached && !self.has_detached
    }

    /// True if it has told all that it knows, as far as it has said.
    pub(in crate::engine) fn has_told_all(&self) -> bool {
        self.is_attached() && self.merged >= self.latest
    }

    /// True if it was told all that there is.
    pub(in crate::engine) fn is_told_all(&self) -> bool {
        self.is_attached() && self.outbox.is_empty()
    }

    pub(in crate::engine) fn is_detached(&self) -> bool {
        self.has_detached
    }

    /// True if it takes no part, and is not about to.
    pub(in crate::engine) fn is_absent(&self) -> bool {
        self.has_detached && !self.is_to_return
    }

    /// True if it has not been told yet how a path is here.
    pub(in crate::engine) fn is_to_be_told_of(&self, path: &SyncPath) -> bool {
        self.outbox.values().any(|told| told == path)
    }

    pub(in crate::engine) fn is_up(&self) -> bool {
        self.is_up
    }

    /// True if it was told last that this device expects bytes.
    pub(in crate::engine) fn has_told_to_expect(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.expecting > 0)
    }

    /// True if this disk has followed all that it has said, but where nobody has the bytes.
    pub(in crate::engine) fn has_followed(&self, pending: &BTreeSet<SyncPath>) -> bool {
        self.awaiting.keys().all(|path| pending.contains(path))
    }

    pub(super) fn await_path(&mut self, path: &SyncPath, number: u64) {
        if self.awaiting.get(path).is_none_or(|earlier| *earlier > number) {
            self.is_applied(path);
            self.awaiting.insert(path.clone(), number);
            self.awaiting_numbers.insert((number, path.clone()));
        }
    }

    pub(in crate::engine) fn is_applied(&mut self, path: &SyncPath) {
        if let Some(number) = self.awaiting.remove(path) {
            self.awaiting_numbers.remove(&(number, path.clone()));
        }
    }

    pub(super) fn refuse(&mut self, path: SyncPath, number: u64, refusal: Refusal) {
        self.refused_from = Some(self.refused_from.map_or(number, |earlier| earlier.min(number)));
        if self.refused.len() < REFUSED_MAX || self.refused.contains_key(&path) {
            self.refused.insert(path, refusal);
        } else {
            self.has_refused_more = true;
        }
    }

    pub(super) fn is_taken_in(&mut self, path: &SyncPath) {
        if self.refused.remove(path).is_some() && self.refused.is_empty() && !self.has_refused_more {
            self.refused_from = None;
        }
    }

    pub(super) fn forget_refused(&mut self) {
        self.refused.clear();
        self.refused_from = None;
        self.has_refused_more = false;
    }

    /// How far this disk has followed, but for paths that are pending.
    pub(super) fn applied(&self, pending: &BTreeSet<SyncPath>) -> u64 {
        if is_made(Mistake::AppliedTooEarly) {
            return self.merged_durable;
        }
        let mut awaited = self.awaiting_numbers.iter().filter(|(_, path)| !pending.contains(path));
        let awaited = awaited.next().map(|(number, _)| *number);
        let missing = awaited.into_iter().chain(self.refused_from).min();
        missing.map_or(self.merged_durable, |number| (number - 1).min(self.merged_durable))
    }

    pub(super) fn forget_connection(&mut self) {
        self.is_up = false;
        self.has_attached = false;
        self.has_detached = false;
        self.is_detached_from = false;
        self.outbox.clear();
        self.told = None;
        self.check = None;
        self.latest = 0;
        self.expecting = 0;
        self.n_troubles = 0;
        self.attach_put_off = None;
        self.must_attach = false;
        self.has_missed = false;
        self.forget_in_flight();
    }

    pub(super) fn forget_in_flight(&mut self) {
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }

    pub(super) fn note_in_flight(&mut self, through: u64, bytes: usize) {
        self.in_flight.push_back((through, bytes));
        self.in_flight_bytes += bytes;
    }

    pub(super) fn has_merged_ours(&mut self, through: u64) {
        self.merged_ours = self.merged_ours.max(through);
        while let Some((_, bytes)) = self.in_flight.front().filter(|(last, _)| *last <= self.merged_ours) {
            self.in_flight_bytes -= bytes;
            self.in_flight.pop_front();
        }
    }

    /// How far this disk has come is told it anew.
    pub(in crate::engine) fn is_told_nothing(&mut self) {
        self.told = None;
    }

    /// True if all that it has said is taken in.
    pub(super) fn is_heard(&self) -> bool {
        self.has_attached && !self.has_missed && !self.has_put_off() && self.merged >= self.latest
    }

    /// True if its window is full.
    pub(super) fn has_enough(&self) -> bool {
        self.sent_through.saturating_sub(self.merged_ours) > WINDOW || self.in_flight_bytes > WINDOW_BYTES
    }

    pub(in crate::engine) fn has_put_off(&self) -> bool {
        self.is_up && (self.must_attach || self.attach_put_off.is_some())
    }
}
