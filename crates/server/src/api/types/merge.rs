//! What a first merge would do, and what it did.

use serde::{Deserialize, Serialize};

use super::{Mode, PathMessage, ShownPath};

/// `sync up --dry-run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Who offers the directory, and by which name.
    pub remote: String,
    /// Its name there.
    pub name: String,
    /// Where it would be kept.
    pub path: ShownPath,
    /// How.
    pub mode: Mode,
    /// True if changes made here would stay here.
    pub read_only: bool,
    /// True if so much would be taken away that the join would ask before (`sync approve`).
    pub held: bool,
    /// How many files and symlinks meet which end, in the order of [`Foreseen`]'s kinds; those with none are left out.
    pub counts: Vec<ForeseenCount>,
    /// Each of them, in the order of their paths.
    pub files: Vec<ForeseenFile>,
    /// Directories that are on one side alone and hold none of these files; in no figure.
    #[serde(default)]
    pub directories: Vec<ForeseenDirectory>,
    /// What is left alone here (pipes, sockets, devices, other file systems), and why; it would be in `status`.
    #[serde(default)]
    pub unsupported: Vec<PathMessage>,
    /// What cannot be read here, and is not in the figures.
    pub errors: Vec<PathMessage>,
    /// How many paths are in trouble at the remote: what it says of them may not be what is there.
    #[serde(default)]
    pub remote_errors: u64,
}

/// What a first merge does about a file or symlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Foreseen {
    /// It is the same on both sides.
    Adopt,
    /// It is only there, or newer there, and comes here.
    Fetch,
    /// It is only here, and goes there.
    Send,
    /// It differs: one has the name, the other stands beside it.
    Conflict,
    /// It equals what was deleted there: it goes, and is kept.
    Remove,
    /// It stays here alone.
    Local,
    /// It stays there alone.
    Left,
}

/// How many files and symlinks meet one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeseenCount {
    /// Which end.
    pub what: Foreseen,
    /// How many.
    pub files: u64,
    /// Bytes of the regular files that have the names here afterwards, or that go.
    pub bytes: u64,
}

/// What a first merge does about one directory that holds nothing else to tell of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeseenDirectory {
    /// Which, below the root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// What.
    pub what: Foreseen,
}

/// What a first merge does about one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeseenFile {
    /// Which, below the root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// What.
    pub what: Foreseen,
    /// Bytes of the regular file that has the name here afterwards, or that goes; of a symlink none.
    pub bytes: u64,
    /// Of a conflict: true if this side has the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_here: Option<bool>,
    /// Of a conflict: where the other stands; none if it stays on this device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<ShownPath>,
}

/// How many files and symlinks met which end in a first merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstMerge {
    /// The same on both sides.
    pub adopted: u64,
    /// Brought here.
    pub fetched: u64,
    /// Told to the others, who did not have them, or had not found them yet on their own disks.
    pub sent: u64,
    /// Conflict copies shown; where changes go one way, files that differ on both sides.
    pub conflicts: u64,
    /// Taken away here, because others had deleted or replaced them; they are kept.
    pub removed: u64,
    /// Only here, or different here, and kept here alone; left out where changes go both ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<u64>,
    /// Only there, and left there; left out where changes go both ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
}
