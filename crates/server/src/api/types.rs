//! The JSON documents that requests answer with. Their field names are what people script against: fields may be
//! added, none is renamed or removed.
//!
//! Sizes are bytes, times RFC 3339 in UTC. Paths are strings, lossy where the bytes are not UTF-8; then `path_bytes`
//! beside them has the bytes in hexadecimal.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use file_sync_core::path::SyncPath;
use file_sync_core::version::Time;
use serde::{Deserialize, Serialize};

use super::names::{from_hex, to_hex};

mod merge;
mod syncs;
mod traffic;
mod versions;

pub use merge::{FirstMerge, Foreseen, ForeseenCount, ForeseenDirectory, ForeseenFile, Preview};
pub use syncs::{
    Absent, DirectoryDone, HeldHere, Offered, OfferedList, RemoteOffer, RemoteOfferList, Synced, SyncedList,
    Waited,
};
pub use traffic::Traffic;
pub use versions::{
    Conflict, ConflictList, History, Item, KeptVersion, Log, LoggedAct, MovedAway, NotAtWork, Resolved,
    Restored, StandingVersion, Unhad, Unrestored, Untold, Why,
};

/// A time as the documents carry it, such as `2026-03-01T12:00:00Z`; held within the years that RFC 3339 can write.
pub fn rfc3339(time: Time) -> String {
    let nanoseconds = i32::try_from(time.nanoseconds).unwrap_or(0);
    let (first, last) = (-62_167_219_200, 253_402_207_200);
    jiff::Timestamp::new(time.seconds.clamp(first, last), nanoseconds).unwrap_or_default().to_string()
}

/// A path in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownPath {
    /// The path, lossy.
    pub path: String,
    /// Its bytes in hexadecimal, where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
}

impl ShownPath {
    /// The path as the file system has it.
    pub fn to_path(&self) -> PathBuf {
        let bytes = self.path_bytes.as_deref().and_then(from_hex);
        bytes.map_or_else(|| PathBuf::from(&self.path), |bytes| OsString::from_vec(bytes).into())
    }
}

impl From<&[u8]> for ShownPath {
    fn from(bytes: &[u8]) -> ShownPath {
        let path_bytes = std::str::from_utf8(bytes).is_err().then(|| to_hex(bytes));
        ShownPath { path: String::from_utf8_lossy(bytes).into_owned(), path_bytes }
    }
}

impl From<&Path> for ShownPath {
    fn from(path: &Path) -> ShownPath {
        path.as_os_str().as_bytes().into()
    }
}

impl From<&SyncPath> for ShownPath {
    /// The root is shown as `.`.
    fn from(path: &SyncPath) -> ShownPath {
        if path.is_root() { b".".as_slice().into() } else { path.as_bytes().into() }
    }
}

/// How a joined directory is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Changes go both ways.
    #[default]
    TwoWay,
    /// Changes made here stay here.
    ReceiveOnly,
    /// Changes made elsewhere are not taken.
    SendOnly,
}

impl Mode {
    /// As the command line and the documents write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::TwoWay => "two-way",
            Mode::ReceiveOnly => "receive-only",
            Mode::SendOnly => "send-only",
        }
    }
}

/// How this device came to a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Offered from here.
    Offered,
    /// Joined; a remote offers it.
    Synced,
}

/// What a directory is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing to do.
    Idle,
    /// Looking at the disk.
    Scanning,
    /// Fetching, placing or sending.
    Syncing,
    /// Stopped by the user, both ways.
    Paused,
    /// Deletions wait for the user's word.
    Held,
    /// The root cannot be proved or read; nothing is done until it can.
    Error,
}

impl State {
    /// As the documents write it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Scanning => "scanning",
            State::Syncing => "syncing",
            State::Paused => "paused",
            State::Held => "held",
            State::Error => "error",
        }
    }
}

/// `status`: everything there is to know at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The server's version.
    pub version: String,
    /// This device.
    pub device: Device,
    /// All paired devices, by name.
    pub remotes: Vec<Remote>,
    /// All directories, offered and synced, by name.
    pub directories: Vec<DirectoryStatus>,
    /// How far the reading for a `sync up --dry-run` is; left out while none is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previewing: Option<Reading>,
    /// How fast contents go and come.
    pub traffic: Traffic,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// What it calls itself.
    pub name: String,
}

