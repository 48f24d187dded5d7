//! file-sync: a server a member, as its README says, with nothing set.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::http::ask;
use crate::peers::{Peer, Session, version_of};
use crate::plan::{FILE_SYNC, Shape, Size, Step};
use crate::process::Running;
use crate::tree::bytes_below;
use crate::world::{Member, World};

/// The project's own.
pub struct FileSync {
    /// The binary.
    pub program: PathBuf,
}

impl Peer for FileSync {
    fn name(&self) -> &'static str {
        FILE_SYNC
    }

    fn setting(&self) -> &'static str {
        "as it comes; every pair of members is paired, unless it is said that they are a star; a first sync is from `sync up` to the return of `sync wait`"
    }

    fn version(&self) -> Option<String> {
        version_of(&self.program, "--version")
    }

    fn takes(&self, _step: Step, _size: Size) -> bool {
        true
    }

    fn open<'w>(&self, world: &'w World, n_files: u64) -> Result<Box<dyn Session + 'w>> {
        let ports = world.members.iter().map(|member| member.seat.free_port()).collect::<Result<_>>()?;
        let mut session =
            Servers { program: self.program.clone(), world, n_files, ports, running: Vec::new() };
        session.begin()?;
        session.pair()?;
        Ok(Box::new(session))
    }
}

struct Servers<'w> {
    program: PathBuf,
    world: &'w World,
    n_files: u64,
    ports: Vec<u16>,
    running: Vec<Running>,
}

impl Session for Servers<'_> {
    fn index(&mut self) -> Result<()> {
        let source = self.world.source();
        self.command(source, &["file", "up", "--name", "tree"], Some(&source.root))?;
        self.world.await_some("the source is indexed", || {
            let directory = self.directory(source)?;
            let is_done = directory["state"] == "idle" && directory["files"] == self.n_files;
            Ok(is_done.then_some(()))
        })
    }

    fn first(&mut self) -> Result<()> {
        let offered = format!("{}:tree", self.world.source().name);
        self.world.for_receivers(|member| {
            self.command(member, &["sync", "up", &offered], Some(&member.root))?;
            self.wait(member)
        })
    }

    fn pass(&mut self) -> Result<()> {
        self.wait(self.world.source())
    }

    fn stop(&mut self) -> Result<()> {
        self.running.clear();
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        self.begin()?;
        self.await_connected()?;
        self.wait(self.world.source())
    }

    fn index_bytes(&self) -> Result<Option<u64>> {
        Ok(Some(bytes_below(&self.world.source().home.join("file-sync"))?))
    }
}

impl Servers<'_> {
    /// Starts all servers and waits until they answer.
    fn begin(&mut self) -> Result<()> {
        for (member, port) in self.world.members.iter().zip(&self.ports) {
            let mut command = self.file_sync(member);
            command.args(["server", "--no-discovery", "--no-web", "--name", &member.name]);
            command.arg("--listen").arg(format!("{}:{port}", member.seat.address()));
            let log = std::fs::File::options().create(true).append(true).open(member.home.join("log"))?;
            command.stdout(Stdio::null()).stderr(log);
            self.running.push(member.crew.start(&mut command)?);
        }
        for member in &self.world.members {
            self.world.await_some("the server answers", || Ok(status(member).ok()))?;
        }
        Ok(())
    }

    fn pair(&self) -> Result<()> {
        let n_hosts = if self.world.shape == Shape::Star { 1 } else { self.world.members.len() };
        for (number, host) in self.world.members.iter().enumerate().take(n_hosts) {
            for guest in &self.world.members[number + 1..] {
                let ticket = self.command(host, &["remote", "invite"], None)?;
                self.command(guest, &["remote", "add", &host.name, ticket.trim_end()], None)?;
            }
        }
        self.await_connected()
    }

    fn await_connected(&self) -> Result<()> {
        for (member, n_remotes) in self.world.members.iter().zip(self.world.n_acquaintances()) {
            self.world.await_some("all are connected", || {
                let status = status(member)?;
                let remotes = status["remotes"].as_array().context("status lists remotes")?;
                let is_connected = |remote: &Value| remote["connected"] == true;
                let are_all = remotes.len() == n_remotes && remotes.iter().all(is_connected);
                Ok(are_all.then_some(()))
            })?;
        }
        Ok(())
    }

    fn wait(&self, member: &Member) -> Result<()> {
        let limit = format!("{}s", self.world.limits.step.as_secs());
        self.command(member, &["sync", "wait", "--timeout", &limit], None)?;
        Ok(())
    }

    fn directory(&self, member: &Member) -> Result<Value> {
        Ok(status(member)?["directories"][0].clone())
    }

    fn command(&self, member: &Member, words: &[&str], path: Option<&Path>) -> Result<String> {
        member.crew.run(self.file_sync(member).args(words).args(path), self.world.limits.step)
    }

    fn file_sync(&self, member: &Member) -> Command {
        let mut command = member.command(&self.program);
        command.env("FILE_SYNC_HOME", member.home.join("file-sync"));
        command
    }
}

fn status(member: &Member) -> Result<Value> {
    ask(&member.home.join("file-sync/control.sock"), "GET", "/v1/status", &[], None)
}
