//! What engines want done, done: looks and changes in order, all else whenever it happens to be ready.

use std::collections::{BTreeSet, VecDeque};

use file_sync_core::effect::{HashItem, HashOutcome, Op, OpOutcome, Trouble};
use file_sync_core::engine::{Effect, Event, FetchOutcome, FetchRequest, Listing};
use file_sync_core::ignore::Rules;
use file_sync_core::mistake::{Mistake, is_made};
use file_sync_core::path::{IGNORE_NAME, SyncPath};
use file_sync_core::record::{Kind, Seen};
use file_sync_core::version::ContentHash;

use crate::apply::{Prepared, Progress};
use crate::device::{Device, LaneTask};
use crate::disk::{Body, Disk, denied, failed, no_space, unproved};
use crate::world::{Happening, World, name};

/// How long an engine is down whose disk has failed.
const RESTART_US: u64 = 50_000;

/// What a look found.
type Looked = (SyncPath, Result<Option<Seen>, Trouble>);

/// Work that is not done in order.
#[derive(Debug)]
pub(crate) enum Task {
    Walk { walk: u64, pending: Vec<SyncPath>, rules: Rules },
    Hash { batch: u64, left: VecDeque<HashItem>, read: Vec<(SyncPath, Option<(Seen, ContentHash)>)> },
    Sync { batch: u64 },
    Fetch(FetchRequest),
    CleanStage(BTreeSet<ContentHash>),
}

impl World {
    /// Begins what an engine wants.
    pub(crate) fn begin(&mut self, device: usize, effect: Effect) {
        match effect {
            Effect::Look(paths) => {
                self.queue(device, LaneTask::Look { left: paths.into(), results: Vec::new() })
            }
            Effect::Apply(ops) => {
                for op in &ops {
                    *self.stats.ops.entry(op_name(op)).or_default() += 1;
                }
                let (prepared, progress, outcomes) = (None, Progress::Begun, Vec::new());
                let task = LaneTask::Apply { left: ops.into(), prepared, progress, outcomes };
                self.queue(device, task);
            }
            Effect::Walk { walk, from, rules } => {
                self.work(device, Task::Walk { walk, pending: vec![from], rules: rules.0 });
            }
            Effect::Hash { batch, items, .. } => {
                self.stats.n_hashes += items.len() as u64;
                self.work(device, Task::Hash { batch, left: items.into(), read: Vec::new() });
            }
            Effect::Sync { batch, .. } => self.work(device, Task::Sync { batch }),
            Effect::Fetch(requests) => {
                self.stats.n_fetches += requests.len() as u64;
                requests.into_iter().for_each(|request| self.work(device, Task::Fetch(request)));
            }
            Effect::Send { to, message } => self.send(device, to, message),
            Effect::CleanStage(contents) => self.work(device, Task::CleanStage(contents)),
            Effect::WaitDone(id) => self.devices[device].waits_done.push(id),
            Effect::MembersChanged(_) => {}
        }
    }

    fn work(&mut self, device: usize, task: Task) {
        let life = self.devices[device].life;
        self.after(self.options.work_us_max, Happening::Work { device, life, task });
    }

    pub(crate) fn queue(&mut self, device: usize, task: LaneTask) {
        let machine = &mut self.devices[device];
        machine.lane.push_back(task);
        let life = machine.life;
        if !std::mem::replace(&mut machine.is_lane_running, true) {
            self.after(self.options.work_us_max, Happening::Lane { device, life });
        }
    }

