//! A tree beside a root that nobody may touch, nor read: what an attacker's symlinks lead to.
//!
//! It is looked at without leaving a trace, so that access times tell whether anybody else has read it; where the file
//! system keeps none, that is said by [`Canary::tells_reads`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps};

/// Stands in every file's bytes and in names of the canary, and nowhere else.
pub(crate) const TOKEN: &str = "canary-5f0c77d1";

/// The tree, and how it was.
pub(crate) struct Canary {
    /// Where.
    pub(crate) at: PathBuf,
    before: BTreeMap<PathBuf, Trace>,
    inodes: BTreeSet<(u64, u64)>,
    tells_reads: bool,
}

/// All of an item that an access could change.
#[derive(PartialEq, Debug)]
struct Trace {
    inode: u64,
    mode: u32,
    links: u64,
    owner: (u32, u32),
    mtime: (i64, i64),
    ctime: (i64, i64),
    atime: (i64, i64),
    bytes: Vec<u8>,
}

impl Canary {
    /// Makes one whose names are those that the attacked root has.
    pub(crate) fn new(at: PathBuf) -> Canary {
        fs::create_dir_all(at.join("sub")).unwrap();
        for name in ["f", "g", "h", "marker", ".syncignore", "sub/f", "sub/g", "sub/h", TOKEN] {
            fs::write(at.join(name), format!("{TOKEN} {name} {}", "secret ".repeat(100))).unwrap();
            fs::set_permissions(at.join(name), fs::Permissions::from_mode(0o640)).unwrap();
        }
        for name in ["f", "g", "h", "marker", ".syncignore", "sub/f", "sub/g", "sub/h", TOKEN, "sub", "."] {
            let time = |seconds| Timespec { tv_sec: seconds, tv_nsec: 5 };
            let times = Timestamps { last_access: time(900_000_000), last_modification: time(1_000_000_000) };
            rustix::fs::utimensat(CWD, at.join(name), &times, AtFlags::empty()).unwrap();
        }
        let mut canary = Canary { at, before: BTreeMap::new(), inodes: BTreeSet::new(), tells_reads: false };
        canary.before = canary.traces();
        let device = fs::metadata(&canary.at).unwrap().dev();
        let device = u64::from(rustix::fs::major(device)) << 32 | u64::from(rustix::fs::minor(device));
        canary.inodes = canary.before.values().map(|trace| (device, trace.inode)).collect();
        canary.tells_reads = tells_reads(&canary.at);
        canary
    }

    /// True if its access times tell who has read it.
    pub(crate) fn tells_reads(&self) -> bool {
        self.tells_reads
    }

    /// True if an item is one of its own, by device (major << 32 | minor) and inode.
    pub(crate) fn has(&self, device: u64, inode: u64) -> bool {
        self.inodes.contains(&(device, inode))
    }

    /// What one of its files holds.
    pub(crate) fn bytes_of(&self, name: &str) -> Vec<u8> {
        self.before[&self.at.join(name)].bytes.clone()
    }

    /// What is no longer as it was; empty if nobody has touched it.
    pub(crate) fn touched(&self) -> Vec<String> {
        let now = self.traces();
        let paths: BTreeSet<&PathBuf> = self.before.keys().chain(now.keys()).collect();
        let is_unlike = |path: &&PathBuf| self.before.get(*path) != now.get(*path);
        let line =
            |path: &PathBuf| format!("{}: {:?} | {:?}", path.display(), self.before.get(path), now.get(path));
        paths.into_iter().filter(is_unlike).map(line).collect()
    }

    fn traces(&self) -> BTreeMap<PathBuf, Trace> {
        let mut traces = BTreeMap::new();
        trace(&self.at, &mut traces);
        traces
    }
}

/// A name and its directory, held open: the attacker must not be led into the canary by symlinks of its own.
pub(crate) struct Spot {
    /// The directory.
    pub(crate) parent: OwnedFd,
    /// The name in it.
    pub(crate) name: String,
}

impl Spot {
    /// Resolves a path below `root` without following anything; none if that leads nowhere at present.
    pub(crate) fn open(root: &Path, path: &str) -> Option<Spot> {
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty()).ok()?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let parent = rustix::fs::openat2(&root, parent, flags, Mode::empty(), resolve).ok()?;
        Some(Spot { parent, name: name.to_owned() })
    }

    /// Renames it; false if that was not to be done.
    pub(crate) fn rename(&self, to: &Spot, flags: RenameFlags) -> bool {
        rustix::fs::renameat_with(&self.parent, &self.name, &to.parent, &to.name, flags).is_ok()
    }
}

/// Where in a tree the canary's bytes or names are; empty if nowhere. Symlinks are not followed.
pub(crate) fn found_in(tree: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(tree).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let is_named = entry.file_name().as_bytes() == TOKEN.as_bytes();
        if is_named || kind.is_file() && holds_token(&fs::read(&path).unwrap()) {
            found.push(path);
        } else if kind.is_dir() {
            found.append(&mut found_in(&path));
        }
    }
    found
}

/// True if these bytes are, or hold some, of the canary's.
pub(crate) fn holds_token(bytes: &[u8]) -> bool {
    bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes())
}

fn trace(path: &Path, traces: &mut BTreeMap<PathBuf, Trace>) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NOATIME | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).unwrap();
    let met = fs::symlink_metadata(path).unwrap();
    let mut bytes = Vec::new();
    if met.is_dir() {
        for entry in Dir::new(fd).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                trace(&path.join(std::ffi::OsStr::from_bytes(name)), traces);
            }
        }
    } else {
        std::io::Read::read_to_end(&mut fs::File::from(fd), &mut bytes).unwrap();
    }
    let trace = Trace {
        inode: met.ino(),
        mode: met.mode(),
        links: met.nlink(),
        owner: (met.uid(), met.gid()),
        mtime: (met.mtime(), met.mtime_nsec()),
        ctime: (met.ctime(), met.ctime_nsec()),
        atime: (met.atime(), met.atime_nsec()),
        bytes,
    };
    traces.insert(path.to_owned(), trace);
}

/// True if the file system notes when a file is read that was not read since it was written.
fn tells_reads(beside: &Path) -> bool {
    let probe = beside.with_extension("probe");
    fs::write(&probe, "probe").unwrap();
    let time = |seconds| Timespec { tv_sec: seconds, tv_nsec: 5 };
    let times = Timestamps { last_access: time(900_000_000), last_modification: time(1_000_000_000) };
    rustix::fs::utimensat(CWD, &probe, &times, AtFlags::empty()).unwrap();
    fs::read(&probe).unwrap();
    let is_told = fs::metadata(&probe).unwrap().atime() != 900_000_000;
    fs::remove_file(&probe).unwrap();
    is_told
}
