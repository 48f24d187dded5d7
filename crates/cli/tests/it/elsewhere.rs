//! `history` and `restore` of what other members keep, on two and three real servers: what this device's user replaced or
//! deleted here is kept where that arrived.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::device::{Device, text};
use crate::user::{noise, set_mtime};
use crate::world::{
    FEBRUARY, JANUARY, MARCH, PATIENCE, check, connected, disconnected, equal, eventually, files_below,
    introduce, join, offer, path_of, settle, sharing, trio,
};

/// Three devices that keep `docs` equal: alpha offers it, and the others meet each other at alpha alone.
fn sharing_three() -> (Device, Device, Device) {
    let (alpha, beta, gamma) = trio();
    offer(&alpha, &[]);
    for guest in [&beta, &gamma] {
        introduce(&alpha, guest);
        join(guest, &alpha, &[]);
    }
    settle(&[&alpha, &beta, &gamma]);
    (alpha, beta, gamma)
}

fn versions(device: &Device, name: &str) -> Vec<Value> {
    let history = device.json(["history", &path_of(device, name)]);
    history["versions"].as_array().cloned().expect("a list")
}

fn id(version: &Value) -> &str {
    version["id"].as_str().expect("an id")
}

/// The files in a device's store of kept versions.
fn kept_files(device: &Device) -> Vec<PathBuf> {
    files_below(&device.root().join(".file-sync/kept"))
}

#[test]
fn l3_what_was_replaced_or_deleted_here_is_listed_and_comes_back_from_where_it_is_kept() {
    let (mut alpha, mut beta) = sharing();
    alpha.user().write_as("f", "first", 0o755, (JANUARY, 0));
    alpha.user().write("gone", "gone", JANUARY);
    alpha.user().link("f", "link");
    settle(&[&alpha, &beta]);
    alpha.user().write("f", "second!", FEBRUARY);
    alpha.user().remove("gone");
    alpha.user().remove("link");
    settle(&[&alpha, &beta]);
    alpha.user().write("f", "third", MARCH);
    settle(&[&alpha, &beta]);
    assert!(kept_files(&alpha).is_empty(), "nothing was displaced here");
    for _ in 0..2 {
        let listed = versions(&alpha, "f");
        assert_eq!(listed.len(), 2, "{listed:?}");
        assert_eq!((&listed[0]["bytes"], &listed[1]["bytes"]), (&json!(7), &json!(5)));
        for version in &listed {
            assert_eq!((&version["here"], &version["remotes"]), (&json!(false), &json!(["beta"])));
        }
        let shown = alpha.ok(["history", &path_of(&alpha, "f")]);
        assert!(shown.contains("KEPT BY") && shown.contains("  beta  "), "{shown}");
        // Nothing of that depends on what a server remembers.
        alpha.stop();
        beta.stop();
        alpha.begin();
        beta.begin();
        connected(&alpha);
        settle(&[&alpha, &beta]);
    }
    let first = id(&versions(&alpha, "f")[1])[..6].to_owned();
    let out = alpha.beside("out");
    let file = path_of(&alpha, "f");
    alpha.ok(["restore", &file, "--version", &first, "--to", out.to_str().expect("UTF-8")]);
    assert_eq!(fs::read(&out).ok().as_deref(), Some(&b"first"[..]));
    let written = fs::metadata(&out).expect("it is there");
    assert_eq!((written.mode() & 0o777, written.mtime()), (0o755, JANUARY));
    check(&[&alpha, &beta], "f \"third\"");
    alpha.ok(["restore", &file, "--version", &first]);
    check(&[&alpha, &beta], "f \"first\"");
    assert_eq!((beta.user().mode("f"), beta.user().mtime("f")), (0o755, JANUARY));
    // What that replaced is kept here, by the server itself; and there, too.
    let newest = versions(&alpha, "f")[0].clone();
    assert_eq!((&newest["bytes"], &newest["here"]), (&json!(5), &json!(true)), "{newest}");
    assert_eq!(newest["remotes"], json!(["beta"]));
    for name in ["gone", "link"] {
        alpha.ok(["restore", &path_of(&alpha, name)]);
    }
    check(&[&alpha, &beta], "f \"first\"\ngone \"gone\"\nlink -> f");
    assert!(files_below(&alpha.root().join(".file-sync/stage")).is_empty(), "nothing is left in the stage");
}

