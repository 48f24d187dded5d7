//! Where contents are on the disk, by record. Nearly every content is at one path: a set for each would take more memory than
//! all else that is known of a file's path.
//!
//! What a path's record says is its content is asked of the tree, and not said again here: whoever changes a record takes the
//! path out first, and puts it in afterwards.
//!
//! The table is no map, since its keys are in the tree; nothing goes through all of it, so that its order does not matter.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::path::SyncPath;
use crate::tree::Tree;
use crate::version::{Content, ContentHash};

/// The paths at which each content is on the disk.
#[derive(Debug, Default)]
pub(super) struct HoldersOf {
    /// None of them is empty.
    table: HashTable<Holders>,
    state: RandomState,
    /// Contents that are recorded, and at no path as recorded.
    lost: BTreeSet<ContentHash>,
}

impl HoldersOf {
    /// How many contents are recorded.
    pub(super) fn len(&self) -> usize {
        self.table.len() + self.lost.len()
    }

    /// True if a content is recorded anywhere.
    pub(super) fn contains_key(&self, content: &ContentHash, tree: &Tree) -> bool {
        self.lost.contains(content) || self.find(content, tree).is_some()
    }

    /// The paths that hold a content, in order.
    pub(super) fn get(&self, content: &ContentHash, tree: &Tree) -> impl Iterator<Item = &SyncPath> {
        self.find(content, tree).into_iter().flat_map(Holders::iter)
    }

    /// True if a path holds a content.
    pub(super) fn is_at(&self, content: &ContentHash, path: &SyncPath, tree: &Tree) -> bool {
        self.find(content, tree).is_some_and(|holders| holders.contains(path))
    }

    /// A path has come to hold a content, as its record says by now.
    pub(super) fn insert(&mut self, content: ContentHash, path: &SyncPath, tree: &Tree) {
        self.lost.remove(&content);
        let hash = self.state.hash_one(Some(content));
        match self.table.find_mut(hash, |holders| holders.hold(&content, tree)) {
            Some(holders) => holders.insert(path.clone()),
            None => {
                let hash_of = |holders: &Holders| self.state.hash_one(holders.content(tree));
                self.table.insert_unique(hash, Holders::One(path.clone()), hash_of);
            }
        }
    }

    /// A path holds a content no longer, and its record is about to say so.
    pub(super) fn remove(&mut self, content: &ContentHash, path: &SyncPath, tree: &Tree) {
        self.lost.remove(content);
        self.take(content, path, tree);
    }

    /// A path does not hold what its record says.
    pub(super) fn is_not_held(&mut self, content: &ContentHash, path: &SyncPath, tree: &Tree) {
        if self.take(content, path, tree) {
            self.lost.insert(*content);
        }
    }

    /// Makes room for so many.
    pub(super) fn reserve(&mut self, n_paths: usize, tree: &Tree) {
        self.table.reserve(n_paths, |holders| self.state.hash_one(holders.content(tree)));
    }

    /// Returns true if no path holds the content any more.
    fn take(&mut self, content: &ContentHash, path: &SyncPath, tree: &Tree) -> bool {
        let hash = self.state.hash_one(Some(*content));
        let Ok(mut entry) = self.table.find_entry(hash, |holders| holders.hold(content, tree)) else {
            return false;
        };
        if entry.get_mut().remove(path) {
            entry.remove();
            return true;
        }
        false
    }

    fn find(&self, content: &ContentHash, tree: &Tree) -> Option<&Holders> {
        let hash = self.state.hash_one(Some(*content));
        self.table.find(hash, |holders| holders.hold(content, tree))
    }
}

/// Paths, in order; at least one.
#[derive(Debug)]
enum Holders {
    One(SyncPath),
    #[expect(clippy::box_collection, reason = "a set is larger than a path, and nearly all are one path")]
    Many(Box<BTreeSet<SyncPath>>),
}

