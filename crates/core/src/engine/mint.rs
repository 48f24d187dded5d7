//! Making versions of what was found: one transaction, one step.
//!
//! What equals something that is known already is adopted and makes no version. A member that may not send makes none
//! at all: its changes are noted as local.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use super::fallback::Fallback;
use super::observe::{Found, Transaction};
use super::{Deed, Engine};
use crate::conflict::origins;
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::projection::Loser;
use crate::record::{Record, Stat};
use crate::tree::Act;
use crate::version::{Changed, Content, Dot, Time, Value, Version};

/// What was found in one transaction: at conflict copies' names, and at others.
pub(super) struct Contents {
    copies: BTreeMap<SyncPath, Content>,
    names: BTreeMap<SyncPath, Content>,
    /// Where nothing is, whatever is recorded.
    missing: BTreeSet<SyncPath>,
}

impl Contents {
    /// What was found at a path.
    pub(super) fn at(&self, path: &SyncPath) -> Option<Content> {
        self.names.get(path).or_else(|| self.copies.get(path)).copied()
    }

    /// All that was found.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SyncPath, Content)> {
        self.names.iter().chain(&self.copies).map(|(path, content)| (path, *content))
    }
}

/// What it means that what is recorded at a path is not there.
enum Missing {
    /// Nothing: it is not known what is there, or nothing is recorded.
    Unknown,
    /// It has gone, and no version has to say so.
    Gone,
    /// It is gone here alone.
    Local,
    /// Its user has deleted this.
    Deleted(Record),
}

impl Engine {
    pub(super) fn mint(&mut self, transaction: Transaction) {
        let Transaction { found, mut missing } = transaction;
        // A rule may have come since it was looked at (promise L7).
        let is_ignored = |path: &SyncPath, found: &Found| {
            self.is_ignored(path, found.record.content == Content::Directory)
        };
        let (ignored, found): (BTreeMap<_, _>, BTreeMap<_, _>) =
            found.into_iter().partition(|(path, found)| is_ignored(path, found));
        missing.extend(self.take_held_below(found.iter().map(|(path, found)| (path, found.record.content))));
        let paths: BTreeSet<SyncPath> = found.keys().chain(&missing).cloned().collect();
        let all = found.iter().map(|(path, found)| (path.clone(), found.record.content));
        let (names, copies) = all.partition(|(path, _)| origins(path).is_empty());
        let told_missing = missing.iter().filter(|path| !self.is_hidden(path)).cloned().collect();
        let contents = Contents { copies, names, missing: told_missing };
        let moved_on = self.moved_on_unread(&paths, &contents);
        let mut judged: BTreeMap<&SyncPath, Missing> =
            missing.iter().map(|path| (path, self.judge_missing(path, &contents))).collect();
        self.observer.gone_elsewhere.retain(|path| !missing.contains(path));
        let deleted = judged.iter().filter_map(|(path, judged)| match judged {
            Missing::Deleted(record) => Some(((*path).clone(), record.content)),
            _ => None,
        });
        let deleted: BTreeMap<SyncPath, Content> = deleted.collect();
        self.hold_missing(&deleted, &contents);
        judged.retain(|path, _| !self.holds.is_missing(path));
        for (path, judged) in judged {
            self.mint_missing(path, judged);
            self.holds.is_minted(path);
        }
        self.prune_paces();
        for (path, found) in found {
            if self.tree.record(&path).is_some() || self.local_changes.contains_key(&path) {
                self.pace(&path);
            }
            self.mint_found(&path, found, &contents);
        }
        for (to, record) in moved_on {
            self.set_record(&to, Some(record));
        }
        // Of what is held it is not said yet what was deleted: after the next start that must still be known.
        let is_told = |path: &&SyncPath| !self.is_hidden(path) && !self.holds.is_missing(path);
        let told: Vec<&SyncPath> = paths.iter().filter(is_told).collect();
        self.planner.doubts.end(told);
        for path in paths.iter().chain(ignored.keys()) {
            self.release(path);
            self.planner.is_sure(path);
        }
    }

