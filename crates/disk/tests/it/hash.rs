//! Hashing and chunking.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicBool;

use file_sync_core::effect::{HashItem, HashOutcome};
use file_sync_core::version::ContentHash;

use crate::support::{Scene, sync};

/// Bytes that do not repeat, the same every time.
fn noise(n_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; n_bytes];
    blake3::Hasher::new_derive_key("file-sync test noise").finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn a_file_is_hashed_and_its_chunks_are_its_bytes() {
    let scene = Scene::new();
    let bytes = noise(9 << 20);
    fs::write(scene.at("big"), &bytes).unwrap();
    let HashOutcome::Hashed { seen, content, chunks } = scene.hash("big") else { panic!() };
    assert_eq!((seen.stat.size, content), (bytes.len() as u64, ContentHash::of(&bytes)));
    let list = chunks.unwrap();
    assert_eq!(list.average_bytes, 64 << 10);
    let mut rest = &bytes[..];
    for chunk in &list.chunks {
        let (piece, after) = rest.split_at(chunk.length as usize);
        assert_eq!(chunk.hash, ContentHash::of(piece));
        assert!(chunk.length <= 256 << 10 && (chunk.length >= 32 << 10 || after.is_empty()));
        rest = after;
    }
    assert!(rest.is_empty());
    assert!((70..250).contains(&list.chunks.len()), "{}", list.chunks.len());
    let (again, coarse) = scene.root.rechunk(&sync("big"), 4 << 20).unwrap();
    assert_eq!((again, coarse.average_bytes), (content, 4 << 20));
    assert!(coarse.chunks.len() < 6);
}

#[test]
fn a_byte_inserted_at_the_front_changes_few_chunks() {
    let scene = Scene::new();
    let bytes = noise(6 << 20);
    fs::write(scene.at("old"), &bytes).unwrap();
    fs::write(scene.at("new"), [b"!", &bytes[..]].concat()).unwrap();
    let lists = ["old", "new"].map(|path| scene.root.rechunk(&sync(path), 64 << 10).unwrap().1.chunks);
    let n_new = lists[1].iter().filter(|chunk| !lists[0].contains(chunk)).count();
    assert!(n_new <= 2, "{n_new}");
}

#[test]
fn small_files_have_no_chunk_list() {
    let scene = Scene::new();
    for (n_bytes, has_list) in [(0, false), (1, false), (64 << 10, false), ((64 << 10) + 1, true)] {
        let bytes = noise(n_bytes);
        fs::write(scene.at("f"), &bytes).unwrap();
        let HashOutcome::Hashed { content, chunks, .. } = scene.hash("f") else { panic!() };
        assert_eq!((content, chunks.is_some()), (ContentHash::of(&bytes), has_list));
    }
}

#[test]
fn h1_only_regular_files_are_read_and_nothing_blocks() {
    let scene = Scene::new();
    fs::create_dir(scene.at("d")).unwrap();
    symlink("/etc/passwd", scene.at("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, scene.at("fifo"), rustix::fs::Mode::RUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(scene.at("socket")).unwrap();
    for path in ["d", "link", "fifo", "socket", "missing", "missing/f", "link/f"] {
        assert_eq!(scene.hash(path), HashOutcome::Differs, "{path}");
    }
}

#[test]
fn outcomes_are_in_the_order_of_the_items() {
    let scene = Scene::new();
    let items: Vec<HashItem> = (0..40).map(|n| HashItem { path: sync(&format!("f{n}")) }).collect();
    for n in (0..40).step_by(2) {
        fs::write(scene.at(format!("f{n}")), n.to_string()).unwrap();
    }
    for (n, outcome) in scene.root.hash(&items, &AtomicBool::new(false)).into_iter().enumerate() {
        match outcome {
            HashOutcome::Hashed { content, .. } => {
                assert_eq!(content, ContentHash::of(n.to_string().as_bytes()))
            }
            outcome => assert_eq!((outcome, n % 2), (HashOutcome::Differs, 1)),
        }
    }
    assert_eq!(scene.root.hash(&items[..1], &AtomicBool::new(true)), [HashOutcome::Changing]);
}

#[test]
fn content_is_served_only_as_long_as_it_is_the_one_recorded() {
    let scene = Scene::new();
    let record = scene.write("f", "0123456789");
    let file = scene.root.open_content(&sync("f"), &record).unwrap();
    let mut buffer = [0; 4];
    assert_eq!(file.read_at(8, &mut buffer).unwrap(), 2);
    assert_eq!((&buffer[..2], file.length(), file.unchanged().unwrap()), (&b"89"[..], 10, true));
    fs::write(scene.at("f"), "abcdefghij").unwrap();
    assert!(!file.unchanged().unwrap());
    assert!(scene.root.open_content(&sync("f"), &record).is_err());
}
