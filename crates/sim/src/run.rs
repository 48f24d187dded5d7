//! One seed's history: faults and acts, then healing, then rest, then the questions.

use crate::world::{Options, Stats, World, name};
use file_sync_core::engine::{Mode, Problem, State};

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
    /// Of 100 crashes, how many are power cuts.
    pub power_cut_percent: u64,
    /// Of 100 acts, how many are followed by a disk that is full, until another such turn.
    pub full_percent: u64,
    /// Of 100 acts, how many are followed by a root that is not there, until another such turn.
    pub lost_root_percent: u64,
    /// Of 100 acts, how many are followed by a copy being made of a home, or put in its place.
    pub restore_percent: u64,
    /// Of 100 acts, how many are followed by a member leaving, or joining again.
    pub leave_percent: u64,
    /// How each device takes part.
    pub modes: Vec<Mode>,
    /// In a read-only offer, whose versions alone count.
    pub only_author: Option<usize>,
    /// Wall clocks are decades apart.
    pub are_clocks_off: bool,
    /// File systems store times in other steps.
    pub are_times_coarse: bool,
    /// How adverse the world is.
    pub options: Options,
}

impl Settings {
    /// What a seed is made of, `level` 0: two devices without faults; 1: crashes, cuts, lost hints, odd clocks; 2: what is
    /// rarer too, a few kinds in each seed; 3: members that only send or only receive.
    pub fn of_seed(seed: u64, level: u64) -> Settings {
        let mut random = crate::random::Random::new(seed ^ 0xabcd);
        let is_adverse = level > 0;
        let mut some = |most: u64| if is_adverse && random.percent(60) { random.below(most + 1) } else { 0 };
        let n_devices = 2 + some(2) as usize;
        let topology = [Topology::Line, Topology::Star, Topology::Mesh][some(2) as usize];
        // A member that takes nothing, or keeps its own, is no bridge: others' bytes do not pass through it.
        let topology = if level == 3 && topology == Topology::Line { Topology::Star } else { topology };
        let gaps = [3_000, 30_000, 300_000, 1_500_000];
        let mut rarely = crate::random::Random::new(seed ^ 0x7a3e);
        let mut rare = |most: u64| if level == 2 && rarely.percent(30) { 1 + rarely.below(most) } else { 0 };
        let (modes, only_author) =
            if level == 3 { some_modes(seed, n_devices) } else { (vec![Mode::TwoWay; n_devices], None) };
        Settings {
            n_devices,
            power_cut_percent: rare(100),
            full_percent: rare(8),
            lost_root_percent: rare(8),
            restore_percent: rare(8),
            leave_percent: rare(6),
            modes,
            only_author,
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
                failed_fetches_percent: rare(40),
                rescues_percent: rare(100),
                is_traced: false,
            },
            n_acts: 6 + random.below(40),
            act_gap_us: gaps[random.below(4) as usize],
        }
    }
}

/// Members that only receive or only send, or a read-only offer of the first device; the first is always two-way.
fn some_modes(seed: u64, n_devices: usize) -> (Vec<Mode>, Option<usize>) {
    let mut random = crate::random::Random::new(seed ^ 0x3d0e);
    let is_read_only = random.percent(30);
    let mode = |random: &mut crate::random::Random| match random.below(3) {
        0 => Mode::TwoWay,
        1 => Mode::ReceiveOnly,
        _ => Mode::SendOnly,
    };
    let others = (1..n_devices).map(|_| if is_read_only { Mode::TwoWay } else { mode(&mut random) });
    (std::iter::once(Mode::TwoWay).chain(others).collect(), is_read_only.then_some(0))
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
    let mut world = World::new(seed, &settings.modes, settings.options.clone());
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
        world.devices[device].config.only_author =
            settings.only_author.map(|author| world.devices[author].id);
        if settings.power_cut_percent > 0 {
            world.devices[device].checkpoints = Some(Vec::new());
            world.is_durable(device);
        }
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
        if !world.devices[device].is_root_lost {
            world.act_randomly(device, &mut counter);
        }
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
        let is_power_cut = settings.power_cut_percent > 0 && world.random.percent(settings.power_cut_percent);
        if is_power_cut {
            world.cut_power(device)
        } else {
            world.crash(device)
        }
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
    rare_misfortune(world, settings, device);
}

/// No choice is made for what a seed has not, so that a kind more leaves other seeds as they are.
fn rare_misfortune(world: &mut World, settings: &Settings, device: usize) {
    let mut strikes = |percent: u64| percent > 0 && world.random.percent(percent);
    let is_full = strikes(settings.full_percent);
    let is_lost = strikes(settings.lost_root_percent);
    let is_restored = strikes(settings.restore_percent);
    let is_leaving = strikes(settings.leave_percent);
    if is_full {
        world.set_full(device, !world.devices[device].disk.is_full);
    }
    if is_lost {
        world.set_root_lost(device, !world.devices[device].is_root_lost);
    }
    if is_restored && world.devices[device].backup.is_some() {
        world.restore_home(device);
        world.restart_after(device, 500_000);
    } else if is_restored && !world.devices[device].is_away {
        world.back_up(device);
    }
    if is_leaving && world.devices[device].is_away {
        world.join(device);
    } else if is_leaving && !world.devices.iter().any(|device| device.is_away) {
        world.leave(device);
    }
}

fn heal(world: &mut World, settings: &Settings) {
    world.note(|| "heal".to_owned());
    world.options.lost_hints_percent = 0;
    world.options.overflows_percent = 0;
    world.options.failed_fetches_percent = 0;
    world.options.rescues_percent = 0;
    for device in 0..settings.n_devices {
        if world.devices[device].disk.is_full {
            world.set_full(device, false);
        }
        if world.devices[device].is_root_lost {
            world.set_root_lost(device, false);
        }
        if world.devices[device].is_away {
            world.join(device);
        }
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
        if (0..self.devices.len()).all(|device| self.pending_for_good(device).is_empty()) {
            wrong.extend(self.check_waits());
        }
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
            let need_files = if device.config.mode == Mode::SendOnly { 0 } else { status.need_files };
            let n_pending = self.pending_for_good(index).len() as u64;
            // What nobody has the bytes of any more is said to be so, and is no unrest.
            let has_said = |problem: &&Problem| problem.message.contains("no connected member has its bytes");
            let n_said = status.problems.iter().filter(has_said).count();
            let is_quiet = status.problems.len() == n_said
                && n_said as u64 <= n_pending
                && need_files == n_pending
                && (status.state == State::Idle || (n_pending > 0 && status.state == State::Syncing));
            (!is_quiet).then(|| format!("{} {status:?}", name(index)))
        })
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
