//! What can be said of a directory at any time.

use std::borrow::Cow;

use super::peer::Refusal;
use super::{Engine, Mode, RootState};
use crate::effect::{Trouble, TroubleKind};
use crate::path::SyncPath;
use crate::record::Record;
use crate::version::{Content, ContentHash, Value};

/// What a directory is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing.
    Idle,
    /// Looking at the disk.
    Scanning,
    /// Bringing the disk to what is known, or waiting for bytes.
    Syncing,
    /// Nothing but to wait for a word about deletions.
    Held,
    /// Stopped by the user.
    Paused,
    /// The root is not what it was.
    Error,
}

/// Something that is wrong with a path; an empty path is the root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Which, as bytes: it may be no name that can be synced.
    pub path: Vec<u8>,
    /// One line.
    pub message: String,
    /// What mends it, where that is known.
    pub mend: Option<String>,
    /// When it is tried again at the latest, in monotonic milliseconds; none: when something else changes.
    pub retry_at_ms: Option<u64>,
}

/// A directory's figures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Regular files and symlinks on this disk, also those that it alone has.
    pub files: u64,
    /// Bytes of the regular files.
    pub bytes: u64,
    /// Files and symlinks that this disk is to get, or lose.
    pub need_files: u64,
    /// Bytes of those to get.
    pub need_bytes: u64,
    /// Of these, what does not come as things are: its path is in trouble, or nobody connected has it.
    pub blocked_bytes: u64,
    /// Conflict copies shown.
    pub conflicts: u64,
    /// Files and symlinks whose deletion waits for a word.
    pub held: u64,
    /// While some are held, how many of the same while went through before.
    pub let_through: u64,
    /// Kept versions younger than a day that had to go since the start, for want of room.
    pub kept_gone_young: u64,
    /// Paths that differ here and are not sent.
    pub local_changes: Vec<SyncPath>,
    /// Paths in trouble, and the root's.
    pub problems: Vec<Problem>,
    /// Things that are left alone, each with why.
    pub left_alone: Vec<Problem>,
    /// A hash over everything shown; equal on two members when their trees are.
    pub root_hash: ContentHash,
}

/// What of it the whole tree is counted for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    files: u64,
    bytes: u64,
    conflicts: u64,
    root_hash: ContentHash,
}

impl Engine {
    /// Counts everything; costs a pass over the tree if anything has changed since the last time.
    pub fn status(&self) -> Status {
        let Totals { files, bytes, conflicts, root_hash } = self.totals();
        let is_gone_here = |path: &&SyncPath| self.is_gone_here(path) && self.tree.is_shown_copy(path);
        let n_gone_here = self.local_changes.keys().filter(is_gone_here).count() as u64;
        let (files_local, bytes_local) = self.local_figures();
        let mut status = Status {
            state: self.state(),
            files: files.saturating_add_signed(files_local),
            bytes: bytes.saturating_add_signed(bytes_local),
            need_files: 0,
            need_bytes: 0,
            blocked_bytes: 0,
            conflicts: conflicts.saturating_sub(n_gone_here) + self.local_copies().count() as u64,
            held: self.n_held(),
            let_through: if self.n_held() > 0 { self.n_let_through() } else { 0 },
            kept_gone_young: self.kept_gone_young,
            local_changes: self.local_changes.keys().cloned().collect(),
            problems: self.problems(),
            left_alone: self
                .unsupported
                .iter()
                .map(|(path, message)| Problem {
                    path: path.clone(),
                    message: message.clone(),
                    mend: None,
                    retry_at_ms: None,
                })
                .collect(),
            root_hash,
        };
        let pending = self.pending_for_long();
        for path in self.planner.needed.iter().filter(|_| self.config.mode != Mode::SendOnly) {
            let node = self.tree.get(path);
            let value = match &node {
                Some(node) => self.tree.shown(path, node),
                None => Cow::Owned(self.tree.project(path).value),
            };
            status.need_files += u64::from(!matches!(*value, Value::Directory { .. }));
            if let Value::File { content, length, .. } = *value
                && self.tree.record(path).is_none_or(|record| record.content != Content::File(content))
            {
                let is_blocked = self.troubles.contains_key(path) || pending.contains(path);
                status.need_bytes += length;
                status.blocked_bytes += if is_blocked { length } else { 0 };
            }
        }
        status
    }

    /// What the whole tree comes to: counted once, until something changes.
    fn totals(&self) -> Totals {
        if self.tree.has_stale() {
            return self.count_all(); // Changed by now, and not noted by all yet.
        }
        *self.totals.get_or_init(|| self.count_all())
    }

    fn count_all(&self) -> Totals {
        let (mut files, mut bytes, mut conflicts) = (0, 0, 0);
        let mut hasher = blake3::Hasher::new();
        for (path, node) in self.tree.iter() {
            conflicts += u64::from(self.tree.is_shown_copy(path));
            hash_value(&mut hasher, path, &self.tree.shown(path, &node));
            let (of_files, of_bytes) = figures(node.record.as_ref());
            (files, bytes) = (files + of_files, bytes + of_bytes);
        }
        Totals { files, bytes, conflicts, root_hash: ContentHash(*hasher.finalize().as_bytes()) }
    }

