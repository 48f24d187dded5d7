//! A root in a temporary directory, and shorthands.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use file_sync_core::effect::{HashItem, HashOutcome, Op, OpOutcome, Source};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Record, Stat};
use file_sync_core::version::{Content, ContentHash, DirectoryId, Time};
use file_sync_disk::{Flow, Listing, Root, Watcher};

pub(crate) const MTIME: Time = Time { seconds: 1_000_000_000, nanoseconds: 123_456_789 };
pub(crate) const ID: DirectoryId = DirectoryId([7; 16]);

pub(crate) struct Scene {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) root: Root,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let (root, _) = Root::offer(directory.path(), ID).unwrap();
        Scene { directory, root }
    }

    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> Record {
        fs::write(self.at(path), bytes).unwrap();
        self.record(path)
    }

    pub(crate) fn record(&self, path: &str) -> Record {
        let seen = self.root.look(&sync(path)).unwrap().unwrap();
        let content = match &seen.kind {
            Kind::Symlink(target) => Content::Symlink(ContentHash::of(target)),
            Kind::Directory => Content::Directory,
            _ => match self.hash(path) {
                HashOutcome::Hashed { content, .. } => Content::File(content),
                outcome => panic!("{outcome:?}"),
            },
        };
        Record { content, stat: seen.stat }
    }

    pub(crate) fn hash(&self, path: &str) -> HashOutcome {
        self.root.hash(&[HashItem { path: sync(path) }], &AtomicBool::new(false)).pop().unwrap()
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    pub(crate) fn stage(&self, bytes: &[u8]) -> ContentHash {
        let content = ContentHash::of(bytes);
        self.root.stage_small(&[(content, bytes)]).pop().unwrap().unwrap();
        content
    }

    pub(crate) fn place(&self, path: &str, bytes: &str, expect: Option<Record>) -> Op {
        let content = self.stage(bytes.as_bytes());
        let source = Source::Staged { consume: true };
        Op::Place { path: sync(path), content, source, mode: 0o640, mtime: MTIME, expect }
    }

    pub(crate) fn apply(&self, op: Op) -> OpOutcome {
        self.root.apply(&[op]).unwrap().pop().unwrap()
    }

    /// Applies an op that must be done, and checks that the stat reported is that of a look.
    pub(crate) fn done(&self, op: Op) -> (Option<Stat>, Option<file_sync_core::effect::Kept>) {
        let path = op.path().clone();
        match self.apply(op) {
            OpOutcome::Done { stat, kept } => {
                assert_eq!(self.root.look(&path).unwrap().map(|seen| seen.stat), stat);
                (stat, kept)
            }
            outcome => panic!("{outcome:?}"),
        }
    }

    pub(crate) fn walk(&self, watcher: Option<&Watcher>) -> Vec<Listing> {
        let mut listings = Vec::new();
        self.root.walk(&SyncPath::root(), watcher, &|_| false, &mut |listing| {
            listings.push(listing);
            Flow::Continue
        });
        listings
    }
}

pub(crate) fn sync(path: &str) -> SyncPath {
    if path.is_empty() { SyncPath::root() } else { SyncPath::parse(path.as_bytes()).unwrap() }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
