//! Tests of whole engines in a simulated world.

mod seeds;
mod waits;
