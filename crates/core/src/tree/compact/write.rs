//! Appending the parts of an encoded node.

use super::{Actors, content_kind, flag, shared, value_kind};
use crate::context::Context;
use crate::record::{Record, Stat};
use crate::version::{Changed, Content, Dot, Heard, Time, Value, Version};

/// Appends the parts of a node.
pub(super) struct Writer<'a> {
    pub(super) out: Vec<u8>,
    pub(super) actors: &'a mut Actors,
}

impl Writer<'_> {
    pub(super) fn head(&mut self, version: &Version) {
        let Changed { content, mode, mtime } = version.changed;
        self.out.push(
            value_kind(&version.value)
                | flag(content, 1 << 3)
                | flag(mode, 1 << 4)
                | flag(mtime, 1 << 5)
                | flag(version.value.mtime() == Some(version.rank), 1 << 6)
                | flag(version.signature.0.is_some(), 1 << 7),
        );
        match &version.value {
            Value::Absent { directory_mode: None } => {}
            Value::Absent { directory_mode: Some(mode) } | Value::Directory { mode } => {
                self.number((*mode).into());
            }
            Value::File { content, length, mode, mtime } => {
                self.out.extend_from_slice(&content.0);
                self.number(*length);
                self.number((*mode).into());
                self.time(*mtime);
            }
            Value::Symlink { target } => self.bytes(target),
        }
    }

    pub(super) fn tail(&mut self, version: &Version) {
        // Taken apart without `..`: a field added to a version must not be forgotten here, or in the head.
        let Version { dot, value, rank, replaced, heard, base, changed: _, born_at, signature } = version;
        self.out.push(
            content_kind(base)
                | flag(born_at.is_some(), 1 << 3)
                | flag(!replaced.is_empty(), 1 << 4)
                | flag(heard.is_some(), 1 << 5),
        );
        self.dot(dot);
        if value.mtime() != Some(*rank) {
            self.time(*rank);
        }
        if !replaced.is_empty() {
            self.dots(replaced);
        }
        if let Some(heard) = heard {
            let Heard { gone, beside } = &**heard;
            self.context(gone);
            self.dots(beside);
        }
        if base.is_bytes() {
            self.out.extend_from_slice(&base.hash().0);
        }
        if let Some(born_at) = born_at {
            self.bytes(born_at.as_bytes());
        }
        self.out.extend_from_slice(signature.0.as_ref().map_or(&[], |bytes| bytes.as_slice()));
    }

    pub(super) fn record(&mut self, record: &Record, first: Option<&Value>) {
        let Record { content, stat } = record;
        let Stat { device, inode, size, mode, mtime, ctime } = *stat;
        let (same_hash, same_size, same_mode, same_mtime) = shared(first);
        let has_same_hash = matches!(content, Content::File(hash) if same_hash == Some(*hash));
        self.out.push(
            content_kind(content)
                | flag(has_same_hash, 1 << 3)
                | flag(same_size == Some(size), 1 << 4)
                | flag(same_mode == Some(mode), 1 << 5)
                | flag(same_mtime == Some(mtime), 1 << 6),
        );
        if content.is_bytes() && !has_same_hash {
            self.out.extend_from_slice(&content.hash().0);
        }
        self.number(device >> 32);
        self.number(device & 0xffff_ffff);
        self.number(inode);
        if same_size != Some(size) {
            self.number(size);
        }
        if same_mode != Some(mode) {
            self.number(mode.into());
        }
        if same_mtime != Some(mtime) {
            self.time(mtime);
        }
        self.time(Time { seconds: ctime.seconds.wrapping_sub(mtime.seconds), ..ctime });
    }

    pub(super) fn context(&mut self, context: &Context) {
        self.number(context.highest().len() as u64);
        context.born().for_each(|dot| self.dot(&dot));
        self.dots(context.foreign());
    }

    fn dots(&mut self, dots: &[Dot]) {
        self.number(dots.len() as u64);
        dots.iter().for_each(|dot| self.dot(dot));
    }

    fn dot(&mut self, dot: &Dot) {
        let Dot { actor, counter } = dot;
        match self.actors.number(actor) {
            Some(number) => self.number(number),
            None => {
                self.out.push(0);
                self.out.extend_from_slice(&actor.device.0);
                self.out.extend_from_slice(&actor.epoch.to_le_bytes());
            }
        }
        self.number(*counter);
    }

    fn time(&mut self, time: Time) {
        let Time { seconds, nanoseconds } = time;
        self.number((seconds << 1 ^ seconds >> 63) as u64);
        self.out.extend_from_slice(&nanoseconds.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }
}
