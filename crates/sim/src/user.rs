//! Users: what they do to a disk, at any moment, and what the oracle is told of it.

use std::collections::BTreeMap;

use file_sync_core::effect::Op;
use file_sync_core::engine::Engine;
use file_sync_core::path::{IGNORE_NAME, SyncPath};
use file_sync_core::version::{Content, Time};

use crate::device::Device;
use crate::disk::{Body, Disk, Item, Whereabouts};
use crate::oracle::{Destroyed, family};
use crate::world::{World, name};

/// Reads a path written in a test.
pub(crate) fn path(text: &str) -> SyncPath {
    try_path(text).expect("a valid path")
}

pub(crate) fn try_path(text: &str) -> Option<SyncPath> {
    SyncPath::parse(text.as_bytes()).ok()
}

impl World {
    /// Writes bytes to a path: in place if a file is there, new otherwise. Parents are made.
    pub fn write(&mut self, device: usize, at: &str, bytes: &str) {
        self.oracle.begin_act();
        self.write_bytes(device, &path(at), bytes.as_bytes().to_vec());
    }

    /// Makes a directory, and its parents.
    pub fn mkdir(&mut self, device: usize, at: &str) {
        self.oracle.begin_act();
        self.make_directory(device, &path(at));
    }

    /// Deletes what is at a path, and below.
    pub fn delete(&mut self, device: usize, at: &str) {
        self.oracle.begin_act();
        self.remove_all(device, &path(at));
    }

    /// Renames; what is at the new name gives way.
    pub fn mv(&mut self, device: usize, from: &str, to: &str) {
        self.oracle.begin_act();
        self.rename(device, &path(from), &path(to));
    }

    /// Sets permission bits.
    pub fn chmod(&mut self, device: usize, at: &str, mode: u16) {
        self.oracle.begin_act();
        self.set_metadata(device, &path(at), mode, None);
    }

    /// Sets a modification time, in seconds since 1970.
    pub fn touch(&mut self, device: usize, at: &str, seconds: i64) {
        self.oracle.begin_act();
        let at = path(at);
        let mode = self.devices[device].disk.get(&at).map_or(0o644, |item| item.mode);
        self.set_metadata(device, &at, mode, Some(Time { seconds, nanoseconds: 0 }));
    }

    /// Makes a symlink.
    pub fn symlink(&mut self, device: usize, at: &str, target: &str) {
        self.oracle.begin_act();
        self.link(device, &path(at), target.as_bytes());
    }

    /// Saves as editors do: the new bytes under another name, then renamed over the old.
    pub fn save(&mut self, device: usize, at: &str, bytes: &str) {
        self.oracle.begin_act();
        let file = path(at);
        let Some(temporary) = try_path(&format!("{at}.tmp")) else { return };
        if self.devices[device].disk.get(&temporary).is_none() {
            self.write_bytes(device, &temporary, bytes.as_bytes().to_vec());
            self.rename(device, &temporary, &file);
        }
    }

    /// Adds bytes to a file.
    pub fn append(&mut self, device: usize, at: &str, more: &str) {
        self.oracle.begin_act();
        let at = path(at);
        if let Some(Body::File(bytes)) = self.devices[device].disk.get(&at).map(|item| item.body.clone()) {
            self.write_bytes(device, &at, [&bytes, more.as_bytes()].concat());
        }
    }

    /// Exchanges two items by way of a third name.
    pub fn swap(&mut self, device: usize, one: &str, two: &str) {
        self.oracle.begin_act();
        let (one, two, temporary) = (path(one), path(two), path("swap.tmp"));
        let is_free = self.devices[device].disk.get(&temporary).is_none();
        if one == two || one.is_ancestor_of(&two) || two.is_ancestor_of(&one) || !is_free {
            return;
        }
        self.rename(device, &one, &temporary);
        self.rename(device, &two, &one);
        self.rename(device, &temporary, &two);
    }

