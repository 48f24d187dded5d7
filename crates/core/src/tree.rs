//! All registers and records of one directory, and the acts that change them.
//!
//! The tree keeps two things beside the registers, both derived from them: which paths' values are shown at which
//! conflict names, and how many children of a directory are shown. By these every change costs what it touches,
//! whatever the size of the tree. It decides nothing about the disk; `plan` does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::path::SyncPath;
use crate::projection::{Projection, project};
use crate::record::Record;
use crate::register::Register;
use crate::version::{Changed, Content, Dot, Signature, Time, Value, Version};

/// Everything about one path.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Node {
    /// What is known.
    pub register: Register,
    /// What is on this disk.
    pub record: Option<Record>,
    /// The local sequence number of its last change that others should hear of; 0: none yet.
    pub sequence: u64,
    /// Whether something is shown here.
    visible: bool,
    /// How many children are visible.
    visible_children: u32,
    /// The conflict names at which values of this path are shown.
    copies: Vec<SyncPath>,
}

/// A user's act at one path, as it was found on the disk.
#[derive(Clone, PartialEq, Debug)]
pub struct Act {
    /// Where.
    pub path: SyncPath,
    /// What the user had seen there: the record's content, or absent.
    pub before: Content,
    /// What is there now.
    pub value: Value,
    /// What of it the user changed.
    pub changed: Changed,
    /// The rank time: the mtime, capped by the clock when it was read.
    pub rank: Time,
    /// The version's name, never used before.
    pub dot: Dot,
}

/// The registers and records of one directory.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<SyncPath, Node>,
    /// Conflict name -> the paths of which something is shown there.
    landing: BTreeMap<SyncPath, BTreeSet<SyncPath>>,
    /// Paths whose register changed since they were last taken.
    changed: BTreeSet<SyncPath>,
    /// Paths whose projection may have changed since they were last taken.
    stale: BTreeSet<SyncPath>,
}

impl Tree {
    /// The node of a path, if anything is known of it.
    pub fn get(&self, path: &SyncPath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// All paths and nodes, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (&SyncPath, &Node)> {
        self.nodes.iter()
    }

