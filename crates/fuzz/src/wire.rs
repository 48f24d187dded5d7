//! Whatever decodes from the wire is well-formed: it encodes again to something that decodes to the same.

use std::fmt::Debug;

use file_sync_core::message::{Entry, Message};
use file_sync_core::version::DirectoryId;
use file_sync_wire::content::{decode_content_frame, encode_content_frame};
use file_sync_wire::kept::{decode_kept_page, encode_kept_page};
use file_sync_wire::preamble::{decode_answer, decode_preamble, encode_answer, encode_preamble};
use file_sync_wire::{
    WireError, decode_chunk_list, decode_message, decode_register, encode_chunk_list, encode_message,
    encode_register, is_content_wanted, signed_bytes,
};

/// A message of the control connection.
pub fn message(bytes: &[u8]) -> bool {
    let _ = is_content_wanted(bytes);
    let decoded = decode_message(bytes);
    if let Ok(Message::Entries(entries)) = &decoded {
        entries.entries.iter().for_each(|entry| sign_all(&entries.directory, entry));
    }
    survives(decoded, encode_message, decode_message)
}

/// What the server does with every version before it believes it.
fn sign_all(directory: &DirectoryId, entry: &Entry) {
    let settled = entry.register.settled().iter().map(|settled| &settled.version);
    for version in entry.register.versions().iter().chain(settled) {
        let born_at = version.born_at.as_ref().unwrap_or(&entry.path);
        let signed = signed_bytes(directory, born_at, version);
        assert!(signed.len() > born_at.as_bytes().len(), "the path is part of what is signed");
    }
}

/// A register as one byte string.
pub fn register(bytes: &[u8]) -> bool {
    survives(decode_register(bytes), encode_register, decode_register)
}

/// A chunk list.
pub fn chunk_list(bytes: &[u8]) -> bool {
    let decoded = decode_chunk_list(bytes);
    if let Ok(list) = &decoded {
        assert_eq!(encode_chunk_list(list), bytes, "there is one way to write a chunk list");
    }
    survives(decoded, encode_chunk_list, decode_chunk_list)
}

/// A page of what a member keeps.
pub fn kept_page(bytes: &[u8]) -> bool {
    survives(decode_kept_page(bytes), encode_kept_page, decode_kept_page)
}

/// A frame of a content connection.
pub fn content_frame(bytes: &[u8]) -> bool {
    survives(decode_content_frame(bytes), encode_content_frame, decode_content_frame)
}

/// The first frame of a dialer, and of a listener.
pub fn preamble(bytes: &[u8]) -> bool {
    let is_preamble = survives(decode_preamble(bytes), encode_preamble, decode_preamble);
    survives(decode_answer(bytes), encode_answer, decode_answer) || is_preamble
}

fn survives<T: PartialEq + Debug>(
    decoded: Result<T, WireError>,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, WireError>,
) -> bool {
    let is_taken = decoded.is_ok();
    match &decoded {
        Ok(value) => assert_eq!(decode(&encode(value)), decoded, "what is decoded survives"),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && text.len() < 1000 && !text.contains('\n'), "one line: {text:?}");
        }
    }
    is_taken
}
