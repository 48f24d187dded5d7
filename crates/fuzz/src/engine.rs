//! What two remotes say to an engine that has a small, obedient disk: it comes to rest, and says only what can be said.

use std::collections::{BTreeMap, VecDeque};

use file_sync_core::effect::{HashOutcome, Op, OpOutcome};
use file_sync_core::engine::{
    Config, Counters, Effect, Engine, Event, FetchOutcome, FetchRequest, Incarnation, Listing, Mode, Now,
    Stored,
};
use file_sync_core::message::{Entry, MESSAGE_BYTES_MAX, Member, Members, Message};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Seen, Stat};
use file_sync_core::version::{Content, ContentHash, DeviceId, DirectoryId, Time, Version};
use file_sync_wire::{decode_message, encode_message};

/// The directory that messages of the corpus speak of; an engine is never given those of another.
pub const ABOUT: DirectoryId = DirectoryId([1; 16]);
const OWN: DeviceId = DeviceId([9; 32]);
/// Bytes before a message: who says it, or what else happens (1), and its length (2, little-endian).
const HEADER_BYTES: usize = 3;
/// Most messages of one conversation.
const MESSAGES_MAX: usize = 24;
/// More steps than any conversation of this length takes to come to rest.
const STEPS_MAX: usize = 20_000;

/// A conversation: a byte for how this device takes part, then messages.
pub fn engine(bytes: &[u8]) -> bool {
    let Some((mode, mut rest)) = bytes.split_first() else { return false };
    let mut device = Device::new(*mode);
    let mut n_taken = 0;
    for _ in 0..MESSAGES_MAX {
        let Some((header, body)) = rest.split_first_chunk::<HEADER_BYTES>() else { break };
        let length = usize::from(u16::from_le_bytes([header[1], header[2]]));
        let (message, after) = body.split_at(length.min(body.len()));
        rest = after;
        let from = remote(header[0] & 1);
        match header[0] >> 1 & 7 {
            0 => device.happens(Event::PeerDown(from)),
            1 => device.happens(Event::PeerUp(from)),
            2 => device.edits(message),
            _ => {
                let Ok(message) = decode_message(message) else { break };
                n_taken += 1;
                let message = device.trusted(message);
                device.happens(Event::Message { from, message });
            }
        }
        // Some are said while the engine is still at work on the one before.
        if header[0] & 0x10 == 0 {
            device.comes_to_rest();
        }
    }
    device.comes_to_rest();
    n_taken > 0
}

/// One of the two remotes.
pub fn remote(number: u8) -> DeviceId {
    DeviceId([number + 1; 32])
}

struct Device {
    engine: Engine,
    now: Now,
    queue: VecDeque<Event>,
    items: BTreeMap<SyncPath, (Content, Seen)>,
    n_inodes: u64,
    n_steps: usize,
}

impl Device {
    fn new(mode: u8) -> Device {
        let member = Member { number: 1, active: true, key: [0; 32] };
        let members: Members = [OWN, remote(0), remote(1)].map(|id| (id, member.clone())).into();
        let config = Config {
            directory: ABOUT,
            device: OWN,
            mode: [Mode::TwoWay, Mode::TwoWay, Mode::ReceiveOnly, Mode::SendOnly][usize::from(mode & 3)],
            only_author: (mode & 0xc == 0xc).then_some(remote(0)),
            time_step_ns: 1,
            doubted: mode & 0x10 != 0,
            may_have_fallen_back: mode & 0x20 != 0,
            hold: Some(Default::default()),
            was_holding: false,
            is_strict: mode & 0x40 != 0,
            incarnations: [1, 2].map(|number| Incarnation { number, began: 0 }).to_vec(),
        };
        let stored = Stored {
            counters: Counters { index_id: 1, epoch: 1, counter: 0, sequence: 0 },
            members,
            ..Stored::default()
        };
        let now = Now { wall: Time { seconds: 1_700_000_000, nanoseconds: 0 }, monotonic_ms: 0 };
        let engine = Engine::new(config, stored, false, now);
        let (queue, items) = (VecDeque::new(), BTreeMap::new());
        let mut device = Device { engine, now, queue, items, n_inodes: 0, n_steps: 0 };
        device.comes_to_rest();
        device.happens(Event::PeerUp(remote(0)));
        device.happens(Event::PeerUp(remote(1)));
        device.comes_to_rest();
        device
    }

