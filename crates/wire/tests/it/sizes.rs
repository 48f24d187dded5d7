//! The core's bounds on how long entries are, held against their bytes.

use std::collections::BTreeMap;

use file_sync_core::engine::{Config, Counters, Effect, Engine, Event, Mode, Now, Stored};
use file_sync_core::message::{Attach, Entries, Entry, Member, Message, Progress};
use file_sync_core::path::SyncPath;
use file_sync_core::register::Register;
use file_sync_core::size::entry_bytes_max;
use file_sync_core::version::{DeviceId, DirectoryId, Value, Version};
use file_sync_wire::encode_message;

use crate::generate::Generator;

const DIRECTORY: DirectoryId = DirectoryId([1; 16]);
/// What a batch takes besides its entries.
const HEADER_BYTES: usize = 128;

fn batch_bytes(entries: Vec<Entry>) -> usize {
    let all = u64::MAX;
    let (index_id, after, through, latest) = (all, all, all, all);
    let batch = Entries { directory: DIRECTORY, index_id, after, through, latest, entries };
    encode_message(&Message::Entries(batch)).len()
}

#[test]
fn entries_are_never_longer_than_the_core_takes_them_to_be() {
    for seed in 0..2_000 {
        let mut generator = Generator::seeded(seed);
        let (path, register) = (generator.path(), generator.register());
        let bound = entry_bytes_max(&path, &register);
        let bytes = batch_bytes(vec![Entry { path, register, holds: true }]);
        assert!(bytes <= HEADER_BYTES + bound, "seed {seed}: {bytes} over {bound}");
    }
}

#[test]
fn settling_makes_no_entry_longer_than_the_core_takes_it_to_be() {
    for seed in 0..2_000 {
        let mut generator = Generator::seeded(seed);
        let (path, mut register) = (generator.path(), generator.register());
        let bound = entry_bytes_max(&path, &register);
        for version in register.versions().to_vec() {
            let copy = file_sync_core::conflict::copy_path(&path, &version, true);
            register.settle(&version.dot, &path, &copy);
        }
        assert!(entry_bytes_max(&path, &register) <= bound, "seed {seed}");
    }
}

/// Registers whose bytes are in their targets.
fn rows() -> Vec<(SyncPath, Register, Option<file_sync_core::record::Record>, u64)> {
    let row = |number: u64| {
        let mut version: Version = Generator::seeded(number).version();
        version.value = Value::Symlink { target: vec![b'x'; 16 << 10].into() };
        let path = SyncPath::parse(format!("link-{number}").as_bytes()).expect("a good path");
        (path, Register::from_parts(vec![version], Default::default(), Vec::new()), None, number)
    };
    (1..=2_000).map(row).collect()
}

#[test]
fn s2_no_batch_of_entries_is_longer_than_a_message_may_be() {
    let (device, remote) = (DeviceId([2; 32]), DeviceId([3; 32]));
    let config = Config {
        directory: DIRECTORY,
        device,
        mode: Mode::TwoWay,
        only_author: None,
        time_step_ns: 1,
        doubted: false,
        may_have_fallen_back: false,
        hold: Some(Default::default()),
        was_holding: false,
        is_strict: false,
        incarnations: Vec::new(),
    };
    let member = Member { number: 1, active: true, key: [0; 32] };
    let members = BTreeMap::from([(device, member.clone()), (remote, member)]);
    let counters = Counters { index_id: 1, epoch: 1, counter: 1, sequence: 2_000 };
    let stored = Stored {
        rows: rows().into_iter().collect(),
        counters,
        members: members.clone(),
        ..Stored::default()
    };
    let mut engine = Engine::new(config, stored, false, Now::default());
    engine.step(Now::default(), Event::PeerUp(remote));
    let attach = Attach {
        directory: DIRECTORY,
        index_id: 7,
        sequence: 0,
        known_index_id: 1,
        known_sequence: 0,
        counters: BTreeMap::new(),
        receives_only: false,
        sends_only: false,
        members,
        incarnation: 0,
        known_incarnation: 0,
        heard_sequence: 0,
    };
    let mut said =
        engine.step(Now::default(), Event::Message { from: remote, message: Message::Attach(attach) });
    let mut n_entries = 0;
    while !said.is_empty() {
        let mut merged = 0;
        for effect in std::mem::take(&mut said) {
            let Effect::Send { message: Message::Entries(entries), .. } = effect else { continue };
            n_entries += entries.entries.len();
            merged = entries.through;
            let bytes = encode_message(&Message::Entries(entries)).len();
            assert!(bytes <= (4 << 20) + HEADER_BYTES, "{bytes}");
        }
        if merged > 0 {
            // More is sent once so much has arrived.
            let progress = Progress {
                directory: DIRECTORY,
                index_id: 1,
                merged,
                applied: merged,
                troubles: 0,
                expecting: 0,
                is_all_told: false,
                level: Default::default(),
            };
            let message = Message::Progress(progress);
            said = engine.step(Now::default(), Event::Message { from: remote, message });
        }
    }
    assert_eq!(n_entries, 2_000);
}