    /// Opens a file, to write to it later through the descriptor, whatever becomes of it meanwhile.
    pub fn open(&mut self, device: usize, at: &str, descriptor: u64) {
        self.oracle.begin_act();
        self.note_act(device, &format!("open {at} as {descriptor}"));
        self.devices[device].disk.open(&path(at), descriptor);
    }

    /// Writes through a descriptor. Bytes that go into a file that was displaced have to come back (promise L2).
    pub fn write_late(&mut self, device: usize, descriptor: u64, bytes: &str) {
        self.oracle.begin_act();
        let Some(inode) = self.devices[device].disk.descriptors.get(&descriptor).copied() else { return };
        self.note_act(device, &format!("write {bytes} to descriptor {descriptor}"));
        let token = Body::File(bytes.as_bytes().to_vec());
        let whereabouts = self.devices[device].disk.whereabouts(inode);
        match &whereabouts {
            Some(Whereabouts::Path(at)) => {
                self.is_going(device, at);
                self.is_unsynced(device, at);
            }
            Some(Whereabouts::Kept(kept)) => self.is_written_over(device, kept),
            None => {}
        }
        let (wall, disk) = self.wall_and_disk(device);
        disk.write_late(descriptor, bytes.as_bytes().to_vec(), wall);
        match whereabouts {
            Some(Whereabouts::Path(at)) => self.is_made(device, &at),
            Some(Whereabouts::Kept(_)) => {
                self.stats.n_late_writes += 1;
                // Where a device has left, what it had kept is nobody's to look after.
                let machine = &self.devices[device];
                let path = machine.disk.displaced_from.get(&inode).filter(|_| !machine.is_away).cloned();
                if let Some(path) = path {
                    self.oracle.made_late(&token, &path, device);
                    self.may_stay_out(device, inode, &path);
                }
                self.checkpoint(device);
            }
            None => self.checkpoint(device),
        }
    }

    /// What an op has out for a moment it may not get back to a place whose directory has gone: that is said, and it comes
    /// back at the next start.
    fn may_stay_out(&mut self, device: usize, inode: u64, path: &SyncPath) {
        let machine = &self.devices[device];
        let is_out =
            |(name, item): (&String, &Item)| item.inode == inode && machine.disk.out.contains_key(name);
        let Some(item) = machine.disk.kept.iter().find(|kept| is_out(*kept)).map(|(_, item)| item.clone())
        else {
            return;
        };
        let how = Destroyed { device, life: machine.life, is_partial: true, is_rested: false };
        self.oracle.destroyed(&item, path, how);
    }

    /// What was written late before, and has not come back yet, goes by the next late write; so does what nobody else had, and
    /// was to be put at a copy's name.
    pub(crate) fn is_written_over(&mut self, device: usize, kept: &str) {
        let machine = &self.devices[device];
        let Some(item) = machine.disk.kept.get(kept).cloned() else { return };
        let Some(path) = machine.disk.displaced_from.get(&item.inode).cloned() else { return };
        let has_it = |other: &Device| other.disk.items.values().any(|other| other.body == item.body);
        let is_elsewhere = self.devices.iter().any(has_it);
        if self.oracle.is_late(&item.body) || machine.disk.out.contains_key(kept) || !is_elsewhere {
            let how = Destroyed { device, life: machine.life, is_partial: true, is_rested: false };
            self.oracle.destroyed(&item, &path, how);
        }
    }

    fn note_act(&mut self, device: usize, act: &str) {
        self.stats.n_acts += 1;
        self.note(|| format!("{} user: {act}", name(device)));
    }

    fn wall_and_disk(&mut self, device: usize) -> (Time, &mut Disk) {
        let wall = self.devices[device].wall(self.now_us);
        (wall, &mut self.devices[device].disk)
    }

