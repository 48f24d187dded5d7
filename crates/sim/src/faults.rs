//! What befalls devices beyond crashes and cuts: disks, roots, clocks and homes that fail, power that is cut, users that are
//! quicker than an op.

use file_sync_core::effect::Op;
use file_sync_core::engine::{Counters, Event};
use file_sync_core::message::Members;
use file_sync_core::mistake::{Mistake, is_made};
use file_sync_core::path::SyncPath;

use crate::device::{Durable, LaneTask};
use crate::disk::Body;
use crate::oracle::Destroyed;
use crate::world::{Happening, World, name};

fn set(paths: &mut Vec<SyncPath>, path: &SyncPath, is_in: bool) {
    paths.retain(|other| other != path);
    if is_in {
        paths.push(path.clone());
    }
}

/// Acts of users between two calls of an op, in one history: one at every op would never end.
const QUICK_ACTS_MAX: u64 = 6;
/// How often a root is proved when there is nothing to do.
const PROVE_EVERY_US: u64 = 3_000_000;

impl World {
    /// Fills a device's disk, or makes room on it again.
    pub fn set_full(&mut self, device: usize, is_full: bool) {
        self.stats.n_full_disks += u64::from(is_full && !self.devices[device].disk.is_full);
        self.devices[device].disk.is_full = is_full;
        self.note(|| format!("{} disk full: {is_full}", name(device)));
    }

    /// Takes a device's root away, as a missing mount does, or brings it back.
    pub fn set_root_lost(&mut self, device: usize, is_lost: bool) {
        self.stats.n_lost_roots += u64::from(is_lost && !self.devices[device].is_root_lost);
        self.devices[device].is_root_lost = is_lost;
        self.note(|| format!("{} root lost: {is_lost}", name(device)));
        self.after(PROVE_EVERY_US, Happening::Prove { device });
    }

    /// Looks whether the root is there, as is done before every piece of work in order, and tells what has changed.
    pub(crate) fn prove_root(&mut self, device: usize) {
        if is_made(Mistake::RootNotProved) {
            return;
        }
        let machine = &mut self.devices[device];
        if machine.engine.is_none() || machine.is_root_told_lost == machine.is_root_lost {
            return;
        }
        machine.is_root_told_lost = machine.is_root_lost;
        let is_lost = machine.is_root_lost;
        let event = if is_lost { Event::RootLost("it is not there".to_owned()) } else { Event::RootProved };
        self.report_in_order(device, event);
        self.queue(device, LaneTask::Prove);
    }

    /// True if a device that is down may start: its root is there, and it takes part.
    pub(crate) fn may_start(&self, device: usize) -> bool {
        let machine = &self.devices[device];
        machine.engine.is_none() && !machine.is_root_lost && !machine.is_away
    }

    /// Lets nothing be changed on a device's disk, or lets it again.
    pub fn set_read_only(&mut self, device: usize, is_read_only: bool) {
        self.stats.n_read_only_disks += u64::from(is_read_only && !self.devices[device].disk.is_read_only);
        self.devices[device].disk.is_read_only = is_read_only;
        self.note(|| format!("{} disk read-only: {is_read_only}", name(device)));
    }

    /// Lets a path and all below it not be read, or lets it again.
    pub fn set_unreadable(&mut self, device: usize, path: &SyncPath, is_unreadable: bool) {
        self.stats.n_unreadable += u64::from(is_unreadable);
        set(&mut self.devices[device].disk.unreadable, path, is_unreadable);
        self.note(|| format!("{} {path} unreadable: {is_unreadable}", name(device)));
    }

    /// Lets a path and all below it give I/O errors, or no longer.
    pub fn set_failing(&mut self, device: usize, path: &SyncPath, is_failing: bool) {
        self.stats.n_io_errors += u64::from(is_failing);
        set(&mut self.devices[device].disk.failing, path, is_failing);
        self.note(|| format!("{} {path} fails: {is_failing}", name(device)));
    }

    /// Mounts another file system over a directory, or takes it off.
    pub fn set_mounted(&mut self, device: usize, path: &SyncPath, is_mounted: bool) {
        if is_mounted && !self.devices[device].disk.is_directory(path) {
            return;
        }
        self.stats.n_mounts += u64::from(is_mounted);
        set(&mut self.devices[device].disk.mounts, path, is_mounted);
        self.note(|| format!("{} {path} mounted over: {is_mounted}", name(device)));
    }

