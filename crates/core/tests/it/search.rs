//! A search through histories: small ones exhaustively, longer ones by seeded sample.
//!
//! Three devices, up to three acts and four deliveries between them: every order of the acts' times among each other and
//! equal ones, states merged where they say the same, devices named in the order in which they take part. `SEARCH=full`
//! tries deliveries after the last act too, and a larger sample. Whatever fails is shrunk and printed as a script.

#![expect(clippy::print_stdout, reason = "the search says how much it tried")]

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use file_sync_core::register::Register;
use file_sync_core::version::Version;

use crate::oracle::Events;
use crate::script::{Deed, Random, Ranks, Sending, Step, World, parse, run, shrink};

fn is_full() -> bool {
    std::env::var("SEARCH").is_ok_and(|value| value == "full")
}

/// What is tried exhaustively.
struct Bounds {
    deeds: Vec<Deed>,
    /// Devices from this one on are alike at the start, names and all: of those that have neither done nor heard
    /// anything since, the lowest stands for the others.
    alike_from: usize,
    /// In order; and to disks that follow later, where that is tried too.
    sendings: &'static [Sending],
    known_at_start: Events,
}

/// What of a history is still to come.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Left {
    n_acts: usize,
    n_deliveries: usize,
    /// The places among the acts' times, by bits.
    ranks: u8,
}

#[derive(Default)]
struct Search {
    seen: HashSet<(u64, u64, Left)>,
    checked: HashSet<(u64, u64)>,
    n_histories: u64,
    trail: Vec<Step>,
    failed: Option<Ranks>,
}