    /// Does the next piece of the work that is done in order.
    pub(crate) fn run_lane(&mut self, device: usize) {
        let Some(mut task) = self.devices[device].lane.pop_front() else {
            self.devices[device].is_lane_running = false;
            return;
        };
        let machine = &self.devices[device];
        if machine.is_root_told_lost != machine.is_root_lost && !is_made(Mistake::RootNotProved) {
            self.prove_root(device);
        }
        let life = self.devices[device].life;
        let is_over = match &mut task {
            LaneTask::Prove => true,
            LaneTask::Look { left, results } => self.devices[device].look_at_next(left, results),
            LaneTask::Apply { left, prepared, progress, outcomes } => {
                self.advance_apply(device, left, prepared, progress, outcomes)
            }
        };
        if is_over {
            match task {
                LaneTask::Prove => {}
                LaneTask::Look { results, .. } => self.report_in_order(device, Event::Looked(results)),
                LaneTask::Apply { .. } if self.sync_fails() => return self.fail(device),
                LaneTask::Apply { outcomes, .. } => {
                    if !is_made(Mistake::OpsNotDurable) {
                        self.is_durable(device);
                    }
                    self.report_in_order(device, Event::Applied(outcomes));
                }
            }
        } else {
            self.devices[device].lane.push_front(task);
        }
        let pause_us = if self.random.percent(30) { self.options.work_us_max } else { 10 };
        self.after(pause_us, Happening::Lane { device, life });
    }

    fn sync_fails(&mut self) -> bool {
        let percent = self.options.failed_syncs_percent;
        percent > 0 && self.random.percent(percent)
    }

    /// What was done cannot be made durable, and nobody knows what of it is: the engine ends, and begins anew from what is
    /// recorded.
    fn fail(&mut self, device: usize) {
        self.stats.n_failed_syncs += 1;
        self.note(|| format!("{} cannot make its changes durable", name(device)));
        self.crash(device);
        self.devices[device].is_same_server = true;
        self.restart_in(device, RESTART_US);
    }

    /// Makes the next call for a batch of changes; true if all have their outcomes.
    fn advance_apply(
        &mut self,
        device: usize,
        left: &mut VecDeque<Op>,
        prepared: &mut Option<VecDeque<Prepared>>,
        progress: &mut Progress,
        outcomes: &mut Vec<(Op, OpOutcome)>,
    ) -> bool {
        let wall = self.devices[device].wall(self.now_us);
        let Some(prepared) = prepared else {
            if self.devices[device].is_root_lost {
                outcomes.extend(left.drain(..).map(|op| (op, OpOutcome::Trouble(unproved()))));
            } else {
                *prepared = Some(self.devices[device].disk.prepare_all(left));
            }
            return left.is_empty();
        };
        let Some((op, mut bytes)) = left.pop_front().zip(prepared.pop_front()) else { return true };
        if *progress == Progress::Checked {
            self.be_quicker(device, &op);
        }
        let ours = progress.ours();
        let before = self.displaced_by(device, &op, ours);
        let chance = self.random.bits() as u32;
        match self.devices[device].disk.advance(&op, &mut bytes, progress, wall, chance) {
            None => {
                self.checkpoint(device);
                left.push_front(op.clone());
                prepared.push_front(bytes);
            }
            Some(outcome) => {
                *progress = Progress::Begun;
                if let OpOutcome::Done { .. } = outcome {
                    self.note(|| format!("{} carries out {op:?}", name(device)));
                    self.hint_op(device, &op);
                    self.tell_what_came_along(device, &op);
                    self.checkpoint(device);
                }
                if let OpOutcome::Differs { rescued } = &outcome {
                    self.stats.n_surprises += 1;
                    self.stats.n_rescues += u64::from(rescued.is_some());
                    self.oracle.rescued(device, rescued.is_some());
                    self.checkpoint(device);
                }
                outcomes.push((op.clone(), outcome));
            }
        }
        self.check_moment(device, &op, before);
        left.is_empty()
    }

    pub(crate) fn report_in_order(&mut self, device: usize, event: Event) {
        let delay = self.random.below(self.options.work_us_max.max(1));
        let machine = &mut self.devices[device];
        machine.report_at_us = (self.now_us + delay).max(machine.report_at_us + 1);
        let (life, at) = (machine.life, machine.report_at_us);
        self.at(at, Happening::Deliver { device, life, event });
    }

