//! What a machine that was put back knows and no other does (promise C5).
//!
//! At rest all have seen the same, and the oracle starts anew from there. A machine that is put back to before that, or is
//! met again after it, brings along what nobody else has heard of: what it made, and what it replaced. Users' acts do not
//! tell who had heard of what by then; the registers that are left do.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use file_sync_core::conflict::origins;
use file_sync_core::path::SyncPath;
use file_sync_core::record::Record;
use file_sync_core::register::Register;
use file_sync_core::tree::Node;
use file_sync_core::version::{Content, Dot, Version};

use crate::device::Device;
use crate::disk::{Body, Item};
use crate::oracle::Withheld;
use crate::world::World;

/// What a machine knew, was it not put back.
pub(crate) type Former = BTreeMap<SyncPath, Register>;

type Registers<'a> = BTreeMap<&'a SyncPath, Cow<'a, Register>>;

/// What a machine that was put back shows, of versions that nobody else knows to be replaced.
pub(crate) struct Left {
    pub(crate) token: Body,
    pub(crate) path: SyncPath,
    /// Nobody else has heard of one of them.
    pub(crate) is_unheard_of: bool,
    /// Somebody else has replaced just these bytes there, if of another version, or will turn out to have.
    pub(crate) may_be_replaced: bool,
}

impl World {
    /// Tells the oracle what a machine that was just put back brings along; what is asked for again anyway is `withheld`.
    ///
    /// `former` is what it knew before that.
    pub(crate) fn tell_what_it_alone_knows(&mut self, device: usize, withheld: &Withheld, former: &Former) {
        let made = self.made_and_left(device);
        let replaced = self.replaced_unheard_of(device, former);
        let destroyed = self.made_and_destroyed(device);
        let changed = self.changed_unheard_of(device);
        made.iter().for_each(|left| self.oracle.made_and_left(left, device, withheld));
        replaced.iter().for_each(|(content, path)| self.oracle.replaced_unheard_of(*content, path, device));
        changed.iter().for_each(|(token, path)| self.oracle.changed_unheard_of(token, path));
        // Last: it says nothing of what the same family has besides, and is asked for.
        destroyed.iter().for_each(|(token, path)| self.oracle.made_and_destroyed(token, path, withheld));
        for (content, path) in self.hidden_and_unheard_of(device) {
            self.oracle.may_come_back(content, &path);
        }
    }

    /// What stands in others' registers, and the machine has not heard of: it may be hidden by something that the machine has
    /// replaced, and that hides it no more then.
    fn hidden_and_unheard_of(&self, device: usize) -> BTreeSet<(Content, SyncPath)> {
        let rows = &self.devices[device].durable.rows;
        let others = self.registers_of_others(device);
        let standing = others
            .iter()
            .flat_map(|known| known.iter())
            .flat_map(|(path, register)| register.versions().iter().map(move |version| (*path, version)));
        let is_unheard_of = |(path, version): &(&SyncPath, &Version)| {
            version.value.is_present()
                && !rows.get(*path).is_some_and(|(register, ..)| register.knows(version))
        };
        let unheard = standing.filter(is_unheard_of);
        unheard.map(|(path, version)| (version.value.content(), path.clone())).collect()
    }

