//! Registers between the core and protobuf, one version at a time.

use file_sync_core::context::Context;
use file_sync_core::path::SyncPath;
use file_sync_core::register::{Register, Settled};
use file_sync_core::version::{Actor, Dot};
use prost::Message as _;

use crate::WireError;
use crate::field::{Budget, Fields};
use crate::proto;
use crate::version::{ActorTable, decode_actor, decode_flat, decode_version, encode_version};

/// First byte of a stored register.
const FORMAT: u8 = 1;

/// Encodes a register as the index keeps it: a format byte, then a protobuf `StoredRegister`.
pub fn encode_register(register: &Register) -> Vec<u8> {
    let mut actors = ActorTable::default();
    let register = register_to_proto(register, &mut actors);
    let stored = proto::StoredRegister { actors: actors.to_proto(), register: Some(register) };
    let mut bytes = Vec::with_capacity(1 + stored.encoded_len());
    bytes.push(FORMAT);
    stored.encode_raw(&mut bytes);
    bytes
}

/// Decodes what [`encode_register`] wrote.
///
/// # Errors
/// When the bytes are of a newer format, or damaged.
pub fn decode_register(bytes: &[u8]) -> Result<Register, WireError> {
    let rest = match bytes.split_first() {
        Some((&FORMAT, rest)) => rest,
        Some((format, _)) => return Err(WireError::UnknownFormat(*format)),
        None => return Err(WireError::Malformed("no bytes".to_owned())),
    };
    let mut budget = Budget::new();
    let mut actors = Vec::new();
    let mut encoded: &[u8] = &[];
    for field in Fields::of(rest) {
        match field? {
            (1, actor) => actors.push(decode_actor(&proto::Actor::decode(actor)?)?),
            (2, register) => encoded = register,
            _ => {}
        }
    }
    register_from_bytes(encoded, &actors, &mut budget)
}

pub(crate) fn register_to_proto(register: &Register, actors: &mut ActorTable) -> proto::Register {
    let versions = register.versions().iter().map(|version| encode_version(version, actors)).collect();
    let settled = register.settled().iter().map(|settled| proto::Settled {
        version: Some(encode_version(&settled.version, actors)),
        copy: settled.copy.as_ref().map(|copy| copy.as_bytes().to_vec()).unwrap_or_default(),
    });
    let settled = settled.collect();
    // What the versions imply is left out: the decoder hears of every dot that it meets.
    let mut implied = Context::default();
    for version in register.versions() {
        if version.is_foreign() {
            implied.insert_foreign(version.dot)
        } else {
            implied.insert_born(version.dot)
        }
    }
    let context = register.context();
    let heard = context.highest().iter().filter(|pair| !implied.highest().contains(pair));
    let heard: Vec<Dot> = heard.map(|(actor, counter)| Dot { actor: *actor, counter: *counter }).collect();
    let foreign = context.foreign().iter().filter(|dot| !implied.has_foreign(dot));
    proto::Register { versions, heard: actors.flat(&heard), heard_foreign: actors.flat(foreign), settled }
}

/// Decodes a protobuf `Register` without ever holding more than one version that is not checked.
pub(crate) fn register_from_bytes(
    bytes: &[u8],
    actors: &[Actor],
    budget: &mut Budget,
) -> Result<Register, WireError> {
    let mut versions = Vec::new();
    let mut settled = Vec::new();
    let (mut heard, mut foreign) = (Vec::new(), Vec::new());
    for field in Fields::of(bytes) {
        match field? {
            (1, version) => {
                versions.push(decode_version(&proto::Version::decode(version)?, actors, budget)?);
            }
            (2, packed) => heard.append(&mut decode_flat(actors, &unpack(packed)?, budget)?),
            (3, packed) => foreign.append(&mut decode_flat(actors, &unpack(packed)?, budget)?),
            (4, encoded) => settled.push(decode_settled(encoded, actors, budget)?),
            _ => {}
        }
    }
    let heard = heard.into_iter().map(|dot| (dot.actor, dot.counter)).collect();
    Ok(Register::from_parts(versions, Context::from_parts(heard, foreign), settled))
}

fn decode_settled(bytes: &[u8], actors: &[Actor], budget: &mut Budget) -> Result<Settled, WireError> {
    let encoded = proto::Settled::decode(bytes)?;
    let version = encoded.version.as_ref().ok_or(WireError::Invalid("settled without a version"))?;
    budget.take::<SyncPath>(1, encoded.copy.len())?;
    let version = decode_version(version, actors, budget)?;
    let copy = match &encoded.copy[..] {
        b"" => None,
        copy => Some(SyncPath::parse(copy)?),
    };
    Ok(Settled { version, copy })
}

fn unpack(mut packed: &[u8]) -> Result<Vec<u64>, WireError> {
    let mut numbers = Vec::new();
    while !packed.is_empty() {
        numbers.push(prost::encoding::decode_varint(&mut packed)?);
    }
    Ok(numbers)
}