    /// Does the next piece of other work.
    pub(crate) fn run_task(&mut self, device: usize, task: Task) {
        match task {
            Task::Walk { walk, pending, rules } => self.run_walk(device, walk, pending, rules),
            Task::Hash { batch, left, read } => self.run_hash(device, batch, left, read),
            Task::Sync { batch } => {
                let is_lost = self.devices[device].is_root_lost;
                if !is_lost && !is_made(Mistake::NamesNotDurable) {
                    self.is_durable(device);
                }
                let result = if is_lost { Err(unproved()) } else { Ok(()) };
                self.deliver(device, Event::Synced { batch, result });
            }
            Task::Fetch(request) => self.run_fetch(device, &request),
            Task::CleanStage(contents) => {
                self.devices[device].disk.stage.retain(|content, _| contents.contains(content));
                self.deliver(device, Event::StageCleaned);
            }
        }
    }

    /// Lists one directory. The reports of one walk stay in order: each is given before the next listing.
    fn run_walk(&mut self, device: usize, walk: u64, mut pending: Vec<SyncPath>, mut rules: Rules) {
        let Some(directory) = pending.pop() else {
            self.step(device, Event::Walked { walk });
            return;
        };
        let disk = &self.devices[device].disk;
        // Without its rules it is not known what is in it.
        let ignore_file = directory.join(IGNORE_NAME).ok().filter(|path| disk.get(path).is_some());
        let is_without_rules =
            ignore_file.is_some_and(|path| disk.is_unreadable(&path) || disk.is_failing(&path));
        let result = if is_without_rules || disk.is_unreadable(&directory) || !disk.is_directory(&directory) {
            Err(denied())
        } else if disk.is_failing(&directory) {
            Err(failed())
        } else if self.devices[device].is_root_lost {
            Ok(Vec::new()) // As an empty mount point looks.
        } else {
            let children = disk.children(&directory);
            let found = |path: SyncPath| disk.seen(&path).map(|seen| (path, seen));
            Ok(children.into_iter().filter_map(found).collect())
        };
        if let Ok(items) = &result {
            let items: &Vec<(SyncPath, Seen)> = items;
            // A walk goes by the rules that it lists itself.
            let ignore_file = items.iter().find(|(path, _)| path.name() == IGNORE_NAME);
            rules.set(&directory, ignore_file.and_then(|(_, seen)| seen.rules.as_deref()));
            let directories = items.iter().rev().filter(|(_, seen)| seen.kind == Kind::Directory);
            pending.extend(
                directories.map(|(path, _)| path.clone()).filter(|path| !rules.is_ignored(path, true)),
            );
        }
        let life = self.devices[device].life;
        let listing = Listing { directory, result, troubled: Vec::new(), other: Vec::new() };
        let delay = self.random.below(self.options.work_us_max.max(1));
        let at = self.now_us + delay;
        self.at(at, Happening::Deliver { device, life, event: Event::Listed { walk, listing } });
        let more = self.random.below(self.options.work_us_max.max(1));
        self.at(at + more, Happening::Work { device, life, task: Task::Walk { walk, pending, rules } });
    }

    /// Reads one file; when all are read, looks whether they are still as they were.
    fn run_hash(
        &mut self,
        device: usize,
        batch: u64,
        mut left: VecDeque<HashItem>,
        mut read: Vec<(SyncPath, Option<(Seen, ContentHash)>)>,
    ) {
        let machine = &self.devices[device];
        let disk = if machine.is_root_lost { &Disk::default() } else { &machine.disk };
        if let Some(HashItem { path }) = left.pop_front() {
            let found = disk.get(&path).and_then(|item| match &item.body {
                Body::File(bytes) => Some((item.seen(&path), ContentHash::of(bytes))),
                _ => None,
            });
            read.push((path, found));
            return self.work(device, Task::Hash { batch, left, read });
        }
        if !machine.is_root_lost && !is_made(Mistake::SourceNotDurable) {
            read.iter().for_each(|(path, _)| self.file_is_durable(device, path));
        }
        let machine = &self.devices[device];
        let disk = if machine.is_root_lost { &Disk::default() } else { &machine.disk };
        let confirm = |(path, found): (SyncPath, Option<(Seen, ContentHash)>)| {
            let outcome = match (disk.look(&path), found) {
                (Err(trouble), _) => HashOutcome::Trouble(trouble),
                (Ok(Some(_)), _) if disk.is_failing(&path) => HashOutcome::Trouble(failed()),
                (Ok(Some(seen)), Some((_, content))) if is_made(Mistake::StatAfterRead) => {
                    HashOutcome::Hashed { seen, content, chunks: None }
                }
                (Ok(Some(now)), Some((seen, content))) if now == seen => {
                    HashOutcome::Hashed { seen, content, chunks: None }
                }
                (Ok(Some(now)), Some(_)) if now.kind == Kind::File => HashOutcome::Changing,
                _ => HashOutcome::Differs,
            };
            (path, outcome)
        };
        let outcomes = read.into_iter().map(confirm).collect();
        self.deliver(device, Event::Hashed { batch, outcomes });
    }

