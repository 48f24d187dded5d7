//! Getting contents that this disk lacks: which, from whom, how many at once.
//!
//! A content is wanted by paths. It is asked of one remote at a time; one that does not hold it is not asked again until
//! it says something new. What nobody connected holds is pending, and its paths keep what they have.
//!
//! Where a file is to take the place of a directory that has to stay, the bytes are of no use here, but others may reach
//! nobody else that has them: they stay staged, and are served from there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Effect, Engine};
use crate::effect::{ChunkList, Trouble, TroubleKind};
use crate::path::SyncPath;
use crate::version::{Content, ContentHash, DeviceId, Value};

const IN_FLIGHT_FILES_MAX: usize = 2_048;
const IN_FLIGHT_BYTES_MAX: u64 = 64 << 20;
/// How long a want that nobody could serve is left alone: at first, for it may just be moving there, and at the longest.
const RETRY_FIRST_MS: u64 = 50;
const RETRY_LONGEST_MS: u64 = 10_000;
/// The wait from which on users are told: it has been asked for several times.
const UNHELD_AFTER_MS: u64 = 1_600;
/// Members that bytes go through, at the most, to be waited for.
const STEPS_MAX: u32 = 32;
/// How long after a broken transfer it is tried again.
const BROKEN_RETRY_MS: u64 = 500;

/// One content to be brought to the staging area, whole and verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// Which.
    pub content: ContentHash,
    /// Its length in bytes.
    pub length: u64,
    /// Whom to ask.
    pub from: DeviceId,
    /// A path that it is wanted for.
    pub path: SyncPath,
    /// The content that is at this path now, whose chunks may be reused.
    pub base: Option<ContentHash>,
}

/// How a fetch ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchOutcome {
    /// It is staged; how it divides, where that was asked for.
    Staged {
        /// As the remote said, of the verified content.
        chunks: Option<ChunkList>,
    },
    /// The remote does not hold it (any more).
    NotHeld,
    /// The link broke, or what came was not what was asked for; what has arrived is kept for the next try.
    Broken(String),
    /// This disk could not take it.
    Trouble(Trouble),
}

#[derive(Debug, Default)]
pub(super) struct Fetcher {
    wants: BTreeMap<ContentHash, Want>,
    queue: VecDeque<ContentHash>,
    in_flight_files: usize,
    in_flight_bytes: u64,
    /// Contents that every attached remote has said it does not hold, since the last of them came or was asked anew.
    unheld: BTreeSet<ContentHash>,
    /// Staged, and not placed yet.
    pub(super) staged: BTreeSet<ContentHash>,
    /// When which contents are asked for again, each once.
    retries: BTreeSet<(u64, ContentHash)>,
    /// What an earlier life has staged and nobody wants is gone.
    is_stage_cleaned: bool,
    /// It is being cleaned: what came in meanwhile might go with the rest.
    is_cleaning: bool,
    /// Pieces of something that was given up may be in the staging area.
    has_leftovers: bool,
}

#[derive(Debug)]
struct Want {
    length: u64,
    paths: BTreeSet<SyncPath>,
    refused_by: BTreeSet<DeviceId>,
    in_flight: Option<DeviceId>,
    /// Who is asked has said something new meanwhile: that it does not hold it may be over.
    is_overtaken: bool,
    /// How long it is left alone when nobody can serve it; 0 before the first time.
    retry_in_ms: u64,
    /// When it is asked for again, if it is left alone.
    retry_at: Option<u64>,
}

impl Fetcher {
    pub(super) fn deadline(&self) -> Option<u64> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// Nobody can serve a content: sets when to ask again, with back-off.
    fn retry_later(&mut self, content: ContentHash, now_ms: u64) {
        if let Some(want) = self.wants.get_mut(&content) {
            want.retry_in_ms = (2 * want.retry_in_ms).clamp(RETRY_FIRST_MS, RETRY_LONGEST_MS);
            let at = now_ms + want.retry_in_ms;
            self.retry_at(content, at);
        }
    }

    /// Sets when to ask again, whatever was set before: else each word of a remote's would begin another round of asking.
    fn retry_at(&mut self, content: ContentHash, at: u64) {
        let Some(want) = self.wants.get_mut(&content) else { return };
        if let Some(before) = want.retry_at.replace(at) {
            self.retries.remove(&(before, content));
        }
        self.retries.insert((at, content));
    }

    /// Nothing is wanted of it any more.
    fn forget(&mut self, content: &ContentHash) -> Option<Want> {
        self.unheld.remove(content);
        let want = self.wants.remove(content)?;
        if let Some(at) = want.retry_at {
            self.retries.remove(&(at, *content));
        }
        Some(want)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.wants.is_empty()
    }

