//! The type of every path below a synced root.
//!
//! A [`SyncPath`] is relative, made of bytes, and cannot name anything outside its root: it has no empty, `.` or `..`
//! component, no NUL, and no component `.file-sync`. It is checked where it enters (disk, wire, database), so that
//! nothing further in has to. It knows nothing of the local file system; the way to the disk is the root's descriptor.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The name that belongs to the engine at any depth: never scanned, never sent, hostile when received.
pub const RESERVED_NAME: &[u8] = b".file-sync";
/// The name of an ignore file, at any depth.
pub const IGNORE_NAME: &[u8] = b".syncignore";
/// Longest component, in bytes (what Linux file systems hold).
pub const NAME_BYTES_MAX: usize = 255;
/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 16 * 1024;

/// Compared at once, in bytes.
const WORD_BYTES: usize = size_of::<u64>();

/// A path below a root: one or more components joined by `/`; the root itself is [`SyncPath::root`], which is empty.
///
/// Ordered by component, so that a directory is directly followed by everything below it. Clones share their bytes: a path is
/// in several lists at once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SyncPath(Arc<[u8]>);

/// Why bytes are no [`SyncPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No bytes at all, or an empty component (so also an absolute path).
    #[error("empty path component")]
    Empty,
    /// `.` or `..`.
    #[error("path component . or ..")]
    Dots,
    /// A NUL byte.
    #[error("NUL in a path")]
    Nul,
    /// A component named `.file-sync`.
    #[error("path component .file-sync is reserved")]
    Reserved,
    /// A component over 255 bytes, or the whole over [`PATH_BYTES_MAX`].
    #[error("path too long")]
    TooLong,
    /// A `/` inside what should be one name.
    #[error("separator in a name")]
    Separator,
}

impl SyncPath {
    /// The root itself. It has no register; it is only a parent.
    pub fn root() -> SyncPath {
        SyncPath(Arc::default())
    }

    /// Checks untrusted bytes.
    ///
    /// # Errors
    /// Says which rule the bytes break.
    pub fn parse(bytes: &[u8]) -> Result<SyncPath, PathError> {
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        bytes.split(|byte| *byte == b'/').try_for_each(check_name)?;
        Ok(SyncPath(bytes.into()))
    }

    /// This path with one more component.
    ///
    /// # Errors
    /// When `name` is no valid component or the path gets too long.
    pub fn join(&self, name: &[u8]) -> Result<SyncPath, PathError> {
        if name.contains(&b'/') {
            return Err(PathError::Separator);
        }
        check_name(name)?;
        if self.0.len() + 1 + name.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        Ok(self.join_unchecked(name))
    }

    fn join_unchecked(&self, name: &[u8]) -> SyncPath {
        if self.is_root() {
            return SyncPath(name.into());
        }
        SyncPath([&self.0, b"/".as_slice(), name].concat().into())
    }

    /// `below`, moved from under `self` to under `target`; none if it is not strictly below.
    pub fn rebase(&self, below: &SyncPath, target: &SyncPath) -> Option<SyncPath> {
        if !self.is_ancestor_of(below) {
            return None;
        }
        let rest = if self.is_root() { &below.0[..] } else { &below.0[self.0.len() + 1..] };
        let moved = target.join_unchecked(rest);
        (moved.0.len() <= PATH_BYTES_MAX).then_some(moved)
    }

    /// True for the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, components joined by `/`; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// The directory that holds this path; none for the root.
    pub fn parent(&self) -> Option<SyncPath> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(SyncPath(self.0[..cut].into()))
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// Every directory above this path, nearest first, the root last.
    pub fn ancestors(&self) -> impl Iterator<Item = SyncPath> {
        std::iter::successors(self.parent(), SyncPath::parent)
    }

    /// True if `other` lies strictly below.
    pub fn is_ancestor_of(&self, other: &SyncPath) -> bool {
        if self.is_root() {
            return !other.is_root();
        }
        other.0.len() > self.0.len() + 1 && other.0.starts_with(&self.0) && other.0[self.0.len()] == b'/'
    }

    /// The child of this directory that `below` is, or lies below; none if it is not below this.
    pub fn child_towards(&self, below: &SyncPath) -> Option<SyncPath> {
        if !self.is_ancestor_of(below) {
            return None;
        }
        let start = if self.is_root() { 0 } else { self.0.len() + 1 };
        let name_bytes =
            below.0[start..].iter().position(|byte| *byte == b'/').unwrap_or(below.0.len() - start);
        Some(SyncPath(below.0[..start + name_bytes].into()))
    }

