//! Streams of frames: cut alike however they arrive, and read as a content connection reads them.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use file_sync_net::frame::{FrameError, FrameReader, STRANGER_BYTES_MAX};
use file_sync_wire::content::{ContentFrame, FRAME_BYTES_MAX, decode_content_frame};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A byte that says where the stream is divided, and the stream.
pub fn stream(bytes: &[u8]) -> bool {
    let Some((cut, stream)) = bytes.split_first() else { return false };
    let (one, other) = stream.split_at(usize::from(*cut).min(stream.len()));
    let frames = at_once(read_all(FrameReader::new(stream, STRANGER_BYTES_MAX)));
    assert_eq!(at_once(read_all(FrameReader::new(one.chain(other), STRANGER_BYTES_MAX))), frames);
    let length: usize = frames.iter().map(|part| part.len() + 4).sum();
    assert!(length <= stream.len(), "no more is read than came");

    let parts = at_once(read_content(FrameReader::new(stream, FRAME_BYTES_MAX)));
    assert_eq!(at_once(read_content(FrameReader::new(one.chain(other), FRAME_BYTES_MAX))), parts);
    !frames.is_empty()
}

/// Frames until there are no more.
async fn read_all<R: AsyncRead + Unpin>(mut reader: FrameReader<R>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    loop {
        match reader.next().await {
            Ok(frame) => frames.push(frame.to_vec()),
            Err(FrameError::TooLong { length, limit }) => {
                assert!(length > limit);
                return frames;
            }
            Err(FrameError::Closed) => return frames,
            Err(FrameError::Io(error)) => panic!("bytes in memory cannot fail: {error}"),
        }
    }
}

/// Frames and the raw bytes after them until something is wrong.
async fn read_content<R: AsyncRead + Unpin>(mut reader: FrameReader<R>) -> Vec<(ContentFrame, Vec<u8>)> {
    let mut parts = Vec::new();
    while let Ok(bytes) = reader.next().await
        && let Ok(frame) = decode_content_frame(&bytes)
    {
        let mut data = Vec::new();
        if let ContentFrame::Piece(piece) = &frame {
            let count = piece.data_bytes as usize;
            reader.buffered_raw(&mut data, count);
            while data.len() < count {
                if reader.fill_raw(&mut data, count).await.is_err() {
                    return parts;
                }
            }
            assert_eq!(data.len(), count);
        }
        parts.push((frame, data));
    }
    parts
}

/// The result of what never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("bytes in memory are there at once"),
    }
}
