//! The record of what was done to users' bytes, and why (promise P3).
//!
//! What is put where nothing was does nothing to anybody's bytes, and is not in it.

use super::Engine;
use crate::effect::{Kept, Op};
use crate::path::SyncPath;
use crate::record::Record;
use crate::retention::Reason;
use crate::version::{Content, ContentHash, DeviceId, Time};

/// One act on a user's bytes, for the append-only record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActRecord {
    /// When.
    pub at: Time,
    /// Where.
    pub path: SyncPath,
    /// The bytes before.
    pub before: Option<ContentHash>,
    /// The bytes after.
    pub after: Option<ContentHash>,
    /// What was done.
    pub deed: Deed,
    /// Why, in a few words.
    pub why: String,
    /// On whose word: the author of the version that was followed, or this device, whose user did it.
    pub by: DeviceId,
}

/// What was done to the bytes at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// This device's user changed them.
    Changed,
    /// This device's user deleted them, or moved them away.
    Deleted,
    /// This device's user moved them here.
    MovedHere,
    /// A version took their place; they are kept.
    Replaced,
    /// They were taken away; they are kept.
    Removed,
    /// They have another name now, as a version says.
    Renamed,
    /// They are what a stop left, which is not taken for a user's.
    FellBack,
    /// A version was made anew of what others had deleted, because this device's user wants it.
    Revived,
    /// They had rotted, and what was recorded took their place; they are kept.
    Healed,
    /// They were kept, and are gone for good.
    Expired,
    /// They are as somebody had deleted them before, and are treated as such.
    FoundDeleted,
}

impl Deed {
    /// A word for it, which stays the same for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Deed::Changed => "changed",
            Deed::Deleted => "deleted",
            Deed::MovedHere => "moved-here",
            Deed::Replaced => "replaced",
            Deed::Removed => "removed",
            Deed::Renamed => "renamed",
            Deed::FellBack => "fell-back",
            Deed::Revived => "revived",
            Deed::Healed => "healed",
            Deed::Expired => "expired",
            Deed::FoundDeleted => "found-deleted",
        }
    }
}

/// What the record says where this device's user moved a file: to its new path.
pub fn moved_here_why(from: &SyncPath) -> String {
    format!("from {from}{BY_USER}")
}

/// From where this device's user moved a file, if the record says that.
pub fn moved_here_from(why: &str) -> Option<SyncPath> {
    let from = why.strip_prefix("from ")?.strip_suffix(BY_USER)?;
    SyncPath::parse(from.as_bytes()).ok()
}

const BY_USER: &str = ", by a user or program here";

/// What the record says begins with where this device's user moved a file from somewhere below a directory.
pub fn moved_from_below_why(directory: &SyncPath) -> String {
    format!("from {directory}/")
}

/// What the record says ends with where what was displaced was not what it was recorded to be.
pub const ROTTEN: &str = "its bytes had rotted";

/// What the record says begins with at the old path of what got another name, as a version says; the new path follows.
pub const RENAMED_TO: &str = "to ";
/// The same at the new path; the old one follows.
pub const RENAMED_FROM: &str = "from ";

impl Engine {
    /// Notes what this device's user did, or what is taken for it. `moved_from`: where the file was recorded before.
    pub(super) fn note_own_act(
        &mut self,
        path: &SyncPath,
        (before, after): (Content, Content),
        deed: Deed,
        moved_from: Option<&SyncPath>,
    ) {
        let is_about_bytes = before.is_bytes() && before != after || moved_from.is_some();
        let (deed, why) = match (deed, moved_from) {
            (Deed::Changed | Deed::Deleted, _) if !is_about_bytes => return,
            (Deed::Changed, Some(from)) => (Deed::MovedHere, moved_here_why(from)),
            (Deed::Changed, None) => (deed, "by a user or program here".to_owned()),
            (Deed::Deleted, _) => (deed, "deleted or moved away by a user or program here".to_owned()),
            (Deed::Revived, _) => (deed, "its deletion elsewhere was rejected here".to_owned()),
            (_, _) => (deed, "what had been deleted elsewhere was found here again".to_owned()),
        };
        self.note(path, (before, after), deed, why, self.config.device);
    }

