//! One TLS connection to a device whose key is proved, before it is known what it is for.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
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

pub(crate) type Writer = WriteHalf<TlsStream<Socket>>;
pub(crate) type Reader = FrameReader<ReadHalf<TlsStream<Socket>>>;

/// Encrypted before it is handed to the system, in bytes: a longest piece with its header, so that it is one call.
pub(crate) const WRITTEN_BYTES_MAX: usize = PIECE_BYTES_MAX + 4 * 1024;

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
    pub(crate) fn new(stream: TlsStream<Socket>, address: SocketAddr) -> Result<Connection, ExchangeError> {
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first).ok_or(ExchangeError::NoKey)?;
        let key = tls::key_of(certificate).map_err(|_| ExchangeError::NoKey)?;
        let (reader, writer) = tokio::io::split(stream);
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
            self.writer.write_all(&bytes).await?;
            self.writer.flush().await
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

/// Writes all parts, one after the other, however long that takes, if only it moves.
pub(crate) async fn write_moving(
    writer: &mut Writer,
    mut parts: &mut [IoSlice<'_>],
    stalled_after: Duration,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0); // Empty ones are passed over.
    while !parts.is_empty() {
        let writing = writer.write_vectored(parts);
        let written = timeout(stalled_after, writing).await.map_err(|_| stalled())??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut parts, written);
    }
    Ok(())
}

/// Hands everything written to the system, if it moves.
pub(crate) async fn flush_moving(writer: &mut Writer, stalled_after: Duration) -> io::Result<()> {
    timeout(stalled_after, writer.flush()).await.map_err(|_| stalled())?
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the remote takes nothing more")
}
