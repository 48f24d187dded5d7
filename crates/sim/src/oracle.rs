//! What ought to be, from the users' acts alone: it shares no decision with the core.
//!
//! Every write has bytes of its own (a token), unless a user wants equal ones. A token is *made* in a family (a path
//! and its conflict copies) and *destroyed* there by a user who replaces, deletes or moves it. What was made and never
//! destroyed has to be there in the end (L1). What was made once and destroyed by somebody must not be (D1, D3), nor
//! may anything be there that nobody made (V2).

use std::collections::{BTreeMap, BTreeSet};

use file_sync_core::path::SyncPath;
use file_sync_core::version::Content;

use crate::disk::{Body, Disk};

/// What was done to one token in one family.
#[derive(Clone, Debug, Default)]
struct Fate {
    n_made: u32,
    /// Touches and the like: they too keep a value against a concurrent delete.
    n_confirmed: u32,
    /// On which device, in which life of its engine, and whether that device's durable record knew of it.
    destroyed: Vec<(usize, u64, bool)>,
}

/// All that users did.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    fates: BTreeMap<(Content, SyncPath), Fate>,
    crashed: BTreeSet<(usize, u64)>,
}

impl Oracle {
    /// A user made this at a path.
    pub fn made(&mut self, content: Content, path: &SyncPath) {
        self.fate(content, path).n_made += 1;
    }

    /// A user changed its metadata.
    pub fn confirmed(&mut self, content: Content, path: &SyncPath) {
        self.fate(content, path).n_confirmed += 1;
    }

    /// A user replaced, deleted or moved away what was at a path.
    pub fn destroyed(
        &mut self,
        content: Content,
        path: &SyncPath,
        device: usize,
        life: u64,
        is_durable: bool,
    ) {
        self.fate(content, path).destroyed.push((device, life, is_durable));
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
        let mut wrong = Vec::new();
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
                Some(fate) if fate.n_made + fate.n_confirmed == 1 && self.is_destroyed(fate) => {
                    wrong.push(format!("D1: {content:?} came back at {paths:?}"));
                }
                Some(_) => {}
            }
        }
        wrong
    }

    fn is_destroyed(&self, fate: &Fate) -> bool {
        let is_sure = |(device, life, is_durable): &(usize, u64, bool)| {
            *is_durable || !self.crashed.contains(&(*device, *life))
        };
        fate.destroyed.iter().any(is_sure)
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

const STAMP: &str = ".sync-conflict-";

/// The path without what conflict copies' names add.
pub fn family(path: &SyncPath) -> SyncPath {
    let mut text = String::from_utf8_lossy(path.as_bytes()).into_owned();
    while let Some(start) = text.find(STAMP) {
        let mut end = start + STAMP.len() + "YYYYMMDD-HHMMSS-1234567".len();
        if text.as_bytes().get(end) == Some(&b'-') {
            end += 9;
        }
        text.replace_range(start..end.min(text.len()), "");
    }
    SyncPath::parse(text.as_bytes()).unwrap_or_else(|_| path.clone())
}
