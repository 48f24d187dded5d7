//! An island: a network namespace with nothing but a loopback interface, so that the only way off it is a proxy.
//!
//! Servers tell each other where they listen. On one machine that would lead around any proxy; on an island the same
//! address is the proxy's.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network of its own; it ends when the last process and the last socket on it have gone.
pub struct Island {
    namespace: File,
}

impl Island {
    /// Makes an island, which only root may do, with unshare(1) and ip(8).
    ///
    /// # Errors
    /// When that is not allowed, or a program is missing.
    pub fn new() -> io::Result<Island> {
        let mut founder = Founder::new()?;
        let mut said = [0];
        let stdout = founder.0.stdout.as_mut().expect("it was piped");
        if stdout.read(&mut said)? == 0 {
            return Err(io::Error::other("a network namespace cannot be made here"));
        }
        Ok(Island { namespace: File::open(format!("/proc/{}/ns/net", founder.0.id()))? })
    }

    /// Does something on the island. Sockets made, and processes started, by it stay there.
    ///
    /// # Errors
    /// When the island cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        // A thread of its own, since a thread that has gone there would have to be brought back.
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Somebody on the island while it has no other hold; goes when its stdin is closed, and so with the test.
struct Founder(Child);

impl Founder {
    fn new() -> io::Result<Founder> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && echo && exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map(Founder)
    }
}

impl Drop for Founder {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
