//! One seed's history: faults and acts, then healing, then rest, then the questions.

use file_sync_core::engine::{Mode, State};
use file_sync_core::ignore::Rules;
use file_sync_core::path::SyncPath;

use crate::disk::{Body, Disk};
use crate::oracle::first_difference;
use crate::world::{Options, Stats, World, name};

/// Events after which an engine is said to run hot.
const EVENTS_MAX: u64 = 200_000;
/// How long rest may take to come after healing, in simulated microseconds.
const REST_US_MAX: u64 = 1_200_000_000;

/// Who is linked to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topology {
    /// Everybody to the next.
    Line,
    /// Everybody to the first.
    Star,
    /// Everybody to everybody.
    Mesh,
}

/// What a seed's history is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many devices.
    pub n_devices: usize,
    /// Who is linked to whom.
    pub topology: Topology,
    /// How many acts of users.
    pub n_acts: u64,
    /// Longest time between two acts (microseconds).
    pub act_gap_us: u64,
    /// Of 100 acts, how many are followed by a crash.
    pub crash_percent: u64,
    /// Of 100 acts, how many are followed by a cut.
    pub cut_percent: u64,
    /// Of 100 acts, how many are followed by a pause.
    pub pause_percent: u64,
    /// Of 100 acts, how many are followed by a scan.
    pub scan_percent: u64,
    /// Wall clocks are decades apart.
    pub are_clocks_off: bool,
    /// File systems store times in other steps.
    pub are_times_coarse: bool,
    /// How adverse the world is.
    pub options: Options,
}

impl Settings {
    /// What a seed is made of, `level` 0: two devices without faults; 1: faults.
    pub fn of_seed(seed: u64, level: u64) -> Settings {
        let mut random = crate::random::Random::new(seed ^ 0xabcd);
        let is_adverse = level > 0;
        let mut some = |most: u64| if is_adverse && random.percent(60) { random.below(most + 1) } else { 0 };
        let n_devices = 2 + some(2) as usize;
        let topology = [Topology::Line, Topology::Star, Topology::Mesh][some(2) as usize];
        let gaps = [3_000, 30_000, 300_000, 1_500_000];
        Settings {
            n_devices,
            topology,
            crash_percent: some(12),
            cut_percent: some(15),
            pause_percent: some(5),
            scan_percent: some(20),
            are_clocks_off: some(1) == 1,
            are_times_coarse: some(2) == 2,
            options: Options {
                work_us_max: [300, 3_000, 30_000][some(2) as usize],
                link_us_max: [500, 5_000, 200_000][some(2) as usize],
                lost_hints_percent: some(40),
                overflows_percent: some(5),
                is_traced: false,
            },
            n_acts: 6 + random.below(40),
            act_gap_us: gaps[random.below(4) as usize],
        }
    }
}

/// How a seed went.
#[derive(Debug)]
pub struct Report {
    /// What went wrong, if anything.
    pub failures: Vec<String>,
    /// What was counted.
    pub stats: Stats,
    /// What happened, if wanted.
    pub trace: Vec<String>,
}

/// Runs the history of a seed.
pub fn run_seed(seed: u64, settings: &Settings) -> Report {
    let modes = vec![Mode::TwoWay; settings.n_devices];
    let mut world = World::new(seed, &modes, settings.options.clone());
    prepare(&mut world, settings);
    world.note(|| format!("{settings:?}"));
    let failures = play(&mut world, settings);
    Report { failures, stats: world.stats.clone(), trace: std::mem::take(&mut world.trace) }
}

fn prepare(world: &mut World, settings: &Settings) {
    for device in 0..settings.n_devices {
        if settings.are_clocks_off {
            world.devices[device].wall_offset_seconds =
                world.random.below(2_000_000_000) as i64 - 1_000_000_000;
        }
        if settings.are_times_coarse {
            let step_ns = [1, 100, 1_000_000_000, 2_000_000_000][world.random.below(4) as usize];
            world.devices[device].disk.step_ns = step_ns;
            world.devices[device].config.time_step_ns = step_ns;
        }
        world.devices[device].disk.renames_change_ctime = world.random.percent(70);
    }
    for device in 0..settings.n_devices {
        world.start(device);
    }
    for (one, two) in pairs(settings) {
        world.connect(one, two);
    }
}

fn pairs(settings: &Settings) -> Vec<(usize, usize)> {
    let n = settings.n_devices;
    match settings.topology {
        Topology::Line => (1..n).map(|device| (device - 1, device)).collect(),
        Topology::Star => (1..n).map(|device| (0, device)).collect(),
        Topology::Mesh => (0..n).flat_map(|one| (one + 1..n).map(move |two| (one, two))).collect(),
    }
}

