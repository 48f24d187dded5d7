//! The questions that are asked of a world at rest.

use std::borrow::Cow;
use std::collections::BTreeSet;

use file_sync_core::effect::Kept;
use file_sync_core::engine::Mode;
use file_sync_core::ignore::Rules;
use file_sync_core::path::{IGNORE_NAME, SyncPath};
use file_sync_core::tree::Node;
use file_sync_core::version::Content;

use crate::device::Device;
use crate::disk::{Body, Disk, Item};
use crate::link::pair;
use crate::oracle::{family, first_difference, is_recovered};
use crate::world::{World, name};

impl World {
    /// Compares all disks with each other and with the oracle; returns what is wrong.
    pub fn check(&self) -> Vec<String> {
        let broken = self.devices.iter().flat_map(|device| &device.disk.broken);
        let mut wrong: Vec<String> = broken.chain(&self.announced.broken).cloned().collect();
        let root_hash = |index: usize| {
            let engine = self.devices[index].engine.as_ref();
            engine.map(|engine| engine.status().root_hash)
        };
        for index in 1..self.devices.len() {
            let is_left_out =
                |path: &SyncPath| self.is_left_out(path, &[0, index]) || self.is_late_and_local(path);
            if let Some(difference) =
                first_difference(&self.devices[0].disk, &self.devices[index].disk, &is_left_out)
            {
                wrong.push(format!("S1: A and {} differ: {difference}", name(index)));
            }
            let is_equal = root_hash(0) == root_hash(index);
            if !is_equal && self.devices.iter().all(|device| device.config.mode == Mode::TwoWay) {
                wrong.push(format!("P1: A and {} show other root hashes", name(index)));
            }
        }
        wrong.extend(self.oracle.check(&self.devices[0].disk, &|path| self.is_left_out(path, &[0])));
        for device in 0..self.devices.len() {
            wrong.extend(self.check_versions(device));
        }
        wrong
    }

    /// Paths whose bytes nobody has any more: a device announced them, lost its home or was told to ignore them, and its user
    /// replaced them, or a power cut took what replaced them, before anybody had fetched them. They are pending for good, and said to be.
    pub(crate) fn pending_for_good(&self, index: usize) -> BTreeSet<SyncPath> {
        let device = &self.devices[index];
        // After a power cut an engine cannot tell what fell back from what a user put there.
        let may_have_fallen_back = self.stats.n_power_cuts > 0;
        // Who writes late into a file may write over what was told of it and not fetched yet.
        let may_be_gone = self.oracle.was_forgetful()
            || self.oracle.had_reverts()
            || self.has_rules()
            || may_have_fallen_back
            || self.stats.n_late_writes > 0;
        let Some(engine) = device.engine.as_ref().filter(|_| may_be_gone) else {
            return BTreeSet::new();
        };
        let rules = rules_of(&device.disk);
        let is_missing = |(path, node): &(&SyncPath, Cow<'_, Node>)| {
            let content = engine.tree().project(path).value.content();
            if rules.is_ignored(path, false) {
                return false; // Nothing is missing where nothing is to be.
            }
            let is_here = node.record.as_ref().is_some_and(|record| record.content == content);
            matches!(content, Content::File(_)) && !is_here && !self.is_to_be_had(index, path, content)
        };
        engine.tree().iter().filter(is_missing).map(|(path, _)| path.clone()).collect()
    }

    /// True if a member has a content that it could give a device: what its own rules ignore it keeps to itself, and who
    /// ignores the path in between need not have it.
    fn is_to_be_had(&self, index: usize, path: &SyncPath, content: Content) -> bool {
        let is_item_of = |giver: usize| {
            let disk = &self.devices[giver].disk;
            let rules = rules_of(disk);
            let holders = disk.items.iter().filter(|(_, item)| item.content() == Some(content));
            let holders = holders.filter(|(path, _)| self.is_given(giver, path, content));
            let mut given = holders.filter(|(path, _)| !rules.is_ignored(path, false));
            given.next().is_some()
        };
        let mut givers = self.reached_for(index, path).into_iter();
        givers.any(|giver| {
            let device = &self.devices[giver];
            let disk = &device.disk;
            // What is wrong in what a home knows of its store is found out within an hour: after it was put back, or where
            // somebody has written into it.
            let has_bytes = |name: &String| disk.kept.get(name).and_then(Item::content) == Some(content);
            let is_kept = |kept: &Kept| kept.content == content && has_bytes(&kept.name);
            is_item_of(giver)
                || device.durable.kept.values().any(is_kept)
                || disk.stage.contains_key(&content.hash())
        })
    }

    /// What a member that may not send has moved, copied or made itself is only there, and is not given to others either.
    fn is_given(&self, device: usize, path: &SyncPath, content: Content) -> bool {
        let row = self.devices[device].durable.rows.get(path);
        let recorded = row.and_then(|(_, record, _)| record.as_ref()).map(|record| record.content);
        self.may_send(device) || recorded == Some(content)
    }

