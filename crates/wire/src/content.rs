//! Frames of content connections: requests, and the headers of the bytes that answer them.

use file_sync_core::version::{ContentHash, DirectoryId};
use prost::Message as _;

use crate::WireError;
use crate::field::exact;
use crate::kept::{KeptQuestion, decode_question, encode_question};
use crate::proto;

/// Longest encoded content frame, in bytes, raw data not counted.
pub const FRAME_BYTES_MAX: usize = 64 << 10;
/// Most raw bytes after one piece.
pub const PIECE_BYTES_MAX: usize = 256 << 10;
/// Fewest raw bytes after a piece that does not end its item.
pub const PIECE_BYTES_MIN: usize = 64 << 10;
/// Most items of one request.
pub const ITEMS_MAX: usize = 1024;
/// Most data that a request may have under way, in bytes.
pub const WINDOW_BYTES_MAX: u32 = 16 << 20;

/// One frame of a content connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ContentFrame {
    /// Asks for something.
    Request(ContentRequest),
    /// Part of an answer; `data_bytes` raw bytes follow.
    Piece(ContentPiece),
    /// Room for more of an answer.
    Credit {
        /// Of this request.
        id: u64,
        /// So many bytes more.
        bytes: u32,
    },
    /// No more of an answer, please.
    Cancel {
        /// Of this request.
        id: u64,
    },
    /// Keep-alive.
    Ping,
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContentRequest {
    /// The asker's number for it.
    pub id: u64,
    /// The directory that the content belongs to.
    pub directory: DirectoryId,
    /// How much data may be sent before any credit, in bytes.
    pub window_bytes: u32,
    /// What is asked for.
    pub what: ContentWhat,
}

/// What a request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ContentWhat {
    /// Whole small contents; an item each.
    Small(Vec<ContentHash>),
    /// How a content divides; one item.
    ChunkList(ContentHash),
    /// Ranges (offset and length in bytes) of a content; an item each.
    Ranges(ContentHash, Vec<(u64, u32)>),
    /// What is kept of a path: a [`KeptPage`](crate::kept::KeptPage); one item. Since protocol 2.
    Kept(KeptQuestion),
}

/// The header of a part of an answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ContentPiece {
    /// The request.
    pub id: u64,
    /// Which of its items.
    pub item: u32,
    /// How many raw bytes follow.
    pub data_bytes: u32,
    /// True if the item is complete with them.
    pub ends: bool,
    /// For chunk lists, the length of the file in bytes.
    pub content_length: u64,
    /// Why the item ends without being complete.
    pub error: Option<ContentError>,
}

/// Why content was not served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ContentError {
    /// It is not there.
    NotHeld,
    /// It changed while it was read.
    Changed,
    /// It is too large to be had whole.
    TooLarge,
    /// Anything else, in one line.
    Other(String),
}

/// Encodes a frame.
pub fn encode_content_frame(frame: &ContentFrame) -> Vec<u8> {
    use proto::content_frame::Kind;
    let kind = match frame {
        ContentFrame::Request(request) => Kind::Request(encode_request(request)),
        ContentFrame::Piece(piece) => Kind::Piece(encode_piece(piece)),
        ContentFrame::Credit { id, bytes } => Kind::Credit(proto::ContentCredit { id: *id, bytes: *bytes }),
        ContentFrame::Cancel { id } => Kind::Cancel(proto::ContentCancel { id: *id }),
        ContentFrame::Ping => Kind::Ping(proto::Ping {}),
    };
    proto::ContentFrame { kind: Some(kind) }.encode_to_vec()
}

/// Decodes and checks a frame.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode_content_frame(bytes: &[u8]) -> Result<ContentFrame, WireError> {
    use proto::content_frame::Kind;
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(WireError::TooLarge);
    }
    Ok(match proto::ContentFrame::decode(bytes)?.kind.ok_or(WireError::UnknownMessage)? {
        Kind::Request(request) => ContentFrame::Request(decode_request(request)?),
        Kind::Piece(piece) => ContentFrame::Piece(decode_piece(piece)?),
        Kind::Credit(credit) if credit.bytes > WINDOW_BYTES_MAX => return Err(WireError::TooLarge),
        Kind::Credit(credit) => ContentFrame::Credit { id: credit.id, bytes: credit.bytes },
        Kind::Cancel(cancel) => ContentFrame::Cancel { id: cancel.id },
        Kind::Ping(_) => ContentFrame::Ping,
    })
}

