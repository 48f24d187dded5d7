//! Carrying out the engine's changes on a simulated disk, a system call at a time, as the disk crate does.
//!
//! Between two calls users act and machines crash. What is to be displaced is exchanged for a file that waits under the
//! kept version's name; what came out is looked at, and is kept, or put back if it is not what was expected.

#![expect(clippy::result_large_err, reason = "outcomes are made by the dozen here, and looked at once")]

use std::collections::VecDeque;

use file_sync_core::effect::{Kept, Op, OpOutcome, Source, Trouble, TroubleKind};
use file_sync_core::mistake::{Mistake, is_made};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Record, Seen, Stat};
use file_sync_core::unlisted::name_in_store;
use file_sync_core::version::{Content, ContentHash, Time};

use crate::disk::{Body, Disk, Item, denied, failed, no_space};

/// The bytes that an op is going to place, or why they are not to be had.
pub(crate) type Prepared = Result<Option<Vec<u8>>, OpOutcome>;

/// How far an op has come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Progress {
    /// Nothing is looked at yet.
    #[default]
    Begun,
    /// What is there is what is expected.
    Checked,
    /// What was there has this name in the store; in its place is what had this stat, if anything.
    Swapped { kept: String, ours: Option<Stat> },
}

impl Progress {
    /// The inode that was put in place of what was there.
    pub(crate) fn ours(&self) -> Option<u64> {
        if let Progress::Swapped { ours: Some(ours), .. } = self { Some(ours.inode) } else { None }
    }
}

/// What a call led to.
enum Step {
    Next(Progress),
    Over(OpOutcome),
}

impl From<OpOutcome> for Step {
    fn from(outcome: OpOutcome) -> Step {
        Step::Over(outcome)
    }
}

impl Disk {
    /// Carries out a batch with nothing in between.
    pub fn apply(&mut self, ops: Vec<Op>, wall: Time) -> Vec<OpOutcome> {
        let ops = VecDeque::from(ops);
        let prepared = self.prepare_all(&ops);
        let carry_out = |(op, mut prepared): (Op, Prepared)| {
            let mut progress = Progress::Begun;
            loop {
                if let Some(outcome) = self.advance(&op, &mut prepared, &mut progress, wall, 0) {
                    return outcome;
                }
            }
        };
        ops.into_iter().zip(prepared).map(carry_out).collect()
    }

    /// Gets the bytes for all ops of a batch.
    pub(crate) fn prepare_all(&mut self, ops: &VecDeque<Op>) -> VecDeque<Prepared> {
        ops.iter().map(|op| self.prepare(op)).collect()
    }

    /// Gets the bytes for an op, before any op of its batch is carried out.
    fn prepare(&mut self, op: &Op) -> Prepared {
        let needs_space = matches!(op, Op::Place { .. } | Op::PlaceSymlink { .. } | Op::MakeDirectory { .. });
        if self.is_read_only {
            return Err(OpOutcome::Trouble(denied()));
        }
        if self.is_full && needs_space {
            return Err(OpOutcome::Trouble(no_space()));
        }
        if let Op::PlaceSymlink { target, copy: Some(copy), .. } = op {
            let is_there =
                self.items.get(copy).is_some_and(|item| item.body == Body::Symlink(target.clone()));
            return if is_there { Ok(None) } else { Err(OpOutcome::NoSource) };
        }
        let Op::Place { content, source, .. } = op else { return Ok(None) };
        let bytes = match source {
            Source::Staged { .. } => self.stage.get(content).cloned(),
            Source::Local { path } if self.is_failing(path) => return Err(OpOutcome::Trouble(failed())),
            Source::Local { path } => self.items.get(path).and_then(|item| bytes_of(&item.body)),
            Source::Kept { name } => self.kept.get(name).and_then(|item| bytes_of(&item.body)),
        };
        let is_right =
            |bytes: &Vec<u8>| is_made(Mistake::HashUnverified) || ContentHash::of(bytes) == *content;
        bytes.filter(is_right).map(Some).ok_or(OpOutcome::NoSource)
    }

