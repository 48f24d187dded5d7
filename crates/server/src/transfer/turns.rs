//! Turns: of one content one transfer at a time has the pieces open that are in the staging area. What another one wrote
//! into a file that was found to be whole would not be checked again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use file_sync_core::version::ContentHash;
use tokio::sync::Notify;

/// Who has which turn, for all transfers of a directory.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<BTreeSet<ContentHash>>,
    freed: Notify,
}

/// The turn of one content; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    content: ContentHash,
}

impl Turns {
    /// Waits until nobody has a content's turn.
    pub(super) async fn take(self: &Arc<Turns>, content: ContentHash) -> Turn {
        loop {
            let freed = self.freed.notified(); // It hears of all that end from here on.
            if self.taken().insert(content) {
                return Turn { turns: Arc::clone(self), content };
            }
            freed.await;
        }
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<ContentHash>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.taken().remove(&self.content);
        self.turns.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn v3_one_content_is_staged_by_one_transfer_at_a_time() {
        let turns = Arc::new(Turns::default());
        let (one, other) = (ContentHash::of(b"one"), ContentHash::of(b"other"));
        let first = turns.take(one).await;
        let _other = turns.take(other).await;
        let second = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(one).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!second.is_finished());
        drop(first);
        tokio::time::timeout(Duration::from_secs(20), second).await.expect("its turn").expect("no panic");
    }
}
