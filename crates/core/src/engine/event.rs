//! What an engine is told, once and by and by, and what it wants done.

use std::collections::BTreeSet;

use super::{FetchOutcome, FetchRequest, Hint, HoldLimit, Listing, WaitId};
use crate::effect::{HashItem, HashOutcome, Op, OpOutcome, Trouble};
use crate::ignore::Rules;
use crate::message::{Members, Message};
use crate::path::SyncPath;
use crate::record::Seen;
use crate::version::{ContentHash, DeviceId, DirectoryId, Time};

/// How a member takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Sends and receives.
    TwoWay,
    /// Makes no versions; local changes stay local and are listed.
    ReceiveOnly,
    /// Changes nothing on its disk.
    SendOnly,
}

/// What an engine is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory.
    pub directory: DirectoryId,
    /// This device.
    pub device: DeviceId,
    /// How it takes part.
    pub mode: Mode,
    /// In a read-only offer, the device whose versions alone count.
    pub only_author: Option<DeviceId>,
    /// The step in which the file system stores times, in nanoseconds.
    pub time_step_ns: u64,
    /// True if the home or the root may not be what the records speak of (a restored home, another disk): then the
    /// first walk infers no deletion.
    pub doubted: bool,
    /// True if the machine has started anew since this device last worked here: files whose bytes were not durable then
    /// may have fallen back to none, or to older ones, which is no user's act (promise C4).
    pub may_have_fallen_back: bool,
    /// When deletions are held; none: never.
    pub hold: Option<HoldLimit>,
    /// Something was held when this device last worked here: whatever is found to be deleted now is held, however little
    /// is left of it.
    pub was_holding: bool,
    /// Entries of remotes are taken in only if authors bear witness to what they say is gone (promise H5).
    pub is_strict: bool,
    /// The starts of this device's server that wrote to its database, oldest first; the last is this one.
    pub incarnations: Vec<Incarnation>,
}

/// A start of a device's server, as its database remembers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incarnation {
    /// Random.
    pub number: u64,
    /// The sequence number that had been given last when it began: where the one before it ended.
    pub began: u64,
}

/// Both clocks, as read once for an event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// The wall clock: caps rank times, dates deletes; decides nothing.
    pub wall: Time,
    /// Milliseconds of a clock that never steps: paces retries.
    pub monotonic_ms: u64,
}

/// What the engine is told.
#[derive(Debug)]
pub enum Event {
    /// Something may have changed.
    Hints(Vec<Hint>),
    /// One directory of a walk was listed.
    Listed {
        /// The walk.
        walk: u64,
        /// What was found.
        listing: Listing,
    },
    /// A walk has ended.
    Walked {
        /// The walk.
        walk: u64,
    },
    /// An [`Effect::Look`] was carried out, in order with all [`Effect::Apply`].
    Looked(Vec<(SyncPath, Result<Option<Seen>, Trouble>)>),
    /// An [`Effect::Hash`] was carried out.
    Hashed {
        /// Its batch.
        batch: u64,
        /// In the order asked.
        outcomes: Vec<(SyncPath, HashOutcome)>,
    },
    /// An [`Effect::Sync`] was carried out.
    Synced {
        /// Its batch.
        batch: u64,
        /// Whether the names are durable.
        result: Result<(), Trouble>,
    },
    /// An [`Effect::Apply`] was carried out.
    Applied(Vec<(Op, OpOutcome)>),
    /// Parts of an [`Effect::Fetch`] have ended.
    Fetched(Vec<(ContentHash, FetchOutcome)>),
    /// An [`Effect::CleanStage`] was carried out, as well as it could be; no content is asked for before.
    StageCleaned,
    /// A remote that is a member is connected.
    PeerUp(DeviceId),
    /// It no longer is.
    PeerDown(DeviceId),
    /// It says something about this directory.
    Message {
        /// Who.
        from: DeviceId,
        /// What.
        message: Message,
    },
    /// A commit is durable, up to this sequence number.
    Committed {
        /// From [`super::Commit`].
        sequence: u64,
    },
    /// The root is not what it was; nothing below it is known.
    RootLost(String),
    /// The root is proved (again).
    RootProved,
    /// Time has passed.
    Tick,
}

/// What the engine wants done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Look at these paths; carried out in order with all [`Effect::Apply`].
    Look(Vec<SyncPath>),
    /// Walk everything below, watch it, and list it.
    Walk {
        /// For the answers.
        walk: u64,
        /// Where from.
        from: SyncPath,
        /// So that ignored directories are not entered.
        rules: RulesSnapshot,
    },
    /// Read and hash, and make durable.
    Hash {
        /// For the answer.
        batch: u64,
        /// Which files.
        items: Vec<HashItem>,
        /// True if any is large, so that small ones need not stand behind it.
        large: bool,
    },
    /// Make the names at these paths durable, or their absence.
    Sync {
        /// For the answer.
        batch: u64,
        /// Which.
        paths: Vec<SyncPath>,
    },
    /// Change the disk.
    Apply(Vec<Op>),
    /// Get contents into the staging area.
    Fetch(Vec<FetchRequest>),
    /// Say something to a remote.
    Send {
        /// To whom.
        to: DeviceId,
        /// What.
        message: Message,
    },
    /// Staged contents other than these are of no use any more; answered by [`Event::StageCleaned`].
    CleanStage(BTreeSet<ContentHash>),
    /// A wait has ended well.
    WaitDone(WaitId),
    /// The member list has changed, for whoever decides whom to connect.
    MembersChanged(Members),
}

/// Rules as of a moment; compares as equal to any other, being no part of what is decided.
#[derive(Clone, Debug)]
pub struct RulesSnapshot(pub Rules);

impl PartialEq for RulesSnapshot {
    fn eq(&self, _: &RulesSnapshot) -> bool {
        true
    }
}
