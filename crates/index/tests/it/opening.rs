//! What is no good database is refused in clear words, and never begun anew.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use file_sync_index::{Batch, DirectoryIndex, DirectoryReader, HomeIndex, IndexError};
use rusqlite::Connection;

use crate::round_trip::rows_of;
use crate::samples;
use crate::tmpfs::Tmpfs;

/// A cleanly closed database with a few hundred rows.
fn database(home: &Path) -> PathBuf {
    let path = home.join("d.db");
    let mut index = DirectoryIndex::create(&path).expect("created");
    let rows = (1..300).map(|n| samples::plain_row(format!("d/{n}"), n)).collect();
    index.commit(&Batch { rows, state: Some(samples::state(300)), ..Batch::default() }).expect("committed");
    index.close(true).expect("closed");
    path
}

fn refusal(path: &Path) -> IndexError {
    let before = fs::read(path).expect("readable");
    let error = DirectoryIndex::open(path).err().expect("refused");
    assert_eq!(fs::read(path).expect("readable"), before, "the file was changed");
    assert!(error.to_string().contains("d.db"), "{error}");
    error
}

#[test]
fn a_database_of_the_first_format_is_brought_forward_with_all_that_is_in_it() {
    let home = tempfile::tempdir().expect("a directory");
    let path = database(home.path());
    let old = Connection::open(&path).expect("opened");
    old.execute_batch(
        "DROP TABLE doubts; ALTER TABLE incarnations DROP COLUMN began;
            ALTER TABLE remotes DROP COLUMN heard;
            DROP INDEX kept_place; CREATE INDEX kept_path ON kept (path)",
    )
    .expect("dropped");
    old.pragma_update(None, "user_version", 1).expect("set");
    drop(old);
    let mut index = DirectoryIndex::open(&path).expect("brought forward");
    assert_eq!(index.doubts().expect("read"), Default::default());
    assert!(!rows_of(&mut index).is_empty());
    let doubts = vec![samples::doubt(b"x", 1)];
    index.commit(&Batch { doubts, ..Batch::default() }).expect("committed");
}

#[test]
fn a_later_format_is_refused_untouched() {
    let home = tempfile::tempdir().expect("a directory");
    let path = database(home.path());
    Connection::open(&path).expect("opened").pragma_update(None, "user_version", 5).expect("set");
    let error = refusal(&path);
    assert!(matches!(error, IndexError::Newer { found: 5, known: 4, .. }), "{error}");
    assert!(error.to_string().contains("use the newer version"), "{error}");
    assert!(matches!(DirectoryReader::open(&path), Err(IndexError::Newer { .. })));
}

#[test]
fn garbage_and_empty_files_are_refused_untouched() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let long_garbage = vec![b'x'; 100_000];
    for garbage in [b"".as_slice(), b"hello", &long_garbage, b"SQLite format 3\0"] {
        fs::write(&path, garbage).expect("written");
        assert!(matches!(refusal(&path), IndexError::Damaged { .. }));
        assert!(matches!(DirectoryIndex::create(&path), Err(IndexError::Exists { .. })));
    }
    for name in ["home.db", "d.db"] {
        fs::write(home.path().join(name), b"").expect("written");
    }
    assert!(matches!(HomeIndex::open(home.path()), Err(IndexError::Damaged { .. })));
    assert_eq!(fs::read(home.path().join("home.db")).expect("readable"), b"");
}

#[test]
fn a_database_cut_short_is_refused_untouched() {
    let home = tempfile::tempdir().expect("a directory");
    let path = database(home.path());
    let whole = fs::read(&path).expect("readable");
    for length in [1, 99, 100, 4096, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        fs::write(&path, &whole[..length]).expect("written");
        assert!(matches!(refusal(&path), IndexError::Damaged { .. }), "at {length}");
    }
}