    /// Steps a device's wall clock.
    pub fn step_clock(&mut self, device: usize, seconds: i64) {
        self.stats.n_clock_faults += 1;
        self.devices[device].wall_offset_seconds += seconds;
        self.note(|| format!("{} clock steps by {seconds} s", name(device)));
    }

    /// Stops a device's wall clock, or lets it go on from the true time.
    pub fn freeze_clock(&mut self, device: usize, is_frozen: bool) {
        self.stats.n_clock_faults += u64::from(is_frozen);
        self.devices[device].frozen_at_us = is_frozen.then_some(self.now_us);
        self.note(|| format!("{} clock frozen: {is_frozen}", name(device)));
    }

    /// Notes what a disk is after a change, for a power cut that may lose it.
    pub(crate) fn checkpoint(&mut self, device: usize) {
        let mark = self.oracle.n_told();
        let machine = &mut self.devices[device];
        if let Some(checkpoints) = &mut machine.checkpoints {
            checkpoints.push((machine.disk.clone(), mark));
        }
    }

    /// Everything on a device's disk is durable now.
    pub(crate) fn is_durable(&mut self, device: usize) {
        self.devices[device].disk.unsynced.clear();
        self.names_are_durable(device);
    }

    /// One file's bytes are durable now, and so are all names: file systems keep the order in which names change.
    pub(crate) fn file_is_durable(&mut self, device: usize, path: &SyncPath) {
        let disk = &mut self.devices[device].disk;
        if let Some(inode) = disk.items.get(path).map(|item| item.inode) {
            disk.unsynced.remove(&inode);
        }
        self.names_are_durable(device);
    }

    fn names_are_durable(&mut self, device: usize) {
        let mark = self.oracle.n_told();
        let machine = &mut self.devices[device];
        if let Some(checkpoints) = &mut machine.checkpoints {
            *checkpoints = vec![(machine.disk.clone(), mark)];
        }
    }

    /// Cuts a device's power: of the changes of names that were not made durable the latest are gone, and of the bytes any.
    pub fn cut_power(&mut self, device: usize) {
        if self.devices[device].engine.is_none() {
            return;
        }
        self.crash(device);
        self.stats.n_power_cuts += 1;
        self.oracle.had_power_cuts = true;
        let checkpoints = self.devices[device].checkpoints.clone().unwrap_or_default();
        if let Some((disk, mark)) = self.random.pick(&checkpoints) {
            let machine = &mut self.devices[device];
            let (last, is_full) = (machine.disk.last, machine.disk.is_full);
            let is_read_only = machine.disk.is_read_only;
            machine.disk = disk.clone();
            (machine.disk.last, machine.disk.is_full) = (last, is_full);
            (machine.disk.is_read_only, machine.disk.descriptors) = (is_read_only, Default::default());
            self.oracle.undo(device, *mark);
        }
        self.lose_bytes(device);
        self.devices[device].config.may_have_fallen_back = true; // The machine was restarted.
        self.is_durable(device);
        let shown = self.devices[device].disk.show();
        self.note(|| format!("{} power cut; left: {shown:?}", name(device)));
    }

    /// Has files that were written and not made durable fall back to what was in them before, or to nothing.
    fn lose_bytes(&mut self, device: usize) {
        let unsynced = std::mem::take(&mut self.devices[device].disk.unsynced);
        for (inode, older) in unsynced {
            if !self.random.percent(self.options.lost_bytes_percent) {
                continue;
            }
            let which = self.random.below(older.len() as u64 + 1) as usize;
            let (bytes, act) = older.get(which).cloned().unwrap_or((Vec::new(), older[0].1));
            let disk = &mut self.devices[device].disk;
            let Some((path, item)) = disk.items.iter_mut().find(|(_, item)| item.inode == inode) else {
                continue;
            };
            let (path, lost) = (path.clone(), item.body.clone());
            let left = Body::File(bytes);
            if lost == left {
                continue;
            }
            let before = item.clone();
            item.body = left.clone();
            self.stats.n_lost_bytes += 1;
            self.oracle.lose_bytes(device, &lost, &path, act);
            if older.iter().any(|(bytes, _)| lost == Body::File(bytes.clone())) {
                let how = Destroyed { device, life: 0, is_partial: true, is_rested: false };
                self.oracle.lost_what_equalled(&before, &path, how);
            }
            self.oracle.appeared(&left, &path, device);
        }
    }