impl Holders {
    fn insert(&mut self, path: SyncPath) {
        match self {
            Holders::One(one) if *one == path => {}
            Holders::One(one) => *self = Holders::Many(Box::new(BTreeSet::from([one.clone(), path]))),
            Holders::Many(many) => _ = many.insert(path),
        }
    }

    /// Returns true if that was the last.
    fn remove(&mut self, path: &SyncPath) -> bool {
        match self {
            Holders::One(one) => one == path,
            Holders::Many(many) if many.len() > 1 => {
                many.remove(path);
                false
            }
            Holders::Many(many) => many.contains(path),
        }
    }

    fn contains(&self, path: &SyncPath) -> bool {
        match self {
            Holders::One(one) => one == path,
            Holders::Many(many) => many.contains(path),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &SyncPath> {
        let (one, many) = match self {
            Holders::One(one) => (Some(one), None),
            Holders::Many(many) => (None, Some(many)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|many| many.iter()))
    }

    /// What they hold, as the record of the first says.
    fn content(&self, tree: &Tree) -> Option<ContentHash> {
        match tree.record(self.iter().next()?)?.content {
            Content::File(content) => Some(content),
            _ => None,
        }
    }

    fn hold(&self, content: &ContentHash, tree: &Tree) -> bool {
        self.content(tree) == Some(*content)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::record::{Record, Stat};
    use crate::version::Time;

    fn path(number: u64) -> SyncPath {
        SyncPath::parse(format!("f{number}").as_bytes()).expect("a valid path")
    }

    fn record(content: ContentHash) -> Record {
        let time = Time::default();
        let stat = Stat { device: 1, inode: 1, size: 1, mode: 0o644, mtime: time, ctime: time };
        Record { content: Content::File(content), stat }
    }

    /// Files that come, change, are found to be something else and go; some have the same content.
    #[test]
    fn it_is_a_map_of_sets_in_order_whatever_comes_and_goes() {
        let (mut tree, mut holders) = (Tree::default(), HoldersOf::default());
        let mut expected: BTreeMap<ContentHash, BTreeSet<SyncPath>> = BTreeMap::new();
        let (mut n_many, mut n_lost) = (0, 0);
        let mut state = 1_u64;
        for step in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (path, content) = (path((state >> 33) % 50), ContentHash([(state >> 40) as u8 % 40; 32]));
            let before = tree.record(&path).map(|record| record.content.hash());
            if let (Some(before), 0) = (before, step % 7) {
                holders.is_not_held(&before, &path, &tree);
                if let Some(paths) = expected.get_mut(&before) {
                    paths.remove(&path);
                }
            } else {
                if let Some(before) = before {
                    holders.remove(&before, &path, &tree);
                    // Nobody remembers a content for a path that was found not to hold it, once all others have gone.
                    if let Some(paths) = expected.get_mut(&before) {
                        paths.remove(&path);
                    }
                    expected.retain(|content, paths| *content != before || !paths.is_empty());
                }
                let after = (step % 3 != 0).then_some(content);
                tree.set_record(&path, after.map(record));
                if let Some(after) = after {
                    holders.insert(after, &path, &tree);
                    expected.entry(after).or_default().insert(path);
                }
            }
            assert_eq!(holders.len(), expected.len(), "step {step}");
            for (content, paths) in &expected {
                assert!(holders.get(content, &tree).eq(paths), "step {step}");
                assert!(holders.contains_key(content, &tree));
                assert!(paths.iter().all(|path| holders.is_at(content, path, &tree)));
                n_many += usize::from(paths.len() > 1);
                n_lost += usize::from(paths.is_empty());
            }
        }
        assert!(n_many > 0 && n_lost > 0, "{n_many} {n_lost}");
        assert!(!holders.contains_key(&ContentHash([200; 32]), &tree));
    }

    #[test]
    fn the_only_path_of_a_content_takes_no_more_than_the_path() {
        assert_eq!(size_of::<Holders>(), size_of::<SyncPath>());
    }
}