    fn run_fetch(&mut self, device: usize, request: &FetchRequest) {
        let from = self.index_of(request.from);
        let fails = self.random.percent(self.options.failed_fetches_percent);
        self.stats.n_failed_fetches += u64::from(fails);
        let is_staged = self.devices[device].disk.stage.contains_key(&request.content);
        let outcome = if is_staged {
            FetchOutcome::Staged { chunks: None } // Since an earlier life.
        } else if fails && self.options.failed_fetches_percent < 100 && self.random.percent(50) {
            FetchOutcome::NotHeld // Where no fetch ever works, it is not for want of bytes.
        } else if fails {
            FetchOutcome::Broken("it came to an end".to_owned())
        } else if self.devices[device].disk.is_full {
            FetchOutcome::Trouble(no_space())
        } else if self.devices[device].disk.is_read_only {
            FetchOutcome::Trouble(denied())
        } else if !self.is_linked(device, from)
            || !self.is_linked(from, device)
            || self.is_stalled(device, from)
        {
            FetchOutcome::Broken("the link is down".to_owned())
        } else {
            match self.serve(from, &request.content) {
                Some(bytes) => {
                    self.devices[device].disk.stage.insert(request.content, bytes);
                    FetchOutcome::Staged { chunks: None }
                }
                None => FetchOutcome::NotHeld,
            }
        };
        self.deliver(device, Event::Fetched(vec![(request.content, outcome)]));
    }

    /// The bytes of a content, if the device holds them.
    fn serve(&self, device: usize, content: &ContentHash) -> Option<Vec<u8>> {
        let machine = &self.devices[device];
        let engine = machine.engine.as_ref()?;
        let held = engine.holders(content).filter_map(|(path, _)| machine.disk.get(path));
        let kept = engine.kept_holders(content).filter_map(|(name, _)| machine.disk.kept.get(name));
        let bytes = held.chain(kept).find_map(|item| match &item.body {
            Body::File(bytes) if ContentHash::of(bytes) == *content => Some(bytes),
            _ => None,
        });
        bytes.or_else(|| machine.disk.stage.get(content)).cloned()
    }
}

impl Device {
    /// Looks at the next path; true if it was the last.
    fn look_at_next(&mut self, left: &mut VecDeque<SyncPath>, results: &mut Vec<Looked>) -> bool {
        if self.is_root_lost && is_made(Mistake::RootNotProved) {
            results.extend(left.drain(..).map(|path| (path, Ok(None))));
        } else if self.is_root_lost {
            left.clear();
            results.clear();
        }
        if let Some(path) = left.pop_front() {
            let result = self.disk.look(&path);
            results.push((path, result));
        }
        left.is_empty()
    }
}

fn op_name(op: &Op) -> &'static str {
    match op {
        Op::MakeDirectory { .. } => "make directory",
        Op::Place { .. } => "place",
        Op::PlaceSymlink { .. } => "place symlink",
        Op::Move { .. } => "move",
        Op::MoveDirectory { .. } => "move directory",
        Op::SetMetadata { .. } => "set metadata",
        Op::Remove { .. } => "remove",
        Op::RemoveDirectory { .. } => "remove directory",
    }
}
