//! Whole engines on simulated disks, links, clocks and users, in one thread, with every choice taken from one seed.
//!
//! It is both the proof and the debugger of `core::engine`: a seed that fails is replayed with a trace. Nothing here
//! is part of the product. What the disk and network crates do with real files and sockets is not simulated in detail;
//! what they promise in `core::effect` is.

mod announced;
mod apply;
mod check;
mod choose;
mod device;
mod disk;
mod faults;
mod kept;
mod link;
mod moment;
mod oracle;
mod play;
mod random;
mod rest;
mod revert;
mod run;
mod script;
mod settings;
mod shrink;
mod stats;
mod trace;
mod unheard;
mod user;
mod watch;
mod work;
mod world;

pub use device::{Device, Durable};
pub use disk::{Body, Disk, Item, Whereabouts};
pub use oracle::Oracle;
pub use random::Random;
pub use run::{Report, run_script, run_seed};
pub use script::{Machine, Scene, Script, ScriptError, Step, Verb};
pub use settings::{Odds, Settings, Topology};
pub use shrink::{failure_of, shrink};
pub use stats::Stats;
pub use world::{Options, World};
