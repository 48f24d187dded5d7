//! Chunk lists: one blob a file, in the index and on the wire.
//!
//! Layout: format byte (1), average size (u32, big-endian), then for each chunk its hash (32 bytes) and its length
//! (u32, big-endian). The number of chunks follows from the number of bytes.

use file_sync_core::effect::{Chunk, ChunkList};
use file_sync_core::version::ContentHash;

use crate::WireError;

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 5;
const CHUNK_BYTES: usize = 36;

/// Encodes a chunk list: 5 bytes, and 36 for each chunk.
pub fn encode_chunk_list(list: &ChunkList) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + list.chunks.len() * CHUNK_BYTES);
    bytes.push(FORMAT);
    bytes.extend_from_slice(&list.average_bytes.to_be_bytes());
    for chunk in &list.chunks {
        bytes.extend_from_slice(&chunk.hash.0);
        bytes.extend_from_slice(&chunk.length.to_be_bytes());
    }
    bytes
}

/// Decodes what [`encode_chunk_list`] wrote.
///
/// # Errors
/// When the bytes are of a newer format or cut off, or a chunk is empty.
pub fn decode_chunk_list(bytes: &[u8]) -> Result<ChunkList, WireError> {
    let malformed = || WireError::Malformed("chunk list cut off".to_owned());
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(malformed)?;
    let [FORMAT, average @ ..] = *header else {
        return Err(WireError::UnknownFormat(header[0]));
    };
    let chunks = rest.chunks_exact(CHUNK_BYTES);
    if !chunks.remainder().is_empty() {
        return Err(malformed());
    }
    let chunks = chunks.map(decode_chunk).collect::<Result<_, _>>()?;
    Ok(ChunkList { average_bytes: u32::from_be_bytes(average), chunks })
}

fn decode_chunk(bytes: &[u8]) -> Result<Chunk, WireError> {
    let (hash, length) = bytes.split_first_chunk::<32>().expect("a chunk has 36 bytes");
    let length = u32::from_be_bytes(length.try_into().expect("36 less 32 bytes are 4"));
    if length == 0 {
        return Err(WireError::Invalid("empty chunk"));
    }
    Ok(Chunk { hash: ContentHash(*hash), length })
}
