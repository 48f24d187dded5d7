//! Histories as text: what the users of a few devices did, and who told whom.
//!
//! `p0 write f` · `p0 same f` · `p0 touch f` · `p0 chmod f` · `p0 link f` · `p0 mkdir d` · `p0 rm d` · `p0 mv d e` · `p0 > p1`.
//! `f~0` is the first conflict copy of f on that disk. What cannot be done is not done.

use std::fmt;

use file_sync_core::path::SyncPath;
use file_sync_core::version::{Time, Value};

use crate::device::{Device, Disk, file, path};
use crate::oracle::{Events, Oracle, family, is_copy};

/// What a user does.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Deed {
    Write(String),
    /// Writes the same bytes, whoever does.
    Same(String),
    Touch(String),
    Chmod(String),
    Link(String),
    Mkdir(String),
    Remove(String),
    Rename(String, String),
}

/// One step of a history.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    Act(usize, Deed),
    /// From, to, and how the entries are sent.
    Deliver(usize, usize, Sending),
}

/// How a delivery's entries are sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sending {
    InOrder,
    Reversed,
    /// Shuffled by a seed.
    Shuffled(u64),
    /// Shuffled by a seed, and only so many.
    Part(u64, usize),
    /// In order, to a device whose disk follows later: its user sees nothing of it before the next delivery or act.
    Unseen,
}

/// How the times of users' writes lie.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ranks {
    Rising,
    Falling,
    Equal,
    /// One device's are newer than all others'.
    Favour(usize),
    /// The first acts, whoever does them, are older and newer than each other as these say; the start lies between
    /// the oldest and the others.
    Order {
        n_before: u32,
        order: [u32; 3],
    },
}

/// Devices, and what ought to be on them.
#[derive(Clone)]
pub struct World {
    pub devices: Vec<Device>,
    /// What each device's user had seen the outcome of.
    pub known: Vec<Events>,
    /// What each device has heard of, seen or not.
    pub heard: Vec<Events>,
    n_acts: Vec<u32>,
    pub oracle: Oracle,
    pub ranks: Ranks,
}

impl World {
    pub fn new(n_devices: u8, ranks: Ranks) -> World {
        World {
            devices: (0..n_devices).map(Device::new).collect(),
            known: vec![0; usize::from(n_devices)],
            heard: vec![0; usize::from(n_devices)],
            n_acts: vec![0; usize::from(n_devices)],
            oracle: Oracle::default(),
            ranks,
        }
    }

    /// Does a step; false if it changed nothing.
    pub fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Act(device, deed) => self.act(*device, deed),
            Step::Deliver(from, to, sending) => self.deliver(*from, *to, *sending),
        }
    }

    fn rank(&self, device: usize) -> Time {
        let (local, device) = (i64::from(self.n_acts[device]), device as i64);
        let seconds = match self.ranks {
            Ranks::Rising => 1000 + 10 * local + device,
            Ranks::Falling => 1000 - 10 * local - device,
            Ranks::Equal => 1000,
            Ranks::Favour(favoured) => 1000 + local + if favoured as i64 == device { 1000 } else { 0 },
            Ranks::Order { n_before, order } => match self.n_acts.iter().sum::<u32>().checked_sub(n_before) {
                Some(index) => 950 + 100 * order.get(index as usize).map_or(3, |rank| i64::from(*rank)),
                None => 1000,
            },
        };
        Time { seconds, nanoseconds: 0 }
    }

    fn act(&mut self, device: usize, deed: &Deed) -> bool {
        let token = format!("p{device}.{}", self.n_acts[device]);
        let rank = self.rank(device);
        let Some(wanted) = wanted(&self.devices[device].disk, deed, &token, rank) else { return false };
        if wanted == self.devices[device].disk || self.n_acts[device] == 32 {
            return false;
        }
        let event: Events = 1 << (device as u32 * 32 + self.n_acts[device]);
        self.n_acts[device] += 1;
        let seen = self.devices[device].disk.clone();
        let changes = self.devices[device].change(&wanted, rank);
        self.oracle.act(&seen, &changes, event, self.known[device], self.heard[device]);
        self.heard[device] |= event;
        self.known[device] = self.heard[device];
        true
    }

    fn deliver(&mut self, from: usize, to: usize, sending: Sending) -> bool {
        let mut entries = self.devices[from].entries();
        match sending {
            Sending::InOrder | Sending::Unseen => {}
            Sending::Reversed => entries.reverse(),
            Sending::Shuffled(seed) => shuffle(&mut entries, seed),
            Sending::Part(seed, n_entries) => {
                shuffle(&mut entries, seed);
                self.oracle.is_lenient |= n_entries < entries.len();
                entries.truncate(n_entries);
            }
        }
        self.heard[to] |= self.heard[from];
        if sending == Sending::Unseen {
            return self.devices[to].hear(&entries);
        }
        self.known[to] = self.heard[to];
        self.devices[to].receive(&entries)
    }

    /// Tells everybody everything, and checks what they then have.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn settle_and_check(mut self) -> Result<World, String> {
        let n_devices = self.devices.len();
        // All have come to the same by other ways: which of them is derived anew changes from history to history.
        let n_heard: u32 = self.heard.iter().map(|events| events.count_ones()).sum();
        let derived_anew = n_heard as usize % n_devices;
        let there = (1..n_devices).map(|to| (to - 1, to));
        let back = (1..n_devices).rev().map(|from| (from, from - 1));
        there.chain(back).for_each(|(from, to)| {
            self.deliver(from, to, Sending::InOrder);
        });
        let first = &self.devices[0];
        let entries = first.entries();
        for device in &self.devices[1..] {
            if device.disk != first.disk {
                return Err(format!("disks differ: {:?} {:?}", first.disk, device.disk));
            }
            if device.entries() != entries {
                return Err("registers differ".to_owned());
            }
        }
        self.devices[derived_anew].check_derived()?;
        self.oracle.check(&first.disk)?;
        Ok(self)
    }
}