#[test]
fn pages_are_checked_after_an_unclean_stop() {
    let home = tempfile::tempdir().expect("a directory");
    let path = database(home.path());
    drop(DirectoryIndex::open(&path).expect("opened"));
    let mut bytes = fs::read(&path).expect("readable");
    let last_page = bytes.len() - 4096;
    bytes[last_page..last_page + 8].fill(0x55);
    fs::write(&path, &bytes).expect("written");
    assert!(matches!(refusal(&path), IndexError::Damaged { .. }));
}

#[test]
fn another_kind_of_database_is_refused_untouched() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    Connection::open(&path).expect("opened").execute_batch("CREATE TABLE theirs (a)").expect("created");
    assert!(matches!(refusal(&path), IndexError::WrongKind { .. }));
    fs::remove_file(&path).expect("removed");
    HomeIndex::open(home.path()).expect("created").close(true).expect("closed");
    fs::rename(home.path().join("home.db"), &path).expect("renamed");
    assert!(matches!(refusal(&path), IndexError::WrongKind { .. }));
}

#[test]
fn a_missing_database_is_not_made_by_opening_it() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    assert!(matches!(DirectoryIndex::open(&path), Err(IndexError::Missing { .. })));
    assert!(matches!(DirectoryReader::open(&path), Err(IndexError::Missing { .. })));
    assert!(matches!(HomeIndex::open(&home.path().join("none")), Err(IndexError::Missing { .. })));
    assert_eq!(fs::read_dir(home.path()).expect("readable").count(), 0);
    fs::create_dir(&path).expect("made");
    assert!(matches!(DirectoryIndex::open(&path), Err(IndexError::Damaged { .. })));
}

#[test]
fn c1_what_a_creation_cut_short_has_left_is_no_obstacle() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    for name in ["d.db.new", "d.db.new-wal", "d.db-wal", "d.db-shm"] {
        fs::write(home.path().join(name), b"left over").expect("written");
    }
    DirectoryIndex::create(&path).expect("created").close(true).expect("closed");
    let names: Vec<_> = fs::read_dir(home.path())
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["d.db"]);
    DirectoryIndex::open(&path).expect("opened");
}

#[test]
fn only_the_owner_may_read_a_database() {
    let home = tempfile::tempdir().expect("a directory");
    let path = database(home.path());
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("set");
    let mut index = DirectoryIndex::open(&path).expect("opened");
    index.commit(&Batch { acts: samples::acts(), ..Batch::default() }).expect("committed");
    for name in ["d.db", "d.db-wal", "d.db-shm"] {
        let mode = fs::metadata(home.path().join(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn c7_a_directory_without_permission_is_told() {
    let home = tempfile::tempdir().expect("a directory");
    let path = database(home.path());
    fs::set_permissions(&path, Permissions::from_mode(0o000)).expect("set");
    if fs::File::open(&path).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    assert!(matches!(DirectoryIndex::open(&path), Err(IndexError::Denied { .. })));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("set");
    fs::set_permissions(home.path(), Permissions::from_mode(0o500)).expect("set");
    let result = DirectoryIndex::open(&path);
    let made = DirectoryIndex::create(&home.path().join("e.db"));
    fs::set_permissions(home.path(), Permissions::from_mode(0o700)).expect("set");
    assert!(matches!(
        result,
        Err(IndexError::ReadOnly { .. } | IndexError::Denied { .. } | IndexError::Sql { .. })
    ));
    assert!(matches!(made, Err(IndexError::Denied { .. })));
}

#[test]
fn c7_a_read_only_file_system_is_told() {
    let Some(tmpfs) = Tmpfs::mount("4m") else { return };
    let path = database(tmpfs.path());
    tmpfs.remount("ro");
    let error = DirectoryIndex::open(&path).err().expect("refused");
    assert!(matches!(error, IndexError::ReadOnly { .. }), "{error:?}");
    let error = DirectoryIndex::create(&tmpfs.path().join("e.db")).err().expect("refused");
    assert!(matches!(error, IndexError::ReadOnly { .. }), "{error:?}");
    tmpfs.remount("rw");
    DirectoryIndex::open(&path).expect("opened");
}
