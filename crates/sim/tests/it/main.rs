//! Tests of whole engines in a simulated world.

mod hostile;
mod clones;
mod metamorphic;
mod observing;
mod placing;
mod real_disk;
mod remotes;
mod scripts;
mod seeds;
mod waits;