/// The disk after a deed, if it can be done.
fn wanted(disk: &Disk, deed: &Deed, token: &str, mtime: Time) -> Option<Disk> {
    let mut wanted = disk.clone();
    match deed {
        Deed::Write(name) => put(&mut wanted, &find(disk, name)?, file(token, mtime)),
        Deed::Same(name) => put(&mut wanted, &find(disk, name)?, file("same", mtime)),
        Deed::Link(name) => {
            put(&mut wanted, &find(disk, name)?, Value::Symlink { target: token.as_bytes().into() })
        }
        Deed::Mkdir(name) => {
            let path = find(disk, name)?;
            if !matches!(disk.get(&path), Some(Value::Directory { .. })) {
                put(&mut wanted, &path, Value::Directory { mode: 0o755 });
            }
        }
        Deed::Touch(name) => match wanted.get_mut(&find(disk, name)?)? {
            Value::File { mtime: old, .. } => *old = Time { seconds: mtime.seconds + 3, nanoseconds: 7 },
            _ => return None,
        },
        Deed::Chmod(name) => match wanted.get_mut(&find(disk, name)?)? {
            Value::File { mode, .. } | Value::Directory { mode } => {
                *mode = if *mode == 0o700 { 0o750 } else { 0o700 }
            }
            _ => return None,
        },
        Deed::Remove(name) => {
            let path = find(disk, name)?;
            wanted.retain(|below, _| *below != path && !path.is_ancestor_of(below));
        }
        Deed::Rename(from, to) => {
            let (from, to) = (find(disk, from)?, find(disk, to)?);
            let is_directory = |path| matches!(disk.get(path), Some(Value::Directory { .. }));
            if from == to || from.is_ancestor_of(&to) || to.is_ancestor_of(&from) || is_directory(&to) {
                return None;
            }
            let value = wanted.remove(&from)?;
            put(&mut wanted, &to, value);
            let below: Vec<SyncPath> =
                wanted.keys().filter(|path| from.is_ancestor_of(path)).cloned().collect();
            for path in below {
                let value = wanted.remove(&path)?;
                wanted.insert(from.rebase(&path, &to)?, value);
            }
        }
    }
    Some(wanted)
}

/// Puts a value in place of whatever was there, and directories above it.
fn put(disk: &mut Disk, path: &SyncPath, value: Value) {
    for parent in path.ancestors().filter(|parent| !parent.is_root()) {
        if !matches!(disk.get(&parent), Some(Value::Directory { .. })) {
            disk.insert(parent, Value::Directory { mode: 0o755 });
        }
    }
    disk.retain(|below, _| !path.is_ancestor_of(below));
    disk.insert(path.clone(), value);
}

/// The path that a script's name means on a disk: `f~0` is the first copy of f.
pub fn find(disk: &Disk, name: &str) -> Option<SyncPath> {
    let Some((name, number)) = name.split_once('~') else { return Some(path(name)) };
    let origin = path(name);
    let mut copies = disk.keys().filter(|copy| is_copy(copy) && family(copy) == origin);
    copies.nth(number.parse().expect("a number")).cloned()
}

