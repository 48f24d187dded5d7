//! One round: of the changes that are wanted, the ops that can be done now, in an order that works.
//!
//! Renames are found first: a file that goes and one with its content that comes are one move; a directory of which
//! every item goes to the same place in another is one move as a whole. Then directories are made from the top down,
//! files put and given their metadata, files removed, directories removed from the bottom up. All copies are made before
//! the first op is carried out, so files may also change places.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Engine;
use crate::conflict::{copy_path, origins};
use crate::effect::{Op, Source};
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::record::Record;
use crate::version::{Actor, Changed, Content, ContentHash, Dot, Signature, Value, Version};

const OPS_MAX: usize = 2_000;

/// What is gathered for one round.
#[derive(Default)]
pub(super) struct Round {
    make: BTreeMap<SyncPath, u16>,
    put: BTreeMap<SyncPath, Value>,
    metadata: BTreeMap<SyncPath, Value>,
    remove: BTreeMap<SyncPath, Record>,
    remove_directories: BTreeSet<SyncPath>,
    /// Content -> paths to be removed that hold it.
    leaving: BTreeMap<Content, BTreeSet<SyncPath>>,
    structure: Vec<Op>,
    changes: Vec<Op>,
    /// Directories that exist once the structure is made.
    made: BTreeSet<SyncPath>,
    uses: BTreeMap<ContentHash, usize>,
}

impl Round {
    /// True if nothing more is put.
    pub(super) fn is_full(&self) -> bool {
        self.changes.len() >= OPS_MAX
    }

    /// True if something goes, or went, that a file which is to be put may be.
    pub(super) fn has_leaving(&self) -> bool {
        !self.leaving.is_empty() || !self.remove_directories.is_empty()
    }

    /// One more file is to get a content.
    pub(super) fn count_use(&mut self, content: ContentHash) {
        *self.uses.entry(content).or_default() += 1;
    }
}

/// Every path that an op is at work on.
pub(super) fn touched(op: &Op) -> Vec<SyncPath> {
    match op {
        Op::Move { from, to, .. } => vec![from.clone(), to.clone()],
        Op::MoveDirectory { from, to, expect, .. } => {
            let targets = expect.iter().filter_map(|(path, _)| from.rebase(path, to));
            expect.iter().map(|(path, _)| path.clone()).chain(targets).chain([to.clone()]).collect()
        }
        _ => vec![op.path().clone()],
    }
}

impl Engine {
    pub(super) fn plan_round(&mut self, changes: BTreeMap<SyncPath, Value>) -> Vec<Op> {
        if changes.is_empty() && self.planner.left.is_empty() {
            return Vec::new();
        }
        let mut round = Round::default();
        for (path, value) in changes {
            self.sort_into(&mut round, path, value);
        }
        let moved_away: BTreeSet<SyncPath> = round.structure.iter().flat_map(touched).collect();
        round.remove_directories.retain(|path| !moved_away.contains(path));
        self.move_directories(&mut round);
        self.make_directories(&mut round);
        self.put_files(&mut round);
        for (path, value) in std::mem::take(&mut round.metadata) {
            if let Some(record) = self.tree.record(&path) {
                let mode = value.mode().unwrap_or(record.stat.mode);
                round.changes.push(Op::SetMetadata { path, expect: record, mode, mtime: value.mtime() });
            }
        }
        self.remove_what_is_left(&mut round);
        let mut ops = round.structure;
        // What displaces something comes after the copy that keeps showing it: a crash in between loses sight of nothing.
        let displaces = |op: &Op| {
            matches!(op, Op::Place { expect: Some(_), .. } | Op::PlaceSymlink { expect: Some(_), .. })
        };
        round.changes.sort_by_key(|op| match op {
            Op::Remove { .. } | Op::RemoveDirectory { .. } => 2,
            op => u8::from(displaces(op)),
        });
        ops.extend(round.changes);
        ops
    }

