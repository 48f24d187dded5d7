//! What there is, and was, of a path: conflicts, history, and why it is as it is.

use serde::{Deserialize, Serialize};

use super::ShownPath;

/// One conflict copy that is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The directory's name.
    pub directory: String,
    /// The directory's root on this machine.
    pub root: ShownPath,
    /// The path that is in conflict, below the root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// The copy, below the root.
    pub copy: ShownPath,
    /// Whose version the copy shows, by this device's name for it.
    pub by: String,
    /// When that version was made, by that device's clock.
    pub at: String,
}

/// `conflicts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictList {
    /// By directory and copy.
    pub conflicts: Vec<Conflict>,
    /// Where there may be more: all directories were asked for, and nothing can be said of these at present.
    #[serde(default)]
    pub not_at_work: Vec<NotAtWork>,
}

/// A directory that is not at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotAtWork {
    /// Its name.
    pub directory: String,
    /// Why.
    pub message: String,
}

/// `resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The directory's name.
    pub directory: String,
    /// The path that was in conflict, below the root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// The copies that there were, below the root; none of them is shown any more.
    pub copies: Vec<ShownPath>,
    /// The names that they have now, where both were kept.
    pub renamed: Vec<ShownPath>,
    /// True if the copy has its path's place now, and what was there is kept.
    pub taken: bool,
    /// Other copies of the same path, which are still in conflict.
    pub left: Vec<ShownPath>,
}

/// A version that is kept, or still to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptVersion {
    /// What `restore --version` takes; the first characters do, as far as no other version has the same.
    pub id: String,
    /// The path that it was at, below the root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// True for a symlink, false for a file.
    pub symlink: bool,
    /// Its bytes.
    pub bytes: u64,
    /// Its modification time.
    pub modified: String,
    /// When it was replaced or deleted: until then it was at the path. Where only remotes know that, by the clock of one that
    /// keeps it, when that followed.
    pub replaced: String,
    /// True if this device has its bytes.
    #[serde(default = "yes")]
    pub here: bool,
    /// The path where they are, below the root, if they are not kept but part of the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<ShownPath>,
    /// The connected remotes that keep it, by this device's names for them.
    #[serde(default)]
    pub remotes: Vec<String>,
    /// True of what a file had rotted to: nobody wrote it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    /// True of what stands, where this device's user has put something else for itself, as a member's that may not send.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standing: bool,
    /// The name at which it was shown, below the root, as a conflict copy of the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<ShownPath>,
}

/// Before remotes were asked, all was here.
fn yes() -> bool {
    true
}

/// A member that has not told, or not all, of what it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untold {
    /// This device's name for it; of one that it is not paired with, the first characters of its id.
    pub remote: String,
    /// Why, in a few words, such as `not connected`.
    pub reason: String,
}

/// A version that is known to have been there, and is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unhad {
    /// The id that it would have.
    pub id: String,
    /// When it was replaced or deleted here.
    pub replaced: String,
}

/// A version that could not be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrestored {
    /// Where it was, below the root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// Its id.
    pub id: String,
    /// Why not, in one line.
    pub reason: String,
}

/// `history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The directory's name.
    pub directory: String,
    /// The path asked for, below the root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// True if something is at the path now.
    pub present: bool,
    /// The newest first.
    pub versions: Vec<KeptVersion>,
    /// Members that may keep others.
    #[serde(default)]
    pub untold: Vec<Untold>,
    /// The version that was last at the path before what is there now, where nobody who was asked has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer: Option<Unhad>,
    /// True if more has been done below the path than is looked at: what was where is not all known, and a path further down is
    /// to be asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// How many files at the path and below it have been deleted here, and are still to be had by rejecting that: their
    /// deletion is held.
    #[serde(default)]
    pub held: u64,
    /// What was at the path or below it and is elsewhere in the directory by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_away: Option<MovedAway>,
}

/// What was at a path or below it and is elsewhere by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedAway {
    /// How many have another name. A directory whose new name was followed here counts once, with all below it.
    pub moved: u64,
    /// Of the one that was moved last: its old name, below the root.
    pub from: ShownPath,
    /// Its name from then on.
    pub to: ShownPath,
    /// When, by this device's clock.
    pub at: String,
    /// True if they are there still; else they have gone from their new names as well.
    pub there: bool,
}

