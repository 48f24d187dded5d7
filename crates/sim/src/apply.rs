//! Carrying out the engine's changes on a simulated disk, as `core::effect` says it is done.

#![expect(clippy::result_large_err, reason = "outcomes are made by the dozen here, and looked at once")]

use std::collections::VecDeque;

use file_sync_core::effect::{Kept, Op, OpOutcome, Source, Trouble, TroubleKind};
use file_sync_core::path::SyncPath;
use file_sync_core::record::Record;
use file_sync_core::version::{ContentHash, Time};

use crate::disk::{Body, Disk};

/// The bytes that an op is going to place, or why they are not to be had.
pub(crate) type Prepared = Result<Option<Vec<u8>>, OpOutcome>;

impl Disk {
    /// Gets the bytes for all ops of a batch.
    pub(crate) fn prepare_all(&mut self, ops: &VecDeque<Op>) -> VecDeque<Prepared> {
        ops.iter().map(|op| self.prepare(op)).collect()
    }

    /// Gets the bytes for an op, before any op of its batch is carried out.
    fn prepare(&mut self, op: &Op) -> Prepared {
        if self.is_full && matches!(op, Op::Place { .. } | Op::PlaceSymlink { .. } | Op::MakeDirectory { .. })
        {
            return Err(trouble(TroubleKind::NoSpace, "no space left"));
        }
        let Op::Place { content, source, .. } = op else { return Ok(None) };
        let bytes = match source {
            Source::Staged { .. } => self.stage.get(content).cloned(),
            Source::Local { path } => self.items.get(path).and_then(|item| bytes_of(&item.body)),
            Source::Kept { name } => self.kept.get(name).and_then(|item| bytes_of(&item.body)),
        };
        bytes.filter(|bytes| ContentHash::of(bytes) == *content).map(Some).ok_or(OpOutcome::NoSource)
    }

    /// Carries out one op.
    pub(crate) fn carry_out(&mut self, op: &Op, prepared: Prepared, wall: Time) -> OpOutcome {
        match prepared.and_then(|bytes| self.try_op(op, bytes, wall)) {
            Ok(outcome) | Err(outcome) => outcome,
        }
    }

    fn try_op(&mut self, op: &Op, bytes: Option<Vec<u8>>, wall: Time) -> Result<OpOutcome, OpOutcome> {
        match op {
            Op::MakeDirectory { path, mode } => {
                self.check_free(path)?;
                self.create(path, Body::Directory, *mode, wall);
                Ok(self.done(path, None))
            }
            Op::Place { path, content, source, mode, mtime, expect } => {
                let kept = self.make_room(path, expect.as_ref(), wall)?;
                let mtime = self.stored(*mtime);
                let item = self.create(path, Body::File(bytes.unwrap_or_default()), *mode, wall);
                item.mtime = mtime;
                if matches!(source, Source::Staged { consume: true }) {
                    self.stage.remove(content);
                }
                Ok(self.done(path, kept))
            }
            Op::PlaceSymlink { path, target, expect } => {
                let kept = self.make_room(path, expect.as_ref(), wall)?;
                self.create(path, Body::Symlink(target.clone()), 0o777, wall);
                Ok(self.done(path, kept))
            }
            Op::Move { from, expect, to, metadata } => {
                self.check_expected(from, expect)?;
                self.check_free(to)?;
                self.rename(from, to, wall);
                if let Some((mode, mtime)) = metadata {
                    self.set_metadata(to, *mode, Some(*mtime), wall);
                }
                Ok(self.done(to, None))
            }
            Op::MoveDirectory { from, to, mode, expect } => {
                self.check_tree(from, expect)?;
                self.check_free(to)?;
                self.rename(from, to, wall);
                self.set_metadata(to, *mode, None, wall);
                Ok(self.done(to, None))
            }
            Op::SetMetadata { path, expect, mode, mtime } => {
                self.check_expected(path, expect)?;
                self.set_metadata(path, *mode, *mtime, wall);
                Ok(self.done(path, None))
            }
            Op::Remove { path, expect } => {
                self.check_expected(path, expect)?;
                let kept = self.keep(path, wall);
                Ok(OpOutcome::Done { stat: None, kept: Some(kept) })
            }
            Op::RemoveDirectory { path, expect } => {
                self.check_expected(path, expect)?;
                if !self.children(path).is_empty() {
                    return Err(trouble(TroubleKind::NotEmpty, "remove the directory: it is not empty"));
                }
                self.remove(path);
                Ok(OpOutcome::Done { stat: None, kept: None })
            }
        }
    }

    fn done(&self, path: &SyncPath, kept: Option<Kept>) -> OpOutcome {
        OpOutcome::Done { stat: self.get(path).map(|item| item.stat()), kept }
    }

    fn make_room(
        &mut self,
        path: &SyncPath,
        expect: Option<&Record>,
        wall: Time,
    ) -> Result<Option<Kept>, OpOutcome> {
        match expect {
            None => self.check_free(path).map(|()| None),
            Some(expect) => {
                self.check_expected(path, expect)?;
                Ok(Some(self.keep(path, wall)))
            }
        }
    }

    fn keep(&mut self, path: &SyncPath, wall: Time) -> Kept {
        let item = self.remove(path);
        self.n_kept += 1;
        let name = format!("kept-{}", self.n_kept);
        let content = item.content().expect("only what is synced is displaced");
        let kept = Kept { name: name.clone(), path: path.clone(), content, stat: item.stat(), at: wall };
        self.kept.insert(name, item);
        kept
    }

    fn check_free(&self, path: &SyncPath) -> Result<(), OpOutcome> {
        if !self.has_parent(path) {
            return Err(trouble(TroubleKind::Other, "the directory that it belongs in is not there"));
        }
        if self.items.contains_key(path) { Err(differs()) } else { Ok(()) }
    }

    fn check_expected(&mut self, path: &SyncPath, expect: &Record) -> Result<(), OpOutcome> {
        match self.items.get(path) {
            Some(item) if expect.matches(&item.seen(path)) => {
                if item.content() != Some(expect.content) {
                    self.broken
                        .push(format!("L2: the record of {path} vouches for other bytes than are there"));
                }
                Ok(())
            }
            _ => Err(differs()),
        }
    }

    fn check_tree(&mut self, from: &SyncPath, expect: &[(SyncPath, Record)]) -> Result<(), OpOutcome> {
        if self.below(from).len() + 1 != expect.len() {
            return Err(differs());
        }
        expect.iter().try_for_each(|(path, record)| self.check_expected(path, record))
    }
}

fn bytes_of(body: &Body) -> Option<Vec<u8>> {
    if let Body::File(bytes) = body { Some(bytes.clone()) } else { None }
}

fn differs() -> OpOutcome {
    OpOutcome::Differs { rescued: None }
}

fn trouble(kind: TroubleKind, message: &str) -> OpOutcome {
    OpOutcome::Trouble(Trouble { kind, message: message.to_owned() })
}
