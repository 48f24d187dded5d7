//! The root itself (L6): moved away, replaced, without its marker. Nothing is deleted elsewhere on such grounds.

use std::fs;
use std::time::Duration;

use crate::device::Device;
use crate::world::{FEBRUARY, JANUARY, MARCH, check, directory_becomes, holds, sharing, steady};

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
        assert_ne!(device.directory()["errors"], serde_json::json!([]), "it says what is wrong");
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
