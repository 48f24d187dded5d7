//! Carrying out a batch of changes: prepare all, make durable, carry out in order, make directories durable, report.
//!
//! What each op does is in `prepare`, `swap`, `moving` and `metadata`. Nothing is reported before it is durable. A
//! user's later write cannot hide behind a stat reported here: a write sets the modification time to the present, and
//! where that could be the time that was just placed, the tick is waited out and the bytes are read again.

use std::os::fd::AsFd;

use file_sync_core::effect::{Op, OpOutcome, Trouble};
use file_sync_core::path::SyncPath;
use file_sync_core::record::Stat;
use file_sync_core::version::Content;
use rustix::io::Errno;

use crate::at::{self, Spot};
use crate::clock;
use crate::hash::N_SINGLE_SYNCS_MAX;
use crate::metadata::{Metadata, is_content};
use crate::prepare::Prepared;
use crate::root::Root;
use crate::swap::Step;
use crate::trouble::{Refusal, other, trouble};

impl Root {
    /// Carries out changes in order; outcomes are in the order of the ops. See [`Op`] for what is promised of each.
    ///
    /// # Errors
    /// When something was done that no outcome describes: it could not be made durable, or a user's file that an op met
    /// is left among the kept versions. Whoever asked has to go on as after a crash, from what is stored.
    pub fn apply(&self, ops: &[Op]) -> Result<Vec<OpOutcome>, Trouble> {
        let is_placing =
            |op: &&Op| matches!(op, Op::Place { .. } | Op::PlaceSymlink { .. } | Op::MakeDirectory { .. });
        let sync_each = ops.iter().filter(is_placing).count() <= N_SINGLE_SYNCS_MAX;
        let prepared: Vec<Result<Option<Prepared>, Refusal>> =
            ops.iter().map(|op| self.prepare(op, sync_each)).collect();
        if !sync_each && let Err(errno) = self.sync_file_system() {
            prepared.iter().flatten().flatten().for_each(|prepared| self.discard_prepared(prepared));
            return Ok(all_trouble(ops, &trouble("make staged files durable", errno)));
        }
        self.between("prepared");
        let carry_out = |(op, prepared): (&Op, Result<_, Refusal>)| match prepared {
            Ok(prepared) => self.carry_out(op, prepared),
            Err(refusal) => Step::from(refusal),
        };
        let steps: Vec<Step> = ops.iter().zip(prepared).map(carry_out).collect();
        self.between("carried out");
        self.make_durable(ops, &steps)?;
        self.report(ops, steps)
    }

    fn carry_out(&self, op: &Op, prepared: Option<Prepared>) -> Step {
        let step = self.try_op(op, prepared.as_ref());
        if let (Err(_), Some(prepared)) = (&step, &prepared) {
            self.unprepare(prepared);
        }
        step.unwrap_or_else(Step::from)
    }

    /// Fails where a parent cannot be entered.
    fn try_op(&self, op: &Op, prepared: Option<&Prepared>) -> Result<Step, Refusal> {
        let prepared = || prepared.ok_or_else(|| Refusal::Trouble(other("nothing was prepared for it")));
        Ok(match op {
            Op::MakeDirectory { path, mode, .. } => {
                let late_mode = (mode & 0o200 == 0).then_some(*mode);
                self.put_new(&self.parent_of(path)?, prepared()?, late_mode)
            }
            Op::Place { path, expect, .. } | Op::PlaceSymlink { path, expect, .. } => match expect {
                Some(expect) => self.swap_in(&self.expected_at(path)?, prepared()?, expect),
                None => self.put_new(&self.parent_of(path)?, prepared()?, None),
            },
            Op::Move { from, expect, to, metadata } => {
                let metadata = metadata.map(|(mode, mtime)| Metadata { mode, mtime: Some(mtime) });
                self.move_item(&self.expected_at(from)?, &self.parent_of(to)?, expect, metadata)
            }
            Op::MoveDirectory { from, to, mode, expect } => {
                self.move_directory(&self.expected_at(from)?, &self.parent_of(to)?, *mode, expect)
            }
            Op::SetMetadata { path, expect, mode, mtime } => {
                let metadata = Metadata { mode: *mode, mtime: *mtime };
                self.set_metadata(&self.expected_at(path)?, expect, metadata)
            }
            Op::Remove { path, expect } => self.take_away(&self.expected_at(path)?, expect),
            Op::RemoveDirectory { path, expect } => self.remove_directory(&self.expected_at(path)?, expect),
        })
    }

    /// Resolves where something is to appear: its parent must be there.
    fn parent_of(&self, path: &SyncPath) -> Result<Spot, Refusal> {
        Spot::open(self.fd(), path).map_err(|errno| {
            Refusal::Trouble(match errno {
                errno if at::is_absence(errno) => other("the directory that it belongs in is not there"),
                errno => trouble("enter the parent directory", errno),
            })
        })
    }