    /// Makes the next call for an op; its outcome, once it has one. `chance` names what has to get a name of its own.
    pub(crate) fn advance(
        &mut self,
        op: &Op,
        prepared: &mut Prepared,
        progress: &mut Progress,
        wall: Time,
        chance: u32,
    ) -> Option<OpOutcome> {
        if let Err(outcome) = prepared {
            return Some(outcome.clone());
        }
        if *progress == Progress::Begun && (self.is_failing(op.path()) || self.is_read_only) {
            return Some(OpOutcome::Trouble(if self.is_read_only { denied() } else { failed() }));
        }
        let bytes = prepared.as_mut().ok().and_then(|bytes| bytes.as_ref()).cloned().unwrap_or_default();
        match self.step(op, bytes, std::mem::take(progress), wall, chance) {
            Ok(Step::Next(next)) => {
                *progress = next;
                None
            }
            Ok(Step::Over(outcome)) | Err(outcome) => Some(outcome),
        }
    }

    fn step(
        &mut self,
        op: &Op,
        bytes: Vec<u8>,
        progress: Progress,
        wall: Time,
        chance: u32,
    ) -> Result<Step, OpOutcome> {
        if progress == Progress::Begun {
            self.check(op)?;
            return Ok(Step::Next(Progress::Checked));
        }
        Ok(match op {
            Op::MakeDirectory { path, mode, mtime } => {
                self.check_free(path)?;
                self.create(path, Body::Directory, *mode, wall);
                self.set_time(path, *mtime);
                self.done(path, None)
            }
            Op::Place { path, content, source, mode, mtime, expect } => {
                let file = (Body::File(bytes), *mode, Some(*mtime));
                let step = self.put(path, file, expect.as_ref(), progress, (wall, chance))?;
                if let (Step::Next(Progress::Swapped { .. }) | Step::Over(OpOutcome::Done { .. }), true) =
                    (&step, matches!(source, Source::Staged { consume: true }))
                {
                    self.stage.remove(content);
                }
                step
            }
            Op::PlaceSymlink { path, target, expect, .. } => {
                let symlink = (Body::Symlink(target.clone()), 0o777, None);
                self.put(path, symlink, expect.as_ref(), progress, (wall, chance))?
            }
            Op::Move { from, expect, to, metadata } => {
                self.move_item((from, to), expect, *metadata, progress, (wall, chance))?
            }
            Op::MoveDirectory { from, to, mode, .. } => {
                self.check_free(to)?;
                if !self.is_directory(from) {
                    return Err(differs());
                }
                self.rename(from, to, wall);
                self.set_metadata(to, *mode, None, wall);
                self.done(to, None)
            }
            Op::SetMetadata { path, expect, mode, mtime } => {
                self.check_expected(path, expect)?;
                self.set_metadata(path, *mode, *mtime, wall);
                self.done(path, None)
            }
            Op::Remove { path, expect } => self.take_away(path, expect, progress, (wall, chance))?,
            Op::RemoveDirectory { path, .. } => {
                if !self.is_directory(path) {
                    return Err(differs());
                }
                if is_made(Mistake::DirectoryEmptied) {
                    self.below(path).iter().for_each(|below| _ = self.items.remove(below));
                }
                if !self.children(path).is_empty() {
                    return Err(trouble(TroubleKind::NotEmpty, "remove the directory: it is not empty"));
                }
                self.remove(path);
                OpOutcome::Done { stat: None, kept: None }.into()
            }
        })
    }