    /// Everything strictly below a path, in order.
    pub fn below<'a>(&'a self, path: &'a SyncPath) -> impl Iterator<Item = (&'a SyncPath, &'a Node)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.nodes.range((Excluded(path), Unbounded)).take_while(move |(below, _)| path.is_ancestor_of(below))
    }

    /// The record of a path.
    pub fn record(&self, path: &SyncPath) -> Option<&Record> {
        self.nodes.get(path)?.record.as_ref()
    }

    /// Notes what is on the disk now; none: nothing.
    pub fn set_record(&mut self, path: &SyncPath, record: Option<Record>) {
        if record.is_some() || self.nodes.contains_key(path) {
            self.nodes.entry(path.clone()).or_default().record = record;
            self.stale.insert(path.clone());
        }
    }

    /// Gives a path its sequence number.
    pub fn set_sequence(&mut self, path: &SyncPath, sequence: u64) {
        if let Some(node) = self.nodes.get_mut(path) {
            node.sequence = sequence;
        }
    }

    /// Puts a stored node back; [`Tree::refresh_all`] must follow the last.
    pub fn load(&mut self, path: SyncPath, register: Register, record: Option<Record>, sequence: u64) {
        self.nodes.insert(path, Node { register, record, sequence, ..Node::default() });
    }

    /// Derives what is derived, after loading. Nothing counts as changed by it; every projection counts as stale.
    pub fn refresh_all(&mut self) {
        let paths: Vec<SyncPath> = self.nodes.keys().cloned().collect();
        for path in paths {
            self.refresh(&path);
        }
        self.changed.clear();
        self.stale = self.nodes.keys().cloned().collect();
    }

    /// Takes the paths whose register changed.
    pub fn take_changed(&mut self) -> BTreeSet<SyncPath> {
        std::mem::take(&mut self.changed)
    }

    /// Takes the paths whose projection or record may have changed.
    pub fn take_stale(&mut self) -> BTreeSet<SyncPath> {
        std::mem::take(&mut self.stale)
    }

    /// Joins a register from elsewhere; true if anything was learnt.
    pub fn merge(&mut self, path: &SyncPath, other: &Register) -> bool {
        let before = self.nodes.get(path).map(|node| node.register.clone()).unwrap_or_default();
        let mut after = before.clone();
        after.merge(other);
        if after == before {
            return false;
        }
        self.put_register(path, after);
        true
    }

    /// What the path shows, of all that stands there: its own versions, and others' values shown at this name.
    pub fn project(&self, path: &SyncPath) -> Projection {
        let landed = self.landed(path);
        let node = self.nodes.get(path);
        let own = node.map(|node| node.register.versions()).unwrap_or_default();
        let standing: Vec<&Version> = own.iter().chain(landed.iter().map(|(_, version)| version)).collect();
        let taken = node.map(|node| settled_names(&node.register)).unwrap_or_default();
        let is_parent = node.is_some_and(|node| node.visible_children > 0);
        project(path, &standing, is_parent, &taken)
    }

    /// The versions of other paths that are shown at this one, each with the path that shows it here.
    ///
    /// A value that this path's register has heard of is its own affair and is not among them.
    fn landed(&self, path: &SyncPath) -> Vec<(SyncPath, Version)> {
        let Some(origins) = self.landing.get(path) else { return Vec::new() };
        let mut landed: BTreeMap<Dot, (SyncPath, Version)> = BTreeMap::new();
        let is_news = |version: &Version| {
            self.nodes.get(path).is_none_or(|node| !node.register.context().has_foreign(&version.dot))
        };
        for origin in origins {
            for mut version in self.shown_elsewhere(origin, path) {
                version.born_at.get_or_insert_with(|| origin.clone());
                if is_news(&version) {
                    landed.insert(version.dot, (origin.clone(), version));
                }
            }
        }
        landed.into_values().collect()
    }

    /// The versions of `origin` that it shows at `copy`: losers, and what was settled there.
    fn shown_elsewhere(&self, origin: &SyncPath, copy: &SyncPath) -> Vec<Version> {
        let Some(node) = self.nodes.get(origin) else { return Vec::new() };
        let settled = node.register.settled().iter().filter(|settled| settled.copy == *copy);
        let mut versions: Vec<Version> = settled.map(|settled| settled.version.clone()).collect();
        if !node.copies.contains(copy) {
            return versions;
        }
        let projection = self.project(origin);
        let landed = self.landed(origin);
        for dot in projection.losers.iter().filter(|loser| loser.copy == *copy).flat_map(|loser| &loser.dots)
        {
            let own = node.register.get(dot).cloned();
            let foreign = || landed.iter().find(|(_, version)| version.dot == *dot).map(|(_, v)| v.clone());
            versions.extend(own.or_else(foreign));
        }
        versions
    }

    /// Carries out a user's act, with everything that belongs to it in one step: what the user had seen is replaced,
    /// and copies that were shown on this disk settle as paths of their own.
    pub fn act(&mut self, act: Act) {
        let hidden_before = self.project(&act.path).hidden;
        self.take_in_landed(&act.path, act.before);
        self.settle_shown_losers(&act.path);
        let projection = self.project(&act.path);
        let mut register = self.register(&act.path);
        let seen: Vec<Dot> = register
            .versions()
            .iter()
            .filter(|version| version.value.content() == act.before || !version.value.is_present())
            .map(|version| version.dot)
            .collect();
        let value = complete(act.value, act.changed, act.before, &projection.value);
        let version = Version {
            dot: act.dot,
            value,
            rank: act.rank,
            replaced: seen.clone(),
            base: act.before,
            changed: act.changed,
            born_at: None,
            signature: Signature(None),
        };
        register.write(&seen, version);
        self.put_register(&act.path, register);
        self.remove_unhidden(&act.path, &hidden_before);
    }

    /// True if a user who saw `before` at the path has something to replace there.
    pub fn holds_content(&self, path: &SyncPath, content: Content) -> bool {
        let own = self.nodes.get(path).map(|node| node.register.versions()).unwrap_or_default();
        own.iter().any(|version| version.value.content() == content)
            || self.landed(path).iter().any(|(_, version)| version.value.content() == content)
    }

    /// An act on a copy settles it in both registers: the one that shows it here, and this path's own.
    fn take_in_landed(&mut self, path: &SyncPath, seen: Content) {
        for (origin, version) in self.landed(path) {
            if version.value.content() == seen {
                self.settle(&origin, path, &version.dot);
            }
        }
    }

    fn settle_shown_losers(&mut self, path: &SyncPath) {
        for loser in self.project(path).losers {
            if self.record(&loser.copy).is_none_or(|record| record.content != loser.value.content()) {
                continue; // Not on this disk yet, so the user has not seen it.
            }
            for dot in &loser.dots {
                if let Some((origin, _)) =
                    self.landed(path).into_iter().find(|(_, version)| version.dot == *dot)
                {
                    self.settle(&origin, path, dot);
                }
                self.settle(path, &loser.copy, dot);
            }
        }
    }

    /// Makes the version `dot`, which `origin` shows at `copy`, a version of `copy`'s own register.
    fn settle(&mut self, origin: &SyncPath, copy: &SyncPath, dot: &Dot) {
        let hidden_before = self.project(origin).hidden;
        let settled_before =
            self.shown_elsewhere(origin, copy).into_iter().find(|version| version.dot == *dot);
        let mut register = self.register(origin);
        let settled = register.settle(dot, origin, copy).or(settled_before.map(|mut version| {
            version.born_at.get_or_insert_with(|| origin.clone());
            version
        }));
        self.put_register(origin, register);
        self.remove_unhidden(origin, &hidden_before);
        if let Some(version) = settled {
            let mut register = self.register(copy);
            register.adopt(version);
            self.put_register(copy, register);
        }
    }

    /// Removes versions that were not shown because another had replaced their bytes, and that would be shown now
    /// that the user has dealt with that other: who saw the replacement has no use for what it replaced.
    fn remove_unhidden(&mut self, path: &SyncPath, hidden_before: &[Dot]) {
        if hidden_before.is_empty() {
            return;
        }
        let hidden_after = self.project(path).hidden;
        let shown_now: Vec<Dot> =
            hidden_before.iter().filter(|dot| !hidden_after.contains(dot)).copied().collect();
        let mut register = self.register(path);
        register.remove(&shown_now);
        self.put_register(path, register);
    }

    fn register(&self, path: &SyncPath) -> Register {
        self.nodes.get(path).map(|node| node.register.clone()).unwrap_or_default()
    }

    /// Puts signatures on versions that this device has made.
    pub fn sign(&mut self, path: &SyncPath, dot: &Dot, signature: Signature) {
        if let Some(node) = self.nodes.get_mut(path) {
            node.register.sign(dot, signature);
        }
    }

    fn put_register(&mut self, path: &SyncPath, register: Register) {
        let node = self.nodes.entry(path.clone()).or_default();
        if node.register != register {
            node.register = register;
            self.changed.insert(path.clone());
            self.refresh(path);
        }
    }

    /// Derives again what follows from a path's versions, and from there whatever that touches.
    fn refresh(&mut self, path: &SyncPath) {
        let mut queue = VecDeque::from([path.clone()]);
        while let Some(path) = queue.pop_front() {
            self.stale.insert(path.clone());
            let projection = self.project(&path);
            let Some(node) = self.nodes.get_mut(&path) else { continue };
            let settled = node.register.settled().iter().map(|settled| settled.copy.clone());
            let mut copies: Vec<SyncPath> =
                projection.losers.into_iter().map(|loser| loser.copy).chain(settled).collect();
            copies.sort();
            copies.dedup();
            let visible = projection.value.is_present();
            let was_visible = std::mem::replace(&mut node.visible, visible);
            let old_copies = std::mem::replace(&mut node.copies, copies.clone());
            for copy in old_copies.iter().filter(|copy| !copies.contains(copy)) {
                self.unland(copy, &path);
            }
            for copy in &copies {
                self.landing.entry(copy.clone()).or_default().insert(path.clone());
                self.nodes.entry(copy.clone()).or_default();
            }
            queue.extend(old_copies.into_iter().chain(copies));
            if visible != was_visible
                && let Some(parent) = path.parent().filter(|parent| !parent.is_root())
            {
                self.count_child(&parent, visible);
                queue.push_back(parent);
            }
        }
    }

    fn unland(&mut self, copy: &SyncPath, origin: &SyncPath) {
        if let Some(origins) = self.landing.get_mut(copy) {
            origins.remove(origin);
            if origins.is_empty() {
                self.landing.remove(copy);
            }
        }
    }

    /// Counts a child that has come or gone; true if the parent became, or ceased to be, one that has any.
    fn count_child(&mut self, parent: &SyncPath, visible: bool) -> bool {
        let node = self.nodes.entry(parent.clone()).or_default();
        let before = node.visible_children;
        node.visible_children = if visible { before + 1 } else { before.saturating_sub(1) };
        (before == 0) != (node.visible_children == 0)
    }
}

/// What the user did not change is as the register has it, not as this disk had it: a remote's chmod that has not
/// reached the disk yet is not undone by an edit.
fn complete(mut value: Value, changed: Changed, before: Content, shown: &Value) -> Value {
    if shown.content() != before {
        return value;
    }
    if let (Value::File { mode, .. }, false, Some(shown_mode)) = (&mut value, changed.mode, shown.mode()) {
        *mode = shown_mode;
    }
    if let (Value::File { mtime, .. }, false, Some(shown_mtime)) = (&mut value, changed.mtime, shown.mtime())
    {
        *mtime = shown_mtime;
    }
    value
}

fn settled_names(register: &Register) -> BTreeMap<SyncPath, Content> {
    register.settled().iter().map(|settled| (settled.copy.clone(), settled.version.value.content())).collect()
}
