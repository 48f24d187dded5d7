//! Messages of the control connection between the core and protobuf.

use std::collections::BTreeMap;

use file_sync_core::message::{
    Attach, Hello, MESSAGE_BYTES_MAX, Member, Members, Message, Offer, Progress, Terms,
};
use file_sync_core::version::{ContentHash, DeviceId, DirectoryId};
use prost::Message as _;

use crate::WireError;
use crate::entries::{
    entries_from_bytes, entries_to_proto, optional_path, peeked_from_bytes, peeked_to_proto,
};
use crate::field::{Fields, exact};
use crate::proto;
use crate::proto::message::Kind;

/// Longest encoded message of any kind but entries and pages of them, in bytes; it bounds what they can grow to in memory.
const SHORT_BYTES_MAX: usize = 1 << 20;

/// Encodes a message for the control connection: a protobuf `Message`.
///
/// The caller keeps batches of entries below [`MESSAGE_BYTES_MAX`]; a receiver refuses longer ones.
pub fn encode_message(message: &Message) -> Vec<u8> {
    proto::Message { kind: Some(encode_kind(message)) }.encode_to_vec()
}

/// Decodes and checks a message from a remote.
///
/// # Errors
/// Says what is wrong with it; nothing of it may be used then, nor anything that follows.
pub fn decode_message(bytes: &[u8]) -> Result<Message, WireError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLarge);
    }
    // A message has one field, whose number is its kind; should there be more, the last known one counts, as protobuf
    // has it.
    let mut last = None;
    for field in Fields::of(bytes) {
        let (number, body) = field?;
        // 15 is for the link, which does not pass it on.
        if matches!(number, 1..=14 | 16..=19) {
            last = Some((number, body));
        }
    }
    match last.ok_or(WireError::UnknownMessage)? {
        (8, body) => Ok(Message::Entries(entries_from_bytes(body)?)),
        (19, body) => peeked_from_bytes(body),
        (_, body) if body.len() > SHORT_BYTES_MAX => Err(WireError::TooLarge),
        (number, body) => decode_short(number, body),
    }
}

/// The message by which the listener of a link asks its dialer for content connections; links alone know it.
pub fn encode_content_wanted() -> Vec<u8> {
    proto::Message { kind: Some(Kind::ContentWanted(proto::ContentWanted {})) }.encode_to_vec()
}

/// True for what [`encode_content_wanted`] encodes.
pub fn is_content_wanted(bytes: &[u8]) -> bool {
    matches!(Fields::of(bytes).next(), Some(Ok((15, _))))
}

fn encode_kind(message: &Message) -> Kind {
    match message {
        Message::Hello(hello) => Kind::Hello(encode_hello(hello)),
        Message::Offers(offers) => {
            Kind::Offers(proto::Offers { offers: offers.iter().map(encode_offer).collect() })
        }
        Message::Join { directory } => Kind::Join(proto::Join { directory: directory.0.to_vec() }),
        Message::Joined { directory, result } => Kind::Joined(proto::Joined {
            directory: directory.0.to_vec(),
            result: Some(match result {
                Ok(terms) => proto::joined::Result::Terms(encode_terms(terms)),
                Err(reason) => proto::joined::Result::Refused(reason.clone()),
            }),
        }),
        Message::Peek { directory, after } => Kind::Peek(proto::Peek {
            directory: directory.0.to_vec(),
            after: after.as_ref().map(|after| after.as_bytes().to_vec()).unwrap_or_default(),
        }),
        Message::Peeked { directory, after, result } => {
            Kind::Peeked(peeked_to_proto(directory, after.as_ref(), result))
        }
        Message::Attach(attach) => Kind::Attach(encode_attach(attach)),
        Message::Detach { directory, returns } => {
            Kind::Detach(proto::Detach { directory: directory.0.to_vec(), returns: *returns })
        }
        Message::Members { directory, members } => Kind::Members(proto::MembersChanged {
            directory: directory.0.to_vec(),
            members: encode_members(members),
        }),
        Message::Entries(entries) => Kind::Entries(entries_to_proto(entries)),
        Message::Progress(progress) => Kind::Progress(proto::Progress {
            directory: progress.directory.0.to_vec(),
            index_id: progress.index_id,
            merged: progress.merged,
            applied: progress.applied,
            troubles: progress.troubles,
            expecting: progress.expecting,
            is_all_told: progress.is_all_told,
            level: progress.level.iter().map(|device| device.0.to_vec()).collect(),
        }),
        Message::Check { directory, token } => {
            Kind::Check(proto::Check { directory: directory.0.to_vec(), token: *token })
        }
        Message::Checked { directory, token, sequence } => Kind::Checked(proto::Checked {
            directory: directory.0.to_vec(),
            token: *token,
            sequence: *sequence,
        }),
        Message::Barrier { token } => Kind::Barrier(proto::Barrier { token: *token }),
        Message::BarrierReached { token } => Kind::BarrierReached(proto::BarrierReached { token: *token }),
        Message::Goodbye { reason } => Kind::Goodbye(proto::Goodbye { reason: reason.clone() }),
        Message::Ping => Kind::Ping(proto::Ping {}),
        Message::Pong => Kind::Pong(proto::Pong {}),
    }
}

