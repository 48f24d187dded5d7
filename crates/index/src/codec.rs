//! The layout of the blobs in a directory's database: format 1.
//!
//! Small, since there is one for every file, and independent of the wire. Actors are numbers of the `actors` table, and
//! a record leaves out what equals the first version of its register. What is read is held to the rules of the wire, so
//! that damage is told here and not by whoever is sent it. Numbers are LEB128 (`n`), signed ones zigzag
//! (`z`), byte strings are `n` and the bytes (`b`), paths are byte strings.
//!
//! ```text
//! register := n(versions) version* context n(settled) (version b(copy, or nothing))*
//! version  := dot tags base-tags value [time: rank] [n dot*: replaced] [n dot* n dot* n dot*: heard] [32: base] [b: born at] [64: signature]
//! tags     := kind | content<<3 | mode<<4 | mtime<<5 (what changed) | rank is the mtime<<6 | signed<<7
//! base-tags:= kind | born elsewhere<<3 | replaced some<<4 | heard some<<5
//! kind     := 0 absent · 1 absent, was a directory · 2 file · 3 directory · 4 symlink
//! value    := nothing · n(mode) · 32 n(length) n(mode) time · n(mode) · b(target)
//! dot      := n(actor) n(counter)        time := z(seconds) n(nanoseconds)
//! context  := 0 | 1 n(highest) dot* n(foreign) dot*    0: just the one version's own dot
//! record   := tags [32: hash] n(device) n(inode) [n(size)] [n(mode)] [time: mtime] time(ctime)
//!             tags := kind | hash<<3 | size<<4 | mode<<5 | mtime<<6 (as in the first version, left out)
//! chunks   := (32 u32-le(length))*
//! doubt    := kind | taken<<3 | is_implied<<4 value [32: taken] n(copies) (b(copy) kind [32])*
//! ```

use file_sync_core::context::Context;
use file_sync_core::effect::{Chunk, ChunkList};
use file_sync_core::engine::Doubt;
use file_sync_core::path::{PATH_BYTES_MAX, SyncPath};
use file_sync_core::record::{Record, Stat};
use file_sync_core::register::{Register, Settled};
use file_sync_core::version::{
    Actor, Changed, Content, ContentHash, Dot, Heard, Signature, Time, Value, Version,
};

const ABSENT: u8 = 0;
const ABSENT_DIRECTORY: u8 = 1;
const FILE: u8 = 2;
const DIRECTORY: u8 = 3;
const SYMLINK: u8 = 4;
const KIND: u8 = 0b111;
const CHUNK_BYTES: usize = 36;

/// A blob does not have the layout that it must have.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("not in the layout of format 1")]
pub(crate) struct Malformed;

impl Malformed {
    /// As what a statement fails with, so that one mapping tells damage from the rest.
    pub(crate) fn in_column(self, column: usize) -> rusqlite::Error {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, Box::new(self))
    }
}

type Decoded<T> = Result<T, Malformed>;

/// Appends a register; `number_of` gives an actor's number.
pub(crate) fn put_register<E>(
    out: &mut Vec<u8>,
    register: &Register,
    number_of: &mut impl FnMut(&Actor) -> Result<i64, E>,
) -> Result<(), E> {
    put_number(out, register.versions().len() as u64);
    for version in register.versions() {
        put_version(out, version, number_of)?;
    }
    put_context(out, register, number_of)?;
    put_number(out, register.settled().len() as u64);
    for settled in register.settled() {
        put_version(out, &settled.version, number_of)?;
        put_bytes(out, settled.copy.as_ref().map_or(&[], |copy| copy.as_bytes()));
    }
    Ok(())
}

/// Reads a register; `actor_of` gives the actor with a number.
pub(crate) fn register(blob: &[u8], actor_of: &impl Fn(i64) -> Option<Actor>) -> Decoded<Register> {
    let mut reader = Reader { rest: blob };
    let mut versions = Vec::new();
    for _ in 0..reader.number()? {
        versions.push(reader.version(actor_of)?);
    }
    let context = reader.context(actor_of)?;
    let mut settled = Vec::new();
    for _ in 0..reader.number()? {
        let version = reader.version(actor_of)?;
        settled.push(Settled { version, copy: reader.copy()? });
    }
    reader.end()?;
    Ok(Register::from_parts(versions, context, settled))
}

