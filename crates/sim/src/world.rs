//! The world: devices, links and what is going to happen, in order of time.
//!
//! Everything that takes time is a [`Happening`] with a moment of its own. Nothing happens but by taking the earliest
//! one, so a seed gives the same history every time.

use std::collections::BTreeMap;

use file_sync_core::engine::{Commit, Config, Damage, Effect, Engine, Event, HoldLimit, Incarnation, Mode};
use file_sync_core::message::{Member, Message};
use file_sync_core::path::SyncPath;
use file_sync_core::record::Record;
use file_sync_core::version::{ContentHash, DeviceId, DirectoryId, Signature};

use crate::announced::Announced;
use crate::device::{Device, Durable};
use crate::disk::{Body, Disk};
use crate::link::{Link, pair, side};
use crate::oracle::Oracle;
use crate::random::Random;
use crate::stats::Stats;
use crate::trace::short;
use crate::work::Task;

/// How long the index waits before it tries a commit again.
const COMMIT_RETRY_US: u64 = 2_000_000;
/// No history is that long, unless something goes round in circles.
const HAPPENINGS_MAX: u64 = 1_000_000;
/// How often kept versions are looked after.
const SWEEP_EVERY_US: u64 = 3_600_000_000;

/// How adverse a world is.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    /// Of 100 batches of changes, how many cannot be made durable: the engine ends, and is started anew.
    pub failed_syncs_percent: u64,
    /// Of 100 ops that are about to displace a user's file, before how many the user is quicker.
    pub rescues_percent: u64,
    /// Of 100 messages, how many come twice.
    pub doubled_messages_percent: u64,
    /// Of 100 messages, how many may overtake earlier ones.
    pub reordered_messages_percent: u64,
    /// Of 100 files written and not made durable, how many fall back in a power cut to older bytes, or to none.
    pub lost_bytes_percent: u64,
    /// Not 0: deletions of at least so many files, and more than half of all, are held.
    pub held_files_min: u64,
    /// Not 0: power is cut, so that it has to be noted what is durable when.
    pub cuts_power: u64,
    /// Not 0: what was deleted is forgotten as soon as all have followed.
    pub forgets: u64,
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
            failed_syncs_percent: 0,
            rescues_percent: 0,
            doubled_messages_percent: 0,
            reordered_messages_percent: 0,
            lost_bytes_percent: 0,
            held_files_min: 0,
            cuts_power: 0,
            forgets: 0,
            is_traced: false,
        }
    }
}

impl Options {
    /// What a script may set.
    pub const FIELDS: [&str; 13] = [
        "work",
        "link-delay",
        "lost-hints",
        "overflows",
        "failed-fetches",
        "failed-syncs",
        "rescues",
        "doubled-messages",
        "reordered-messages",
        "lost-bytes",
        "held-files",
        "cuts-power",
        "forgets",
    ];