fn decode_short(number: u32, body: &[u8]) -> Result<Message, WireError> {
    Ok(match number {
        1 => Message::Hello(decode_hello(proto::Hello::decode(body)?)),
        2 => {
            let offers = proto::Offers::decode(body)?.offers;
            Message::Offers(offers.into_iter().map(decode_offer).collect::<Result<_, _>>()?)
        }
        3 => Message::Join { directory: directory(&proto::Join::decode(body)?.directory)? },
        4 => decode_joined(proto::Joined::decode(body)?)?,
        5 => Message::Attach(decode_attach(proto::Attach::decode(body)?)?),
        6 => {
            let detach = proto::Detach::decode(body)?;
            Message::Detach { directory: directory(&detach.directory)?, returns: detach.returns }
        }
        7 => {
            let changed = proto::MembersChanged::decode(body)?;
            Message::Members {
                directory: directory(&changed.directory)?,
                members: decode_members(&changed.members)?,
            }
        }
        9 => Message::Progress(decode_progress(proto::Progress::decode(body)?)?),
        10 => {
            let check = proto::Check::decode(body)?;
            Message::Check { directory: directory(&check.directory)?, token: check.token }
        }
        11 => {
            let checked = proto::Checked::decode(body)?;
            Message::Checked {
                directory: directory(&checked.directory)?,
                token: checked.token,
                sequence: checked.sequence,
            }
        }
        12 => Message::Goodbye { reason: proto::Goodbye::decode(body)?.reason },
        13 => Message::Ping,
        14 => Message::Pong,
        16 => Message::Barrier { token: proto::Barrier::decode(body)?.token },
        17 => Message::BarrierReached { token: proto::BarrierReached::decode(body)?.token },
        18 => {
            let peek = proto::Peek::decode(body)?;
            Message::Peek { directory: directory(&peek.directory)?, after: optional_path(&peek.after)? }
        }
        _ => return Err(WireError::UnknownMessage),
    })
}

fn directory(bytes: &[u8]) -> Result<DirectoryId, WireError> {
    Ok(DirectoryId(exact("directory id", bytes)?))
}

fn encode_hello(hello: &Hello) -> proto::Hello {
    proto::Hello {
        protocol: hello.protocol,
        name: hello.name.clone(),
        software: hello.software.clone(),
        incarnation: hello.incarnation,
        addresses: hello.addresses.clone(),
    }
}

fn decode_hello(hello: proto::Hello) -> Hello {
    Hello {
        protocol: hello.protocol,
        name: hello.name,
        software: hello.software,
        incarnation: hello.incarnation,
        addresses: hello.addresses,
    }
}

fn encode_offer(offer: &Offer) -> proto::Offer {
    proto::Offer {
        directory: offer.directory.0.to_vec(),
        name: offer.name.clone(),
        read_only: offer.read_only,
    }
}

