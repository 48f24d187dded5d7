//! What is found on a disk, and what is not made of it.

use file_sync_core::engine::{Event, Mode};
use file_sync_core::message::{Entries, Message};
use file_sync_core::path::SyncPath;
use file_sync_core::version::Time;
use file_sync_sim::{Body, Options, World};

const A: usize = 0;
const B: usize = 1;

/// Starts a device of each mode, all linked to the first.
fn world(modes: &[Mode]) -> World {
    let mut world = World::new(1, modes, Options::default());
    (0..modes.len()).for_each(|device| world.start(device));
    (1..modes.len()).for_each(|device| world.connect(A, device));
    world
}

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).expect("a valid path")
}

#[track_caller]
fn rests(world: &mut World) {
    assert_eq!(world.rest(), None);
}

#[track_caller]
fn is_shown(world: &World, device: usize, lines: &[&str]) {
    assert_eq!(world.devices[device].disk.show(), lines);
}

#[test]
fn d4_a_receiver_keeps_a_file_with_deleted_bytes_that_its_user_made_again_while_it_was_off() {
    let mut world = world(&[Mode::TwoWay, Mode::ReceiveOnly]);
    world.write(A, "f", "same");
    rests(&mut world);
    world.delete(A, "f");
    rests(&mut world);
    world.crash(B);
    world.write(B, "f", "same");
    world.start(B);
    rests(&mut world);
    is_shown(&world, A, &[]);
    is_shown(&world, B, &["f = same"]);
}

#[test]
fn l6_a_mount_over_a_synced_directory_deletes_nothing_below_it() {
    let mut world = world(&[Mode::TwoWay, Mode::TwoWay]);
    for name in ["d/1", "d/2", "d/e/3"] {
        world.write(A, name, name);
    }
    rests(&mut world);
    world.devices[B].disk.mounts = vec![path("d")];
    world.rescan(B);
    rests(&mut world);
    is_shown(&world, A, &["d/", "d/1 = d/1", "d/2 = d/2", "d/e/", "d/e/3 = d/e/3"]);
    world.write(A, "d/1", "new");
    world.delete(A, "d/2");
    rests(&mut world);
    world.devices[B].disk.mounts.clear();
    world.rescan(B);
    assert_eq!(world.rest_and_check(), Vec::<String>::new());
    is_shown(&world, B, &["d/", "d/1 = new", "d/e/", "d/e/3 = d/e/3"]);
}

#[test]
pub fn c5_an_older_disk_under_a_home_replaces_nothing_newer_anywhere() {
    let mut world = world(&[Mode::TwoWay, Mode::TwoWay]);
    world.write(A, "f", "old");
    world.write(A, "same", "same");
    rests(&mut world);
    let older = world.devices[B].disk.clone();
    world.write(A, "f", "newer");
    rests(&mut world);
    world.write(A, "f", "new");
    world.chmod(A, "same", 0o600);
    rests(&mut world);
    world.crash(B);
    world.devices[B].disk = older;
    (world.devices[B].durable.is_doubted, world.devices[B].durable.first_scan_done) = (true, false);
    world.start(B);
    rests(&mut world);
    assert_eq!(world.devices[A].disk.show(), world.devices[B].disk.show());
    let shown = world.devices[A].disk.show();
    assert!(shown.contains(&"f = new".to_owned()), "{shown:?}");
    let is_copy = |line: &String| line.starts_with("f.sync-conflict") && line.ends_with("= old");
    assert!(shown.iter().any(is_copy), "{shown:?}");
    assert!(shown.contains(&"same = same".to_owned()) && shown.len() == 3, "{shown:?}");
    let modes = [A, B].map(|device| world.devices[device].disk.get(&path("same")).map(|item| item.mode));
    assert_eq!(modes, [Some(0o600); 2]);
}

#[test]
fn a_new_files_first_edit_is_looked_at_at_once() {
    let mut world = world(&[Mode::TwoWay]);
    world.options.work_us_max = 300;
    rests(&mut world);
    let n_versions = |world: &World| world.devices[A].durable.counters.counter;
    world.write(A, "f", "new");
    let until = world.now_us + 2_000_000;
    while n_versions(&world) == 0 && world.advance(until) {}
    world.write(A, "f", "edited");
    world.run_us(30_000);
    assert_eq!(n_versions(&world), 2);
}

