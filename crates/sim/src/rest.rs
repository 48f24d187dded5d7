//! Rest: whether it comes, whether it lasts, and what is asked of a world that has come to it.

use file_sync_core::engine::{Mode, Problem, State};

use crate::run::EVENTS_MAX;
use crate::stats::Stats;
use crate::world::{World, name};

/// How long rest may take to come after healing, in simulated microseconds.
const REST_US_MAX: u64 = 1_200_000_000;
const HOUR_US: u64 = 3_600_000_000;

impl World {
    /// Waits for rest and asks whether all promises are kept; returns what is wrong.
    ///
    /// If nothing is, everybody is known to have seen what is there.
    pub fn rest_and_check(&mut self) -> Vec<String> {
        if let Some(failure) = self.rest() {
            return vec![failure];
        }
        // Bytes written late are brought back within an hour of the last write, or by the next hourly look, which also finds
        // what a power cut took from the store.
        if self.stats.n_late_writes > 0 || self.stats.n_power_cuts > 0 {
            self.run_us(2 * HOUR_US);
            if let Some(failure) = self.rest() {
                return vec![failure];
            }
        }
        self.oracle.has_rules = self.has_rules();
        let mut wrong = self.check();
        if (0..self.devices.len()).all(|device| self.pending_for_good(device).is_empty()) {
            wrong.extend(self.check_waits());
        }
        if wrong.is_empty() {
            wrong.extend(self.check_idleness());
        }
        if wrong.is_empty() {
            self.stats.n_rests += 1;
            let is_one_tree = (1..self.devices.len()).all(|device| self.is_as_first(device));
            if is_one_tree {
                let disks: Vec<_> = self.devices.iter().map(|device| &device.disk).collect();
                self.oracle.fold(&disks);
            }
        }
        wrong
    }

    fn is_as_first(&self, device: usize) -> bool {
        let (one, two) = (&self.devices[0].disk, &self.devices[device].disk);
        crate::oracle::first_difference(one, two, &|_| false).is_none()
    }

    /// Runs until nothing happens any more; else says what still goes on.
    pub fn rest(&mut self) -> Option<String> {
        let until = self.now_us + REST_US_MAX;
        let events_max = self.stats.n_events + EVENTS_MAX;
        let mut was_quiet = false;
        while self.now_us < until {
            self.run_us(200_000);
            // What the watcher said a moment ago is not looked at yet.
            // Others may want the bytes of what has gone and is held.
            if self.is_still() && self.approve_all() {
                continue;
            }
            let is_quiet = self.is_still() && self.unrest().is_none();
            if is_quiet && was_quiet {
                return None;
            }
            was_quiet = is_quiet;
            if self.stats.n_events > events_max {
                return Some("S3: an engine runs hot".to_owned());
            }
        }
        for device in 0..self.devices.len() {
            let text = format!("{:?}", self.devices[device].engine);
            let start = text.find("observer: Observer").unwrap_or(0);
            let end = text.find("peers: {").unwrap_or(text.len()).max(start);
            self.note(|| format!("{} {}", name(device), &text[start..end]));
        }
        Some(format!("S2: no rest: {}", self.unrest().unwrap_or_default()))
    }

    /// What waits for a word gets it, or there would be no rest; true if anything did.
    fn approve_all(&mut self) -> bool {
        let holding: Vec<usize> = (0..self.devices.len()).filter(|device| self.n_held(*device) > 0).collect();
        self.stats.n_holds += holding.len() as u64;
        holding.iter().for_each(|device| self.approve(*device));
        !holding.is_empty()
    }

    fn unrest(&self) -> Option<String> {
        self.devices.iter().enumerate().find_map(|(index, device)| {
            let engine = device.engine.as_ref()?;
            let status = engine.status();
            let need_files = if device.config.mode == Mode::SendOnly { 0 } else { status.need_files };
            let n_pending = self.pending_for_good(index).len() as u64;
            // What nobody has the bytes of any more is said to be so, and is no unrest.
            let has_said = |problem: &&Problem| problem.message.contains("no connected member has its bytes");
            let n_said = status.problems.iter().filter(has_said).count();
            let is_quiet = !engine.is_hearing_late()
                && status.problems.len() == n_said
                && n_said as u64 <= n_pending
                && need_files <= n_pending
                && (matches!(status.state, State::Idle | State::Held)
                    || (n_pending > 0 && status.state == State::Syncing));
            (!is_quiet).then(|| format!("{} {status:?}", name(index)))
        })
    }

    fn check_waits(&mut self) -> Vec<String> {
        let id = 1_000;
        for device in 0..self.devices.len() {
            self.devices[device].waits_done.clear();
            self.wait(device, id + device as u64);
        }
        self.run_us(120_000_000);
        let is_open = |device: &usize| !self.is_wait_done(*device, id + *device as u64);
        let open = (0..self.devices.len()).filter(is_open);
        open.map(|device| format!("a wait on {} does not end", name(device))).collect()
    }

    /// An hour in which nobody does anything must see no change, no commit and nothing said.
    fn check_idleness(&mut self) -> Vec<String> {
        let count = |stats: &Stats| (stats.n_ops(), stats.n_commits, stats.n_entries);
        let before = count(&self.stats);
        self.run_us(HOUR_US / 2);
        for device in 0..self.devices.len() {
            self.rescan(device);
        }
        self.run_us(HOUR_US / 2);
        let after = count(&self.stats);
        if before == after {
            return Vec::new();
        }
        vec![format!("S3: idle, and yet (ops, commits, entries) went from {before:?} to {after:?}")]
    }
}
