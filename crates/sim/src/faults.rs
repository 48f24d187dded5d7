//! What befalls devices beyond crashes and cuts: full disks, roots that are not there, power cuts, old and lost homes,
//! users that are quicker than an op.

use file_sync_core::effect::Op;
use file_sync_core::engine::{Counters, Event};
use file_sync_core::message::Members;
use file_sync_core::path::SyncPath;

use crate::device::{Durable, LaneTask};
use crate::disk::Body;
use crate::world::{Happening, World, name};

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

    /// Notes what a disk is after a change, for a power cut that may lose it.
    pub(crate) fn checkpoint(&mut self, device: usize) {
        let mark = self.oracle.n_told();
        let machine = &mut self.devices[device];
        if let Some(checkpoints) = &mut machine.checkpoints {
            checkpoints.push((machine.disk.clone(), mark));
        }
    }

    /// Everything on a device's disk is durable now: file systems keep the order of what they write.
    pub(crate) fn is_durable(&mut self, device: usize) {
        let mark = self.oracle.n_told();
        let machine = &mut self.devices[device];
        if let Some(checkpoints) = &mut machine.checkpoints {
            *checkpoints = vec![(machine.disk.clone(), mark)];
        }
    }

    /// Cuts a device's power: of what was not made durable, the latest is gone.
    pub fn cut_power(&mut self, device: usize) {
        if self.devices[device].engine.is_none() {
            return;
        }
        self.crash(device);
        self.stats.n_power_cuts += 1;
        let checkpoints = self.devices[device].checkpoints.clone().unwrap_or_default();
        if let Some((disk, mark)) = self.random.pick(&checkpoints) {
            let machine = &mut self.devices[device];
            let (last, is_full) = (machine.disk.last, machine.disk.is_full);
            machine.disk = disk.clone();
            (machine.disk.last, machine.disk.is_full) = (last, is_full);
            self.oracle.undo(device, *mark);
        }
        self.is_durable(device);
        let shown = self.devices[device].disk.show();
        self.note(|| format!("{} power cut; left: {shown:?}", name(device)));
    }

    /// Has a user be quicker than the disk worker that puts back what it should not have displaced: what was displaced
    /// gets another name, and something new is at its own.
    pub(crate) fn rescue(&mut self, device: usize, op: &Op) -> Option<SyncPath> {
        let (Op::Place { path, expect: Some(_), .. } | Op::Remove { path, .. }) = op else { return None };
        let item = self.devices[device].disk.get(path)?;
        if !matches!(item.body, Body::File(_)) || !self.random.percent(self.options.rescues_percent) {
            return None;
        }
        self.stats.n_rescues += 1;
        let number = self.random.bits() as u32;
        let rescued = [path.name(), format!(".rescued-{number:08x}").as_bytes()].concat();
        let rescued = path.parent()?.join(&rescued).ok()?;
        self.rename(device, path, &rescued);
        self.write_bytes(device, path, format!("r{number}").into_bytes());
        Some(rescued)
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
        machine.durable = Durable { counters, peers: Default::default(), first_scan_done, ..backup };
        machine.config.doubted = true;
    }

    /// Has a device leave; its files stay, what it knew goes, the others hear of it.
    pub fn leave(&mut self, device: usize) {
        self.crash(device);
        self.note(|| format!("{} leaves", name(device)));
        self.oracle.forgot();
        self.devices[device].is_away = true;
        self.devices[device].durable = Durable::default();
        self.devices[device].backup = None;
        self.tell_membership(device, false);
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
        if let Some(member) = members.get_mut(&id) {
            (member.number, member.active) = (member.number + 1, active);
        }
        for other in others {
            let list = members.clone();
            self.with_engine(other, |engine, now| engine.merge_members(now, &list));
            self.devices[other].durable.members = list;
        }
        members
    }
}