    /// Whether what is there is what is expected, and what has to be free is.
    fn check(&mut self, op: &Op) -> Result<(), OpOutcome> {
        match op {
            Op::MakeDirectory { path, .. } => self.check_free(path),
            Op::Place { path, expect, .. } | Op::PlaceSymlink { path, expect, .. } => match expect {
                Some(expect) => self.check_expected(path, expect),
                None => self.check_free(path),
            },
            Op::Move { from, expect, to, .. } => {
                self.check_parents(from, to)?;
                self.check_expected(from, expect)?;
                self.check_free(to)
            }
            Op::MoveDirectory { from, to, expect, .. } => {
                self.check_parents(from, to)?;
                self.check_tree(from, expect)?;
                self.check_free(to)
            }
            Op::SetMetadata { path, expect, .. }
            | Op::Remove { path, expect }
            | Op::RemoveDirectory { path, expect } => self.check_expected(path, expect),
        }
    }

    /// Puts something new at a path: at a free name at once, else in exchange for what is there.
    fn put(
        &mut self,
        path: &SyncPath,
        (body, mode, mtime): (Body, u16, Option<Time>),
        expect: Option<&Record>,
        progress: Progress,
        (wall, chance): (Time, u32),
    ) -> Result<Step, OpOutcome> {
        let Some(expect) = expect else {
            self.check_free(path)?;
            self.create(path, body, mode, wall);
            self.set_time(path, mtime);
            return Ok(self.done(path, None));
        };
        match progress {
            Progress::Swapped { kept, ours } => {
                Ok(self.keep_or_put_back(path, expect, kept, ours, (wall, chance)))
            }
            _ if !self.items.contains_key(path) => Err(differs()),
            _ => {
                let kept = self.exchange_out(path, wall);
                self.create(path, body, mode, wall);
                self.set_time(path, mtime);
                let ours = self.items.get(path).map(Item::stat);
                Ok(Step::Next(Progress::Swapped { kept, ours }))
            }
        }
    }

    fn take_away(
        &mut self,
        path: &SyncPath,
        expect: &Record,
        progress: Progress,
        (wall, chance): (Time, u32),
    ) -> Result<Step, OpOutcome> {
        match progress {
            Progress::Swapped { kept, .. } => {
                Ok(self.keep_or_put_back(path, expect, kept, None, (wall, chance)))
            }
            _ if !self.items.contains_key(path) => Err(differs()),
            _ => {
                let kept = self.exchange_out(path, wall);
                Ok(Step::Next(Progress::Swapped { kept, ours: None }))
            }
        }
    }

    /// Moves by way of the store, where nobody else puts anything, so that what is looked at is what was moved.
    fn move_item(
        &mut self,
        (from, to): (&SyncPath, &SyncPath),
        expect: &Record,
        metadata: Option<(u16, Time)>,
        progress: Progress,
        (wall, chance): (Time, u32),
    ) -> Result<Step, OpOutcome> {
        let Progress::Swapped { kept, .. } = progress else {
            if !self.items.contains_key(from) {
                return Err(differs());
            }
            let kept = self.exchange_out(from, wall);
            return Ok(Step::Next(Progress::Swapped { kept, ours: None }));
        };
        let Some(item) = self.kept.get(&kept) else { return Err(differs()) };
        let is_it = is_expected_but_renamed(item, to, expect, self.last.max(wall));
        if !is_it || self.check_free(to).is_err() {
            let Step::Over(outcome) = self.put_back(from, kept, None, (wall, chance)) else {
                return Err(differs());
            };
            return Ok(outcome.into());
        }
        self.out.remove(&kept);
        self.bring_back(&kept, to);
        self.is_vouched_for(to, expect);
        if let Some((mode, mtime)) = metadata {
            self.set_metadata(to, mode, Some(mtime), wall);
        }
        Ok(self.done(to, None))
    }

