//! The corpus, and mutations of it, given to every target.

use peak_alloc::PeakAlloc;

/// Counts what is allocated, so that memory can be bounded.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

mod replay;