    /// A bound that is greater than this path and all that can lie below it, and less than whatever follows.
    pub(crate) fn end_of_subtree(&self) -> SyncPath {
        SyncPath([&self.0, b"/".as_slice(), &[0xff; NAME_BYTES_MAX + 1]].concat().into())
    }

    /// Number of components.
    pub fn depth(&self) -> usize {
        self.components().count()
    }
}

fn check_name(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"" => Err(PathError::Empty),
        b"." | b".." => Err(PathError::Dots),
        RESERVED_NAME => Err(PathError::Reserved),
        _ if name.contains(&0) => Err(PathError::Nul),
        _ if name.len() > NAME_BYTES_MAX => Err(PathError::TooLong),
        _ => Ok(()),
    }
}

impl Ord for SyncPath {
    fn cmp(&self, other: &SyncPath) -> Ordering {
        let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
        match first_difference(&self.0, &other.0) {
            Some(at) => rank(self.0[at]).cmp(&rank(other.0[at])),
            None => self.0.len().cmp(&other.0.len()),
        }
    }
}

/// Where two byte strings differ first, as far as both go. Paths of one directory begin alike, so that it is looked for a word
/// at a time; this is called more often than anything else.
fn first_difference(one: &[u8], two: &[u8]) -> Option<usize> {
    let both_bytes = one.len().min(two.len());
    let (one, two) = (&one[..both_bytes], &two[..both_bytes]);
    let differs_at = |start: usize, one: &[u8; WORD_BYTES], two: &[u8; WORD_BYTES]| {
        let difference = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*two);
        (difference != 0).then_some(start + difference.trailing_zeros() as usize / 8)
    };
    let pairs = one.as_chunks().0.iter().zip(two.as_chunks().0);
    for (index, (one, two)) in pairs.enumerate() {
        if let Some(at) = differs_at(WORD_BYTES * index, one, two) {
            return Some(at);
        }
    }
    // The last word overlaps the one before it, up to which all is equal.
    match (one.last_chunk(), two.last_chunk()) {
        (Some(one), Some(two)) => differs_at(both_bytes - WORD_BYTES, one, two),
        _ => one.iter().zip(two).position(|(one, two)| one != two),
    }
}

impl PartialOrd for SyncPath {
    fn partial_cmp(&self, other: &SyncPath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SyncPath {
    /// Lossy for bytes that are not UTF-8, which are shown as `\xHH`, as are control characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() {
                    write!(f, "\\x{:02x}", u32::from(character))?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for SyncPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> SyncPath {
        SyncPath::parse(text.as_bytes()).expect("a valid path")
    }

    #[test]
    fn h1_hostile_paths_are_no_paths() {
        let long = "x".repeat(256);
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/.",
            "a\0b",
            ".file-sync",
            "a/.file-sync/b",
            &long,
        ] {
            assert!(SyncPath::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b", "...", ".file-sync2", "a b", "\u{1f980}", "-", "a\nb"] {
            assert!(SyncPath::parse(good.as_bytes()).is_ok(), "{good:?}");
        }
        assert!(SyncPath::parse(b"\xff\xfe").is_ok());
        assert_eq!(path("a").join(b"b/c"), Err(PathError::Separator));
    }

    #[test]
    fn a_directory_is_followed_by_all_below_it() {
        let mut paths = ["a.b", "a/z", "a", "a/b/c", "a-b", "a/b"].map(path);
        paths.sort();
        let shown = paths.map(|p| p.to_string());
        assert_eq!(shown, ["a", "a/b", "a/b/c", "a/z", "a-b", "a.b"]);
    }

    /// The order as it is defined: byte by byte, the separator first.
    fn plain_order(one: &SyncPath, two: &SyncPath) -> Ordering {
        let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        one.0.iter().map(rank).cmp(two.0.iter().map(rank))
    }

    #[test]
    fn paths_are_ordered_as_if_byte_by_byte() {
        let bytes = [b'/', 1, b'-', b'.', b'0', b'a', 0x7f, 0x80, 0xff];
        // All short ones: every length of a rest after the last whole word, with and without a difference in it.
        let common: [&[u8]; 4] = [b"", b"abcdef", b"abcdefghijklm", b"a/b/c/d/e/f/g/h/i/j"];
        for common in common {
            let mut rests: Vec<Vec<u8>> = vec![Vec::new()];
            for _ in 0..2 {
                let longer = rests.iter().flat_map(|rest| bytes.map(|byte| [&rest[..], &[byte]].concat()));
                rests = longer.chain([Vec::new()]).collect();
            }
            let paths: Vec<SyncPath> =
                rests.iter().map(|rest| SyncPath([common, rest].concat().into())).collect();
            for (one, two) in paths.iter().flat_map(|one| paths.iter().map(move |two| (one, two))) {
                assert_eq!(one.cmp(two), plain_order(one, two), "{one:?} {two:?}");
            }
        }
        // Chosen by chance: long ones that begin alike, and differ in some bytes or in none.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % end
        };
        for round in 0..200_000 {
            let one: Vec<u8> = (0..below(70)).map(|_| bytes[below(bytes.len())]).collect();
            let mut two = one.clone();
            two.truncate(below(70));
            two.extend((0..below(20)).map(|_| bytes[below(bytes.len())]));
            for _ in 0..below(3).min(two.len()) {
                let at = below(two.len());
                two[at] = bytes[below(bytes.len())];
            }
            let (one, two) = (SyncPath(one.into()), SyncPath(two.into()));
            assert_eq!(one.cmp(&two), plain_order(&one, &two), "round {round}: {one:?} {two:?}");
            assert_eq!(two.cmp(&one), one.cmp(&two).reverse());
            assert_eq!(one.cmp(&one.clone()), Ordering::Equal);
        }
    }

    #[test]
    fn parents_and_rebasing() {
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(SyncPath::root()));
        assert_eq!(path("a/b/c").ancestors().count(), 3);
        assert_eq!(path("a").rebase(&path("a/b/c"), &path("x/y")), Some(path("x/y/b/c")));
        assert_eq!(path("a").rebase(&path("ab/c"), &path("x")), None);
        assert!(SyncPath::root().is_ancestor_of(&path("a")));
    }

