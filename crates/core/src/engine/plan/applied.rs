//! What the disk worker reports of a round, and what follows from it.

use super::super::Engine;
use super::round::touched;
use crate::conflict::origins;
use crate::effect::{Kept, Op, OpOutcome, Source, Trouble, TroubleKind};
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::record::{Record, Stat};
use crate::version::{Content, ContentHash};

/// After so many surprises in a row a path is left alone for a while.
const SURPRISES_MAX: u32 = 5;

impl Engine {
    pub(in super::super) fn on_applied(&mut self, outcomes: Vec<(Op, OpOutcome)>) {
        self.planner.is_applying = false;
        self.planner.applying.clear();
        self.planner.todo.append(&mut self.planner.held_back);
        for (op, outcome) in outcomes {
            let paths = touched(&op);
            match outcome {
                OpOutcome::Done { stat, kept } => {
                    self.planner.doubts.end(&paths);
                    self.op_is_done(&op, stat, kept);
                }
                OpOutcome::Differs { rescued } => self.op_met_something_else(&op, rescued),
                OpOutcome::NoSource => self.op_had_no_source(&op),
                OpOutcome::Trouble(trouble) => self.op_is_in_trouble(&op, trouble),
            }
            for path in paths {
                self.release(&path);
            }
        }
    }

    fn op_is_done(&mut self, op: &Op, stat: Option<Stat>, kept: Option<Kept>) {
        self.note_merging(op);
        let rotten = self.damaged.get(op.path()).copied();
        let record = |content| stat.map(|stat| Record { content, stat });
        match op {
            Op::MakeDirectory { path, mtime, .. } => {
                if mtime.is_some() {
                    self.planner.is_implied_unrecorded(path);
                }
                self.set_record(path, record(Content::Directory));
            }
            Op::Place { path, content, source, .. } => {
                if matches!(source, Source::Staged { consume: true }) {
                    self.fetcher.staged.remove(content);
                }
                if self.tree.record(path).is_none_or(|old| old.content != Content::File(*content)) {
                    self.holds.has_appeared(*content);
                }
                self.set_record(path, record(Content::File(*content)));
                self.say_that_it_is_held(path);
            }
            Op::PlaceSymlink { path, target, .. } => {
                self.set_record(path, record(Content::Symlink(ContentHash::of(target))));
            }
            Op::Move { from, expect, to, .. } => {
                self.note_renamed(from, to, expect.content);
                self.moved(from, expect, to, stat);
            }
            Op::MoveDirectory { from, to, expect, .. } => {
                self.note_renamed(from, to, Content::Directory);
                self.directory_moved(from, to, expect, stat);
            }
            Op::SetMetadata { .. } if is_made(Mistake::OwnChangeNotRecorded) => {}
            Op::SetMetadata { path, expect, .. } => self.set_record(path, record(expect.content)),
            Op::Remove { path, .. } | Op::RemoveDirectory { path, .. } => {
                self.set_record(path, None);
            }
        }
        if let Some(kept) = kept {
            self.note_kept(op, kept, rotten);
        }
        self.note_what_cannot_be_stored(op);
    }

    /// What the file system did not store as it was asked is not asked of it again at once, and for ever.
    fn note_what_cannot_be_stored(&mut self, op: &Op) {
        let (path, mode, mtime) = match op {
            Op::Place { path, mode, mtime, .. } => (path, *mode, Some(*mtime)),
            Op::SetMetadata { path, mode, mtime, .. } => (path, *mode, *mtime),
            Op::MakeDirectory { path, mode, .. } => (path, *mode, None),
            _ => return,
        };
        let value = self.tree.project(path).value;
        let Some(record) = self.tree.record(path) else { return };
        let is_asked = record.content == value.content()
            && value.mode() == Some(mode)
            && (mtime.is_none() || value.mtime() == mtime);
        if !is_asked || self.is_as_shown(&value, Some(&record)) {
            return;
        }
        let what = if record.stat.mode == mode { "modification time" } else { "permission bits" };
        let message = format!("this file system does not store its {what} as asked");
        self.trouble(path, Trouble::new(TroubleKind::Unsupported, message));
    }

