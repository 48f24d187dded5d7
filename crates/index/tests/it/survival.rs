//! What is left after a kill, a torn log or a full disk.

use std::fs;
use std::path::Path;

use file_sync_index::{Batch, DirectoryIndex, IndexError};

use crate::round_trip::rows_of;
use crate::samples;
use crate::tmpfs::Tmpfs;

/// The batch that adds row `number`, with the state that covers it.
fn numbered(number: u64) -> Batch {
    let mut row = samples::plain_row(format!("directory {}/{number}", number % 3), number);
    // An actor of its own, so that numbers are given in every batch.
    row.register =
        samples::register(vec![samples::version(samples::dot(number as u8, 1), samples::file(number))]);
    Batch { rows: vec![row], state: Some(samples::state(number)), acts: samples::acts(), ..Batch::default() }
}

/// The state and the rows tell of the same batches, whole ones, from the first on.
fn n_batches(index: &mut DirectoryIndex) -> u64 {
    let rows = rows_of(index);
    let n = rows.len() as u64;
    assert_eq!(index.state().map_or(0, |state| state.sequence), n);
    assert_eq!(index.acts(1000).expect("read").len() as u64, 2 * n);
    for (row, number) in rows.iter().zip(1..) {
        assert_eq!(row, &numbered(number).rows[0]);
    }
    n
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).expect("copied");
}

#[test]
fn c1_a_kill_between_commits_loses_none() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, copied) = (home.path().join("d.db"), home.path().join("copy.db"));
    let mut index = DirectoryIndex::create(&path).expect("created");
    for number in 1..=10 {
        index.commit(&numbered(number)).expect("committed");
        copy(&path, &copied);
        copy(&home.path().join("d.db-wal"), &home.path().join("copy.db-wal"));
        let mut after_kill = DirectoryIndex::open(&copied).expect("opened");
        assert_eq!(n_batches(&mut after_kill), number);
    }
}

#[test]
fn c1_a_log_cut_anywhere_leaves_whole_batches() {
    let home = tempfile::tempdir().expect("a directory");
    let (path, copied) = (home.path().join("d.db"), home.path().join("copy.db"));
    let log = home.path().join("copy.db-wal");
    let mut index = DirectoryIndex::create(&path).expect("created");
    (1..=6).for_each(|number| index.commit(&numbered(number)).expect("committed"));
    let whole = fs::read(home.path().join("d.db-wal")).expect("readable");
    let mut seen = Vec::new();
    for length in (0..whole.len()).step_by(1777).chain([whole.len()]) {
        copy(&path, &copied);
        fs::write(&log, &whole[..length]).expect("written");
        let mut after_cut = DirectoryIndex::open(&copied).expect("opened");
        let n = n_batches(&mut after_cut);
        // Whatever was lost, work goes on from there.
        after_cut.commit(&numbered(n + 1)).expect("committed");
        drop(after_cut);
        assert_eq!(n_batches(&mut DirectoryIndex::open(&copied).expect("opened")), n + 1);
        seen.push(n);
    }
    assert!(seen.is_sorted());
    seen.dedup();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn c1_a_process_killed_while_committing_leaves_whole_batches() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    if let Some(path) = std::env::var_os("FILE_SYNC_INDEX_TEST_WRITES") {
        let mut index = DirectoryIndex::create(path.as_ref()).expect("created");
        (1..=200).for_each(|number| index.commit(&numbered(number)).expect("committed"));
        std::process::abort();
    }
    let program = std::env::current_exe().expect("this test's program");
    let mut child = std::process::Command::new(program)
        .args(["--exact", "survival::c1_a_process_killed_while_committing_leaves_whole_batches"])
        .env("FILE_SYNC_INDEX_TEST_WRITES", &path)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let log = home.path().join("d.db-wal");
    // Somewhere in the middle of it; where exactly does not matter.
    while fs::metadata(&log).map_or(0, |metadata| metadata.len()) < 200_000 {
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    let mut index = DirectoryIndex::open(&path).expect("opened");
    let n = n_batches(&mut index);
    assert!(n > 0);
    index.commit(&numbered(n + 1)).expect("committed");
}

#[test]
fn c7_a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room() {
    let Some(tmpfs) = Tmpfs::mount("2m") else { return };
    let path = tmpfs.path().join("d.db");
    let filler = tmpfs.path().join("filler");
    let mut index = DirectoryIndex::create(&path).expect("created");
    index.commit(&numbered(1)).expect("committed");
    // As much as fits: the write that does not is cut short.
    assert!(fs::write(&filler, vec![0; 4 << 20]).is_err());
    let mut number = 2;
    let error = loop {
        match index.commit(&numbered(number)) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, IndexError::Full { .. }), "{error:?}");
    assert_eq!(n_batches(&mut index), number - 1);
    assert!(matches!(index.commit(&numbered(number)), Err(IndexError::Full { .. })));
    assert!(DirectoryIndex::create(&tmpfs.path().join("e.db")).is_err());
    fs::remove_file(&filler).expect("removed");
    (number..number + 5).for_each(|number| index.commit(&numbered(number)).expect("committed"));
    assert_eq!(n_batches(&mut index), number + 4);
    drop(index);
    assert_eq!(n_batches(&mut DirectoryIndex::open(&path).expect("opened")), number + 4);
    DirectoryIndex::create(&tmpfs.path().join("e.db")).expect("created");
}

#[test]
fn h3_no_damage_of_a_row_makes_it_panic() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let mut index = DirectoryIndex::create(&path).expect("created");
    index.commit(&samples::full_batch()).expect("committed");
    let other = rusqlite::Connection::open(&path).expect("opened");
    other.pragma_update(None, "synchronous", "OFF").expect("set");
    let mut n_refused = 0;
    for column in ["register", "record"] {
        let whole: Vec<(i64, Vec<u8>, Vec<u8>)> = other
            .prepare(&format!("SELECT parent, name, {column} FROM files WHERE {column} IS NOT NULL"))
            .and_then(|mut rows| {
                rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
            })
            .expect("read");
        let update = format!("UPDATE files SET {column} = ?3 WHERE parent = ?1 AND name = ?2");
        for (parent, name, blob) in whole {
            let flipped = (0..blob.len()).map(|at| {
                let mut blob = blob.clone();
                blob[at] ^= 0x91;
                blob
            });
            let cut = (0..blob.len()).map(|length| blob[..length].to_vec());
            for damaged in flipped.chain(cut) {
                other.execute(&update, rusqlite::params![parent, name, damaged]).expect("updated");
                match index.load(|_| ()) {
                    Ok(()) => {}
                    Err(IndexError::Damaged { .. }) => n_refused += 1,
                    Err(error) => panic!("{error:?}"),
                }
            }
            other.execute(&update, rusqlite::params![parent, name, blob]).expect("updated");
        }
    }
    assert!(n_refused > 100);
    assert_eq!(rows_of(&mut index), samples::odd_rows());
}
