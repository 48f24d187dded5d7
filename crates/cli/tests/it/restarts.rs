//! Servers that stop, are killed and come back, on either side and at every stage of a transfer.
//!
//! A kill is SIGKILL to the test's own child. After each the promises hold with no command: equal trees, no partial
//! file under a final name, an empty stage.
//!
//! Promises checked here, beside others: C1 and S5.

use std::path::Path;

use crate::device::{Device, text};
use crate::tree::{difference, tree_of};
use crate::user::noise;
use crate::world::{FEBRUARY, JANUARY, MARCH, PATIENCE, check, connected, disconnected, equal, eventually};
use crate::world::{approve_held, files_below, settle, sharing};

const MEBIBYTE: u64 = 1 << 20;

#[test]
fn s5_changes_made_while_a_server_was_down_are_found_at_its_start() {
    let (mut alpha, mut beta) = sharing();
    for name in ["edited", "deleted", "renamed", "d/moved", "d/e/moved"] {
        alpha.user().write(name, name, JANUARY);
    }
    settle(&[&alpha, &beta]);
    beta.stop();
    let user = beta.user();
    user.write("edited", "offline", FEBRUARY);
    user.remove("deleted");
    user.rename("renamed", "renamed-to");
    user.rename("d", "f");
    user.write("new/created", "offline", FEBRUARY);
    user.mkdir("empty");
    user.link("edited", "link");
    user.chmod("renamed-to", 0o600);
    beta.begin();
    let expected =
        "edited \"offline\"\nrenamed-to \"renamed\"\nf/\nf/moved \"d/moved\"\nf/e/\nf/e/moved \"d/e/moved\"
                    new/\nnew/created \"offline\"\nempty/\nlink -> edited";
    check(&[&alpha, &beta], expected);
    alpha.stop();
    alpha.user().write("edited", "offline too", MARCH);
    alpha.user().remove_all("f");
    alpha.begin();
    let expected = "edited \"offline too\"\nrenamed-to \"renamed\"\nnew/\nnew/created \"offline\"\nempty/\nlink -> edited";
    check(&[&alpha, &beta], expected);
}

#[test]
fn s2_both_servers_restart_in_either_order_and_find_each_other() {
    let (mut alpha, mut beta) = sharing();
    for (round, alpha_first) in [true, false].into_iter().enumerate() {
        alpha.stop();
        beta.stop();
        alpha.user().write(format!("alpha{round}"), "offline", JANUARY);
        beta.user().write(format!("beta{round}"), "offline", JANUARY);
        let (first, second) = if alpha_first { (&mut alpha, &mut beta) } else { (&mut beta, &mut alpha) };
        first.begin();
        second.begin();
        settle(&[&alpha, &beta]);
        equal(&[&alpha, &beta]);
        assert!(alpha.user().has(format!("beta{round}")) && beta.user().has(format!("alpha{round}")));
    }
}

#[test]
fn s2_a_remote_is_found_at_the_address_it_announced() {
    let (mut alpha, mut beta) = sharing();
    // Alpha moves while beta is there: it dials beta from where it now is, and says so.
    alpha.stop();
    alpha.move_house();
    alpha.begin();
    connected(&alpha);
    alpha.user().write("after-alpha-moved", "bytes", JANUARY);
    settle(&[&alpha, &beta]);
    eventually(PATIENCE, || {
        let remotes = beta.json(["remote", "ls"]);
        match remotes["remotes"][0]["address"] == alpha.address() {
            true => Ok(()),
            false => Err(format!("not {}: {remotes}", alpha.address())),
        }
    });
    beta.stop();
    beta.move_house();
    beta.begin();
    beta.user().write("after-beta-moved", "bytes", JANUARY);
    check(&[&alpha, &beta], "after-alpha-moved \"bytes\"\nafter-beta-moved \"bytes\"");
}