/// The blob of a record that is stored beside `register`.
pub(crate) fn record_blob(record: &Record, register: &Register) -> Vec<u8> {
    let Record { content, stat } = record;
    let (length, mode, mtime) = shown(register);
    let same_hash = register.versions().first().is_some_and(|version| version.value.content() == *content);
    let same_size = length == Some(stat.size);
    let same_mode = mode == Some(stat.mode);
    let same_mtime = mtime == Some(stat.mtime);
    let kind = content_kind(content);
    let has_hash = matches!(kind, FILE | SYMLINK);
    let bit = |condition: bool, shift: u8| u8::from(condition) << shift;
    let mut out = vec![kind | bit(same_hash, 3) | bit(same_size, 4) | bit(same_mode, 5) | bit(same_mtime, 6)];
    if has_hash && !same_hash {
        out.extend_from_slice(&content.hash().0);
    }
    put_number(&mut out, stat.device);
    put_number(&mut out, stat.inode);
    if !same_size {
        put_number(&mut out, stat.size);
    }
    if !same_mode {
        put_number(&mut out, stat.mode.into());
    }
    if !same_mtime {
        put_time(&mut out, stat.mtime);
    }
    put_time(&mut out, stat.ctime);
    out
}

/// Reads a record that is stored beside `register`.
pub(crate) fn record(blob: &[u8], register: &Register) -> Decoded<Record> {
    let mut reader = Reader { rest: blob };
    let (length, mode, mtime) = shown(register);
    let tags = reader.byte()?;
    let omitted = |shift: u8| tags >> shift & 1 == 1;
    let content = if omitted(3) {
        register.versions().first().ok_or(Malformed)?.value.content()
    } else {
        reader.content(tags & KIND)?
    };
    if content_kind(&content) != tags & KIND {
        return Err(Malformed);
    }
    let device = reader.number()?;
    let inode = reader.number()?;
    let size = if omitted(4) { length.ok_or(Malformed)? } else { reader.number()? };
    let mode = if omitted(5) { mode.ok_or(Malformed)? } else { reader.mode()? };
    let mtime = if omitted(6) { mtime.ok_or(Malformed)? } else { reader.time()? };
    let ctime = reader.time()?;
    reader.end()?;
    Ok(Record { content, stat: Stat { device, inode, size, mode, mtime, ctime } })
}

/// What a record need not repeat.
fn shown(register: &Register) -> (Option<u64>, Option<u16>, Option<Time>) {
    let Some(version) = register.versions().first() else { return (None, None, None) };
    let length = match version.value {
        Value::File { length, .. } => Some(length),
        _ => None,
    };
    (length, version.value.mode(), version.value.mtime())
}

/// The blob of a chunk list; its average has a column of its own.
pub(crate) fn chunks_blob(list: &ChunkList) -> Vec<u8> {
    let mut out = Vec::with_capacity(list.chunks.len() * CHUNK_BYTES);
    for Chunk { hash, length } in &list.chunks {
        out.extend_from_slice(&hash.0);
        out.extend_from_slice(&length.to_le_bytes());
    }
    out
}

/// Reads a chunk list.
pub(crate) fn chunks(average_bytes: u32, blob: &[u8]) -> Decoded<ChunkList> {
    if !blob.len().is_multiple_of(CHUNK_BYTES) {
        return Err(Malformed);
    }
    let mut reader = Reader { rest: blob };
    let mut chunks = Vec::with_capacity(blob.len() / CHUNK_BYTES);
    while !reader.rest.is_empty() {
        let hash = ContentHash(reader.array()?);
        let length = u32::from_le_bytes(reader.array()?);
        if length == 0 {
            return Err(Malformed);
        }
        chunks.push(Chunk { hash, length });
    }
    Ok(ChunkList { average_bytes, chunks })
}

pub(crate) fn doubt_blob(doubt: &Doubt) -> Vec<u8> {
    let Doubt { value, is_implied, taken, copies } = doubt;
    let mut out = vec![value_kind(value) | u8::from(taken.is_some()) << 3 | u8::from(*is_implied) << 4];
    put_value(&mut out, value);
    out.extend_from_slice(taken.as_ref().map_or(&[], |taken| taken.0.as_slice()));
    put_number(&mut out, copies.len() as u64);
    for (path, content) in copies {
        put_bytes(&mut out, path.as_bytes());
        out.push(content_kind(content));
        if matches!(content, Content::File(_) | Content::Symlink(_)) {
            out.extend_from_slice(&content.hash().0);
        }
    }
    out
}

pub(crate) fn doubt(blob: &[u8]) -> Decoded<Doubt> {
    let mut reader = Reader { rest: blob };
    let tags = reader.byte()?;
    let value = reader.value(tags & KIND)?;
    let is_implied = tags >> 4 & 1 == 1;
    let taken = if tags >> 3 & 1 == 1 { Some(ContentHash(reader.array()?)) } else { None };
    let n_copies = reader.number()?;
    let copy = |_| {
        let (path, kind) = (reader.path()?, reader.byte()?);
        Ok((path, reader.content(kind)?))
    };
    let copies = (0..n_copies).map(copy).collect::<Decoded<_>>()?;
    reader.end()?;
    Ok(Doubt { value, is_implied, taken, copies })
}

