//! Many seeds. `SEEDS=N` says how many, `FIRST=N` where to begin; `SEED=X` replays one with a trace; `EVIDENCE=full`
//! runs many more. A seed that fails is shrunk to a script, which is printed and can be kept (see `scripts.rs`).

#![expect(clippy::print_stdout, reason = "how much was proved is for people to read")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use file_sync_sim::{Report, Script, Settings, Stats, failure_of, run_seed, shrink};

/// Seeds that are known to fail, by level, of all that were ever tried, each with why; none is left out of the count of seeds
/// unsaid. Not one of those that the tests try by themselves:
///
/// - 11007843 (D1): a copy of a copy was edited where it could not be read for a while, and just then its bytes got their own
///   name back, since another user had moved a directory away from there: they stay there, beside the edit.
/// - 11003892: a fault of the oracle's. Two machines were put back, one to before it moved a directory away, the other to after;
///   what came out is right, and the oracle misses the directory at its old name. 12827506 is like it.
/// - 12607045 (V2): a touch of bytes that another user replaced, and who has deleted what he replaced them with before he heard
///   of the touch, outlives that, as a touch outlives any delete that it was not seen by; but whoever touched them was put back
///   since, to where those bytes were on no disk any more.
/// - 12700998 (D1): a home was put back to before it knew of a file that was on the disk, and a rule came to ignore that file
///   before it was looked at: deleted elsewhere and not ignored any more, it is found as a new one.
/// - 12713927, 12802617, 13301945: a fault of the oracle's. A member that may not send, or may not write there, is put back to an image that
///   has what it alone had, and the oracle has forgotten whose that was.
/// - 12703442 (D1): a user put an empty file in another's place just before a power cut: it is taken for what the cut has left of
///   that other, which comes back (C4).
/// - 13004307 (S2): strict members alone. A delete that one has forgotten went from the other's register with what it bore witness
///   to: what stood beside an older delete is accounted for by nobody.
const OPEN: &[(u64, u64)] = &[
    (2, 11_003_892),
    (2, 12_703_442),
    (2, 12_827_506),
    (2, 13_004_307),
    (3, 12_713_927),
    (3, 12_802_617),
    (3, 13_301_945),
    (4, 11_007_843),
    (4, 12_607_045),
    (4, 12_700_998),
];

/// Runs of candidates when a failing seed is shrunk.
const SHRINK_RUNS_MAX: u64 = 600;
/// One seed in so many runs twice and has to give the same.
const TWICE_EVERY: u64 = 100;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What many seeds came to.
#[derive(Default)]
struct Total {
    stats: Stats,
    failed: BTreeMap<u64, String>,
    n_twice: u64,
}

fn run_many(level: u64, n_seeds_default: u64, n_seeds_full: u64) {
    if let Some(seed) = number("SEED") {
        return replay(level, seed);
    }
    let is_full = std::env::var("EVIDENCE").is_ok_and(|size| size == "full");
    let n_seeds = number("SEEDS").unwrap_or(if is_full { n_seeds_full } else { n_seeds_default });
    let first = number("FIRST").unwrap_or(0);
    let begun = Instant::now();
    let total = run_all(level, first, n_seeds);
    println!("level {level}: {n_seeds} seeds from {first}, less those open {OPEN:?}; {}", told(&total));
    let is_open = |(of, seed): &&(u64, u64)| *of == level && (first..first + n_seeds).contains(seed);
    let n_open = OPEN.iter().filter(is_open).count();
    print_evidence(level, (n_seeds, n_open), &total, begun.elapsed().as_secs_f64());
    let Some((seed, failure)) = total.failed.first_key_value() else { return };
    let script = shrink(&script_of(*seed, level), SHRINK_RUNS_MAX);
    let failed: Vec<String> =
        total.failed.iter().take(20).map(|(seed, failure)| format!("seed {seed}: {failure}")).collect();
    panic!(
        "{} of {n_seeds} seeds failed:\n{}\nseed {seed} ({failure}) shrunk:\n{script}{}",
        total.failed.len(),
        failed.join("\n"),
        failure_of(&script).unwrap_or_default(),
    );
}

