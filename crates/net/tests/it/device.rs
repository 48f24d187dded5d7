//! Devices with real networks on loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use file_sync_core::message::{Hello, Message};
use file_sync_core::version::{DeviceId, DirectoryId};
use file_sync_net::{
    Identity, Link, NetEvent, Network, NetworkConfig, PairRequest, Policy, RatesMax, Ticket, Timing,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::contents::Contents;

/// Longer than anything takes, on however slow a machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// What all clocks say.
pub(crate) const NOW: u64 = 1_800_000_000;
/// The directory that contents belong to.
pub(crate) const DIRECTORY: DirectoryId = DirectoryId([9; 16]);
/// Another one, with the same contents.
pub(crate) const OTHER_DIRECTORY: DirectoryId = DirectoryId([10; 16]);

/// Waits for something that must happen.
pub(crate) async fn soon<T>(waiting: impl Future<Output = T>) -> T {
    timeout(PATIENCE, waiting).await.expect("it did not happen in time")
}

/// Quick to dial again, slow to give up: a loaded machine is not a dead one.
pub(crate) fn quick() -> Timing {
    Timing {
        ping_every: Duration::from_millis(200),
        dead_after: PATIENCE,
        probe: PATIENCE,
        handshake: PATIENCE,
        stalled_after: PATIENCE,
        backoff_first: Duration::from_millis(20),
        backoff_longest: Duration::from_millis(200),
    }
}

/// What stays of a device while its server does not run.
pub(crate) struct Home {
    pub(crate) directory: TempDir,
    pub(crate) identity: Arc<Identity>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) contents: Arc<Contents>,
}

/// How a server is started.
pub(crate) struct Start {
    pub(crate) listen: SocketAddr,
    pub(crate) timing: Timing,
    pub(crate) incarnation: u64,
    pub(crate) protocols: RangeInclusive<u32>,
    pub(crate) rates: RatesMax,
    pub(crate) events_max: usize,
}

impl Default for Start {
    fn default() -> Start {
        Start {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            timing: quick(),
            incarnation: 1,
            protocols: NetworkConfig::PROTOCOLS,
            rates: RatesMax::default(),
            events_max: 1024,
        }
    }
}

/// A device whose server runs.
pub(crate) struct Device {
    pub(crate) home: Home,
    pub(crate) network: Network,
    pub(crate) events: mpsc::Receiver<NetEvent>,
}

/// A link that has come up.
pub(crate) struct Up {
    pub(crate) link: Link,
    pub(crate) hello: Hello,
}

impl Home {
    pub(crate) fn new() -> Home {
        let directory = tempfile::tempdir().unwrap();
        let identity = Arc::new(Identity::load_or_create(directory.path()).unwrap());
        Home { directory, identity, trust: Arc::default(), contents: Arc::default() }
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.identity.device_id()
    }

    pub(crate) fn start(self, start: Start) -> Device {
        let (sender, events) = mpsc::channel(start.events_max);
        let network = Network::start(NetworkConfig {
            identity: self.identity.clone(),
            listen: start.listen,
            name: "device".to_owned(),
            incarnation: start.incarnation,
            policy: self.trust.clone(),
            provider: self.contents.clone(),
            events: sender,
            timing: start.timing,
            protocols: start.protocols,
            rates: start.rates,
        });
        Device { home: self, network: network.unwrap(), events }
    }
}

impl Device {
    pub(crate) fn new() -> Device {
        Home::new().start(Start::default())
    }

    pub(crate) fn with(timing: Timing) -> Device {
        Home::new().start(Start { timing, ..Start::default() })
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.home.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.network.local_address()
    }

    pub(crate) async fn stop(self) -> Home {
        soon(self.network.shutdown()).await;
        self.home
    }

    pub(crate) fn trusts(&self, other: &Device) {
        self.home.trust.add(other.id());
    }

    /// Dials the other there, from now on.
    pub(crate) fn dials(&self, other: &Device, address: SocketAddr) {
        self.network.set_remote(other.id(), vec![address.to_string()]);
    }

