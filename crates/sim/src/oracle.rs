//! What ought to be, from what users did and saw alone: it shares no decision with the core.
//!
//! Every write has bytes of its own (a token), unless a user wants equal ones. A token is *made* in a family (a path
//! and its conflict copies) and *destroyed* there by a user who replaces, deletes or moves it; whoever does that has
//! seen it. What was made and never destroyed has to be there in the end (L1). What was destroyed by somebody who had
//! seen all of its makings must not be (D1, D3), nor may anything be there that nobody made (V2). What is the only
//! value left in a family has its name (W3).
//!
//! Who had seen what follows from times at which all members were at rest and equal: everything before such a time was
//! seen by everybody, so that the oracle starts anew from what is there ([`Oracle::fold`]). Between two such times only
//! what is certain whatever travelled when is asked for.

mod reverted;

use std::collections::{BTreeMap, BTreeSet};

use file_sync_core::path::SyncPath;

use crate::disk::{Body, Disk, Item};
pub(crate) use reverted::{Shift, Withheld, shown_by, shown_or_out};

/// Late bytes and edits caught by a crash come back under this name, if it is not known where they belong.
const RECOVERED: &str = "recovered";

/// In the place of a device: one of those that were not put back.
const SOMEBODY: usize = usize::MAX;

/// What was done to one token in one family since the last fold.
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
    /// It is not all that the device had of it: the same is, or is just being put, at another name of the family, or it is
    /// a directory that may be there only because of what lies in it.
    pub is_partial: bool,
    /// It has been there since all were at rest, so that no crash makes the engine forget that it was seen.
    pub is_rested: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Made,
    Confirmed,
    Destroyed,
}

/// One thing that was told, until it is undone.
#[derive(Clone, Debug)]
struct Told {
    device: usize,
    act: usize,
    token: Body,
    path: SyncPath,
    what: What,
}

/// All that users did.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    fates: BTreeMap<(Body, SyncPath), Fate>,
    crashed: BTreeSet<(usize, u64)>,
    /// Where users themselves put something, conflict copies' names included.
    made_at: BTreeSet<SyncPath>,
    /// Some device forgot what it had seen, with its home: what it still has on its disk is new again.
    is_forgetful: bool,
    was_forgetful: bool,
    /// Machines that were put back to what they were.
    reverted: BTreeSet<usize>,
    /// What went with a machine that was put back: older copies of others may have it still.
    undone: BTreeSet<(Body, SyncPath)>,
    /// A power was cut: what may have fallen back replaces nothing (promise C4).
    pub(crate) had_power_cuts: bool,
    /// There are ignore files: what they cover stays where it is, and so do the directories that it lies in.
    pub(crate) has_rules: bool,
    told: Vec<Option<Told>>,
    /// Everything that any user ever wrote, whole.
    tokens: BTreeSet<Body>,
    /// What a power cut, not a user, left somewhere: it may be there and need not be.
    appeared: BTreeSet<(Body, SyncPath)>,
    /// Tokens that were written into displaced files.
    late: BTreeSet<Body>,
    /// What was deleted, or replaced, before all were at rest: a home that was put back does not know when.
    gone: BTreeSet<(Body, SyncPath)>,
    /// Who did anything in a family.
    actors: BTreeMap<SyncPath, BTreeSet<usize>>,
    /// What was at each device's paths when all were at rest: inodes and what was in them.
    rested: BTreeMap<(usize, SyncPath), (u64, Body)>,
    act: usize,
    /// Changes of each device, for promise S3.
    n_changes: BTreeMap<usize, usize>,
}

impl Oracle {
    /// A new act begins: all that is told until the next belongs to it.
    pub fn begin_act(&mut self) -> usize {
        self.act += 1;
        self.act
    }

    /// The act that is told of at present.
    pub fn act(&self) -> usize {
        self.act
    }

    /// True if this has been at a device's path, as it is, since all were at rest.
    pub fn is_rested(&self, device: usize, path: &SyncPath, item: &Item) -> bool {
        let rested = self.rested.get(&(device, path.clone()));
        rested.is_some_and(|(inode, body)| *inode == item.inode && *body == item.body)
    }

