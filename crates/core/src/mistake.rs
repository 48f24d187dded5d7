//! Mistakes that could be made here, each behind a switch: made on purpose to see that the simulator notices.
//!
//! Each is a condition at the place where somebody would make it. Without the feature `mistakes` none can be made and
//! the compiler leaves nothing of them; with it none is, unless a test asks for one on its own thread. Nothing of the
//! product has that feature: it is for `crates/sim`.

use crate::engine::Counters;
use crate::register::Register;
use crate::tree::StoredNodes;
use crate::version::{DeviceId, Time, Version};

#[cfg(feature = "mistakes")]
pub use switch::{Making, is_made, make};

macro_rules! mistakes {
    ($($name:ident = $what:literal,)*) => {
        /// A mistake.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mistake {
            $(#[doc = $what] $name,)*
        }

        impl Mistake {
            /// All that can be made.
            pub const ALL: &[Mistake] = &[$(Mistake::$name),*];

            /// What is done wrong, in a few words.
            pub fn what(self) -> &'static str {
                match self {
                    $(Mistake::$name => $what,)*
                }
            }
        }
    };
}

mistakes! {
    // Registers.
    ContextNotMerged = "a merge takes versions over and not what they replaced",
    LowerCounterForgets = "an older dot heard late makes newer ones forgotten",
    ForeignCountedAsBorn = "a dot settled here counts for all earlier ones of its actor",
    LatestAlone = "a merge keeps the latest version alone",
    SettledNotMerged = "a merge leaves out what was settled",
    SettledNotKept = "settling does not keep the value where it came from",
    ConflictWritten = "a merge resolves conflicts: the winner stays, the losers become files",
    // Acts and projections.
    SeenDotKept = "an act leaves one of the dots that its user had seen",
    AllTakenForSeen = "an act replaces what its user had not seen as well",
    WinnerTakenForSeen = "what a user had seen is taken from the register, not from the record",
    SettlingForgotten = "an act does not settle the copies shown beside it",
    HiddenComesBack = "an act does not remove what was hidden behind what it removes",
    DeleteCompetes = "a delete with the latest time beats a concurrent edit",
    EqualBytesConflict = "equal bytes of two devices are two values",
    BasesForgotten = "a version whose bytes another replaced competes with it",
    CopiesShareName = "two conflict copies may have one name",
    ChildrenNotCounted = "a deleted directory takes what others put into it along",
    // Observing and minting.
    UnreadableIsAbsent = "what cannot be looked at is taken for deleted",
    WalkTrusted = "what a walk did not list is taken for deleted without a look",
    BusyLookTrusted = "a look counts although an op was at work on its path",
    OverflowIgnored = "lost events are not made up for by a walk",
    ScanIgnored = "the periodic scan does not happen",
    TimesAloneMatch = "a file counts as unchanged by size and modification time alone",
    InodeTrusted = "an inode that is known vouches for content, whatever its times are",
    SyncForgotten = "names are not made durable before a version is made of them",
    AdoptionForgotten = "what the engine has put on the disk makes a version where the record lacks it",
    FallbackTakenForEdit = "what a power cut took back is taken for an edit",
    DoubtedDeletes = "a disk that the records may not speak of has files deleted",
    KeptDeleteIgnored = "a member that joins anew brings back what was deleted",
    ReceiverSends = "a member that may not send makes versions",
    // Planning.
    LocalWins = "a conflict's loser keeps the name where it was on the disk first",
    PendingIsAbsent = "a file is removed before the bytes that replace it are here",
    UncommittedPlaced = "the disk is changed by what is not durable in the index",
    RemovalRecordedFirst = "a removal is in the record before it is done",
    OwnChangeNotRecorded = "the record does not follow the engine's own change of metadata",
    TimeStepForgotten = "a time is compared with one that the file system has cut",
    // Peers and the index.
    AnnouncedBeforeDurable = "versions are announced before their commit is durable",
    RankedByReceiver = "a remote's version is capped by the clock of who receives it",
    RelayForgotten = "what a remote said is not passed on",
    GapAccepted = "entries are merged although some before them are missing",
    AppliedTooEarly = "progress is acknowledged before the disk has followed",
    ProgressAheadOfRows = "how far a remote is merged is committed before what it said",
    ForgottenTooEarly = "deletes are forgotten before all have followed",
    TombstonesAged = "deletes are forgotten when they are old",
    CommittedUnderOps = "a register is durable that ops under way do not follow from",
    CountersFromRows = "a start takes the counter from the versions that still stand",
    OldStateGoesOn = "a home put back from a copy uses its counters again",
    CloneGoesOn = "a device goes on beside its clone with the same numbers",
    EpochShared = "two lives that go on from one state give their dots the same numbers",
    SequenceFromRows = "a start takes the sequence number from the files that still stand",
    // Whoever carries out what the engine asks for.
    ExpectedUnchecked = "an op does not check what it displaces",
    FreeUnchecked = "an op renames over what has appeared at a free name",
    TreeUnchecked = "a directory is moved whatever has appeared in it",
    DirectoryEmptied = "a directory is removed with whatever is in it",
    HashUnverified = "bytes are placed that are not those announced",
    NotKept = "what is displaced is not kept",
    SourceNotDurable = "a file that was hashed is not made durable",
    NamesNotDurable = "names are reported durable that are not",
    OpsNotDurable = "ops are reported before they are durable",
    StatAfterRead = "a hash goes with a stat taken after a write that it has not seen",
    RootNotProved = "a directory that is not mounted is taken for an empty one",
}

