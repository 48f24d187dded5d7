//! The crate through its public interface, on the real file system.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod apply;
mod attack;
mod canary;
mod hash;
mod planted;
mod privilege;
mod root;
mod scan;
mod stage;
mod support;
mod watch;
