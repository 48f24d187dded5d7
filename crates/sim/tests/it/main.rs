//! Tests of whole engines in a simulated world.

mod clones;
mod forgetting;
mod holding;
mod hostile;
mod metamorphic;
mod mistakes;
mod observing;
mod placing;
mod real_disk;
mod remotes;
mod renames;
mod repeat;
mod scripts;
mod seeds;
mod waits;