    /// What it means that something is missing.
    fn judge_missing(&self, path: &SyncPath, contents: &Contents) -> Missing {
        if self.is_hidden(path) {
            return Missing::Unknown; // A mount came over it since it was looked at.
        }
        let Some(record) = self.tree.record(path) else { return Missing::Unknown };
        // Nothing is left in the store of a directory that the engine has taken away.
        let was_to_go = |value: &Value| value.content() != Content::Directory;
        let is_own_removal =
            record.content == Content::Directory && self.planner.doubts.value(path).is_some_and(was_to_go);
        if self.observer.gone_elsewhere.contains(path) || is_own_removal {
            return Missing::Gone;
        }
        let record = self.before_fallback(path, record);
        if self.is_doubted() {
            return Missing::Gone; // It is fetched again, and never announced as deleted.
        }
        let has_gone = || {
            self.is_moved_to_copy(path, record.content, contents)
                || self.is_back_at_its_name(path, record.content, contents)
                || self.is_moved_on(path, &record, contents)
        };
        if self.planner.doubts.is_about(path) && has_gone() {
            return Missing::Gone; // It had to go from here, and has gone.
        }
        // Where it was taken by the engine, a user has deleted what was exchanged for it, if that was anything.
        let own =
            self.planner.doubts.value(path).filter(|_| self.planner.doubts.was_taken(path, record.content));
        let own = own.map(|value| value.content().is_bytes().then(|| self.as_recorded(value, &record.stat)));
        let record = match own.map(Option::flatten) {
            Some(None) => return Missing::Gone,
            Some(Some(own)) => own,
            None => record,
        };
        if !self.may_send() {
            Missing::Local
        } else if self.tree.holds_content(path, record.content) {
            Missing::Deleted(record)
        } else {
            Missing::Gone
        }
    }

    fn mint_missing(&mut self, path: &SyncPath, judged: Missing) {
        match judged {
            Missing::Unknown => return,
            Missing::Local => {
                self.local_changes.insert(path.clone(), None);
                return;
            }
            Missing::Gone => {}
            // Of two in one transaction, the first may have been all there was to say.
            Missing::Deleted(record) if self.tree.holds_content(path, record.content) => {
                let is_directory = record.content == Content::Directory;
                let value = Value::Absent { directory_mode: is_directory.then_some(record.stat.mode) };
                self.act(path, record.content, value, Changed::ALL, self.now.wall);
                self.note_own_act(path, (record.content, Content::Absent), Deed::Deleted, None);
            }
            Missing::Deleted(_) => {}
        }
        self.set_record(path, None);
    }

    /// True if what is missing here was replaced or deleted elsewhere, so that no version has to say that it is gone.
    pub(super) fn is_gone_elsewhere(&self, path: &SyncPath) -> bool {
        let record = self.tree.record(path).map(|record| self.before_fallback(path, record));
        let is_held = |record: Record| self.tree.holds_content(path, record.content);
        // Before everything was looked at, the record still says where what was moved elsewhere came from.
        self.observer.is_ready
            && self.may_send()
            && !self.planner.doubts.is_about(path)
            && !record.is_some_and(is_held)
    }