    fn is_made(&mut self, device: usize, at: &SyncPath) {
        let machine = &self.devices[device];
        if let Some(item) = machine.disk.get(at).cloned() {
            let how = Destroyed { device, life: machine.life, is_partial: true, is_rested: false };
            // A directory that is made while no engine looks may be taken for one that was there before: all are alike.
            let is_unlooked_at = item.body == Body::Directory && machine.engine.is_none();
            let may_go = is_unlooked_at || self.is_to_be_found_gone(&item, at);
            self.oracle.made(&item.body, at, device);
            if may_go {
                self.oracle.destroyed(&item, at, how);
            }
            self.tell_if_taken_for_known(device, &item, at);
        }
        self.is_put_into_unrecorded(device, at);
        self.hint(device, at);
        self.checkpoint(device);
    }

    /// A directory that the engine had made before it stopped, and not recorded, counts as its user's who has put something
    /// into it meanwhile: one too many is better than one that vanishes.
    fn is_put_into_unrecorded(&mut self, device: usize, at: &SyncPath) {
        let machine = &self.devices[device];
        let is_unrecorded = |directory: &SyncPath| {
            machine.durable.rows.get(directory).is_none_or(|(_, record, _)| record.is_none())
        };
        let directory = at.parent().filter(|directory| !directory.is_root() && is_unrecorded(directory));
        if let (None, Some(directory)) = (&machine.engine, directory) {
            self.oracle.appeared(&Body::Directory, &directory, device);
        }
    }

    fn is_going(&mut self, device: usize, at: &SyncPath) {
        let machine = &self.devices[device];
        let Some(item) = machine.disk.get(at).cloned() else { return };
        let is_twin = |(path, other): (&SyncPath, &Item)| {
            path != at && other.body == item.body && family(path) == family(at)
        };
        let is_placing = item.content().is_some_and(|content| machine.is_placing(content, &family(at)));
        // A directory may be there for what lies in it alone, what is ignored included; whoever made it may say so later.
        let is_partial = machine.disk.items.iter().any(is_twin) || is_placing;
        let may_stay = || !self.is_rested(device, at) || self.has_rules();
        // Until an engine has looked through the disk, it has not seen what one before it put there.
        let is_ready = machine.engine.as_ref().is_none_or(Engine::is_ready);
        let is_partial = is_partial
            || (item.body == Body::Directory && may_stay())
            || ((!is_ready || self.is_unseen_by_engine(device, at)) && !self.is_rested(device, at));
        let how = Destroyed { device, life: machine.life, is_partial, is_rested: false };
        // What is done in a directory that is being moved is done in it under its new name (promise L2).
        let moved_to = machine.is_moving_to(at);
        self.oracle.destroyed(&item, at, how);
        if let Some(to) = moved_to {
            self.oracle.destroyed(&item, &to, Destroyed { is_partial: true, ..how });
        }
    }

    /// True for what an engine put there before it stopped, and has not been able to look at since.
    fn is_unseen_by_engine(&self, device: usize, at: &SyncPath) -> bool {
        let machine = &self.devices[device];
        let Some(engine) = &machine.engine else { return false };
        let recorded = engine.tree().record(at).map(|record| record.content);
        recorded != machine.disk.get(at).and_then(Item::content) && engine.is_in_doubt(at)
    }

    /// What a user put into a directory between the look at it and its move has come along: it was made there.
    pub(crate) fn tell_what_came_along(&mut self, device: usize, op: &Op) {
        let Op::MoveDirectory { from, to, expect, .. } = op else { return };
        let machine = &self.devices[device];
        let expected: BTreeMap<Option<SyncPath>, Content> =
            expect.iter().map(|(path, record)| (from.rebase(path, to), record.content)).collect();
        let below = machine.disk.below(to).into_iter();
        let items = below.filter_map(|path| Some((path.clone(), machine.disk.get(&path)?.clone())));
        let is_new =
            |(path, item): &(SyncPath, Item)| item.content() != expected.get(&Some(path.clone())).copied();
        let new: Vec<(SyncPath, Item)> = items.filter(is_new).collect();
        let how = Destroyed { device, life: machine.life, is_partial: true, is_rested: false };
        for (path, item) in new {
            self.oracle.made(&item.body, &path, device);
            let before = to.rebase(&path, from).expect("it was in the directory");
            self.oracle.destroyed(&item, &before, how);
        }
    }

