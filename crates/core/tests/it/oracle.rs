//! What ought to be, from what each user saw and did alone: it shares no code with the core.
//!
//! Every write has bytes of its own (a token). A *keep* says that an act of somebody left a token at a home: a write
//! or a rename made it there, a touch confirmed it, an act on a path left a copy of it standing. An act cancels the
//! keeps it knew of for what it replaced. A token lives at a home while a keep of it there is not cancelled.

use std::collections::{BTreeMap, BTreeSet};

use file_sync_core::path::SyncPath;
use file_sync_core::version::{Content, Time, Value};

use crate::device::{Change, Disk};

/// A set of events by number.
pub type Events = u128;

/// What was kept, where, and by which act in the first place.
type Name = (Content, SyncPath, Events);

#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
struct Keep {
    /// The acts that left it standing as a copy; none: it was made here.
    settled_by: Events,
    cancelled_by: Events,
    /// What other bytes were put in its place by writes that cancelled it.
    rewritten_into: BTreeSet<Content>,
    /// A delete cancelled it.
    is_deleted: bool,
    /// It says no more than that somebody changed the mode or the time.
    is_of_metadata: bool,
    /// The time by which it competes for the name.
    rank: Time,
}

/// All that was done so far.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Oracle {
    keeps: BTreeMap<Name, Keep>,
    /// Some delivery was partial: what a user knew is then not tracked, and less is asked.
    pub is_lenient: bool,
}

impl Oracle {
    /// Notes an act: what its user saw on the disk before, what was changed, the events whose outcome was seen there,
    /// and those that were heard of.
    pub fn act(&mut self, seen: &Disk, changes: &[Change], event: Events, known: Events, heard: Events) {
        let known = if self.is_lenient { Events::MAX } else { known | event };
        for change in changes.iter().filter(|change| change.is_told) {
            self.settle(seen, &change.path, event, known, heard);
        }
        for change in changes.iter().filter(|change| change.before != Content::Absent) {
            self.cancel(seen, change, event, known, known | heard);
        }
        for change in changes.iter().filter(|change| change.after != Content::Absent) {
            let (is_of_metadata, rank) = (change.before == change.after, change.rank);
            let keep = Keep { is_of_metadata, rank, ..Keep::default() };
            self.keeps.insert((change.after, change.path.clone(), event), keep);
        }
    }

    /// An act on a path leaves what is shown as its copies standing where it is shown; but what is known to have been
    /// replaced, though the disk has not followed, is gone.
    fn settle(&mut self, seen: &Disk, path: &SyncPath, event: Events, known: Events, heard: Events) {
        let own = seen.get(path).map(Value::content);
        let copies = seen.iter().filter(|(copy, value)| {
            *copy != path && family(copy) == family(path) && is_copy(copy) && own != Some(value.content())
        });
        for (copy, value) in copies {
            let token = value.content();
            let mut names = self.live(known, |name| name.0 == token && name.1 == *path);
            names.retain(|name| self.keeps[name].cancelled_by & heard == 0);
            for name in names {
                self.move_keep(name, copy, event);
            }
        }
    }

    /// A copy stands from now on at its own name. Two who say so at once say the same.
    fn move_keep(&mut self, name: Name, copy: &SyncPath, event: Events) -> Name {
        let moved = (name.0, copy.clone(), name.2);
        let keep = self.keeps.entry(name).or_default();
        keep.cancelled_by |= event;
        let (is_of_metadata, rank) = (keep.is_of_metadata, keep.rank);
        let copy = Keep { is_of_metadata, rank, ..Keep::default() };
        self.keeps.entry(moved.clone()).or_insert(copy).settled_by |= event;
        moved
    }

    fn live(&self, known: Events, which: impl Fn(&Name) -> bool) -> Vec<Name> {
        let is_live = |name: &Name, keep: &Keep| {
            name.2 & known != 0
                && (keep.settled_by == 0 || keep.settled_by & known != 0)
                && keep.cancelled_by & known == 0
                && which(name)
        };
        self.keeps.iter().filter(|(name, keep)| is_live(name, keep)).map(|(name, _)| name.clone()).collect()
    }

