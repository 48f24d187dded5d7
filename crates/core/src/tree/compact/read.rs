//! Reading the parts of an encoded node.

use super::{ABSENT_DIRECTORY, Actors, DIRECTORY, FILE, HAS_CHILDREN, KIND, PLAIN, SYMLINK, is_set, shared};
use crate::context::Context;
use crate::path::SyncPath;
use crate::record::{Record, Stat};
use crate::version::{
    Actor, Changed, Content, ContentHash, DeviceId, Dot, Heard, Signature, Time, Value, Version,
};

/// What every node begins with.
pub(super) struct Start {
    pub(super) flags: u8,
    pub(super) sequence: u64,
    pub(super) visible_children: u32,
    pub(super) n_versions: usize,
}

/// The first part of a version.
pub(super) struct Head {
    tags: u8,
    pub(super) value: Value,
}

/// Reads what a [`Writer`](super::write::Writer) wrote, and panics at anything else.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    pub(super) actors: &'a Actors,
}

impl<'a> Reader<'a> {
    pub(super) fn start(&mut self) -> Start {
        let flags = self.byte();
        let sequence = self.number();
        let visible_children = if is_set(flags, HAS_CHILDREN) { self.number() as u32 } else { 0 };
        let n_versions = if is_set(flags, PLAIN) { 1 } else { self.number() as usize };
        Start { flags, sequence, visible_children, n_versions }
    }

    pub(super) fn head(&mut self) -> Head {
        let tags = self.byte();
        let value = match tags & KIND {
            ABSENT_DIRECTORY => Value::Absent { directory_mode: Some(self.mode()) },
            FILE => Value::File {
                content: self.hash(),
                length: self.number(),
                mode: self.mode(),
                mtime: self.time(),
            },
            DIRECTORY => Value::Directory { mode: self.mode() },
            SYMLINK => Value::Symlink { target: self.bytes().into() },
            _ => Value::ABSENT,
        };
        Head { tags, value }
    }

    pub(super) fn tail(&mut self, head: Head) -> Version {
        let Head { tags, value } = head;
        let base_tags = self.byte();
        let dot = self.dot();
        let rank = match value.mtime() {
            Some(mtime) if is_set(tags, 1 << 6) => mtime,
            _ => self.time(),
        };
        let replaced = if is_set(base_tags, 1 << 4) { self.dots() } else { Vec::new() };
        let heard =
            is_set(base_tags, 1 << 5).then(|| Box::new(Heard { gone: self.context(), beside: self.dots() }));
        let base = self.content(base_tags & KIND);
        let born_at = if is_set(base_tags, 1 << 3) { self.path() } else { None };
        let signature = Signature(is_set(tags, 1 << 7).then(|| self.array()));
        let changed = Changed {
            content: is_set(tags, 1 << 3),
            mode: is_set(tags, 1 << 4),
            mtime: is_set(tags, 1 << 5),
        };
        Version { dot, value, rank, replaced, heard, base, changed, born_at, signature }
    }

    pub(super) fn version(&mut self) -> Version {
        let head = self.head();
        self.tail(head)
    }

    pub(super) fn record(&mut self, first: Option<&Value>) -> Record {
        let tags = self.byte();
        let (same_hash, same_size, same_mode, same_mtime) = shared(first);
        let is_left_out = |bit: u8| is_set(tags, bit);
        let content = match same_hash.filter(|_| is_left_out(1 << 3)) {
            Some(hash) => Content::File(hash),
            None => self.content(tags & KIND),
        };
        let device = self.number() << 32 | self.number();
        let inode = self.number();
        let size = same_size.filter(|_| is_left_out(1 << 4)).unwrap_or_else(|| self.number());
        let mode = same_mode.filter(|_| is_left_out(1 << 5)).unwrap_or_else(|| self.mode());
        let mtime = same_mtime.filter(|_| is_left_out(1 << 6)).unwrap_or_else(|| self.time());
        let since = self.time();
        let ctime = Time { seconds: mtime.seconds.wrapping_add(since.seconds), ..since };
        Record { content, stat: Stat { device, inode, size, mode, mtime, ctime } }
    }

    fn content(&mut self, kind: u8) -> Content {
        match kind {
            FILE => Content::File(self.hash()),
            SYMLINK => Content::Symlink(self.hash()),
            DIRECTORY => Content::Directory,
            _ => Content::Absent,
        }
    }

    pub(super) fn context(&mut self) -> Context {
        let highest = self.dots().into_iter().map(|dot| (dot.actor, dot.counter)).collect();
        Context::from_encoded(highest, self.dots())
    }

    fn dots(&mut self) -> Vec<Dot> {
        (0..self.number()).map(|_| self.dot()).collect()
    }

    fn dot(&mut self) -> Dot {
        let actor = match self.number() {
            0 => {
                let device = DeviceId(self.array());
                Actor { device, epoch: u64::from_le_bytes(self.array()) }
            }
            number => self.actors.actor(number),
        };
        Dot { actor, counter: self.number() }
    }

    pub(super) fn path(&mut self) -> Option<SyncPath> {
        match self.bytes() {
            b"" => None,
            bytes => Some(SyncPath::parse(bytes).expect("it was a path when it was encoded")),
        }
    }

    fn hash(&mut self) -> ContentHash {
        ContentHash(self.array())
    }

    fn mode(&mut self) -> u16 {
        self.number() as u16
    }

    fn time(&mut self) -> Time {
        let zigzag = self.number();
        let seconds = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        Time { seconds, nanoseconds: u32::from_le_bytes(self.array()) }
    }

    pub(super) fn number(&mut self) -> u64 {
        let mut number = 0;
        let mut shift = 0;
        loop {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.number() as usize;
        self.take(length)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (array, rest) = self.rest.split_first_chunk().expect("a node is encoded whole");
        self.rest = rest;
        *array
    }

    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.rest.split_first().expect("a node is encoded whole");
        self.rest = rest;
        *byte
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}
