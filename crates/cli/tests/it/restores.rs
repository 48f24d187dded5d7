//! A restore in the moment after its user's own act, which is not noted yet: what it says is what it has done.

use std::time::Duration;

use file_sync_core::path::SyncPath;
use file_sync_core::version::{ContentHash, Time};
use file_sync_index::{Act, Batch, DirectoryIndex};
use serde_json::{Value, json};

use crate::device::{Device, text};
use crate::strace;
use crate::world::{
    FEBRUARY, JANUARY, MARCH, PATIENCE, check, connected, directory_becomes, disconnected, eventually,
    files_below, holds, join, offer, paired, path_of, settle, sharing,
};

/// Alpha keeps both of what beta has written over at `f` and in `d`, and has what was there first again.
fn first_again() -> (Device, Device) {
    let (alpha, beta) = sharing();
    for (bytes, month) in [("first", JANUARY), ("second", FEBRUARY), ("first", MARCH)] {
        beta.user().write("f", bytes, month);
        beta.user().write("d/x", bytes, month);
        settle(&[&alpha, &beta]);
    }
    (alpha, beta)
}

/// The id of the version of `f` that is there now.
fn present_id(alpha: &Device) -> String {
    let history = alpha.json(["history", &path_of(alpha, "f")]);
    let oldest = history["versions"].as_array().and_then(|versions| versions.last()).expect("both are kept");
    oldest["id"].as_str().expect("an id").to_owned()
}

#[test]
fn v3_what_is_said_to_be_restored_at_once_is_there_at_once() {
    let (alpha, beta) = first_again();
    let (id, f) = (present_id(&alpha), path_of(&alpha, "f"));
    for round in 0..12 {
        match round % 2 {
            0 => alpha.user().remove("f"),
            _ => alpha.user().write("f", format!("garbage {round}"), MARCH),
        }
        // What it does not find noted in time it refuses; it must not say that it has done it.
        eventually(PATIENCE, || {
            let output = alpha.run(["restore", &f, "--version", &id]);
            let is_there = alpha.user().has("f") && alpha.user().read("f") == b"first";
            let said = text(&output.stderr);
            assert_eq!(output.status.success(), is_there, "round {round}: {said}");
            if is_there { Ok(()) } else { Err(said) }
        });
        alpha.user().write("f", "first", MARCH);
        settle(&[&alpha, &beta]);
    }
    for _ in 0..3 {
        alpha.user().remove_all("d");
        let output = alpha.run(["restore", &path_of(&alpha, "d")]);
        let said = text(&output.stdout);
        assert_eq!(output.status.success(), alpha.user().has("d/x"), "{said} {}", text(&output.stderr));
        assert!(!said.contains("since they are there"), "{said}");
        alpha.user().write("d/x", "first", MARCH);
        settle(&[&alpha, &beta]);
    }
}

#[test]
fn v3_a_restore_during_a_pause_is_of_what_was_done_during_it() {
    let (alpha, beta) = first_again();
    let (id, f, d) = (present_id(&alpha), path_of(&alpha, "f"), path_of(&alpha, "d"));
    alpha.ok(["sync", "pause", "docs"]);
    alpha.user().remove("f");
    alpha.user().remove_all("d");
    alpha.ok(["restore", &f, "--version", &id]);
    assert_eq!(alpha.user().read("f"), b"first");
    // Beta is not asked during a pause; the bytes that were there last are kept here from an earlier time.
    let output = alpha.run(["restore", &d]);
    assert!(text(&output.stderr).contains("not known what beta keeps: docs is paused here"));
    assert!(output.status.success() && alpha.user().read("d/x") == b"first", "{}", text(&output.stderr));
    alpha.ok(["sync", "resume", "docs"]);
    settle(&[&alpha, &beta]);
    check(&[&alpha, &beta], "d/\nd/x \"first\"\nf \"first\"");
}

