//! What is encoded decodes to itself, small, and with fields that later versions may add.

use file_sync_core::context::Context;
use file_sync_core::message::{Entries, Entry, Message};
use file_sync_core::path::SyncPath;
use file_sync_core::register::Register;
use file_sync_core::version::{
    Actor, Changed, Content, ContentHash, DeviceId, DirectoryId, Dot, Heard, Signature, Time, Value, Version,
};
use file_sync_wire::kept::{KeptVersion, decode_kept_page, encode_kept_page};
use file_sync_wire::{
    decode_chunk_list, decode_message, decode_register, encode_chunk_list, encode_message, encode_register,
    signed_bytes,
};

use crate::generate::Generator;

const SEEDS: std::ops::Range<u64> = 0..2_000;

#[test]
fn registers_survive_the_index() {
    for seed in SEEDS {
        let register = Generator::seeded(seed).register();
        assert_eq!(decode_register(&encode_register(&register)), Ok(register), "seed {seed}");
    }
    let empty = Register::default();
    assert_eq!(decode_register(&encode_register(&empty)), Ok(empty));
}

#[test]
fn messages_survive_the_wire() {
    for seed in SEEDS {
        let message = Generator::seeded(seed).message();
        assert_eq!(decode_message(&encode_message(&message)), Ok(message), "seed {seed}");
    }
}

#[test]
fn chunk_lists_survive() {
    for seed in SEEDS {
        let list = Generator::seeded(seed).chunk_list();
        let bytes = encode_chunk_list(&list);
        assert_eq!(bytes.len(), 5 + 36 * list.chunks.len());
        assert_eq!(decode_chunk_list(&bytes), Ok(list), "seed {seed}");
    }
}

#[test]
fn pages_of_kept_versions_survive_and_are_as_long_as_is_said_at_the_most() {
    for seed in SEEDS {
        let page = Generator::seeded(seed).kept_page();
        let bytes = encode_kept_page(&page);
        let bytes_max: usize = page.versions.iter().map(KeptVersion::encoded_bytes_max).sum();
        assert!(bytes.len() <= bytes_max + 2, "seed {seed}");
        assert_eq!(decode_kept_page(&bytes), Ok(page), "seed {seed}");
    }
}

#[test]
fn fields_of_later_versions_are_ignored() {
    let mut bytes = encode_message(&Message::Ping);
    bytes.extend_from_slice(&[0xfa, 0x7f, 2, 1, 2]); // field 2047, two bytes
    bytes.extend_from_slice(&[0xf8, 0x7f, 7]); // field 2047 as a varint
    assert_eq!(decode_message(&bytes), Ok(Message::Ping));

    let entries = Generator::seeded(3).entries();
    let mut bytes = encode_message(&Message::Entries(entries.clone()));
    let body_bytes = bytes.len();
    bytes.extend_from_slice(&[0xfa, 0x7f, 1, 9]);
    assert!(bytes.len() > body_bytes);
    assert_eq!(decode_message(&bytes), Ok(Message::Entries(entries)));
}

/// What a file costs that was written in each of many lives of its device: each is an actor of its own.
#[test]
fn a_life_of_its_author_costs_a_register_at_most_52_bytes_on_the_wire() {
    let encoded = |n_lives: u64| {
        let actor = |life: u64| Actor { device: DeviceId([7; 32]), epoch: (1 << 60) + life * 0x1234_5678 };
        let heard = (0..n_lives).map(|life| (actor(life), 1_000_000 + life)).collect();
        let register = Register::from_parts(Vec::new(), Context::from_parts(heard, Vec::new()), Vec::new());
        let path = SyncPath::parse(b"notes").expect("a good path");
        let entries = vec![Entry { path, register, holds: true }];
        let directory = DirectoryId([1; 16]);
        let batch = Entries { directory, index_id: 1, after: 0, through: 1, latest: 1, entries };
        encode_message(&Message::Entries(batch)).len()
    };
    let per_life = (encoded(1_001) - encoded(1)) as f64 / 1_000.0;
    assert!(per_life <= 52.0, "{per_life} bytes");
}

