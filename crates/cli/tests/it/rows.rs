//! Every row of the table of docs/guarantees.md, "What happens when", between two real servers.
//!
//! Each row runs with either side as "here", made concurrent by a pause and by a stopped server: four times in all.
//!
//! Promises checked here, beside others: M2 and M3.

use crate::device::Device;
use crate::user::User;
use crate::world::{APRIL, FEBRUARY, JANUARY, MARCH, eventually, holds, settle, sharing};
use crate::world::{PATIENCE, disconnected, equal};

/// One row: what was there, what happens here and there at once, and what is then everywhere.
struct Row {
    before: fn(&User),
    here: fn(&User),
    there: fn(&User),
    /// As `holds` wants it; HERE and THERE stand for the devices' ids as copies carry them.
    after: &'static str,
}

#[derive(Clone, Copy)]
enum Apart {
    Paused,
    Stopped,
}

fn check(row: Row) {
    check_with(row, |_, _| {});
}

/// As `check`; `also` gets the device that was "here" and its user once all is settled.
fn check_with(row: Row, also: fn(&User, &User)) {
    let (alpha, mut beta) = sharing();
    for (round, apart) in [("paused", Apart::Paused), ("stopped", Apart::Stopped)] {
        let (forth, back) = (format!("{round}-forth"), format!("{round}-back"));
        for directory in [&forth, &back] {
            alpha.user().mkdir(directory);
            (row.before)(&alpha.user_in(directory));
        }
        settle(&[&alpha, &beta]);
        part(&alpha, &mut beta, apart);
        (row.here)(&alpha.user_in(&forth));
        (row.there)(&beta.user_in(&forth));
        (row.here)(&beta.user_in(&back));
        (row.there)(&alpha.user_in(&back));
        meet(&alpha, &mut beta, apart);
        settle(&[&alpha, &beta]);
        equal(&[&alpha, &beta]);
        let told = |here: &Device, there: &Device| {
            row.after.replace("THERE", there.short_id()).replace("HERE", here.short_id())
        };
        holds(&alpha.root().join(&forth), &told(&alpha, &beta));
        holds(&alpha.root().join(&back), &told(&beta, &alpha));
        also(&alpha.user_in(&forth), &beta.user_in(&forth));
        also(&alpha.user_in(&back), &beta.user_in(&back));
    }
}

fn part(alpha: &Device, beta: &mut Device, apart: Apart) {
    match apart {
        Apart::Paused => {
            beta.ok(["sync", "pause", "docs"]);
        }
        Apart::Stopped => {
            beta.stop();
            disconnected(alpha);
        }
    }
}

fn meet(alpha: &Device, beta: &mut Device, apart: Apart) {
    // The other side's change must be a version of its own before the two meet, whatever the events do.
    alpha.ok(["sync", "wait", "--timeout", "60s"]);
    match apart {
        Apart::Paused => {
            beta.ok(["sync", "resume", "docs"]);
        }
        Apart::Stopped => beta.begin(),
    }
}

#[test]
fn w1_edit_and_edit_with_other_bytes_keep_the_newest_and_a_copy() {
    check(Row {
        before: |user| user.write("f.txt", "before", JANUARY),
        here: |user| user.write("f.txt", "from here", FEBRUARY),
        there: |user| user.write("f.txt", "from there", MARCH),
        after: "f.txt \"from there\"
                f.sync-conflict-20200201-000000-HERE.txt \"from here\"",
    });
}

#[test]
fn l5_edit_and_edit_with_the_same_bytes_are_one_file() {
    check(Row {
        before: |user| user.write("f.txt", "before", JANUARY),
        here: |user| user.write("f.txt", "after", FEBRUARY),
        there: |user| user.write("f.txt", "after", MARCH),
        after: "f.txt \"after\"",
    });
}

#[test]
fn d2_an_edit_beats_a_delete() {
    check(Row {
        before: |user| user.write("f.txt", "before", JANUARY),
        here: |user| user.write("f.txt", "edited", FEBRUARY),
        there: |user| user.remove("f.txt"),
        after: "f.txt \"edited\"",
    });
}

#[test]
fn m3_an_edit_and_a_rename_keep_both() {
    check(Row {
        before: |user| user.write("f", "before", JANUARY),
        here: |user| user.write("f", "edited", FEBRUARY),
        there: |user| user.rename("f", "g"),
        after: "f \"edited\"
                g \"before\"",
    });
}

#[test]
fn d1_delete_and_delete_is_gone() {
    check(Row {
        before: |user| user.write("f", "before", JANUARY),
        here: |user| user.remove("f"),
        there: |user| user.remove("f"),
        after: "",
    });
}

#[test]
fn w1_create_and_create_with_other_bytes_keep_the_newest_and_a_copy() {
    check(Row {
        before: |_| {},
        here: |user| user.write("f", "from here", MARCH),
        there: |user| user.write("f", "from there", FEBRUARY),
        after: "f \"from here\"
                f.sync-conflict-20200201-000000-THERE \"from there\"",
    });
}

