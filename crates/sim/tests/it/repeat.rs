//! A seed's history follows from the seed alone, and in no part from the thread, or from what else the process does.

use std::thread;

use file_sync_sim::{Report, Settings, run_seed};

const LEVELS: u64 = 5;
/// Of each level; among them are some whose users write ignore files.
const SEEDS: u64 = 30;

/// All that is known of how a history went.
#[derive(PartialEq)]
struct Told {
    trace: Vec<String>,
    outcome: String,
}

fn run((level, seed): (u64, u64)) -> Told {
    let mut settings = Settings::of_seed(seed, level);
    settings.scene.options.is_traced = true;
    let Report { failures, stats, trace, script, shown } = run_seed(seed, &settings);
    Told { trace, outcome: format!("{failures:?} {stats:?} {shown:?}\n{script}") }
}

/// Two threads go through the same seeds, one from the end, so that nearly every seed runs beside others, and after others
/// than it did before. Each seed runs alone for comparison, on a thread that has never run anything.
#[test]
fn a_seed_has_the_same_history_alone_and_beside_others() {
    let seeds: Vec<(u64, u64)> =
        (0..LEVELS).flat_map(|level| (0..SEEDS).map(move |seed| (level, seed))).collect();
    let alone: Vec<Told> = seeds
        .iter()
        .map(|seed| thread::scope(|scope| scope.spawn(|| run(*seed)).join().expect("no panic")))
        .collect();
    let (forth, mut back) = thread::scope(|scope| {
        let forth = scope.spawn(|| seeds.iter().map(|seed| run(*seed)).collect::<Vec<_>>());
        let back = scope.spawn(|| seeds.iter().rev().map(|seed| run(*seed)).collect::<Vec<_>>());
        (forth.join().expect("no panic"), back.join().expect("no panic"))
    });
    back.reverse();
    for (((level, seed), alone), beside) in seeds.iter().zip(&alone).zip(forth.iter().zip(&back)) {
        for beside in [beside.0, beside.1] {
            check(alone, beside, &format!("level {level} seed {seed}"));
        }
    }
}

#[track_caller]
fn check(alone: &Told, beside: &Told, what: &str) {
    for (alone, beside) in alone.trace.iter().zip(&beside.trace) {
        assert!(alone == beside, "{what}: alone\n{alone}\nand beside others\n{beside}");
    }
    assert!(alone == beside, "{what}: alone {} and beside others {}", alone.outcome, beside.outcome);
}
