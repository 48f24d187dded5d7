//! TCP sockets as links want them.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const BACKLOG: u32 = 128;
/// Read at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// A connection from which much is read at once, however little is asked for: rustls asks for 4 KiB, a quarter of a record.
///
/// Memory for that it has only while something is there to be read.
pub(crate) struct Socket {
    stream: TcpStream,
    read: Vec<u8>,
    /// So many bytes of `read` have been taken.
    n_taken: usize,
    /// Counts bytes that the system took.
    moved: Arc<AtomicU64>,
}

/// Listens, also where connections of an earlier server still linger.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Sets the options of a new connection, dialed or accepted. What the system does not grant is done without.
pub(crate) fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    // With 0.5 % of loss over 100 ms, the default (cubic) reaches a twentieth of what bbr does.
    if let Err(error) = rustix::net::sockopt::set_tcp_congestion(stream, "bbr") {
        tracing::trace!(%error, "no bbr congestion control");
    }
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Socket {
        Socket { stream, read: Vec::new(), n_taken: 0, moved: Arc::default() }
    }

    /// Grows by each byte that the system takes.
    pub(crate) fn moved(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.moved)
    }

    fn counted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n_bytes)) = &written {
            self.moved.fetch_add(*n_bytes as u64, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        wanted: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Socket { stream, read, n_taken, .. } = self.get_mut();
        if *n_taken == read.len() {
            *n_taken = 0;
            read.clear();
            read.reserve_exact(READ_BYTES);
            // It keeps nothing between two calls, so it can be begun anew each time.
            let reading = pin!(stream.read_buf(read));
            let come = reading.poll(ctx);
            if !matches!(come, Poll::Ready(Ok(_))) {
                *read = Vec::new();
            }
            ready!(come)?;
        }
        let rest = &read[*n_taken..];
        let n_bytes = rest.len().min(wanted.remaining());
        wanted.put_slice(&rest[..n_bytes]);
        *n_taken += n_bytes;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, ctx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = Pin::new(&mut socket.stream).poll_write(ctx, bytes);
        socket.counted(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = Pin::new(&mut socket.stream).poll_write_vectored(ctx, bytes);
        socket.counted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(ctx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(ctx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_was_read_at_once_is_handed_on_in_parts_and_an_idle_connection_keeps_no_memory() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        let sent: Vec<u8> = (0..300_000_u32).map(|number| number.to_be_bytes()[2]).collect();
        let sending = tokio::spawn({
            let sent = sent.clone();
            async move {
                sender.write_all(&sent).await.unwrap();
                sender
            }
        });
        let mut come = vec![0; sent.len()];
        for part in come.chunks_mut(1_000) {
            socket.read_exact(part).await.unwrap();
        }
        assert_eq!(come, sent);
        let mut sender = sending.await.unwrap();
        let mut one = [0];
        tokio::select! {
            biased;
            _ = socket.read(&mut one) => panic!("nothing was sent"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(socket.read.capacity(), 0);
        sender.write_all(&[7]).await.unwrap();
        assert_eq!((socket.read(&mut one).await.unwrap(), one), (1, [7]));
        drop(sender);
        assert_eq!(socket.read(&mut one).await.unwrap(), 0, "the end");
    }
}