fn run_all(level: u64, first: u64, n_seeds: u64) -> Total {
    let next = AtomicU64::new(first);
    let total = Mutex::new(Total::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + n_seeds {
                return;
            }
            if OPEN.contains(&(level, seed)) {
                continue;
            }
            let report = run(level, seed);
            let is_twice = seed.is_multiple_of(TWICE_EVERY);
            let again = is_twice.then(|| run(level, seed));
            let mut total = total.lock().expect("nobody panics with it");
            total.stats.add(&report.stats);
            total.n_twice += u64::from(is_twice);
            if let Some(failure) = report.failures.first() {
                total.failed.insert(seed, failure.clone());
            }
            if again.is_some_and(|again| (again.stats, again.shown) != (report.stats, report.shown)) {
                total.failed.insert(seed, "twice the same seed, and not the same history".to_owned());
            }
        }
    };
    std::thread::scope(|scope| {
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..n_threads).for_each(|_| {
            scope.spawn(work);
        });
    });
    total.into_inner().expect("nobody panicked with it")
}

fn run(level: u64, seed: u64) -> Report {
    let settings = Settings::of_seed(seed, level);
    std::panic::catch_unwind(|| run_seed(seed, &settings)).unwrap_or_else(|panic| Report {
        failures: vec![panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panic".to_owned())],
        stats: Stats::default(),
        trace: Vec::new(),
        script: Script { scene: settings.scene, steps: Vec::new() },
        shown: Vec::new(),
    })
}

fn replay(level: u64, seed: u64) {
    let mut settings = Settings::of_seed(seed, level);
    settings.scene.options.is_traced = true;
    let report = run_seed(seed, &settings);
    report.trace.iter().for_each(|line| println!("{line}"));
    assert_eq!(report.failures, Vec::<String>::new(), "level {level} seed {seed}:\n{}", report.script);
}

fn script_of(seed: u64, level: u64) -> Script {
    run(level, seed).script
}

/// What was proved, for the record.
fn told(total: &Total) -> String {
    let mut stats = total.stats.clone();
    let ops = format!("{} ops", stats.n_ops());
    let counts = stats.counts().into_iter().map(|(name, count)| format!("{count} {name}"));
    let twice = format!("{} seeds run twice", total.n_twice);
    counts.chain([ops, twice]).collect::<Vec<_>>().join(", ")
}

fn print_evidence(level: u64, (n_seeds, n_open): (u64, usize), total: &Total, seconds: f64) {
    let mut stats = total.stats.clone();
    let figures: Vec<String> =
        stats.counts().into_iter().map(|(name, count)| format!("{name:?}:{count}")).collect();
    let count = |promises: &[&str]| {
        let is_one = |failure: &&String| promises.iter().any(|promise| failure.starts_with(promise));
        total.failed.values().filter(is_one).count()
    };
    println!(
        "evidence: {{\"part\":\"simulator\",\"what\":\"level {level}\",\"figures\":{{\"seeds\":{n_seeds},\"seeds left out, that \
         fail\":{n_open},\"seeds run twice\":{},{}}},\"bad\":{{\"lost\":{},\"resurrected\":{},\"partial\":{},\"phantom\":{},\"not \
         converged\":{},\"other\":{}}},\"seconds\":{seconds:.1}}}",
        total.n_twice,
        figures.join(","),
        count(&["L1", "L2", "L3"]),
        count(&["D"]),
        count(&["V1"]),
        count(&["V2", "L5"]),
        count(&["S1", "S2", "P1"]),
        total.failed.len() - count(&["L1", "L2", "L3", "D", "V1", "V2", "L5", "S1", "S2", "P1"]),
    );
}

#[test]
fn two_devices_without_faults() {
    run_many(0, 1_000, 50_000);
}

#[test]
fn devices_with_faults() {
    run_many(1, 1_000, 50_000);
}

#[test]
fn devices_with_rarer_faults() {
    run_many(2, 1_000, 50_000);
}

#[test]
fn members_that_may_not_send() {
    run_many(3, 600, 30_000);
}

#[test]
fn up_to_six_devices_with_everything() {
    run_many(4, 300, 20_000);
}
