//! The hash of a file that comes in pieces, in any order: what a piece holds is hashed when it is written, and put together
//! as BLAKE3 does it itself ("BLAKE3: one function, fast everywhere", O'Connor et al., 2020, section 2.1), so that nothing
//! has to be read again when the last one is there.
//!
//! Of a piece only whole blocks count. The ends of pieces, what was never written, and all of a file in which something was
//! written twice, are read back: what they hold the file alone knows.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, max_subtree_len, merge_subtrees_non_root,
    merge_subtrees_root,
};
use file_sync_core::version::ContentHash;
use rustix::io::Errno;

use crate::copy::{BUFFER_BYTES, digest, read_full_at};

/// The least that is hashed by itself, but at a file's end, in bytes: what a processor with wide registers hashes at once.
const BLOCK_BYTES: u64 = 16 << 10;

/// So many subtrees are known at once, in some 6 MiB; where there are more, as where every piece ends within a block, those that
/// come then are read back.
const SUBTREES_MAX: usize = 64 << 10;

/// A part of the file that is a subtree of its hash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subtree {
    /// Where it begins, in bytes.
    offset: u64,
    /// A power of two of blocks, or the rest of a block at the file's end, in bytes.
    length: u64,
    value: ChainingValue,
}

/// What is known of the pieces of one file. It takes memory for each that has no neighbours yet, up to a limit.
#[derive(Debug)]
pub(crate) struct Pieces {
    length: u64,
    /// From where to where something was written.
    written: BTreeMap<u64, u64>,
    is_written_twice: bool,
    /// By where they begin; two halves of one are one.
    subtrees: BTreeMap<u64, Subtree>,
}

impl Pieces {
    /// None yet, of a file of so many bytes.
    pub(crate) fn new(length: u64) -> Pieces {
        Pieces { length, written: BTreeMap::new(), is_written_twice: false, subtrees: BTreeMap::new() }
    }

    /// Hears that something is about to be written there.
    pub(crate) fn begin(&mut self, offset: u64, n_bytes: usize) {
        let (mut start, mut end) = (offset, offset + n_bytes as u64);
        if start == end || self.is_written_twice {
            return;
        }
        let before = self.written.range(..end).next_back().map(|(start, end)| (*start, *end));
        if let Some((before_start, before_end)) = before {
            if before_end > start {
                self.is_written_twice = true;
                self.written.clear();
                self.subtrees.clear();
                return;
            }
            if before_end == start {
                start = before_start;
            }
        }
        if let Some(after_end) = self.written.remove(&end) {
            end = after_end;
        }
        self.written.insert(start, end);
    }

    /// Takes what a piece comes to, once that is written.
    pub(crate) fn add(&mut self, subtrees: Vec<Subtree>) {
        if self.is_written_twice {
            return;
        }
        for mut subtree in subtrees {
            while let Some(sibling) = self.take_sibling(&subtree) {
                let (left, right) =
                    if sibling.offset < subtree.offset { (sibling, subtree) } else { (subtree, sibling) };
                let value = merge_subtrees_non_root(&left.value, &right.value, Mode::Hash);
                subtree = Subtree { offset: left.offset, length: 2 * left.length, value };
            }
            if self.subtrees.len() < SUBTREES_MAX {
                self.subtrees.insert(subtree.offset, subtree);
            }
        }
    }

    /// The other half of what this one is a half of, if it is known. Both halves of the file stay what they are: the root is
    /// made otherwise.
    fn take_sibling(&mut self, subtree: &Subtree) -> Option<Subtree> {
        let Subtree { offset, length, .. } = *subtree;
        if length < BLOCK_BYTES || 2 * length >= self.length {
            return None;
        }
        let sibling = self.subtrees.get(&(offset ^ length)).filter(|sibling| sibling.length == length)?;
        let offset = sibling.offset;
        self.subtrees.remove(&offset)
    }

