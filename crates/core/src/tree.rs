//! All registers and records of one directory, and the acts that change them.
//!
//! The tree keeps two things beside the registers, both derived from them: which paths' values are shown at which
//! conflict names, and how many children of a directory are shown. By these every change costs what it touches,
//! whatever the size of the tree. It decides nothing about the disk; `plan` does.

mod compact;
mod derived;
mod nodes;
mod replaced;
mod settle;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use self::nodes::Nodes;
pub use self::nodes::StoredNodes;
use crate::conflict::has_stamp;
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::projection::{Projection, project};
use crate::record::Record;
use crate::register::Register;
use crate::size::{announced_bytes, place_bytes};
use crate::version::{Changed, Content, DeviceId, Dot, Signature, Time, Value, Version};
use crate::witness;

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
}

/// A path, what is known of it, what is on this disk, and its sequence number, as they are stored.
pub type StoredNode = (SyncPath, Register, Option<Record>, u64);

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
    nodes: Nodes,
    /// Conflict name -> the paths of which something is shown there -> what is shown, ordered by dot.
    landing: BTreeMap<SyncPath, BTreeMap<SyncPath, Vec<Version>>>,
    /// The same by path: the conflict names at which something of it is shown.
    copies: BTreeMap<SyncPath, BTreeSet<SyncPath>>,
    /// How many records at names of conflict copies hold a content.
    recorded_copies: BTreeMap<Content, u32>,
    /// Paths whose register changed since they were last taken.
    changed: BTreeSet<SyncPath>,
    /// Paths whose projection may have changed since they were last taken.
    stale: BTreeSet<SyncPath>,
    /// Whose disk this is; what it has written itself is not weighed.
    own: Option<DeviceId>,
    /// What goes with what had replaced its bytes is kept for what its author had heard of: others may ask who bears witness.
    pub(crate) keeps_witnesses: bool,
    /// Versions written here say what else their author had heard of: where others ask for that, or take nobody else's word.
    pub(crate) attests: bool,
    /// What others have made this tree take, in bytes of memory.
    announced_bytes: usize,
}

impl Tree {
    /// A tree of this device, which has nothing in it yet.
    pub fn of(own: DeviceId) -> Tree {
        Tree { own: Some(own), ..Tree::default() }
    }

    /// What other devices have made this tree take, in bytes of memory, roughly and from above.
    pub fn announced_bytes(&self) -> usize {
        self.announced_bytes
    }

    /// By how much that would grow if a register were merged at a path.
    pub fn growth_bytes(&self, path: &SyncPath, other: &Register) -> usize {
        let own = self.own.as_ref();
        let node = self.nodes.get(path);
        let (before, after) = match &node {
            Some(node) if node.register.covers(other) => return 0,
            Some(node) => {
                let mut joined = node.register.clone();
                joined.merge(other);
                (announced_bytes(path, &node.register, own), announced_bytes(path, &joined, own))
            }
            None => (0, announced_bytes(path, other, own)),
        };
        let has_parents = node.is_some_and(|node| node.visible);
        let missing_bytes = if has_parents { 0 } else { self.missing_parents_bytes(path) };
        after.saturating_sub(before) + missing_bytes
    }

    /// What the directories above a path would take that nothing is known of. Looked for from the top: whoever announces
    /// thousands of directories in one path has the first of them looked for, not all.
    fn missing_parents_bytes(&self, path: &SyncPath) -> usize {
        let is_known = |above: &SyncPath| above.is_root() || self.nodes.contains(above);
        if path.parent().is_none_or(|parent| is_known(&parent)) {
            return 0;
        }
        let bytes = path.as_bytes();
        let ends = (0..bytes.len()).filter(|at| bytes[*at] == b'/');
        let is_end_known =
            |end: &usize| SyncPath::parse(&bytes[..*end]).is_ok_and(|above| self.nodes.contains(&above));
        ends.skip_while(is_end_known).map(place_bytes).sum()
    }

