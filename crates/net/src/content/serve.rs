//! Answering requests: contents are read by threads that may block, a piece at a time, never a whole file.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use file_sync_core::version::{ContentHash, DeviceId, DirectoryId};
use file_sync_wire::content::{ContentError, ContentPiece, ContentRequest, ContentWhat, PIECE_BYTES_MAX};
use file_sync_wire::encode_chunk_list;
use file_sync_wire::kept::{KeptQuestion, encode_kept_page};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::connection::places_for;
use crate::network::Shared;
use crate::provider::{ContentProvider, ContentReader, FetchError, SMALL_BYTES_MAX};
use crate::text::one_line;

/// Requests of one connection under way; whoever keeps to the protocol has half of them at most.
const REQUESTS_MAX: usize = 32;
/// Requests of one connection under way, or given up and not quite ended.
const TASKS_MAX: usize = 2 * REQUESTS_MAX;
/// Credit that a request may have at once, in bytes.
const CREDIT_BYTES_MAX: usize = 64 << 20;
/// Read by one visit to a thread, in bytes, roughly: many small contents, or ranges, share the way there.
const VISIT_BYTES: usize = 512 * 1024;

/// The requests of the other side on one connection. Dropping it ends them.
pub(crate) struct Serving {
    shared: Arc<Shared>,
    device: DeviceId,
    pieces: mpsc::Sender<(ContentPiece, Bytes)>,
    requests: HashMap<u64, (Arc<Semaphore>, AbortHandle)>,
    tasks: JoinSet<u64>,
}

impl Serving {
    pub(crate) fn new(
        shared: Arc<Shared>,
        device: DeviceId,
        pieces: mpsc::Sender<(ContentPiece, Bytes)>,
    ) -> Serving {
        Serving { shared, device, pieces, requests: HashMap::new(), tasks: JoinSet::new() }
    }

    pub(crate) async fn start(&mut self, request: ContentRequest) -> Result<(), String> {
        // Requests that were given up end soon, those under way are limited, so this does not wait for the other side.
        while self.tasks.len() >= TASKS_MAX {
            let ended = self.tasks.join_next().await;
            self.reaped(ended.expect("there are some"));
        }
        while let Some(ended) = self.tasks.try_join_next() {
            self.reaped(ended);
        }
        if self.requests.len() >= REQUESTS_MAX || self.requests.contains_key(&request.id) {
            return Err("too many requests at once, or two of one number".to_owned());
        }
        let id = request.id;
        let credit = Arc::new(Semaphore::new(request.window_bytes as usize));
        let answer = Answer {
            shared: Arc::clone(&self.shared),
            device: self.device,
            directory: request.directory,
            id,
            credit: Arc::clone(&credit),
            pieces: self.pieces.clone(),
        };
        let what = request.what;
        let abort = self.tasks.spawn(async move {
            // An error means that the connection has ended, which its reader notices too.
            _ = answer.serve(what).await;
            id
        });
        self.requests.insert(id, (credit, abort));
        Ok(())
    }

    pub(crate) fn credit(&mut self, id: u64, bytes: u32) -> Result<(), String> {
        // It may be for a request that was just answered.
        let Some((credit, _)) = self.requests.get(&id) else { return Ok(()) };
        if credit.available_permits() + bytes as usize > CREDIT_BYTES_MAX {
            return Err("more credit than anybody needs".to_owned());
        }
        credit.add_permits(bytes as usize);
        Ok(())
    }

    pub(crate) fn cancel(&mut self, id: u64) {
        if let Some((_, abort)) = self.requests.remove(&id) {
            abort.abort();
        }
    }

    fn reaped(&mut self, ended: Result<u64, JoinError>) {
        match ended {
            Ok(id) => _ = self.requests.remove(&id),
            Err(error) if error.is_cancelled() => {}
            // Its number stays taken: whoever asked is waiting, and its window with it.
            Err(error) => tracing::error!(%error, "serving content failed"),
        }
    }
}

/// One request being answered.
struct Answer {
    shared: Arc<Shared>,
    device: DeviceId,
    directory: DirectoryId,
    id: u64,
    credit: Arc<Semaphore>,
    pieces: mpsc::Sender<(ContentPiece, Bytes)>,
}

/// The connection has ended.
struct Ended;

/// Data of one item, read and ready to be sent; the last of its item says so.
struct Read {
    item: u32,
    result: Result<(Vec<u8>, bool), ContentError>,
}