    /// A user made this at a path.
    pub fn made(&mut self, token: &Body, path: &SyncPath, device: usize) {
        self.tokens.insert(token.clone());
        self.tell(token, path, device, What::Made);
        self.made_at.insert(path.clone());
        self.fate(token, path).n_made += 1;
    }

    /// A user moved this to a path. What a power cut has left somewhere is nobody's there either; `is_unseen`: the engine has
    /// not looked through the disk since a cut.
    pub fn moved(&mut self, token: &Body, from: &SyncPath, to: &SyncPath, device: usize, is_unseen: bool) {
        if self.appeared.contains(&(token.clone(), home_of(token, from))) && *token != Body::Directory {
            if is_unseen && is_blank(token) {
                self.may_be_put_back(to, device);
            }
            self.appeared(token, to, device);
            self.actors.entry(family(to)).or_default().insert(device);
        } else {
            self.made(token, to, device);
        }
    }

    /// A user changed its metadata.
    pub fn confirmed(&mut self, token: &Body, path: &SyncPath, device: usize) {
        self.tell(token, path, device, What::Confirmed);
        self.fate(token, path).n_confirmed += 1;
    }

    /// A user replaced, deleted or moved away what was at a path.
    pub fn destroyed(&mut self, item: &Item, path: &SyncPath, mut how: Destroyed) {
        how.is_rested = self.is_rested(how.device, path, item);
        self.rested.remove(&(how.device, path.clone())); // It was not there all the time if it comes back.
        let home = home_of(&item.body, path);
        if self.appeared.contains(&(item.body.clone(), home.clone())) {
            // With what a power cut has left of a file goes whatever was in it before.
            let others = self.fates.iter_mut().filter(|((_, other), _)| *other == home);
            others.for_each(|(_, fate)| fate.destroyed.push(Destroyed { is_partial: true, ..how }));
        }
        self.tell(&item.body, path, how.device, What::Destroyed);
        self.fate(&item.body, path).destroyed.push(how);
        // A directory that had to give way to an op had another name before, by which nobody can destroy it any more.
        if item.body == Body::Directory && family(path) != *path {
            let fate = self.fates.get_mut(&(Body::Directory, family(path)));
            fate.into_iter().for_each(|fate| fate.destroyed.push(Destroyed { is_partial: true, ..how }));
        }
    }

    /// A crash left this at a device's path, which nobody wrote: to its engine it is a change like a user's.
    pub fn appeared(&mut self, token: &Body, path: &SyncPath, device: usize) {
        *self.n_changes.entry(device).or_default() += 1;
        self.tokens.insert(token.clone());
        self.appeared.insert((token.clone(), home_of(token, path)));
    }

    /// What a user's act had come in the way of may have got a name of its own, which is news to the engine like that act.
    pub(crate) fn rescued(&mut self, device: usize, has_name: bool) {
        *self.n_changes.entry(device).or_default() += usize::from(has_name);
    }

    /// True if a user wrote exactly this, anywhere.
    pub fn is_whole(&self, body: &Body) -> bool {
        *body == Body::Directory || self.tokens.contains(body)
    }

    /// A user wrote this into a file that had been displaced from a path: it comes back as a copy.
    ///
    /// Where that directory is gone too, it comes back further up.
    pub fn made_late(&mut self, token: &Body, path: &SyncPath, device: usize) {
        self.made(token, path, device);
        self.late.insert(token.clone());
        self.actors.entry(family(path)).or_default().insert(usize::MAX);
    }

    /// True if a user wrote it into a file that had been displaced.
    pub fn is_late(&self, token: &Body) -> bool {
        self.late.contains(token)
    }

    /// How much was told up to now.
    pub fn n_told(&self) -> usize {
        self.told.len()
    }

    /// How often a device's user changed an item.
    pub fn n_changes(&self, device: usize) -> usize {
        self.n_changes.get(&device).copied().unwrap_or_default()
    }

    /// A power cut undid what a device's user did since so much was told.
    pub fn undo(&mut self, device: usize, mark: usize) {
        for index in (mark..self.told.len()).rev() {
            if self.told[index].as_ref().is_some_and(|told| told.device == device) {
                *self.n_changes.entry(device).or_default() -= 1;
                self.undo_one(index);
            }
        }
    }

