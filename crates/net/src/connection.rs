//! One TLS connection to a device whose key is proved, before it is known what it is for.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use file_sync_core::version::DeviceId;
use file_sync_wire::content::PIECE_BYTES_MAX;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::frame::{FrameError, FrameReader, STRANGER_BYTES_MAX, push_frame};
use crate::identity::device_id_of;
use crate::socket::Socket;
use crate::tls;

pub(crate) type Reader = FrameReader<ReadHalf<TlsStream<Socket>>>;

/// The writing half of a connection.
pub(crate) struct Writer {
    stream: WriteHalf<TlsStream<Socket>>,
    /// Counts bytes that the system took.
    moved: Arc<AtomicU64>,
}

/// Encrypted before it is handed to the system, in bytes: a longest piece with its header, so that it is one call.
const WRITTEN_BYTES_MAX: usize = PIECE_BYTES_MAX + 4 * 1024;

/// A connection after its TLS handshake; its frames are limited to what a stranger may send.
pub(crate) struct Connection {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) address: SocketAddr,
    pub(crate) device: DeviceId,
    pub(crate) key: [u8; 32],
    /// How long it took until the other side answered; zero if it has dialed.
    pub(crate) round_trip: Duration,
}

/// Why the first frames could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("no answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    #[error("the other side showed no key")]
    NoKey,
}

impl Connection {
    pub(crate) fn new(
        mut stream: TlsStream<Socket>,
        address: SocketAddr,
    ) -> Result<Connection, ExchangeError> {
        match &mut stream {
            TlsStream::Client(stream) => stream.get_mut().1.set_buffer_limit(Some(WRITTEN_BYTES_MAX)),
            TlsStream::Server(stream) => stream.get_mut().1.set_buffer_limit(Some(WRITTEN_BYTES_MAX)),
        }
        let (socket, session) = stream.get_ref();
        let moved = socket.moved();
        let certificate = session.peer_certificates().and_then(<[_]>::first).ok_or(ExchangeError::NoKey)?;
        let key = tls::key_of(certificate).map_err(|_| ExchangeError::NoKey)?;
        let (reader, stream) = tokio::io::split(stream);
        let writer = Writer { stream, moved };
        let reader = FrameReader::new(reader, STRANGER_BYTES_MAX);
        Ok(Connection {
            reader,
            writer,
            address,
            device: device_id_of(&key),
            key,
            round_trip: Duration::ZERO,
        })
    }

    /// Sends one frame within the time given.
    pub(crate) async fn send(&mut self, frame: &[u8], within: Duration) -> Result<(), ExchangeError> {
        let mut bytes = Vec::with_capacity(4 + frame.len());
        push_frame(&mut bytes, frame);
        let sending = async {
            self.writer.stream.write_all(&bytes).await?;
            self.writer.stream.flush().await
        };
        let sent = timeout(within, sending).await.map_err(|_| ExchangeError::TimedOut(within))?;
        sent.map_err(|error| FrameError::from(error).into())
    }

    /// Receives one frame within the time given.
    pub(crate) async fn receive(&mut self, within: Duration) -> Result<Bytes, ExchangeError> {
        let received = timeout(within, self.reader.next()).await;
        Ok(received.map_err(|_| ExchangeError::TimedOut(within))??)
    }

    /// Says goodbye to TLS; what was sent before arrives.
    pub(crate) async fn close(mut self, within: Duration) {
        // The other side may be gone already, which is as good.
        _ = timeout(within, self.writer.shutdown()).await;
    }
}

impl Writer {
    /// Writes all parts, one after the other, and hands them to the system, however long that takes, if only it moves.
    pub(crate) async fn put(
        &mut self,
        mut parts: &mut [IoSlice<'_>],
        stalled_after: Duration,
    ) -> io::Result<()> {
        let Writer { stream, moved } = self;
        let putting = async {
            IoSlice::advance_slices(&mut parts, 0); // Empty ones are passed over.
            while !parts.is_empty() {
                let written = stream.write_vectored(parts).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                IoSlice::advance_slices(&mut parts, written);
            }
            stream.flush().await
        };
        if_it_moves(moved, stalled_after, pin!(putting)).await
    }

    /// Says goodbye to TLS; what was written before arrives.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

/// Waits for something to be written as long as bytes move meanwhile, however few.
async fn if_it_moves(
    moved: &AtomicU64,
    stalled_after: Duration,
    mut writing: Pin<&mut impl Future<Output = io::Result<()>>>,
) -> io::Result<()> {
    loop {
        let before = moved.load(Ordering::Relaxed);
        match timeout(stalled_after, writing.as_mut()).await {
            Ok(written) => return written,
            Err(_) if moved.load(Ordering::Relaxed) != before => {}
            Err(_) => return Err(stalled()),
        }
    }
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the remote takes nothing more")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A piece takes longer than a stalled line is put up with, and moves all the time; another stops.
    #[tokio::test(start_paused = true)]
    async fn s2_what_moves_is_waited_for_and_what_does_not_is_given_up() {
        let moved = Arc::new(AtomicU64::new(0));
        let moving = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                moved.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let stalled_after = Duration::from_secs(3);
        if_it_moves(&moved, stalled_after, pin!(moving)).await.expect("it has moved all the time");
        let error = if_it_moves(&moved, stalled_after, pin!(std::future::pending())).await;
        assert_eq!(error.expect_err("it does not move").kind(), io::ErrorKind::TimedOut);
    }
}
