//! What the core asks of the disk, and what it is told.
//!
//! Every item is plain data: a worker does it and reports. Any may fail, be late or never return. A path that the core
//! names was checked ([`SyncPath`]); what is expected to be there is stated, and a worker that finds anything else
//! changes nothing (or puts it back) and says so.

use crate::path::SyncPath;
use crate::record::{Record, Seen, Stat};
use crate::version::{Content, ContentHash, Time};

/// Trouble with one path: it never stops a directory.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Trouble {
    /// What it is, for deciding.
    pub kind: TroubleKind,
    /// One line for people: what was tried and the system's word; the path is known from elsewhere.
    pub message: String,
    /// What mends it, a command where there is one; none where nobody knows, or nothing has to be done.
    pub mend: Option<String>,
}

impl Trouble {
    /// Trouble that nobody knows yet how to mend.
    pub fn new(kind: TroubleKind, message: impl Into<String>) -> Trouble {
        Trouble { kind, message: message.into(), mend: None }
    }
}

/// What the core distinguishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TroubleKind {
    /// No space, or over quota.
    NoSpace,
    /// Permission denied, or a read-only file system.
    Denied,
    /// This file system cannot hold the name or the item.
    Unsupported,
    /// A directory that was to be removed still holds something.
    NotEmpty,
    /// An op met something else than expected again and again, whatever a look said.
    Restless,
    /// Anything else: I/O errors, descriptors, a vanished parent.
    Other,
}

/// A file to be read and hashed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HashItem {
    /// Where.
    pub path: SyncPath,
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashOutcome {
    /// Read in one piece: `stat` was the same before and after, taken late enough that no later write can hide behind
    /// it, and bytes and name are durable.
    Hashed {
        /// What was there.
        seen: Seen,
        /// Its bytes.
        content: ContentHash,
        /// How they divide, where there is more than one chunk.
        chunks: Option<ChunkList>,
    },
    /// It was written to while it was read; look again later.
    Changing,
    /// Not a regular file (any more), or not there: look again.
    Differs,
    /// It could not be read.
    Trouble(Trouble),
}

/// One piece of a file's content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Chunk {
    /// BLAKE3 of the piece.
    pub hash: ContentHash,
    /// Its length in bytes.
    pub length: u32,
}

/// How a content divides into chunks, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChunkList {
    /// The average size that the chunker was asked for, in bytes; lists with other averages share few chunks.
    pub average_bytes: u32,
    /// All chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// One change of the disk. All of a batch are prepared (staged, made durable) before the first is carried out; they
/// are carried out in order; then their directories are made durable, and only then are outcomes reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Makes a directory where nothing is.
    MakeDirectory {
        /// Where.
        path: SyncPath,
        /// Permission bits.
        mode: u16,
        /// Its modification time, if that matters.
        mtime: Option<Time>,
    },
    /// Puts a file at a path, in place of what is expected there.
    Place {
        /// Where.
        path: SyncPath,
        /// Its bytes.
        content: ContentHash,
        /// Where the bytes are to be had. Whatever the source, they are verified before they are placed.
        source: Source,
        /// Permission bits.
        mode: u16,
        /// Modification time.
        mtime: Time,
        /// What is there now (a file or symlink), to be displaced and kept; none: nothing is there.
        expect: Option<Record>,
    },
    /// Puts a symlink at a path, in place of what is expected there.
    PlaceSymlink {
        /// Where.
        path: SyncPath,
        /// What it points to.
        target: Box<[u8]>,
        /// The copy of it that has to be there, as for [`Source::Local`]: it is to take its name back.
        copy: Option<SyncPath>,
        /// As for [`Op::Place`].
        expect: Option<Record>,
    },
    /// Moves a file or symlink to a name that is free, and gives it its metadata.
    Move {
        /// From here.
        from: SyncPath,
        /// What is there.
        expect: Record,
        /// To here, where nothing is.
        to: SyncPath,
        /// Permission bits and modification time afterwards; none: as they are (symlinks).
        metadata: Option<(u16, Time)>,
    },
    /// Moves a directory with all that is in it to a name that is free, if what is in it is exactly what is expected.
    MoveDirectory {
        /// From here.
        from: SyncPath,
        /// To here, where nothing is.
        to: SyncPath,
        /// Permission bits afterwards.
        mode: u16,
        /// The directory itself and everything below it: paths under `from`.
        expect: Vec<(SyncPath, Record)>,
    },
    /// Gives a file or directory its metadata.
    SetMetadata {
        /// Where.
        path: SyncPath,
        /// What is there.
        expect: Record,
        /// Permission bits.
        mode: u16,
        /// Modification time; none for directories.
        mtime: Option<Time>,
    },
    /// Takes a file or symlink away; it is kept.
    Remove {
        /// Where.
        path: SyncPath,
        /// What is there.
        expect: Record,
    },
    /// Takes an empty directory away.
    RemoveDirectory {
        /// Where.
        path: SyncPath,
        /// What is there.
        expect: Record,
    },
}

impl Op {
    /// The path whose outcome it is: where something appears, or disappears.
    pub fn path(&self) -> &SyncPath {
        match self {
            Op::MakeDirectory { path, .. }
            | Op::Place { path, .. }
            | Op::PlaceSymlink { path, .. }
            | Op::SetMetadata { path, .. }
            | Op::Remove { path, .. }
            | Op::RemoveDirectory { path, .. } => path,
            Op::Move { to, .. } | Op::MoveDirectory { to, .. } => to,
        }
    }
}

/// Where the bytes of a file to be placed come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The staging area, under the content's hash, whole and verified.
    Staged {
        /// False where another place needs it too: then it is copied.
        consume: bool,
    },
    /// A file of this directory, to be copied (by reference where the file system can) and verified.
    Local {
        /// Where.
        path: SyncPath,
    },
    /// A kept version, to be copied and verified.
    Kept {
        /// Its name in the store of kept versions.
        name: String,
    },
}

/// What became of an [`Op`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpOutcome {
    /// Done and durable.
    Done {
        /// The stat of what is now at the op's path, taken late enough to be relied on; none after a removal.
        stat: Option<Stat>,
        /// What was displaced or removed, now among the kept versions.
        kept: Option<Kept>,
    },
    /// Something else than expected was there. It is untouched, or put back; look again. Where it could not be put
    /// back at its name because that was taken meanwhile, it stands under `rescued`, in the same directory.
    Differs {
        /// A new name that user bytes were put back under.
        rescued: Option<SyncPath>,
    },
    /// The bytes were not to be had from the source, or were not what they should be. Nothing changed.
    NoSource,
    /// It could not be done, and nothing changed.
    Trouble(Trouble),
}

/// A displaced file or symlink in the store of kept versions (`.file-sync/kept/NAME`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Its name in the store.
    pub name: String,
    /// Where it was.
    pub path: SyncPath,
    /// What it is.
    pub content: Content,
    /// Its stat when it was kept; bytes written later show in it.
    pub stat: Stat,
    /// When it was kept, by this machine's clock.
    pub at: Time,
}
