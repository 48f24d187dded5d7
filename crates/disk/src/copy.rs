//! Reading, writing and copying whole files: hashed reads in one pass, copies by reference where the file system can
//! and with their holes where it cannot.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use file_sync_core::effect::{Chunk, ChunkList};
use file_sync_core::version::ContentHash;
use rayon::prelude::*;
use rustix::buffer::spare_capacity;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::chunk::Chunker;

/// What is read at once, in bytes.
pub(crate) const BUFFER_BYTES: usize = 4 << 20;

/// What one pass over a file found.
pub(crate) struct Digest {
    pub(crate) content: ContentHash,
    pub(crate) length: u64,
    pub(crate) chunks: Option<ChunkList>,
}

/// Reads a file from its start up to `length` bytes, hashes it, and cuts it into chunks where there is a chunker.
///
/// `buffer` is used again between files; it grows to what the chunker needs. A file that is shorter ends early.
pub(crate) fn digest(
    fd: BorrowedFd<'_>,
    length: u64,
    chunker: Option<Chunker>,
    buffer: &mut Vec<u8>,
) -> Result<Digest, Errno> {
    digest_until(fd, length, chunker, buffer, &AtomicBool::new(false))
}

/// The same, given up with CANCELED once `cancel` is set.
pub(crate) fn digest_until(
    fd: BorrowedFd<'_>,
    length: u64,
    mut chunker: Option<Chunker>,
    buffer: &mut Vec<u8>,
    cancel: &AtomicBool,
) -> Result<Digest, Errno> {
    let bytes_max = chunker.as_ref().map_or(0, Chunker::bytes_max);
    let wanted = BUFFER_BYTES.max(2 * bytes_max).min(usize::try_from(length).unwrap_or(usize::MAX).max(1));
    if buffer.len() < wanted {
        *buffer = vec![0; wanted];
    }
    let mut hasher = blake3::Hasher::new();
    let (mut n_read, mut n_held) = (0, 0);
    while n_read < length {
        if cancel.load(Ordering::Relaxed) {
            return Err(Errno::CANCELED);
        }
        let room = usize::try_from(length - n_read).unwrap_or(usize::MAX).min(buffer.len() - n_held);
        let n_bytes = read_full_at(fd, &mut buffer[n_held..n_held + room], n_read)?;
        n_read += n_bytes as u64;
        let is_end = n_read == length || n_bytes < room;
        let (held, n_fresh) = (&buffer[..n_held + n_bytes], n_bytes);
        let n_cut = take_in(&mut hasher, chunker.as_mut(), held, n_fresh, is_end);
        n_held += n_bytes;
        buffer.copy_within(n_cut..n_held, 0);
        n_held -= n_cut;
        if is_end {
            break;
        }
    }
    let content = ContentHash(*hasher.finalize().as_bytes());
    Ok(Digest { content, length: n_read, chunks: chunker.map(Chunker::finish) })
}

/// Hashes the last `n_fresh` of these bytes, and cuts chunks off their front; returns how many bytes are not wanted any more.
///
/// Of much, the parts that do not depend on each other are done by several threads.
fn take_in(
    hasher: &mut blake3::Hasher,
    chunker: Option<&mut Chunker>,
    bytes: &[u8],
    n_fresh: usize,
    is_end: bool,
) -> usize {
    let is_much = bytes.len() >= BUFFER_BYTES;
    let fresh = &bytes[bytes.len() - n_fresh..];
    let Some(chunker) = chunker else {
        if is_much {
            hasher.update_rayon(fresh)
        } else {
            hasher.update(fresh)
        };
        return bytes.len();
    };
    let front = if is_much {
        rayon::join(|| hasher.update(fresh), || cut_all(chunker, bytes, is_end)).1
    } else {
        hasher.update(fresh);
        cut_all(chunker, bytes, is_end)
    };
    let chunk = |bytes: &&[u8]| Chunk { hash: ContentHash::of(bytes), length: bytes.len() as u32 };
    let chunks: Vec<Chunk> =
        if is_much { front.par_iter().map(chunk).collect() } else { front.iter().map(chunk).collect() };
    chunks.into_iter().for_each(|chunk| chunker.push(chunk));
    front.iter().map(|chunk| chunk.len()).sum()
}

