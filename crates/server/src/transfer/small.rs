//! Small contents: many in one exchange, staged many at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use file_sync_core::effect::{Trouble, TroubleKind};
use file_sync_core::engine::{FetchOutcome, FetchRequest};
use file_sync_core::path::SyncPath;
use file_sync_core::version::ContentHash;
use file_sync_disk::Attempt;
use file_sync_net::Link;

use super::{Shared, blocking, outcome_of};

/// What is staged at once: contents, and their bytes.
const STAGE_FILES_MAX: usize = 256;
const STAGE_BYTES_MAX: usize = 4 << 20;

/// Fetches a group of contents from one remote and reports each.
pub(super) async fn fetch(shared: Arc<Shared>, link: Link, requests: Vec<FetchRequest>) {
    let mut open: BTreeMap<ContentHash, u64> =
        requests.iter().map(|request| (request.content, request.length)).collect();
    let contents = open.keys().copied().collect();
    let mut arriving = link.fetch_small(shared.directory, contents);
    let mut arrived: Vec<(ContentHash, Bytes)> = Vec::new();
    let mut arrived_bytes = 0;
    let mut failed = Vec::new();
    while let Some((content, result)) = arriving.recv().await {
        let Some(length) = open.remove(&content) else { continue };
        match result {
            Ok(bytes) if bytes.len() as u64 == length => {
                arrived_bytes += bytes.len();
                arrived.push((content, bytes));
            }
            Ok(_) => {
                shared.note_wrong(content);
                failed.push((content, FetchOutcome::NotHeld));
            }
            Err(error) => failed.push((content, outcome_of(error))),
        }
        let is_full = arrived.len() >= STAGE_FILES_MAX || arrived_bytes >= STAGE_BYTES_MAX;
        if is_full || arriving.is_empty() {
            stage(&shared, std::mem::take(&mut arrived)).await;
            arrived_bytes = 0;
        }
    }
    stage(&shared, arrived).await;
    failed.extend(
        open.into_keys().map(|content| (content, FetchOutcome::Broken("the answer broke off".to_owned()))),
    );
    shared.report(failed).await;
}

async fn stage(shared: &Arc<Shared>, files: Vec<(ContentHash, Bytes)>) {
    if files.is_empty() {
        return;
    }
    let contents: Vec<ContentHash> = files.iter().map(|(content, _)| *content).collect();
    let root = shared.root.clone();
    let staged = blocking(move || {
        let files: Vec<(ContentHash, &[u8])> =
            files.iter().map(|(content, bytes)| (*content, &bytes[..])).collect();
        let root_path = SyncPath::root();
        let explained = |trouble| root.explained(Attempt::Change, &root_path, trouble);
        root.stage_small(&files).into_iter().map(|result| result.map_err(explained)).collect::<Vec<_>>()
    });
    let results = match staged.await {
        Ok(results) => results,
        Err(trouble) => contents.iter().map(|_| Err(trouble.clone())).collect(),
    };
    let outcome = |(content, result): (ContentHash, Result<(), Trouble>)| match result {
        Ok(()) => (content, FetchOutcome::Staged { chunks: None }),
        // Wrong bytes are the remote's fault, not this disk's.
        Err(trouble) if trouble.kind == TroubleKind::Other => {
            shared.note_wrong(content);
            (content, FetchOutcome::NotHeld)
        }
        Err(trouble) => (content, FetchOutcome::Trouble(trouble)),
    };
    shared.report(contents.into_iter().zip(results).map(outcome).collect()).await;
}
