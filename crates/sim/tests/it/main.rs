//! Tests of whole engines in a simulated world.

mod observing;
mod seeds;
mod waits;
