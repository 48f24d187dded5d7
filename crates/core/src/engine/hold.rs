//! Holds: deletions of much at once wait for a word of their user's (promise L6).
//!
//! A slip of the hand, a script gone wrong or a remote may delete most of a directory. Many deletions within a while,
//! however they were divided, after which too little would be left of what there was, are therefore held: no version is
//! made of what has gone from this disk, and what others have deleted stays on it. Held paths are frozen until somebody
//! approves (then all goes on as it would have) or rejects (then the files are brought back). Renames are no deletions,
//! however they arrive, and neither is the end of a copy whose bytes stay under another name; files that come and go all
//! the time leave as many behind.
//!
//! What is held follows from disk and registers like all else; that something was held is for the server to remember,
//! since less than the limit may be left of it at the next start.

mod measure;

use std::collections::{BTreeMap, BTreeSet};

pub use measure::HoldLimit;
use measure::Measure;

use super::mint::Contents;
use super::{Effect, Engine, Mode, Now};
use crate::conflict::origins;
use crate::path::SyncPath;
use crate::record::Record;
use crate::version::{Changed, Content, ContentHash};

/// What is held, and what counts towards it.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Files and symlinks that have gone from this disk; no version says so.
    here: BTreeSet<SyncPath>,
    /// The directories that have gone with them.
    above: BTreeSet<SyncPath>,
    /// Deleted by others; still on this disk.
    elsewhere: BTreeSet<SyncPath>,
    /// Let through: looked at once more, and then told.
    told: BTreeSet<SyncPath>,
    /// Let through: about to be removed.
    leaving: BTreeSet<SyncPath>,
    measure: Measure,
    /// Contents that others have given other paths, and how many: what others have deleted may have been renamed.
    appeared: BTreeMap<ContentHash, usize>,
    /// Something was held when the last life ended: whatever is to be deleted is held.
    was_holding: bool,
    /// What is gone from this disk no longer, or is held no longer: it is to be thought of again, with what was to lie
    /// below.
    freed: BTreeSet<SyncPath>,
}

impl Holds {
    pub(super) fn new(was_holding: bool) -> Holds {
        Holds { was_holding, ..Holds::default() }
    }

    /// True for what has gone from this disk and is held.
    pub(super) fn is_missing(&self, path: &SyncPath) -> bool {
        self.here.contains(path) || self.above.contains(path)
    }

    /// True for a path whose deletion is held, and for what lies below.
    pub(super) fn is_about(&self, path: &SyncPath) -> bool {
        self.about(path).is_some()
    }

    /// Whose deletion is held: the path's own, or that of what it lies in.
    pub(super) fn about(&self, path: &SyncPath) -> Option<SyncPath> {
        if self.elsewhere.contains(path) || self.is_missing(path) {
            return Some(path.clone());
        }
        path.ancestors().find(|above| self.is_missing(above))
    }

    /// Something is there again.
    pub(super) fn is_back(&mut self, path: &SyncPath) {
        self.freed.extend(self.here.take(path).or_else(|| self.above.take(path)));
        self.told.remove(path);
    }

    /// What was missing here is dealt with, if it is not held.
    pub(super) fn is_minted(&mut self, path: &SyncPath) {
        self.told.remove(path);
    }

    /// Nothing is to be done at a path any more.
    pub(super) fn is_fine(&mut self, path: &SyncPath) {
        self.leaving.remove(path);
    }

    /// Others have given a path this content, which had another or none: a deletion of it was half a rename.
    pub(super) fn has_appeared(&mut self, content: ContentHash) {
        self.measure.forget(Content::File(content));
        if !self.elsewhere.is_empty() {
            *self.appeared.entry(content).or_default() += 1;
        }
    }

    /// Notes how many contents are recorded.
    pub(super) fn note_contents(&mut self, now_ms: u64, n_contents: u64) {
        self.measure.note_contents(now_ms, n_contents);
    }

    /// True if nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.here.is_empty() && self.above.is_empty() && self.elsewhere.is_empty()
    }
}

impl Engine {
    /// How many files and symlinks are held.
    pub fn n_held(&self) -> u64 {
        (self.holds.here.len() + self.holds.elsewhere.len()) as u64
    }

