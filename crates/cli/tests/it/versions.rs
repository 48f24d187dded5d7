//! `conflicts`, `resolve`, `history` and `restore`, on two real servers.

use serde_json::json;

use crate::device::Device;
use crate::world::{
    FEBRUARY, JANUARY, MARCH, check, copy_name, directory_becomes, disconnected, path_of, settle, sharing,
};

/// Two devices that show `f.txt` from beta and a copy of what alpha wrote; also the copy's name.
fn in_conflict() -> (Device, Device, String) {
    let (alpha, beta) = sharing();
    alpha.user().write("f.txt", "one\ntwo\n", JANUARY);
    settle(&[&alpha, &beta]);
    beta.ok(["sync", "pause", "docs"]);
    alpha.user().write("f.txt", "one\nby alpha\n", FEBRUARY);
    beta.user().write("f.txt", "one\nby beta\n", MARCH);
    beta.ok(["sync", "resume", "docs"]);
    settle(&[&alpha, &beta]);
    let copy = copy_name("f", "20200201-000000", &alpha, ".txt");
    (alpha, beta, copy)
}

#[test]
fn conflicts_are_listed_on_every_member_with_both_sides() {
    let (alpha, beta, copy) = in_conflict();
    for device in [&alpha, &beta] {
        let list = device.json(["conflicts"])["conflicts"].clone();
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
        assert_eq!(
            [&list[0]["path"], &list[0]["copy"]["path"], &list[0]["by"], &list[0]["directory"]],
            [&json!("f.txt"), &json!(copy), &json!("alpha"), &json!("docs")]
        );
        let difference = device.ok(["conflicts", "docs", "--diff"]);
        assert!(difference.contains("-by beta\n") && difference.contains("+by alpha\n"), "{difference}");
    }
}

#[test]
fn l4_either_side_of_a_conflict_or_both_can_stay() {
    let beta_stays = "f.txt \"one\\nby beta\\n\"";
    let alpha_stays = "f.txt \"one\\nby alpha\\n\"";
    for (is_copy_named, keep, expected) in [
        (false, "this", beta_stays),
        (false, "other", alpha_stays),
        (true, "this", alpha_stays),
        (true, "other", beta_stays),
    ] {
        let (alpha, mut beta, copy) = in_conflict();
        beta.stop();
        beta.begin(); // What is in conflict is not forgotten.
        let named = if is_copy_named { copy.as_str() } else { "f.txt" };
        let resolved = beta.json(["resolve", &path_of(&beta, named), "--keep", keep]);
        assert_eq!((&resolved["path"], &resolved["copies"][0]["path"]), (&json!("f.txt"), &json!(copy)));
        check(&[&alpha, &beta], expected);
        for device in [&alpha, &beta] {
            assert_eq!(device.json(["conflicts"])["conflicts"], json!([]));
        }
        let again = beta.refused(1, ["resolve", &path_of(&beta, "f.txt"), "--keep", "this"]);
        assert!(again.contains("in no conflict"), "{again}");
    }
    let (alpha, beta, _) = in_conflict();
    alpha.ok(["resolve", &path_of(&alpha, "f.txt"), "--keep", "both"]);
    let own = format!("f.of-{}.txt", alpha.short_id());
    check(&[&alpha, &beta], &format!("f.txt \"one\\nby beta\\n\"\n{own} \"one\\nby alpha\\n\""));
    assert_eq!(beta.directory()["conflicts"], 0);
}

/// The side that a resolve took away is a version of the path, to whoever names it, with nobody else there.
#[test]
fn l3_l4_the_side_that_was_resolved_away_is_found_under_its_path() {
    let (mut alpha, beta, copy) = in_conflict();
    let file = path_of(&beta, "f.txt");
    beta.ok(["resolve", &file, "--keep", "this"]);
    check(&[&alpha, &beta], "f.txt \"one\\nby beta\\n\"");
    alpha.stop();
    disconnected(&beta);
    let listed = beta.json(["history", &file])["versions"].as_array().cloned().unwrap_or_default();
    let of_copy = listed.iter().find(|version| version["copy"]["path"] == json!(copy));
    let of_copy = of_copy.unwrap_or_else(|| panic!("{listed:?}"));
    assert_eq!((&of_copy["path"], &of_copy["here"]), (&json!("f.txt"), &json!(true)));
    let id = of_copy["id"].as_str().expect("an id").to_owned();
    assert!(beta.ok(["history", &file]).contains(&format!("f.txt (as {copy})")));
    // It was not there last: nobody gets it who does not name it.
    let refusal = beta.refused(1, ["restore", &file]);
    assert!(!refusal.contains("no version"), "{refusal}");
    beta.ok(["restore", &file, "--version", &id]);
    assert_eq!(beta.user().read("f.txt"), b"one\nby alpha\n");
    alpha.begin();
    check(&[&alpha, &beta], "f.txt \"one\\nby alpha\\n\"");
}

