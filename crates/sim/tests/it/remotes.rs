//! What remotes may say, true or not, and what follows from it.

use file_sync_core::engine::{Event, Mode};
use file_sync_core::message::{Entries, Entry, Message};
use file_sync_sim::{Options, World};

const SECOND_US: u64 = 1_000_000;

/// Devices at rest, all linked to the first.
fn star(n_devices: usize) -> World {
    let mut world = World::new(1, &vec![Mode::TwoWay; n_devices], Options::default());
    (0..n_devices).for_each(|device| world.start(device));
    (1..n_devices).for_each(|device| world.connect(0, device));
    world.write(0, "f", "one");
    world.run_us(5 * SECOND_US);
    world
}

/// From now on the second device says nothing but what the test has it say.
fn take_over(world: &mut World) {
    world.devices[1].engine = None;
}

fn say(world: &mut World, message: Message) {
    let from = world.devices[1].id;
    world.step(0, Event::Message { from, message });
}

fn entries(world: &World, latest: u64, entries: Vec<Entry>) -> Message {
    let device = &world.devices[1];
    let (directory, counters) = (device.config.directory, device.durable.counters);
    let (after, through) = (counters.sequence, counters.sequence + entries.len() as u64);
    Message::Entries(Entries { directory, index_id: counters.index_id, after, through, latest, entries })
}

#[test]
fn s2_removals_wait_for_what_a_remote_never_says_for_a_while_only() {
    let mut world = star(3);
    take_over(&mut world);
    let announcement = entries(&world, u64::MAX, Vec::new());
    say(&mut world, announcement);
    world.delete(2, "f");
    world.run_us(3 * SECOND_US);
    assert_eq!(world.devices[0].disk.show(), ["f = one"], "the other half of a rename may still come");
    world.run_us(10 * SECOND_US);
    assert!(world.devices[0].disk.show().is_empty());
    world.write(2, "g", "two");
    world.run_us(SECOND_US);
    world.delete(2, "g");
    world.run_us(2 * SECOND_US);
    assert!(world.devices[0].disk.show().is_empty(), "nor does the next one wait again");
}