    /// What the server gives its engine of it: versions in this device's name carry no signature of its own.
    fn trusted(&self, message: Message) -> Message {
        let Message::Entries(mut entries) = message else { return message };
        let is_held = |entry: &Entry, version: &Version| {
            let node = self.engine.tree().get(&entry.path);
            node.is_some_and(|node| node.register.get(&version.dot) == Some(version))
        };
        entries.entries.retain(|entry| {
            let settled = entry.register.settled().iter().map(|settled| &settled.version);
            let mut versions = entry.register.versions().iter().chain(settled);
            versions.all(|version| version.dot.actor.device != OWN || is_held(entry, version))
        });
        Message::Entries(entries)
    }

    fn happens(&mut self, event: Event) {
        self.n_steps += 1;
        assert!(self.n_steps < STEPS_MAX, "it does not come to rest");
        let effects = self.engine.step(self.now, event);
        effects.into_iter().for_each(|effect| self.carry_out(effect));
        if let Some(commit) = self.engine.take_commit() {
            self.queue.push_back(Event::Committed { sequence: commit.counters.sequence });
        }
    }

    /// Goes on until nothing is left to do, with the time passing that the engine waits for, up to a minute.
    fn comes_to_rest(&mut self) {
        let until = self.now.monotonic_ms + 60_000;
        self.happens(Event::Tick);
        loop {
            if let Some(event) = self.queue.pop_front() {
                self.happens(event);
                continue;
            }
            match self.engine.deadline() {
                Some(at) if at <= until => {
                    self.now.monotonic_ms = at.max(self.now.monotonic_ms + 1);
                    self.happens(Event::Tick);
                }
                _ => return,
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Look(paths) => {
                let look = |path: SyncPath| (path.clone(), Ok(self.seen(&path)));
                let looked = paths.into_iter().map(look).collect();
                self.queue.push_back(Event::Looked(looked));
            }
            Effect::Walk { walk, from, .. } => {
                let listed = self.listings(&from).into_iter();
                self.queue.extend(listed.map(|listing| Event::Listed { walk, listing }));
                self.queue.push_back(Event::Walked { walk });
            }
            Effect::Hash { batch, items, .. } => {
                let outcomes = items.into_iter().map(|item| (item.path.clone(), self.hashed(&item.path)));
                let outcomes = outcomes.collect();
                self.queue.push_back(Event::Hashed { batch, outcomes });
            }
            Effect::Sync { batch, .. } => self.queue.push_back(Event::Synced { batch, result: Ok(()) }),
            Effect::Apply(ops) => {
                let outcomes = ops.into_iter().map(|op| (op.clone(), self.applied(op))).collect();
                self.queue.push_back(Event::Applied(outcomes));
            }
            Effect::Fetch(requests) => {
                let outcomes = requests.iter().map(|request| (request.content, fetched(request)));
                self.queue.push_back(Event::Fetched(outcomes.collect()));
            }
            Effect::Send { message, .. } => can_be_said(&message),
            Effect::CleanStage(_) => self.queue.push_back(Event::StageCleaned),
            Effect::WaitDone(_) | Effect::MembersChanged(_) => {}
        }
    }

    fn listings(&self, from: &SyncPath) -> Vec<Listing> {
        let below = self.items.keys().filter(|path| from.is_ancestor_of(path));
        let directories = std::iter::once(from).chain(below).filter(|path| self.is_directory(path));
        let list = |directory: &SyncPath| {
            let children = self.items.iter().filter(|(path, _)| path.parent().as_ref() == Some(directory));
            let found = children.map(|(path, (_, seen))| (path.clone(), seen.clone())).collect();
            Listing {
                directory: directory.clone(),
                result: Ok(found),
                troubled: Vec::new(),
                other: Vec::new(),
            }
        };
        directories.map(list).collect()
    }

    fn is_directory(&self, path: &SyncPath) -> bool {
        path.is_root() || self.items.get(path).is_some_and(|(content, _)| *content == Content::Directory)
    }

    fn seen(&self, path: &SyncPath) -> Option<Seen> {
        self.items.get(path).map(|(_, seen)| seen.clone())
    }

    fn hashed(&self, path: &SyncPath) -> HashOutcome {
        match self.items.get(path) {
            Some((Content::File(content), seen)) => {
                HashOutcome::Hashed { seen: seen.clone(), content: *content, chunks: None }
            }
            _ => HashOutcome::Differs,
        }
    }

    /// A user writes a file of this name, or takes it away if it is there.
    fn edits(&mut self, name: &[u8]) {
        let Ok(path) = SyncPath::parse(name) else { return };
        let parent = path.parent().expect("it is not the root");
        if !self.is_directory(&parent) || self.is_directory(&path) {
            return;
        }
        if self.items.remove(&path).is_none() {
            let content = Content::File(ContentHash::of(&self.n_inodes.to_le_bytes()));
            self.put(&path, content, Kind::File, 0o644, self.now.wall);
        }
        self.happens(Event::Hints(vec![file_sync_core::engine::Hint::Path(path)]));
    }

    fn put(&mut self, path: &SyncPath, content: Content, kind: Kind, mode: u16, mtime: Time) -> Stat {
        self.n_inodes += 1;
        let ctime = Time { nanoseconds: self.n_inodes as u32, ..self.now.wall };
        let stat = Stat { device: 1, inode: self.n_inodes, size: 1, mode, mtime, ctime };
        self.items.insert(path.clone(), (content, Seen { kind, stat, rules: None }));
        stat
    }

    /// Does what is asked for where what is expected is there; else says that it is not.
    fn applied(&mut self, op: Op) -> OpOutcome {
        let differs = OpOutcome::Differs { rescued: None };
        let path = op.path().clone();
        let parent = path.parent().expect("nothing is done to the root");
        assert!(!path.is_root(), "{op:?}");
        if !self.is_directory(&parent) {
            return differs;
        }
        let here = self.items.get(&path).map(|(content, _)| *content);
        let is_empty = !self.items.keys().any(|other| path.is_ancestor_of(other));
        let stat = match op {
            Op::MakeDirectory { mode, .. } if here.is_none() => {
                Some(self.put(&path, Content::Directory, Kind::Directory, mode, self.now.wall))
            }
            Op::Place { content, mode, mtime, expect, .. }
                if here == expect.as_ref().map(|record| record.content)
                    && here != Some(Content::Directory) =>
            {
                Some(self.put(&path, Content::File(content), Kind::File, mode, mtime))
            }
            Op::PlaceSymlink { target, expect, .. }
                if here == expect.as_ref().map(|record| record.content)
                    && here != Some(Content::Directory) =>
            {
                let content = Content::Symlink(ContentHash::of(&target));
                Some(self.put(&path, content, Kind::Symlink(target), 0o777, self.now.wall))
            }
            Op::SetMetadata { expect, mode, mtime, .. } if here == Some(expect.content) => {
                let (_, seen) = self.items.get_mut(&path).expect("it is here");
                seen.stat.mode = mode;
                seen.stat.mtime = mtime.unwrap_or(seen.stat.mtime);
                Some(seen.stat)
            }
            Op::Remove { expect, .. } | Op::RemoveDirectory { expect, .. }
                if here == Some(expect.content) && is_empty =>
            {
                self.items.remove(&path);
                None
            }
            Op::Move { from, expect, metadata, .. } if here.is_none() => match self.items.remove(&from) {
                Some((content, mut seen)) if content == expect.content => {
                    (seen.stat.mode, seen.stat.mtime) = metadata.unwrap_or((seen.stat.mode, seen.stat.mtime));
                    self.items.insert(path, (content, seen.clone()));
                    Some(seen.stat)
                }
                Some(other) => {
                    self.items.insert(from, other);
                    return differs;
                }
                None => return differs,
            },
            _ => return differs,
        };
        OpOutcome::Done { stat, kept: None }
    }
}

/// Contents whose hash is odd are staged, others are nowhere.
fn fetched(request: &FetchRequest) -> FetchOutcome {
    if request.content.0[0] & 1 == 1 { FetchOutcome::Staged { chunks: None } } else { FetchOutcome::NotHeld }
}

/// What an engine says reaches the other side as it is.
fn can_be_said(message: &Message) {
    let encoded = encode_message(message);
    assert!(encoded.len() <= MESSAGE_BYTES_MAX);
    // The keys of this engine's members are made up, which a receiver would find out.
    if !matches!(message, Message::Attach(_) | Message::Members { .. }) {
        assert_eq!(decode_message(&encoded).as_ref(), Ok(message), "it cannot be understood");
    }
}