/// Neither is where the other last saw it.
#[test]
fn s2_remotes_that_both_moved_meet_again_by_a_ticket() {
    let (mut alpha, mut beta) = sharing();
    alpha.stop();
    beta.stop();
    for device in [&mut alpha, &mut beta] {
        device.move_house();
        device.begin();
    }
    alpha.user().write("f", "bytes", JANUARY);
    let doctor = alpha.run(["doctor"]);
    let said = text(&doctor.stdout);
    assert!(
        said.contains("if it has another address now") && said.contains("remote add beta TICKET"),
        "{said}"
    );
    let ticket = beta.ok(["remote", "invite"]);
    alpha.ok(["remote", "add", "beta", ticket.trim_end()]);
    connected(&alpha);
    check(&[&alpha, &beta], "f \"bytes\"");
    assert_eq!(alpha.json(["remote", "ls"])["remotes"].as_array().map(Vec::len), Some(1));
    // Both have noted it.
    for device in [&mut alpha, &mut beta] {
        device.stop();
        device.begin();
    }
    connected(&alpha);
}

#[test]
fn c1_a_kill_while_idle_changes_nothing() {
    let (mut alpha, mut beta) = sharing();
    alpha.user().write("f", "bytes", JANUARY);
    settle(&[&alpha, &beta]);
    for _ in 0..3 {
        alpha.kill();
        beta.kill();
        alpha.begin();
        beta.begin();
    }
    check(&[&alpha, &beta], "f \"bytes\"");
}

