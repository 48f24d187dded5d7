//! What devices say to each other, as data. `wire` gives it bytes, `net` carries them.
//!
//! The same types are what the simulator's network carries.

use std::collections::{BTreeMap, BTreeSet};

use crate::path::SyncPath;
use crate::register::Register;
use crate::version::{DeviceId, DirectoryId};

/// Newest protocol version spoken by this build. A remote that speaks none of ours is refused with both versions named.
pub const PROTOCOL_VERSION: u32 = 3;
/// Oldest one spoken. Before 3 a version did not say what else its author had heard of, and whoever leaves that out when
/// it passes a version on spoils its signature.
pub const PROTOCOL_VERSION_MIN: u32 = 3;
/// Longest encoded message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// One message on a control connection, after both sides have said [`Message::Hello`].
#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    /// The first on every connection, from both sides.
    Hello(Hello),
    /// Everything that is offered to the receiver; replaces what was said before.
    Offers(Vec<Offer>),
    /// The sender wants to become a member of a directory that the receiver offers.
    Join {
        /// Which.
        directory: DirectoryId,
    },
    /// The answer: the members if the sender may take part, else why not.
    Joined {
        /// Which.
        directory: DirectoryId,
        /// The policy and the members, or one line that says why not.
        result: Result<Terms, String>,
    },
    /// The sender wants to know what a directory that the receiver offers holds, without becoming a member.
    Peek {
        /// Which.
        directory: DirectoryId,
        /// The last path that it was told of; none: from the first on.
        after: Option<SyncPath>,
    },
    /// The answer: some of it, or one line that says why not.
    Peeked {
        /// Which.
        directory: DirectoryId,
        /// From the request.
        after: Option<SyncPath>,
        /// What follows there.
        result: Result<Page, String>,
    },
    /// The sender takes part in this directory and has the receiver's entries up to here; send what follows.
    Attach(Attach),
    /// The sender does not, or no longer, take part in this directory (left, paused, or not a member).
    Detach {
        /// Which.
        directory: DirectoryId,
        /// It will again in a moment: it is being started again. Whoever waits for it goes on waiting.
        returns: bool,
    },
    /// Changes of the member list.
    Members {
        /// Which directory.
        directory: DirectoryId,
        /// All of it.
        members: Members,
    },
    /// Registers, in the order of the sender's sequence. The two halves of a rename are never divided.
    Entries(Entries),
    /// How far the sender of this has come with the receiver's entries.
    Progress(Progress),
    /// Please look at your whole disk and then say [`Message::Checked`] with the same token.
    Check {
        /// Which directory.
        directory: DirectoryId,
        /// Given back.
        token: u64,
    },
    /// The whole disk has been looked at; everything found is in the entries up to `sequence`.
    Checked {
        /// Which directory.
        directory: DirectoryId,
        /// From the request.
        token: u64,
        /// The sender's sequence that includes all of it.
        sequence: u64,
    },
    /// Please say [`Message::BarrierReached`] once all that you meant to say before this is on its way.
    Barrier {
        /// Given back.
        token: u64,
    },
    /// All that was said before the barrier was reached has arrived with this.
    BarrierReached {
        /// From the request.
        token: u64,
    },
    /// The sender is about to close, and why; for the receiver's log.
    Goodbye {
        /// One line.
        reason: String,
    },
    /// Keep-alive.
    Ping,
    /// The answer to it.
    Pong,
}

/// Who is speaking.
#[derive(Clone, PartialEq, Debug)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub protocol: u32,
    /// The sender's `--name`.
    pub name: String,
    /// The sender's version, for the log.
    pub software: String,
    /// Random for every start of the sender's server.
    pub incarnation: u64,
    /// Where the sender listens, as `IP:PORT`; an unspecified IP means "the address that I come from".
    pub addresses: Vec<String>,
}

/// A directory offered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Which.
    pub directory: DirectoryId,
    /// The name to join it by.
    pub name: String,
    /// True if only the offering device's versions count.
    pub read_only: bool,
}

