//! Two devices, one of which is struck in each round; and what has to be true after it.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::acts::Acts;
use super::judge::{self, Harm};
use crate::device::Device;
use crate::strace::{self, Fault, Point};
use crate::tree::{Tree, difference, tree_of};
use crate::user::User;
use crate::world::{PATIENCE, eventually, introduce, join, offer, settle};

/// How long a server with a lasting fault is left to it.
const UNDER_FAULT: &str = "1500ms";

/// Which of two devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// On it the script's user does most.
    Sender,
    /// To it most is brought.
    Receiver,
}

/// How a server fared in a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fared {
    /// It was killed.
    Killed,
    /// A call of it failed, and it went on.
    WentOn,
    /// A call of it failed, and it said that it cannot start.
    RefusedToStart,
    /// It ran to the end of the script, and to its own, without coming to the point.
    Untouched,
}

/// Two devices at rest; the server of the side that is struck does not run.
pub struct Pair {
    sender: Device,
    receiver: Device,
    side: Side,
    acts: Acts,
    round: u64,
    outside: Tree,
    _shadow: TempDir,
}

impl Pair {
    /// Makes a pair of which this side will be struck.
    pub fn new(side: Side) -> Pair {
        let (sender, receiver) = (Device::start("alpha"), Device::start("beta"));
        introduce(&sender, &receiver);
        offer(&sender, &[]);
        join(&receiver, &sender, &[]);
        let shadow = tempfile::Builder::new().prefix("file-sync-shadow-").tempdir().expect("a directory");
        let shadow_root = shadow.path().join("docs");
        std::fs::create_dir(&shadow_root).expect("a directory");
        let acts = Acts {
            sender: sender.user(),
            receiver: receiver.user(),
            shadow: User::new(shadow_root.clone(), shadow.path().to_owned()),
            shadow_root,
            sender_short_id: sender.short_id().to_owned(),
        };
        acts.prepare();
        let mut pair = Pair { sender, receiver, side, acts, round: 0, outside: Tree::new(), _shadow: shadow };
        pair.plant_canary();
        settle(&[&pair.sender, &pair.receiver]);
        pair.struck().stop_within(PATIENCE);
        pair
    }

    /// Files outside the roots, and a way to them from inside.
    fn plant_canary(&mut self) {
        for device in [&self.sender, &self.receiver] {
            let user = User::new(device.beside("outside"), device.beside(""));
            user.write("canary", "nobody touches this", 1);
            user.write("d/canary", "nor this", 1);
        }
        self.outside = tree_of(&self.sender.beside("outside"));
        self.acts.sender.link("../outside", "way-out");
        self.acts.shadow.link("../outside", "way-out");
    }

    /// The device that is struck.
    fn struck(&mut self) -> &mut Device {
        match self.side {
            Side::Sender => &mut self.sender,
            Side::Receiver => &mut self.receiver,
        }
    }

    /// How many rounds it has been through.
    pub fn n_rounds(&self) -> u64 {
        self.round
    }

    /// Where strace writes what it saw.
    fn trace(&mut self) -> PathBuf {
        self.struck().beside("trace")
    }

    /// The last calls that strace saw, and what the struck server logged last.
    pub fn last_words(&mut self) -> String {
        let trace = std::fs::read(self.trace()).unwrap_or_default();
        let trace = String::from_utf8_lossy(&trace).into_owned();
        let lines: Vec<&str> = trace.lines().collect();
        format!("{}\n{}", lines[lines.len().saturating_sub(5)..].join("\n"), self.struck().log())
    }

    /// Lets one round pass with nothing struck; returns how often each thread made these calls.
    ///
    /// # Errors
    /// What is not as it has to be afterwards.
    pub fn count_calls(&mut self, calls: &[&str]) -> Result<strace::Counts, Harm> {
        let wrapper = strace::noting(calls, &self.trace());
        let (before, exit) = self.begin_round(&wrapper);
        let exit = exit.unwrap_or_else(|| self.run_out());
        assert!(exit.success(), "nothing was struck: {}", self.last_words());
        let counts = strace::counted(&self.trace());
        self.recover(&before)?;
        Ok(counts)
    }

    /// Lets one round pass in which the server is killed, so many times in a row, at a point.
    ///
    /// # Errors
    /// What is not as it has to be afterwards.
    pub fn kill(&mut self, point: &Point, n_times: u32) -> Result<Fared, Harm> {
        let wrapper = strace::until(point, &self.trace());
        let (before, exit) = self.begin_round(&wrapper);
        let exit = exit.unwrap_or_else(|| self.run_out());
        let fared = how_it_ended(exit)?;
        self.nothing_partial(&before)?;
        for _ in 1..n_times {
            if fared == Fared::Killed {
                self.struck().begin_under(&wrapper);
                let exit = self.until_ready().unwrap_or_else(|| self.run_out());
                // It has less to do than the first time, and may not come to the point.
                how_it_ended(exit)?;
                self.nothing_partial(&before)?;
            }
        }
        let other = self.other();
        self.acts.while_down(self.side, self.round, || {
            let _ = other.run(["sync", "wait", "--timeout", "300ms"]);
        });
        self.recover(&before)?;
        Ok(fared)
    }

