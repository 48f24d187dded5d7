//! Faults of the lines between devices.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use file_sync_proxy::{Proxy, Way};

use crate::random::Random;

/// All lines of a run, by who dials and who is dialled.
#[derive(Default)]
pub struct Lines {
    pub proxies: BTreeMap<(usize, usize), Proxy>,
    /// While it is set, all lines are good ones.
    pub is_calm: AtomicBool,
}

impl Lines {
    /// Makes lines bad and good again until the work is over; returns how often each was done.
    pub fn disturb(&self, mut random: Random, is_over: &AtomicBool) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        let all: Vec<&Proxy> = self.proxies.values().collect();
        while !is_over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50 + random.below(400)));
            if self.is_calm.load(Ordering::Relaxed) {
                self.heal();
            } else if let Some(proxy) = random.of(&all) {
                let kind = harm(proxy, &mut random);
                *counts.entry(kind).or_default() += 1;
            }
        }
        self.heal();
        let corrupted = all.iter().map(|proxy| proxy.counts().corrupted_bytes).sum();
        counts.insert("bytes corrupted", corrupted);
        counts
    }

    /// Makes all lines good, and keeps them so.
    pub fn calm(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
        self.heal();
    }

    /// Lets lines go bad again.
    pub fn resume(&self) {
        self.is_calm.store(false, Ordering::Relaxed);
    }

    fn heal(&self) {
        self.proxies.values().for_each(Proxy::heal);
    }
}

fn harm(proxy: &Proxy, random: &mut Random) -> &'static str {
    let milliseconds = Duration::from_millis(5 + random.below(150));
    let rate = 20_000 + random.below(1_000_000);
    let kind = random.below(12);
    proxy.set(|fault| match kind {
        0 => fault.delay = milliseconds,
        1 => fault.bytes_per_second = Some(rate),
        2 => fault.stalled = Some(Way::Both),
        3 => fault.stalled = Some(Way::There),
        4 => fault.stalled = Some(Way::Back),
        5 => fault.refusing = true,
        6 => fault.corrupt_every_bytes = Some(2_000 + u32::try_from(rate / 20).unwrap_or(0)),
        _ => {}
    });
    match kind {
        0 => "delays",
        1 => "throttles",
        2 => "stalls",
        3 | 4 => "one-way stalls",
        5 => "refusals",
        6 => "corrupting lines",
        7 | 8 => {
            proxy.cut();
            "cuts"
        }
        _ => {
            proxy.heal();
            "heals"
        }
    }
}

/// The address at which a device listens, as a socket's.
pub fn socket_address(address: &str) -> SocketAddr {
    address.parse().expect("a device listens at IP:PORT")
}
