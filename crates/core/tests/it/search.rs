//! A search through histories: small ones exhaustively, longer ones by seeded sample.
//!
//! `SEARCH=full` tries more. Whatever fails is shrunk and printed as a script.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use file_sync_core::register::Register;
use file_sync_core::version::Version;

use crate::script::{Deed, Random, Ranks, Sending, Step, World, parse, run, shrink};

fn is_full() -> bool {
    std::env::var("SEARCH").is_ok_and(|value| value == "full")
}

/// What is tried exhaustively.
struct Bounds {
    deeds: Vec<Deed>,
    ranks: Ranks,
    start: &'static str,
}

#[derive(Default)]
struct Search {
    seen: HashSet<(u64, u64, usize, usize)>,
    checked: HashSet<(u64, u64)>,
    n_histories: u64,
    trail: Vec<Step>,
}

impl Search {
    fn explore(
        &mut self,
        world: &World,
        bounds: &Bounds,
        n_acts: usize,
        n_deliveries: usize,
    ) -> Result<(), String> {
        let key = key(world);
        if !self.seen.insert((key.0, key.1, n_acts, n_deliveries)) {
            return Ok(());
        }
        if self.checked.insert(key) {
            world.clone().settle_and_check()?;
        }
        let n_active = world.known.iter().filter(|known| **known != 0).count();
        if n_acts > 0 {
            for device in 0..world.devices.len() {
                for deed in &bounds.deeds {
                    // Devices are alike until they differ in anything: the first to act is the lowest.
                    if bounds.start.is_empty() && device > n_active && bounds.ranks != Ranks::Equal {
                        continue;
                    }
                    self.follow(world, bounds, Step::Act(device, deed.clone()), n_acts - 1, n_deliveries)?;
                }
            }
        }
        if n_deliveries > 0 && n_acts > 0 {
            for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
                if world.known[from] & !world.known[to] != 0 {
                    let step = Step::Deliver(from, to, Sending::InOrder);
                    self.follow(world, bounds, step, n_acts, n_deliveries - 1)?;
                }
            }
        }
        Ok(())
    }

    fn follow(
        &mut self,
        world: &World,
        bounds: &Bounds,
        step: Step,
        n_acts: usize,
        n_deliveries: usize,
    ) -> Result<(), String> {
        let mut next = world.clone();
        if next.step(&step) {
            self.n_histories += 1;
            self.trail.push(step);
            self.explore(&next, bounds, n_acts, n_deliveries)?;
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
            u64::MAX.hash(hasher);
        }
        world.known.hash(hasher);
        world.oracle.hash(hasher);
    }
    (hashers[0].finish(), hashers[1].finish())
}

fn hash_register(register: &Register, hasher: &mut DefaultHasher) {
    let hash_version = |version: &Version, hasher: &mut DefaultHasher| {
        (version.dot, &version.value, version.rank, &version.replaced, version.base, version.changed)
            .hash(hasher);
        version.born_at.hash(hasher);
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

fn exhaust(name: &str, deed_script: &str, start: &'static str, n_acts: usize, n_deliveries: usize) {
    for ranks in [Ranks::Rising, Ranks::Falling, Ranks::Equal] {
        let bounds = Bounds { deeds: deeds(deed_script), ranks, start };
        let mut world = World::new(3, ranks);
        let mut search = Search { trail: parse(start), ..Search::default() };
        search.trail.iter().for_each(|step| {
            world.step(step);
        });
        if let Err(reason) = search.explore(&world, &bounds, n_acts, n_deliveries) {
            panic!("{name}: {reason}\n{}", shrink(3, ranks, search.trail));
        }
        println!("{name}, {ranks:?}: {} histories, {} states", search.n_histories, search.checked.len());
    }
}

const SHARED: &str = "p0 write d/f\n p0 > p1\n p0 > p2";
const SHARED_FILE: &str = "p0 write f\n p0 > p1\n p0 > p2";

#[test]
fn l1_small_histories_below_a_directory() {
    let n = usize::from(is_full());
    exhaust("from nothing", "write d, write d/f, mkdir d, rm d, rm d/f, rm d~0", "", 3, 3 + n);
    exhaust("from d/f", "write d, write d/f, mkdir d, rm d, rm d/f, rm d~0, mv d e", SHARED, 3, 2 + n);
}

#[test]
fn l4_small_histories_of_copies() {
    let n = usize::from(is_full());
    exhaust(
        "copies",
        "write f, rm f, touch f, write f~0, rm f~0, mv f~0 f, mv f f~0, mv f~0 g",
        "",
        3 + n,
        4 - n,
    );
    exhaust(
        "copies of a shared file",
        "write f, rm f, write f~0, rm f~0, mv f~0 f, chmod f",
        SHARED_FILE,
        3,
        3 + n,
    );
}

#[test]
fn l1_small_histories_of_siblings() {
    let n = usize::from(is_full());
    exhaust("siblings", "write f, rm f, mv f g, mv g f, write g, touch f", SHARED_FILE, 3, 3 + n);
}

const NAMES: [&[&str]; 3] = [&["d", "d/f", "d/g", "e"], &["f", "g", "f.txt"], &["d", "d/f", "d/f/x"]];

fn random_deed(random: &mut Random, names: &[&str]) -> Deed {
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

fn random_history(seed: u64, is_partial: bool) -> (Ranks, Vec<Step>) {
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
            let sending = match random.below(if is_partial { 6 } else { 3 }) {
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

fn sample(name: &str, n_histories: u64, is_partial: bool) {
    let n_histories = if is_full() { n_histories * 20 } else { n_histories };
    for seed in 0..n_histories {
        let (ranks, steps) = random_history(seed, is_partial);
        if run(3, ranks, &steps).is_err() {
            panic!("{name}, seed {seed}: {}", shrink(3, ranks, steps));
        }
    }
    println!("{name}: {n_histories} histories");
}

#[test]
fn l1_longer_histories_by_sample() {
    sample("whole deliveries", 60_000, false);
}

#[test]
fn s4_longer_histories_with_partial_deliveries() {
    sample("partial deliveries", 30_000, true);
}
