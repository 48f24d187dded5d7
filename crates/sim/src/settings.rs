//! What a seed's history is made of.

use file_sync_core::engine::Mode;

use crate::random::Random;
use crate::script::{Machine, Scene};
use crate::world::Options;

/// Who is linked to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topology {
    /// Everybody to the next.
    Line,
    /// Everybody to the first.
    Star,
    /// Everybody to everybody.
    Mesh,
    /// Everybody to the next, and the last to the first.
    Ring,
}

impl Topology {
    /// The pairs that are linked, lower index first.
    pub fn links(self, n_devices: usize) -> Vec<(usize, usize)> {
        let next = || (1..n_devices).map(|device| (device - 1, device));
        match self {
            Topology::Line => next().collect(),
            Topology::Star => (1..n_devices).map(|device| (0, device)).collect(),
            Topology::Ring if n_devices > 2 => next().chain([(0, n_devices - 1)]).collect(),
            Topology::Ring => next().collect(),
            Topology::Mesh => {
                (0..n_devices).flat_map(|one| (one + 1..n_devices).map(move |two| (one, two))).collect()
            }
        }
    }
}

/// Of 100 acts of users, after how many something befalls a device; what is not named in the field is said here.
#[derive(Clone, Debug, Default)]
pub struct Odds {
    /// A crash.
    pub crash: u64,
    /// Of 100 crashes, how many are power cuts.
    pub power_cut: u64,
    /// A link is cut, or whole again.
    pub cut: u64,
    /// A link goes silent one way, or is whole again.
    pub stall: u64,
    /// A pause, or its end.
    pub pause: u64,
    /// A scan.
    pub scan: u64,
    /// A disk is full, or has room again.
    pub full: u64,
    /// A disk can only be read, or written again.
    pub read_only: u64,
    /// Some path cannot be read, or can again.
    pub unreadable: u64,
    /// Some path gives I/O errors, or no longer.
    pub failing: u64,
    /// Something is mounted over some directory, or no longer.
    pub mount: u64,
    /// A root is not there, or is back.
    pub lost_root: u64,
    /// A clock steps, freezes or goes on.
    pub clock: u64,
    /// A home is copied, or the copy put in its place.
    pub restore: u64,
    /// A machine is copied, or the copy put in its place.
    pub revert: u64,
    /// A member leaves, or joins again.
    pub leave: u64,
    /// Deletions that are held are let through.
    pub approve: u64,
    /// Of 100 acts, how many are about files that somebody has open while they are displaced.
    pub late: u64,
    /// Of 100 acts, how many are about ignore files.
    pub ignore: u64,
    /// Of 100 acts, how many are about conflict copies, where there are any.
    pub copies: u64,
}

/// A scene, and what is going to happen in it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where.
    pub scene: Scene,
    /// How many acts of users between two rests.
    pub n_acts: u64,
    /// How often all come to rest.
    pub n_phases: u64,
    /// The last member is away for a year, between the first phase and the second.
    pub is_year_away: bool,
    /// Longest time between two acts (microseconds).
    pub act_gap_us: u64,
    /// What befalls devices.
    pub odds: Odds,
}

impl Settings {
    /// What a seed is made of, `level` 0: two devices without faults; 1: crashes, cuts, lost hints, odd clocks; 2: what is
    /// rarer too, a few kinds in each seed; 3: members that only send or only receive, some put back; 4: everything at once,
    /// and more devices.
    pub fn of_seed(seed: u64, level: u64) -> Settings {
        let mut random = Random::new(seed ^ 0xabcd ^ (level << 32));
        let mut settings = Settings {
            scene: scene(seed, level, &mut random),
            n_acts: 6 + random.below(if level == 4 { 25 } else { 40 }),
            n_phases: 1 + random.below(3) * random.below(2),
            is_year_away: false,
            act_gap_us: [3_000, 30_000, 300_000, 1_500_000][random.below(4) as usize],
            odds: Odds { copies: 10, late: random.below(2) * 5, ..Odds::default() },
        };
        if level > 0 {
            let mut some = |most: u64| if random.percent(60) { random.below(most + 1) } else { 0 };
            let odds = &mut settings.odds;
            (odds.crash, odds.cut, odds.pause, odds.scan) = (some(12), some(15), some(5), some(20));
        }
        if level == 2 || level == 4 {
            settings.add_rarer_faults(&mut random);
        }
        // Chosen apart, so that all else is as it was before there were holds.
        let mut random = Random::new(seed ^ 0x401d ^ (level << 32));
        if level > 0 && random.percent(25) {
            settings.scene.options.held_files_min = 2 + random.below(3);
            settings.odds.approve = random.below(2) * 10;
        }
        let mut random = Random::new(seed ^ 0xfa11 ^ (level << 32));
        if (level == 2 || level == 4) && random.percent(15) {
            settings.scene.options.failed_syncs_percent = 1 + random.below(30);
        }
        let mut random = Random::new(seed ^ 0x5a95 ^ (level << 32));
        if level >= 2 && random.percent(20) {
            settings.odds.revert = 1 + random.below(8);
        }
        // Whoever is put back, or joins anew, may bring back what is forgotten: only where nobody is.
        let mut random = Random::new(seed ^ 0xf026 ^ (level << 32));
        let Odds { restore, leave, revert, .. } = settings.odds;
        if restore + leave + revert == 0 && random.percent(50) {
            settings.scene.options.forgets = 1;
        }
        settings
    }