    /// Equal bytes count as seen, whoever is only heard to have put them there.
    fn cancel(&mut self, seen: &Disk, change: &Change, event: Events, known: Events, heard: Events) {
        let (token, path) = (change.before, &change.path);
        let rewritten = (change.after != Content::Absent && change.after != token).then_some(change.after);
        let is_here = |name: &Name| name.0 == token && name.1 == *path;
        // Who saw the replacement has no use for what it replaced, whoever changed the metadata of that.
        let has_given_way = |(name, keep): (&Name, &Keep)| {
            name.1 == *path && keep.is_of_metadata && self.successors(name.0, path).contains(&token)
        };
        let is_gone = |entry: &(&Name, &Keep)| is_here(entry.0) || has_given_way(*entry);
        let heard_of = self.keeps.iter().filter(|(name, _)| name.2 & heard != 0);
        let mut names: Vec<Name> = heard_of.filter(is_gone).map(|(name, _)| name.clone()).collect();
        if self.live(known, is_here).is_empty() && token != Content::Directory || self.is_lenient {
            let elsewhere: BTreeSet<&SyncPath> = seen
                .iter()
                .filter(|(other, value)| *other != path && value.content() == token)
                .map(|(other, _)| other)
                .collect();
            let is_shown_here = |name: &Name| {
                name.0 == token
                    && name.1 != *path
                    && family(&name.1) == family(path)
                    && !elsewhere.contains(&name.1)
            };
            for name in self.live(known, is_shown_here) {
                self.keeps.entry(name.clone()).or_default().rewritten_into.extend(rewritten);
                names.push(self.move_keep(name, path, event));
            }
        }
        for name in names {
            let keep = self.keeps.entry(name).or_default();
            keep.cancelled_by |= event;
            keep.rewritten_into.extend(rewritten);
            keep.is_deleted |= change.after == Content::Absent;
        }
    }

    /// Compares a disk, after everything was told to everybody, with what ought to be on it.
    ///
    /// # Errors
    /// Says what is missing, doubled or a phantom.
    pub fn check(&self, disk: &Disk) -> Result<(), String> {
        let mut expected: BTreeMap<(Content, SyncPath), (usize, usize)> = BTreeMap::new();
        let mut homes: BTreeMap<(Content, &SyncPath), bool> = BTreeMap::new();
        for ((token, home, _), _) in self.keeps.iter().filter(|(_, keep)| keep.cancelled_by == 0) {
            homes.insert((*token, home), self.is_weak(token, home));
        }
        for ((token, home), is_weak) in &homes {
            if !is_weak && !disk.contains_key(*home) {
                return Err(format!("the name {home} vanished, though it should hold {token:?}"));
            }
            if *token == Content::Directory {
                if !is_weak && !matches!(disk.get(*home), Some(Value::Directory { .. })) {
                    return Err(format!("directory {home} is gone"));
                }
                continue;
            }
            let (least, most) = expected.entry((*token, family(home))).or_default();
            *least = (*least).max(usize::from(!is_weak));
            *most += usize::from(!is_weak || !self.has_given_way(token, home));
        }
        if !self.is_lenient {
            homes.keys().map(|(_, home)| *home).try_for_each(|home| self.check_name(home, disk))?;
        }
        let mut found: BTreeMap<(Content, SyncPath), usize> = BTreeMap::new();
        for (path, value) in disk {
            if !matches!(value, Value::Directory { .. }) {
                *found.entry((value.content(), family(path))).or_default() += 1;
            } else if !self.may_be_directory(path, disk) {
                return Err(format!("directory {path} is a phantom"));
            }
        }
        self.compare(&expected, &found)
    }

    fn compare(
        &self,
        expected: &BTreeMap<(Content, SyncPath), (usize, usize)>,
        found: &BTreeMap<(Content, SyncPath), usize>,
    ) -> Result<(), String> {
        for ((token, family), (least, _)) in expected {
            if found.get(&(*token, family.clone())).copied().unwrap_or(0) < *least {
                return Err(format!("{token:?} is lost at {family}"));
            }
        }
        for ((token, family), n_found) in found {
            let most = expected.get(&(*token, family.clone())).map_or(0, |(_, most)| *most);
            if *n_found > most && !self.is_lenient {
                return Err(format!(
                    "{token:?} is shown {n_found} times at {family}, {most} at most ought to be"
                ));
            }
        }
        Ok(())
    }

