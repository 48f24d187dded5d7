//! What the tree derives from its registers, and keeps in step: who is shown where, and which directories have
//! something to hold.
//!
//! A value that loses a path stands at its copy's name, where it may lose again. Names of copies only grow (or hold the
//! hash of the name they came from), children only hang on parents, so that a change runs out by itself.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::Tree;
use crate::conflict::{has_stamp, is_copy_of};
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::projection::Projection;
use crate::version::{Content, Dot, Version};

/// How far one change runs, in steps from path to copy or parent, at most. No honest tree comes near; it bounds what
/// somebody achieves who finds two names that hold each other's hash.
const STEPS_MAX: u32 = 1 << 16;

impl Tree {
    /// The versions of other paths that are shown at this one, by dot.
    ///
    /// A value that this path's register has heard of is its own affair and is not among them.
    pub(super) fn landed(&self, path: &SyncPath) -> BTreeMap<Dot, &Version> {
        let Some(origins) = self.landing.get(path) else { return BTreeMap::new() };
        let node = self.nodes.get(path);
        let context = node.as_ref().map(|node| node.register.context());
        let is_news = |version: &&Version| context.is_none_or(|context| !context.has_foreign(&version.dot));
        origins.values().flatten().filter(is_news).map(|version| (version.dot, version)).collect()
    }

    /// Derives again what follows from a path's versions, and from there whatever that touches.
    pub(super) fn refresh(&mut self, path: &SyncPath) {
        let touched = self.refresh_touched(path);
        self.stale.extend(touched);
        self.stale.insert(path.clone());
    }

    /// The same, but that nothing becomes stale; returns the other paths whose projection may have changed.
    pub(super) fn refresh_touched(&mut self, path: &SyncPath) -> Vec<SyncPath> {
        let mut touched = self.refresh_one(path);
        let (mut at, mut level_ends, mut steps) = (0, touched.len(), 1);
        while at < touched.len() {
            if at == level_ends {
                (level_ends, steps) = (touched.len(), steps + 1);
            }
            let further = self.refresh_one(&touched[at].clone());
            if steps < STEPS_MAX {
                touched.extend(further);
            }
            at += 1;
        }
        touched
    }

    /// Derives again what follows directly; returns the paths whose projection may have changed by it.
    fn refresh_one(&mut self, path: &SyncPath) -> Vec<SyncPath> {
        let projection = self.project(path);
        let is_visible = projection.value.is_present();
        let shown = if projection.losers.is_empty() && !self.nodes.has_settled(path) {
            BTreeMap::new()
        } else {
            self.shown_elsewhere(path, &projection)
        };
        let mut touched = self.land(path, shown);
        let was_visible = self.nodes.set_visible(path, is_visible);
        if was_visible.is_some_and(|was_visible| was_visible != is_visible) {
            // Shown again for what lies below it: others may have forgotten how it was.
            if is_visible && self.is_deleted(path) {
                self.changed.insert(path.clone());
            }
            touched.extend(self.count_child(path, is_visible));
        }
        touched
    }

    /// True if users have deleted all that was ever at a path.
    fn is_deleted(&self, path: &SyncPath) -> bool {
        if self.nodes.only_value(path).is_some_and(|value| value.is_present()) {
            return false;
        }
        let is_deleted = |version: &Version| !version.value.is_present();
        self.nodes
            .get(path)
            .is_some_and(|node| !node.register.is_empty() && node.register.versions().iter().all(is_deleted))
    }

    /// What a path shows at other names: its losers, and what was settled from it; in order of dots.
    fn shown_elsewhere(&self, path: &SyncPath, projection: &Projection) -> BTreeMap<SyncPath, Vec<Version>> {
        let Some(node) = self.nodes.get(path) else { return BTreeMap::new() };
        let landed = self.landed(path);
        let mut shown: BTreeMap<SyncPath, BTreeMap<Dot, &Version>> = BTreeMap::new();
        for settled in node.register.settled() {
            let Some(copy) = settled.copy.as_ref().filter(|copy| is_copy_of(copy, path)) else { continue };
            if settled.version.value.is_present() {
                shown.entry(copy.clone()).or_default().insert(settled.version.dot, &settled.version);
            }
        }
        for loser in &projection.losers {
            let held = |dot: &Dot| node.register.get(dot).or_else(|| landed.get(dot).copied());
            let versions = loser.dots.iter().filter_map(|dot| Some((*dot, held(dot)?)));
            shown.entry(loser.copy.clone()).or_default().extend(versions);
        }
        let as_foreign = |version: &Version| {
            let mut version = version.clone();
            version.born_at.get_or_insert_with(|| path.clone());
            version
        };
        shown.into_iter().map(|(copy, dots)| (copy, dots.into_values().map(as_foreign).collect())).collect()
    }

    /// Notes what a path shows elsewhere; returns the names where that changed.
    fn land(&mut self, path: &SyncPath, shown: BTreeMap<SyncPath, Vec<Version>>) -> Vec<SyncPath> {
        if shown.is_empty() && !self.copies.contains_key(path) {
            return Vec::new();
        }
        let mut touched = Vec::new();
        let before = self.copies.remove(path).unwrap_or_default();
        for copy in before.iter().filter(|copy| !shown.contains_key(*copy)) {
            self.unland(copy, path);
            touched.push(copy.clone());
        }
        if !shown.is_empty() {
            self.copies.insert(path.clone(), shown.keys().cloned().collect());
        }
        for (copy, versions) in shown {
            let origins = self.landing.entry(copy.clone()).or_default();
            if origins.get(path) != Some(&versions) {
                origins.insert(path.clone(), versions);
                self.node_or_insert(&copy);
                touched.push(copy);
            }
        }
        touched
    }

    fn unland(&mut self, copy: &SyncPath, origin: &SyncPath) {
        if let Some(origins) = self.landing.get_mut(copy) {
            origins.remove(origin);
            if origins.is_empty() {
                self.landing.remove(copy);
            }
        }
    }

    /// Counts what is recorded at a conflict copy's name, and what is so no longer.
    pub(super) fn count_recorded_copy(
        &mut self,
        path: &SyncPath,
        before: Option<Content>,
        after: Option<Content>,
    ) {
        if before == after || !has_stamp(path) {
            return;
        }
        if let Some(content) = after {
            *self.recorded_copies.entry(content).or_default() += 1;
        }
        if let Some(content) = before
            && let Entry::Occupied(mut count) = self.recorded_copies.entry(content)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Counts a child that has come or gone; returns the parent if it became, or ceased to be, one that has any.
    fn count_child(&mut self, path: &SyncPath, is_visible: bool) -> Option<SyncPath> {
        let parent = path.parent().filter(|parent| !parent.is_root())?;
        if is_made(Mistake::ChildrenNotCounted) {
            return None;
        }
        let node = self.node_or_insert(&parent);
        let before = node.visible_children;
        node.visible_children = if is_visible { before + 1 } else { before.saturating_sub(1) };
        ((before == 0) != (node.visible_children == 0)).then_some(parent)
    }
}
