//! Moving files and directories to free names, and what else is done to directories.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use file_sync_core::effect::{OpOutcome, TroubleKind};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Record, Seen, Stat};
use file_sync_core::version::Content;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::at::{self, Spot, with_writable};
use crate::metadata::Metadata;
use crate::root::Root;
use crate::scan::{Flow, Listing};
use crate::swap::{Step, rename_trouble};
use crate::trouble::{Refusal, trouble};

impl Root {
    /// Moves a file or symlink to a free name and gives it its metadata.
    pub(crate) fn move_item(
        &self,
        from: &Spot,
        to: &Spot,
        expect: &Record,
        metadata: Option<Metadata>,
    ) -> Step {
        if let Err(refusal) = self.check(from, expect) {
            return refusal.into();
        }
        self.between("checked");
        let (old, new) = ((from.parent.as_fd(), from.name()), (to.parent.as_fd(), to.name()));
        match with_writable(&[old.0, new.0], || at::rename_new(old, new)) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Step::differs(),
            Err(Errno::NOENT) if matches!(at::stat_at(old.0, old.1), Err(Errno::NOENT)) => {
                return Step::differs();
            }
            Err(errno) => return Step::Over(OpOutcome::Trouble(rename_trouble("move it", errno))),
        }
        self.between("moved");
        let Some(seen) = self.came_out(new, expect) else {
            return Step::Over(self.move_back(from, to));
        };
        let Some(metadata) = metadata else {
            return Step::Changed { stat: Some(seen.stat), kept: None };
        };
        match self.give_metadata(to, &seen.stat, expect.content, metadata) {
            Ok(Some(stat)) => Step::Changed { stat: Some(stat), kept: None },
            // A user wrote to it, or renamed it, under its new name: it is that user's from now on, and stays there.
            Ok(None) => Step::differs(),
            Err(trouble) => match self.move_back(from, to) {
                OpOutcome::Differs { rescued: None } => Step::Over(OpOutcome::Trouble(trouble)),
                outcome => Step::Over(outcome),
            },
        }
    }

    /// Moves back what should not have been moved. Where that name is taken, it gets another beside it, or stays.
    fn move_back(&self, from: &Spot, to: &Spot) -> OpOutcome {
        let moved = (to.parent.as_fd(), to.name());
        match self.put_back(moved, from, None) {
            OpOutcome::Trouble(_) => OpOutcome::Differs { rescued: Some(to.path.clone()) },
            outcome => outcome,
        }
    }

    /// Moves a directory to a free name, if it and all below it are exactly as expected.
    pub(crate) fn move_directory(
        &self,
        from: &Spot,
        to: &Spot,
        mode: u16,
        expect: &[(SyncPath, Record)],
    ) -> Step {
        let inode = match self.check_tree(from, expect) {
            Ok(stat) => stat.inode,
            Err(refusal) => return refusal.into(),
        };
        self.between("checked");
        let (old, new) = ((from.parent.as_fd(), from.name()), (to.parent.as_fd(), to.name()));
        let item = match at::open_item(old.0, old.1) {
            Ok(item) => item,
            Err(_) => return Step::differs(),
        };
        // The directory itself is written to as well: its `..` changes.
        match with_writable(&[old.0, new.0, item.as_fd()], || at::rename_new(old, new)) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Step::differs(),
            Err(errno) => return Step::Over(OpOutcome::Trouble(rename_trouble("move the directory", errno))),
        }
        let moved = at::stat_at(new.0, new.1);
        let Some(moved) = moved.ok().filter(|met| met.stat.inode == inode) else {
            return Step::Over(self.move_back(from, to));
        };
        let metadata = Metadata { mode, mtime: None };
        match self.give_metadata(to, &moved.stat, Content::Directory, metadata) {
            Ok(Some(stat)) => Step::Changed { stat: Some(stat), kept: None },
            Ok(None) => Step::differs(),
            Err(trouble) => match self.move_back(from, to) {
                OpOutcome::Differs { rescued: None } => Step::Over(OpOutcome::Trouble(trouble)),
                outcome => Step::Over(outcome),
            },
        }
    }

    /// Compares a whole tree with what is expected; anything more, less or unknown is a difference.
    fn check_tree(&self, top: &Spot, expect: &[(SyncPath, Record)]) -> Result<Stat, Refusal> {
        let mut expected: BTreeMap<&SyncPath, &Record> =
            expect.iter().map(|(path, record)| (path, record)).collect();
        let seen = self.look_at(top.parent.as_fd(), top.name());
        let seen = seen.map_err(Refusal::Trouble)?;
        let is_expected = |path: &SyncPath, seen: &Seen, expected: &mut BTreeMap<&SyncPath, &Record>| {
            expected.remove(path).is_some_and(|record| record.matches(seen))
        };
        let seen = seen.filter(|seen| is_expected(&top.path, seen, &mut expected)).ok_or(Refusal::Differs)?;
        let mut is_same = true;
        self.walk(&top.path, None, &|_| false, &mut |listing: Listing| {
            let is_complete = listing.troubled.is_empty() && listing.other.is_empty();
            let items = listing.result.as_deref().unwrap_or_default();
            let all_expected = items.iter().all(|(path, seen)| is_expected(path, seen, &mut expected));
            is_same = listing.result.is_ok() && is_complete && all_expected;
            if is_same { Flow::Continue } else { Flow::Stop }
        });
        if is_same && expected.is_empty() { Ok(seen.stat) } else { Err(Refusal::Differs) }
    }

    /// Gives an item its metadata, if it is what is expected.
    pub(crate) fn set_metadata(&self, spot: &Spot, expect: &Record, metadata: Metadata) -> Step {
        if let Err(refusal) = self.check(spot, expect) {
            return refusal.into();
        }
        self.between("checked");
        match self.give_metadata(spot, &expect.stat, expect.content, metadata) {
            Ok(Some(stat)) => Step::Changed { stat: Some(stat), kept: None },
            Ok(None) => Step::differs(),
            Err(trouble) => Step::Over(OpOutcome::Trouble(trouble)),
        }
    }

    /// Takes an empty directory away.
    pub(crate) fn remove_directory(&self, spot: &Spot, expect: &Record) -> Step {
        if let Err(refusal) = self.check(spot, expect) {
            return refusal.into();
        }
        self.between("checked");
        let parent = spot.parent.as_fd();
        match with_writable(&[parent], || rustix::fs::unlinkat(parent, spot.name(), AtFlags::REMOVEDIR)) {
            Ok(()) => Step::Changed { stat: None, kept: None },
            Err(Errno::NOENT | Errno::NOTDIR) => Step::differs(),
            Err(errno) => {
                let mut trouble = trouble("remove the directory", errno);
                if errno == Errno::EXIST {
                    trouble.kind = TroubleKind::NotEmpty;
                }
                Step::Over(OpOutcome::Trouble(trouble))
            }
        }
    }
}
