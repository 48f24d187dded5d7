//! What the api asks of whoever holds the state: one [`Command`] a verb, each with its parsed request and its reply.
//!
//! A reply that is dropped without an answer tells the client that the server is stopping. A client that went away
//! shows in `reply.is_closed()`.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::names::{DirectoryName, LocalPath, RemoteName, Target};
use super::types::{self, HoldAnswered};
use super::types::{
    ConflictList, DirectoryDone, HeldList, History, Invitation, Mode, Offered, OfferedList, Preview, Remote,
    RemoteList, RemoteOfferList, Resolved, Restored, Status, Synced, SyncedList, Verified, Waited, Why,
};

/// Where the answer to a command goes.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// One verb.
#[derive(Debug)]
pub enum Command {
    /// Offer a directory.
    FileUp(FileUp, Reply<Offered>),
    /// Stop offering one.
    FileDown(Target, Reply<DirectoryDone>),
    /// List what is offered.
    FileLs(Reply<OfferedList>),
    /// Make a ticket.
    RemoteInvite(RemoteInvite, Reply<Invitation>),
    /// Pair with the device that made a ticket.
    RemoteAdd(RemoteAdd, Reply<Remote>),
    /// Forget a device.
    RemoteRm(RemoteRm, Reply<types::RemoteRemoved>),
    /// List the paired devices.
    RemoteLs(Reply<RemoteList>),
    /// Join a directory.
    SyncUp(SyncUp, Reply<Synced>),
    /// Say what joining one would do.
    SyncPreview(SyncUp, Reply<Preview>),
    /// Leave one.
    SyncDown(Target, Reply<DirectoryDone>),
    /// List what was joined.
    SyncLs(Reply<SyncedList>),
    /// Stop one, both ways.
    SyncPause(Target, Reply<DirectoryDone>),
    /// Go on with it.
    SyncResume(Target, Reply<DirectoryDone>),
    /// List the deletions that are held, in one directory or all.
    SyncHeld(Option<Target>, Reply<HeldList>),
    /// Say how much is held, or set it.
    SyncHold(Hold, Reply<types::HoldLimited>),
    /// Let deletions through that are held.
    SyncApprove(Target, Reply<HoldAnswered>),
    /// Bring back what is held.
    SyncReject(Target, Reply<HoldAnswered>),
    /// Wait until what was done before is everywhere.
    SyncWait(SyncWait, Reply<Waited>),
    /// Read every byte again, in one directory or all.
    Verify(Option<Target>, Reply<Verified>),
    /// List the conflict copies shown, in one directory or all.
    Conflicts(Option<Target>, Reply<ConflictList>),
    /// Resolve one.
    Resolve(Resolve, Reply<Resolved>),
    /// List the versions kept of a path.
    History(LocalPath, Reply<History>),
    /// List what was done to the bytes at a path.
    Log(Log, Reply<types::Log>),
    /// Bring one back.
    Restore(Restore, Reply<Restored>),
    /// Say of a path why it is as it is.
    Why(LocalPath, Reply<Why>),
    /// What the connected remotes offer.
    Offers(Reply<RemoteOfferList>),
    /// Everything at a glance.
    Status(Reply<Status>),
}

/// `file up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileUp {
    /// The directory to offer.
    pub path: LocalPath,
    /// The name to offer it by.
    pub name: DirectoryName,
    /// The remotes to offer it to; empty: every one.
    #[serde(default)]
    pub to: Vec<RemoteName>,
    /// True if the others' changes are never accepted.
    #[serde(default)]
    pub read_only: bool,
}

/// `remote invite`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteInvite {
    /// How long the ticket is good for, in seconds: 1 to [`EXPIRES_SECONDS_MAX`].
    pub expires_seconds: u64,
}

/// Longest life of a ticket, in seconds: about ten years.
pub const EXPIRES_SECONDS_MAX: u64 = 10 * 366 * 24 * 60 * 60;