    /// A power cut lost the bytes that a device's user wrote: whatever acts had to do with them since count for nothing,
    /// but what they took the place of is only asked for again if all had it when they were at rest.
    pub fn lose_bytes(&mut self, device: usize, token: &Body, path: &SyncPath, from_act: usize) {
        let is_about = |told: &Told| told.device == device && told.act >= from_act && told.token == *token;
        let acts: BTreeSet<usize> =
            self.told.iter().flatten().filter(|told| is_about(told)).map(|told| told.act).collect();
        for index in (0..self.told.len()).rev() {
            let Some(told) = self.told[index].as_ref().filter(|told| acts.contains(&told.act)) else {
                continue;
            };
            let is_rested = |how: &Destroyed| how.device == device && how.is_rested;
            // What lay elsewhere, as in a directory that had to go for the file to come, has gone for good.
            let may_undo = told.what != What::Destroyed
                || told.token == *token
                || told.token != Body::Directory
                    && family(&told.path) == family(path)
                    && self.fates.get(&key_of(told)).is_some_and(|fate| fate.destroyed.iter().any(is_rested));
            if may_undo {
                self.undo_one(index);
            }
        }
        self.may_be_put_back(path, device);
    }

    /// Bytes that a power cut lost had been written over the very same ones: those are lost with them, as any others would be
    /// that a write takes the place of, unless all had them when they were at rest.
    pub fn lost_what_equalled(&mut self, item: &Item, path: &SyncPath, how: Destroyed) {
        if !self.is_rested(how.device, path, item) {
            self.fate(&item.body, path).destroyed.push(how);
        }
    }

    /// Whatever was recorded at the path may come back for what is blank there now: the disk tells nothing of how the file
    /// came there.
    fn may_be_put_back(&mut self, path: &SyncPath, device: usize) {
        let home = family(path);
        let around = self.fates.iter_mut().filter(|((_, other), _)| *other == home);
        let destroyed = around.flat_map(|(_, fate)| &mut fate.destroyed);
        destroyed.filter(|how| how.device == device).for_each(|how| how.is_partial = true);
    }

    fn undo_one(&mut self, index: usize) {
        let Some(told) = self.told[index].take() else { return };
        let fate = self.fates.entry(key_of(&told)).or_default();
        match told.what {
            What::Made => fate.n_made = fate.n_made.saturating_sub(1),
            What::Confirmed => fate.n_confirmed = fate.n_confirmed.saturating_sub(1),
            What::Destroyed => {
                if let Some(last) = fate.destroyed.iter().rposition(|how| how.device == told.device) {
                    fate.destroyed.remove(last);
                }
            }
        }
        // What may or may not be there afterwards is neither asked for nor refused.
        self.appeared.insert(key_of(&told));
    }

    /// A device lost its home, or got an older one.
    pub fn forgot(&mut self) {
        (self.is_forgetful, self.was_forgetful) = (true, true);
    }

    /// True if a device ever lost its home, or got an older one.
    pub fn was_forgetful(&self) -> bool {
        self.was_forgetful
    }

    /// A device's engine forgot what was not durable.
    pub fn crashed(&mut self, device: usize, life: u64) {
        self.crashed.insert((device, life));
    }

    fn tell(&mut self, token: &Body, path: &SyncPath, device: usize, what: What) {
        let (token, path, act) = (token.clone(), path.clone(), self.act);
        self.actors.entry(family(&path)).or_default().insert(device);
        *self.n_changes.entry(device).or_default() += 1;
        self.told.push(Some(Told { device, act, token, path, what }));
    }

    fn fate(&mut self, token: &Body, path: &SyncPath) -> &mut Fate {
        self.fates.entry((token.clone(), home_of(token, path))).or_default()
    }

    /// Who did anything in a family, or to what it lies in or what lies in it.
    pub fn actors_around(&self, home: &SyncPath) -> BTreeSet<usize> {
        let is_around =
            |path: &SyncPath| path == home || path.is_ancestor_of(home) || home.is_ancestor_of(path);
        let around = self.actors.iter().filter(|(path, _)| is_around(path));
        around.flat_map(|(_, devices)| devices).copied().collect()
    }

