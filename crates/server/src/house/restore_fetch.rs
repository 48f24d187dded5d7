//! What a restore fetches: from each member that keeps it in its turn, into the staging area, and out of it again if nobody wants
//! it.

use std::collections::BTreeMap;

use file_sync_core::engine::FetchRequest;
use file_sync_core::version::{Content, ContentHash, DeviceId};

use super::elsewhere;
use super::history::Version;
use super::restore::{Seeker, blocking};
use super::restore_plan::{Fetched, Plan};
use crate::transfer::Failure;

/// What is fetched at once: contents, and their bytes.
const BATCH_FILES: usize = 1_024;
const BATCH_BYTES: u64 = 64 << 20;

/// Who keeps a content, and how long it is by their word.
type Keepers = Vec<(DeviceId, u64)>;

impl Seeker {
    /// Has it all staged. Each keeper is asked in its turn for what those before it did not have.
    pub(super) async fn fetch(&self, plan: &Plan, fetched: &mut Fetched) {
        let links = elsewhere::links(&self.others);
        let mut open: BTreeMap<ContentHash, (&Version, Keepers)> = BTreeMap::new();
        for (version, _) in &plan.wanted {
            if fetched.contents.contains(&version.content.hash()) {
                let keepers = version.keepers.iter().map(|(device, length)| (*device, *length));
                let (_, known) = open.entry(version.content.hash()).or_insert((version, Vec::new()));
                known.extend(keepers);
            }
        }
        loop {
            let mut requests = Vec::new();
            open.retain(|content, (version, keepers)| {
                let next = keepers.pop();
                requests.extend(next.map(|(from, length)| self.request(version, *content, from, length)));
                next.is_some()
            });
            if requests.is_empty() {
                return;
            }
            for some in batches(requests) {
                let asked: Vec<_> = some.iter().map(|request| (request.content, request.from)).collect();
                let mut failed = self.beside.fetch(some, &links).await;
                for (content, from) in asked {
                    if let Some(failure) = failed.remove(&content) {
                        fetched.failures.insert(content, self.said(from, failure));
                    } else {
                        fetched.failures.remove(&content);
                        open.remove(&content);
                    }
                }
            }
        }
    }

    fn request(&self, version: &Version, content: ContentHash, from: DeviceId, length: u64) -> FetchRequest {
        let base = match self.editor.record(&version.path).map(|record| record.content) {
            Some(Content::File(base)) => Some(base),
            _ => None,
        };
        FetchRequest { content, length, from, path: version.path.clone(), base }
    }

    /// Why a content did not come, and whether what has come of it may be of use at another time.
    fn said(&self, from: DeviceId, failure: Failure) -> (String, bool) {
        let other = self.others.iter().find(|other| other.device == from);
        let name = other.map_or_else(|| from.short(), |other| other.name.clone());
        match failure {
            Failure::NotHeld => (format!("{name} does not have it any more"), false),
            Failure::Wrong => (format!("the bytes that {name} sent are not those of this version"), false),
            Failure::Other(reason) => (format!("it did not come from {name}: {reason}"), true),
        }
    }

    /// Gives the staged bytes back that nobody wants any more.
    pub(super) async fn give_back(&self, fetched: Fetched) {
        let Fetched { contents, failures, unplaced, reserved } = fetched;
        drop(reserved);
        let may_go_on =
            |content: &ContentHash| failures.get(content).is_some_and(|(_, may_go_on)| *may_go_on);
        let done = contents.into_iter().filter(|content| !may_go_on(content) && !unplaced.contains(content));
        // What another one is fetching is that one's.
        let turns: Vec<_> = done.filter_map(|content| Some((content, self.beside.turn(content)?))).collect();
        let editor = self.editor.clone();
        let gone = blocking(move || {
            for (content, turn) in turns {
                if !editor.is_wanted_by_engine(&content)
                    && let Err(trouble) = editor.root.discard_unreserved(content)
                {
                    tracing::warn!(%trouble, "cannot give staged space back");
                }
                drop(turn);
            }
            Ok(())
        });
        // It says so itself.
        _ = gone.await;
    }
}

/// What is asked for at once, so that not too much waits in memory to be staged.
fn batches(requests: Vec<FetchRequest>) -> Vec<Vec<FetchRequest>> {
    let (mut batches, mut bytes) = (Vec::<Vec<FetchRequest>>::new(), 0_u64);
    for request in requests {
        bytes = bytes.saturating_add(request.length);
        match batches.last_mut().filter(|batch| bytes <= BATCH_BYTES && batch.len() < BATCH_FILES) {
            Some(batch) => batch.push(request),
            None => {
                bytes = request.length;
                batches.push(vec![request]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use file_sync_core::path::SyncPath;

    use super::*;

    #[test]
    fn h3_what_is_fetched_at_once_is_bounded() {
        let request = |number: u64, length| FetchRequest {
            content: ContentHash::of(&number.to_be_bytes()),
            length,
            from: DeviceId([1; 32]),
            path: SyncPath::root(),
            base: None,
        };
        let sizes = |lengths: &[u64]| {
            let requests = (0..).zip(lengths).map(|(number, length)| request(number, *length)).collect();
            batches(requests).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[BATCH_BYTES, 1, 1]), [1, 2]);
        assert_eq!(sizes(&[1, BATCH_BYTES - 1, 1]), [2, 1]);
        assert_eq!(sizes(&[u64::MAX, u64::MAX, 1]), [1, 1, 1]);
        assert_eq!(sizes(&[0; BATCH_FILES + 1]), [BATCH_FILES, 1]);
    }
}