fn play(world: &mut World, settings: &Settings) -> Vec<String> {
    let mut counter = 0;
    for _ in 0..settings.n_acts {
        let device = world.random.below(settings.n_devices as u64) as usize;
        world.act_randomly(device, &mut counter);
        misfortune(world, settings);
        let gap = if world.random.percent(30) { 100 } else { settings.act_gap_us };
        let gap = world.random.below(gap);
        world.run_us(gap);
        if world.stats.n_events > EVENTS_MAX {
            return vec!["an engine runs hot".to_owned()];
        }
    }
    heal(world, settings);
    world.rest_and_check()
}

fn misfortune(world: &mut World, settings: &Settings) {
    let device = world.random.below(settings.n_devices as u64) as usize;
    if world.random.percent(settings.crash_percent) {
        world.crash(device);
        world.restart_after(device, 500_000);
    }
    let links = pairs(settings);
    if world.random.percent(settings.cut_percent)
        && let Some((one, two)) = world.random.pick(&links).copied()
    {
        if world.is_linked(one, two) { world.cut(one, two) } else { world.connect(one, two) }
    }
    if world.random.percent(settings.pause_percent) {
        let is_paused = !world.devices[device].is_paused;
        world.set_paused(device, is_paused);
    }
    if world.random.percent(settings.scan_percent) {
        world.rescan(device);
    }
}

fn heal(world: &mut World, settings: &Settings) {
    world.note(|| "heal".to_owned());
    world.options.lost_hints_percent = 0;
    world.options.overflows_percent = 0;
    for device in 0..settings.n_devices {
        if world.devices[device].engine.is_none() {
            world.start(device);
        }
        if world.devices[device].is_paused {
            world.set_paused(device, false);
        }
        world.rescan(device);
    }
    for (one, two) in pairs(settings) {
        if !world.is_linked(one, two) {
            world.connect(one, two);
        }
    }
}

impl World {
    /// Waits for rest and asks whether all promises are kept; returns what is wrong.
    pub fn rest_and_check(&mut self) -> Vec<String> {
        if let Some(failure) = self.rest() {
            return vec![failure];
        }
        let mut wrong = self.check();
        wrong.extend(self.check_waits());
        if wrong.is_empty() {
            wrong.extend(self.check_idleness());
        }
        wrong
    }

    /// Runs until nothing happens any more; else says what still goes on.
    pub fn rest(&mut self) -> Option<String> {
        let until = self.now_us + REST_US_MAX;
        let events_max = self.stats.n_events + EVENTS_MAX;
        while self.now_us < until {
            self.run_us(200_000);
            if self.is_still() && self.unrest().is_none() {
                return None;
            }
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

    fn unrest(&self) -> Option<String> {
        self.devices.iter().enumerate().find_map(|(index, device)| {
            let status = device.engine.as_ref()?.status();
            let is_quiet =
                status.state == State::Idle && status.need_files == 0 && status.problems.is_empty();
            (!is_quiet).then(|| format!("{} {status:?}", name(index)))
        })
    }

    /// Compares all disks with each other and with the oracle.
    pub fn check(&self) -> Vec<String> {
        let rules = rules_of(&self.devices[0].disk);
        let is_ignored = |path: &SyncPath| rules.is_ignored(path, self.devices[0].disk.is_directory(path));
        let first = &self.devices[0];
        let mut wrong = Vec::new();
        let root_hash = |index: usize| {
            let engine = self.devices[index].engine.as_ref();
            engine.map(|engine| engine.status().root_hash)
        };
        for (index, device) in self.devices.iter().enumerate().skip(1) {
            if let Some(difference) = first_difference(&first.disk, &device.disk, &is_ignored) {
                wrong.push(format!("S1: A and {} differ: {difference}", name(index)));
            }
            if root_hash(0) != root_hash(index) {
                wrong.push(format!("P1: A and {} show other root hashes", name(index)));
            }
        }
        wrong.extend(self.oracle.check(&first.disk, &is_ignored));
        wrong
    }

    fn check_waits(&mut self) -> Vec<String> {
        let id = 1_000;
        for device in 0..self.devices.len() {
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
        self.run_us(1_800_000_000);
        for device in 0..self.devices.len() {
            self.rescan(device);
        }
        self.run_us(1_800_000_000);
        let after = count(&self.stats);
        if before == after {
            return Vec::new();
        }
        vec![format!("S3: idle, and yet (ops, commits, entries) went from {before:?} to {after:?}")]
    }
}

fn rules_of(disk: &Disk) -> Rules {
    let mut rules = Rules::default();
    for (path, item) in &disk.items {
        if let (b".syncignore", Body::File(bytes)) = (path.name(), &item.body) {
            rules.set(&path.parent().unwrap_or_else(SyncPath::root), Some(bytes));
        }
    }
    rules
}