    /// Lets one round pass in which calls of the server fail; it is not started again, unless it could not start.
    ///
    /// # Errors
    /// What is not as it has to be afterwards.
    pub fn fail(&mut self, point: &Point) -> Result<Fared, Harm> {
        let wrapper = strace::until(point, &self.trace());
        let (before, exit) = self.begin_round(&wrapper);
        if let Some(exit) = exit {
            // An error that is said is an answer; anything else is none.
            if exit.signal().is_some() || exit.code() == Some(101) {
                return Err(Harm::new("gave up", format!("it ended with {exit} at its start")));
            }
            self.nothing_partial(&before)?;
            self.recover(&before)?;
            return Ok(Fared::RefusedToStart);
        }
        if matches!(point.fault, Fault::FailsOn(_)) {
            // Whether anything comes through meanwhile is not said.
            let _ = self.other().run(["sync", "wait", "--timeout", UNDER_FAULT]);
            self.nothing_partial(&before)?;
            strace::relieve(self.struck().server_id());
        }
        if let Some(exit) = self.until_in_sync()? {
            return Err(Harm::new("gave up", format!("it ended with {exit}")));
        }
        settle(&[&self.sender, &self.receiver]);
        self.judge(&before)?;
        let exit = self.run_out();
        match strace::was_injected(&self.trace()) {
            true => Ok(Fared::WentOn),
            false if exit.success() => Ok(Fared::Untouched),
            false => Err(Harm::new("gave up", format!("it ended with {exit}"))),
        }
    }

    fn other(&self) -> &Device {
        match self.side {
            Side::Sender => &self.receiver,
            Side::Receiver => &self.sender,
        }
    }

    /// Acts, starts the server to be struck, acts again. Returns the tree before, and how the server ended if it did.
    fn begin_round(&mut self, wrapper: &[std::ffi::OsString]) -> (Tree, Option<ExitStatus>) {
        let before = tree_of(&self.acts.shadow_root);
        self.round += 1;
        self.acts.before(self.round);
        self.struck().begin_under(wrapper);
        let exit = self.until_ready();
        self.acts.while_running(self.round);
        (before, exit)
    }

    /// Waits until the struck server is ready or has ended.
    fn until_ready(&mut self) -> Option<ExitStatus> {
        let struck = self.struck();
        eventually(PATIENCE, || match struck.ended() {
            Some(exit) => Ok(Some(exit)),
            None if struck.run(["status"]).status.success() => Ok(None),
            None => Err("not ready"),
        })
    }

    /// Waits until all is synced, or the struck server has ended.
    fn until_in_sync(&mut self) -> Result<Option<ExitStatus>, Harm> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(exit) = self.struck().ended() {
                return Ok(Some(exit));
            }
            let is_connected = judge::is_connected(self.struck());
            // First of the struck one: if it ends meanwhile, so does this.
            let is_done = |device: &Device| device.run(["sync", "wait", "--timeout", "1s"]).status.success();
            if is_connected && is_done(self.struck()) && is_done(self.other()) {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let words = self.last_words();
        let root = self.struck().root();
        let trees = [&self.acts.shadow_root, &root].map(|root| tree_of(root));
        let difference = difference(&trees[0], &trees[1]).unwrap_or_default();
        let state = judge::state(&[&self.sender, &self.receiver]);
        Err(Harm::new("not at rest", format!("as acted | on the struck: {difference}\n{state}\n{words}")))
    }

    /// Lets the struck server come to rest and stops it; returns how it ended, there or before.
    fn run_out(&mut self) -> ExitStatus {
        match self.until_in_sync() {
            Ok(Some(exit)) => exit,
            Ok(None) => self.struck().stop_within(PATIENCE),
            Err(harm) => panic!("{harm}"),
        }
    }

    /// A start is all that it takes (C1). Leaves the server stopped.
    fn recover(&mut self, before: &Tree) -> Result<(), Harm> {
        self.struck().begin();
        if let Some(exit) = self.until_in_sync()? {
            return Err(Harm::new("gave up", format!("it ended with {exit} after it was started again")));
        }
        settle(&[&self.sender, &self.receiver]);
        self.judge(before)?;
        self.struck().stop_within(PATIENCE);
        Ok(())
    }

    /// V1 and V2: every file below the struck root has bytes that a user wrote.
    fn nothing_partial(&mut self, before: &Tree) -> Result<(), Harm> {
        let after = tree_of(&self.acts.shadow_root);
        let known: BTreeSet<&str> =
            before.values().chain(after.values()).filter_map(judge::hash_of).collect();
        let root = self.struck().root();
        judge::nothing_unknown(&root, &known)
    }

    /// At rest: both trees are what the users made them, and nothing else was touched or left.
    fn judge(&mut self, before: &Tree) -> Result<(), Harm> {
        let after = tree_of(&self.acts.shadow_root);
        for device in [&self.sender, &self.receiver] {
            judge::is_as_acted(device, before, &after)?;
            judge::is_tidy(device)?;
            if tree_of(&device.beside("outside")) != self.outside {
                return Err(Harm::new("outside touched", device.name.clone()));
            }
        }
        Ok(())
    }
}

fn how_it_ended(exit: ExitStatus) -> Result<Fared, Harm> {
    match exit.signal() {
        Some(9) => Ok(Fared::Killed),
        None if exit.success() => Ok(Fared::Untouched),
        _ => Err(Harm::new("gave up", format!("it was to be killed, and ended with {exit}"))),
    }
}
