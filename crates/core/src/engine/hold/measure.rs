//! How much is too much: what was deleted within a while, against what there was.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Holds;
use crate::engine::Engine;
use crate::path::SyncPath;
use crate::version::{Content, ContentHash};

/// Deletions count together for so long.
const WINDOW_MS: u64 = 600_000;

/// How much may be deleted without being asked about: deletions are held that exceed both within ten minutes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HoldLimit {
    /// So many files and symlinks.
    pub files: u64,
    /// So many of a hundred of those that there were, equal ones counted once: fewer than the others are left.
    pub percent: u64,
}

impl Default for HoldLimit {
    fn default() -> HoldLimit {
        HoldLimit { files: 100, percent: 50 }
    }
}

/// What counts towards the limit. Of one second all is noted together, so that what is looked through stays short.
#[derive(Debug, Default)]
pub(super) struct Measure {
    /// Deletions that were not held.
    recent: VecDeque<Deleted>,
    /// How many contents were recorded: when (milliseconds) and how many, a smaller number only after a larger one.
    peaks: VecDeque<(u64, u64)>,
}

/// Deletions of one second.
#[derive(Debug)]
struct Deleted {
    at_ms: u64,
    count: u64,
    /// Of how many files with which content.
    contents: BTreeMap<Content, u64>,
}

/// What a while came to.
pub(super) struct Measured {
    n_deleted: u64,
    /// The most contents that were recorded at any time.
    n_contents_most: u64,
}

fn is_of_one_second(one_ms: u64, other_ms: u64) -> bool {
    one_ms / 1_000 == other_ms / 1_000
}

impl Measure {
    /// Notes deletions of these contents.
    fn note_deletions(&mut self, now_ms: u64, contents: impl Iterator<Item = Content>) {
        if !self.recent.back().is_some_and(|last| is_of_one_second(last.at_ms, now_ms)) {
            self.recent.push_back(Deleted { at_ms: now_ms, count: 0, contents: BTreeMap::new() });
        }
        let Some(last) = self.recent.back_mut() else { return };
        for content in contents {
            last.count += 1;
            *last.contents.entry(content).or_default() += 1;
        }
    }

    /// One deletion of this content was none.
    pub(super) fn forget(&mut self, content: Content) {
        let noted = |deleted: &&mut Deleted| deleted.contents.get(&content).is_some_and(|count| *count > 0);
        if let Some(deleted) = self.recent.iter_mut().find(noted) {
            deleted.count -= 1;
            deleted.contents.entry(content).and_modify(|count| *count -= 1);
        }
    }

    /// Notes how many contents are recorded.
    pub(super) fn note_contents(&mut self, now_ms: u64, n_contents: u64) {
        while self.peaks.back().is_some_and(|(_, earlier)| *earlier <= n_contents) {
            self.peaks.pop_back();
        }
        // Of one second the most counts, and what it came to in the end.
        let is_now = |(at, _): &&(u64, u64)| is_of_one_second(*at, now_ms);
        if self.peaks.iter().rev().take(2).filter(is_now).count() == 2 {
            self.peaks.pop_back();
        }
        self.peaks.push_back((now_ms, n_contents));
    }

    /// What it came to since; what was before is forgotten.
    fn since(&mut self, since_ms: u64) -> Measured {
        while self.recent.front().is_some_and(|deleted| deleted.at_ms < since_ms) {
            self.recent.pop_front();
        }
        while self.peaks.get(1).is_some_and(|(at, _)| *at <= since_ms) {
            self.peaks.pop_front();
        }
        Measured {
            n_deleted: self.recent.iter().map(|deleted| deleted.count).sum(),
            n_contents_most: self.peaks.front().map_or(0, |(_, n_contents)| *n_contents),
        }
    }
}

impl Engine {
    /// How many deletions of the last ten minutes went through: those that came before the limit was reached. Nothing is
    /// remembered of those before a start, or before the last answer.
    pub fn n_let_through(&self) -> u64 {
        let since_ms = self.now.monotonic_ms.saturating_sub(WINDOW_MS);
        let recent = self.holds.measure.recent.iter().filter(|deleted| deleted.at_ms >= since_ms);
        recent.map(|deleted| deleted.count).sum()
    }

    /// How many different files there are, and symlinks: a copy adds none, and neither does one half of a rename.
    pub(in crate::engine) fn n_contents(&self) -> u64 {
        self.holders.len() as u64 + self.n_symlinks
    }

    /// Of paths that go, those whose bytes are under no other name that stays: what a rename in two steps, or a copy, has
    /// left under another name is not lost.
    pub(super) fn without_another_name(
        &self,
        mut paths: BTreeSet<SyncPath>,
        goes: &dyn Fn(&SyncPath) -> bool,
    ) -> BTreeSet<SyncPath> {
        let Holds { told, leaving, .. } = &self.holds;
        let stays = |path: &&SyncPath| {
            !goes(path) && !self.holds.is_about(path) && !told.contains(*path) && !leaving.contains(*path)
        };
        let content_of = |path: &SyncPath| match self.tree.record(path).map(|record| record.content) {
            Some(Content::File(content)) => Some(content),
            _ => None,
        };
        let mut going: BTreeMap<ContentHash, usize> = BTreeMap::new();
        paths.iter().filter_map(content_of).for_each(|content| *going.entry(content).or_default() += 1);
        let count = |(content, count): (ContentHash, usize)| {
            let holders = self.holders.get(&content, &self.tree);
            (content, holders.filter(stays).take(count).count())
        };
        let mut staying: BTreeMap<ContentHash, usize> = going.into_iter().map(count).collect();
        paths.retain(|path| {
            let Some(left) = content_of(path).and_then(|content| staying.get_mut(&content)) else {
                return true;
            };
            let is_elsewhere = *left > 0;
            *left = left.saturating_sub(1);
            !is_elsewhere
        });
        paths
    }

    /// True if so many deletions more are held. What was held when the last life ended is, whatever the limit says by now.
    pub(super) fn is_too_much(&mut self, n_more: usize) -> bool {
        n_more > 0 && (self.holds.was_holding || self.is_over_the_limit(n_more))
    }

    /// True if what was deleted lately, what is held and so much more are too much together.
    pub(super) fn is_over_the_limit(&mut self, n_more: usize) -> bool {
        let Some(limit) = self.config.hold else { return false };
        let measured = self.holds.measure.since(self.now.monotonic_ms.saturating_sub(WINDOW_MS));
        let n_more = self.n_held() + n_more as u64;
        let n_contents = self.n_contents();
        let n_left = n_contents.saturating_sub(n_more);
        let kept_percent = 100_u64.saturating_sub(limit.percent);
        measured.n_deleted + n_more > limit.files
            && n_left * 100 < measured.n_contents_most.max(n_contents) * kept_percent
    }

    /// True if so many deletions may be held.
    pub(in crate::engine) fn would_be_held(&self, n_more: usize) -> bool {
        self.config.hold.is_some_and(|limit| n_more as u64 > limit.files)
    }

    pub(super) fn note_deletions(&mut self, paths: &BTreeSet<SyncPath>) {
        if paths.is_empty() || self.config.hold.is_none() {
            return;
        }
        let contents = paths.iter().filter_map(|path| self.tree.record(path)).map(|record| record.content);
        self.holds.measure.note_deletions(self.now.monotonic_ms, contents);
    }
}
