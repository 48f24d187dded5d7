//! Batches of entries: most of the traffic, and the only long message.

use file_sync_core::message::{Entries, Entry, Message, Page};
use file_sync_core::path::SyncPath;
use file_sync_core::version::{Actor, DeviceId, DirectoryId};
use prost::Message as _;

use crate::WireError;
use crate::field::{Budget, Fields, exact};
use crate::proto;
use crate::register::{register_from_bytes, register_to_proto};
use crate::version::{ActorTable, decode_actor};

const ACTORS: u32 = 5;
const ENTRIES: u32 = 6;
const PAGE: u32 = 6;

pub(crate) fn entries_to_proto(entries: &Entries) -> proto::Entries {
    let (actors, encoded) = list_to_proto(&entries.entries);
    proto::Entries {
        directory: entries.directory.0.to_vec(),
        index_id: entries.index_id,
        after: entries.after,
        through: entries.through,
        latest: entries.latest,
        actors,
        entries: encoded,
    }
}

fn list_to_proto(entries: &[Entry]) -> (Vec<proto::Actor>, Vec<proto::Entry>) {
    let mut actors = ActorTable::default();
    let encoded = entries.iter().map(|entry| proto::Entry {
        path: entry.path.as_bytes().to_vec(),
        holds: entry.holds,
        register: Some(register_to_proto(&entry.register, &mut actors)),
    });
    let encoded = encoded.collect();
    (actors.to_proto(), encoded)
}

/// The answer to a peek.
pub(crate) fn peeked_to_proto(
    directory: &DirectoryId,
    after: Option<&SyncPath>,
    result: &Result<Page, String>,
) -> proto::Peeked {
    let peeked = proto::Peeked {
        directory: directory.0.to_vec(),
        after: after.map(|after| after.as_bytes().to_vec()).unwrap_or_default(),
        ..Default::default()
    };
    match result {
        Err(reason) => proto::Peeked { refused: reason.clone(), ..peeked },
        Ok(page) => {
            let (actors, entries) = list_to_proto(&page.entries);
            proto::Peeked {
                only_author: page.only_author.map(|device| device.0.to_vec()).unwrap_or_default(),
                is_last: page.is_last,
                troubled: page.n_troubled,
                page: Some(proto::Entries { actors, entries, ..Default::default() }),
                ..peeked
            }
        }
    }
}

pub(crate) fn peeked_from_bytes(bytes: &[u8]) -> Result<Message, WireError> {
    let header = PeekedHeader::decode(bytes)?;
    let mut entries = Vec::new();
    for field in Fields::of(bytes) {
        if let (PAGE, page) = field? {
            entries = list_from_bytes(page)?; // The last counts, as protobuf has it.
        }
    }
    let result = if header.refused.is_empty() {
        Ok(Page {
            only_author: device(&header.only_author)?,
            entries,
            is_last: header.is_last,
            n_troubled: header.troubled,
        })
    } else {
        Err(header.refused)
    };
    Ok(Message::Peeked {
        directory: DirectoryId(exact("directory id", &header.directory)?),
        after: optional_path(&header.after)?,
        result,
    })
}

/// A path, where none stands for no path.
pub(crate) fn optional_path(bytes: &[u8]) -> Result<Option<SyncPath>, WireError> {
    Ok(if bytes.is_empty() { None } else { Some(SyncPath::parse(bytes)?) })
}

fn device(bytes: &[u8]) -> Result<Option<DeviceId>, WireError> {
    Ok(if bytes.is_empty() { None } else { Some(DeviceId(exact("device id", bytes)?)) })
}

pub(crate) fn entries_from_bytes(bytes: &[u8]) -> Result<Entries, WireError> {
    let header = EntriesHeader::decode(bytes)?;
    if header.after > header.through {
        return Err(WireError::Invalid("batch that ends before it begins"));
    }
    Ok(Entries {
        directory: DirectoryId(exact("directory id", &header.directory)?),
        index_id: header.index_id,
        after: header.after,
        through: header.through,
        latest: header.latest,
        entries: list_from_bytes(bytes)?,
    })
}

fn list_from_bytes(bytes: &[u8]) -> Result<Vec<Entry>, WireError> {
    let mut budget = Budget::new();
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
    Ok(entries)
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

/// `Peeked` without its page.
#[derive(Clone, PartialEq, prost::Message)]
struct PeekedHeader {
    #[prost(bytes = "vec", tag = "1")]
    directory: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    after: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    only_author: Vec<u8>,
    #[prost(bool, tag = "4")]
    is_last: bool,
    #[prost(string, tag = "5")]
    refused: String,
    #[prost(uint64, tag = "7")]
    troubled: u64,
}

/// `Entry` without its register.
#[derive(Clone, PartialEq, prost::Message)]
struct EntryHeader {
    #[prost(bytes = "vec", tag = "1")]
    path: Vec<u8>,
    #[prost(bool, tag = "2")]
    holds: bool,
}