    /// All members are at rest and equal: everybody has seen what is there, and whatever is not there is gone for good.
    ///
    /// A directory that somebody removed while others put things into it may be there for these alone: it may go with them.
    pub fn fold(&mut self, disks: &[&Disk]) {
        let is_safe = |fate: &Fate| fate.n_made > 0 && fate.destroyed.is_empty();
        let safe = self.fates.iter().filter(|(_, fate)| is_safe(fate));
        let directories: BTreeSet<SyncPath> = safe
            .filter(|((token, _), _)| *token == Body::Directory)
            .map(|((_, path), _)| path.clone())
            .collect();
        let gone = self.fates.iter().filter(|(_, fate)| !fate.destroyed.is_empty());
        self.gone.extend(gone.map(|(key, _)| key.clone()));
        self.fates.clear();
        self.crashed.clear();
        self.appeared.clear();
        self.actors.clear();
        self.rested.clear();
        let was_forgetful = std::mem::take(&mut self.is_forgetful);
        self.told.iter_mut().for_each(|told| *told = None);
        let Some(first) = disks.first() else { return };
        for (path, item) in &first.items {
            let is_certain = directories.contains(path) && !was_forgetful;
            if item.body == Body::Directory && !is_certain {
                self.appeared.insert((Body::Directory, path.clone()));
            } else {
                self.fate(&item.body, path).n_made += 1;
            }
        }
        self.made_at.extend(first.items.keys().cloned());
        for (device, disk) in disks.iter().enumerate() {
            let items = disk
                .items
                .iter()
                .map(|(path, item)| ((device, path.clone()), (item.inode, item.body.clone())));
            self.rested.extend(items);
        }
    }

    /// Compares a disk with what ought to be on it; returns what is wrong.
    pub fn check(&self, disk: &Disk, is_ignored: &dyn Fn(&SyncPath) -> bool) -> Vec<String> {
        let mut found: BTreeMap<(Body, SyncPath), Vec<SyncPath>> = BTreeMap::new();
        let mut recovered: BTreeSet<&Body> = BTreeSet::new();
        for (path, item) in disk.items.iter().filter(|(_, item)| item.body != Body::Fifo) {
            // What came back further up is there, whatever else may be at that name elsewhere.
            if is_recovered(path) || self.late.contains(&item.body) {
                recovered.insert(&item.body);
            }
            if is_ignored(path) {
                continue;
            }
            found.entry((item.body.clone(), home_of(&item.body, path))).or_default().push(path.clone());
        }
        let mut wrong = Vec::new();
        for ((token, home), fate) in &self.fates {
            let is_there = found.contains_key(&(token.clone(), home.clone())) || recovered.contains(token);
            let is_safe = fate.n_made > 0 && fate.destroyed.is_empty();
            // A directory that was in the way of an op has a name of its own for good.
            let is_rescued = |(path, item): (&SyncPath, &Item)| {
                item.body == Body::Directory && path != home && family(path) == *home
            };
            let is_shown = || disk.get(home).is_some() || disk.items.iter().any(is_rescued);
            let is_kept = is_there || (*token == Body::Directory && is_shown());
            // To a device that lost its home any directory is one that others may have deleted, and so is what equals what was
            // deleted there (promise D3).
            let was_gone = *token == Body::Directory || self.gone.contains(&(token.clone(), home.clone()));
            // No user writes nothing: it is what a power cut has left, and no word of anybody's wherever it is moved.
            let is_left_by_cut = self.had_power_cuts && is_blank(token);
            let may_go = (was_gone && self.is_forgetful) || is_left_by_cut;
            // What came back further up, late bytes or what a crash had left in the store, may have been dealt with there.
            let is_dealt_with = || {
                let is_elsewhere = |at: &SyncPath| self.late.contains(token) || is_recovered(at);
                let elsewhere =
                    self.fates.iter().filter(|((other, at), _)| other == token && is_elsewhere(at));
                { elsewhere }.any(|(_, fate)| !fate.destroyed.is_empty())
            };
            // A user may have put it at a copy's name, and ignore that.
            let is_ignored_at = |path: &SyncPath| home_of(token, path) == *home && is_ignored(path);
            let may_stay = || is_ignored(home) || self.made_at.iter().any(is_ignored_at);
            if is_safe && !is_kept && !may_go && !is_dealt_with() && !may_stay() {
                wrong.push(format!("L1: {} is lost at {home}", shown(token)));
            }
        }
        for ((token, home), paths) in &found {
            wrong.extend(self.check_found(disk, token, home, paths));
        }
        wrong.extend(self.check_names(disk, is_ignored));
        wrong
    }

