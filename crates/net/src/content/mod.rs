//! The content connections of a link: opened when a directory is joined or something is first asked for, and again when
//! lost and needed.
//!
//! The dialer of the link dials them; a listener that wants something says so over the control connection. Both sides
//! may ask over any of them.

mod buffers;
mod connection;
mod fetch;
mod serve;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use file_sync_core::version::DirectoryId;
use file_sync_wire::content::{ContentRequest, ContentWhat};
use file_sync_wire::preamble::{Answer, Role};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

pub(crate) use connection::run;
use connection::{Asked, ContentConnection};

use crate::backoff::Backoff;
use crate::dial::{ask, client_config, dial_any};
use crate::link::{Link, Urgent};
use crate::network::Shared;
use crate::provider::FetchError;

/// Content connections that the dialer of a link opens, at most.
const CONNECTIONS: usize = 2;
/// The same where the way is long: each begins with a few packets a round trip, and a lost one holds up only its own.
const CONNECTIONS_FAR: usize = 3;
/// Content connections that the listener puts up with, for what each may take: one more than there are, so that a dialer that
/// has noticed before it that all are dead can go on.
const CONNECTIONS_MAX: usize = CONNECTIONS_FAR + 1;
/// What is a long way, there and back.
const LONG_ROUND_TRIP: Duration = Duration::from_millis(25);
/// How often a request that waits for a connection asks for one.
const WISH_EVERY: Duration = Duration::from_secs(5);

/// The content connections of one link.
pub(crate) struct ContentPool {
    connections: Mutex<Vec<Arc<ContentConnection>>>,
    /// Counts changes of `connections`.
    changes: watch::Sender<u64>,
    /// How many are wanted.
    wanted: watch::Sender<usize>,
    /// How many there are at most.
    count_max: AtomicUsize,
    /// For connections that the other side dials.
    places: Arc<Semaphore>,
}

impl Default for ContentPool {
    fn default() -> ContentPool {
        ContentPool {
            connections: Mutex::default(),
            changes: watch::Sender::new(0),
            wanted: watch::Sender::new(0),
            count_max: AtomicUsize::new(CONNECTIONS),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }
}

impl ContentPool {
    /// As many as there are at most, if this side dials.
    pub(crate) fn want_all(&self) {
        self.want(self.count_max());
    }

    pub(crate) fn note_round_trip(&self, round_trip: Duration) {
        let count = if round_trip < LONG_ROUND_TRIP { CONNECTIONS } else { CONNECTIONS_FAR };
        self.count_max.store(count, Ordering::Relaxed);
    }

    fn count_max(&self) -> usize {
        self.count_max.load(Ordering::Relaxed)
    }

    /// Room for one more connection that the other side dials, as long as what is returned is held.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    fn want(&self, count: usize) {
        self.wanted.send_if_modified(|wanted| {
            let more = *wanted < count;
            *wanted = (*wanted).max(count);
            more
        });
    }

    fn add(&self, connection: Arc<ContentConnection>) {
        self.connections().push(connection);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn remove(&self, connection: &Arc<ContentConnection>) {
        self.connections().retain(|other| !Arc::ptr_eq(other, connection));
        // Whoever needs it asks again; a link that is idle costs nothing.
        self.wanted.send_modify(|wanted| *wanted = 0);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The connection with the least to do.
    fn pick(&self) -> Option<Arc<ContentConnection>> {
        self.connections().iter().max_by_key(|connection| connection.free_slots()).cloned()
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Arc<ContentConnection>>> {
        // No code that holds it can leave it half changed.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Sends a request over the connection with the least to do, opening one if need be.
    async fn ask_content(
        &self,
        directory: DirectoryId,
        window_bytes: u32,
        what: ContentWhat,
    ) -> Result<Asked, FetchError> {
        let waiting = async {
            let mut changes = self.content().changes.subscribe();
            loop {
                changes.mark_unchanged();
                let connection = self.content_connection().await?;
                tokio::select! {
                    biased;
                    slot = connection.slot() => if let Some(slot) = slot {
                        return connection.ask(slot, |id| ContentRequest { id, directory, window_bytes, what });
                    },
                    // A new connection may have room while this one's requests do not move.
                    _ = changes.changed() => {}
                }
            }
        };
        tokio::select! {
            biased;
            _ = self.stop().stopped() => Err(FetchError::Closed),
            asked = waiting => asked,
        }
    }

    async fn content_connection(&self) -> Result<Arc<ContentConnection>, FetchError> {
        let pool = self.content();
        let until = Instant::now() + self.stalled_after();
        let mut changes = pool.changes.subscribe();
        loop {
            let picked = pool.pick();
            let busy = picked.as_ref().is_none_or(|connection| connection.is_busy());
            let missing = busy && pool.connections().len() < pool.count_max();
            if missing && self.is_dialed() {
                pool.want(if picked.is_none() { 1 } else { pool.count_max() });
            } else if missing && picked.is_none() {
                self.send_urgent(Urgent::ContentWanted);
            }
            if let Some(connection) = picked {
                return Ok(connection);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(FetchError::Stalled);
            }
            // Asked again after a while: the wish may have been lost with a connection that broke just then.
            _ = timeout(WISH_EVERY.min(left), changes.changed()).await;
        }
    }
}

/// Opens content connections for a link that this side dialed, as they are wanted, until the link ends.
pub(crate) async fn open_connections(shared: Arc<Shared>, link: Link, address: String) {
    let mut backoff = Backoff::new(shared.timing.backoff_first, shared.timing.backoff_longest);
    let mut wanted = link.content().wanted.subscribe();
    loop {
        let count = *wanted.borrow_and_update();
        let n_missing = count.saturating_sub(link.content().connections().len());
        if n_missing == 0 {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        // All at once: over a long way each takes three round trips.
        let mut opening: JoinSet<_> =
            (0..n_missing).map(|_| open(Arc::clone(&shared), link.clone(), address.clone())).collect();
        let mut failed = None;
        while let Some(opened) = opening.join_next().await {
            failed = opened.unwrap_or_else(|error| Err(error.to_string())).err().or(failed);
        }
        match failed {
            None => backoff.reset(),
            Some(reason) => {
                tracing::debug!(?link, reason, "no content connection");
                sleep(backoff.next()).await;
            }
        }
    }
}

async fn open(shared: Arc<Shared>, link: Link, address: String) -> Result<(), String> {
    let config = client_config(&shared, link.device())?;
    let within = shared.timing.handshake;
    let dialed = dial_any(&config, &[address], within).await;
    let mut connection = dialed.map_err(|error| error.to_string())?;
    let preamble = shared.preamble(Role::Content { link: link.nonce() });
    match ask(&mut connection, &preamble, within).await? {
        Answer::Accepted { protocol, .. } if shared.protocols.contains(&protocol) => {}
        Answer::Accepted { protocol, .. } => return Err(format!("the remote chose protocol {protocol}")),
        Answer::Refused { reason, .. } => return Err(reason),
    }
    let up = connection::prepare(&link, connection);
    tokio::spawn(up.run(shared));
    Ok(())
}
