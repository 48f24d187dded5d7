//! A disk in memory: items by path, with all that `statx` would say of them, a staging area and kept versions.
//!
//! No two changes have the same change time, so that a stat vouches for what was read under it: that the real disk
//! waits for that is its own tests' business. Inode numbers are used again, as file systems do, but not while a file is
//! kept or open: what is written through a descriptor goes into the inode that was opened, wherever it is by then.

use std::collections::BTreeMap;

use file_sync_core::effect::{Trouble, TroubleKind};
use file_sync_core::path::{IGNORE_NAME, SyncPath};
use file_sync_core::record::{Kind, Seen, Stat};
use file_sync_core::version::{Content, ContentHash, Time};

/// What an item is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Body {
    /// A regular file's bytes.
    File(Vec<u8>),
    /// A directory; what is in it is known by the paths.
    Directory,
    /// A symlink's target.
    Symlink(Box<[u8]>),
    /// Something that is not synced.
    Fifo,
}

impl Body {
    /// Kind and bytes; none for what is not synced.
    pub fn content(&self) -> Option<Content> {
        Some(match self {
            Body::File(bytes) => Content::File(ContentHash::of(bytes)),
            Body::Directory => Content::Directory,
            Body::Symlink(target) => Content::Symlink(ContentHash::of(target)),
            Body::Fifo => return None,
        })
    }
}

/// One item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// What it is.
    pub body: Body,
    /// Inode number.
    pub inode: u64,
    /// The nine permission bits.
    pub mode: u16,
    /// Modification time.
    pub mtime: Time,
    /// Change time.
    pub ctime: Time,
}

impl Item {
    /// Kind and bytes; none for what is not synced.
    pub fn content(&self) -> Option<Content> {
        self.body.content()
    }

    /// What `statx` says.
    pub fn stat(&self) -> Stat {
        let size = match &self.body {
            Body::File(bytes) => bytes.len() as u64,
            Body::Symlink(target) => target.len() as u64,
            Body::Directory | Body::Fifo => 0,
        };
        Stat { device: 1, inode: self.inode, size, mode: self.mode, mtime: self.mtime, ctime: self.ctime }
    }

    /// What a look at it under this name finds.
    pub fn seen(&self, path: &SyncPath) -> Seen {
        let kind = match &self.body {
            Body::File(_) => Kind::File,
            Body::Directory => Kind::Directory,
            Body::Symlink(target) => Kind::Symlink(target.clone()),
            Body::Fifo => Kind::Unsupported,
        };
        let rules = match &self.body {
            Body::File(bytes) if path.name() == IGNORE_NAME => Some(bytes.clone()),
            _ => None,
        };
        Seen { kind, stat: self.stat(), rules }
    }
}

/// A disk below one root.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// All items, parents included.
    pub items: BTreeMap<SyncPath, Item>,
    /// Kept versions by name.
    pub kept: BTreeMap<String, Item>,
    /// Staged contents.
    pub stage: BTreeMap<ContentHash, Vec<u8>>,
    /// Files without a name that somebody still has open, by inode.
    pub orphans: BTreeMap<u64, Item>,
    /// Open descriptors: the inode of each.
    pub descriptors: BTreeMap<u64, u64>,
    /// Paths that cannot be read at present.
    pub unreadable: Vec<SyncPath>,
    /// Paths whose bytes cannot be read, or which cannot be changed, at present: I/O errors.
    pub failing: Vec<SyncPath>,
    /// Directories that another file system is mounted over.
    pub mounts: Vec<SyncPath>,
    /// True while nothing more fits.
    pub is_full: bool,
    /// True while nothing can be changed.
    pub is_read_only: bool,
    /// Times are stored in steps of so many nanoseconds.
    pub step_ns: u64,
    /// A rename changes the change time, as on most file systems.
    pub renames_change_ctime: bool,
    /// Promises that were seen broken on the way.
    pub broken: Vec<String>,
    /// What was in a file before each write since it was last made durable, by inode; the act that wrote over it.
    pub(crate) unsynced: BTreeMap<u64, Vec<(Vec<u8>, usize)>>,
    /// What was taken into the store and may still be put back: its path, and what was in it.
    pub(crate) out: BTreeMap<String, (SyncPath, Vec<(SyncPath, Item)>)>,
    /// Where an inode was when it was last taken into the store.
    pub(crate) displaced_from: BTreeMap<u64, SyncPath>,
    pub(crate) n_kept: u64,
    pub(crate) last: Time,
    pub(crate) last_inode: u64,
    pub(crate) free_inodes: Vec<u64>,
}

