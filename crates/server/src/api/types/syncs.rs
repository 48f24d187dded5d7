//! Directories that are offered and joined, and how a wait for them ended.

use serde::{Deserialize, Serialize};

use super::{Mode, ShownPath, State, Straggler};

/// `file up`, and one line of `file ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Its name.
    pub name: String,
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// Its root on this machine.
    #[serde(flatten)]
    pub path: ShownPath,
    /// True if the others' changes are never accepted.
    pub read_only: bool,
    /// The remotes that it is offered to; null: to every one.
    pub to: Option<Vec<String>>,
    /// The remotes that have joined it.
    pub members: Vec<String>,
}

/// `file ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedList {
    /// Everything offered, by name.
    pub directories: Vec<Offered>,
}

/// `sync up`, and one line of `sync ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// Its name.
    pub name: String,
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// Its root on this machine.
    #[serde(flatten)]
    pub path: ShownPath,
    /// Who offers it.
    pub remote: String,
    /// How it was joined.
    pub mode: Mode,
    /// True if only the offering device's changes count.
    pub read_only: bool,
    /// What it is doing.
    pub state: State,
    /// Connected members that are not in step with this device, as far as they have said; as in `status`.
    #[serde(default)]
    pub stragglers: Vec<Straggler>,
}

/// `sync ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncedList {
    /// Everything joined, by name.
    pub directories: Vec<Synced>,
}

/// What a connected remote offers to this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteOffer {
    /// Who offers it.
    pub remote: String,
    /// The name to join it by.
    pub name: String,
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// True if only the offering device's changes count.
    pub read_only: bool,
    /// True if it is joined already.
    pub joined: bool,
}

/// All of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteOfferList {
    /// By remote and name.
    pub offers: Vec<RemoteOffer>,
}

/// The directory that `file down`, `sync down`, `sync pause` or `sync resume` acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryDone {
    /// Its name.
    pub name: String,
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// Its root on this machine.
    #[serde(flatten)]
    pub path: ShownPath,
    /// True if it was so before: nothing was done.
    #[serde(default)]
    pub already: bool,
}

/// `sync wait`, when there is nothing left to wait for; as a part of `verify`, also when time is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// True if all that were waited for have said within the time that they have all, and this device has theirs.
    pub in_sync: bool,
    /// Who has not said so.
    pub behind: Vec<Absent>,
    /// How many remotes were connected and waited for; 0: there was nobody.
    pub remotes: u64,
    /// Names of directories that are paused here, so that they were not waited for.
    pub paused: Vec<String>,
    /// Connected remotes that were not waited for in a directory, since they say that they take no part in it.
    pub absent: Vec<Absent>,
    /// Members of a directory that are not connected, and were not waited for.
    pub away: Vec<Absent>,
    /// Directories in which deletions are held here for the user's word: until then this device and others differ in these.
    #[serde(default)]
    pub held: Vec<HeldHere>,
    /// How long it took, in milliseconds.
    pub waited_ms: u64,
}

/// How many deletions are held in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldHere {
    /// The directory's name.
    pub directory: String,
    /// Of files and symlinks.
    pub deletions: u64,
}

/// A member that was not waited for in a directory, or in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// The remote's name here.
    pub remote: String,
    /// The directory's name.
    pub directory: String,
    /// True if this device is not paired with it: the remote's name is then the beginning of its id. Others may be connected
    /// with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpaired: bool,
}
