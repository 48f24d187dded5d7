//! Registers that are well-typed but not honest: the tree stays total and bounded.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use file_sync_core::conflict::{copy_path, is_copy_of};
use file_sync_core::context::Context;
use file_sync_core::path::SyncPath;
use file_sync_core::register::{Register, Settled};
use file_sync_core::tree::{Act, Tree};
use file_sync_core::version::{
    Actor, Changed, Content, ContentHash, DeviceId, Dot, Signature, Time, Value, Version,
};

use crate::device::{file, path};

fn version(counter: u64, value: Value, base: Content) -> Version {
    let actor = Actor { device: DeviceId([9; 32]), epoch: 1 };
    let (rank, signature) = (Time { seconds: 5, nanoseconds: 0 }, Signature(None));
    let dot = Dot { actor, counter };
    Version {
        dot,
        value,
        rank,
        replaced: Vec::new(),
        heard: None,
        base,
        changed: Changed::ALL,
        born_at: None,
        signature,
    }
}

fn written(counter: u64) -> Version {
    version(counter, file(&format!("bytes {counter}"), Time::default()), Content::Absent)
}

fn settled(counter: u64, copy: &SyncPath) -> Register {
    let settled = Settled { version: written(counter), copy: Some(copy.clone()) };
    Register::from_parts(vec![written(counter + 1000)], Context::default(), vec![settled])
}

/// Longer than anything here may take, on however slow a machine, short of having run away.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn h3_values_settle_beside_their_path_only() {
    for copy in ["d/f", "d", "e", "d/f/x", "x/f.sync-conflict-19700101-000000-abababa", "d/g"] {
        let mut tree = Tree::default();
        tree.merge(&path("d/f"), &settled(1, &path(copy)));
        let shown = tree.iter().filter(|(path, _)| tree.project(path).value.is_present());
        assert_eq!(shown.count(), 2, "{copy}: d and d/f alone are there");
    }
}

#[test]
fn h3_copies_that_point_at_each_other_come_to_an_end() {
    let names = [
        "f",
        "f.sync-conflict-1",
        "f.sync-conflict-2",
        "g.sync-conflict-11",
        "f.sync-conflict-1.sync-conflict-1",
    ];
    let mut tree = Tree::default();
    let mut counter = 0;
    for name in names {
        for copy in names {
            counter += 1;
            tree.merge(&path(name), &settled(counter, &path(copy)));
        }
    }
    tree.refresh_all();
    assert!(tree.iter().count() > names.len());
}

/// Each copy's name is taken by a directory, so that the value moves on; the names are as long as names can be.
#[test]
fn h3_a_long_chain_of_copies_is_followed_without_recursion() {
    let start = Instant::now();
    let mut tree = Tree::default();
    let mut here = path(&"x".repeat(255));
    let lost = written(1);
    tree.merge(&here, &Register::from_parts(vec![lost.clone()], Context::default(), Vec::new()));
    for counter in 2..1000 {
        let mut directory = version(counter, Value::Directory { mode: 0o755 }, Content::Absent);
        // Somebody else's: its author's own would be what it replaced.
        directory.dot.actor.epoch = 2;
        tree.merge(&here, &Register::from_parts(vec![directory], Context::default(), Vec::new()));
        let next = copy_path(&here, &lost, false);
        assert!(is_copy_of(&next, &here) && !is_copy_of(&here, &next));
        here = next;
    }
    assert!(tree.holds_content(&here, lost.value.content()));
    let dot = Dot { counter: 5000, ..lost.dot };
    let (before, value, rank) = (lost.value.content(), Value::ABSENT, Time::default());
    tree.act(Act { path: here.clone(), before, value, changed: Changed::ALL, rank, dot });
    assert!(!tree.project(&here).value.is_present());
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn h3_thousands_of_versions_of_one_path_are_borne() {
    let start = Instant::now();
    let contents: Vec<Value> = (0..2000).map(|n| file(&format!("{n}"), Time::default())).collect();
    let chain = |n: usize| {
        let mut link = version(n as u64 + 1, contents[n].clone(), contents[(n + 1) % 500].content());
        link.dot.actor.epoch += n as u64;
        link
    };
    let plain = |n: usize| version(n as u64 + 1, contents[n].clone(), Content::Absent);
    let versions = (0..500).map(chain).chain((500..2000).map(plain)).collect();
    let mut tree = Tree::default();
    tree.merge(&path("f"), &Register::from_parts(versions, Context::default(), Vec::new()));
    assert_eq!(tree.iter().filter(|(path, _)| tree.project(path).value.is_present()).count(), 2000);
    // A user acts on it, having seen all: everything settles.
    let copies: Vec<SyncPath> = tree.iter().map(|(path, _)| path.clone()).collect();
    for copy in copies {
        let Content::File(hash) = tree.project(&copy).value.content() else { continue };
        let stat = file_sync_core::record::Stat {
            device: 0,
            inode: 0,
            size: 0,
            mode: 0,
            mtime: Time::default(),
            ctime: Time::default(),
        };
        tree.set_record(&copy, Some(file_sync_core::record::Record { content: Content::File(hash), stat }));
    }
    let before = tree.project(&path("f")).value.content();
    let dot = Dot { counter: 1 << 20, ..written(1).dot };
    tree.act(Act {
        path: path("f"),
        before,
        value: Value::ABSENT,
        changed: Changed::ALL,
        rank: Time::default(),
        dot,
    });
    assert!(!tree.project(&path("f")).value.is_present());
    assert_eq!(tree.iter().filter(|(path, _)| tree.project(path).value.is_present()).count(), 1999);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

/// The first eight digits of their hashes are alike, and so their copies' names: one is a copy of the other's copy.
#[test]
fn h3_values_whose_hashes_begin_alike_are_all_shown() {
    let value = |last: u8| Value::File {
        content: ContentHash(std::array::from_fn(|index| if index < 31 { 7 } else { last })),
        length: 1,
        mode: 0o644,
        mtime: Time::default(),
    };
    let versions: Vec<Version> =
        (0..6).map(|n| version(u64::from(n) + 1, value(n), Content::Absent)).collect();
    let mut tree = Tree::default();
    tree.merge(&path("f"), &Register::from_parts(versions, Context::default(), Vec::new()));
    let shown: BTreeSet<Value> =
        tree.iter().map(|(path, _)| tree.project(path).value).filter(Value::is_present).collect();
    assert_eq!(shown, (0..6).map(value).collect());
}
