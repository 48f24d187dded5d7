//! Promises that neither the table nor the search names: moves, order, clocks, and what nobody made.

use std::collections::BTreeSet;

use file_sync_core::path::SyncPath;
use file_sync_core::register::Register;
use file_sync_core::tree::{Act, Tree};
use file_sync_core::version::{Actor, Changed, Content, DeviceId, Dot, Time, Value};

use crate::device::{Device, Disk, file, path};
use crate::oracle::is_copy;
use crate::script::{Random, Ranks, Sending, Step, World, parse, shuffle};
use crate::search::{Deliveries, random_deed, random_history};
use crate::table::check;

fn play(n_devices: u8, script: &str) -> World {
    let mut world = World::new(n_devices, Ranks::Rising);
    parse(script).iter().for_each(|step| {
        world.step(step);
    });
    world
}

fn contents(disk: &Disk) -> BTreeSet<Content> {
    disk.values().map(Value::content).collect()
}

#[test]
fn m1_what_is_renamed_needs_no_bytes_that_the_receiver_lacks() {
    for rename in ["mv d e", "mv d/f k", "mv d/f d/h, mv d/g/h d/f", "mv g d/g/i, mv d/g e"] {
        let start = "p0 write d/f\n p0 write d/g/h\n p0 write g\n p0 > p1";
        let mut world = play(2, start);
        let before = world.devices[1].disk.clone();
        let acts: Vec<String> = rename.split(", ").map(|act| format!("p0 {act}")).collect();
        parse(&acts.join("\n")).iter().for_each(|step| {
            assert!(world.step(step), "{rename}");
        });
        // Whatever arrives first, and however little of it, there is nothing to fetch.
        for seed in 0..20 {
            let mut partly = world.clone();
            partly.step(&Step::Deliver(0, 1, Sending::Part(seed, 1 + seed as usize % 5)));
            assert!(contents(&partly.devices[1].disk).is_subset(&contents(&before)), "{rename}, {seed}");
        }
        let world = world.settle_and_check().unwrap_or_else(|reason| panic!("{rename}: {reason}"));
        assert_eq!(contents(&world.devices[1].disk), contents(&before), "{rename}");
        assert_ne!(world.devices[1].disk, before, "{rename}");
    }
}

#[test]
fn m2_moves_at_once_make_no_cycle_and_lose_nothing() {
    check("write f; mv f g; mv f g => g=old");
    check("write f; mv f g; mv f h => g=old h=old");
    check("write f, write g; mv f g; mv g h => g=old h=old");
    check("write f, write g; mv f g; mv g f => g=old f=old");
    check("write d/f; mv d e; mv d g => e=dir e/f=old g=dir g/f=old");
    check("write d/f; mv d e; mv d/f g => e=dir e/f=old g=old");
    check("write d/f, write g; rm d; mv g d/g => d=dir d/g=old");
    // Each into the other: both are made where they were moved to, and each parent is kept for what lies below.
    check("write a/x, write b/y; mv a b/a; mv b a/b => a=dir a/b=dir a/b/y=old b=dir b/a=dir b/a/x=old");
}

#[test]
fn m3_an_edit_at_once_with_a_rename_stays_at_the_old_name() {
    check("write f; write f; mv f g => f=here g=old");
    check("write f; write f; mv f g, write g => f=here g=there");
    check("write f; write f, write f; mv f g, mv g h => f=here h=old");
    check("write d/f; write d/f; mv d e => d=dir d/f=here e=dir e/f=old");
    check("write f, write g; mv f g; write g => g=there g~=old");
}

/// Another device that merges the same registers in any order, some of them twice, knows and shows the same.
#[test]
fn s4_no_order_of_merges_matters() {
    for seed in 0..3000 {
        let (ranks, steps) = random_history(seed, Deliveries::Whole);
        let mut world = World::new(3, ranks);
        for step in &steps {
            world.step(step);
        }
        let mut entries: Vec<(SyncPath, Register)> = world.devices.iter().flat_map(Device::entries).collect();
        let settled = world.settle_and_check().unwrap_or_else(|reason| panic!("{seed}: {reason}"));
        for order in 0..4 {
            shuffle(&mut entries, seed * 4 + order);
            let mut other = Device::new(9);
            let n_again = entries.len() / 2;
            other.receive(entries.iter().chain(&entries[..n_again]));
            assert_eq!(other.entries(), settled.devices[0].entries(), "seed {seed}");
            assert_eq!(other.disk, settled.devices[0].disk, "seed {seed}");
        }
    }
}

/// Users who take turns, each seeing all that was done before, never see a conflict copy.
#[test]
fn v2_where_nothing_is_concurrent_there_are_no_copies() {
    for seed in 0..2000 {
        let mut random = Random(seed);
        let ranks = [Ranks::Rising, Ranks::Falling, Ranks::Equal][random.below(3)];
        let mut world = World::new(3, ranks);
        for _ in 0..8 {
            let deed = random_deed(&mut random, &["d", "d/f", "e", "d.txt"]);
            world.step(&Step::Act(random.below(3), deed));
            world = world.settle_and_check().unwrap_or_else(|reason| panic!("{seed}: {reason}"));
            let copies: Vec<&SyncPath> = world.devices[0].disk.keys().filter(|path| is_copy(path)).collect();
            assert!(copies.is_empty(), "seed {seed}: {copies:?}");
        }
    }
}

/// p2 was away from before the delete until long after, and comes back to one or the other.
#[test]
fn d3_who_was_away_brings_nothing_deleted_back() {
    let start = "p0 write f\n p0 write d/g\n p0 > p1\n p0 > p2";
    let deletes = "p1 rm f\n p1 rm d\n p1 > p0";
    for since in ["", "p0 write f\n p0 rm f\n", "p0 mkdir f\n p0 rm f\n p0 > p1\n", "p0 write h\n p0 rm h\n"]
    {
        for back in ["p2 > p0", "p2 > p1", "p2 write k\n p2 > p1\n p2 rm k"] {
            let world = play(3, &format!("{start}\n{deletes}\n{since}{back}"));
            let world = world.settle_and_check().unwrap_or_else(|reason| panic!("{since} {back}: {reason}"));
            assert_eq!(world.devices[2].disk, Disk::new(), "{since} {back}");
        }
    }
}

/// The author's clock has capped the rank of a file from the future; receivers go by that alone.
#[test]
fn w2_the_rank_is_what_its_author_said_not_what_the_file_says() {
    let at = |seconds| Time { seconds, nanoseconds: 0 };
    let written = |device: u8, text: &str, mtime: Time, rank: Time| {
        let mut tree = Tree::default();
        tree.act(Act {
            path: path("f"),
            before: Content::Absent,
            value: file(text, mtime),
            changed: Changed::ALL,
            rank,
            dot: Dot { actor: Actor { device: DeviceId([device; 32]), epoch: 1 }, counter: 1 },
        });
        tree
    };
    let future = written(1, "future", at(1 << 40), at(1000));
    let mut tree = written(2, "present", at(2000), at(2000));
    tree.merge(&path("f"), &future.get(&path("f")).expect("f was written").register);
    let projection = tree.project(&path("f"));
    assert_eq!(projection.value, file("present", at(2000)));
    assert_eq!(projection.losers.len(), 1);
    assert_eq!(projection.losers[0].value, file("future", at(1 << 40)));
    assert!(projection.losers[0].copy.to_string().contains("19700101-001640"), "named by its rank");
}