    /// The files and symlinks that are held, and whether each has gone from this disk; else others have deleted it.
    pub fn held(&self) -> impl Iterator<Item = (&SyncPath, bool)> {
        let here = self.holds.here.iter().map(|path| (path, true));
        here.chain(self.holds.elsewhere.iter().map(|path| (path, false)))
    }

    /// True while something is held, or let through and not done yet: the next life has to know, see
    /// [`super::Config::was_holding`].
    pub fn is_holding(&self) -> bool {
        let Holds { told, leaving, was_holding, .. } = &self.holds;
        !self.holds.is_empty() || !told.is_empty() || !leaving.is_empty() || *was_holding
    }

    /// Sets how much is held from now on; none: nothing is. What is held already waits for its answer all the same, and
    /// after a restart all that is to be deleted until then waits with it: nobody remembers which of it was held.
    pub fn set_hold_limit(&mut self, limit: Option<HoldLimit>) {
        self.config.hold = limit;
    }

    /// Lets through what is held.
    pub fn approve(&mut self, now: Now) -> Vec<Effect> {
        self.now = now;
        let mut here = std::mem::take(&mut self.holds.here);
        here.append(&mut self.holds.above);
        let elsewhere = std::mem::take(&mut self.holds.elsewhere);
        self.is_answered();
        self.tell(here);
        self.holds.leaving.extend(elsewhere);
        self.settle()
    }

    fn tell(&mut self, paths: BTreeSet<SyncPath>) {
        paths.iter().for_each(|path| self.request_look(path.clone()));
        self.holds.freed.extend(paths.iter().cloned());
        self.holds.told.extend(paths);
    }

    /// Brings back what is held: what has gone from this disk is put there again, and what others have deleted is made
    /// anew by this device.
    pub fn reject(&mut self, now: Now) -> Vec<Effect> {
        self.now = now;
        let mut here = std::mem::take(&mut self.holds.here);
        here.append(&mut self.holds.above);
        let elsewhere = std::mem::take(&mut self.holds.elsewhere);
        self.is_answered();
        self.planner.doubts.end(&here);
        here.iter().for_each(|path| self.set_record(path, None));
        for path in elsewhere {
            match self.tree.record(&path) {
                // What a symlink points to is read again.
                Some(record) if self.may_send() && matches!(record.content, Content::File(_)) => {
                    self.make_anew(&path, &record);
                }
                // Found again as what only its user can have made.
                _ => {
                    self.set_record(&path, None);
                    self.request_look(path);
                }
            }
        }
        self.settle()
    }

    fn is_answered(&mut self) {
        self.holds.measure = Measure::default();
        self.holds.note_contents(self.now.monotonic_ms, self.n_contents());
        self.holds.was_holding = false;
        self.planner.reconsider_all(&self.tree);
    }

    fn make_anew(&mut self, path: &SyncPath, record: &Record) {
        let rank = record.stat.mtime.min(self.now.wall);
        let value = super::mint::value_of(record, None);
        self.act(path, Content::Absent, value, Changed::ALL, rank);
        self.note_own_act(path, (record.content, record.content), super::Deed::Revived, None);
        self.commits.note_row(path);
    }

    /// What is held of a directory that a file has taken the place of: it is told with that.
    pub(super) fn take_held_below<'a>(
        &mut self,
        found: impl Iterator<Item = (&'a SyncPath, Content)>,
    ) -> Vec<SyncPath> {
        let mut taken = Vec::new();
        let Holds { here, above, freed, .. } = &mut self.holds;
        for (path, _) in found.filter(|(_, content)| content.is_bytes()) {
            for held in [&*here, &*above] {
                let below = held.range(path.clone()..).skip_while(|held| *held == path);
                taken.extend(below.take_while(|held| path.is_ancestor_of(held)).cloned());
            }
        }
        freed.extend(taken.iter().filter_map(|path| here.take(path).or_else(|| above.take(path))));
        self.holds.told.extend(taken.iter().cloned());
        taken
    }

