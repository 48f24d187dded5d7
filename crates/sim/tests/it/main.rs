//! Tests of whole engines in a simulated world.

mod seeds;
