//! Homes (C5): what is configured stays over restarts, and a home that is lost or older than its directories harms nobody.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::device::Device;
use crate::strace::{self, Fault, Point};
use crate::world::{
    FEBRUARY, JANUARY, MARCH, PATIENCE, check, connected, introduce, join, offer, paired, settle, sharing,
};

/// What was set up by commands, as the listings tell it.
fn configured(device: &Device) -> Value {
    let mut told: Vec<Value> = Vec::new();
    for (noun, list, facts) in [
        ("file", "directories", &["name", "id", "path", "to", "read_only"][..]),
        ("sync", "directories", &["name", "id", "path", "remote", "mode", "read_only"]),
        ("remote", "remotes", &["name", "id"]),
    ] {
        let listed = device.json([noun, "ls"]);
        let rows = listed[list].as_array().expect("a list");
        told.extend(rows.iter().map(|row| facts.iter().map(|fact| row[fact].clone()).collect()));
    }
    told.into()
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.is_ok_and(|status| status.success()), "cp(1) copies {}", from.display());
}

#[test]
fn c1_what_was_configured_is_the_same_after_a_stop_and_after_a_kill() {
    let (mut alpha, mut beta) = paired();
    for name in ["all", "some", "only read"] {
        std::fs::create_dir(alpha.beside(name)).expect("a directory");
    }
    alpha.ok(["file", "up", "all"]);
    alpha.ok(["file", "up", "some", "--to", "beta", "--name", "for beta"]);
    alpha.ok(["file", "up", "only read", "--read-only"]);
    beta.ok(["sync", "up", "alpha:all", "all", "--mode", "receive-only"]);
    beta.ok(["sync", "up", "alpha:for beta", "some", "--mode", "send-only"]);
    beta.ok(["sync", "up", "alpha:only read", "read"]);
    let before = [configured(&alpha), configured(&beta)];
    alpha.stop();
    beta.stop();
    alpha.begin();
    beta.begin();
    assert_eq!([configured(&alpha), configured(&beta)], before);
    alpha.kill();
    beta.kill();
    alpha.begin();
    beta.begin();
    assert_eq!([configured(&alpha), configured(&beta)], before);
    settle(&[&alpha, &beta]);
    assert!(beta.status()["directories"].as_array().is_some_and(|all| all.len() == 3));
}

#[test]
fn c5_a_home_restored_from_an_older_copy_loses_and_deletes_nothing() {
    let (alpha, mut beta) = sharing();
    for name in ["edited", "deleted", "missing", "same"] {
        alpha.user().write(name, "before", JANUARY);
    }
    settle(&[&alpha, &beta]);
    beta.stop();
    copy(&beta.home(), &beta.beside("backup"));
    beta.begin();
    beta.user().write("edited", "after the backup", FEBRUARY);
    beta.user().write("new", "after the backup", FEBRUARY);
    beta.user().remove("deleted");
    alpha.user().write("from-alpha", "after the backup", FEBRUARY);
    settle(&[&alpha, &beta]);
    beta.stop();
    std::fs::remove_dir_all(beta.home()).expect("the home can be removed");
    copy(&beta.beside("backup"), &beta.home());
    // While no server knows of it: it may as well have been lost, so it is fetched again.
    beta.user().remove("missing");
    beta.begin();
    let expected = "edited \"after the backup\"\nnew \"after the backup\"\nfrom-alpha \"after the backup\"\n
                    missing \"before\"\nsame \"before\"";
    check(&[&alpha, &beta], expected);
    // Its counters began anew: what it says now is not taken for what it had said.
    beta.user().write("edited", "with the restored home", MARCH);
    beta.user().write("newer", "with the restored home", MARCH);
    alpha.user().remove("same");
    let expected = "edited \"with the restored home\"\nnew \"after the backup\"\nmissing \"before\"\n
                    from-alpha \"after the backup\"\nnewer \"with the restored home\"";
    check(&[&alpha, &beta], expected);
    assert_eq!(alpha.directory()["conflicts"], 0);
}

/// Each of these starts has written to the database that it works there, and none to the root's marker.
#[test]
fn c1_d1_starts_that_are_killed_before_they_mark_the_root_are_no_other_lives() {
    if !crate::strace::is_allowed_or_skips("a start that is killed") {
        return;
    }
    let (alpha, mut beta) = sharing();
    alpha.user().write("stays", "bytes", JANUARY);
    alpha.user().write("goes", "bytes", JANUARY);
    settle(&[&alpha, &beta]);
    beta.stop();
    beta.user().remove("goes");
    let point = Point { call: "renameat", number: 1, fault: Fault::Kill };
    for _ in 0..3 {
        beta.begin_under(&strace::until(&point, &beta.beside("trace")));
        let exit = crate::world::eventually(PATIENCE, || beta.ended().ok_or("it has not come to the point"));
        assert_eq!(exit.signal(), Some(9), "{}", beta.log());
    }
    beta.begin();
    check(&[&alpha, &beta], "stays \"bytes\"");
}