    fn mint_found(&mut self, path: &SyncPath, found: Found, contents: &Contents) {
        let Found { mut record, target, chunks, moved_from, .. } = found;
        // What has rotted is none of its user's words, whatever else they change of the file.
        let rotten =
            self.tree.record(path).filter(|old| self.is_damaged(path) && is_touched_alone(old, &record));
        let rotten = rotten.map(|old| old.content);
        let found_content = record.content;
        record.content = rotten.unwrap_or(record.content);
        if let (Content::File(content), None) = (record.content, rotten) {
            self.note_chunks(content, chunks);
        }
        let recorded = self.tree.record(path);
        let fallback =
            recorded.map_or(Fallback::None, |old| self.fallback(path, &old, &record, moved_from.is_some()));
        // Whether a doubted disk is newer or older than its record cannot be told: nothing is replaced by it.
        let is_doubted = self.is_doubted() || fallback == Fallback::Possible;
        let recorded = recorded.filter(|_| !is_doubted);
        let recorded = recorded.map(|recorded| self.before_fallback(path, recorded));
        let old = self.what_was_there(path, recorded, &record, contents);
        let old = old
            .map(|old| if self.is_as_moved(path, &old, &record, moved_from.as_ref()) { record } else { old });
        // Who puts a conflict copy back at its name and something else in its place has replaced neither.
        let old = old.filter(|old| old.content == record.content || !self.is_put_back(path));
        let before = old.as_ref().map_or(Content::Absent, |old| old.content);
        let changed = match &old {
            // An edit that leaves the mode as it was has no say in it against a concurrent chmod.
            Some(old) if discriminant(&old.content) == discriminant(&record.content) => Changed {
                content: old.content != record.content,
                mode: old.stat.mode != record.stat.mode && !matches!(record.content, Content::Symlink(_)),
                mtime: old.stat.mtime != record.stat.mtime && matches!(record.content, Content::File(_)),
            },
            _ => Changed::ALL,
        };
        let is_known = self.is_shown_or_held(path, record.content) && !is_made(Mistake::AdoptionForgotten);
        let replaces = before != Content::Absent && self.tree.holds_content(path, before);
        // Who may not send keeps what only is here, whether it looks first or hears first (promise S4).
        let may_be_old = old.is_none() && self.observer.is_first_scan() && self.may_send();
        let is_old = may_be_old && self.is_deleted(path, record.content);
        if fallback == Fallback::Certain {
            self.note_fallback(path, before, &record);
        }
        let is_adopted = changed == Changed::default()
            || (old.is_none() && self.is_made_by_engine(path, &record))
            || fallback == Fallback::Certain
            || is_old
            || (changed.content && is_known && !replaces);
        if !is_adopted && !self.may_send() {
            self.local_changes.insert(path.clone(), Some(record));
            return;
        }
        if !is_adopted {
            let rank = record.stat.mtime.min(self.now.wall);
            let mut value = value_of(&record, target);
            if let (Value::File { mtime, .. }, Some(old)) = (&mut value, &old) {
                *mtime = self.pending_touch(path, old).filter(|pending| pending > mtime).unwrap_or(*mtime);
            }
            let content = value.content();
            self.act(path, before, value, changed, rank);
            // A number of an inode that is free is given to the next file that is made: other bytes are no moved file's.
            let from = moved_from.as_ref().filter(|(_, old)| old.content == content).map(|(from, _)| from);
            self.note_own_act(path, (before, content), Deed::Changed, from);
        }
        self.local_changes.remove(path);
        if self.is_made_by_engine(path, &record) {
            self.planner.is_implied_unrecorded(path);
        }
        self.set_record(path, Some(record));
        if rotten.is_some() {
            self.damaged.insert(path.clone(), found_content.hash());
        }
        if fallback == Fallback::Certain {
            self.has_fallen_back(path, before);
        }
    }

    /// What was at a path when its user acted: what is recorded, or, where a stop kept the engine from recording it, what the
    /// engine had put there. None: nothing, or it cannot be told, and then nothing is replaced.
    fn what_was_there(
        &self,
        path: &SyncPath,
        recorded: Option<Record>,
        found: &Record,
        contents: &Contents,
    ) -> Option<Record> {
        if is_made(Mistake::AdoptionForgotten) {
            return recorded;
        }
        let Some(value) = self.planner.doubts.value(path) else { return recorded };
        let before = recorded.as_ref().map_or(Content::Absent, |recorded| recorded.content);
        let is_found = value.content() == found.content && !self.is_made_by_user(path, found);
        let is_held = before != Content::Absent && self.tree.holds_content(path, before);
        // Nothing is left in the store of a directory that the engine has taken away.
        if is_found && (!is_held || before == Content::Directory || value.content() == before) {
            return self.as_recorded(value, &found.stat);
        }
        if self.planner.doubts.was_taken(path, before) {
            return if is_found || value.content().is_bytes() {
                self.as_recorded(value, &found.stat)
            } else {
                None // Not made yet: a directory is made where a file has been taken away.
            };
        }
        let is_elsewhere = || {
            self.is_moved_to_copy(path, before, contents)
                || recorded.as_ref().is_some_and(|recorded| self.is_moved_on(path, recorded, contents))
        };
        if value.content() != before && is_held && is_elsewhere() {
            return if is_found { self.as_recorded(value, &found.stat) } else { None };
        }
        recorded
    }

