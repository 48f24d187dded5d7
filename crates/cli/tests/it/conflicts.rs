//! Conflict copies as ordinary files, joins of directories that hold files, and edits in odd moments.
//!
//! Promises checked here, beside others: D4, L4, W2 and W3.

use crate::device::Device;
use crate::world::{APRIL, FEBRUARY, JANUARY, MARCH, check, copy_name, join, offer, paired, settle, sharing};

/// Two devices that show `f` from beta and a copy of what alpha wrote; also the copy's name.
fn in_conflict() -> (Device, Device, String) {
    let (alpha, beta) = sharing();
    beta.ok(["sync", "pause", "docs"]);
    alpha.user().write("f", "from alpha", JANUARY);
    beta.user().write("f", "from beta", FEBRUARY);
    beta.ok(["sync", "resume", "docs"]);
    let copy = copy_name("f", "20200101-000000", &alpha, "");
    check(&[&alpha, &beta], &format!("f \"from beta\"\n{copy} \"from alpha\""));
    assert_eq!(
        (alpha.directory()["conflicts"].clone(), beta.directory()["conflicts"].clone()),
        (1.into(), 1.into())
    );
    (alpha, beta, copy)
}

#[test]
fn l4_a_copy_is_edited_like_any_file() {
    let (alpha, beta, copy) = in_conflict();
    beta.user().write(&copy, "edited", MARCH);
    check(&[&alpha, &beta], &format!("f \"from beta\"\n{copy} \"edited\""));
    assert_eq!(alpha.directory()["conflicts"], 0);
}

#[test]
fn l4_a_copy_is_deleted_like_any_file() {
    let (alpha, beta, copy) = in_conflict();
    beta.user().remove(&copy);
    check(&[&alpha, &beta], "f \"from beta\"");
    assert_eq!(
        (alpha.directory()["conflicts"].clone(), beta.directory()["conflicts"].clone()),
        (0.into(), 0.into())
    );
}

#[test]
fn l4_a_copy_is_moved_like_any_file() {
    let (alpha, beta, copy) = in_conflict();
    alpha.user().mkdir("d");
    alpha.user().rename(&copy, "d/resolved");
    check(&[&alpha, &beta], "f \"from beta\"\nd/\nd/resolved \"from alpha\"");
    assert_eq!(beta.directory()["conflicts"], 0);
}

#[test]
fn l1_a_copy_stays_when_the_shown_file_is_edited_deleted_or_moved() {
    type Act = fn(&Device);
    let acts: [(Act, &str); 3] = [
        (|device| device.user().write("f", "edited", MARCH), "f \"edited\""),
        (|device| device.user().remove("f"), ""),
        (|device| device.user().rename("f", "g"), "g \"from beta\""),
    ];
    for (act, expected) in acts {
        let (alpha, beta, copy) = in_conflict();
        act(&alpha);
        check(&[&alpha, &beta], &format!("{expected}\n{copy} \"from alpha\""));
    }
}

#[test]
fn l4_a_copy_moved_over_the_shown_file_resolves() {
    let (alpha, beta, copy) = in_conflict();
    beta.user().rename(&copy, "f");
    check(&[&alpha, &beta], "f \"from alpha\"");
    assert_eq!(alpha.directory()["conflicts"], 0);
}

#[test]
fn l4_a_conflict_on_a_copy_makes_another() {
    let (alpha, beta, copy) = in_conflict();
    beta.ok(["sync", "pause", "docs"]);
    alpha.user().write(&copy, "copy edited by alpha", APRIL);
    beta.user().write(&copy, "copy edited by beta", MARCH);
    beta.ok(["sync", "resume", "docs"]);
    let again = copy_name(&copy, "20200301-000000", &beta, "");
    let expected =
        format!("f \"from beta\"\n{copy} \"copy edited by alpha\"\n{again} \"copy edited by beta\"");
    check(&[&alpha, &beta], &expected);
}

#[test]
fn l1_two_who_settle_at_once_agree() {
    let (alpha, beta, copy) = in_conflict();
    beta.ok(["sync", "pause", "docs"]);
    alpha.user().write("f", "settled by alpha", MARCH);
    beta.user().write("f", "settled by beta", APRIL);
    beta.ok(["sync", "resume", "docs"]);
    let other = copy_name("f", "20200301-000000", &alpha, "");
    let expected = format!("f \"settled by beta\"\n{copy} \"from alpha\"\n{other} \"settled by alpha\"");
    check(&[&alpha, &beta], &expected);
}

