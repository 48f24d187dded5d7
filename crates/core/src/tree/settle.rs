//! Settling: how a user's act makes the copies that it concerns paths of their own.
//!
//! An act on a path settles the copies of it that the user saw; an act on a copy settles that copy. In both cases the
//! value stays, and moves from the register that showed it to the one of the name at which it was shown.

use std::collections::{BTreeMap, BTreeSet};

use super::Tree;
use crate::conflict::{copy_path, is_copy_of, origins};
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::projection::{Projection, hidden};
use crate::register::Register;
use crate::version::{Content, Dot, Version};

/// Versions that move from one path to others.
type Moves = BTreeMap<SyncPath, Vec<Dot>>;

/// Where a register has more versions than this, none is weighed against the others when it is merged: what that costs
/// grows with the cube of their number, and somebody may have made them for it.
const WEIGHED_MAX: usize = 64;

impl Tree {
    /// Makes what the user saw at a path that path's own, where it is another's value that is shown here, or was when
    /// the disk was last written.
    pub(super) fn take_in_seen(&mut self, path: &SyncPath, seen: Content) {
        let landed = self.landed(path).into_values();
        let dots: Vec<Dot> =
            landed.filter(|version| version.value.content() == seen).map(|version| version.dot).collect();
        self.take_in(path, &dots);
        for (origin, dots) in self.shown_before(path, seen) {
            self.take_in(&origin, &dots);
            self.settle(&origin, &Moves::from([(path.clone(), dots)]));
        }
    }

    /// What this disk shows at a copy's name, while the registers by now show it elsewhere: the paths it belongs to.
    /// Directories, which are all alike, are never copies.
    ///
    /// So when a copy took its path's name back because the directory there went, and the user deletes the copy in the
    /// same breath: it is that value which is deleted.
    pub(super) fn shown_before(&self, path: &SyncPath, seen: Content) -> Moves {
        let is_here = |version: &&Version| version.value.content() == seen;
        let is_recorded = |path: &SyncPath| self.record(path).is_some_and(|record| record.content == seen);
        let is_own =
            self.nodes.get(path).is_some_and(|node| node.register.versions().iter().any(|v| is_here(&v)));
        if !seen.is_bytes() || !is_recorded(path) || is_own || self.landed(path).values().any(is_here) {
            return Moves::new();
        }
        let mut moves = Moves::new();
        for origin in
            origins(path).into_iter().filter(|origin| is_copy_of(path, origin) && !is_recorded(origin))
        {
            let node = self.nodes.get(&origin);
            let own = node.as_ref().map(|node| node.register.versions()).unwrap_or_default();
            let standing = own.iter().chain(self.landed(&origin).into_values());
            let dots: Vec<Dot> = standing.filter(is_here).map(|version| version.dot).collect();
            if !dots.is_empty() {
                moves.insert(origin, dots);
            }
        }
        moves
    }

    /// Settles the copies of a path that are on this disk; the others the user has not seen.
    ///
    /// What the user saw at the path itself is dealt with there: its copy may have been put on the disk this moment.
    pub(super) fn settle_shown_losers(&mut self, path: &SyncPath, before: Content) {
        if is_made(Mistake::SettlingForgotten) {
            return;
        }
        let mut moves = Moves::new();
        let Projection { value: winner, losers, .. } = self.project(path);
        for loser in losers.into_iter().filter(|loser| loser.value.content() != before) {
            if self.is_on_disk(&loser.copy, &loser.dots, loser.value.content()) {
                moves.entry(loser.copy).or_default().extend(loser.dots);
            }
        }
        if winner.content() != before {
            moves.extend(self.shown_as_copy(path, winner.content()));
        }
        let dots: Vec<Dot> = moves.values().flatten().copied().collect();
        self.take_in(path, &dots);
        self.settle(path, &moves);
    }

    /// What must not be done, for [`Mistake::ConflictWritten`]: losers are settled though no user has dealt with them.
    pub(super) fn file_losers_away(&mut self, path: &SyncPath) {
        let losers = self.project(path).losers;
        self.settle(path, &losers.into_iter().map(|loser| (loser.copy, loser.dots)).collect());
    }

    /// Returns the copy at which this disk shows a value that by now has the name, and the value's dots: so where a
    /// directory was deleted elsewhere, and the disk has not followed.
    pub fn shown_as_copy(&self, path: &SyncPath, content: Content) -> Option<(SyncPath, Vec<Dot>)> {
        if !self.recorded_copies.contains_key(&content) {
            return None; // Names are costly to make, and most contents are not seen at any copy's.
        }
        let node = self.nodes.get(path);
        let standing = self.standing_with(path, node.as_ref().map(|node| &node.register));
        let versions = || standing.iter().filter(|version| version.value.content() == content);
        let mut names =
            versions().flat_map(|version| [false, true].map(|marked| copy_path(path, version, marked)));
        let is_here = |copy: &SyncPath| self.record(copy).is_some_and(|record| record.content == content);
        let copy = names.find(|copy| content.is_bytes() && is_here(copy))?;
        Some((copy, versions().map(|version| version.dot).collect()))
    }

