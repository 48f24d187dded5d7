//! What remotes may say, true or not, and what follows from it.

use file_sync_core::context::Context;
use file_sync_core::engine::{Event, Mode};
use file_sync_core::message::{Entries, Entry, Member, Message};
use file_sync_core::path::SyncPath;
use file_sync_core::register::Register;
use file_sync_core::version::{Actor, Changed, Content, DeviceId, Dot, Signature, Time, Value, Version};
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

#[test]
fn h3_many_checks_of_a_remote_are_answered_together() {
    let mut world = star(2);
    take_over(&mut world);
    let (n_scans_before, directory) = (n_walks(&world), world.devices[0].config.directory);
    world.options.is_traced = true;
    for token in 0..1_000 {
        say(&mut world, Message::Check { directory, token });
    }
    world.run_us(60 * SECOND_US);
    assert!(n_walks(&world) - n_scans_before <= 2, "{}", n_walks(&world) - n_scans_before);
    let answers = world.trace.iter().filter(|line| line.contains("Checked")).count();
    assert!((1..=32).contains(&answers), "{answers}");
    assert!(
        world.trace.iter().any(|line| line.contains("Checked") && line.contains("token: 999,")),
        "the newest is answered"
    );
}

/// How often the first device has been looked through.
fn n_walks(world: &World) -> usize {
    world.trace.iter().filter(|line| line.contains("-> Walk")).count()
}

#[test]
fn h3_members_are_remembered_up_to_a_limit_and_numbers_that_leave_none_are_not() {
    let mut world = star(2);
    take_over(&mut world);
    let directory = world.devices[0].config.directory;
    let member = |number| Member { number, active: true, key: [9; 32] };
    let device = |n: u64| DeviceId(std::array::from_fn(|index| (n >> (8 * (index % 2))) as u8));
    let many = (0..4_000).map(|n| (device(n), member(2))).collect();
    say(&mut world, Message::Members { directory, members: many });
    let own = world.devices[0].id;
    let spent = [(own, Member { active: false, ..member(u64::MAX) })].into_iter().collect();
    say(&mut world, Message::Members { directory, members: spent });
    let members = world.devices[0].engine.as_ref().expect("it runs").members();
    assert_eq!(members.len(), 1_024);
    assert_eq!((members[&own].number, members[&own].active), (1, true));
}

/// A register of so many deletes that nobody had seen of each other.
fn many_deletes(actor_epoch: u64, n: u64) -> Register {
    let actor = Actor { device: DeviceId([0x22; 32]), epoch: actor_epoch };
    let delete = |counter| Version {
        dot: Dot { actor, counter },
        value: Value::ABSENT,
        rank: Time::default(),
        replaced: Vec::new(),
        heard: None,
        base: Content::Absent,
        changed: Changed::ALL,
        born_at: None,
        signature: Signature(Some([0; 64])),
    };
    Register::from_parts((1..=n).map(delete).collect(), Context::default(), Vec::new())
}

#[test]
fn s2_what_could_not_be_passed_on_is_not_taken_in_and_said() {
    let mut world = star(2);
    take_over(&mut world);
    world.options.is_traced = true;
    let path = SyncPath::parse(b"x").expect("a good path");
    let entry = |epoch| Entry { path: path.clone(), register: many_deletes(epoch, 3_000), holds: true };
    let first = entries(&world, 100, vec![entry(1)]);
    say(&mut world, first);
    world.run_us(SECOND_US);
    let n_versions = |world: &World| {
        let engine = world.devices[0].engine.as_ref().expect("it runs");
        engine.tree().get(&path).expect("it was told").register.versions().len()
    };
    assert_eq!(n_versions(&world), 3_000);
    world.devices[1].durable.counters.sequence += 1;
    let second = entries(&world, 100, vec![entry(1), entry(2)]);
    let before = world.devices[1].durable.counters.sequence;
    say(&mut world, second);
    world.run_us(30 * SECOND_US);
    assert_eq!(n_versions(&world), 3_000, "the second would not fit");
    let status = world.devices[0].engine.as_ref().expect("it runs").status();
    assert!(status.problems.iter().any(|problem| problem.path == b"x"), "{:?}", status.problems);
    let said = world.trace.iter().rev().find(|line| line.contains("-> Send") && line.contains("Progress"));
    assert!(said.is_some_and(|line| line.contains(&format!("applied: {before},"))), "{said:?}");
}

#[test]
fn h3_numbers_at_their_end_are_borne() {
    let mut world = star(2);
    take_over(&mut world);
    let path = SyncPath::parse(b"x").expect("a good path");
    let Message::Entries(last) = entries(&world, u64::MAX, Vec::new()) else { return };
    say(&mut world, Message::Entries(Entries { through: u64::MAX, ..last.clone() }));
    let entry = Entry { path, register: many_deletes(1, 1), holds: true };
    let end = Entries { after: u64::MAX, through: u64::MAX, entries: vec![entry], ..last };
    say(&mut world, Message::Entries(end));
    world.run_us(SECOND_US);
    assert_eq!(world.devices[0].disk.show(), ["f = one"]);
}

/// The one who remembers them said nothing of them when it attached: it has heard of them only now.
#[test]
pub fn c5_dots_of_its_own_that_a_device_has_forgotten_are_not_made_again() {
    let mut world = star(2);
    take_over(&mut world);
    world.write(0, "own", "own");
    world.run_us(5 * SECOND_US);
    let own = SyncPath::parse(b"own").expect("a good path");
    let engine = world.devices[0].engine.as_ref().expect("it runs");
    let actor = engine.tree().get(&own).expect("it was written").register.versions()[0].dot.actor;
    let counters = world.devices[0].durable.counters;
    let mut forgotten = many_deletes(1, 1).versions()[0].clone();
    forgotten.dot = Dot { actor, counter: counters.counter + 1 };
    let register = Register::from_parts(vec![forgotten], Context::default(), Vec::new());
    let path = SyncPath::parse(b"x").expect("a good path");
    let relayed = entries(&world, 100, vec![Entry { path: path.clone(), register, holds: true }]);
    say(&mut world, relayed);
    world.write(0, "x", "new");
    world.run_us(5 * SECOND_US);
    let engine = world.devices[0].engine.as_ref().expect("it runs");
    let node = engine.tree().get(&path).expect("it was written");
    let mut versions = node.register.versions().iter();
    let written = versions.find(|version| version.value.is_present()).expect("it was written");
    assert_ne!(written.dot.actor, actor);
    assert_eq!(world.devices[0].disk.show(), ["f = one", "own = own", "x = new"]);
}
