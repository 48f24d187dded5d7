//! Fetching contents from a remote.
//!
//! What comes is what the remote says it is: whoever fetched it checks the hashes.

use bytes::{Bytes, BytesMut};
use file_sync_core::effect::ChunkList;
use file_sync_core::version::{ContentHash, DirectoryId};
use file_sync_wire::content::{ContentError, ContentPiece, ContentWhat};
use file_sync_wire::decode_chunk_list;
use file_sync_wire::kept::{KEPT_PAGE_BYTES_MAX, KeptPage, KeptQuestion, decode_kept_page};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::connection::Asked;
use crate::link::Link;
use crate::provider::{FetchError, SMALL_BYTES_MAX};
use crate::text::one_line;

/// Requests of one fetch under way at once.
const REQUESTS: usize = 4;
/// Data of one request under way, in bytes; more than the largest small content.
const WINDOW_BYTES: u32 = 2 << 20;
/// Contents of one request.
const SMALL_BATCH: usize = 256;
/// Ranges of one request.
const RANGES_BATCH: usize = 256;
/// Bytes of the ranges of one request, roughly.
const RANGES_BYTES: u64 = 8 << 20;
/// Pieces of ranges that wait in a receiver.
const RECEIVER_PIECES: usize = 8;
/// Small contents that wait in a receiver: enough to be staged together.
const RECEIVER_CONTENTS: usize = 64;
/// A content needs one free place in the receiver and one more for each of these bytes, so of large ones few wait: 16 MiB
/// at most.
const PLACE_BYTES: usize = 16 << 10;
/// Longest chunk list, in bytes: that of a file of several TiB.
const CHUNK_LIST_BYTES_MAX: usize = 64 << 20;

type SmallAnswer = (ContentHash, Result<Bytes, FetchError>);
type SmallSender = mpsc::Sender<SmallAnswer>;
type RangeSender = mpsc::Sender<Result<(u64, Bytes), FetchError>>;

impl Link {
    /// Fetches whole contents of at most 1 MiB each: exactly one answer for each, in any order.
    ///
    /// At most 8 MiB are under way, and 64 contents, or 16 MiB, wait in the receiver. Dropping the receiver ends the
    /// fetch. Bytes are not checked against the hashes.
    pub fn fetch_small(
        &self,
        directory: DirectoryId,
        contents: Vec<ContentHash>,
    ) -> mpsc::Receiver<(ContentHash, Result<Bytes, FetchError>)> {
        let (sender, receiver) = mpsc::channel(RECEIVER_CONTENTS);
        let link = self.clone();
        tokio::spawn(async move {
            let mut requests = JoinSet::new();
            for batch in contents.chunks(SMALL_BATCH) {
                if requests.len() >= REQUESTS {
                    requests.join_next().await;
                }
                requests.spawn(small_batch(link.clone(), directory, batch.to_vec(), sender.clone()));
            }
            requests.join_all().await;
        });
        receiver
    }

    /// Fetches the length of a content in bytes, and how it divides.
    ///
    /// # Errors
    /// [`FetchError::NotHeld`] where the remote has no such content or no list for it.
    pub async fn fetch_chunk_list(
        &self,
        directory: DirectoryId,
        content: ContentHash,
    ) -> Result<(u64, ChunkList), FetchError> {
        let mut asked = self.ask_content(directory, WINDOW_BYTES, ContentWhat::ChunkList(content)).await?;
        let mut encoded = BytesMut::new();
        loop {
            let (piece, data) = asked.next().await?;
            if let Some(error) = piece.error {
                asked.finish();
                return Err(from_wire(error));
            }
            if encoded.len() + data.len() > CHUNK_LIST_BYTES_MAX {
                return Err(FetchError::TooLarge);
            }
            encoded.extend_from_slice(&data);
            if piece.ends {
                asked.finish();
                let list =
                    decode_chunk_list(&encoded).map_err(|error| FetchError::Remote(error.to_string()))?;
                return Ok((piece.content_length, list));
            }
            asked.taken(data.len());
        }
    }

