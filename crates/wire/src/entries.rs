//! Batches of entries: most of the traffic, and the only long message.

use file_sync_core::message::{Entries, Entry};
use file_sync_core::path::SyncPath;
use file_sync_core::version::{Actor, DirectoryId};
use prost::Message as _;

use crate::WireError;
use crate::field::{Budget, Fields, exact};
use crate::proto;
use crate::register::{register_from_bytes, register_to_proto};
use crate::version::{ActorTable, decode_actor};

const ACTORS: u32 = 5;
const ENTRIES: u32 = 6;

pub(crate) fn entries_to_proto(entries: &Entries) -> proto::Entries {
    let mut actors = ActorTable::default();
    let encoded = entries.entries.iter().map(|entry| proto::Entry {
        path: entry.path.as_bytes().to_vec(),
        holds: entry.holds,
        register: Some(register_to_proto(&entry.register, &mut actors)),
    });
    let encoded = encoded.collect();
    proto::Entries {
        directory: entries.directory.0.to_vec(),
        index_id: entries.index_id,
        after: entries.after,
        through: entries.through,
        latest: entries.latest,
        actors: actors.to_proto(),
        entries: encoded,
    }
}

pub(crate) fn entries_from_bytes(bytes: &[u8]) -> Result<Entries, WireError> {
    let mut budget = Budget::new();
    let header = EntriesHeader::decode(bytes)?;
    if header.after > header.through {
        return Err(WireError::Invalid("batch that ends before it begins"));
    }
    let mut actors = Vec::new();
    for field in Fields::of(bytes) {
        if let (ACTORS, actor) = field? {
            budget.take::<Actor>(1, 0)?;
            actors.push(decode_actor(&proto::Actor::decode(actor)?)?);
        }
    }
    let mut entries = Vec::new();
    for field in Fields::of(bytes) {
        if let (ENTRIES, entry) = field? {
            entries.push(decode_entry(entry, &actors, &mut budget)?);
        }
    }
    Ok(Entries {
        directory: DirectoryId(exact("directory id", &header.directory)?),
        index_id: header.index_id,
        after: header.after,
        through: header.through,
        latest: header.latest,
        entries,
    })
}

fn decode_entry(bytes: &[u8], actors: &[Actor], budget: &mut Budget) -> Result<Entry, WireError> {
    let header = EntryHeader::decode(bytes)?;
    budget.take::<Entry>(1, header.path.len())?;
    let mut register: &[u8] = &[];
    for field in Fields::of(bytes) {
        if let (3, encoded) = field? {
            register = encoded;
        }
    }
    Ok(Entry {
        path: SyncPath::parse(&header.path)?,
        register: register_from_bytes(register, actors, budget)?,
        holds: header.holds,
    })
}

/// `Entries` without what is walked.
#[derive(Clone, PartialEq, prost::Message)]
struct EntriesHeader {
    #[prost(bytes = "vec", tag = "1")]
    directory: Vec<u8>,
    #[prost(fixed64, tag = "2")]
    index_id: u64,
    #[prost(uint64, tag = "3")]
    after: u64,
    #[prost(uint64, tag = "4")]
    through: u64,
    #[prost(uint64, tag = "7")]
    latest: u64,
}

/// `Entry` without its register.
#[derive(Clone, PartialEq, prost::Message)]
struct EntryHeader {
    #[prost(bytes = "vec", tag = "1")]
    path: Vec<u8>,
    #[prost(bool, tag = "2")]
    holds: bool,
}
