//! Why bytes are refused.

use file_sync_core::path::PathError;

/// What is wrong with bytes from the wire or the index; each is reason enough to drop the whole message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not protobuf, or cut off.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// A kind of message that this protocol version does not have.
    #[error("unknown message")]
    UnknownMessage,
    /// A format byte that this build does not know.
    #[error("unknown format {0}; it was written by a newer version of file-sync")]
    UnknownFormat(u8),
    /// A path that names nothing below a root.
    #[error("bad path: {0}")]
    Path(#[from] PathError),
    /// An id, hash, key or signature of another length than it must have.
    #[error("{field} has {length} bytes, expected {expected}")]
    Length {
        /// Which.
        field: &'static str,
        /// What came, in bytes.
        length: usize,
        /// What was expected, in bytes.
        expected: usize,
    },
    /// A number or combination that no device sends.
    #[error("{0}")]
    Invalid(&'static str),
    /// Longer, or taking more memory, than any device needs.
    #[error("message too large")]
    TooLarge,
}

impl From<prost::DecodeError> for WireError {
    fn from(error: prost::DecodeError) -> WireError {
        WireError::Malformed(error.to_string())
    }
}
