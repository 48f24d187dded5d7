//! The world: devices, links and what is going to happen, in order of time.
//!
//! Everything that takes time is a [`Happening`] with a moment of its own. Nothing happens but by taking the earliest
//! one, so a seed gives the same history every time.

use std::collections::{BTreeMap, BTreeSet};

use file_sync_core::engine::{Commit, Config, Effect, Engine, Event, Mode};
use file_sync_core::message::{Member, Message};
use file_sync_core::version::{DeviceId, DirectoryId, Signature};

use crate::device::{Device, Durable};
use crate::disk::Disk;
use crate::oracle::Oracle;
use crate::random::Random;
use crate::work::Task;

/// How long the index waits before it tries a commit again.
const COMMIT_RETRY_US: u64 = 2_000_000;

/// How adverse a world is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Longest time that a piece of disk work, or its report, takes (microseconds).
    pub work_us_max: u64,
    /// Longest time that a message takes (microseconds).
    pub link_us_max: u64,
    /// Of 100 hints of the watcher, how many are lost.
    pub lost_hints_percent: u64,
    /// Of 100 hints of the watcher, how many come as "events were lost".
    pub overflows_percent: u64,
    /// Of 100 fetches, how many fail.
    pub failed_fetches_percent: u64,
    /// Of 100 ops that meet a user's edit, after how many the user is too quick for it to be put back at its name.
    pub rescues_percent: u64,
    /// Keep a trace.
    pub is_traced: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            work_us_max: 3_000,
            link_us_max: 5_000,
            lost_hints_percent: 0,
            overflows_percent: 0,
            failed_fetches_percent: 0,
            rescues_percent: 0,
            is_traced: false,
        }
    }
}

/// What has been counted.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Events given to engines.
    pub n_events: u64,
    /// Engines dropped.
    pub n_crashes: u64,
    /// Links cut.
    pub n_cuts: u64,
    /// Of the crashes, those by power cut.
    pub n_power_cuts: u64,
    /// Users' acts.
    pub n_acts: u64,
    /// Messages that a cut or a crash swallowed.
    pub n_lost_messages: u64,
    /// Hints of the watcher that were lost, or came as "events were lost".
    pub n_lost_hints: u64,
    /// Fetches that failed.
    pub n_failed_fetches: u64,
    /// Times that a disk was full.
    pub n_full_disks: u64,
    /// Times that a root was not there.
    pub n_lost_roots: u64,
    /// Ops that met something else than expected.
    pub n_surprises: u64,
    /// Of those, how many could not put a user's bytes back at their name.
    pub n_rescues: u64,
    /// Homes restored from an older copy.
    pub n_restored_homes: u64,
    /// Members that left, or lost their home, and joined again.
    pub n_rejoins: u64,
    /// Ops by name.
    pub ops: BTreeMap<&'static str, u64>,
    /// Commits.
    pub n_commits: u64,
    /// Registers sent.
    pub n_entries: u64,
    /// Contents asked for.
    pub n_fetches: u64,
    /// Files hashed.
    pub n_hashes: u64,
}

impl Stats {
    /// Adds another world's counts, for a sum over seeds.
    pub fn add(&mut self, other: &Stats) {
        let both = [
            (&mut self.n_events, other.n_events),
            (&mut self.n_crashes, other.n_crashes),
            (&mut self.n_cuts, other.n_cuts),
            (&mut self.n_power_cuts, other.n_power_cuts),
            (&mut self.n_acts, other.n_acts),
            (&mut self.n_lost_messages, other.n_lost_messages),
            (&mut self.n_lost_hints, other.n_lost_hints),
            (&mut self.n_failed_fetches, other.n_failed_fetches),
            (&mut self.n_full_disks, other.n_full_disks),
            (&mut self.n_lost_roots, other.n_lost_roots),
            (&mut self.n_surprises, other.n_surprises),
            (&mut self.n_rescues, other.n_rescues),
            (&mut self.n_restored_homes, other.n_restored_homes),
            (&mut self.n_rejoins, other.n_rejoins),
            (&mut self.n_commits, other.n_commits),
            (&mut self.n_entries, other.n_entries),
            (&mut self.n_fetches, other.n_fetches),
            (&mut self.n_hashes, other.n_hashes),
        ];
        both.into_iter().for_each(|(sum, count)| *sum += count);
        other.ops.iter().for_each(|(name, count)| *self.ops.entry(name).or_default() += count);
    }

