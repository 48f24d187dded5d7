//! Tests of whole engines in a simulated world.

mod observing;
mod placing;
mod remotes;
mod seeds;
mod waits;
