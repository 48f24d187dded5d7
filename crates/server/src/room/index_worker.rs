//! The thread that owns one directory's database.
//!
//! It signs what this device has written, makes a commit durable, and reports it. A commit that fails (a full disk) is
//! tried again until it works: nothing is announced meanwhile, and nothing is lost.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use file_sync_core::engine::{Commit, Incarnation};
use file_sync_core::version::DirectoryId;
use file_sync_index::{Act, Batch, DirectoryIndex, DirectoryState, RemoteState};
use file_sync_net::Identity;

use super::signing::{Signed, Signer};
use crate::input::{Reports, RoomEvent};

const RETRY: Duration = Duration::from_secs(2);
/// After this time without a commit the log is moved into the database, so that an idle server writes nothing later.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(5);

/// What this thread does.
#[derive(Debug)]
pub(super) enum IndexJob {
    Commit(Box<Commit>),
    Close,
}

pub(super) struct IndexWorker {
    pub(super) index: DirectoryIndex,
    pub(super) identity: Arc<Identity>,
    pub(super) directory: DirectoryId,
    pub(super) incarnations: Vec<Incarnation>,
    pub(super) reports: Reports,
}

impl IndexWorker {
    pub(super) fn run(mut self, jobs: &Receiver<IndexJob>) {
        let mut is_checkpointed = true;
        loop {
            let wait = if is_checkpointed { Duration::from_secs(3600) } else { CHECKPOINT_AFTER };
            match jobs.recv_timeout(wait) {
                Ok(IndexJob::Commit(commit)) => {
                    if !self.commit(*commit, jobs) {
                        return;
                    }
                    is_checkpointed = false;
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let (false, Err(error)) = (is_checkpointed, self.index.checkpoint()) {
                        tracing::warn!(%error, "cannot move the log into the database");
                    }
                    is_checkpointed = true;
                }
                Ok(IndexJob::Close) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = self.index.close(true) {
            tracing::warn!(%error, "the database was not closed cleanly");
        }
    }

    /// Commits, however long it takes; false when told to end before it worked.
    fn commit(&mut self, commit: Commit, jobs: &Receiver<IndexJob>) -> bool {
        let sequence = commit.counters.sequence;
        let (batch, signatures) = self.batch(commit);
        let mut is_failing = false;
        while let Err(error) = self.index.commit(&batch) {
            tracing::error!(%error, "cannot commit; trying again");
            is_failing = true;
            self.reports.send(RoomEvent::CommitTrouble(Some(error.to_string())));
            match jobs.recv_timeout(RETRY) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return false,
            }
        }
        if is_failing {
            self.reports.send(RoomEvent::CommitTrouble(None));
        }
        // Nobody listens when the directory is at its end; then it is told to close.
        self.reports.send(RoomEvent::Committed { sequence, signatures });
        true
    }

    fn batch(&self, commit: Commit) -> (Batch, Vec<Signed>) {
        let signer = Signer { identity: &self.identity, directory: self.directory };
        let (rows, signatures) = signer.rows(commit.rows);
        let counters = commit.counters;
        let remote = |progress: file_sync_core::engine::PeerProgress| RemoteState {
            index_id: progress.index_id,
            merged: progress.merged,
            acknowledged: progress.acknowledged,
            incarnation: progress.incarnation,
            heard: progress.heard,
        };
        let state = DirectoryState {
            index_id: counters.index_id,
            epoch: counters.epoch,
            counter: counters.counter,
            sequence: counters.sequence,
            incarnations: self.incarnations.clone(),
            members: commit.members,
            remotes: commit.peers.into_iter().map(|(device, progress)| (device, remote(progress))).collect(),
            first_scan_done: commit.first_scan_done,
        };
        let act = |act: file_sync_core::engine::ActRecord| Act {
            at: act.at,
            path: act.path,
            before: act.before,
            after: act.after,
            what: act.deed.word().to_owned(),
            why: act.why,
            by: Some(act.by),
        };
        let batch = Batch {
            rows,
            chunk_lists: commit.chunks,
            kept_removed: commit.kept_removed,
            kept_added: commit.kept_added,
            acts: commit.acts.into_iter().map(act).collect(),
            doubts: commit.doubts,
            state: Some(state),
        };
        (batch, signatures)
    }
}