    /// Has a user be quicker than the disk worker between two of its calls.
    pub(crate) fn be_quicker(&mut self, device: usize, op: &Op) {
        if self.n_quick_acts >= QUICK_ACTS_MAX || !self.random.percent(self.options.rescues_percent) {
            return;
        }
        self.n_quick_acts += 1;
        let path = match op {
            Op::Place { path, expect: Some(_), .. } | Op::Remove { path, .. } => path.clone(),
            Op::Move { from, .. } => from.clone(),
            _ => return,
        };
        self.oracle.begin_act();
        let token = format!("r{}", self.random.bits() as u32).into_bytes();
        match self.random.below(5) {
            0 => self.remove_all(device, &path),
            1 => {
                self.remove_all(device, &path);
                self.make_directory(device, &path);
                let inside = path.join(b"x").expect("short names");
                self.write_bytes(device, &inside, token);
            }
            2 => {
                self.remove_all(device, &path);
                self.write_bytes(device, &path, token);
            }
            _ => self.write_bytes(device, &path, token),
        }
    }

    /// Copies what is durable on a device, for [`World::restore_home`].
    pub fn back_up(&mut self, device: usize) {
        self.devices[device].backup = Some(self.devices[device].durable.clone());
    }

    /// Puts an older copy of a device's home in place; the start after it notices by the root's marker (promise C5).
    pub fn restore_home(&mut self, device: usize) {
        let Some(backup) = self.devices[device].backup.take() else { return };
        self.crash(device);
        self.stats.n_restored_homes += 1;
        self.note(|| format!("{} home restored", name(device)));
        self.oracle.forgot();
        let counters = self.new_counters(backup.counters.sequence);
        let machine = &mut self.devices[device];
        let first_scan_done = false; // Not under this epoch.
        let is_doubted = true;
        machine.durable =
            Durable { counters, peers: Default::default(), first_scan_done, is_doubted, ..backup };
        self.forget_unknown();
    }

    /// Has a device leave; its files stay, what it knew goes, the others hear of it.
    pub fn leave(&mut self, device: usize) {
        self.crash(device);
        self.note(|| format!("{} leaves", name(device)));
        self.oracle.forgot();
        self.devices[device].is_away = true;
        self.devices[device].is_other_home = true;
        self.forget_late_bytes(device);
        self.devices[device].durable = Durable::default();
        (self.devices[device].backup, self.devices[device].snapshot) = (None, None);
        self.devices[device].config.was_holding = false;
        self.forget_unknown();
        self.tell_membership(device, false);
    }

    /// What was written late and has not come back stays among the kept versions when a home goes.
    pub(crate) fn forget_late_bytes(&mut self, device: usize) {
        let kept: Vec<String> = self.devices[device].disk.kept.keys().cloned().collect();
        kept.iter().for_each(|kept| self.is_written_over(device, kept));
    }

    /// Has a device that left join again, as new.
    pub fn join(&mut self, device: usize) {
        self.stats.n_rejoins += 1;
        let counters = self.new_counters(0);
        let members = self.tell_membership(device, true);
        let machine = &mut self.devices[device];
        machine.is_away = false;
        machine.durable = Durable { counters, members, ..Durable::default() };
        if self.may_start(device) {
            self.start(device);
        }
    }

    /// Numbers that were never used before.
    fn new_counters(&mut self, sequence: u64) -> Counters {
        Counters { index_id: self.random.bits(), epoch: self.random.bits(), counter: 0, sequence }
    }

    /// Tells every other device that one takes part, or no longer; returns the newest member list.
    fn tell_membership(&mut self, device: usize, active: bool) -> Members {
        let id = self.devices[device].id;
        let others: Vec<usize> = (0..self.devices.len()).filter(|other| *other != device).collect();
        let lists = others.iter().map(|other| match &self.devices[*other].engine {
            Some(engine) => engine.members().clone(),
            None => self.devices[*other].durable.members.clone(),
        });
        let mut members =
            lists.max_by_key(|list| list.get(&id).map(|member| member.number)).unwrap_or_default();
        // Whoever was put back may not remember the last.
        self.n_memberships += 1;
        if let Some(member) = members.get_mut(&id) {
            (member.number, member.active) = (member.number.max(self.n_memberships) + 1, active);
        }
        for other in others {
            let list = members.clone();
            self.with_engine(other, |engine, now| engine.merge_members(now, &list));
            self.devices[other].durable.members = list;
        }
        members
    }
}
