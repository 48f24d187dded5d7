//! Turns: of one content one transfer at a time has the pieces open that are in the staging area. What another one wrote
//! into a file that was found to be whole would not be checked again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use file_sync_core::version::ContentHash;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Who has which turn, for all transfers of a directory.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<BTreeSet<ContentHash>>,
    freed: Notify,
}

/// The turn of one content; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    content: ContentHash,
}

impl Turns {
    /// Waits until there is a permit and nobody has a content's turn; none once there are no permits to be had any more.
    ///
    /// Who waits for one has not got the other: a transfer from a slow remote keeps back those of the same content, and
    /// none of another one that could go on.
    pub(super) async fn take<'a>(
        self: &Arc<Turns>,
        permits: &'a Semaphore,
        content: ContentHash,
    ) -> Option<(SemaphorePermit<'a>, Turn)> {
        loop {
            let permit = permits.acquire().await.ok()?;
            if let Some(turn) = self.try_take(content) {
                return Some((permit, turn));
            }
            drop(permit);
            self.ended(content).await;
        }
    }

    /// Takes a content's turn, if nobody has it.
    pub(super) fn try_take(self: &Arc<Turns>, content: ContentHash) -> Option<Turn> {
        self.taken().insert(content).then(|| Turn { turns: Arc::clone(self), content })
    }

    /// Waits until nobody has a content's turn.
    async fn ended(&self, content: ContentHash) {
        loop {
            let freed = self.freed.notified(); // It hears of all that end from here on.
            if !self.taken().contains(&content) {
                return;
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

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn v3_one_content_is_staged_by_one_transfer_at_a_time() {
        let (turns, permits) = (Arc::new(Turns::default()), Arc::new(Semaphore::new(9)));
        let (one, other) = (ContentHash::of(b"one"), ContentHash::of(b"other"));
        let first = turns.take(&permits, one).await;
        let _other = turns.take(&permits, other).await;
        let second = tokio::spawn({
            let (turns, permits) = (turns.clone(), permits.clone());
            async move { turns.take(&permits, one).await.is_some() }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!second.is_finished());
        drop(first);
        let second = tokio::time::timeout(SOON, second).await.expect("its turn").expect("no panic");
        assert!(second);
    }

    #[tokio::test]
    async fn s2_who_waits_for_a_turn_keeps_no_permit_and_who_waits_for_a_permit_no_turn() {
        let turns = Arc::new(Turns::default());
        let (own, beside) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
        let [slow, other] = [b"slow", b"othr"].map(|bytes| ContentHash::of(bytes));
        let slow_beside = turns.take(&beside, slow).await;
        let waiting = |permits: &Arc<Semaphore>, content| {
            let (turns, permits) = (turns.clone(), permits.clone());
            tokio::spawn(async move { turns.take(&permits, content).await.is_some() })
        };
        let for_turn = waiting(&own, slow);
        let for_permit = waiting(&beside, other);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!for_turn.is_finished() && !for_permit.is_finished());
        let others =
            tokio::time::timeout(SOON, turns.take(&own, other)).await.expect("nothing is in its way");
        drop(others);
        drop(slow_beside);
        for waiting in [for_turn, for_permit] {
            assert!(tokio::time::timeout(SOON, waiting).await.expect("its turn").expect("no panic"));
        }
    }
}
