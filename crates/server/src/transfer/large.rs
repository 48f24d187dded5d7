//! One large content: what the staging area and this directory's files have of it is not fetched.
//!
//! The remote says how the content divides. Chunks that an earlier attempt left in the staging file stay; chunks that
//! some file here has are copied; the rest is fetched in ranges. Whatever the source, every chunk that is not fresh from
//! the link is verified by its own hash, and the whole by the content's before it can be placed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use file_sync_core::effect::{Chunk, ChunkList, Trouble, TroubleKind};
use file_sync_core::engine::{FetchOutcome, FetchRequest};
use file_sync_core::path::SyncPath;
use file_sync_core::version::ContentHash;
use file_sync_disk::{Attempt, ContentFile, StageFile};
use file_sync_net::{FetchError, Link};

use super::chunk_index::Place;
use super::turns::Turn;
use super::{Shared, blocking, outcome_of};
use crate::room::lock;

/// Longest range asked for at once, in bytes.
const RANGE_BYTES_MAX: u32 = 1 << 20;
/// Longest chunk that is believed of a remote, in bytes: four times the largest average.
const CHUNK_BYTES_MAX: u32 = 16 << 20;
/// So many neighbouring chunks are filled in by one thread, so that a disk is read and written in order.
const RUN_CHUNKS: usize = 16;
/// So many threads fill one file: each holds a chunk in memory, and more would wait for the disk alone.
const THREADS_MAX: usize = 2;

/// Why a transfer ended early.
enum Stopped {
    Remote(FetchError),
    Disk(Trouble),
}

impl From<Trouble> for Stopped {
    fn from(trouble: Trouble) -> Stopped {
        Stopped::Disk(trouble)
    }
}

/// What is being staged. Whoever writes to it, on whatever thread, holds the turn as well.
struct Staging {
    file: StageFile,
    turn: Turn,
}

/// Fetches one content and reports how that ended.
pub(super) async fn fetch(shared: Arc<Shared>, link: Link, request: FetchRequest) {
    let content = request.content;
    let Some((_permit, turn)) = shared.turns.take(&shared.large, content).await else { return };
    let outcome = match bring(&shared, &link, &request, turn).await {
        Ok(chunks) => FetchOutcome::Staged { chunks: Some(chunks) },
        Err(Stopped::Remote(error)) => {
            if error == FetchError::Changed {
                shared.note_wrong(content);
            }
            outcome_of(error)
        }
        Err(Stopped::Disk(trouble)) => {
            if trouble.kind == TroubleKind::NoSpace {
                give_back(&shared, content).await;
            }
            FetchOutcome::Trouble(explained(&shared, trouble).await)
        }
    };
    shared.report(vec![(content, outcome)]).await;
}

/// The trouble with what mends it, as far as that can be told.
async fn explained(shared: &Arc<Shared>, trouble: Trouble) -> Trouble {
    let (root, found) = (shared.root.clone(), trouble.clone());
    let explained = blocking(move || root.explained(Attempt::Change, &SyncPath::root(), found));
    explained.await.unwrap_or(trouble)
}

/// There is no space for all of it, so none of it may take the space of what is smaller.
async fn give_back(shared: &Arc<Shared>, content: ContentHash) {
    // Whoever has its turn by now may find room.
    let Some(_turn) = shared.turns.try_take(content) else { return };
    let root = shared.root.clone();
    if let Ok(Err(trouble)) = blocking(move || root.discard_stage(content)).await {
        tracing::warn!(%trouble, "cannot give staged space back");
    }
}

async fn bring(
    shared: &Arc<Shared>,
    link: &Link,
    request: &FetchRequest,
    turn: Turn,
) -> Result<ChunkList, Stopped> {
    let (length, list) =
        link.fetch_chunk_list(shared.directory, request.content).await.map_err(Stopped::Remote)?;
    let total: u64 = list.chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
    let is_sized = |chunk: &Chunk| (1..=CHUNK_BYTES_MAX).contains(&chunk.length);
    if length != request.length || total != length || !list.chunks.iter().all(is_sized) {
        return Err(Stopped::Remote(FetchError::Changed));
    }
    if shared.root.staged(request.content) {
        return Ok(list); // Whoever had the turn before has brought it.
    }
    let (own, asked, own_list) = (shared.clone(), request.clone(), list.clone());
    let prepared = move || {
        let (file, lacking) = prepare(&own, &asked, &own_list)?;
        Ok::<_, Trouble>((Staging { file, turn }, lacking))
    };
    let (staging, lacking) = blocking(prepared).await??;
    let staging = Arc::new(staging);
    receive(shared, link, request.content, &staging, ranges(&lacking)).await?;
    let Staging { file, turn } = Arc::into_inner(staging).ok_or(Stopped::Remote(FetchError::Closed))?;
    let finish = move || {
        let finished = file.finish();
        drop(turn);
        finished
    };
    // If it is not what was announced, the pieces are gone, and another remote may do better.
    if blocking(finish).await?? { Ok(list) } else { Err(Stopped::Remote(FetchError::Changed)) }
}