fn decode_offer(offer: proto::Offer) -> Result<Offer, WireError> {
    Ok(Offer { directory: directory(&offer.directory)?, name: offer.name, read_only: offer.read_only })
}

fn encode_terms(terms: &Terms) -> proto::Terms {
    proto::Terms {
        only_author: terms.only_author.map(|device| device.0.to_vec()).unwrap_or_default(),
        members: encode_members(&terms.members),
    }
}

fn decode_joined(joined: proto::Joined) -> Result<Message, WireError> {
    let result = match joined.result.ok_or(WireError::Invalid("joined without a result"))? {
        proto::joined::Result::Terms(terms) => Ok(Terms {
            only_author: match &terms.only_author[..] {
                b"" => None,
                bytes => Some(DeviceId(exact("device id", bytes)?)),
            },
            members: decode_members(&terms.members)?,
        }),
        proto::joined::Result::Refused(reason) => Err(reason),
    };
    Ok(Message::Joined { directory: directory(&joined.directory)?, result })
}

fn encode_members(members: &Members) -> Vec<proto::Member> {
    let encode = |(device, member): (&DeviceId, &Member)| proto::Member {
        device: device.0.to_vec(),
        number: member.number,
        active: member.active,
        key: member.key.to_vec(),
    };
    members.iter().map(encode).collect()
}

fn decode_members(encoded: &[proto::Member]) -> Result<Members, WireError> {
    let mut members = Members::new();
    for member in encoded {
        let device = DeviceId(exact("device id", &member.device)?);
        let key: [u8; 32] = exact("public key", &member.key)?;
        // By this key relayed versions are checked, so a wrong one would let anybody sign in that device's name.
        if ContentHash::of(&key).0 != device.0 {
            return Err(WireError::Invalid("member whose key is not the one that its id names"));
        }
        let member = Member { number: member.number, active: member.active, key };
        if members.insert(device, member).is_some() {
            return Err(WireError::Invalid("member listed twice"));
        }
    }
    Ok(members)
}

fn encode_attach(attach: &Attach) -> proto::Attach {
    let counters = attach.counters.iter();
    let counters = counters.map(|(epoch, counter)| proto::EpochCounter { epoch: *epoch, counter: *counter });
    proto::Attach {
        directory: attach.directory.0.to_vec(),
        index_id: attach.index_id,
        sequence: attach.sequence,
        known_index_id: attach.known_index_id,
        known_sequence: attach.known_sequence,
        counters: counters.collect(),
        receives_only: attach.receives_only,
        sends_only: attach.sends_only,
        members: encode_members(&attach.members),
        incarnation: attach.incarnation,
        known_incarnation: attach.known_incarnation,
        heard_sequence: attach.heard_sequence,
    }
}

fn decode_attach(attach: proto::Attach) -> Result<Attach, WireError> {
    let mut counters = BTreeMap::new();
    for pair in &attach.counters {
        if counters.insert(pair.epoch, pair.counter).is_some() {
            return Err(WireError::Invalid("epoch listed twice"));
        }
    }
    Ok(Attach {
        directory: directory(&attach.directory)?,
        index_id: attach.index_id,
        sequence: attach.sequence,
        known_index_id: attach.known_index_id,
        known_sequence: attach.known_sequence,
        counters,
        receives_only: attach.receives_only,
        sends_only: attach.sends_only,
        members: decode_members(&attach.members)?,
        incarnation: attach.incarnation,
        known_incarnation: attach.known_incarnation,
        heard_sequence: attach.heard_sequence,
    })
}

fn decode_progress(progress: proto::Progress) -> Result<Progress, WireError> {
    Ok(Progress {
        directory: directory(&progress.directory)?,
        index_id: progress.index_id,
        merged: progress.merged,
        applied: progress.applied,
        troubles: progress.troubles,
        expecting: progress.expecting,
        is_all_told: progress.is_all_told,
        level: progress
            .level
            .iter()
            .map(|id| Ok(DeviceId(exact("device id", id)?)))
            .collect::<Result<_, WireError>>()?,
    })
}