    /// How many files and bytes more there are on this disk, or fewer, than the tree has of it: where it differs, and that is
    /// sent to nobody.
    fn local_figures(&self) -> (i64, i64) {
        let differences = self.local_changes.iter().map(|(path, local)| {
            let (here, recorded) = (figures(local.as_ref()), figures(self.tree.record(path).as_ref()));
            (here.0.cast_signed() - recorded.0.cast_signed(), here.1.cast_signed() - recorded.1.cast_signed())
        });
        differences.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// What it is doing: as [`Engine::status`] says, without counting.
    pub fn state(&self) -> State {
        if self.root != RootState::Proved {
            State::Error
        } else if self.paused {
            State::Paused
        } else if !self.observer.is_ready || self.observer.is_scanning() {
            State::Scanning
        } else if self.observer.has_found() || self.is_following() || self.is_hearing_late() {
            State::Syncing
        } else if self.n_held() > 0 {
            State::Held
        } else {
            State::Idle
        }
    }

    /// True where something on the disk may be this engine's own work of before its start, and could not be looked at yet.
    pub fn is_in_doubt(&self, path: &SyncPath) -> bool {
        self.planner.is_doubtful(path)
    }

    /// True while what a remote has said waits because it makes this device do much.
    pub fn is_hearing_late(&self) -> bool {
        !self.paused && self.peers.values().any(super::peer::Peer::has_put_off)
    }

    /// True while this disk is brought to what remotes have said.
    fn is_following(&self) -> bool {
        self.may_change_disk() && (!self.planner.is_idle() || !self.fetcher.is_idle())
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let RootState::Lost(reason) = &self.root {
            problems.push(Problem {
                path: Vec::new(),
                message: reason.clone(),
                mend: None,
                retry_at_ms: None,
            });
        }
        problems.extend(self.told_troubles().map(|(path, (trouble, at))| Problem {
            path: path.as_bytes().to_vec(),
            message: trouble.message.clone(),
            mend: trouble.mend.clone(),
            retry_at_ms: Some(*at),
        }));
        problems.extend(self.refused().map(|(path, refusal)| Problem {
            path: path.as_bytes().to_vec(),
            message: match refusal {
                Refusal::TooLong => "a remote has too many versions of it: not taken in",
                Refusal::Untrue => "a remote speaks of versions that this device never made: not taken in",
                Refusal::Unproved => {
                    "a remote says that what is here was replaced, deleted or moved, and nobody is known to have done so: \
                     not taken in"
                }
                Refusal::TooMuch => {
                    "a remote has announced more than there is memory for: not taken in; restart the server with a \
                     higher --announced-max, or remove that remote"
                }
            }
            .to_owned(),
            mend: None,
            retry_at_ms: None,
        }));
        let pending = self.pending_for_long();
        let damaged = self.damaged.keys().filter(|path| !pending.contains(path));
        problems.extend(damaged.map(|path| Problem {
            path: path.as_bytes().to_vec(),
            message: "its bytes have rotted; it is replaced as soon as the right ones are found".to_owned(),
            mend: None,
            retry_at_ms: None,
        }));
        problems.extend(pending.iter().map(|path| Problem {
            path: path.as_bytes().to_vec(),
            message: self.why_pending(path).to_owned(),
            mend: None,
            retry_at_ms: None,
        }));
        problems
    }

    /// The paths in trouble that are worth a word, and when they are tried again.
    pub(super) fn told_troubles(&self) -> impl Iterator<Item = (&SyncPath, &(Trouble, u64))> {
        self.troubles.iter().filter(|(_, (trouble, _))| trouble.kind != TroubleKind::NotEmpty)
    }

    /// Why bytes do not come that everybody connected lacks.
    fn why_pending(&self, path: &SyncPath) -> &'static str {
        if self.is_damaged(path) {
            return "its bytes have rotted, and no connected member has the right ones; they come when one that has them is back";
        }
        let wanted = self.tree.project(path).value.content();
        if self.fallen_back.get(path).is_some_and(|before| *before == wanted) {
            return "no connected member has its bytes, and the machine stopped before they were on this disk; what is left \
                    of it is not sent: save it again, delete it, or restore a version that `history` lists";
        }
        "no connected member has its bytes; it comes when one that has them is back"
    }

    pub(super) fn is_troubled(&self) -> bool {
        self.root != RootState::Proved
            || self.refused().next().is_some()
            || self.told_troubles().next().is_some()
    }
}

/// How many files and symlinks, and bytes of files, a record stands for.
fn figures(record: Option<&Record>) -> (u64, u64) {
    match record.map(|record| (record.content, record.stat.size)) {
        Some((Content::File(_), size)) => (1, size),
        Some((Content::Symlink(_), _)) => (1, 0),
        Some((Content::Directory | Content::Absent, _)) | None => (0, 0),
    }
}

fn hash_value(hasher: &mut blake3::Hasher, path: &SyncPath, value: &Value) {
    let (kind, mode, mtime) = match value {
        Value::Absent { .. } => return,
        Value::File { mode, mtime, .. } => (1u8, *mode, *mtime),
        Value::Directory { mode } => (2, *mode, Default::default()),
        Value::Symlink { .. } => (3, 0, Default::default()),
    };
    hasher.update(&(path.as_bytes().len() as u64).to_le_bytes());
    hasher.update(path.as_bytes());
    hasher.update(&[kind]);
    hasher.update(&value.content().hash().0);
    hasher.update(&mode.to_le_bytes());
    hasher.update(&mtime.seconds.to_le_bytes());
    hasher.update(&mtime.nanoseconds.to_le_bytes());
}