    pub(in super::super) fn reconsider_needed_below(&mut self, path: &SyncPath) {
        let below = self.planner.needed.range(path.clone()..).skip_while(|needed| *needed == path);
        let below: Vec<SyncPath> = below.take_while(|needed| path.is_ancestor_of(needed)).cloned().collect();
        self.planner.todo.extend(below);
    }

    /// A file that is to give way to a directory waits while something is being found out below it.
    pub(in super::super) fn reconsider_needed_above(&mut self, path: &SyncPath) {
        if self.planner.needed.is_empty() {
            return;
        }
        let above = path.ancestors().filter(|above| self.planner.needed.contains(above));
        let above: Vec<SyncPath> = above.collect();
        self.planner.todo.extend(above);
    }

    /// A path that is to get its copy's value waits while something is at work on the copy.
    pub(in super::super) fn reconsider_waiting_for_copy(&mut self, copy: &SyncPath) {
        let waiting = origins(copy).into_iter().filter(|path| self.planner.needed.contains(path));
        let waiting: Vec<SyncPath> = waiting.collect();
        self.planner.todo.extend(waiting);
    }

    pub(in super::super) fn reconsider_parent(&mut self, path: &SyncPath) {
        let Some(parent) = path.parent() else { return };
        if self.is_not_empty(&parent) {
            self.troubles.remove(&parent); // It may be empty by now.
            self.planner.reconsider(parent);
        } else if self.planner.needed.contains(&parent) {
            self.planner.reconsider(parent);
        }
    }

    fn moved(&mut self, from: &SyncPath, expect: &Record, to: &SyncPath, stat: Option<Stat>) {
        let record = stat.map(|stat| Record { content: expect.content, stat });
        if self.local_changes.remove(from).is_some() {
            self.local_changes.insert(to.clone(), record);
            self.set_record(from, None);
            return;
        }
        self.set_record(from, None);
        self.set_record(to, record);
    }

    fn directory_moved(
        &mut self,
        from: &SyncPath,
        to: &SyncPath,
        expect: &[(SyncPath, Record)],
        stat: Option<Stat>,
    ) {
        if self.local_changes.contains_key(from) {
            self.local_directory_moved(from, to, expect, stat);
            return;
        }
        for (path, record) in expect {
            self.set_record(path, None);
            let target = if path == from { Some(to.clone()) } else { from.rebase(path, to) };
            let moved_stat = if path == from { stat.unwrap_or(record.stat) } else { record.stat };
            if let Some(target) = target {
                self.set_record(&target, Some(Record { content: record.content, stat: moved_stat }));
            }
        }
    }

    /// What is only here keeps being only here, under its new name.
    fn local_directory_moved(
        &mut self,
        from: &SyncPath,
        to: &SyncPath,
        expect: &[(SyncPath, Record)],
        stat: Option<Stat>,
    ) {
        let below: Vec<SyncPath> = self.local_below(from).map(|(path, _)| path.clone()).collect();
        for path in below {
            let local = self.local_changes.remove(&path).flatten();
            if let (Some(local), Some(target)) = (local, from.rebase(&path, to)) {
                self.local_changes.insert(target, Some(local));
            }
        }
        self.local_changes.remove(from);
        self.local_changes.insert(to.clone(), stat.map(|stat| Record { content: Content::Directory, stat }));
        // The walk finds whatever else has come along, which is only here, too, from now on.
        expect.iter().for_each(|(path, _)| self.set_record(path, None));
        self.request_walk(to.clone());
    }

    /// Other members may have been told that this device knows of a version but lacks its bytes.
    pub(in super::super) fn say_that_it_is_held(&mut self, path: &SyncPath) {
        if self.peers.values().filter(|peer| peer.is_attached()).count() > 1 {
            self.number(path);
        }
    }