    fn check_found(&self, disk: &Disk, token: &Body, home: &SyncPath, paths: &[SyncPath]) -> Option<String> {
        let is_parent =
            *token == Body::Directory && disk.items.keys().any(|below| home.is_ancestor_of(below));
        // A user's directory that was in the way of an op has that name for good, also when it is empty.
        let is_rescued = *token == Body::Directory && family(home) != *home;
        if is_parent
            || is_rescued
            || self.appeared.contains(&(token.clone(), home.clone()))
            || self.undone.contains(&(token.clone(), home.clone()))
            || is_recovered(home)
            || self.late.contains(token)
        {
            return None;
        }
        // A home that was put back knows of what was replaced since, and nobody tells it in time (promise C5); and where
        // several machines were, nobody may be left who knows of it.
        let is_forgotten = self.reverted.len() > 1;
        let may_be_back = (self.is_forgetful || is_forgotten) && self.is_whole(token);
        match self.fates.get(&(token.clone(), home.clone())) {
            // Bytes that nobody had any more may turn up elsewhere, however late.
            None if (self.was_forgetful || is_forgotten) && self.is_whole(token) => return None,
            Some(fate) if may_be_back && fate.n_made + fate.n_confirmed == 0 => return None,
            None => return Some(format!("V2: nobody made {} at {home}", shown(token))),
            Some(fate) if fate.n_made + fate.n_confirmed == 0 && fate.destroyed.is_empty() => {
                return Some(format!("V2: nobody made {} at {home}", shown(token)));
            }
            Some(fate) if fate.n_made + fate.n_confirmed == 1 && self.is_destroyed(fate, home, paths) => {
                return Some(format!("D1: {} came back at {paths:?}", shown(token)));
            }
            Some(_) => {}
        }
        let is_copy = *token != Body::Directory
            && paths.iter().any(|path| path != home && !self.made_at.contains(path));
        let is_sure = !self.was_forgetful && !self.has_rules && !self.had_power_cuts && !self.had_reverts();
        if is_copy && is_sure && self.actors_around(home).len() < 2 {
            return Some(format!("L5: {paths:?} is a copy, and only one device ever changed {home}"));
        }
        None
    }

    /// Of a family in which one value alone was made and all others that were there are destroyed, it has the name (W3):
    /// no clock gives it to what its user replaced.
    fn check_names(&self, disk: &Disk, is_ignored: &dyn Fn(&SyncPath) -> bool) -> Vec<String> {
        let mut values: BTreeMap<&SyncPath, Vec<(&Body, &Fate)>> = BTreeMap::new();
        for ((token, home), fate) in &self.fates {
            if fate.n_made + fate.n_confirmed > 0 || !fate.destroyed.is_empty() {
                values.entry(home).or_default().push((token, fate));
            }
        }
        let mut wrong = Vec::new();
        for (home, values) in values {
            let mut left = values.iter().filter(|(_, fate)| fate.destroyed.is_empty());
            let (Some((token, _)), None) = (left.next(), left.next()) else { continue };
            let is_gone = |(_, fate): &(&Body, &Fate)| {
                fate.destroyed.is_empty()
                    || (fate.n_made + fate.n_confirmed <= 1
                        && self.is_destroyed(fate, home, std::slice::from_ref(home)))
            };
            // A copy's name is its family's; a directory there is not.
            let is_alone = family(home) == *home
                && values.iter().all(is_gone)
                && !self.appeared.iter().any(|(_, path)| path == home);
            let is_here = disk.get(home).is_some_and(|item| item.body == **token);
            let was_made_here = self.made_at.contains(home)
                && !self.made_at.iter().any(|path| path != home && family(path) == *home);
            let is_other = disk.get(home).is_some_and(|item| item.body != Body::Directory);
            if is_alone && was_made_here && !is_here && is_other && !is_ignored(home) && !self.is_forgetful {
                wrong.push(format!("W3: {home} does not show {}, its only value", shown(token)));
            }
        }
        wrong
    }

