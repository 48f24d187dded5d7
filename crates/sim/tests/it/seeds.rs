//! Many seeds; `SEEDS=N` says how many, `SEED=X` replays one with a trace.

#![expect(clippy::print_stdout, reason = "how much was proved is for people to read")]

use file_sync_sim::{Report, Settings, Stats, run_seed};

/// Seeds within the default runs that are known to fail, by level.
///
/// Open beyond them, causes not found yet: a directory is lost at a conflict copy's name (level 0: 5164, promise L1), one
/// device alone makes a copy (level 1: 3594, L5), a version more than there were changes (level 1: 7612, 7680; level 2:
/// 6726, 7612, 8556, 12379, 12930; S3).
const OPEN: [(u64, u64); 0] = [];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn run_many(level: u64, n_seeds_default: u64) {
    if let Some(seed) = number("SEED") {
        let mut settings = Settings::of_seed(seed, level);
        settings.options.is_traced = true;
        let report = run_seed(seed, &settings);
        report.trace.iter().for_each(|line| println!("{line}"));
        assert_eq!(report.failures, Vec::<String>::new(), "level {level} seed {seed}");
        return;
    }
    let n_seeds = number("SEEDS").unwrap_or(n_seeds_default);
    let first = number("FIRST").unwrap_or(0);
    let mut total = Stats::default();
    let mut failed = Vec::new();
    for seed in (first..first + n_seeds).filter(|seed| !OPEN.contains(&(level, *seed))) {
        let settings = Settings::of_seed(seed, level);
        let run = || run_seed(seed, &settings);
        let report = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panic".to_owned());
            Report { failures: vec![text], stats: Default::default(), trace: Vec::new() }
        });
        total.add(&report.stats);
        if let Some(failure) = report.failures.first() {
            failed.push(format!("seed {seed}: {failure}"));
        }
    }
    println!("level {level}: {n_seeds} seeds, less those open {OPEN:?}: {}", told(&total));
    let n_failed = failed.len();
    failed.truncate(20);
    assert!(failed.is_empty(), "{n_failed} of {n_seeds} seeds failed:\n{}", failed.join("\n"));
}

/// What was proved, for the record.
fn told(stats: &Stats) -> String {
    format!(
        "{} acts of users, {} events, {} ops ({} met something else, {} rescued), {} commits, {} entries, {} fetches \
         ({} failed), {} hashes, {} crashes ({} power cuts), {} cuts, {} messages lost, {} hints lost, {} full disks, \
         {} lost roots, {} restored homes, {} rejoins",
        stats.n_acts,
        stats.n_events,
        stats.n_ops(),
        stats.n_surprises,
        stats.n_rescues,
        stats.n_commits,
        stats.n_entries,
        stats.n_fetches,
        stats.n_failed_fetches,
        stats.n_hashes,
        stats.n_crashes,
        stats.n_power_cuts,
        stats.n_cuts,
        stats.n_lost_messages,
        stats.n_lost_hints,
        stats.n_full_disks,
        stats.n_lost_roots,
        stats.n_restored_homes,
        stats.n_rejoins,
    )
}

#[test]
fn two_devices_without_faults() {
    run_many(0, 1_000);
}

#[test]
fn devices_with_faults() {
    run_many(1, 2_000);
}

#[test]
fn devices_with_rarer_faults() {
    run_many(2, 2_000);
}

#[test]
fn members_that_may_not_send() {
    run_many(3, 1_000);
}
