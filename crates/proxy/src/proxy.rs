//! The proxy: accepts, connects on, and keeps the two ends together until one of them, or the test, ends it.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::island::Island;
use crate::line::{Fault, Line, Random, Way};

type Connect = Arc<dyn Fn() -> io::Result<TcpStream> + Send + Sync>;

/// Passes connections on until dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

/// What a proxy has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that came.
    pub accepted: u64,
    /// Bytes that arrived, both ways.
    pub passed_bytes: u64,
    /// Bytes that arrived as others.
    pub corrupted_bytes: u64,
}

struct State {
    fault: watch::Sender<Fault>,
    connect: Mutex<Connect>,
    seed: u64,
    accepted: AtomicU64,
    passed_bytes: Arc<watch::Sender<u64>>,
    corrupted_bytes: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens at a free port of loopback and connects to an address.
    ///
    /// # Errors
    /// When there is no port or thread to be had.
    pub fn to(target: SocketAddr) -> io::Result<Proxy> {
        Proxy::start(TcpListener::bind("127.0.0.1:0")?, to_address(target), 0)
    }

    /// Listens in one island, at an address that means something else there, and connects to it in another.
    ///
    /// Whoever dials this address on the first island, however it came to know it, talks to the second through the
    /// proxy.
    ///
    /// # Errors
    /// When the address is taken on the first island, or there is no thread to be had.
    pub fn between(from: &Island, to: &Arc<Island>, address: SocketAddr, seed: u64) -> io::Result<Proxy> {
        let listener = from.enter(|| TcpListener::bind(address))??;
        let to = Arc::clone(to);
        Proxy::start(listener, Arc::new(move || to.enter(|| TcpStream::connect(address))?), seed)
    }

    fn start(listener: TcpListener, connect: Connect, seed: u64) -> io::Result<Proxy> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            fault: watch::Sender::new(Fault::default()),
            connect: Mutex::new(connect),
            seed,
            accepted: AtomicU64::new(0),
            passed_bytes: Arc::new(watch::Sender::new(0)),
            corrupted_bytes: Arc::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let running = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            let mut fault = running.fault.subscribe();
            runtime.block_on(async {
                tokio::select! {
                    _ = fault.wait_for(|fault| fault.ended) => {}
                    () = accept(listener, &running) => {}
                }
            });
            // A connect that hangs need not be waited for.
            runtime.shutdown_background();
        })?;
        Ok(Proxy { address, state, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what is wrong with the line.
    pub fn set(&self, change: impl FnOnce(&mut Fault)) {
        self.state.fault.send_modify(change);
    }

    /// Makes the line a good one. Connections go on.
    pub fn heal(&self) {
        self.set(|fault| *fault = Fault { cuts: fault.cuts, ..Fault::default() });
    }

    /// Cuts all connections that there are, in the middle of whatever they carry.
    pub fn cut(&self) {
        self.set(|fault| fault.cuts += 1);
    }

    /// Connects to another address from now on.
    pub fn retarget(&self, target: SocketAddr) {
        *self.state.connect.lock().unwrap_or_else(PoisonError::into_inner) = to_address(target);
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.state.accepted.load(Ordering::Relaxed),
            passed_bytes: *self.state.passed_bytes.borrow(),
            corrupted_bytes: self.state.corrupted_bytes.load(Ordering::Relaxed),
        }
    }

    /// Waits until so many bytes have passed from now on.
    pub async fn pass(&self, bytes: u64) {
        let mut passed = self.state.passed_bytes.subscribe();
        let until = *passed.borrow() + bytes;
        passed.wait_for(|passed| *passed >= until).await.expect("the proxy lives as long as this");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(|fault| fault.ended = true);
        if let Some(thread) = self.thread.take() {
            // It has panicked, and said so, or has ended.
            let _ = thread.join();
        }
    }
}

fn to_address(target: SocketAddr) -> Connect {
    Arc::new(move || TcpStream::connect(target))
}

async fn accept(listener: TcpListener, state: &Arc<State>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    while let Ok((near, _)) = listener.accept().await {
        let number = state.accepted.fetch_add(1, Ordering::Relaxed);
        let fault = *state.fault.borrow();
        if !fault.refusing {
            tokio::spawn(pass(near, Arc::clone(state), fault.cuts, number));
        }
    }
}

async fn pass(near: tokio::net::TcpStream, state: Arc<State>, cuts: u64, number: u64) {
    let connect = Arc::clone(&*state.connect.lock().unwrap_or_else(PoisonError::into_inner));
    let connecting = tokio::task::spawn_blocking(move || {
        let stream = connect()?;
        stream.set_nonblocking(true)?;
        Ok::<_, io::Error>(stream)
    });
    let Ok(Ok(far)) = connecting.await else { return };
    let Ok(far) = tokio::net::TcpStream::from_std(far) else { return };
    _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let line = |way| Line {
        way,
        fault: state.fault.subscribe(),
        random: Random(state.seed.wrapping_add(number * 2 + u64::from(way == Way::Back))),
        passed_bytes: Arc::clone(&state.passed_bytes),
        corrupted_bytes: Arc::clone(&state.corrupted_bytes),
    };
    let mut fault = state.fault.subscribe();
    tokio::select! {
        _ = fault.wait_for(|fault| fault.cuts > cuts) => {}
        () = line(Way::There).carry(near_read, far_write) => {}
        () = line(Way::Back).carry(far_read, near_write) => {}
    }
}
