//! The first part of an op that puts something on the disk: making it, whole and with its metadata, in the stage.
//!
//! What comes out has no name that a user sees. Bytes that were copied are read back and verified; a mode is set
//! before there is a name that it could be opened by.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use file_sync_core::effect::{Op, Source, Trouble, TroubleKind};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Stat};
use file_sync_core::version::{ContentHash, Time};
use rustix::fs::{Mode, Timespec, Timestamps};
use rustix::io::Errno;

use crate::at::{self, Met};
use crate::copy::{clone_file, copy_file, digest};
use crate::hash::open_regular;
use crate::root::Root;
use crate::trouble::{Refusal, trouble};

/// Something made in the stage, waiting for its place.
pub(crate) struct Prepared {
    /// Its name in the stage.
    pub(crate) name: String,
    /// Its stat there.
    pub(crate) stat: Stat,
    /// The staged content that it was, to be given back if it is not placed.
    pub(crate) claimed: Option<ContentHash>,
}

impl Prepared {
    /// True if an item is this one, unchanged but for what a rename changes.
    pub(crate) fn is(&self, met: &Met) -> bool {
        self.is_inode(met) && is_same_but_renamed(&self.stat, &met.stat)
    }

    /// True if an item is this one, whatever has been written into it.
    pub(crate) fn is_inode(&self, met: &Met) -> bool {
        (met.stat.device, met.stat.inode) == (self.stat.device, self.stat.inode)
    }
}

/// True if two stats differ in nothing but the change time.
pub(crate) fn is_same_but_renamed(one: &Stat, two: &Stat) -> bool {
    Stat { ctime: two.ctime, ..*one } == *two
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        Refusal::Trouble(trouble("stage the file", errno))
    }
}

/// What an op puts at its path and gives a file.
struct Making<'a> {
    content: ContentHash,
    source: &'a Source,
    mode: u16,
    mtime: Time,
}

impl Root {
    /// Makes what the op will put in place, if it is of that sort. With `sync`, it is durable afterwards.
    pub(crate) fn prepare(&self, op: &Op, sync: bool) -> Result<Option<Prepared>, Refusal> {
        let prepared = match op {
            Op::Place { content, source, mode, mtime, .. } => {
                self.prepare_file(&Making { content: *content, source, mode: *mode, mtime: *mtime }, sync)
            }
            Op::PlaceSymlink { target, copy, .. } => {
                if let Some(copy) = copy {
                    self.expect_symlink(copy, target)?;
                }
                self.prepare_symlink(target)
            }
            Op::MakeDirectory { mode, mtime, .. } => self.prepare_directory(*mode, *mtime, sync),
            _ => return Ok(None),
        };
        prepared.map(Some)
    }

    /// Takes away what was not placed; a staged content is staged again.
    pub(crate) fn unprepare(&self, prepared: &Prepared) {
        match prepared.claimed {
            Some(content) => self.stage().give_back(content, &prepared.name),
            None => drop(self.stage().unlink(&prepared.name)),
        }
    }

    /// Takes away what could not be made durable. The system may have thrown away what it could not write, and says so once:
    /// whoever opens the file next is told that all is well.
    pub(crate) fn discard_prepared(&self, prepared: &Prepared) {
        if let Err(errno) = self.stage().unlink(&prepared.name) {
            tracing::warn!(%errno, name = prepared.name, "cannot remove a staged file");
        }
    }

    fn prepare_file(&self, making: &Making<'_>, sync: bool) -> Result<Prepared, Refusal> {
        let (name, claimed) = match making.source {
            Source::Staged { consume: true } => {
                let name = self.stage().claim(making.content, &self.unique_name())?;
                (name.ok_or(Refusal::NoSource)?, Some(making.content))
            }
            Source::Staged { consume: false } => {
                if !self.staged(making.content) {
                    return Err(Refusal::NoSource);
                }
                let from = at::open_file(self.stage().fd(), making.content.to_string().as_bytes())?;
                (self.copy_to_stage(from.as_fd(), making.content)?, None)
            }
            Source::Local { path } => {
                let (from, _) = open_regular(self, path).map_err(source_error)?;
                (self.copy_to_stage(from.as_fd(), making.content)?, None)
            }
            Source::Kept { name } => {
                let from = self.open_kept(name).map_err(source_error)?;
                (self.copy_to_stage(from.as_fd(), making.content)?, None)
            }
        };
        let not_placed = |name: String| Prepared { name, stat: self.met().stat, claimed };
        let fd = match self.finish_file(&name, making) {
            Ok(fd) => fd,
            // Somebody has emptied the stage; so it is not staged any more either.
            Err(Errno::NOENT) => return Err(Refusal::NoSource),
            Err(errno) => {
                self.unprepare(&not_placed(name));
                return Err(errno.into());
            }
        };
        let synced = if sync { rustix::fs::fsync(&fd) } else { Ok(()) };
        match synced.and_then(|()| at::stat_fd(fd.as_fd())) {
            Ok(met) => Ok(Prepared { name, stat: met.stat, claimed }),
            Err(errno) => {
                self.discard_prepared(&not_placed(name));
                Err(errno.into())
            }
        }
    }