    /// True if the very file that was a conflict copy, and nothing else, is by now at the path that it is a copy of, and has
    /// not that name: then the version that the copy showed alone says that its bytes are there.
    fn is_put_back(&self, copy: &SyncPath) -> bool {
        let Some(recorded) = self.tree.record(copy) else { return false };
        let known = self.tree.get(copy);
        let own = known.as_ref().map(|node| node.register.versions()).unwrap_or_default();
        if own.iter().any(|version| version.value.content() == recorded.content) {
            return false; // Its user gave it this name.
        }
        let is_same =
            |record: Record| record.content == recorded.content && record.stat.inode == recorded.stat.inode;
        let is_it = |other: &SyncPath| {
            self.tree.record(other).is_some_and(is_same)
                && self.tree.project(other).value.content() != recorded.content
        };
        recorded.content.is_bytes() && origins(copy).iter().any(is_it)
    }

    /// True for what is in doubt and may have been moved here by the engine, which had still to give it its mode and time.
    fn is_as_moved(
        &self,
        path: &SyncPath,
        old: &Record,
        found: &Record,
        moved_from: Option<&(SyncPath, Record)>,
    ) -> bool {
        let is_kept = |(_, from): &(SyncPath, Record)| {
            (from.stat.mode, from.stat.mtime) == (found.stat.mode, found.stat.mtime)
        };
        self.planner.doubts.is_about(path) && old.content == found.content && moved_from.is_some_and(is_kept)
    }

    /// The record that a value would have, as far as this file system stores it; the rest is as in `stat`.
    fn as_recorded(&self, value: &Value, stat: &Stat) -> Option<Record> {
        let is_stored = |mtime: &Time| self.is_stored_as(*mtime, stat.mtime);
        let mtime = value.mtime().filter(|mtime| !is_stored(mtime)).unwrap_or(stat.mtime);
        let mode = value.mode().unwrap_or(stat.mode);
        value.is_present().then(|| Record { content: value.content(), stat: Stat { mode, mtime, ..*stat } })
    }

    /// True while it is found out what is on a disk that the records may not speak of.
    pub(super) fn is_doubted(&self) -> bool {
        self.config.doubted && !self.observer.is_ready && !is_made(Mistake::DoubtedDeletes)
    }

    /// True if what was at a path is by now at the copy's name that it is to have, or at a copy's of that, or at the one
    /// that it was to have when the engine was started: what is heard since may have given it its own name back.
    fn is_moved_to_copy(&self, path: &SyncPath, before: Content, contents: &Contents) -> bool {
        let is_before = |loser: &Loser| loser.value.content() == before;
        let loser = self.tree.project(path).losers.into_iter().find(is_before);
        let is_copy = |copy: &SyncPath| {
            origins(copy).contains(path) && (loser.is_some() || self.planner.doubts.was_to_hold(copy, before))
        };
        // Where the copy is missing too, it was not moved: its user has deleted both.
        let is_left = |copy: &SyncPath| !contents.missing.contains(copy);
        let is_there = |copy: &SyncPath| {
            is_left(copy) && self.tree.record(copy).is_some_and(|copy| copy.content == before)
        };
        let is_copy_left = |copy: &SyncPath| is_left(copy) && is_copy(copy);
        loser.as_ref().is_some_and(|loser| is_there(&loser.copy))
            || self.holders.get(&before.hash(), &self.tree).any(is_copy_left)
            || contents.copies.iter().any(|(copy, content)| *content == before && is_copy(copy))
    }