    /// Fetches a page of what the remote keeps of a path. That the page answers the question is for the caller to see.
    ///
    /// # Errors
    /// [`FetchError::NotHeld`] where the remote tells this device nothing of that directory.
    pub async fn fetch_kept(
        &self,
        directory: DirectoryId,
        question: KeptQuestion,
    ) -> Result<KeptPage, FetchError> {
        let window_bytes = KEPT_PAGE_BYTES_MAX as u32;
        let mut asked = self.ask_content(directory, window_bytes, ContentWhat::Kept(question)).await?;
        let mut encoded = BytesMut::new();
        loop {
            let (piece, data) = asked.next().await?;
            if let Some(error) = piece.error {
                asked.finish();
                return Err(from_wire(error));
            }
            // No more than the window comes, since none of it is given back.
            encoded.extend_from_slice(&data);
            if piece.ends {
                asked.finish();
                return decode_kept_page(&encoded).map_err(|error| FetchError::Remote(error.to_string()));
            }
        }
    }

    /// Fetches ranges (offset and length in bytes) of a content, in pieces of at most 256 KiB: those of one range in
    /// order, ranges in any. The receiver ends after all of it, or after one error.
    ///
    /// At most 8 MiB are under way, and 8 pieces wait in the receiver. Dropping the receiver ends the fetch. Bytes are not
    /// checked.
    pub fn fetch_ranges(
        &self,
        directory: DirectoryId,
        content: ContentHash,
        ranges: Vec<(u64, u32)>,
    ) -> mpsc::Receiver<Result<(u64, Bytes), FetchError>> {
        let (sender, receiver) = mpsc::channel(RECEIVER_PIECES);
        let link = self.clone();
        tokio::spawn(async move {
            if let Err(error) = all_ranges(link, directory, content, ranges, sender.clone()).await {
                // The receiver may have been dropped, which is what ended the fetch then.
                _ = sender.send(Err(error)).await;
            }
        });
        receiver
    }
}

/// Fetches one batch, and answers for each of it.
async fn small_batch(link: Link, directory: DirectoryId, batch: Vec<ContentHash>, sender: SmallSender) {
    let mut waiting: Vec<Option<BytesMut>> = vec![Some(BytesMut::new()); batch.len()];
    let fetched = async {
        let what = ContentWhat::Small(batch.clone());
        let mut asked = link.ask_content(directory, WINDOW_BYTES, what).await?;
        let mut left = batch.len();
        while left > 0 {
            let (piece, data) = asked.next().await?;
            let Some((content, result)) = small_piece(&asked, piece, data, &batch, &mut waiting)? else {
                continue;
            };
            left -= 1;
            if left == 0 {
                asked.finish();
            }
            let bytes = result.as_ref().map_or(0, Bytes::len);
            give(&sender, (content, result)).await?;
            asked.taken(bytes);
        }
        Ok(())
    };
    let fetched: Result<(), FetchError> = tokio::select! {
        biased;
        () = sender.closed() => return,
        fetched = fetched => fetched,
    };
    if let Err(error) = fetched {
        for (content, _) in batch.iter().zip(&waiting).filter(|(_, waiting)| waiting.is_some()) {
            if sender.send((*content, Err(error.clone()))).await.is_err() {
                return;
            }
        }
    }
}

/// Gives an answer to the receiver when there is room for one of its length.
async fn give(sender: &SmallSender, answer: SmallAnswer) -> Result<(), FetchError> {
    let bytes = answer.1.as_ref().map_or(0, Bytes::len);
    let n_places = (1 + bytes / PLACE_BYTES).min(RECEIVER_CONTENTS);
    let mut places = sender.reserve_many(n_places).await.map_err(|_| FetchError::Closed)?;
    // The other places are given back.
    places.next().expect("there is at least one").send(answer);
    Ok(())
}

