//! Versions: one user's write at one path, and the identifiers that it is made of.
//!
//! Data only. How versions meet is in `register`, which of them is shown in `projection`.

use std::fmt;

use crate::context::Context;
use crate::path::SyncPath;

/// A device: the BLAKE3 hash of its public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub [u8; 32]);

impl DeviceId {
    /// The first 7 characters, as conflict copies carry them.
    pub fn short(&self) -> String {
        self.to_string()[..7].to_owned()
    }

    /// Reads what `Display` wrote: 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<DeviceId> {
        parse_hex(text).map(DeviceId)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// A directory that members keep equal, named by a random id that its marker carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryId(pub [u8; 16]);

impl DirectoryId {
    /// Reads what `Display` wrote: 32 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<DirectoryId> {
        parse_hex(text).map(DirectoryId)
    }
}

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0[..4])
    }
}

/// The BLAKE3 hash of a file's bytes, or of a symlink's target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> ContentHash {
        ContentHash(*blake3::hash(bytes).as_bytes())
    }

    /// The hash of so many zeros.
    pub fn of_zeros(length: u64) -> ContentHash {
        let zeros = [0; 1 << 16];
        let mut hasher = blake3::Hasher::new();
        let mut left = length;
        while left > 0 {
            let piece = left.min(zeros.len() as u64);
            hasher.update(&zeros[..piece as usize]);
            left -= piece;
        }
        ContentHash(*hasher.finalize().as_bytes())
    }

    /// Reads what `Display` wrote: 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<ContentHash> {
        parse_hex(text).map(ContentHash)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0[..4])
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Who makes dots: a device, in one life of its state. The epoch is random and made anew whenever that state is
/// created, restored or doubted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    /// The device.
    pub device: DeviceId,
    /// Its epoch.
    pub epoch: u64,
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:x}", self.device, self.epoch)
    }
}

/// The name of one version: an actor and a counter that runs through the whole directory, from 1, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Who.
    pub actor: Actor,
    /// Which of theirs.
    pub counter: u64,
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.actor, self.counter)
    }
}

/// A point in time as file systems keep it: seconds since 1970 UTC, and nanoseconds (0 to 999,999,999) after them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

/// What a path holds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Nothing: a delete. Where a directory was deleted, its mode is carried, for the parents of what outlives it.
    Absent {
        /// The nine permission bits of the directory that was deleted.
        directory_mode: Option<u16>,
    },
    /// A regular file.
    File {
        /// BLAKE3 of its bytes.
        content: ContentHash,
        /// Its length in bytes.
        length: u64,
        /// The nine permission bits.
        mode: u16,
        /// Its modification time.
        mtime: Time,
    },
    /// A directory.
    Directory {
        /// The nine permission bits.
        mode: u16,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points: any bytes, not interpreted.
        target: Box<[u8]>,
    },
}

/// What makes two values the same value: kind and bytes, not permissions or times.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Content {
    /// Nothing.
    Absent,
    /// A directory: all are alike.
    Directory,
    /// A file with these bytes.
    File(ContentHash),
    /// A symlink whose target has this hash.
    Symlink(ContentHash),
}

impl Content {
    /// True for files and symlinks.
    pub fn is_bytes(&self) -> bool {
        matches!(self, Content::File(_) | Content::Symlink(_))
    }

    /// The hash that ranks this content and names its conflict copies; zero where there are no bytes.
    pub fn hash(&self) -> ContentHash {
        match self {
            Content::Absent | Content::Directory => ContentHash([0; 32]),
            Content::File(hash) | Content::Symlink(hash) => *hash,
        }
    }
}

impl Value {
    /// A delete of something that was no directory.
    pub const ABSENT: Value = Value::Absent { directory_mode: None };

    /// Kind and bytes.
    pub fn content(&self) -> Content {
        match self {
            Value::Absent { .. } => Content::Absent,
            Value::Directory { .. } => Content::Directory,
            Value::File { content, .. } => Content::File(*content),
            Value::Symlink { target } => Content::Symlink(ContentHash::of(target)),
        }
    }

    /// The nine permission bits, where the kind has any.
    pub fn mode(&self) -> Option<u16> {
        match self {
            Value::File { mode, .. } | Value::Directory { mode } => Some(*mode),
            Value::Absent { .. } | Value::Symlink { .. } => None,
        }
    }

    /// The modification time, where it is synced (regular files).
    pub fn mtime(&self) -> Option<Time> {
        match self {
            Value::File { mtime, .. } => Some(*mtime),
            _ => None,
        }
    }

    /// True unless absent.
    pub fn is_present(&self) -> bool {
        !matches!(self, Value::Absent { .. })
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Absent { .. } => f.write_str("absent"),
            Value::File { content, length, mode, .. } => write!(f, "file({content:?} {length} {mode:o})"),
            Value::Directory { mode } => write!(f, "directory({mode:o})"),
            Value::Symlink { target } => write!(f, "symlink({:?})", String::from_utf8_lossy(target)),
        }
    }
}

/// Which parts of a value a write changed. A create changes all that its kind has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Changed {
    /// Kind or bytes.
    pub content: bool,
    /// Permission bits.
    pub mode: bool,
    /// Modification time.
    pub mtime: bool,
}

impl Changed {
    /// Everything.
    pub const ALL: Changed = Changed { content: true, mode: true, mtime: true };
}

/// What an author had heard of at a path, beside what his version replaces.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Heard {
    /// What was gone, or is by this version: of each actor all up to the highest dot born here, if the version does not name
    /// just these as replaced; and all dots born elsewhere.
    pub gone: Context,
    /// What stood there all the same, of the dots born here that are up to one of those, or between two that the version
    /// replaces; or was settled as a conflict copy. In order.
    pub beside: Vec<Dot>,
}

/// One user's write at one path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// Its own name.
    pub dot: Dot,
    /// What was written.
    pub value: Value,
    /// The file's mtime, capped by the author's clock when it was read; fixed there and carried. Ranks, nothing else.
    pub rank: Time,
    /// The dots that the author had seen at this path and replaced, and what led to those, in order: of each actor the
    /// lowest and the highest.
    pub replaced: Vec<Dot>,
    /// What else its author had heard of at this path; none: nothing. It replaces nothing by that, and bears witness to
    /// it.
    pub heard: Option<Box<Heard>>,
    /// The content that was at the path before, as its author saw it.
    pub base: Content,
    /// What differs from that.
    pub changed: Changed,
    /// The path where it was written, if it has since been settled at another (a conflict copy's); it is then foreign
    /// there.
    pub born_at: Option<SyncPath>,
    /// The author's Ed25519 signature over all of the above and the directory's id; `net` makes and checks it.
    pub signature: Signature,
}

/// 64 bytes of Ed25519, or none where a test or the core has just made the version and nobody has signed it yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub Option<[u8; 64]>);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "signed" } else { "unsigned" })
    }
}

/// The order of concurrent values: the highest keeps the name (promise W1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RankKey {
    directory: bool,
    rank: Time,
    device: DeviceId,
    content: ContentHash,
    dot: Dot,
}

impl Version {
    /// Its place in that order. The dot comes last only to make the order total.
    pub fn rank_key(&self) -> RankKey {
        RankKey {
            directory: matches!(self.value, Value::Directory { .. }),
            rank: self.rank,
            device: self.dot.actor.device,
            content: self.value.content().hash(),
            dot: self.dot,
        }
    }

    /// True for a version that was born at another path and settled here.
    pub fn is_foreign(&self) -> bool {
        self.born_at.is_some()
    }
}
