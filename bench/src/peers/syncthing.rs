//! Syncthing: an instance a member, which know each other's addresses and ask nobody else for them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::args::Args;
use crate::http::ask;
use crate::peers::{Peer, Session, version_of};
use crate::plan::{Size, Step};
use crate::process::Running;
use crate::tree::bytes_below;
use crate::world::{Member, World};

/// What the control socket asks for.
const API_KEY: &str = "bench";

/// Syncthing in one setting.
struct Syncthing {
    program: PathBuf,
    is_default: bool,
}

/// In both settings.
pub fn all(args: &Args) -> Vec<Box<dyn Peer>> {
    let program = args.program("syncthing");
    let setting =
        |is_default| -> Box<dyn Peer> { Box::new(Syncthing { program: program.clone(), is_default }) };
    vec![setting(false), setting(true)]
}

impl Peer for Syncthing {
    fn name(&self) -> &'static str {
        if self.is_default { "Syncthing (defaults)" } else { "Syncthing" }
    }

    fn setting(&self) -> &'static str {
        match self.is_default {
            true => {
                "as it comes, without discovery, relays and NAT traversal; a change is looked for 10 s after it"
            }
            false => {
                "the same with `fsWatcherDelayS` 0.01 (1 where only whole seconds are taken), `caseSensitiveFS`, no compression, normal priority, no reports \
                 of progress; a pass begins with `db/scan`; a first sync is from the folder's being added to the \
                 receiver, once the source has been scanned"
            }
        }
    }

    fn version(&self) -> Option<String> {
        version_of(&self.program, "--version")
    }

    fn takes(&self, step: Step, size: Size) -> bool {
        match step {
            Step::Index | Step::First | Step::Saves | Step::Idle => !self.is_default || size != Size::Tiny,
            _ => !self.is_default,
        }
    }

    fn n_runs_max(&self, size: Size) -> u32 {
        if size == Size::Quick && self.is_default { 1 } else { u32::MAX }
    }

    fn open<'w>(&self, world: &'w World, n_files: u64) -> Result<Box<dyn Session + 'w>> {
        let mut instances = Instances {
            program: self.program.clone(),
            is_default: self.is_default,
            world,
            n_files,
            running: Vec::new(),
            devices: Vec::new(),
        };
        instances.make()?;
        instances.begin()?;
        instances.introduce()?;
        Ok(Box::new(instances))
    }
}

struct Instances<'w> {
    program: PathBuf,
    is_default: bool,
    world: &'w World,
    n_files: u64,
    running: Vec<Running>,
    /// Of each member: its device's id and address.
    devices: Vec<(String, String)>,
}

impl Session for Instances<'_> {
    fn index(&mut self) -> Result<()> {
        let source = self.world.source();
        self.add_folder(source)?;
        self.world.await_some("the source is scanned", || {
            let status = folder_status(source)?;
            let n_files = count(&status, "localFiles") + count(&status, "localSymlinks");
            Ok((status["state"] == "idle" && n_files == self.n_files).then_some(()))
        })
    }

    fn first(&mut self) -> Result<()> {
        self.world.for_receivers(|receiver| {
            self.add_folder(receiver)?;
            self.world.await_some("the receiver has all", || {
                let status = folder_status(receiver)?;
                let n_files = count(&status, "globalFiles") + count(&status, "globalSymlinks");
                let has_all = n_files == self.n_files && count(&status, "needTotalItems") == 0;
                Ok((status["state"] == "idle" && has_all).then_some(()))
            })
        })
    }

    fn pass(&mut self) -> Result<()> {
        rest(self.world.source(), "POST", "/rest/db/scan?folder=tree", None)?;
        self.await_completion()
    }

    fn stop(&mut self) -> Result<()> {
        self.running.clear();
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        let begun = jiff::Timestamp::now();
        self.begin()?;
        for member in &self.world.members {
            self.world.await_some("the folder is scanned again", || {
                let Ok(stats) = rest(member, "GET", "/rest/stats/folder", None) else { return Ok(None) };
                let last = stats["tree"]["lastScan"].as_str().unwrap_or_default();
                // It tells whole seconds.
                let is_new =
                    last.parse::<jiff::Timestamp>().is_ok_and(|last| last.as_second() >= begun.as_second());
                let is_idle = is_new && folder_status(member)?["state"] == "idle";
                Ok(is_idle.then_some(()))
            })?;
            self.await_connected(member)?;
        }
        self.await_completion()
    }

    fn index_bytes(&self) -> Result<Option<u64>> {
        let home = home_of(self.world.source());
        let mut n_bytes = 0;
        for entry in std::fs::read_dir(home)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("index") {
                n_bytes += bytes_below(&entry.path())?;
            }
        }
        Ok(Some(n_bytes))
    }
}

