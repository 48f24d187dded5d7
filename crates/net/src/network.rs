//! The network of one server: its listener and its remotes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use file_sync_core::message::{Hello, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use file_sync_core::version::{DeviceId, DirectoryId};
use file_sync_wire::preamble::{Preamble, Role};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use crate::event::NetEvent;
use crate::identity::Identity;
use crate::policy::Policy;
use crate::provider::ContentProvider;
use crate::rates::{Rates, RatesMax};
use crate::remote::Remote;
use crate::stop::Stop;
use crate::{accept, dial, socket, tls};

/// Contents of one directory read at once for remotes, each on a thread of its own.
const READS_MAX: usize = 8;
/// Directories share so many limits: where one's disk hangs, most others are still read.
const READ_LIMITS: usize = 16;
/// How long a shutdown may take.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(2);
/// Strangers are told of so often at most: they must not fill the log, nor the queue of events.
const STRANGERS_EVERY: Duration = Duration::from_secs(1);

/// Whoever redeems a ticket has noted by then with whom it is paired, and dials.
const REDEEMER_DIALS_WITHIN: Duration = Duration::from_secs(2);

/// What a network needs to know.
pub struct NetworkConfig {
    /// Who this is.
    pub identity: Arc<Identity>,
    /// Where to listen; port 0 chooses one.
    pub listen: SocketAddr,
    /// This device's name for others.
    pub name: String,
    /// Random for this start of the server.
    pub incarnation: u64,
    /// Who may connect.
    pub policy: Arc<dyn Policy>,
    /// What may be fetched.
    pub provider: Arc<dyn ContentProvider>,
    /// Where events go; links wait while it is full.
    pub events: mpsc::Sender<NetEvent>,
    /// How long things may take.
    pub timing: Timing,
    /// Protocol versions spoken.
    pub protocols: RangeInclusive<u32>,
    /// How fast contents may go and come.
    pub rates: RatesMax,
}

impl NetworkConfig {
    /// The protocol versions that this build speaks.
    pub const PROTOCOLS: RangeInclusive<u32> = PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION;
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A connection that has nothing to say pings this often.
    pub ping_every: Duration,
    /// A connection is dead after this time without a byte.
    pub dead_after: Duration,
    /// A link in doubt is dead after this time without a byte.
    pub probe: Duration,
    /// For TCP and TLS together, and for each of the first frames.
    pub handshake: Duration,
    /// A request for content, or a write, that has not moved for this time is given up.
    pub stalled_after: Duration,
    /// Before dialing again the first time.
    pub backoff_first: Duration,
    /// Before dialing again the hundredth time.
    pub backoff_longest: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            ping_every: Duration::from_secs(15),
            dead_after: Duration::from_secs(45),
            probe: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            // A disk may have to spin up, a remote's server to catch its breath.
            stalled_after: Duration::from_secs(120),
            backoff_first: Duration::from_millis(200),
            backoff_longest: Duration::from_secs(30),
        }
    }
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another program listens there.
    #[error("{address} is in use; stop what listens there, or choose another with --listen IP:PORT")]
    InUse {
        /// Where.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another with --listen IP:PORT")]
    Io {
        /// Where.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// TLS does not take our key.
    #[error("cannot use this device's key for TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A running network; it ends when it is shut down or dropped.
pub struct Network {
    shared: Arc<Shared>,
}

/// What all tasks of a network share.
pub(crate) struct Shared {
    pub(crate) identity: Arc<Identity>,
    pub(crate) incarnation: u64,
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) provider: Arc<dyn ContentProvider>,
    pub(crate) events: mpsc::Sender<NetEvent>,
    pub(crate) timing: Timing,
    pub(crate) protocols: RangeInclusive<u32>,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) announced: Vec<String>,
    pub(crate) stop: Stop,
    pub(crate) rates: Arc<Rates>,
    /// Limit the threads that read contents.
    reads: [Arc<Semaphore>; READ_LIMITS],
    name: String,
    local_address: SocketAddr,
    remotes: Mutex<BTreeMap<DeviceId, Known>>,
    next_link_id: AtomicU64,
    links: watch::Sender<usize>,
    /// When a stranger was last told of.
    stranger_told: Mutex<Option<Instant>>,
}

/// A remote, and whether somebody keeps dialing it.
struct Known {
    remote: Arc<Remote>,
    dialed: bool,
}