    fn registers_of_others(&self, device: usize) -> Vec<Registers<'_>> {
        let others = self.devices.iter().enumerate().filter(|(other, _)| *other != device);
        others.map(|(_, other)| registers_of(other)).collect()
    }

    /// What the machine shows and has versions of that nobody else knows to be replaced.
    fn made_and_left(&self, device: usize) -> Vec<Left> {
        let (machine, others) = (&self.devices[device], self.registers_of_others(device));
        let mut all_left = Vec::new();
        for (path, item) in &machine.disk.items {
            let Some(content) = item.content() else { continue };
            let mut left = versions_of(machine, path, item);
            left.retain(|(at, version)| !others.iter().any(|known| is_replaced(known, at, version)));
            if left.is_empty() {
                continue;
            }
            let at = places_of(content, path);
            let mut theirs =
                at.iter().flat_map(|at| at_all(&others, at)).flat_map(|register| register.versions());
            // An edit of the very bytes is in no conflict with them (promise L5).
            let is_edited = theirs.any(|other| other.base == content && other.value.is_present());
            all_left.push(Left {
                token: item.body.clone(),
                path: path.clone(),
                is_unheard_of: left
                    .iter()
                    .any(|(at, version)| !at_all(&others, at).any(|other| other.knows(version))),
                may_be_replaced: is_edited || self.is_to_be_found_gone(item, path),
            });
        }
        all_left
    }

    /// What the machine shows, and others know all versions of to be replaced.
    fn made_and_destroyed(&self, device: usize) -> Vec<(Body, SyncPath)> {
        let (machine, others) = (&self.devices[device], self.registers_of_others(device));
        let is_destroyed = |(path, item): &(&SyncPath, &Item)| {
            let versions = versions_of(machine, path, item);
            let is_known = |(at, version): &(SyncPath, &Version)| {
                others.iter().any(|known| is_replaced(known, at, version))
            };
            !versions.is_empty() && versions.iter().all(is_known)
        };
        let destroyed = machine.disk.items.iter().filter(is_destroyed);
        destroyed.map(|(path, item)| (item.body.clone(), path.clone())).collect()
    }

    /// What the machine shows, and others have versions of that it has not heard of: of another mode or time.
    fn changed_unheard_of(&self, device: usize) -> Vec<(Body, SyncPath)> {
        let (machine, others) = (&self.devices[device], self.registers_of_others(device));
        let is_unheard_of = |at: &SyncPath, version: &Version| {
            let row = machine.durable.rows.get(at);
            !row.is_some_and(|(register, ..)| register.knows(version))
        };
        let is_changed = |(path, item): &(&SyncPath, &Item)| {
            let at = item.content().map(|content| places_of(content, path)).unwrap_or_default();
            let is_equal = |version: &&Version| Some(version.value.content()) == item.content();
            at.iter().any(|at| {
                let versions = at_all(&others, at).flat_map(|register| register.versions());
                versions.filter(is_equal).any(|version| is_unheard_of(at, version))
            })
        };
        let changed = machine.disk.items.iter().filter(is_changed);
        changed.map(|(path, item)| (item.body.clone(), path.clone())).collect()
    }

    /// What a machine's index knows of all paths.
    pub(crate) fn registers_left(&self, device: usize) -> Former {
        let rows = self.devices[device].durable.rows.iter();
        rows.map(|(path, (register, ..))| (path.clone(), register.clone())).collect()
    }

    /// Directories that a machine shows and no other has heard of, though it may show another of the same name.
    pub(crate) fn directories_unheard_of(&self, device: usize) -> BTreeSet<SyncPath> {
        let (machine, others) = (&self.devices[device], self.registers_of_others(device));
        let shown = machine.disk.items.iter().filter(|(_, item)| item.body == Body::Directory);
        let is_unheard_of = |path: &SyncPath| {
            let row = machine.durable.rows.get(path);
            let versions = row.map(|(register, ..)| register.versions()).unwrap_or_default();
            let mut directories =
                versions.iter().filter(|version| version.value.content() == Content::Directory);
            directories.all(|version| !at_all(&others, path).any(|other| other.knows(version)))
        };
        shown.map(|(path, _)| path).filter(|path| is_unheard_of(path)).cloned().collect()
    }

    /// A user has made something, or moved it here: if the engine takes it for what it knows of, it goes with that.
    ///
    /// Where nothing was put back, the oracle was told who took the old one away. A machine that was put back brings along
    /// directories that were taken away before all were at rest.
    pub(crate) fn tell_if_taken_for_known(&mut self, device: usize, item: &Item, path: &SyncPath) {
        if self.oracle.had_reverts() && self.is_taken_for_known(device, item, path) {
            self.oracle.may_go(&item.body, path, device);
        }
    }

    /// True for a directory that the engine cannot tell from one that it has recorded at its path, or from one that is not
    /// shown for an edit of it: all directories are alike, and an edit of the very thing is in no conflict with it (promise
    /// L5).
    fn is_taken_for_known(&self, device: usize, item: &Item, path: &SyncPath) -> bool {
        let is_directory = |version: &Version| version.value.content() == Content::Directory;
        let is_edit = |version: &Version| {
            version.base == Content::Directory && version.value.is_present() && !is_directory(version)
        };
        let is_hidden = |register: &Register| register.versions().iter().any(is_edit);
        let (record, register) = self.known_at(device, path);
        // Of a file, this is a touch of what is recorded, though its user has seen something else there since.
        let is_recorded = record.is_some_and(|record| Some(record.content) == item.content());
        is_recorded
            || match item.body {
                Body::Directory => register.is_some_and(|register| is_hidden(&register)),
                _ => self.is_edited_elsewhere(item, path),
            }
    }

    /// What a device has recorded at a path, and what it knows of it.
    fn known_at(&self, device: usize, path: &SyncPath) -> (Option<Record>, Option<Cow<'_, Register>>) {
        let machine = &self.devices[device];
        match &machine.engine {
            Some(engine) => (engine.tree().record(path), engine.tree().get(path).map(register_of)),
            None => {
                let row = machine.durable.rows.get(path);
                (row.and_then(|(_, record, _)| *record), row.map(|(register, ..)| Cow::Borrowed(register)))
            }
        }
    }

    /// True for bytes that somebody has edited at a path: bytes that equal what an edit replaced are in no conflict with it,
    /// whoever put them there (promise L5). Where nothing was put back, the oracle was told of that edit.
    fn is_edited_elsewhere(&self, item: &Item, path: &SyncPath) -> bool {
        let is_edit = |version: &Version| {
            version.value.is_present()
                && version.changed.content
                && Some(version.base) == item.content()
                && Some(version.value.content()) != item.content()
        };
        let knows_edit = |device: &Device| {
            registers_of(device).get(path).is_some_and(|register| register.versions().iter().any(is_edit))
        };
        self.devices.iter().any(knows_edit)
    }

    /// What the machine knows to be replaced or deleted at a path, of all that the others, and it itself as it was before it
    /// was put back, still hold with that content.
    fn replaced_unheard_of(&self, device: usize, former: &Former) -> BTreeSet<(Content, SyncPath)> {
        let (known, mut others) = (registers_of(&self.devices[device]), self.registers_of_others(device));
        others.push(former.iter().map(|(path, register)| (path, Cow::Borrowed(register))).collect());
        let mut replaced = BTreeSet::new();
        for (path, register) in &known {
            let held = at_all(&others, path);
            let held: Vec<&Version> = held.flat_map(|register| register.versions()).collect();
            let contents: BTreeSet<Content> = held.iter().map(|version| version.value.content()).collect();
            for content in contents {
                let is_equal = |version: &&Version| version.value.content() == content;
                let is_held_here = register.versions().iter().any(|version| is_equal(&version));
                let is_word_replaced = |version: &Version| {
                    is_replaced(&known, path, version) || is_touch_of_replaced(register, version)
                };
                if !is_held_here && held.iter().copied().filter(is_equal).all(is_word_replaced) {
                    replaced.insert((content, (*path).clone()));
                }
            }
        }
        replaced
    }

    /// True if a machine that was put back has still to find that what it has recorded at a path has gone: its engine will
    /// take that for its user's act, who had seen these bytes, and so replace whatever equals them there by then.
    pub(crate) fn is_to_be_found_gone(&self, item: &Item, path: &SyncPath) -> bool {
        self.devices.iter().any(|device| {
            let is_recorded = || {
                let row = device.durable.rows.get(path);
                row.and_then(|(_, record, _)| record.as_ref()).map(|record| record.content) == item.content()
            };
            device.is_put_back
                && device.disk.get(path).is_none_or(|other| other.body != item.body)
                && is_recorded()
        })
    }
}

