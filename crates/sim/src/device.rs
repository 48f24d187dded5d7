//! One simulated device: its engine, its disk, its clock, and what of the engine's state is durable.

use std::collections::{BTreeMap, VecDeque};

use file_sync_core::effect::{Kept, Op, OpOutcome, Trouble};
use file_sync_core::engine::{
    Commit, Config, Counters, Doubt, Engine, Incarnation, Now, PeerProgress, Stored,
};
use file_sync_core::message::Members;
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Record, Seen};
use file_sync_core::register::Register;
use file_sync_core::version::{Content, ContentHash, DeviceId, Time};

use crate::apply::{Prepared, Progress};
use crate::disk::Disk;
use crate::oracle::{Withheld, family};

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Durable {
    /// Rows by path.
    pub rows: BTreeMap<SyncPath, (Register, Option<Record>, u64)>,
    /// Counters.
    pub counters: Counters,
    /// The member list.
    pub members: Members,
    /// How far remotes are merged.
    pub peers: BTreeMap<DeviceId, PeerProgress>,
    /// Kept versions by name.
    pub kept: BTreeMap<String, Kept>,
    /// What the engine may have done without having recorded it.
    pub doubts: BTreeMap<SyncPath, Doubt>,
    /// The disk was once looked through.
    pub first_scan_done: bool,
    /// Until it is, what is recorded may not be of this disk.
    pub is_doubted: bool,
    /// Which of its engines wrote here.
    pub incarnations: Vec<Incarnation>,
}

impl Durable {
    /// Takes a transaction in; returns how many paths it forgets.
    pub fn apply(&mut self, commit: Commit) -> u64 {
        let mut n_forgotten = 0;
        for (path, register, record, sequence) in commit.rows {
            if register.is_empty() && record.is_none() {
                let is_known = |(register, ..): &(Register, _, _)| !register.is_empty();
                n_forgotten += u64::from(self.rows.remove(&path).as_ref().is_some_and(is_known));
            } else {
                self.rows.insert(path, (register, record, sequence));
            }
        }
        self.counters = commit.counters;
        self.members = commit.members;
        self.peers = commit.peers;
        self.first_scan_done = commit.first_scan_done;
        for kept in commit.kept_added {
            self.kept.insert(kept.name.clone(), kept);
        }
        for name in commit.kept_removed {
            self.kept.remove(&name);
        }
        for (path, doubt) in commit.doubts {
            match doubt {
                Some(doubt) => self.doubts.insert(path, doubt),
                None => self.doubts.remove(&path),
            };
        }
        n_forgotten
    }

    /// What an engine starts from.
    pub fn stored(&self) -> Stored {
        Stored {
            rows: self
                .rows
                .iter()
                .map(|(path, (register, record, sequence))| {
                    (path.clone(), register.clone(), *record, *sequence)
                })
                .collect(),
            counters: self.counters,
            members: self.members.clone(),
            peers: self.peers.clone(),
            kept: self.kept.values().cloned().collect(),
            doubts: self.doubts.clone(),
            first_scan_done: self.first_scan_done,
        }
    }
}

/// Work that is done in order: looks and changes.
#[derive(Debug)]
pub(crate) enum LaneTask {
    Prove,
    Look {
        left: VecDeque<SyncPath>,
        results: Vec<(SyncPath, Result<Option<Seen>, Trouble>)>,
    },
    Apply {
        left: VecDeque<Op>,
        prepared: Option<VecDeque<Prepared>>,
        progress: Progress,
        outcomes: Vec<(Op, OpOutcome)>,
    },
}

/// A copy of a whole machine, as of a virtual one.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) disk: Disk,
    pub(crate) durable: Durable,
    /// How much the oracle had been told.
    pub(crate) mark: usize,
    /// What it alone has.
    pub(crate) withheld: Withheld,
}

