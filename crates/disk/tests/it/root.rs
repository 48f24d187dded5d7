//! Opening and proving roots.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use file_sync_core::version::DirectoryId;
use file_sync_disk::{Root, RootError};

use crate::support::{ID, Scene};

#[test]
fn l6_a_directory_is_known_by_its_marker() {
    let Scene { directory, root } = Scene::new();
    drop(root);
    let path = directory.path();
    let (root, again) = Root::offer(path, DirectoryId([9; 16])).unwrap();
    assert_eq!(again, ID, "offered again, it is the same directory");
    drop(root);
    assert!(Root::open(path, ID).is_ok());
    let other = Root::open(path, DirectoryId([9; 16]));
    assert!(matches!(other, Err(RootError::WrongMarker { found: ID, .. })), "{other:?}");
    let mode = fs::metadata(path.join(".file-sync")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let marker = fs::read_to_string(path.join(".file-sync/marker")).unwrap();
    assert_eq!(marker, format!("file-sync directory {ID}\nincarnation 0000000000000000\n"));
}

#[test]
fn l6_an_empty_mount_point_is_no_root() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(Root::open(directory.path(), ID), Err(RootError::NoMarker { .. })));
    let missing = Root::open(&directory.path().join("no"), ID);
    assert!(matches!(missing, Err(RootError::Missing { .. })));
    fs::write(directory.path().join("f"), "").unwrap();
    let file = Root::open(&directory.path().join("f"), ID);
    assert!(matches!(file, Err(RootError::NotADirectory { .. })));
}

#[test]
fn l6_a_root_that_was_replaced_or_emptied_is_not_proved() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("root");
    fs::create_dir(&path).unwrap();
    let (root, _) = Root::offer(&path, ID).unwrap();
    root.prove().unwrap();
    fs::rename(&path, outer.path().join("away")).unwrap();
    assert!(matches!(root.prove(), Err(RootError::Missing { .. })));
    fs::create_dir(&path).unwrap();
    assert!(matches!(root.prove(), Err(RootError::NoMarker { .. })));
    let (other, _) = Root::offer(&path, ID).unwrap();
    assert!(matches!(root.prove(), Err(RootError::Replaced { .. })));
    other.adopt_marker(DirectoryId([3; 16])).unwrap();
    assert!(matches!(root.prove(), Err(RootError::WrongMarker { .. })));
    fs::remove_dir_all(&path).unwrap();
    fs::rename(outer.path().join("away"), &path).unwrap();
    root.prove().unwrap();
}

#[test]
fn c5_two_never_work_in_one_root() {
    let Scene { directory, root } = Scene::new();
    let path = directory.path();
    assert!(matches!(Root::open(path, ID), Err(RootError::InUse { .. })));
    assert!(matches!(Root::offer(path, DirectoryId([9; 16])), Err(RootError::InUse { .. })));
    drop(root);
    assert!(Root::open(path, ID).is_ok());
}

#[test]
fn c5_the_incarnation_is_remembered_with_the_directory() {
    let Scene { directory, root } = Scene::new();
    root.set_incarnation(0xfeed).unwrap();
    assert_eq!(root.incarnation(), 0xfeed);
    drop(root);
    let root = Root::open(directory.path(), ID).unwrap();
    assert_eq!(root.incarnation(), 0xfeed);
    root.adopt_marker(DirectoryId([8; 16])).unwrap();
    drop(root);
    assert_eq!(Root::open(directory.path(), DirectoryId([8; 16])).unwrap().incarnation(), 0);
}

#[test]
fn h1_the_engines_own_directory_is_no_symlink() {
    let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(outside.path(), directory.path().join(".file-sync")).unwrap();
    let offered = Root::offer(directory.path(), ID);
    assert!(matches!(offered, Err(RootError::NotOwn { .. })), "{offered:?}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn c7_space_is_told() {
    let scene = Scene::new();
    assert!(scene.root.free_bytes().unwrap() <= scene.root.total_bytes().unwrap());
}
