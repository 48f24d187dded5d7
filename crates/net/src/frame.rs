//! Frames: a length (u32, big-endian) and that many bytes.
//!
//! Nothing longer than the limit of the moment is waited for, nor taken into memory before it came.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest frame before the other side is known to be paired, in bytes.
pub const STRANGER_BYTES_MAX: usize = 4 * 1024;
/// Read at once, in bytes.
const READ_BYTES: usize = 64 * 1024;
const LENGTH_BYTES: usize = 4;

/// Why no more frames can be read from a connection.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It announces more than is waited for at present.
    #[error("a frame of {length} bytes, over the limit of {limit}")]
    TooLong {
        /// What it announces, in bytes.
        length: usize,
        /// What is waited for, in bytes.
        limit: usize,
    },
    /// The connection broke.
    #[error("connection lost: {}", lost(.0))]
    Io(#[from] io::Error),
    /// The other side ended the connection.
    #[error("connection closed")]
    Closed,
}

/// What TLS calls an unexpected end is how a process that was stopped, or does not want to talk, ends a connection.
fn lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the other side closed it without a word".to_owned(),
        _ => error.to_string(),
    }
}

/// Cuts a stream into frames.
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Begins at the start of a stream, with the longest frame that is waited for, in bytes.
    pub fn new(stream: R, limit: usize) -> FrameReader<R> {
        FrameReader { stream, buffer: BytesMut::new(), limit }
    }

    /// Sets the longest frame that is waited for from now on, in bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// A frame that has come already.
    ///
    /// # Errors
    /// [`FrameError::TooLong`].
    pub fn buffered(&mut self) -> Result<Option<Bytes>, FrameError> {
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
    ///
    /// # Errors
    /// When nothing more comes.
    pub async fn fill(&mut self) -> Result<(), FrameError> {
        self.buffer.reserve(READ_BYTES.min(self.limit + LENGTH_BYTES));
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(FrameError::Closed),
            _ => Ok(()),
        }
    }

    /// The next frame; waits as long as it takes.
    ///
    /// # Errors
    /// When it is too long, or does not come.
    pub async fn next(&mut self) -> Result<Bytes, FrameError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Appends what has come already of `count` raw bytes that follow a frame.
    ///
    /// They are in memory of their own: few bytes that wait long must not keep what they came with from being freed.
    pub fn buffered_raw(&mut self, data: &mut Vec<u8>, count: usize) {
        let come = self.buffer.len().min(count);
        data.extend_from_slice(&self.buffer[..come]);
        self.buffer.advance(come);
    }

    /// Reads more of `count` raw bytes, of which `data` has some, and returns how many came.
    ///
    /// # Errors
    /// When nothing more comes.
    pub async fn fill_raw(&mut self, data: &mut Vec<u8>, count: usize) -> Result<usize, FrameError> {
        let lacking = count.saturating_sub(data.len());
        match self.stream.read_buf(&mut data.limit(lacking)).await? {
            0 => Err(FrameError::Closed),
            come => Ok(come),
        }
    }
}

/// Appends a frame to what is to be written.
pub fn push_frame(buffer: &mut Vec<u8>, frame: &[u8]) {
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

    #[tokio::test]
    async fn h3_a_claimed_length_takes_no_memory() {
        let bytes = [&u32::to_be_bytes(8 << 20)[..], &[0; 10]].concat();
        let mut reader = FrameReader::new(&bytes[..], 8 << 20);
        assert!(matches!(reader.next().await, Err(FrameError::Closed)));
        assert!(reader.buffer.capacity() < 4 * READ_BYTES, "{}", reader.buffer.capacity());
    }

    #[tokio::test]
    async fn h3_raw_bytes_do_not_keep_what_they_came_with() {
        let mut bytes = Vec::new();
        push_frame(&mut bytes, b"one");
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        push_frame(&mut bytes, b"two");
        let mut reader = FrameReader::new(&bytes[..], 99);
        assert_eq!(reader.next().await.expect("a frame"), &b"one"[..]);
        let mut data = Vec::with_capacity(4);
        reader.buffered_raw(&mut data, 4);
        assert_eq!((&data[..], data.capacity()), (&[1, 2, 3, 4][..], 4));
        assert_eq!(reader.next().await.expect("a frame"), &b"two"[..]);
    }

    #[tokio::test]
    async fn raw_bytes_end_where_the_next_frame_begins() {
        let (mut sender, receiver) = tokio::io::duplex(1024);
        let mut reader = FrameReader::new(receiver, 99);
        let mut data = Vec::new();
        reader.buffered_raw(&mut data, 6);
        tokio::io::AsyncWriteExt::write_all(&mut sender, b"\x01\x02\x03\x04\x05\x06\0\0\0\x03two")
            .await
            .unwrap();
        while data.len() < 6 {
            reader.fill_raw(&mut data, 6).await.expect("more");
        }
        assert_eq!(data, [1, 2, 3, 4, 5, 6]);
        assert_eq!(reader.next().await.expect("a frame"), &b"two"[..]);
    }
}
