//! Registers of remotes in a tree: whatever they hold, merging is a join, and what is shown follows from all of them.

use std::collections::BTreeMap;

use file_sync_core::message::{Entries, Message};
use file_sync_core::path::SyncPath;
use file_sync_core::projection::Projection;
use file_sync_core::register::Register;
use file_sync_core::tree::{Act, Tree};
use file_sync_core::version::{Actor, Changed, DeviceId, Dot, Time, Value, Version};
use file_sync_wire::decode_message;

/// Most entries that are looked at together: some of it is quadratic.
const ENTRIES_MAX: usize = 24;

/// A message of entries.
pub fn merging(bytes: &[u8]) -> bool {
    let Ok(Message::Entries(Entries { mut entries, .. })) = decode_message(bytes) else { return false };
    entries.truncate(ENTRIES_MAX);
    let registers: Vec<(SyncPath, Register)> =
        entries.into_iter().map(|entry| (entry.path, entry.register)).collect();
    let mut tree = merged(&registers, false);
    // One name for two versions is for liars only, whom nobody can agree about.
    if !is_lie(&registers) {
        registers.iter().for_each(|(_, one)| registers.iter().for_each(|(_, other)| joins(one, other)));
        assert_eq!(shown(&tree), shown(&merged(&registers, true)), "the order of messages tells (S4)");
    }
    let before = shown(&tree);
    tree.refresh_all();
    assert_eq!(shown(&tree), before, "what is derived step by step is not what is derived at once");
    act_on(&mut tree);
    true
}

fn merged(registers: &[(SyncPath, Register)], backwards: bool) -> Tree {
    let mut tree = Tree::default();
    let mut merge = |(path, register): &(SyncPath, Register)| _ = tree.merge(path, register);
    if backwards {
        registers.iter().rev().for_each(&mut merge);
    } else {
        registers.iter().for_each(&mut merge);
    }
    tree
}

/// What is known and shown; a name at which nothing is shown any more, and of which nothing is known, is none.
fn shown(tree: &Tree) -> BTreeMap<SyncPath, (Register, Projection)> {
    let all = tree.iter().map(|(path, node)| (path.clone(), (node.register.clone(), tree.project(path))));
    all.filter(|(_, (register, shown))| !register.is_empty() || shown.value.is_present()).collect()
}

fn is_lie(registers: &[(SyncPath, Register)]) -> bool {
    let mut named: BTreeMap<Dot, (SyncPath, Version)> = BTreeMap::new();
    let versions = registers.iter().flat_map(|(path, register)| {
        let settled = register
            .settled()
            .iter()
            .map(move |settled| (&settled.version, settled.copy.as_ref().unwrap_or(path)));
        register.versions().iter().map(move |version| (version, path)).chain(settled)
    });
    let mut is_lie = false;
    for (version, path) in versions {
        // The same version has its birth path beside it where it was moved to, and only there.
        let born_at = version.born_at.clone().unwrap_or_else(|| path.clone());
        let plain = Version { born_at: None, ..version.clone() };
        let first = named.entry(version.dot).or_insert_with(|| (born_at.clone(), plain.clone()));
        is_lie |= *first != (born_at, plain) || version.born_at.as_ref() == Some(path);
    }
    is_lie
}

fn joins(one: &Register, other: &Register) {
    let join = |one: &Register, other: &Register| {
        let mut joined = one.clone();
        joined.merge(other);
        joined
    };
    let both = join(one, other);
    assert_eq!(both, join(other, one), "merging is not commutative");
    assert_eq!(both, join(&both, one), "merging is not idempotent");
    assert_eq!(both, join(&both, other), "merging is not idempotent");
    assert!(both.covers(one) && both.covers(other));
}

/// A user deletes what is shown, path by path.
fn act_on(tree: &mut Tree) {
    let actor = Actor { device: DeviceId([0xee; 32]), epoch: 1 };
    let paths: Vec<SyncPath> = tree.iter().map(|(path, _)| path.clone()).collect();
    for (path, counter) in paths.into_iter().zip(1..) {
        let before = tree.project(&path).value;
        if !before.is_present() {
            continue;
        }
        tree.act(Act {
            path,
            before: before.content(),
            value: Value::ABSENT,
            changed: Changed::ALL,
            rank: Time::default(),
            dot: Dot { actor, counter },
        });
    }
    let before = shown(tree);
    tree.refresh_all();
    assert_eq!(shown(tree), before, "what is derived step by step is not what is derived at once");
}