    fn sort_into(&mut self, round: &mut Round, path: SyncPath, value: Value) {
        let record = self.tree.record(&path);
        if let Some(Some(local)) = self.local_changes.get(&path).cloned() {
            if local.content == value.content() {
                self.local_changes.remove(&path);
                self.set_record(&path, Some(local)); // It was made here and elsewhere alike.
                self.planner.reconsider(path);
            } else {
                self.move_local_away(round, path, local);
            }
            return;
        }
        match (value, record) {
            (Value::Absent { .. }, None) => {}
            (Value::Directory { .. }, None) if self.is_deferring() && self.may_be_moved_to(&path) => {
                self.defer(path);
            }
            (Value::Directory { mode }, None) => {
                round.make.insert(path, mode);
            }
            (value, Some(record)) if record.content == value.content() && !self.is_damaged(&path) => {
                round.metadata.insert(path, value);
            }
            (value @ (Value::File { .. } | Value::Symlink { .. }), None) => {
                round.put.insert(path, value);
            }
            (value @ (Value::File { .. } | Value::Symlink { .. }), Some(record))
                if record.content.is_bytes() =>
            {
                round.put.insert(path, value);
            }
            (_, Some(_)) if self.is_deferring() => self.defer(path),
            (_, Some(record)) if record.content == Content::Directory => {
                round.remove_directories.insert(path);
            }
            // A file has to go, for nothing or for a directory: it may be what another path is to get.
            (_, Some(record)) => {
                round.leaving.entry(record.content).or_default().insert(path.clone());
                round.remove.insert(path, record);
            }
        }
    }

    /// A member that may not send keeps its own bytes, under a copy's name, when a newer version takes the name.
    fn move_local_away(&mut self, round: &mut Round, path: SyncPath, local: Record) {
        let actor = Actor { device: self.config.device, epoch: self.commits.counters.epoch };
        let version = Version {
            dot: Dot { actor, counter: 0 },
            value: Value::File {
                content: local.content.hash(),
                length: local.stat.size,
                mode: local.stat.mode,
                mtime: local.stat.mtime,
            },
            rank: local.stat.mtime,
            replaced: Vec::new(),
            heard: None,
            base: Content::Absent,
            changed: Changed::ALL,
            born_at: None,
            signature: Signature(None),
        };
        let is_free = |to: &SyncPath| self.tree.record(to).is_none() && !self.local_changes.contains_key(to);
        // All directories have one hash, so that the second name may be taken too: then a copy of that copy's.
        let origins =
            std::iter::successors(Some(path.clone()), |origin| Some(copy_path(origin, &version, true)));
        let mut names =
            origins.flat_map(|origin| [false, true].map(|marked| copy_path(&origin, &version, marked)));
        let to = names.find(is_free).expect("there are more names than items");
        if local.content == Content::Directory {
            let mode = local.stat.mode;
            let expect = std::iter::once((path.clone(), local)).chain(self.stays_in(&path)).collect();
            round.structure.push(Op::MoveDirectory { from: path, to, mode, expect });
        } else {
            round.structure.push(Op::Move { from: path, expect: local, to, metadata: None });
        }
    }

    /// What lies in a directory that is only here: what is only here itself, and the directories that are to go and cannot,
    /// as they hold that.
    fn stays_in(&self, directory: &SyncPath) -> Vec<(SyncPath, Record)> {
        let local = self.local_below(directory);
        let local = local.filter_map(|(path, record)| Some((path.clone(), (*record)?)));
        let holds_local = |path: &SyncPath| {
            !self.local_changes.contains_key(path) && self.local_below(path).next().is_some()
        };
        let synced = self.tree.below(directory).filter(|(path, _)| holds_local(path));
        local.chain(synced.filter_map(|(path, node)| Some((path.clone(), node.record?)))).collect()
    }

    fn move_directories(&mut self, round: &mut Round) {
        let mut moved: Option<SyncPath> = None;
        for from in round.remove_directories.clone() {
            if moved.as_ref().is_some_and(|moved| moved.is_ancestor_of(&from))
                || self.planner.unmovable.contains(&from)
            {
                continue;
            }
            let Some((to, expect)) = self.match_directory(round, &from) else { continue };
            let Some(mode) = round.make.get(&to).copied() else { continue };
            for (path, record) in &expect {
                let target = if *path == from { Some(to.clone()) } else { from.rebase(path, &to) };
                let target = target.expect("matched paths fit below the target");
                round.remove.remove(path);
                round.remove_directories.remove(path);
                round.put.remove(&target);
                round.make.remove(&target);
                round.made.insert(target);
                if let Some(leaving) = round.leaving.get_mut(&record.content) {
                    leaving.remove(path);
                }
            }
            round.structure.push(Op::MoveDirectory { from: from.clone(), to, mode, expect });
            moved = Some(from);
        }
    }

