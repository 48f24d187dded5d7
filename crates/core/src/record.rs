//! What was last seen or put on this disk, and how an observation compares with it.
//!
//! A record is about this device's disk only; what is known of a path is its register. What a user had seen comes
//! from the record, and a delete is inferred only where a record says that the path was there.

use crate::mistake::{Mistake, is_made};
use crate::version::{Content, ContentHash, Time};

/// What `statx` says of an item, in the file system's own values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Device number (major << 32 | minor).
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// The nine permission bits.
    pub mode: u16,
    /// Modification time.
    pub mtime: Time,
    /// Change time of the inode.
    pub ctime: Time,
}

/// What kind of thing an observation met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A regular file; its bytes are not read yet.
    File,
    /// A directory.
    Directory,
    /// A symlink and its target.
    Symlink(Box<[u8]>),
    /// A FIFO, socket or device: left alone and listed.
    Unsupported,
    /// The root of another file system mounted here: left alone and listed.
    Mount,
}

/// One item as it was met on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its kind.
    pub kind: Kind,
    /// Its stat.
    pub stat: Stat,
    /// The bytes of an ignore file (a regular file named `.syncignore`, up to 64 KiB), so that rules and what they
    /// cover are judged together. Larger ones have none.
    pub rules: Option<Vec<u8>>,
}

/// What the engine last saw or put at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Kind and bytes; never [`Content::Absent`].
    pub content: Content,
    /// The stat that belongs to them, taken when no undetected write was possible any more.
    pub stat: Stat,
}

impl Record {
    /// True if the item met is the one recorded, unchanged (promise W4): everything that `statx` says matches.
    pub fn matches(&self, seen: &Seen) -> bool {
        match (&seen.kind, self.content) {
            (Kind::File, Content::File(_)) if is_made(Mistake::TimesAloneMatch) => {
                (self.stat.size, self.stat.mtime) == (seen.stat.size, seen.stat.mtime)
            }
            (Kind::File, Content::File(_)) => self.stat == seen.stat,
            // A directory's size and times change with what is in it; its identity may not matter, its mode does.
            (Kind::Directory, Content::Directory) => self.stat.mode == seen.stat.mode,
            (Kind::Symlink(target), Content::Symlink(hash)) => ContentHash::of(target) == hash,
            _ => false,
        }
    }
}
