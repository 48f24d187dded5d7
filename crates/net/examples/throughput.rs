//! How quickly contents pass between two networks of one process over loopback, and what that costs both sides.
//!
//! `cargo run --release -p file-sync-net --example throughput`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for whoever reads the terminal")]

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use file_sync_core::effect::ChunkList;
use file_sync_core::version::{ContentHash, DeviceId, DirectoryId};
use file_sync_net::{
    ContentProvider, ContentReader, FetchError, Identity, Link, NetEvent, Network, NetworkConfig, Policy,
    RatesMax, Timing,
};
use file_sync_wire::kept::{KeptPage, KeptQuestion};
use tokio::sync::mpsc;

const DIRECTORY: DirectoryId = DirectoryId([0; 16]);
const LARGE_BYTES: u64 = 1 << 30;
const RANGE_BYTES: u32 = 1 << 20;
const SMALL_CONTENTS: u64 = 20_000;
const SMALL_BYTES: u64 = 4 << 10;

#[tokio::main]
async fn main() {
    let (one, mut one_events) = start();
    let (two, mut two_events) = start();
    one.1.set_remote(two.0, vec![two.1.local_address().to_string()]);
    let (link, other) = (up(&mut one_events).await, up(&mut two_events).await);
    for round in 1..=3 {
        println!("round {round}");
        measure("  1 GiB by ranges", LARGE_BYTES, large(link.clone())).await;
        measure("  1 GiB by ranges, listener asks", LARGE_BYTES, large(other.clone())).await;
        measure("  20,000 of 4 KiB", SMALL_CONTENTS * SMALL_BYTES, small(link.clone())).await;
    }
    one.1.shutdown().await;
    two.1.shutdown().await;
}

fn start() -> ((DeviceId, Network), mpsc::Receiver<NetEvent>) {
    let home = tempfile::tempdir().unwrap();
    let identity = Arc::new(Identity::load_or_create(home.path()).unwrap());
    let (events, receiver) = mpsc::channel(64);
    let network = Network::start(NetworkConfig {
        identity: identity.clone(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        name: "throughput".to_owned(),
        incarnation: 1,
        policy: Arc::new(Everybody),
        provider: Arc::new(Zeros),
        events,
        timing: Timing::default(),
        protocols: NetworkConfig::PROTOCOLS,
        rates: RatesMax::default(),
    });
    ((identity.device_id(), network.unwrap()), receiver)
}

async fn up(events: &mut mpsc::Receiver<NetEvent>) -> Link {
    match events.recv().await.unwrap() {
        NetEvent::Up { link, .. } => link,
        other => panic!("{other:?}"),
    }
}

async fn large(link: Link) -> u64 {
    let ranges = (0..LARGE_BYTES / u64::from(RANGE_BYTES)).map(|n| (n * u64::from(RANGE_BYTES), RANGE_BYTES));
    let mut fetch = link.fetch_ranges(DIRECTORY, ContentHash::of(b"large"), ranges.collect());
    let mut bytes = 0;
    while let Some(piece) = fetch.recv().await {
        bytes += piece.unwrap().1.len() as u64;
    }
    bytes
}

async fn small(link: Link) -> u64 {
    let contents = (0..SMALL_CONTENTS).map(|n| ContentHash::of(&n.to_be_bytes())).collect();
    let mut fetch = link.fetch_small(DIRECTORY, contents);
    let mut bytes = 0;
    while let Some((_, content)) = fetch.recv().await {
        bytes += content.unwrap().len() as u64;
    }
    bytes
}

async fn measure(what: &str, expected: u64, fetch: impl Future<Output = u64>) {
    let (began, cpu_began) = (Instant::now(), cpu_seconds());
    assert_eq!(fetch.await, expected);
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu_began);
    let mb_per_second = expected as f64 / 1e6 / seconds;
    let cpu_per_gib = cpu * f64::from(1 << 30) / expected as f64;
    println!("{what}: {seconds:.2} s, {mb_per_second:.0} MB/s, {cpu:.2} CPU s, {cpu_per_gib:.2} CPU s/GiB");
}

/// Of this process, in user and kernel.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

struct Everybody;

impl Policy for Everybody {
    fn is_paired(&self, _device: DeviceId) -> bool {
        true
    }

    fn redeem(
        &self,
        _secret: &[u8; 16],
        _device: DeviceId,
        _key: [u8; 32],
        _name: &str,
        _addresses: &[String],
    ) -> Option<String> {
        None
    }
}

/// Every content is zeros: what reading costs is not measured here.
struct Zeros;

impl ContentProvider for Zeros {
    fn open(
        &self,
        _remote: DeviceId,
        _directory: DirectoryId,
        content: ContentHash,
    ) -> Result<Box<dyn ContentReader>, FetchError> {
        let is_large = content == ContentHash::of(b"large");
        Ok(Box::new(Zero { length: if is_large { LARGE_BYTES } else { SMALL_BYTES } }))
    }

    fn chunk_list(
        &self,
        _remote: DeviceId,
        _directory: DirectoryId,
        _content: ContentHash,
    ) -> Result<(u64, ChunkList), FetchError> {
        Err(FetchError::NotHeld)
    }

    fn kept(
        &self,
        _remote: DeviceId,
        _directory: DirectoryId,
        _question: &KeptQuestion,
    ) -> Result<KeptPage, FetchError> {
        Err(FetchError::NotHeld)
    }
}

struct Zero {
    length: u64,
}

impl ContentReader for Zero {
    fn length(&self) -> u64 {
        self.length
    }

    fn append_at(&mut self, offset: u64, n_bytes: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let count = self.length.saturating_sub(offset).min(n_bytes as u64) as usize;
        buffer.resize(buffer.len() + count, 0);
        Ok(())
    }

    fn unchanged(&mut self) -> bool {
        true
    }
}
