//! Many seeds; `SEEDS=N` says how many, `SEED=X` replays one with a trace.

use file_sync_sim::{Report, Settings, run_seed};

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
    let (mut n_events, mut n_crashes, mut n_cuts) = (0, 0, 0);
    let mut failed = Vec::new();
    for seed in first..first + n_seeds {
        let settings = Settings::of_seed(seed, level);
        let run = || run_seed(seed, &settings);
        let report = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panic".to_owned());
            Report { failures: vec![text], stats: Default::default(), trace: Vec::new() }
        });
        n_events += report.stats.n_events;
        n_crashes += report.stats.n_crashes;
        n_cuts += report.stats.n_cuts;
        if let Some(failure) = report.failures.first() {
            failed.push(format!("seed {seed}: {failure}"));
        }
    }
    println!("level {level}: {n_seeds} seeds, {n_events} events, {n_crashes} crashes, {n_cuts} cuts");
    let n_failed = failed.len();
    failed.truncate(20);
    assert!(failed.is_empty(), "{n_failed} of {n_seeds} seeds failed:\n{}", failed.join("\n"));
}

#[test]
fn two_devices_without_faults() {
    run_many(0, 1_000);
}

#[test]
fn devices_with_faults() {
    run_many(1, 2_000);
}
