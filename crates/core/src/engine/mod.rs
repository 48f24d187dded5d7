//! One directory's engine: events in, effects out, no clock, thread or disk of its own.
//!
//! What comes in: what the disk workers found or did, what remotes say, the time. What goes out: what to look at, hash,
//! change, fetch, send and commit. Nothing is remembered that could not be observed again: after a restart the engine
//! walks the disk, compares it with its records, and derives what is to be done from the registers.
//!
//! `observe` finds users' acts, `mint` makes versions of them, `plan` brings the disk to the projection, `fetch` gets
//! bytes, `hold` keeps back deletions of too much, `heal` replaces what has rotted, `peer` exchanges registers, `wait`
//! answers "is all of it done?", `commit` says what has to be durable first, `forget` drops what nobody needs to know any
//! more, `acts` writes down what was done to whose bytes.

mod acts;
mod ask;
mod commit;
mod event;
mod fallback;
mod fetch;
mod first_merge;
mod foresee;
mod forget;
mod heal;
mod hold;
mod holders;
mod kept;
mod life;
mod mint;
mod observe;
mod peer;
mod plan;
mod status;
mod wait;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

pub use acts::{
    ActRecord, Deed, RENAMED_FROM, RENAMED_TO, ROTTEN, moved_from_below_why, moved_here_from, moved_here_why,
};
pub use ask::{Conflict, Explanation, Reason, Standing};
pub use commit::{Commit, Counters};
pub use event::{Config, Effect, Event, Incarnation, Mode, Now, RulesSnapshot};
pub use fetch::{FetchOutcome, FetchRequest};
pub use first_merge::FirstMerge;
pub use foresee::{Foreseen, Outcome};
pub use heal::Damage;
pub use hold::HoldLimit;
pub use kept::KeptSweep;
pub use observe::{Hint, Listing};
pub use peer::PeerProgress;
pub use plan::Doubt;
pub use status::{Problem, State, Status};
pub use wait::{Straggler, WaitId};

use holders::HoldersOf;

use crate::effect::{ChunkList, Kept, Trouble, TroubleKind};
use crate::ignore::Rules;
use crate::message::Members;
use crate::mistake::{self, Mistake, is_made};
use crate::path::SyncPath;
use crate::record::{Record, Stat};
use crate::tree::{StoredNode, StoredNodes, Tree};
use crate::version::{Content, ContentHash, DeviceId};

/// One directory's engine.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    now: Now,
    tree: Tree,
    rules: Rules,
    effects: Vec<Effect>,
    observer: observe::Observer,
    planner: plan::Planner,
    fetcher: fetch::Fetcher,
    peers: BTreeMap<DeviceId, peer::Peer>,
    members: Members,
    /// Up to which of this device's numbers members have followed that are connected to others, as these say.
    level: BTreeMap<DeviceId, BTreeMap<DeviceId, u64>>,
    waits: Vec<wait::Wait>,
    commits: commit::Commits,
    /// Paths that a hash, an observation or an op is at work on; nothing else touches them meanwhile.
    busy: BTreeSet<SyncPath>,
    /// Paths in trouble, and when they are tried again.
    troubles: BTreeMap<SyncPath, (Trouble, u64)>,
    /// What is at a path but is not synced: FIFOs, sockets, devices, mounts, impossible names.
    unsupported: BTreeMap<Vec<u8>, String>,
    /// Where a member that may not send differs: what is there instead (none: nothing).
    local_changes: BTreeMap<SyncPath, Option<Record>>,
    holds: hold::Holds,
    /// Kept versions younger than a day that had to go since the start.
    kept_gone_young: u64,
    /// Files whose bytes are not those that are recorded, though their stats are; and what these bytes are.
    damaged: BTreeMap<SyncPath, ContentHash>,
    /// How many symlinks are recorded.
    n_symlinks: u64,
    /// What the tree comes to, if that was asked since it last changed.
    totals: OnceLock<status::Totals>,
    /// Which paths hold a content, by record.
    holders: HoldersOf,
    /// Which path's record has an inode, so that a renamed file need not be read again.
    inodes: HashMap<u64, SyncPath>,
    /// Which kept versions hold a content, as they were when they were kept: somebody may have written into one of them,
    /// and not into another.
    kept: BTreeMap<(ContentHash, String), Stat>,
    /// What was at a path before it fell back to nothing, and that nobody could give back yet.
    fallen_back: BTreeMap<SyncPath, Content>,
    /// What was displaced, and from where, as far as a fallback may show it: until the first scan is done.
    displaced: BTreeSet<(SyncPath, ContentHash)>,
    root: RootState,
    paused: bool,
    /// What remotes may still make this directory take, in bytes of memory.
    announced_free_bytes: u64,
    /// When the member list, which has changed, is told to those connected, and how often that may be.
    members_due_ms: Option<u64>,
    members_pace: peer::Pace,
    /// How often an epoch is begun on a remote's word alone.
    epochs_pace: peer::Pace,
    /// What dots carry.
    epochs: life::Epochs,
    /// How far the first merge is.
    merging: first_merge::Merging,
}