    /// Whether somebody who had seen the bytes at this home replaced them: a keep that did not is then allowed to
    /// give way (a touch concurrent with an edit; equal bytes put there twice, of which one was edited).
    fn is_weak(&self, token: &Content, home: &SyncPath) -> bool {
        let all = || self.keeps.iter().filter(|(name, _)| name.0 == *token);
        all().any(|(name, keep)| name.1 == *home && !keep.rewritten_into.is_empty())
            || (self.is_lenient && all().any(|(_, keep)| keep.cancelled_by != 0))
    }

    /// Whether all that keeps these bytes at a home are changes of metadata, and what was put in their place, over
    /// however many edits, is still there: there is then nothing that could be in conflict (L5). Where somebody deleted
    /// them meanwhile, the change of metadata keeps them (D2), and they may be in conflict with what was made since.
    fn has_given_way(&self, token: &Content, home: &SyncPath) -> bool {
        let live = |token: Content| self.at_home(token, home).filter(|keep| keep.cancelled_by == 0);
        live(*token).all(|keep| keep.is_of_metadata)
            && !self.at_home(*token, home).any(|keep| keep.is_deleted)
            && self.successors(*token, home).into_iter().any(|into| live(into).next().is_some())
    }

    /// What was put in the place of these bytes, over however many edits.
    fn successors(&self, token: Content, home: &SyncPath) -> BTreeSet<Content> {
        let (mut next, mut met) = (vec![token], BTreeSet::new());
        while let Some(token) = next.pop() {
            let into = self.at_home(token, home).flat_map(|keep| &keep.rewritten_into);
            next.extend(into.filter(|into| met.insert(**into)));
        }
        met.remove(&token);
        met
    }

    fn at_home(&self, token: Content, home: &SyncPath) -> impl Iterator<Item = &Keep> {
        let home = home.clone();
        self.keeps.iter().filter(move |(name, _)| name.0 == token && name.1 == home).map(|(_, keep)| keep)
    }

    /// Of what was written at a path and stands there, the newest has the name, a directory before all (W1).
    ///
    /// Says nothing where changes of metadata or equal times have a part in it.
    fn check_name(&self, home: &SyncPath, disk: &Disk) -> Result<(), String> {
        let live: Vec<(&Name, &Keep)> =
            self.keeps.iter().filter(|(name, keep)| name.1 == *home && keep.cancelled_by == 0).collect();
        let is_plain = |(name, keep): &(&Name, &Keep)| !keep.is_of_metadata && !self.is_weak(&name.0, home);
        let holder = disk.get(home).map(Value::content);
        let is_parent = disk.keys().any(|below| home.is_ancestor_of(below));
        let is_directory = is_parent || live.iter().any(|(name, _)| name.0 == Content::Directory);
        let newest = live.iter().map(|(_, keep)| keep.rank).max();
        let mut winners = live.iter().filter(|(_, keep)| Some(keep.rank) == newest).map(|(name, _)| name.0);
        let winner = if is_directory { Some(Content::Directory) } else { winners.next() };
        if is_copy(home) || !live.iter().all(is_plain) || winners.any(|other| Some(other) != winner) {
            return Ok(());
        }
        if holder == winner {
            Ok(())
        } else {
            Err(format!("{home} is {holder:?}, not the newest: {winner:?}"))
        }
    }

    fn may_be_directory(&self, path: &SyncPath, disk: &Disk) -> bool {
        let is_kept = |(name, keep): (&Name, &Keep)| {
            name.0 == Content::Directory && name.1 == *path && keep.cancelled_by == 0
        };
        disk.keys().any(|below| path.is_ancestor_of(below))
            || self.is_lenient
            || self.keeps.iter().any(is_kept)
    }
}

const STAMP: &str = ".sync-conflict-";

/// True for the name of a conflict copy.
pub fn is_copy(path: &SyncPath) -> bool {
    String::from_utf8_lossy(path.name()).contains(STAMP)
}

/// The path without what conflict copies' names add.
pub fn family(path: &SyncPath) -> SyncPath {
    let mut text = String::from_utf8_lossy(path.as_bytes()).into_owned();
    while let Some(start) = text.find(STAMP) {
        let mut end = start + STAMP.len() + 15 + 1 + 7;
        if text.as_bytes().get(end) == Some(&b'-') {
            end += 9;
        }
        text.replace_range(start..end.min(text.len()), "");
    }
    SyncPath::parse(text.as_bytes()).expect("a path stays one")
}
