//! What reaches the main loop from its workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use file_sync_core::engine::{Damage, Event, KeptSweep};
use file_sync_core::path::SyncPath;
use file_sync_core::version::{DeviceId, DirectoryId, Dot, Signature};
use file_sync_net::{PairError, PairedWith};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::api::command::RemoteAdd;
use crate::api::command::Reply;
use crate::api::types::Remote;

/// How long a thread waits before it tries again to report to a main loop that has too much to do.
const FULL_WAIT: Duration = Duration::from_millis(1);

/// One message to the main loop.
#[derive(Debug)]
pub(crate) enum Input {
    /// A directory's worker reports.
    Room {
        /// Which directory.
        directory: DirectoryId,
        /// Which life of it: a directory may be left and joined again while a worker is at work.
        life: u64,
        /// What.
        event: RoomEvent,
    },
    /// All that worked for a directory that has to be started again has ended.
    RoomEnded {
        /// Which directory.
        directory: DirectoryId,
        /// Which life of it.
        life: u64,
    },
    /// Somebody shows an invitation's secret.
    Redeem {
        /// The secret.
        secret: [u8; 16],
        /// Who.
        device: DeviceId,
        /// Its public key.
        key: [u8; 32],
        /// Its own name for itself.
        name: String,
        /// Where it says it listens.
        addresses: Vec<String>,
        /// This device's name if the invitation was good.
        reply: std::sync::mpsc::Sender<Option<String>>,
    },
    /// A `remote add` has ended.
    Added {
        /// What was asked.
        request: RemoteAdd,
        /// What came of it.
        result: Result<PairedWith, PairError>,
        /// Who waits.
        reply: Reply<Remote>,
    },
}

/// What a directory's worker reports.
#[derive(Debug)]
pub(crate) enum RoomEvent {
    /// For the engine.
    Engine(Event),
    /// A commit is durable.
    Committed {
        /// Up to this sequence number.
        sequence: u64,
        /// The signatures that were put on this device's new versions.
        signatures: Vec<(SyncPath, Dot, Signature)>,
    },
    /// The kept versions were looked at.
    KeptSwept(KeptSweep),
    /// Files were found to be damaged.
    Damaged(Vec<Damage>),
    /// A commit failed and is tried again; none: it has worked since.
    CommitTrouble(Option<String>),
    /// Something was done to the disk that is not durable, or is not as the engine would take it: the directory goes on
    /// as after a crash.
    Failed(String),
}

/// Lets a directory's workers report.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    /// The main loop.
    pub(crate) inputs: mpsc::Sender<Input>,
    /// The directory.
    pub(crate) directory: DirectoryId,
    /// Its life.
    pub(crate) life: u64,
    /// Set when the directory ends: the main loop may then be waiting for the very thread that reports.
    pub(crate) stop: Arc<AtomicBool>,
}

impl Reports {
    /// Reports from a thread; false once nobody listens any more.
    pub(crate) fn send(&self, event: RoomEvent) -> bool {
        let mut input = self.input(event);
        while !self.stop.load(Ordering::Relaxed) {
            input = match self.inputs.try_send(input) {
                Ok(()) => return true,
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(input)) => input,
            };
            std::thread::sleep(FULL_WAIT);
        }
        false
    }

    /// Reports an engine's event from a thread.
    pub(crate) fn engine(&self, event: Event) -> bool {
        self.send(RoomEvent::Engine(event))
    }

    /// Reports from a task.
    pub(crate) async fn engine_async(&self, event: Event) {
        // Nobody listens only when the server or the directory is at its end.
        let _ = self.inputs.send(self.input(RoomEvent::Engine(event))).await;
    }

    fn input(&self, event: RoomEvent) -> Input {
        Input::Room { directory: self.directory, life: self.life, event }
    }
}

/// A reply that nobody may be waiting for any more.
pub(crate) fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    // A client that went away needs no answer.
    let _ = reply.send(value);
}