/// What a member has to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The one device whose versions count, in a read-only offer.
    pub only_author: Option<DeviceId>,
    /// Who takes part.
    pub members: Members,
}

/// A part of what is known of a directory, in the order of its paths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The one device whose versions count, in a read-only offer.
    pub only_author: Option<DeviceId>,
    /// What is known of each path.
    pub entries: Vec<Entry>,
    /// Nothing follows.
    pub is_last: bool,
    /// How many paths are in trouble there, so that what is said of them, or not said, may not be what is there.
    pub n_troubled: u64,
}

/// The member list: the newest word on each device, by number; at equal numbers, "not a member" wins.
pub type Members = BTreeMap<DeviceId, Member>;

/// One device's membership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Grows with every change.
    pub number: u64,
    /// False once it has left or was removed.
    pub active: bool,
    /// Its raw Ed25519 public key, whose hash is its id; by it relayed versions are checked.
    pub key: [u8; 32],
}

/// "I take part."
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attach {
    /// Which directory.
    pub directory: DirectoryId,
    /// The sender's numbering of its own entries: random, made anew whenever the numbers may restart.
    pub index_id: u64,
    /// The sender's newest sequence number.
    pub sequence: u64,
    /// The receiver's numbering as the sender knows it, and how far the sender has merged it.
    pub known_index_id: u64,
    /// Entries after this are wanted.
    pub known_sequence: u64,
    /// The highest counter of each of the receiver's epochs that the sender has ever seen, so that a restored home
    /// notices that it has lost some.
    pub counters: BTreeMap<u64, u64>,
    /// True if the sender sends no versions (receive-only).
    pub receives_only: bool,
    /// True if the sender takes no versions (send-only).
    pub sends_only: bool,
    /// Who takes part, as far as the sender knows.
    pub members: Members,
    /// The start of the sender's server: random; 0 from one that does not say.
    pub incarnation: u64,
    /// The start of the receiver's server of which the sender last took entries; 0: none. A cloned device notices by it
    /// that another one goes on where it began.
    pub known_incarnation: u64,
    /// The highest number that servers of which entries were taken have said to be given, in the numbering of
    /// `known_index_id`, durable here or not: what the sender has heard of is passed on, and what it was told up to a
    /// number is without all that had changed again by then. A later server of the receiver's may not know of it.
    pub heard_sequence: u64,
}

/// A batch of registers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entries {
    /// Which directory.
    pub directory: DirectoryId,
    /// The sender's numbering.
    pub index_id: u64,
    /// The batch covers the sequence numbers after this one …
    pub after: u64,
    /// … up to and with this one, those included that have nothing to say.
    pub through: u64,
    /// The sender's newest committed sequence number: if it is higher than `through`, more follows at once, and removals
    /// wait for it, since the other half of a rename may be in it.
    pub latest: u64,
    /// The entries, in the order of their sequence numbers.
    pub entries: Vec<Entry>,
}

/// One path's register.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where.
    pub path: SyncPath,
    /// All that is known of it.
    pub register: Register,
    /// True if the sender has the bytes of what it shows there.
    pub holds: bool,
}

/// How far a member has come with another's entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Which directory.
    pub directory: DirectoryId,
    /// The other's numbering.
    pub index_id: u64,
    /// Merged and committed up to here.
    pub merged: u64,
    /// On this disk up to here (what a mode, pause, ignore rule or hold keeps back is not waited for).
    pub applied: u64,
    /// Paths before `merged` that are in trouble here.
    pub troubles: u64,
    /// How near bytes are that the sender still expects: 1 if it is getting some itself, one more for each member in
    /// between; 0 if none are on their way to it.
    pub expecting: u32,
    /// Nothing was known to the sender by then that the receiver had not been told of before this.
    pub is_all_told: bool,
    /// Members, but for the sender and the receiver, whose disks have followed all that the sender has, and so all that it
    /// has merged.
    pub level: BTreeSet<DeviceId>,
}