    /// Of what has gone from this disk and is to be told as deleted, holds what is too much. `found` is what was found
    /// with it: a content that is found elsewhere was renamed, and what was in a directory had to go for a file that has
    /// taken its place.
    pub(super) fn hold_missing(&mut self, deleted: &BTreeMap<SyncPath, Content>, found: &Contents) {
        if deleted.is_empty() && self.holds.here.is_empty() {
            return;
        }
        let mut renamed: BTreeMap<Content, u64> = BTreeMap::new();
        let is_as_recorded = |path: &SyncPath, content: Content| {
            self.tree.record(path).is_some_and(|record| record.content == content)
        };
        for (_, content) in found.iter().filter(|(path, content)| !is_as_recorded(path, *content)) {
            *renamed.entry(content).or_default() += 1;
        }
        let is_file = |above: SyncPath| found.at(&above).is_some_and(|content| content.is_bytes());
        let mut gone = BTreeSet::new();
        for (path, content) in deleted.iter().filter(|(_, content)| content.is_bytes()) {
            match renamed.get_mut(content).filter(|left| **left > 0) {
                Some(left) => *left -= 1,
                None if self.holds.told.contains(path) || path.ancestors().any(is_file) => {}
                // What is in conflict would take other names meanwhile.
                None if !origins(path).is_empty() || self.tree.copies(path).next().is_some() => {}
                None => _ = gone.insert(path.clone()),
            }
        }
        let goes = |path: &SyncPath| {
            let is_other = |content| self.tree.record(path).is_none_or(|record| record.content != content);
            deleted.contains_key(path) || found.at(path).is_some_and(is_other)
        };
        let gone = self.without_another_name(gone, &goes);
        self.release_renamed(renamed);
        if self.is_too_much(gone.len()) {
            let directories = deleted.iter().filter(|(_, content)| !content.is_bytes());
            let above = |directory: &&SyncPath| {
                gone.range((*directory).clone()..).next().is_some_and(|gone| directory.is_ancestor_of(gone))
            };
            let above: Vec<SyncPath> = directories.map(|(path, _)| path).filter(above).cloned().collect();
            self.holds.here.extend(gone);
            self.holds.above.extend(above);
        } else {
            self.note_deletions(&gone);
        }
    }

    /// What is held turns out to have been renamed when its content is found at another path later on.
    fn release_renamed(&mut self, mut found: BTreeMap<Content, u64>) {
        let mut renamed = BTreeSet::new();
        if !found.iter().any(|(content, left)| content.is_bytes() && *left > 0) {
            return;
        }
        for path in &self.holds.here {
            let content = self.tree.record(path).map_or(Content::Absent, |record| record.content);
            if let Some(left) = found.get_mut(&content).filter(|left| content.is_bytes() && **left > 0) {
                *left -= 1;
                renamed.insert(path.clone());
            }
        }
        if renamed.is_empty() {
            return;
        }
        self.holds.here.retain(|path| !renamed.contains(path));
        self.tell(renamed);
    }

    /// Directories are held for what was in them.
    fn release_empty(&mut self) {
        let is_over = |path: &&SyncPath| {
            let mut below = self.holds.here.range((*path).clone()..).skip_while(|held| held == path);
            !below.next().is_some_and(|held| path.is_ancestor_of(held))
        };
        let empty: BTreeSet<SyncPath> = self.holds.above.iter().filter(is_over).cloned().collect();
        self.holds.above.retain(|path| !empty.contains(path));
        self.tell(empty);
    }

    /// Of what others have deleted and this disk is to lose, holds what is too much; returns it. `changing` is what is to
    /// get another content with it.
    pub(super) fn hold_removals(
        &mut self,
        going: &BTreeMap<SyncPath, Record>,
        changing: &BTreeSet<&SyncPath>,
    ) -> BTreeSet<SyncPath> {
        let is_file = |above: SyncPath| self.tree.project(&above).value.content().is_bytes();
        let is_deletion = |path: &SyncPath| {
            !self.holds.leaving.contains(path)
                && !self.tree.project(path).value.is_present()
                && !path.ancestors().any(is_file)
                && origins(path).is_empty()
        };
        let deletions: BTreeSet<SyncPath> = going.keys().filter(|path| is_deletion(path)).cloned().collect();
        let goes = |path: &SyncPath| going.contains_key(path) || changing.contains(path);
        let going = self.without_another_name(deletions, &goes);
        if self.is_too_much(going.len()) {
            self.holds.elsewhere.extend(going.iter().cloned());
            return going;
        }
        self.note_deletions(&going);
        BTreeSet::new()
    }

