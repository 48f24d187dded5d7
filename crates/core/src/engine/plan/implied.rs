//! Directories that only what lies in them asks for.
//!
//! No version says that such a directory is there, so that after a stop nothing that is stored tells whether the engine has
//! made it or a user. It says so itself, as long as its record is not durable: the engine gives it a modification time that
//! follows from its path and this directory's epoch, of the last days, and puts nothing into it before its record is durable,
//! since that changes the time. Modification times of directories are not synced. One of a user's has that very time with a
//! probability of 1 in 10^14, or, where the file system stores seconds only, 1 in 131,072; it would then go, empty, when
//! nothing asks for it any more.

use super::Planner;
use crate::engine::Engine;
use crate::path::SyncPath;
use crate::record::Record;
use crate::version::{Content, ContentHash, Time};

/// So many low bits of the seconds follow from the path; the others say when, give or take three days.
const MARK_BITS: u32 = 18;

impl Planner {
    /// Nothing is put into a directory that only what lies in it asks for before its record is durable.
    pub(in crate::engine) fn is_implied_unrecorded(&mut self, path: &SyncPath) {
        self.implied.insert(path.clone());
    }
}

impl Engine {
    /// The modification time that says that the engine has made a directory, if no version will.
    pub(in crate::engine) fn mark_of_implied(&self, path: &SyncPath) -> Option<Time> {
        let wall = self.now.wall.seconds;
        let mark = self.mark(path, wall >> MARK_BITS);
        // What is later than now draws the eye.
        let mark = if mark.seconds > wall { self.mark(path, (wall >> MARK_BITS) - 1) } else { mark };
        self.is_implied(path).then_some(mark)
    }

    /// True for a directory found after a start that the engine has made before it.
    pub(in crate::engine) fn is_made_by_engine(&self, path: &SyncPath, found: &Record) -> bool {
        let mtime = found.stat.mtime;
        self.planner.doubts.is_about(path)
            && found.content == Content::Directory
            && self.is_stored_as(self.mark(path, mtime.seconds >> MARK_BITS), mtime)
    }

    /// True for a directory found after a start that a user has made where the engine may have been about to.
    pub(in crate::engine) fn is_made_by_user(&self, path: &SyncPath, found: &Record) -> bool {
        found.content == Content::Directory
            && self.planner.doubts.is_implied(path)
            && !self.is_made_by_engine(path, found)
    }

    /// True if no version says that a directory is at a path.
    pub(in crate::engine) fn is_implied(&self, path: &SyncPath) -> bool {
        let known = self.tree.get(path);
        let versions = known.as_ref().map(|node| node.register.versions()).unwrap_or_default();
        !versions.iter().any(|version| version.value.content() == Content::Directory)
    }

    fn mark(&self, path: &SyncPath, period: i64) -> Time {
        let (epoch, period_bytes) = (self.commits.counters.epoch.to_le_bytes(), period.to_le_bytes());
        let hash = ContentHash::of(&[&epoch[..], &period_bytes, path.as_bytes()].concat());
        let bits = u64::from_le_bytes(*hash.0.first_chunk().expect("a hash holds four numbers"));
        let low = (bits % (1 << MARK_BITS)) as i64;
        let nanoseconds = ((bits >> MARK_BITS) % 1_000_000_000) as u32;
        Time { seconds: (period << MARK_BITS) | low, nanoseconds }
    }

    /// True for what lies in a directory that was made so, and whose record is not durable yet.
    pub(super) fn is_in_implied(&self, path: &SyncPath) -> bool {
        let planner = &self.planner;
        let is_new =
            |parent| planner.implied.contains(&parent) || planner.implied_under_way.contains(&parent);
        (!planner.implied.is_empty() || !planner.implied_under_way.is_empty())
            && path.parent().is_some_and(is_new)
    }
}
