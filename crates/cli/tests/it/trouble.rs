//! Trouble with one path or one disk: it is listed, harms nothing, keeps nothing else away, and goes by itself (C7).
//!
//! These need root: for servers that run as somebody who may not do everything, and for small file systems.

#![expect(clippy::print_stdout, reason = "a test that cannot run here says so")]

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use file_sync_core::version::ContentHash;
use serde_json::json;

use crate::device::Device;
use crate::strace::{self, Fault, Point};
use crate::tree::tree_of;
use crate::user::noise;
use crate::world::{
    FEBRUARY, JANUARY, MARCH, PATIENCE, check, directory_becomes, equal, eventually, holds, introduce,
};
use crate::world::{is_root_or_skips, join, mentions, offer, settle};

pub const NOBODY: u32 = 65_534;

/// Two devices that keep `docs` equal, their servers as the given users; `None` without root.
pub fn sharing_as(test: &str, users: [Option<u32>; 2]) -> Option<(Device, Device)> {
    if !is_root_or_skips(test) {
        return None;
    }
    let [alpha, beta] = [("alpha", users[0]), ("beta", users[1])].map(|(name, user)| {
        let device = Device::start_as(name, user);
        fs::create_dir(device.root()).expect("a root");
        chown(device.root(), user, user).expect("root may give a directory away");
        device
    });
    introduce(&alpha, &beta);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    settle(&[&alpha, &beta]);
    Some((alpha, beta))
}

/// Waits until a path is or is no longer among a directory's errors.
pub fn listed(device: &Device, path: &str, expected: bool) {
    eventually(PATIENCE, || {
        let errors = device.directory()["errors"].clone();
        if mentions(&errors, path) == expected { Ok(()) } else { Err(format!("{path}: {errors}")) }
    });
}

/// Within how many seconds the first of a directory's errors is tried again, which the text says as well.
fn tried_again_within(device: &Device) -> u64 {
    let errors = device.directory()["errors"].clone();
    let seconds = errors[0]["retry_in_seconds"].as_u64().unwrap_or_else(|| panic!("{errors}"));
    let text = device.ok(["status"]);
    assert!(text.contains("(tried again within "), "{text}");
    seconds
}