#[test]
fn c5_a_root_is_worked_in_by_one_server_at_a_time() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "one", JANUARY);
    settle(&[&alpha, &beta]);
    let stranger = Device::start("stranger");
    let root = alpha.root();
    let path = root.to_str().expect("a root in UTF-8");
    let refusal = stranger.refused(1, ["file", "up", path]);
    assert!(refusal.contains("another server is at work in this directory"), "{refusal}");
    // A join there is refused, and so a preview of it.
    crate::world::introduce(&beta, &stranger);
    std::fs::create_dir(beta.beside("other")).expect("a directory");
    beta.ok(["file", "up", beta.beside("other").to_str().expect("UTF-8"), "--name", "other"]);
    for preview in [&[][..], &["--dry-run"]] {
        let refusal = stranger.refused(1, [&["sync", "up", "beta:other", path], preview].concat());
        assert!(refusal.contains("another server is at work in this directory"), "{refusal}");
    }
    alpha.user().write("f", "two", FEBRUARY);
    settle(&[&alpha, &beta]);
    check(&[&alpha, &beta], "f \"two\"");
    alpha.ok(["file", "down", "docs"]);
    stranger.ok(["file", "up", path]);
    let refusal = alpha.refused(1, ["file", "up", path]);
    assert!(refusal.contains("another server is at work in this directory"), "{refusal}");
    stranger.ok(["file", "down", "docs"]);
    alpha.ok(["file", "up", path]);
}

#[test]
fn c5_a_device_that_lost_its_home_pairs_and_joins_again_with_its_files() {
    let (alpha, mut beta) = sharing();
    for name in ["same", "edited-there", "edited-here", "missing"] {
        alpha.user().write(name, "before", JANUARY);
    }
    settle(&[&alpha, &beta]);
    beta.stop();
    std::fs::remove_dir_all(beta.home()).expect("the home can be removed");
    beta.user().remove("missing");
    beta.user().write("edited-here", "by beta", FEBRUARY);
    alpha.user().write("edited-there", "by alpha", FEBRUARY);
    beta.begin();
    introduce(&alpha, &beta);
    connected(&beta);
    join(&beta, &alpha, &[]);
    // Its old self is still on alpha's list and will not come back.
    let (old, new) = (alpha.json(["remote", "ls"]), beta.status()["device"]["id"].clone());
    let names: Vec<&str> = old["remotes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|remote| remote["id"] != new)
        .filter_map(|remote| remote["name"].as_str())
        .collect();
    assert_eq!(names, ["beta"], "{old}");
    alpha.ok(["remote", "rm", "beta"]);
    settle(&[&alpha, &beta]);
    crate::world::equal(&[&alpha, &beta]);
    assert_eq!(
        (alpha.user().read("same"), alpha.user().read("missing")),
        (b"before".into(), b"before".into())
    );
    assert_eq!(
        (alpha.user().read("edited-here"), beta.user().read("edited-there")),
        (b"by beta".into(), b"by alpha".into())
    );
    // Beta came without a history, so that the bytes it held of what alpha edited may be a user's: they are a copy.
    let shown = crate::tree::text_of(&alpha.root());
    let n_copies = shown.iter().filter(|line| line.contains(".sync-conflict-")).count();
    assert!(n_copies <= 2, "{shown:?}");
}

#[test]
fn l6_a_directory_without_a_marker_that_can_be_made_is_refused() {
    if !crate::world::is_root_or_skips("a directory that cannot be written") {
        return;
    }
    let alpha = Device::start_as("alpha", Some(65_534));
    let beta = Device::start("beta");
    introduce(&beta, &alpha);
    let path = alpha.beside("somebody-elses");
    std::fs::create_dir(&path).expect("a directory");
    let path = path.to_str().expect("UTF-8");
    let refused = alpha.refused(1, ["file", "up", path]);
    assert!(refused.contains(path), "{refused}");
    offer(&beta, &[]);
    beta.user().write("f", "bytes", JANUARY);
    let refused = alpha.refused(1, ["sync", "up", "beta:docs", path]);
    assert!(refused.contains(path), "{refused}");
    assert_eq!(alpha.status()["directories"], serde_json::json!([]));
    // Where it can, nothing of the attempts is in the way.
    join(&alpha, &beta, &[]);
    check(&[&beta, &alpha], "f \"bytes\"");
}
