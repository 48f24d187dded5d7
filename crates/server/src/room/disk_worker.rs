//! The thread that looks at and changes one root, in the order asked.
//!
//! Looks and changes share it, so that no look is older than a change that was reported before it. Before each job, and
//! every few seconds, the root is proved; what an unproved root shows is not reported as absent. Once the disk may not be
//! what an engine would take it for, this thread does nothing more: the directory has to be started again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use file_sync_core::effect::{Op, OpOutcome, Trouble, TroubleKind};
use file_sync_core::engine::{Event, KeptSweep};
use file_sync_core::path::SyncPath;
use file_sync_core::version::ContentHash;
use file_sync_disk::Root;
use tokio::sync::oneshot;

use crate::input::{Reports, RoomEvent};

/// How often the root is proved when there is nothing to do.
pub(crate) const PROVE_EVERY: Duration = Duration::from_secs(3);

/// What this thread does.
#[derive(Debug)]
pub(super) enum DiskJob {
    Look(Vec<SyncPath>),
    Apply(Vec<Op>),
    /// As a user's act: the engine finds it.
    Edit {
        ops: Vec<Op>,
        reply: oneshot::Sender<Result<Vec<OpOutcome>, Trouble>>,
    },
    Sync {
        batch: u64,
        paths: Vec<SyncPath>,
    },
    CleanStage(BTreeSet<ContentHash>),
    Prove,
}

pub(super) fn run(root: &Arc<Root>, jobs: &Receiver<DiskJob>, reports: &Reports) {
    let mut worker = Worker { root, reports, is_proved: true, lost: None, has_failed: false };
    while !worker.has_failed {
        let job = match jobs.recv_timeout(PROVE_EVERY) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => DiskJob::Prove,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        worker.prove();
        worker.carry_out(job);
    }
}

struct Worker<'a> {
    root: &'a Arc<Root>,
    reports: &'a Reports,
    is_proved: bool,
    /// Why it is not what it was, as the engine was told.
    lost: Option<String>,
    /// What was done to the disk is not as the engine would take it: it has to be started again.
    has_failed: bool,
}

impl Worker<'_> {
    fn prove(&mut self) {
        match (self.root.prove(), self.is_proved) {
            (Ok(()), false) => {
                self.is_proved = true;
                self.lost = None;
                self.reports.engine(Event::RootProved);
            }
            (Err(error), was_proved) => {
                self.is_proved = false;
                let error = error.to_string();
                // Once it was lost, what is wrong may have become another thing.
                if was_proved || self.lost.as_ref().is_some_and(|lost| *lost != error) {
                    self.reports.engine(Event::RootLost(error.clone()));
                    self.lost = Some(error);
                }
            }
            (Ok(()), true) => {}
        }
    }

    fn carry_out(&mut self, job: DiskJob) {
        match job {
            DiskJob::Look(paths) => self.look(paths),
            DiskJob::Apply(ops) => self.apply(ops),
            DiskJob::Edit { ops, reply } => {
                // Who asked may have gone.
                let _ = reply.send(self.edit(&ops));
            }
            DiskJob::Sync { batch, paths } => {
                let result = if self.is_proved { self.root.sync_paths(&paths) } else { Err(unproved()) };
                self.reports.engine(Event::Synced { batch, result });
            }
            DiskJob::CleanStage(keep) => {
                if let (true, Err(trouble)) = (self.is_proved, self.root.clean_stage(&keep)) {
                    tracing::warn!(%trouble, "cannot clear the staging area");
                }
                self.reports.engine(Event::StageCleaned);
            }
            DiskJob::Prove => {}
        }
    }

    fn apply(&mut self, ops: Vec<Op>) {
        let outcomes = if self.is_proved {
            self.root.apply(&ops)
        } else {
            Ok(ops.iter().map(|_| OpOutcome::Trouble(unproved())).collect())
        };
        match outcomes {
            Ok(outcomes) => {
                self.reports.engine(Event::Applied(ops.into_iter().zip(outcomes).collect()));
            }
            Err(trouble) => {
                self.has_failed = true;
                self.reports.send(RoomEvent::Failed(trouble.message));
            }
        }
    }

    /// Makes changes that are a user's; what they displaced is listed at once.
    fn edit(&mut self, ops: &[Op]) -> Result<Vec<OpOutcome>, Trouble> {
        if !self.is_proved {
            return Err(unproved());
        }
        let outcomes = self.root.apply(ops);
        if let Err(trouble) = &outcomes {
            self.has_failed = true;
            self.reports.send(RoomEvent::Failed(trouble.message.clone()));
        }
        let outcomes = outcomes?;
        let kept = |outcome: &OpOutcome| match outcome {
            OpOutcome::Done { kept, .. } => kept.clone(),
            _ => None,
        };
        let changed = outcomes.iter().filter_map(kept).collect();
        let paths = ops.iter().flat_map(|op| {
            let from = if let Op::Move { from, .. } = op { Some(from) } else { None };
            from.into_iter().chain([op.path()])
        });
        let restored = paths.cloned().collect();
        self.reports.send(RoomEvent::KeptSwept(KeptSweep { changed, restored, ..KeptSweep::default() }));
        Ok(outcomes)
    }

    fn look(&mut self, paths: Vec<SyncPath>) {
        let look = |path: SyncPath| {
            let seen = self.root.look(&path);
            (path, seen)
        };
        let mut results: Vec<_> =
            if self.is_proved { paths.into_iter().map(look).collect() } else { Vec::new() };
        if results.iter().any(|(_, seen)| matches!(seen, Ok(None))) {
            self.prove(); // What is absent below a root that is not the root is not absent.
            if !self.is_proved {
                results.clear();
            }
        }
        self.reports.engine(Event::Looked(results));
    }
}

fn unproved() -> Trouble {
    Trouble::new(TroubleKind::Other, "the directory's root is not there")
}
