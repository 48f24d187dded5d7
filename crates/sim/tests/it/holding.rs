//! Deletions of too much (L6): held, let through, brought back.

use file_sync_core::engine::{Mode, State};
use file_sync_sim::{Options, World};

const A: usize = 0;
const B: usize = 1;
const SECOND_US: u64 = 1_000_000;
const N_FILES: usize = 10;

/// Two linked devices with some files in two directories, of which more than four and more than half are held together.
fn world() -> World {
    let options = Options { held_files_min: 5, ..Options::default() };
    let mut world = World::new(1, &[Mode::TwoWay; 2], options);
    [A, B].into_iter().for_each(|device| world.start(device));
    world.connect(A, B);
    for index in 0..N_FILES {
        world.write(A, &format!("{}/{index}", ["d", "e"][index % 2]), &format!("bytes {index}"));
    }
    world.symlink(A, "d/l", "target");
    world.run_us(10 * SECOND_US);
    assert_eq!([n_files(&world, A), n_files(&world, B)], [N_FILES + 1; 2]);
    world
}

fn n_files(world: &World, device: usize) -> usize {
    world.devices[device].disk.show().iter().filter(|line| !line.ends_with('/')).count()
}

fn state(world: &World, device: usize) -> State {
    world.devices[device].engine.as_ref().expect("it runs").status().state
}

/// Deletes all but one file in `d`.
fn delete_most(world: &mut World, device: usize) {
    world.delete(device, "e");
    (1..5).for_each(|index| world.delete(device, &format!("d/{}", 2 * index)));
    world.run_us(10 * SECOND_US);
}

fn restart(world: &mut World, device: usize) {
    world.crash(device);
    world.start(device);
    world.run_us(20 * SECOND_US);
}

#[test]
fn l6_what_is_too_much_to_be_deleted_by_a_scan_is_held_until_a_word() {
    let mut world = world();
    delete_most(&mut world, A);
    assert_eq!((state(&world, A), world.n_held(A)), (State::Held, 9));
    assert_eq!((state(&world, B), n_files(&world, B)), (State::Idle, 11), "nothing is announced");
    world.wait(B, 1);
    world.run_us(10 * SECOND_US);
    assert!(world.is_wait_done(B, 1), "what is held is not waited for");
    restart(&mut world, A);
    assert_eq!((world.n_held(A), n_files(&world, B)), (9, 11), "a restart is no answer");
    world.approve(A);
    world.run_us(10 * SECOND_US);
    assert_eq!((state(&world, A), n_files(&world, A)), (State::Idle, 2));
    // The other has to lose as much, and asks as well.
    assert_eq!((state(&world, B), world.n_held(B), n_files(&world, B)), (State::Held, 9, 11));
    restart(&mut world, B);
    assert_eq!((world.n_held(B), n_files(&world, B)), (9, 11));
    world.approve(B);
    world.run_us(10 * SECOND_US);
    assert_eq!(world.devices[B].disk.show(), world.devices[A].disk.show());
    assert_eq!((state(&world, B), n_files(&world, B)), (State::Idle, 2));
}

#[test]
fn l6_what_is_rejected_where_it_was_deleted_comes_back_from_the_others() {
    let mut world = world();
    let before = world.devices[A].disk.show();
    delete_most(&mut world, A);
    world.reject(A);
    world.run_us(20 * SECOND_US);
    assert_eq!(world.devices[A].disk.show(), before);
    assert_eq!([state(&world, A), state(&world, B)], [State::Idle; 2]);
    assert_eq!(world.devices[B].disk.show(), before);
}

#[test]
fn l6_what_is_rejected_where_others_deleted_it_comes_back_to_them() {
    let mut world = world();
    let before = world.devices[A].disk.show();
    delete_most(&mut world, A);
    world.approve(A);
    world.run_us(10 * SECOND_US);
    assert_eq!((world.n_held(B), n_files(&world, A)), (9, 2));
    world.reject(B);
    world.run_us(20 * SECOND_US);
    assert_eq!([&world.devices[A].disk.show(), &world.devices[B].disk.show()], [&before; 2]);
    assert_eq!([state(&world, A), state(&world, B)], [State::Idle; 2]);
}