    /// True if an ignore file is anywhere: what it covers stays, and so does what that lies in.
    pub(crate) fn has_rules(&self) -> bool {
        let is_rules = |path: &SyncPath| path.name() == IGNORE_NAME;
        self.devices.iter().any(|device| device.disk.items.keys().any(is_rules))
    }

    fn is_rested(&self, device: usize, at: &SyncPath) -> bool {
        let item = self.devices[device].disk.get(at);
        item.is_some_and(|item| self.oracle.is_rested(device, at, item))
    }

    /// Notes what is in a file before it is written over, for a power cut that brings it back.
    fn is_unsynced(&mut self, device: usize, at: &SyncPath) {
        let act = self.oracle.act();
        let disk = &mut self.devices[device].disk;
        if let Some(Item { body: Body::File(bytes), inode, .. }) = disk.items.get(at) {
            disk.unsynced.entry(*inode).or_default().push((bytes.clone(), act));
        }
    }

    fn make_parents(&mut self, device: usize, at: &SyncPath) {
        let mut above: Vec<SyncPath> = at.ancestors().filter(|ancestor| !ancestor.is_root()).collect();
        above.reverse();
        for directory in above {
            self.make_directory(device, &directory);
        }
    }

    pub(crate) fn make_directory(&mut self, device: usize, at: &SyncPath) {
        if self.devices[device].disk.is_directory(at) {
            return;
        }
        self.make_parents(device, at);
        self.remove_all(device, at);
        self.note_act(device, &format!("mkdir {at}"));
        let (wall, disk) = self.wall_and_disk(device);
        disk.create(at, Body::Directory, 0o755, wall);
        self.is_made(device, at);
    }

    pub(crate) fn write_bytes(&mut self, device: usize, at: &SyncPath, bytes: Vec<u8>) {
        self.make_parents(device, at);
        let is_file = |disk: &Disk| disk.get(at).is_some_and(|item| matches!(item.body, Body::File(_)));
        self.is_going_if_other(device, at, &bytes);
        if is_file(&self.devices[device].disk) {
            self.note_act(device, &format!("write {at} {}", String::from_utf8_lossy(&bytes)));
            self.is_unsynced(device, at);
            let (wall, disk) = self.wall_and_disk(device);
            disk.overwrite(at, bytes, wall);
        } else {
            self.remove_all(device, at);
            self.note_act(device, &format!("create {at} {}", String::from_utf8_lossy(&bytes)));
            let (wall, disk) = self.wall_and_disk(device);
            let inode = disk.create(at, Body::File(bytes), 0o644, wall).inode;
            let act = self.oracle.act();
            self.devices[device].disk.unsynced.insert(inode, vec![(Vec::new(), act)]);
        }
        self.is_made(device, at);
    }

    fn is_going_if_other(&mut self, device: usize, at: &SyncPath, bytes: &[u8]) {
        let item = self.devices[device].disk.get(at);
        if item.is_some_and(|item| item.body != Body::File(bytes.to_vec()) && item.body != Body::Directory) {
            self.is_going(device, at);
        }
    }

    fn link(&mut self, device: usize, at: &SyncPath, target: &[u8]) {
        self.make_parents(device, at);
        self.remove_all(device, at);
        self.note_act(device, &format!("symlink {at} -> {}", String::from_utf8_lossy(target)));
        let (wall, disk) = self.wall_and_disk(device);
        disk.create(at, Body::Symlink(target.into()), 0o777, wall);
        self.is_made(device, at);
    }

    pub(crate) fn remove_all(&mut self, device: usize, at: &SyncPath) {
        if self.devices[device].disk.get(at).is_none() {
            return;
        }
        self.note_act(device, &format!("rm -r {at}"));
        self.tell_what_is_out(device, at, None);
        for below in self.devices[device].disk.below(at).into_iter().rev().chain([at.clone()]) {
            self.is_going(device, &below);
            self.devices[device].disk.remove(&below);
            self.hint(device, &below);
            self.checkpoint(device);
        }
    }