    /// Takes what is at a path, whatever it is, into the store, with all that is in it.
    fn exchange_out(&mut self, path: &SyncPath, wall: Time) -> String {
        self.n_kept += 1;
        let name = name_in_store(&format!("kept-{}", self.n_kept), path);
        let below: Vec<SyncPath> = self.below(path);
        let inside =
            below.iter().filter_map(|below| Some((below.clone(), self.items.remove(below)?))).collect();
        let mut item = self.items.remove(path).expect("it is there");
        if self.renames_change_ctime {
            item.ctime = self.stamp(wall);
        }
        self.out.insert(name.clone(), (path.clone(), inside));
        self.displaced_from.insert(item.inode, path.clone());
        self.kept.insert(name.clone(), item);
        name
    }

    /// What came out is kept if it is what was expected, and is put back if not.
    fn keep_or_put_back(
        &mut self,
        path: &SyncPath,
        expect: &Record,
        name: String,
        ours: Option<Stat>,
        (wall, chance): (Time, u32),
    ) -> Step {
        let Some(item) = self.kept.get(&name).cloned() else { return differs().into() };
        let is_accepted = is_made(Mistake::ExpectedUnchecked);
        if !is_accepted && !is_expected_but_renamed(&item, path, expect, self.last.max(wall)) {
            return self.put_back(path, name, ours, (wall, chance));
        }
        if item.content() != Some(expect.content) {
            self.broken.push(format!("L2: other bytes than the record's were displaced at {path}"));
        }
        self.out.remove(&name);
        if is_made(Mistake::NotKept) {
            self.kept.remove(&name);
        }
        let kept = Kept { name, path: path.clone(), content: expect.content, stat: item.stat(), at: wall };
        // What a user has put there since, or written into it, is found by its stat, which is not the one reported.
        OpOutcome::Done { stat: ours, kept: Some(kept) }.into()
    }

    /// Gives a user's item its name back. What stands there, if it is ours and untouched, goes; else one of both gets
    /// another name.
    fn put_back(
        &mut self,
        path: &SyncPath,
        name: String,
        ours: Option<Stat>,
        (wall, chance): (Time, u32),
    ) -> Step {
        let path = &self.out.get(&name).map_or_else(|| path.clone(), |(path, _)| path.clone());
        let place = self.items.get(path).map(Item::stat);
        match (place, ours) {
            (None, _) if self.has_parent(path) => self.bring_back(&name, path),
            (Some(there), Some(ours)) if there == ours => {
                self.items.remove(path);
                self.free_inodes.push(ours.inode);
                self.bring_back(&name, path);
            }
            (Some(there), Some(ours)) if there.inode == ours.inode => {
                // Somebody has written into what was just placed, or put something else there that got its inode: that is
                // theirs, and gets another name, with all that is in it.
                let theirs = self.exchange_out(path, wall);
                self.bring_back(&name, path);
                return self.rescue(path, &theirs, chance);
            }
            _ => return self.rescue(path, &name, chance),
        }
        differs().into()
    }

    fn rescue(&mut self, path: &SyncPath, name: &str, chance: u32) -> Step {
        let rescued = rescue_name(path, chance).filter(|rescued| self.check_free(rescued).is_ok());
        match rescued {
            Some(rescued) => {
                self.bring_back(name, &rescued);
                OpOutcome::Differs { rescued: Some(rescued) }.into()
            }
            None => OpOutcome::Trouble(Trouble::new(
                TroubleKind::Other,
                format!("a file of yours is at .file-sync/kept/{name}"),
            ))
            .into(),
        }
    }

    /// Gives what is in the store a name in the tree, with all that was in it.
    pub(crate) fn bring_back(&mut self, name: &str, to: &SyncPath) {
        let Some(item) = self.kept.remove(name) else { return };
        self.items.insert(to.clone(), item);
        let Some((from, inside)) = self.out.remove(name) else { return };
        for (path, item) in inside {
            let target = from.rebase(&path, to).unwrap_or(path);
            self.items.insert(target, item);
        }
    }

    fn set_time(&mut self, path: &SyncPath, mtime: Option<Time>) {
        let mtime = mtime.map(|mtime| self.stored(mtime));
        if let (Some(mtime), Some(item)) = (mtime, self.items.get_mut(path)) {
            item.mtime = mtime;
        }
    }