    /// A field by its name in scripts.
    pub fn field(&mut self, name: &str) -> Option<&mut u64> {
        Some(match name {
            "work" => &mut self.work_us_max,
            "link-delay" => &mut self.link_us_max,
            "lost-hints" => &mut self.lost_hints_percent,
            "overflows" => &mut self.overflows_percent,
            "failed-fetches" => &mut self.failed_fetches_percent,
            "failed-syncs" => &mut self.failed_syncs_percent,
            "rescues" => &mut self.rescues_percent,
            "doubled-messages" => &mut self.doubled_messages_percent,
            "reordered-messages" => &mut self.reordered_messages_percent,
            "lost-bytes" => &mut self.lost_bytes_percent,
            "held-files" => &mut self.held_files_min,
            "cuts-power" => &mut self.cuts_power,
            "forgets" => &mut self.forgets,
            _ => return None,
        })
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
    Sweep { device: usize, life: u64 },
    Prove { device: usize },
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
    /// What went on without an end, if anything did.
    pub(crate) runs_hot: Option<String>,
    /// What has been counted.
    pub stats: Stats,
    /// What ought to be.
    pub oracle: Oracle,
    /// What was announced.
    pub announced: Announced,
    /// What happened, if wanted.
    pub trace: Vec<String>,
    pub(crate) links: BTreeMap<(usize, usize), Link>,
    pub(crate) happenings: BTreeMap<(u64, u64), Happening>,
    n_scheduled: u64,
    pub(crate) n_connections: u64,
    /// How often somebody left or joined.
    pub(crate) n_memberships: u64,
    pub(crate) n_quick_acts: u64,
}

/// So many deletions, and half of all, are held; none at 0.
fn hold_limit(held_files_min: u64) -> Option<HoldLimit> {
    (held_files_min > 0).then(|| HoldLimit { files: held_files_min - 1, percent: 50 })
}

impl World {
    /// Makes devices with empty disks, all members, none linked.
    pub fn new(seed: u64, modes: &[Mode], options: Options) -> World {
        let mut world = World {
            random: Random::new(seed),
            now_us: 1_000_000,
            devices: Vec::new(),
            options,
            runs_hot: None,
            stats: Stats::default(),
            oracle: Oracle::default(),
            announced: Announced::default(),
            trace: Vec::new(),
            links: BTreeMap::new(),
            happenings: BTreeMap::new(),
            n_scheduled: 0,
            n_connections: 0,
            n_memberships: 0,
            n_quick_acts: 0,
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
                may_have_fallen_back: false,
                hold: hold_limit(world.options.held_files_min),
                was_holding: false,
                is_strict: true,
                incarnations: Vec::new(),
            };
            world.devices.push(Device {
                id: id(index),
                config,
                engine: None,
                life: 0,
                disk: Disk { step_ns: 1, renames_change_ctime: true, ..Disk::default() },
                durable: Durable { members: members.clone(), counters, ..Durable::default() },
                wall_offset_seconds: 0,
                drift_ppm: 0,
                frozen_at_us: None,
                n_first_changes: 0,
                lane: Default::default(),
                is_lane_running: false,
                report_at_us: 0,
                tick_at_us: None,
                is_paused: false,
                is_root_lost: false,
                is_root_told_lost: false,
                is_put_back: false,
                is_other_home: false,
                is_away: false,
                backup: None,
                snapshot: None,
                is_same_server: false,
                may_have_fallen_back: false,
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
        let began = machine.durable.counters.sequence;
        if !std::mem::take(&mut machine.is_same_server) || machine.durable.incarnations.is_empty() {
            machine.durable.incarnations.push(Incarnation { number: machine.life, began });
        }
        machine.config.incarnations = machine.durable.incarnations.clone();
        machine.config.doubted = machine.durable.is_doubted && !machine.durable.first_scan_done;
        self.list_kept(device);
        let machine = &mut self.devices[device];
        let stored = machine.durable.stored();
        let engine = Engine::new(machine.config.clone(), stored, machine.is_paused, now);
        machine.may_have_fallen_back = std::mem::take(&mut machine.config.may_have_fallen_back);
        machine.is_root_told_lost = false;
        machine.engine = Some(engine);
        self.note(|| format!("{} starts", name(device)));
        self.step(device, Event::Tick);
        let life = self.devices[device].life;
        self.at(self.now_us + SWEEP_EVERY_US, Happening::Sweep { device, life });
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
        machine.is_same_server = false;
        if machine.engine.take().is_none() {
            return;
        }
        machine.life += 1;
        machine.lane.clear();
        machine.is_lane_running = false;
        machine.tick_at_us = None;
        self.stats.n_crashes += 1;
        let life = machine.life - 1;
        self.forget_unknown();
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

    /// Pauses a device's engine, or lets it go on.
    pub fn set_paused(&mut self, device: usize, paused: bool) {
        self.note(|| format!("{} paused: {paused}", name(device)));
        self.devices[device].is_paused = paused;
        self.with_engine(device, |engine, now| engine.set_paused(now, paused));
    }

    /// The user of a device lets deletions through that are held.
    pub fn approve(&mut self, device: usize) {
        self.note(|| format!("{} approves", name(device)));
        self.with_engine(device, |engine, now| engine.approve(now));
    }

    /// The user of a device has what is held brought back.
    pub fn reject(&mut self, device: usize) {
        self.note(|| format!("{} rejects", name(device)));
        self.with_engine(device, |engine, now| engine.reject(now));
    }

    /// How many files' deletion a device holds.
    pub fn n_held(&self, device: usize) -> u64 {
        self.devices[device].engine.as_ref().map_or(0, |engine| engine.n_held())
    }

    /// Files of a device are found to be damaged.
    pub fn is_damaged(&mut self, device: usize, damaged: Vec<(SyncPath, Record)>) {
        let items = &self.devices[device].disk.items;
        let damaged = damaged.into_iter().filter_map(|(path, record)| match &items.get(&path)?.body {
            Body::File(bytes) => Some(Damage { found: ContentHash::of(bytes), path, record }),
            _ => None,
        });
        let damaged = damaged.collect();
        self.with_engine(device, |engine, now| engine.heal(now, damaged));
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
        self.stats.n_happenings += 1;
        if self.stats.n_happenings >= HAPPENINGS_MAX {
            self.runs_hot.get_or_insert_with(|| format!("S3: runs hot: {happening:?}"));
            self.happenings.clear(); // Nothing goes on, and the history ends here.
        }
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
        let recurs =
            |happening: &Happening| matches!(happening, Happening::Tick { .. } | Happening::Sweep { .. });
        self.happenings.values().all(recurs)
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
                if self.is_alive(device, life)
                    && (self.devices[device].disk.is_full || self.devices[device].disk.is_read_only) =>
            {
                self.at(self.now_us + COMMIT_RETRY_US, Happening::Durable { device, life, commit });
            }
            Happening::Durable { device, life, commit } if self.is_alive(device, life) => {
                let sequence = commit.counters.sequence;
                let n_changes = self.oracle.n_changes(device) as u64;
                let machine = &mut self.devices[device];
                if commit.first_scan_done && !machine.durable.first_scan_done {
                    machine.n_first_changes = n_changes;
                }
                self.stats.n_forgotten += machine.durable.apply(*commit);
                self.deliver(device, Event::Committed { sequence });
            }
            Happening::Tick { device, life }
                if self.is_alive(device, life)
                    && self.devices[device].tick_at_us.is_some_and(|at| at <= self.now_us) =>
            {
                self.devices[device].tick_at_us = None;
                self.step(device, Event::Tick);
            }
            Happening::Up { side, other, connection } => self.tell_up(side, other, connection),
            Happening::Down { side, other, connection } => self.tell_down(side, other, connection),
            Happening::Sweep { device, life } if self.is_alive(device, life) => {
                self.sweep_kept(device);
                self.at(self.now_us + SWEEP_EVERY_US, Happening::Sweep { device, life });
            }
            Happening::Prove { device } => self.prove_root(device),
            Happening::Restart { device } if self.may_start(device) => self.start(device),
            _ => {}
        }
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
            let has_told = engine.is_ready() && engine.n_held() == 0;
            self.devices[device].is_put_back &= !has_told;
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
        machine.config.was_holding = engine.is_holding();
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
    pub fn restart_in(&mut self, device: usize, down_us: u64) {
        self.at(self.now_us + down_us, Happening::Restart { device });
    }
}

/// A device's name: A, B, …
pub(crate) fn name(device: usize) -> char {
    char::from(b'A' + device as u8)
}
