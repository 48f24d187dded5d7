//! What ought to be, from the users' acts alone: it shares no decision with the core.
//!
//! Every write has bytes of its own (a token), unless a user wants equal ones. A token is *made* in a family (a path
//! and its conflict copies) and *destroyed* there by a user who replaces, deletes or moves it. What was made and never
//! destroyed has to be there in the end (L1). What was made once and destroyed by somebody must not be (D1, D3), nor
//! may anything be there that nobody made (V2).

use std::collections::{BTreeMap, BTreeSet};

use file_sync_core::message::Entry;
use file_sync_core::path::SyncPath;
use file_sync_core::version::{Content, Dot, Version};

use crate::disk::{Body, Disk};

/// What was done to one token in one family.
#[derive(Clone, Debug, Default)]
struct Fate {
    n_made: u32,
    /// Touches and the like: they too keep a value against a concurrent delete.
    n_confirmed: u32,
    destroyed: Vec<Destroyed>,
}

/// One user's removal, replacement or move of what was at a path.
#[derive(Clone, Copy, Debug)]
pub struct Destroyed {
    /// On which device.
    pub device: usize,
    /// In which life of its engine.
    pub life: u64,
    /// That device's durable record knew of it: no crash makes the engine forget that it was seen.
    pub is_durable: bool,
    /// It is not all that the device had of it: the same is, or is just being put, at another name of the family, or it is
    /// a directory that was there only because of what lies in it, and whoever made it may say so later.
    pub is_partial: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Made,
    Confirmed,
    Destroyed,
}

/// All that users did.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    fates: BTreeMap<(Content, SyncPath), Fate>,
    crashed: BTreeSet<(usize, u64)>,
    /// Where users themselves put something, conflict copies' names included.
    made_at: BTreeSet<SyncPath>,
    /// Some device forgot what it had seen, with its home: what it still has on its disk is new again.
    is_forgetful: bool,
    /// All that was told, in order, as long as it is not undone.
    told: Vec<Option<(usize, Content, SyncPath, Told)>>,
    /// Every version announced, by its name.
    announced: BTreeMap<Dot, (SyncPath, Version)>,
    /// Promises seen broken on the way.
    broken: Vec<String>,
    /// Who did anything in a family.
    actors: BTreeMap<SyncPath, BTreeSet<usize>>,
}

impl Oracle {
    /// A user made this at a path.
    pub fn made(&mut self, content: Content, path: &SyncPath, device: usize) {
        self.acted(content, path, device, Told::Made);
        self.made_at.insert(path.clone());
        self.fate(content, path).n_made += 1;
    }

    /// A user changed its metadata.
    pub fn confirmed(&mut self, content: Content, path: &SyncPath, device: usize) {
        self.acted(content, path, device, Told::Confirmed);
        self.fate(content, path).n_confirmed += 1;
    }

    /// A user replaced, deleted or moved away what was at a path.
    pub fn destroyed(&mut self, content: Content, path: &SyncPath, how: Destroyed) {
        self.acted(content, path, how.device, Told::Destroyed);
        self.fate(content, path).destroyed.push(how);
    }

    /// How much was told up to now.
    pub fn n_told(&self) -> usize {
        self.told.len()
    }

    /// How often a device's user changed an item.
    pub fn n_changes(&self, device: usize) -> usize {
        self.told.iter().flatten().filter(|(actor, ..)| *actor == device).count()
    }

    /// A power cut undid what a device's user did since so much was told.
    pub fn undo(&mut self, device: usize, mark: usize) {
        for index in (mark..self.told.len()).rev() {
            if self.told[index].as_ref().is_none_or(|(actor, ..)| *actor != device) {
                continue;
            }
            let Some((_, content, path, told)) = self.told[index].take() else { continue };
            let fate = self.fate(content, &path);
            match told {
                Told::Made => fate.n_made -= 1,
                Told::Confirmed => fate.n_confirmed -= 1,
                Told::Destroyed => {
                    if let Some(last) = fate.destroyed.iter().rposition(|how| how.device == device) {
                        fate.destroyed.remove(last);
                    }
                }
            }
        }
    }

    /// A device lost its home, or got an older one.
    pub fn forgot(&mut self) {
        self.is_forgetful = true;
    }

    /// True if a device lost its home, or got an older one.
    pub fn is_forgetful(&self) -> bool {
        self.is_forgetful
    }

    /// Entries were sent: no dot ever names two versions (promise C3).
    pub fn announced(&mut self, entries: &[Entry]) {
        for entry in entries {
            for version in entry.register.versions() {
                let born_at = version.born_at.as_ref().unwrap_or(&entry.path);
                let first =
                    self.announced.entry(version.dot).or_insert_with(|| (born_at.clone(), version.clone()));
                let (path, first) = first;
                if path != born_at || first.value != version.value || first.replaced != version.replaced {
                    self.broken
                        .push(format!("C3: {:?} names {first:?} at {path} and {version:?}", version.dot));
                }
            }
        }
    }

    fn acted(&mut self, content: Content, path: &SyncPath, device: usize, told: Told) {
        self.told.push(Some((device, content, path.clone(), told)));
        self.actors.entry(family(path)).or_default().insert(device);
    }

