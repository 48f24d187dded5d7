//! What a home remembers, in SQLite: one database for the server, one for each directory.
//!
//! Every SQL statement of the project is in this crate. All of it blocks; callers give each database a thread of its
//! own. It reads no clock, decides nothing about versions, and never makes a damaged or missing database anew by
//! itself: what it holds is the only word on what a user had seen.

mod actors;
mod codec;
mod directories;
mod directory;
mod doubts;
mod error;
mod home;
mod log;
mod look;
mod open;
mod pairing;
mod paths;
mod reader;
mod row;
mod state;

pub use directories::{Directory, Mode, RemoteSync, Role};
pub use directory::{Batch, DirectoryIndex};
pub use error::IndexError;
pub use home::HomeIndex;
pub use log::{Act, ActsAfter, AlsoActs, KeptAt};
pub use look::{HomeReader, check_directory};
pub use pairing::{Invitation, Remote};
pub use reader::DirectoryReader;
pub use row::Row;
pub use state::{DirectoryState, RemoteState};