/// The chunks at the front of `bytes`, as long as they do not depend on bytes that are not at hand.
fn cut_all<'a>(chunker: &Chunker, bytes: &'a [u8], is_end: bool) -> Vec<&'a [u8]> {
    let (mut rest, mut front) = (bytes, Vec::new());
    while rest.len() >= chunker.bytes_max() || (is_end && !rest.is_empty()) {
        let (chunk, later) = rest.split_at(chunker.cut(rest));
        front.push(chunk);
        rest = later;
    }
    front
}

/// Reads until the buffer is full or the file ends; returns how many bytes.
pub(crate) fn read_full_at(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut n_read = 0;
    while n_read < buffer.len() {
        match rustix::io::pread(fd, &mut buffer[n_read..], offset + n_read as u64) {
            Ok(0) => break,
            Ok(n_bytes) => n_read += n_bytes,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(n_read)
}

/// Appends so many bytes to a buffer, or as many as there are up to the file's end. Memory that is read into is not made zero
/// before.
pub(crate) fn append_full_at(
    fd: BorrowedFd<'_>,
    n_bytes: usize,
    buffer: &mut Vec<u8>,
    offset: u64,
) -> Result<(), Errno> {
    let (n_before, n_wanted) = (buffer.len(), buffer.len() + n_bytes);
    buffer.reserve_exact(n_bytes);
    while buffer.len() < n_wanted {
        let n_read = (buffer.len() - n_before) as u64;
        match rustix::io::pread(fd, spare_capacity(buffer), offset + n_read) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                buffer.truncate(n_before);
                return Err(errno);
            }
        }
    }
    buffer.truncate(n_wanted);
    Ok(())
}

/// Writes all bytes at an offset.
pub(crate) fn write_all_at(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<(), Errno> {
    let mut n_written = 0;
    while n_written < bytes.len() {
        match rustix::io::pwrite(fd, &bytes[n_written..], offset + n_written as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(n_bytes) => n_written += n_bytes,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Copies a file into an empty one by reference, which takes no space; false where the file system cannot.
pub(crate) fn clone_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

/// Copies a file of this length into an empty one, range by range, leaving holes as holes.
pub(crate) fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: u64) -> Result<(), Errno> {
    rustix::fs::ftruncate(to, length)?;
    let mut offset = 0;
    while offset < length {
        let start = match rustix::fs::seek(from, SeekFrom::Data(offset)) {
            Ok(start) => start,
            // Nothing but a hole is left, or the file has become shorter; whoever asked verifies.
            Err(Errno::NXIO) => return Ok(()),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => offset,
            Err(errno) => return Err(errno),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start)).unwrap_or(length).min(length);
        if end <= start {
            return Ok(());
        }
        copy_range(from, to, start, end)?;
        offset = end;
    }
    Ok(())
}

fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Result<(), Errno> {
    let (mut from_offset, mut to_offset) = (start, start);
    while to_offset < end {
        let room = usize::try_from(end - to_offset).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), room) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                return copy_by_hand(from, to, to_offset, end);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn copy_by_hand(from: BorrowedFd<'_>, to: BorrowedFd<'_>, mut offset: u64, end: u64) -> Result<(), Errno> {
    let mut buffer = vec![0; BUFFER_BYTES];
    while offset < end {
        let room = usize::try_from(end - offset).unwrap_or(usize::MAX).min(buffer.len());
        let n_bytes = read_full_at(from, &mut buffer[..room], offset)?;
        if n_bytes == 0 {
            return Ok(());
        }
        write_all_at(to, &buffer[..n_bytes], offset)?;
        offset += n_bytes as u64;
    }
    Ok(())
}
