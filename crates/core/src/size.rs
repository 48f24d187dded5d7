//! How long entries can get when they are encoded, from above: so that no batch is longer than a message may be, and
//! no register ever grows too long to be passed on. And what a path takes in memory, so that what others announce can
//! be bounded.
//!
//! `wire` alone knows the bytes of messages; its tests hold these bounds against them. What memory is taken is measured
//! with real servers; the bound is for all that hangs on a path while its disk has not followed.

use crate::message::{Entry, Members, Message};
use crate::path::SyncPath;
use crate::register::Register;
use crate::version::{DeviceId, Dot, Value, Version};

/// A dot, its actor named in full.
const DOT_BYTES: usize = 60;
/// A version without its dots, paths and target.
const VERSION_BYTES: usize = 256;
/// An entry without its path and register.
const ENTRY_BYTES: usize = 48;
/// What a settled version takes besides itself and its copy's path.
const SETTLED_BYTES: usize = 16;
/// A message of few fields, or an offer without its name.
const SHORT_BYTES: usize = 64;
/// A member in a list.
const MEMBER_BYTES: usize = 96;
/// By how much a copy's path is longer than the path that it is a copy of, at most.
const STAMP_BYTES: usize = 64;

/// The most bytes that an entry takes in a message, now and after any of its versions have settled.
pub fn entry_bytes_max(path: &SyncPath, register: &Register) -> usize {
    let path_bytes = path.as_bytes().len();
    let settling = path_bytes + STAMP_BYTES + SETTLED_BYTES;
    let versions = register.versions().iter().map(|version| version_bytes(version) + settling);
    let settled = register.settled().iter().map(|settled| {
        version_bytes(&settled.version)
            + settled.copy.as_ref().map_or(0, |copy| copy.as_bytes().len())
            + SETTLED_BYTES
    });
    let n_dots = register.context().highest().len() + register.context().foreign().len();
    ENTRY_BYTES + path_bytes + DOT_BYTES * n_dots + versions.chain(settled).sum::<usize>()
}

fn all_bytes(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry_bytes_max(&entry.path, &entry.register)).sum()
}

/// About how many bytes a message takes, encoded: what waits to be sent is weighed by it.
pub fn message_bytes(message: &Message) -> usize {
    let members_bytes = |members: &Members| members.len() * MEMBER_BYTES;
    SHORT_BYTES
        + match message {
            Message::Entries(entries) => all_bytes(&entries.entries),
            Message::Peeked { result: Ok(page), .. } => all_bytes(&page.entries),
            Message::Attach(attach) => members_bytes(&attach.members) + attach.counters.len() * DOT_BYTES,
            Message::Members { members, .. } => members_bytes(members),
            Message::Progress(progress) => progress.level.len() * MEMBER_BYTES,
            Message::Joined { result: Ok(terms), .. } => members_bytes(&terms.members),
            Message::Offers(offers) => offers.iter().map(|offer| SHORT_BYTES + offer.name.len()).sum(),
            _ => 0,
        }
}

/// A path's node, and its places in the sets of what is still to be done about it, without the path's own bytes.
const NODE_BYTES: usize = 640;
/// How often a path's own bytes are in memory: in the tree, and in those sets.
const PATH_COPIES: usize = 8;

/// What a path takes in memory that other devices have made it take, in bytes, roughly and from above: what nobody but
/// `own` has ever written at it takes nothing.
pub fn announced_bytes(path: &SyncPath, register: &Register, own: Option<&DeviceId>) -> usize {
    let is_other = |dot: &Dot| Some(&dot.actor.device) != own;
    let context = register.context();
    let n_heard = context.highest().iter().filter(|(actor, _)| Some(&actor.device) != own).count()
        + context.foreign().iter().filter(|dot| is_other(dot)).count();
    let versions =
        register.versions().iter().chain(register.settled().iter().map(|settled| &settled.version));
    let others: Vec<&Version> = versions.filter(|version| is_other(&version.dot)).collect();
    let heard_bytes = n_heard * size_of::<Dot>();
    if others.is_empty() && !register.versions().is_empty() {
        return heard_bytes;
    }
    // Of several values all but one stand at a name of their own.
    let n_places = 1 + others.len().saturating_sub(1);
    let place_bytes =
        place_bytes(path.as_bytes().len()) + if n_places > 1 { STAMP_BYTES * PATH_COPIES } else { 0 };
    let held_bytes = |version: &&Version| size_of::<Version>() + version_bytes(version);
    heard_bytes + n_places * place_bytes + others.iter().map(held_bytes).sum::<usize>()
}

/// What a path of so many bytes takes in memory of which nothing is known but that something is below it.
pub fn place_bytes(path_bytes: usize) -> usize {
    NODE_BYTES + PATH_COPIES * path_bytes
}

fn version_bytes(version: &Version) -> usize {
    let target_bytes = if let Value::Symlink { target } = &version.value { target.len() } else { 0 };
    let born_at_bytes = version.born_at.as_ref().map_or(0, |path| path.as_bytes().len());
    let n_heard = version
        .heard
        .as_ref()
        .map_or(0, |heard| heard.gone.highest().len() + heard.gone.foreign().len() + heard.beside.len());
    VERSION_BYTES + target_bytes + born_at_bytes + DOT_BYTES * (1 + version.replaced.len() + n_heard)
}
