//! What depends on who runs the tests: permissions as an ordinary user, full file systems and mounts as root.
//!
//! A test that needs another user runs this binary again as one; the mounts are made in a namespace of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use file_sync_core::effect::{HashOutcome, Op, OpOutcome, TroubleKind};
use file_sync_core::path::SyncPath;
use file_sync_core::record::Kind;
use file_sync_core::version::ContentHash;
use file_sync_disk::Root;

use crate::support::{ID, Scene, is_root, sync};

const WITHIN: &str = "FILE_SYNC_DISK_TEST_WITHIN";

/// Runs a test of this file again through `wrapper`; true in that run. Says so where it cannot.
fn is_within(test: &str, prepare: impl FnOnce(&mut Command), wrapper: &[&str]) -> bool {
    if std::env::var_os(WITHIN).is_some() {
        return true;
    }
    if !is_root() {
        eprintln!("{test}: skipped, needs root");
        return false;
    }
    let binary = tempfile::tempdir().unwrap();
    fs::set_permissions(binary.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = binary.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(wrapper.first().map_or(copy.as_os_str(), |first| first.as_ref()));
    if !wrapper.is_empty() {
        command.args(&wrapper[1..]).arg(&copy);
    }
    command.args(["--exact", "--nocapture", &format!("privilege::{test}")]).env(WITHIN, "1");
    prepare(&mut command);
    assert!(command.status().unwrap().success());
    false
}

/// As an ordinary user, where it is not one already.
fn is_ordinary(test: &str) -> bool {
    if !is_root() {
        return true;
    }
    let drop_privileges = |command: &mut Command| {
        command.uid(65_534).gid(65_534).env("TMPDIR", "/tmp").current_dir("/");
    };
    is_within(test, drop_privileges, &[])
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn c7_changes_in_a_read_only_directory_of_ours_are_made() {
    if !is_ordinary("c7_changes_in_a_read_only_directory_of_ours_are_made") {
        return;
    }
    let scene = Scene::new();
    let (d, e) = (scene.at("d"), scene.at("e"));
    fs::create_dir(&d).unwrap();
    fs::create_dir_all(d.join("sub")).unwrap();
    fs::create_dir(&e).unwrap();
    let [changed, removed, moved] = ["d/changed", "d/removed", "d/moved"].map(|path| scene.write(path, path));
    [&d, &e, &d.join("sub")].iter().for_each(|path| chmod(path, 0o555));
    let sub = vec![(sync("d/sub"), scene.record("d/sub"))];
    scene.done(scene.place("d/new", "new", None));
    scene.done(scene.place("d/changed", "new", Some(changed)));
    scene.done(Op::Remove { path: sync("d/removed"), expect: removed });
    scene.done(Op::Move { from: sync("d/moved"), expect: moved, to: sync("e/moved"), metadata: None });
    scene.done(Op::MoveDirectory { from: sync("d/sub"), to: sync("e/sub"), mode: 0o555, expect: sub });
    scene.done(Op::MakeDirectory { path: sync("d/made"), mode: 0o555, mtime: None });
    scene.done(Op::RemoveDirectory { path: sync("d/made"), expect: scene.record("d/made") });
    assert_eq!(
        scene.apply(scene.place("d/changed", "newer", Some(changed))),
        OpOutcome::Differs { rescued: None }
    );
    assert_eq!([mode(&d), mode(&e), mode(&e.join("sub"))], [0o555; 3]);
    [&d, &e, &e.join("sub")].iter().for_each(|path| chmod(path, 0o755));
}

#[test]
fn l6_what_may_not_be_read_is_unknown() {
    if !is_ordinary("l6_what_may_not_be_read_is_unknown") {
        return;
    }
    let scene = Scene::new();
    for (name, mode) in [("closed", 0o000), ("listed", 0o444), ("passed", 0o111)] {
        fs::create_dir(scene.at(name)).unwrap();
        fs::write(scene.at(name).join("f"), "").unwrap();
        chmod(&scene.at(name), mode);
    }
    fs::write(scene.at("secret"), "").unwrap();
    chmod(&scene.at("secret"), 0o000);
    let listings = scene.walk(None);
    for listing in &listings[1..] {
        let kind = listing.result.as_ref().unwrap_err().kind;
        assert_eq!(kind, TroubleKind::Denied, "{}", listing.directory);
    }
    assert_eq!(listings.len(), 4);
    assert!(scene.root.look(&sync("closed/f")).is_err());
    assert!(scene.root.look(&sync("listed/f")).is_err());
    assert!(scene.root.look(&sync("passed/f")).unwrap().is_some());
    let HashOutcome::Trouble(trouble) = scene.hash("secret") else { panic!() };
    assert_eq!(trouble.kind, TroubleKind::Denied);
    let HashOutcome::Hashed { .. } = scene.hash("passed/f") else { panic!() };
    ["closed", "listed", "passed"].iter().for_each(|name| chmod(&scene.at(name), 0o755));
}

/// In a mount namespace of its own, as root.
fn is_in_namespace(test: &str) -> bool {
    is_within(test, |_| {}, &["unshare", "--mount", "--propagation", "private"])
}

fn mount_tmpfs(path: &Path, options: &str) {
    let status =
        Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).status().unwrap();
    assert!(status.success());
}

#[test]
fn c7_a_full_disk_harms_nothing() {
    if !is_in_namespace("c7_a_full_disk_harms_nothing") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    mount_tmpfs(directory.path(), "size=24m");
    let (root, _) = Root::offer(directory.path(), ID).unwrap();
    fs::write(directory.path().join("filler"), vec![1; 10 << 20]).unwrap();
    let bytes = vec![2; 1 << 20];
    let content = ContentHash::of(&bytes);
    let staged = root.stage_small(&[(content, &bytes)]).pop().unwrap();
    assert_eq!(staged.unwrap_err().kind, TroubleKind::NoSpace);
    assert_eq!(root.open_stage(content, 1 << 20).unwrap_err().kind, TroubleKind::NoSpace);
    let source = file_sync_core::effect::Source::Local { path: sync("filler") };
    let content = ContentHash::of(&vec![1; 10 << 20]);
    let mtime = crate::support::MTIME;
    let op = Op::Place { path: sync("copy"), content, source, mode: 0o600, mtime, expect: None };
    let OpOutcome::Trouble(trouble) = root.apply(&[op]).unwrap().pop().unwrap() else { panic!() };
    assert_eq!(trouble.kind, TroubleKind::NoSpace);
    assert_eq!(fs::read_dir(directory.path().join(".file-sync/stage")).unwrap().count(), 0);
    fs::remove_file(directory.path().join("filler")).unwrap();
    assert!(root.stage_small(&[(ContentHash::of(b"x"), b"x")]).pop().unwrap().is_ok(), "it resumes");
}

#[test]
fn l6_nothing_below_another_file_system_is_taken_for_absent() {
    if !is_in_namespace("l6_nothing_below_another_file_system_is_taken_for_absent") {
        return;
    }
    let scene = Scene::new();
    fs::create_dir(scene.at("mounted")).unwrap();
    let expect = scene.write("mounted/below", "covered");
    mount_tmpfs(&scene.at("mounted"), "size=1m");
    assert_eq!(scene.root.look(&sync("mounted")).unwrap().unwrap().kind, Kind::Mount);
    assert!(scene.root.look(&sync("mounted/below")).is_err());
    let OpOutcome::Trouble(_) = scene.apply(scene.place("mounted/f", "x", None)) else { panic!() };
    let OpOutcome::Trouble(_) = scene.apply(Op::Remove { path: sync("mounted/below"), expect }) else {
        panic!()
    };
    let listings = scene.walk(None);
    assert_eq!(listings.len(), 1, "it is not entered");
    let mut seen_below = Vec::new();
    scene.root.walk(&sync("mounted"), None, &|_: &SyncPath| false, &mut |listing| {
        seen_below.push(listing.result.is_err());
        file_sync_disk::Flow::Continue
    });
    assert_eq!(seen_below, [true]);
}

#[test]
fn c7_a_copy_that_would_leave_no_room_for_others_is_not_begun() {
    if !is_in_namespace("c7_a_copy_that_would_leave_no_room_for_others_is_not_begun") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    mount_tmpfs(directory.path(), "size=44m");
    let (root, _) = Root::offer(directory.path(), ID).unwrap();
    let bytes = vec![1; 20 << 20];
    fs::write(directory.path().join("source"), &bytes).unwrap();
    let source = file_sync_core::effect::Source::Local { path: sync("source") };
    let (content, mtime) = (ContentHash::of(&bytes), crate::support::MTIME);
    let op = Op::Place { path: sync("copy"), content, source, mode: 0o600, mtime, expect: None };
    let OpOutcome::Trouble(trouble) = root.apply(std::slice::from_ref(&op)).unwrap().pop().unwrap() else {
        panic!()
    };
    assert_eq!(trouble.kind, TroubleKind::NoSpace);
    assert_eq!(fs::read_dir(directory.path().join(".file-sync/stage")).unwrap().count(), 0);
    assert!(
        Command::new("mount")
            .args(["-o", "remount,size=80m"])
            .arg(directory.path())
            .status()
            .unwrap()
            .success()
    );
    let OpOutcome::Done { .. } = root.apply(&[op]).unwrap().pop().unwrap() else { panic!("it resumes") };
}