#[derive(Debug, PartialEq)]
enum RootState {
    Proved,
    Lost(String),
}

/// What was stored, to start from.
#[derive(Debug, Default)]
pub struct Stored {
    /// All rows, in any order.
    pub rows: StoredNodes,
    /// Counters and numbering.
    pub counters: Counters,
    /// The member list.
    pub members: Members,
    /// How far each remote's entries are merged.
    pub peers: BTreeMap<DeviceId, PeerProgress>,
    /// The kept versions.
    pub kept: Vec<Kept>,
    /// What the engine may have done without having recorded it, where that does not follow from the rows.
    pub doubts: BTreeMap<SyncPath, Doubt>,
    /// The whole disk has been looked at once, in this life or an earlier one.
    pub first_scan_done: bool,
}

/// How long a path in trouble is left alone.
const TROUBLE_RETRY_MS: u64 = 10_000;

impl Engine {
    /// Starts from what was stored; the first thing it asks for is a walk.
    pub fn new(config: Config, stored: Stored, paused: bool, now: Now) -> Engine {
        let mut tree = Tree::of(config.device);
        tree.keeps_witnesses = config.is_strict;
        tree.attests = config.is_strict || config.only_author == Some(config.device);
        let counters = mistake::counters(stored.counters, config.device, &stored.rows);
        let may_have_fallen_back = config.may_have_fallen_back;
        let holds = hold::Holds::new(config.was_holding);
        // Of what is listed in the transaction that records what took its place, the record tells nothing any more.
        let kept = stored.kept.iter().filter(|kept| kept.content.is_bytes());
        let in_store = kept.map(|kept| (kept.path.clone(), kept.stat.inode, kept.content.hash())).collect();
        let epochs = life::Epochs::new(counters.epoch, counters.counter, &config.incarnations);
        let merging = first_merge::Merging::begin(stored.first_scan_done || config.doubted);
        let mut engine = Engine {
            config,
            now,
            tree,
            rules: Rules::default(),
            effects: Vec::new(),
            observer: observe::Observer::default(),
            planner: plan::Planner::default(),
            fetcher: fetch::Fetcher::default(),
            peers: BTreeMap::new(),
            members: stored.members,
            level: BTreeMap::new(),
            waits: Vec::new(),
            commits: commit::Commits::new(counters, stored.first_scan_done),
            busy: BTreeSet::new(),
            troubles: BTreeMap::new(),
            unsupported: BTreeMap::new(),
            local_changes: BTreeMap::new(),
            holds,
            kept_gone_young: 0,
            damaged: BTreeMap::new(),
            n_symlinks: 0,
            totals: OnceLock::new(),
            holders: HoldersOf::default(),
            inodes: HashMap::new(),
            kept: stored
                .kept
                .iter()
                .filter(|kept| matches!(kept.content, Content::File(_)))
                .map(|kept| ((kept.content.hash(), kept.name.clone()), kept.stat))
                .collect(),
            fallen_back: BTreeMap::new(),
            displaced: stored
                .kept
                .iter()
                .filter(|_| may_have_fallen_back)
                .map(|kept| (kept.path.clone(), kept.content.hash()))
                .collect(),
            root: RootState::Proved,
            paused,
            announced_free_bytes: u64::MAX,
            members_due_ms: None,
            members_pace: peer::Pace::default(),
            epochs_pace: peer::Pace::default(),
            epochs,
            merging,
        };
        engine.load(stored.rows);
        engine.holds.note_contents(now.monotonic_ms, engine.n_contents());
        if !stored.first_scan_done {
            engine.observer.begin_first_scan();
        }
        engine.note_what_is_lost();
        engine.doubt_what_was_under_way(&in_store, stored.doubts);
        engine.peers =
            stored.peers.into_iter().map(|(device, known)| (device, peer::Peer::new(known))).collect();
        engine.request_walk(SyncPath::root());
        engine
    }