    /// True if the very file that is recorded at a path was seen where the engine was to put its bytes, be it that they could
    /// not be read there.
    fn is_moved_on(&self, path: &SyncPath, record: &Record, contents: &Contents) -> bool {
        self.moved_on_to(path, record, contents).is_some()
    }

    fn moved_on_to(&self, path: &SyncPath, record: &Record, contents: &Contents) -> Option<&SyncPath> {
        let doubts = &self.planner.doubts;
        let is_to_stay = doubts.value(path).is_some_and(|value| value.content() == record.content);
        // It may have been edited there, and be recorded with that.
        let recorded = |to: &SyncPath| {
            let same = self.tree.record(to).filter(|other| other.stat.inode == record.stat.inode);
            same.map(|other| other.content)
        };
        let is_it = |to: &SyncPath| {
            to != path
                && !contents.missing.contains(to)
                && doubts.was_to_hold(to, record.content)
                && contents.at(to).or_else(|| recorded(to)).is_none_or(|content| content == record.content)
        };
        let mut seen = self.observer.seen_in_doubt.at(record.stat.inode);
        let is_moved = record.content.is_bytes() && !is_to_stay;
        seen.find(|to| is_moved && is_it(to))
    }

    /// Where files that were recorded at these paths have been seen since, and could not be read: whatever is found there once
    /// they can be, the engine has put there what was recorded, and its user has seen that.
    fn moved_on_unread(&self, paths: &BTreeSet<SyncPath>, contents: &Contents) -> Vec<(SyncPath, Record)> {
        let in_doubt = paths.iter().filter(|path| self.planner.doubts.is_about(path));
        let moved_on = in_doubt.filter_map(|path| {
            let record = self.tree.record(path)?;
            let to = self.moved_on_to(path, &record, contents)?;
            Some((to.clone(), record))
        });
        let is_unread = |to: &SyncPath| contents.at(to).is_none() && self.tree.record(to).is_none();
        moved_on.filter(|(to, _)| is_unread(to)).collect()
    }

    /// True if what was at a conflict copy's name is by now at the path that it is a copy of.
    fn is_back_at_its_name(&self, copy: &SyncPath, before: Content, contents: &Contents) -> bool {
        let is_there = |name: &SyncPath| {
            let recorded = self.tree.record(name).filter(|_| !contents.missing.contains(name));
            contents.at(name).or(recorded.map(|record| record.content)) == Some(before)
        };
        before.is_bytes() && origins(copy).iter().any(is_there)
    }

    /// The mtime that a remote gave the bytes of a record and that has not reached this disk.
    ///
    /// Who edits those bytes has not seen it; so the later of the two times counts, as if neither had seen the other.
    fn pending_touch(&self, path: &SyncPath, old: &Record) -> Option<Time> {
        let shown = self.tree.project(path).value;
        let is_pending = |mtime: &Time| !self.is_stored_as(*mtime, old.stat.mtime);
        shown.mtime().filter(is_pending).filter(|_| shown.content() == old.content)
    }

    /// True if a delete is kept of exactly this at a path, by somebody else or by this device under a home that it has no
    /// more.
    fn is_deleted(&self, path: &SyncPath, content: Content) -> bool {
        if is_made(Mistake::KeptDeleteIgnored) {
            return false;
        }
        let known = self.tree.get(path);
        let versions = known.as_ref().map(|node| node.register.versions()).unwrap_or_default();
        // What was deleted here since, while the first scan went on, its user has made again.
        let is_delete = |version: &&Version| !version.value.is_present() && !self.is_own(&version.dot.actor);
        versions.iter().filter(is_delete).any(|version| version.base == content)
    }

