//! Networks on loopback: pairing, links, contents, strangers and hostile remotes, over lines that fail.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contents;
mod device;
mod fetching;
mod hostile;
mod hostile_content;
mod identity;
mod lines;
mod links;
mod pairing;
mod rates;
mod raw;
mod serving;
mod strangers;
mod versions;