    /// Paths whose bytes no attached member holds at present.
    fn unheld(&self) -> impl Iterator<Item = &SyncPath> {
        self.unheld.iter().filter_map(|content| self.wants.get(content)).flat_map(|want| &want.paths)
    }

    /// Contents that are wanted or staged.
    pub(super) fn contents(&self) -> BTreeSet<ContentHash> {
        self.wants.keys().chain(&self.staged).copied().collect()
    }
}

impl Engine {
    /// True if a value's bytes are being asked for.
    pub(super) fn is_wanted(&self, value: &Value) -> bool {
        matches!(value, Value::File { content, .. } if self.fetcher.wants.contains_key(content))
    }

    /// Asks for a content that a path is to have.
    pub(super) fn want(&mut self, content: ContentHash, length: u64, path: &SyncPath) {
        let want = self.fetcher.wants.entry(content).or_insert_with(|| {
            self.fetcher.queue.push_back(content);
            Want {
                length,
                paths: BTreeSet::new(),
                refused_by: BTreeSet::new(),
                in_flight: None,
                is_overtaken: false,
                retry_in_ms: 0,
                retry_at: None,
            }
        });
        want.paths.insert(path.clone());
    }

    /// Bytes are at hand here, by now: whoever waits for them from others may take these, and what they are to go away from
    /// goes with them.
    pub(super) fn reconsider_wanting(&mut self, content: &ContentHash) {
        if let Some(want) = self.fetcher.wants.get(content) {
            want.paths.iter().for_each(|path| self.planner.reconsider(path.clone()));
        }
    }

    /// A remote has said something new, or is new: what it refused may be there now.
    pub(super) fn ask_again(&mut self, device: &DeviceId) {
        for (content, want) in &mut self.fetcher.wants {
            let is_asked = want.in_flight == Some(*device);
            want.is_overtaken |= is_asked;
            let had_refused = want.refused_by.remove(device);
            if is_asked || had_refused {
                self.fetcher.unheld.remove(content);
            }
            if had_refused && want.in_flight.is_none() {
                self.fetcher.queue.push_back(*content);
            }
        }
    }

    /// Asks everybody again for what nobody had, which may be somewhere by now.
    pub(super) fn ask_everybody_again(&mut self) {
        self.fetcher.unheld.clear();
        self.fetcher.retries.clear();
        self.fetcher.queue.clear();
        for (content, want) in &mut self.fetcher.wants {
            want.refused_by.clear();
            want.retry_at = None;
            if want.in_flight.is_none() {
                self.fetcher.queue.push_back(*content);
            }
        }
    }

    /// Asks again for what it is time for.
    fn retry_due(&mut self) {
        let now_ms = self.now.monotonic_ms;
        while self.fetcher.retries.first().is_some_and(|(at, _)| *at <= now_ms) {
            let Some((_, content)) = self.fetcher.retries.pop_first() else { return };
            let Some(want) = self.fetcher.wants.get_mut(&content) else { continue };
            want.refused_by.clear();
            want.retry_at = None;
            if want.in_flight.is_none() {
                self.fetcher.queue.push_back(content);
            }
        }
    }

    pub(super) fn advance_fetches(&mut self) {
        self.retry_due();
        if !self.may_change_disk() {
            return;
        }
        if !std::mem::replace(&mut self.fetcher.is_stage_cleaned, true) {
            let contents = self.fetcher.contents();
            // Of what stays some may be whole besides in pieces, or come to be of no use before it is asked for.
            self.fetcher.has_leftovers |= !contents.is_empty();
            let contents = contents.into_iter().chain(self.in_place_of_directories()).collect();
            self.begin_cleaning(contents);
        }
        let mut requests = Vec::new();
        while !self.fetcher.is_cleaning
            && self.has_room()
            && let Some(content) = self.fetcher.queue.pop_front()
        {
            requests.extend(self.start_fetch(content));
        }
        if !requests.is_empty() {
            self.effects.push(Effect::Fetch(requests));
        }
        let has_something = self.fetcher.has_leftovers || !self.fetcher.staged.is_empty();
        if has_something && !self.fetcher.is_cleaning && self.fetcher.is_idle() && self.planner.is_idle() {
            self.clean_stage();
        }
    }

    /// True if a content is wanted, or staged for whoever wants it: what is done beside the engine leaves it in the stage.
    pub fn wants(&self, content: &ContentHash) -> bool {
        self.fetcher.wants.contains_key(content) || self.fetcher.staged.contains(content)
    }