impl Disk {
    /// A time not before `wall`, later than any before it on this disk.
    pub(crate) fn stamp(&mut self, wall: Time) -> Time {
        let mut next = self.last;
        next.nanoseconds += 1;
        if next.nanoseconds == 1_000_000_000 {
            next = Time { seconds: next.seconds + 1, nanoseconds: 0 };
        }
        self.last = wall.max(next);
        self.last
    }

    /// A time as this disk stores it.
    pub fn stored(&self, time: Time) -> Time {
        let step = i128::from(self.step_ns.max(1));
        let ns = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
        let ns = ns.div_euclid(step) * step;
        Time {
            seconds: ns.div_euclid(1_000_000_000) as i64,
            nanoseconds: ns.rem_euclid(1_000_000_000) as u32,
        }
    }

    /// The item at a path.
    pub fn get(&self, path: &SyncPath) -> Option<&Item> {
        self.items.get(path)
    }

    /// True if a directory is there; the root always is.
    pub fn is_directory(&self, path: &SyncPath) -> bool {
        path.is_root() || self.items.get(path).is_some_and(|item| item.body == Body::Directory)
    }

    /// True if something may be put at a path: its parent is there.
    pub fn has_parent(&self, path: &SyncPath) -> bool {
        path.parent().is_some_and(|parent| self.is_directory(&parent))
    }

    /// Everything strictly below a path.
    pub fn below(&self, path: &SyncPath) -> Vec<SyncPath> {
        self.items.keys().filter(|other| path.is_ancestor_of(other)).cloned().collect()
    }

    /// The items directly in a directory.
    pub fn children(&self, directory: &SyncPath) -> Vec<SyncPath> {
        self.items.keys().filter(|path| path.parent().as_ref() == Some(directory)).cloned().collect()
    }

    /// What a look at a path finds.
    ///
    /// # Errors
    /// While the path, or a directory above it, cannot be read, and below a mount.
    pub fn look(&self, path: &SyncPath) -> Result<Option<Seen>, Trouble> {
        if self.is_unreadable(path) || self.mounts.iter().any(|mount| mount.is_ancestor_of(path)) {
            return Err(denied());
        }
        Ok(self.seen(path))
    }

    /// True if it, or a directory above it, cannot be read.
    pub(crate) fn is_unreadable(&self, path: &SyncPath) -> bool {
        self.unreadable.iter().any(|bad| bad == path || bad.is_ancestor_of(path))
    }

    /// True if the medium fails at it, or at a directory above it.
    pub(crate) fn is_failing(&self, path: &SyncPath) -> bool {
        self.failing.iter().any(|bad| bad == path || bad.is_ancestor_of(path))
    }

    /// What `statx` says of an item, whether it can be read or not.
    pub(crate) fn seen(&self, path: &SyncPath) -> Option<Seen> {
        let seen = self.items.get(path)?.seen(path);
        Some(if self.mounts.contains(path) { Seen { kind: Kind::Mount, ..seen } } else { seen })
    }

    /// Puts a new item at a free path whose parent is there; returns it.
    pub fn create(&mut self, path: &SyncPath, body: Body, mode: u16, wall: Time) -> &mut Item {
        assert!(self.has_parent(path) && !self.items.contains_key(path), "{path} is free and has a parent");
        let ctime = self.stamp(wall);
        let mtime = self.stored(ctime);
        let inode = self.new_inode();
        self.items.insert(path.clone(), Item { body, inode, mode, mtime, ctime });
        self.is_changed_within(path);
        self.items.get_mut(path).expect("inserted just now")
    }

    /// A directory's modification time follows what is put into it and taken from it.
    fn is_changed_within(&mut self, path: &SyncPath) {
        let mtime = self.stored(self.last);
        if let Some(parent) = path.parent().and_then(|parent| self.items.get_mut(&parent)) {
            parent.mtime = mtime;
        }
    }

    /// An inode that nothing has.
    pub(crate) fn new_inode(&mut self) -> u64 {
        self.free_inodes.pop().unwrap_or_else(|| {
            self.last_inode += 1;
            self.last_inode
        })
    }

    /// Takes an item (no directory that still has something in it) away. Whoever has it open keeps it.
    pub fn remove(&mut self, path: &SyncPath) -> Item {
        let item = self.items.remove(path).expect("it is there");
        self.is_changed_within(path);
        if self.descriptors.values().any(|inode| *inode == item.inode) {
            self.orphans.insert(item.inode, item.clone());
        } else {
            self.unsynced.remove(&item.inode);
            self.free_inodes.push(item.inode);
        }
        item
    }

