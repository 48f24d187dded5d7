//! The crate through its public interface, on the real file system.

mod apply;
mod hash;
mod privilege;
mod root;
mod scan;
mod stage;
mod support;
mod watch;