/// A paired device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// What this device calls it.
    pub name: String,
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// True while a connection stands.
    pub connected: bool,
    /// Where it was last reached or said it listens, as `IP:PORT`; null if that is not known.
    pub address: Option<String>,
    /// When it was last connected; null if never.
    pub last_seen: Option<String>,
}

/// The device that `remote rm` acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRemoved {
    /// How it was known.
    #[serde(flatten)]
    pub remote: Remote,
    /// True if it was removed before, and is a member of nothing: nothing was done.
    #[serde(default)]
    pub already: bool,
}

/// One directory in `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryStatus {
    /// Its name.
    pub name: String,
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// Its root on this machine.
    #[serde(flatten)]
    pub path: ShownPath,
    /// Offered or synced.
    pub role: Role,
    /// Who offers it; null where this device does.
    pub remote: Option<String>,
    /// The mode that it was joined with; `two-way` where this device offers it.
    pub mode: Mode,
    /// True if only the offering device's changes count.
    pub read_only: bool,
    /// What it is doing.
    pub state: State,
    /// Regular files and symlinks here, also those that only this device has, as one that may not send.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that this device still lacks.
    pub need_files: u64,
    /// Their bytes.
    pub need_bytes: u64,
    /// Of these, what does not come as things are: its path is in trouble, or no connected member has it.
    #[serde(default)]
    pub blocked_bytes: u64,
    /// Conflict copies shown.
    pub conflicts: u64,
    /// Paths whose changes stay here because of a mode.
    pub local_changes: u64,
    /// Files and symlinks whose deletion is held for the user's word.
    pub held: u64,
    /// The first hundred of them.
    #[serde(default)]
    pub held_paths: Vec<HeldPath>,
    /// While some are held, how many deletions of the same ten minutes went through, as they came before there were too many.
    #[serde(default)]
    pub let_through: u64,
    /// Kept versions younger than a day that had to go for want of room since the server's start.
    #[serde(default)]
    pub kept_gone_young: u64,
    /// Connected members that are not in step with this device, as far as they have said.
    #[serde(default)]
    pub stragglers: Vec<Straggler>,
    /// What is not watched, only scanned for; left out if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwatched: Option<Unwatched>,
    /// What the first merge of a joined directory did; left out before it has ended, and after the server's next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_merge: Option<FirstMerge>,
    /// How far `verify` is; left out while none is at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifying: Option<Reading>,
    /// Trouble, each with its path below the root (`.` for the root itself).
    pub errors: Vec<PathMessage>,
    /// What is left alone (pipes, sockets, devices, other file systems), and why.
    pub unsupported: Vec<PathMessage>,
    /// The fingerprint of the whole tree; null until it is known. Equal on two members means equal trees.
    pub root_hash: Option<String>,
}

/// How far a reading of all files is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Files and symlinks read.
    pub files: u64,
    /// Of so many.
    pub of_files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Of so many.
    pub of_bytes: u64,
}

/// Directories whose changes are found by scans alone, one a minute. It is one of `errors`, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwatched {
    /// How many; null for all, where nothing can be watched.
    pub directories: Option<u64>,
    /// How many and why, in one line.
    pub message: String,
    /// What mends it; null where nothing is known to.
    pub mend: Option<String>,
    /// In how many seconds it is tried again to watch them, at the latest.
    pub retry_in_seconds: u64,
}

/// A connected member that is not in step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Straggler {
    /// Its name here.
    pub remote: String,
    /// It does not take part at present: the directory is paused, taken down or not at work there.
    pub takes_no_part: bool,
    /// How many paths are in trouble there.
    pub troubles: u64,
}

/// A file or symlink whose deletion is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPath {
    /// Which, below the root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// It is gone from this device's disk, and no other knows of it; else others have deleted it, and it is still here.
    pub deleted_here: bool,
}

/// One of them, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The directory's name.
    pub directory: String,
    /// The file or symlink.
    #[serde(flatten)]
    pub held: HeldPath,
}

/// `sync held`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldList {
    /// By directory and path.
    pub held: Vec<Held>,
    /// Where there may be more: all directories were asked for, and nothing can be said of these at present.
    #[serde(default)]
    pub not_at_work: Vec<NotAtWork>,
}

/// `sync approve` or `sync reject`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldAnswered {
    /// The directory's name.
    pub name: String,
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// Its root on this machine.
    #[serde(flatten)]
    pub path: ShownPath,
    /// How many deletions were held.
    pub held: u64,
    /// How many of the same ten minutes went through, as they came before there were too many.
    #[serde(default)]
    pub let_through: u64,
    /// It was the root that was accepted: it had lost its marker.
    pub root_accepted: bool,
}