    fn done(&self, path: &SyncPath, kept: Option<Kept>) -> Step {
        OpOutcome::Done { stat: self.get(path).map(Item::stat), kept }.into()
    }

    /// What is expected in a directory that is not there differs; that of the target has to be there.
    fn check_parents(&self, from: &SyncPath, to: &SyncPath) -> Result<(), OpOutcome> {
        if !self.has_parent(from) {
            return Err(differs());
        }
        if self.has_parent(to) { Ok(()) } else { Err(no_parent()) }
    }

    fn check_free(&mut self, path: &SyncPath) -> Result<(), OpOutcome> {
        if !self.has_parent(path) {
            return Err(no_parent());
        }
        if is_made(Mistake::FreeUnchecked) {
            self.below(path).iter().chain([path]).for_each(|taken| _ = self.items.remove(taken));
        }
        if self.items.contains_key(path) { Err(differs()) } else { Ok(()) }
    }

    fn check_expected(&mut self, path: &SyncPath, expect: &Record) -> Result<(), OpOutcome> {
        match self.look(path) {
            Ok(Some(_)) if is_made(Mistake::ExpectedUnchecked) => Ok(()),
            Ok(Some(seen)) if expect.matches(&seen) => {
                self.is_vouched_for(path, expect);
                Ok(())
            }
            Ok(_) => Err(differs()),
            Err(trouble) => Err(OpOutcome::Trouble(trouble)),
        }
    }

    /// Notes when a record matches an item of other bytes: an op that trusts it would destroy bytes unseen.
    fn is_vouched_for(&mut self, path: &SyncPath, expect: &Record) {
        if self.items.get(path).and_then(Item::content) != Some(expect.content) {
            self.broken.push(format!("L2: the record of {path} vouches for other bytes than are there"));
        }
    }

    fn check_tree(&mut self, from: &SyncPath, expect: &[(SyncPath, Record)]) -> Result<(), OpOutcome> {
        if is_made(Mistake::TreeUnchecked) {
            return if self.items.contains_key(from) { Ok(()) } else { Err(differs()) };
        }
        if self.below(from).len() + 1 != expect.len() {
            return Err(differs());
        }
        expect.iter().try_for_each(|(path, record)| self.check_expected(path, record))
    }
}

/// True if an item is what was expected but for its change time, which the rename changed. A file that was written a
/// moment ago is read.
fn is_expected_but_renamed(item: &Item, path: &SyncPath, expect: &Record, wall: Time) -> bool {
    let is_young = wall.seconds.abs_diff(item.mtime.seconds) <= 2;
    let seen = item.seen(path);
    let is_same_stat = Stat { ctime: expect.stat.ctime, ..item.stat() } == expect.stat;
    match (&item.body, expect.content) {
        (Body::File(bytes), Content::File(content)) => {
            is_same_stat && (!is_young || ContentHash::of(bytes) == content)
        }
        (Body::Symlink(_), Content::Symlink(_)) => expect.matches(&Seen { rules: None, ..seen }),
        _ => false,
    }
}

fn rescue_name(path: &SyncPath, chance: u32) -> Option<SyncPath> {
    path.parent()?.join(&[path.name(), format!(".rescued-{chance:08x}").as_bytes()].concat()).ok()
}

fn bytes_of(body: &Body) -> Option<Vec<u8>> {
    if let Body::File(bytes) = body { Some(bytes.clone()) } else { None }
}

fn no_parent() -> OpOutcome {
    trouble(TroubleKind::Other, "the directory that it belongs in is not there")
}

fn differs() -> OpOutcome {
    OpOutcome::Differs { rescued: None }
}

fn trouble(kind: TroubleKind, message: &str) -> OpOutcome {
    OpOutcome::Trouble(Trouble::new(kind, message))
}