    /// Takes in the rows that were stored, and what is derived from each.
    fn load(&mut self, mut rows: StoredNodes) {
        if is_made(Mistake::TombstonesAged) {
            let is_young = |(_, register, record, _): &StoredNode| {
                record.is_some() || !mistake::is_old(register, self.now.wall)
            };
            rows = rows.iter().filter(is_young).collect();
        }
        // In the order of the rows: of several paths with one inode the last counts.
        for (path, record) in rows.records() {
            self.n_symlinks += n_symlinks(Some(&record));
            if matches!(record.content, Content::File(_)) {
                self.inodes.insert(record.stat.inode, path.clone());
            }
        }
        self.tree.load(rows);
        self.holders.reserve(self.inodes.len(), &self.tree);
        for (path, record) in self.tree.records() {
            if let Content::File(content) = record.content {
                self.holders.insert(content, path, &self.tree);
            }
        }
    }

    /// Takes one event in and returns what is to be done.
    ///
    /// Afterwards [`Engine::take_commit`] says what has to be made durable.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        self.now = now;
        match event {
            Event::Hints(hints) => self.on_hints(hints),
            Event::Listed { walk, listing } => self.on_listed(walk, listing),
            Event::Walked { walk } => self.on_walked(walk),
            Event::Looked(results) => self.on_looked(results),
            Event::Hashed { batch, outcomes } => self.on_hashed(batch, outcomes),
            Event::Synced { batch, result } => self.on_synced(batch, result),
            Event::Applied(outcomes) => self.on_applied(outcomes),
            Event::Fetched(ended) => {
                ended.into_iter().for_each(|(content, outcome)| self.on_fetched(content, outcome))
            }
            Event::StageCleaned => self.on_stage_cleaned(),
            Event::PeerUp(device) => self.on_peer_up(device),
            Event::PeerDown(device) => self.on_peer_down(device),
            Event::Message { from, message } => self.on_message(from, message),
            Event::Committed { sequence } => self.on_committed(sequence),
            Event::RootLost(reason) => self.on_root_lost(reason),
            Event::RootProved => self.on_root_proved(),
            Event::Tick => {}
        }
        self.settle()
    }

    /// What follows from the state whatever the event was.
    fn settle(&mut self) -> Vec<Effect> {
        self.retry_troubles();
        self.advance_holds();
        self.advance_observation();
        self.number_changes();
        self.advance_plan();
        if self.is_freed() {
            self.advance_holds();
            self.advance_observation();
            self.number_changes();
            self.advance_plan();
        }
        self.advance_fetches();
        self.advance_peers();
        self.advance_waits();
        self.advance_merging();
        self.tree.cool();
        std::mem::take(&mut self.effects)
    }

    /// When [`Event::Tick`] is wanted at the latest, in monotonic milliseconds; none: not until something happens.
    pub fn deadline(&self) -> Option<u64> {
        let retry = self.troubles.values().map(|(_, at)| *at).min();
        [
            retry,
            self.observation_deadline(),
            self.plan_deadline(),
            self.fetcher.deadline(),
            self.peers_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Stops, or takes up again, both directions.
    pub fn set_paused(&mut self, now: Now, paused: bool) -> Vec<Effect> {
        self.now = now;
        if self.paused != paused {
            self.paused = paused;
            if paused { self.detach_all() } else { self.attach_all() }
        }
        self.settle()
    }

    /// Asks for a walk of everything, as the periodic scan does.
    pub fn rescan(&mut self, now: Now) -> Vec<Effect> {
        self.now = now;
        if !is_made(Mistake::ScanIgnored) {
            self.request_walk(SyncPath::root());
        }
        self.settle()
    }

    /// Asks the connected members again for what follows the numbers known, in case anything was not announced.
    pub fn poll(&mut self, now: Now) -> Vec<Effect> {
        self.now = now;
        if !self.paused {
            self.attach_to_all();
        }
        self.settle()
    }

    /// True once all that was asked for at the start has been found out.
    pub fn is_ready(&self) -> bool {
        self.observer.is_ready
    }

    /// True once the whole disk was looked through, in this life and when the directory was new.
    pub fn has_looked_through(&self) -> bool {
        self.observer.is_ready && !self.observer.is_first_scan()
    }

    /// True once all that was found at the start is durable.
    pub fn has_found_out(&self) -> bool {
        self.observer.is_ready && self.commits.is_idle()
    }

    /// True while both directions are stopped.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// True once a remote has said where it stands, on the present connection.
    pub fn is_attached(&self, device: &DeviceId) -> bool {
        self.peers.get(device).is_some_and(peer::Peer::is_attached)
    }

    /// Says how much memory remotes may still make this directory take, in bytes; without limit until it is said.
    ///
    /// One remote alone gets at most three quarters of that, so that others can go on. What is more is refused, which
    /// is listed; it is asked for again after the next start.
    pub fn limit_announced(&mut self, free_bytes: u64) {
        self.announced_free_bytes = free_bytes;
    }

    /// The directory's registers and records, to read.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The member list.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// What is at a path of the disk as far as it was noted, also where it is this device's alone, or gone and that is held.
    pub fn on_disk(&self, path: &SyncPath) -> Option<Record> {
        match self.local_changes.get(path) {
            Some(local) => *local,
            None => self.tree.record(path).filter(|_| !self.holds.is_missing(path)),
        }
    }

    /// True of what rules have made nobody's affair, or what is left alone: what is noted of it may be long out of date.
    pub fn is_nobodys(&self, path: &SyncPath) -> bool {
        self.is_frozen(path)
    }

    /// The paths that hold this content, with their records, for serving it to remotes. Some may have changed since.
    pub fn holders(&self, content: &ContentHash) -> impl Iterator<Item = (&SyncPath, Record)> {
        let paths = self.holders.get(content, &self.tree);
        paths.filter_map(|path| Some((path, self.tree.record(path)?)))
    }

    /// The kept versions that hold this content, as they were then. Somebody may have written into some since.
    pub fn kept_holders(&self, content: &ContentHash) -> impl Iterator<Item = (&str, &Stat)> {
        let kept = self.kept.range((*content, String::new())..);
        let kept = kept.take_while(move |((held, _), _)| held == content);
        kept.map(|((_, name), stat)| (name.as_str(), stat))
    }

    /// True where this device's users' changes are told to others.
    pub fn may_send(&self) -> bool {
        is_made(Mistake::ReceiverSends)
            || self.config.mode != Mode::ReceiveOnly
                && self.config.only_author.is_none_or(|author| author == self.config.device)
    }

    fn trouble(&mut self, path: &SyncPath, trouble: Trouble) {
        self.troubles.insert(path.clone(), (trouble, self.now.monotonic_ms + TROUBLE_RETRY_MS));
    }

    fn retry_troubles(&mut self) {
        let now = self.now.monotonic_ms;
        let due: Vec<SyncPath> =
            self.troubles.iter().filter(|(_, (_, at))| *at <= now).map(|(path, _)| path.clone()).collect();
        for path in due {
            match self.troubles.get_mut(&path) {
                Some((trouble, at)) if trouble.kind != TroubleKind::Restless => *at = now + TROUBLE_RETRY_MS,
                _ => {
                    self.troubles.remove(&path);
                }
            }
            self.planner.reconsider(path.clone());
            let record = self.tree.record(&path);
            if path.is_root() || record.is_some_and(|record| record.content == Content::Directory) {
                self.request_walk(path.clone());
            }
            self.request_look(path);
        }
    }

    fn retry_troubles_now(&mut self) {
        let now = self.now.monotonic_ms;
        self.troubles.values_mut().for_each(|(_, at)| *at = now);
    }

    /// Notes what is on the disk at a path, everywhere that is derived from it.
    fn set_record(&mut self, path: &SyncPath, record: Option<Record>) {
        let is_directory =
            |record: Option<&Record>| record.is_some_and(|record| record.content == Content::Directory);
        let was_directory = is_directory(self.tree.record(path).as_ref());
        if is_directory(record.as_ref()) && !was_directory {
            self.reconsider_needed_below(path); // They may have waited for it.
        }
        if record.is_none() {
            self.reconsider_parent(path); // It may have waited to be empty.
        }
        self.observer.may_have_edits = true;
        self.fallen_back.remove(path);
        self.damaged.remove(path);
        self.n_symlinks =
            self.n_symlinks + n_symlinks(record.as_ref()) - n_symlinks(self.tree.record(path).as_ref());
        if let Some(old) = self.tree.record(path) {
            if self.inodes.get(&old.stat.inode) == Some(path) {
                self.inodes.remove(&old.stat.inode);
            }
            self.holders.remove(&old.content.hash(), path, &self.tree);
        }
        self.tree.set_record(path, record);
        if let Some(new) = record
            && let Content::File(content) = new.content
        {
            self.inodes.insert(new.stat.inode, path.clone());
            self.holders.insert(content, path, &self.tree);
        }
        self.holds.note_contents(self.now.monotonic_ms, self.n_contents());
        self.commits.note_row(path);
    }

    fn note_chunks(&mut self, content: ContentHash, chunks: Option<ChunkList>) {
        if let Some(chunks) = chunks {
            self.commits.note_chunks(content, chunks);
        }
    }

    /// True if the rules say to leave a path alone, whatever it is; `is_directory` as it is on the disk or would be.
    fn is_ignored(&self, path: &SyncPath, is_directory: bool) -> bool {
        self.rules.is_ignored(path, is_directory)
    }
}

fn n_symlinks(record: Option<&Record>) -> u64 {
    u64::from(record.is_some_and(|record| matches!(record.content, Content::Symlink(_))))
}