impl Instances<'_> {
    /// Makes every member's keys and configuration.
    fn make(&mut self) -> Result<()> {
        for member in &self.world.members {
            let home = home_of(member);
            let mut generate = member.command(&self.program);
            generate.arg("generate").arg(format!("--home={}", home.display()));
            generate.args(["--no-default-folder", "--skip-port-probing"]);
            member.crew.run(&mut generate, self.world.limits.step)?;
            let port = member.seat.free_port()?;
            let address = format!("tcp://{}:{port}", member.seat.address());
            self.configure(&home, &address)?;
            let mut ask_id = member.command(&self.program);
            ask_id.arg(format!("--home={}", home.display())).arg("--device-id");
            let id = member.crew.run(&mut ask_id, self.world.limits.step)?;
            self.devices.push((id.trim().to_owned(), address));
        }
        Ok(())
    }

    /// Before the first start, so that nobody is ever asked anything.
    fn configure(&self, home: &Path, address: &str) -> Result<()> {
        let file = home.join("config.xml");
        let mut text = std::fs::read_to_string(&file)?;
        let mut options = vec![
            ("listenAddress", address),
            ("globalAnnounceEnabled", "false"),
            ("localAnnounceEnabled", "false"),
            ("relaysEnabled", "false"),
            ("natEnabled", "false"),
            ("urAccepted", "-1"),
            ("crashReportingEnabled", "false"),
            ("startBrowser", "false"),
            ("autoUpgradeIntervalH", "0"),
        ];
        if !self.is_default {
            options.extend([("setLowPriority", "false"), ("progressUpdateIntervalS", "-1")]);
        }
        for (name, value) in options {
            text = with_option(&text, name, value)?;
        }
        Ok(std::fs::write(file, text)?)
    }

    fn begin(&mut self) -> Result<()> {
        for member in &self.world.members {
            let home = home_of(member);
            let mut command = member.command(&self.program);
            command.arg("serve").arg(format!("--home={}", home.display()));
            command.args(["--no-browser", "--no-restart", "--no-upgrade"]);
            command.arg(format!("--gui-address=unix://{}", socket_of(member).display()));
            command.arg(format!("--gui-apikey={API_KEY}"));
            let log = std::fs::File::options().create(true).append(true).open(member.home.join("log"))?;
            self.running.push(member.crew.start(command.stdout(log).stderr(Stdio::null()))?);
        }
        let running = &mut self.running;
        for (member, process) in self.world.members.iter().zip(running.iter_mut()) {
            self.world.await_some("the instance answers", || {
                if !process.is_alive() {
                    bail!("the instance ended: see {}", member.home.join("log").display());
                }
                Ok(rest(member, "GET", "/rest/system/status", None).ok())
            })?;
        }
        Ok(())
    }

    /// Tells every member of all others.
    fn introduce(&self) -> Result<()> {
        for member in &self.world.members {
            for (id, address) in &self.devices {
                let mut device = json!({ "deviceID": id, "addresses": [address] });
                if !self.is_default {
                    device["compression"] = json!("never");
                }
                rest(member, "PUT", &format!("/rest/config/devices/{id}"), Some(&device))?;
            }
        }
        self.world.members.iter().try_for_each(|member| self.await_connected(member))
    }

    fn await_connected(&self, member: &Member) -> Result<()> {
        self.world.await_some("all are connected", || {
            let connections = rest(member, "GET", "/rest/system/connections", None)?;
            let all = connections["connections"].as_object().context("connections are listed")?;
            let n_connected = all.values().filter(|connection| connection["connected"] == true).count();
            Ok((n_connected + 1 == self.world.members.len()).then_some(()))
        })
    }

    fn add_folder(&self, member: &Member) -> Result<()> {
        let devices: Vec<Value> = self.devices.iter().map(|(id, _)| json!({ "deviceID": id })).collect();
        let mut folder = json!({ "id": "tree", "path": member.root, "devices": devices });
        if !self.is_default {
            folder["caseSensitiveFS"] = json!(true);
            folder["scanProgressIntervalS"] = json!(-1);
        }
        let put = |folder: &Value| rest(member, "PUT", "/rest/config/folders/tree", Some(folder)).map(drop);
        if self.is_default {
            return put(&folder);
        }
        folder["fsWatcherDelayS"] = json!(0.01);
        // Versions before fractions were allowed, as Debian 12's 1.19, take whole seconds alone.
        put(&folder).or_else(|_| {
            folder["fsWatcherDelayS"] = json!(1);
            put(&folder)
        })
    }

    /// Until every receiver has what the source has.
    fn await_completion(&self) -> Result<()> {
        let source = self.world.source();
        for (id, _) in &self.devices[1..] {
            let path = format!("/rest/db/completion?folder=tree&device={id}");
            self.world.await_some("the receiver is complete", || {
                let completion = rest(source, "GET", &path, None)?;
                let needed = count(&completion, "needItems") + count(&completion, "needDeletes");
                Ok((needed == 0 && count(&completion, "needBytes") == 0).then_some(()))
            })?;
        }
        Ok(())
    }
}

/// The configuration with all elements of a name holding a value.
fn with_option(text: &str, name: &str, value: &str) -> Result<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let (before, rest) = text.split_once(&open).with_context(|| format!("no {name} in config.xml"))?;
    let (_, after) = rest.split_once(&close).with_context(|| format!("no end of {name} in config.xml"))?;
    Ok(format!("{before}{open}{value}{close}{after}"))
}

fn home_of(member: &Member) -> PathBuf {
    member.home.join("syncthing")
}

fn socket_of(member: &Member) -> PathBuf {
    member.home.join("gui.sock")
}

fn folder_status(member: &Member) -> Result<Value> {
    rest(member, "GET", "/rest/db/status?folder=tree", None)
}

fn rest(member: &Member, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    ask(&socket_of(member), method, path, &[format!("X-API-Key: {API_KEY}")], body)
}

fn count(document: &Value, field: &str) -> u64 {
    document[field].as_u64().unwrap_or(0)
}