/// Deterministic shuffling.
pub fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut random = Random(seed);
    for index in (1..items.len()).rev() {
        items.swap(index, random.below(index + 1));
    }
}

/// A small generator of numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// Plays a history and checks what comes of it.
///
/// # Errors
/// Says what is wrong.
pub fn run(n_devices: u8, ranks: Ranks, steps: &[Step]) -> Result<World, String> {
    let mut world = World::new(n_devices, ranks);
    for step in steps {
        world.step(step);
    }
    world.settle_and_check()
}

/// Drops steps from a history that fails, as long as it still fails; returns it as text with what is wrong.
pub fn shrink(n_devices: u8, ranks: Ranks, mut steps: Vec<Step>) -> String {
    let mut index = 0;
    while index < steps.len() {
        let mut fewer = steps.clone();
        fewer.remove(index);
        if run(n_devices, ranks, &fewer).is_err() {
            steps = fewer;
            index = 0;
        } else {
            index += 1;
        }
    }
    let reason = run(n_devices, ranks, &steps).err().unwrap_or_default();
    let text: Vec<String> = steps.iter().map(Step::to_string).collect();
    format!("{ranks:?} ranks:\n{}\n=> {reason}", text.join("\n"))
}

/// Reads a script: a step a line.
pub fn parse(script: &str) -> Vec<Step> {
    script.lines().map(str::trim).filter(|line| !line.is_empty()).map(parse_step).collect()
}

fn parse_step(line: &str) -> Step {
    let device = |word: &str| word.strip_prefix('p').and_then(|n| n.parse().ok()).expect("a device: p0");
    let words: Vec<&str> = line.split_whitespace().collect();
    let deed = match words[1..] {
        [">", to] => return Step::Deliver(device(words[0]), device(to), Sending::InOrder),
        ["<unseen>", to] => return Step::Deliver(device(words[0]), device(to), Sending::Unseen),
        ["<reversed>", to] => return Step::Deliver(device(words[0]), device(to), Sending::Reversed),
        ["<shuffled>", to, seed] => {
            return Step::Deliver(
                device(words[0]),
                device(to),
                Sending::Shuffled(seed.parse().expect("a seed")),
            );
        }
        ["<part>", to, seed, n] => {
            let (seed, n) = (seed.parse().expect("a seed"), n.parse().expect("a number"));
            return Step::Deliver(device(words[0]), device(to), Sending::Part(seed, n));
        }
        ["write", name] => Deed::Write(name.to_owned()),
        ["same", name] => Deed::Same(name.to_owned()),
        ["touch", name] => Deed::Touch(name.to_owned()),
        ["chmod", name] => Deed::Chmod(name.to_owned()),
        ["link", name] => Deed::Link(name.to_owned()),
        ["mkdir", name] => Deed::Mkdir(name.to_owned()),
        ["rm", name] => Deed::Remove(name.to_owned()),
        ["mv", from, to] => Deed::Rename(from.to_owned(), to.to_owned()),
        _ => panic!("no step: {line}"),
    };
    Step::Act(device(words[0]), deed)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Deliver(from, to, Sending::InOrder) => write!(f, "p{from} > p{to}"),
            Step::Deliver(from, to, Sending::Unseen) => write!(f, "p{from} <unseen> p{to}"),
            Step::Deliver(from, to, Sending::Reversed) => write!(f, "p{from} <reversed> p{to}"),
            Step::Deliver(from, to, Sending::Shuffled(seed)) => write!(f, "p{from} <shuffled> p{to} {seed}"),
            Step::Deliver(from, to, Sending::Part(seed, n)) => write!(f, "p{from} <part> p{to} {seed} {n}"),
            Step::Act(device, deed) => {
                write!(f, "p{device} ")?;
                match deed {
                    Deed::Write(name) => write!(f, "write {name}"),
                    Deed::Same(name) => write!(f, "same {name}"),
                    Deed::Touch(name) => write!(f, "touch {name}"),
                    Deed::Chmod(name) => write!(f, "chmod {name}"),
                    Deed::Link(name) => write!(f, "link {name}"),
                    Deed::Mkdir(name) => write!(f, "mkdir {name}"),
                    Deed::Remove(name) => write!(f, "rm {name}"),
                    Deed::Rename(from, to) => write!(f, "mv {from} {to}"),
                }
            }
        }
    }
}
