//! Which chunks this directory's files have, for not fetching them again.
//!
//! In memory only, built from the database when the first large content is wanted and kept up as contents become known.
//! An entry is a hint: the bytes are read from a file that holds the content at that time, and verified.

use std::collections::HashMap;

use file_sync_core::effect::ChunkList;
use file_sync_core::version::ContentHash;
use file_sync_index::{DirectoryReader, IndexError};

/// Where a chunk is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// In which content.
    pub(super) content: ContentHash,
    /// At which offset, in bytes.
    pub(super) offset: u64,
}

/// Chunk -> place. Eight bytes of the chunk's hash are enough to find it; the bytes are verified when they are read.
#[derive(Debug, Default)]
pub(super) struct ChunkIndex {
    contents: Vec<ContentHash>,
    places: HashMap<u64, (u32, u64)>,
    is_loaded: bool,
}

impl ChunkIndex {
    /// Reads all lists of the database, once.
    ///
    /// # Errors
    /// When the database cannot be read; the index then has what it had.
    pub(super) fn load(&mut self, reader: &DirectoryReader) -> Result<(), IndexError> {
        if !self.is_loaded {
            reader.chunk_lists(|content, list| self.insert(content, &list))?;
            self.is_loaded = true;
        }
        Ok(())
    }

    /// Adds a content, if the index is in use.
    pub(super) fn note(&mut self, content: ContentHash, list: &ChunkList) {
        if self.is_loaded {
            self.insert(content, list);
        }
    }

    /// Where a chunk may be.
    pub(super) fn find(&self, chunk: &ContentHash) -> Option<Place> {
        let (number, offset) = self.places.get(&key(chunk))?;
        let content = *self.contents.get(usize::try_from(*number).ok()?)?;
        Some(Place { content, offset: *offset })
    }

    fn insert(&mut self, content: ContentHash, list: &ChunkList) {
        let Ok(number) = u32::try_from(self.contents.len()) else { return };
        self.contents.push(content);
        let mut offset = 0;
        for chunk in &list.chunks {
            self.places.insert(key(&chunk.hash), (number, offset));
            offset += u64::from(chunk.length);
        }
    }
}

fn key(chunk: &ContentHash) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&chunk.0[..8]);
    u64::from_le_bytes(bytes)
}
