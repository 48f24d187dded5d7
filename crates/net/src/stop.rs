//! A signal that something should end, and why.

use std::sync::Arc;

use tokio::sync::watch;

/// Given once, seen by all who wait, now or later; the first reason counts.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<watch::Sender<Option<String>>>);

impl Stop {
    pub(crate) fn new() -> Stop {
        Stop(Arc::new(watch::Sender::new(None)))
    }

    pub(crate) fn stop(&self, reason: impl Into<String>) {
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(reason.into());
            }
            first
        });
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits for the signal and returns its reason.
    pub(crate) async fn stopped(&self) -> String {
        let mut receiver = self.0.subscribe();
        let reason = receiver.wait_for(Option::is_some).await.expect("the sender lives as long as this");
        reason.clone().unwrap_or_default()
    }
}
