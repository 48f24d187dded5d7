//! `log`: the record of what was done to bytes, on two real servers.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::device::Device;
use crate::world::{FEBRUARY, JANUARY, MARCH, check, path_of, settle, sharing};

/// What the log says of a path: `WHAT by WHO (WHY)` each, the oldest first.
fn told(device: &Device, path: &str) -> Vec<String> {
    let log = device.json(["log", device.root().join(path).to_str().expect("UTF-8")]);
    let acts = log["acts"].as_array().cloned().expect("a list");
    let word = |act: &Value, field: &str| act[field].as_str().unwrap_or("-").to_owned();
    let line = |act: &Value| {
        format!("{} {} by {} ({})", word(act, "path"), word(act, "what"), word(act, "by"), word(act, "why"))
    };
    acts.iter().rev().map(line).collect()
}

#[test]
fn p3_what_was_done_to_bytes_is_in_the_log_with_why_and_on_whose_word() {
    let (alpha, mut beta) = sharing();
    alpha.user().write("f", "one", JANUARY);
    alpha.user().mkdir("d");
    alpha.user().write("d/g", "g", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().write("f", "two", FEBRUARY);
    settle(&[&alpha, &beta]);
    alpha.user().rename("d", "e");
    settle(&[&alpha, &beta]);
    alpha.user().rename("f", "h");
    settle(&[&alpha, &beta]);
    beta.user().remove("h");
    settle(&[&alpha, &beta]);
    beta.stop();
    beta.begin();
    assert_eq!(
        told(&beta, ""),
        [
            "f replaced by alpha (by a later version)",
            "d renamed by alpha (to e)",
            "e renamed by alpha (from d)",
            "f renamed by alpha (to h)",
            "h renamed by alpha (from f)",
            "h deleted by beta (deleted or moved away by a user or program here)",
        ]
    );
    assert_eq!(told(&beta, "e/g"), ["e renamed by alpha (from d)"]);
    let of_h = told(&alpha, "h");
    assert_eq!(
        of_h,
        [
            "h moved-here by alpha (from f, by a user or program here)",
            "h removed by beta (deleted or moved elsewhere, or its conflict is over)"
        ]
    );
    let one = beta.json(["log", beta.root().join("f").to_str().expect("UTF-8"), "--limit", "1"]);
    assert_eq!((&one["more"], one["acts"].as_array().map(Vec::len)), (&Value::Bool(true), Some(1)), "{one}");
    let replaced = beta.json(["log", beta.root().join("f").to_str().expect("UTF-8")])["acts"][1].clone();
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    assert_eq!((&replaced["before"], &replaced["after"]), (&hash(b"one").into(), &hash(b"two").into()));
}

/// What its user moved away is told of at its old path, with the new one; below a directory, too.
#[test]
fn p3_a_move_is_in_the_log_of_the_path_that_it_went_from() {
    let (alpha, beta) = sharing();
    alpha.user().mkdir("d");
    alpha.user().write("d/g", "g", JANUARY);
    alpha.user().write("dd", "another", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().rename("d", "e");
    alpha.user().rename("dd", "e2");
    settle(&[&alpha, &beta]);
    let moved = "e/g moved-here by alpha (from d/g, by a user or program here)".to_owned();
    for old in ["d", "d/g", "e", "e/g"] {
        assert!(told(&alpha, old).contains(&moved), "{old}: {:?}", told(&alpha, old));
        assert!(!told(&alpha, old).iter().any(|line| line.starts_with("e2 ")), "{old}");
    }
    assert_eq!(told(&alpha, "").iter().filter(|line| **line == moved).count(), 1, "once");
    let never = alpha.refused(1, ["log", alpha.root().join("g").to_str().expect("UTF-8")]);
    assert!(
        never.contains("nothing is at g in docs, and nothing is known to have been done there"),
        "{never}"
    );
    alpha.user().write("g", "new", JANUARY);
    assert_eq!(told(&alpha, "g"), [""; 0], "to what is new nothing was done");
    settle(&[&alpha, &beta]);
    assert_eq!(told(&beta, "g"), [""; 0]);
}

#[test]
fn p3_a_conflict_is_in_the_log_with_where_the_other_version_is() {
    let (alpha, beta) = sharing();
    alpha.user().write("f.txt", "one", JANUARY);
    settle(&[&alpha, &beta]);
    beta.ok(["sync", "pause", "docs"]);
    alpha.user().write("f.txt", "by alpha", FEBRUARY);
    beta.user().write("f.txt", "by beta", MARCH);
    beta.ok(["sync", "resume", "docs"]);
    settle(&[&alpha, &beta]);
    let log = told(&alpha, "f.txt");
    let copy = crate::world::copy_name("f", "20200201-000000", &alpha, ".txt");
    let last = log.last().cloned().unwrap_or_default();
    assert_eq!(last, format!("f.txt replaced by beta (another version has the name; this one is at {copy})"));
    let outside = alpha.refused(1, ["log", "/"]);
    assert!(outside.contains("in no directory"), "{outside}");
}

/// A file system gives the number of what was deleted to the next file that is made.
#[test]
fn p3_a_new_file_with_the_number_of_a_deleted_one_is_not_that_one_moved() {
    let (alpha, beta) = sharing();
    let number = |name: &str| fs::metadata(alpha.user().path(name)).expect("it is there").ino();
    alpha.user().write("d/gone", "what was deleted", JANUARY);
    settle(&[&alpha, &beta]);
    let gone = number("d/gone");
    alpha.user().remove("d/gone");
    alpha.user().write("d/new", "something else", FEBRUARY);
    if number("d/new") != gone {
        println!("skipped: this file system gives numbers only once");
        return;
    }
    settle(&[&alpha, &beta]);
    assert_eq!(
        told(&alpha, "d"),
        ["d/gone deleted by alpha (deleted or moved away by a user or program here)"]
    );
    alpha.ok(["restore", &path_of(&alpha, "d")]);
    settle(&[&alpha, &beta]);
    check(&[&alpha, &beta], "d/\n d/gone \"what was deleted\"\n d/new \"something else\"");
}
