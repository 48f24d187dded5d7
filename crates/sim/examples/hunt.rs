//! Looks for seeds that fail, on all cores, and shrinks the first of each kind: `hunt LEVEL FIRST COUNT [SHRINK_RUNS]`.

#![expect(clippy::print_stdout, reason = "what is found is for people to read")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use file_sync_sim::{Script, Settings, failure_of, run_seed, shrink};

fn main() {
    let number = |index: usize, default: u64| {
        std::env::args().nth(index).and_then(|word| word.parse().ok()).unwrap_or(default)
    };
    let (level, first, count) = (number(1, 1), number(2, 0), number(3, 1_000));
    let n_shrink_runs = number(4, 0);
    std::panic::set_hook(Box::new(|_| {}));
    let next = AtomicU64::new(first);
    let found: Mutex<BTreeMap<String, Vec<u64>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    if let Some(failure) = run(seed, level) {
                        println!(
                            "level {level} seed {seed}: {}",
                            failure.chars().take(240).collect::<String>()
                        );
                        let promise = failure.split(':').next().unwrap_or_default().to_owned();
                        found.lock().expect("nobody panics with it").entry(promise).or_default().push(seed);
                    }
                }
            });
        }
    });
    let found = found.into_inner().expect("nobody panics with it");
    for (promise, seeds) in &found {
        println!("{promise}: {} seeds: {:?}", seeds.len(), seeds.iter().take(20).collect::<Vec<_>>());
        if std::env::var_os("DUMP").is_some() {
            println!("{}", script_of(seeds[0], level));
        }
        if n_shrink_runs > 0 {
            let script = script_of(seeds[0], level);
            let script = shrink(&script, n_shrink_runs);
            println!("# level {level} seed {}: {:?}\n{script}", seeds[0], failure_of(&script));
        }
    }
}

fn run(seed: u64, level: u64) -> Option<String> {
    let settings = Settings::of_seed(seed, level);
    match std::panic::catch_unwind(|| run_seed(seed, &settings)) {
        Ok(report) => report.failures.into_iter().next(),
        Err(panic) => Some(format!("panic: {}", panic.downcast_ref::<String>().cloned().unwrap_or_default())),
    }
}

fn script_of(seed: u64, level: u64) -> Script {
    let settings = Settings::of_seed(seed, level);
    run_seed(seed, &settings).script
}
