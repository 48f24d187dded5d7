//! What a machine that was put back knows and no other does (promise C5).
//!
//! At rest all have seen the same, and the oracle starts anew from there. A machine that is put back to before that, or is
//! met again after it, brings along what nobody else has heard of: what it made, and what it replaced. Users' acts do not
//! tell who had heard of what by then; the registers that are left do.

use std::collections::{BTreeMap, BTreeSet};

use file_sync_core::conflict::origins;
use file_sync_core::path::SyncPath;
use file_sync_core::register::Register;
use file_sync_core::version::{Content, Version};

use crate::device::Device;
use crate::disk::{Body, Item};
use crate::oracle::Withheld;
use crate::world::World;

type Registers<'a> = BTreeMap<&'a SyncPath, &'a Register>;

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
    pub(crate) fn tell_what_it_alone_knows(&mut self, device: usize, withheld: &Withheld) {
        let made = self.made_and_left(device);
        let replaced = self.replaced_unheard_of(device);
        made.iter().for_each(|left| self.oracle.made_and_left(left, device, withheld));
        replaced.iter().for_each(|(content, path)| self.oracle.replaced_unheard_of(*content, path, device));
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
            let row = machine.durable.rows.get(path);
            let recorded = row.and_then(|(_, record, _)| record.as_ref()).map(|record| record.content);
            let Some(content) = recorded.filter(|content| Some(*content) == item.content()) else { continue };
            // A conflict copy is a version of the path that it is a copy of; directories have none.
            let copied = if content == Content::Directory { Vec::new() } else { origins(path) };
            let at: Vec<SyncPath> = std::iter::once(path.clone()).chain(copied).collect();
            let rows = at.iter().filter_map(|at| Some((at, machine.durable.rows.get(at)?)));
            let versions = rows.flat_map(|(at, (register, ..))| {
                register.versions().iter().map(move |version| (at, version))
            });
            let is_left = |(at, version): &(&SyncPath, &Version)| {
                version.value.content() == content
                    && !others.iter().any(|known| is_replaced(known, at, version))
            };
            let left: Vec<(&SyncPath, &Version)> = versions.filter(is_left).collect();
            if left.is_empty() {
                continue;
            }
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

    /// What the machine knows to be replaced or deleted at a path, of all that the others still hold with that content.
    fn replaced_unheard_of(&self, device: usize) -> BTreeSet<(Content, SyncPath)> {
        let (known, others) = (registers_of(&self.devices[device]), self.registers_of_others(device));
        let mut replaced = BTreeSet::new();
        for (path, register) in known.iter().map(|(path, register)| (*path, *register)) {
            let held = at_all(&others, path);
            let held: Vec<&Version> = held.flat_map(|register| register.versions()).collect();
            let contents: BTreeSet<Content> = held.iter().map(|version| version.value.content()).collect();
            for content in contents {
                let is_equal = |version: &&Version| version.value.content() == content;
                let is_held_here = register.versions().iter().any(|version| is_equal(&version));
                if !is_held_here
                    && held.iter().copied().filter(is_equal).all(|version| is_replaced(&known, path, version))
                {
                    replaced.insert((content, path.clone()));
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

/// What a device knows of all paths, durable or not.
fn registers_of(device: &Device) -> Registers<'_> {
    match &device.engine {
        Some(engine) => engine.tree().iter().map(|(path, node)| (path, &node.register)).collect(),
        None => device.durable.rows.iter().map(|(path, (register, ..))| (path, register)).collect(),
    }
}

/// What all of these know of one path.
fn at_all<'a>(all: &'a [Registers<'a>], path: &SyncPath) -> impl Iterator<Item = &'a Register> + use<'a> {
    let path = path.clone();
    all.iter().filter_map(move |registers| registers.get(&path).copied())
}

/// True if a device has heard that a version was replaced at a path; what it has settled at a copy's name was so if it was
/// replaced there.
fn is_replaced(known: &Registers<'_>, path: &SyncPath, version: &Version) -> bool {
    let Some(register) = known.get(path) else { return false };
    let is_gone = |register: &Register| register.get(&version.dot).is_none();
    let mut settled = register.settled().iter().filter(|settled| settled.version.dot == version.dot);
    register.knows(version)
        && is_gone(register)
        && settled.all(|settled| known.get(&settled.copy).is_some_and(|copy| is_gone(copy)))
}
