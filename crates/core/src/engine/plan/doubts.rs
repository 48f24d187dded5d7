//! Doubts: what the engine may have done on the disk without having recorded it.
//!
//! A stop may come between a change of the disk and its record. Until such a path was looked at, what is found there may
//! be the engine's own work, and is then no user's act. A doubt begins at the start, and ends when the path was looked at
//! and what is there is recorded; where nothing can be told, it stays, and nothing is done there. A change of which it
//! cannot be said whether it lasts is as good as a stop: the engine is started again.

use std::collections::{BTreeMap, BTreeSet};

use crate::conflict::origins;
use crate::engine::Engine;
use crate::path::SyncPath;
use crate::version::{Content, ContentHash, Value};

/// What the engine may have done at one path without having recorded it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doubt {
    /// What it may have put there.
    pub value: Value,
    /// That is a directory which no version said to be there: one that the engine made is marked.
    pub is_implied: bool,
    /// The engine has taken this from there, and no user has: the very file is in the store.
    pub taken: Option<ContentHash>,
    /// The copies beside it, as they were to be.
    pub copies: Vec<(SyncPath, Content)>,
}

#[derive(Debug, Default)]
pub(in crate::engine) struct Doubts {
    of: BTreeMap<SyncPath, Doubt>,
    /// The copies beside all that was in doubt at the start.
    copies: BTreeSet<(SyncPath, Content)>,
    /// Doubts that do not follow from what is stored of their paths any more, and are stored themselves.
    stored: BTreeSet<SyncPath>,
    /// What is in doubt at copies' names, by the paths that they are copies of.
    by_origin: BTreeMap<SyncPath, BTreeSet<SyncPath>>,
    /// Of these it was found, since the start, that nothing is there.
    empty: BTreeSet<SyncPath>,
    /// Stored doubts that are over: in no commit yet, and in the one under way.
    over: BTreeSet<SyncPath>,
    over_under_way: BTreeSet<SyncPath>,
}

impl Doubts {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// True if what is found at a path may be the engine's own work.
    pub(in crate::engine) fn is_about(&self, path: &SyncPath) -> bool {
        self.of.contains_key(path)
    }

    /// True if what is found at a path, or at a copy's name, may be the engine's own work.
    pub(in crate::engine) fn is_about_name(&self, path: &SyncPath) -> bool {
        self.is_about(path) || {
            let mut later = self.copies.range((path.clone(), Content::Absent)..);
            later.next().is_some_and(|(copy, _)| copy == path)
        }
    }

    /// The paths in doubt strictly below a directory.
    pub(in crate::engine) fn below(&self, directory: &SyncPath) -> impl Iterator<Item = &SyncPath> {
        let later = self.of.range(directory.clone()..).map(|(path, _)| path);
        later
            .skip_while(move |path| *path == directory)
            .take_while(move |path| directory.is_ancestor_of(path))
    }

    /// What the engine may have put at a path already.
    pub(in crate::engine) fn value(&self, path: &SyncPath) -> Option<&Value> {
        self.of.get(path).map(|doubt| &doubt.value)
    }

    /// True if the engine may have made a directory at a path for what was to lie in it alone.
    pub(in crate::engine) fn is_implied(&self, path: &SyncPath) -> bool {
        self.of.get(path).is_some_and(|doubt| doubt.is_implied)
    }

    /// True if the engine may have put this at a path already.
    pub(in crate::engine) fn was_to_hold(&self, path: &SyncPath, content: Content) -> bool {
        self.value(path).is_some_and(|value| value.content() == content)
            || self.copies.contains(&(path.clone(), content))
    }

    /// True if the engine has taken this from a path without having come to the end of what it was about.
    pub(in crate::engine) fn was_taken(&self, path: &SyncPath, content: Content) -> bool {
        self.of.get(path).is_some_and(|doubt| {
            content.is_bytes() && doubt.taken == Some(content.hash()) && doubt.value.content() != content
        })
    }

    fn note_origins(&mut self, path: &SyncPath) {
        for origin in origins(path) {
            self.by_origin.entry(origin).or_default().insert(path.clone());
        }
    }

    /// What is in doubt at a path and where else the register of that path has a say: at its copies' names, and in the
    /// directories that it lies in.
    fn around(&self, path: &SyncPath) -> impl Iterator<Item = SyncPath> {
        let copies = self.by_origin.get(path).into_iter().flatten().cloned();
        let around = [path.clone()].into_iter().chain(path.ancestors()).chain(copies);
        around.filter(|path| self.of.contains_key(path)).collect::<Vec<_>>().into_iter()
    }

