//! Arbitrary values from a printed seed: small numbers and few actors, so that things collide.

use std::collections::BTreeMap;

use file_sync_core::context::Context;
use file_sync_core::effect::{Chunk, ChunkList};
use file_sync_core::message::{
    Attach, Entries, Entry, Hello, Member, Members, Message, Offer, Page, Progress, Terms,
};
use file_sync_core::path::SyncPath;
use file_sync_core::register::{Register, Settled};
use file_sync_core::version::{
    Actor, Changed, Content, ContentHash, DeviceId, DirectoryId, Dot, Heard, Signature, Time, Value, Version,
};
use file_sync_wire::kept::{KeptPage, KeptPlace, KeptVersion};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Generator(u64);

impl Generator {
    pub fn seeded(seed: u64) -> Generator {
        Generator(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.below(256) as u8)
    }

    fn many<T>(&mut self, bound: u64, mut one: impl FnMut(&mut Generator) -> T) -> Vec<T> {
        (0..self.below(bound)).map(|_| one(self)).collect()
    }

    fn text(&mut self) -> String {
        ["", "laptop", "böse \u{1f980}", "a\nb"][self.below(4) as usize].to_owned()
    }

    fn actor(&mut self) -> Actor {
        let number = self.below(3);
        Actor { device: DeviceId([number as u8; 32]), epoch: u64::MAX - number }
    }

    fn dot(&mut self) -> Dot {
        let counter = if self.coin() { 1 + self.below(5) } else { u64::MAX - self.below(2) };
        Dot { actor: self.actor(), counter }
    }

    pub fn path(&mut self) -> SyncPath {
        let parts = ["a", "b c", "\u{1f980}", "..."];
        let mut path = SyncPath::parse(parts[self.below(4) as usize].as_bytes()).expect("a good name");
        for _ in 0..self.below(4) {
            let name = [1 + self.below(46) as u8, b'x', 0x80 + self.below(128) as u8];
            path = path.join(&name).expect("no slash, no NUL, not reserved");
        }
        path
    }

    fn time(&mut self) -> Time {
        let seconds = [0, -1, i64::MIN, i64::MAX, 1_700_000_000][self.below(5) as usize];
        Time { seconds, nanoseconds: [0, 1, 999_999_999][self.below(3) as usize] }
    }

    fn mode(&mut self) -> u16 {
        self.below(0o1000) as u16
    }

    pub fn value(&mut self) -> Value {
        match self.below(5) {
            0 => Value::ABSENT,
            1 => Value::Absent { directory_mode: Some(self.mode()) },
            2 => Value::Directory { mode: self.mode() },
            3 => Value::Symlink { target: [self.below(255) as u8 + 1, b'/', b'.'].into() },
            _ => Value::File {
                content: ContentHash(self.bytes()),
                length: self.next() >> 1,
                mode: self.mode(),
                mtime: self.time(),
            },
        }
    }

    pub fn kept_page(&mut self) -> KeptPage {
        let versions = self.many(5, |generator| {
            let value = loop {
                let value = generator.value();
                if matches!(value, Value::File { .. } | Value::Symlink { .. }) {
                    break value;
                }
            };
            {
                let is_symlink = matches!(value, Value::Symlink { .. });
                let place = generator.kept_place();
                KeptVersion { written: is_symlink.then_some(place.at), place, value }
            }
        });
        KeptPage { versions, is_last: self.coin() }
    }

    pub fn kept_place(&mut self) -> KeptPlace {
        KeptPlace { path: self.path(), at: self.time() }
    }

    fn heard(&mut self) -> Option<Box<Heard>> {
        let highest = self.many(3, Generator::dot).into_iter().map(|dot| (dot.actor, dot.counter)).collect();
        let gone = Context::from_parts(highest, self.many(3, Generator::dot));
        let beside: std::collections::BTreeSet<Dot> = self.many(3, Generator::dot).into_iter().collect();
        let heard = Heard { gone, beside: beside.into_iter().collect() };
        (heard != Heard::default()).then(|| Box::new(heard))
    }

    pub fn version(&mut self) -> Version {
        let version = self.version_of_layout_1();
        Version { heard: if self.coin() { self.heard() } else { None }, ..version }
    }

    /// A version whose author had heard of nothing that it does not replace.
    pub fn version_of_layout_1(&mut self) -> Version {
        let value = self.value();
        Version {
            dot: self.dot(),
            rank: if self.coin() { value.mtime().unwrap_or_default() } else { self.time() },
            value,
            replaced: self.many(4, Generator::dot),
            heard: None,
            base: match self.below(4) {
                0 => Content::Absent,
                1 => Content::Directory,
                2 => Content::File(ContentHash(self.bytes())),
                _ => Content::Symlink(ContentHash(self.bytes())),
            },
            changed: Changed { content: self.coin(), mode: self.coin(), mtime: self.coin() },
            born_at: self.coin().then(|| self.path()),
            signature: Signature(self.coin().then(|| self.bytes())),
        }
    }

