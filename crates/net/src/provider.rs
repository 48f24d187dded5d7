//! Where the contents come from that remotes ask for.

use std::io;

use file_sync_core::effect::ChunkList;
use file_sync_core::version::{ContentHash, DeviceId, DirectoryId};
use file_sync_wire::kept::{KeptPage, KeptQuestion};

/// Largest content that is sent whole by a fetch of small contents, in bytes.
pub const SMALL_BYTES_MAX: u64 = 1 << 20;

/// Opens contents for remotes; blocking, called from several threads.
pub trait ContentProvider: Send + Sync {
    /// Opens a content of a directory for reading.
    ///
    /// # Errors
    /// [`FetchError::NotHeld`] also where the remote may not have it, so that it learns nothing.
    fn open(
        &self,
        remote: DeviceId,
        directory: DirectoryId,
        content: ContentHash,
    ) -> Result<Box<dyn ContentReader>, FetchError>;

    /// The length of a content in bytes, and how it divides.
    ///
    /// # Errors
    /// As for [`ContentProvider::open`].
    fn chunk_list(
        &self,
        remote: DeviceId,
        directory: DirectoryId,
        content: ContentHash,
    ) -> Result<(u64, ChunkList), FetchError>;

    /// What is kept of a path: at most [`KEPT_PAGE_BYTES_MAX`](file_sync_wire::kept::KEPT_PAGE_BYTES_MAX) of it.
    ///
    /// # Errors
    /// As for [`ContentProvider::open`].
    fn kept(
        &self,
        remote: DeviceId,
        directory: DirectoryId,
        question: &KeptQuestion,
    ) -> Result<KeptPage, FetchError>;
}

/// An open content; blocking.
pub trait ContentReader: Send {
    /// Its length in bytes.
    fn length(&self) -> u64;

    /// Appends what is at an offset to a buffer: at most so many bytes, fewer only at the end.
    ///
    /// # Errors
    /// The system's word.
    fn append_at(&mut self, offset: u64, n_bytes: usize, buffer: &mut Vec<u8>) -> io::Result<()>;

    /// True if what was read since it was opened is what the content's hash promises, as far as a stat can tell.
    fn unchanged(&mut self) -> bool;
}

/// Why content did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The remote does not have it.
    #[error("the remote does not hold it")]
    NotHeld,
    /// It changed there while it was read.
    #[error("it changed on the remote while it was read")]
    Changed,
    /// It is too large to be had whole.
    #[error("too large to be sent whole")]
    TooLarge,
    /// The connection was lost.
    #[error("connection lost")]
    Closed,
    /// Nothing came for a long time, though the remote is there.
    #[error("the remote does not answer the request")]
    Stalled,
    /// The remote could not read it, in its own words.
    #[error("the remote says: {0}")]
    Remote(String),
}
