//! A restore in the moment after its user's own act, which is not noted yet: what it says is what it has done.

use crate::device::{Device, text};
use crate::world::{FEBRUARY, JANUARY, MARCH, check, settle, sharing};

fn path_of(device: &Device, name: &str) -> String {
    device.root().join(name).to_str().expect("UTF-8").to_owned()
}

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
        let output = alpha.run(["restore", &f, "--version", &id]);
        let is_there = alpha.user().has("f") && alpha.user().read("f") == b"first";
        // Refused is refused; it must not say that it has done it.
        assert_eq!(output.status.success(), is_there, "round {round}: {}", text(&output.stderr));
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
    // Beta is not asked during a pause for what it keeps of `first`.
    let output = alpha.run(["restore", &d]);
    assert!(text(&output.stderr).contains("not known what beta keeps: docs is paused here"));
    assert_eq!(alpha.user().read("d/x"), b"second");
    alpha.ok(["sync", "resume", "docs"]);
    settle(&[&alpha, &beta]);
    check(&[&alpha, &beta], "d/\nd/x \"second\"\nf \"first\"");
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
