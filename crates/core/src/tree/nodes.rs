//! The nodes of a tree, by path: few bytes each while nothing changes at a path, taken apart while something does.
//!
//! A node that is changed stays decoded until [`Nodes::cool`], since most changes come several at a time. What is only
//! read is decoded for its reader alone, so that nobody who looks at everything makes everything grow.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::Bound;

use super::{Node, StoredNode, compact};
use crate::path::SyncPath;
use crate::record::Record;
use crate::version::Value;

/// More nodes than this are not kept decoded, also not in the middle of work.
const WARM_MAX: usize = 1024;

/// All nodes of a tree.
#[derive(Clone, Default)]
pub(super) struct Nodes {
    slots: BTreeMap<SyncPath, Slot>,
    actors: compact::Actors,
    /// The paths whose nodes are decoded; some may be none any more.
    warm: Vec<SyncPath>,
}

#[derive(Clone)]
enum Slot {
    Cold(Box<[u8]>),
    Warm(Box<Node>),
}

/// Nodes that are to become a tree's, encoded as they come: all of them decoded at once would be the most that a server ever
/// has in memory.
#[derive(Debug, Default)]
pub struct StoredNodes {
    encoded: Vec<(SyncPath, Box<[u8]>)>,
    actors: compact::Actors,
}

impl StoredNodes {
    /// Takes one more in.
    pub fn push(&mut self, (path, register, record, sequence): StoredNode) {
        let node = Node { register, record, sequence, ..Node::default() };
        self.encoded.push((path, compact::encode(&node, &mut self.actors)));
    }

    /// All of them, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = StoredNode> {
        self.encoded.iter().map(|(path, bytes)| {
            let Node { register, record, sequence, .. } = compact::decode(bytes, &self.actors);
            (path.clone(), register, record, sequence)
        })
    }

    /// Their records.
    pub fn records(&self) -> impl Iterator<Item = (&SyncPath, Record)> {
        self.encoded.iter().filter_map(|(path, bytes)| Some((path, compact::record(bytes, &self.actors)?)))
    }
}

impl FromIterator<StoredNode> for StoredNodes {
    fn from_iter<I: IntoIterator<Item = StoredNode>>(rows: I) -> StoredNodes {
        let mut stored = StoredNodes::default();
        rows.into_iter().for_each(|row| stored.push(row));
        stored
    }
}

impl Nodes {
    /// Takes the place of all there were. Built at once, since nodes that are added one after the other leave half of each of
    /// the map's blocks empty.
    pub(super) fn load(&mut self, stored: StoredNodes) {
        let slots = stored.encoded.into_iter().map(|(path, bytes)| (path, Slot::Cold(bytes)));
        *self = Nodes { slots: slots.collect(), actors: stored.actors, warm: Vec::new() };
    }