    /// What is at the new name of a rename goes in the same call, if it is a file.
    fn give_way(&mut self, device: usize, to: &SyncPath) {
        let is_file = |item: &Item| item.body != Body::Directory;
        if !self.devices[device].disk.get(to).is_some_and(is_file) {
            return self.remove_all(device, to);
        }
        self.is_going(device, to);
        self.devices[device].disk.remove(to);
    }

    /// What the engine has taken out for a moment, to look at it, a user takes for deleted, or moved, with all that was
    /// around it.
    fn tell_what_is_out(&mut self, device: usize, at: &SyncPath, to: Option<&SyncPath>) {
        let machine = &self.devices[device];
        let how = Destroyed { device, life: machine.life, is_partial: true, is_rested: false };
        let mut items = Vec::new();
        for (name, (path, inside)) in &machine.disk.out {
            if at.is_ancestor_of(path) {
                items.extend(machine.disk.kept.get(name).map(|item| (path.clone(), item.clone())));
                items.extend(inside.iter().cloned());
            }
        }
        for (path, item) in items {
            self.oracle.destroyed(&item, &path, how);
            if let Some(target) = to.and_then(|to| at.rebase(&path, to)) {
                self.oracle.made(&item.body, &target, device);
                self.oracle.destroyed(&item, &target, how); // Whether it comes there is not certain.
            }
        }
    }

    pub(crate) fn rename(&mut self, device: usize, from: &SyncPath, to: &SyncPath) {
        let is_possible = from != to && !from.is_ancestor_of(to) && !to.is_ancestor_of(from);
        if !is_possible || self.devices[device].disk.get(from).is_none() {
            return;
        }
        self.make_parents(device, to);
        if self.devices[device].disk.get(from).is_none() {
            return; // A parent took its place.
        }
        self.give_way(device, to);
        self.note_act(device, &format!("mv {from} {to}"));
        let moved: Vec<SyncPath> =
            self.devices[device].disk.below(from).into_iter().chain([from.clone()]).collect();
        moved.iter().for_each(|path| self.is_going(device, path));
        self.tell_what_is_out(device, from, Some(to));
        let is_unseen = self.devices[device].is_unseen_since_cut();
        let (wall, disk) = self.wall_and_disk(device);
        disk.rename(from, to, wall);
        for path in &moved {
            let target = if path == from { to.clone() } else { from.rebase(path, to).expect("it is below") };
            self.is_moved(device, path, &target, is_unseen);
        }
        self.hint(device, from);
        self.hint(device, to);
        self.checkpoint(device);
    }

    fn is_moved(&mut self, device: usize, from: &SyncPath, to: &SyncPath, is_unseen: bool) {
        let Some(item) = self.devices[device].disk.get(to).cloned() else { return };
        self.oracle.moved(&item.body, from, to, device, is_unseen);
        self.is_put_into_unrecorded(device, to);
        // What an op has put in place of what it has taken out for a moment goes again if that is put back.
        let is_on_trial = self.devices[device].disk.out.values().any(|(at, _)| at == to);
        if is_on_trial || self.is_to_be_found_gone(&item, to) {
            let life = self.devices[device].life;
            let how = Destroyed { device, life, is_partial: true, is_rested: false };
            self.oracle.destroyed(&item, to, how);
        }
        self.tell_if_taken_for_known(device, &item, to);
    }

    fn set_metadata(&mut self, device: usize, at: &SyncPath, mode: u16, mtime: Option<Time>) {
        let Some(body) = self.devices[device].disk.get(at).map(|item| item.body.clone()) else { return };
        if matches!(body, Body::Symlink(_)) {
            return;
        }
        self.note_act(device, &format!("metadata {at} {mode:o} {mtime:?}"));
        let (wall, disk) = self.wall_and_disk(device);
        disk.set_metadata(at, mode, mtime, wall);
        self.oracle.confirmed(&body, at, device);
        self.hint(device, at);
        self.checkpoint(device);
    }
}