#[test]
fn l6_deletions_count_together_however_they_were_batched() {
    let mut world = world();
    for index in 0..N_FILES {
        world.delete(A, &format!("{}/{index}", ["d", "e"][index % 2]));
        world.run_us(5 * SECOND_US);
    }
    // The sixth is more than half of eleven.
    assert_eq!((world.n_held(A), n_files(&world, B)), (5, 6));
    restart(&mut world, A);
    assert_eq!(
        (world.n_held(A), n_files(&world, B)),
        (5, 6),
        "less than the limit is left, and held all the same"
    );
    world.approve(A);
    world.run_us(10 * SECOND_US);
    assert_eq!(
        (n_files(&world, A), world.n_held(B), n_files(&world, B)),
        (1, 5, 6),
        "they were five elsewhere, too"
    );
}

#[test]
fn l6_files_that_come_and_go_are_not_held() {
    let mut world = world();
    for index in 0..50 {
        world.write(A, &format!("e/temporary {index}"), &format!("temporary {index}"));
        world.run_us(3 * SECOND_US);
        world.delete(A, &format!("e/temporary {index}"));
        world.run_us(3 * SECOND_US);
    }
    assert_eq!([state(&world, A), state(&world, B)], [State::Idle; 2]);
    assert_eq!([n_files(&world, A), n_files(&world, B)], [N_FILES + 1; 2]);
}

#[test]
fn l6_renames_are_no_deletions() {
    let mut world = world();
    world.mv(A, "d", "moved");
    world.mv(A, "e", "moved/e");
    world.run_us(20 * SECOND_US);
    assert_eq!([state(&world, A), state(&world, B)], [State::Idle; 2]);
    assert_eq!(world.devices[B].disk.show(), world.devices[A].disk.show());
}

#[test]
fn l6_a_copy_whose_original_is_then_deleted_is_a_rename() {
    let mut world = world();
    for index in 0..N_FILES {
        world.write(A, &format!("copies/{index}"), &format!("bytes {index}"));
    }
    world.run_us(10 * SECOND_US);
    world.delete(A, "d");
    world.delete(A, "e");
    world.run_us(20 * SECOND_US);
    assert_eq!([state(&world, A), state(&world, B)], [State::Idle; 2]);
    assert_eq!(world.devices[B].disk.show(), world.devices[A].disk.show());
    // The last name of these bytes is another matter.
    world.delete(A, "copies");
    world.run_us(10 * SECOND_US);
    assert_eq!((state(&world, A), world.n_held(A)), (State::Held, 10));
}

/// A copy is the end of what it is a copy of alone, and a user's copy of what is held here is not even that.
#[test]
fn l6_a_copy_of_one_that_is_held_releases_no_other() {
    let mut world = world();
    // Four go through, and the others of the same minutes are held.
    (0..4).for_each(|index| world.delete(A, &format!("d/{}", 2 * index)));
    world.run_us(10 * SECOND_US);
    (0..5).for_each(|index| world.delete(A, &format!("e/{}", 2 * index + 1)));
    world.run_us(10 * SECOND_US);
    world.approve(A);
    world.run_us(10 * SECOND_US);
    let held = world.n_held(B);
    assert!(held > 1, "{held}");
    world.write(B, "copy", "bytes 1");
    world.run_us(10 * SECOND_US);
    assert_eq!(world.n_held(B), held, "B's user has the file that is held, and a copy of it");
    world.write(A, "another", "bytes 3");
    world.run_us(10 * SECOND_US);
    assert_eq!(world.n_held(B), held - 1, "renamed, for all that B knows");
}

#[test]
fn l6_equal_files_are_held_as_well_when_all_of_them_go() {
    let options = Options { held_files_min: 5, ..Options::default() };
    let mut world = World::new(1, &[Mode::TwoWay; 2], options);
    [A, B].into_iter().for_each(|device| world.start(device));
    world.connect(A, B);
    (0..N_FILES).for_each(|index| world.write(A, &format!("d/{index}"), "the same"));
    world.run_us(10 * SECOND_US);
    world.delete(A, "d");
    world.run_us(10 * SECOND_US);
    assert_eq!((state(&world, A), world.n_held(A), n_files(&world, B)), (State::Held, 10, N_FILES));
}

