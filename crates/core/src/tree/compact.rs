//! A node as few bytes: how all that is known of a quiet path is in memory.
//!
//! Decoded, a node is five to ten times as large, in several pieces. What is encoded here never leaves the memory of one
//! tree, so that the layout may change at any time, and nothing has to be checked when it is read: `index` and `wire` have
//! layouts of their own. The record says only what differs from the first version. Numbers are LEB128 (`n`), signed ones
//! zigzag (`z`), byte strings are `n` and the bytes (`b`).
//!
//! ```text
//! node     := flags n(sequence) [n: visible children] [n: versions, if not plain] [head] [record] (head? tail)*
//!             [context n(settled) (head tail b(copy, or nothing))*, if not plain]
//! flags    := visible | recorded<<1 | plain<<2 | has visible children<<3
//!             plain: one version, and nothing else ever heard of
//! head     := kind | content<<3 | mode<<4 | mtime<<5 (what changed) | rank is the mtime<<6 | signed<<7, value
//! value    := nothing · n(mode) · 32 n(length) n(mode) time · n(mode) · b(target)
//! tail     := base kind | born elsewhere<<3 | replaced some<<4 | heard some<<5, dot [time: rank] [dots: replaced]
//!             [context dots: heard] [32: base] [b: born at] [64: signature]
//! record   := kind | hash<<3 | size<<4 | mode<<5 | mtime<<6 (as in the first version, left out)
//!             [32: hash] n(major) n(minor) n(inode) [n(size)] [n(mode)] [time: mtime] z(seconds since mtime) 4: ctime's rest
//! context  := dots: highest, dots: foreign
//! dots     := n dot*       dot := n(actor's number, or 0 and the actor) n(counter)       time := z(seconds) 4: nanoseconds
//! ```
//!
//! The first version's head comes before the record, which leans on it; every other version has both parts together.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use self::read::{Reader, Start};
use self::write::Writer;
use super::Node;
use crate::context::Context;
use crate::record::Record;
use crate::register::{Register, Settled};
use crate::version::{Actor, Content, ContentHash, Time, Value};

const VISIBLE: u8 = 1;
const RECORDED: u8 = 1 << 1;
const PLAIN: u8 = 1 << 2;
const HAS_CHILDREN: u8 = 1 << 3;

const KIND: u8 = 0b111;
const ABSENT: u8 = 0;
const ABSENT_DIRECTORY: u8 = 1;
const FILE: u8 = 2;
const DIRECTORY: u8 = 3;
const SYMLINK: u8 = 4;

/// So many actors have numbers, those that were met first; others are written out, so that nobody makes the table grow.
const ACTORS_MAX: usize = 4096;

/// The numbers of actors. A number that was given stays.
#[derive(Clone, Debug, Default)]
pub(super) struct Actors {
    actors: Vec<Actor>,
    numbers: BTreeMap<Actor, u64>,
}

impl Actors {
    /// From 1; none if there are too many.
    fn number(&mut self, actor: &Actor) -> Option<u64> {
        if let Some(number) = self.numbers.get(actor) {
            return Some(*number);
        }
        if self.actors.len() == ACTORS_MAX {
            return None;
        }
        self.actors.push(*actor);
        let number = self.actors.len() as u64;
        self.numbers.insert(*actor, number);
        Some(number)
    }

    fn actor(&self, number: u64) -> Actor {
        self.actors[number as usize - 1]
    }
}

/// Encodes a node.
pub(super) fn encode(node: &Node, actors: &mut Actors) -> Box<[u8]> {
    // Taken apart without `..`: a field added to a node must not be forgotten here.
    let Node { register, record, sequence, visible, visible_children } = node;
    let is_plain = is_plain(register);
    let mut writer = Writer { out: Vec::with_capacity(256), actors };
    writer.out.push(
        flag(*visible, VISIBLE)
            | flag(record.is_some(), RECORDED)
            | flag(is_plain, PLAIN)
            | flag(*visible_children > 0, HAS_CHILDREN),
    );
    writer.number(*sequence);
    if *visible_children > 0 {
        writer.number((*visible_children).into());
    }
    if !is_plain {
        writer.number(register.versions().len() as u64);
    }
    if let Some(first) = register.versions().first() {
        writer.head(first);
    }
    if let Some(record) = record {
        writer.record(record, register.versions().first().map(|first| &first.value));
    }
    for (index, version) in register.versions().iter().enumerate() {
        if index > 0 {
            writer.head(version);
        }
        writer.tail(version);
    }
    if !is_plain {
        writer.context(register.context());
        writer.number(register.settled().len() as u64);
        for Settled { version, copy } in register.settled() {
            writer.head(version);
            writer.tail(version);
            writer.bytes(copy.as_ref().map_or(&[], |copy| copy.as_bytes()));
        }
    }
    writer.out.into()
}

