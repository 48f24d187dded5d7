//! Unison: over a socket, which encrypts nothing. It watches only with its helper `unison-fsmonitor`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::args::Args;
use crate::peers::{Peer, Session, version_of};
use crate::plan::{Size, Step};
use crate::process::Running;
use crate::world::{Member, World};

/// Unison, with nothing set that matters for speed.
struct Unison {
    program: PathBuf,
}

/// In its one setting.
pub fn all(args: &Args) -> Vec<Box<dyn Peer>> {
    vec![Box::new(Unison { program: args.program("unison") })]
}

impl Peer for Unison {
    fn name(&self) -> &'static str {
        "Unison"
    }

    fn setting(&self) -> &'static str {
        "`-batch -times -confirmbigdel=false` to `-socket`: nothing encrypted, nothing made durable; single saves by \
         `-repeat watch` where `unison-fsmonitor` is installed, else by `-repeat 1`"
    }

    fn version(&self) -> Option<String> {
        version_of(&self.program, "-version")
    }

    fn takes(&self, step: Step, _size: Size) -> bool {
        !matches!(step, Step::Index | Step::Restart | Step::Idle)
    }

    fn open<'w>(&self, world: &'w World, _n_files: u64) -> Result<Box<dyn Session + 'w>> {
        let mut pairs =
            Pairs { program: self.program.clone(), world, servers: Vec::new(), watching: Vec::new() };
        // Several that begin at once would each want to make it.
        std::fs::create_dir_all(world.source().home.join("unison"))?;
        for receiver in world.receivers() {
            pairs.begin(receiver)?;
        }
        Ok(Box::new(pairs))
    }
}

struct Pairs<'w> {
    program: PathBuf,
    world: &'w World,
    servers: Vec<Server>,
    watching: Vec<Running>,
}

/// At a receiver.
struct Server {
    receiver: String,
    url: String,
    _process: Running,
}

impl Session for Pairs<'_> {
    fn first(&mut self) -> Result<()> {
        self.pass()
    }

    fn pass(&mut self) -> Result<()> {
        self.world.for_receivers(|receiver| {
            let mut command = self.unison(receiver)?;
            self.world.source().crew.run(&mut command, self.world.limits.step)?;
            Ok(())
        })
    }

    fn watch(&mut self) -> Result<()> {
        let is_able = version_of("unison-fsmonitor".as_ref(), "-help").is_some();
        for receiver in self.world.receivers() {
            let mut command = self.unison(receiver)?;
            command.args(["-repeat", if is_able { "watch" } else { "1" }]);
            let log = std::fs::File::create(self.world.source().home.join("watch.log"))?;
            command.stdout(Stdio::null()).stderr(log);
            self.watching.push(self.world.source().crew.start(&mut command)?);
        }
        Ok(())
    }

    fn unwatch(&mut self) -> Result<()> {
        self.watching.clear();
        Ok(())
    }
}

impl Pairs<'_> {
    fn begin(&mut self, receiver: &Member) -> Result<()> {
        let (address, port) = (receiver.seat.address(), receiver.seat.free_port()?);
        let log = receiver.home.join("unison.log");
        let file = std::fs::File::create(&log)?;
        let mut command = receiver.command(&self.program);
        command.env("UNISON", receiver.home.join("unison"));
        command.arg("-socket").arg(port.to_string()).arg("-listen").arg(address.to_string());
        command.stdout(file.try_clone()?).stderr(file);
        let mut process = receiver.crew.start(&mut command)?;
        self.world.await_some("the server listens", || {
            let said = std::fs::read_to_string(&log)?;
            if !process.is_alive() {
                anyhow::bail!("the server ended: {}", said.trim_end());
            }
            Ok(said.contains("server started").then_some(()))
        })?;
        let url = format!("socket://{address}:{port}/{}", receiver.root.display());
        self.servers.push(Server { receiver: receiver.name.clone(), url, _process: process });
        Ok(())
    }

    fn unison(&self, receiver: &Member) -> Result<Command> {
        let server = self.servers.iter().find(|server| server.receiver == receiver.name);
        let server = server.context("every receiver has a server")?;
        let source = self.world.source();
        let mut command = source.command(&self.program);
        command.env("UNISON", source.home.join("unison"));
        command.arg(&source.root).arg(&server.url);
        command.args(["-ui", "text", "-batch", "-times", "-confirmbigdel=false", "-contactquietly"]);
        Ok(command)
    }
}