/// `sync hold`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldLimited {
    /// The directory's name.
    pub name: String,
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// Its root on this machine.
    #[serde(flatten)]
    pub path: ShownPath,
    /// Deletions that exceed this are held; null: none is.
    pub limit: Option<HoldLimit>,
}

/// How much may be deleted within ten minutes without being held: what exceeds both is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldLimit {
    /// Files and symlinks.
    pub files: u64,
    /// Of a hundred of those there are, equal ones counted once.
    pub percent: u64,
}

/// `verify`: every byte was read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// By name.
    pub directories: Vec<VerifiedDirectory>,
}

/// What that came to in one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedDirectory {
    /// Its name.
    pub name: String,
    /// Its root on this machine.
    #[serde(flatten)]
    pub path: ShownPath,
    /// Files and symlinks that are as recorded.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files whose bytes are others, though nothing says that they were changed.
    pub damaged: Vec<ShownPath>,
    /// Files that were being changed, so that nothing can be said of them.
    pub changed: u64,
    /// The first hundred of them.
    #[serde(default)]
    pub changed_paths: Vec<ShownPath>,
    /// Paths that differ here alone, because of a mode: they were compared with what was last seen of them.
    #[serde(default)]
    pub local: u64,
    /// Files that could not be read, and why.
    pub errors: Vec<PathMessage>,
}

/// A path and what there is to say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathMessage {
    /// Below the directory's root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// One line.
    pub message: String,
    /// In how many seconds it is tried again at the latest; none: when something else changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_seconds: Option<u64>,
    /// What mends it, a command where there is one; left out where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl PathMessage {
    /// What is not tried again by itself, or nobody knows when.
    pub fn new(path: impl Into<ShownPath>, message: impl Into<String>) -> PathMessage {
        PathMessage { path: path.into(), message: message.into(), retry_in_seconds: None, mend: None }
    }
}

/// `remote ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteList {
    /// All paired devices, by name.
    pub remotes: Vec<Remote>,
}

/// `remote invite`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// One line without spaces, good once.
    pub ticket: String,
    /// Until when.
    pub expires_at: String,
}

/// What a refused request answers with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// One line: what, why, and what to do.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        let at = |seconds| rfc3339(Time { seconds, nanoseconds: 0 });
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(1_772_366_400), "2026-03-01T12:00:00Z");
        assert!(at(i64::MAX).starts_with("9999-12-3"));
        assert_eq!(at(i64::MIN), "0000-01-01T00:00:00Z");
    }

    #[test]
    fn status_keeps_its_field_names() {
        let directory = DirectoryStatus {
            name: "docs".into(),
            id: "00".into(),
            path: b"/d\xff".as_slice().into(),
            role: Role::Synced,
            remote: Some("laptop".into()),
            mode: Mode::ReceiveOnly,
            read_only: false,
            state: State::Idle,
            files: 1,
            bytes: 2,
            need_files: 3,
            need_bytes: 4,
            blocked_bytes: 3,
            conflicts: 5,
            local_changes: 6,
            held: 1,
            held_paths: vec![HeldPath { path: b"h".as_slice().into(), deleted_here: true }],
            let_through: 2,
            kept_gone_young: 7,
            stragglers: vec![Straggler { remote: "beta".to_owned(), takes_no_part: false, troubles: 1 }],
            unwatched: None,
            first_merge: None,
            verifying: None,
            errors: vec![PathMessage::new(b"a".as_slice(), "m")],
            unsupported: vec![],
            root_hash: None,
        };
        let json = serde_json::to_value(&directory).expect("serialises");
        let expected = serde_json::json!({
            "name": "docs", "id": "00", "path": "/d\u{fffd}", "path_bytes": "2f64ff", "role": "synced",
            "remote": "laptop", "mode": "receive-only", "read_only": false, "state": "idle", "files": 1, "bytes": 2,
            "need_files": 3, "need_bytes": 4, "blocked_bytes": 3, "conflicts": 5, "local_changes": 6,
            "kept_gone_young": 7, "held": 1,
            "held_paths": [{ "path": "h", "deleted_here": true }], "let_through": 2,
            "stragglers": [{ "remote": "beta", "takes_no_part": false, "troubles": 1 }],
            "errors": [{ "path": "a", "message": "m" }], "unsupported": [], "root_hash": null
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<DirectoryStatus>(json).expect("parses"), directory);
    }
}