    /// Says why the bytes at a path are about to be replaced.
    pub(super) fn note_fallback(&mut self, path: &SyncPath, before: Content, found: &Record) {
        let why = "the machine stopped before its bytes were on the disk; this is what was left".to_owned();
        self.note(path, (before, found.content), Deed::FellBack, why, self.config.device);
    }

    /// Notes what an op has displaced, and what was recorded there.
    pub(super) fn note_displaced(&mut self, op: &Op, kept: &Kept, recorded: Content) {
        let (after, deed) = match op {
            Op::Place { content, .. } if Content::File(*content) == recorded && kept.content != recorded => {
                (recorded, Deed::Healed)
            }
            Op::Place { content, .. } => (Content::File(*content), Deed::Replaced),
            Op::PlaceSymlink { target, .. } => (Content::Symlink(ContentHash::of(target)), Deed::Replaced),
            _ => (Content::Absent, Deed::Removed),
        };
        let path = &kept.path;
        let losers = self.tree.project(path).losers;
        let why = if deed == Deed::Healed {
            "what was recorded is back".to_owned()
        } else if let Some(loser) = losers.iter().find(|loser| loser.value.content() == recorded) {
            format!("another version has the name; this one is at {}", loser.copy)
        } else if let Some((origin, _)) = self.tree.shown_copy(path) {
            format!("it is a conflict copy of {origin}")
        } else if deed == Deed::Replaced {
            "by a later version".to_owned()
        } else {
            "deleted or moved elsewhere, or its conflict is over".to_owned()
        };
        let why = if kept.content == recorded { why } else { format!("{why}; {ROTTEN}") };
        let by = self.author(path, after);
        self.note(path, (kept.content, after), deed, why, by);
    }

    /// Notes that an op has given something another name; of a directory, that alone.
    pub(super) fn note_renamed(&mut self, from: &SyncPath, to: &SyncPath, content: Content) {
        let by = self.author(to, content);
        self.note(from, (content, Content::Absent), Deed::Renamed, format!("{RENAMED_TO}{to}"), by);
        self.note(to, (Content::Absent, content), Deed::Renamed, format!("{RENAMED_FROM}{from}"), by);
    }

    /// Notes that a kept version is gone for good.
    pub(super) fn note_expired(&mut self, kept: &Kept, reason: Reason) {
        let why = match reason {
            Reason::Old => "it was kept for 30 days",
            Reason::Thinned => "kept versions took more room than they may, and there are newer ones of it",
            Reason::NoRoom => "kept versions took more room than they may",
            Reason::NoRoomForYoung => {
                "kept versions took more room than they may, even those of the last day"
            }
        };
        let (change, by) = ((kept.content, Content::Absent), self.config.device);
        self.note(&kept.path, change, Deed::Expired, why.to_owned(), by);
    }

    /// Who says that a path is to be so: the author of the latest such version, else who told of it.
    fn author(&self, path: &SyncPath, content: Content) -> DeviceId {
        let known = self.tree.get(path);
        let standing = self.tree.standing_with(path, known.as_ref().map(|node| &node.register));
        let such = standing.iter().filter(|version| version.value.content() == content);
        such.max_by_key(|version| version.rank)
            .map(|version| version.dot.actor.device)
            .or_else(|| self.planner.origin(path))
            .unwrap_or(self.config.device)
    }

    fn note(
        &mut self,
        path: &SyncPath,
        (before, after): (Content, Content),
        deed: Deed,
        why: String,
        by: DeviceId,
    ) {
        let hash = |content: Content| content.is_bytes().then(|| content.hash());
        let (before, after) = (hash(before), hash(after));
        self.commits.note_act(ActRecord {
            at: self.now.wall,
            path: path.clone(),
            before,
            after,
            deed,
            why,
            by,
        });
    }
}
