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
use crate::swap::{Out, Step, rename_trouble};
use crate::trouble::{Refusal, trouble};

impl Root {
    /// Moves a file or symlink to a free name and gives it its metadata.
    ///
    /// It goes by way of the store of kept versions, where nobody else puts anything: what is looked at there is what was
    /// taken, and what a user puts at the new name a moment later is that user's.
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
        // Not taken at all where it cannot go: what is put back has another change time.
        if at::stat_at(to.parent.as_fd(), to.name()).is_ok() {
            return Step::differs();
        }
        self.between("checked");
        let name = self.kept_name(from, expect);
        let out = (self.kept(), name.as_bytes());
        let (old, new) = ((from.parent.as_fd(), from.name()), (to.parent.as_fd(), to.name()));
        match with_writable(&[old.0], || at::rename_new(old, out)) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Step::differs(),
            Err(errno) => return Step::Over(OpOutcome::Trouble(rename_trouble("move it", errno))),
        }
        self.between("moved");
        let given = match (self.came_out(out, expect), metadata) {
            (Some(seen), None) => Ok(Some(seen.stat)),
            (Some(seen), Some(metadata)) => self.give_metadata(out, &seen.stat, expect.content, metadata),
            (None, _) => Ok(None),
        };
        let stat = match given {
            Ok(Some(stat)) => stat,
            Ok(None) => return self.put_back(out, from, None),
            Err(trouble) => return self.give_back(out, from, OpOutcome::Trouble(trouble)),
        };
        self.between("given");
        match with_writable(&[new.0], || at::rename_new(out, new)) {
            Ok(()) => Step::Changed { stat: Some(moved_stat(new, stat)), kept: None },
            Err(errno) => {
                if metadata.is_some() {
                    // What it was to be given at its new name it must not show at the old one. Best effort.
                    let before = Metadata { mode: expect.stat.mode, mtime: Some(expect.stat.mtime) };
                    let _ = self.give_metadata(out, &stat, expect.content, before);
                }
                if errno == Errno::EXIST {
                    return self.put_back(out, from, None);
                }
                self.give_back(out, from, OpOutcome::Trouble(rename_trouble("move it", errno)))
            }
        }
    }

    /// Puts back what was taken from a name; what stopped the op is its outcome, unless that name was taken meanwhile.
    fn give_back(&self, out: Out<'_>, from: &Spot, outcome: OpOutcome) -> Step {
        match self.put_back(out, from, None) {
            Step::Over(OpOutcome::Differs { rescued: None }) => Step::Over(outcome),
            other => other,
        }
    }

    /// Moves back what should not have been moved. Where that name is taken, it gets another beside it, or stays.
    fn move_back(&self, from: &Spot, to: &Spot) -> Step {
        let moved = (to.parent.as_fd(), to.name());
        match self.put_back(moved, from, None) {
            Step::Stranded(_) => Step::Over(OpOutcome::Differs { rescued: Some(to.path.clone()) }),
            step => step,
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
            return self.move_back(from, to);
        };
        let metadata = Metadata { mode, mtime: None };
        match self.give_metadata(new, &moved.stat, Content::Directory, metadata) {
            Ok(Some(stat)) => Step::Changed { stat: Some(stat), kept: None },
            Ok(None) => Step::differs(),
            Err(trouble) => match self.move_back(from, to) {
                Step::Over(OpOutcome::Differs { rescued: None }) => Step::Over(OpOutcome::Trouble(trouble)),
                step => step,
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
        match self.give_metadata((spot.parent.as_fd(), spot.name()), &expect.stat, expect.content, metadata) {
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

/// The stat of what has just been moved to a name; if something else is there already, one that it does not match.
fn moved_stat(place: Out<'_>, known: Stat) -> Stat {
    match at::stat_at(place.0, place.1) {
        Ok(met) if Stat { ctime: known.ctime, ..met.stat } == known => met.stat,
        _ => known,
    }
}
