//! Dividing content into chunks by content: FastCDC v2020 ("The Design of Fast Content-Defined Chunking for Data
//! Deduplication Based Storage Systems", Xia et al., 2020), over a buffer of our own.
//!
//! The average grows with the file, so that a list has at most a few thousand chunks; lists with different averages
//! share few chunks, so the average is part of a list.

use fastcdc::v2020::{Normalization, cut, select_masks};
use file_sync_core::effect::{Chunk, ChunkList};

/// Files up to this many bytes are one chunk and have no list.
pub(crate) const SINGLE_BYTES_MAX: u64 = 64 << 10;

/// The smallest and largest average, in bytes.
const AVERAGE_BYTES: std::ops::RangeInclusive<u32> = 1 << 10..=4 << 20;

/// The average chunk size in bytes for a file of this length: 64 KiB up to 128 MiB, 512 KiB up to 2 GiB, else 4 MiB.
pub fn average_bytes(length: u64) -> u32 {
    match length {
        0..=0x0800_0000 => 64 << 10,
        0x0800_0001..=0x8000_0000 => 512 << 10,
        _ => 4 << 20,
    }
}

/// Cuts a stream of bytes into chunks, between half and four times the average.
pub(crate) struct Chunker {
    list: ChunkList,
    bytes_min: usize,
    bytes_max: usize,
    mask_small: u64,
    mask_large: u64,
}

impl Chunker {
    /// One for this average, which is brought into the supported range and made even.
    pub(crate) fn new(average_bytes: u32) -> Chunker {
        let average = average_bytes.clamp(*AVERAGE_BYTES.start(), *AVERAGE_BYTES.end()) & !3;
        let (mask_small, mask_large) = select_masks(average as usize, Normalization::Level1);
        Chunker {
            bytes_min: average as usize / 2,
            bytes_max: average as usize * 4,
            mask_small,
            mask_large,
            list: ChunkList { average_bytes: average, chunks: Vec::new() },
        }
    }

    /// Longest chunk, in bytes: as many must be at hand for a cut, or all that is left.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The length of the chunk at the front of `bytes`, which are not empty. It is to be pushed, too.
    pub(crate) fn cut(&self, bytes: &[u8]) -> usize {
        let average = self.list.average_bytes as usize;
        let (small, large) = (self.mask_small, self.mask_large);
        let (_, length) =
            cut(bytes, self.bytes_min, average, self.bytes_max, small, large, small << 1, large << 1);
        length
    }

    /// Adds the next chunk.
    pub(crate) fn push(&mut self, chunk: Chunk) {
        self.list.chunks.push(chunk);
    }

    /// All chunks cut.
    pub(crate) fn finish(self) -> ChunkList {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use file_sync_core::version::ContentHash;

    use super::*;

    #[test]
    fn the_average_grows_with_the_file() {
        assert_eq!(average_bytes(0), 64 << 10);
        assert_eq!(average_bytes(128 << 20), 64 << 10);
        assert_eq!(average_bytes((128 << 20) + 1), 512 << 10);
        assert_eq!(average_bytes(2 << 30), 512 << 10);
        assert_eq!(average_bytes((2 << 30) + 1), 4 << 20);
    }

    #[test]
    fn h3_no_average_makes_the_chunker_panic() {
        for average in [0, 1, 3, 65_537, 4 << 20, u32::MAX] {
            let mut chunker = Chunker::new(average);
            let bytes = vec![7; 20 << 20];
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (front, back) = rest.split_at(chunker.cut(rest));
                chunker.push(Chunk { hash: ContentHash::of(front), length: front.len() as u32 });
                rest = back;
            }
            let total: u64 = chunker.finish().chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
            assert_eq!(total, bytes.len() as u64);
        }
    }
}
