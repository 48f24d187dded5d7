//! A seed's history, or a script's: what happens, then rest, then the questions.

use crate::choose::Chooser;
use crate::script::{Script, Step};
use crate::settings::Settings;
use crate::stats::Stats;
use crate::world::World;

/// Events after which an engine is said to run hot.
pub(crate) const EVENTS_MAX: u64 = 200_000;

/// What is waited for may take an event in so many microseconds.
const WAIT_US: u64 = 5_000_000;

/// How a history went.
#[derive(Debug)]
pub struct Report {
    /// What went wrong, if anything.
    pub failures: Vec<String>,
    /// What was counted.
    pub stats: Stats,
    /// What happened, if wanted.
    pub trace: Vec<String>,
    /// What can be replayed, and shrunk.
    pub script: Script,
    /// What all disks show in the end.
    pub shown: Vec<Vec<String>>,
}

/// Runs the history of a seed.
pub fn run_seed(seed: u64, settings: &Settings) -> Report {
    let scene = &settings.scene;
    let mut history = History::new(Script { scene: scene.clone(), steps: Vec::new() });
    let mut chooser = Chooser::new(seed);
    for phase in 0..settings.n_phases {
        let is_year = settings.is_year_away && phase == 1;
        if is_year {
            history.send_away();
        }
        for _ in 0..settings.n_acts {
            for step in chooser.next(&history.world, settings) {
                history.take(step);
            }
            if !history.failures.is_empty() {
                return history.report();
            }
        }
        if is_year {
            history.take(Step::Year);
        }
        chooser.rested();
        history.take(Step::Rest);
    }
    history.report()
}

/// Runs a script. All is asked at its end, whether it says so or not.
pub fn run_script(script: &Script) -> Report {
    let mut history = History::new(Script { scene: script.scene.clone(), steps: Vec::new() });
    for step in &script.steps {
        history.take(step.clone());
        if !history.failures.is_empty() {
            return history.report();
        }
    }
    if script.steps.last() != Some(&Step::Rest) {
        history.take(Step::Rest);
    }
    history.report()
}

/// What has happened so far.
struct History {
    world: World,
    script: Script,
    failures: Vec<String>,
}

impl History {
    fn new(script: Script) -> History {
        let mut world = World::of_scene(&script.scene);
        world.note(|| format!("{:?}", script.scene));
        History { world, script, failures: Vec::new() }
    }

    fn take(&mut self, step: Step) {
        if !self.failures.is_empty() {
            return;
        }
        let options = self.world.options.clone();
        self.world.play(&self.script.scene, &step);
        if step == Step::Rest {
            self.failures = self.world.rest_and_check();
            self.world.options = options; // Healed only for the time of the rest.
        }
        let n_steps = self.script.steps.len() as u64;
        // What is asked for over a silent link is asked for again every few minutes, for however long it is silent.
        let n_waits = self.world.now_us / WAIT_US;
        if self.world.stats.n_events > EVENTS_MAX * (1 + n_steps / 100) + n_waits {
            self.failures.push("S3: an engine runs hot".to_owned());
        }
        self.failures.extend(self.world.runs_hot.clone());
        self.script.steps.push(step);
    }

    /// The last member is cut off from all others.
    fn send_away(&mut self) {
        let last = self.world.devices.len() - 1;
        let links: Vec<(usize, usize)> = self
            .script
            .scene
            .links
            .iter()
            .filter(|(one, two)| *one == last || *two == last)
            .copied()
            .collect();
        links.into_iter().for_each(|(one, two)| self.take(Step::Cut(one, two)));
    }

    fn report(mut self) -> Report {
        let shown = self.world.devices.iter().map(|device| device.disk.show()).collect();
        Report {
            failures: self.failures,
            stats: self.world.stats.clone(),
            trace: std::mem::take(&mut self.world.trace),
            script: self.script,
            shown,
        }
    }
}