    /// Ops of all kinds.
    pub fn n_ops(&self) -> u64 {
        self.ops.values().sum()
    }
}

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    Deliver { device: usize, life: u64, event: Event },
    Lane { device: usize, life: u64 },
    Work { device: usize, life: u64, task: Task },
    Arrive { from: usize, to: usize, connection: u64, message: Message },
    Durable { device: usize, life: u64, commit: Box<Commit> },
    Tick { device: usize, life: u64 },
    Up { side: usize, other: usize, connection: u64 },
    Down { side: usize, other: usize, connection: u64 },
    Restart { device: usize },
    Prove { device: usize },
}

#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) is_up: bool,
    connection: u64,
    /// Which connection each side, the lower one first, believes in.
    told: [Option<u64>; 2],
    arrivals: [u64; 2],
}

/// Everything.
#[derive(Debug)]
pub struct World {
    /// Chance.
    pub random: Random,
    /// Microseconds since the beginning.
    pub now_us: u64,
    /// The devices.
    pub devices: Vec<Device>,
    /// How adverse it is.
    pub options: Options,
    /// What has been counted.
    pub stats: Stats,
    /// What ought to be.
    pub oracle: Oracle,
    /// What happened, if wanted.
    pub trace: Vec<String>,
    pub(crate) links: BTreeMap<(usize, usize), Link>,
    pub(crate) happenings: BTreeMap<(u64, u64), Happening>,
    n_scheduled: u64,
    n_connections: u64,
}

impl World {
    /// Makes devices with empty disks, all members, none linked.
    pub fn new(seed: u64, modes: &[Mode], options: Options) -> World {
        let mut world = World {
            random: Random::new(seed),
            now_us: 1_000_000,
            devices: Vec::new(),
            options,
            stats: Stats::default(),
            oracle: Oracle::default(),
            trace: Vec::new(),
            links: BTreeMap::new(),
            happenings: BTreeMap::new(),
            n_scheduled: 0,
            n_connections: 0,
        };
        let id = |index: usize| DeviceId([(index as u8 + 1) * 0x11; 32]);
        let members: BTreeMap<DeviceId, Member> = (0..modes.len())
            .map(|index| (id(index), Member { number: 1, active: true, key: [index as u8; 32] }))
            .collect();
        for (index, mode) in modes.iter().enumerate() {
            let counters = file_sync_core::engine::Counters {
                index_id: world.random.bits(),
                epoch: world.random.bits(),
                ..Default::default()
            };
            let config = Config {
                directory: DirectoryId([7; 16]),
                device: id(index),
                mode: *mode,
                only_author: None,
                time_step_ns: 1,
                doubted: false,
            };
            world.devices.push(Device {
                id: id(index),
                config,
                engine: None,
                life: 0,
                disk: Disk { step_ns: 1, renames_change_ctime: true, ..Disk::default() },
                durable: Durable { members: members.clone(), counters, ..Durable::default() },
                wall_offset_seconds: 0,
                lane: Default::default(),
                is_lane_running: false,
                report_at_us: 0,
                tick_at_us: None,
                is_paused: false,
                is_root_lost: false,
                is_root_told_lost: false,
                is_away: false,
                backup: None,
                waits_done: Vec::new(),
                checkpoints: None,
            });
        }
        world
    }

    /// Starts a device's engine from what is durable.
    pub fn start(&mut self, device: usize) {
        let now_us = self.now_us;
        let machine = &mut self.devices[device];
        machine.life += 1;
        let now = machine.now(now_us);
        machine.list_kept(now.wall);
        let engine = Engine::new(machine.config.clone(), machine.durable.stored(), machine.is_paused, now);
        machine.config.doubted = false;
        machine.is_root_told_lost = false;
        machine.engine = Some(engine);
        self.note(|| format!("{} starts", name(device)));
        self.step(device, Event::Tick);
        let others: Vec<usize> = (0..self.devices.len()).filter(|other| *other != device).collect();
        for other in others {
            if self.links.get(&pair(device, other)).is_some_and(|link| link.is_up) {
                self.cut(device, other);
                self.connect(device, other);
            }
        }
    }

