//! The paths at which one content is on the disk. Nearly every content is at one: a set for each would take more memory than
//! all else that is known of a file's path.

use std::collections::BTreeSet;

use crate::path::SyncPath;

/// Paths, in order.
#[derive(Debug)]
pub(super) enum Holders {
    One(SyncPath),
    Many(BTreeSet<SyncPath>),
}

impl Default for Holders {
    fn default() -> Holders {
        Holders::Many(BTreeSet::new())
    }
}

impl Holders {
    pub(super) fn insert(&mut self, path: SyncPath) {
        match self {
            Holders::One(one) if *one == path => {}
            Holders::One(one) => *self = Holders::Many(BTreeSet::from([one.clone(), path])),
            Holders::Many(many) if many.is_empty() => *self = Holders::One(path),
            Holders::Many(many) => _ = many.insert(path),
        }
    }

    pub(super) fn remove(&mut self, path: &SyncPath) {
        match self {
            Holders::One(one) if one == path => *self = Holders::default(),
            Holders::One(_) => {}
            Holders::Many(many) => _ = many.remove(path),
        }
    }

    pub(super) fn contains(&self, path: &SyncPath) -> bool {
        match self {
            Holders::One(one) => one == path,
            Holders::Many(many) => many.contains(path),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SyncPath> {
        let (one, many) = match self {
            Holders::One(one) => (Some(one), None),
            Holders::Many(many) => (None, Some(many)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set_in_order_whatever_is_put_in_and_taken_out() {
        let paths = ["b", "a", "c"].map(|text| SyncPath::parse(text.as_bytes()).unwrap());
        let (mut holders, mut set) = (Holders::default(), BTreeSet::new());
        // Every act on three paths, in an order that passes through none, one and several.
        for step in [0, 0, 1, 2, 10, 10, 12, 1, 11, 11, 2, 12, 0, 1, 10, 11, 2, 12] {
            let path = &paths[step % 10];
            if step < 10 {
                holders.insert(path.clone());
                set.insert(path.clone());
            } else {
                holders.remove(path);
                set.remove(path);
            }
            assert!(holders.iter().eq(&set), "{holders:?} is not {set:?}");
            assert_eq!(holders.is_empty(), set.is_empty());
            assert!(paths.iter().all(|path| holders.contains(path) == set.contains(path)));
        }
    }
}