/// Decodes a node that was encoded with these actors.
pub(super) fn decode(bytes: &[u8], actors: &Actors) -> Node {
    let mut reader = Reader { rest: bytes, actors };
    let Start { flags, sequence, visible_children, n_versions } = reader.start();
    let first = (n_versions > 0).then(|| reader.head());
    let record = is_set(flags, RECORDED).then(|| reader.record(first.as_ref().map(|first| &first.value)));
    let register = if is_set(flags, PLAIN) {
        let version = reader.tail(first.expect("a plain node has a version"));
        let context = Context::of_born(version.dot);
        Register::from_encoded(vec![version], context, Vec::new())
    } else {
        let mut versions = Vec::with_capacity(n_versions);
        versions.extend(first.map(|first| reader.tail(first)));
        versions.extend((1..n_versions).map(|_| reader.version()));
        let context = reader.context();
        let n_settled = reader.number();
        let settled = |_| Settled { version: reader.version(), copy: reader.path() };
        let settled = (0..n_settled).map(settled).collect();
        Register::from_encoded(versions, context, settled)
    };
    Node { register, record, sequence, visible: is_set(flags, VISIBLE), visible_children }
}

/// The record of an encoded node.
pub(super) fn record(bytes: &[u8], actors: &Actors) -> Option<Record> {
    let mut reader = Reader { rest: bytes, actors };
    let Start { flags, n_versions, .. } = reader.start();
    if !is_set(flags, RECORDED) {
        return None;
    }
    let first = (n_versions > 0).then(|| reader.head());
    Some(reader.record(first.as_ref().map(|first| &first.value)))
}

/// The sequence number of an encoded node.
pub(super) fn sequence(bytes: &[u8], actors: &Actors) -> u64 {
    Reader { rest: bytes, actors }.start().sequence
}

/// The value of an encoded node's only version, where nothing else was ever heard of and nothing below is shown.
pub(super) fn only_value(bytes: &[u8], actors: &Actors) -> Option<Value> {
    if bytes[0] & (PLAIN | HAS_CHILDREN) != PLAIN {
        return None;
    }
    let mut reader = Reader { rest: bytes, actors };
    reader.start();
    Some(reader.head().value)
}

/// True if an encoded node has one version, and nothing else was ever heard of.
pub(super) fn is_encoded_plain(bytes: &[u8]) -> bool {
    is_set(bytes[0], PLAIN)
}

/// Notes in an encoded node whether something is shown; returns what was noted before.
pub(super) fn set_visible(bytes: &mut [u8], visible: bool) -> bool {
    let before = is_set(bytes[0], VISIBLE);
    bytes[0] = bytes[0] & !VISIBLE | flag(visible, VISIBLE);
    before
}

/// True if all that can be read of these bytes is what the node says.
pub(super) fn is_faithful(bytes: &[u8], node: &Node, actors: &Actors) -> bool {
    let has_settled = !node.register.settled().is_empty();
    decode(bytes, actors) == *node
        && record(bytes, actors) == node.record
        && sequence(bytes, actors) == node.sequence
        && only_value(bytes, actors).is_none_or(|value| {
            value == node.register.versions()[0].value && node.visible_children == 0 && !has_settled
        })
        && !(is_encoded_plain(bytes) && has_settled)
}

/// True for the usual path: one version that was written there, and nothing else ever heard of.
fn is_plain(register: &Register) -> bool {
    let context = register.context();
    let [version] = register.versions() else { return false };
    let own = (version.dot.actor, version.dot.counter);
    register.settled().is_empty() && context.foreign().is_empty() && context.highest() == [own]
}

fn flag(condition: bool, bit: u8) -> u8 {
    if condition { bit } else { 0 }
}

fn is_set(tags: u8, bit: u8) -> bool {
    tags & bit != 0
}

fn value_kind(value: &Value) -> u8 {
    match value {
        Value::Absent { directory_mode: None } => ABSENT,
        Value::Absent { directory_mode: Some(_) } => ABSENT_DIRECTORY,
        Value::File { .. } => FILE,
        Value::Directory { .. } => DIRECTORY,
        Value::Symlink { .. } => SYMLINK,
    }
}

fn content_kind(content: &Content) -> u8 {
    match content {
        Content::Absent => ABSENT,
        Content::File(_) => FILE,
        Content::Directory => DIRECTORY,
        Content::Symlink(_) => SYMLINK,
    }
}

/// What a record need not repeat: hash, length, mode and time of a value. A symlink's hash is not at hand.
fn shared(value: Option<&Value>) -> (Option<ContentHash>, Option<u64>, Option<u16>, Option<Time>) {
    match value {
        Some(Value::File { content, length, mode, mtime }) => {
            (Some(*content), Some(*length), Some(*mode), Some(*mtime))
        }
        value => (None, None, value.and_then(Value::mode), None),
    }
}
