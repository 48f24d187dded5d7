//! One large file being staged, piece by piece, in any order and by several threads.
//!
//! Blocks of 64 KiB that are all zero become holes, so a sparse file arrives sparse. Pieces begin and end anywhere, so
//! the part of a block that a piece holds counts by itself. The file is worth nothing until [`StageFile::finish`] knows
//! what all of it hashes to: most pieces are hashed when they are written, the rest is read back (`pieces.rs`).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use file_sync_core::effect::Trouble;
use file_sync_core::version::ContentHash;
use rustix::fs::{FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::at;
use crate::copy::{read_full_at, write_all_at};
use crate::pieces::{Pieces, subtrees_of};
use crate::stage::Stage;
use crate::trouble::{other, trouble};

/// Zero blocks of this size, and aligned to it, are not written.
const HOLE_BYTES: u64 = 64 << 10;
/// Nor are zero parts of them, at a piece's ends, down to this size; less would hardly free a block of the disk.
const PART_BYTES_MIN: usize = 4 << 10;

/// A file in the stage that is not whole yet (`HASH.part`). Dropping it leaves the pieces for another time.
#[derive(Debug)]
pub struct StageFile {
    stage: Arc<Stage>,
    fd: OwnedFd,
    content: ContentHash,
    length: u64,
    pieces: Mutex<Pieces>,
}

impl StageFile {
    pub(crate) fn open(stage: Arc<Stage>, content: ContentHash, length: u64) -> Result<StageFile, Trouble> {
        let name = format!("{content}.part");
        let (fd, stat) = open_part(&stage, &name).map_err(|errno| trouble("stage the file", errno))?;
        let present = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        let fits = stage.check_space(length.saturating_sub(present)).and_then(|()| {
            rustix::fs::ftruncate(&fd, length).map_err(|errno| trouble("stage the file", errno))
        });
        if let Err(trouble) = fits {
            if present == 0 {
                let _ = stage.unlink(&name);
            }
            return Err(trouble);
        }
        Ok(StageFile { stage, fd, content, length, pieces: Mutex::new(Pieces::new(length)) })
    }

    /// True if an earlier attempt has left bytes in it.
    ///
    /// # Errors
    /// The system's word.
    pub fn has_bytes(&self) -> Result<bool, Trouble> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|errno| trouble("stage the file", errno))?;
        Ok(stat.st_blocks > 0)
    }

    /// Writes bytes at an offset.
    ///
    /// # Errors
    /// When they reach beyond the length, or there is no space: what was written stays.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Trouble> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(other("cannot stage the file: a piece reaches beyond its announced length"));
        }
        self.pieces().begin(offset, bytes.len());
        self.write_pieces(offset, bytes).map_err(|errno| trouble("stage the file", errno))?;
        let subtrees = subtrees_of(self.length, offset, bytes); // Hashed while others may write.
        self.pieces().add(subtrees);
        Ok(())
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes runs of blocks that hold something, and makes holes of those that do not.
    fn write_pieces(&self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let is_hole = hole(offset, bytes).is_some();
            let mut n_bytes = 0;
            while n_bytes < bytes.len() {
                let rest = &bytes[n_bytes..];
                let hole = hole(offset + n_bytes as u64, rest);
                if hole.is_some() != is_hole {
                    break;
                }
                n_bytes += hole.unwrap_or_else(|| block_rest(offset + n_bytes as u64, rest.len()));
            }
            if !is_hole || self.punch(offset, n_bytes as u64).is_err() {
                write_all_at(self.fd.as_fd(), &bytes[..n_bytes], offset)?;
            }
            offset += n_bytes as u64;
            bytes = &bytes[n_bytes..];
        }
        Ok(())
    }

    /// Makes a range zero without taking space, whatever was staged there before.
    fn punch(&self, offset: u64, length: u64) -> Result<(), Errno> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.fd, flags, offset, length)
    }

    /// Reads what is staged at an offset; what was never written is zero. Returns how many bytes there were.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Trouble> {
        read_full_at(self.fd.as_fd(), buffer, offset).map_err(|errno| trouble("read the staged file", errno))
    }

    /// Finds out what it is and, if it is the announced content, stages it as whole; false if it is not: it is then removed.
    /// Read back is what no piece has told. It is made durable through the descriptor that all of it was written through: what
    /// the system could not write it tells such a one alone.
    ///
    /// # Errors
    /// When it cannot be read or renamed; or not be made durable: it is then removed.
    pub fn finish(self) -> Result<bool, Trouble> {
        let fail = |errno| trouble("finish the staged file", errno);
        let (part, name) = (format!("{}.part", self.content), self.content.to_string());
        if let Err(errno) = rustix::fs::fdatasync(&self.fd) {
            self.stage.unlink(&part).map_err(fail)?;
            return Err(fail(errno));
        }
        let found = self.pieces().finish(self.fd.as_fd()).map_err(fail)?;
        let size = at::stat_fd(self.fd.as_fd()).map_err(fail)?.stat.size;
        if found != Some(self.content) || size != self.length {
            self.stage.unlink(&part).map_err(fail)?;
            return Ok(false);
        }
        let mut whole = self.stage.whole();
        if whole.contains(&self.content) {
            return self.stage.unlink(&part).map(|()| true).map_err(fail);
        }
        rustix::fs::renameat(self.stage.fd(), part.as_str(), self.stage.fd(), name.as_str()).map_err(fail)?;
        whole.insert(self.content);
        Ok(true)
    }
}

/// Opens what was staged of a file before, or else makes it. What is no file of the stage's own alone was put there by
/// somebody (a link to a file elsewhere, a FIFO), and makes way.
fn open_part(stage: &Stage, name: &str) -> Result<(OwnedFd, rustix::fs::Stat), Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(stage.fd(), name, flags, Mode::empty()) {
        Ok(fd) => {
            let stat = rustix::fs::fstat(&fd)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1 {
                return Ok((fd, stat));
            }
        }
        Err(Errno::NOENT | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {}
        Err(errno) => return Err(errno),
    }
    stage.unlink(name)?;
    let fd = stage.create(name)?;
    let stat = rustix::fs::fstat(&fd)?;
    Ok((fd, stat))
}

/// The length of the zero block, or part of one, that starts here, if one does.
fn hole(offset: u64, bytes: &[u8]) -> Option<usize> {
    let n_bytes = block_rest(offset, bytes.len());
    (n_bytes >= PART_BYTES_MIN && is_zero(&bytes[..n_bytes])).then_some(n_bytes)
}

/// How many of so many bytes there are up to the next block.
fn block_rest(offset: u64, n_bytes: usize) -> usize {
    usize::try_from(HOLE_BYTES - offset % HOLE_BYTES).map_or(n_bytes, |rest| rest.min(n_bytes))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