    /// What others have deleted, and is held, turns out to have been renamed when its bytes come to another path.
    fn release_reappeared(&mut self) {
        for (content, count) in std::mem::take(&mut self.holds.appeared) {
            let paths = self.holders.get(&content, &self.tree);
            let held: Vec<SyncPath> =
                paths.filter(|path| self.holds.elsewhere.contains(*path)).take(count).cloned().collect();
            self.release_elsewhere(held);
        }
    }

    /// Once renames are known for what they are, what is left of the deletions may be little enough.
    fn release_elsewhere(&mut self, renamed: Vec<SyncPath>) {
        if renamed.is_empty() {
            return;
        }
        renamed.into_iter().for_each(|path| self.let_go(path));
        let may_be_little =
            self.config.hold.is_some() && self.holds.here.is_empty() && !self.holds.was_holding;
        if may_be_little && !self.is_over_the_limit(0) {
            let left = std::mem::take(&mut self.holds.elsewhere);
            self.note_deletions(&left);
            left.into_iter().for_each(|path| self.let_go(path));
        }
    }

    fn let_go(&mut self, held: SyncPath) {
        self.holds.elsewhere.remove(&held);
        self.holds.leaving.insert(held.clone());
        for above in held.ancestors().filter(|above| !above.is_root()) {
            self.planner.reconsider(above);
        }
        self.planner.reconsider(held);
    }

    /// True where nothing is to be done because of a hold. What is known by now may make it pointless.
    pub(super) fn is_held(&mut self, path: &SyncPath) -> bool {
        if self.holds.is_empty() {
            return false;
        }
        let value = self.tree.project(path).value;
        let is_present = value.is_present();
        if value.content().is_bytes() {
            self.release_below(path);
        }
        if self.holds.is_missing(path) && !is_present {
            self.holds.is_back(path); // Others have deleted it, too.
            self.set_record(path, None);
            return true;
        }
        if is_present {
            self.holds.elsewhere.remove(path);
        }
        let holds = &self.holds;
        let is_above_one = || {
            let next = holds.elsewhere.range(path.clone()..).find(|held| *held != path);
            !is_present && next.is_some_and(|held| path.is_ancestor_of(held))
        };
        holds.is_about(path) || is_above_one()
    }

    /// A file is to take a directory's place: what is in it has to go.
    fn release_below(&mut self, path: &SyncPath) {
        let below = self.holds.elsewhere.range(path.clone()..).skip_while(|held| *held == path);
        let below = below.take_while(|held| path.is_ancestor_of(held));
        for held in below.cloned().collect::<Vec<_>>() {
            self.let_go(held);
        }
    }

    /// True if something is held no longer, and what follows from that is still to be thought of.
    pub(super) fn is_freed(&self) -> bool {
        !self.holds.freed.is_empty()
    }

    /// Once all is known at the start of a life and nothing is held, nothing is left of what the last life held.
    pub(super) fn advance_holds(&mut self) {
        self.release_reappeared();
        if !self.holds.freed.is_empty() {
            self.release_empty();
            for path in std::mem::take(&mut self.holds.freed) {
                let below: Vec<SyncPath> = self.tree.below(&path).map(|(below, _)| below.clone()).collect();
                below.into_iter().for_each(|below| self.planner.reconsider(below));
                self.planner.reconsider(path); // A directory may be back as recorded, and not be as it is to be.
            }
        }
        if self.holds.was_holding
            && self.holds.is_empty()
            && self.observer.is_ready
            && self.observer.is_idle()
            && (self.planner.has_settled() || self.config.mode == Mode::SendOnly)
        {
            self.holds.was_holding = false;
        }
    }
}
