//! Versions, values and dots between the core and protobuf.

use std::collections::HashMap;

use file_sync_core::context::Context;
use file_sync_core::path::{PATH_BYTES_MAX, SyncPath};
use file_sync_core::version::{
    Actor, Changed, Content, ContentHash, DeviceId, Dot, Heard, Signature, Time, Value, Version,
};

use crate::WireError;
use crate::field::{Budget, exact};
use crate::proto;

/// The actors of one message or register, each named once.
#[derive(Default)]
pub(crate) struct ActorTable {
    actors: Vec<Actor>,
    indexes: HashMap<Actor, u32>,
}

impl ActorTable {
    fn index(&mut self, actor: &Actor) -> u32 {
        *self.indexes.entry(*actor).or_insert_with(|| {
            self.actors.push(*actor);
            u32::try_from(self.actors.len() - 1).expect("fewer than 2^32 actors fit in memory")
        })
    }

    pub(crate) fn to_proto(&self) -> Vec<proto::Actor> {
        let encode = |actor: &Actor| proto::Actor { device: actor.device.0.to_vec(), epoch: actor.epoch };
        self.actors.iter().map(encode).collect()
    }

    pub(crate) fn flat<'a>(&mut self, dots: impl IntoIterator<Item = &'a Dot>) -> Vec<u64> {
        dots.into_iter().flat_map(|dot| [u64::from(self.index(&dot.actor)), dot.counter]).collect()
    }
}

pub(crate) fn decode_actor(actor: &proto::Actor) -> Result<Actor, WireError> {
    Ok(Actor { device: DeviceId(exact("device id", &actor.device)?), epoch: actor.epoch })
}

fn decode_dot(actors: &[Actor], index: u64, counter: u64) -> Result<Dot, WireError> {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    let actor = *actors.get(index).ok_or(WireError::Invalid("dot of an actor that is not in the table"))?;
    if counter == 0 {
        return Err(WireError::Invalid("dot with counter 0"));
    }
    Ok(Dot { actor, counter })
}

pub(crate) fn decode_flat(
    actors: &[Actor],
    flat: &[u64],
    budget: &mut Budget,
) -> Result<Vec<Dot>, WireError> {
    if !flat.len().is_multiple_of(2) {
        return Err(WireError::Invalid("half a dot"));
    }
    budget.take::<Dot>(flat.len() / 2, 0)?;
    flat.chunks_exact(2).map(|pair| decode_dot(actors, pair[0], pair[1])).collect()
}

pub(crate) fn encode_version(version: &Version, actors: &mut ActorTable) -> proto::Version {
    let (base, base_hash) = match version.base {
        Content::Absent => (0, Vec::new()),
        Content::Directory => (1, Vec::new()),
        Content::File(hash) => (2, hash.0.to_vec()),
        Content::Symlink(hash) => (3, hash.0.to_vec()),
    };
    let Changed { content, mode, mtime } = version.changed;
    let Heard { gone, beside } = version.heard.as_deref().cloned().unwrap_or_default();
    let implied_rank = version.value.mtime().unwrap_or_default();
    proto::Version {
        actor: actors.index(&version.dot.actor),
        counter: version.dot.counter,
        value: Some(encode_value(&version.value)),
        rank: (version.rank != implied_rank)
            .then_some(proto::Time { seconds: version.rank.seconds, nanoseconds: version.rank.nanoseconds }),
        replaced: actors.flat(&version.replaced),
        heard: actors.flat(&gone.born().collect::<Vec<_>>()),
        heard_foreign: actors.flat(gone.foreign()),
        beside: actors.flat(&beside),
        base,
        base_hash,
        changed: u32::from(content) | u32::from(mode) << 1 | u32::from(mtime) << 2,
        born_at: version.born_at.as_ref().map(|path| path.as_bytes().to_vec()).unwrap_or_default(),
        signature: version.signature.0.map(|bytes| bytes.to_vec()).unwrap_or_default(),
    }
}

fn encode_value(value: &Value) -> proto::version::Value {
    use proto::version::Value as Encoded;
    match value {
        Value::Absent { directory_mode } => {
            Encoded::Absent(proto::Absent { directory_mode: directory_mode.map(u32::from) })
        }
        Value::File { content, length, mode, mtime } => Encoded::File(proto::File {
            content: content.0.to_vec(),
            length: *length,
            mode: u32::from(*mode),
            mtime_seconds: mtime.seconds,
            mtime_nanoseconds: mtime.nanoseconds,
        }),
        Value::Directory { mode } => Encoded::Directory(proto::Directory { mode: u32::from(*mode) }),
        Value::Symlink { target } => Encoded::Symlink(target.to_vec()),
    }
}