    /// These were looked at, and what was found is recorded.
    pub(in crate::engine) fn end<'a>(&mut self, paths: impl IntoIterator<Item = &'a SyncPath>) {
        if !self.is_empty() {
            for path in paths {
                self.of.remove(path);
                self.empty.remove(path);
                self.over.extend(self.stored.take(path));
            }
        }
    }

    /// Nothing is at these paths.
    pub(in crate::engine) fn are_empty(&mut self, paths: Vec<SyncPath>) {
        self.empty.extend(paths.into_iter().filter(|path| self.of.contains_key(path)));
    }

    /// True if a stored doubt is over.
    pub(in crate::engine) fn is_news(&self) -> bool {
        !self.over.is_empty()
    }

    /// True if a stop would bring a doubt about this path up, open or over: what is put there now would be taken for a
    /// user's then.
    pub(super) fn is_stored(&self, path: &SyncPath) -> bool {
        self.stored.contains(path) || self.over.contains(path) || self.over_under_way.contains(path)
    }

    /// The commit under way is durable.
    pub(super) fn is_committed(&mut self) {
        self.over_under_way.clear();
    }

    /// What has to be stored of doubts together with these rows: where a register goes on while what followed from it before
    /// is in doubt, the doubt would not follow from the rows any more. None: the doubt is over.
    pub(in crate::engine) fn take_changes<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a SyncPath>,
    ) -> Vec<(SyncPath, Option<Doubt>)> {
        self.over_under_way = std::mem::take(&mut self.over);
        let mut changes: Vec<_> = self.over_under_way.iter().map(|path| (path.clone(), None)).collect();
        if !self.of.is_empty() {
            for path in rows.flat_map(|path| self.around(path)).collect::<BTreeSet<_>>() {
                if let Some(doubt) = self.of.get(&path).filter(|_| self.stored.insert(path.clone())) {
                    changes.push((path, Some(doubt.clone())));
                }
            }
        }
        changes
    }
}

impl Engine {
    /// Notes, at a start, where the disk may already be as the registers say while the records are not: a change of
    /// the disk whose commit a crash prevented is no user's act. A directory that only what lies in it asks for is
    /// marked, if the engine made it, and else its user's ([`super::implied`]).
    ///
    /// To what follows from the rows comes what was stored because it does not. `in_store`: the kept versions, where
    /// they were, their inodes and contents.
    pub(in crate::engine) fn doubt_what_was_under_way(
        &mut self,
        in_store: &BTreeSet<(SyncPath, u64, ContentHash)>,
        stored: BTreeMap<SyncPath, Doubt>,
    ) {
        let shown = self.tree.iter().map(|(path, node)| (path, node, self.tree.project(path).value));
        let under_way = shown.filter(|(_, node, value)| !self.is_as_shown(value, node.record.as_ref()));
        let doubts = under_way.map(|(path, node, value)| {
            let recorded = node.record.as_ref().filter(|record| record.content.is_bytes());
            let recorded = recorded.map(|record| (path.clone(), record.stat.inode, record.content.hash()));
            let taken = recorded.filter(|file| in_store.contains(file)).map(|(_, _, content)| content);
            let losers = self.tree.project(path).losers.into_iter();
            let copies = losers.map(|loser| (loser.copy, loser.value.content())).collect();
            let is_there = node.record.as_ref().is_some_and(|record| record.content == Content::Directory);
            let is_implied = matches!(value, Value::Directory { .. }) && self.is_implied(path) && !is_there;
            (path.clone(), Doubt { value, is_implied, taken, copies })
        });
        let mut of: BTreeMap<SyncPath, Doubt> = doubts.collect();
        let known = stored.keys().cloned().collect();
        of.extend(stored);
        let copies = of.values().flat_map(|doubt| doubt.copies.iter().cloned()).collect();
        self.planner.doubts = Doubts { of, copies, stored: known, ..Doubts::default() };
        let paths: Vec<SyncPath> = self.planner.doubts.of.keys().cloned().collect();
        paths.iter().for_each(|path| self.planner.doubts.note_origins(path));
    }

    /// Everything that can be looked at has been, since the start: what cannot stays in doubt.
    pub(in crate::engine) fn doubt_only_what_is_untold(&mut self) {
        let told: Vec<SyncPath> =
            self.planner.doubts.of.keys().filter(|path| !self.is_untold(path)).cloned().collect();
        let doubts = &mut self.planner.doubts;
        doubts.end(&told);
        if doubts.is_empty() {
            doubts.copies.clear();
            self.observer.seen_in_doubt = Default::default();
        }
    }

    /// True if it cannot be told at present what is at a path. Of what is ignored a look tells only whether anything is there.
    fn is_untold(&self, path: &SyncPath) -> bool {
        let is_troubled = |above: SyncPath| self.troubles.contains_key(&above);
        let is_empty = self.planner.doubts.empty.contains(path);
        self.is_hidden(path)
            || self.holds.is_missing(path)
            || self.is_left_alone(path)
            || (self.is_recorded_ignored(path) && !is_empty)
            || self.troubles.contains_key(path)
            || path.ancestors().any(is_troubled)
    }
}
