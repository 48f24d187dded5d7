//! Every target takes its corpus and mutations that follow from a number, in bounded time and memory.
//!
//! A failure names the file or the number. `SEED=7 cargo test -p file-sync-fuzz NAME_OF_THE_TEST` tries that one alone,
//! `EVIDENCE=full` tries 100 times as many as the test command does.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use file_sync_fuzz::mutation::mutated;
use file_sync_fuzz::{TARGETS, Target};

use crate::MEMORY;

/// Longer than any input may take, on however slow a machine, short of having run away.
const PATIENCE: Duration = Duration::from_secs(20);
/// What all corpora may take together, in bytes.
const CORPUS_BYTES_MAX: u64 = 1 << 20;
/// One at a time: memory is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn h3_messages_are_refused_or_survive() {
    replay("message", 40_000);
}

#[test]
fn h3_registers_are_refused_or_survive() {
    replay("register", 40_000);
}

#[test]
fn h3_chunk_lists_are_refused_or_survive() {
    replay("chunk-list", 20_000);
}

#[test]
fn h3_pages_of_kept_versions_are_refused_or_survive() {
    replay("kept-page", 20_000);
}

#[test]
fn h3_content_frames_are_refused_or_survive() {
    replay("content-frame", 40_000);
}

#[test]
fn h2_preambles_are_refused_or_survive() {
    replay("preamble", 40_000);
}

#[test]
fn h3_streams_are_cut_alike_however_they_arrive() {
    replay("stream", 20_000);
}

#[test]
fn h3_tickets_are_refused_or_survive() {
    replay("ticket", 30_000);
}

#[test]
fn h1_paths_lead_out_of_no_root_whatever_is_done_with_them() {
    replay("path", 8_000);
}

#[test]
fn l7_ignore_files_are_read_and_spoil_nothing() {
    replay("rules", 300);
}

#[test]
fn s4_whatever_registers_hold_merging_them_is_a_join() {
    replay("merging", 10_000);
}

#[test]
fn h3_whatever_remotes_say_an_engine_comes_to_rest() {
    replay("engine", 6_000);
}

#[test]
fn c1_damaged_rows_are_told_or_read_as_they_are() {
    replay("blobs", 800);
}

#[test]
fn c1_damaged_databases_are_refused_or_used_and_never_made_anew() {
    replay("database", 700);
}

#[test]
fn every_target_has_a_corpus_and_all_of_them_are_small() {
    let corpora = TARGETS.iter().map(corpus);
    let total: usize = corpora.flatten().map(|(_, bytes)| bytes.len()).sum();
    assert!(total as u64 <= CORPUS_BYTES_MAX, "{total} bytes");
}

#[expect(clippy::print_stdout, reason = "the figures are what the test is run for")]
fn replay(name: &str, n_mutations: u64) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let start = Instant::now();
    let files = corpus(target);
    let inputs: Vec<Vec<u8>> = files.iter().map(|(_, bytes)| bytes.clone()).collect();
    if let Ok(seed) = std::env::var("SEED") {
        let seed = seed.parse().expect("SEED is a number");
        attempt(target, &format!("SEED={seed}"), &mutated(&inputs, target.bytes_max, seed));
        return;
    }
    // What makes all there is of lazily made things must not count for the first input.
    (target.run)(&inputs[0]);
    let mut n_taken = 0;
    for (file, bytes) in &files {
        n_taken += u64::from(attempt(target, file, bytes));
    }
    let is_full = std::env::var("EVIDENCE").is_ok_and(|value| value == "full");
    let n_mutations = if is_full { 100 * n_mutations } else { n_mutations };
    for seed in 0..n_mutations {
        let input = mutated(&inputs, target.bytes_max, seed);
        n_taken += u64::from(attempt(target, &format!("SEED={seed}"), &input));
    }
    let n_runs = files.len() as u64 + n_mutations;
    assert!(n_taken > n_runs / 100, "nearly all is refused at once, so that little is tried: {n_taken}");
    println!("{}: {n_runs} runs, {n_taken} taken, the rest refused", target.what);
    println!(
        "evidence: {{\"part\":\"fuzz\",\"what\":\"{}\",\"figures\":{{\"corpus\":{},\"runs\":{n_runs},\"taken\":{n_taken}}},\
         \"bad\":{{\"panics or broken rules\":0,\"too slow\":0,\"too much memory\":0}},\"seconds\":{:.1}}}",
        target.what,
        files.len(),
        start.elapsed().as_secs_f64()
    );
}

/// Tries one input; true if it was taken.
fn attempt(target: &Target, which: &str, input: &[u8]) -> bool {
    let Target { name, .. } = target;
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let start = Instant::now();
    let Ok(is_taken) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) else {
        panic!("{name}: {which} fails: {}", input.escape_ascii());
    };
    let taken_bytes = MEMORY.peak_usage().saturating_sub(before);
    assert!(start.elapsed() < PATIENCE, "{name}: {which} takes {:?}", start.elapsed());
    assert!(taken_bytes <= target.memory_bytes_max, "{name}: {which} takes {taken_bytes} bytes of memory");
    is_taken
}

fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            (path.display().to_string(), fs::read(&path).expect("readable"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus in {}", folder.display());
    files
}
