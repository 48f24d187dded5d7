//! A long line between two namespaces: packets wait for the bottleneck, travel, and some are lost.
//!
//! It carries IP packets between two TUN interfaces, so that each end's own TCP has to find out what the line bears: the
//! proxy of `crates/proxy` ends connections, which would spare them that. Which packets are lost follows from a seed.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::network::Seat;
use crate::plan::LongLine;

/// More than any interface's packets.
const PACKET_BYTES_MAX: usize = 65_536;
/// How much waits for the bottleneck before packets are dropped.
const QUEUE: Duration = Duration::from_millis(100);
/// How far the bottleneck makes up for a late thread.
const CATCH_UP: Duration = Duration::from_millis(2);

/// A line that works until it is dropped.
pub struct Link {
    is_ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    /// Joins two seats.
    ///
    /// # Errors
    /// When there are not two, or the interfaces cannot be made.
    pub fn between(seats: &[Arc<Seat>], line: LongLine) -> Result<Link> {
        let [left, right] = seats else { bail!("a long line has two ends") };
        let ends = [open(left)?, open(right)?];
        let is_ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_ended);
        let carry = move || {
            let mut ways = [Way::new(line, 1), Way::new(line, 2)];
            while !until.load(Ordering::Relaxed) {
                if carry_once(&ends, &mut ways).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("link".to_owned()).spawn(carry)?;
        Ok(Link { is_ended, thread: Some(thread) })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has panicked, and said so, or has ended.
            let _ = thread.join();
        }
    }
}

fn open(seat: &Seat) -> Result<SyncDevice> {
    let make = || DeviceBuilder::new().name("long0").mtu(1500).build_sync();
    let device = seat.enter(make)?.context("cannot make a TUN interface")?;
    device.set_nonblocking(true)?;
    seat.set_up()?;
    Ok(device)
}

/// Waits for packets or for the time of one under way, and moves what can be moved.
fn carry_once(ends: &[SyncDevice; 2], ways: &mut [Way; 2]) -> io::Result<()> {
    let due = ways.iter().filter_map(Way::due).min();
    let longest = Duration::from_millis(50);
    let wait = due.map_or(longest, |due| due.saturating_duration_since(Instant::now()).min(longest));
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    let mut handles = [PollFd::new(&ends[0], PollFlags::IN), PollFd::new(&ends[1], PollFlags::IN)];
    match poll(&mut handles, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    for (from, way) in ways.iter_mut().enumerate() {
        way.take(&ends[from])?;
        way.give(&ends[1 - from])?;
    }
    Ok(())
}

/// One direction.
struct Way {
    line: LongLine,
    free_at: Instant,
    under_way: VecDeque<(Instant, Vec<u8>)>,
    random: blake3::OutputReader,
    buffer: Vec<u8>,
}

impl Way {
    fn new(line: LongLine, seed: u64) -> Way {
        let random = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        let buffer = vec![0; PACKET_BYTES_MAX];
        Way { line, free_at: Instant::now(), under_way: VecDeque::new(), random, buffer }
    }

    fn due(&self) -> Option<Instant> {
        self.under_way.front().map(|(due, _)| *due)
    }

    /// Takes all that has come.
    fn take(&mut self, from: &SyncDevice) -> io::Result<()> {
        loop {
            let n_bytes = match from.recv(&mut self.buffer) {
                Ok(n_bytes) => n_bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let now = Instant::now();
            self.free_at = self.free_at.max(now.checked_sub(CATCH_UP).unwrap_or(now));
            if self.free_at > now + QUEUE || self.is_lost() {
                continue;
            }
            let bits = n_bytes as f64 * 8.0;
            self.free_at += Duration::from_secs_f64(bits / self.line.bits_per_second as f64);
            let arrival = self.free_at + self.line.delay;
            self.under_way.push_back((arrival, self.buffer[..n_bytes].to_vec()));
        }
    }

    /// Hands on what has arrived.
    fn give(&mut self, to: &SyncDevice) -> io::Result<()> {
        while self.due().is_some_and(|due| due <= Instant::now()) {
            let Some((_, packet)) = self.under_way.pop_front() else { return Ok(()) };
            match to.send(&packet) {
                // A full interface drops packets, as real ones do.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_lost(&mut self) -> bool {
        let Some(every) = self.line.lost_every else { return false };
        let mut bytes = [0; 4];
        self.random.fill(&mut bytes);
        u32::from_le_bytes(bytes) % every.max(1) == 0
    }
}
