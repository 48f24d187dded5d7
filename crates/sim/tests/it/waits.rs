//! What a wait may say, and when.

use file_sync_core::engine::Mode;
use file_sync_sim::{Options, World};

const SECOND_US: u64 = 1_000_000;

/// Two linked devices at rest.
fn two_devices() -> World {
    two_devices_of(1)
}

/// As before, with other delays.
fn two_devices_of(seed: u64) -> World {
    let mut world = World::new(seed, &[Mode::TwoWay, Mode::TwoWay], Options::default());
    world.start(0);
    world.start(1);
    world.connect(0, 1);
    world.run_us(5 * SECOND_US);
    world
}

fn has(world: &World, device: usize, line: &str) -> bool {
    world.devices[device].disk.show().iter().any(|shown| shown == line)
}

#[test]
fn a_wait_where_nobody_is_connected_ends_once_this_disk_has_been_looked_at() {
    let mut world = World::new(1, &[Mode::TwoWay, Mode::TwoWay], Options::default());
    world.write(0, "f", "one");
    world.start(0);
    world.wait(0, 1);
    assert!(!world.is_wait_done(0, 1));
    while !world.is_wait_done(0, 1) {
        world.run_us(1_000);
        assert!(world.now_us < 60 * SECOND_US);
    }
    assert_eq!(world.devices[0].engine.as_ref().unwrap().status().files, 1);
}

#[test]
pub fn a_wait_is_for_bytes_that_a_remote_still_lacks_after_its_restart() {
    // Whether it is tried at all depends on what comes first after the restart.
    (1..=20).for_each(wait_for_bytes_after_a_restart);
}

fn wait_for_bytes_after_a_restart(seed: u64) {
    let mut world = two_devices_of(seed);
    world.options.failed_fetches_percent = 100;
    world.write(0, "f", "one");
    world.run_us(2 * SECOND_US);
    world.crash(1);
    world.start(1);
    world.run_us(2 * SECOND_US);
    world.write(0, "d/g", ""); // So that it says anew how far it has come.
    world.run_us(2 * SECOND_US);
    world.wait(0, 1);
    world.run_us(20 * SECOND_US);
    assert!(!world.is_wait_done(0, 1), "{:?}", world.devices[1].disk.show());
    world.options.failed_fetches_percent = 0;
    world.run_us(60 * SECOND_US);
    assert!(world.is_wait_done(0, 1) && has(&world, 1, "f = one"));
}

/// The waiting device has the other's bytes under another name, so that it needs nothing itself.
#[test]
fn a_wait_is_for_the_copy_that_a_remote_still_lacks() {
    let mut world = World::new(1, &[Mode::TwoWay, Mode::TwoWay], Options::default());
    world.start(0);
    world.start(1);
    world.options.failed_fetches_percent = 100;
    world.write(0, "f", "one");
    world.write(0, "g", "two");
    world.run_us(2 * SECOND_US);
    world.write(1, "f", "two");
    world.run_us(2 * SECOND_US);
    world.connect(0, 1);
    world.run_us(5 * SECOND_US);
    assert!(has(&world, 0, "f = two") && has(&world, 1, "g = two"));
    world.wait(0, 1);
    world.run_us(20 * SECOND_US);
    assert!(!world.is_wait_done(0, 1), "{:?}", world.devices[1].disk.show());
    world.options.failed_fetches_percent = 0;
    world.run_us(60 * SECOND_US);
    assert!(world.is_wait_done(0, 1));
    assert_eq!(world.devices[0].disk.show(), world.devices[1].disk.show());
}

#[test]
fn a_wait_goes_on_while_a_remote_is_away() {
    let mut world = two_devices();
    world.options.failed_fetches_percent = 100;
    world.write(0, "f", "one");
    world.wait(0, 1);
    world.run_us(2 * SECOND_US);
    world.cut(0, 1);
    world.run_us(20 * SECOND_US);
    assert!(!world.is_wait_done(0, 1));
    world.options.failed_fetches_percent = 0;
    world.connect(0, 1);
    world.run_us(60 * SECOND_US);
    assert!(world.is_wait_done(0, 1) && has(&world, 1, "f = one"));
}

/// The link drops before this disk has been looked at.
#[test]
fn a_wait_goes_on_while_a_remote_is_away_from_the_beginning() {
    let mut world = two_devices();
    world.write(0, "f", "one");
    world.wait(0, 1);
    world.cut(0, 1);
    world.run_us(20 * SECOND_US);
    assert!(!world.is_wait_done(0, 1));
}