/// While the database takes nothing, what a user has just done is not on record: what was there before that is not the last.
#[test]
fn v3_an_older_version_is_not_taken_while_the_record_of_acts_lags_behind() {
    let (alpha, beta) = sharing();
    for (bytes, month) in [("old", JANUARY), ("new", FEBRUARY)] {
        beta.user().write("f", bytes, month);
        settle(&[&alpha, &beta]);
    }
    let databases = files_below(&alpha.home().join("directories"));
    let database = databases.iter().find(|file| file.extension().is_some_and(|end| end == "db"));
    let other = rusqlite::Connection::open(database.expect("of docs")).expect("it can be opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody is writing");
    alpha.user().remove("f");
    let refusal = alpha.refused(1, ["restore", &path_of(&alpha, "f")]);
    assert!(refusal.contains("not on record yet"), "{refusal}");
    assert!(!alpha.user().has("f"));
    other.execute_batch("ROLLBACK").expect("it can be ended");
    settle(&[&alpha, &beta]);
    alpha.ok(["restore", &path_of(&alpha, "f")]);
    check(&[&alpha, &beta], "f \"new\"");
}

/// What is ignored by now is nobody's affair: it can be had elsewhere.
#[test]
fn v3_what_is_ignored_by_now_is_refused_for_that_and_written_elsewhere() {
    let (alpha, beta) = sharing();
    for (bytes, month) in [("old", JANUARY), ("new", FEBRUARY)] {
        beta.user().write("build/o", bytes, month);
        settle(&[&alpha, &beta]);
    }
    alpha.user().write(".syncignore", "build/\n", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().write("build/o", "own", MARCH);
    let (file, out) = (path_of(&alpha, "build/o"), alpha.beside("out").to_str().expect("UTF-8").to_owned());
    let refusal = alpha.refused(1, ["restore", &file]);
    assert!(refusal.contains("ignored by a rule"), "{refusal}");
    assert_eq!(text(&alpha.user().read("build/o")), "own");
    alpha.ok(["restore", &file, "--to", &out]);
    assert_eq!(std::fs::read(&out).ok().as_deref(), Some(&b"old"[..]));
}

/// What is the same by its target alone, whatever its times are, is no change.
#[test]
fn v3_a_symlink_that_was_made_anew_is_replaced_by_its_version() {
    let (alpha, beta) = sharing();
    beta.user().link("one", "link");
    settle(&[&alpha, &beta]);
    beta.user().remove("link");
    beta.user().link("two", "link");
    settle(&[&alpha, &beta]);
    alpha.user().remove("link");
    alpha.user().link("two", "link");
    settle(&[&alpha, &beta]);
    alpha.ok(["restore", &path_of(&alpha, "link")]);
    settle(&[&alpha, &beta]);
    check(&[&alpha, &beta], "link -> one");
}

/// What is restored where nothing may be sent stays there alone, and another version can take its place.
#[test]
fn v3_who_only_receives_restores_again_and_what_it_deleted() {
    let (alpha, beta) = paired();
    offer(&alpha, &[]);
    join(&beta, &alpha, &["--mode", "receive-only"]);
    for (bytes, month) in [("one", JANUARY), ("two", FEBRUARY), ("three", MARCH)] {
        alpha.user().write("f", bytes, month);
        alpha.user().write("d/x", bytes, month);
        settle(&[&alpha, &beta]);
    }
    let f = path_of(&beta, "f");
    let history = beta.json(["history", &f]);
    for (index, bytes) in [(0, "two"), (1, "one"), (0, "two")] {
        let id = history["versions"][index]["id"].as_str().expect("an id");
        beta.ok(["restore", &f, "--version", id]);
        assert_eq!(text(&beta.user().read("f")), bytes);
    }
    beta.user().remove_all("d");
    beta.user().remove("f");
    beta.ok(["sync", "wait"]);
    let id = history["versions"][1]["id"].as_str().expect("an id");
    beta.ok(["restore", &f, "--version", id]);
    assert_eq!(text(&beta.user().read("f")), "one");
    let versions = beta.json(["history", &path_of(&beta, "d/x")])["versions"].clone();
    assert_eq!(versions[0]["standing"], true, "what alpha has comes first: {versions}");
    let id = versions[1]["id"].clone();
    beta.ok(["restore", &path_of(&beta, "d/x"), "--version", id.as_str().expect("an id")]);
    assert_eq!(text(&beta.user().read("d/x")), "two");
    holds(&alpha.root(), "d/\nd/x \"three\"\nf \"three\"");
}

/// Of a directory that has another name, and of files that were moved out of it, nothing comes back in an older version.
#[test]
fn v3_what_was_renamed_does_not_come_back_in_an_older_version() {
    let (alpha, beta) = sharing();
    for (bytes, month) in [("one", JANUARY), ("two", FEBRUARY)] {
        for name in ["d/x", "e/y", "gone/z"] {
            beta.user().write(name, bytes, month);
        }
        settle(&[&alpha, &beta]);
    }
    beta.user().rename("d", "d2");
    alpha.user().rename("e", "e2");
    alpha.user().remove_all("gone");
    settle(&[&alpha, &beta]);
    let root = alpha.root().to_str().expect("UTF-8").to_owned();
    let restored = alpha.json(["restore", &root]);
    let paths: Vec<&Value> =
        restored["restored"].as_array().expect("a list").iter().map(|one| &one["path"]).collect();
    assert_eq!(paths, ["gone/z"], "{restored}");
    assert_eq!((&restored["failed"], &restored["told"]), (&json!([]), &json!([])), "{restored}");
    let moved = restored["moved"].to_string();
    assert!(["\"d/x\"", "\"e/y\""].iter().all(|path| moved.contains(path)), "{restored}");
    settle(&[&alpha, &beta]);
    check(&[&alpha, &beta], "d2/\nd2/x \"two\"\ne2/\ne2/y \"two\"\ngone/\ngone/z \"two\"");
    let refusal = alpha.refused(1, ["restore", &path_of(&alpha, "d/x")]);
    assert!(refusal.contains("what was there last has another name since"), "{refusal}");
}

/// Equal bytes are no rename; and who else has them need not be there.
#[test]
fn v3_what_equals_another_file_comes_back_while_all_others_are_away() {
    let (alpha, mut beta) = sharing();
    for name in ["d/license", "e/license", "d/empty", "e/empty"] {
        alpha.user().write(name, if name.ends_with("empty") { "" } else { "text" }, JANUARY);
    }
    settle(&[&alpha, &beta]);
    alpha.user().remove_all("d");
    settle(&[&alpha, &beta]);
    beta.stop();
    disconnected(&alpha);
    alpha.ok(["restore", &path_of(&alpha, "d")]);
    beta.begin();
    check(&[&alpha, &beta], "d/\nd/empty \"\"\nd/license \"text\"\ne/\ne/empty \"\"\ne/license \"text\"");
}

/// What a rule has made this device's own affair says nothing of what it held.
#[test]
fn v3_bytes_are_not_taken_for_those_of_a_file_that_is_ignored_by_now() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "one", JANUARY);
    alpha.user().write("f.orig", "one", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().write(".syncignore", "*.orig\n", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().write("f.orig", "else", MARCH);
    alpha.user().write("f", "two", FEBRUARY);
    settle(&[&alpha, &beta]);
    let listed = alpha.json(["history", &path_of(&alpha, "f")])["versions"][0].clone();
    assert_eq!((&listed["here"], &listed["remotes"]), (&json!(false), &json!(["beta"])), "{listed}");
    alpha.ok(["restore", &path_of(&alpha, "f")]);
    assert_eq!(text(&alpha.user().read("f")), "one");
    assert_eq!(text(&alpha.user().read("f.orig")), "else");
}

/// While beta, which keeps what alpha replaced and deleted, is away.
#[test]
fn v3_an_older_version_is_not_taken_for_the_last_and_what_is_missing_is_named() {
    let (alpha, mut beta) = first_again();
    beta.user().write("g", "one", JANUARY);
    settle(&[&alpha, &beta]);
    beta.user().write("g", "two", FEBRUARY);
    settle(&[&alpha, &beta]);
    alpha.user().write("g", "three", MARCH);
    alpha.user().write("d/own", "alpha's", MARCH);
    settle(&[&alpha, &beta]);
    alpha.user().remove_all("d");
    settle(&[&alpha, &beta]);
    beta.stop();
    disconnected(&alpha);
    let (d, g) = (path_of(&alpha, "d"), path_of(&alpha, "g"));
    let refusal = alpha.refused(1, ["restore", &g]);
    assert!(refusal.contains("what was there last") && refusal.contains("is not to be had"), "{refusal}");
    assert!(refusal.contains("beta (not connected)"), "{refusal}");
    assert_eq!(alpha.user().read("g"), b"three");
    let (_, after) = refusal.split_once("--version ").expect("another is named");
    let id = after.split('`').next().expect("an id");
    alpha.ok(["restore", &g, "--version", id]);
    assert_eq!(alpha.user().read("g"), b"one");
    let output = alpha.run(["restore", &d, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let restored: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let paths = |list: &str| {
        let entries = restored[list].as_array().expect("a list").iter();
        entries.map(|entry| entry["path"].as_str().expect("a path").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((paths("restored"), paths("failed")), (vec!["d/x".to_owned()], vec!["d/own".to_owned()]));
    assert!(text(&output.stderr).contains("d/own: it is not to be had; not known of: beta (not connected)"));
    beta.begin();
    connected(&alpha);
    alpha.ok(["restore", &d]);
    settle(&[&alpha, &beta]);
    check(&[&alpha, &beta], "d/\nd/own \"alpha's\"\nd/x \"first\"\nf \"first\"\ng \"one\"");
}

/// Beta has followed, and says so, before its database has what it keeps.
#[test]
fn v3_what_is_kept_is_told_by_who_says_that_it_has_followed() {
    if !strace::is_allowed_or_skips("a database that is slow to be durable") {
        return;
    }
    let (alpha, mut beta) = sharing();
    beta.stop();
    let slow = Duration::from_millis(150);
    beta.begin_under(&strace::delaying(&["fsync", "fdatasync"], slow, &beta.beside("trace")));
    beta.await_ready();
    for number in 0..3 {
        let name = format!("f{number}");
        alpha.user().write(&name, "bytes", JANUARY);
        settle(&[&alpha, &beta]);
        alpha.user().remove(&name);
        settle(&[&alpha, &beta]);
        let listed = alpha.json(["history", &path_of(&alpha, &name)]);
        assert_eq!(listed["versions"].as_array().map(Vec::len), Some(1), "{name}: {listed}");
        alpha.ok(["restore", &path_of(&alpha, &name)]);
    }
    settle(&[&alpha, &beta]);
}

/// What alpha has deleted only beta can give back, and it is only just taking it away from its own disk.
#[test]
fn v3_what_a_remote_is_still_following_is_waited_for() {
    let (alpha, beta) = sharing();
    let files: Vec<String> =
        (0..600).map(|number| format!("{}/{number}", ["d", "other"][number % 2])).collect();
    for file in &files {
        alpha.user().write(file, file, JANUARY);
    }
    settle(&[&alpha, &beta]);
    alpha.user().remove_all("d");
    let said = alpha.ok(["restore", &path_of(&alpha, "d")]);
    for file in &files {
        assert!(alpha.user().has(file) && alpha.user().read(file) == file.as_bytes(), "{file}: {said}");
    }
    settle(&[&alpha, &beta]); // Else those count as deleted still, and one more is too much.
    // And of one file, right after it has gone.
    alpha.user().remove("other/1");
    alpha.ok(["restore", &path_of(&alpha, "other/1")]);
    assert_eq!(text(&alpha.user().read("other/1")), "other/1");
    settle(&[&alpha, &beta]);
    assert!(files.iter().all(|file| beta.user().has(file)));
}

#[test]
fn as_of_a_time_before_a_file_was_written_it_is_not_brought_back() {
    let (alpha, beta) = sharing();
    let yesterday = jiff::Timestamp::now().as_second() - 86_400;
    alpha.user().write("d/late", "late", yesterday);
    alpha.user().write("d/old", "old", JANUARY);
    settle(&[&alpha, &beta]);
    beta.user().remove_all("d");
    settle(&[&alpha, &beta]);
    let refusal = alpha.refused(1, ["restore", &path_of(&alpha, "d/late"), "--at", "2d"]);
    assert!(refusal.contains("nothing is known of it at that time"), "{refusal}");
    let said = alpha.ok(["restore", &path_of(&alpha, "d"), "--at", "2d"]);
    assert!(said.contains("left out, since they were written after that time (1): d/late"), "{said}");
    settle(&[&alpha, &beta]);
    check(&[&alpha, &beta], "d/\nd/old \"old\"");
    // Nothing is said of what is there.
    alpha.ok(["restore", &path_of(&alpha, "d/late")]);
    let said = alpha.ok(["restore", &path_of(&alpha, "d"), "--at", "2d"]);
    assert!(!said.contains("d/late"), "{said}");
}

#[test]
fn restore_to_a_place_takes_one_files_version_and_no_directory() {
    let (alpha, beta) = first_again();
    beta.user().remove_all("d");
    settle(&[&alpha, &beta]);
    let out = alpha.beside("out");
    let refusal = alpha.refused(1, ["restore", &path_of(&alpha, "d"), "--to", out.to_str().expect("UTF-8")]);
    assert!(refusal.contains("d was a directory"), "{refusal}");
    assert!(!out.exists());
}

/// More than the engine is asked about at once: also the last of them is seen to have gone, and put back.
#[test]
fn v3_of_many_files_what_was_deleted_a_moment_ago_comes_back_at_once() {
    const N_FILES: usize = 2_500;
    let alpha = Device::start("alpha");
    offer(&alpha, &[]);
    let name = |index: usize| format!("d/{index:04}");
    for index in 0..N_FILES {
        alpha.user().write(name(index), format!("bytes {index}"), JANUARY);
        alpha.user().write(format!("twins/{index}"), format!("bytes {index}"), JANUARY);
    }
    directory_becomes(&alpha, "files", 2 * N_FILES);
    for (first, last) in [(N_FILES - 1, N_FILES), (1_000, 1_090), (0, 1)] {
        (first..last).for_each(|index| alpha.user().remove(name(index)));
        alpha.ok(["restore", &path_of(&alpha, "d")]);
        for index in first..last {
            assert_eq!(alpha.user().read(name(index)), format!("bytes {index}").as_bytes());
        }
    }
}

/// Puts more acts on record than are looked at all together, all of long ago.
fn many_acts(device: &Device) {
    let directories = device.home().join("directories");
    let databases = std::fs::read_dir(directories).expect("it is there").flatten().map(|entry| entry.path());
    let database = databases.into_iter().find(|path| path.extension().is_some_and(|name| name == "db"));
    let mut index = DirectoryIndex::open(&database.expect("a database")).expect("nobody has it open");
    let act = |number: u64| Act {
        at: Time { seconds: JANUARY, nanoseconds: number as u32 },
        path: SyncPath::parse(format!("d/{}", number % 50).as_bytes()).expect("a path"),
        before: Some(ContentHash::of(&number.to_le_bytes())),
        after: None,
        what: "deleted".to_owned(),
        why: String::new(),
        by: None,
    };
    let acts = (0..210_000).map(act).collect();
    index.commit(&Batch { acts, ..Batch::default() }).expect("committed");
    index.close(true).expect("closed");
}

#[test]
fn l3_a_directory_comes_back_whatever_has_been_done_below_it() {
    let (alpha, mut beta) = sharing();
    beta.user().write("d/early", "early", JANUARY);
    beta.user().write("d/late", "late", JANUARY);
    settle(&[&alpha, &beta]);
    beta.user().remove("d/early");
    settle(&[&alpha, &beta]);
    beta.stop();
    many_acts(&beta);
    beta.begin();
    settle(&[&alpha, &beta]);
    beta.user().remove("d/late");
    settle(&[&alpha, &beta]);
    beta.ok(["restore", &path_of(&beta, "d")]);
    let both = "d/\nd/early \"early\"\nd/late \"late\"";
    check(&[&alpha, &beta], both);
    beta.user().remove_all("d");
    settle(&[&alpha, &beta]);
    // As it was before the first deletion, long after all those acts.
    beta.ok(["restore", &path_of(&beta, "d"), "--at", "1h"]);
    check(&[&alpha, &beta], both);
}