/// What a start counts on from, right or wrong.
pub(crate) fn counters(stored: Counters, device: DeviceId, rows: &StoredNodes) -> Counters {
    let mut counters = stored;
    if is_made(Mistake::CountersFromRows) {
        let versions = rows.iter().flat_map(|(_, register, ..)| register.versions().to_vec());
        let own = versions.filter(|version| version.dot.actor.device == device);
        counters.counter = own.map(|version| version.dot.counter).max().unwrap_or(0);
    }
    if is_made(Mistake::SequenceFromRows) {
        let files = rows.iter().filter(|(_, _, record, _)| record.is_some());
        counters.sequence = files.map(|(_, _, _, sequence)| sequence).max().unwrap_or(0);
    }
    counters
}

/// A remote's register as it is merged, right or wrong.
pub(crate) fn ranks(register: Register, now: Time) -> Register {
    if !is_made(Mistake::RankedByReceiver) {
        return register;
    }
    let capped = |version: &Version| Version { rank: version.rank.min(now), ..version.clone() };
    let versions = register.versions().iter().map(capped).collect();
    Register::from_parts(versions, register.context().clone(), register.settled().to_vec())
}

/// For [`Mistake::TombstonesAged`]: true for a delete that was a second ago or more.
pub(crate) fn is_old(register: &Register, now: Time) -> bool {
    let is_past = |version: &Version| version.rank.seconds < now.seconds;
    !register.has_value() && register.versions().iter().all(is_past)
}

/// True if a mistake is being made.
#[cfg(not(feature = "mistakes"))]
pub(crate) const fn is_made(_: Mistake) -> bool {
    false
}

#[cfg(feature = "mistakes")]
mod switch {
    use std::cell::Cell;

    use super::Mistake;

    thread_local! {
        static MADE: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// Has a mistake made on this thread until what is returned is dropped; none: no mistake.
    #[must_use = "it ends when it is dropped"]
    pub fn make(mistake: Option<Mistake>) -> Making {
        MADE.set(mistake);
        Making(())
    }

    /// As long as it lives a mistake is made.
    #[derive(Debug)]
    pub struct Making(());

    impl Drop for Making {
        fn drop(&mut self) {
            MADE.set(None);
        }
    }

    /// True if a mistake is being made.
    pub fn is_made(mistake: Mistake) -> bool {
        MADE.get() == Some(mistake)
    }
}