/// A rename of which a remote is told the half that deletes first, as when the other half is not durable yet.
#[test]
fn l6_a_rename_that_arrives_in_two_parts_is_held_until_it_is_whole() {
    let mut world = world();
    let before = n_files(&world, B);
    world.cut(A, B);
    world.set_root_lost(B, true);
    world.delete(A, "d");
    world.delete(A, "e");
    world.run_us(10 * SECOND_US);
    world.approve(A);
    world.run_us(10 * SECOND_US);
    world.set_root_lost(B, false);
    world.connect(A, B);
    world.run_us(10 * SECOND_US);
    assert_eq!((state(&world, B), n_files(&world, B)), (State::Held, before));
    for index in 0..N_FILES {
        world.write(A, &format!("moved/{index}"), &format!("bytes {index}"));
    }
    world.run_us(20 * SECOND_US);
    // The symlink alone has no other name, and that is little.
    assert_eq!((state(&world, B), n_files(&world, B)), (State::Idle, N_FILES));
    assert_eq!(world.devices[B].disk.show(), world.devices[A].disk.show());
}

/// From now on nothing is held on a device, also after restarts.
fn hold_never(world: &mut World, device: usize) {
    world.devices[device].engine.as_mut().expect("it runs").set_hold_limit(None);
    world.devices[device].config.hold = None;
}

#[test]
fn l6_what_is_held_stays_held_over_a_restart_when_the_limit_is_never() {
    let mut world = world();
    delete_most(&mut world, A);
    hold_never(&mut world, A);
    world.run_us(10 * SECOND_US);
    assert_eq!(world.n_held(A), 9);
    restart(&mut world, A);
    assert_eq!((world.n_held(A), n_files(&world, B)), (9, 11), "a restart is no answer");
    world.approve(A);
    world.run_us(20 * SECOND_US);
    assert_eq!((world.n_held(A), world.n_held(B), n_files(&world, B)), (0, 9, 11));
    hold_never(&mut world, B);
    restart(&mut world, B);
    assert_eq!((world.n_held(B), n_files(&world, B)), (9, 11), "nor is it where others have deleted");
    world.approve(B);
    world.run_us(20 * SECOND_US);
    assert_eq!((world.n_held(B), n_files(&world, B)), (0, 2));
    // Nothing is left of that: now all goes through.
    (0..8).for_each(|index| world.write(A, &format!("{index}"), &format!("more {index}")));
    world.run_us(20 * SECOND_US);
    (0..8).for_each(|index| world.delete(A, &format!("{index}")));
    world.run_us(20 * SECOND_US);
    assert_eq!([n_files(&world, A), n_files(&world, B)], [2; 2]);
}

#[test]
fn l6_a_rename_of_one_that_is_held_releases_no_other_when_the_limit_is_never() {
    let mut world = world();
    delete_most(&mut world, A);
    world.approve(A);
    world.run_us(10 * SECOND_US);
    assert_eq!(world.n_held(B), 9);
    hold_never(&mut world, B);
    world.write(A, "moved", "bytes 2");
    world.run_us(20 * SECOND_US);
    assert_eq!((world.n_held(B), n_files(&world, B)), (8, 11));
}

#[test]
fn l6_what_comes_back_by_itself_is_held_no_longer() {
    let mut world = world();
    delete_most(&mut world, A);
    (1..5).for_each(|index| world.write(A, &format!("d/{}", 2 * index), &format!("bytes {}", 2 * index)));
    world.run_us(20 * SECOND_US);
    assert_eq!(world.n_held(A), 5);
    world.approve(A);
    world.run_us(10 * SECOND_US);
    assert_eq!([n_files(&world, A), n_files(&world, B)], [6; 2]);
}

#[test]
fn l6_d2_a_remotes_edit_of_what_is_held_survives_the_approval() {
    let mut world = world();
    delete_most(&mut world, A);
    world.write(B, "d/2", "edited elsewhere");
    world.write(B, "e/new", "new");
    world.run_us(10 * SECOND_US);
    assert_eq!((state(&world, A), n_files(&world, A)), (State::Held, 2), "nothing is restored meanwhile");
    world.approve(A);
    world.run_us(20 * SECOND_US);
    assert_eq!(n_files(&world, A), 4);
    world.approve(B);
    world.run_us(20 * SECOND_US);
    assert_eq!(world.devices[B].disk.show(), world.devices[A].disk.show());
}
