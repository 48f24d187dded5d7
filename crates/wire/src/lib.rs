//! The bytes of what devices say to each other, and of what the index keeps of a register.
//!
//! `proto/file_sync.proto` documents the layout; the types are the core's. Every byte that comes in is checked here:
//! what decodes is well-formed, and takes memory in proportion to a bound, not to what its sender claims. Nothing here
//! opens a socket, checks a signature or decides what a message means.

mod chunk;
pub mod content;
mod entries;
mod error;
mod field;
pub mod kept;
mod message;
pub mod preamble;
mod register;
mod signed;
mod version;

mod proto {
    #![allow(missing_docs, reason = "generated; the .proto documents it")]
    include!(concat!(env!("OUT_DIR"), "/file_sync.rs"));
}

pub use chunk::{decode_chunk_list, encode_chunk_list};
pub use error::WireError;
pub use message::{decode_message, encode_content_wanted, encode_message, is_content_wanted};
pub use register::{decode_register, encode_register};
pub use signed::signed_bytes;