#[test]
fn what_was_replaced_is_listed_and_comes_back_as_a_change() {
    let (alpha, mut beta) = sharing();
    for (bytes, at) in [("first", JANUARY), ("second", FEBRUARY), ("third", MARCH)] {
        alpha.user().write("f", bytes, at);
        settle(&[&alpha, &beta]);
    }
    beta.stop();
    beta.begin();
    let file = path_of(&beta, "f");
    let history = beta.json(["history", &file]);
    let versions = history["versions"].as_array().cloned().unwrap_or_default();
    assert_eq!((versions.len(), &history["present"]), (2, &json!(true)), "{history}");
    assert_eq!((&versions[0]["bytes"], &versions[1]["bytes"]), (&json!(6), &json!(5)));
    let first = versions[1]["id"].as_str().expect("an id")[..6].to_owned();
    let out = beta.beside("out").to_str().expect("UTF-8").to_owned();
    beta.ok(["restore", &file, "--version", &first, "--to", &out]);
    assert_eq!(std::fs::read(&out).ok().as_deref(), Some(&b"first"[..]));
    beta.refused(1, ["restore", &file, "--to", &out]);
    check(&[&alpha, &beta], "f \"third\"");
    let beside = path_of(&beta, "old/f");
    beta.ok(["restore", &file, "--version", &first, "--to", &beside]);
    check(&[&alpha, &beta], "f \"third\"\nold/\nold/f \"first\"");
    beta.refused(1, ["restore", &file, "--to", &beside]);
    alpha.user().remove_all("old");
    check(&[&alpha, &beta], "f \"third\"");
    beta.ok(["restore", &file]);
    check(&[&alpha, &beta], "f \"second\"");
    beta.ok(["restore", &file, "--version", &first]);
    check(&[&alpha, &beta], "f \"first\"");
    // What is there already is not said to have come.
    let again = beta.json(["restore", &file, "--version", &first]);
    assert_eq!((&again["restored"], &again["already"][0]["path"]), (&json!([]), &json!("f")), "{again}");
    assert!(beta.ok(["restore", &file, "--version", &first]).contains("is there already"));
    // What that replaced is kept in its turn.
    let newest = beta.json(["history", &file])["versions"][0].clone();
    assert_eq!(newest["bytes"], 6, "{newest}");
}

#[test]
fn a_deleted_directory_comes_back_whole_and_as_of_a_time() {
    let (alpha, beta) = sharing();
    alpha.user().mkdir("d");
    alpha.user().mkdir("d/e");
    alpha.user().chmod("d/e", 0o700);
    alpha.user().write("d/e/f", "old", JANUARY);
    alpha.user().write("d/g", "g", JANUARY);
    alpha.user().link("g", "d/l");
    settle(&[&alpha, &beta]);
    alpha.user().write("d/e/f", "new", FEBRUARY);
    settle(&[&alpha, &beta]);
    alpha.user().remove_all("d");
    settle(&[&alpha, &beta]);
    let directory = path_of(&beta, "d");
    beta.user().mkdir("d");
    beta.user().write("d/g", "made again", MARCH);
    settle(&[&alpha, &beta]);
    let restored = beta.json(["restore", &directory]);
    assert_eq!(restored["left"], json!([{ "path": "d/g" }]), "what is there stays");
    check(&[&alpha, &beta], "d/\nd/e/\nd/e/f \"new\"\nd/g \"made again\"\nd/l -> g");
    assert_eq!(
        (alpha.user().mode("d/e"), beta.user().mode("d/e")),
        (0o700, 0o700),
        "it is as private as it was"
    );
    alpha.user().remove_all("d");
    settle(&[&alpha, &beta]);
    let restored = beta.json(["restore", &directory, "--at", "1h"]);
    // A symlink has no time that is kept equal: this one was made here since then.
    assert_eq!(restored["later"], json!([{ "path": "d/l" }]), "{restored}");
    check(&[&alpha, &beta], "d/\nd/e/\nd/e/f \"old\"\nd/g \"g\"");
}

/// Nor is a symlink there at a time before it was made, where only a remote keeps it.
#[test]
fn what_was_made_after_a_time_does_not_come_back_as_of_that_time() {
    let (alpha, beta) = sharing();
    alpha.user().link("target", "l");
    settle(&[&alpha, &beta]);
    alpha.user().remove("l");
    settle(&[&alpha, &beta]);
    let link = path_of(&alpha, "l");
    let versions = alpha.json(["history", &link])["versions"].clone();
    assert_eq!(versions[0]["remotes"], json!(["beta"]), "{versions}");
    assert!(versions[0]["modified"].as_str().is_some_and(|time| !time.starts_with("1970")), "{versions}");
    let refusal = alpha.refused(1, ["restore", &link, "--at", "10m"]);
    assert!(refusal.contains("nothing is known of it at that time"), "{refusal}");
    check(&[&alpha, &beta], "");
    alpha.ok(["restore", &link]);
    check(&[&alpha, &beta], "l -> target");
}