    /// Lets a file go that the first scan of a new member took for new, if it was deleted before this member came:
    /// what equals a kept delete's base is that old version (promise D3).
    pub(super) fn let_go_of_deleted(&mut self, path: &SyncPath) {
        let Some(record) = self.tree.record(path) else { return };
        let is_the_record = |version: &&Version| version.value.content() == record.content;
        let is_of_first_scan = |version: &Version| {
            // What was deleted here while the scan went on, and made again, is new. Deletes that were known before say
            // nothing of it: they were of other contents.
            let is_made_again = version.replaced.iter().any(|dot| self.is_own(&dot.actor));
            self.is_own(&version.dot.actor)
                && version.dot.counter <= self.observer.first_scan_through
                && version.base == Content::Absent
                && !is_made_again
                && version.born_at.is_none() // What was found at another name is none that was deleted here.
        };
        let known = self.tree.get(path);
        let versions = known.as_ref().map(|node| node.register.versions()).unwrap_or_default();
        let mut found = versions.iter().filter(is_the_record).peekable();
        if found.peek().is_none() || !found.all(is_of_first_scan) || !self.is_deleted(path, record.content) {
            return;
        }
        let is_directory = record.content == Content::Directory;
        let value = Value::Absent { directory_mode: is_directory.then_some(record.stat.mode) };
        let rank = self.now.wall;
        self.act(path, record.content, value, Changed::ALL, rank);
        self.note_own_act(path, (record.content, Content::Absent), Deed::FoundDeleted, None);
    }

    fn is_shown_or_held(&self, path: &SyncPath, content: Content) -> bool {
        if self.tree.holds_content(path, content) {
            return true;
        }
        let is_shown = self.tree.project(path).value.content() == content;
        // A directory that is shown only for what lies below it is nobody's version; a user who makes it makes one.
        is_shown && content != Content::Directory
    }

    pub(super) fn act(
        &mut self,
        path: &SyncPath,
        before: Content,
        value: Value,
        changed: Changed,
        rank: Time,
    ) {
        let dot = self.next_dot();
        self.planner.is_changed_here(path);
        self.tree.act(Act { path: path.clone(), before, value, changed, rank, dot });
    }

    pub(super) fn next_dot(&mut self) -> Dot {
        self.commits.counters.counter += 1;
        Dot { actor: self.actor(), counter: self.commits.counters.counter }
    }

    /// A path that differed here, on a member that may not send, is again as its record says.
    pub(super) fn local_change_is_undone(&mut self, path: &SyncPath) {
        if self.local_changes.remove(path).is_some() {
            self.planner.reconsider(path.clone());
        }
    }

    /// What is only here, strictly below a path.
    pub(super) fn local_below(&self, path: &SyncPath) -> impl Iterator<Item = (&SyncPath, &Option<Record>)> {
        let later = self.local_changes.range(path.clone()..).skip_while(move |(local, _)| *local == path);
        later.take_while(move |(local, _)| path.is_ancestor_of(local))
    }

    /// Something that was only here is gone, with all that was in it.
    pub(super) fn local_creation_is_gone(&mut self, path: &SyncPath) {
        self.local_creations_below_are_gone(path);
        if self.tree.record(path).is_none() {
            self.local_change_is_undone(path);
        }
    }

    /// What was only here is gone with the directory that it was in.
    pub(super) fn local_creations_below_are_gone(&mut self, path: &SyncPath) {
        let is_gone = |path: &SyncPath| self.tree.record(path).is_none();
        let below = self.local_below(path).map(|(below, _)| below).filter(|below| is_gone(below));
        let gone: Vec<SyncPath> = below.cloned().collect();
        gone.iter().for_each(|path| self.local_change_is_undone(path));
    }
}

/// True if nothing says that a file's bytes were changed: inode, size and modification time are as they were.
fn is_touched_alone(old: &Record, new: &Record) -> bool {
    let of = |stat: &Stat| (stat.device, stat.inode, stat.size, stat.mtime);
    matches!((old.content, new.content), (Content::File(_), Content::File(_)))
        && of(&old.stat) == of(&new.stat)
}

pub(super) fn value_of(record: &Record, target: Option<Box<[u8]>>) -> Value {
    let stat = record.stat;
    match record.content {
        Content::File(content) => {
            Value::File { content, length: stat.size, mode: stat.mode, mtime: stat.mtime }
        }
        Content::Directory => Value::Directory { mode: stat.mode },
        Content::Symlink(_) => Value::Symlink { target: target.unwrap_or_default() },
        Content::Absent => Value::ABSENT,
    }
}