    /// The members that a path's bytes come to a device from: those in between pass them on, unless they ignore the path.
    fn reached_for(&self, index: usize, path: &SyncPath) -> BTreeSet<usize> {
        let passes_on = |device: usize| {
            let disk = &self.devices[device].disk;
            device == index || !rules_of(disk).is_ignored(path, false)
        };
        let (mut reached, mut todo) = (BTreeSet::from([index]), vec![index]);
        while let Some(device) = todo.pop() {
            if !passes_on(device) {
                continue;
            }
            let is_next = |other: &usize| self.links.contains_key(&pair(device, *other));
            let next = (0..self.devices.len()).filter(is_next);
            todo.extend(next.filter(|other| reached.insert(*other)));
        }
        reached
    }

    /// No more versions than users' changes, unless a home was lost and its files are new again; none of a member that may not send; no change of a disk that only sends.
    fn check_versions(&self, index: usize) -> Option<String> {
        let device = &self.devices[index];
        let counter = device.durable.counters.counter;
        let n_changes = self.oracle.n_changes(index) as u64;
        if !self.may_send(index) && counter > 0 {
            return Some(format!("S3: {} may not send and made {counter} versions", name(index)));
        }
        // What the first scan finds and others have deleted before is let go of, which is a version more (promise D3).
        let n_let_go = device.n_first_changes;
        if counter > n_changes + n_let_go && !self.oracle.was_forgetful() {
            return Some(format!("S3: {} made {counter} versions of {n_changes} changes", name(index)));
        }
        None
    }

    fn may_send(&self, index: usize) -> bool {
        let config = &self.devices[index].config;
        config.mode != Mode::ReceiveOnly && config.only_author.is_none_or(|author| author == config.device)
    }

    /// What these disks need not agree on: what is ignored, what was changed where it may not be sent from, and, if one of
    /// them only sends, what anybody else changed.
    fn is_left_out(&self, path: &SyncPath, devices: &[usize]) -> bool {
        let rules = rules_of(&self.devices[0].disk);
        if rules.is_ignored(path, self.devices[0].disk.is_directory(path)) {
            return true;
        }
        // Rules whose bytes nobody has any more are not everybody's.
        let is_rules = |path: &SyncPath| path.name() == IGNORE_NAME;
        let all = 0..self.devices.len();
        if { all }.any(|index| self.pending_for_good(index).iter().any(is_rules)) {
            let is_ignored_by =
                |device: &Device| rules_of(&device.disk).is_ignored(path, device.disk.is_directory(path));
            if self.devices.iter().any(is_ignored_by) {
                return true;
            }
        }
        // A directory that was deleted elsewhere stays while it holds what is ignored.
        let holds_ignored = |device: &Device| {
            let below = device.disk.below(path).into_iter();
            device.disk.is_directory(path) && { below }
                .any(|at| rules.is_ignored(&at, device.disk.is_directory(&at)))
        };
        if self.devices.iter().any(holds_ignored) {
            return true;
        }
        // What is pending is shown nowhere, and the directories that it lies in stay for it.
        let is_for_pending = |pending: &SyncPath| pending == path || path.is_ancestor_of(pending);
        if devices.iter().any(|index| self.pending_for_good(*index).iter().any(is_for_pending)) {
            return true;
        }
        let is_plain = |index: usize| self.devices[index].config.mode == Mode::TwoWay && self.may_send(index);
        if (0..self.devices.len()).all(is_plain) {
            return false;
        }
        let actors = self.oracle.actors_around(&family(path));
        let takes_nothing = |index: &usize| self.devices[*index].config.mode == Mode::SendOnly;
        let mut devices_among = actors.iter().filter(|actor| **actor < self.devices.len());
        devices_among.any(|actor| !self.may_send(*actor))
            || devices
                .iter()
                .filter(|index| takes_nothing(index))
                .any(|index| actors.iter().any(|actor| actor != index))
    }
}

impl World {
    /// True for what a member has got back from its store, late bytes or what a crash left there, and cannot send, or another
    /// does not take: it stays there, and may have come back further up.
    fn is_late_and_local(&self, path: &SyncPath) -> bool {
        let takes_nothing = |device: &Device| device.config.mode == Mode::SendOnly;
        let is_taken = !self.devices.iter().any(takes_nothing);
        let is_back = |item: &Item| self.oracle.is_late(&item.body) || is_recovered(path);
        let is_local = |index: usize| {
            let item = self.devices[index].disk.get(path);
            !(is_taken && self.may_send(index)) && item.is_some_and(is_back)
        };
        (0..self.devices.len()).any(is_local)
    }
}

fn rules_of(disk: &Disk) -> Rules {
    let mut rules = Rules::default();
    for (path, item) in &disk.items {
        if let (b".syncignore", Body::File(bytes)) = (path.name(), &item.body) {
            rules.set(&path.parent().unwrap_or_else(SyncPath::root), Some(bytes));
        }
    }
    rules
}
