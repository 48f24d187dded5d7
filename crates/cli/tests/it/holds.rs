//! Deletions of much at once (L6): held, shown, and answered by a command; and roots that lost their marker.

use std::time::Duration;

use serde_json::{Value, json};

use crate::device::{Device, text};
use crate::tree::{tree_of, try_tree_of};
use crate::world::{FEBRUARY, JANUARY, MARCH, PATIENCE, eventually, join, settle, sharing};

const N_FILES: usize = 200;

/// Two devices that share files in two directories.
fn with_files() -> (Device, Device) {
    let (alpha, beta) = sharing();
    for index in 0..N_FILES {
        alpha.user().write(format!("d{}/f{index}", index % 2), format!("bytes {index}"), JANUARY);
    }
    settle(&[&alpha, &beta]);
    (alpha, beta)
}

/// How many files there are, while they may come and go.
fn n_files(device: &Device) -> usize {
    let tree = eventually(PATIENCE, || try_tree_of(&device.root()));
    tree.keys().filter(|path| path.contains(&b'/')).count()
}

/// Deletes all of the one directory and half of the other.
fn delete_most(device: &Device) {
    let root = device.root();
    std::fs::remove_dir_all(root.join("d0")).expect("it can be removed");
    for index in (1..N_FILES / 2).step_by(2) {
        std::fs::remove_file(root.join(format!("d1/f{index}"))).expect("it can be removed");
    }
}

fn holds(device: &Device, held: u64) {
    eventually(PATIENCE, || {
        let directory = device.directory();
        let is_so = directory["held"] == held && directory["state"] == if held > 0 { "held" } else { "idle" };
        if is_so { Ok(()) } else { Err(format!("{}: {directory}", device.name)) }
    });
}

#[test]
fn l6_history_and_restore_of_what_is_held_say_that_it_is_and_what_brings_it_back() {
    let (mut alpha, beta) = with_files();
    // One of them has an older version as well.
    beta.user().write("d0/f4", "edited", FEBRUARY);
    settle(&[&alpha, &beta]);
    alpha.stop();
    delete_most(&alpha);
    alpha.begin();
    holds(&alpha, 150);
    let path = |name: &str| alpha.root().join(name).to_str().expect("UTF-8").to_owned();
    let (file, directory) = (path("d0/f2"), path("d0"));
    for place in [&file, &path("d0/f4"), &directory] {
        let refusal = alpha.refused(1, ["restore", place]);
        let said = "its deletion is held: `file-sync sync reject docs` brings it back";
        assert!(refusal.contains(said), "{place}: {refusal}");
    }
    assert!(!alpha.root().join("d0/f4").exists(), "its older version is not what was there");
    let listed = alpha.run(["history", &directory]);
    let said = "100 files were deleted here, which is held; `file-sync sync reject docs` brings them back";
    assert!(text(&listed.stderr).contains(said), "{}", text(&listed.stderr));
    assert_eq!(alpha.json(["history", &file])["held"], 1);
    let why = alpha.ok(["why", &file]);
    assert!(why.contains("its deletion is held"), "{why}");
    let waited = alpha.ok(["sync", "wait"]);
    assert!(
        waited.contains("not waited for: 150 deletions held here in docs; members differ in these until"),
        "{waited}"
    );
    alpha.ok(["sync", "reject", "docs"]);
    alpha.ok(["sync", "wait", "--timeout", "60s"]);
    assert_eq!(n_files(&alpha), N_FILES);
}