/// Opens the staging file and fills in what this device has; returns what it lacks: chunks with their offsets.
fn prepare(
    shared: &Shared,
    request: &FetchRequest,
    list: &ChunkList,
) -> Result<(StageFile, Vec<(u64, Chunk)>), Trouble> {
    let file = shared.root.open_stage(request.content, request.length)?;
    load_chunks(shared);
    let mut ends = 0;
    let chunks = list.chunks.iter().map(|chunk| {
        ends += u64::from(chunk.length);
        (ends - u64::from(chunk.length), *chunk)
    });
    let filling = Filling {
        shared,
        file: &file,
        is_resumed: file.has_bytes()?,
        rechunked: rechunk_base(shared, request, list),
        chunks: chunks.collect(),
        n_taken: AtomicUsize::new(0),
    };
    let lacking = filling.run()?;
    Ok((file, lacking))
}

/// How a staging file is filled from what there is: several threads take runs of neighbouring chunks in turn.
struct Filling<'a> {
    shared: &'a Shared,
    file: &'a StageFile,
    is_resumed: bool,
    rechunked: Option<(ContentHash, ChunkList)>,
    /// With their offsets, in bytes.
    chunks: Vec<(u64, Chunk)>,
    n_taken: AtomicUsize,
}

impl Filling<'_> {
    /// Returns the chunks that this device lacks.
    fn run(&self) -> Result<Vec<(u64, Chunk)>, Trouble> {
        let n_runs = self.chunks.len().div_ceil(RUN_CHUNKS);
        let n_threads =
            std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(n_runs);
        let parts = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..n_threads).map(|_| scope.spawn(|| self.fill())).collect();
            let own = self.fill();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(has_died())));
            joined.chain([own]).collect::<Result<Vec<_>, Trouble>>()
        })?;
        let mut lacking = parts.concat();
        lacking.sort_unstable_by_key(|(offset, _)| *offset);
        Ok(lacking)
    }

    fn fill(&self) -> Result<Vec<(u64, Chunk)>, Trouble> {
        let mut sources = Sources { shared: self.shared, open: None };
        let (mut buffer, mut lacking) = (Vec::new(), Vec::new());
        loop {
            let first = self.n_taken.fetch_add(RUN_CHUNKS, Ordering::Relaxed);
            let Some(rest) = self.chunks.get(first..).filter(|rest| !rest.is_empty()) else {
                return Ok(lacking);
            };
            for (offset, chunk) in &rest[..rest.len().min(RUN_CHUNKS)] {
                buffer.resize(chunk.length as usize, 0);
                if self.is_resumed && is_staged(self.file, *offset, chunk, &mut buffer) {
                    continue;
                }
                if sources.read(chunk, self.rechunked.as_ref(), &mut buffer) {
                    self.file.write_at(*offset, &buffer)?;
                } else {
                    lacking.push((*offset, *chunk));
                }
            }
        }
    }
}

fn has_died() -> Trouble {
    Trouble::new(TroubleKind::Other, "a thread that fills the staged file has died")
}

fn is_staged(file: &StageFile, offset: u64, chunk: &Chunk, buffer: &mut [u8]) -> bool {
    file.read_at(offset, buffer).is_ok_and(|n| n == buffer.len()) && ContentHash::of(buffer) == chunk.hash
}

/// The chunks of the file that is to be replaced, if the remote's list was made with another average than ours.
fn rechunk_base(
    shared: &Shared,
    request: &FetchRequest,
    list: &ChunkList,
) -> Option<(ContentHash, ChunkList)> {
    let base = request.base?;
    let known = shared.reader.lock().unwrap_or_else(PoisonError::into_inner).chunk_list(&base).ok().flatten();
    if known.is_some_and(|known| known.average_bytes == list.average_bytes) {
        return None;
    }
    let (content, own) = shared.root.rechunk(&request.path, list.average_bytes).ok()?;
    (content == base).then_some((content, own))
}

