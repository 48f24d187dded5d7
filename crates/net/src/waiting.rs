//! What may wait for the server of one link's messages, by weight: so that a remote that says a lot waits itself, and
//! takes neither memory nor others' turns.
//!
//! A message weighs the bytes of its frame, and at least so much that few can wait. What it becomes in memory is bounded
//! by `wire`, a fixed number of times its bytes.

use std::sync::Arc;

use file_sync_core::message::MESSAGE_BYTES_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A permit stands for so many bytes.
const UNIT_BYTES: usize = 1 << 10;
/// What the shortest message weighs: at most 64 wait.
const LEAST_UNITS: usize = 128;
/// All that may wait of one link: one message of the longest sort, or many short ones.
const UNITS_MAX: usize = MESSAGE_BYTES_MAX / UNIT_BYTES;

/// The scales of one link.
pub(crate) struct Waiting(Arc<Semaphore>);

/// A message's weight on its link's scales, until it is dropped.
#[derive(Debug)]
pub struct Held {
    _permit: OwnedSemaphorePermit,
}

impl Waiting {
    pub(crate) fn new() -> Waiting {
        Waiting(Arc::new(Semaphore::new(UNITS_MAX)))
    }

    /// Waits until a frame of this length may be taken in.
    pub(crate) async fn hold(&self, frame_bytes: usize) -> Held {
        let units = frame_bytes.div_ceil(UNIT_BYTES).clamp(LEAST_UNITS, UNITS_MAX);
        let units = u32::try_from(units).expect("a few thousand");
        let permit = Arc::clone(&self.0).acquire_many_owned(units).await;
        Held { _permit: permit.expect("these scales are never closed") }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    /// True if a frame of this length may be taken in at once; it is then held.
    fn try_hold(waiting: &Waiting, frame_bytes: usize) -> Option<Held> {
        let mut holding = Box::pin(waiting.hold(frame_bytes));
        let mut ctx = std::task::Context::from_waker(std::task::Waker::noop());
        match holding.as_mut().poll(&mut ctx) {
            Poll::Ready(held) => Some(held),
            Poll::Pending => None,
        }
    }

    #[test]
    fn h3_a_long_message_waits_alone() {
        let waiting = Waiting::new();
        let long = try_hold(&waiting, MESSAGE_BYTES_MAX).expect("there is nothing else");
        assert!(try_hold(&waiting, 1).is_none());
        drop(long);
        let _short = try_hold(&waiting, 1).expect("it was dealt with");
        assert!(try_hold(&waiting, MESSAGE_BYTES_MAX).is_none());
    }

    #[test]
    fn h3_few_short_messages_wait() {
        let waiting = Waiting::new();
        let held: Vec<Held> = (0..1_000).map_while(|_| try_hold(&waiting, 0)).collect();
        assert_eq!(held.len(), 64);
    }
}
