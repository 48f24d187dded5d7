//! What lets members forget deletes, and what must not (promise D3).

use file_sync_core::engine::{Event, Mode};
use file_sync_core::version::Time;
use file_sync_sim::{Options, World};

const SECOND_US: u64 = 1_000_000;
const LIMIT: u64 = 2 << 20;

/// Names come and go; all is forgotten again. What one remote has made this directory take never shrinks.
#[test]
fn h3_what_is_forgotten_does_not_count_against_its_sender() {
    let options = Options { forgets: 1, ..Options::default() };
    let mut world = World::new(1, &[Mode::TwoWay; 2], options);
    (0..2).for_each(|device| world.start(device));
    world.connect(0, 1);
    world.write(1, "f", "one");
    world.run_us(5 * SECOND_US);
    for cycle in 0..60 {
        // As the server does before each batch: all that is free.
        let taken = world.devices[0].engine.as_ref().expect("it runs").tree().announced_bytes() as u64;
        world.devices[0].engine.as_mut().expect("it runs").limit_announced(LIMIT.saturating_sub(taken));
        (0..100).for_each(|n| world.write(1, &format!("{cycle}-{n}"), "bytes"));
        world.run_us(5 * SECOND_US);
        (0..100).for_each(|n| world.delete(1, &format!("{cycle}-{n}")));
        world.run_us(5 * SECOND_US);
        world.write(1, "f", &format!("cycle {cycle}"));
        world.run_us(5 * SECOND_US);
        world.write(0, "g", &format!("cycle {cycle}"));
        world.run_us(5 * SECOND_US);
        let engine = world.devices[0].engine.as_ref().expect("it runs");
        let problems = engine.status().problems;
        assert!(
            problems.is_empty(),
            "cycle {cycle}: {} bytes announced of {}; {:?}",
            engine.tree().announced_bytes(),
            LIMIT,
            problems[0]
        );
    }
}

fn path(text: &str) -> file_sync_core::path::SyncPath {
    file_sync_core::path::SyncPath::parse(text.as_bytes()).expect("a path")
}

fn forget(world: &mut World, device: usize) {
    let ever = Time { seconds: i64::MAX, nanoseconds: 0 };
    let now = world.devices[device].now(world.now_us);
    let _ = world.devices[device].engine.as_mut().expect("it runs").forget_deleted(now, ever);
    world.step(device, Event::Tick);
    world.run_us(5 * SECOND_US);
}

fn knows(world: &World, device: usize, at: &str) -> bool {
    world.devices[device].engine.as_ref().expect("it runs").tree().get(&path(at)).is_some()
}

/// What a remote had made in a directory was refused for want of room; its word that it had followed was taken.
#[test]
fn s1_what_is_refused_keeps_its_directory_from_being_forgotten() {
    let mut world = World::new(1, &[Mode::TwoWay; 2], Options::default());
    (0..2).for_each(|device| world.start(device));
    world.connect(0, 1);
    world.write(0, "d/f", "one");
    world.run_us(2 * SECOND_US);
    world.chmod(0, "d", 0o700);
    world.run_us(5 * SECOND_US);
    world.write(0, "k", "keep");
    world.run_us(5 * SECOND_US);
    world.cut(0, 1);
    world.run_us(SECOND_US);
    world.write(1, "d/new", "two");
    world.delete(0, "d");
    world.run_us(5 * SECOND_US);
    world.devices[0].engine.as_mut().expect("it runs").limit_announced(0);
    world.connect(0, 1);
    world.run_us(10 * SECOND_US);
    world.write(0, "k", "kept");
    world.run_us(10 * SECOND_US);
    assert!(!knows(&world, 0, "d/new"), "refused");
    forget(&mut world, 0);
    let forgotten = !knows(&world, 0, "d");
    world.crash(0);
    world.start(0); // With more room.
    world.run_us(60 * SECOND_US);
    let mode = |device: usize| world.devices[device].disk.items.get(&path("d")).map(|item| item.mode);
    assert_eq!(world.devices[0].disk.show(), world.devices[1].disk.show());
    assert_eq!(mode(0), mode(1), "modes of d; forgotten early: {forgotten}");
}