#[test]
fn a_wait_is_not_for_who_pauses_or_leaves() {
    for leaves in [false, true] {
        let mut world = two_devices();
        world.options.failed_fetches_percent = 100;
        world.write(0, "f", "one");
        world.wait(0, 1);
        world.run_us(2 * SECOND_US);
        assert!(!world.is_wait_done(0, 1));
        if leaves {
            world.leave(1);
        } else {
            world.set_paused(1, true);
            world.run_us(SECOND_US);
            world.cut(0, 1);
        }
        world.run_us(20 * SECOND_US);
        assert!(world.is_wait_done(0, 1), "leaves: {leaves}");
    }
}

/// Has the first device announce bytes that are gone before anybody has fetched them.
fn lose_bytes(world: &mut World) {
    world.options.failed_fetches_percent = 100;
    world.write(0, "lost", "lost");
    world.run_us(2 * SECOND_US);
    world.devices[0].engine = None; // It is gone, and its files with it.
    world.devices[0].disk = Default::default();
    world.cut(0, 1);
    world.options.failed_fetches_percent = 0;
    world.run_us(2 * SECOND_US);
}

#[test]
fn a_wait_is_not_for_bytes_that_nobody_connected_has() {
    let mut world = World::new(1, &[Mode::TwoWay; 3], Options::default());
    (0..3).for_each(|device| world.start(device));
    [(0, 1), (1, 2)].into_iter().for_each(|(one, two)| world.connect(one, two));
    world.run_us(5 * SECOND_US);
    lose_bytes(&mut world);
    world.write(1, "f", "one");
    world.wait(1, 1);
    world.wait(2, 2);
    world.run_us(30 * SECOND_US);
    assert!(world.is_wait_done(1, 1) && world.is_wait_done(2, 2));
    assert!(has(&world, 2, "f = one"));
    for device in [1, 2] {
        let status = world.devices[device].engine.as_ref().expect("it runs").status();
        let is_said = status.problems.iter().any(|problem| problem.path == b"lost");
        assert!(is_said, "what is pending is listed: {:?}", status.problems);
    }
}

/// The bytes are on their way to the one in between, whom the last has asked in vain.
#[test]
fn a_wait_is_for_bytes_that_come_through_others() {
    for seed in 0..10 {
        let mut world = World::new(seed, &[Mode::TwoWay; 4], Options::default());
        (0..4).for_each(|device| world.start(device));
        (0..3).for_each(|device| world.connect(device, device + 1));
        world.run_us(5 * SECOND_US);
        world.options.failed_fetches_percent = 100;
        world.write(0, "f", "one");
        world.run_us(3 * SECOND_US);
        world.options.failed_fetches_percent = 0;
        world.options.work_us_max = 20 * SECOND_US;
        world.wait(3, 1);
        let until = world.now_us + 3_000 * SECOND_US;
        while !world.is_wait_done(3, 1) && world.advance(until) {}
        assert!(world.is_wait_done(3, 1) && has(&world, 3, "f = one"), "seed {seed}");
    }
}

/// One file's bytes are nowhere; another's are just not there when they are asked for the first time.
#[test]
fn s2_what_is_only_moving_does_not_wait_for_what_nobody_has() {
    for seed in 1..=20 {
        let mut world = World::new(seed, &[Mode::TwoWay, Mode::TwoWay], Options::default());
        world.start(0);
        world.start(1);
        world.write(1, "gone", "one");
        world.run_us(2 * SECOND_US);
        world.options.lost_hints_percent = 100;
        world.delete(1, "gone"); // Which is not noticed before the next scan.
        world.connect(0, 1);
        world.run_us(60 * SECOND_US);
        assert!(!has(&world, 0, "gone = one"), "nobody has it");
        world.options.lost_hints_percent = 0;
        world.options.failed_fetches_percent = 40;
        world.write(1, "f", "two");
        world.run_us(6 * SECOND_US);
        assert!(has(&world, 0, "f = two"), "seed {seed}: {:?}", world.devices[0].disk.show());
    }
}

/// However often the other says something new meanwhile, bytes that nobody has are asked for at one pace.
#[test]
fn h3_bytes_that_nobody_has_are_asked_for_no_more_often_for_what_is_said() {
    let mut world = World::new(1, &[Mode::TwoWay, Mode::TwoWay], Options::default());
    world.start(0);
    world.start(1);
    world.write(1, "gone", "one");
    world.run_us(2 * SECOND_US);
    world.options.lost_hints_percent = 100;
    world.delete(1, "gone"); // Which is not noticed before the next scan.
    world.connect(0, 1);
    world.run_us(2 * SECOND_US);
    world.options.lost_hints_percent = 0;
    for number in 0..40 {
        world.write(1, &format!("f{number}"), &format!("{number}"));
        world.run_us(SECOND_US);
    }
    world.run_us(20 * SECOND_US);
    let before = world.stats.n_fetches;
    world.run_us(100 * SECOND_US);
    let asked = world.stats.n_fetches - before;
    assert!((5..=15).contains(&asked), "asked {asked} times in 100 s");
}