/// Makes a file where a receiver's user has a directory of its own.
fn meet_a_local_directory(world: &mut World) {
    world.write(B, "d/x", "local");
    rests(world);
    world.write(A, "d", "file");
}

#[test]
fn s2_a_receivers_own_directory_gives_way_to_a_file_with_all_that_is_in_it() {
    let mut world = world(&[Mode::TwoWay, Mode::ReceiveOnly]);
    meet_a_local_directory(&mut world);
    rests(&mut world);
    let shown = world.devices[B].disk.show();
    assert!(shown.contains(&"d = file".to_owned()), "{shown:?}");
    let is_copy = |line: &String| line.starts_with("d.sync-conflict") && line.ends_with("/x = local");
    assert!(shown.iter().any(is_copy), "{shown:?}");
}

#[test]
fn s2_what_is_never_as_expected_is_tried_now_and_then_only() {
    let mut world = world(&[Mode::TwoWay, Mode::ReceiveOnly]);
    rests(&mut world);
    world.mkdir(B, "d");
    world.devices[B].disk.create(&path("d/fifo"), Body::Fifo, 0o644, Time::default());
    meet_a_local_directory(&mut world);
    world.run_us(60_000_000);
    let n_surprises = world.stats.n_surprises;
    assert!((1..=50).contains(&n_surprises), "{n_surprises}");
    is_shown(&world, B, &["d/", "d/fifo |", "d/x = local"]);
    world.devices[B].disk.remove(&path("d/fifo"));
    rests(&mut world);
    assert!(world.devices[B].disk.show().contains(&"d = file".to_owned()));
}

const SECOND_US: u64 = 1_000_000;

/// Lets time pass; only so many events may come of it.
#[track_caller]
fn is_calm(world: &mut World, span_us: u64) {
    let before = world.stats.n_events;
    world.run_us(span_us);
    let n_events = world.stats.n_events - before;
    assert!(n_events <= 100, "{n_events} events");
}

#[test]
fn s3_hints_while_the_root_is_lost_wait_without_a_look_at_the_clock() {
    let mut world = world(&[Mode::TwoWay]);
    rests(&mut world);
    world.set_root_lost(A, true);
    world.run_us(5 * SECOND_US);
    world.write(A, "f", "while it is lost");
    is_calm(&mut world, 20 * SECOND_US);
}

#[test]
fn s3_a_missing_file_waits_for_its_other_half_without_a_look_at_the_clock() {
    let mut world = world(&[Mode::TwoWay]);
    world.write(A, "f", "renamed");
    rests(&mut world);
    let n_hashes = world.stats.n_hashes;
    world.write(A, "g", "renamed");
    world.delete(A, "f");
    let until = world.now_us + 2 * SECOND_US;
    while world.stats.n_hashes == n_hashes && world.advance(until) {}
    world.options.work_us_max = 120 * SECOND_US; // It takes long to read.
    is_calm(&mut world, 10 * SECOND_US);
    assert_eq!(world.devices[A].durable.counters.counter, 1, "nothing is deleted yet");
}

#[test]
fn s3_what_is_deferred_waits_for_the_end_of_a_pause_without_a_look_at_the_clock() {
    let mut world = world(&[Mode::TwoWay; 3]);
    world.write(A, "f", "f");
    rests(&mut world);
    world.devices[B].engine = None; // The test speaks for it: much is to come, and never does.
    let (from, counters) = (world.devices[B].id, world.devices[B].durable.counters);
    let (directory, index_id) = (world.devices[B].config.directory, counters.index_id);
    let (after, through) = (counters.sequence, counters.sequence);
    let entries = Entries { directory, index_id, after, through, latest: u64::MAX, entries: Vec::new() };
    world.step(A, Event::Message { from, message: Message::Entries(entries) });
    world.delete(2, "f");
    world.run_us(2 * SECOND_US);
    world.set_paused(A, true);
    is_calm(&mut world, 60 * SECOND_US);
    is_shown(&world, A, &["f = f"]);
    world.set_paused(A, false);
    world.run_us(10 * SECOND_US);
    is_shown(&world, A, &[]);
}