    #[test]
    fn h1_lengths_are_bounded_to_the_byte() {
        let longest = "x".repeat(NAME_BYTES_MAX);
        assert_eq!(path(&longest).name().len(), NAME_BYTES_MAX);
        assert_eq!(path("a").join(&[b'x'; NAME_BYTES_MAX + 1]), Err(PathError::TooLong));
        let deep = "d/".repeat(PATH_BYTES_MAX / 2 - 1) + "ff";
        assert_eq!(path(&deep).as_bytes().len(), PATH_BYTES_MAX);
        assert_eq!(SyncPath::parse((deep.clone() + "f").as_bytes()), Err(PathError::TooLong));
        assert_eq!(path(&deep).join(b"x"), Err(PathError::TooLong));
        assert_eq!(path("a").rebase(&path("a/b"), &path(&deep)), None);
    }

    #[test]
    fn h1_a_name_joins_by_the_same_rules() {
        for (name, error) in [
            (&b""[..], PathError::Empty),
            (b".", PathError::Dots),
            (b"..", PathError::Dots),
            (b"a\0", PathError::Nul),
            (b".file-sync", PathError::Reserved),
            (b"/", PathError::Separator),
        ] {
            assert_eq!(path("a").join(name), Err(error.clone()));
            assert_eq!(SyncPath::root().join(name), Err(error));
        }
        assert_eq!(SyncPath::root().join(b"a"), Ok(path("a")));
        assert_eq!(path("a").join(b"b"), Ok(path("a/b")));
        assert!(SyncPath::parse(b".FILE-SYNC").is_ok(), "names are bytes");
    }

    #[test]
    fn a_subtree_ends_before_whatever_follows_the_directory() {
        let longest = path("a").join(&[0xff; NAME_BYTES_MAX]).expect("a valid name");
        let end = path("a").end_of_subtree();
        assert!(longest < end && path("a/z/z") < end && end < path("a\u{1}") && end < path("b"));
        assert_eq!(path("a").child_towards(&path("a/b/c")), Some(path("a/b")));
        assert_eq!(path("a").child_towards(&path("a/b")), Some(path("a/b")));
        assert_eq!(path("a").child_towards(&path("a")), None);
        assert_eq!(SyncPath::root().child_towards(&path("a/b")), Some(path("a")));
        assert_eq!((SyncPath::root().depth(), path("a/b").depth()), (0, 2));
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_digits() {
        let hostile = SyncPath::parse(b"a\x1b[2J/\n\xff\xc3\xbc").expect("a valid path");
        assert_eq!(hostile.to_string(), "a\\x1b[2J/\\x0a\\xff\u{fc}");
        assert_eq!(SyncPath::root().to_string(), ".");
    }
}
