//! Whole engines on simulated disks, links, clocks and users, in one thread, with every choice taken from one seed.
//!
//! It is both the proof and the debugger of `core::engine`: a seed that fails is replayed with a trace. Nothing here
//! is part of the product. What the disk and network crates do with real files and sockets is not simulated in detail;
//! what they promise in `core::effect` is.

mod apply;
mod check;
mod device;
mod disk;
mod faults;
mod oracle;
mod random;
mod run;
mod user;
mod watch;
mod work;
mod world;

pub use device::{Device, Durable};
pub use disk::{Body, Disk, Item};
pub use oracle::Oracle;
pub use random::Random;
pub use run::{Report, Settings, Topology, run_seed};
pub use world::{Options, Stats, World};
