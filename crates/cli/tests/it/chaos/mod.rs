//! Chaos: real servers, whose lines, processes, disks, clocks and homes fail at any time, while users, readers and real
//! programs are at work in the trees.
//!
//! Then all faults end, nobody restarts or repairs anything, and everything that was promised must be true. What users
//! do and which faults come in which order follows from a seed; how they fall together does not, so that a failing run
//! is not replayed exactly. It leaves its logs and trees behind.
//!
//! `EVIDENCE=full` goes on for `CHAOS_SECONDS` (1,200 by default); `CHAOS_SEED` chooses the first seed.

#![expect(clippy::print_stdout, reason = "the test says what it has proved")]

mod line;
mod program;
mod record;
mod token;
mod trouble;
mod user;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::program::{OWN, Program, Work};
use self::record::{Record, Verdict};
use self::trouble::Troublemaker;
use self::user::{Desk, PLAIN, WILD};
use self::world::{Shape, World};
pub use self::world::{clock_library, clock_of, clock_variables, set_clock};
use crate::device::Device;
use crate::echo::quiet;
use crate::random::Random;
use crate::tree::{Tree, difference, tree_of, try_tree_of};
use crate::world::{approve_held, eventually};

/// How long members may take to rest once faults have ended.
const REST_WITHIN: Duration = Duration::from_secs(300);

/// Members ask each other again for bytes that nobody had, every ten seconds at the longest: what is still the same after
/// this time does not come.
const PENDING_FOR_GOOD: Duration = Duration::from_secs(30);

type Figures = BTreeMap<String, u64>;

/// How much of it.
struct Plan {
    shape: Shape,
    n_devices: usize,
    first_seed: u64,
    /// How long faults last in each run.
    faults: Duration,
    /// How long there are runs.
    total: Duration,
    away_ms_max: u64,
    /// What a device's file system holds: the displaced versions of all that time too.
    disk_mib: u32,
}

#[test]
fn s1_s2_l1_d3_v1_v2_members_of_a_mesh_survive_chaos() {
    chaos(&plan(Shape::Mesh, 1));
}

#[test]
fn s1_s2_l1_d3_v1_v2_members_of_a_line_survive_chaos() {
    chaos(&plan(Shape::Line, 100_001));
}

fn plan(shape: Shape, first_seed: u64) -> Plan {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let first_seed = number("CHAOS_SEED").unwrap_or(first_seed);
    if std::env::var("EVIDENCE").is_ok_and(|evidence| evidence == "full") {
        let total = Duration::from_secs(number("CHAOS_SECONDS").unwrap_or(1_200) / 2);
        let n_devices = if shape == Shape::Mesh { 4 } else { 3 };
        return Plan {
            shape,
            n_devices,
            first_seed,
            faults: Duration::from_secs(45),
            total,
            away_ms_max: 6_000,
            disk_mib: 2_048,
        };
    }
    let faults = Duration::from_secs(9);
    Plan { shape, n_devices: 3, first_seed, faults, total: Duration::ZERO, away_ms_max: 1_500, disk_mib: 192 }
}

