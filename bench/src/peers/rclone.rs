//! rclone: synced to its own SFTP server at each receiver, encrypted. It knows no deltas and carries no symlinks.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::args::Args;
use crate::peers::{Peer, Session, version_of};
use crate::plan::{Size, Step};
use crate::process::Running;
use crate::world::{Member, World};

/// What the server asks for.
const USER: &str = "bench";

/// rclone in one setting.
struct Rclone {
    program: PathBuf,
    is_default: bool,
}

/// In both settings.
pub fn all(args: &Args) -> Vec<Box<dyn Peer>> {
    let program = args.program("rclone");
    let setting = |is_default| -> Box<dyn Peer> { Box::new(Rclone { program: program.clone(), is_default }) };
    vec![setting(false), setting(true)]
}

impl Peer for Rclone {
    fn name(&self) -> &'static str {
        if self.is_default { "rclone (defaults)" } else { "rclone" }
    }

    fn setting(&self) -> &'static str {
        match self.is_default {
            true => "`rclone sync --create-empty-src-dirs` to `rclone serve sftp`",
            false => "the same with `--transfers 16 --checkers 16 --track-renames`",
        }
    }

    fn version(&self) -> Option<String> {
        version_of(&self.program, "version")
    }

    fn takes(&self, step: Step, size: Size) -> bool {
        match step {
            Step::First => !self.is_default || size != Size::Quick,
            Step::Insert | Step::Overwrite | Step::Append | Step::Rename | Step::Rescan => !self.is_default,
            Step::Index | Step::Saves | Step::Restart | Step::Catchup | Step::Idle => false,
        }
    }

    fn n_runs_max(&self, size: Size) -> u32 {
        if size == Size::Quick && self.is_default { 1 } else { u32::MAX }
    }

    fn open<'w>(&self, world: &'w World, _n_files: u64) -> Result<Box<dyn Session + 'w>> {
        let mut syncs = Syncs {
            program: self.program.clone(),
            options: match self.is_default {
                true => Vec::new(),
                false => vec!["--transfers", "16", "--checkers", "16", "--track-renames"],
            },
            world,
            servers: Vec::new(),
        };
        for receiver in world.receivers() {
            syncs.begin(receiver)?;
        }
        Ok(Box::new(syncs))
    }
}

struct Syncs<'w> {
    program: PathBuf,
    options: Vec<&'static str>,
    world: &'w World,
    servers: Vec<Server>,
}

/// At a receiver.
struct Server {
    receiver: String,
    /// How a client reaches it.
    words: Vec<String>,
    _process: Running,
}

impl Session for Syncs<'_> {
    fn first(&mut self) -> Result<()> {
        self.pass()
    }

    fn pass(&mut self) -> Result<()> {
        let source = self.world.source();
        self.world.for_receivers(|receiver| {
            let server = self.servers.iter().find(|server| server.receiver == receiver.name);
            let server = server.context("every receiver has a server")?;
            let mut command = source.command(&self.program);
            command.args(["sync", "--create-empty-src-dirs"]).args(&self.options).arg(&source.root);
            command.args(&server.words);
            source.crew.run(&mut command, self.world.limits.step)?;
            Ok(())
        })
    }
}

impl Syncs<'_> {
    fn begin(&mut self, receiver: &Member) -> Result<()> {
        let (address, port) = (receiver.seat.address(), receiver.seat.free_port()?);
        let mut command = receiver.command(&self.program);
        command.args(["serve", "sftp", "--user", USER, "--pass", USER, "--addr"]);
        command.arg(format!("{address}:{port}")).arg(&receiver.root);
        let log = std::fs::File::create(receiver.home.join("rclone.log"))?;
        let process = receiver.crew.start(command.stdout(Stdio::null()).stderr(log))?;
        let source = self.world.source();
        let limit = Duration::from_secs(10);
        let mut obscure = source.command(&self.program);
        let secret = source.crew.run(obscure.args(["obscure", USER]), limit)?;
        let options = [
            ("--sftp-host", address.to_string()),
            ("--sftp-port", port.to_string()),
            ("--sftp-user", USER.to_owned()),
            ("--sftp-pass", secret.trim_end().to_owned()),
        ];
        let mut words = vec![":sftp:/".to_owned()];
        words.extend(options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
        let mut list = source.command(&self.program);
        list.arg("lsf").args(&words).args(["--low-level-retries", "1", "--retries", "1"]);
        self.world.await_some("the server answers", || {
            Ok(source.crew.say(&mut list, limit)?.status.success().then_some(()))
        })?;
        self.servers.push(Server { receiver: receiver.name.clone(), words, _process: process });
        Ok(())
    }
}