    /// `rotten`: what was in fact at the path, where that was not what is recorded.
    fn note_kept(&mut self, op: &Op, mut kept: Kept, rotten: Option<ContentHash>) {
        let recorded = kept.content;
        kept.content = rotten.map_or(recorded, Content::File);
        self.note_displaced(op, &kept, recorded);
        self.holds_kept(&kept);
        self.commits.note_kept(kept);
    }

    fn op_met_something_else(&mut self, op: &Op, rescued: Option<SyncPath>) {
        let path = op.path().clone();
        let counted = match op {
            Op::MoveDirectory { from, .. } => from.clone(),
            Op::Move { from, .. } if self.local_changes.contains_key(from) => from.clone(),
            _ => path.clone(),
        };
        let surprises = self.planner.surprises.entry(counted.clone()).or_default();
        *surprises += 1;
        if *surprises > SURPRISES_MAX {
            self.planner.surprises.remove(&counted);
            let message = "something keeps changing it; waiting until it rests".to_owned();
            self.trouble(&counted, Trouble::new(TroubleKind::Restless, message));
        }
        if let Op::MoveDirectory { from, to, .. } = op {
            self.planner.unmovable.insert(from.clone());
            self.request_walk(from.clone());
            self.reconsider_needed_below(from);
            self.reconsider_needed_below(to);
        }
        if let Op::Move { from, .. } | Op::MoveDirectory { from, .. } = op {
            self.look_before_more(from.clone());
        }
        self.look_before_more(path);
        if let Some(rescued) = rescued {
            self.request_look(rescued);
        }
    }

    /// For [`Mistake::RemovalRecordedFirst`].
    pub(super) fn record_removals(&mut self, ops: &[Op]) {
        for op in ops {
            if let Op::Remove { path, .. } = op {
                self.set_record(path, None);
            }
        }
    }

    /// The path is not what its record says: nothing is done to it before it was looked at.
    fn look_before_more(&mut self, path: SyncPath) {
        self.planner.unsure.insert(path.clone());
        self.request_look(path);
    }

    fn op_had_no_source(&mut self, op: &Op) {
        match op {
            Op::Place { content, source: Source::Staged { .. }, .. } => {
                self.fetcher.staged.remove(content);
            }
            Op::Place { content, source: Source::Local { path }, .. } => self.is_not_held(content, path),
            Op::PlaceSymlink { target, copy: Some(copy), .. } => {
                self.is_not_held(&ContentHash::of(target), copy);
            }
            // Somebody may have written into it: it stays listed, and whoever looks after what is kept finds out.
            Op::Place { content, source: Source::Kept { name }, .. } => {
                self.kept.remove(&(*content, name.clone()));
            }
            _ => {}
        }
    }

    /// What a path's record says of it is not so: nothing else relies on it until it is looked at.
    fn is_not_held(&mut self, content: &ContentHash, path: &SyncPath) {
        self.holders.is_not_held(content, path, &self.tree);
        self.look_before_more(path.clone());
    }

    fn op_is_in_trouble(&mut self, op: &Op, trouble: Trouble) {
        let path = op.path();
        if trouble.kind == TroubleKind::NotEmpty {
            self.request_walk(path.clone());
        }
        if let Op::MoveDirectory { from, .. } = op {
            self.planner.unmovable.insert(from.clone());
            let from = from.clone();
            self.reconsider_needed_below(&from);
            self.reconsider_needed_below(path);
            return;
        }
        if let Op::Move { from, .. } = op {
            self.look_before_more(from.clone());
        }
        if let Some(parent) = path.parent() {
            self.request_look(parent); // It may have gone.
        }
        let stays = trouble.kind == TroubleKind::NotEmpty;
        self.trouble(path, trouble);
        if stays {
            self.reconsider_parent(path); // What it lies in cannot go either.
        }
    }
}
