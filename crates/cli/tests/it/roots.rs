//! The root itself (L6): moved away, replaced, without its marker. Nothing is deleted elsewhere on such grounds.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::device::Device;
use crate::trouble::Mount;
use crate::world::{
    FEBRUARY, JANUARY, MARCH, check, directory_becomes, equal, holds, introduce, is_root_or_skips,
};
use crate::world::{join, offer, settle, sharing, steady};

const FILES: &str = "f \"bytes\"\nd/\nd/g \"bytes\"";

fn with_files() -> (Device, Device) {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "bytes", JANUARY);
    alpha.user().write("d/g", "bytes", JANUARY);
    check(&[&alpha, &beta], FILES);
    (alpha, beta)
}

/// Asserts that the other side keeps all it has, now and for a while.
fn unharmed(device: &Device) {
    steady(Duration::from_secs(2), || crate::tree::text_of(&device.root()));
    holds(&device.root(), FILES);
}

#[test]
fn l6_a_root_moved_away_is_an_error_and_comes_back() {
    let (alpha, beta) = with_files();
    fs::rename(beta.root(), beta.beside("away")).expect("a rename");
    directory_becomes(&beta, "state", "error");
    unharmed(&alpha);
    alpha.user().write("f", "edited meanwhile", FEBRUARY);
    fs::write(beta.beside("away").join("new"), "written while away").expect("a write");
    fs::rename(beta.beside("away"), beta.root()).expect("a rename");
    directory_becomes(&beta, "state", "idle");
    check(&[&alpha, &beta], "f \"edited meanwhile\"\nd/\nd/g \"bytes\"\nnew \"written while away\"");
}

#[test]
fn l6_an_offered_root_moved_away_is_an_error_and_comes_back() {
    let (alpha, beta) = with_files();
    fs::rename(alpha.root(), alpha.beside("away")).expect("a rename");
    directory_becomes(&alpha, "state", "error");
    unharmed(&beta);
    beta.user().remove("f");
    fs::rename(alpha.beside("away"), alpha.root()).expect("a rename");
    directory_becomes(&alpha, "state", "idle");
    check(&[&alpha, &beta], "d/\nd/g \"bytes\"");
}

#[test]
fn l6_an_empty_directory_in_the_root_s_place_deletes_nothing() {
    let (alpha, mut beta) = with_files();
    fs::rename(beta.root(), beta.beside("away")).expect("a rename");
    fs::create_dir(beta.root()).expect("an empty mount point");
    directory_becomes(&beta, "state", "error");
    unharmed(&alpha);
    beta.stop();
    beta.begin();
    directory_becomes(&beta, "state", "error");
    unharmed(&alpha);
    holds(&beta.root(), "");
    fs::remove_dir(beta.root()).expect("nothing was put into it");
    fs::rename(beta.beside("away"), beta.root()).expect("a rename");
    directory_becomes(&beta, "state", "idle");
    check(&[&alpha, &beta], FILES);
}

#[test]
fn l6_a_root_that_is_missing_at_a_start_deletes_nothing() {
    let (mut alpha, beta) = with_files();
    alpha.stop();
    fs::rename(alpha.root(), alpha.beside("away")).expect("a rename");
    alpha.begin();
    directory_becomes(&alpha, "state", "error");
    unharmed(&beta);
    fs::rename(alpha.beside("away"), alpha.root()).expect("a rename");
    directory_becomes(&alpha, "state", "idle");
    alpha.user().write("f", "after", MARCH);
    check(&[&alpha, &beta], "f \"after\"\nd/\nd/g \"bytes\"");
}

#[test]
fn l6_a_lost_marker_deletes_nothing() {
    let (alpha, beta) = with_files();
    fs::rename(beta.root().join(".file-sync"), beta.beside("marker")).expect("a rename");
    directory_becomes(&beta, "state", "error");
    beta.user().remove("f");
    unharmed(&alpha);
    fs::rename(beta.beside("marker"), beta.root().join(".file-sync")).expect("a rename");
    directory_becomes(&beta, "state", "idle");
    // With the marker back, the root is proved, and what its user did meanwhile counts.
    check(&[&alpha, &beta], "d/\nd/g \"bytes\"");
}

#[test]
fn l6_a_copied_root_at_another_inode_infers_no_deletion_at_its_first_scan() {
    let (alpha, mut beta) = with_files();
    beta.stop();
    let (root, copy) = (beta.root(), beta.beside("copy"));
    let copied = std::process::Command::new("cp").arg("-a").args([&root, &copy]).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp(1) is there");
    fs::rename(&root, beta.beside("original")).expect("a rename");
    fs::rename(&copy, &root).expect("a rename");
    beta.user().remove("f");
    beta.begin();
    check(&[&alpha, &beta], FILES);
}