/// Takes a piece in; returns the content that it completes.
fn small_piece(
    asked: &Asked,
    piece: ContentPiece,
    data: Bytes,
    batch: &[ContentHash],
    waiting: &mut [Option<BytesMut>],
) -> Result<Option<SmallAnswer>, FetchError> {
    let item = piece.item as usize;
    let Some(partial) = waiting.get_mut(item).and_then(Option::as_mut) else {
        return Err(violated(asked, "a piece of something that was not asked for"));
    };
    if let Some(error) = piece.error {
        waiting[item] = None;
        return Ok(Some((batch[item], Err(from_wire(error)))));
    }
    if (partial.len() + data.len()) as u64 > SMALL_BYTES_MAX {
        return Err(violated(asked, "a small content that is large"));
    }
    if !piece.ends {
        partial.extend_from_slice(&data);
        return Ok(None);
    }
    let whole = if partial.is_empty() {
        data
    } else {
        partial.extend_from_slice(&data);
        std::mem::take(partial).freeze()
    };
    waiting[item] = None;
    Ok(Some((batch[item], Ok(whole))))
}

fn violated(asked: &Asked, reason: &str) -> FetchError {
    asked.violated(reason);
    FetchError::Closed
}

async fn all_ranges(
    link: Link,
    directory: DirectoryId,
    content: ContentHash,
    ranges: Vec<(u64, u32)>,
    sender: RangeSender,
) -> Result<(), FetchError> {
    let mut requests: JoinSet<Result<(), FetchError>> = JoinSet::new();
    let mut rest = &ranges[..];
    while !rest.is_empty() || !requests.is_empty() {
        if rest.is_empty() || requests.len() >= REQUESTS {
            let ended = requests.join_next().await;
            // An error ends the other requests too, as they are dropped.
            ended.expect("there is one").unwrap_or(Err(FetchError::Closed))?;
            continue;
        }
        let (batch, after) = rest.split_at(batch_length(rest));
        rest = after;
        requests.spawn(range_batch(link.clone(), directory, content, batch.to_vec(), sender.clone()));
    }
    Ok(())
}

/// How many of the ranges make a request: at least one.
fn batch_length(ranges: &[(u64, u32)]) -> usize {
    let mut bytes = 0;
    let fits = ranges.iter().take(RANGES_BATCH).take_while(|(_, length)| {
        let before = bytes;
        bytes += u64::from(*length);
        before < RANGES_BYTES
    });
    fits.count().max(1)
}

async fn range_batch(
    link: Link,
    directory: DirectoryId,
    content: ContentHash,
    batch: Vec<(u64, u32)>,
    sender: RangeSender,
) -> Result<(), FetchError> {
    let fetched = async {
        let what = ContentWhat::Ranges(content, batch.clone());
        let mut asked = link.ask_content(directory, WINDOW_BYTES, what).await?;
        let mut left = batch.len();
        let mut waiting: Vec<Option<(u64, u32)>> = batch.into_iter().map(Some).collect();
        while left > 0 {
            let (piece, data) = asked.next().await?;
            if let Some(error) = piece.error {
                return Err(from_wire(error));
            }
            let length = data.len() as u32;
            let range = waiting.get_mut(piece.item as usize);
            let Some((range, (offset, missing))) = range.and_then(|range| range.map(|known| (range, known)))
            else {
                return Err(violated(&asked, "a piece of something that was not asked for"));
            };
            if length > missing || (piece.ends && length != missing) {
                return Err(violated(&asked, "a range of another length than was asked for"));
            }
            *range = (!piece.ends).then_some((offset + u64::from(length), missing - length));
            left -= usize::from(piece.ends);
            if left == 0 {
                asked.finish();
            }
            let bytes = data.len();
            sender.send(Ok((offset, data))).await.map_err(|_| FetchError::Closed)?;
            asked.taken(bytes);
        }
        Ok(())
    };
    tokio::select! {
        biased;
        () = sender.closed() => Err(FetchError::Closed),
        fetched = fetched => fetched,
    }
}

fn from_wire(error: ContentError) -> FetchError {
    match error {
        ContentError::NotHeld => FetchError::NotHeld,
        ContentError::Changed => FetchError::Changed,
        ContentError::TooLarge => FetchError::TooLarge,
        ContentError::Other(message) => FetchError::Remote(one_line(&message)),
    }
}
