//! Frames: a length (u32, big-endian) and that many bytes.
//!
//! Nothing is taken into memory before it came, and nothing longer than the limit of the moment is waited for.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest frame before the other side is known to be paired, in bytes.
pub(crate) const STRANGER_BYTES_MAX: usize = 4 * 1024;
/// Read at once, in bytes.
const READ_BYTES: usize = 64 * 1024;
const LENGTH_BYTES: usize = 4;

/// Why no more frames can be read from a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {length} bytes, over the limit of {limit}")]
    TooLong { length: usize, limit: usize },
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    #[error("connection closed")]
    Closed,
}

/// Cuts a stream into frames.
pub(crate) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R, limit: usize) -> FrameReader<R> {
        FrameReader { stream, buffer: BytesMut::new(), limit }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// A frame that has come already.
    pub(crate) fn buffered(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > self.limit {
            return Err(FrameError::TooLong { length, limit: self.limit });
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Reads more, whatever comes; can be given up at any time without losing anything.
    pub(crate) async fn fill(&mut self) -> Result<(), FrameError> {
        self.buffer.reserve(READ_BYTES.min(self.limit + LENGTH_BYTES));
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(FrameError::Closed),
            _ => Ok(()),
        }
    }

    /// The next frame; waits as long as it takes.
    pub(crate) async fn next(&mut self) -> Result<Bytes, FrameError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Exactly `count` raw bytes that follow a frame, if they have come already.
    pub(crate) fn buffered_raw(&mut self, count: usize) -> Option<Bytes> {
        (self.buffer.len() >= count).then(|| self.buffer.split_to(count).freeze())
    }

    /// Reads more of `count` raw bytes; can be given up at any time without losing anything.
    pub(crate) async fn fill_raw(&mut self, count: usize) -> Result<(), FrameError> {
        self.buffer.reserve(count.saturating_sub(self.buffer.len()));
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(FrameError::Closed),
            _ => Ok(()),
        }
    }
}

/// Appends a frame to what is to be written.
pub(crate) fn push_frame(buffer: &mut Vec<u8>, frame: &[u8]) {
    let length = u32::try_from(frame.len()).expect("frames are far below 4 GiB");
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.extend_from_slice(frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn h3_frames_are_cut_and_long_ones_refused() {
        let mut bytes = Vec::new();
        push_frame(&mut bytes, b"one");
        push_frame(&mut bytes, b"");
        push_frame(&mut bytes, &[7; 100]);
        let mut reader = FrameReader::new(&bytes[..], 99);
        assert_eq!(reader.next().await.expect("a frame"), &b"one"[..]);
        assert_eq!(reader.next().await.expect("a frame"), &b""[..]);
        assert!(matches!(reader.next().await, Err(FrameError::TooLong { length: 100, limit: 99 })));
        let mut reader = FrameReader::new(&bytes[..5], 99);
        assert!(matches!(reader.next().await, Err(FrameError::Closed)));
    }
}