#[test]
fn l3_a_large_file_comes_back_by_the_chunks_that_are_lacking() {
    let (alpha, beta) = sharing();
    let old = noise(1, 3 << 20);
    let mut new = old.clone();
    new[1 << 20..(1 << 20) + 5].copy_from_slice(b"other");
    alpha.user().write("large", &old, JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().write("large", &new, FEBRUARY);
    settle(&[&alpha, &beta]);
    alpha.ok(["restore", &path_of(&alpha, "large")]);
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert!(beta.user().read("large") == old, "it is as it was");
}

#[test]
fn l3_a_directory_deleted_here_comes_back_whole_and_as_of_a_time() {
    let (alpha, beta, gamma) = sharing_three();
    for number in 0..40 {
        alpha.user().write(format!("d/e/{number}"), format!("bytes {}", number % 30), JANUARY);
    }
    alpha.user().write("d/f", "old", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    let before = text_of_all(&alpha);
    alpha.user().write("d/f", "new", FEBRUARY);
    settle(&[&alpha, &beta, &gamma]);
    alpha.user().remove_all("d");
    settle(&[&alpha, &beta, &gamma]);
    let directory = path_of(&alpha, "d");
    let restored = alpha.json(["restore", &directory]);
    assert_eq!(restored["restored"].as_array().map(Vec::len), Some(41), "{restored}");
    assert_eq!(restored["restored"][0]["remotes"], json!(["beta", "gamma"]));
    settle(&[&alpha, &beta, &gamma]);
    assert_eq!(gamma.user().read("d/f"), b"new");
    alpha.user().remove_all("d");
    settle(&[&alpha, &beta, &gamma]);
    alpha.ok(["restore", &directory, "--at", "1h"]);
    settle(&[&alpha, &beta, &gamma]);
    equal(&[&alpha, &beta, &gamma]);
    assert_eq!(text_of_all(&gamma), before);
}

fn text_of_all(device: &Device) -> Vec<(PathBuf, Vec<u8>)> {
    let files = files_below(&device.root().join("d")).into_iter();
    let mut all: Vec<_> = files
        .map(|file| {
            let bytes = fs::read(&file).expect("a file");
            (file.strip_prefix(device.root()).expect("below").to_owned(), bytes)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn who_is_away_is_named_and_another_that_keeps_it_does() {
    let (alpha, mut beta, mut gamma) = sharing_three();
    alpha.user().write("f", "old", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    alpha.user().write("f", "new", FEBRUARY);
    settle(&[&alpha, &beta, &gamma]);
    assert_eq!(versions(&alpha, "f")[0]["remotes"], json!(["beta", "gamma"]));
    gamma.stop();
    let file = path_of(&alpha, "f");
    eventually(PATIENCE, || {
        let history = alpha.json(["history", &file]);
        let untold = json!([{ "remote": "gamma", "reason": "not connected" }]);
        if history["untold"] == untold { Ok(()) } else { Err(history.to_string()) }
    });
    let output = alpha.run(["history", &file]);
    assert!(text(&output.stderr).contains("not known what gamma keeps: not connected"));
    let old = id(&versions(&alpha, "f")[0]).to_owned();
    beta.stop();
    disconnected(&alpha);
    for (arguments, said) in [
        (vec!["restore", &file], "is not to be had; nothing was changed"),
        (vec!["restore", &file, "--version", &old], "no version"),
    ] {
        let refusal = alpha.refused(1, &arguments);
        assert!(refusal.contains(said) && refusal.contains("beta (not connected)"), "{refusal}");
        assert!(refusal.contains("gamma (not connected)"), "{refusal}");
    }
    assert_eq!(alpha.user().read("f"), b"new", "nothing was changed");
    let history = alpha.json(["history", &file]);
    assert_eq!((&history["versions"], &history["newer"]["id"]), (&json!([]), &json!(old)), "{history}");
    gamma.begin();
    connected(&gamma);
    let restored = eventually(PATIENCE, || {
        let output = alpha.run(["restore", &file, "--version", &old, "--json"]);
        if output.status.success() { Ok(output.stdout) } else { Err(text(&output.stderr)) }
    });
    let restored: Value = serde_json::from_slice(&restored).expect("a document");
    assert_eq!(restored["untold"], json!([{ "remote": "beta", "reason": "not connected" }]), "{restored}");
    gamma.ok(["sync", "wait", "--timeout", "60s"]);
    alpha.ok(["sync", "wait", "--timeout", "60s"]);
    assert_eq!((alpha.user().read("f"), gamma.user().read("f")), (b"old".to_vec(), b"old".to_vec()));
}

#[test]
fn v3_what_a_remote_no_longer_has_or_has_otherwise_is_refused_and_nothing_changes() {
    let (alpha, beta) = sharing();
    for (name, old) in [("lost", "lost"), ("rotten", "right bytes"), ("d/x", "x"), ("d/y", "y")] {
        alpha.user().write(name, old, JANUARY);
    }
    let large = noise(7, 700_000);
    alpha.user().write("large", &large, JANUARY);
    settle(&[&alpha, &beta]);
    for name in ["lost", "rotten", "large"] {
        alpha.user().write(name, "new", FEBRUARY);
    }
    alpha.user().remove_all("d");
    settle(&[&alpha, &beta]);
    assert_eq!(kept_files(&beta).len(), 5);
    for file in kept_files(&beta) {
        let stat = fs::metadata(&file).expect("it is there");
        let mut bytes = fs::read(&file).expect("it can be read");
        if bytes == b"lost" || bytes == b"x" {
            fs::remove_file(&file).expect("somebody removes it");
        } else if bytes != b"y" {
            // As rot does, and no stat shows it.
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&file, bytes).expect("it can be written");
            set_mtime(&file, (stat.mtime(), stat.mtime_nsec() as u32)).expect("its time");
        }
    }
    let out = alpha.beside("out").to_str().expect("UTF-8").to_owned();
    for (name, said) in [
        ("lost", "beta does not have it any more; nothing was changed"),
        ("rotten", "the bytes that beta sent are not those of this version; nothing was changed"),
        ("large", "the bytes that beta sent are not those of this version; nothing was changed"),
    ] {
        let file = path_of(&alpha, name);
        for arguments in [vec!["restore", &file], vec!["restore", &file, "--to", &out]] {
            let refusal = alpha.refused(1, &arguments);
            assert!(refusal.contains(said) && refusal.lines().count() == 1, "{arguments:?}: {refusal}");
        }
        assert_eq!(alpha.user().read(name), b"new");
    }
    assert!(!alpha.beside("out").exists());
    // Of a directory, the rest comes back, and what does not is said.
    let output = alpha.run(["restore", &path_of(&alpha, "d"), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let restored: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!(restored["restored"].as_array().map(Vec::len), Some(1), "{restored}");
    assert_eq!(
        (&restored["failed"][0]["path"], &restored["restored"][0]["path"]),
        (&json!("d/x"), &json!("d/y"))
    );
    let stderr = text(&output.stderr);
    assert!(stderr.contains("one file could not be brought back: d/x: beta does not"), "{stderr}");
    check(&[&alpha, &beta], "d/\nd/y \"y\"\nlarge \"new\"\nlost \"new\"\nrotten \"new\"");
    assert!(files_below(&alpha.root().join(".file-sync/stage")).is_empty(), "nothing is left in the stage");
}

/// What is kept on this device itself has rotted: it is not given out for the version that it was.
#[test]
fn v3_what_is_kept_here_and_has_become_other_bytes_is_refused_and_nothing_changes() {
    let (alpha, beta) = sharing();
    for (name, old) in [("f", "right"), ("d/x", "x"), ("d/y", "y")] {
        alpha.user().write(name, old, JANUARY);
    }
    settle(&[&alpha, &beta]);
    alpha.user().write("f", "new", FEBRUARY);
    alpha.user().remove_all("d");
    settle(&[&alpha, &beta]);
    for (old, rotten) in [(&b"right"[..], &b"wrong"[..]), (b"x", b"z")] {
        let is_it = |file: &PathBuf| fs::read(file).is_ok_and(|bytes| bytes == old);
        let file = kept_files(&beta).into_iter().find(is_it).expect("it is kept");
        fs::write(file, rotten).expect("it can be written");
    }
    let (f, out) = (path_of(&beta, "f"), beta.beside("out"));
    for arguments in [vec!["restore", &f], vec!["restore", &f, "--to", out.to_str().expect("UTF-8")]] {
        let refusal = beta.refused(1, &arguments);
        assert!(refusal.contains("holds other bytes by now"), "{arguments:?}: {refusal}");
    }
    assert!(!out.exists());
    assert_eq!(beta.run(["restore", &path_of(&beta, "d")]).status.code(), Some(1));
    check(&[&alpha, &beta], "d/\nd/y \"y\"\nf \"new\"");
}

/// What this device kept itself has gone from its store, or has rotted, and another member keeps it.
#[test]
fn v3_what_is_lost_from_the_store_here_comes_from_another_member() {
    let (alpha, beta, gamma) = sharing_three();
    for name in ["gone", "rotten", "d/gone", "d/rotten"] {
        beta.user().write(name, name, JANUARY);
    }
    settle(&[&alpha, &beta, &gamma]);
    for name in ["gone", "rotten"] {
        beta.user().write(name, "new", FEBRUARY);
    }
    beta.user().remove_all("d");
    settle(&[&alpha, &beta, &gamma]);
    assert_eq!((kept_files(&alpha).len(), kept_files(&gamma).len()), (4, 4));
    for file in kept_files(&alpha) {
        let bytes = fs::read(&file).expect("it can be read");
        if bytes.ends_with(b"gone") {
            fs::remove_file(&file).expect("somebody removes it");
        } else {
            fs::write(&file, bytes.to_ascii_uppercase()).expect("it can be written");
        }
    }
    for (name, here) in [("gone", false), ("rotten", true)] {
        let listed = versions(&alpha, name);
        assert_eq!((listed.len(), &listed[0]["here"]), (1, &json!(here)), "{name}: {listed:?}");
        assert_eq!(listed[0]["remotes"], json!(["gamma"]), "{name}: {listed:?}");
        let file = path_of(&alpha, name);
        let out = alpha.beside(name).to_str().expect("UTF-8").to_owned();
        alpha.ok(["restore", &file, "--to", &out]);
        assert_eq!(fs::read(&out).ok().as_deref(), Some(name.as_bytes()));
        // Also where it is clear at once which one is meant, and nobody was asked.
        alpha.ok(["restore", &file, "--version", id(&listed[0])]);
        assert_eq!(alpha.user().read(name), name.as_bytes());
    }
    alpha.ok(["restore", &path_of(&alpha, "d")]);
    settle(&[&alpha, &beta, &gamma]);
    equal(&[&alpha, &beta, &gamma]);
    for name in ["d/gone", "d/rotten"] {
        assert_eq!(gamma.user().read(name), name.as_bytes());
    }
    assert!(files_below(&alpha.root().join(".file-sync/stage")).is_empty(), "nothing is left in the stage");
}

/// Both fetch the same bytes into the same stage, and each places what the other has fetched as well.
#[test]
fn v3_restores_of_the_same_bytes_at_once_all_succeed() {
    let (alpha, beta) = sharing();
    let names: Vec<String> = (0..4).map(|number| format!("f{number}")).collect();
    for name in &names {
        alpha.user().write(name, noise(3, 300_000), JANUARY);
    }
    settle(&[&alpha, &beta]);
    for round in 0..6 {
        names.iter().for_each(|name| alpha.user().remove(name));
        settle(&[&alpha, &beta]);
        std::thread::scope(|scope| {
            for name in &names {
                let place = path_of(&alpha, name);
                let alpha = &alpha;
                scope.spawn(move || {
                    let output = alpha.run(["restore", &place]);
                    let said = text(&output.stderr);
                    assert!(output.status.success() && alpha.user().has(name), "round {round}: {said}");
                });
            }
        });
        settle(&[&alpha, &beta]);
        equal(&[&alpha, &beta]);
    }
}

#[test]
fn v3_where_one_keeper_fails_the_next_is_asked() {
    let (alpha, beta, gamma) = sharing_three();
    alpha.user().write("f", "old", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    alpha.user().write("f", "new", FEBRUARY);
    settle(&[&alpha, &beta, &gamma]);
    // Whoever is asked first: each has one of its own that it does not have any more.
    for (device, name) in [(&beta, "b"), (&gamma, "g")] {
        alpha.user().write(name, name, JANUARY);
        settle(&[&alpha, &beta, &gamma]);
        alpha.user().remove(name);
        settle(&[&alpha, &beta, &gamma]);
        let lost = kept_files(device)
            .into_iter()
            .find(|file| fs::read(file).ok().as_deref() == Some(name.as_bytes()));
        fs::remove_file(lost.expect("it is kept")).expect("somebody removes it");
        alpha.ok(["restore", &path_of(&alpha, name)]);
    }
    check(&[&alpha, &beta, &gamma], "b \"b\"\nf \"new\"\ng \"g\"");
}

#[test]
fn h4_what_was_kept_before_it_was_a_member_a_member_is_not_told() {
    let (alpha, beta, gamma) = trio();
    introduce(&alpha, &beta);
    introduce(&alpha, &gamma);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    beta.user().write("secret", "a secret", JANUARY);
    settle(&[&alpha, &beta]);
    beta.user().remove("secret");
    settle(&[&alpha, &beta]);
    join(&gamma, &alpha, &[]);
    gamma.user().write("f", "old", JANUARY);
    settle(&[&alpha, &beta, &gamma]);
    gamma.user().remove("f");
    settle(&[&alpha, &beta, &gamma]);
    let listed = |device: &Device| {
        let root = device.root();
        let history = device.json(["history", root.to_str().expect("UTF-8")]);
        let versions = history["versions"].as_array().cloned().expect("a list");
        let mut paths: Vec<String> =
            versions.iter().map(|version| version["path"].as_str().expect("a path").to_owned()).collect();
        paths.sort();
        paths
    };
    assert_eq!(listed(&gamma), ["f"]);
    assert_eq!(listed(&beta), ["f", "secret"]);
    assert!(gamma.refused(1, ["restore", &path_of(&gamma, "secret")]).contains("no version of secret"));
}

#[test]
fn what_was_moved_away_here_is_found_where_it_is() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "bytes", JANUARY);
    alpha.user().write("d/x", "x", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().rename("f", "g");
    alpha.user().rename("d/x", "y");
    settle(&[&alpha, &beta]);
    let listed = versions(&alpha, "f");
    assert_eq!((&listed[0]["here"], &listed[0]["at"]["path"]), (&json!(true), &json!("g")), "{listed:?}");
    assert!(alpha.ok(["history", &path_of(&alpha, "f")]).contains("here (at g)"));
    let out = alpha.beside("out").to_str().expect("UTF-8").to_owned();
    alpha.ok(["restore", &path_of(&alpha, "f"), "--to", &out]);
    assert_eq!(fs::read(&out).ok().as_deref(), Some(&b"bytes"[..]));
    alpha.ok(["restore", &path_of(&alpha, "f")]);
    // What was moved out of a directory is not deleted, and does not come back with it.
    alpha.user().mkdir("d");
    alpha.refused(1, ["restore", &path_of(&alpha, "d")]);
    check(&[&alpha, &beta], "d/\nf \"bytes\"\ng \"bytes\"\ny \"x\"");
}

#[test]
fn what_has_another_name_is_told_of_under_its_old_one() {
    let (alpha, beta) = sharing();
    alpha.user().write("d/x", "x", JANUARY);
    alpha.user().write("d/y", "y", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().rename("d", "e");
    settle(&[&alpha, &beta]);
    let refusal = alpha.refused(1, ["history", &path_of(&alpha, "d")]);
    assert!(refusal.contains("any more: 2 have other names by now, d/x is e/x since 2"), "{refusal}");
    // Who follows it knows of the directory alone.
    for (asked, said) in [("d", "d is e since 2"), ("d/x", "d/x is e/x since 2")] {
        let refusal = beta.refused(1, ["history", &path_of(&beta, asked)]);
        assert!(refusal.contains(&format!("any more: {said}")), "{refusal}");
    }
    alpha.user().write("f", "1", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().rename("f", "g");
    settle(&[&alpha, &beta]);
    let history = alpha.json(["history", &path_of(&alpha, "f")]);
    assert_eq!(history["moved_away"]["to"]["path"], json!("g"), "{history}");
    alpha.user().rename("g", "f");
    settle(&[&alpha, &beta]);
    assert!(alpha.json(["history", &path_of(&alpha, "f")]).get("moved_away").is_none());
    // What went from there, too, is had under the last name that it had.
    alpha.user().rename("f", "h");
    settle(&[&alpha, &beta]);
    alpha.user().remove("h");
    settle(&[&alpha, &beta]);
    let refusal = alpha.refused(1, ["history", &path_of(&alpha, "f")]);
    assert!(
        refusal.contains("f was moved to h at 2") && refusal.contains("has gone from there"),
        "{refusal}"
    );
    assert_eq!(versions(&alpha, "h").len(), 1);
    let refusal = beta.refused(1, ["history", &path_of(&beta, "d/never")]);
    assert!(refusal.contains("no version of it"), "{refusal}");
}

#[test]
fn while_it_is_paused_nobody_is_asked_and_that_is_said() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "old", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().write("f", "new", FEBRUARY);
    settle(&[&alpha, &beta]);
    alpha.ok(["sync", "pause", "docs"]);
    let history = alpha.json(["history", &path_of(&alpha, "f")]);
    assert_eq!(history["versions"], json!([]));
    assert_eq!(history["untold"], json!([{ "remote": "beta", "reason": "docs is paused here" }]));
    alpha.ok(["sync", "resume", "docs"]);
    beta.ok(["sync", "pause", "docs"]);
    eventually(PATIENCE, || {
        let history = alpha.json(["history", &path_of(&alpha, "f")]);
        let reason = history["untold"][0]["reason"].as_str().unwrap_or_default().to_owned();
        if reason.contains("takes no part") { Ok(()) } else { Err(history.to_string()) }
    });
    beta.ok(["sync", "resume", "docs"]);
    settle(&[&alpha, &beta]);
    assert_eq!(versions(&alpha, "f").len(), 1);
}
