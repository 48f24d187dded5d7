//! A cloned device (C5): two that go on from the same memory, under one name, and are met in turn.

use file_sync_core::engine::Mode;
use file_sync_sim::{Options, World};

const A: usize = 0;
const B: usize = 1;

/// What one of two machines has that were once one.
struct Machine {
    durable: file_sync_sim::Durable,
    disk: file_sync_sim::Disk,
}

/// Turns B into the other machine; returns what it was.
fn turn(world: &mut World, other: Machine) -> Machine {
    world.crash(B);
    let device = &mut world.devices[B];
    Machine {
        durable: std::mem::replace(&mut device.durable, other.durable),
        disk: std::mem::replace(&mut device.disk, other.disk),
    }
}

fn copy(world: &World) -> Machine {
    let device = &world.devices[B];
    Machine { durable: device.durable.clone(), disk: device.disk.clone() }
}

fn pair() -> World {
    let mut world = World::new(1, &[Mode::TwoWay; 2], Options::default());
    [A, B].iter().for_each(|device| world.start(*device));
    world.connect(A, B);
    world
}

#[track_caller]
fn rests(world: &mut World) {
    assert_eq!(world.rest(), None);
}

/// What B and its clone write, each while the other is the one that is met, and what is then on A.
fn shown_after(n_turns: usize) -> (Vec<String>, [Vec<String>; 2]) {
    let mut world = pair();
    world.write(A, "before", "before");
    rests(&mut world);
    world.crash(B);
    let mut other = copy(&world);
    let mut written = [Vec::new(), Vec::new()];
    for number in 0..n_turns {
        // Before it is met: both give what they write the same numbers.
        world.cut(A, B);
        world.start(B);
        let name = format!("f{number}");
        world.write(B, &name, &format!("by {}", number % 2));
        written[number % 2].push(format!("{name} = by {}", number % 2));
        rests(&mut world);
        world.connect(A, B);
        rests(&mut world);
        other = turn(&mut world, other);
    }
    // Both are met once more, and one of them, that whose turn it is, stays.
    for _ in 0..2 {
        world.start(B);
        world.connect(A, B);
        rests(&mut world);
        assert_eq!(world.devices[A].disk.show(), world.devices[B].disk.show());
        other = turn(&mut world, other);
    }
    (world.devices[A].disk.show(), written)
}

#[test]
pub fn c5_a_clone_and_its_original_take_nothing_from_each_other() {
    for n_turns in 1..6 {
        let (shown, written) = shown_after(n_turns);
        for line in written.iter().flatten() {
            assert!(shown.contains(line), "{n_turns} turns: {line} is not in {shown:?}");
        }
        assert_eq!(shown.len(), n_turns + 1, "{shown:?}");
    }
}

/// A machine that was put back to what it was writes, or deletes, where it had written before, ahead of meeting anybody.
#[test]
pub fn c5_a_machine_put_back_and_what_it_was_take_nothing_from_each_other() {
    for is_deleted in [false, true] {
        let mut world = pair();
        world.write(A, "file", "before");
        rests(&mut world);
        world.take_snapshot(B);
        world.save(B, "file", "of the first life");
        rests(&mut world);
        world.cut(A, B);
        world.revert(B);
        world.start(B);
        match is_deleted {
            true => world.delete(B, "file"),
            false => world.save(B, "file", "of the second life"),
        }
        rests(&mut world);
        world.connect(A, B);
        rests(&mut world);
        let shown = world.devices[A].disk.show();
        assert_eq!(shown, world.devices[B].disk.show());
        let has = |text: &str| shown.iter().any(|line| line.ends_with(text));
        assert!(has("of the first life"), "{shown:?}");
        assert_eq!(has("of the second life"), !is_deleted, "{shown:?}");
        assert_eq!(world.check(), Vec::<String>::new());
    }
}

/// A virtual machine goes on from an older image with its memory: the same life, which nobody started.
#[test]
pub fn c5_a_machine_resumed_from_an_older_image_numbers_nothing_twice() {
    let mut world = pair();
    world.write(B, "before", "before");
    rests(&mut world);
    world.take_snapshot(B);
    world.write(B, "after", "of the life that is gone");
    rests(&mut world);
    world.revert(B);
    let last = world.devices[B].durable.incarnations.pop().expect("it was started");
    world.devices[B].life = last.number - 1; // A start takes the next.
    world.start(B);
    rests(&mut world);
    world.write(B, "new", "of the life that goes on");
    rests(&mut world);
    let shown = world.devices[A].disk.show();
    assert_eq!(shown, world.devices[B].disk.show());
    assert_eq!(shown.len(), 3, "{shown:?}");
}
