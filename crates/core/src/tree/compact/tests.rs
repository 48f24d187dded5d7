//! Whatever a node holds, it is the same when it is decoded again. The simulator, in which every node is compared when it is
//! encoded, has those that histories lead to; here are those that are as large, small or odd as the types allow.

use super::*;
use crate::path::SyncPath;
use crate::record::Stat;
use crate::version::{Changed, DeviceId, Dot, Heard, Signature, Version};

/// Numbers by chance, many of them at the ends.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 11 ^ self.0 << 40
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 8) % end
    }

    fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => self.next(),
            bits => self.next() >> (16 * bits - 40).min(63),
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }

    /// So many actors that not all of them have numbers.
    fn dot(&mut self) -> Dot {
        let which = if self.below(8) == 0 { self.below(2 * ACTORS_MAX as u64) } else { self.below(3) };
        let mut device = [0; 32];
        device[..8].copy_from_slice(&which.to_be_bytes());
        Dot { actor: Actor { device: DeviceId(device), epoch: which }, counter: self.number() }
    }

    fn dots(&mut self) -> Vec<Dot> {
        (0..self.below(4)).map(|_| self.dot()).collect()
    }

    fn time(&mut self) -> Time {
        let seconds = self.number() as i64;
        Time { seconds, nanoseconds: self.number() as u32 }
    }

    fn hash(&mut self) -> ContentHash {
        let which = self.below(3) as u8;
        if which == 0 { ContentHash(self.bytes()) } else { ContentHash([which; 32]) }
    }

    fn content(&mut self) -> Content {
        match self.below(4) {
            0 => Content::Absent,
            1 => Content::Directory,
            2 => Content::File(self.hash()),
            _ => Content::Symlink(self.hash()),
        }
    }

    fn value(&mut self) -> Value {
        let mode = self.number() as u16;
        match self.below(6) {
            0 => Value::ABSENT,
            1 => Value::Absent { directory_mode: Some(mode) },
            2 => Value::Directory { mode },
            3 => Value::Symlink { target: self.bytes::<7>().into() },
            _ => Value::File { content: self.hash(), length: self.number(), mode, mtime: self.time() },
        }
    }

    fn path(&mut self) -> SyncPath {
        let name = format!("d{}/f{}", self.below(9), self.next());
        SyncPath::parse(name.as_bytes()).expect("a valid path")
    }

    fn context(&mut self) -> Context {
        let highest = self.dots().into_iter().map(|dot| (dot.actor, dot.counter)).collect();
        Context::from_parts(highest, self.dots())
    }

    fn version(&mut self) -> Version {
        let value = self.value();
        let is_ranked_by_mtime = self.below(2) == 0;
        let is = |chance: &mut Chance| chance.below(2) == 0;
        let changed = Changed { content: is(self), mode: is(self), mtime: is(self) };
        Version {
            dot: self.dot(),
            rank: value.mtime().filter(|_| is_ranked_by_mtime).unwrap_or_else(|| self.time()),
            value,
            replaced: self.dots(),
            heard: (self.below(4) == 0)
                .then(|| Box::new(Heard { gone: self.context(), beside: self.dots() })),
            base: self.content(),
            changed,
            born_at: (self.below(4) == 0).then(|| self.path()),
            signature: Signature((self.below(4) != 0).then(|| self.bytes())),
        }
    }

    fn register(&mut self) -> Register {
        let n_versions = [0, 1, 1, 1, 1, 2, 5][self.below(7) as usize];
        let versions: Vec<Version> = (0..n_versions).map(|_| self.version()).collect();
        if self.below(2) == 0 {
            return Register::from_parts(versions, Context::default(), Vec::new());
        }
        let n_settled = self.below(3);
        let settled =
            |_| Settled { version: self.version(), copy: (self.below(3) != 0).then(|| self.path()) };
        let settled = (0..n_settled).map(settled).collect();
        Register::from_parts(versions, self.context(), settled)
    }

    fn record(&mut self, register: &Register) -> Record {
        let first = register.versions().first().map(|version| version.value.clone());
        let of_first = first.as_ref().filter(|_| self.below(2) == 0).map(Value::content);
        let content = of_first.unwrap_or_else(|| self.content());
        let (_, size, mode, mtime) = shared(first.as_ref());
        let shared_at_times = |chance: &mut Chance| chance.below(4) != 0;
        let stat = Stat {
            device: self.number(),
            inode: self.number(),
            size: size.filter(|_| shared_at_times(self)).unwrap_or_else(|| self.number()),
            mode: mode.filter(|_| shared_at_times(self)).unwrap_or_else(|| self.number() as u16),
            mtime: mtime.filter(|_| shared_at_times(self)).unwrap_or_else(|| self.time()),
            ctime: self.time(),
        };
        Record { content, stat }
    }

    fn node(&mut self) -> Node {
        let register = self.register();
        let record = (self.below(3) != 0).then(|| self.record(&register));
        let visible_children = if self.below(2) == 0 { 0 } else { self.number() as u32 };
        let (sequence, visible) = (self.number(), self.below(2) == 0);
        Node { register, record, sequence, visible, visible_children }
    }
}

#[test]
fn what_was_encoded_is_the_same_when_it_is_decoded() {
    let (mut chance, mut actors) = (Chance(1), Actors::default());
    let (mut n_plain, mut n_only, mut n_settled) = (0, 0, 0);
    for round in 0..100_000 {
        let mut node = chance.node();
        let mut bytes = encode(&node, &mut actors);
        assert!(is_faithful(&bytes, &node, &actors), "round {round}: {node:?}");
        n_plain += usize::from(is_encoded_plain(&bytes));
        n_only += usize::from(only_value(&bytes, &actors).is_some());
        n_settled += usize::from(!node.register.settled().is_empty());
        // Noted in the bytes themselves.
        let visible = chance.below(2) == 0;
        assert_eq!(set_visible(&mut bytes, visible), std::mem::replace(&mut node.visible, visible));
        assert!(is_faithful(&bytes, &node, &actors), "round {round}: {node:?}");
    }
    assert_eq!(actors.actors.len(), ACTORS_MAX, "some had no numbers");
    assert!(n_plain > 10_000 && n_only > 1_000 && n_settled > 1_000, "{n_plain} {n_only} {n_settled}");
}

/// Nearly every path is like this one, and a server may know a million of them.
#[test]
fn an_ordinary_file_takes_few_bytes() {
    let mut chance = Chance(1);
    let (hash, signature) = (ContentHash(chance.bytes()), Signature(Some(chance.bytes())));
    let mtime = Time { seconds: 1_800_000_000, nanoseconds: 123_456_789 };
    let value = Value::File { content: hash, length: 4096, mode: 0o644, mtime };
    let dot = Dot { counter: 1_000_000, ..chance.dot() };
    let (replaced, base, changed) = (Vec::new(), Content::Absent, Changed::ALL);
    let version =
        Version { dot, value, rank: mtime, replaced, heard: None, base, changed, born_at: None, signature };
    let register = Register::from_parts(vec![version], Context::default(), Vec::new());
    let ctime = Time { seconds: mtime.seconds + 90, nanoseconds: 987_654_321 };
    let stat = Stat { device: 259 << 32 | 2, inode: 7_654_321, size: 4096, mode: 0o644, mtime, ctime };
    let record = Some(Record { content: Content::File(hash), stat });
    let node = Node { register, record, sequence: 1_000_000, visible: true, visible_children: 0 };
    let n_bytes = encode(&node, &mut Actors::default()).len();
    assert!(n_bytes <= 136, "{n_bytes} bytes, of which 96 are hash and signature");
}