    /// Puts something in place of a file's bytes, in the same inode.
    pub fn overwrite(&mut self, path: &SyncPath, bytes: Vec<u8>, wall: Time) {
        let inode = self.items.get(path).expect("it is there").inode;
        self.write_inode(inode, bytes, wall);
    }

    /// Opens a file for writing.
    pub fn open(&mut self, path: &SyncPath, descriptor: u64) {
        if let Some(item) = self.items.get(path).filter(|item| matches!(item.body, Body::File(_))) {
            self.descriptors.insert(descriptor, item.inode);
        }
    }

    /// Writes through a descriptor, into whatever became of the file that was opened; says where that is.
    pub fn write_late(&mut self, descriptor: u64, bytes: Vec<u8>, wall: Time) -> Option<Whereabouts> {
        let inode = *self.descriptors.get(&descriptor)?;
        self.write_inode(inode, bytes, wall);
        self.whereabouts(inode)
    }

    /// Where an inode is.
    pub(crate) fn whereabouts(&self, inode: u64) -> Option<Whereabouts> {
        let at = self.items.iter().find(|(_, item)| item.inode == inode);
        let kept = || self.kept.iter().find(|(_, item)| item.inode == inode);
        match at {
            Some((path, _)) => Some(Whereabouts::Path(path.clone())),
            None => kept().map(|(name, _)| Whereabouts::Kept(name.clone())),
        }
    }

    fn write_inode(&mut self, inode: u64, bytes: Vec<u8>, wall: Time) {
        let ctime = self.stamp(wall);
        let mtime = self.stored(ctime);
        let mut all = self.items.values_mut().chain(self.kept.values_mut()).chain(self.orphans.values_mut());
        if let Some(item) = all.find(|item| item.inode == inode) {
            item.body = Body::File(bytes);
            (item.mtime, item.ctime) = (mtime, ctime);
        }
    }

    /// Sets mode and modification time.
    pub fn set_metadata(&mut self, path: &SyncPath, mode: u16, mtime: Option<Time>, wall: Time) {
        let ctime = self.stamp(wall);
        let mtime = mtime.map(|mtime| self.stored(mtime));
        let item = self.items.get_mut(path).expect("it is there");
        item.mode = mode;
        item.ctime = ctime;
        item.mtime = mtime.unwrap_or(item.mtime);
    }

    /// Moves an item with all below it to a name that is free.
    pub fn rename(&mut self, from: &SyncPath, to: &SyncPath, wall: Time) {
        assert!(self.has_parent(to) && !self.items.contains_key(to), "{to} is free and has a parent");
        let ctime = self.stamp(wall);
        for below in self.below(from) {
            let item = self.items.remove(&below).expect("listed just now");
            let target = from.rebase(&below, to).expect("it is below, and names are short");
            self.items.insert(target, item);
        }
        let mut item = self.items.remove(from).expect("it is there");
        if self.renames_change_ctime {
            item.ctime = ctime;
        }
        self.items.insert(to.clone(), item);
        [from, to].into_iter().for_each(|path| self.is_changed_within(path));
        // What an op has taken out for a moment goes back into the directory that it lay in, whatever that is called by now.
        for (path, inside) in self.out.values_mut().filter(|(path, _)| from.is_ancestor_of(path)) {
            for path in std::iter::once(path).chain(inside.iter_mut().map(|(path, _)| path)) {
                *path = from.rebase(path, to).unwrap_or_else(|| path.clone());
            }
        }
    }

    /// The tree as text, one item a line, times left out: for scripted tests.
    pub fn show(&self) -> Vec<String> {
        let line = |(path, item): (&SyncPath, &Item)| match &item.body {
            Body::File(bytes) => format!("{path} = {}", String::from_utf8_lossy(bytes)),
            Body::Directory => format!("{path}/"),
            Body::Symlink(target) => format!("{path} -> {}", String::from_utf8_lossy(target)),
            Body::Fifo => format!("{path} |"),
        };
        self.items.iter().map(line).collect()
    }
}

/// Where the bytes went that were written through a descriptor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whereabouts {
    /// Into the file at this path.
    Path(SyncPath),
    /// Into a kept version.
    Kept(String),
}

pub(crate) fn failed() -> Trouble {
    Trouble::new(TroubleKind::Other, "input/output error")
}

pub(crate) fn denied() -> Trouble {
    Trouble::new(TroubleKind::Denied, "read it: permission denied")
}

pub(crate) fn no_space() -> Trouble {
    Trouble::new(TroubleKind::NoSpace, "no space left")
}

pub(crate) fn unproved() -> Trouble {
    Trouble::new(TroubleKind::Other, "the directory's root is not there")
}
