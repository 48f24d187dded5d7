//! Making a failing history short enough to read.
//!
//! Steps are left out as long as it still fails (ddmin: Zeller and Hildebrandt, "Simplifying and isolating
//! failure-inducing input", 2002), then the scene is made plainer, then the times rounder. A shorter history takes other
//! delays from the same seed, so each is tried with a few.

use crate::run::{Report, run_script};
use crate::script::{Machine, Script, Step, Verb};
use crate::world::Options;

/// How many seeds of delays each candidate is tried with.
const N_SEEDS: u64 = 4;

/// Makes a failing script shorter; it still breaks the same promise. `n_runs_max` bounds the work.
pub fn shrink(script: &Script, n_runs_max: u64) -> Script {
    let mut shrinker = Shrinker { promise: String::new(), n_runs_left: n_runs_max };
    let Some(failure) = failure_of(script) else { return script.clone() };
    shrinker.promise = promise_of(&failure);
    let mut best = script.clone();
    loop {
        let before = best.to_string();
        shrinker.leave_out_steps(&mut best);
        shrinker.make_plainer(&mut best);
        shrinker.round_times(&mut best);
        if before == best.to_string() || shrinker.n_runs_left == 0 {
            return best;
        }
    }
}

/// The first thing that goes wrong in a script, a panic included.
pub fn failure_of(script: &Script) -> Option<String> {
    match std::panic::catch_unwind(|| run_script(script)) {
        Ok(Report { failures, .. }) => failures.into_iter().next(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Some(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

/// What comes before the colon: the promise that is broken.
fn promise_of(failure: &str) -> String {
    failure.split(':').next().unwrap_or_default().to_owned()
}

struct Shrinker {
    promise: String,
    n_runs_left: u64,
}

impl Shrinker {
    /// Takes a candidate if it fails in the same way.
    fn try_out(&mut self, best: &mut Script, candidate: Script) -> bool {
        let seed = candidate.scene.seed;
        for offset in 0..N_SEEDS {
            if self.n_runs_left == 0 {
                return false;
            }
            self.n_runs_left -= 1;
            let mut candidate = candidate.clone();
            candidate.scene.seed = if offset == 0 { seed } else { offset };
            if failure_of(&candidate).is_some_and(|failure| promise_of(&failure) == self.promise) {
                *best = candidate;
                return true;
            }
        }
        false
    }

    fn leave_out_steps(&mut self, best: &mut Script) {
        let mut length = best.steps.len().div_ceil(2);
        while length > 0 {
            let mut start = 0;
            while start < best.steps.len() {
                let mut candidate = best.clone();
                let end = (start + length).min(candidate.steps.len());
                candidate.steps.drain(start..end);
                if !self.try_out(best, candidate) {
                    start += length;
                }
            }
            length = if length == 1 { 0 } else { length.div_ceil(2) };
        }
    }

    fn make_plainer(&mut self, best: &mut Script) {
        for name in Options::FIELDS {
            let plain = Options::default().field(name).map(|value| *value).unwrap_or_default();
            let mut candidate = best.clone();
            if let Some(value) = candidate.scene.options.field(name)
                && *value != plain
            {
                *value = plain;
                self.try_out(best, candidate);
            }
        }
        for device in 0..best.scene.machines.len() {
            let mode = best.scene.machines[device].mode;
            let mut candidate = best.clone();
            candidate.scene.machines[device] = Machine { mode, ..Machine::plain() };
            if candidate != *best {
                self.try_out(best, candidate);
            }
        }
        while best.scene.machines.len() > 2 {
            let mut candidate = best.clone();
            let last = candidate.scene.machines.len() - 1;
            candidate.scene.machines.pop();
            candidate.scene.links.retain(|(one, two)| *one != last && *two != last);
            candidate.steps.retain(|step| !matches!(step, Step::Device(device, _) if *device == last));
            if candidate.scene.only_author == Some(last) || !self.try_out(best, candidate) {
                break;
            }
        }
    }

    fn round_times(&mut self, best: &mut Script) {
        for index in 0..best.steps.len() {
            let Some(us) = time_of(&mut best.steps[index]).map(|us| *us) else { continue };
            let rounder = [0, 1_000, 10_000, 100_000, 1_000_000].into_iter().filter(|round| *round < us);
            for round in rounder {
                let mut candidate = best.clone();
                if let Some(us) = time_of(&mut candidate.steps[index]) {
                    *us = round;
                }
                if self.try_out(best, candidate) {
                    break;
                }
            }
        }
    }
}

fn time_of(step: &mut Step) -> Option<&mut u64> {
    match step {
        Step::Wait(us)
        | Step::Device(
            _,
            Verb::Crash { down_us: us }
            | Verb::CutPower { down_us: us }
            | Verb::Restore { down_us: us }
            | Verb::Revert { down_us: us }
            | Verb::Turn { down_us: us },
        ) => Some(us),
        _ => None,
    }
}