/// A hub refuses a delete for want of room, and tells that a member that is away is level with it all the same.
#[test]
fn d3_a_hub_that_refused_a_delete_says_nothing_of_who_is_away() {
    let mut world = World::new(1, &[Mode::TwoWay; 3], Options::default());
    (0..3).for_each(|device| world.start(device));
    world.connect(0, 1);
    world.connect(1, 2);
    world.write(0, "p", "one");
    world.run_us(5 * SECOND_US);
    world.write(0, "z", "keep");
    world.run_us(5 * SECOND_US);
    world.cut(1, 2); // The third is away from now on, level with the hub.
    world.run_us(SECOND_US);
    // The delete comes from a life of which the hub has not heard: it takes room.
    world.crash(0);
    world.start(0);
    world.run_us(5 * SECOND_US);
    world.devices[1].engine.as_mut().expect("it runs").limit_announced(0);
    world.delete(0, "p");
    world.run_us(5 * SECOND_US);
    assert!(world.devices[1].disk.show().contains(&"p = one".to_owned()), "refused");
    world.crash(1);
    world.start(1); // With more room.
    world.run_us(20 * SECOND_US);
    assert!(!world.devices[1].disk.show().contains(&"p = one".to_owned()), "taken in");
    world.write(0, "k", "kept");
    world.run_us(10 * SECOND_US);
    forget(&mut world, 0);
    forget(&mut world, 1);
    let known = [0, 1].map(|device| knows(&world, device, "p"));
    world.connect(1, 2);
    world.run_us(60 * SECOND_US);
    let shown = [0, 1, 2].map(|device| world.devices[device].disk.show());
    assert!(known == [true; 2] && shown[2] == shown[1], "known to A, B: {known:?}; then {shown:?}");
}

/// The last of so many, linked in a line, is put back to before a delete that all have followed, or to before it met anybody;
/// it is met for a moment, heard, told nothing, and away again.
fn put_back_and_met_for_a_moment(n: usize, is_image_new: bool) -> World {
    let (hub, last) = (n - 2, n - 1);
    let mut world = World::new(1, &vec![Mode::TwoWay; n], Options::default());
    (0..n).for_each(|device| world.start(device));
    world.run_us(SECOND_US);
    if is_image_new {
        world.take_snapshot(last);
    }
    (1..n).for_each(|device| world.connect(device - 1, device));
    world.write(0, "p", "one");
    world.run_us(5 * SECOND_US);
    // What each device has done last is never forgotten: this is it, not the delete.
    (0..n).for_each(|device| world.write(device, &format!("z{device}"), &format!("keep {device}")));
    world.run_us(10 * SECOND_US);
    if !is_image_new {
        world.take_snapshot(last);
    }
    world.delete(0, "p");
    world.run_us(5 * SECOND_US);
    world.write(0, "k", "keep");
    world.run_us(20 * SECOND_US);
    assert!(world.devices.iter().all(|device| !device.disk.show().contains(&"p = one".to_owned())));
    world.cut(hub, last);
    world.run_us(SECOND_US);
    world.revert(last);
    world.start(last);
    world.connect(hub, last);
    world.stall(hub, last);
    world.run_us(SECOND_US);
    world.cut(hub, last);
    world.run_us(SECOND_US);
    world
}

/// What a machine put back has not followed any more is to stay known to all, also to who only hears of it.
#[test]
fn d3_who_was_put_back_and_is_away_again_is_waited_for() {
    for is_image_new in [false, true] {
        let mut world = put_back_and_met_for_a_moment(3, is_image_new);
        forget(&mut world, 0);
        forget(&mut world, 1);
        let known = [0, 1].map(|device| knows(&world, device, "p"));
        world.connect(1, 2);
        world.run_us(60 * SECOND_US);
        let shown = [0, 1, 2].map(|device| world.devices[device].disk.show());
        assert!(known == [true; 2], "known to A, B: {known:?}; then {shown:?}");
        assert!(!shown[0].contains(&"p = one".to_owned()));
    }
}

/// The same over a restart of who met it, which has stored what it had heard before.
#[test]
fn d3_who_was_put_back_is_waited_for_over_a_restart_of_who_met_it() {
    for is_image_new in [false, true] {
        let mut world = put_back_and_met_for_a_moment(2, is_image_new);
        world.crash(0);
        world.start(0);
        world.run_us(5 * SECOND_US);
        forget(&mut world, 0);
        assert!(knows(&world, 0, "p"), "the other is known to be behind; new image: {is_image_new}");
    }
}

/// Who has followed is news of each spoke to all the others: told at once, one file would cost the cube of their number.
#[test]
fn s3_who_has_followed_is_told_at_a_pace() {
    const N_SPOKES: usize = 12;
    let mut world = World::new(1, &[Mode::TwoWay; N_SPOKES + 1], Options::default());
    (0..=N_SPOKES).for_each(|device| world.start(device));
    (1..=N_SPOKES).for_each(|device| world.connect(0, device));
    world.write(0, "p", "one");
    world.run_us(30 * SECOND_US);
    world.options.is_traced = true;
    world.write(1, "q", "two");
    world.run_us(30 * SECOND_US);
    let levels = world.trace.iter().filter(|line| line.contains("-> Send") && line.contains("Progress("));
    let levels = levels.filter_map(|line| line.split("level: {").nth(1)?.split('}').next());
    let n_named: usize =
        levels.map(|level| level.split(", ").filter(|device| !device.is_empty()).count()).sum();
    assert!(n_named <= 4 * N_SPOKES * N_SPOKES, "{n_named} devices named");
}