    /// Lets go of what was staged for paths that want something else by now.
    fn clean_stage(&mut self) {
        let for_others = self.staged_for_others();
        if self.fetcher.has_leftovers || !self.fetcher.staged.is_subset(&for_others) {
            self.fetcher.staged.retain(|content| for_others.contains(content));
            self.fetcher.has_leftovers = false;
            self.begin_cleaning(for_others);
        }
    }

    fn begin_cleaning(&mut self, keep: BTreeSet<ContentHash>) {
        self.fetcher.is_cleaning = true;
        self.effects.push(Effect::CleanStage(keep));
    }

    pub(super) fn on_stage_cleaned(&mut self) {
        self.fetcher.is_cleaning = false;
    }

    /// Gets the bytes of a value that this disk cannot show, as the directory in its place has to stay.
    pub(super) fn fetch_for_others(&mut self, path: &SyncPath, value: &Value) {
        let n_members = self.members.values().filter(|member| member.active).count();
        if n_members > 2 {
            self.fetch_ahead(path, value);
        }
    }

    /// Contents of files whose places are taken by directories that stay.
    fn staged_for_others(&self) -> BTreeSet<ContentHash> {
        let troubled = self.troubles.keys().filter(|path| self.is_not_empty(path));
        troubled.filter_map(|path| self.file_shown(path)).collect()
    }

    /// Contents of files that are to take the places of directories, whether those stay or not.
    fn in_place_of_directories(&self) -> BTreeSet<ContentHash> {
        let directories = self.tree.records().filter(|(_, record)| record.content == Content::Directory);
        directories.filter_map(|(path, _)| self.file_shown(path)).collect()
    }

    fn file_shown(&self, path: &SyncPath) -> Option<ContentHash> {
        match self.tree.project(path).value {
            Value::File { content, .. } => Some(content),
            _ => None,
        }
    }

    /// True if a content's bytes are on this disk, as far as is known.
    pub(super) fn has_bytes(&self, content: &ContentHash) -> bool {
        // Of what is ignored the record may say what is long gone, and it is given to nobody.
        let mut holders = self.holders.get(content, &self.tree);
        self.fetcher.staged.contains(content)
            || holders.any(|path| !self.is_frozen(path))
            || self.kept_holders(content).next().is_some()
    }

    /// Paths that wait for bytes which nobody connected holds, and nobody expects who is connected through others.
    pub(super) fn pending(&self) -> BTreeSet<SyncPath> {
        if self.fetcher.unheld.is_empty() || self.nearest_expected(None).is_some() {
            return BTreeSet::new();
        }
        self.fetcher.unheld().filter(|path| self.planner.needed.contains(*path)).cloned().collect()
    }

    /// Those of them that were asked for several times already: what is only moving is no news to users.
    pub(super) fn pending_for_long(&self) -> BTreeSet<SyncPath> {
        let mut pending = self.pending();
        let wants = || self.fetcher.unheld.iter().filter_map(|content| self.fetcher.wants.get(content));
        let long = wants().filter(|want| want.retry_in_ms >= UNHELD_AFTER_MS);
        let long: BTreeSet<&SyncPath> = long.flat_map(|want| &want.paths).collect();
        pending.retain(|path| long.contains(path));
        pending
    }

    /// What a remote is told of bytes that this device still expects from others: see
    /// [`Progress::expecting`](crate::message::Progress).
    ///
    /// Numbers grow on their way and have an end, so that no two who wait for each other do so for ever.
    pub(super) fn expecting(&self, to: DeviceId) -> u32 {
        let mut others = self.peers.iter().filter(|(device, peer)| peer.is_attached() && **device != to);
        if others.next().is_none() || self.config.mode == super::Mode::SendOnly {
            return 0;
        }
        let unheld: BTreeSet<&SyncPath> = self.fetcher.unheld().collect();
        let is_getting = !self.planner.is_assessed
            || self.planner.needed.iter().any(|path| !unheld.contains(path))
            || self.is_fetching_for_others()
            || (self.peers[&to].has_told_to_expect() && !self.commits.is_idle());
        let nearest = self.nearest_expected(Some(to)).filter(|_| !unheld.is_empty());
        let steps = if is_getting { 1 } else { nearest.map_or(0, |steps| steps.saturating_add(1)) };
        if steps < STEPS_MAX { steps } else { 0 }
    }

    fn is_fetching_for_others(&self) -> bool {
        let is_for_others = |want: &Want| want.paths.iter().any(|path| self.is_not_empty(path));
        self.fetcher.wants.values().any(is_for_others)
    }