    /// True if the disk has the value at this copy's name, or at a copy's of that, where it lost again.
    fn is_on_disk(&self, copy: &SyncPath, dots: &[Dot], content: Content) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = Some(copy.clone());
        while let Some(copy) = next.filter(|copy| seen.insert(copy.clone())) {
            if self.record(&copy).is_some_and(|record| record.content == content) {
                return true;
            }
            let losers = self.project(&copy).losers;
            next = losers
                .into_iter()
                .find(|loser| loser.dots.iter().any(|dot| dots.contains(dot)))
                .map(|loser| loser.copy);
        }
        false
    }

    /// Makes versions that land at a path its own, and all along the way that they came.
    fn take_in(&mut self, path: &SyncPath, dots: &[Dot]) {
        let mut way = Vec::new();
        let mut here = BTreeSet::from([path.clone()]);
        let mut met = here.clone();
        while !here.is_empty() {
            let mut above = BTreeSet::new();
            for copy in &here {
                let node = self.nodes.get(copy);
                let context = node.as_ref().map(|node| node.register.context());
                for (origin, versions) in self.landing.get(copy).into_iter().flatten() {
                    let is_news = |dot: &Dot| context.is_none_or(|context| !context.has_foreign(dot));
                    let moved: Vec<Dot> = versions
                        .iter()
                        .map(|version| version.dot)
                        .filter(|dot| dots.contains(dot) && is_news(dot))
                        .collect();
                    if !moved.is_empty() {
                        way.push((origin.clone(), Moves::from([(copy.clone(), moved)])));
                        above.extend(met.insert(origin.clone()).then(|| origin.clone()));
                    }
                }
            }
            here = above;
        }
        for (origin, moves) in way.into_iter().rev() {
            self.settle(&origin, &moves);
        }
    }

    /// Makes versions that `origin` shows at copies versions of the copies' own registers.
    fn settle(&mut self, origin: &SyncPath, moves: &Moves) {
        if moves.is_empty() {
            return;
        }
        let hidden_before = self.project(origin).hidden;
        let mut register = self.register(origin);
        let mut adopted: Vec<(&SyncPath, Vec<Version>)> = Vec::new();
        for (copy, dots) in moves {
            let landed = self.landing.get(copy).and_then(|origins| origins.get(origin));
            let shown = |dot: &Dot| landed?.iter().find(|version| version.dot == *dot).cloned();
            let settled =
                dots.iter().filter_map(|dot| register.settle(dot, origin, copy).or_else(|| shown(dot)));
            adopted.push((copy, settled.collect()));
        }
        self.put_register(origin, register);
        self.remove_unhidden(origin, &hidden_before);
        for (copy, versions) in adopted {
            let mut register = self.register(copy);
            versions.into_iter().for_each(|version| register.adopt(version));
            self.put_register(copy, register);
        }
    }

    /// Changes of metadata alone that are not shown here, nor to whoever has this register, because of what replaced their
    /// bytes.
    ///
    /// Each side may have dealt with another of those that hide such a change, and left it to the rest of them. Who made
    /// it since, on what was still on their disk, has not been seen by the other side, so that it is not among these.
    pub(super) fn hidden_on_both(&self, path: &SyncPath, other: &Register) -> Vec<Dot> {
        let is_of_metadata = |version: &&Version| !version.changed.content;
        let n_versions = other.versions().len();
        if !(2..=WEIGHED_MAX).contains(&n_versions)
            || !other.versions().iter().any(|version| is_of_metadata(&version))
        {
            return Vec::new();
        }
        let node = self.nodes.get(path);
        let standing = self.standing_with(path, node.as_ref().map(|node| &node.register));
        let theirs: Vec<&Version> = other.versions().iter().collect();
        let hidden_there = hidden(&theirs, other.settled());
        if hidden_there.is_empty() {
            return Vec::new();
        }
        let written: BTreeSet<Content> = theirs
            .iter()
            .chain(&standing)
            .filter(|version| version.changed.content)
            .map(|version| version.value.content())
            .collect();
        let is_meant = |dot: &Dot| {
            let version = other.get(dot).filter(is_of_metadata);
            version.is_some_and(|version| !written.contains(&version.value.content()))
        };
        let hidden_here = self.project(path).hidden;
        hidden_here.into_iter().filter(|dot| hidden_there.contains(dot) && is_meant(dot)).collect()
    }

    /// Removes from a path what was not shown because of what somebody has dealt with since; keeps it as a witness, if that is
    /// asked for.
    pub(super) fn remove_unhidden(&mut self, path: &SyncPath, hidden_before: &[Dot]) {
        let mut register = self.register(path);
        let gone = self.take_unhidden(path, &mut register, hidden_before);
        if self.keeps_witnesses {
            gone.into_iter().for_each(|gone| register.retire(gone));
        }
        self.put_register(path, register);
    }

    /// Takes versions from a path's register that were not shown because another had replaced their bytes, and that would be
    /// shown now that the user has dealt with that other: who saw the replacement has no use for what it replaced.
    pub(super) fn take_unhidden(
        &self,
        path: &SyncPath,
        register: &mut Register,
        hidden_before: &[Dot],
    ) -> Vec<Version> {
        let mut taken = Vec::new();
        if hidden_before.is_empty() || is_made(Mistake::HiddenComesBack) {
            return taken;
        }
        let before = register.clone();
        let mut standing = self.standing_with(path, Some(&before));
        loop {
            let hidden_now: BTreeSet<Dot> = hidden(&standing, register.settled()).into_iter().collect();
            let is_shown = |dot: &Dot| hidden_before.contains(dot) && !hidden_now.contains(dot);
            let shown: Vec<Dot> = standing.iter().map(|version| version.dot).filter(is_shown).collect();
            if shown.is_empty() {
                return taken;
            }
            taken.extend(shown.iter().filter_map(|dot| register.get(dot).cloned()));
            // What they hid in turn would show next.
            standing.retain(|version| !shown.contains(&version.dot));
            register.remove(&shown);
        }
    }
}
