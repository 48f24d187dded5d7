//! Getting contents into the staging area: small ones many at a time, large ones by the chunks that are lacking.
//!
//! The engine says which content to ask of whom; this carries it out and reports how each ended. Nothing is remembered:
//! a transfer that broke off leaves its pieces in the staging area, and the next one finds them there.

mod beside;
mod chunk_index;
mod large;
mod small;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use file_sync_core::effect::{ChunkList, Trouble, TroubleKind};
use file_sync_core::engine::{Engine, Event, FetchOutcome, FetchRequest};
use file_sync_core::version::{ContentHash, DeviceId, DirectoryId};
use file_sync_disk::Root;
use file_sync_index::DirectoryReader;
use file_sync_net::{FetchError, Link};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::input::Reports;
pub(crate) use beside::{Beside, Failure};
use chunk_index::ChunkIndex;
use turns::Turns;

/// Contents up to this length are fetched whole, many in one exchange, in bytes.
const SMALL_BYTES_MAX: u64 = 256 << 10;
/// Small contents in one exchange.
const GROUP_FILES_MAX: usize = 512;
/// Large contents under way at once: of those that the engine asks for, and of those that one act wants.
const LARGE_AT_ONCE: usize = 4;

/// The transfers of one directory.
pub(crate) struct Transfer {
    shared: Arc<Shared>,
}

/// What all transfers of a directory share; those for a user's act have permits and reports of their own.
struct Shared {
    directory: DirectoryId,
    root: Arc<Root>,
    engine: Arc<Mutex<Engine>>,
    reader: Arc<Mutex<DirectoryReader>>,
    chunks: Arc<Mutex<ChunkIndex>>,
    large: Arc<Semaphore>,
    turns: Arc<Turns>,
    /// Contents for which other bytes came, where that is to be told.
    wrong: Option<Arc<Mutex<BTreeSet<ContentHash>>>>,
    reports: Reports,
    stop: CancellationToken,
}

impl Transfer {
    pub(crate) fn new(
        directory: DirectoryId,
        root: Arc<Root>,
        engine: Arc<Mutex<Engine>>,
        reader: Arc<Mutex<DirectoryReader>>,
        reports: Reports,
    ) -> Transfer {
        let shared = Shared {
            directory,
            root,
            engine,
            reader,
            chunks: Arc::default(),
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            turns: Arc::default(),
            wrong: None,
            reports,
            stop: CancellationToken::new(),
        };
        Transfer { shared: Arc::new(shared) }
    }

    /// For whoever answers remotes' questions for chunk lists.
    pub(crate) fn reader(&self) -> Arc<Mutex<DirectoryReader>> {
        self.shared.reader.clone()
    }

    /// For whoever reports beside the transfers.
    pub(crate) fn reports(&self) -> Reports {
        self.shared.reports.clone()
    }

    /// Hears of contents whose division into chunks has become known.
    pub(crate) fn note_chunks(&self, chunks: &[(ContentHash, ChunkList)]) {
        let mut index = self.shared.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        chunks.iter().for_each(|(content, list)| index.note(*content, list));
    }

    /// Starts what the engine asks for. To be called inside a tokio runtime.
    pub(crate) fn fetch(&self, requests: Vec<FetchRequest>, links: &dyn Fn(DeviceId) -> Option<Link>) {
        let (staged, missing): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|request| self.shared.root.staged(request.content));
        if !staged.is_empty() {
            self.spawn(report_staged(self.shared.clone(), staged));
        }
        let mut by_device: BTreeMap<DeviceId, Vec<FetchRequest>> = BTreeMap::new();
        for request in missing {
            by_device.entry(request.from).or_default().push(request);
        }
        for (device, requests) in by_device {
            match links(device) {
                Some(link) => self.fetch_from(&link, requests),
                None => self.spawn(report_broken(self.shared.clone(), requests)),
            }
        }
    }

    fn fetch_from(&self, link: &Link, requests: Vec<FetchRequest>) {
        let (small, large): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|request| request.length <= SMALL_BYTES_MAX);
        for group in small.chunks(GROUP_FILES_MAX) {
            self.spawn(small::fetch(self.shared.clone(), link.clone(), group.to_vec()));
        }
        for request in large {
            self.spawn(large::fetch(self.shared.clone(), link.clone(), request));
        }
    }

    fn spawn(&self, transfer: impl Future<Output = ()> + Send + 'static) {
        let stop = self.shared.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = transfer => {}
            }
        });
    }

    /// Ends all transfers; their pieces stay.
    pub(crate) fn stop(&self) {
        self.shared.stop.cancel();
    }
}

/// An earlier life has staged them; whoever had them then need not have them any more.
async fn report_staged(shared: Arc<Shared>, requests: Vec<FetchRequest>) {
    let staged = |request: FetchRequest| (request.content, FetchOutcome::Staged { chunks: None });
    shared.report(requests.into_iter().map(staged).collect()).await;
}

async fn report_broken(shared: Arc<Shared>, requests: Vec<FetchRequest>) {
    let broken = |request: FetchRequest| (request.content, FetchOutcome::Broken("not connected".to_owned()));
    shared.report(requests.into_iter().map(broken).collect()).await;
}

impl Shared {
    /// Notes that what came is not what it was said to be.
    fn note_wrong(&self, content: ContentHash) {
        if let Some(wrong) = &self.wrong {
            wrong.lock().unwrap_or_else(PoisonError::into_inner).insert(content);
        }
    }

    async fn report(&self, ended: Vec<(ContentHash, FetchOutcome)>) {
        if !ended.is_empty() {
            self.reports.engine_async(Event::Fetched(ended)).await;
        }
    }
}

/// What a failed fetch means to the engine.
fn outcome_of(error: FetchError) -> FetchOutcome {
    match error {
        FetchError::NotHeld | FetchError::Changed | FetchError::TooLarge => FetchOutcome::NotHeld,
        FetchError::Closed | FetchError::Stalled | FetchError::Remote(_) => {
            FetchOutcome::Broken(error.to_string())
        }
    }
}

/// A blocking part of a transfer, on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Trouble::new(TroubleKind::Other, format!("a worker failed: {error}")))
}