    /// The node of a path, if anything is known of it.
    pub fn get(&self, path: &SyncPath) -> Option<Cow<'_, Node>> {
        self.nodes.get(path)
    }

    /// True if a path has a node.
    pub(crate) fn is_any_known(&self, path: &SyncPath) -> bool {
        self.nodes.contains(path)
    }

    /// All paths and nodes, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (&SyncPath, Cow<'_, Node>)> {
        self.nodes.from(Bound::Unbounded)
    }

    /// All paths, parents before children.
    pub fn paths(&self) -> impl Iterator<Item = &SyncPath> {
        self.nodes.paths()
    }

    /// All records, in the order of their paths.
    pub fn records(&self) -> impl Iterator<Item = (&SyncPath, Record)> {
        self.nodes.records()
    }

    /// All paths and their sequence numbers, in the order of paths.
    pub fn sequences(&self) -> impl Iterator<Item = (&SyncPath, u64)> {
        self.nodes.sequences()
    }

    /// Every path after one, or from the first on, with what is known of it.
    pub fn after(&self, path: Option<&SyncPath>) -> impl Iterator<Item = (&SyncPath, Cow<'_, Node>)> {
        self.nodes.from(path.map_or(Bound::Unbounded, Bound::Excluded))
    }

    /// How many paths anything is known of.
    pub fn n_paths(&self) -> usize {
        self.nodes.len()
    }

    /// Everything strictly below a path, in order.
    pub fn below<'a>(&'a self, path: &'a SyncPath) -> impl Iterator<Item = (&'a SyncPath, Cow<'a, Node>)> {
        self.nodes.from(Bound::Excluded(path)).take_while(move |(below, _)| path.is_ancestor_of(below))
    }

    /// The paths directly in a directory, in order, without going through what lies below them.
    pub fn children(&self, directory: &SyncPath) -> Vec<SyncPath> {
        let mut children: Vec<SyncPath> = Vec::new();
        let mut paths = self.nodes.paths_after(directory);
        while let Some(next) = paths.next() {
            if let Some(child) = children.last().filter(|child| child.is_ancestor_of(next)) {
                paths = self.nodes.paths_after(&child.end_of_subtree());
                continue;
            }
            let Some(child) = directory.child_towards(next) else { break };
            children.push(child);
        }
        children
    }

    /// The conflict names at which something of a path is shown.
    pub fn copies(&self, path: &SyncPath) -> impl Iterator<Item = &SyncPath> {
        self.copies.get(path).into_iter().flatten()
    }

    /// The record of a path.
    pub fn record(&self, path: &SyncPath) -> Option<Record> {
        self.nodes.record(path)
    }

    /// Notes what is on the disk now; none: nothing.
    pub fn set_record(&mut self, path: &SyncPath, record: Option<Record>) {
        if record.is_some() || self.nodes.contains(path) {
            let after = record.as_ref().map(|record| record.content);
            let before = std::mem::replace(&mut self.node_or_insert(path).record, record);
            self.count_recorded_copy(path, before.map(|before| before.content), after);
            self.stale.insert(path.clone());
        }
    }

    /// Gives a path its sequence number.
    pub fn set_sequence(&mut self, path: &SyncPath, sequence: u64) {
        if let Some(node) = self.nodes.get_mut(path) {
            node.sequence = sequence;
        }
    }

    /// Puts all stored nodes back, and derives what is derived.
    pub fn load(&mut self, rows: StoredNodes) {
        self.nodes.load(rows);
        let mut copies = Vec::new();
        for (path, node) in self.nodes.from(Bound::Unbounded) {
            self.announced_bytes += announced_bytes(path, &node.register, self.own.as_ref());
            if let Some(record) = node.record.filter(|_| has_stamp(path)) {
                copies.push((path.clone(), record.content));
            }
        }
        for (path, content) in copies {
            self.count_recorded_copy(&path, None, Some(content));
        }
        self.refresh_all();
    }

    /// Derives what is derived, after loading. Nothing counts as changed by it; every projection counts as stale.
    pub fn refresh_all(&mut self) {
        let paths: Vec<SyncPath> = self.nodes.paths().cloned().collect();
        for path in &paths {
            self.refresh_touched(path);
        }
        self.nodes.cool();
        self.changed.clear();
        self.stale = self.nodes.paths().cloned().collect();
    }

    /// Has what was changed take as little memory as the rest again.
    pub(crate) fn cool(&mut self) {
        self.nodes.cool();
    }

    /// Forgets a path of which nothing is shown, on the disk, or told of at another path.
    pub fn forget(&mut self, path: &SyncPath) {
        let Some(node) = self.nodes.remove(path) else { return };
        let bytes = announced_bytes(path, &node.register, self.own.as_ref());
        self.announced_bytes = self.announced_bytes.saturating_sub(bytes);
        self.count_recorded_copy(path, node.record.map(|record| record.content), None);
        self.changed.remove(path);
        self.stale.insert(path.clone());
    }

    /// True if something of another path is shown at this one.
    pub fn is_landed_on(&self, path: &SyncPath) -> bool {
        self.landing.contains_key(path)
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
        let hidden_before = self.hidden_on_both(path, other);
        let own = self.own.as_ref();
        if self.nodes.get(path).is_some_and(|node| node.register.covers(other)) {
            return false;
        }
        let (before, node) = match self.nodes.get_mut(path) {
            Some(node) => {
                let before = announced_bytes(path, &node.register, own);
                node.register.merge(other);
                (before, &*node)
            }
            None if other.is_empty() => return false,
            None => {
                let node = self.nodes.get_or_insert(path);
                node.register = other.clone();
                (0, &*node)
            }
        };
        let after = announced_bytes(path, &node.register, own);
        self.announced_bytes = (self.announced_bytes + after).saturating_sub(before);
        self.changed.insert(path.clone());
        self.refresh(path);
        self.remove_unhidden(path, &hidden_before);
        if is_made(Mistake::ConflictWritten) {
            self.file_losers_away(path);
        }
        true
    }

    /// What the path shows, of all that stands there: its own versions, and others' values shown at this name.
    pub fn project(&self, path: &SyncPath) -> Projection {
        if !self.landing.contains_key(path)
            && let Some(value) = self.nodes.only_value(path)
        {
            return Projection { value, ..Projection::NOTHING };
        }
        let node = self.nodes.get(path);
        let standing = self.standing_with(path, node.as_ref().map(|node| &node.register));
        match &node {
            Some(node) => project(path, &standing, node.visible_children > 0, node.register.settled()),
            None => project(path, &standing, false, &[]),
        }
    }

    /// The value that has a path's name: [`Tree::project`] without the rest, and without a search where `node`, which is the
    /// path's, says all.
    pub fn shown<'a>(&self, path: &SyncPath, node: &'a Node) -> Cow<'a, Value> {
        match node.register.versions() {
            [only] if node.visible_children == 0 && !self.landing.contains_key(path) => {
                Cow::Borrowed(&only.value)
            }
            _ => Cow::Owned(self.project(path).value),
        }
    }

    /// All that stands at a path, of which this is the register, if there is any: its own versions, then others' values shown
    /// at this name.
    pub(crate) fn standing_with<'a>(
        &'a self,
        path: &SyncPath,
        register: Option<&'a Register>,
    ) -> Vec<&'a Version> {
        let landed = self.landed(path).into_values();
        let Some(register) = register else { return landed.collect() };
        let is_others = |version: &&Version| register.get(&version.dot).is_none();
        register.versions().iter().chain(landed.filter(is_others)).collect()
    }

    /// True if anything is known of a path, or shown there.
    fn is_known(&self, path: &SyncPath) -> bool {
        self.nodes.contains(path) || self.landing.contains_key(path)
    }

    /// True if the projection or record of some path may have changed since [`Tree::take_stale`].
    pub(crate) fn has_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Carries out a user's act, with everything that belongs to it in one step: what the user had seen is replaced,
    /// and copies that were shown on this disk settle as paths of their own.
    pub fn act(&mut self, act: Act) {
        // Most acts make something where nothing was: there is nothing that they could settle.
        let (mut hidden_before, mut projection) = (Vec::new(), Projection::NOTHING);
        if self.is_known(&act.path) {
            hidden_before = self.project(&act.path).hidden;
            self.take_in_seen(&act.path, act.before);
            self.settle_shown_losers(&act.path, act.before);
            projection = self.project(&act.path);
        }
        let mut register = self.register(&act.path);
        let before =
            if is_made(Mistake::WinnerTakenForSeen) { projection.value.content() } else { act.before };
        let is_seen = |version: &&Version| {
            version.value.content() == before
                || !version.value.is_present()
                || is_made(Mistake::AllTakenForSeen)
        };
        let seen: Vec<&Version> = register.versions().iter().filter(is_seen).collect();
        let replaced = replaced::replaced(&seen, act.changed);
        let n_kept = usize::from(is_made(Mistake::SeenDotKept));
        let seen: Vec<Dot> = seen.into_iter().map(|version| version.dot).skip(n_kept).collect();
        let value = complete(act.value, act.changed, act.before, &projection.value);
        let version = Version {
            dot: act.dot,
            value,
            rank: act.rank,
            replaced,
            heard: None,
            base: act.before,
            changed: act.changed,
            born_at: None,
            signature: Signature(None),
        };
        let before = register.clone();
        register.remove(&seen);
        // What the user has just written does not count: it hides whatever was hidden by what it replaced.
        self.take_unhidden(&act.path, &mut register, &hidden_before);
        let heard = self.attests.then(|| witness::heard(&before, &register, &version.replaced)).flatten();
        register.write(&[], Version { heard, ..version });
        self.put_register(&act.path, register);
    }

    /// True if the path shows a conflict copy that nobody has edited, moved, deleted or resolved yet.
    pub fn is_shown_copy(&self, path: &SyncPath) -> bool {
        let is_settled_here = |node: Cow<'_, Node>| {
            node.register.versions().iter().any(|version| version.is_foreign() && version.value.is_present())
        };
        self.landing.contains_key(path)
            && (self.nodes.get(path).is_some_and(is_settled_here) || !self.landed(path).is_empty())
    }

    /// The path that a shown conflict copy belongs to, and the version of it that the copy shows.
    pub fn shown_copy(&self, copy: &SyncPath) -> Option<(SyncPath, Version)> {
        if !self.is_shown_copy(copy) {
            return None;
        }
        let node = self.nodes.get(copy);
        let own = node.as_ref().map(|node| node.register.versions()).unwrap_or_default();
        let settled = own.iter().filter(|version| version.value.is_present());
        let settled = settled.filter_map(|version| Some((version.born_at.clone()?, version)));
        let landed = self.landed(copy).into_values();
        let origins = self.landing.get(copy)?;
        let origin = |version: &Version| {
            let has_it = |versions: &Vec<Version>| versions.iter().any(|other| other.dot == version.dot);
            origins.iter().find(|(_, versions)| has_it(versions)).map(|(origin, _)| origin.clone())
        };
        let landed = landed.filter_map(|version| Some((origin(version)?, version)));
        let (origin, shown) = settled.chain(landed).max_by_key(|(_, version)| version.rank)?;
        Some((origin, shown.clone()))
    }

    /// True if a user who saw `before` at the path has something to replace there.
    pub fn holds_content(&self, path: &SyncPath, content: Content) -> bool {
        let node = self.nodes.get(path);
        let own = node.as_ref().map(|node| node.register.versions()).unwrap_or_default();
        own.iter().any(|version| version.value.content() == content)
            || self.landed(path).into_values().any(|version| version.value.content() == content)
            || !self.shown_before(path, content).is_empty()
    }

    /// Puts signatures on versions that this device has made.
    pub fn sign(&mut self, path: &SyncPath, dot: &Dot, signature: Signature) {
        if let Some(node) = self.nodes.get_mut(path) {
            node.register.sign(dot, signature);
        }
        for copy in self.copies.get(path).into_iter().flatten() {
            let landed = self.landing.get_mut(copy).and_then(|origins| origins.get_mut(path));
            let signed = landed.into_iter().flatten().filter(|version| version.dot == *dot);
            signed.for_each(|version| version.signature = signature);
        }
    }

    fn register(&self, path: &SyncPath) -> Register {
        self.nodes.get(path).map(|node| node.into_owned().register).unwrap_or_default()
    }

    fn put_register(&mut self, path: &SyncPath, register: Register) {
        let own = self.own;
        let node = self.node_or_insert(path);
        if node.register != register {
            let before = announced_bytes(path, &node.register, own.as_ref());
            let after = announced_bytes(path, &register, own.as_ref());
            node.register = register;
            self.announced_bytes = (self.announced_bytes + after).saturating_sub(before);
            self.changed.insert(path.clone());
            self.refresh(path);
        }
    }

    /// The node of a path; one that is new weighs what a place takes.
    fn node_or_insert(&mut self, path: &SyncPath) -> &mut Node {
        if !self.nodes.contains(path) {
            self.announced_bytes += announced_bytes(path, &Register::default(), self.own.as_ref());
        }
        self.nodes.get_or_insert(path)
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
