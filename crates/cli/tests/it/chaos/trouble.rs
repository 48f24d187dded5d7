//! What happens to devices: their servers are killed, stopped and frozen, disks fill up, clocks jump, homes are lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::line::Lines;
use super::record::{Doubt, Moment};
use super::token::token_of;
use super::user::{Desk, PLAIN, WILD, below};
use super::world::{Means, Shape, fill_disk, hosts, shift_clock};
use jiff::Timestamp;

use crate::device::Device;
use crate::random::Random;
use crate::world::{eventually, introduce, join};

/// Long enough for a machine with much else to do.
const LONG: Duration = Duration::from_secs(60);
/// What was put into a tree so shortly before a kill may not be in the database yet.
const UNRECORDED_MS: Moment = 5_000;
/// After a start, the first look through a tree takes no longer.
const FIRST_SCAN_MS: Moment = 20_000;
const OFFSETS: [&str; 8] = ["+0", "-30", "+45", "-2h", "+1d", "-400d", "+3000d", "-3000d"];

/// Makes trouble for the devices of a run.
pub struct Troublemaker<'a> {
    pub shape: Shape,
    pub means: Means,
    pub devices: &'a mut [Device],
    pub desks: &'a [Desk<'a>],
    pub lines: &'a Lines,
    pub random: Random,
    /// How long a server may be frozen or away.
    pub away_ms_max: u64,
    counts: BTreeMap<&'static str, u64>,
    /// A copy of the last device's home, and when it was made.
    backup: Option<(PathBuf, Moment)>,
    /// All that the last device's user had done by then was elsewhere too.
    confirmed: Moment,
}