#[test]
fn l6_most_files_deleted_here_are_held_shown_and_let_through() {
    let (mut alpha, mut beta) = with_files();
    let refusal = alpha.refused(1, ["sync", "approve", "docs"]);
    assert!(refusal.contains("nothing is held in docs"), "{refusal}");
    // While the server is away: else the first of them, up to the limit, may be found by themselves and go through.
    alpha.stop();
    delete_most(&alpha);
    alpha.begin();
    holds(&alpha, 150);
    let shown = alpha.ok(["status"]);
    assert!(shown.contains("150 deletions held"), "{shown}");
    assert!(shown.contains("file-sync sync approve docs"), "{shown}");
    let paths = alpha.directory()["held_paths"].clone();
    assert_eq!(paths.as_array().map(Vec::len), Some(100));
    assert_eq!(paths[0], json!({"path": "d0/f0", "deleted_here": true}));
    let all = alpha.json(["sync", "held"])["held"].clone();
    assert_eq!(all.as_array().map(Vec::len), Some(150));
    assert_eq!(all[0], json!({"directory": "docs", "path": "d0/f0", "deleted_here": true}));
    assert!(alpha.ok(["sync", "held", "docs"]).lines().nth(1).is_some_and(|line| line.contains("here")));
    assert_eq!(beta.json(["sync", "held"])["held"], json!([]));
    alpha.refused(1, ["sync", "held", "nothing"]);
    let why: Value = alpha.json(["why", alpha.root().join("d0/f0").to_str().expect("UTF-8")]);
    assert_eq!(why["reason"], "held");
    assert_eq!((n_files(&alpha), n_files(&beta)), (50, N_FILES), "nothing is told");
    alpha.ok(["sync", "wait", "--timeout", "30s"]);
    beta.ok(["sync", "wait", "--timeout", "30s"]);
    alpha.stop();
    alpha.begin();
    holds(&alpha, 150);
    let done = alpha.json(["sync", "approve", "docs"]);
    assert_eq!((&done["held"], &done["root_accepted"]), (&json!(150), &json!(false)));
    holds(&alpha, 0);
    // The other has as much to lose, and asks as well, also after a kill.
    holds(&beta, 150);
    beta.kill();
    beta.begin();
    holds(&beta, 150);
    assert_eq!(beta.directory()["held_paths"][0], json!({"path": "d0/f0", "deleted_here": false}));
    assert_eq!(n_files(&beta), N_FILES);
    let said = beta.ok(["sync", "approve", beta.root().to_str().expect("UTF-8")]);
    assert!(said.starts_with("approved: 150 deletions of docs ("), "{said}");
    eventually(PATIENCE, || if n_files(&beta) == 50 { Ok(()) } else { Err(n_files(&beta)) });
    settle(&[&alpha, &beta]);
    assert_eq!(tree_of(&alpha.root()), tree_of(&beta.root()));
}

/// What was deleted before there was too much of it is gone everywhere: that is said, and how it comes back.
#[test]
fn l6_what_went_through_before_is_told_and_can_be_restored() {
    let (alpha, beta) = with_files();
    for index in (0..120).step_by(2) {
        alpha.user().remove(format!("d0/f{index}"));
    }
    settle(&[&alpha, &beta]);
    assert_eq!((n_files(&beta), alpha.directory()["let_through"].clone()), (N_FILES - 60, json!(0)));
    // All of it at once: else some of them could go through as well.
    std::fs::rename(alpha.root().join("d1"), alpha.beside("d1")).expect("it can be moved");
    holds(&alpha, 100);
    assert_eq!(alpha.directory()["let_through"], 60);
    let shown = alpha.ok(["status"]);
    assert!(shown.contains("60 deletions of the ten minutes before went through"), "{shown}");
    let said = alpha.ok(["sync", "reject", "docs"]);
    assert!(said.contains("60 deletions of the ten minutes before went through"), "{said}");
    settle(&[&alpha, &beta]);
    assert_eq!(n_files(&alpha), N_FILES - 60);
    assert_eq!(alpha.directory()["let_through"], 0);
    alpha.ok(["restore", alpha.root().to_str().expect("UTF-8")]);
    settle(&[&alpha, &beta]);
    assert_eq!((n_files(&alpha), n_files(&beta)), (N_FILES, N_FILES));
}

/// A list that cannot name what a directory holds does not look like an empty one.
#[test]
fn lists_of_all_directories_name_those_that_are_not_at_work() {
    let (mut alpha, _beta) = sharing();
    alpha.stop();
    std::fs::rename(alpha.root(), alpha.beside("elsewhere")).expect("a rename");
    alpha.begin();
    for list in [&["conflicts"][..], &["sync", "held"]] {
        let output = alpha.run([list, &["--json"]].concat());
        let listed: Value = serde_json::from_slice(&output.stdout).expect("a document");
        assert_eq!((output.status.code(), &listed["not_at_work"][0]["directory"]), (Some(1), &json!("docs")));
        let said = text(&output.stderr);
        assert!(said.contains("not at work, and so not in the list: docs: "), "{said}");
    }
    std::fs::rename(alpha.beside("elsewhere"), alpha.root()).expect("a rename");
    eventually(PATIENCE, || {
        let output = alpha.run(["conflicts"]);
        if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
    });
}