/// Reads a path; the root is no bytes.
pub(crate) fn path(bytes: &[u8]) -> Decoded<SyncPath> {
    if bytes.is_empty() { Ok(SyncPath::root()) } else { SyncPath::parse(bytes).map_err(|_| Malformed) }
}

fn put_version<E>(
    out: &mut Vec<u8>,
    version: &Version,
    number_of: &mut impl FnMut(&Actor) -> Result<i64, E>,
) -> Result<(), E> {
    // Taken apart without `..`: a field added to a version must not be forgotten here.
    let Version { dot, value, rank, replaced, heard, base, changed, born_at, signature } = version;
    let Changed { content, mode, mtime } = *changed;
    let ranks_by_mtime = value.mtime() == Some(*rank);
    put_dot(out, dot, number_of)?;
    out.push(
        value_kind(value)
            | u8::from(content) << 3
            | u8::from(mode) << 4
            | u8::from(mtime) << 5
            | u8::from(ranks_by_mtime) << 6
            | u8::from(signature.0.is_some()) << 7,
    );
    out.push(
        content_kind(base)
            | u8::from(born_at.is_some()) << 3
            | u8::from(!replaced.is_empty()) << 4
            | u8::from(heard.is_some()) << 5,
    );
    put_value(out, value);
    if !ranks_by_mtime {
        put_time(out, *rank);
    }
    if !replaced.is_empty() {
        put_dots(out, replaced, number_of)?;
    }
    if let Some(heard) = heard {
        put_dots_of(out, &heard.gone, number_of)?;
        put_dots(out, &heard.beside, number_of)?;
    }
    if matches!(base, Content::File(_) | Content::Symlink(_)) {
        out.extend_from_slice(&base.hash().0);
    }
    if let Some(path) = born_at {
        put_bytes(out, path.as_bytes());
    }
    out.extend_from_slice(signature.0.as_ref().map_or(&[], |bytes| bytes.as_slice()));
    Ok(())
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Absent { directory_mode: None } => {}
        Value::Absent { directory_mode: Some(mode) } | Value::Directory { mode } => {
            put_number(out, (*mode).into());
        }
        Value::File { content, length, mode, mtime } => {
            out.extend_from_slice(&content.0);
            put_number(out, *length);
            put_number(out, (*mode).into());
            put_time(out, *mtime);
        }
        Value::Symlink { target } => put_bytes(out, target),
    }
}

fn put_context<E>(
    out: &mut Vec<u8>,
    register: &Register,
    number_of: &mut impl FnMut(&Actor) -> Result<i64, E>,
) -> Result<(), E> {
    let context = register.context();
    if is_implied(register) {
        out.push(0);
        return Ok(());
    }
    out.push(1);
    put_dots_of(out, context, number_of)
}

fn put_dots_of<E>(
    out: &mut Vec<u8>,
    context: &Context,
    number_of: &mut impl FnMut(&Actor) -> Result<i64, E>,
) -> Result<(), E> {
    put_dots(out, &context.born().collect::<Vec<_>>(), number_of)?;
    put_dots(out, context.foreign(), number_of)
}

/// True for the usual path: one version, and nothing else ever heard of.
fn is_implied(register: &Register) -> bool {
    let (versions, context) = (register.versions(), register.context());
    let [version] = versions else { return false };
    let own = (version.dot.actor, version.dot.counter);
    !version.is_foreign() && context.foreign().is_empty() && context.highest() == [own]
}

fn put_dots<E>(
    out: &mut Vec<u8>,
    dots: &[Dot],
    number_of: &mut impl FnMut(&Actor) -> Result<i64, E>,
) -> Result<(), E> {
    put_number(out, dots.len() as u64);
    dots.iter().try_for_each(|dot| put_dot(out, dot, number_of))
}

