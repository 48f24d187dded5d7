//! One content connection: requests and pieces of either side, in frames, pieces followed by their bytes.
//!
//! The reader never waits for whoever asked: no more data is under way for a request than its window, and it is only
//! widened as the asker takes what came. So one slow asker holds up nobody, and memory stays bounded.

use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use file_sync_wire::content::{
    ContentFrame, ContentPiece, ContentRequest, ContentWhat, FRAME_BYTES_MAX, PIECE_BYTES_MIN,
    decode_content_frame, encode_content_frame,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::buffers::Buffers;
use super::serve::Serving;
use crate::connection::{Connection, Reader, Writer};
use crate::frame::{FrameError, push_frame};
use crate::link::Link;
use crate::network::Shared;
use crate::provider::FetchError;
use crate::rates::Rates;
use crate::stop::Stop;

/// Requests of ours under way on one connection.
const SLOTS: usize = 16;
/// With so many requests under way a second connection is worth its handshake.
const BUSY_SLOTS: usize = 2;
/// Places for pieces read for the other side that wait to be written.
const OUTGOING_PLACES: usize = 64;
/// A large piece waits with three others at most: for the memory, and to be written while it is in the processor's cache.
const LARGE_PLACES: usize = OUTGOING_PLACES - 3;
/// Smaller data is copied together with its header, and with its neighbours, before it is written.
const COPY_BYTES: usize = 32 * 1024;
/// Written at once, in bytes, while there is more of that.
const WRITE_BYTES: usize = 64 * 1024;
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// The asking side of one content connection.
pub(crate) struct ContentConnection {
    /// Bounded by the slots: a request, its cancellation, and a credit for each part of its window.
    commands: mpsc::UnboundedSender<ContentFrame>,
    pending: Mutex<HashMap<u64, Pending>>,
    slots: Arc<Semaphore>,
    next_id: AtomicU64,
    /// Counts data that came, in bytes.
    received_bytes: AtomicU64,
    stalled_after: Duration,
    rates: Arc<Rates>,
    buffers: Arc<Buffers>,
    /// True once the other side has not kept to the protocol.
    violated: AtomicBool,
    stop: Stop,
}

struct Pending {
    /// Bounded by the window and by the number of items: a piece has data, or ends an item.
    pieces: mpsc::UnboundedSender<(ContentPiece, Bytes)>,
    window_bytes: u64,
    n_items: usize,
}

/// A request under way; dropping it tells the other side to stop.
pub(crate) struct Asked {
    id: u64,
    connection: Arc<ContentConnection>,
    pieces: mpsc::UnboundedReceiver<(ContentPiece, Bytes)>,
    /// Widened in steps of this many bytes.
    step_bytes: u32,
    taken_bytes: u32,
    finished: bool,
    slot: Option<OwnedSemaphorePermit>,
}

impl ContentConnection {
    pub(crate) fn free_slots(&self) -> usize {
        self.slots.available_permits()
    }

    pub(crate) fn is_busy(&self) -> bool {
        SLOTS - self.free_slots().min(SLOTS) >= BUSY_SLOTS
    }

    /// Waits for a free slot; none if the connection ends.
    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    pub(crate) fn ask(
        self: &Arc<Self>,
        slot: OwnedSemaphorePermit,
        request: impl FnOnce(u64) -> ContentRequest,
    ) -> Result<Asked, FetchError> {
        let request = request(self.next_id.fetch_add(1, Ordering::Relaxed));
        let (sender, pieces) = mpsc::unbounded_channel();
        let n_items = match &request.what {
            ContentWhat::Small(contents) => contents.len(),
            ContentWhat::ChunkList(_) | ContentWhat::Kept(_) => 1,
            ContentWhat::Ranges(_, ranges) => ranges.len(),
        };
        let pending = Pending { pieces: sender, window_bytes: u64::from(request.window_bytes), n_items };
        let (id, step_bytes) = (request.id, request.window_bytes / 4);
        let mut all_pending = self.pending();
        all_pending.insert(id, pending);
        self.buffers.want(true);
        drop(all_pending);
        let connection = Arc::clone(self);
        let asked =
            Asked { id, connection, pieces, step_bytes, taken_bytes: 0, finished: false, slot: Some(slot) };
        // Checked after it is pending: what ends the connection clears all that is, so nobody waits forever.
        if self.commands.send(ContentFrame::Request(request)).is_err() || self.stop.is_stopped() {
            return Err(FetchError::Closed);
        }
        Ok(asked)
    }

    /// Gives a piece to whoever asked.
    fn deliver(&self, piece: ContentPiece, data: Bytes) -> Result<(), String> {
        let mut pending = self.pending();
        // Those of a request that was given up may still come.
        let Some(asker) = pending.get_mut(&piece.id) else { return Ok(()) };
        let window = asker.window_bytes.checked_sub(u64::from(piece.data_bytes));
        asker.window_bytes = window.ok_or("more data than was asked for")?;
        if piece.ends {
            asker.n_items = asker.n_items.checked_sub(1).ok_or("more answers than were asked for")?;
        } else if (piece.data_bytes as usize) < PIECE_BYTES_MIN {
            // Each takes some memory of its own, of which the window knows nothing.
            return Err("a needlessly small piece".to_owned());
        }
        // The asker may have gone just now.
        _ = asker.pieces.send((piece, data));
        Ok(())
    }

    fn violated(&self, reason: &str) {
        self.violated.store(true, Ordering::Relaxed);
        self.stop.stop(reason);
    }

    fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn end(&self, reason: &str) {
        self.stop.stop(reason);
        self.slots.close();
        self.pending().clear();
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        // No code that holds it can leave it half changed.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// The next piece, when it may be taken: its sender is told then that there is room for more.
    ///
    /// # Errors
    /// When the connection was lost, or nothing has come over it for too long.
    pub(crate) async fn next(&mut self) -> Result<(ContentPiece, Bytes), FetchError> {
        let connection = &self.connection;
        loop {
            let before = connection.received_bytes.load(Ordering::Relaxed);
            match timeout(connection.stalled_after, self.pieces.recv()).await {
                Ok(piece) => {
                    let (piece, data) = piece.ok_or(FetchError::Closed)?;
                    connection.rates.download.pass(data.len()).await;
                    return Ok((piece, data));
                }
                // Other answers are on their way, and this one behind them.
                Err(_) if connection.received_bytes.load(Ordering::Relaxed) != before => {}
                Err(_) => return Err(FetchError::Stalled),
            }
        }
    }

    /// Makes room for as much more as was taken.
    pub(crate) fn taken(&mut self, bytes: usize) {
        self.taken_bytes = self.taken_bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.taken_bytes < self.step_bytes || self.finished {
            return;
        }
        if let Some(pending) = self.connection.pending().get_mut(&self.id) {
            pending.window_bytes += u64::from(self.taken_bytes);
        }
        let credit = ContentFrame::Credit { id: self.id, bytes: std::mem::take(&mut self.taken_bytes) };
        // If the connection has ended, so has this.
        _ = self.connection.commands.send(credit);
    }

    /// All has come.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    /// The other side does not keep to the protocol.
    pub(crate) fn violated(&self, reason: &str) {
        self.connection.violated(reason);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut pending = self.connection.pending();
        pending.remove(&self.id);
        if pending.is_empty() {
            self.connection.buffers.want(false);
        }
        drop(pending);
        if !self.finished {
            // If the connection has ended, so has this.
            _ = self.connection.commands.send(ContentFrame::Cancel { id: self.id });
        }
        // Only now, so that the other side hears of the end before the next request.
        self.slot.take();
    }
}

/// A content connection that is known to its link and about to run.
pub(crate) struct Prepared {
    link: Link,
    connection: Connection,
    content: Arc<ContentConnection>,
    commands: mpsc::UnboundedReceiver<ContentFrame>,
}

/// Makes a connection available to those who ask.
pub(crate) fn prepare(link: &Link, mut connection: Connection) -> Prepared {
    connection.reader.set_limit(FRAME_BYTES_MAX);
    let (sender, commands) = mpsc::unbounded_channel();
    let content = Arc::new(ContentConnection {
        commands: sender,
        pending: Mutex::default(),
        slots: Arc::new(Semaphore::new(SLOTS)),
        next_id: AtomicU64::new(1),
        received_bytes: AtomicU64::new(0),
        stalled_after: link.stalled_after(),
        rates: Arc::clone(link.rates()),
        buffers: Arc::default(),
        violated: AtomicBool::new(false),
        stop: Stop::new(),
    });
    link.content().add(Arc::clone(&content));
    Prepared { link: link.clone(), connection, content, commands }
}

/// Runs a content connection that the other side dialed, in the place that it has.
pub(crate) async fn run(
    shared: Arc<Shared>,
    link: Link,
    connection: Connection,
    place: OwnedSemaphorePermit,
) {
    prepare(&link, connection).run(shared).await;
    drop(place);
}

impl Prepared {
    /// Runs until the connection or its link ends.
    pub(crate) async fn run(self, shared: Arc<Shared>) {
        let Prepared { link, connection, content, commands } = self;
        let Connection { reader, writer, device, address, .. } = connection;
        let (pieces, outgoing) = mpsc::channel(OUTGOING_PLACES);
        let ping_every = shared.timing.ping_every;
        let mut writing = tokio::spawn(write(writer, Arc::clone(&content), commands, outgoing, ping_every));
        let serving = Serving::new(Arc::clone(&shared), device, pieces);
        let reason = tokio::select! {
            biased;
            reason = link.stop().stopped() => reason,
            reason = content.stop.stopped() => reason,
            ending = read(reader, &content, serving, shared.timing.dead_after) => match ending {
                Ending::Lost(reason) => reason,
                Ending::Violation(reason) => {
                    content.violated(&reason);
                    reason
                }
            },
        };
        if content.violated.load(Ordering::Relaxed) {
            shared.refused(Some(device), address, &reason);
        }
        tracing::debug!(?device, reason, "content connection ended");
        link.content().remove(&content);
        content.end(&reason);
        if timeout(GOODBYE_WITHIN, &mut writing).await.is_err() {
            writing.abort();
        }
    }
}

/// Why a connection can be read no more.
enum Ending {
    Lost(String),
    /// The other side does not keep to the protocol.
    Violation(String),
}

impl From<FrameError> for Ending {
    fn from(error: FrameError) -> Ending {
        match error {
            FrameError::TooLong { .. } => Ending::Violation(error.to_string()),
            FrameError::Io(_) | FrameError::Closed => Ending::Lost(error.to_string()),
        }
    }
}

async fn read(
    mut reader: Reader,
    content: &ContentConnection,
    mut serving: Serving,
    dead_after: Duration,
) -> Ending {
    loop {
        let step = match reader.buffered() {
            Ok(Some(frame)) => take(&mut reader, content, &mut serving, &frame, dead_after).await,
            Ok(None) => within(dead_after, reader.fill()).await,
            Err(error) => Err(error.into()),
        };
        if let Err(ending) = step {
            return ending;
        }
    }
}

async fn within<T>(
    dead_after: Duration,
    reading: impl Future<Output = Result<T, FrameError>>,
) -> Result<T, Ending> {
    let silent = |_| Ending::Lost("the remote has gone silent".to_owned());
    Ok(timeout(dead_after, reading).await.map_err(silent)??)
}

async fn take(
    reader: &mut Reader,
    content: &ContentConnection,
    serving: &mut Serving,
    frame: &[u8],
    dead_after: Duration,
) -> Result<(), Ending> {
    let frame = decode_content_frame(frame).map_err(|error| Ending::Violation(error.to_string()))?;
    match frame {
        ContentFrame::Ping => Ok(()),
        ContentFrame::Request(request) => serving.start(request).await.map_err(Ending::Violation),
        ContentFrame::Credit { id, bytes } => serving.credit(id, bytes).map_err(Ending::Violation),
        ContentFrame::Cancel { id } => {
            serving.cancel(id);
            Ok(())
        }
        ContentFrame::Piece(piece) => {
            let count = piece.data_bytes as usize;
            let mut data = content.buffers.take(count);
            reader.buffered_raw(&mut data, count);
            content.received(data.len());
            while data.len() < count {
                content.received(within(dead_after, reader.fill_raw(&mut data, count)).await?);
            }
            content.deliver(piece, content.buffers.piece(data)).map_err(Ending::Violation)
        }
    }
}

/// Writes until the connection ends: what we ask for first, then what we serve.
async fn write(
    mut writer: Writer,
    content: Arc<ContentConnection>,
    mut commands: mpsc::UnboundedReceiver<ContentFrame>,
    mut pieces: mpsc::Receiver<(ContentPiece, Bytes)>,
    ping_every: Duration,
) {
    let mut buffer = Vec::with_capacity(WRITE_BYTES);
    loop {
        let ping_at = Instant::now() + ping_every;
        let mut large = None;
        tokio::select! {
            biased;
            _ = content.stop.stopped() => {
                // The other side may be gone already, which is as good.
                _ = writer.shutdown().await;
                return;
            }
            Some(command) = commands.recv() => push_frame(&mut buffer, &encode_content_frame(&command)),
            Some((piece, data)) = pieces.recv() => large = push_piece(&mut buffer, piece, data),
            () = sleep_until(ping_at) => push_frame(&mut buffer, &encode_content_frame(&ContentFrame::Ping)),
        }
        while large.is_none() && buffer.len() < WRITE_BYTES {
            if let Ok(command) = commands.try_recv() {
                push_frame(&mut buffer, &encode_content_frame(&command));
            } else if let Ok((piece, data)) = pieces.try_recv() {
                large = push_piece(&mut buffer, piece, data);
            } else {
                break;
            }
        }
        let mut parts = [IoSlice::new(&buffer), IoSlice::new(large.as_deref().unwrap_or_default())];
        if let Err(error) = writer.put(&mut parts, content.stalled_after).await {
            content.stop.stop(format!("connection lost: {error}"));
            return;
        }
        buffer.clear();
    }
}

/// Free places that it takes to queue a piece with so many bytes of data; it fills one.
pub(crate) fn places_for(data_bytes: usize) -> usize {
    if data_bytes > COPY_BYTES { LARGE_PLACES } else { 1 }
}

/// Appends a piece; its data too if it is small, else returns that, to be written next.
fn push_piece(buffer: &mut Vec<u8>, piece: ContentPiece, data: Bytes) -> Option<Bytes> {
    push_frame(buffer, &encode_content_frame(&ContentFrame::Piece(piece)));
    if data.len() > COPY_BYTES {
        return Some(data);
    }
    buffer.extend_from_slice(&data);
    None
}