    /// Where a whole directory goes, if every recorded item below it goes to the same place there.
    fn match_directory(&self, round: &Round, from: &SyncPath) -> Option<(SyncPath, Vec<(SyncPath, Record)>)> {
        let own = self.tree.record(from)?;
        let below: Vec<(SyncPath, Record)> =
            self.tree.below(from).filter_map(|(path, node)| Some((path.clone(), node.record?))).collect();
        let (sample, record) = below.iter().find(|(_, record)| record.content.is_bytes())?;
        let rest = &sample.as_bytes()[from.as_bytes().len()..];
        let candidates = round.put.iter().filter(|(_, value)| value.content() == record.content);
        let to = candidates
            .filter_map(|(path, _)| path.as_bytes().strip_suffix(rest))
            .filter_map(|bytes| SyncPath::parse(bytes).ok())
            .find(|to| self.is_directory_move(round, from, to, &below))?;
        let expect = std::iter::once((from.clone(), own)).chain(below).collect();
        Some((to, expect))
    }

    fn is_directory_move(
        &self,
        round: &Round,
        from: &SyncPath,
        to: &SyncPath,
        below: &[(SyncPath, Record)],
    ) -> bool {
        let parent_is_there = to.parent().is_some_and(|parent| self.is_directory_there(round, &parent));
        round.make.contains_key(to)
            && parent_is_there
            && !self.is_implied(to)
            && !from.is_ancestor_of(to)
            && below.iter().all(|(path, record)| {
                let goes = round.remove.contains_key(path) || round.remove_directories.contains(path);
                let comes = from.rebase(path, to).is_some_and(|target| {
                    let is_free = self.tree.record(&target).is_none() && !self.busy.contains(&target);
                    let put = round.put.get(&target).map(Value::content);
                    let make = round.make.contains_key(&target).then_some(Content::Directory);
                    is_free && put.or(make) == Some(record.content)
                });
                goes && comes && !self.busy.contains(path)
            })
    }

    fn is_directory_there(&self, round: &Round, path: &SyncPath) -> bool {
        path.is_root()
            || round.made.contains(path)
            || self.tree.record(path).is_some_and(|record| record.content == Content::Directory)
                && !round.remove_directories.contains(path)
    }

    fn make_directories(&mut self, round: &mut Round) {
        for (path, mode) in std::mem::take(&mut round.make) {
            let parent = path.parent().unwrap_or_else(SyncPath::root);
            if round.structure.len() < OPS_MAX && self.is_directory_there(round, &parent) {
                let mtime = self.mark_of_implied(&path);
                if mtime.is_none() {
                    round.made.insert(path.clone());
                } // Else nothing is put into it yet.
                round.structure.push(Op::MakeDirectory { path, mode, mtime });
            } else if round.structure.len() >= OPS_MAX {
                self.planner.todo.insert(path);
            } else {
                self.await_parent(path);
            }
        }
    }

    fn put_files(&mut self, round: &mut Round) {
        let mut put = std::mem::take(&mut round.put);
        for content in put.values().map(Value::content) {
            if let Content::File(hash) = content {
                round.count_use(hash);
            }
        }
        while let Some((path, value)) = self.next_to_put(round, &mut put) {
            if self.is_parent_there(round, &path) {
                self.put_file(round, path, value);
            } else {
                self.await_parent(path);
            }
        }
        for (path, value) in put {
            if self.is_parent_there(round, &path) {
                self.leave(round, path, &value);
            } else {
                self.await_parent(path);
            }
        }
    }

    fn is_parent_there(&self, round: &Round, path: &SyncPath) -> bool {
        self.is_directory_there(round, &path.parent().unwrap_or_else(SyncPath::root))
    }

    fn put_file(&mut self, round: &mut Round, path: SyncPath, value: Value) {
        let expect = self.tree.record(&path);
        if expect.is_none()
            && let Some((from, record)) = self.take_leaving(round, &value.content())
        {
            let metadata = value.mode().zip(value.mtime());
            round.changes.push(Op::Move { from, expect: record, to: path, metadata });
            return;
        }
        let copy = self.copy_to_take_back(&path, value.content());
        if self.is_deferring() && copy.is_some() {
            self.defer(path); // With its copy, which is to be moved and not seen twice.
            return;
        }
        match value {
            Value::Symlink { target } => match self.symlink_to_take_back(copy.as_ref(), expect.as_ref()) {
                Some((from, record)) => {
                    round.remove.remove(&from);
                    round.changes.push(Op::Move { from, expect: record, to: path, metadata: None });
                }
                None => round.changes.push(Op::PlaceSymlink { path, target, copy, expect }),
            },
            Value::File { content, length, mode, mtime } => match self.source(round, &path, &content, copy) {
                Some(Source::Local { .. } | Source::Kept { .. }) if self.is_deferring() => self.defer(path),
                Some(source) => round.changes.push(Op::Place { path, content, source, mode, mtime, expect }),
                None => {
                    self.want(content, length, &path);
                    if let (true, Some(expect)) = (is_made(Mistake::PendingIsAbsent), expect) {
                        round.changes.push(Op::Remove { path, expect });
                    }
                }
            },
            Value::Absent { .. } | Value::Directory { .. } => {}
        }
    }