    /// Who did anything in a family, or to what it lies in or what lies in it.
    pub fn actors_around(&self, home: &SyncPath) -> BTreeSet<usize> {
        let is_around =
            |path: &SyncPath| path == home || path.is_ancestor_of(home) || home.is_ancestor_of(path);
        self.actors
            .iter()
            .filter(|(path, _)| is_around(path))
            .flat_map(|(_, devices)| devices)
            .copied()
            .collect()
    }

    /// A device's engine forgot what was not durable.
    pub fn crashed(&mut self, device: usize, life: u64) {
        self.crashed.insert((device, life));
    }

    fn fate(&mut self, content: Content, path: &SyncPath) -> &mut Fate {
        let home = if content == Content::Directory { path.clone() } else { family(path) };
        self.fates.entry((content, home)).or_default()
    }

    /// Compares a disk, in the end, with what ought to be on it; returns what is wrong.
    pub fn check(&self, disk: &Disk, is_ignored: &dyn Fn(&SyncPath) -> bool) -> Vec<String> {
        let mut found: BTreeMap<(Content, SyncPath), Vec<SyncPath>> = BTreeMap::new();
        let items = disk.items.iter().filter(|(path, _)| !is_ignored(path));
        for (path, item) in items {
            let Some(content) = item.content() else { continue };
            let home = if content == Content::Directory { path.clone() } else { family(path) };
            found.entry((content, home)).or_default().push(path.clone());
        }
        let mut wrong = self.broken.clone();
        for ((content, home), fate) in &self.fates {
            let is_there = found.contains_key(&(*content, home.clone()));
            let is_safe = fate.n_made > 0 && fate.destroyed.is_empty();
            let is_kept = is_there || (*content == Content::Directory && disk.get(home).is_some());
            if is_safe && !is_kept && !is_ignored(home) {
                wrong.push(format!("L1: {content:?} is lost at {home}"));
            }
        }
        for ((content, home), paths) in &found {
            let is_parent =
                *content == Content::Directory && disk.items.keys().any(|below| home.is_ancestor_of(below));
            if is_parent {
                continue;
            }
            match self.fates.get(&(*content, home.clone())) {
                None => wrong.push(format!("V2: nobody made {content:?} at {home}")),
                Some(fate) if fate.n_made + fate.n_confirmed == 1 && self.is_destroyed(fate, home, paths) => {
                    wrong.push(format!("D1: {content:?} came back at {paths:?}"));
                }
                Some(_) => {}
            }
            let is_copy = *content != Content::Directory
                && paths.iter().any(|path| path != home && !self.made_at.contains(path));
            if is_copy && !self.is_forgetful && self.actors_around(home).len() < 2 {
                wrong.push(format!("L5: {paths:?} is a copy, and only one device ever changed {home}"));
            }
        }
        wrong
    }

    /// True if somebody destroyed it who knew all there was to know.
    ///
    /// A conflict copy that another user's act made a file of its own is kept against a removal that did not know of
    /// that (settling); who knew of what cannot be told from the acts, so a copy in a family of several is let pass.
    fn is_destroyed(&self, fate: &Fate, home: &SyncPath, paths: &[SyncPath]) -> bool {
        let is_sure = |how: &&Destroyed| {
            !how.is_partial && (how.is_durable || !self.crashed.contains(&(how.device, how.life)))
        };
        let may_be_settled = paths.iter().all(|path| path != home) && self.actors_around(home).len() > 1;
        !self.is_forgetful && !may_be_settled && fate.destroyed.iter().any(|how| is_sure(&how))
    }
}

/// Compares two disks: all but change times and inodes has to be equal; returns the first difference.
pub fn first_difference(one: &Disk, two: &Disk, is_ignored: &dyn Fn(&SyncPath) -> bool) -> Option<String> {
    let paths: BTreeSet<&SyncPath> = one.items.keys().chain(two.items.keys()).collect();
    for path in paths.into_iter().filter(|path| !is_ignored(path)) {
        let (Some(left), Some(right)) = (one.get(path), two.get(path)) else {
            return Some(format!("{path}: {:?} against {:?}", one.get(path), two.get(path)));
        };
        let is_file = matches!(left.body, Body::File(_));
        let step = |disk: &Disk, time| disk.stored(time);
        let (left_time, right_time) = (step(two, step(one, left.mtime)), step(one, step(two, right.mtime)));
        let is_same = left.body == right.body
            && (left.mode == right.mode || matches!(left.body, Body::Symlink(_)))
            && (!is_file || left_time == right_time);
        if !is_same {
            return Some(format!("{path}: {left:?} against {right:?}"));
        }
    }
    None
}

const RESCUED: &str = ".rescued-";
const STAMP: &str = ".sync-conflict-";

/// The path without what conflict copies' names add.
pub fn family(path: &SyncPath) -> SyncPath {
    let mut text = String::from_utf8_lossy(path.as_bytes()).into_owned();
    if let Some(start) = text.find(RESCUED) {
        text.replace_range(start..(start + RESCUED.len() + 8).min(text.len()), "");
    }
    while let Some(start) = text.find(STAMP) {
        let mut end = start + STAMP.len() + "YYYYMMDD-HHMMSS-1234567".len();
        if text.as_bytes().get(end) == Some(&b'-') {
            end += 9;
        }
        text.replace_range(start..end.min(text.len()), "");
    }
    SyncPath::parse(text.as_bytes()).unwrap_or_else(|_| path.clone())
}
