//! One device of the demo: a home, a directory, and a server as a child process of this binary.
//!
//! A server is ended by its own handle or process id, never otherwise.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use file_sync_server::api::types::Status;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::at;
use crate::client::Client;
use crate::failure::Failure;

/// How long a server may take until it is ready.
const READY_MAX: Duration = Duration::from_secs(10);
/// How long it may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(5);
const N_LOG_LINES: usize = 10;

/// A device. Its server goes on when this is dropped; [`Device::stop`] ends it.
pub struct Device {
    name: &'static str,
    base: PathBuf,
    server: Option<Child>,
}

impl Device {
    /// A device below `base` whose server is not started yet.
    pub fn new(base: &Path, name: &'static str) -> Device {
        Device { name, base: base.join(name), server: None }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its home.
    pub fn home(&self) -> PathBuf {
        self.base.join("home")
    }

    /// Its copy of the directory.
    pub fn root(&self) -> PathBuf {
        self.base.join("docs")
    }

    /// A client of its server.
    pub fn client(&self) -> Client {
        Client::new(self.home())
    }

    /// The server's process id, if it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.server.as_ref().and_then(Child::id)
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, ends at once, or is not ready in time.
    pub async fn start(&mut self) -> Result<(), Failure> {
        std::fs::create_dir(&self.base).map_err(|error| at(&self.base, error))?;
        let child = self.spawn().map_err(|error| at(&self.base, error))?;
        let server = self.server.insert(child);
        let client = Client::new(self.base.join("home"));
        let ready = async {
            loop {
                let asked: Result<Status, Failure> = client.get("/v1/status").await;
                match asked {
                    Ok(_) => return Ok(()),
                    Err(Failure::NoServer(_)) => sleep(Duration::from_millis(20)).await,
                    Err(failure) => return Err(failure),
                }
            }
        };
        tokio::select! {
            ready = timeout(READY_MAX, ready) => {
                ready.unwrap_or_else(|_| Err(Failure::refused(format!("{}'s server is not ready in time", self.name))))
            }
            _ = server.wait() => Err(Failure::refused(format!("{}'s server ended at its start", self.name))),
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        let listen = free_address()?;
        Command::new(std::env::current_exe()?)
            .arg("--home")
            .arg(self.home())
            .args([
                "server",
                "--no-discovery",
                "--no-web",
                "--name",
                self.name,
                "--listen",
                &listen.to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.base.join("log"))?)
            // The terminal's Ctrl-C is for the demo, which then stops its servers in order.
            .process_group(0)
            .spawn()
    }

    /// Stops the server: politely, then not. Nothing if it does not run.
    pub async fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let pid = server.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It has ended by itself if there is nobody to signal.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_MAX, server.wait()).await.is_err() {
            let _ = server.kill().await;
        }
    }

    /// The end of what the server logged.
    pub fn last_log_lines(&self) -> Vec<String> {
        let log = std::fs::read(self.base.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(N_LOG_LINES)..];
        tail.iter().map(|line| format!("[{}] {line}", self.name)).collect()
    }
}

/// An address that nobody listens at just now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
