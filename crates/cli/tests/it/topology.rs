//! Three devices: a full mesh, a hub with spokes, members that leave, return, join again and are removed.
//!
//! Promise checked here, beside others: S4.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::device::{Device, text};
use crate::world::{
    APRIL, FEBRUARY, JANUARY, MARCH, PATIENCE, check, connected, copy_name, disconnected, equal,
};
use crate::world::{
    eventually, holds, introduce, join, mentions, offer, paired, settle, sharing, steady, trio,
};

/// Alpha offers, all are paired with all and both others joined.
fn mesh() -> (Device, Device, Device) {
    let (alpha, beta, gamma) = trio();
    introduce(&alpha, &beta);
    introduce(&alpha, &gamma);
    introduce(&beta, &gamma);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    join(&gamma, &alpha, &[]);
    settle(&[&alpha, &beta, &gamma]);
    (alpha, beta, gamma)
}

/// Alpha offers and is paired with both others, which do not know each other.
fn hub() -> (Device, Device, Device) {
    let (alpha, beta, gamma) = trio();
    introduce(&alpha, &beta);
    introduce(&alpha, &gamma);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    join(&gamma, &alpha, &[]);
    settle(&[&alpha, &beta, &gamma]);
    (alpha, beta, gamma)
}

#[test]
fn s1_three_members_of_a_mesh_are_equal() {
    let (alpha, beta, gamma) = mesh();
    alpha.user().write("from/alpha", "a", JANUARY);
    beta.user().write("from/beta", "b", JANUARY);
    gamma.user().write("from/gamma", "c", JANUARY);
    let all = [&alpha, &beta, &gamma];
    check(&all, "from/\nfrom/alpha \"a\"\nfrom/beta \"b\"\nfrom/gamma \"c\"");
    gamma.user().write("from/alpha", "edited by gamma", FEBRUARY);
    beta.user().remove("from/gamma");
    alpha.user().rename("from/beta", "beta");
    check(&all, "from/\nfrom/alpha \"edited by gamma\"\nbeta \"b\"");
    assert!(all.iter().all(|device| device.directory()["conflicts"] == 0));
}

