//! Renames of whole directories, and how they reach others.

use file_sync_core::engine::{Event, Mode};
use file_sync_core::message::{Entries, Entry, Message};
use file_sync_core::path::SyncPath;
use file_sync_sim::{Options, World};

const A: usize = 0;
const B: usize = 1;
const SECOND_US: u64 = 1_000_000;
/// So many that their deletions would be held.
const N_FILES: usize = 150;

/// Two linked devices with a directory of directories of files.
fn world() -> World {
    let mut world = World::new(1, &[Mode::TwoWay; 2], Options::default());
    [A, B].into_iter().for_each(|device| world.start(device));
    world.connect(A, B);
    for file in 0..N_FILES {
        world.write(A, &format!("d/{}/{file}", file % 3), &format!("{file}"));
    }
    assert_eq!(world.rest(), None);
    world
}

/// Everything in a directory of B's, by its name there, with its inode.
fn items(world: &World, directory: &str) -> Vec<(Vec<u8>, u64)> {
    let top = SyncPath::parse(directory.as_bytes()).expect("a valid path");
    let items = world.devices[B].disk.items.iter().filter(|(path, _)| top.is_ancestor_of(path));
    items.map(|(path, item)| (path.as_bytes()[directory.len()..].to_vec(), item.inode)).collect()
}

/// What A has numbered since, in messages of so many entries each.
fn messages(world: &World, since: u64, n_each: usize) -> Vec<Message> {
    let durable = &world.devices[A].durable;
    let rows = durable.rows.iter().filter(|(_, (.., sequence))| *sequence > since);
    let mut rows: Vec<_> = rows.map(|(path, (register, _, sequence))| (*sequence, path, register)).collect();
    rows.sort_by_key(|(sequence, ..)| *sequence);
    let mut after = since;
    let message = |rows: &[(u64, &SyncPath, &_)]| {
        let through = rows.last().expect("no message is empty").0;
        let entry = |(_, path, register): &(u64, &SyncPath, &file_sync_core::register::Register)| Entry {
            path: (*path).clone(),
            register: (*register).clone(),
            holds: true,
        };
        let entries = Entries {
            directory: world.devices[A].config.directory,
            index_id: durable.counters.index_id,
            after: std::mem::replace(&mut after, through),
            through,
            latest: durable.counters.sequence,
            entries: rows.iter().map(entry).collect(),
        };
        Message::Entries(entries)
    };
    rows.chunks(n_each).map(message).collect()
}

/// Renames a directory on A, of which B hears in messages of so many entries, each so long after the last.
#[track_caller]
fn is_moved_whole(n_each: usize, pause_us: u64) {
    let mut world = world();
    let before = items(&world, "d");
    let since = world.devices[A].durable.counters.sequence;
    world.stall(A, B);
    world.mv(A, "d", "e");
    world.run_us(SECOND_US);
    let from = world.devices[A].id;
    for message in messages(&world, since, n_each) {
        world.step(B, Event::Message { from, message });
        world.run_us(pause_us);
    }
    world.run_us(SECOND_US);
    assert_eq!(items(&world, "e"), before, "{n_each} entries, {pause_us} us apart");
    world.unstall(A, B);
    assert_eq!(world.rest(), None);
}

/// A message may be durable before the next has come, or the last of them come while none is.
#[test]
fn m1_a_directory_that_is_renamed_is_moved_as_a_whole_however_it_is_heard_of() {
    for n_each in [1000, 200, 153, 70, 20] {
        for pause_us in [0, 300, 1_000, 10_000, SECOND_US / 10] {
            is_moved_whole(n_each, pause_us);
        }
    }
    // Over a slow line all of them take longer than one may.
    is_moved_whole(70, 3 * SECOND_US);
}
