//! A member that does its worst: what it can make another remember, send and do is bounded, and others go on.

use std::collections::BTreeMap;

use file_sync_core::context::Context;
use file_sync_core::engine::{Engine, Event, Mode};
use file_sync_core::message::{Attach, Entries, Entry, Member, Message};
use file_sync_core::path::SyncPath;
use file_sync_core::register::Register;
use file_sync_core::version::{Actor, Changed, Content, DeviceId, Dot, Signature, Time, Value, Version};
use file_sync_sim::{Options, World};

const SECOND_US: u64 = 1_000_000;
const MIB: usize = 1 << 20;

/// Three devices at rest, all linked to the first; the second is in a hostile hand from now on.
fn scene() -> World {
    let mut world = World::new(1, &[Mode::TwoWay; 3], Options::default());
    (0..3).for_each(|device| world.start(device));
    (1..3).for_each(|device| world.connect(0, device));
    world.write(0, "f", "one");
    world.run_us(5 * SECOND_US);
    world.devices[1].engine = None;
    world.options.is_traced = true;
    world
}

fn engine(world: &mut World) -> &mut Engine {
    world.devices[0].engine.as_mut().expect("it runs")
}

fn say(world: &mut World, message: Message) {
    let from = world.devices[1].id;
    world.step(0, Event::Message { from, message });
}

/// Says registers at these paths, as the hostile device's next batch.
fn announce(world: &mut World, paths: Vec<SyncPath>, register: impl Fn(u64) -> Register) {
    let device = &mut world.devices[1];
    let (directory, index_id) = (device.config.directory, device.durable.counters.index_id);
    let after = device.durable.counters.sequence;
    device.durable.counters.sequence += paths.len() as u64;
    let through = device.durable.counters.sequence;
    let entry = |(number, path)| Entry { path, register: register(after + number as u64 + 1), holds: true };
    let entries = paths.into_iter().enumerate().map(entry).collect();
    say(world, Message::Entries(Entries { directory, index_id, after, through, latest: through, entries }));
}

fn version(actor: Actor, counter: u64) -> Version {
    Version {
        dot: Dot { actor, counter },
        value: Value::Directory { mode: 0o755 },
        rank: Time::default(),
        replaced: Vec::new(),
        heard: None,
        base: Content::Absent,
        changed: Changed::ALL,
        born_at: None,
        signature: Signature(Some([0; 64])),
    }
}

fn directory_by(device: DeviceId) -> impl Fn(u64) -> Register {
    let actor = Actor { device, epoch: 9 };
    move |counter| Register::from_parts(vec![version(actor, counter)], Context::default(), Vec::new())
}

fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).expect("a good path")
}

fn sent<'a>(world: &'a World, what: &'a str) -> impl Iterator<Item = &'a String> {
    world.trace.iter().filter(move |line| line.contains("-> Send") && line.contains(what))
}

#[test]
fn h3_what_a_remote_announces_is_bounded_and_what_is_more_is_said() {
    let mut world = scene();
    engine(&mut world).limit_announced(MIB as u64);
    let before = engine(&mut world).tree().announced_bytes();
    let hostile = world.devices[1].id;
    for batch in 0..10 {
        let paths = (0..1_000).map(|n| path(&format!("{batch}-{n}"))).collect();
        announce(&mut world, paths, directory_by(hostile));
    }
    let grown = engine(&mut world).tree().announced_bytes() - before;
    assert!((MIB / 2..=MIB * 3 / 4).contains(&grown), "{grown}");
    let problems = engine(&mut world).status().problems;
    assert!(problems.iter().any(|problem| problem.message.contains("--announced-max")), "{problems:?}");
    assert!(problems.len() < 2_000, "{}", problems.len());
    // Another remote, and what is known already, go on.
    world.write(2, "g", "two");
    world.write(2, "f", "changed");
    world.run_us(60 * SECOND_US);
    let shown = world.devices[0].disk.show();
    assert!(shown.contains(&"g = two".to_owned()) && shown.contains(&"f = changed".to_owned()), "{shown:?}");
}

#[test]
fn h3_a_deep_path_weighs_all_that_it_needs() {
    let mut world = scene();
    engine(&mut world).limit_announced(16 * MIB as u64);
    let hostile = world.devices[1].id;
    let deep = SyncPath::parse(&[b'd', b'/'].repeat(8_000)[..15_999]).expect("a good path");
    announce(&mut world, vec![deep], directory_by(hostile));
    let tree = engine(&mut world).tree();
    assert!(tree.n_paths() < 10, "{} paths for one of 16 KiB", tree.n_paths());
    announce(&mut world, vec![path("d/d/d")], directory_by(hostile));
    world.run_us(10 * SECOND_US);
    assert!(world.devices[0].disk.show().iter().any(|line| line.starts_with("d/d/d")));
}

#[test]
fn h3_entries_that_say_nothing_leave_nothing() {
    let mut world = scene();
    let n_before = engine(&mut world).tree().n_paths();
    let paths = (0..1_000).map(|n| path(&format!("nothing-{n}"))).collect();
    announce(&mut world, paths, |_| Register::default());
    assert_eq!(engine(&mut world).tree().n_paths(), n_before);
}