impl Answer {
    async fn serve(&self, what: ContentWhat) -> Result<(), Ended> {
        match what {
            ContentWhat::Small(contents) => self.small(contents).await,
            ContentWhat::ChunkList(content) => self.chunk_list(content).await,
            ContentWhat::Ranges(content, ranges) => self.ranges(content, ranges).await,
            ContentWhat::Kept(question) => self.kept(question).await,
        }
    }

    async fn small(&self, contents: Vec<ContentHash>) -> Result<(), Ended> {
        let contents = Arc::new(contents);
        let mut next = 0;
        while next < contents.len() {
            let (provider, device, directory) = (self.provider(), self.device, self.directory);
            let these = Arc::clone(&contents);
            let visit = self.visit(move || {
                let (mut read, mut bytes) = (Vec::new(), 0);
                while next + read.len() < these.len() && bytes < VISIT_BYTES {
                    let item = next + read.len();
                    let result = read_small(&*provider, device, directory, these[item]);
                    bytes += result.as_ref().map_or(0, Vec::len);
                    read.push(Read { item: item as u32, result: result.map(|data| (data, true)) });
                }
                read
            });
            match visit.await {
                Ok(read) => {
                    next += read.len();
                    self.send_all(read).await?;
                }
                Err(error) => {
                    for item in next..contents.len() {
                        self.error(item as u32, error.clone()).await?;
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn chunk_list(&self, content: ContentHash) -> Result<(), Ended> {
        let (provider, device, directory) = (self.provider(), self.device, self.directory);
        let visit = self.visit(move || {
            let (length, list) = provider.chunk_list(device, directory, content).map_err(to_wire)?;
            Ok((length, encode_chunk_list(&list)))
        });
        match visit.await.and_then(|result| result) {
            Ok((length, data)) => self.data(0, data.into(), true, length).await,
            Err(error) => self.error(0, error).await,
        }
    }

    async fn kept(&self, question: KeptQuestion) -> Result<(), Ended> {
        let (provider, device, directory) = (self.provider(), self.device, self.directory);
        let visit = self.visit(move || {
            let page = provider.kept(device, directory, &question).map_err(to_wire)?;
            Ok(encode_kept_page(&page))
        });
        match visit.await.and_then(|result| result) {
            Ok(data) => self.data(0, data.into(), true, 0).await,
            Err(error) => self.error(0, error).await,
        }
    }

    async fn ranges(&self, content: ContentHash, ranges: Vec<(u64, u32)>) -> Result<(), Ended> {
        let (provider, device, directory) = (self.provider(), self.device, self.directory);
        let opened = self.visit(move || provider.open(device, directory, content).map_err(to_wire));
        let mut reader = match opened.await.and_then(|result| result) {
            Ok(reader) => RangeReader { reader, ranges, item: 0, done: 0 },
            Err(error) => return self.error_from(0, ranges.len(), error).await,
        };
        while reader.item < reader.ranges.len() {
            let (first, n_items) = (reader.item, reader.ranges.len());
            let visit = self.visit(move || {
                let read = reader.visit();
                (reader, read)
            });
            let read;
            (reader, read) = match visit.await {
                Ok(visited) => visited,
                Err(error) => return self.error_from(first, n_items, error).await,
            };
            self.send_all(read).await?;
        }
        Ok(())
    }

    fn provider(&self) -> Arc<dyn ContentProvider> {
        Arc::clone(&self.shared.provider)
    }

    /// Does something that blocks, on a thread for that.
    async fn visit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ContentError> {
        let failed = || ContentError::Other("reading failed unexpectedly".to_owned());
        let permit = self.shared.reads(self.directory).acquire_owned().await.map_err(|_| failed())?;
        let work = tokio::task::spawn_blocking(move || {
            // Held to the end, also when nobody waits for it any more.
            let _permit = permit;
            work()
        });
        work.await.map_err(|error| {
            tracing::error!(%error, "reading content failed");
            failed()
        })
    }

    async fn send_all(&self, read: Vec<Read>) -> Result<(), Ended> {
        for Read { item, result } in read {
            match result {
                Ok((data, ends)) => self.data(item, data.into(), ends, 0).await?,
                Err(error) => self.error(item, error).await?,
            }
        }
        Ok(())
    }

    /// Sends data of an item, as its window allows.
    async fn data(&self, item: u32, mut data: Bytes, ends: bool, content_length: u64) -> Result<(), Ended> {
        loop {
            let upload = &self.shared.rates.upload;
            let piece = data.split_to(data.len().min(upload.piece_bytes()));
            let data_bytes = piece.len() as u32;
            let credit = self.credit.acquire_many(data_bytes).await.map_err(|_| Ended)?;
            credit.forget();
            upload.pass(piece.len()).await;
            let ends = ends && data.is_empty();
            let header = ContentPiece { id: self.id, item, data_bytes, ends, content_length, error: None };
            let places = self.pieces.reserve_many(places_for(piece.len())).await;
            // The other places are given back.
            places.map_err(|_| Ended)?.next().ok_or(Ended)?.send((header, piece));
            if data.is_empty() {
                return Ok(());
            }
        }
    }

    async fn error_from(&self, first: usize, n_items: usize, error: ContentError) -> Result<(), Ended> {
        for item in first..n_items {
            self.error(item as u32, error.clone()).await?;
        }
        Ok(())
    }

    async fn error(&self, item: u32, error: ContentError) -> Result<(), Ended> {
        let piece =
            ContentPiece { id: self.id, item, ends: true, error: Some(error), ..ContentPiece::default() };
        self.pieces.send((piece, Bytes::new())).await.map_err(|_| Ended)
    }
}

/// Reads ranges of one content in order.
struct RangeReader {
    reader: Box<dyn ContentReader>,
    ranges: Vec<(u64, u32)>,
    /// The range that is read now.
    item: usize,
    /// How much of it has been read, in bytes.
    done: u32,
}

impl RangeReader {
    /// Reads some more.
    fn visit(&mut self) -> Vec<Read> {
        let (mut read, mut bytes) = (Vec::new(), 0);
        while self.item < self.ranges.len() && bytes < VISIT_BYTES {
            let item = self.item as u32;
            let result = self.read();
            match &result {
                Ok((data, ends)) => {
                    bytes += data.len();
                    self.done += data.len() as u32;
                    if *ends {
                        self.next();
                    }
                }
                Err(_) => self.next(),
            }
            read.push(Read { item, result });
        }
        read
    }

    fn next(&mut self) {
        self.item += 1;
        self.done = 0;
    }

    fn read(&mut self) -> Result<(Vec<u8>, bool), ContentError> {
        let (offset, length) = self.ranges[self.item];
        if offset.checked_add(u64::from(length)).is_none_or(|end| end > self.reader.length()) {
            return Err(ContentError::Other("a range beyond the end".to_owned()));
        }
        let wanted = (length - self.done) as usize;
        let data =
            read_exactly(&mut *self.reader, offset + u64::from(self.done), wanted.min(PIECE_BYTES_MAX))?;
        let ends = data.len() == wanted;
        if ends && !self.reader.unchanged() {
            return Err(ContentError::Changed);
        }
        Ok((data, ends))
    }
}

fn read_small(
    provider: &dyn ContentProvider,
    device: DeviceId,
    directory: DirectoryId,
    content: ContentHash,
) -> Result<Vec<u8>, ContentError> {
    let mut reader = provider.open(device, directory, content).map_err(to_wire)?;
    if reader.length() > SMALL_BYTES_MAX {
        return Err(ContentError::TooLarge);
    }
    let length = reader.length() as usize;
    let data = read_exactly(&mut *reader, 0, length)?;
    if reader.unchanged() { Ok(data) } else { Err(ContentError::Changed) }
}

fn read_exactly(
    reader: &mut dyn ContentReader,
    offset: u64,
    n_bytes: usize,
) -> Result<Vec<u8>, ContentError> {
    let mut data = Vec::with_capacity(n_bytes);
    while data.len() < n_bytes {
        let n_before = data.len();
        match reader.append_at(offset + n_before as u64, n_bytes - n_before, &mut data) {
            // Shorter than it was.
            Ok(()) if data.len() == n_before => return Err(ContentError::Changed),
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(other(&error.to_string())),
        }
    }
    Ok(data)
}

fn to_wire(error: FetchError) -> ContentError {
    match error {
        FetchError::NotHeld => ContentError::NotHeld,
        FetchError::Changed => ContentError::Changed,
        FetchError::TooLarge => ContentError::TooLarge,
        FetchError::Closed | FetchError::Stalled => other(&error.to_string()),
        FetchError::Remote(message) => other(&message),
    }
}

fn other(message: &str) -> ContentError {
    ContentError::Other(one_line(message))
}