#[test]
fn c3_what_was_waited_for_survives_a_kill_of_both() {
    let (mut alpha, mut beta) = sharing();
    for round in 0..5 {
        alpha.user().write(format!("f{round}"), format!("{round}"), JANUARY);
        settle(&[&alpha, &beta]);
        alpha.kill();
        beta.kill();
        assert_eq!(beta.user().read(format!("f{round}")), format!("{round}").as_bytes());
        beta.begin();
        alpha.begin();
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!(alpha.directory()["conflicts"], 0);
}

#[test]
fn c1_a_receiver_killed_while_a_big_file_comes_resumes() {
    let (alpha, mut beta) = sharing();
    big_file(&alpha);
    let mut n_kills = 0;
    for reached in [1, 40, 110] {
        if !staged(&beta, reached * MEBIBYTE) {
            break;
        }
        beta.kill();
        n_kills += 1;
        no_partial_file(&alpha, &beta);
        beta.begin();
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    let written = beta.written_bytes();
    println!(
        "the receiver was killed {n_kills} times; its last process wrote {} MiB of 200",
        written / MEBIBYTE
    );
    // 110 MiB were staged before the last process began.
    assert!(n_kills < 3 || written < 150 * MEBIBYTE, "{written} bytes written: the transfer began anew");
    stage_is_empty(&beta);
}

#[test]
fn c1_a_sender_killed_while_a_big_file_goes_resumes() {
    let (mut alpha, beta) = sharing();
    big_file(&alpha);
    for reached in [1, 40, 110] {
        if !staged(&beta, reached * MEBIBYTE) {
            break;
        }
        alpha.kill();
        no_partial_file(&alpha, &beta);
        disconnected(&beta);
        alpha.begin();
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    let written = beta.written_bytes();
    assert!(
        written < 300 * MEBIBYTE,
        "{written} bytes written for a file of 200 MiB: the transfer began anew"
    );
    stage_is_empty(&beta);
}

#[test]
fn c1_servers_stopped_amid_a_big_file_end_cleanly_and_resume() {
    let (mut alpha, mut beta) = sharing();
    big_file(&alpha);
    let mut n_stops = 0;
    for (reached, receiver_stops) in [(1, true), (40, false), (110, true)] {
        if !staged(&beta, reached * MEBIBYTE) {
            break;
        }
        let stopping = if receiver_stops { &mut beta } else { &mut alpha };
        assert_eq!(stopping.stop().code(), Some(0));
        n_stops += 1;
        no_partial_file(&alpha, &beta);
        let stopped = if receiver_stops { &mut beta } else { &mut alpha };
        stopped.begin();
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    let written = beta.written_bytes();
    assert!(n_stops < 3 || written < 150 * MEBIBYTE, "{written} bytes written: the transfer began anew");
    stage_is_empty(&beta);
}

#[test]
fn v2_a_big_file_replaced_while_it_travels_arrives_as_one_version() {
    let (alpha, beta) = sharing();
    big_file(&alpha);
    for (seed, mtime) in [(8, FEBRUARY), (9, MARCH)] {
        let _ = staged(&beta, MEBIBYTE);
        alpha.user().write("big", noise(seed, (60 * MEBIBYTE) as usize), mtime);
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert!(beta.user().read("big") == noise(9, (60 * MEBIBYTE) as usize), "not what was written last");
    assert_eq!(
        (alpha.directory()["conflicts"].clone(), beta.directory()["conflicts"].clone()),
        (0.into(), 0.into())
    );
    stage_is_empty(&beta);
}

#[test]
fn v2_a_big_file_deleted_while_it_travels_goes() {
    let (alpha, beta) = sharing();
    big_file(&alpha);
    let _ = staged(&beta, MEBIBYTE);
    alpha.user().remove("big");
    check(&[&alpha, &beta], "");
    stage_is_empty(&beta);
}

#[test]
fn c1_a_sender_killed_while_it_hashes_goes_on() {
    let (mut alpha, beta) = sharing();
    for _ in 0..3 {
        big_file(&alpha);
        alpha.kill();
        alpha.begin();
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    stage_is_empty(&beta);
    stage_is_empty(&alpha);
}

#[test]
fn c1_a_receiver_killed_while_small_files_come_goes_on() {
    let (alpha, mut beta) = sharing();
    small_files(&alpha);
    for reached in [1, 600, 1500] {
        arrived(&beta, reached);
        beta.kill();
        no_partial_file(&alpha, &beta);
        beta.begin();
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!(
        (alpha.directory()["conflicts"].clone(), alpha.directory()["files"].clone()),
        (0.into(), 2400.into())
    );
    stage_is_empty(&beta);
}

#[test]
fn c1_a_sender_killed_while_small_files_go_goes_on() {
    let (mut alpha, beta) = sharing();
    small_files(&alpha);
    for reached in [1, 600, 1500] {
        arrived(&beta, reached);
        alpha.kill();
        no_partial_file(&alpha, &beta);
        alpha.begin();
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!(
        (beta.directory()["conflicts"].clone(), beta.directory()["files"].clone()),
        (0.into(), 2400.into())
    );
    stage_is_empty(&beta);
}

#[test]
fn c1_kills_amid_a_first_merge_adopt_what_is_equal_and_keep_what_differs() {
    let (mut alpha, mut beta) = crate::world::paired();
    for index in 0..600 {
        for (user, who) in [(alpha.user(), "alpha"), (beta.user(), "beta")] {
            user.write(format!("same/{index}"), format!("same {index}"), JANUARY);
            if index % 10 == 0 {
                user.write(format!("differs/{index}"), format!("{who} {index}"), JANUARY);
                user.write(format!("{who}/{index}"), format!("only {who} {index}"), JANUARY);
            }
        }
    }
    crate::world::offer(&alpha, &[]);
    alpha.kill();
    alpha.begin();
    crate::world::join(&beta, &alpha, &[]);
    for round in 0..3 {
        let killed = if round % 2 == 0 { &mut beta } else { &mut alpha };
        killed.kill();
        killed.begin();
        // A little farther each time; a kill that comes late proves less, and fails nothing.
        let _ = beta.run(["sync", "wait", "--timeout", "100ms"]);
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    let tree = tree_of(&alpha.root());
    let n_files = tree.values().filter(|node| matches!(node, crate::tree::Node::File { .. })).count();
    assert_eq!(n_files, 600 + 2 * 60 + 2 * 60, "equal ones once, differing ones and those of one side all");
    assert_eq!(
        (alpha.directory()["conflicts"].clone(), beta.directory()["conflicts"].clone()),
        (60.into(), 60.into())
    );
}

#[test]
fn c1_who_was_told_that_it_has_joined_is_a_member_whoever_is_killed_then() {
    for kills in [[true, false], [false, true], [true, true]] {
        let (mut alpha, mut beta) = crate::world::paired();
        crate::world::offer(&alpha, &[]);
        crate::world::join(&beta, &alpha, &[]);
        for (device, is_killed) in [&mut alpha, &mut beta].into_iter().zip(kills) {
            if is_killed {
                device.kill();
                device.begin();
            }
        }
        alpha.user().write("alpha", "a", JANUARY);
        beta.user().write("beta", "b", JANUARY);
        check(&[&alpha, &beta], "alpha \"a\"\nbeta \"b\"");
    }
}

#[test]
fn c1_kills_while_a_conflict_is_resolved_lose_no_side() {
    let (mut alpha, mut beta) = sharing();
    for round in 0..4 {
        let name = format!("f{round}");
        beta.ok(["sync", "pause", "docs"]);
        alpha.user().write(&name, "from alpha", JANUARY);
        beta.user().write(&name, "from beta", FEBRUARY);
        alpha.ok(["sync", "wait"]);
        beta.ok(["sync", "resume", "docs"]);
        let killed = if round % 2 == 0 { &mut beta } else { &mut alpha };
        killed.kill();
        killed.begin();
        settle(&[&alpha, &beta]);
        equal(&[&alpha, &beta]);
        assert_eq!(alpha.user().read(&name), b"from beta");
        assert_eq!(alpha.directory()["conflicts"], round + 1);
    }
}

#[test]
fn c1_kills_amid_deletes_and_renames_lose_nothing() {
    let (mut alpha, mut beta) = sharing();
    small_files(&alpha);
    settle(&[&alpha, &beta]);
    alpha.user().rename("many", "moved");
    for index in 0..50 {
        alpha.user().remove(format!("moved/{index}"));
        beta.user().write(format!("many/new{index}"), format!("new {index}"), FEBRUARY);
    }
    eventually(PATIENCE, || if beta.user().has("moved") { Ok(()) } else { Err("nothing moved") });
    beta.kill();
    alpha.kill();
    beta.begin();
    alpha.begin();
    settle(&[&alpha, &beta]);
    // A rename that was cut short may look like a deletion of much until its other half is found (L6): what was really
    // deleted with it then waits for a word.
    for _ in 0..3 {
        if approve_held(&[&alpha, &beta]) {
            settle(&[&alpha, &beta]);
        }
    }
    equal(&[&alpha, &beta]);
    let tree = tree_of(&alpha.root());
    for index in 0..50 {
        let new = format!("many/new{index}");
        let stays =
            tree.contains_key(new.as_bytes()) || tree.contains_key(format!("moved/new{index}").as_bytes());
        assert!(stays, "{new} is lost");
    }
    for index in 50..2400 {
        let is_there = ["moved", "many"].iter().any(|d| tree.contains_key(format!("{d}/{index}").as_bytes()));
        assert!(is_there, "{index} is lost");
    }
}

fn big_file(device: &Device) {
    device.user().write("big", noise(7, (200 * MEBIBYTE) as usize), JANUARY);
}

fn small_files(device: &Device) {
    device.user().mkdir("many");
    for index in 0..2400 {
        device.user().write(format!("many/{index}"), noise(index, 4096), JANUARY);
    }
}

/// Waits until a device has staged so many bytes; false if the file was in place before.
fn staged(device: &Device, n_bytes: u64) -> bool {
    eventually(PATIENCE, || {
        if device.user().has("big") {
            return Ok(false);
        }
        let n_staged = allocated_below(&device.root().join(".file-sync/stage"));
        if n_staged >= n_bytes {
            Ok(true)
        } else {
            Err(format!("{n_staged} bytes are staged, not {n_bytes}"))
        }
    })
}

/// Waits until a device has put so many files in place.
fn arrived(device: &Device, n_files: usize) {
    eventually(PATIENCE, || {
        let n_arrived = std::fs::read_dir(device.root().join("many")).map_or(0, Iterator::count);
        if n_arrived >= n_files { Ok(()) } else { Err(format!("{n_arrived} of {n_files} arrived")) }
    });
}

/// V1 and V2: whatever has its final name at the receiver is exactly what the sender has there.
fn no_partial_file(sender: &Device, receiver: &Device) {
    let (sent, mut come) = (tree_of(&sender.root()), tree_of(&receiver.root()));
    // Directories get their modes with them, but a parent may be there before what is in it.
    let mut due = sent.clone();
    due.retain(|path, _| come.contains_key(path));
    come.retain(|path, _| sent.contains_key(path) || path.is_empty());
    if let Some(difference) = difference(&due, &come) {
        panic!("something partial has a final name: {difference}");
    }
}

fn stage_is_empty(device: &Device) {
    eventually(PATIENCE, || {
        let left = files_below(&device.root().join(".file-sync/stage"));
        if left.is_empty() { Ok(()) } else { Err(format!("left in the stage of {}: {left:?}", device.name)) }
    });
}

fn allocated_below(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let allocated =
        |path: &std::path::PathBuf| std::fs::symlink_metadata(path).map_or(0, |m| m.blocks() * 512);
    files_below(directory).iter().map(allocated).sum()
}
