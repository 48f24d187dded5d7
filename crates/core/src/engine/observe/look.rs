//! Looks: what is at a path, what of that is news, and what is missing.

use std::collections::BTreeSet;

use super::{Found, LOOKS_MAX};
use crate::effect::{ChunkList, Trouble, TroubleKind};
use crate::engine::{Effect, Engine, RootState};
use crate::mistake::{Mistake, is_made};
use crate::path::{IGNORE_NAME, SyncPath};
use crate::record::{Kind, Record, Seen};
use crate::version::{Content, ContentHash};

impl Engine {
    pub(super) fn start_looks(&mut self) {
        if !self.observer.looking.is_empty() {
            return;
        }
        let now = self.now.monotonic_ms;
        let due: Vec<SyncPath> = self
            .observer
            .look_queue
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(path, _)| path.clone())
            .take(LOOKS_MAX)
            .collect();
        let mut paths = Vec::new();
        for path in due {
            self.observer.look_queue.remove(&path);
            if self.busy.contains(&path) {
                self.observer.again.insert(path);
            } else {
                self.observer.looking.insert(path.clone());
                paths.push(path);
            }
        }
        if !paths.is_empty() {
            self.effects.push(Effect::Look(paths));
        }
    }

    pub(in crate::engine) fn on_looked(&mut self, results: Vec<(SyncPath, Result<Option<Seen>, Trouble>)>) {
        if self.root != RootState::Proved {
            self.observer.looking.clear();
            return;
        }
        let mut to_hash = Vec::new();
        let mut looked_at = Vec::new();
        for (path, result) in results {
            self.observer.looking.remove(&path);
            looked_at.push(path.clone());
            if self.busy.contains(&path) && !is_made(Mistake::BusyLookTrusted) {
                self.observer.again.insert(path);
                continue;
            }
            match result {
                Err(_) if is_made(Mistake::UnreadableIsAbsent) => self.found_nothing(&path),
                Err(trouble) => self.trouble(&path, trouble),
                Ok(None) => self.found_nothing(&path),
                Ok(Some(seen)) => {
                    self.note_seen_in_doubt(&path, &seen);
                    to_hash.extend(self.found_something(path, seen));
                }
            }
        }
        self.start_hashes(to_hash);
        looked_at.retain(|path| !self.busy.contains(path));
        for path in looked_at {
            self.planner.is_sure(&path);
            self.reconsider_waiting_for_copy(&path);
            self.reconsider_needed_above(&path);
        }
    }

    pub(super) fn note_seen_in_doubt(&mut self, path: &SyncPath, seen: &Seen) {
        let is_bytes = matches!(seen.kind, Kind::File | Kind::Symlink(_));
        if is_bytes && self.planner.doubts.is_about_name(path) {
            self.observer.seen_in_doubt.note(path, seen.stat.inode);
        } else {
            self.observer.seen_in_doubt.forget(path);
        }
    }

    /// True while it is being found out whether anything is, still, below a path.
    pub(in crate::engine) fn is_found_out_below(&self, path: &SyncPath) -> bool {
        let observer = &self.observer;
        let is_above_one = |set: &BTreeSet<SyncPath>| {
            let later = set.range(path.clone()..).find(|later| *later != path);
            later.is_some_and(|later| path.is_ancestor_of(later))
        };
        let queued = observer.look_queue.range(path.clone()..).find(|(later, _)| *later != path);
        is_above_one(&self.busy)
            || is_above_one(&observer.looking)
            || queued.is_some_and(|(later, _)| path.is_ancestor_of(later))
    }

    /// The look at a path worked: an earlier trouble with it is over, unless the plan meets it again. Where ops meet
    /// something else than looks do, only time tells.
    pub(super) fn is_over_trouble(&mut self, path: &SyncPath) {
        let is_over = |trouble: &Trouble| trouble.kind != TroubleKind::Restless;
        if self.troubles.get(path).is_some_and(|(trouble, _)| is_over(trouble)) {
            self.troubles.remove(path);
            self.planner.reconsider(path.clone());
        }
        self.observer.mounts.remove(path);
        if self.unsupported.remove(path.as_bytes()).is_some() {
            let below: Vec<SyncPath> = self.tree.below(path).map(|(path, _)| path.clone()).collect();
            below.into_iter().chain([path.clone()]).for_each(|path| self.planner.reconsider(path));
        }
    }

    /// True for a mount and for all below it: nothing can be told of what the records say there.
    pub(in crate::engine) fn is_hidden(&self, path: &SyncPath) -> bool {
        let mounts = &self.observer.mounts;
        !mounts.is_empty() && (mounts.contains(path) || path.ancestors().any(|above| mounts.contains(&above)))
    }

    pub(super) fn found_nothing(&mut self, path: &SyncPath) {
        self.is_over_trouble(path);
        self.observer.seen_in_doubt.forget(path);
        if path.name() == IGNORE_NAME {
            let parent = path.parent().unwrap_or_else(SyncPath::root);
            self.set_rules(&parent, None, false);
        }
        self.local_creation_is_gone(path);
        self.drop_found_below(path);
        self.nothing_is_in_doubt_at(path);
        let mounts = self.observer.mounts.iter().filter(|mount| path.is_ancestor_of(mount));
        mounts.cloned().collect::<Vec<_>>().into_iter().for_each(|mount| self.request_look(mount));
        let below: Vec<SyncPath> = self.recorded_below(path);
        if self.tree.record(path).is_some() && !self.is_recorded_ignored(path) {
            self.found_missing(path.clone());
        } else {
            self.holds.is_minted(path); // There is nothing to be told any more.
        }
        below.into_iter().for_each(|path| self.found_missing(path));
    }

    /// Nothing is there and nothing is recorded: whatever comes there next is no work of the engine's. Until all else was
    /// looked at, the doubt has a say in what that is.
    fn nothing_is_in_doubt_at(&mut self, path: &SyncPath) {
        if self.planner.doubts.is_empty() {
            return;
        }
        let below = self.tree.below(path).map(|(path, _)| path).chain([path]);
        let is_told = |at: &&SyncPath| self.tree.record(at).is_none() && !self.busy.contains(*at);
        let told: Vec<SyncPath> = below.filter(is_told).cloned().collect();
        if self.observer.is_ready {
            self.planner.doubts.end(&told);
        } else {
            self.planner.doubts.are_empty(told);
        }
    }

    /// True while it is being found out what is at a path.
    pub(in crate::engine) fn is_found_out_about(&self, path: &SyncPath) -> bool {
        let observer = &self.observer;
        self.busy.contains(path) || observer.looking.contains(path) || observer.look_queue.contains_key(path)
    }

    pub(super) fn recorded_below(&self, path: &SyncPath) -> Vec<SyncPath> {
        let recorded = self.tree.below(path).filter(|(_, node)| node.record.is_some());
        recorded.map(|(path, _)| path.clone()).filter(|path| !self.is_recorded_ignored(path)).collect()
    }

    pub(in crate::engine) fn is_recorded_ignored(&self, path: &SyncPath) -> bool {
        let is_directory = self.tree.record(path).is_some_and(|record| record.content == Content::Directory);
        self.is_ignored(path, is_directory)
    }

    pub(super) fn found_missing(&mut self, path: SyncPath) {
        if self.is_hidden(&path) || self.holds.is_missing(&path) {
            return;
        }
        if self.busy.contains(&path) && !is_made(Mistake::BusyLookTrusted) {
            self.observer.again.insert(path);
            return;
        }
        // What comes to this path from now on its user has not seen.
        if self.is_gone_elsewhere(&path) {
            self.observer.gone_elsewhere.insert(path.clone());
        } else {
            self.observer.gone_elsewhere.remove(&path);
        }
        self.busy.insert(path.clone());
        self.observer.missing.insert(path);
        self.observer.pairing_since.get_or_insert(self.now.monotonic_ms);
    }

    /// Returns the path and size if it has to be hashed.
    fn found_something(&mut self, path: SyncPath, seen: Seen) -> Option<(SyncPath, u64)> {
        self.holds.is_back(&path);
        if seen.kind != Kind::Directory {
            self.is_over_trouble(&path); // A directory's is over when it can be listed.
        }
        if path.name() == IGNORE_NAME {
            let parent = path.parent().unwrap_or_else(SyncPath::root);
            self.set_rules(&parent, seen.rules.clone(), false);
        }
        let is_directory = seen.kind == Kind::Directory;
        if !is_directory {
            self.local_creations_below_are_gone(&path);
            self.drop_found_below(&path);
        }
        if self.is_ignored(&path, is_directory) {
            self.is_over_trouble(&path); // It is no concern any more.
            return None;
        }
        if self.tree.record(&path).is_some_and(|record| record.matches(&seen)) {
            self.planner.doubts.end([&path]); // Nothing was done there.
            self.local_change_is_undone(&path);
            return None;
        }
        if matches!(self.local_changes.get(&path), Some(Some(local)) if local.matches(&seen)) {
            return None;
        }
        if seen.kind == Kind::Mount {
            self.observer.mounts.insert(path.clone());
        }
        if !is_directory {
            self.recorded_below(&path).into_iter().for_each(|below| self.found_missing(below));
            let overtaken = self.busy.range(path.clone()..).skip_while(|busy| **busy == path);
            let overtaken = overtaken.take_while(|busy| path.is_ancestor_of(busy)).cloned();
            self.observer.again.extend(overtaken);
        }
        self.found_kind(path, seen)
    }

    fn found_kind(&mut self, path: SyncPath, seen: Seen) -> Option<(SyncPath, u64)> {
        let content = match &seen.kind {
            Kind::Unsupported => {
                self.unsupported.insert(path.as_bytes().to_vec(), "not a file, directory or symlink".into());
                return None;
            }
            Kind::Mount => {
                self.unsupported
                    .insert(path.as_bytes().to_vec(), "another file system is mounted here".into());
                return None;
            }
            Kind::Directory => {
                if self.tree.record(&path).is_none_or(|record| record.content != Content::Directory) {
                    self.request_walk(path.clone());
                }
                Content::Directory
            }
            Kind::Symlink(target) => Content::Symlink(ContentHash::of(target)),
            Kind::File => match self.content_by_inode(&seen) {
                Some(content) => content,
                None => return Some((path, seen.stat.size)),
            },
        };
        let target = if let Kind::Symlink(target) = seen.kind { Some(target) } else { None };
        self.busy.insert(path.clone());
        self.found(path, Record { content, stat: seen.stat }, target, None);
        None
    }

    pub(super) fn found(
        &mut self,
        path: SyncPath,
        record: Record,
        target: Option<Box<[u8]>>,
        chunks: Option<ChunkList>,
    ) {
        let other = self.inodes.get(&record.stat.inode).filter(|other| **other != path);
        let moved_from = other.and_then(|other| Some((other.clone(), self.tree.record(other)?)));
        self.observer.may_have_edits = true;
        self.observer
            .found
            .insert(path, Found { record, target, chunks, moved_from, at: self.now.monotonic_ms });
    }

    /// The content of a file that has another name in the records, if nothing about its inode has changed.
    fn content_by_inode(&self, seen: &Seen) -> Option<Content> {
        let record = self.tree.record(self.inodes.get(&seen.stat.inode)?)?;
        (record.matches(seen) || is_made(Mistake::InodeTrusted)).then_some(record.content)
    }
}