pub(crate) fn decode_version(
    encoded: &proto::Version,
    actors: &[Actor],
    budget: &mut Budget,
) -> Result<Version, WireError> {
    let value = decode_value(encoded.value.as_ref())?;
    let target_bytes = if let Value::Symlink { target } = &value { target.len() } else { 0 };
    budget.take::<Version>(1, target_bytes + encoded.born_at.len())?;
    let rank = match &encoded.rank {
        Some(time) => decode_time(time.seconds, time.nanoseconds)?,
        None => value.mtime().unwrap_or_default(),
    };
    if encoded.changed > 7 {
        return Err(WireError::Invalid("change of something unknown"));
    }
    let changed = |bit: u32| encoded.changed & bit != 0;
    Ok(Version {
        dot: decode_dot(actors, u64::from(encoded.actor), encoded.counter)?,
        value,
        rank,
        replaced: decode_flat(actors, &encoded.replaced, budget)?,
        heard: decode_heard(encoded, actors, budget)?,
        base: decode_content(encoded.base, &encoded.base_hash)?,
        changed: Changed { content: changed(1), mode: changed(2), mtime: changed(4) },
        born_at: match &encoded.born_at[..] {
            b"" => None,
            bytes => Some(SyncPath::parse(bytes)?),
        },
        signature: match &encoded.signature[..] {
            b"" => Signature(None),
            bytes => Signature(Some(exact("signature", bytes)?)),
        },
    })
}

fn decode_heard(
    encoded: &proto::Version,
    actors: &[Actor],
    budget: &mut Budget,
) -> Result<Option<Box<Heard>>, WireError> {
    if encoded.heard.is_empty() && encoded.heard_foreign.is_empty() && encoded.beside.is_empty() {
        return Ok(None);
    }
    let highest = decode_flat(actors, &encoded.heard, budget)?;
    let highest = highest.into_iter().map(|dot| (dot.actor, dot.counter)).collect();
    let gone = Context::from_parts(highest, decode_flat(actors, &encoded.heard_foreign, budget)?);
    let mut beside = decode_flat(actors, &encoded.beside, budget)?;
    beside.sort_unstable();
    beside.dedup();
    Ok(Some(Box::new(Heard { gone, beside })))
}

fn decode_value(encoded: Option<&proto::version::Value>) -> Result<Value, WireError> {
    use proto::version::Value as Encoded;
    match encoded.ok_or(WireError::Invalid("version without a value"))? {
        Encoded::Absent(absent) => {
            Ok(Value::Absent { directory_mode: absent.directory_mode.map(decode_mode).transpose()? })
        }
        Encoded::File(file) => {
            if i64::try_from(file.length).is_err() {
                return Err(WireError::Invalid("file longer than any file system holds"));
            }
            Ok(Value::File {
                content: ContentHash(exact("content hash", &file.content)?),
                length: file.length,
                mode: decode_mode(file.mode)?,
                mtime: decode_time(file.mtime_seconds, file.mtime_nanoseconds)?,
            })
        }
        Encoded::Directory(directory) => Ok(Value::Directory { mode: decode_mode(directory.mode)? }),
        Encoded::Symlink(target) => {
            if target.is_empty() || target.len() > PATH_BYTES_MAX || target.contains(&0) {
                return Err(WireError::Invalid("symlink target that no file system holds"));
            }
            Ok(Value::Symlink { target: target.as_slice().into() })
        }
    }
}

/// None for what is never kept: nobody takes that.
pub(crate) fn encode_kept_value(value: &Value) -> Option<proto::kept_version::Value> {
    use proto::kept_version::Value as Kept;
    use proto::version::Value as Encoded;
    match encode_value(value) {
        Encoded::File(file) => Some(Kept::File(file)),
        Encoded::Symlink(target) => Some(Kept::Symlink(target)),
        Encoded::Absent(_) | Encoded::Directory(_) => None,
    }
}

/// A file or symlink.
pub(crate) fn decode_kept_value(encoded: Option<proto::kept_version::Value>) -> Result<Value, WireError> {
    use proto::kept_version::Value as Kept;
    use proto::version::Value as Encoded;
    let encoded = match encoded.ok_or(WireError::Invalid("kept version without a value"))? {
        Kept::File(file) => Encoded::File(file),
        Kept::Symlink(target) => Encoded::Symlink(target),
    };
    decode_value(Some(&encoded))
}

fn decode_content(kind: u32, hash: &[u8]) -> Result<Content, WireError> {
    match kind {
        0 | 1 if !hash.is_empty() => Err(WireError::Invalid("base without bytes that has a hash")),
        0 => Ok(Content::Absent),
        1 => Ok(Content::Directory),
        2 => Ok(Content::File(ContentHash(exact("base hash", hash)?))),
        3 => Ok(Content::Symlink(ContentHash(exact("base hash", hash)?))),
        _ => Err(WireError::Invalid("base of an unknown kind")),
    }
}

fn decode_mode(mode: u32) -> Result<u16, WireError> {
    match u16::try_from(mode) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(WireError::Invalid("mode with more than the nine permission bits")),
    }
}

pub(crate) fn decode_time(seconds: i64, nanoseconds: u32) -> Result<Time, WireError> {
    if nanoseconds >= 1_000_000_000 {
        return Err(WireError::Invalid("a second or more of nanoseconds"));
    }
    Ok(Time { seconds, nanoseconds })
}
