//! Giving an item its mode and modification time, through a descriptor that only takes hold of it.
//!
//! A write that comes between the check and the new time would be hidden by that time; so where a time was set, the
//! bytes are read and compared. What turns out to be written meanwhile gets the present as its time, and is reported
//! as different.

use std::os::fd::{AsFd, BorrowedFd};

use file_sync_core::effect::Trouble;
use file_sync_core::record::Stat;
use file_sync_core::version::{Content, Time};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::at::{self, Met};
use crate::keep::hash_all;
use crate::prepare::timestamps;
use crate::root::Root;
use crate::swap::Out;
use crate::trouble::trouble;

/// What an item is to be given.
#[derive(Clone, Copy)]
pub(crate) struct Metadata {
    pub(crate) mode: u16,
    pub(crate) mtime: Option<Time>,
}

impl Root {
    /// Gives a file or directory its metadata, if it is still what `known` says (but for its change time).
    ///
    /// Returns its stat afterwards, or none if it is, or has meanwhile become, something else.
    pub(crate) fn give_metadata(
        &self,
        place: Out<'_>,
        known: &Stat,
        content: Content,
        metadata: Metadata,
    ) -> Result<Option<Stat>, Trouble> {
        let fail = |errno| trouble("set mode and time", errno);
        let item = match at::open_item(place.0, place.1) {
            Ok(item) => item,
            Err(errno) if at::is_absence(errno) => return Ok(None),
            Err(errno) => return Err(fail(errno)),
        };
        let before = at::stat_fd(item.as_fd()).map_err(fail)?;
        if !is_known(&before, known, content) {
            return Ok(None);
        }
        self.between("known");
        self.change_metadata(item.as_fd(), &before, content, metadata).map_err(|errno| {
            // What it was to be given must not be taken for its user's. Best effort: whatever failed may fail again.
            let met = at::stat_fd(item.as_fd());
            if met.is_err() || met.as_ref().is_ok_and(|met| met.mode_bits != before.mode_bits) {
                let _ = at::chmod_fd(item.as_fd(), before.mode_bits);
            }
            if met.is_err() || met.is_ok_and(|met| met.stat.mtime != before.stat.mtime) {
                let _ = set_time(item.as_fd(), &timestamps(before.stat.mtime));
            }
            fail(errno)
        })
    }

    fn change_metadata(
        &self,
        item: BorrowedFd<'_>,
        before: &Met,
        content: Content,
        metadata: Metadata,
    ) -> Result<Option<Stat>, Errno> {
        let new_time = metadata.mtime.filter(|mtime| *mtime != before.stat.mtime);
        if let Some(mtime) = new_time {
            set_time(item, &timestamps(mtime))?;
            if !is_content(item, content)? {
                set_time(item, &present())?;
                return Ok(None);
            }
        }
        let timed = at::stat_fd(item)?;
        let mode_bits = before.mode_bits & 0o7000 | metadata.mode & 0o777;
        if mode_bits != before.mode_bits {
            at::chmod_fd(item, mode_bits)?;
        }
        let after = at::stat_fd(item)?.stat;
        let is_same = (after.size, after.mtime) == (before.stat.size, timed.stat.mtime);
        let is_as_set = new_time.is_some() || after.mtime == before.stat.mtime;
        let is_directory = content == Content::Directory;
        Ok((is_directory || is_same && is_as_set).then_some(after))
    }
}

/// True if an item is the one known. A directory's size and times change with what is in it.
fn is_known(met: &Met, known: &Stat, content: Content) -> bool {
    match content {
        Content::Directory => met.file_type == rustix::fs::FileType::Directory && met.stat.mode == known.mode,
        Content::File(_) => {
            met.file_type == rustix::fs::FileType::RegularFile
                && Stat { ctime: met.stat.ctime, ..*known } == met.stat
        }
        Content::Symlink(_) | Content::Absent => false,
    }
}

/// True if an open item has these bytes. One that may not be read is believed: nobody else's permission is at stake.
pub(crate) fn is_content(item: BorrowedFd<'_>, content: Content) -> Result<bool, Errno> {
    let Content::File(expected) = content else { return Ok(true) };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open(at::proc_path(item), flags, Mode::empty()) {
        Ok(fd) => Ok(hash_all(fd.as_fd())? == expected),
        Err(Errno::ACCESS | Errno::PERM) => Ok(true),
        Err(errno) => Err(errno),
    }
}

fn set_time(item: BorrowedFd<'_>, times: &Timestamps) -> Result<(), Errno> {
    rustix::fs::utimensat(item, c"", times, AtFlags::EMPTY_PATH)
}

fn present() -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
    }
}