/// Runs until the time is used up, once at least, and says what came of it.
fn chaos(plan: &Plan) {
    let began = Instant::now();
    let mut figures = Figures::new();
    let mut seed = plan.first_seed;
    loop {
        run(plan, seed, &mut figures);
        seed += 1;
        if began.elapsed() + plan.faults >= plan.total {
            break;
        }
    }
    let what =
        format!("{:?} of {} servers, seeds {} to {}", plan.shape, plan.n_devices, plan.first_seed, seed - 1);
    let bad: Figures = ["lost", "resurrected", "partial", "phantom", "not converged"]
        .map(|name| (name.to_owned(), 0))
        .into();
    let seconds = (began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    println!("chaos: {what}: all members equal and at rest, nothing lost, come back, partial or made up");
    let evidence = serde_json::json!({"part": "chaos", "what": what, "figures": figures, "bad": bad, "seconds": seconds});
    println!("evidence: {evidence}");
}

/// One run: work and faults together, then rest, then the verdict.
fn run(plan: &Plan, seed: u64, figures: &mut Figures) {
    println!("chaos: {:?}, seed {seed}", plan.shape);
    let mut world = World::new(plan.shape, plan.n_devices, seed, plan.disk_mib);
    let record = Record::new();
    let is_over = AtomicBool::new(false);
    let desks: Vec<Desk> = (0..plan.n_devices).map(|index| desk(&world, index, &record, &is_over)).collect();
    let works = works(&desks);
    let _kept = world.keep_if_bad(&format!("chaos-{:?}-{seed}", plan.shape).to_lowercase(), &record);
    let counts = work(plan, seed, &mut world, &desks, &works);
    let left: Vec<Tree> = works.iter().map(|work| tree_of(&work.directory())).collect();
    let had_home_trouble = ["restored homes", "lost homes"].iter().any(|kind| counts.contains_key(*kind));
    rest(&world.devices, had_home_trouble, &record);
    desks.iter().for_each(Desk::look_through_taken);
    let all: Vec<&Device> = world.devices.iter().collect();
    quiet(&all);
    let trees: Vec<Tree> = all.iter().map(|device| tree_of(&device.root())).collect();
    let root = all[0].root();
    let mut verdict = record.judge(&root, &trees[0]);
    let pending = pending(&world.devices, had_home_trouble);
    if !pending.is_empty() {
        verdict.resurrected = record.judge(&root, &without(trees[0].clone(), &pending)).resurrected;
    }
    for (work, left) in works.iter().zip(&left) {
        judge_own(work, left, &trees[0], had_home_trouble, &mut verdict);
    }
    let whole = works.iter().filter(|work| !had_home_trouble || !has_copies(&work.directory()));
    programs_find_all_well(whole, &all);
    add_up(figures, &record, &verdict, &counts);
    let Verdict { lost, resurrected, partial, phantom, .. } = &verdict;
    let nothing: &[String] = &[];
    assert_eq!(
        [&lost[..], resurrected, partial, phantom],
        [nothing; 4],
        "seed {seed}:\n{}",
        record.troubles()
    );
    for device in &all {
        assert!(!device.whole_log().contains("panicked"), "{}", device.log());
    }
}

fn desk<'a>(world: &World, device: usize, record: &'a Record, is_over: &'a AtomicBool) -> Desk<'a> {
    let (root, scratch) = (world.devices[device].root(), world.devices[device].beside("scratch"));
    fs::create_dir_all(&scratch).expect("a directory");
    for zone in [PLAIN, WILD, OWN] {
        fs::create_dir_all(root.join(zone)).expect("a directory");
    }
    Desk { device, root, scratch, gate: Mutex::new(()), record, is_over }
}

/// Which programs work where. What happens to homes happens to the last device.
fn works<'a>(desks: &'a [Desk<'a>]) -> Vec<Work<'a>> {
    let last = desks.len() - 1;
    let programs = [
        (0, Program::Git),
        (0, Program::Vim),
        (0, Program::InPlace),
        (1, Program::Sqlite),
        (1, Program::Tar),
        (1, Program::Rsync),
        (last, Program::InPlace),
        (last, Program::Vim),
    ];
    programs.into_iter().map(|(device, program)| Work { desk: &desks[device], program }).collect()
}

/// Lets everybody work, and makes trouble, for as long as planned.
fn work(plan: &Plan, seed: u64, world: &mut World, desks: &[Desk], works: &[Work]) -> Figures {
    let is_over = desks[0].is_over;
    let World { shape, means, devices, lines, .. } = world;
    let mut purpose = 0;
    let mut random = || {
        purpose += 1;
        Random::new(seed, purpose)
    };
    std::thread::scope(|scope| {
        for desk in desks {
            let (user, reader) = (random(), random());
            scope.spawn(move || desk.work(user));
            scope.spawn(move || desk.read(reader));
        }
        for work in works {
            let random = random();
            scope.spawn(move || work.run(random));
        }
        let (line_random, trouble_random) = (random(), random());
        let lines = &*lines;
        let line_faults = scope.spawn(move || lines.disturb(line_random, is_over));
        let away_ms_max = plan.away_ms_max;
        let maker = Troublemaker::new((*shape, *means), devices, desks, lines, trouble_random, away_ms_max);
        let trouble = scope.spawn(move || maker.disturb(is_over));
        let end = Instant::now() + plan.faults;
        while Instant::now() < end && !trouble.is_finished() {
            std::thread::sleep(Duration::from_millis(50));
        }
        is_over.store(true, Ordering::Relaxed);
        let counts =
            [trouble, line_faults].map(|thread| thread.join().expect("trouble is made without a panic"));
        counts.into_iter().flatten().map(|(kind, count)| (kind.to_owned(), count)).collect()
    })
}

/// Waits until all members are connected, idle and equal, without doing anything about it but to let deletions through that
/// are held.
fn rest(devices: &[Device], had_home_trouble: bool, record: &Record) {
    let began = Instant::now();
    let mut same = (BTreeSet::new(), Instant::now());
    eventually(REST_WITHIN, || {
        let mut all = || {
            if approve_held(&devices.iter().collect::<Vec<_>>()) {
                return Err("deletions were held".to_owned());
            }
            devices.iter().try_for_each(|device| is_idle(device, had_home_trouble))?;
            devices.iter().try_for_each(|device| has_waited(device, had_home_trouble))?;
            let trees = devices.iter().map(|device| try_tree_of(&device.root()));
            let trees = trees.collect::<std::io::Result<Vec<Tree>>>().map_err(|error| error.to_string())?;
            let pending = pending(devices, had_home_trouble);
            if pending != same.0 {
                same = (pending.clone(), Instant::now());
            }
            if !pending.is_empty() && same.1.elapsed() < PENDING_FOR_GOOD {
                return Err(format!("bytes may still come: {pending:?}"));
            }
            let trees: Vec<Tree> = trees.into_iter().map(|tree| without(tree, &pending)).collect();
            match trees.iter().find_map(|tree| difference(&trees[0], tree)) {
                Some(difference) => Err(format!("members differ: {difference}")),
                None => Ok(()),
            }
        };
        all().map_err(|state: String| format!("{state}\n{}", record.troubles()))
    });
    println!("chaos: at rest after {:.1} s", began.elapsed().as_secs_f64());
}

/// Paths whose bytes nobody has any more, after homes were lost: what a disk had there before stays until they come.
fn pending(devices: &[Device], had_home_trouble: bool) -> BTreeSet<Vec<u8>> {
    let mut paths = BTreeSet::new();
    for device in devices.iter().filter(|_| had_home_trouble) {
        let directory = device.directory();
        let errors = directory["errors"].as_array().into_iter().flatten();
        let pending = errors.filter(|error| is_for_want_of_bytes(error));
        paths.extend(pending.filter_map(|error| Some(error["path"].as_str()?.as_bytes().to_vec())));
    }
    paths
}

fn is_for_want_of_bytes(error: &serde_json::Value) -> bool {
    error["message"].as_str().is_some_and(|message| message.contains("no connected member has its bytes"))
}

fn without(mut tree: Tree, paths: &BTreeSet<Vec<u8>>) -> Tree {
    tree.retain(|path, _| !paths.contains(path));
    tree
}

fn is_idle(device: &Device, had_home_trouble: bool) -> Result<(), String> {
    let status = device.status();
    let remotes = status["remotes"].as_array().ok_or("no remotes")?;
    if !remotes.iter().all(|remote| remote["connected"] == true) {
        return Err(format!("{} is not connected: {}", device.name, status["remotes"]));
    }
    let directory = &status["directories"][0];
    let is_idle = directory["state"] == "idle" && directory["need_files"] == 0;
    let errors = directory["errors"].as_array().ok_or("no errors")?;
    // Who replaced bytes that nobody else had, and lost the memory of it, leaves a version that nobody can show. It is
    // listed for as long as nobody deletes it.
    let is_for_want = had_home_trouble && !errors.is_empty() && errors.iter().all(is_for_want_of_bytes);
    match (is_idle && errors.is_empty()) || is_for_want {
        true => Ok(()),
        false => Err(format!("{} is not idle: {directory}", device.name)),
    }
}

fn has_waited(device: &Device, had_home_trouble: bool) -> Result<(), String> {
    let waited = device.run(["sync", "wait", "--timeout", "20s"]).status.success();
    let is_excused = had_home_trouble && device.directory()["errors"] != serde_json::json!([]);
    match waited || is_excused {
        true => Ok(()),
        false => Err(format!("{} waits: {}", device.name, device.directory())),
    }
}

/// What only one program wrote is as it left it. Where a device lost its history, each file may be a copy, since what that
/// device has of others' older files may be its user's.
fn judge_own(work: &Work, left: &Tree, tree: &Tree, had_home_trouble: bool, verdict: &mut Verdict) {
    let prefix = format!("{OWN}/{}/", work.name()).into_bytes();
    let there: Tree = tree
        .iter()
        .filter_map(|(path, node)| Some((path.strip_prefix(&prefix[..])?.to_vec(), node.clone())))
        .collect();
    if !had_home_trouble {
        if let Some(difference) = difference(left, &there) {
            verdict.lost.push(format!("{} left | there is: {difference}", work.name()));
        }
        return;
    }
    for (path, node) in left {
        let is_kept = there.get(path) == Some(node) || there.values().any(|other| node.has_bytes_of(other));
        if !is_kept {
            verdict.lost.push(format!("{}: {}: {node:?}", work.name(), String::from_utf8_lossy(path)));
        }
    }
}

/// True if some file of a program's has a copy: where a device lost its history, an older one may have the name, and does
/// then not go with the others.
fn has_copies(directory: &Path) -> bool {
    user::below(directory).iter().any(|path| path.to_string_lossy().contains(".sync-conflict-"))
}

/// Opens what programs made, on the other members, by the programs themselves.
fn programs_find_all_well<'a>(works: impl Iterator<Item = &'a Work<'a>>, devices: &[&Device]) {
    for work in works {
        for device in devices.iter().filter(|device| device.root() != work.desk.root) {
            let directory = device.root().join(OWN).join(work.name());
            let found = work.finds_well(&directory, &device.beside("examined"));
            if let Err(complaint) = found {
                panic!("{:?} on {}: {complaint}", work.program, device.name);
            }
        }
    }
}

fn add_up(figures: &mut Figures, record: &Record, verdict: &Verdict, counts: &Figures) {
    let mut add = |name: &str, count: u64| *figures.entry(name.to_owned()).or_default() += count;
    add("runs", 1);
    add("acts of users", record.n_acts.load(Ordering::Relaxed));
    add("files read whole", record.n_reads.load(Ordering::Relaxed));
    add("uses of programs", record.n_programs.load(Ordering::Relaxed));
    add("contents that had to stay", verdict.n_kept);
    add("contents that had to be gone", verdict.n_gone);
    counts.iter().filter(|(kind, _)| *kind != "nothing").for_each(|(kind, count)| add(kind, *count));
}