    fn is_directory_made(&self, home: &SyncPath) -> bool {
        self.fates.get(&(Body::Directory, home.clone())).is_some_and(|fate| fate.n_made > 0)
    }

    /// True if somebody destroyed it who knew all there was to know.
    ///
    /// A conflict copy that another user's act made a file of its own is kept against a removal that did not know of
    /// that (settling); who knew of what cannot be told from the acts, so a copy in a family of several is let pass.
    fn is_destroyed(&self, fate: &Fate, home: &SyncPath, paths: &[SyncPath]) -> bool {
        let is_sure = |how: &Destroyed| {
            !how.is_partial
                && (how.device != SOMEBODY || self.reverted.len() < 2)
                && (how.is_rested || !self.crashed.contains(&(how.device, how.life)))
        };
        if *home == paths[0] && paths.len() == 1 && self.has_rules && self.is_directory_made(home) {
            return false;
        }
        let may_be_settled = paths.iter().all(|path| path != home) && self.actors_around(home).len() > 1;
        !self.is_forgetful && !may_be_settled && fate.destroyed.iter().any(is_sure)
    }
}

fn key_of(told: &Told) -> (Body, SyncPath) {
    (told.token.clone(), home_of(&told.token, &told.path))
}

/// Where a token belongs: in its path's family; directories have no copies.
fn home_of(token: &Body, path: &SyncPath) -> SyncPath {
    if *token == Body::Directory { path.clone() } else { family(path) }
}

pub(crate) fn is_recovered(path: &SyncPath) -> bool {
    family(path).as_bytes().split(|byte| *byte == b'/').next() == Some(RECOVERED.as_bytes())
}

/// True for what a power cut leaves of a file whose name alone was durable.
fn is_blank(token: &Body) -> bool {
    matches!(token, Body::File(bytes) if bytes.iter().all(|byte| *byte == 0))
}

fn shown(token: &Body) -> String {
    match token {
        Body::File(bytes) => format!("file {:?}", String::from_utf8_lossy(bytes)),
        Body::Symlink(target) => format!("symlink {:?}", String::from_utf8_lossy(target)),
        Body::Directory => "a directory".to_owned(),
        Body::Fifo => "a fifo".to_owned(),
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

/// Takes from a copy's name that was cut, since it would have been too long, the mark of that, and what is left of the stamp
/// in which it was cut.
fn remove_cut(text: &mut String) {
    const HASH_DIGITS: usize = 16;
    let is_cut = |at: &usize| {
        let digits = text.get(at + 1..at + 1 + HASH_DIGITS);
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let marks: Vec<usize> = text.match_indices('~').map(|(at, _)| at).filter(is_cut).collect();
    for at in marks.into_iter().rev() {
        let start = text[..at].rfind(".s").unwrap_or(at);
        let left = &text[start..at];
        let is_stamp = STAMP.starts_with(left)
            || (left.starts_with(STAMP) && left.len() < STAMP.len() + "YYYYMMDD-HHMMSS-1234567".len());
        text.replace_range(if is_stamp { start } else { at }..at + 1 + HASH_DIGITS, "");
    }
}

/// The path without what conflict copies' names add.
pub fn family(path: &SyncPath) -> SyncPath {
    let mut text = String::from_utf8_lossy(path.as_bytes()).into_owned();
    if let Some(start) = text.find(RESCUED) {
        text.replace_range(start..(start + RESCUED.len() + 8).min(text.len()), "");
    }
    remove_cut(&mut text);
    while let Some(start) = text.find(STAMP) {
        let mut end = start + STAMP.len() + "YYYYMMDD-HHMMSS-1234567".len();
        if text.as_bytes().get(end) == Some(&b'-') {
            end += 9;
        }
        text.replace_range(start..end.min(text.len()), "");
    }
    SyncPath::parse(text.as_bytes()).unwrap_or_else(|_| path.clone())
}
