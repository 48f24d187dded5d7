//! rsync: pushed to a daemon at each receiver, which encrypts nothing. Watching is rsync in a loop.
//!
//! Its small messages wait for each other's acknowledgements unless both sides set TCP_NODELAY, which is its fastest fair
//! setting, and the one that ratios are quoted to.

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
    setting: Setting,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    Default,
    Fast,
    Durable,
}

/// In all settings.
pub fn all(args: &Args) -> Vec<Box<dyn Peer>> {
    let program = args.program("rsync");
    let peer = |setting| -> Box<dyn Peer> { Box::new(Rsync { program: program.clone(), setting }) };
    vec![peer(Setting::Fast), peer(Setting::Default), peer(Setting::Durable)]
}

impl Peer for Rsync {
    fn name(&self) -> &'static str {
        match self.setting {
            Setting::Default => "rsync (defaults)",
            Setting::Fast => "rsync",
            Setting::Durable => "rsync --fsync",
        }
    }

    fn setting(&self) -> &'static str {
        match self.setting {
            Setting::Default => "`rsync -a --delete` to a daemon: nothing encrypted, nothing made durable",
            Setting::Fast => "the same with `TCP_NODELAY` on both sides and `--modify-window=-1`",
            Setting::Durable => "the same as rsync, with `--fsync`",
        }
    }

    fn version(&self) -> Option<String> {
        version_of(&self.program, "--version")
    }

    fn takes(&self, step: Step, size: Size) -> bool {
        match step {
            Step::First => true,
            Step::Insert | Step::Overwrite | Step::Append | Step::Rename | Step::Saves | Step::Rescan => {
                self.setting == Setting::Fast || (self.setting == Setting::Default && size == Size::Full)
            }
            Step::Index | Step::Restart | Step::Catchup | Step::Idle => false,
        }
    }

    fn n_runs_max(&self, size: Size) -> u32 {
        if size == Size::Quick && self.setting != Setting::Fast { 1 } else { u32::MAX }
    }

    fn open<'w>(&self, world: &'w World, _n_files: u64) -> Result<Box<dyn Session + 'w>> {
        let mut pushes = Pushes {
            program: self.program.clone(),
            setting: self.setting,
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
    setting: Setting,
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
        let options = match self.setting {
            Setting::Default => "",
            Setting::Fast | Setting::Durable => "socket options = TCP_NODELAY\n",
        };
        std::fs::write(
            &configuration,
            format!(
                "use chroot = no\nmunge symlinks = no\n{options}{is_root}reverse lookup = no\n[tree]\npath = {path}\nread only = no\n"
            ),
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
        let options: &[&str] = match self.setting {
            Setting::Default => &[],
            Setting::Fast => &["--sockopts=TCP_NODELAY", "--modify-window=-1"],
            Setting::Durable => &["--sockopts=TCP_NODELAY", "--modify-window=-1", "--fsync"],
        };
        words.extend(options.iter().map(|option| (*option).to_owned()));
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