#[test]
fn l6_what_is_rejected_comes_back_on_either_side() {
    let (mut alpha, beta) = with_files();
    let before = tree_of(&alpha.root());
    alpha.stop();
    delete_most(&alpha);
    alpha.begin();
    holds(&alpha, 150);
    alpha.ok(["sync", "reject", "docs"]);
    eventually(PATIENCE, || if n_files(&alpha) == N_FILES { Ok(()) } else { Err(n_files(&alpha)) });
    settle(&[&alpha, &beta]);
    let without_directories = |tree: &crate::tree::Tree| {
        let mut tree = tree.clone();
        tree.retain(|path, _| path.contains(&b'/'));
        tree
    };
    assert_eq!(without_directories(&tree_of(&alpha.root())), without_directories(&before));
    alpha.stop();
    delete_most(&alpha);
    alpha.begin();
    holds(&alpha, 150);
    alpha.ok(["sync", "approve", "docs"]);
    holds(&beta, 150);
    let said = beta.ok(["sync", "reject", "docs"]);
    assert!(said.contains("the files come back"), "{said}");
    eventually(PATIENCE, || if n_files(&alpha) == N_FILES { Ok(()) } else { Err(n_files(&alpha)) });
    settle(&[&alpha, &beta]);
    assert_eq!(tree_of(&alpha.root()), tree_of(&beta.root()));
    assert_eq!(without_directories(&tree_of(&alpha.root())), without_directories(&before));
}

#[test]
fn l6_renames_and_few_deletions_are_not_held() {
    let (alpha, beta) = with_files();
    std::fs::rename(alpha.root().join("d0"), alpha.root().join("moved")).expect("a rename");
    for index in (1..180).step_by(2) {
        std::fs::remove_file(alpha.root().join(format!("d1/f{index}"))).expect("it can be removed");
    }
    settle(&[&alpha, &beta]);
    assert_eq!([alpha.directory()["held"].clone(), beta.directory()["held"].clone()], [json!(0), json!(0)]);
    assert_eq!((n_files(&alpha), n_files(&beta)), (110, 110));
}

#[test]
fn l6_a_root_that_lost_its_marker_is_accepted_by_a_command() {
    let (mut alpha, beta) = with_files();
    std::fs::remove_file(alpha.root().join(".file-sync/marker")).expect("it can be removed");
    let lost = |device: &Device| {
        eventually(PATIENCE, || {
            let directory = device.directory();
            let is_said = directory["errors"].to_string().contains("no .file-sync/marker");
            if directory["state"] == "error" && is_said { Ok(()) } else { Err(directory.to_string()) }
        });
    };
    lost(&alpha);
    std::fs::remove_dir_all(alpha.root().join("d0")).expect("it can be removed");
    let done = alpha.json(["sync", "approve", "docs"]);
    assert_eq!(done["root_accepted"], true);
    eventually(PATIENCE, || if n_files(&alpha) == N_FILES { Ok(()) } else { Err(n_files(&alpha)) });
    settle(&[&alpha, &beta]);
    assert_eq!(n_files(&beta), N_FILES, "nothing that is missing was told as deleted");
    // The same where it is found out at a start.
    alpha.stop();
    std::fs::remove_dir_all(alpha.root().join(".file-sync")).expect("it can be removed");
    std::fs::remove_dir_all(alpha.root().join("d1")).expect("it can be removed");
    alpha.begin();
    lost(&alpha);
    let refusal = alpha.refused(1, ["sync", "reject", "docs"]);
    assert!(refusal.contains("docs is not at work"), "{refusal}");
    alpha.ok(["sync", "approve", "docs"]);
    eventually(Duration::from_secs(60), || {
        if n_files(&alpha) == N_FILES { Ok(()) } else { Err(n_files(&alpha)) }
    });
    settle(&[&alpha, &beta]);
    assert_eq!(n_files(&beta), N_FILES);
}