#[test]
fn why_says_what_disk_index_and_versions_say_and_what_follows() {
    let (alpha, beta, copy) = in_conflict();
    let why = |device: &Device, name: &str| device.json(["why", &path_of(device, name)]);
    let shown = why(&alpha, "f.txt");
    assert_eq!((&shown["reason"], &shown["kept"]), (&json!("in-step"), &json!(1)), "{shown}");
    let makers = [&shown["versions"][0]["by"], &shown["versions"][1]["by"]];
    assert_eq!(makers, [&json!("beta"), &json!("alpha")], "{shown}");
    assert_eq!(shown["versions"][1]["shown_at"]["path"], json!(copy));
    assert_eq!([&shown["disk"], &shown["index"]], [&shown["wanted"], &shown["wanted"]]);
    assert_eq!(why(&beta, &copy)["copy_of"]["path"], "f.txt");
    assert_eq!(why(&beta, "never")["reason"], "unknown");
    beta.user().write(".syncignore", "*.tmp", JANUARY);
    beta.user().write("x.tmp", "x", JANUARY);
    settle(&[&alpha, &beta]);
    assert_eq!(why(&beta, "x.tmp")["reason"], "ignored");
    beta.ok(["sync", "pause", "docs"]);
    assert_eq!(why(&beta, "f.txt")["reason"], "paused");
    let text = alpha.ok(["why", &path_of(&alpha, &copy)]);
    assert!(text.contains("conflict copy of f.txt\n") && text.contains("so: the disk is as"), "{text}");
    assert!(alpha.refused(1, ["why", "/nowhere"]).contains("in no directory"));
}

#[test]
fn what_cannot_be_restored_or_resolved_is_said_and_nothing_changes() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "old", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().remove("f");
    settle(&[&alpha, &beta]);
    beta.user().mkdir("f");
    settle(&[&alpha, &beta]);
    let file = path_of(&beta, "f");
    for (arguments, said) in [
        (vec!["restore", &file], "in the way"),
        (vec!["restore", &file, "--version", "ffff"], "no version ffff of f"),
        (vec!["restore", &path_of(&beta, "never")], "no version of never"),
        (vec!["history", &path_of(&beta, "never")], "no version of it"),
        (vec!["history", "/nowhere/at/all"], "in no directory"),
        (vec!["resolve", "/nowhere/at/all", "--keep", "this"], "in no directory"),
        (vec!["resolve", &file, "--keep", "both"], "in no conflict"),
        (vec!["history", &path_of(&beta, ".file-sync/kept")], ".file-sync"),
    ] {
        let refusal = beta.refused(1, &arguments);
        assert!(refusal.contains(said), "{arguments:?}: {refusal}");
    }
    for wrong in [vec!["resolve", &file], vec!["restore", &file, "--at", "yesterday"]] {
        assert_eq!(beta.run(&wrong).status.code(), Some(2), "{wrong:?}");
    }
    check(&[&alpha, &beta], "f/");
}

#[test]
fn l3_kept_versions_take_no_more_room_than_they_may_and_status_says_what_had_to_go() {
    let (alpha, mut beta) = sharing();
    for (bytes, at) in [("first", JANUARY), ("second", FEBRUARY), ("third", MARCH)] {
        alpha.user().write("f", bytes, at);
        settle(&[&alpha, &beta]);
    }
    let file = path_of(&beta, "f");
    assert_eq!(beta.json(["history", &file])["versions"].as_array().map(Vec::len), Some(2));
    beta.stop();
    // Room for the younger one, which is the longer, alone.
    beta.begin_under(&["sh", "-c", "exec \"$@\" --kept-max 6", "sh"].map(Into::into));
    beta.await_ready();
    directory_becomes(&beta, "kept_gone_young", 1);
    let versions = beta.json(["history", &file])["versions"].clone();
    assert_eq!(
        (versions.as_array().map(Vec::len), &versions[0]["bytes"]),
        (Some(1), &json!(6)),
        "{versions}"
    );
    let newest = beta.json(["log", &file])["acts"][0].clone();
    assert_eq!(newest["what"], "expired", "{newest}");
    let status = beta.ok(["status"]);
    assert!(status.contains("1 kept version of the last day had to go for want of room"), "{status}");
    check(&[&alpha, &beta], "f \"third\"");
}
