//! What the users did and saw, written down by themselves, and what has to be true in the end because of it.
//!
//! It shares nothing with the product: a content is named by its token, and a removal is noted with what came out, which
//! is what its user had there, whatever they had looked at before.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::token::{Token, token_of};
use super::user::{PLAIN, WILD, is_name_of_users};
use crate::tree::{Node, Tree};

/// Milliseconds since the run began.
pub type Moment = u64;

/// Everything that the users of a run noted.
pub struct Record {
    began: Instant,
    next: AtomicU64,
    notes: Mutex<Notes>,
    /// Acts of users on contents with tokens.
    pub n_acts: AtomicU64,
    /// Files that were opened and found whole.
    pub n_reads: AtomicU64,
    /// Uses of real programs.
    pub n_programs: AtomicU64,
}

#[derive(Default)]
struct Notes {
    written: BTreeMap<Token, Written>,
    doubts: Vec<Doubt>,
    /// Files that were not whole under their names, with when and where.
    partial: Vec<String>,
    troubles: Vec<String>,
    /// What users did, a line each.
    acts: Vec<String>,
}

#[derive(Default)]
struct Written {
    path: String,
    device: usize,
    at: Moment,
    removals: Vec<Removal>,
    /// It was on the disk of a device that came back without its history, which may take it for a user's.
    is_stale: bool,
}

/// A user replaced or deleted a content.
#[derive(Clone)]
pub struct Removal {
    /// Where it stood, below the root.
    pub path: String,
    /// On which device.
    pub device: usize,
    /// When it was done.
    pub at: Moment,
    /// When the content was put there, as its inode says.
    pub placed: Moment,
    /// It was replaced, not deleted: for who reads of it.
    pub is_replaced: bool,
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Removal { path, device, at, placed, is_replaced } = self;
        let verb = if *is_replaced { "replaced" } else { "deleted" };
        write!(f, "{verb} at {path} on device {device} at {at} ms, there since {placed} ms")
    }
}

/// Removals that a device may legally not know of: what was removed then, of what was placed then.
#[derive(Clone, Debug)]
pub struct Doubt {
    /// The device.
    pub device: usize,
    /// When the user acted.
    pub acted: Range<Moment>,
    /// When what they removed had been put there.
    pub placed: Range<Moment>,
}

/// What was found to be wrong, a line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// L1.
    pub lost: Vec<String>,
    /// D1, D3.
    pub resurrected: Vec<String>,
    /// V1, V2: not whole, or mixed.
    pub partial: Vec<String>,
    /// V2, L5: nobody made it, or it is there twice.
    pub phantom: Vec<String>,
    /// Contents that had to be there, and were.
    pub n_kept: u64,
    /// Contents that had to be gone, and were.
    pub n_gone: u64,
}

impl Record {
    pub fn new() -> Record {
        Record {
            began: Instant::now(),
            next: AtomicU64::new(1),
            notes: Mutex::default(),
            n_acts: AtomicU64::new(0),
            n_reads: AtomicU64::new(0),
            n_programs: AtomicU64::new(0),
        }
    }

    pub fn now(&self) -> Moment {
        u64::try_from(self.began.elapsed().as_millis()).expect("a run is shorter than an age")
    }

    /// When an inode last changed, so far as that was during the run.
    pub fn moment_of(&self, metadata: &fs::Metadata) -> Moment {
        let changed = std::os::unix::fs::MetadataExt::ctime(metadata) as i128 * 1_000
            + std::os::unix::fs::MetadataExt::ctime_nsec(metadata) as i128 / 1_000_000;
        let wall = wall_ms();
        let ago = u64::try_from(wall - changed).unwrap_or(0);
        self.now().saturating_sub(ago)
    }