/// One device.
#[derive(Debug)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// What its engine is told.
    pub config: Config,
    /// Its engine; none while it is down.
    pub engine: Option<Engine>,
    /// Counts its engines.
    pub life: u64,
    /// Its disk.
    pub disk: Disk,
    /// What is durable.
    pub durable: Durable,
    /// How far its wall clock is off, in seconds.
    pub wall_offset_seconds: i64,
    /// How much faster its wall clock runs, in millionths.
    pub drift_ppm: i64,
    /// When its wall clock stopped, if it did.
    pub frozen_at_us: Option<u64>,
    /// How often its user had changed something when the first scan was done.
    pub(crate) n_first_changes: u64,
    pub(crate) lane: VecDeque<LaneTask>,
    pub(crate) is_lane_running: bool,
    pub(crate) report_at_us: u64,
    pub(crate) tick_at_us: Option<u64>,
    pub(crate) is_paused: bool,
    /// Its root is not there at present, and whether its engine knows.
    pub(crate) is_root_lost: bool,
    pub(crate) is_root_told_lost: bool,
    /// It was put back to what it was, and has not looked through its disk since, or asks what to do with what it missed.
    pub(crate) is_put_back: bool,
    /// Its kept versions were kept under a home that it has no more.
    pub(crate) is_other_home: bool,
    /// Its server goes on, and has only to start the directory's engine anew.
    pub(crate) is_same_server: bool,
    /// Its engine was told that the machine was started anew.
    pub(crate) may_have_fallen_back: bool,
    /// It has left the directory for the time being.
    pub(crate) is_away: bool,
    /// An older copy of what is durable.
    pub(crate) backup: Option<Durable>,
    /// All of it, as it was.
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) waits_done: Vec<u64>,
    /// What the disk was after each change since the last that is sure to be durable, and how many acts the oracle had
    /// been told of then; none: power is never cut.
    pub(crate) checkpoints: Option<Vec<(Disk, usize)>>,
}

impl Device {
    /// True if a batch under way is to put this at a name of this family.
    pub(crate) fn is_placing(&self, content: Content, home: &SyncPath) -> bool {
        let ops = self.lane.iter().filter_map(|task| match task {
            LaneTask::Apply { left, .. } => Some(left),
            LaneTask::Look { .. } | LaneTask::Prove => None,
        });
        ops.flatten().any(|op| {
            let placed = match op {
                Op::Place { content, .. } => Content::File(*content),
                Op::PlaceSymlink { target, .. } => Content::Symlink(ContentHash::of(target)),
                Op::Move { expect, .. } => expect.content,
                _ => return false,
            };
            placed == content && family(op.path()) == *home
        })
    }

    /// The name under which a path will be at once: the directory that it lies in is about to be moved as it is.
    pub(crate) fn is_moving_to(&self, path: &SyncPath) -> Option<SyncPath> {
        let Some(LaneTask::Apply { left, progress: Progress::Checked, .. }) = self.lane.front() else {
            return None;
        };
        let Some(Op::MoveDirectory { from, to, .. }) = left.front() else { return None };
        from.rebase(path, to)
    }

    /// True while no engine has looked through the disk since the machine was started anew.
    pub(crate) fn is_unseen_since_cut(&self) -> bool {
        let is_looking = |engine: &Engine| self.may_have_fallen_back && !engine.is_ready();
        self.engine.as_ref().map_or(self.config.may_have_fallen_back, is_looking)
    }

    /// What its clocks say.
    pub fn now(&self, now_us: u64) -> Now {
        Now { wall: self.wall(now_us), monotonic_ms: now_us / 1_000 }
    }

    /// What its wall clock says.
    pub fn wall(&self, now_us: u64) -> Time {
        let true_us = self.frozen_at_us.unwrap_or(now_us) as i64;
        let own_us = true_us + true_us / 1_000_000 * self.drift_ppm;
        Time {
            seconds: 1_700_000_000 + self.wall_offset_seconds + own_us.div_euclid(1_000_000),
            nanoseconds: own_us.rem_euclid(1_000_000) as u32 * 1_000,
        }
    }
}