impl<'a> Troublemaker<'a> {
    pub fn new(
        (shape, means): (Shape, Means),
        devices: &'a mut [Device],
        desks: &'a [Desk<'a>],
        lines: &'a Lines,
        random: Random,
        away_ms_max: u64,
    ) -> Troublemaker<'a> {
        let counts = BTreeMap::new();
        Troublemaker {
            shape,
            means,
            devices,
            desks,
            lines,
            random,
            away_ms_max,
            counts,
            backup: None,
            confirmed: 0,
        }
    }

    /// Makes trouble until the work is over; returns how often each was made.
    pub fn disturb(mut self, is_over: &AtomicBool) -> BTreeMap<&'static str, u64> {
        while !is_over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100 + self.random.below(700)));
            let index = self.random.below(self.devices.len() as u64) as usize;
            let (record, began) = (self.desks[index].record, self.desks[index].record.now());
            let kind = match self.random.below(18) {
                0..=4 => self.kill(index),
                5..=6 => self.stop(index),
                7..=9 => self.freeze(index),
                10..=11 => self.pause(index),
                12..=13 => self.fill(index),
                14..=15 => self.shift(index),
                _ => self.lose_home(),
            };
            record.trouble(began, index, kind);
            *self.counts.entry(kind).or_default() += 1;
        }
        self.counts
    }

    fn away(&mut self) {
        let bound = [1, 300, self.away_ms_max][self.random.below(3) as usize];
        std::thread::sleep(Duration::from_millis(self.random.below(bound)));
    }

    fn kill(&mut self, index: usize) -> &'static str {
        let record = self.desks[index].record;
        self.devices[index].kill();
        let killed = record.now();
        self.away();
        self.devices[index].begin();
        let from = killed.saturating_sub(UNRECORDED_MS);
        let until = record.now() + FIRST_SCAN_MS;
        record.doubt(Doubt { device: index, acted: from..until, placed: from..killed + 1 });
        "kills"
    }

    fn stop(&mut self, index: usize) -> &'static str {
        assert!(self.devices[index].stop_within(LONG).success(), "{}", self.devices[index].log());
        self.away();
        self.devices[index].begin();
        "stops"
    }

    fn freeze(&mut self, index: usize) -> &'static str {
        self.devices[index].freeze();
        self.away();
        self.devices[index].thaw();
        "freezes"
    }

    fn pause(&mut self, index: usize) -> &'static str {
        let change = |device: &Device, verb: &str| drop(device.run(["sync", verb, "docs"]));
        change(&self.devices[index], "pause");
        self.away();
        // Whatever came of the pause, it must not last.
        change(&self.devices[index], "resume");
        "pauses"
    }

    fn fill(&mut self, index: usize) -> &'static str {
        if !self.means.has_disks {
            return "nothing";
        }
        let filler = fill_disk(&self.devices[index]);
        self.away();
        drop(filler);
        "full disks"
    }

    fn shift(&mut self, index: usize) -> &'static str {
        if !self.means.has_clocks {
            return "nothing";
        }
        shift_clock(&self.devices[index], self.random.of(&OFFSETS).expect("there are offsets"));
        "clock shifts"
    }

    /// Of the last device alone: the others are those that nothing may happen to but faults.
    fn lose_home(&mut self) -> &'static str {
        let last = self.devices.len() - 1;
        let desks = self.desks;
        let _users_wait = desks[last].gate.lock().unwrap_or_else(PoisonError::into_inner);
        if self.random.below(2) == 0 {
            self.confirm(last);
        }
        match (self.backup.clone(), self.random.below(2)) {
            (None, 0) => self.back_up(last),
            (Some((backup, at)), 0) => self.restore(last, &backup, at),
            _ => self.wipe(last),
        }
    }

    /// Waits until all that was done on a device is elsewhere too; true if it came to that.
    fn confirm(&mut self, index: usize) -> bool {
        let at = self.desks[index].record.now();
        let status = self.devices[index].status();
        let is_connected = |remote: &serde_json::Value| remote["connected"] == true;
        let is_linked = status["remotes"].as_array().is_some_and(|remotes| remotes.iter().all(is_connected));
        let waited = self.devices[index].run(["sync", "wait", "--timeout", "10s"]).status.success();
        if is_linked && waited {
            self.confirmed = at;
        }
        waited
    }

    fn back_up(&mut self, index: usize) -> &'static str {
        if !self.confirm(index) {
            return "nothing";
        }
        let at = self.desks[index].record.now();
        let device = &mut self.devices[index];
        assert!(device.stop_within(LONG).success(), "{}", device.log());
        let backup = device.beside("backup");
        copy(&device.home(), &backup);
        device.begin();
        self.backup = Some((backup, at));
        "backups"
    }

    fn restore(&mut self, index: usize, backup: &Path, at: Moment) -> &'static str {
        let device = &mut self.devices[index];
        device.kill();
        // What it got since the copy was made it does not know from what its user did.
        self.desks[index].record.stale(tokens_of(&self.desks[index].root));
        fs::remove_dir_all(device.home()).expect("a home can be removed");
        copy(backup, &device.home());
        device.begin();
        self.first_scan(index, at);
        "restored homes"
    }

    fn wipe(&mut self, index: usize) -> &'static str {
        self.lines.calm();
        // A ticket that has expired by the clock of either side is refused.
        if self.means.has_clocks {
            self.devices.iter().for_each(|device| shift_clock(device, "+0"));
            self.devices.iter().for_each(await_right_clock);
        }
        let old_id = self.devices[index].status()["device"]["id"].clone();
        self.devices[index].kill();
        self.desks[index].record.stale(tokens_of(&self.desks[index].root));
        fs::remove_dir_all(self.devices[index].home()).expect("a home can be removed");
        self.devices[index].begin();
        self.devices[index].know_id();
        for host in hosts(self.shape, self.devices.len(), index) {
            forget(&self.devices[host], &old_id);
            introduce(&self.devices[host], &self.devices[index]);
        }
        join(&self.devices[index], &self.devices[0], &[]);
        self.first_scan(index, self.confirmed);
        self.backup = None;
        self.lines.resume();
        "lost homes"
    }

    /// Waits for the first look through a tree, which infers no deletion.
    fn first_scan(&self, index: usize, doubted_from: Moment) {
        let record = self.desks[index].record;
        let waited = self.devices[index].run(["sync", "wait", "--timeout", "30s"]).status.success();
        let until = record.now() + if waited { 0 } else { FIRST_SCAN_MS };
        record.doubt(Doubt { device: index, acted: doubted_from..until, placed: 0..until });
    }
}

/// Waits until a server's clock is right again, which can be seen by how long its tickets are good.
fn await_right_clock(device: &Device) {
    eventually(LONG, || {
        let until = device.json(["remote", "invite"])["expires_at"].clone();
        let until: Timestamp = until.as_str().and_then(|until| until.parse().ok()).ok_or("no time")?;
        match (until - Timestamp::now()).get_seconds() {
            1..=3_600 => Ok(()),
            _ => Err(format!("a ticket of {} is good until {until}", device.name)),
        }
    });
}

/// Removes a remote by its id: its name may be another device's by now.
fn forget(host: &Device, id: &serde_json::Value) {
    let listed = host.json(["remote", "ls"]);
    let remotes = listed["remotes"].as_array().expect("a list of remotes");
    for remote in remotes.iter().filter(|remote| remote["id"] == *id) {
        host.ok(["remote", "rm", remote["name"].as_str().expect("a remote has a name")]);
    }
}

fn tokens_of(root: &Path) -> Vec<u64> {
    let files = [PLAIN, WILD].into_iter().flat_map(|zone| below(&root.join(zone)));
    files.filter_map(|path| token_of(&fs::read(path).ok()?)).collect()
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.is_ok_and(|status| status.success()), "cp(1) copies {}", from.display());
}