#[test]
fn w1_a_directory_keeps_the_name_and_the_file_is_a_copy() {
    check(Row {
        before: |_| {},
        here: |user| user.write("f.txt", "a file", MARCH),
        there: |user| user.write("f.txt/inside", "below", JANUARY),
        after: "f.txt/
                f.txt/inside \"below\"
                f.sync-conflict-20200301-000000-HERE.txt \"a file\"",
    });
}

#[test]
fn w1_an_empty_directory_keeps_the_name_too() {
    check(Row {
        before: |_| {},
        here: |user| user.write("f.txt", "a file", MARCH),
        there: |user| user.mkdir("f.txt"),
        after: "f.txt/
                f.sync-conflict-20200301-000000-HERE.txt \"a file\"",
    });
}

#[test]
fn d2_a_new_file_keeps_its_deleted_directory_alone() {
    check(Row {
        before: |user| {
            user.write("d/old", "old", JANUARY);
            user.write("d/below/older", "older", JANUARY);
            user.mkdir("d/empty");
        },
        here: |user| user.write("d/new", "new", FEBRUARY),
        there: |user| user.remove_all("d"),
        after: "d/
                d/new \"new\"",
    });
}

#[test]
fn m2_a_file_renamed_to_two_names_exists_at_both() {
    check(Row {
        before: |user| user.write("f", "the same", JANUARY),
        here: |user| user.rename("f", "g"),
        there: |user| user.rename("f", "h"),
        after: "g \"the same\"
                h \"the same\"",
    });
}

#[test]
fn m2_a_new_file_below_a_renamed_directory_stays_at_the_old_name() {
    check(Row {
        before: |user| {
            user.write("d/one", "1", JANUARY);
            user.write("d/deep/two", "2", JANUARY);
        },
        here: |user| user.rename("d", "e"),
        there: |user| user.write("d/x", "new", FEBRUARY),
        after: "d/
                d/x \"new\"
                e/
                e/one \"1\"
                e/deep/
                e/deep/two \"2\"",
    });
}

#[test]
fn l5_a_chmod_and_an_edit_are_one_file_with_both() {
    check_with(
        Row {
            before: |user| user.write("f", "before", JANUARY),
            here: |user| user.chmod("f", 0o600),
            there: |user| user.write("f", "edited", MARCH),
            after: "f \"edited\"",
        },
        |alpha, _| assert_eq!((alpha.mode("f"), alpha.mtime("f")), (0o600, MARCH)),
    );
}

#[test]
fn l5_a_touch_and_an_edit_are_one_file_with_the_latest_mtime() {
    check_with(
        Row {
            before: |user| user.write("f", "before", JANUARY),
            here: |user| user.touch("f", APRIL),
            there: |user| user.write("f", "edited", MARCH),
            after: "f \"edited\"",
        },
        |here, _| assert_eq!(here.mtime("f"), APRIL, "{}", here.path("f").display()),
    );
}

#[test]
fn d2_an_edit_on_a_device_that_was_off_beats_an_old_delete() {
    let (mut alpha, mut beta) = long_away(|user| user.write("f", "edited while off", FEBRUARY));
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    holds(&alpha.root(), "f \"edited while off\"\nkept \"after\"");
    restart_both(&mut alpha, &mut beta);
    holds(&alpha.root(), "f \"edited while off\"\nkept \"after\"");
}

#[test]
fn d3_what_a_device_that_was_off_did_not_touch_is_gone_there_too() {
    let (mut alpha, mut beta) = long_away(|_| {});
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    holds(&beta.root(), "kept \"after\"");
    restart_both(&mut alpha, &mut beta);
    holds(&beta.root(), "kept \"after\"");
}

/// Two devices of which beta was off while alpha deleted `f`, saw that, worked on and was restarted.
fn long_away(meanwhile: fn(&User)) -> (Device, Device) {
    let (mut alpha, mut beta) = sharing();
    alpha.user().write("f", "before", JANUARY);
    alpha.user().write("kept", "before", JANUARY);
    settle(&[&alpha, &beta]);
    beta.stop();
    meanwhile(&beta.user());
    alpha.user().remove("f");
    sees_files(&alpha, 1);
    alpha.stop();
    alpha.begin();
    alpha.user().write("kept", "after", MARCH);
    sees_files(&alpha, 1);
    beta.begin();
    (alpha, beta)
}

fn sees_files(device: &Device, n_files: u64) {
    eventually(PATIENCE, || {
        device.ok(["sync", "wait"]);
        let directory = device.directory();
        if directory["files"] == n_files { Ok(()) } else { Err(format!("not {n_files} files: {directory}")) }
    });
}

fn restart_both(alpha: &mut Device, beta: &mut Device) {
    alpha.stop();
    beta.stop();
    alpha.begin();
    beta.begin();
    settle(&[alpha, beta]);
    equal(&[alpha, beta]);
}