fn encode_request(request: &ContentRequest) -> proto::ContentRequest {
    use proto::content_request::What;
    let what = match &request.what {
        ContentWhat::Small(contents) => What::Small(proto::SmallContents {
            contents: contents.iter().map(|content| content.0.to_vec()).collect(),
        }),
        ContentWhat::ChunkList(content) => What::ChunkList(content.0.to_vec()),
        ContentWhat::Ranges(content, ranges) => {
            let ranges = ranges.iter();
            let ranges =
                ranges.map(|(offset, length)| proto::ContentRange { offset: *offset, length: *length });
            What::Ranges(proto::ContentRanges { content: content.0.to_vec(), ranges: ranges.collect() })
        }
        ContentWhat::Kept(question) => What::Kept(encode_question(question)),
    };
    proto::ContentRequest {
        id: request.id,
        directory: request.directory.0.to_vec(),
        window_bytes: request.window_bytes,
        what: Some(what),
    }
}

fn decode_request(request: proto::ContentRequest) -> Result<ContentRequest, WireError> {
    use proto::content_request::What;
    let hash = |bytes: &Vec<u8>| Ok::<_, WireError>(ContentHash(exact("content hash", bytes)?));
    let what = match request.what.ok_or(WireError::Invalid("request for something unknown"))? {
        What::Small(small) if small.contents.len() > ITEMS_MAX => return Err(WireError::TooLarge),
        What::Small(small) => ContentWhat::Small(small.contents.iter().map(hash).collect::<Result<_, _>>()?),
        What::ChunkList(content) => ContentWhat::ChunkList(hash(&content)?),
        What::Ranges(ranges) if ranges.ranges.len() > ITEMS_MAX => return Err(WireError::TooLarge),
        What::Ranges(ranges) => {
            let pairs = ranges.ranges.iter().map(|range| (range.offset, range.length));
            ContentWhat::Ranges(hash(&ranges.content)?, pairs.collect())
        }
        What::Kept(question) => ContentWhat::Kept(decode_question(&question)?),
    };
    if request.window_bytes > WINDOW_BYTES_MAX {
        return Err(WireError::TooLarge);
    }
    Ok(ContentRequest {
        id: request.id,
        directory: DirectoryId(exact("directory id", &request.directory)?),
        window_bytes: request.window_bytes,
        what,
    })
}

fn encode_piece(piece: &ContentPiece) -> proto::ContentPiece {
    let (error, message) = match &piece.error {
        None => (0, String::new()),
        Some(ContentError::NotHeld) => (1, String::new()),
        Some(ContentError::Changed) => (2, String::new()),
        Some(ContentError::TooLarge) => (3, String::new()),
        Some(ContentError::Other(message)) => (4, message.clone()),
    };
    proto::ContentPiece {
        id: piece.id,
        item: piece.item,
        data_bytes: piece.data_bytes,
        ends: piece.ends,
        content_length: piece.content_length,
        error,
        message,
    }
}

fn decode_piece(piece: proto::ContentPiece) -> Result<ContentPiece, WireError> {
    if piece.data_bytes as usize > PIECE_BYTES_MAX {
        return Err(WireError::TooLarge);
    }
    let error = match piece.error {
        0 => None,
        1 => Some(ContentError::NotHeld),
        2 => Some(ContentError::Changed),
        3 => Some(ContentError::TooLarge),
        _ => Some(ContentError::Other(piece.message)),
    };
    Ok(ContentPiece {
        id: piece.id,
        item: piece.item,
        data_bytes: piece.data_bytes,
        ends: piece.ends || error.is_some(),
        content_length: piece.content_length,
        error,
    })
}