/// Files of this directory that chunks are read from; the last one stays open.
struct Sources<'a> {
    shared: &'a Shared,
    open: Option<(ContentHash, ContentFile)>,
}

/// Reads which chunks there are, unless that is known.
fn load_chunks(shared: &Shared) {
    let reader = shared.reader.lock().unwrap_or_else(PoisonError::into_inner);
    let loaded = shared.chunks.lock().unwrap_or_else(PoisonError::into_inner).load(&reader);
    if let Err(error) = loaded {
        tracing::warn!(%error, "cannot read which chunks there are; fetching all");
    }
}

impl Sources<'_> {
    /// Reads a chunk from wherever it is; false if it is nowhere, or not what it should be.
    fn read(
        &mut self,
        chunk: &Chunk,
        rechunked: Option<&(ContentHash, ChunkList)>,
        buffer: &mut [u8],
    ) -> bool {
        let in_base = rechunked.and_then(|(content, list)| find(*content, list, chunk));
        let indexed = || self.shared.chunks.lock().unwrap_or_else(PoisonError::into_inner).find(&chunk.hash);
        let Some(place) = in_base.or_else(indexed) else { return false };
        let Some(file) = self.file(place.content) else { return false };
        file.read_at(place.offset, buffer).is_ok_and(|n| n == buffer.len())
            && ContentHash::of(buffer) == chunk.hash
    }

    fn file(&mut self, content: ContentHash) -> Option<&ContentFile> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != content) {
            let holders: Vec<_> = lock(&self.shared.engine)
                .holders(&content)
                .take(crate::provider::HOLDERS_MAX)
                .map(|(path, record)| (path.clone(), record))
                .collect();
            let open = |(path, record): &(_, _)| self.shared.root.open_content(path, record).ok();
            let file = holders.iter().find_map(open)?;
            self.open = Some((content, file));
        }
        self.open.as_ref().map(|(_, file)| file)
    }
}

fn find(content: ContentHash, list: &ChunkList, wanted: &Chunk) -> Option<Place> {
    let mut offset = 0;
    for chunk in &list.chunks {
        if chunk.hash == wanted.hash {
            return Some(Place { content, offset });
        }
        offset += u64::from(chunk.length);
    }
    None
}

/// Neighbouring chunks are asked for together, in ranges that end at multiples of the longest: what then comes is made of
/// whole blocks of the hash.
fn ranges(lacking: &[(u64, Chunk)]) -> Vec<(u64, u32)> {
    let longest = u64::from(RANGE_BYTES_MAX);
    let mut ranges: Vec<(u64, u32)> = Vec::new();
    for (offset, chunk) in lacking {
        let (mut start, end) = (*offset, *offset + u64::from(chunk.length));
        while start < end {
            let stop = end.min((start / longest + 1) * longest);
            let length = (stop - start) as u32; // No longer than the chunk.
            match ranges.last_mut() {
                Some((before, before_length))
                    if *before + u64::from(*before_length) == start && start % longest != 0 =>
                {
                    *before_length += length;
                }
                _ => ranges.push((start, length)),
            }
            start = stop;
        }
    }
    ranges
}

async fn receive(
    shared: &Arc<Shared>,
    link: &Link,
    content: ContentHash,
    staging: &Arc<Staging>,
    ranges: Vec<(u64, u32)>,
) -> Result<(), Stopped> {
    if ranges.is_empty() {
        return Ok(());
    }
    let mut expected: u64 = ranges.iter().map(|(_, length)| u64::from(*length)).sum();
    let mut arriving = link.fetch_ranges(shared.directory, content, ranges);
    while let Some(piece) = arriving.recv().await {
        let mut pieces = vec![piece.map_err(Stopped::Remote)?];
        while let Ok(piece) = arriving.try_recv() {
            pieces.push(piece.map_err(Stopped::Remote)?);
        }
        expected = expected.saturating_sub(pieces.iter().map(|(_, bytes)| bytes.len() as u64).sum());
        let staging = staging.clone();
        let write =
            move || pieces.iter().try_for_each(|(offset, bytes)| staging.file.write_at(*offset, bytes));
        blocking(write).await??;
    }
    if expected > 0 { Err(Stopped::Remote(FetchError::Closed)) } else { Ok(()) }
}