impl MovedAway {
    /// That, as part of a line; `shown` makes a path fit for a terminal.
    pub fn said(&self, shown: impl Fn(&ShownPath) -> String) -> String {
        let (from, to) = (shown(&self.from), shown(&self.to));
        match (self.there, self.moved) {
            (true, 1) => format!("{from} is {to} since {}", self.at),
            (true, moved) => format!("{moved} have other names by now, {from} is {to} since {}", self.at),
            (false, 1) => {
                format!("{from} was moved to {to} at {}, and has gone from there: ask for that name", self.at)
            }
            (false, moved) => format!(
                "{moved} were moved and have gone since, {from} to {to} at {}: ask for that name",
                self.at
            ),
        }
    }
}

/// `restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The directory's name.
    pub directory: String,
    /// The path asked for, below the root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// What is in place now, below the root.
    pub restored: Vec<KeptVersion>,
    /// What was asked for and was at its path before: nothing was changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub already: Vec<KeptVersion>,
    /// True where this device may not send: what was brought back stays here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
    /// What was left as it is, below the root: something is there.
    pub left: Vec<ShownPath>,
    /// Of a directory as of a time, what was replaced after it and had been written after it, too: it was not there then.
    #[serde(default)]
    pub later: Vec<ShownPath>,
    /// Of a directory, what was there by the word of remotes alone: it is left out, and comes back if its version is named.
    #[serde(default)]
    pub told: Vec<ShownPath>,
    /// Of a directory, what got another name since, as `log` says: it is left out.
    #[serde(default)]
    pub moved: Vec<ShownPath>,
    /// Of a directory, what could not be brought back: it is not to be had, its bytes did not come, or it could not be put in
    /// place.
    #[serde(default)]
    pub failed: Vec<Unrestored>,
    /// Members that may keep others.
    #[serde(default)]
    pub untold: Vec<Untold>,
    /// Where it was written instead.
    pub to: Option<ShownPath>,
}

/// One act on a user's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedAct {
    /// When, by this device's clock.
    pub at: String,
    /// The path, below the root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// What was done, in a word such as `replaced`; it may gain others.
    pub what: String,
    /// Why, in a few words.
    pub why: String,
    /// On whose word, by this device's name for it.
    pub by: String,
    /// The BLAKE3 hash of what was there, in hexadecimal: of a symlink, of its target.
    pub before: Option<String>,
    /// Of what is there since.
    pub after: Option<String>,
}

/// `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The directory's name.
    pub directory: String,
    /// The path asked for, below the root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// The newest first.
    pub acts: Vec<LoggedAct>,
    /// True if there are more than were asked for.
    pub more: bool,
}

/// A file, directory, symlink or nothing, as `why` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// `file`, `directory`, `symlink`, `nothing`, or what else it is.
    pub kind: String,
    /// A file's bytes.
    pub bytes: Option<u64>,
    /// Permission bits, in octal.
    pub mode: Option<String>,
    /// Modification time, of a file.
    pub modified: Option<String>,
    /// The first 16 hexadecimal digits of the content's BLAKE3 hash: of a symlink, of its target.
    pub content: Option<String>,
}

/// A version that stands: nobody who knew it has replaced it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingVersion {
    /// Who made it, by this device's name for it.
    pub by: String,
    /// When, by that device's clock; of several the latest has the name.
    pub at: String,
    /// What it is.
    #[serde(flatten)]
    pub item: Item,
    /// Where it is shown, below the root; null where it is not.
    pub shown_at: Option<ShownPath>,
}

/// `why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The directory's name.
    pub directory: String,
    /// The path, below the root.
    #[serde(flatten)]
    pub path: ShownPath,
    /// What is on the disk now; null where that cannot be told.
    pub disk: Option<Item>,
    /// What was there when it was last looked at.
    pub index: Item,
    /// What all versions together say.
    pub wanted: Item,
    /// The versions that stand.
    pub versions: Vec<StandingVersion>,
    /// The path that it is a conflict copy of.
    pub copy_of: Option<ShownPath>,
    /// One word for what follows, such as `in-step`.
    pub reason: String,
    /// The same in a sentence.
    pub explanation: String,
    /// What mends trouble with it, a command where there is one; left out where nothing has to be mended, or nobody knows how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// True for a conflict copy, and for what copies are shown of.
    #[serde(default)]
    pub in_conflict: bool,
    /// True while its deletion, or that of a directory that it lies in, is held. With a conflict, `reason` is `conflict`.
    #[serde(default)]
    pub held: bool,
    /// Connected remotes that have not been told yet how it is here.
    pub untold: Vec<String>,
    /// Connected members that have been told, and have not said yet that their disks have followed.
    #[serde(default)]
    pub behind: Vec<String>,
    /// Connected members whose disks have followed, as they have said.
    #[serde(default)]
    pub followed: Vec<String>,
    /// Members that are not connected or take no part now: whether they have it is not known.
    pub away: Vec<String>,
    /// How many versions are kept here.
    pub kept: u64,
}