    /// A ticket of this device with this secret, good for an hour.
    pub(crate) fn invite(&self, secret: u8) -> Ticket {
        let secret = [secret; 16];
        self.home.trust.tickets.lock().unwrap().insert(secret, NOW + 3600);
        let addresses = self.network.announced_addresses();
        Ticket { addresses, device: self.id(), secret, expires: NOW + 3600 }
    }

    pub(crate) fn request(&self, ticket: Ticket) -> PairRequest {
        PairRequest {
            ticket,
            name: "redeemer".to_owned(),
            addresses: self.network.announced_addresses(),
            timeout: PATIENCE,
            now_seconds: NOW,
        }
    }

    pub(crate) async fn event(&mut self) -> NetEvent {
        soon(self.events.recv()).await.expect("the network runs")
    }

    /// The next event of a kind; others are passed over.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(NetEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.event().await) {
                return found;
            }
        }
    }

    pub(crate) async fn up(&mut self) -> Up {
        self.until(|event| match event {
            NetEvent::Up { link, hello, .. } => Some(Up { link, hello }),
            _ => None,
        })
        .await
    }

    /// The reason for which this link ended.
    pub(crate) async fn down(&mut self, link: &Link) -> String {
        self.until(|event| match event {
            NetEvent::Down { link_id, reason, .. } if link_id == link.id() => Some(reason),
            _ => None,
        })
        .await
    }

    pub(crate) async fn refused(&mut self) -> String {
        self.until(|event| match event {
            NetEvent::Refused { reason, .. } => Some(reason),
            _ => None,
        })
        .await
    }

    /// The next event must be this message.
    pub(crate) async fn hears(&mut self, link: &Link, token: u64) {
        match self.event().await {
            NetEvent::Message { link_id, message, .. } => {
                assert_eq!((link_id, message), (link.id(), say(token)));
            }
            other => panic!("{other:?} instead of {token}"),
        }
    }

    pub(crate) fn has_no_more_events(&mut self) {
        if let Ok(event) = self.events.try_recv() {
            panic!("{event:?}");
        }
    }
}

/// A message with a number.
pub(crate) fn say(token: u64) -> Message {
    Message::Check { directory: DIRECTORY, token }
}

/// Two devices that are paired; the first dials the second.
pub(crate) async fn linked_through(address: Option<SocketAddr>, timing: Timing) -> (Device, Up, Device, Up) {
    let (mut one, mut two) = (Device::with(timing), Device::with(timing));
    one.trusts(&two);
    two.trusts(&one);
    one.dials(&two, address.unwrap_or_else(|| two.address()));
    let (one_up, two_up) = (one.up().await, two.up().await);
    (one, one_up, two, two_up)
}

pub(crate) async fn linked() -> (Device, Up, Device, Up) {
    linked_through(None, quick()).await
}

/// Both links are one: what one side says is the very next thing that the other hears.
pub(crate) async fn talk(one: &mut Device, one_link: &Link, two: &mut Device, two_link: &Link) {
    one_link.send(say(1)).await.unwrap();
    two.hears(two_link, 1).await;
    two_link.send(say(2)).await.unwrap();
    one.hears(one_link, 2).await;
}

/// A policy of sets.
#[derive(Default)]
pub(crate) struct Trust {
    devices: Mutex<BTreeSet<DeviceId>>,
    /// Secrets, and when they expire.
    pub(crate) tickets: Mutex<BTreeMap<[u8; 16], u64>>,
}

impl Trust {
    pub(crate) fn add(&self, device: DeviceId) {
        self.devices.lock().unwrap().insert(device);
    }

    pub(crate) fn remove(&self, device: DeviceId) {
        self.devices.lock().unwrap().remove(&device);
    }
}

impl Policy for Trust {
    fn is_paired(&self, device: DeviceId) -> bool {
        self.devices.lock().unwrap().contains(&device)
    }

    fn redeem(
        &self,
        secret: &[u8; 16],
        device: DeviceId,
        _key: [u8; 32],
        name: &str,
        _addresses: &[String],
    ) -> Option<String> {
        assert_ne!(name, "panic", "a policy may be faulty");
        let expires = self.tickets.lock().unwrap().remove(secret)?;
        (expires > NOW).then(|| {
            self.add(device);
            "inviter".to_owned()
        })
    }
}
