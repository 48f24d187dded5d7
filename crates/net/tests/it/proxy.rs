//! A TCP proxy that cuts, stalls, throttles and delays.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::device::soon;

/// What is wrong with the line.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fault {
    /// Connections made before this count was raised are cut.
    cuts: usize,
    /// Nothing passes, and nobody is told.
    pub(crate) stalled: bool,
    /// New connections are closed at once.
    pub(crate) closed: bool,
    /// Each piece takes so long.
    pub(crate) delay: Duration,
    pub(crate) bytes_per_second: Option<u32>,
}

/// Passes connections on to a target until dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: AbortHandle,
}

struct State {
    fault: watch::Sender<Fault>,
    target: watch::Sender<SocketAddr>,
    accepted: AtomicUsize,
    passed_bytes: watch::Sender<u64>,
}

impl Proxy {
    pub(crate) async fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            fault: watch::Sender::new(Fault::default()),
            target: watch::Sender::new(target),
            accepted: AtomicUsize::new(0),
            passed_bytes: watch::Sender::new(0),
        });
        let task = tokio::spawn(accept(listener, state.clone())).abort_handle();
        Proxy { address, state, task }
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Fault)) {
        self.state.fault.send_modify(change);
    }

    /// Cuts all connections that there are.
    pub(crate) fn cut(&self) {
        self.set(|fault| fault.cuts += 1);
    }

    pub(crate) fn retarget(&self, target: SocketAddr) {
        self.state.target.send_replace(target);
    }

    pub(crate) fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// Waits until so many bytes have passed from now on.
    pub(crate) async fn pass(&self, bytes: u64) {
        let mut passed = self.state.passed_bytes.subscribe();
        let until = *passed.borrow() + bytes;
        soon(passed.wait_for(|passed| *passed >= until)).await.expect("the proxy runs");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((near, _)) = listener.accept().await {
        state.accepted.fetch_add(1, Ordering::Relaxed);
        let fault = *state.fault.borrow();
        if !fault.closed {
            tokio::spawn(pass(near, state.clone(), fault.cuts));
        }
    }
}

async fn pass(near: TcpStream, state: Arc<State>, cuts: usize) {
    let target = *state.target.borrow();
    let Ok(far) = TcpStream::connect(target).await else { return };
    _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let mut fault = state.fault.subscribe();
    tokio::select! {
        _ = fault.wait_for(|fault| fault.cuts > cuts) => {}
        () = pump(near_read, far_write, &state) => {}
        () = pump(far_read, near_write, &state) => {}
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    state: &State,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut fault = state.fault.subscribe();
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let Fault { delay, bytes_per_second, .. } = *fault.borrow();
        sleep(delay).await;
        if let Some(rate) = bytes_per_second {
            sleep(Duration::from_secs(1).mul_f64(count as f64 / f64::from(rate))).await;
        }
        if fault.wait_for(|fault| !fault.stalled).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
        state.passed_bytes.send_modify(|passed| *passed += count as u64);
    }
}
