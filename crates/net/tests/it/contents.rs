//! Contents to be served, good and bad.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use file_sync_core::effect::{Chunk, ChunkList};
use file_sync_core::version::{ContentHash, DeviceId, DirectoryId};
use file_sync_net::{ContentProvider, ContentReader, FetchError};
use file_sync_wire::kept::{KeptPage, KeptQuestion};

use crate::device::{DIRECTORY, OTHER_DIRECTORY};

/// What becomes of a content that is asked for.
#[derive(Clone)]
pub(crate) enum Body {
    Bytes(Vec<u8>),
    /// So many bytes, each known by its place.
    Pattern(u64),
    /// Cannot be opened.
    Fails(FetchError),
    /// Is shorter than it says.
    CutOff(u64),
    /// Is another after it was read.
    Changing(u64),
    /// Cannot be read from this offset on.
    Unreadable(u64),
    /// The provider has a fault.
    Panics,
    /// Reading waits until the gate is opened.
    Blocks(Arc<Gate>),
}

/// A provider of all kinds of contents.
#[derive(Default)]
pub(crate) struct Contents {
    bodies: Mutex<HashMap<ContentHash, Body>>,
    lists: Mutex<HashMap<ContentHash, (u64, ChunkList)>>,
    /// What is answered to whoever asks what is kept.
    pub(crate) kept: Mutex<Option<KeptPage>>,
    /// Bytes read for remotes.
    pub(crate) read_bytes: Arc<AtomicU64>,
}

impl Contents {
    /// Adds a content, and returns what it is asked for by.
    pub(crate) fn add(&self, body: Body) -> ContentHash {
        let mut bodies = self.bodies.lock().unwrap();
        let content = match &body {
            Body::Bytes(bytes) => ContentHash::of(bytes),
            _ => ContentHash::of(format!("content {}", bodies.len()).as_bytes()),
        };
        bodies.insert(content, body);
        content
    }

    pub(crate) fn add_list(&self, length: u64, n_chunks: usize) -> (ContentHash, ChunkList) {
        let content = self.add(Body::Pattern(length));
        let chunks =
            (0..n_chunks).map(|n| Chunk { hash: ContentHash::of(&n.to_be_bytes()), length: n as u32 + 1 });
        let list = ChunkList { average_bytes: 65536, chunks: chunks.collect() };
        self.lists.lock().unwrap().insert(content, (length, list.clone()));
        (content, list)
    }
}

impl ContentProvider for Contents {
    fn open(
        &self,
        _remote: DeviceId,
        directory: DirectoryId,
        content: ContentHash,
    ) -> Result<Box<dyn ContentReader>, FetchError> {
        if ![DIRECTORY, OTHER_DIRECTORY].contains(&directory) {
            return Err(FetchError::NotHeld);
        }
        let body = self.bodies.lock().unwrap().get(&content).cloned().ok_or(FetchError::NotHeld)?;
        match body {
            Body::Fails(error) => Err(error),
            Body::Panics => panic!("a provider may be faulty"),
            body => Ok(Box::new(Reader { body, read_bytes: self.read_bytes.clone() })),
        }
    }

    fn chunk_list(
        &self,
        _remote: DeviceId,
        directory: DirectoryId,
        content: ContentHash,
    ) -> Result<(u64, ChunkList), FetchError> {
        let lists = self.lists.lock().unwrap();
        lists.get(&content).filter(|_| directory == DIRECTORY).cloned().ok_or(FetchError::NotHeld)
    }

    fn kept(
        &self,
        _remote: DeviceId,
        directory: DirectoryId,
        question: &KeptQuestion,
    ) -> Result<KeptPage, FetchError> {
        let page = self.kept.lock().unwrap().clone();
        let page = page.filter(|_| directory == DIRECTORY).ok_or(FetchError::NotHeld)?;
        let is_asked = |place: &_| question.after.as_ref().is_none_or(|after| place > after);
        let versions = page.versions.into_iter().filter(|version| is_asked(&version.place)).collect();
        Ok(KeptPage { versions, ..page })
    }
}

struct Reader {
    body: Body,
    read_bytes: Arc<AtomicU64>,
}

impl ContentReader for Reader {
    fn length(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Pattern(length) | Body::CutOff(length) | Body::Changing(length) => *length,
            Body::Unreadable(_) | Body::Blocks(_) => 1 << 20,
            Body::Fails(_) | Body::Panics => 0,
        }
    }

    fn append_at(&mut self, offset: u64, n_bytes: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let length = match &self.body {
            Body::CutOff(length) => length / 2,
            _ => self.length(),
        };
        let count = length.saturating_sub(offset).min(n_bytes as u64) as usize;
        let n_before = buffer.len();
        buffer.resize(n_before + count, 0);
        match &self.body {
            Body::Bytes(bytes) => buffer[n_before..].copy_from_slice(&bytes[offset as usize..][..count]),
            Body::Unreadable(from) if offset + count as u64 > *from => {
                return Err(io::Error::other("the disk\nis broken"));
            }
            Body::Blocks(gate) => gate.wait(),
            _ => fill_pattern(offset, &mut buffer[n_before..]),
        }
        self.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(())
    }

    fn unchanged(&mut self) -> bool {
        !matches!(self.body, Body::Changing(_))
    }
}

/// The bytes of a pattern: every eight of them tell their place.
pub(crate) fn fill_pattern(offset: u64, buffer: &mut [u8]) {
    let start = (offset % 8) as usize;
    let mut words = vec![0; (start + buffer.len()).next_multiple_of(8)];
    for (word, index) in words.chunks_exact_mut(8).zip(offset / 8..) {
        word.copy_from_slice(&index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    buffer.copy_from_slice(&words[start..start + buffer.len()]);
}

pub(crate) fn is_pattern(offset: u64, bytes: &[u8]) -> bool {
    let mut expected = vec![0; bytes.len()];
    fill_pattern(offset, &mut expected);
    expected == bytes
}

/// Closed until it is opened, or dropped by whoever would open it.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let open = self.open.lock().unwrap();
        // Bounded, so that a test that fails also ends.
        drop(self.opened.wait_timeout_while(open, crate::device::PATIENCE, |open| !*open).unwrap());
    }
}