    pub fn register(&mut self) -> Register {
        let highest = self.many(4, Generator::dot).into_iter().map(|dot| (dot.actor, dot.counter));
        let context = Context::from_parts(highest.collect(), self.many(4, Generator::dot));
        let versions = self.many(4, Generator::version);
        let settled = self.many(3, |g| Settled { version: g.version(), copy: g.coin().then(|| g.path()) });
        Register::from_parts(versions, context, settled)
    }

    fn directory(&mut self) -> DirectoryId {
        DirectoryId(self.bytes())
    }

    fn members(&mut self) -> Members {
        let members = self.many(4, |g| {
            let key = g.bytes();
            let device = DeviceId(ContentHash::of(&key).0);
            (device, Member { number: g.next(), active: g.coin(), key })
        });
        members.into_iter().collect()
    }

    fn attach(&mut self) -> Attach {
        Attach {
            directory: self.directory(),
            index_id: self.next(),
            sequence: self.next(),
            known_index_id: self.next(),
            known_sequence: self.next(),
            counters: self.many(4, |g| (g.next(), g.next())).into_iter().collect::<BTreeMap<_, _>>(),
            receives_only: self.coin(),
            sends_only: self.coin(),
            members: self.members(),
            incarnation: self.next(),
            known_incarnation: self.next(),
            heard_sequence: self.next(),
        }
    }

    pub fn entries(&mut self) -> Entries {
        Entries {
            directory: self.directory(),
            index_id: self.next(),
            after: self.below(10),
            through: 10 + self.below(10),
            latest: 10 + self.below(20),
            entries: self.many(8, |g| Entry { path: g.path(), register: g.register(), holds: g.coin() }),
        }
    }

    fn result(&mut self) -> Result<Terms, String> {
        if self.coin() {
            return Err(self.text());
        }
        let only_author = self.coin().then(|| DeviceId(self.bytes()));
        Ok(Terms { only_author, members: self.members() })
    }

    fn page(&mut self) -> Result<Page, String> {
        if self.coin() {
            return Err("no".to_owned());
        }
        let only_author = self.coin().then(|| DeviceId(self.bytes()));
        Ok(Page {
            only_author,
            entries: self.entries().entries,
            is_last: self.coin(),
            n_troubled: self.below(3),
        })
    }

    fn hello(&mut self) -> Hello {
        Hello {
            protocol: self.below(3) as u32,
            name: self.text(),
            software: self.text(),
            incarnation: self.next(),
            addresses: self.many(3, Generator::text),
        }
    }

    pub fn message(&mut self) -> Message {
        let directory = self.directory();
        match self.below(18) {
            0 => Message::Hello(self.hello()),
            1 => Message::Offers(self.many(3, |g| Offer {
                directory: g.directory(),
                name: g.text(),
                read_only: g.coin(),
            })),
            2 => Message::Join { directory },
            3 => Message::Joined { directory, result: self.result() },
            4 => Message::Attach(self.attach()),
            5 => Message::Detach { directory, returns: self.coin() },
            6 => Message::Members { directory, members: self.members() },
            7 => Message::Entries(self.entries()),
            8 => Message::Progress(Progress {
                directory,
                index_id: self.next(),
                merged: self.next(),
                applied: self.next(),
                troubles: self.next(),
                expecting: self.next() as u32,
                is_all_told: self.coin(),
                level: self.members().into_keys().collect(),
            }),
            9 => Message::Check { directory, token: self.next() },
            10 => Message::Checked { directory, token: self.next(), sequence: self.next() },
            11 => Message::Goodbye { reason: self.text() },
            12 => Message::Ping,
            13 => Message::Barrier { token: self.next() },
            14 => Message::BarrierReached { token: self.next() },
            15 => Message::Peek { directory, after: self.coin().then(|| self.path()) },
            16 => Message::Peeked { directory, after: self.coin().then(|| self.path()), result: self.page() },
            _ => Message::Pong,
        }
    }

    pub fn chunk_list(&mut self) -> ChunkList {
        let chunk = |g: &mut Generator| Chunk {
            hash: ContentHash(g.bytes()),
            length: 1 + g.below(u64::from(u32::MAX)) as u32,
        };
        ChunkList { average_bytes: self.next() as u32, chunks: self.many(20, chunk) }
    }
}
