//! One direction of one connection: bytes come, wait for as long as the line takes, and go.
//!
//! Rate and delay are apart, as on a real line: a reader waits until the bottleneck is free, a writer until a piece has
//! travelled. What is read ahead is bounded by what the line holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Read at once, in bytes.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces under way in one direction: 16 MiB, more than a fast and long line holds.
const PIECES_MAX: usize = 1024;
/// How far a bottleneck makes up for timers that are late.
const CATCH_UP: Duration = Duration::from_millis(5);

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Nothing passes in these directions, and nobody is told.
    pub stalled: Option<Way>,
    /// New connections are closed at once.
    pub refusing: bool,
    /// Each byte takes so long, one way.
    pub delay: Duration,
    /// No more than this passes in each direction of each connection.
    pub bytes_per_second: Option<u64>,
    /// One byte in about so many is another one when it arrives.
    pub corrupt_every_bytes: Option<u32>,
    /// Connections made before this count was raised are cut.
    pub(crate) cuts: u64,
    /// The proxy ends.
    pub(crate) ended: bool,
}

/// Directions of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From who connects to who listens.
    There,
    /// From who listens to who connects.
    Back,
    /// Both.
    Both,
}

/// One direction of one connection.
pub(crate) struct Line {
    pub(crate) way: Way,
    pub(crate) fault: watch::Receiver<Fault>,
    pub(crate) random: Random,
    pub(crate) passed_bytes: Arc<watch::Sender<u64>>,
    pub(crate) corrupted_bytes: Arc<AtomicU64>,
}

impl Line {
    /// Passes bytes on until an end closes or fails.
    pub(crate) async fn carry(self, from: OwnedReadHalf, to: OwnedWriteHalf) {
        let Line { way, fault, random, passed_bytes, corrupted_bytes } = self;
        let (pieces, arriving) = mpsc::channel(PIECES_MAX);
        let reading = read(from, pieces, fault.clone(), random, corrupted_bytes);
        tokio::join!(reading, write(to, arriving, fault, way, &passed_bytes));
    }
}

async fn read(
    mut from: OwnedReadHalf,
    pieces: mpsc::Sender<(Instant, Vec<u8>)>,
    fault: watch::Receiver<Fault>,
    mut random: Random,
    corrupted_bytes: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut free_at = Instant::now();
    loop {
        let count = tokio::select! {
            // Nobody writes any more.
            () = pieces.closed() => return,
            count = from.read(&mut buffer) => match count {
                Ok(count @ 1..) => count,
                _ => return,
            },
        };
        let Fault { delay, bytes_per_second, corrupt_every_bytes, .. } = *fault.borrow();
        let mut piece = buffer[..count].to_vec();
        if let Some(every_bytes) = corrupt_every_bytes {
            corrupted_bytes.fetch_add(corrupt(&mut piece, every_bytes, &mut random), Ordering::Relaxed);
        }
        let now = Instant::now();
        free_at = free_at.max(now.checked_sub(CATCH_UP).unwrap_or(now));
        if let Some(rate) = bytes_per_second {
            free_at += Duration::from_secs(1).mul_f64(count as f64 / rate.max(1) as f64);
            sleep_until(free_at).await;
        }
        if pieces.send((Instant::now() + delay, piece)).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut arriving: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut fault: watch::Receiver<Fault>,
    way: Way,
    passed_bytes: &watch::Sender<u64>,
) {
    while let Some((due, piece)) = arriving.recv().await {
        // Without a delay not even a timer's step is added.
        if due > Instant::now() {
            sleep_until(due).await;
        }
        let passes =
            |fault: &Fault| fault.stalled.is_none_or(|stalled| stalled != way && stalled != Way::Both);
        if fault.wait_for(passes).await.is_err() || to.write_all(&piece).await.is_err() {
            return;
        }
        passed_bytes.send_modify(|passed| *passed += piece.len() as u64);
    }
}

/// Changes bytes of a piece; returns how many.
fn corrupt(piece: &mut [u8], every_bytes: u32, random: &mut Random) -> u64 {
    let mut n_corrupted = 0;
    for byte in piece {
        if random.below(u64::from(every_bytes.max(1))) == 0 {
            *byte ^= 1 << random.below(8);
            n_corrupted += 1;
        }
    }
    n_corrupted
}

/// splitmix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound
    }
}