#[test]
fn why_says_of_a_lost_root_that_it_is_lost_and_nothing_of_what_is_below_it() {
    let (alpha, mut beta) = with_files();
    let why = |device: &Device, path: &str| {
        device.json(["why", device.root().join(path).to_str().expect("a root in UTF-8")])
    };
    assert_eq!(why(&beta, "f")["reason"], "in-step");
    let (root, away) = (beta.root(), beta.beside("away"));
    let is_lost = |device: &Device, what: &str| {
        for path in ["f", "d/g", "d", ""] {
            let why = why(device, path);
            assert_eq!((&why["reason"], &why["disk"]), (&"root-lost".into(), &Value::Null), "{path}");
            assert!(why["explanation"].to_string().contains(what), "{why}");
        }
    };
    // At once: nobody has looked yet.
    fs::rename(&root, &away).expect("a rename");
    is_lost(&beta, "no such directory");
    fs::create_dir(&root).expect("an empty mount point");
    is_lost(&beta, "no .file-sync/marker");
    let file = root.join("f");
    let asked = ["why", file.to_str().expect("a root in UTF-8")];
    assert!(beta.ok(asked).contains("on the disk      cannot be told"));
    directory_becomes(&beta, "state", "error");
    is_lost(&beta, "no .file-sync/marker");
    beta.stop();
    beta.begin();
    assert!(beta.refused(1, asked).contains("no .file-sync/marker"));
    fs::remove_dir(&root).expect("an empty directory");
    fs::rename(&away, &root).expect("a rename");
    check(&[&alpha, &beta], FILES);
    assert_eq!(why(&beta, "f")["reason"], "in-step");
}

#[test]
fn a_directory_whose_root_is_gone_can_be_paused_and_taken_down() {
    let (mut alpha, mut beta) = with_files();
    for device in [&alpha, &beta] {
        fs::rename(device.root(), device.beside("away")).expect("a rename");
        directory_becomes(device, "state", "error");
    }
    beta.ok(["sync", "pause", "docs"]);
    // Also when it was never there since the server's start.
    for device in [&mut alpha, &mut beta] {
        device.stop();
        device.begin();
        directory_becomes(device, "state", "error");
        let errors = device.directory()["errors"].clone();
        assert_ne!(errors, serde_json::json!([]), "it says what is wrong");
        assert!(errors[0]["retry_in_seconds"].as_u64().is_some_and(|seconds| seconds <= 3), "{errors}");
    }
    beta.ok(["sync", "resume", "docs"]);
    beta.ok(["sync", "down", "docs"]);
    let root = alpha.root();
    alpha.ok(["file", "down", root.to_str().expect("a root in UTF-8")]);
    for device in [&alpha, &beta] {
        assert_eq!(device.status()["directories"], serde_json::json!([]));
        fs::rename(device.beside("away"), device.root()).expect("a rename");
        holds(&device.root(), FILES);
    }
    crate::world::offer(&alpha, &[]);
    crate::world::join(&beta, &alpha, &[]);
    check(&[&alpha, &beta], FILES);
}

/// A start in doubt that is cut short leaves the doubt to the next one.
#[test]
fn l6_c1_a_first_scan_in_doubt_that_is_cut_short_infers_no_deletion_later() {
    let (alpha, beta) = sharing();
    for index in 0..200 {
        alpha.user().write(format!("d{}/{index}", index % 20), "bytes", JANUARY);
    }
    check_equal(&[&alpha, &beta]);
    let (mut alpha, mut beta) = (alpha, beta);
    for is_killed in [true, false] {
        alpha.stop();
        beta.stop();
        let (root, copy) = (beta.root(), beta.beside(&format!("copy-{is_killed}")));
        fs::create_dir(&copy).expect("another directory");
        let marker =
            std::process::Command::new("cp").arg("-a").args([&root.join(".file-sync"), &copy]).status();
        assert!(marker.is_ok_and(|status| status.success()), "cp(1) copies the marker alone");
        fs::rename(&root, beta.beside(&format!("original-{is_killed}"))).expect("a rename");
        fs::rename(&copy, &root).expect("a rename");
        beta.begin();
        if is_killed {
            beta.kill();
        } else {
            beta.stop();
        }
        beta.begin();
        alpha.begin();
        check_equal(&[&alpha, &beta]);
        assert_eq!(crate::tree::text_of(&beta.root()).len(), 220, "200 files in 20 directories came back");
    }
}

fn check_equal(devices: &[&Device]) {
    settle(devices);
    equal(devices);
}

/// What a start that fails leaves behind is not taken for another home's.
#[test]
fn d1_c7_a_root_that_cannot_be_written_at_a_start_undoes_no_delete() {
    if !is_root_or_skips("a read-only disk") {
        return;
    }
    let (alpha, mut beta) = (Device::start("alpha"), Device::start("beta"));
    let Some(mount) = Mount::at(beta.root(), "48m") else { return };
    introduce(&alpha, &beta);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    for name in ["stays", "goes"] {
        alpha.user().write(name, name, JANUARY);
    }
    settle(&[&alpha, &beta]);
    beta.stop();
    beta.user().remove("goes");
    mount.remount("ro");
    beta.begin();
    directory_becomes(&beta, "state", "error");
    // It is tried again every three seconds.
    std::thread::sleep(Duration::from_secs(11));
    mount.remount("rw");
    directory_becomes(&beta, "state", "idle");
    check(&[&alpha, &beta], "stays \"stays\"");
    beta.stop();
}

#[test]
fn s2_a_directory_is_taken_down_while_it_is_walked_and_the_server_goes_on() {
    let alpha = Device::start("alpha");
    for index in 0..3_000 {
        fs::create_dir_all(alpha.root().join(format!("{}/{index}", index % 50))).expect("a directory");
    }
    for _ in 0..3 {
        offer(&alpha, &[]);
        alpha.ok(["file", "down", "docs"]);
    }
    assert_eq!(alpha.status()["directories"], serde_json::json!([]));
}
