//! rsync: pushed to a daemon at each receiver, which encrypts nothing. Watching is rsync in a loop.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::args::Args;
use crate::peers::{Peer, Session, version_of};
use crate::plan::{Size, Step};
use crate::process::{Crew, Running};
use crate::world::{Member, World};

/// rsync in one setting.
struct Rsync {
    program: PathBuf,
    is_durable: bool,
}

/// In both settings.
pub fn all(args: &Args) -> Vec<Box<dyn Peer>> {
    let program = args.program("rsync");
    let setting = |is_durable| -> Box<dyn Peer> { Box::new(Rsync { program: program.clone(), is_durable }) };
    vec![setting(false), setting(true)]
}

impl Peer for Rsync {
    fn name(&self) -> &'static str {
        if self.is_durable { "rsync --fsync" } else { "rsync" }
    }

    fn setting(&self) -> &'static str {
        match self.is_durable {
            true => "the same, and every file made durable",
            false => "`rsync -a --delete` to a daemon: nothing encrypted, nothing made durable",
        }
    }

    fn version(&self) -> Option<String> {
        version_of(&self.program, "--version")
    }

    fn takes(&self, step: Step, size: Size) -> bool {
        let is_full_or_plain = !self.is_durable || size != Size::Quick;
        match step {
            Step::First => true,
            Step::Insert | Step::Overwrite | Step::Append | Step::Rename => is_full_or_plain,
            Step::Saves | Step::Rescan => !self.is_durable,
            Step::Index | Step::Restart | Step::Idle => false,
        }
    }

    fn open<'w>(&self, world: &'w World, _n_files: u64) -> Result<Box<dyn Session + 'w>> {
        let mut pushes = Pushes {
            program: self.program.clone(),
            options: if self.is_durable { vec!["--fsync"] } else { Vec::new() },
            world,
            targets: Vec::new(),
            daemons: Vec::new(),
            looping: None,
        };
        for receiver in world.receivers() {
            pushes.begin(receiver)?;
        }
        Ok(Box::new(pushes))
    }
}

struct Pushes<'w> {
    program: PathBuf,
    options: Vec<&'static str>,
    world: &'w World,
    /// A receiver's name and its URL.
    targets: Vec<(String, String)>,
    daemons: Vec<Running>,
    looping: Option<Loop>,
}

/// A thread that pushes over and over.
struct Loop {
    is_ended: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Session for Pushes<'_> {
    fn first(&mut self) -> Result<()> {
        self.pass()
    }

    fn pass(&mut self) -> Result<()> {
        let limit = self.world.limits.step;
        self.world.for_receivers(|receiver| self.push(receiver)?.push(limit))
    }

    fn watch(&mut self) -> Result<()> {
        let pushes = self.world.receivers().iter().map(|receiver| self.push(receiver));
        let pushes = pushes.collect::<Result<Vec<Push>>>()?;
        let (is_ended, limit) = (Arc::new(AtomicBool::new(false)), self.world.limits.step);
        let until = Arc::clone(&is_ended);
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                pushes.iter().try_for_each(|push| push.push(limit))?;
            }
            Ok(())
        });
        self.looping = Some(Loop { is_ended, thread });
        Ok(())
    }

    fn unwatch(&mut self) -> Result<()> {
        let Some(Loop { is_ended, thread }) = self.looping.take() else { return Ok(()) };
        is_ended.store(true, Ordering::Relaxed);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Pushes<'_> {
    fn drop(&mut self) {
        // What failed in the loop was told by what it should have brought.
        let _ = self.unwatch();
    }
}

impl Pushes<'_> {
    fn begin(&mut self, receiver: &Member) -> Result<()> {
        let (address, port) = (receiver.seat.address(), receiver.seat.free_port()?);
        let configuration = receiver.home.join("rsyncd.conf");
        let is_root = if rustix::process::geteuid().is_root() { "uid = 0\ngid = 0\n" } else { "" };
        let path = receiver.root.display();
        std::fs::write(
            &configuration,
            format!("use chroot = no\n{is_root}reverse lookup = no\n[tree]\npath = {path}\nread only = no\n"),
        )?;
        let mut command = receiver.command(&self.program);
        command.args(["--daemon", "--no-detach", "--address"]).arg(address.to_string());
        command.arg(format!("--port={port}")).arg("--config").arg(&configuration);
        command.args(["--log-file"]).arg(receiver.home.join("rsyncd.log"));
        self.daemons.push(receiver.crew.start(command.stdout(Stdio::null()).stderr(Stdio::null()))?);
        let url = format!("rsync://{address}:{port}/tree/");
        let source = self.world.source();
        let mut ask = source.command(&self.program);
        ask.arg(&url);
        self.world.await_some("the daemon answers", || {
            let said = source.crew.say(&mut ask, Duration::from_secs(10))?;
            Ok(said.status.success().then_some(()))
        })?;
        self.targets.push((receiver.name.clone(), url));
        Ok(())
    }

    fn push(&self, receiver: &Member) -> Result<Push> {
        let target = self.targets.iter().find(|(name, _)| *name == receiver.name);
        let source = self.world.source();
        let mut words = vec!["-a".to_owned(), "--delete".to_owned()];
        words.extend(self.options.iter().map(|option| (*option).to_owned()));
        words.push(format!("{}/", source.root.display()));
        words.push(target.context("every receiver has a daemon")?.1.clone());
        let (program, home) = (self.program.clone(), source.home.clone());
        Ok(Push { program, words, home, crew: source.crew.clone() })
    }
}

/// One push, which a thread can make over and over.
struct Push {
    program: PathBuf,
    words: Vec<String>,
    home: PathBuf,
    crew: Crew,
}

impl Push {
    fn push(&self, limit: Duration) -> Result<()> {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.words).env_clear().env("HOME", &self.home).env("LANG", "C.UTF-8");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        self.crew.run(&mut command, limit)?;
        Ok(())
    }
}