    /// Drops a device's engine, and all that was under way in it.
    pub fn crash(&mut self, device: usize) {
        let machine = &mut self.devices[device];
        if machine.engine.take().is_none() {
            return;
        }
        machine.life += 1;
        machine.lane.clear();
        machine.is_lane_running = false;
        machine.tick_at_us = None;
        self.stats.n_crashes += 1;
        let life = machine.life - 1;
        // Neither what was not durable then nor what is done until the restart was seen.
        self.oracle.crashed(device, life);
        self.oracle.crashed(device, life + 1);
        self.note(|| format!("{} crashes", name(device)));
        for other in 0..self.devices.len() {
            let Some(link) = self.links.get_mut(&pair(device, other)).filter(|_| other != device) else {
                continue;
            };
            link.told[side(device, other)] = None;
            if link.is_up {
                self.n_connections += 1;
                let link = self.links.get_mut(&pair(device, other)).expect("it is there");
                link.connection = self.n_connections;
                let connection = link.connection;
                self.after(10_000, Happening::Down { side: other, other: device, connection });
            }
        }
    }

    /// Links two devices.
    pub fn connect(&mut self, one: usize, two: usize) {
        self.n_connections += 1;
        let connection = self.n_connections;
        let link = self.links.entry(pair(one, two)).or_default();
        (link.is_up, link.connection) = (true, connection);
        self.after(20_000, Happening::Up { side: one, other: two, connection });
        self.after(20_000, Happening::Up { side: two, other: one, connection });
    }

    /// Cuts a link.
    pub fn cut(&mut self, one: usize, two: usize) {
        self.n_connections += 1;
        let connection = self.n_connections;
        let Some(link) = self.links.get_mut(&pair(one, two)).filter(|link| link.is_up) else { return };
        (link.is_up, link.connection) = (false, connection);
        self.stats.n_cuts += 1;
        self.note(|| format!("link {}-{} is cut", name(one), name(two)));
        self.after(20_000, Happening::Down { side: one, other: two, connection });
        self.after(20_000, Happening::Down { side: two, other: one, connection });
    }

    /// Pauses a device's engine, or lets it go on.
    pub fn set_paused(&mut self, device: usize, paused: bool) {
        self.note(|| format!("{} paused: {paused}", name(device)));
        self.devices[device].is_paused = paused;
        self.with_engine(device, |engine, now| engine.set_paused(now, paused));
    }

    /// Has a device look at everything.
    pub fn rescan(&mut self, device: usize) {
        self.with_engine(device, |engine, now| engine.rescan(now));
    }

    /// Starts a wait; its id shows among those done once it is.
    pub fn wait(&mut self, device: usize, id: u64) {
        self.with_engine(device, |engine, now| engine.wait(now, id));
    }

    /// True if a wait has ended well.
    pub fn is_wait_done(&self, device: usize, id: u64) -> bool {
        self.devices[device].waits_done.contains(&id)
    }

    /// Takes the earliest happening; false if there is none before `until_us`.
    pub fn advance(&mut self, until_us: u64) -> bool {
        let Some((at, _)) = self.happenings.first_key_value().map(|(key, _)| *key) else {
            self.now_us = until_us.max(self.now_us);
            return false;
        };
        if at > until_us {
            self.now_us = until_us.max(self.now_us);
            return false;
        }
        let (_, happening) = self.happenings.pop_first().expect("there is a first");
        self.now_us = self.now_us.max(at);
        self.happen(happening);
        true
    }

    /// Lets so many microseconds pass.
    pub fn run_us(&mut self, span_us: u64) {
        let until = self.now_us + span_us;
        while self.advance(until) {}
    }