    fn add_rarer_faults(&mut self, random: &mut Random) {
        let mut rare = |most: u64| if random.percent(20) { 1 + random.below(most) } else { 0 };
        let options = &mut self.scene.options;
        options.failed_fetches_percent = rare(40);
        options.rescues_percent = rare(100);
        options.doubled_messages_percent = rare(10);
        options.lost_bytes_percent = rare(100);
        let odds = &mut self.odds;
        odds.power_cut = rare(100);
        odds.stall = rare(8);
        (odds.full, odds.read_only, odds.unreadable) = (rare(8), rare(8), rare(10));
        (odds.failing, odds.mount, odds.lost_root) = (rare(10), rare(6), rare(8));
        odds.clock = rare(8);
        (odds.restore, odds.leave) = (rare(8), rare(6));
        odds.ignore = rare(10);
        odds.late = odds.late.max(rare(20));
        options.cuts_power = u64::from(odds.power_cut > 0);
        self.is_year_away = self.n_phases > 1 && rare(1) == 1;
        self.scene.options.reordered_messages_percent = rare(20);
    }
}

fn scene(seed: u64, level: u64, random: &mut Random) -> Scene {
    let is_adverse = level > 0;
    let mut some = |most: u64| if is_adverse && random.percent(60) { random.below(most + 1) } else { 0 };
    let n_devices = 2 + some(if level == 4 { 4 } else { 2 }) as usize;
    let topologies = [Topology::Line, Topology::Star, Topology::Mesh, Topology::Ring];
    let topology = topologies[some(3) as usize];
    // A member that takes nothing, or keeps its own, is no bridge: others' bytes do not pass through it.
    let topology = if level == 3 && topology != Topology::Mesh { Topology::Star } else { topology };
    let (are_clocks_off, are_times_coarse) = (some(1) == 1, some(2) == 2);
    let options = Options {
        work_us_max: [300, 3_000, 30_000][some(2) as usize],
        link_us_max: [500, 5_000, 200_000][some(2) as usize],
        lost_hints_percent: if some(9) == 9 { 100 } else { some(40) },
        overflows_percent: some(5),
        ..Options::default()
    };
    let (modes, only_author) =
        if level == 3 { some_modes(random, n_devices) } else { (vec![Mode::TwoWay; n_devices], None) };
    let mut machine = |mode| Machine {
        mode,
        clock_seconds: if are_clocks_off { random.below(2_000_000_000) as i64 - 1_000_000_000 } else { 0 },
        drift_ppm: if are_clocks_off { random.below(2_000) as i64 - 1_000 } else { 0 },
        time_step_ns: if are_times_coarse {
            [1, 100, 1_000_000_000, 2_000_000_000][random.below(4) as usize]
        } else {
            1
        },
        keeps_ctime: random.percent(30),
    };
    let machines = modes.into_iter().map(&mut machine).collect();
    Scene { seed, machines, links: topology.links(n_devices), only_author, options }
}

/// Members that only receive or only send, or a read-only offer of the first device; the first is always two-way.
fn some_modes(random: &mut Random, n_devices: usize) -> (Vec<Mode>, Option<usize>) {
    let is_read_only = random.percent(30);
    let mode = |random: &mut Random| match random.below(3) {
        0 => Mode::TwoWay,
        1 => Mode::ReceiveOnly,
        _ => Mode::SendOnly,
    };
    let others = (1..n_devices).map(|_| if is_read_only { Mode::TwoWay } else { mode(random) });
    (std::iter::once(Mode::TwoWay).chain(others).collect(), is_read_only.then_some(0))
}