    pub fn new_token(&self) -> Token {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes a content that got its name, or is about to.
    pub fn wrote(&self, token: Token, device: usize, path: &str) {
        let at = self.now();
        let written = Written { path: path.to_owned(), device, at, ..Written::default() };
        self.notes().written.insert(token, written);
    }

    /// Notes that a content did not get its name after all.
    pub fn did_not_write(&self, token: Token) {
        self.notes().written.remove(&token);
    }

    /// Notes what came out when a user replaced or deleted something.
    pub fn removed(&self, token: Token, removal: Removal) {
        if let Some(written) = self.notes().written.get_mut(&token) {
            written.removals.push(removal);
        }
    }

    /// Notes contents that a device without history brings along.
    pub fn stale(&self, tokens: impl IntoIterator<Item = Token>) {
        let mut notes = self.notes();
        for token in tokens {
            if let Some(written) = notes.written.get_mut(&token) {
                written.is_stale = true;
            }
        }
    }

    /// Notes what was done to a device, for who looks for the cause of a failure.
    pub fn trouble(&self, began: Moment, device: usize, kind: &str) {
        let line = format!("{began} to {} ms: device {device}: {kind}", self.now());
        self.notes().troubles.push(line);
    }

    /// Notes what a user did, for who looks for the cause of a failure.
    pub fn act(&self, device: usize, what: &str) {
        let line = format!("{} ms: device {device}: {what}", self.now());
        self.notes().acts.push(line);
    }

    /// What users did, a line each.
    pub fn acts(&self) -> String {
        self.notes().acts.join("\n")
    }

    /// What was done to devices, a line each.
    pub fn troubles(&self) -> String {
        self.notes().troubles.join("\n")
    }

    pub fn doubt(&self, doubt: Doubt) {
        self.notes().doubts.push(doubt);
    }

    /// Notes a file that was not whole when it was opened.
    pub fn partial(&self, device: usize, path: &Path, n_bytes: usize) {
        let line = format!("device {device} at {} ms: {} ({n_bytes} bytes)", self.now(), path.display());
        self.notes().partial.push(line);
    }

    /// Compares what is there with what was noted. All members' trees must have been found equal before.
    pub fn judge(&self, root: &Path, tree: &Tree) -> Verdict {
        let mut verdict = Verdict::default();
        let shown = self.shown(root, tree, &mut verdict);
        let notes = self.notes();
        verdict.partial.extend(notes.partial.iter().cloned());
        for (token, paths) in &shown {
            if !notes.written.contains_key(token) {
                verdict.phantom.push(format!("token {token} at {paths:?}, which nobody wrote"));
            }
            // In one zone nobody moves: what stands there twice is no user's doing, but that a device which lost its history
            // brings along under the old name what stands at a copy's by now.
            let here: BTreeSet<_> = paths.iter().filter(|path| path.starts_with(PLAIN)).collect();
            let is_stale = notes.written.get(token).is_some_and(|written| written.is_stale);
            if here.len() > 1 && !is_stale {
                verdict.phantom.push(format!("token {token} more than once: {here:?}"));
            }
        }
        for (token, written) in &notes.written {
            let paths = shown.get(token).map_or(&[][..], Vec::as_slice);
            notes.judge_one(*token, written, paths, &mut verdict);
        }
        verdict
    }

    fn shown(&self, root: &Path, tree: &Tree, verdict: &mut Verdict) -> BTreeMap<Token, Vec<String>> {
        let mut shown: BTreeMap<Token, Vec<String>> = BTreeMap::new();
        for (path, node) in tree {
            let name = String::from_utf8_lossy(path).into_owned();
            if !name.starts_with(PLAIN) && !name.starts_with(WILD) {
                continue;
            }
            if !name.split('/').skip(1).all(is_name_of_users) {
                verdict.phantom.push(format!("{name}, which nobody made"));
            }
            if matches!(node, Node::File { .. }) {
                let bytes = fs::read(root.join(OsStr::from_bytes(path))).expect("a file of the tree");
                match token_of(&bytes) {
                    Some(token) => shown.entry(token).or_default().push(name),
                    None => verdict.partial.push(format!("{name} in the end ({} bytes)", bytes.len())),
                }
            }
        }
        shown
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    fn judge_one(&self, token: Token, written: &Written, paths: &[String], verdict: &mut Verdict) {
        let Written { path, device, at, removals, is_stale } = written;
        let story = || {
            let removals: Vec<String> = removals.iter().map(Removal::to_string).collect();
            format!("token {token} of device {device} at {at} ms, {path}: {removals:?}; it is at {paths:?}")
        };
        if removals.is_empty() {
            match paths.is_empty() {
                true => verdict.lost.push(story()),
                false => verdict.n_kept += 1,
            }
            return;
        }
        // In the other zone it may have been moved, or its mode changed, by somebody who did not know of its removal. And
        // who removes a copy leaves what still stands at the path, where the winner has not come yet.
        let must_be_gone = path.starts_with(PLAIN)
            && removals.iter().any(|removal| removal.path == *path && !self.is_doubtful(removal))
            && !(*is_stale && self.was_followed(written));
        if !must_be_gone {
            return;
        }
        // A user who acted beside its copy keeps it there, and is not to know that another removes it.
        match paths.iter().all(|path| path.contains(".sync-conflict-")) {
            true => verdict.n_gone += 1,
            false => verdict.resurrected.push(story()),
        }
    }

    /// True if a later content had the path: who brings the old one along without its history may have written it.
    fn was_followed(&self, written: &Written) -> bool {
        let is_later = |other: &Written| other.path == written.path && other.at > written.at;
        self.written.values().any(is_later)
    }

    fn is_doubtful(&self, removal: &Removal) -> bool {
        self.doubts.iter().any(|doubt| {
            doubt.device == removal.device
                && doubt.acted.contains(&removal.at)
                && doubt.placed.contains(&removal.placed)
        })
    }
}

/// The clock of this machine in milliseconds since 1970, as inodes have it.
#[expect(clippy::disallowed_methods, reason = "inodes carry the wall clock")]
fn wall_ms() -> i128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i128::try_from(since.as_millis()).unwrap_or(0))
}
