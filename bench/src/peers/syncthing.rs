//! To come.

use crate::args::Args;
use crate::peers::Peer;

/// None yet.
pub fn all(_args: &Args) -> Vec<Box<dyn Peer>> {
    Vec::new()
}
