//! Users: what they do to a disk, at any moment, and what the oracle is told of it.

use file_sync_core::path::SyncPath;
use file_sync_core::register::Register;
use file_sync_core::version::{Content, Time};

use crate::disk::{Body, Disk, Item};
use crate::oracle::{Destroyed, family};
use crate::world::{World, name};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Reads a path written in a test.
pub(crate) fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).expect("a valid path")
}

impl World {
    /// Writes bytes to a path: in place if a file is there, new otherwise. Parents are made.
    pub fn write(&mut self, device: usize, at: &str, bytes: &str) {
        self.write_bytes(device, &path(at), bytes.as_bytes().to_vec());
    }

    /// Makes a directory, and its parents.
    pub fn mkdir(&mut self, device: usize, at: &str) {
        self.make_directory(device, &path(at));
    }

    /// Deletes what is at a path, and below.
    pub fn delete(&mut self, device: usize, at: &str) {
        self.remove_all(device, &path(at));
    }

    /// Renames; what is at the new name gives way.
    pub fn mv(&mut self, device: usize, from: &str, to: &str) {
        self.rename(device, &path(from), &path(to));
    }

    /// Sets permission bits.
    pub fn chmod(&mut self, device: usize, at: &str, mode: u16) {
        self.set_metadata(device, &path(at), mode, None);
    }

    /// Sets a modification time, in seconds since 1970.
    pub fn touch(&mut self, device: usize, at: &str, seconds: i64) {
        let at = path(at);
        let mode = self.devices[device].disk.get(&at).map_or(0o644, |item| item.mode);
        self.set_metadata(device, &at, mode, Some(Time { seconds, nanoseconds: 0 }));
    }

    /// Makes a symlink.
    pub fn symlink(&mut self, device: usize, at: &str, target: &str) {
        self.link(device, &path(at), target.as_bytes());
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
        if let Some(content) = self.devices[device].disk.get(at).and_then(|item| item.content()) {
            self.oracle.made(content, at, device);
        }
        self.hint(device, at);
        self.checkpoint(device);
    }

    fn is_going(&mut self, device: usize, at: &SyncPath) {
        let machine = &self.devices[device];
        let Some(content) = machine.disk.get(at).and_then(|item| item.content()) else { return };
        let record = machine.durable.rows.get(at).and_then(|(_, record, _)| record.as_ref());
        let is_durable = record.is_some_and(|record| record.content == content);
        let node = machine.engine.as_ref().and_then(|engine| engine.tree().get(at));
        let register = node.map(|node| &node.register).or(machine.durable.rows.get(at).map(|row| &row.0));
        let is_made = |register: &Register| {
            register.versions().iter().any(|version| version.value.content() == Content::Directory)
        };
        let is_implied = content == Content::Directory && !register.is_some_and(is_made);
        let is_twin = |(path, item): (&SyncPath, &Item)| {
            path != at && item.content() == Some(content) && family(path) == family(at)
        };
        let is_partial =
            is_implied || machine.disk.items.iter().any(is_twin) || machine.is_placing(content, &family(at));
        let how = Destroyed { device, life: machine.life, is_durable, is_partial };
        self.oracle.destroyed(content, at, how);
    }

    fn make_parents(&mut self, device: usize, at: &SyncPath) {
        let mut above: Vec<SyncPath> = at.ancestors().filter(|ancestor| !ancestor.is_root()).collect();
        above.reverse();
        for directory in above {
            self.make_directory(device, &directory);
        }
    }

