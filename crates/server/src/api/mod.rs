//! The local api: HTTP/JSON over a Unix socket in the home, for the command line, scripts and pages alike.
//!
//! A request becomes a [`command::Command`] in the main loop's queue; its answer, one of the documents in [`types`],
//! comes back through the command's reply. Nothing here decides or keeps anything; whoever holds the state does.

pub mod command;
mod files;
pub mod home;
pub mod names;
mod remotes;
pub mod router;
pub mod socket;
mod status;
mod syncs;
pub mod types;
mod versions;