    /// What the file is that these pieces are in, all of which is read that they do not tell; none if it is too short.
    pub(crate) fn finish(&self, fd: BorrowedFd<'_>) -> Result<Option<ContentHash>, Errno> {
        if self.subtrees.is_empty() {
            let all = digest(fd, self.length, None, &mut Vec::new())?;
            return Ok((all.length == self.length).then_some(all.content));
        }
        let mut buffer = Vec::new();
        let n_left = left_subtree_len(self.length);
        let Some(left) = self.value(fd, 0, n_left, &mut buffer)? else { return Ok(None) };
        let Some(right) = self.value(fd, n_left, self.length - n_left, &mut buffer)? else { return Ok(None) };
        Ok(Some(ContentHash(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())))
    }

    /// The value of a subtree of the file; none if the file ends before it does.
    fn value(
        &self,
        fd: BorrowedFd<'_>,
        offset: u64,
        length: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<ChainingValue>, Errno> {
        let known = self.subtrees.range(offset..offset + length).next().map(|(_, known)| known);
        match known {
            Some(known) if (known.offset, known.length) == (offset, length) => Ok(Some(known.value)),
            Some(_) if length > BLOCK_BYTES => {
                let n_left = left_subtree_len(length);
                let left = self.value(fd, offset, n_left, buffer)?;
                let right = self.value(fd, offset + n_left, length - n_left, buffer)?;
                let both = left.zip(right);
                Ok(both.map(|(left, right)| merge_subtrees_non_root(&left, &right, Mode::Hash)))
            }
            _ => read_back(fd, offset, length, buffer),
        }
    }
}

/// Reads a subtree and hashes it; none if the file ends before it does.
fn read_back(
    fd: BorrowedFd<'_>,
    offset: u64,
    length: u64,
    buffer: &mut Vec<u8>,
) -> Result<Option<ChainingValue>, Errno> {
    let n_bytes_max = usize::try_from(length).unwrap_or(usize::MAX).min(BUFFER_BYTES);
    if buffer.len() < n_bytes_max {
        buffer.resize(n_bytes_max, 0);
    }
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    let mut n_read = 0;
    while n_read < length {
        let room = usize::try_from(length - n_read).unwrap_or(usize::MAX).min(n_bytes_max);
        if read_full_at(fd, &mut buffer[..room], offset + n_read)? < room {
            return Ok(None);
        }
        if room == BUFFER_BYTES {
            hasher.update_rayon(&buffer[..room]);
        } else {
            hasher.update(&buffer[..room]);
        }
        n_read += room as u64;
    }
    Ok(Some(hasher.finalize_non_root()))
}

/// What a piece of a file of `length` bytes comes to: its whole blocks, as few subtrees as hold them.
pub(crate) fn subtrees_of(length: u64, offset: u64, bytes: &[u8]) -> Vec<Subtree> {
    let end = offset + bytes.len() as u64;
    let (mut from, mut subtrees) = (offset.next_multiple_of(BLOCK_BYTES), Vec::new());
    while from < end {
        let n_blocks = (end - from) / BLOCK_BYTES;
        let n_bytes = match n_blocks.checked_ilog2() {
            Some(power) => (BLOCK_BYTES << power).min(max_subtree_len(from).unwrap_or(u64::MAX)),
            None if end == length => end - from,
            None => break,
        };
        if n_bytes == length {
            break; // The root is no subtree.
        }
        let start = usize::try_from(from - offset).expect("it is in the piece");
        let stop = usize::try_from(from - offset + n_bytes).expect("it is in the piece");
        let value = Hasher::new().set_input_offset(from).update(&bytes[start..stop]).finalize_non_root();
        subtrees.push(Subtree { offset: from, length: n_bytes, value });
        from += n_bytes;
    }
    subtrees
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks that have no neighbours, as where each piece ends within a block.
    #[test]
    fn h3_the_memory_of_pieces_is_bounded_however_they_are_cut() {
        let mut pieces = Pieces::new(1 << 50);
        for number in 0..2 * SUBTREES_MAX as u64 {
            let offset = 2 * BLOCK_BYTES * number;
            pieces.begin(offset, BLOCK_BYTES as usize);
            pieces.add(vec![Subtree { offset, length: BLOCK_BYTES, value: [7; 32] }]);
        }
        assert_eq!(pieces.subtrees.len(), SUBTREES_MAX);
    }
}