#[test]
fn a_fresh_file_costs_less_than_200_bytes_with_its_signature() {
    let actor = Actor { device: DeviceId([7; 32]), epoch: 1 << 60 };
    let entry = |number: u64| {
        let dot = Dot { actor, counter: number + 1 };
        let mtime = Time { seconds: 1_700_000_000, nanoseconds: 123_456_789 };
        let version = Version {
            dot,
            value: Value::File { content: ContentHash([1; 32]), length: 4096, mode: 0o644, mtime },
            rank: mtime,
            replaced: vec![],
            heard: None,
            base: Content::Absent,
            changed: Changed::ALL,
            born_at: None,
            signature: Signature(Some([9; 64])),
        };
        let path = format!("directory-{:03}/file-{number:06}.txt", number / 100);
        Entry {
            path: SyncPath::parse(path.as_bytes()).expect("a good path"),
            register: Register::from_parts(vec![version], Context::default(), vec![]),
            holds: true,
        }
    };
    let entries = (0..1000).map(entry).collect();
    let batch = Entries {
        directory: DirectoryId([1; 16]),
        index_id: 1,
        after: 0,
        through: 1000,
        latest: 1000,
        entries,
    };
    let bytes = encode_message(&Message::Entries(batch)).len();
    assert!(bytes < 180 * 1000, "{bytes}");
    assert!(encode_register(&entry(1).register).len() < 200);
}

#[test]
fn h5_a_signature_covers_every_part_of_a_version() {
    let directory = DirectoryId([1; 16]);
    let path = SyncPath::parse(b"a/b").expect("a good path");
    let mut all = std::collections::BTreeMap::new();
    for seed in SEEDS {
        let mut generator = Generator::seeded(seed);
        let mut version = generator.version();
        version.born_at = None;
        version.signature = Signature(None);
        let bytes = signed_bytes(&directory, &path, &version);
        // Signing changes nothing of what is signed, nor does moving to a copy's name.
        let moved =
            Version { born_at: Some(path.clone()), signature: Signature(Some([1; 64])), ..version.clone() };
        assert_eq!(signed_bytes(&directory, &path, &moved), bytes);
        assert_ne!(signed_bytes(&DirectoryId([2; 16]), &path, &version), bytes);
        assert_ne!(signed_bytes(&directory, &generator.path(), &version), bytes);
        if let Some(other) = all.insert(bytes, version.clone()) {
            assert_eq!(other, version, "two versions have the same signed bytes, seed {seed}");
        }
    }
}

#[test]
fn the_signed_layout_never_changes() {
    let mut generator = Generator::seeded(42);
    let mut hasher_input = Vec::new();
    for _ in 0..50 {
        let version = generator.version_of_layout_1();
        let path = generator.path();
        hasher_input.extend(signed_bytes(&DirectoryId([3; 16]), &path, &version));
    }
    let digest = ContentHash::of(&hasher_input).to_string();
    assert_eq!(digest, "92c8948f4ef21a25def3121d79c0cca1d5b978734ed30c1bd49736fdcf4ec71d");
    let (version, path) = (of_layout_2(), SyncPath::parse(b"a/b").expect("a good path"));
    let digest = ContentHash::of(&signed_bytes(&DirectoryId([3; 16]), &path, &version)).to_string();
    assert_eq!(digest, "ebdc8ffc12701065a3dac8354dfaae4f78ac976c980410aff33f46873d319484");
}

fn of_layout_2() -> Version {
    let mut generator = Generator::seeded(42);
    let mut version = generator.version_of_layout_1();
    let actor = |device: u8| Actor { device: DeviceId([device; 32]), epoch: 7 };
    let foreign = vec![Dot { actor: actor(6), counter: 9 }];
    let gone = Context::from_parts(vec![(actor(4), 5), (actor(5), 8)], foreign);
    version.heard = Some(Box::new(Heard { gone, beside: vec![Dot { actor: actor(4), counter: 3 }] }));
    version
}

#[test]
fn h5_what_an_author_had_heard_of_is_signed() {
    let (version, path) = (of_layout_2(), SyncPath::parse(b"a/b").expect("a good path"));
    let heard = *version.heard.clone().expect("it has heard of something");
    let bytes_of = |heard: Option<Heard>| {
        let heard = heard.map(Box::new);
        signed_bytes(&DirectoryId([3; 16]), &path, &Version { heard, ..version.clone() })
    };
    let dot = Dot { actor: Actor { device: DeviceId([9; 32]), epoch: 1 }, counter: 1 };
    let (mut born, mut foreign, mut beside) = (heard.clone(), heard.clone(), heard.clone());
    born.gone.insert_born(dot);
    foreign.gone.insert_foreign(dot);
    beside.beside.push(dot);
    let all = [None, Some(heard), Some(born), Some(foreign), Some(beside)];
    let texts: std::collections::BTreeSet<Vec<u8>> = all.into_iter().map(bytes_of).collect();
    assert_eq!(texts.len(), 5);
}