/// `remote add`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteAdd {
    /// What to call it here.
    pub name: RemoteName,
    /// The other side's ticket, not checked yet.
    pub ticket: String,
}

/// `remote rm`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRm {
    /// Which; if it is lost also one that was removed before, by its name then or its id.
    pub name: RemoteName,
    /// It will not come back: it is no member of anything any more, also of what others offer.
    #[serde(default)]
    pub lost: bool,
}

/// `sync up`, with `--dry-run` or without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncUp {
    /// Who offers it.
    pub remote: RemoteName,
    /// By which name.
    pub name: DirectoryName,
    /// Where to keep it; made if missing.
    pub path: LocalPath,
    /// How.
    #[serde(default)]
    pub mode: Mode,
}

/// `file down`, `sync down`, `sync pause`, `sync resume`, `sync approve`, `sync reject`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDirectory {
    /// Which.
    pub target: Target,
}

/// `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// A path in an offered or synced directory; of a directory, all below it.
    pub path: LocalPath,
    /// The most acts to list, the newest first.
    pub limit: u64,
}

/// `sync hold`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Which directory.
    pub target: Target,
    /// What to set; none: only say how it is.
    #[serde(default)]
    pub change: Option<HoldChange>,
}

/// What deletions are to be held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldChange {
    /// None.
    Never,
    /// As at first.
    Default,
    /// Those that exceed both; what is not given stays.
    Limit {
        /// So many files and symlinks within ten minutes.
        files: Option<u64>,
        /// So many of a hundred of those there are: 0 to 100.
        percent: Option<u64>,
    },
}

/// `sync wait`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncWait {
    /// Which directory; none: all.
    pub target: Option<Target>,
    /// For how long, in milliseconds. Whoever answers keeps this time and refuses with [`Reason::TimedOut`].
    pub timeout_ms: u64,
    /// True if what has come of it is to be told at that time, too, instead.
    #[serde(default)]
    pub tells_late: bool,
}

/// `conflicts`, `sync held`, `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflicts {
    /// Of which directory; none: of all.
    pub target: Option<Target>,
}

/// `resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolve {
    /// The path that is in conflict, or one of its copies.
    pub path: LocalPath,
    /// What stays.
    pub keep: Keep,
}

/// Which side of a conflict stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// What is at the path that was named.
    This,
    /// The other side.
    Other,
    /// Both: the copies get names of their own.
    Both,
}

/// `history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnPath {
    /// Which.
    pub path: LocalPath,
}

/// `restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// What to bring back: a file, a symlink, or a directory with all that is kept of it.
    pub path: LocalPath,
    /// Which version, by its id as `history` gives it, or enough of its first characters; none: the newest.
    pub version: Option<String>,
    /// Write it there instead, where nothing is.
    pub to: Option<LocalPath>,
    /// As it was then, in seconds since 1970; none: as it was last.
    pub at: Option<i64>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// One line: what, why, and what to do.
    pub message: String,
    /// Of what sort.
    pub reason: Reason,
}

/// The sorts of refusals, as far as clients tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The request itself is malformed.
    Malformed,
    /// It names a directory or remote that there is not.
    Unknown,
    /// It cannot be done as things stand, or it failed.
    Refused,
    /// A wait ran out of time.
    TimedOut,
    /// The server is stopping.
    Stopping,
}

impl Refusal {
    /// It cannot be done as things stand, or it failed.
    pub fn new(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), reason: Reason::Refused }
    }

    /// The request is malformed.
    pub fn malformed(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), reason: Reason::Malformed }
    }

    /// There is no such directory or remote.
    pub fn unknown(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), reason: Reason::Unknown }
    }

    /// A wait ran out of time.
    pub fn timed_out(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), reason: Reason::TimedOut }
    }

    /// The server is stopping.
    pub fn stopping() -> Refusal {
        Refusal { message: "the server is stopping; start it again".into(), reason: Reason::Stopping }
    }
}
