//! The handle of a link: sending messages, fetching contents, closing.

use std::sync::Arc;
use std::time::Duration;

use file_sync_core::message::Message;
use file_sync_core::version::DeviceId;
use tokio::sync::{Notify, mpsc};

use crate::content::ContentPool;
use crate::network::Shared;
use crate::rates::Rates;
use crate::stop::Stop;

/// Messages that wait to be written before senders have to wait; each may be of the longest sort.
const OUTBOX_MESSAGES: usize = 4;
const URGENT_FRAMES: usize = 8;

/// One connection to a remote, from up to down; clones are the same link.
#[derive(Clone)]
pub struct Link {
    inner: Arc<Inner>,
}

struct Inner {
    id: u64,
    device: DeviceId,
    dialed: bool,
    nonce: u64,
    outbox: mpsc::Sender<Message>,
    urgent: mpsc::Sender<Urgent>,
    stop: Stop,
    probe: Notify,
    content: ContentPool,
    stalled_after: Duration,
    rates: Arc<Rates>,
}

/// What does not wait behind messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgent {
    Ping,
    Pong,
    ContentWanted,
}

/// The receiving ends of a link's queues.
pub(crate) struct Queues {
    pub(crate) outbox: mpsc::Receiver<Message>,
    pub(crate) urgent: mpsc::Receiver<Urgent>,
}

/// The link has ended; nothing more is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link has ended")]
pub struct Closed;

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TrySendError {
    /// The queue is full; here is the message.
    #[error("the link is busy")]
    Full(Box<Message>),
    /// The link has ended.
    #[error("the link has ended")]
    Closed,
}

impl Link {
    pub(crate) fn new(shared: &Shared, device: DeviceId, dialed: bool, nonce: u64) -> (Link, Queues) {
        let (id, stalled_after) = (shared.next_link_id(), shared.timing.stalled_after);
        let (outbox, outbox_rx) = mpsc::channel(OUTBOX_MESSAGES);
        let (urgent, urgent_rx) = mpsc::channel(URGENT_FRAMES);
        let stop = Stop::new();
        let content = ContentPool::default();
        let probe = Notify::new();
        let rates = Arc::clone(&shared.rates);
        let inner =
            Inner { id, device, dialed, nonce, outbox, urgent, stop, probe, content, stalled_after, rates };
        (Link { inner: Arc::new(inner) }, Queues { outbox: outbox_rx, urgent: urgent_rx })
    }

    /// A number that no other link of this process has.
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// The remote.
    pub fn device(&self) -> DeviceId {
        self.inner.device
    }

    /// Queues a message; waits while the queue is full. Messages arrive in the order of their queueing.
    ///
    /// # Errors
    /// When the link has ended. A message queued before that may or may not have arrived.
    pub async fn send(&self, message: Message) -> Result<(), Closed> {
        tokio::select! {
            biased;
            _ = self.inner.stop.stopped() => Err(Closed),
            sent = self.inner.outbox.send(message) => sent.map_err(|_| Closed),
        }
    }

    /// Queues a message if there is room.
    ///
    /// # Errors
    /// Gives the message back when the queue is full.
    pub fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        if self.inner.stop.is_stopped() {
            return Err(TrySendError::Closed);
        }
        self.inner.outbox.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(message) => TrySendError::Full(Box::new(message)),
            mpsc::error::TrySendError::Closed(_) => TrySendError::Closed,
        })
    }

    /// Ends the link; the remote is told the reason, as is the server with [`crate::NetEvent::Down`].
    ///
    /// A remote that is still set is dialed again.
    pub fn close(&self, reason: &str) {
        self.inner.stop.stop(reason);
    }

    pub(crate) fn is_dialed(&self) -> bool {
        self.inner.dialed
    }

    /// The random number that its content connections state.
    pub(crate) fn nonce(&self) -> u64 {
        self.inner.nonce
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.inner.stop
    }

    pub(crate) fn content(&self) -> &ContentPool {
        &self.inner.content
    }

    /// How fast contents may go and come.
    pub(crate) fn rates(&self) -> &Arc<Rates> {
        &self.inner.rates
    }

    /// How long something may take to move.
    pub(crate) fn stalled_after(&self) -> Duration {
        self.inner.stalled_after
    }

    /// Asks whether the other side is still there, with less patience than usual.
    pub(crate) fn probe(&self) {
        self.inner.probe.notify_one();
    }

    pub(crate) async fn probed(&self) {
        self.inner.probe.notified().await;
    }

    /// Sends something ahead of the queue. When too much of that waits already, this is left out: all of it is asked
    /// for again.
    pub(crate) fn send_urgent(&self, urgent: Urgent) {
        _ = self.inner.urgent.try_send(urgent);
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "link {} with {:?}", self.inner.id, self.inner.device)
    }
}