#[test]
fn l6_how_much_is_held_is_set_for_each_directory_and_lasts() {
    let (mut alpha, beta) = with_files();
    assert_eq!(alpha.json(["sync", "hold", "docs"])["limit"], json!({ "files": 100, "percent": 50 }));
    let set = alpha.ok(["sync", "hold", "docs", "--files", "9", "--percent", "10"]);
    assert!(set.contains("more than 9 deletions within ten minutes that are more than 10 %"), "{set}");
    alpha.stop();
    // 30 of 200: too few by what is usual.
    (0..30).for_each(|index| alpha.user().remove(format!("d{}/f{index}", index % 2)));
    alpha.begin();
    holds(&alpha, 30);
    alpha.ok(["sync", "reject", "docs"]);
    settle(&[&alpha, &beta]);
    assert_eq!(n_files(&alpha), N_FILES);
    assert_eq!(alpha.json(["sync", "hold", "docs", "--never"])["limit"], Value::Null);
    // Others ask by their own.
    beta.ok(["sync", "hold", "docs", "--files", "1000"]);
    assert_eq!(beta.json(["sync", "hold", "docs"])["limit"], json!({ "files": 1000, "percent": 50 }));
    delete_most(&alpha);
    settle(&[&alpha, &beta]);
    assert_eq!((n_files(&alpha), n_files(&beta)), (50, 50));
    let limit = alpha.json(["sync", "hold", "docs", "--default"])["limit"].clone();
    assert_eq!(limit, json!({ "files": 100, "percent": 50 }));
    assert_eq!(alpha.run(["sync", "hold", "docs", "--percent", "101"]).status.code(), Some(2));
    alpha.refused(1, ["sync", "hold", "elsewhere"]);
    beta.ok(["sync", "hold", "docs", "--never"]);
    beta.ok(["sync", "down", "docs"]);
    join(&beta, &alpha, &[]);
    assert_eq!(
        beta.json(["sync", "hold", "docs"])["limit"],
        json!({ "files": 100, "percent": 50 }),
        "as new"
    );
}

#[test]
fn l6_why_says_first_that_a_held_path_is_in_conflict() {
    let (mut alpha, mut beta) = with_files();
    beta.stop();
    beta.user().write("d0/f0", "beta's edit", FEBRUARY);
    alpha.user().write("d0/f0", "alpha's edit", MARCH);
    eventually(PATIENCE, || {
        let why = alpha.json(["why", alpha.user().path("d0/f0").to_str().expect("UTF-8")]);
        if why["index"]["bytes"] == 12 { Ok(()) } else { Err(why) }
    });
    alpha.stop();
    delete_most(&alpha);
    alpha.begin();
    holds(&alpha, 150);
    beta.begin();
    let why = |name: &str| {
        let path = alpha.user().path(name);
        let path = path.to_str().expect("UTF-8").to_owned();
        (alpha.json(["why", &path]), alpha.ok(["why", &path]))
    };
    let (said, shown) = eventually(PATIENCE, || {
        let (said, shown) = why("d0/f0");
        if said["in_conflict"] == true { Ok((said, shown)) } else { Err(shown) }
    });
    assert_eq!((&said["reason"], &said["held"]), (&json!("conflict"), &json!(true)), "{said}");
    let sentence = shown.lines().last().unwrap_or_default();
    assert!(sentence.starts_with("so: it is in conflict: d0/f0.sync-conflict-"), "{shown}");
    assert!(sentence.contains("; besides, its deletion is held"), "{shown}");
    let copy = said["versions"][1]["shown_at"]["path"].as_str().expect("where the other stands").to_owned();
    let (said, shown) = why(&copy);
    assert_eq!((&said["in_conflict"], &said["held"]), (&json!(true), &json!(true)), "{said}");
    assert!(shown.contains("as the copy of d0/f0") && shown.contains("the deletion of d0, which"), "{shown}");
    // What is held alone says so, as before.
    assert_eq!(why("d0/f2").0["reason"], "held");
}
