//! What engines want done, done: looks and changes in order, all else whenever it happens to be ready.

use std::collections::{BTreeSet, VecDeque};

use file_sync_core::effect::{HashItem, HashOutcome, Op, OpOutcome};
use file_sync_core::engine::{Effect, Event, FetchOutcome, FetchRequest, Listing};
use file_sync_core::ignore::Rules;
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Seen};
use file_sync_core::version::ContentHash;

use crate::device::LaneTask;
use crate::disk::{Body, denied};
use crate::world::{Happening, World, name};

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
                let task = LaneTask::Apply { left: ops.into(), prepared: None, outcomes: Vec::new() };
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

    fn queue(&mut self, device: usize, task: LaneTask) {
        let machine = &mut self.devices[device];
        machine.lane.push_back(task);
        let life = machine.life;
        if !std::mem::replace(&mut machine.is_lane_running, true) {
            self.after(self.options.work_us_max, Happening::Lane { device, life });
        }
    }

    /// Does the next piece of the work that is done in order.
    pub(crate) fn run_lane(&mut self, device: usize) {
        let machine = &mut self.devices[device];
        let (life, wall) = (machine.life, machine.wall(self.now_us));
        let Some(mut task) = machine.lane.pop_front() else {
            machine.is_lane_running = false;
            return;
        };
        let mut touched = None;
        let is_over = match &mut task {
            LaneTask::Look { left, results } => {
                if let Some(path) = left.pop_front() {
                    let result = machine.disk.look(&path);
                    results.push((path, result));
                }
                left.is_empty()
            }
            LaneTask::Apply { left, prepared: None, .. } if !left.is_empty() => {
                let all = left.iter().map(|op| machine.disk.prepare(op)).collect();
                if let LaneTask::Apply { prepared, .. } = &mut task {
                    *prepared = Some(all);
                }
                false
            }
            LaneTask::Apply { left, prepared, outcomes } => {
                let next = left.pop_front().zip(prepared.as_mut().and_then(VecDeque::pop_front));
                if let Some((op, prepared)) = next {
                    let outcome = machine.disk.carry_out(&op, prepared, wall);
                    touched = matches!(outcome, OpOutcome::Done { .. }).then(|| op.clone());
                    outcomes.push((op, outcome));
                }
                left.is_empty()
            }
        };
        if let Some(op) = touched {
            self.note(|| format!("{} carries out {op:?}", name(device)));
            self.hint_op(device, &op);
        }
        if is_over {
            let event = match task {
                LaneTask::Look { results, .. } => Event::Looked(results),
                LaneTask::Apply { outcomes, .. } => Event::Applied(outcomes),
            };
            self.report_in_order(device, event);
        } else {
            self.devices[device].lane.push_front(task);
        }
        let pause_us = if self.random.percent(30) { self.options.work_us_max } else { 10 };
        self.after(pause_us, Happening::Lane { device, life });
    }

    fn report_in_order(&mut self, device: usize, event: Event) {
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
            Task::Sync { batch } => self.deliver(device, Event::Synced { batch, result: Ok(()) }),
            Task::Fetch(request) => self.run_fetch(device, &request),
            Task::CleanStage(contents) => {
                self.devices[device].disk.stage.retain(|content, _| contents.contains(content));
            }
        }
    }

    /// Lists one directory. The reports of one walk stay in order: each is given before the next listing.
    fn run_walk(&mut self, device: usize, walk: u64, mut pending: Vec<SyncPath>, rules: Rules) {
        let Some(directory) = pending.pop() else {
            self.step(device, Event::Walked { walk });
            return;
        };
        let disk = &self.devices[device].disk;
        let is_unreadable =
            disk.unreadable.iter().any(|bad| *bad == directory || bad.is_ancestor_of(&directory));
        let result = if is_unreadable || !disk.is_directory(&directory) {
            Err(denied())
        } else {
            let children = disk.children(&directory);
            Ok(children.into_iter().map(|path| (path.clone(), disk.items[&path].seen(&path))).collect())
        };
        if let Ok(items) = &result {
            let items: &Vec<(SyncPath, Seen)> = items;
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
        let disk = &self.devices[device].disk;
        if let Some(HashItem { path }) = left.pop_front() {
            let found = disk.get(&path).and_then(|item| match &item.body {
                Body::File(bytes) => Some((item.seen(&path), ContentHash::of(bytes))),
                _ => None,
            });
            read.push((path, found));
            return self.work(device, Task::Hash { batch, left, read });
        }
        let confirm = |(path, found): (SyncPath, Option<(Seen, ContentHash)>)| {
            let outcome = match (disk.look(&path), found) {
                (Err(trouble), _) => HashOutcome::Trouble(trouble),
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
        let outcome = if !self.is_linked(device, from) || !self.is_linked(from, device) {
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
        let held = engine.holder(content).and_then(|(path, _)| machine.disk.get(path));
        let kept = engine.kept_holder(content).and_then(|name| machine.disk.kept.get(name));
        held.into_iter().chain(kept).find_map(|item| match &item.body {
            Body::File(bytes) if ContentHash::of(bytes) == *content => Some(bytes.clone()),
            _ => None,
        })
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
