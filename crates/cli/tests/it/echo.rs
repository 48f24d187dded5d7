//! Quiet: once all is equal, nobody writes, and the engines' own changes are nobody's.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::device::Device;
use crate::world::{FEBRUARY, JANUARY, PATIENCE, check, copy_name, eventually, files_below};
use crate::world::{settle, sharing, steady};

/// Long enough for an echo of an echo; events and pushes are due within a fraction of it.
const QUIET: Duration = Duration::from_secs(4);

#[test]
fn s3_after_quiescence_nothing_is_written() {
    let (alpha, beta) = sharing();
    beta.ok(["sync", "pause", "docs"]);
    alpha.user().write("f.txt", "from alpha", JANUARY);
    beta.user().write("f.txt", "from beta", FEBRUARY);
    beta.ok(["sync", "resume", "docs"]);
    for index in 0..50 {
        alpha.user().write(format!("d/{index}"), format!("{index}"), JANUARY);
    }
    settle(&[&alpha, &beta]);
    beta.user().rename("d", "e");
    alpha.user().chmod("f.txt", 0o600);
    settle(&[&alpha, &beta]);
    quiet(&[&alpha, &beta]);
}

/// Waits until nothing changes on any device, neither what `status` says nor any file.
pub fn quiet(devices: &[&Device]) {
    let one = |device: &&Device| (status_without_times(device), files_of(device));
    let all = || devices.iter().map(one).collect::<Vec<_>>();
    // What was only just settled may still be tidied up, once: then there is quiet, by itself.
    eventually(PATIENCE, || {
        let (before, start) = (all(), Instant::now());
        while start.elapsed() < QUIET {
            let now = all();
            if now != before {
                return Err(format!("changed after {:?}:\n{before:?}\n{now:?}", start.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    });
}

#[test]
fn s3_what_arrives_is_not_sent_back() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "one", JANUARY);
    settle(&[&alpha, &beta]);
    let ctime =
        || std::fs::metadata(alpha.user().path("f")).map(|m| (m.ino(), m.ctime(), m.ctime_nsec())).ok();
    steady(QUIET, ctime);
    for round in 0..20 {
        let writer = if round % 2 == 0 { &alpha } else { &beta };
        writer.user().write("f", format!("round {round}"), JANUARY + round);
        writer.ok(["sync", "wait"]);
    }
    check(&[&alpha, &beta], "f \"round 19\"");
    assert_eq!(alpha.directory()["conflicts"], 0);
}

#[test]
fn p1_equal_trees_have_equal_root_hashes_and_others_do_not() {
    let (alpha, beta) = sharing();
    let mut seen = Vec::new();
    for text in ["one", "two"] {
        alpha.user().write("d/f", text, JANUARY);
        settle(&[&alpha, &beta]);
        let hashes = [&alpha, &beta].map(|device| device.directory()["root_hash"].clone());
        assert!(hashes[0].is_string(), "{hashes:?}");
        assert_eq!(hashes[0], hashes[1]);
        assert!(!seen.contains(&hashes[0]));
        seen.push(hashes[0].clone());
    }
}

#[test]
fn s3_a_conflict_copy_is_shown_once_however_often_all_restart() {
    let (mut alpha, mut beta) = sharing();
    beta.ok(["sync", "pause", "docs"]);
    alpha.user().write("f", "from alpha", JANUARY);
    beta.user().write("f", "from beta", FEBRUARY);
    beta.ok(["sync", "resume", "docs"]);
    for _ in 0..2 {
        settle(&[&alpha, &beta]);
        alpha.stop();
        beta.stop();
        beta.begin();
        alpha.begin();
    }
    let copy = copy_name("f", "20200101-000000", &alpha, "");
    check(&[&alpha, &beta], &format!("f \"from beta\"\n{copy} \"from alpha\""));
    assert_eq!(alpha.directory()["conflicts"], 1);
}

fn status_without_times(device: &Device) -> serde_json::Value {
    let mut status = device.status();
    for remote in status["remotes"].as_array_mut().into_iter().flatten() {
        remote["last_seen"].take();
    }
    status
}

/// Size, mtime and ctime of every file of the home and the root, the marker's directory included.
fn files_of(device: &Device) -> Vec<(std::path::PathBuf, u64, i64, i64, i64)> {
    let mut files = files_below(&device.home());
    files.extend(files_below(&device.root()));
    files.sort();
    let facts = |path: std::path::PathBuf| {
        let metadata = std::fs::symlink_metadata(&path).ok()?;
        Some((path, metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ctime_nsec()))
    };
    files.into_iter().filter_map(facts).collect()
}