#[test]
fn w3_a_causal_successor_with_an_older_mtime_wins() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "newer mtime", APRIL);
    settle(&[&alpha, &beta]);
    beta.user().write("f", "written later", JANUARY);
    check(&[&alpha, &beta], "f \"written later\"");
}

#[test]
fn w2_an_mtime_in_the_future_counts_as_now_at_its_origin() {
    let (alpha, beta) = sharing();
    beta.ok(["sync", "pause", "docs"]);
    let far = 4_000_000_000;
    alpha.user().write("f", "from the future", far);
    alpha.ok(["sync", "wait"]);
    beta.user().write("f", "from farther", far + 1);
    beta.ok(["sync", "resume", "docs"]);
    settle(&[&alpha, &beta]);
    crate::world::equal(&[&alpha, &beta]);
    // Beta read its own later, so that its rank is the higher.
    assert_eq!(alpha.user().read("f"), b"from farther");
    assert_eq!(alpha.user().mtime("f"), far + 1);
}

#[test]
fn d4_a_file_deleted_and_made_again_is_the_new_one() {
    let (alpha, mut beta) = sharing();
    alpha.user().write("f", "first", MARCH);
    settle(&[&alpha, &beta]);
    beta.stop();
    alpha.user().remove("f");
    alpha.ok(["sync", "wait"]);
    alpha.user().write("f", "second", JANUARY);
    alpha.ok(["sync", "wait"]);
    beta.begin();
    check(&[&alpha, &beta], "f \"second\"");
}

#[test]
fn l5_a_join_adopts_equal_files_and_leaves_no_phantom_copy() {
    let (alpha, beta) = paired();
    for user in [alpha.user(), beta.user()] {
        user.write("same", "same", JANUARY);
        user.write("d/same", "same", JANUARY);
    }
    beta.user().touch("same", FEBRUARY);
    alpha.user().write("differs", "from alpha", JANUARY);
    beta.user().write("differs", "from beta", FEBRUARY);
    beta.user().write("only/beta", "b", JANUARY);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    let copy = copy_name("differs", "20200101-000000", &alpha, "");
    let expected = format!(
        "same \"same\"\nd/\nd/same \"same\"\ndiffers \"from beta\"\n{copy} \"from alpha\"\nonly/\nonly/beta \"b\""
    );
    check(&[&alpha, &beta], &expected);
    beta.user().write("same", "edited after the first merge", MARCH);
    check(&[&alpha, &beta], &expected.replacen("same \"same\"", "same \"edited after the first merge\"", 1));
}

#[test]
fn l2_a_file_that_is_written_all_the_time_is_never_mixed() {
    let (alpha, beta) = sharing();
    alpha.user().write("log", "", JANUARY);
    settle(&[&alpha, &beta]);
    let mut expected = Vec::new();
    for line in 0..200 {
        let line = format!("line {line} of what a program appends\n");
        alpha.user().append("log", &line);
        expected.extend_from_slice(line.as_bytes());
        if beta.user().has("log") {
            assert!(expected.starts_with(&beta.user().read("log")), "V2: no mix of two versions");
        }
    }
    settle(&[&alpha, &beta]);
    crate::world::equal(&[&alpha, &beta]);
    assert_eq!(beta.user().read("log"), expected);
    assert_eq!(beta.directory()["conflicts"], 0);
}

#[test]
fn l2_both_write_the_same_file_all_the_time_and_nothing_is_lost() {
    let (alpha, beta) = sharing();
    for round in 0..30 {
        alpha.user().write("f", format!("alpha {round}"), JANUARY + round);
        beta.user().write("f", format!("beta {round}"), JANUARY + round);
    }
    settle(&[&alpha, &beta]);
    crate::world::equal(&[&alpha, &beta]);
    // Nobody can have seen beta's last words and written over them: they are the file, or a copy.
    let shown = crate::tree::text_of(&alpha.root()).join("\n");
    assert!(shown.contains("\"beta 29\""), "beta's last version is lost: {shown}");
}