/// Where versions of what has a content and is at a path may be: a conflict copy is a version of the path that it is a copy
/// of; directories have none.
fn places_of(content: Content, path: &SyncPath) -> Vec<SyncPath> {
    let copied = if content == Content::Directory { Vec::new() } else { origins(path) };
    std::iter::once(path.clone()).chain(copied).collect()
}

/// The versions that a machine has recorded something to be, each with its path.
fn versions_of<'a>(machine: &'a Device, path: &SyncPath, item: &Item) -> Vec<(SyncPath, &'a Version)> {
    let row = machine.durable.rows.get(path);
    let recorded = row.and_then(|(_, record, _)| record.as_ref()).map(|record| record.content);
    let Some(content) = recorded.filter(|content| Some(*content) == item.content()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for at in places_of(content, path) {
        let row = machine.durable.rows.get(&at);
        let versions = row.map(|(register, ..)| register.versions()).unwrap_or_default();
        let equal = versions.iter().filter(|version| version.value.content() == content);
        found.extend(equal.map(|version| (at.clone(), version)));
    }
    found
}

/// What a device knows of all paths, durable or not.
fn registers_of(device: &Device) -> Registers<'_> {
    match &device.engine {
        Some(engine) => engine.tree().iter().map(|(path, node)| (path, register_of(node))).collect(),
        None => {
            device.durable.rows.iter().map(|(path, (register, ..))| (path, Cow::Borrowed(register))).collect()
        }
    }
}

pub(crate) fn register_of(node: Cow<'_, Node>) -> Cow<'_, Register> {
    match node {
        Cow::Borrowed(node) => Cow::Borrowed(&node.register),
        Cow::Owned(node) => Cow::Owned(node.register),
    }
}

/// What all of these know of one path.
fn at_all<'a>(all: &'a [Registers<'a>], path: &SyncPath) -> impl Iterator<Item = &'a Register> + use<'a> {
    let path = path.clone();
    all.iter().filter_map(move |registers| registers.get(&path).map(|register| &**register))
}

/// True for a change of mode or time alone, of bytes that a register knows to be replaced: it is in no conflict with that.
fn is_touch_of_replaced(register: &Register, version: &Version) -> bool {
    let is_gone = |dot: &Dot| register.context().has_born(dot) && register.get(dot).is_none();
    !version.changed.content && version.replaced.iter().any(is_gone)
}

/// True if a device has heard that a version was replaced at a path; what it has settled at a copy's name was so if it was
/// replaced there.
fn is_replaced(known: &Registers<'_>, path: &SyncPath, version: &Version) -> bool {
    let Some(register) = known.get(path) else { return false };
    let is_gone = |register: &Register| register.get(&version.dot).is_none();
    let mut settled = register.settled().iter().filter(|settled| settled.version.dot == version.dot);
    register.knows(version)
        && is_gone(register)
        && settled.all(|settled| {
            let Some(copy) = &settled.copy else { return true };
            known.get(copy).is_some_and(|copy| is_gone(copy))
        })
}