#[test]
fn l7_a_fifo_in_place_of_a_directory_stays_and_what_was_in_the_directory_is_deleted() {
    let mut world = world(&[Mode::TwoWay, Mode::TwoWay]);
    world.write(A, "d/x", "x");
    rests(&mut world);
    world.crash(B);
    world.delete(B, "d");
    world.devices[B].disk.create(&path("d"), Body::Fifo, 0o644, Time::default());
    world.start(B);
    rests(&mut world);
    is_shown(&world, A, &["d/"]);
    world.write(A, "d/y", "y");
    rests(&mut world);
    is_shown(&world, B, &["d |"]);
    world.devices[B].disk.remove(&path("d"));
    world.mkdir(B, "d");
    rests(&mut world);
    is_shown(&world, B, &["d/", "d/y = y"]);
}

#[test]
fn l6_what_a_mount_hid_is_deleted_with_the_directory_above_it_once_it_is_unmounted() {
    let mut world = world(&[Mode::TwoWay, Mode::TwoWay]);
    world.write(A, "d/m/x", "x");
    rests(&mut world);
    world.devices[B].disk.mounts = vec![path("d/m")];
    world.rescan(B);
    rests(&mut world);
    world.options.lost_hints_percent = 100;
    world.devices[B].disk.mounts.clear();
    world.delete(B, "d");
    world.rescan(B);
    rests(&mut world);
    is_shown(&world, A, &[]);
}

/// Two devices at rest with `f = new`, which was `old` before, and its item as it was then on the first's disk.
fn world_with_history() -> (World, file_sync_sim::Item) {
    let mut world = world(&[Mode::TwoWay, Mode::TwoWay]);
    world.write(A, "f", "old");
    rests(&mut world);
    let older = world.devices[A].disk.get(&path("f")).expect("it was written").clone();
    world.run_us(SECOND_US);
    world.write(A, "f", "new");
    rests(&mut world);
    (world, older)
}

/// Has the machine of the first device start again, with this at f.
fn start_again_with(world: &mut World, item: file_sync_sim::Item, is_other_run: bool) {
    world.crash(A);
    world.oracle.appeared(&item.body, &path("f"), A);
    world.devices[A].disk.items.insert(path("f"), item);
    world.devices[A].config.may_have_fallen_back = is_other_run;
    world.start(A);
}

/// A blank file with the inode of the one at f, written this moment.
fn blank(world: &World, bytes: &[u8]) -> file_sync_sim::Item {
    let mut item = world.devices[A].disk.get(&path("f")).expect("it is there").clone();
    let now = world.devices[A].wall(world.now_us);
    (item.body, item.mtime, item.ctime) = (Body::File(bytes.to_vec()), now, now);
    item
}

#[test]
pub fn c4_a_file_that_a_power_cut_left_blank_is_no_edit() {
    for bytes in [&b""[..], &[0; 3], &[0; 70_000]] {
        let (mut world, _) = world_with_history();
        let item = blank(&world, bytes);
        start_again_with(&mut world, item, true);
        assert_eq!(world.rest_and_check(), Vec::<String>::new());
        is_shown(&world, A, &["f = new"]);
        let is_kept = |item: &file_sync_sim::Item| item.body == Body::File(bytes.to_vec());
        assert!(world.devices[A].disk.kept.values().any(is_kept), "what was there is kept");
    }
}

#[test]
fn c4_a_file_that_fell_back_to_what_it_was_before_is_no_edit() {
    let (mut world, older) = world_with_history();
    start_again_with(&mut world, older, true);
    assert_eq!(world.rest_and_check(), Vec::<String>::new());
    is_shown(&world, A, &["f = new"]);
}

#[test]
fn c4_of_older_bytes_that_nobody_knows_both_are_kept() {
    let (mut world, older) = world_with_history();
    let unknown = file_sync_sim::Item { body: Body::File(b"in between".to_vec()), ..older };
    start_again_with(&mut world, unknown, true);
    rests(&mut world);
    for device in [A, B] {
        let shown = world.devices[device].disk.show();
        assert!(shown.len() == 2 && shown.contains(&"f = new".to_owned()), "{shown:?}");
        assert!(shown.iter().any(|line| line.ends_with(" = in between")), "{shown:?}");
    }
}