    /// True if nothing is going to happen but that engines look at their clocks.
    pub fn is_still(&self) -> bool {
        self.happenings.values().all(|happening| matches!(happening, Happening::Tick { .. }))
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver { device, life, event } if self.is_alive(device, life) => {
                self.step(device, event)
            }
            Happening::Lane { device, life } if self.is_alive(device, life) => self.run_lane(device),
            Happening::Work { device, life, task } if self.is_alive(device, life) => {
                self.run_task(device, task)
            }
            Happening::Arrive { from, to, connection, message } => self.arrive(from, to, connection, message),
            Happening::Durable { device, life, commit }
                if self.is_alive(device, life) && self.devices[device].disk.is_full =>
            {
                self.at(self.now_us + COMMIT_RETRY_US, Happening::Durable { device, life, commit });
            }
            Happening::Durable { device, life, commit } if self.is_alive(device, life) => {
                let sequence = commit.counters.sequence;
                self.devices[device].durable.apply(*commit);
                self.deliver(device, Event::Committed { sequence });
            }
            Happening::Tick { device, life }
                if self.is_alive(device, life) && self.devices[device].tick_at_us == Some(self.now_us) =>
            {
                self.devices[device].tick_at_us = None;
                self.step(device, Event::Tick);
            }
            Happening::Up { side, other, connection } => self.tell_up(side, other, connection),
            Happening::Down { side, other, connection } => self.tell_down(side, other, connection),
            Happening::Prove { device } => self.prove_root(device),
            Happening::Restart { device } if self.may_start(device) => self.start(device),
            _ => {}
        }
    }

    fn tell_up(&mut self, own: usize, other: usize, connection: u64) {
        let is_alive = self.devices[own].engine.is_some() && self.devices[other].engine.is_some();
        let Some(link) = self.links.get_mut(&pair(own, other)) else { return };
        if !is_alive || !link.is_up || link.connection != connection {
            return;
        }
        let told = &mut link.told[side(own, other)];
        if *told == Some(connection) {
            return;
        }
        let was_told = told.replace(connection).is_some();
        let device = self.devices[other].id;
        if was_told {
            self.step(own, Event::PeerDown(device));
        }
        self.step(own, Event::PeerUp(device));
    }

    fn tell_down(&mut self, own: usize, other: usize, connection: u64) {
        let Some(link) = self.links.get_mut(&pair(own, other)) else { return };
        if link.told[side(own, other)].is_some_and(|told| told < connection) {
            link.told[side(own, other)] = None;
            let device = self.devices[other].id;
            self.step(own, Event::PeerDown(device));
        }
    }

    fn arrive(&mut self, from: usize, to: usize, connection: u64, message: Message) {
        self.tell_up(to, from, connection);
        let is_open = self
            .links
            .get(&pair(from, to))
            .is_some_and(|link| link.is_up && link.told[side(to, from)] == Some(connection));
        if is_open {
            let from = self.devices[from].id;
            self.step(to, Event::Message { from, message });
        } else {
            self.stats.n_lost_messages += 1;
        }
    }

    /// True if `one` believes that it is linked to `two`, and it is.
    pub(crate) fn is_linked(&self, one: usize, two: usize) -> bool {
        self.links
            .get(&pair(one, two))
            .is_some_and(|link| link.is_up && link.told[side(one, two)] == Some(link.connection))
    }

    fn is_alive(&self, device: usize, life: u64) -> bool {
        self.devices[device].life == life && self.devices[device].engine.is_some()
    }

    pub(crate) fn with_engine(
        &mut self,
        device: usize,
        call: impl FnOnce(&mut Engine, file_sync_core::engine::Now) -> Vec<Effect>,
    ) {
        let now = self.devices[device].now(self.now_us);
        if let Some(engine) = &mut self.devices[device].engine {
            let effects = call(engine, now);
            self.follow(device, effects);
        }
    }

    /// Gives an engine an event.
    pub fn step(&mut self, device: usize, event: Event) {
        if self.devices[device].engine.is_none() {
            return;
        }
        if !matches!(event, Event::Tick) {
            self.note(|| format!("{} <- {}", name(device), short(&event)));
        }
        self.stats.n_events += 1;
        self.with_engine(device, |engine, now| engine.step(now, event));
    }

    /// Has effects carried out, signs, commits, and sets the clock.
    fn follow(&mut self, device: usize, effects: Vec<Effect>) {
        for effect in effects {
            self.note(|| format!("{}    -> {}", name(device), short(&effect)));
            self.begin(device, effect);
        }
        let machine = &mut self.devices[device];
        let Some(engine) = &mut machine.engine else { return };
        for (path, _, version) in engine.take_unsigned() {
            engine.sign(&path, &version.dot, Signature(Some([version.dot.counter as u8; 64])));
        }
        let life = machine.life;
        let commit = engine.take_commit();
        let due = engine.deadline().map(|ms| (ms * 1_000).max(self.now_us + 500));
        if let Some(due) = due
            && machine.tick_at_us.is_none_or(|at| due < at)
        {
            machine.tick_at_us = Some(due);
            self.at(due, Happening::Tick { device, life });
        }
        if let Some(commit) = commit {
            self.stats.n_commits += 1;
            let commit = Box::new(commit);
            self.after(self.options.work_us_max, Happening::Durable { device, life, commit });
        }
    }

    /// Puts a message on its way.
    pub(crate) fn send(&mut self, from: usize, to: DeviceId, message: Message) {
        let to = self.index_of(to);
        if let Message::Entries(entries) = &message {
            self.stats.n_entries += entries.entries.len() as u64;
            self.oracle.announced(&entries.entries);
        }
        let delay = 1 + self.random.below(self.options.link_us_max.max(1));
        let now_us = self.now_us;
        let Some(link) = self.links.get_mut(&pair(from, to)) else { return };
        let Some(connection) = link.told[side(from, to)] else { return };
        let arrival = &mut link.arrivals[side(from, to)];
        *arrival = (now_us + delay).max(*arrival + 1);
        let at = *arrival;
        self.at(at, Happening::Arrive { from, to, connection, message });
    }

    /// Gives an engine an event after a while.
    pub(crate) fn deliver(&mut self, device: usize, event: Event) {
        let life = self.devices[device].life;
        self.after(self.options.work_us_max, Happening::Deliver { device, life, event });
    }

    /// Which device has this id.
    pub(crate) fn index_of(&self, id: DeviceId) -> usize {
        self.devices.iter().position(|device| device.id == id).expect("only devices of this world are named")
    }

    pub(crate) fn after(&mut self, most_us: u64, happening: Happening) {
        let delay = self.random.below(most_us.max(1));
        self.at(self.now_us + delay, happening);
    }

    pub(crate) fn at(&mut self, at_us: u64, happening: Happening) {
        self.n_scheduled += 1;
        self.happenings.insert((at_us, self.n_scheduled), happening);
    }

    /// Restarts a device later.
    pub fn restart_after(&mut self, device: usize, most_us: u64) {
        self.after(most_us, Happening::Restart { device });
    }

    /// Notes a line, if a trace is wanted.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if self.options.is_traced {
            self.trace.push(format!("{:>10.3} {}", self.now_us as f64 / 1e3, line()));
        }
    }

    /// Which devices are linked to each other, directly or not, all counted.
    pub fn linked_pairs(&self) -> BTreeSet<(usize, usize)> {
        self.links.iter().filter(|(_, link)| link.is_up).map(|(pair, _)| *pair).collect()
    }
}

/// A device's name: A, B, …
pub(crate) fn name(device: usize) -> char {
    char::from(b'A' + device as u8)
}

pub(crate) fn pair(one: usize, two: usize) -> (usize, usize) {
    (one.min(two), one.max(two))
}

fn side(own: usize, other: usize) -> usize {
    usize::from(own > other)
}

fn short(item: &impl std::fmt::Debug) -> String {
    let mut text = format!("{item:?}");
    while let Some(start) = text.find("Stat { device: 1, inode: ") {
        let inode = start + "Stat { device: 1, inode: ".len();
        let Some(inode_end) = text[inode..].find(',').map(|at| inode + at) else { break };
        let Some(end) = text[inode..].find("} }").map(|at| inode + at + 3) else { break };
        let number = text[inode..inode_end].to_owned();
        text.replace_range(start..end, &format!("#{number}"));
    }
    for noise in ["File { content: ", "Record { content: ", ", signature: signed", ", truth: ()"] {
        text = text.replace(noise, "");
    }
    match text.char_indices().nth(2_000) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