    /// Gives a file in the stage its metadata.
    fn finish_file(&self, name: &str, making: &Making<'_>) -> Result<OwnedFd, Errno> {
        let item = at::open_item(self.stage().fd(), name.as_bytes())?;
        // A file that was staged before may have been given a mode by an earlier attempt that forbids to open it.
        at::chmod_fd(item.as_fd(), 0o600)?;
        let fd = at::open_file(self.stage().fd(), name.as_bytes())?;
        rustix::fs::futimens(&fd, &timestamps(making.mtime))?;
        rustix::fs::fchmod(&fd, Mode::from_bits_truncate(u32::from(making.mode & 0o777)))?;
        Ok(fd)
    }

    /// Copies a file into the stage and verifies the copy; returns its name.
    fn copy_to_stage(&self, from: BorrowedFd<'_>, content: ContentHash) -> Result<String, Refusal> {
        let length = at::stat_fd(from)?.stat.size;
        let (name, to) = self.create_in_stage()?;
        let copied = self.copy_bytes(from, to.as_fd(), length).and_then(|()| {
            let length = at::stat_fd(to.as_fd())?.stat.size;
            Ok(digest(to.as_fd(), length, None, &mut Vec::new())?.content)
        });
        let refusal = match copied {
            Ok(copied) if copied == content => return Ok(name),
            Ok(_) => Refusal::NoSource,
            Err(refusal) => refusal,
        };
        let _ = self.stage().unlink(&name);
        Err(refusal)
    }

    /// Copies by reference, else, where there is the space, by bytes.
    fn copy_bytes(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: u64) -> Result<(), Refusal> {
        if clone_file(from, to) {
            return Ok(());
        }
        self.stage().check_space(allocated_bytes(from)?.min(length)).map_err(Refusal::Trouble)?;
        Ok(copy_file(from, to, length)?)
    }

    fn create_in_stage(&self) -> Result<(String, OwnedFd), Errno> {
        loop {
            let name = format!("{}.tmp", self.unique_name());
            match self.stage().create(&name) {
                Err(Errno::EXIST) => {}
                result => return result.map(|fd| (name, fd)),
            }
        }
    }

    fn expect_symlink(&self, path: &SyncPath, target: &[u8]) -> Result<(), Refusal> {
        match self.look(path).map_err(Refusal::Trouble)?.map(|seen| seen.kind) {
            Some(Kind::Symlink(found)) if *found == *target => Ok(()),
            _ => Err(Refusal::NoSource),
        }
    }

    fn prepare_symlink(&self, target: &[u8]) -> Result<Prepared, Refusal> {
        if target.is_empty() || target.contains(&0) {
            let message = "cannot make the symlink: its target is empty or has a NUL byte".to_owned();
            return Err(Refusal::Trouble(Trouble::new(TroubleKind::Unsupported, message)));
        }
        let name = format!("{}.tmp", self.unique_name());
        rustix::fs::symlinkat(target, self.stage().fd(), name.as_str())?;
        let stat = at::stat_at(self.stage().fd(), name.as_str())?.stat;
        Ok(Prepared { name, stat, claimed: None })
    }

    /// Makes a directory. The owner's write permission, without which it could not be moved, is taken once in place.
    fn prepare_directory(&self, mode: u16, mtime: Option<Time>, sync: bool) -> Result<Prepared, Refusal> {
        let name = format!("{}.tmp", self.unique_name());
        rustix::fs::mkdirat(self.stage().fd(), name.as_str(), Mode::from_bits_truncate(0o700))?;
        let item = at::open_item(self.stage().fd(), name.as_bytes())?;
        if let Some(mtime) = mtime {
            let fd = at::open_file(self.stage().fd(), name.as_bytes())?;
            rustix::fs::futimens(&fd, &timestamps(mtime))?;
            if sync {
                rustix::fs::fsync(&fd)?;
            }
        }
        at::chmod_fd(item.as_fd(), mode & 0o777 | 0o200)?;
        let stat = at::stat_fd(item.as_fd())?.stat;
        Ok(Prepared { name, stat, claimed: None })
    }
}

/// The space that a file takes: its holes take none.
fn allocated_bytes(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512))
}

/// A source that is not there, or is something else now, is none; one that cannot be read is trouble.
fn source_error(errno: Errno) -> Refusal {
    match errno {
        errno if at::is_absence(errno) || errno == Errno::NXIO => Refusal::NoSource,
        errno => Refusal::Trouble(trouble("read the source", errno)),
    }
}

/// What `utimensat` is given to set a modification time and leave the access time.
pub(crate) fn timestamps(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: mtime.nanoseconds.min(999_999_999).into(),
        },
    }
}