/// What was refused for want of room is no loss: with more room it comes.
#[test]
fn s2_what_was_refused_for_want_of_room_comes_after_a_start_with_more() {
    let mut world = World::new(1, &[Mode::TwoWay; 2], Options::default());
    (0..2).for_each(|device| world.start(device));
    world.run_us(SECOND_US);
    engine(&mut world).limit_announced(20_000);
    (0..100).for_each(|n| world.write(1, &format!("file-{n}"), "bytes"));
    world.connect(0, 1);
    world.run_us(30 * SECOND_US);
    let n_come = world.devices[0].disk.show().len();
    assert!((1..99).contains(&n_come), "{n_come} of 100 came");
    world.crash(0);
    world.start(0);
    world.run_us(60 * SECOND_US);
    assert_eq!(world.devices[0].disk.show(), world.devices[1].disk.show());
    assert_eq!(world.devices[0].disk.show().len(), 100);
}

fn attach(world: &World) -> Attach {
    let (device, victim) = (&world.devices[1], &world.devices[0]);
    Attach {
        directory: device.config.directory,
        index_id: device.durable.counters.index_id,
        sequence: device.durable.counters.sequence,
        known_index_id: victim.durable.counters.index_id,
        known_sequence: 0,
        counters: BTreeMap::new(),
        receives_only: false,
        sends_only: false,
        members: Default::default(),
        incarnation: 0,
        known_incarnation: 0,
        heard_sequence: 0,
    }
}

#[test]
fn h3_a_remote_that_attaches_without_end_is_answered_at_a_pace() {
    let mut world = scene();
    for _ in 0..1_000 {
        let attach = attach(&world);
        say(&mut world, Message::Attach(attach));
    }
    let n_sent = sent(&world, "Entries").count();
    assert!((1..=20).contains(&n_sent), "{n_sent} times everything");
    world.run_us(30 * SECOND_US);
    let n_sent = sent(&world, "Entries").count();
    assert!(n_sent <= 60, "{n_sent} times everything in half a minute");
    // Gaps, which have this device attach anew, likewise.
    let directory = world.devices[1].config.directory;
    let index_id = world.devices[1].durable.counters.index_id;
    let n_before = sent(&world, "Attach").count();
    for _ in 0..1_000 {
        let (after, through, latest) = (1 << 40, 1 << 40, 1 << 40);
        let gap = Entries { directory, index_id, after, through, latest, entries: Vec::new() };
        say(&mut world, Message::Entries(gap));
    }
    let n_sent = sent(&world, "Attach").count() - n_before;
    assert!(n_sent <= 20, "{n_sent}");
}

#[test]
fn h3_a_member_list_that_changes_without_end_is_told_at_a_pace() {
    let mut world = scene();
    let directory = world.devices[0].config.directory;
    for number in 2..1_000 {
        let member = Member { number, active: true, key: [9; 32] };
        let members = [(DeviceId([9; 32]), member)].into_iter().collect();
        say(&mut world, Message::Members { directory, members });
    }
    world.run_us(3 * SECOND_US);
    let told = sent(&world, "Members {").count();
    assert!((1..=60).contains(&told), "{told} for 998 changes");
    let last = engine(&mut world).members()[&DeviceId([9; 32])].number;
    assert_eq!(last, 999);
    let heard = world.devices[2].engine.as_ref().expect("it runs").members();
    assert_eq!(heard[&DeviceId([9; 32])].number, 999, "the last word has come to the others");
    world.write(2, "g", "two");
    world.run_us(10 * SECOND_US);
    assert!(world.devices[0].disk.show().contains(&"g = two".to_owned()));
}

/// Each new epoch makes a device write all its versions anew, and every register longer.
#[test]
fn h5_a_remote_that_invents_a_devices_versions_is_believed_at_a_pace() {
    let mut world = scene();
    let victim = world.devices[0].id;
    for round in 0..50 {
        let epoch = world.devices[0].durable.counters.epoch;
        let heard = Context::from_parts(vec![(Actor { device: victim, epoch }, u64::MAX / 2)], Vec::new());
        announce(&mut world, vec![path(&format!("x{round}"))], |_| {
            Register::from_parts(Vec::new(), heard.clone(), Vec::new())
        });
        let mut attach = attach(&world);
        attach.counters = [(epoch, u64::MAX)].into_iter().collect();
        say(&mut world, Message::Attach(attach));
        world.run_us(SECOND_US);
    }
    let node = engine(&mut world).tree().get(&path("f")).expect("it is there").into_owned();
    let n_actors = node.register.context().highest().len();
    assert!(n_actors <= 30, "{n_actors} epochs of a hundred lies");
    // What it invented does not swallow what is written afterwards.
    world.write(0, "x49", "mine");
    world.write(0, "f", "mine too");
    world.run_us(30 * SECOND_US);
    for device in [0, 2] {
        let shown = world.devices[device].disk.show();
        assert!(shown.contains(&"x49 = mine".to_owned()), "{shown:?}");
        assert!(shown.contains(&"f = mine too".to_owned()), "{shown:?}");
    }
}
