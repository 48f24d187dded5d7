//! Where members sit: network namespaces of their own, joined by virtual Ethernet or a long line; without root, loopback.
//!
//! Namespaces end with the last process in them; nothing of the machine's own network is touched.

#![expect(clippy::print_stderr, reason = "a tool for developers")]

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use file_sync_proxy::Island;

use crate::link::Link;
use crate::plan::{Line, LongLine};

/// What networks can be made here.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// Namespaces joined by virtual Ethernet, so that bytes on the wire can be counted.
    pub has_wire: bool,
    /// Long lines.
    pub has_long_line: bool,
}

impl Means {
    /// Tries; says on stderr what cannot be had.
    pub fn probe() -> Means {
        let all = Means { has_wire: true, has_long_line: true };
        let can = |line, what: &str| match Network::new(2, line, all) {
            Ok(_) => true,
            Err(error) => {
                eprintln!("{what}: {error:#}");
                false
            }
        };
        let has_wire = can(Line::Direct, "all is on loopback, and bytes on the wire are not counted");
        let line = LongLine { delay: Duration::ZERO, bits_per_second: 1_000_000, lost_every: None };
        Means { has_wire, has_long_line: has_wire && can(Line::Long(line), "there is no long line") }
    }
}

/// All seats, and what is between them.
pub struct Network {
    seats: Vec<Arc<Seat>>,
    _link: Option<Link>,
}

/// One member's place.
pub struct Seat {
    island: Option<Island>,
    address: IpAddr,
    /// What its bytes go out by.
    interface: &'static str,
}

impl Network {
    /// Makes namespaces, or takes loopback where that is not allowed.
    ///
    /// # Errors
    /// When a long line is wanted and cannot be had, or the namespaces cannot be joined.
    pub fn new(n_seats: usize, line: Line, means: Means) -> Result<Network> {
        if !means.has_wire {
            return Network::on_loopback(n_seats, line);
        }
        match line {
            Line::Direct => Network::in_namespaces(n_seats),
            Line::Long(line) => {
                let seats = seats(n_seats, "long0")?;
                let link = Link::between(&seats, line)?;
                Ok(Network { seats, _link: Some(link) })
            }
        }
    }

    fn on_loopback(n_seats: usize, line: Line) -> Result<Network> {
        if line != Line::Direct {
            bail!("a long line needs namespaces");
        }
        let seat = |number: usize| {
            let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, u8::try_from(number + 1)?));
            Ok(Arc::new(Seat { island: None, address, interface: "lo" }))
        };
        Ok(Network { seats: (0..n_seats).map(seat).collect::<Result<_>>()?, _link: None })
    }

    /// Two are joined directly, more by a bridge at the first.
    fn in_namespaces(n_seats: usize) -> Result<Network> {
        let mut seats = Vec::new();
        for number in 0..n_seats {
            let interface = if number == 0 && n_seats > 2 { "bridge" } else { "eth0" };
            seats.push(Arc::new(Seat::new(number, interface)?));
        }
        let (first, others) = seats.split_first().context("a network has a member")?;
        if n_seats > 2 {
            first.ip(&["link", "add", "bridge", "type", "bridge"])?;
        }
        for (number, other) in others.iter().enumerate() {
            let near = if n_seats > 2 { format!("port{number}") } else { "eth0".to_owned() };
            let there = other.namespace()?;
            let path = format!("/proc/{}/fd/{}", std::process::id(), there.as_raw_fd());
            first.ip(&["link", "add", &near, "type", "veth", "peer", "name", "eth0", "netns", &path])?;
            if n_seats > 2 {
                first.ip(&["link", "set", &near, "master", "bridge", "up"])?;
            }
        }
        for seat in &seats {
            seat.set_up()?;
        }
        Ok(Network { seats, _link: None })
    }

    /// The seats, in order.
    pub fn seats(&self) -> &[Arc<Seat>] {
        &self.seats
    }

    /// Bytes that all members have sent, headers included; `None` on loopback.
    pub fn sent_bytes(&self) -> Option<u64> {
        self.seats.iter().map(|seat| seat.sent_bytes()).sum()
    }
}

fn seats(n_seats: usize, interface: &'static str) -> Result<Vec<Arc<Seat>>> {
    (0..n_seats).map(|number| Ok(Arc::new(Seat::new(number, interface)?))).collect()
}

impl Seat {
    fn new(number: usize, interface: &'static str) -> Result<Seat> {
        let island = Island::new().context("cannot make a network namespace")?;
        let address = IpAddr::V4(Ipv4Addr::new(10, 77, 0, u8::try_from(number + 1)?));
        Ok(Seat { island: Some(island), address, interface })
    }

    /// Gives its interface an address, and quiet: neighbours are not looked for by IPv6.
    ///
    /// # Errors
    /// When ip(8) says so.
    pub fn set_up(&self) -> Result<()> {
        self.ip(&["link", "set", self.interface, "addrgenmode", "none"])?;
        self.ip(&["address", "add", &format!("{}/24", self.address), "dev", self.interface])?;
        self.ip(&["link", "set", self.interface, "up"])
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// A port that is free at its address.
    ///
    /// # Errors
    /// When there is none.
    pub fn free_port(&self) -> Result<u16> {
        let bind = || TcpListener::bind((self.address, 0))?.local_addr();
        Ok(self.enter(bind)??.port())
    }

    /// Starts a process there.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.enter(|| command.spawn())?
    }

    /// Does something there.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        match &self.island {
            Some(island) => island.enter(work),
            None => Ok(work()),
        }
    }

    fn ip(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(arguments).stdin(Stdio::null());
        let output = self.enter(|| command.output())?.context("cannot run ip")?;
        if !output.status.success() {
            bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(())
    }

    fn namespace(&self) -> Result<File> {
        Ok(self.enter(|| File::open("/proc/thread-self/ns/net"))??)
    }

    fn sent_bytes(&self) -> Option<u64> {
        self.island.as_ref()?;
        let table = self.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev")).ok()?.ok()?;
        let line = table.lines().find_map(|line| line.trim_start().strip_prefix(self.interface))?;
        // Eight figures of what came, then those of what went, proc_pid_net(5).
        line.trim_start_matches(':').split_whitespace().nth(8)?.parse().ok()
    }
}