impl Search {
    fn explore(&mut self, world: &World, bounds: &Bounds, left: Left) -> Result<(), String> {
        let key = key(world);
        if !self.seen.insert((key.0, key.1, left)) {
            return Ok(());
        }
        if self.checked.insert(key) {
            world.clone().settle_and_check()?;
        }
        let is_fresh = |device: &usize| world.heard[*device] == bounds.known_at_start;
        let fresh = (bounds.alike_from..world.devices.len()).find(is_fresh);
        let is_tried =
            |device: usize| device < bounds.alike_from || !is_fresh(&device) || fresh == Some(device);
        if left.n_acts > 0 {
            for device in (0..world.devices.len()).filter(|device| is_tried(*device)) {
                self.act(world, bounds, left, device)?;
            }
        }
        // What is told after the last act changes nothing that matters: in the end everybody is told everything.
        if left.n_deliveries > 0 && (left.n_acts > 0 || is_full()) {
            for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
                let left = Left { n_deliveries: left.n_deliveries - 1, ..left };
                for sending in bounds.sendings.iter().filter(|_| is_tried(to)) {
                    let there = if *sending == Sending::Unseen { world.heard[to] } else { world.known[to] };
                    if world.heard[from] & !there != 0 {
                        self.follow(world.clone(), bounds, left, Step::Deliver(from, to, *sending))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Tries every deed of one device, at every place among the acts' times that is left.
    fn act(&mut self, world: &World, bounds: &Bounds, left: Left, device: usize) -> Result<(), String> {
        for rank in (0..N_ACTS as u32).filter(|rank| left.ranks & 1 << rank != 0) {
            let mut next = world.clone();
            if let Ranks::Order { order, .. } = &mut next.ranks {
                order[N_ACTS - left.n_acts] = rank;
            }
            let left = Left { n_acts: left.n_acts - 1, ranks: left.ranks & !(1 << rank), ..left };
            for deed in &bounds.deeds {
                self.follow(next.clone(), bounds, left, Step::Act(device, deed.clone()))?;
            }
            if next.ranks == Ranks::Equal {
                break;
            }
        }
        Ok(())
    }

    fn follow(&mut self, mut next: World, bounds: &Bounds, left: Left, step: Step) -> Result<(), String> {
        if next.step(&step) {
            self.n_histories += 1;
            self.trail.push(step);
            self.explore(&next, bounds, left).inspect_err(|_| {
                self.failed.get_or_insert(next.ranks);
            })?;
            self.trail.pop();
        }
        Ok(())
    }
}

/// Names a state by 128 bits: what everybody knows, and what ought to be.
fn key(world: &World) -> (u64, u64) {
    let mut hashers = [DefaultHasher::new(), DefaultHasher::new()];
    for (salt, hasher) in hashers.iter_mut().enumerate() {
        salt.hash(hasher);
        for device in &world.devices {
            for (path, node) in device.tree.iter() {
                path.hash(hasher);
                hash_register(&node.register, hasher);
            }
            device.disk.hash(hasher);
        }
        (&world.known, &world.heard).hash(hasher);
        world.oracle.hash(hasher);
    }
    (hashers[0].finish(), hashers[1].finish())
}

fn hash_register(register: &Register, hasher: &mut DefaultHasher) {
    let hash_version = |version: &Version, hasher: &mut DefaultHasher| {
        (version.dot, &version.value, version.rank, &version.replaced, version.base, version.changed)
            .hash(hasher);
        (&version.heard, &version.born_at).hash(hasher);
    };
    register.context().hash(hasher);
    register.versions().iter().for_each(|version| hash_version(version, hasher));
    for settled in register.settled() {
        hash_version(&settled.version, hasher);
        settled.copy.hash(hasher);
    }
}

fn deeds(script: &str) -> Vec<Deed> {
    script
        .split(", ")
        .map(|deed| match &parse(&format!("p0 {deed}"))[..] {
            [Step::Act(_, deed)] => deed.clone(),
            _ => panic!("no deed: {deed}"),
        })
        .collect()
}

/// Up to so many acts are tried exhaustively.
const N_ACTS: usize = 3;
/// And up to so many deliveries between them.
const N_DELIVERIES: usize = 4;

/// Tries every history of a few acts and deliveries, with every order of the acts' times and with equal ones.
fn exhaust(name: &str, deed_script: &str, start: &str, sendings: &'static [Sending]) {
    let n_before = parse(start).iter().filter(|step| matches!(step, Step::Act(..))).count() as u32;
    let (mut n_histories, mut n_states) = (0, 0);
    for ranks in [Ranks::Order { n_before, order: [0; N_ACTS] }, Ranks::Equal] {
        let mut world = World::new(3, ranks);
        let mut search = Search { trail: parse(start), ..Search::default() };
        search.trail.iter().for_each(|step| {
            world.step(step);
        });
        // Among equal times the device decides; and what p0 did at the start sets it apart.
        let alike_from = match ranks {
            Ranks::Equal => world.devices.len(),
            _ if start.is_empty() => 0,
            _ => 1,
        };
        let bounds =
            Bounds { deeds: deeds(deed_script), alike_from, sendings, known_at_start: world.known[2] };
        let left = Left { n_acts: N_ACTS, n_deliveries: N_DELIVERIES, ranks: (1 << N_ACTS) - 1 };
        if let Err(reason) = search.explore(&world, &bounds, left) {
            panic!("{name}: {reason}\n{}", shrink(3, search.failed.unwrap_or(ranks), search.trail));
        }
        n_histories += search.n_histories;
        n_states += search.checked.len();
    }
    println!("{name}: {n_histories} histories, {n_states} states");
}

const SEEN: &[Sending] = &[Sending::InOrder];
const SEEN_OR_NOT: &[Sending] = &[Sending::InOrder, Sending::Unseen];
const SHARED: &str = "p0 write d/f\n p0 > p1\n p0 > p2";
const SHARED_FILE: &str = "p0 write f\n p0 > p1\n p0 > p2";

#[test]
fn l1_small_histories_from_nothing() {
    exhaust(
        "from nothing",
        "write d, write d/f, mkdir d, rm d, rm d/f, write d~0, rm d~0, mv d~0 d, mv d~0 d/f, mv d e",
        "",
        SEEN,
    );
}

#[test]
fn l1_small_histories_below_a_directory() {
    exhaust("from d/f", "write d, write d/f, mkdir d, rm d, rm d/f, rm d~0, mv d e", SHARED, SEEN);
}

#[test]
fn l4_small_histories_of_copies() {
    exhaust("copies", "write f, rm f, touch f, write f~0, rm f~0, mv f~0 f, mv f f~0, mv f~0 g", "", SEEN);
    exhaust(
        "copies of a shared file",
        "write f, rm f, write f~0, rm f~0, mv f~0 f, chmod f",
        SHARED_FILE,
        SEEN,
    );
}

#[test]
fn l1_small_histories_of_siblings() {
    exhaust("siblings", "write f, rm f, mv f g, mv g f, write g, touch f", SHARED_FILE, SEEN);
}

#[test]
fn l1_small_histories_with_disks_that_lag_behind() {
    exhaust("lagging, from nothing", "write d, mkdir d, rm d, write d/f, rm d~0", "", SEEN_OR_NOT);
    // No touch among them: who touches what was edited twice meanwhile, heard of but not seen, has it beside the edit as a
    // copy, for a record does not say by which dots its bytes came. Nothing is lost by it.
    exhaust("lagging, shared", "write f, rm f, write f~0, rm f~0", SHARED_FILE, SEEN_OR_NOT);
}

const NAMES: [&[&str]; 3] = [&["d", "d/f", "d/g", "e"], &["f", "g", "f.txt"], &["d", "d/f", "d/f/x"]];

pub fn random_deed(random: &mut Random, names: &[&str]) -> Deed {
    let name = |random: &mut Random| {
        let name = names[random.below(names.len())].to_owned();
        match random.below(5) {
            0 => name + "~0",
            1 => name + "~1",
            _ => name,
        }
    };
    match random.below(13) {
        0..=4 => Deed::Write(name(random)),
        5 => Deed::Touch(name(random)),
        6 => Deed::Chmod(name(random)),
        7 => Deed::Link(name(random)),
        8 => Deed::Mkdir(name(random)),
        9 | 10 => Deed::Remove(name(random)),
        _ => Deed::Rename(name(random), name(random)),
    }
}

/// What a sample's deliveries are like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deliveries {
    Whole,
    /// Some bring a part of the entries only.
    Partial,
    /// Some reach the disk later.
    Unseen,
}

pub fn random_history(seed: u64, deliveries: Deliveries) -> (Ranks, Vec<Step>) {
    let mut random = Random(seed);
    let ranks = [Ranks::Rising, Ranks::Falling, Ranks::Equal][random.below(3)];
    let names = NAMES[random.below(NAMES.len())];
    let (mut n_acts, mut steps) = (3 + random.below(6), Vec::new());
    while n_acts > 0 {
        if random.below(2) == 0 {
            n_acts -= 1;
            steps.push(Step::Act(random.below(3), random_deed(&mut random, names)));
        } else {
            let from = random.below(3);
            let to = (from + 1 + random.below(2)) % 3;
            let n_kinds = if deliveries == Deliveries::Whole { 3 } else { 6 };
            let sending = match random.below(n_kinds) {
                3.. if deliveries == Deliveries::Unseen => Sending::Unseen,
                0 => Sending::InOrder,
                1 => Sending::Reversed,
                2 => Sending::Shuffled(random.below(1000) as u64),
                _ => Sending::Part(random.below(1000) as u64, 1 + random.below(4)),
            };
            steps.push(Step::Deliver(from, to, sending));
        }
    }
    (ranks, steps)
}

fn sample(name: &str, n_histories: u64, deliveries: Deliveries) {
    let n_histories = if is_full() { n_histories * 20 } else { n_histories };
    for seed in 0..n_histories {
        let (ranks, steps) = random_history(seed, deliveries);
        if run(3, ranks, &steps).is_err() {
            panic!("{name}, seed {seed}: {}", shrink(3, ranks, steps));
        }
    }
    println!("{name}: {n_histories} histories");
}

#[test]
fn l1_longer_histories_by_sample() {
    sample("whole deliveries", 60_000, Deliveries::Whole);
}

#[test]
fn s4_longer_histories_with_partial_deliveries() {
    sample("partial deliveries", 30_000, Deliveries::Partial);
}

#[test]
fn l1_longer_histories_with_disks_that_lag_behind() {
    sample("deliveries that are not seen at once", 30_000, Deliveries::Unseen);
}