fn put_dot<E>(
    out: &mut Vec<u8>,
    dot: &Dot,
    number_of: &mut impl FnMut(&Actor) -> Result<i64, E>,
) -> Result<(), E> {
    put_number(out, number_of(&dot.actor)? as u64);
    put_number(out, dot.counter);
    Ok(())
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

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_time(out: &mut Vec<u8>, time: Time) {
    let Time { seconds, nanoseconds } = time;
    put_number(out, (seconds << 1 ^ seconds >> 63) as u64);
    put_number(out, nanoseconds.into());
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn version(&mut self, actor_of: &impl Fn(i64) -> Option<Actor>) -> Decoded<Version> {
        let dot = self.dot(actor_of)?;
        let tags = self.byte()?;
        let base_tags = self.byte()?;
        let is_set = |tags: u8, shift: u8| tags >> shift & 1 == 1;
        let value = self.value(tags & KIND)?;
        let rank = if is_set(tags, 6) { value.mtime().ok_or(Malformed)? } else { self.time()? };
        let replaced = if is_set(base_tags, 4) { self.dots(actor_of)? } else { Vec::new() };
        let heard = if is_set(base_tags, 5) {
            Some(Box::new(Heard { gone: self.dots_of_context(actor_of)?, beside: self.dots(actor_of)? }))
        } else {
            None
        };
        let base = self.content(base_tags & KIND)?;
        let born_at = if is_set(base_tags, 3) { Some(self.path()?) } else { None };
        let signature = Signature(if is_set(tags, 7) { Some(self.array()?) } else { None });
        let changed = Changed { content: is_set(tags, 3), mode: is_set(tags, 4), mtime: is_set(tags, 5) };
        Ok(Version { dot, value, rank, replaced, heard, base, changed, born_at, signature })
    }

    fn value(&mut self, kind: u8) -> Decoded<Value> {
        Ok(match kind {
            ABSENT => Value::Absent { directory_mode: None },
            ABSENT_DIRECTORY => Value::Absent { directory_mode: Some(self.mode()?) },
            FILE => Value::File {
                content: ContentHash(self.array()?),
                length: self.length()?,
                mode: self.mode()?,
                mtime: self.time()?,
            },
            DIRECTORY => Value::Directory { mode: self.mode()? },
            SYMLINK => Value::Symlink { target: self.target()?.into() },
            _ => return Err(Malformed),
        })
    }

    fn content(&mut self, kind: u8) -> Decoded<Content> {
        Ok(match kind {
            ABSENT => Content::Absent,
            DIRECTORY => Content::Directory,
            FILE => Content::File(ContentHash(self.array()?)),
            SYMLINK => Content::Symlink(ContentHash(self.array()?)),
            _ => return Err(Malformed),
        })
    }

    fn context(&mut self, actor_of: &impl Fn(i64) -> Option<Actor>) -> Decoded<Context> {
        match self.byte()? {
            0 => Ok(Context::default()),
            1 => self.dots_of_context(actor_of),
            _ => Err(Malformed),
        }
    }

    fn dots_of_context(&mut self, actor_of: &impl Fn(i64) -> Option<Actor>) -> Decoded<Context> {
        let highest = self.dots(actor_of)?.into_iter().map(|dot| (dot.actor, dot.counter)).collect();
        Ok(Context::from_parts(highest, self.dots(actor_of)?))
    }

    fn dots(&mut self, actor_of: &impl Fn(i64) -> Option<Actor>) -> Decoded<Vec<Dot>> {
        (0..self.number()?).map(|_| self.dot(actor_of)).collect()
    }

    fn dot(&mut self, actor_of: &impl Fn(i64) -> Option<Actor>) -> Decoded<Dot> {
        let actor = actor_of(self.number()? as i64).ok_or(Malformed)?;
        match self.number()? {
            0 => Err(Malformed),
            counter => Ok(Dot { actor, counter }),
        }
    }

    /// A path, or none where there are no bytes.
    fn copy(&mut self) -> Decoded<Option<SyncPath>> {
        match self.bytes()? {
            b"" => Ok(None),
            bytes => SyncPath::parse(bytes).map(Some).map_err(|_| Malformed),
        }
    }

    /// A path that is not the root.
    fn path(&mut self) -> Decoded<SyncPath> {
        SyncPath::parse(self.bytes()?).map_err(|_| Malformed)
    }

    fn target(&mut self) -> Decoded<&'a [u8]> {
        let target = self.bytes()?;
        let is_target = !target.is_empty() && target.len() <= PATH_BYTES_MAX && !target.contains(&0);
        is_target.then_some(target).ok_or(Malformed)
    }

    fn length(&mut self) -> Decoded<u64> {
        let length = self.number()?;
        i64::try_from(length).map(|_| length).map_err(|_| Malformed)
    }

    fn mode(&mut self) -> Decoded<u16> {
        u16::try_from(self.number()?).ok().filter(|mode| *mode <= 0o777).ok_or(Malformed)
    }

    fn time(&mut self) -> Decoded<Time> {
        let zigzag = self.number()?;
        let seconds = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        let nanoseconds = u32::try_from(self.number()?).ok().filter(|number| *number < 1_000_000_000);
        Ok(Time { seconds, nanoseconds: nanoseconds.ok_or(Malformed)? })
    }

    fn number(&mut self) -> Decoded<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn bytes(&mut self) -> Decoded<&'a [u8]> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        self.take(length)
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn byte(&mut self) -> Decoded<u8> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, length: usize) -> Decoded<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn end(&self) -> Decoded<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}
