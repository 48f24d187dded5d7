//! Databases of every format there ever was still open. A fixture is made once, by the version that introduced its
//! format, with what [`directory_1`] or [`home_1`] writes, and never again.

use std::path::{Path, PathBuf};

use file_sync_core::version::DirectoryId;
use file_sync_index::{Directory, DirectoryIndex, HomeIndex, Mode, Remote, Role};

use crate::round_trip::rows_of;
use crate::samples;

fn directory_1(path: &Path) {
    let mut index = DirectoryIndex::create(path).expect("created");
    index.commit(&samples::full_batch()).expect("committed");
    index.close(true).expect("closed");
}

fn home_1(home: &Path) {
    let mut index = HomeIndex::open(home).expect("created");
    let directory = Directory {
        directory: DirectoryId([1; 16]),
        created_at: 1,
        updated_at: 2,
        path: "/there".into(),
        name: "there".to_owned(),
        role: Role::Offered,
        mode: Mode::TwoWay,
        read_only: false,
        only_author: None,
        origin: None,
        origin_name: None,
        paused: false,
        offered_to: [samples::device(1)].into(),
        deleted: false,
    };
    let remote = Remote {
        device: samples::device(1),
        name: "laptop".to_owned(),
        key: [1; 32],
        addresses: vec!["127.0.0.1:1".to_owned()],
        last_seen: Some(3),
        paired_at: 4,
        deleted: false,
    };
    index.insert_directory(&directory).expect("inserted");
    index.insert_remote(&remote).expect("inserted");
    index.set_setting("key", "value").expect("set");
    index.add_incarnation(u64::MAX, 5).expect("added");
    index.close(true).expect("closed");
}

/// A copy of a fixture, since opening writes.
fn copied(fixture: &str, to: &Path) {
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    std::fs::copy(from, to).expect("copied");
}

fn check_directory_1(path: &Path) {
    let mut index = DirectoryIndex::open(path).expect("opened");
    let batch = samples::full_batch();
    assert_eq!(rows_of(&mut index), batch.rows);
    assert_eq!(index.state(), batch.state.as_ref());
    let mut lists = Vec::new();
    index.chunk_lists(|content, list| lists.push((content, list))).expect("read");
    assert_eq!(lists, batch.chunk_lists);
    assert_eq!(index.acts(9).expect("read").len(), batch.acts.len());
    assert_eq!(index.kept_for(&batch.kept_added[0].path).expect("read").len(), 2);
}

fn check_home_1(home: &Path) {
    let index = HomeIndex::open(home).expect("opened");
    assert_eq!(index.directories().expect("read")[0].name, "there");
    assert_eq!(index.remotes().expect("read")[0].addresses, ["127.0.0.1:1"]);
    assert_eq!(index.setting("key").expect("read").as_deref(), Some("value"));
    assert_eq!(index.incarnations().expect("read"), [u64::MAX]);
}

#[test]
fn a_directory_of_format_1_opens() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    copied("directory-1.db", &path);
    check_directory_1(&path);
}

#[test]
fn a_home_of_format_1_opens() {
    let home = tempfile::tempdir().expect("a directory");
    copied("home-1.db", &home.path().join("home.db"));
    check_home_1(home.path());
}

#[test]
fn todays_databases_hold_what_the_fixtures_hold() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    directory_1(&path);
    check_directory_1(&path);
    home_1(home.path());
    check_home_1(home.path());
}