    /// Resolves where something is expected: without its parent it is not there either.
    fn expected_at(&self, path: &SyncPath) -> Result<Spot, Refusal> {
        Spot::open(self.fd(), path).map_err(|errno| match errno {
            errno if at::is_absence(errno) => Refusal::Differs,
            errno => Refusal::Trouble(trouble("enter the parent directory", errno)),
        })
    }

    /// Makes names and metadata durable, of all that was changed.
    fn make_durable(&self, ops: &[Op], steps: &[Step]) -> Result<(), Trouble> {
        let changed = || ops.iter().zip(steps).filter(|(_, step)| !is_untouched(step));
        let mut names: Vec<SyncPath> = Vec::new();
        let mut items: Vec<&SyncPath> = Vec::new();
        for (op, _) in changed() {
            names.push(op.path().clone());
            match op {
                Op::Move { from, .. } | Op::MoveDirectory { from, .. } => {
                    names.push(from.clone());
                    items.push(op.path());
                }
                Op::SetMetadata { .. } | Op::MakeDirectory { .. } => items.push(op.path()),
                _ => {}
            }
        }
        let fail = |errno| trouble("make the changes durable", errno);
        if items.len() > N_SINGLE_SYNCS_MAX {
            return self.sync_file_system().map_err(fail);
        }
        if items.iter().try_for_each(|path| self.sync_item(path)).is_err() {
            return self.sync_file_system().map_err(fail);
        }
        let is_kept = |(_, step): (&Op, &Step)| matches!(step, Step::Changed { kept: Some(_), .. });
        if changed().any(is_kept) {
            rustix::fs::fsync(self.kept()).map_err(fail)?;
        }
        self.sync_names(&names)
    }

    fn sync_item(&self, path: &SyncPath) -> Result<(), Errno> {
        let spot = Spot::open(self.fd(), path)?;
        rustix::fs::fsync(at::open_file(spot.parent.as_fd(), spot.name())?)
    }

    fn report(&self, ops: &[Op], steps: Vec<Step>) -> Result<Vec<OpOutcome>, Trouble> {
        let doubtful = |step: &&Step| match step {
            Step::Changed { stat: Some(stat), .. } => self.may_hide_a_write(stat),
            _ => false,
        };
        if steps.iter().any(|step| doubtful(&step)) {
            self.settle(steps.iter().filter_map(|step| match step {
                Step::Changed { stat, .. } => stat.as_ref(),
                Step::Over(_) | Step::Stranded(_) => None,
            }));
        }
        let report = |(op, step)| match step {
            Step::Over(outcome) => Ok(self.explained_outcome(op, outcome)),
            Step::Stranded(trouble) => Err(trouble),
            Step::Changed { stat, kept } => {
                Ok(OpOutcome::Done { stat: stat.map(|stat| self.reliable(op, stat)), kept })
            }
        };
        ops.iter().zip(steps).map(report).collect()
    }

    /// True if a write in the same tick of the file system's clock could have left this stat as it is.
    fn may_hide_a_write(&self, stat: &Stat) -> bool {
        let granularity = self.granularity().as_nanos();
        let distance = (clock::nanoseconds(stat.ctime) - clock::nanoseconds(stat.mtime)).unsigned_abs();
        granularity > 0 && distance <= granularity
    }

    /// The stat, if the bytes at the path are those that it is reported for; else one that nothing matches.
    fn reliable(&self, op: &Op, stat: Stat) -> Stat {
        let content = match op {
            Op::Place { content, .. } => Content::File(*content),
            Op::Move { expect, .. } | Op::SetMetadata { expect, .. } => expect.content,
            _ => return stat,
        };
        if !self.may_hide_a_write(&stat) || matches!(content, Content::Directory | Content::Symlink(_)) {
            return stat;
        }
        let is_same = Spot::open(self.fd(), op.path())
            .and_then(|spot| at::open_item(spot.parent.as_fd(), spot.name()))
            .and_then(|item| is_content(item.as_fd(), content));
        // A change time of 1970 is no file's; the next look finds a difference and reads the file.
        if is_same == Ok(true) { stat } else { Stat { ctime: Default::default(), ..stat } }
    }
}

/// True if a step left the disk as it was. One that put something back did not.
fn is_untouched(step: &Step) -> bool {
    match step {
        Step::Changed { .. } | Step::Stranded(_) => false,
        Step::Over(OpOutcome::Differs { rescued }) => rescued.is_none(),
        Step::Over(_) => true,
    }
}

fn all_trouble(ops: &[Op], trouble: &Trouble) -> Vec<OpOutcome> {
    ops.iter().map(|_| OpOutcome::Trouble(trouble.clone())).collect()
}
