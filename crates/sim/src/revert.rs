//! Whole machines that are put back to an older image, or take turns with their clones (promise C5).

use std::borrow::Cow;
use std::collections::BTreeSet;

use file_sync_core::engine::Mode;
use file_sync_core::path::SyncPath;
use file_sync_core::register::Register;
use file_sync_core::version::DeviceId;

use crate::device::{Durable, Snapshot};
use crate::disk::{Disk, Item};
use crate::oracle::{Shift, Withheld, shown_by, shown_or_out};
use crate::unheard::register_of;
use crate::world::{World, name};

impl World {
    /// Copies a whole machine, for [`World::revert`].
    pub fn take_snapshot(&mut self, device: usize) {
        let mark = self.oracle.n_told();
        let machine = &mut self.devices[device];
        machine.snapshot = Some(Snapshot {
            disk: machine.disk.clone(),
            durable: machine.durable.clone(),
            mark,
            withheld: Withheld::new(),
        });
    }

    /// Puts an older copy of a whole machine in place. Nothing on it tells that it is one (promise C5).
    pub fn revert(&mut self, device: usize) {
        if let Some(snapshot) = self.devices[device].snapshot.take() {
            self.put_back(device, snapshot);
        }
    }

    /// Returns what only the machine had as it was.
    fn put_back(&mut self, device: usize, snapshot: Snapshot) -> Withheld {
        let Snapshot { mut disk, durable, mark, withheld } = snapshot;
        self.crash(device);
        self.stats.n_reverts += 1;
        self.forget_late_bytes(device);
        let now = &self.devices[device].disk;
        disk.last = now.last;
        (disk.is_full, disk.is_read_only, disk.descriptors) =
            (now.is_full, now.is_read_only, Default::default());
        (disk.unreadable, disk.failing, disk.mounts) =
            (now.unreadable.clone(), now.failing.clone(), now.mounts.clone());
        let (before, after) = (shown_or_out(&self.devices[device].disk), shown_by(&disk));
        let others = self.devices.iter().enumerate().filter(|(other, _)| *other != device);
        let elsewhere = others.flat_map(|(_, other)| shown_by(&other.disk)).collect();
        let unheard = self.directories_unheard_of(device);
        let former = self.registers_left(device);
        let lost = self.oracle.revert(device, mark, &Shift { before, after, elsewhere, unheard });
        if self.devices[device].config.mode == Mode::SendOnly {
            let mut paths = differing(&self.devices[device].disk, &disk);
            paths.extend(unrecorded(&disk, &durable).cloned());
            self.oracle.takes_back_nothing(device, mark, &paths);
        }
        self.oracle.turn(&withheld);
        self.forget_unrecorded(device, &disk, &durable);
        self.announced.revert(self.devices[device].id);
        let machine = &mut self.devices[device];
        (machine.disk, machine.durable, machine.backup) = (disk, durable, None);
        machine.config.may_have_fallen_back = true; // The machine was started anew.
        machine.is_put_back = true;
        self.tell_what_it_alone_knows(device, &withheld, &former);
        self.forget_unknown();
        self.is_durable(device);
        let left = self.devices[device].disk.show();
        self.note(|| format!("{} reverted; left: {left:?}", name(device)));
        lost
    }

    /// What a machine had not recorded when it was copied is new to it again, whatever has become of it since.
    fn forget_unrecorded(&mut self, device: usize, disk: &Disk, durable: &Durable) {
        for path in unrecorded(disk, durable) {
            self.oracle.appeared(&disk.items[path].body, path, device);
            self.oracle.is_unrecorded(path, device);
        }
        let recorded =
            durable.rows.iter().filter_map(|(path, (_, record, _))| Some((path, record.as_ref()?)));
        for (path, record) in recorded {
            let item = disk.get(path);
            if item.is_none() {
                self.oracle.is_unrecorded(path, device);
            }
            if item.and_then(Item::content) != Some(record.content) {
                self.oracle.may_come_back(record.content, path); // It is told of before it is found gone.
            }
        }
    }

    /// Lets a copy of a machine go on in its place, as one of two clones that are met in turn; the machine, as it is, waits
    /// to be met again.
    pub fn turn(&mut self, device: usize) {
        let Some(snapshot) = self.devices[device].snapshot.take() else { return };
        let (mark, machine) = (self.oracle.n_told(), &self.devices[device]);
        let (disk, durable) = (machine.disk.clone(), machine.durable.clone());
        let withheld = self.put_back(device, snapshot);
        self.devices[device].snapshot = Some(Snapshot { disk, durable, mark, withheld });
    }

    /// Forgets what was announced by machines that were put back and is known to nobody any more.
    pub(crate) fn forget_unknown(&mut self) {
        if !self.announced.has_reverted() {
            return;
        }
        let known = self.devices.iter().map(|device| {
            let copies = device.snapshot.iter().flat_map(|snapshot| snapshot.durable.rows.values());
            let durable =
                device.durable.rows.values().chain(copies).map(|(register, ..)| Cow::Borrowed(register));
            let engines = device.engine.iter().flat_map(|engine| engine.tree().iter());
            let registers = durable.chain(engines.map(|(_, node)| register_of(node)));
            (device.id, registers.collect::<Vec<Cow<'_, Register>>>())
        });
        let known: Vec<(DeviceId, Vec<Cow<'_, Register>>)> = known.collect();
        self.announced.forget_unknown(|dot| {
            let others = known.iter().filter(|(device, _)| *device != dot.actor.device);
            let mut contexts = others.flat_map(|(_, registers)| registers).map(|register| register.context());
            contexts.any(|context| context.has_born(dot) || context.has_foreign(dot))
        });
    }
}

/// What is on a disk and not recorded as it is.
fn unrecorded<'a>(disk: &'a Disk, durable: &'a Durable) -> impl Iterator<Item = &'a SyncPath> {
    let is_recorded = |path: &SyncPath, item: &Item| {
        let record = durable.rows.get(path).and_then(|(_, record, _)| record.as_ref());
        record.is_some_and(|record| {
            Some(record.content) == item.content()
                && (record.stat.mode, record.stat.mtime) == (item.mode, item.mtime)
        })
    };
    disk.items.iter().filter(move |(path, item)| !is_recorded(path, item)).map(|(path, _)| path)
}

/// Where two disks differ.
fn differing(one: &Disk, two: &Disk) -> BTreeSet<SyncPath> {
    let paths: BTreeSet<&SyncPath> = one.items.keys().chain(two.items.keys()).collect();
    let shown =
        |disk: &Disk, path: &SyncPath| disk.get(path).map(|item| (item.body.clone(), item.mode, item.mtime));
    paths.into_iter().filter(|path| shown(one, path) != shown(two, path)).cloned().collect()
}
