//! The pure core of file-sync: what is known of every path, what should be on the disk, and what to do next.
//!
//! No file system, socket, clock, thread, randomness or SQL: events come in, effects go out, time and chance are
//! parameters. The same code runs in the server and in tests that know every history.

pub mod conflict;
pub mod context;
pub mod effect;
pub mod engine;
pub mod ignore;
pub mod message;
pub mod mistake;
pub mod path;
pub mod projection;
pub mod record;
pub mod register;
pub mod retention;
pub mod size;
pub mod tree;
pub mod unlisted;
pub mod version;
mod witness;