#[test]
fn l6_an_unreadable_file_is_listed_and_tried_again() {
    let Some((alpha, beta)) = sharing_as("an unreadable file", [Some(NOBODY), None]) else { return };
    alpha.user().write("secret", "before", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().write_as("secret", "after", 0o600, (FEBRUARY, 0));
    alpha.user().write("beside", "no trouble", JANUARY);
    listed(&alpha, "secret", true);
    assert!(tried_again_within(&alpha) <= 10);
    eventually(PATIENCE, || if beta.user().has("beside") { Ok(()) } else { Err("it keeps others away") });
    alpha.refused(3, ["sync", "wait", "--timeout", "2s"]);
    holds(&beta.root(), "secret \"before\"\nbeside \"no trouble\"");
    alpha.user().chmod("secret", 0o644);
    check(&[&alpha, &beta], "secret \"after\"\nbeside \"no trouble\"");
    listed(&alpha, "secret", false);
}

#[test]
fn l6_nothing_is_deleted_below_an_unreadable_directory() {
    let Some((alpha, mut beta)) = sharing_as("an unreadable directory", [Some(NOBODY), None]) else { return };
    alpha.user().write("d/f", "bytes", JANUARY);
    alpha.user().write("d/e/g", "bytes", JANUARY);
    alpha.user().write("h", "bytes", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().chmod("d", 0o700);
    let mut alpha = alpha;
    alpha.stop();
    alpha.begin();
    alpha.user().write("h", "edited", FEBRUARY);
    eventually(PATIENCE, || if beta.user().read("h") == b"edited" { Ok(()) } else { Err("h is kept away") });
    listed(&alpha, "d", true);
    let _ = alpha.run(["sync", "wait", "--timeout", "2s"]);
    beta.stop();
    beta.begin();
    let _ = beta.run(["sync", "wait", "--timeout", "2s"]);
    assert_eq!((beta.user().read("d/f"), beta.user().read("d/e/g")), (b"bytes".to_vec(), b"bytes".to_vec()));
    alpha.user().chmod("d", 0o755);
    check(&[&alpha, &beta], "d/\nd/f \"bytes\"\nd/e/\nd/e/g \"bytes\"\nh \"edited\"");
}

#[test]
fn l6_a_directory_that_becomes_unreadable_is_listed_without_a_scan() {
    let Some((alpha, beta)) = sharing_as("a directory taken away", [None, Some(NOBODY)]) else { return };
    alpha.user().write("d/f", "bytes", JANUARY);
    alpha.user().write("e/f", "bytes", JANUARY);
    alpha.user().chmod("e", 0o700);
    settle(&[&alpha, &beta]);
    // By its owner alone, or by its mode alone.
    let taken = |path: &str, owner: u32| {
        chown(beta.user().path(path), Some(owner), Some(owner)).expect("root may do so");
    };
    taken("e", 0);
    listed(&beta, "e", true);
    beta.user().chmod("d", 0o600);
    listed(&beta, "d", true);
    beta.user().chmod("d", 0o755);
    taken("e", NOBODY);
    listed(&beta, "d", false);
    listed(&beta, "e", false);
    check(&[&alpha, &beta], "d/\nd/f \"bytes\"\ne/\ne/f \"bytes\"");
    directory_becomes(&beta, "errors", json!([]));
}

#[test]
fn c7_a_directory_that_cannot_be_written_is_listed_and_tried_again() {
    let Some((alpha, beta)) = sharing_as("a directory of somebody else", [None, Some(NOBODY)]) else {
        return;
    };
    alpha.user().write("d/f", "bytes", JANUARY);
    settle(&[&alpha, &beta]);
    chown(beta.user().path("d"), Some(0), Some(0)).expect("root may take a directory");
    alpha.user().write("d/new", "bytes", JANUARY);
    alpha.user().write("beside", "no trouble", JANUARY);
    listed(&beta, "d/new", true);
    eventually(PATIENCE, || if beta.user().has("beside") { Ok(()) } else { Err("it keeps others away") });
    alpha.refused(3, ["sync", "wait", "--timeout", "2s"]);
    chown(beta.user().path("d"), Some(NOBODY), Some(NOBODY)).expect("root may give a directory away");
    check(&[&alpha, &beta], "d/\nd/f \"bytes\"\nd/new \"bytes\"\nbeside \"no trouble\"");
    listed(&beta, "d/new", false);
}

#[test]
fn s1_a_server_that_is_not_root_changes_what_is_in_its_read_only_directories() {
    let Some((alpha, beta)) = sharing_as("a server that is not root", [None, Some(NOBODY)]) else { return };
    alpha.user().write("locked/below/f", "before", JANUARY);
    alpha.user().write("locked/gone", "before", JANUARY);
    alpha.user().write("locked/moved", "moved", JANUARY);
    alpha.user().chmod("locked/below", 0o555);
    alpha.user().chmod("locked", 0o555);
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    alpha.user().write_as("locked/below/f", "after", 0o444, (FEBRUARY, 0));
    alpha.user().write("locked/below/new", "new", MARCH);
    alpha.user().remove("locked/gone");
    alpha.user().rename("locked/moved", "locked/below/moved");
    let expected = "locked/\nlocked/below/\nlocked/below/f \"after\"\nlocked/below/new \"new\"\n
                    locked/below/moved \"moved\"";
    check(&[&alpha, &beta], expected);
    assert_eq!((beta.user().mode("locked"), beta.user().mode("locked/below")), (0o555, 0o555));
    assert_eq!(beta.user().mode("locked/below/f"), 0o444);
    alpha.user().remove_all("locked");
    check(&[&alpha, &beta], "");
}

#[test]
fn c7_a_file_that_is_too_big_keeps_no_small_one_away() {
    if !is_root_or_skips("a small disk") {
        return;
    }
    let (alpha, beta) = (Device::start("alpha"), Device::start("beta"));
    let Some(mount) = Mount::at(beta.root(), "48m") else { return };
    introduce(&alpha, &beta);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    alpha.user().write("small-before", "fits", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().write("big", noise(1, 80 << 20), JANUARY);
    alpha.user().write("small-after", "fits", JANUARY);
    listed(&beta, "big", true);
    alpha.user().write("small-later", "fits", JANUARY);
    eventually(PATIENCE, || {
        let has = ["small-before", "small-after", "small-later"].map(|name| beta.user().has(name));
        if has == [true; 3] { Ok(()) } else { Err(format!("kept away: {has:?}")) }
    });
    assert!(!beta.user().has("big"));
    // Something else comes meanwhile: by its speed nobody can say when this one does.
    alpha.user().write("small-last", noise(2, 1 << 20), JANUARY);
    let status = eventually(PATIENCE, || {
        let status = beta.status();
        let directory = &status["directories"][0];
        let is_all = [&directory["need_bytes"], &directory["blocked_bytes"]] == [&json!(80 << 20); 2];
        let is_fast = status["traffic"]["download"].as_u64() > Some(0);
        if is_all && is_fast { Ok(status) } else { Err(status) }
    });
    assert_eq!(status["traffic"]["seconds_left"], json!(null), "{status}");
    // On the other side it is not idle and well, either.
    eventually(PATIENCE, || {
        let straggler = alpha.directory()["stragglers"][0].clone();
        let expected = json!({"remote": "beta", "takes_no_part": false, "troubles": 1});
        if straggler == expected { Ok(()) } else { Err(straggler) }
    });
    let shown = alpha.ok(["status"]);
    assert!(
        shown.contains("beta has not followed yet, as far as it has said: 1 path is in trouble there"),
        "{shown}"
    );
    let why = |name: &str| alpha.json(["why", alpha.root().join(name).to_str().expect("UTF-8")]);
    assert_eq!((&why("big")["behind"], &why("big")["followed"]), (&json!(["beta"]), &json!([])));
    assert_eq!(
        (&why("small-before")["behind"], &why("small-before")["followed"]),
        (&json!([]), &json!(["beta"]))
    );
    mount.grow("256m");
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    listed(&beta, "big", false);
    assert_eq!(why("big")["followed"], json!(["beta"]));
    directory_becomes(&alpha, "stragglers", json!([]));
}

/// S1: what cannot be shown is listed. The only member that had the bytes left, and its user deleted them meanwhile.
#[test]
fn s1_a_file_whose_bytes_nobody_has_any_more_is_listed() {
    if !is_root_or_skips("a small disk") {
        return;
    }
    let (alpha, beta) = (Device::start("alpha"), Device::start("beta"));
    let Some(mount) = Mount::at(alpha.root(), "48m") else { return };
    introduce(&alpha, &beta);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    beta.user().write("big", noise(1, 80 << 20), JANUARY);
    listed(&alpha, "big", true);
    beta.ok(["sync", "down", "docs"]);
    beta.user().remove("big");
    join(&beta, &alpha, &[]);
    mount.grow("256m");
    eventually(PATIENCE, || {
        let errors = alpha.directory()["errors"].to_string();
        if errors.contains("no connected member has its bytes") { Ok(()) } else { Err(errors) }
    });
    directory_becomes(&alpha, "blocked_bytes", 80 << 20);
    // Everything else goes on.
    beta.user().write("small", "fits", FEBRUARY);
    eventually(PATIENCE, || if alpha.user().has("small") { Ok(()) } else { Err("not there yet") });
    assert!(!alpha.user().has("big") && !beta.user().has("big"));
}

/// What the system could not write it says once: it is not taken for written because the next one hears that all is well.
#[test]
fn c2_what_comes_and_cannot_be_made_durable_is_not_taken_for_there() {
    if !strace::is_allowed_or_skips("a staged file that cannot be made durable") {
        return;
    }
    let (alpha, mut beta) = crate::world::sharing();
    let bytes = noise(1, 1 << 20);
    let part = format!(".file-sync/stage/{}.part", ContentHash::of(&bytes));
    beta.stop();
    let failing = strace::failing_at("fdatasync", "EIO", &beta.root().join(&part), &beta.beside("trace"));
    beta.begin_under(&failing);
    beta.await_ready();
    alpha.user().write("big", &bytes, JANUARY);
    listed(&beta, "big", true);
    assert!(!beta.user().has("big") && !beta.root().join(&part).exists());
    strace::relieve(beta.server_id());
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    listed(&beta, "big", false);
}

#[test]
fn c7_a_home_whose_disk_is_full_harms_no_file_and_goes_on_when_there_is_room() {
    if !is_root_or_skips("a small disk for the home") {
        return;
    }
    let (alpha, mut beta) = crate::world::sharing();
    alpha.user().write("f", "before", JANUARY);
    settle(&[&alpha, &beta]);
    beta.stop();
    let (home, aside) = (beta.home(), beta.beside("home-aside"));
    fs::rename(&home, &aside).expect("a rename");
    let Some(_mount) = Mount::at(home.clone(), "6m") else { return };
    let copied = Command::new("cp").arg("-a").arg(aside.join(".")).arg(&home).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp(1) copies the home");
    beta.begin();
    // What is left is taken away.
    let filler = home.join("filler");
    let _ = fs::write(&filler, noise(1, 16 << 20));
    alpha.user().write("f", "after", FEBRUARY);
    for index in 0..2000 {
        alpha.user().write(format!("many/{index}"), format!("{index}"), JANUARY);
    }
    beta.user().write("own", "by beta", JANUARY);
    assert_eq!(alpha.run(["sync", "wait", "--timeout", "3s"]).status.code(), Some(3));
    assert!(matches!(&beta.user().read("f")[..], b"before" | b"after"));
    assert_eq!(beta.user().read("own"), b"by beta");
    let errors = beta.directory()["errors"].clone();
    assert_ne!(errors, serde_json::json!([]), "it says that there is no room");
    fs::remove_file(&filler).expect("the filler can be removed");
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!(alpha.user().read("own"), b"by beta");
    eventually(PATIENCE, || {
        let errors = beta.directory()["errors"].clone();
        if errors == serde_json::json!([]) { Ok(()) } else { Err(errors) }
    });
    beta.stop();
}

/// What it displaced is a kept version all the same: a later start does not take it for a user's edit.
#[test]
fn v2_c7_what_was_placed_and_not_made_durable_leaves_nothing_behind() {
    if !strace::is_allowed_or_skips("a root that cannot be made durable") {
        return;
    }
    let (alpha, mut beta) = crate::world::sharing();
    alpha.user().write("f", "first", JANUARY);
    settle(&[&alpha, &beta]);
    beta.stop();
    beta.begin_under(&strace::failing_at("fsync", "EIO", &beta.root(), &beta.beside("trace")));
    beta.await_ready();
    alpha.user().write("f", "second", FEBRUARY);
    eventually(PATIENCE, || if beta.user().read("f") == b"second" { Ok(()) } else { Err("not placed") });
    listed(&beta, ".", true); // The directory is started again and again, as after a crash.
    for device in [&alpha, &beta] {
        let waited = device.run(["sync", "wait", "--timeout", "4s"]);
        assert_eq!(waited.status.code(), Some(3), "nobody is told that all is well: {waited:?}");
    }
    strace::relieve(beta.server_id());
    settle(&[&alpha, &beta]);
    assert_eq!(beta.json(["sync", "wait"])["remotes"], 1, "it knows who is there");
    alpha.user().write("f", "third", MARCH);
    settle(&[&alpha, &beta]);
    beta.stop();
    beta.begin();
    check(&[&alpha, &beta], "f \"third\"");
}

#[test]
fn a_root_that_is_gone_says_what_is_wrong_with_it_now() {
    let (alpha, beta) = crate::world::sharing();
    alpha.user().write("f", "bytes", JANUARY);
    settle(&[&alpha, &beta]);
    let away = beta.beside("away");
    let says = |what: &str| {
        eventually(PATIENCE, || {
            let directory = beta.directory().to_string();
            if directory.contains(what) { Ok(()) } else { Err(directory) }
        });
    };
    fs::rename(beta.root(), &away).expect("a root can be moved");
    says("no such directory");
    fs::create_dir(beta.root()).expect("a directory");
    says("marker");
    fs::remove_dir(beta.root()).expect("an empty directory");
    fs::rename(&away, beta.root()).expect("a root can be moved");
    check(&[&alpha, &beta], "f \"bytes\"");
}

/// The marker of such a start may be there and not be durable: the next start takes it for its own all the same, and
/// what was deleted meanwhile for deleted.
#[test]
fn c5_a_start_whose_mark_cannot_be_made_durable_is_nobody_elses() {
    if !strace::is_allowed_or_skips("a marker that cannot be made durable") {
        return;
    }
    let (alpha, mut beta) = crate::world::sharing();
    for name in ["f", "g", "h"] {
        alpha.user().write(name, name, JANUARY);
    }
    settle(&[&alpha, &beta]);
    beta.stop();
    let own = beta.root().join(".file-sync");
    // The second time that a start makes it durable, it is its own.
    for (name, fault) in [("f", "EIO:when=2+"), ("g", "EIO:when=1+"), ("h", "EIO:when=2+")] {
        beta.user().remove(name);
        beta.begin_under(&strace::failing_at("fsync", fault, &own, &beta.beside("trace")));
        beta.await_ready();
        assert!(strace::was_injected(&beta.beside("trace")));
        let directory = beta.directory();
        assert_eq!(directory["state"], "error", "{directory}");
        beta.stop();
    }
    beta.begin();
    beta.await_ready();
    check(&[&alpha, &beta], "");
    let log = beta.whole_log();
    assert!(!log.contains("not the one that last worked here"), "{log}");
}

/// Where it cannot be looked at what was displaced, its bytes tell that it is what was meant: it gets no name of its own.
#[test]
fn v2_c7_what_was_displaced_and_cannot_be_looked_at_is_told_by_its_bytes() {
    if !strace::is_allowed_or_skips("a store of kept versions that cannot be looked at") {
        return;
    }
    let (alpha, mut beta) = crate::world::sharing();
    for name in ["changed", "deleted"] {
        alpha.user().write(name, "first", JANUARY);
    }
    settle(&[&alpha, &beta]);
    beta.stop();
    let kept = beta.root().join(".file-sync/kept");
    beta.begin_under(&strace::failing_at("statx", "EIO", &kept, &beta.beside("trace")));
    beta.await_ready();
    alpha.user().write("changed", "second", FEBRUARY);
    alpha.user().remove("deleted");
    let is_done = || beta.user().read("changed") == b"second" && !beta.root().join("deleted").exists();
    eventually(PATIENCE, || if is_done() { Ok(()) } else { Err(format!("{:?}", tree_of(&beta.root()))) });
    assert!(strace::was_injected(&beta.beside("trace")));
    strace::relieve(beta.server_id());
    check(&[&alpha, &beta], "changed \"second\"");
    beta.stop();
}

#[test]
fn c7_a_server_that_may_watch_nothing_watches_once_it_may() {
    if !strace::is_allowed_or_skips("a server that may watch nothing") {
        return;
    }
    let (alpha, mut beta) = crate::world::sharing();
    beta.user().mkdir("d");
    settle(&[&alpha, &beta]);
    beta.stop();
    let point = Point { call: "inotify_init1", number: 1, fault: Fault::FailsOn("EMFILE") };
    beta.begin_under(&strace::until(&point, &beta.beside("trace")));
    beta.await_ready();
    listed(&beta, ".", true);
    strace::relieve(beta.server_id());
    settle(&[&alpha, &beta]);
    listed(&beta, ".", false);
    // Far sooner than a scan would come.
    beta.user().write("d/f", "seen", JANUARY);
    let is_there = || alpha.root().join("d/f").exists();
    eventually(Duration::from_secs(20), || if is_there() { Ok(()) } else { Err("nobody watches") });
    check(&[&alpha, &beta], "d/\n d/f \"seen\"");
    assert!(beta.stop().success());
}

#[test]
fn c7_a_server_out_of_descriptors_goes_on_when_it_has_some_again() {
    let (alpha, beta) = crate::world::sharing();
    let limit = |soft: u32| {
        let id = beta.server_id().to_string();
        let status = Command::new("prlimit").args(["--pid", &id, &format!("--nofile={soft}:")]).status();
        status.is_ok_and(|status| status.success())
    };
    // Fewer than it has open at rest: it can open nothing at all.
    if !limit(20) {
        println!("skipped: out of descriptors needs prlimit(1)");
        return;
    }
    for index in 0..200 {
        alpha.user().write(format!("d{}/{index}", index % 20), format!("{index}"), JANUARY);
    }
    beta.user().write("own", "by beta", JANUARY);
    let _ = alpha.run(["sync", "wait", "--timeout", "3s"]);
    assert!(limit(1024), "it worked before");
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert!(beta.user().has("d19/199") && alpha.user().has("own"));
    assert_eq!(
        (alpha.directory()["conflicts"].clone(), beta.directory()["conflicts"].clone()),
        (0.into(), 0.into())
    );
}

#[test]
fn l6_an_unmounted_root_is_an_error_and_comes_back_when_mounted() {
    if !is_root_or_skips("an unmounted root") {
        return;
    }
    let (alpha, beta) = (Device::start("alpha"), Device::start("beta"));
    // A bind mount: what is unmounted is still there to be mounted again.
    let disk = beta.beside("disk");
    fs::create_dir_all(&disk).expect("a directory");
    fs::create_dir_all(beta.root()).expect("a mount point");
    let bind = || Command::new("mount").arg("--bind").args([&disk, &beta.root()]).status();
    if !bind().is_ok_and(|status| status.success()) {
        println!("skipped: an unmounted root needs mount(2)");
        return;
    }
    let mounted = Mount { point: beta.root() };
    introduce(&alpha, &beta);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    alpha.user().write("f", "bytes", JANUARY);
    settle(&[&alpha, &beta]);
    drop(mounted);
    crate::world::directory_becomes(&beta, "state", "error");
    crate::world::steady(std::time::Duration::from_secs(2), || alpha.user().has("f"));
    holds(&alpha.root(), "f \"bytes\"");
    holds(&beta.root(), "");
    alpha.user().write("g", "meanwhile", FEBRUARY);
    assert!(bind().is_ok_and(|status| status.success()), "it was mounted before");
    let _mounted = Mount { point: beta.root() };
    crate::world::directory_becomes(&beta, "state", "idle");
    check(&[&alpha, &beta], "f \"bytes\"\ng \"meanwhile\"");
}

/// A file system that the test mounted, unmounted lazily when dropped.
pub struct Mount {
    point: PathBuf,
}

impl Mount {
    /// A tmpfs of a size at a directory that is made; `None`, and said, where mount(2) is not allowed.
    pub fn at(point: PathBuf, size: &str) -> Option<Mount> {
        fs::create_dir_all(&point).expect("a mount point");
        let options = format!("size={size},mode=755");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&point).status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Mount { point });
        }
        println!("skipped: a small disk needs mount(2)");
        None
    }

    /// Gives the file system more room.
    fn grow(&self, size: &str) {
        self.remount(&format!("size={size}"));
    }

    /// Mounts it again with other options.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.point).status();
        assert!(status.is_ok_and(|status| status.success()), "a tmpfs can be mounted again with {options}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: the server may still hold descriptors below it.
        let status = Command::new("umount").arg("-l").arg(&self.point).status();
        if !status.is_ok_and(|status| status.success()) {
            println!("{} could not be unmounted", self.point.display());
        }
    }
}