    fn make_directory(&mut self, device: usize, at: &SyncPath) {
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
            let (wall, disk) = self.wall_and_disk(device);
            disk.overwrite(at, bytes, wall);
        } else {
            self.remove_all(device, at);
            self.note_act(device, &format!("create {at} {}", String::from_utf8_lossy(&bytes)));
            let (wall, disk) = self.wall_and_disk(device);
            disk.create(at, Body::File(bytes), 0o644, wall);
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

    fn remove_all(&mut self, device: usize, at: &SyncPath) {
        if self.devices[device].disk.get(at).is_none() {
            return;
        }
        self.note_act(device, &format!("rm -r {at}"));
        for below in self.devices[device].disk.below(at).into_iter().rev().chain([at.clone()]) {
            self.is_going(device, &below);
            self.devices[device].disk.remove(&below);
            self.hint(device, &below);
            self.checkpoint(device);
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
        self.remove_all(device, to);
        self.note_act(device, &format!("mv {from} {to}"));
        let moved: Vec<SyncPath> =
            self.devices[device].disk.below(from).into_iter().chain([from.clone()]).collect();
        moved.iter().for_each(|path| self.is_going(device, path));
        let (wall, disk) = self.wall_and_disk(device);
        disk.rename(from, to, wall);
        for path in &moved {
            let target = if path == from { to.clone() } else { from.rebase(path, to).expect("it is below") };
            let content = self.devices[device].disk.get(&target).and_then(|item| item.content());
            content.into_iter().for_each(|content| self.oracle.made(content, &target, device));
        }
        self.hint(device, from);
        self.hint(device, to);
        self.checkpoint(device);
    }

    fn set_metadata(&mut self, device: usize, at: &SyncPath, mode: u16, mtime: Option<Time>) {
        let Some(content) = self.devices[device].disk.get(at).and_then(|item| item.content()) else { return };
        if matches!(content, Content::Symlink(_)) {
            return;
        }
        self.note_act(device, &format!("metadata {at} {mode:o} {mtime:?}"));
        let (wall, disk) = self.wall_and_disk(device);
        disk.set_metadata(at, mode, mtime, wall);
        self.oracle.confirmed(content, at, device);
        self.hint(device, at);
        self.checkpoint(device);
    }

    /// Does something to a device's disk, whatever chance says.
    pub fn act_randomly(&mut self, device: usize, counter: &mut u64) {
        let existing: Vec<SyncPath> = self.devices[device].disk.items.keys().cloned().collect();
        let some = self.random.pick(&existing).cloned();
        let target = self.random_path();
        let files: Vec<SyncPath> = existing
            .iter()
            .filter(|path| matches!(self.devices[device].disk.items[*path].body, Body::File(_)))
            .cloned()
            .collect();
        let file = self.random.pick(&files).cloned();
        *counter += 1;
        let bytes = self.random_bytes(*counter);
        match (self.random.below(100), some, file) {
            (0..16, _, _) => self.write_bytes(device, &target, bytes),
            (16..34, _, Some(file)) => self.write_bytes(device, &file, bytes),
            (34..42, _, Some(file)) => self.save_by_rename(device, &file, bytes),
            (42..46, _, Some(file)) => self.append(device, &file, *counter),
            (46..56, Some(some), _) => self.remove_all(device, &some),
            (56..62, _, Some(file)) => self.remove_all(device, &file),
            (62..74, Some(some), _) => self.rename(device, &some, &target),
            (74..79, Some(some), Some(file)) => self.swap(device, &some, &file),
            (79..86, _, _) => self.make_directory(device, &target),
            (86..91, Some(some), _) => {
                let mode = [0o755, 0o700, 0o640, 0o600][self.random.below(4) as usize];
                self.set_metadata(device, &some, mode, None);
            }
            (91..95, _, Some(file)) => {
                let seconds = self.random.below(4_000_000_000) as i64 - 1_000_000_000;
                let mode = self.devices[device].disk.items[&file].mode;
                self.set_metadata(device, &file, mode, Some(Time { seconds, nanoseconds: 5 }));
            }
            (95..98, _, _) => self.link(device, &target, format!("to{counter}").as_bytes()),
            (_, Some(some), _) => self.change_kind(device, &some, bytes),
            _ => self.write_bytes(device, &target, bytes),
        }
    }

    fn random_path(&mut self) -> SyncPath {
        let depth = 1 + self.random.below(3).min(self.random.below(3));
        let names: Vec<&str> = (0..depth).map(|_| NAMES[self.random.below(5) as usize]).collect();
        path(&names.join("/"))
    }

    /// Mostly bytes of their own; sometimes the same as somebody else's.
    fn random_bytes(&mut self, counter: u64) -> Vec<u8> {
        if self.random.percent(8) {
            return format!("same{}", self.random.below(3)).into_bytes();
        }
        let pad = ".".repeat(self.random.below(6) as usize);
        format!("t{counter}{pad}").into_bytes()
    }

    /// As editors save: the new bytes under another name, then renamed over the old.
    fn save_by_rename(&mut self, device: usize, file: &SyncPath, bytes: Vec<u8>) {
        let temporary = [file.as_bytes(), b".tmp"].concat();
        let Ok(temporary) = SyncPath::parse(&temporary) else { return };
        if temporary.name().len() > 255 || self.devices[device].disk.get(&temporary).is_some() {
            return;
        }
        self.write_bytes(device, &temporary, bytes);
        self.rename(device, &temporary, file);
    }

    fn append(&mut self, device: usize, file: &SyncPath, counter: u64) {
        let Some(Body::File(bytes)) = self.devices[device].disk.get(file).map(|item| item.body.clone())
        else {
            return;
        };
        self.write_bytes(device, file, [bytes, format!("+{counter}").into_bytes()].concat());
    }

    fn swap(&mut self, device: usize, one: &SyncPath, two: &SyncPath) {
        let temporary = path("swap.tmp");
        let is_free = self.devices[device].disk.get(&temporary).is_none();
        if one == two || one.is_ancestor_of(two) || two.is_ancestor_of(one) || !is_free {
            return;
        }
        self.rename(device, one, &temporary);
        self.rename(device, two, one);
        self.rename(device, &temporary, two);
    }

    fn change_kind(&mut self, device: usize, at: &SyncPath, bytes: Vec<u8>) {
        if self.devices[device].disk.is_directory(at) {
            self.remove_all(device, at);
            self.write_bytes(device, at, bytes);
        } else {
            self.remove_all(device, at);
            self.make_directory(device, at);
            let inside = at.join(b"x").expect("short names");
            self.write_bytes(device, &inside, bytes);
        }
    }
}