#[test]
fn c4_what_users_did_while_the_server_was_off_are_edits_all_the_same() {
    for (is_other_run, bytes) in [(true, "edited"), (true, "old"), (false, "")] {
        let (mut world, _) = world_with_history();
        let item = blank(&world, bytes.as_bytes());
        start_again_with(&mut world, item, is_other_run);
        rests(&mut world);
        is_shown(&world, B, &[&format!("f = {bytes}")]);
    }
    let (mut world, _) = world_with_history();
    world.write(A, "g", "older than f, and put in its place");
    world.touch(A, "g", 1_000);
    rests(&mut world);
    world.crash(A);
    world.mv(A, "g", "f");
    world.devices[A].config.may_have_fallen_back = true;
    world.start(A);
    rests(&mut world);
    is_shown(&world, B, &["f = older than f, and put in its place"]);
}

/// An edit that came to nobody before its power cut, of which a blank file is left.
fn lost_edit() -> World {
    let (mut world, _) = world_with_history();
    world.cut(A, B);
    world.write(A, "f", "newer");
    world.run_us(10 * SECOND_US);
    let item = blank(&world, b"");
    start_again_with(&mut world, item, true);
    world.connect(A, B);
    world.run_us(60 * SECOND_US);
    is_shown(&world, A, &["f = "]);
    is_shown(&world, B, &["f = new"]);
    world
}

#[test]
fn c4_bytes_that_nobody_has_any_more_are_said_to_be_lost() {
    let mut world = lost_edit();
    let problems = |world: &World| {
        let engine = world.devices[A].engine.as_ref().expect("it runs");
        let of = |problem: file_sync_core::engine::Problem| {
            format!("{}: {}", String::from_utf8_lossy(&problem.path), problem.message)
        };
        engine.status().problems.into_iter().map(of).collect::<Vec<_>>()
    };
    let told = problems(&world);
    assert!(told.iter().any(|line| line.contains("the machine stopped before")), "{told:?}");
    world.write(A, "f", "written again");
    rests(&mut world);
    assert_eq!(problems(&world), Vec::<String>::new());
}

#[test]
fn c4_l5_who_saves_what_a_power_cut_left_blank_replaces_what_was_there() {
    for starts_again in [false, true] {
        let mut world = lost_edit();
        if starts_again {
            world.crash(A);
            world.devices[A].config.may_have_fallen_back = false;
            world.start(A);
            world.run_us(10 * SECOND_US);
        }
        world.write(A, "f", "written again");
        rests(&mut world);
        for device in [A, B] {
            is_shown(&world, device, &["f = written again"]);
        }
    }
}

#[test]
fn c4_d3_who_deletes_what_a_power_cut_left_blank_deletes_it_everywhere() {
    let mut world = lost_edit();
    world.delete(A, "f");
    rests(&mut world);
    for device in [A, B] {
        is_shown(&world, device, &[]);
    }
}

/// Saves of a small file, each a moment after the last was seen elsewhere: how long each takes, in microseconds.
fn saves_after_each_other(world: &mut World, n_saves: usize) -> Vec<u64> {
    let mut all = Vec::new();
    for number in 0..n_saves {
        let text = format!("f = {number}");
        world.write(A, "f", &number.to_string());
        let begun = world.now_us;
        while world.devices[B].disk.show() != [text.as_str()] {
            world.run_us(1_000);
            assert!(world.now_us < begun + 60 * SECOND_US, "save {number} is never seen");
        }
        all.push(world.now_us - begun);
        world.run_us(60_000);
    }
    all
}

#[test]
fn s2_who_saves_again_and_again_waits_for_no_save_longer_than_for_a_blink() {
    let mut world = world(&[Mode::TwoWay; 2]);
    rests(&mut world);
    let took = saves_after_each_other(&mut world, 30);
    assert!(took.iter().all(|us| *us < 300_000), "{took:?}");
}

#[test]
fn s3_what_is_written_all_the_time_is_read_less_and_less() {
    let mut world = world(&[Mode::TwoWay; 2]);
    rests(&mut world);
    let mut n_read = Vec::new();
    for _ in 0..4 {
        let before = world.stats.n_hashes;
        for number in 0..5_000 {
            world.write(A, "f", &format!("{number}"));
            world.run_us(20_000);
        }
        n_read.push(world.stats.n_hashes - before);
    }
    // Of 5,000 saves in 100 s each.
    assert!(n_read[0] < 150 && n_read[3] < 25, "{n_read:?}");
    world.run_us(12 * SECOND_US);
    rests(&mut world);
    is_shown(&world, B, &["f = 4999"]);
}
