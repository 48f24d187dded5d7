//! Contents that a user's act wants, beside those that the engine asks for: brought the same way, into the same staging
//! area, and reported to whoever wants them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use file_sync_core::engine::{Event, FetchOutcome, FetchRequest};
use file_sync_core::version::{ContentHash, DeviceId};
use file_sync_net::Link;
use tokio::sync::{Semaphore, mpsc};

use super::turns::Turn;
use super::{LARGE_AT_ONCE, Shared, Transfer};
use crate::input::{Input, Reports, RoomEvent};

/// Reports that wait to be read.
const REPORTS: usize = 16;

/// Brings contents for others than the engine.
pub(crate) struct Beside {
    shared: Arc<Shared>,
}

/// Why a content did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The remote does not hold it.
    NotHeld,
    /// What the remote sent is something else.
    Wrong,
    /// The link broke, or this disk could not take it: in a few words.
    Other(String),
}

impl Transfer {
    /// For acts that want contents of remotes.
    pub(crate) fn beside(&self) -> Beside {
        Beside { shared: self.shared.clone() }
    }
}

impl Beside {
    /// Returns once the directory is being stopped: nothing may hold on to it then.
    pub(crate) async fn stopped(&self) {
        self.shared.stop.cancelled().await;
    }

    /// Keeps all others from staging a content until it is dropped; none: somebody is at it.
    pub(crate) fn turn(&self, content: ContentHash) -> Option<Turn> {
        self.shared.turns.try_take(content)
    }

    /// Has contents staged, whole and verified, and says which did not come. Ends early when the directory is stopped, and
    /// when this is dropped; what has come of a large one stays for the next time.
    pub(crate) async fn fetch(
        &self,
        requests: Vec<FetchRequest>,
        links: &BTreeMap<DeviceId, Link>,
    ) -> BTreeMap<ContentHash, Failure> {
        let missing = "the directory is being stopped or started again".to_owned();
        let mut failures: BTreeMap<ContentHash, Failure> =
            requests.iter().map(|request| (request.content, Failure::Other(missing.clone()))).collect();
        let (inputs, mut reported) = mpsc::channel(REPORTS);
        let own = self.own(inputs);
        let _end = own.stop.clone().drop_guard();
        let wrong = own.wrong.clone();
        Transfer { shared: own }.fetch(requests, &|device| links.get(&device).cloned());
        // It ends with the last of the transfers.
        while let Some(input) = reported.recv().await {
            let Input::Room { event: RoomEvent::Engine(Event::Fetched(ended)), .. } = input else { continue };
            for (content, outcome) in ended {
                let wrong = wrong.as_ref().map(|wrong| wrong.lock().unwrap_or_else(PoisonError::into_inner));
                let is_wrong = wrong.is_some_and(|wrong| wrong.contains(&content));
                match outcome {
                    FetchOutcome::Staged { .. } => _ = failures.remove(&content),
                    FetchOutcome::NotHeld if is_wrong => _ = failures.insert(content, Failure::Wrong),
                    FetchOutcome::NotHeld => _ = failures.insert(content, Failure::NotHeld),
                    FetchOutcome::Broken(reason) => _ = failures.insert(content, Failure::Other(reason)),
                    FetchOutcome::Trouble(trouble) => {
                        failures.insert(content, Failure::Other(trouble.message));
                    }
                }
            }
        }
        failures
    }

    fn own(&self, inputs: mpsc::Sender<Input>) -> Arc<Shared> {
        let Shared { directory, root, engine, reader, chunks, turns, reports, stop, .. } = &*self.shared;
        Arc::new(Shared {
            directory: *directory,
            root: root.clone(),
            engine: engine.clone(),
            reader: reader.clone(),
            chunks: chunks.clone(),
            // What a user waits for is not kept back by the engine's transfers, nor are they by it.
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            turns: turns.clone(),
            wrong: Some(Arc::new(Mutex::new(BTreeSet::new()))),
            reports: Reports {
                inputs,
                directory: *directory,
                life: reports.life,
                stop: Arc::new(AtomicBool::new(false)),
            },
            stop: stop.child_token(),
        })
    }
}