impl Network {
    /// Listens, and serves whoever connects; dials nobody yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn start(config: NetworkConfig) -> Result<Network, ListenError> {
        let address = config.listen;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address },
            _ => ListenError::Io { address, source },
        };
        let listener = socket::listen(address).map_err(failed)?;
        let local_address = listener.local_addr().map_err(failed)?;
        let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&config.identity)?));
        let shared = Arc::new(Shared {
            identity: config.identity,
            incarnation: config.incarnation,
            policy: config.policy,
            provider: config.provider,
            events: config.events,
            timing: config.timing,
            protocols: config.protocols,
            acceptor,
            announced: vec![local_address.to_string()],
            stop: Stop::new(),
            rates: Arc::new(Rates::new(config.rates)),
            reads: std::array::from_fn(|_| Arc::new(Semaphore::new(READS_MAX))),
            name: config.name,
            local_address,
            remotes: Mutex::default(),
            next_link_id: AtomicU64::new(1),
            links: watch::Sender::new(0),
            stranger_told: Mutex::default(),
        });
        tokio::spawn(accept::listen(Arc::clone(&shared), listener));
        Ok(Network { shared })
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.shared.local_address
    }

    /// How fast contents go to all remotes, and come from them, of late: in bytes a second.
    pub fn speeds(&self) -> (u64, u64) {
        (self.shared.rates.upload.speed(), self.shared.rates.download.speed())
    }

    /// What this device announces of itself: where it listens, as `IP:PORT`; an unspecified IP means "where I come from".
    pub fn announced_addresses(&self) -> Vec<String> {
        self.shared.announced.clone()
    }

    /// Keeps a link to a paired remote up, dialing these addresses (`IP:PORT`) and those that it announces.
    ///
    /// Called again it replaces the addresses. With none it waits for the remote to dial.
    pub fn set_remote(&self, device: DeviceId, addresses: Vec<String>) {
        self.keep(device, addresses, Duration::ZERO);
    }

    /// The same for a remote that has redeemed a ticket just now: it dials as soon as it has noted this device as paired, and
    /// knows it not before. This side begins two seconds later, in case that comes to nothing.
    pub fn expect_remote(&self, device: DeviceId, addresses: Vec<String>) {
        self.keep(device, addresses, REDEEMER_DIALS_WITHIN);
    }

    fn keep(&self, device: DeviceId, addresses: Vec<String>, pause: Duration) {
        let remote = self.shared.remote_or_insert(device);
        remote.configure(addresses);
        let start = {
            let mut remotes = self.shared.remotes();
            remotes.get_mut(&device).is_some_and(|known| !std::mem::replace(&mut known.dialed, true))
        };
        if start {
            tokio::spawn(dial::keep_linked(Arc::clone(&self.shared), remote, pause));
        }
    }

    /// Dials a remote at once, if there is no link: it may have come nearer.
    pub fn dial_now(&self, device: DeviceId) {
        if let Some(remote) = self.shared.remote(device) {
            remote.wake();
        }
    }

    /// Closes the link to a remote and dials it no more. The policy must have stopped calling it paired before.
    pub fn forget(&self, device: DeviceId) {
        let known = self.shared.remotes().remove(&device);
        if let Some(known) = known {
            known.remote.forget("this device was removed");
        }
    }

    /// Ends everything: tells remotes goodbye, within two seconds.
    pub async fn shutdown(self) {
        self.shared.end();
        let mut links = self.shared.links.subscribe();
        if timeout(SHUTDOWN_WITHIN, links.wait_for(|count| *count == 0)).await.is_err() {
            tracing::warn!("some links did not end in time");
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    pub(crate) fn remote(&self, device: DeviceId) -> Option<Arc<Remote>> {
        self.remotes().get(&device).map(|known| Arc::clone(&known.remote))
    }

    pub(crate) fn remote_or_insert(&self, device: DeviceId) -> Arc<Remote> {
        match self.remotes().entry(device) {
            Entry::Occupied(known) => Arc::clone(&known.get().remote),
            Entry::Vacant(vacant) => {
                let remote = Arc::new(Remote::new(device));
                // What is added after the end would be told by nobody to end.
                if self.stop.is_stopped() {
                    remote.forget("shutting down");
                    return remote;
                }
                vacant.insert(Known { remote: Arc::clone(&remote), dialed: false });
                remote
            }
        }
    }

    /// Tells the server of a connection that came to nothing, if it has time to listen.
    pub(crate) fn refused(&self, device: Option<DeviceId>, address: SocketAddr, reason: &str) {
        tracing::debug!(?device, %address, reason, "refused"); // The server says it louder.
        _ = self.events.try_send(NetEvent::Refused { device, address, reason: reason.to_owned() });
    }

    /// As [`Shared::refused`], for devices that anybody could make any number of.
    pub(crate) fn stranger(&self, device: DeviceId, address: SocketAddr, reason: &str) {
        let now = Instant::now();
        let mut told = self.stranger_told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| now - told < STRANGERS_EVERY) {
            return;
        }
        *told = Some(now);
        drop(told);
        self.refused(Some(device), address, reason);
    }

    /// What limits the threads that read contents of a directory.
    pub(crate) fn reads(&self, directory: DirectoryId) -> Arc<Semaphore> {
        Arc::clone(&self.reads[usize::from(directory.0[0]) % READ_LIMITS])
    }

    pub(crate) fn next_link_id(&self) -> u64 {
        self.next_link_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn preamble(&self, role: Role) -> Preamble {
        let (protocol_min, protocol_max) = (*self.protocols.start(), *self.protocols.end());
        Preamble { protocol_min, protocol_max, role }
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            name: self.name.clone(),
            software: concat!("file-sync ", env!("CARGO_PKG_VERSION")).to_owned(),
            incarnation: self.incarnation,
            addresses: self.announced.clone(),
        }
    }

    /// Counts a link as live until what is returned is dropped.
    pub(crate) fn count_link(self: &Arc<Self>) -> LiveLink {
        self.links.send_modify(|count| *count += 1);
        LiveLink(Arc::clone(self))
    }

    fn end(&self) {
        self.stop.stop("shutting down");
        let known = std::mem::take(&mut *self.remotes());
        known.values().for_each(|known| known.remote.forget("shutting down"));
    }

    fn remotes(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Known>> {
        // No code that holds it can leave it half changed.
        self.remotes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A link that a shutdown waits for.
pub(crate) struct LiveLink(Arc<Shared>);

impl Drop for LiveLink {
    fn drop(&mut self) {
        self.0.links.send_modify(|count| *count -= 1);
    }
}
