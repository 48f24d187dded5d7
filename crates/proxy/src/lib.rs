//! Lines that fail, for tests: a TCP proxy that delays, throttles, stalls, cuts, refuses and corrupts, and islands that
//! leave servers no way around it.
//!
//! It knows nothing of what it carries. What is wrong with a line is set from outside, at any time; by which byte a
//! piece is corrupted follows from a seed. Each proxy has a thread of its own, so that tests with and without a
//! runtime can use it.

mod island;
mod line;
mod proxy;

pub use island::Island;
pub use line::{Fault, Way};
pub use proxy::{Counts, Proxy};