    /// The copy of a symlink that is to take its free name back: it is moved, so that if a user has just dealt with it, it is
    /// not to be had.
    fn symlink_to_take_back(
        &self,
        copy: Option<&SyncPath>,
        expect: Option<&Record>,
    ) -> Option<(SyncPath, Record)> {
        let copy = copy.filter(|copy| expect.is_none() && !self.busy.contains(*copy))?;
        self.tree.record(copy).map(|record| (copy.clone(), record))
    }

    fn take_leaving(&self, round: &mut Round, content: &Content) -> Option<(SyncPath, Record)> {
        let path = round.leaving.get_mut(content)?.pop_first()?;
        let record = round.remove.remove(&path)?;
        Some((path, record))
    }

    /// Where the bytes are on this disk, if they are.
    ///
    /// A copy that is to take its name back is taken itself: if a user has just dealt with it, it is not to be had.
    fn source(
        &self,
        round: &mut Round,
        path: &SyncPath,
        content: &ContentHash,
        copy: Option<SyncPath>,
    ) -> Option<Source> {
        if let Some(path) = copy {
            return Some(Source::Local { path });
        }
        if self.fetcher.staged.contains(content) {
            let uses = round.uses.get_mut(content)?;
            *uses -= 1;
            let is_last = *uses + self.planner.left.uses(content) == 0;
            return Some(Source::Staged { consume: is_last });
        }
        let mut holders = self.holders.get(content, &self.tree);
        let local = holders.find(|holder| *holder != path && !self.busy.contains(*holder));
        if let Some(local) = local {
            return Some(Source::Local { path: local.clone() });
        }
        self.kept_holders(content).next().map(|(name, _)| Source::Kept { name: name.to_owned() })
    }

    fn remove_what_is_left(&mut self, round: &mut Round) {
        // While puts are left for a later round, what goes may still be what one of them is to get.
        if round.is_full() || round.structure.len() >= OPS_MAX {
            let left = std::mem::take(&mut round.remove)
                .into_keys()
                .chain(std::mem::take(&mut round.remove_directories));
            self.planner.todo.extend(left);
            return;
        }
        let is_held = |(path, record): &(&SyncPath, &Record)| self.is_to_take_name_back(path, record);
        let held: Vec<SyncPath> = round.remove.iter().filter(is_held).map(|(path, _)| path.clone()).collect();
        for path in held {
            round.remove.remove(&path);
            self.planner.held_back.insert(path);
        }
        let changing = round.changes.iter().chain(&round.structure).map(Op::path).collect();
        for path in self.hold_removals(&round.remove, &changing) {
            round.remove.remove(&path);
            for above in path.ancestors().filter(|above| !above.is_root()) {
                self.planner.reconsider(above);
            }
            self.planner.reconsider(path);
        }
        let mut going: BTreeSet<SyncPath> = round.remove.keys().cloned().collect();
        going.extend(round.changes.iter().filter_map(|op| match op {
            Op::Move { from, .. } => Some(from.clone()),
            _ => None,
        }));
        for (path, expect) in std::mem::take(&mut round.remove) {
            round.changes.push(Op::Remove { path, expect });
        }
        for path in std::mem::take(&mut round.remove_directories).into_iter().rev() {
            let is_empty = self.tree.children(&path).iter().all(|child| {
                going.contains(child)
                    || self.tree.record(child).is_none()
                    || self.is_frozen(child)
                    || self.is_not_empty(child) // It stays, and so will this one.
            });
            if let (true, Some(expect)) = (is_empty, self.tree.record(&path)) {
                going.insert(path.clone());
                round.changes.push(Op::RemoveDirectory { path, expect });
            } // Else it is assessed again when the last of them is gone.
        }
    }

    /// True for a copy whose path is to show the value again and does not yet: at one of both names it is always seen.
    fn is_to_take_name_back(&self, copy: &SyncPath, record: &Record) -> bool {
        origins(copy).iter().any(|path| {
            self.planner.needed.contains(path) && self.tree.project(path).value.content() == record.content
        })
    }

    pub(in super::super) fn is_frozen(&self, path: &SyncPath) -> bool {
        let is_directory = self.tree.record(path).is_some_and(|record| record.content == Content::Directory);
        self.is_ignored(path, is_directory) || self.is_left_alone(path)
    }
}
