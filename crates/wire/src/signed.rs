//! What the author's signature covers.
//!
//! Layout, all integers big-endian: the domain `file-sync version 1` and a NUL; the directory id (16 bytes); the path
//! where the version was born (u32 length, bytes); its dot (device 32 bytes, epoch u64, counter u64); the value (a
//! byte of kind: 0 absent, 1 absent and a directory before, 2 file, 3 directory, 4 symlink; then mode u16 for 1 and
//! 3, hash 32 bytes, length u64, mode u16, mtime for 2, u32 length and target for 4); rank; the replaced dots (u32
//! count, dots), and, under the domain `file-sync version 2` and a NUL, where its author had heard of anything else,
//! that: of each actor the highest dot that was gone, the dots born elsewhere that were, and the dots that stood beside them
//! (each as before, in order); the base (a byte of kind: 0 absent, 1 directory, 2 file, 3 symlink; then 32 bytes of hash for 2 and
//! 3); a byte of what changed (1 content, 2 mode, 4 mtime). A time is i64 seconds and u32 nanoseconds. No two versions
//! have the same bytes, since every part's length is known or comes before it. This layout must never change: versions
//! are kept and relayed for years.

use file_sync_core::path::SyncPath;
use file_sync_core::version::{Content, DirectoryId, Dot, Time, Value, Version};

const DOMAIN: &[u8] = b"file-sync version 1\0";
const DOMAIN_HEARD: &[u8] = b"file-sync version 2\0";

/// The bytes that the author of `version` signs: all of it but the signature, and the directory and path it was born in.
///
/// `path` is the birth path: [`Version::born_at`] if it has one, else that of its register.
pub fn signed_bytes(directory: &DirectoryId, path: &SyncPath, version: &Version) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256 + path.as_bytes().len());
    bytes.extend_from_slice(if version.heard.is_some() { DOMAIN_HEARD } else { DOMAIN });
    bytes.extend_from_slice(&directory.0);
    push_sized(&mut bytes, path.as_bytes());
    push_dot(&mut bytes, &version.dot);
    push_value(&mut bytes, &version.value);
    push_time(&mut bytes, version.rank);
    push_dots(&mut bytes, &version.replaced);
    if let Some(heard) = &version.heard {
        push_dots(&mut bytes, &heard.gone.born().collect::<Vec<_>>());
        push_dots(&mut bytes, heard.gone.foreign());
        push_dots(&mut bytes, &heard.beside);
    }
    push_base(&mut bytes, &version.base);
    let changed = version.changed;
    bytes.push(u8::from(changed.content) | u8::from(changed.mode) << 1 | u8::from(changed.mtime) << 2);
    bytes
}

fn push_length(bytes: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("paths, targets and lists of dots are shorter than 4 GiB");
    bytes.extend_from_slice(&length.to_be_bytes());
}

fn push_sized(bytes: &mut Vec<u8>, part: &[u8]) {
    push_length(bytes, part.len());
    bytes.extend_from_slice(part);
}

fn push_dots(bytes: &mut Vec<u8>, dots: &[Dot]) {
    push_length(bytes, dots.len());
    dots.iter().for_each(|dot| push_dot(bytes, dot));
}

fn push_dot(bytes: &mut Vec<u8>, dot: &Dot) {
    bytes.extend_from_slice(&dot.actor.device.0);
    bytes.extend_from_slice(&dot.actor.epoch.to_be_bytes());
    bytes.extend_from_slice(&dot.counter.to_be_bytes());
}

fn push_time(bytes: &mut Vec<u8>, time: Time) {
    bytes.extend_from_slice(&time.seconds.to_be_bytes());
    bytes.extend_from_slice(&time.nanoseconds.to_be_bytes());
}

fn push_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Absent { directory_mode: None } => bytes.push(0),
        Value::Absent { directory_mode: Some(mode) } => {
            bytes.push(1);
            bytes.extend_from_slice(&mode.to_be_bytes());
        }
        Value::File { content, length, mode, mtime } => {
            bytes.push(2);
            bytes.extend_from_slice(&content.0);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&mode.to_be_bytes());
            push_time(bytes, *mtime);
        }
        Value::Directory { mode } => {
            bytes.push(3);
            bytes.extend_from_slice(&mode.to_be_bytes());
        }
        Value::Symlink { target } => {
            bytes.push(4);
            push_sized(bytes, target);
        }
    }
}

fn push_base(bytes: &mut Vec<u8>, base: &Content) {
    match base {
        Content::Absent => bytes.push(0),
        Content::Directory => bytes.push(1),
        Content::File(hash) => {
            bytes.push(2);
            bytes.extend_from_slice(&hash.0);
        }
        Content::Symlink(hash) => {
            bytes.push(3);
            bytes.extend_from_slice(&hash.0);
        }
    }
}