#[test]
fn s2_members_that_are_paired_sync_without_the_offering_device() {
    let (mut alpha, beta, gamma) = mesh();
    beta.user().write("f", "before", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    alpha.stop();
    beta.user().write("f", "without alpha", FEBRUARY);
    gamma.user().write("g", "without alpha", FEBRUARY);
    eventually(PATIENCE, || {
        beta.ok(["sync", "wait"]);
        gamma.ok(["sync", "wait"]);
        match (gamma.user().read("f") == b"without alpha", beta.user().has("g")) {
            (true, true) => Ok(()),
            states => Err(format!("not synced directly: {states:?}")),
        }
    });
    alpha.begin();
    check(&[&alpha, &beta, &gamma], "f \"without alpha\"\ng \"without alpha\"");
}

#[test]
fn s4_a_change_reaches_through_the_hub() {
    let (alpha, beta, gamma) = hub();
    let all = [&alpha, &beta, &gamma];
    beta.user().write("d/f", "from beta", JANUARY);
    gamma.user().mkdir("empty");
    check(&all, "d/\nd/f \"from beta\"\nempty/");
    gamma.user().write("d/f", "edited by gamma", FEBRUARY);
    beta.user().remove_all("empty");
    check(&all, "d/\nd/f \"edited by gamma\"");
    gamma.user().rename("d", "e");
    check(&all, "e/\ne/f \"edited by gamma\"");
    beta.user().remove("e/f");
    check(&all, "e/");
    // Who is not paired with the other is told so, and not that it is away.
    let waited = beta.ok(["sync", "wait", "--timeout", "60s"]);
    assert!(waited.contains("a member that is not paired with this device, may lack"), "{waited}");
    assert_eq!(beta.json(["sync", "wait", "--timeout", "60s"])["away"][0]["unpaired"], true);
    assert!(all.iter().all(|device| device.directory()["conflicts"] == 0));
}

#[test]
fn s2_a_hub_that_goes_away_and_returns_does_no_harm() {
    let (mut alpha, beta, gamma) = hub();
    beta.user().write("f", "before", JANUARY);
    beta.user().write("deleted", "before", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    for sudden in [false, true] {
        if sudden {
            alpha.kill();
        } else {
            alpha.stop();
        }
        disconnected(&beta);
        disconnected(&gamma);
        beta.user().write("f", format!("edited, {sudden}"), FEBRUARY);
        gamma.user().write(format!("new-{sudden}"), "from gamma", JANUARY);
        if gamma.user().has("deleted") {
            gamma.user().remove("deleted");
        }
        alpha.begin();
        settle(&[&alpha, &beta, &gamma]);
        equal(&[&alpha, &beta, &gamma]);
    }
    let expected = "f \"edited, true\"\nnew-false \"from gamma\"\nnew-true \"from gamma\"";
    check(&[&alpha, &beta, &gamma], expected);
    assert_eq!(beta.directory()["conflicts"], 0);
}

#[test]
fn w1_a_conflict_among_three_keeps_the_newest_and_two_copies() {
    for with in [mesh, hub] {
        let (alpha, beta, gamma) = with();
        for device in [&alpha, &beta, &gamma] {
            device.ok(["sync", "pause", "docs"]);
        }
        alpha.user().write("f.txt", "from alpha", FEBRUARY);
        beta.user().write("f.txt", "from beta", APRIL);
        gamma.user().write("f.txt", "from gamma", MARCH);
        for device in [&gamma, &alpha, &beta] {
            device.ok(["sync", "resume", "docs"]);
        }
        let copies = [
            copy_name("f", "20200201-000000", &alpha, ".txt"),
            copy_name("f", "20200301-000000", &gamma, ".txt"),
        ];
        let expected =
            format!("f.txt \"from beta\"\n{} \"from alpha\"\n{} \"from gamma\"", copies[0], copies[1]);
        check(&[&alpha, &beta, &gamma], &expected);
        // Seen by all: an edit of the winner is an edit, and the copies stay as they are.
        gamma.user().write("f.txt", "resolved", JANUARY);
        check(&[&alpha, &beta, &gamma], &expected.replace("from beta", "resolved"));
        gamma.user().remove(&copies[0]);
        alpha.user().remove(&copies[1]);
        check(&[&alpha, &beta, &gamma], "f.txt \"resolved\"");
        assert_eq!(beta.directory()["conflicts"], 0);
    }
}

#[test]
fn l1_the_four_step_history_loses_nothing() {
    // Regression test number one: p0 writes, p1 writes, p2 knows both, p0 writes again, and all meet.
    let (mut alpha, mut beta, gamma) = mesh();
    beta.stop();
    alpha.user().write("f", "d0", JANUARY);
    eventually(PATIENCE, || if gamma.user().has("f") { Ok(()) } else { Err("gamma lacks d0") });
    alpha.stop();
    disconnected(&gamma);
    beta.user().write("f", "d1", APRIL);
    alpha.user().write("f", "d2", MARCH);
    beta.begin();
    eventually(PATIENCE, || if gamma.user().read("f") == b"d1" { Ok(()) } else { Err("gamma lacks d1") });
    alpha.begin();
    settle(&[&alpha, &beta, &gamma]);
    equal(&[&alpha, &beta, &gamma]);
    let copy = copy_name("f", "20200301-000000", &alpha, "");
    holds(&alpha.root(), &format!("f \"d1\"\n{copy} \"d2\""));
}

#[test]
fn a_member_leaves_with_its_files_and_joins_again() {
    let (alpha, beta, gamma) = hub();
    alpha.user().write("same", "same", JANUARY);
    alpha.user().write("f", "before", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    beta.ok(["sync", "down", "docs"]);
    holds(&beta.root(), "same \"same\"\nf \"before\"");
    assert_eq!(beta.status()["directories"], serde_json::json!([]));
    alpha.user().write("f", "edited", FEBRUARY);
    beta.user().write("f", "edited by beta outside", MARCH);
    beta.user().write("new", "outside", JANUARY);
    alpha.ok(["sync", "wait"]);
    steady(std::time::Duration::from_secs(1), || beta.user().read("f"));
    join(&beta, &alpha, &[]);
    let copy = copy_name("f", "20200201-000000", &alpha, "");
    let expected = format!("same \"same\"\nf \"edited by beta outside\"\n{copy} \"edited\"\nnew \"outside\"");
    check(&[&alpha, &beta, &gamma], &expected);
}

#[test]
fn d3_what_was_deleted_while_a_member_had_left_goes_when_it_joins_again() {
    let (alpha, beta, mut gamma) = hub();
    alpha.user().write("old", "known to all", JANUARY);
    alpha.user().write("kept", "known to all", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    // Gamma has not acknowledged, so that the tombstone stays.
    gamma.stop();
    beta.ok(["sync", "down", "docs"]);
    alpha.user().remove("old");
    alpha.user().remove("kept");
    beta.user().write("kept", "edited outside", FEBRUARY);
    alpha.ok(["sync", "wait"]);
    join(&beta, &alpha, &[]);
    gamma.begin();
    check(&[&alpha, &beta, &gamma], "kept \"edited outside\"");
}

#[test]
fn a_removed_remote_gets_nothing_more_and_gives_nothing() {
    let (alpha, beta, gamma) = mesh();
    alpha.user().write("f", "before", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    for device in [&alpha, &gamma] {
        device.ok(["remote", "rm", "beta"]);
        assert!(!mentions(&device.json(["remote", "ls"]), "beta"));
    }
    disconnected(&beta);
    alpha.user().write("f", "after", FEBRUARY);
    beta.user().write("theirs", "after", FEBRUARY);
    settle(&[&alpha, &gamma]);
    equal(&[&alpha, &gamma]);
    steady(std::time::Duration::from_secs(3), || (beta.user().read("f"), alpha.user().has("theirs")));
    holds(&alpha.root(), "f \"after\"");
    holds(&beta.root(), "f \"before\"\ntheirs \"after\"");
}

/// It was not told when it was removed: its link had to end.
#[test]
fn who_is_paired_again_after_it_was_removed_is_told_what_to_do() {
    let (alpha, beta) = crate::world::sharing();
    alpha.user().write("f", "before", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.ok(["remote", "rm", "beta"]);
    beta.ok(["remote", "rm", "alpha"]);
    introduce(&alpha, &beta);
    connected(&beta);
    eventually(PATIENCE, || {
        let errors = beta.directory()["errors"].to_string();
        let root = beta.root().to_string_lossy().into_owned();
        let said = [String::from("sync down docs"), format!("sync up alpha:docs {root}")];
        if said.iter().all(|said| errors.contains(said)) { Ok(()) } else { Err(errors) }
    });
    alpha.user().write("f", "after", FEBRUARY);
    beta.ok(["sync", "down", "docs"]);
    beta.ok(["sync", "up", "alpha:docs", beta.root().to_str().expect("UTF-8")]);
    check(&[&alpha, &beta], "f \"after\"");
    assert_eq!(beta.directory()["errors"], serde_json::json!([]));
}

/// Its farewell may come after it has been let in again.
#[test]
fn d3_who_leaves_while_the_other_is_away_and_joins_again_at_once_is_a_member() {
    let (mut alpha, beta) = crate::world::sharing();
    alpha.user().write("f", "before", JANUARY);
    settle(&[&alpha, &beta]);
    let root = beta.root().to_string_lossy().into_owned();
    for bytes in ["after", "after that", "at last"] {
        alpha.stop();
        beta.ok(["sync", "down", "docs"]);
        alpha.user().write("f", bytes, FEBRUARY);
        std::thread::scope(|scope| {
            let joined = scope.spawn(|| beta.ok(["sync", "up", "alpha:docs", &root]));
            alpha.begin();
            joined.join().expect("it joins");
        });
        check(&[&alpha, &beta], &format!("f \"{bytes}\""));
    }
}

#[test]
fn a_removed_remote_can_be_paired_and_join_again() {
    let (alpha, beta, gamma) = hub();
    alpha.user().write("f", "before", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    alpha.ok(["remote", "rm", "beta"]);
    beta.ok(["sync", "down", "docs"]);
    beta.ok(["remote", "rm", "alpha"]);
    alpha.user().write("f", "after", FEBRUARY);
    introduce(&alpha, &beta);
    connected(&beta);
    join(&beta, &alpha, &[]);
    settle(&[&alpha, &beta, &gamma]);
    equal(&[&alpha, &beta, &gamma]);
    assert_eq!(beta.user().read("f"), b"after");
}

#[test]
fn an_offer_made_again_is_the_same_directory() {
    let (alpha, beta, gamma) = hub();
    alpha.user().write("f", "before", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    let id = alpha.directory()["id"].clone();
    alpha.ok(["file", "down", "docs"]);
    holds(&alpha.root(), "f \"before\"");
    beta.user().write("f", "while it was not offered", FEBRUARY);
    let is_told = |shown: &str| shown.contains("alpha takes no part at present");
    eventually(PATIENCE, || Some(beta.ok(["status"])).filter(|shown| is_told(shown)).ok_or("it is not said"));
    offer(&alpha, &[]);
    eventually(PATIENCE, || {
        Some(beta.ok(["status"])).filter(|shown| !is_told(shown)).ok_or("it is still said")
    });
    assert_eq!(alpha.directory()["id"], id);
    check(&[&alpha, &beta, &gamma], "f \"while it was not offered\"");
}

#[test]
fn several_directories_between_the_same_two_go_their_own_ways() {
    let (alpha, beta) = crate::world::paired();
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    std::fs::create_dir(beta.beside("second")).expect("a directory");
    beta.ok(["file", "up", "second", "--name", "docs of beta"]);
    alpha.ok(["sync", "up", "beta:docs of beta", "second"]);
    alpha.ok(["sync", "pause", "docs"]);
    alpha.user().write("f", "held back", JANUARY);
    std::fs::write(alpha.beside("second/g"), "goes on").expect("a file");
    settle(&[&alpha, &beta]);
    holds(&beta.root(), "");
    holds(&beta.beside("second"), "g \"goes on\"");
    alpha.ok(["sync", "resume", "docs"]);
    beta.ok(["file", "down", "docs of beta"]);
    settle(&[&alpha, &beta]);
    holds(&beta.root(), "f \"held back\"");
    holds(&alpha.beside("second"), "g \"goes on\"");
}

/// Waits until a device's `why` counts these members as away.
fn becomes_away(device: &Device, path: &str, expected: &[&str]) {
    eventually(PATIENCE, || {
        let path = device.root().join(path);
        let why = text(&device.run(["why", path.to_str().expect("UTF-8"), "--json"]).stdout);
        let away = serde_json::from_str::<serde_json::Value>(&why)
            .map(|why| why["away"].clone())
            .unwrap_or_default();
        if away == serde_json::json!(expected) { Ok(()) } else { Err(format!("{}: {away}", device.name)) }
    });
}

#[test]
fn d3_who_leaves_while_others_are_away_is_no_member_once_they_meet() {
    let (mut alpha, mut beta, gamma) = hub();
    alpha.user().write("f", "f", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    alpha.stop();
    beta.ok(["sync", "down", "docs"]);
    beta.stop();
    beta.begin();
    alpha.begin();
    connected(&gamma);
    becomes_away(&alpha, "f", &[]);
    becomes_away(&gamma, "f", &[]);
    // Joined again it is one again.
    join(&beta, &alpha, &[]);
    beta.user().write("g", "g", JANUARY);
    check(&[&alpha, &beta, &gamma], "f \"f\"\ng \"g\"");
}

#[test]
fn d3_a_member_that_is_lost_is_waited_for_until_somebody_says_so() {
    let (mut alpha, mut beta, gamma) = mesh();
    alpha.user().write("f", "f", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    alpha.stop(); // For good; the directory is its offer.
    beta.stop();
    std::fs::rename(beta.root(), beta.beside("elsewhere")).expect("a rename");
    beta.begin();
    let refusal = beta.refused(1, ["remote", "rm", "alpha", "--lost"]);
    assert!(refusal.contains("docs is not at work"), "{refusal}");
    std::fs::rename(beta.beside("elsewhere"), beta.root()).expect("a rename");
    becomes_away(&beta, "f", &["alpha"]);
    beta.ok(["remote", "rm", "alpha", "--lost"]);
    for device in [&beta, &gamma] {
        becomes_away(device, "f", &[]);
    }
    beta.user().write("f", "without alpha", FEBRUARY);
    eventually(PATIENCE, || match gamma.user().read("f") {
        bytes if bytes == b"without alpha" => Ok(()),
        bytes => Err(format!("{bytes:?}")),
    });
}

#[test]
fn d3_who_was_removed_can_be_called_lost_later_whatever_else_is_not_at_work() {
    let (mut alpha, mut beta, gamma) = mesh();
    let id = alpha.status()["device"]["id"].as_str().expect("an id").to_owned();
    alpha.user().write("f", "f", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    alpha.stop(); // For good.
    // In this one it never was.
    std::fs::create_dir(beta.beside("own")).expect("a directory");
    beta.ok(["file", "up", "own"]);
    beta.stop();
    std::fs::rename(beta.beside("own"), beta.beside("own elsewhere")).expect("a rename");
    beta.begin();
    beta.ok(["remote", "rm", "alpha"]);
    becomes_away(&beta, "f", &["alpha"]);
    beta.refused(1, ["remote", "rm", &id]);
    beta.refused(1, ["remote", "rm", &id.replace(&id[..8], "00000000"), "--lost"]);
    let lost = beta.json(["remote", "rm", &id, "--lost"]);
    assert_eq!((&lost["name"], &lost["already"]), (&json!("alpha"), &json!(false)), "it was a member still");
    for device in [&beta, &gamma] {
        becomes_away(device, "f", &[]);
    }
    let again = beta.json(["remote", "rm", "alpha", "--lost"]);
    assert_eq!((&again["id"], &again["already"]), (&json!(id), &json!(true)), "by the name that it had");
    let said = beta.ok(["remote", "rm", "alpha", "--lost"]);
    assert_eq!(said, "forgotten before: alpha; it is no member of anything here\n");
    assert!(!mentions(&beta.json(["remote", "ls"]), "alpha"));
}

#[test]
fn d3_who_leaves_a_directory_that_is_not_at_work_is_a_member_no_more() {
    let (alpha, mut beta, gamma) = hub();
    alpha.user().write("f", "f", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    beta.stop();
    std::fs::rename(beta.root(), beta.beside("elsewhere")).expect("a rename");
    beta.begin();
    becomes_away(&alpha, "f", &["beta"]);
    beta.ok(["sync", "down", "docs"]);
    becomes_away(&alpha, "f", &[]);
    becomes_away(&gamma, "f", &[]);
    std::fs::rename(beta.beside("elsewhere"), beta.root()).expect("a rename");
    join(&beta, &alpha, &[]);
    beta.user().write("g", "g", JANUARY);
    check(&[&alpha, &beta, &gamma], "f \"f\"\ng \"g\"");
}

/// Until the offering device knows of no member.
fn becomes_memberless(alpha: &Device) {
    eventually(PATIENCE, || {
        let listed = alpha.json(["file", "ls"]);
        if listed["directories"][0]["members"] == json!([]) { Ok(()) } else { Err(listed.to_string()) }
    });
}

#[test]
fn d3_a_join_that_fails_where_it_was_let_in_leaves_no_member_there() {
    let (alpha, mut beta) = paired();
    offer(&alpha, &[]);
    alpha.user().write("f", "bytes", JANUARY);
    std::fs::create_dir(beta.root()).expect("a directory");
    std::fs::write(beta.root().join(".file-sync"), "in the way").expect("a file");
    let root = beta.root();
    let joining = ["sync", "up", "alpha:docs", root.to_str().expect("UTF-8")];
    let refusal = beta.refused(1, joining);
    assert!(refusal.contains("must be a plain directory"), "{refusal}");
    becomes_memberless(&alpha);
    std::fs::remove_dir_all(&root).expect("it is there");
    // Where it ends before it has heard that it was let in, it says so when they meet again.
    alpha.freeze();
    let mut client = beta.command().args(joining).stderr(Stdio::null()).spawn().expect("the client starts");
    // The question goes out as soon as there is a place for the directory.
    eventually(PATIENCE, || if root.exists() { Ok(()) } else { Err("nothing is made") });
    steady(Duration::from_millis(300), || root.exists());
    beta.kill();
    assert!(!client.wait().expect("a child").success());
    alpha.thaw();
    eventually(PATIENCE, || {
        let listed = alpha.json(["file", "ls"]);
        if listed["directories"][0]["members"] == json!(["beta"]) { Ok(()) } else { Err(listed.to_string()) }
    });
    beta.begin();
    becomes_memberless(&alpha);
    join(&beta, &alpha, &[]);
    check(&[&alpha, &beta], "f \"bytes\"");
}

#[test]
fn sync_ls_says_who_takes_no_part() {
    let (alpha, beta) = sharing();
    settle(&[&alpha, &beta]);
    let told = "docs: alpha takes no part at present: it is paused, taken down or not at work there\n";
    let becomes = |expected: bool| {
        eventually(PATIENCE, || {
            let shown = beta.ok(["sync", "ls"]);
            if shown.contains(told) == expected { Ok(()) } else { Err(shown) }
        });
        let stragglers = beta.json(["sync", "ls"])["directories"][0]["stragglers"].clone();
        let absent = json!([{"remote": "alpha", "takes_no_part": true, "troubles": 0}]);
        assert_eq!(stragglers, if expected { absent } else { json!([]) });
    };
    becomes(false);
    alpha.ok(["sync", "pause", "docs"]);
    becomes(true);
    alpha.ok(["sync", "resume", "docs"]);
    becomes(false);
}