    fn nearest_expected(&self, but: Option<DeviceId>) -> Option<u32> {
        let others = self.peers.iter().filter(|(device, peer)| peer.is_attached() && Some(**device) != but);
        others.map(|(_, peer)| peer.expecting).filter(|steps| *steps > 0).min()
    }

    fn has_room(&self) -> bool {
        self.fetcher.in_flight_files == 0
            || (self.fetcher.in_flight_files < IN_FLIGHT_FILES_MAX
                && self.fetcher.in_flight_bytes < IN_FLIGHT_BYTES_MAX)
    }

    fn start_fetch(&mut self, content: ContentHash) -> Option<FetchRequest> {
        let want = self.fetcher.wants.get(&content)?;
        if want.in_flight.is_some() {
            return None;
        }
        let paths: Vec<SyncPath> =
            want.paths.iter().filter(|path| self.wants_content(path, content)).cloned().collect();
        let Some(path) = paths.first().cloned() else {
            self.fetcher.forget(&content);
            self.fetcher.has_leftovers = true;
            return None;
        };
        let refused_by = &self.fetcher.wants[&content].refused_by;
        let Some(from) = self.choose_source(&path, refused_by) else {
            if paths.iter().all(|path| self.is_not_empty(path)) {
                self.fetcher.forget(&content); // Nothing is pending here: it is wanted again with the directory's next try.
                self.fetcher.has_leftovers = true;
                return None;
            }
            self.fetcher.unheld.insert(content);
            self.fetcher.retry_later(content, self.now.monotonic_ms);
            return None;
        };
        let base = self.tree.record(&path).map(|record| record.content.hash());
        let want = self.fetcher.wants.get_mut(&content)?;
        (want.in_flight, want.is_overtaken) = (Some(from), false);
        self.fetcher.in_flight_files += 1;
        self.fetcher.in_flight_bytes += want.length;
        Some(FetchRequest { content, length: want.length, from, path, base })
    }

    /// True if a path is still to get a content: others were replaced meanwhile, or are left as they are by now.
    fn wants_content(&self, path: &SyncPath, content: ContentHash) -> bool {
        (self.planner.needed.contains(path) || self.is_not_empty(path))
            && self.tree.project(path).value.content() == Content::File(content)
    }

    /// The remote that the path was heard of from, else any that is connected.
    fn choose_source(&self, path: &SyncPath, refused_by: &BTreeSet<DeviceId>) -> Option<DeviceId> {
        let can_serve = |device: &DeviceId| {
            !refused_by.contains(device) && self.peers.get(device).is_some_and(|peer| peer.is_attached())
        };
        let heard_from = self.planner.origin(path).filter(can_serve);
        heard_from.or_else(|| self.peers.keys().copied().find(can_serve))
    }

    pub(super) fn on_fetched(&mut self, content: ContentHash, outcome: FetchOutcome) {
        let Some(want) = self.fetcher.wants.get_mut(&content) else { return };
        let Some(from) = want.in_flight.take() else { return };
        let length = want.length;
        self.fetcher.in_flight_files -= 1;
        self.fetcher.in_flight_bytes -= length;
        match outcome {
            FetchOutcome::Staged { chunks } => {
                let paths = self.fetcher.forget(&content).map(|want| want.paths).unwrap_or_default();
                self.fetcher.staged.insert(content);
                self.note_chunks(content, chunks);
                for path in paths {
                    if self.is_not_empty(&path) {
                        self.say_that_it_is_held(&path);
                    }
                    self.planner.reconsider(path);
                }
            }
            FetchOutcome::NotHeld => {
                if !want.is_overtaken {
                    want.refused_by.insert(from);
                }
                self.fetcher.queue.push_back(content);
            }
            FetchOutcome::Broken(_) => {
                self.fetcher.retry_at(content, self.now.monotonic_ms + BROKEN_RETRY_MS);
            }
            FetchOutcome::Trouble(trouble) => {
                let paths = self.fetcher.forget(&content).map(|want| want.paths).unwrap_or_default();
                self.fetcher.has_leftovers = true;
                // What is for others alone is no trouble of this disk's, and tried again with the directory.
                for path in paths.into_iter().filter(|path| !self.is_not_empty(path)).collect::<Vec<_>>() {
                    let message = match trouble.kind {
                        TroubleKind::NoSpace => format!("no space for {length} bytes: {}", trouble.message),
                        _ => trouble.message.clone(),
                    };
                    self.trouble(&path, Trouble { message, ..trouble.clone() });
                }
            }
        }
    }
}