    pub(super) fn get(&self, path: &SyncPath) -> Option<Cow<'_, Node>> {
        self.slots.get(path).map(|slot| self.node(slot))
    }

    pub(super) fn contains(&self, path: &SyncPath) -> bool {
        self.slots.contains_key(path)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &SyncPath> {
        self.slots.keys()
    }

    /// Paths and nodes from a bound on, in order.
    pub(super) fn from(&self, start: Bound<&SyncPath>) -> impl Iterator<Item = (&SyncPath, Cow<'_, Node>)> {
        let slots = self.slots.range((start, Bound::Unbounded));
        slots.map(|(path, slot)| (path, self.node(slot)))
    }

    /// The paths after one, in order.
    pub(super) fn paths_after(&self, path: &SyncPath) -> impl Iterator<Item = &SyncPath> + use<'_> {
        self.slots.range((Bound::Excluded(path), Bound::Unbounded)).map(|(next, _)| next)
    }

    /// The record of a path.
    pub(super) fn record(&self, path: &SyncPath) -> Option<Record> {
        self.slots.get(path).and_then(|slot| self.record_in(slot))
    }

    /// All records, in the order of paths.
    pub(super) fn records(&self) -> impl Iterator<Item = (&SyncPath, Record)> {
        self.slots.iter().filter_map(|(path, slot)| Some((path, self.record_in(slot)?)))
    }

    /// All paths and sequence numbers, in the order of paths.
    pub(super) fn sequences(&self) -> impl Iterator<Item = (&SyncPath, u64)> {
        let sequence = |slot: &Slot| match slot {
            Slot::Cold(bytes) => compact::sequence(bytes, &self.actors),
            Slot::Warm(node) => node.sequence,
        };
        self.slots.iter().map(move |(path, slot)| (path, sequence(slot)))
    }

    /// The value of a path's only version, where that is found out quickly, nothing else was ever heard of, and nothing below is
    /// shown.
    pub(super) fn only_value(&self, path: &SyncPath) -> Option<Value> {
        match self.slots.get(path)? {
            Slot::Cold(bytes) => compact::only_value(bytes, &self.actors),
            Slot::Warm(_) => None,
        }
    }

    /// True if a version of this path was settled elsewhere.
    pub(super) fn has_settled(&self, path: &SyncPath) -> bool {
        match self.slots.get(path) {
            Some(Slot::Cold(bytes)) if compact::is_encoded_plain(bytes) => false,
            slot => slot.is_some_and(|slot| !self.node(slot).register.settled().is_empty()),
        }
    }

    /// Notes whether something is shown at a path; returns what was noted before, if it has a node.
    pub(super) fn set_visible(&mut self, path: &SyncPath, visible: bool) -> Option<bool> {
        Some(match self.slots.get_mut(path)? {
            Slot::Cold(bytes) => compact::set_visible(bytes, visible),
            Slot::Warm(node) => std::mem::replace(&mut node.visible, visible),
        })
    }

    /// A path's node, to be changed.
    pub(super) fn get_mut(&mut self, path: &SyncPath) -> Option<&mut Node> {
        self.cool_some();
        let slot = self.slots.get_mut(path)?;
        Some(warmed(slot, path, &self.actors, &mut self.warm))
    }

    /// A path's node, to be changed: a new one, if there was none.
    pub(super) fn get_or_insert(&mut self, path: &SyncPath) -> &mut Node {
        self.cool_some();
        match self.slots.entry(path.clone()) {
            Entry::Occupied(slot) => warmed(slot.into_mut(), path, &self.actors, &mut self.warm),
            Entry::Vacant(place) => {
                self.warm.push(path.clone());
                match place.insert(Slot::Warm(Box::default())) {
                    Slot::Warm(node) => node,
                    Slot::Cold(_) => unreachable!("it was put there warm"),
                }
            }
        }
    }

    pub(super) fn remove(&mut self, path: &SyncPath) -> Option<Node> {
        Some(match self.slots.remove(path)? {
            Slot::Cold(bytes) => compact::decode(&bytes, &self.actors),
            Slot::Warm(node) => *node,
        })
    }

    /// Encodes all that was changed. Costs what was changed since it was last called.
    pub(super) fn cool(&mut self) {
        for path in std::mem::take(&mut self.warm) {
            if let Some(slot) = self.slots.get_mut(&path)
                && let Slot::Warm(node) = slot
            {
                let bytes = compact::encode(node, &mut self.actors);
                debug_assert!(compact::is_faithful(&bytes, node, &self.actors), "{path}: {node:?}");
                *slot = Slot::Cold(bytes);
            }
        }
    }

    fn cool_some(&mut self) {
        if self.warm.len() >= WARM_MAX {
            self.cool();
        }
    }

    fn node<'a>(&'a self, slot: &'a Slot) -> Cow<'a, Node> {
        match slot {
            Slot::Cold(bytes) => Cow::Owned(compact::decode(bytes, &self.actors)),
            Slot::Warm(node) => Cow::Borrowed(node),
        }
    }

    fn record_in(&self, slot: &Slot) -> Option<Record> {
        match slot {
            Slot::Cold(bytes) => compact::record(bytes, &self.actors),
            Slot::Warm(node) => node.record,
        }
    }
}

fn warmed<'a>(
    slot: &'a mut Slot,
    path: &SyncPath,
    actors: &compact::Actors,
    warm: &mut Vec<SyncPath>,
) -> &'a mut Node {
    if let Slot::Cold(bytes) = slot {
        *slot = Slot::Warm(Box::new(compact::decode(bytes, actors)));
        warm.push(path.clone());
    }
    match slot {
        Slot::Warm(node) => node,
        Slot::Cold(_) => unreachable!("it was warmed above"),
    }
}

/// Equal where the nodes are, however each is kept.
impl PartialEq for Nodes {
    fn eq(&self, other: &Nodes) -> bool {
        self.from(Bound::Unbounded).eq(other.from(Bound::Unbounded))
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.from(Bound::Unbounded)).finish()
    }
}
