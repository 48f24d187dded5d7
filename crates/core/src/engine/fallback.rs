//! Files that a power cut took back: what a program wrote and did not make durable, and what is there in its place.
//!
//! A record is committed only after its bytes are durable, so what falls back is what was written later, and not yet
//! seen here. File systems that allocate late then leave a file empty, or full of zeros; a disk that does not keep its
//! word may show older bytes. Neither is a user's edit (promise C4): what is known to be nobody's is replaced by what
//! the record says, and kept; where that is not known, nothing is replaced by it and both are shown.

use super::Engine;
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::record::Record;
use crate::version::{Content, ContentHash, Version};

/// Files of zeros beyond this size are taken for an edit: to tell them is a pass over as many bytes.
const ZEROS_BYTES_MAX: u64 = 64 << 20;

/// What is to be made of a file that differs from its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fallback {
    /// A user's act.
    None,
    /// It cannot be told: nothing is replaced by it.
    Possible,
    /// No user's act.
    Certain,
}

impl Engine {
    /// Judges what the first walk after a start of the machine found in place of what a record says.
    pub(super) fn fallback(&self, path: &SyncPath, old: &Record, found: &Record, is_moved: bool) -> Fallback {
        let Content::File(content) = found.content else { return Fallback::None };
        if is_made(Mistake::FallbackTakenForEdit) {
            return Fallback::None;
        }
        if !self.config.may_have_fallen_back || self.observer.is_ready || old.content == found.content {
            return Fallback::None;
        }
        let is_now_blank = is_blank(content, found.stat.size);
        match old.content {
            Content::File(before) if is_now_blank && !is_blank(before, old.stat.size) => {
                return Fallback::Certain;
            }
            Content::File(_) => {}
            // Of a file that was put in a symlink's place the name has lasted, and no byte.
            Content::Symlink(_) if is_now_blank => return Fallback::Certain,
            _ => return Fallback::None,
        }
        // No user can set the change time; a file that was moved here is another's, with times of its own.
        if found.stat.ctime > old.stat.ctime || is_moved {
            Fallback::None
        } else if self.was_here_before(path, content) {
            Fallback::Certain
        } else {
            Fallback::Possible
        }
    }

    /// A path has fallen back: until its bytes come from somewhere, whoever edits or deletes what is left there has to do
    /// with them.
    pub(super) fn has_fallen_back(&mut self, path: &SyncPath, before: Content) {
        self.fallen_back.insert(path.clone(), before);
    }

    /// What was at a path to the mind of its user, whatever a power cut left of it.
    pub(super) fn before_fallback(&self, path: &SyncPath, record: Record) -> Record {
        Record { content: self.fallen_back.get(path).copied().unwrap_or(record.content), ..record }
    }

    /// Finds out again, at a start, what has fallen back before it: where a blank file is recorded that is no version's,
    /// nor was replaced by one, and this device wrote what ought to be there.
    pub(super) fn note_what_is_lost(&mut self) {
        let lost = self.tree.iter().filter_map(|(path, node)| {
            let record = node.record.as_ref()?;
            let Content::File(content) = record.content else { return None };
            let versions = node.register.versions();
            let is_known = |version: &Version| {
                version.value.content() == record.content || version.base == record.content
            };
            // Whether it is blank takes a hash: it is asked last.
            if versions.iter().any(is_known) || !is_blank(content, record.stat.size) {
                return None;
            }
            let own = versions.iter().filter(|version| {
                version.dot.actor.device == self.config.device && version.value.content().is_bytes()
            });
            let last = own.max_by_key(|version| version.dot.counter)?;
            Some((path.clone(), last.value.content()))
        });
        self.fallen_back = lost.collect();
    }

    /// True if these bytes are known to have been replaced at a path.
    fn was_here_before(&self, path: &SyncPath, content: ContentHash) -> bool {
        let is_base = |version: &Version| version.base == Content::File(content);
        let known = self.tree.get(path);
        let versions = known.as_ref().map(|node| node.register.versions()).unwrap_or_default();
        versions.iter().any(is_base) || self.displaced.contains(&(path.clone(), content))
    }
}

/// True for no bytes, or zeros alone.
fn is_blank(content: ContentHash, length: u64) -> bool {
    length <= ZEROS_BYTES_MAX && content == ContentHash::of_zeros(length)
}
