//! The walk: every directory below a path, listed and handed over one at a time, in path order.
//!
//! A directory's watch is set before it is listed, so that whatever happens after the listing has an event. Nothing is
//! compared with anything here. Depth costs neither call stack nor descriptors: only the deepest directories are held
//! open, the others are resolved again on the way back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use file_sync_core::effect::Trouble;
use file_sync_core::path::{RESERVED_NAME, SyncPath};
use file_sync_core::record::{Kind, Seen, Stat};
use rustix::fs::RawDir;
use rustix::io::Errno;

use crate::at::{self, LISTED};
use crate::root::Root;
use crate::trouble::{Attempt, trouble};
use crate::watch::Watcher;

/// How many directories, the deepest ones, are held open.
const N_OPEN_MAX: usize = 64;
/// How often a directory that changes under the listing is listed again.
const N_LISTINGS_MAX: usize = 4;
/// What the kernel is asked to list at once, in bytes.
const LIST_BYTES: usize = 64 << 10;

/// Whether a walk goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// It does.
    Continue,
    /// It ends here.
    Stop,
}

/// What one directory holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// Which directory.
    pub directory: SyncPath,
    /// Its items in path order, `.file-sync` left out; or why they are unknown (also when the directory has vanished
    /// since its parent was listed): then nothing below it may be taken for absent.
    pub result: Result<Vec<(SyncPath, Seen)>, Trouble>,
    /// Items that are there but could not be looked at: unknown, not absent.
    pub troubled: Vec<(SyncPath, Trouble)>,
    /// Names that cannot be paths (too long in all), and why.
    pub other: Vec<(Vec<u8>, String)>,
}

impl Root {
    /// Walks `from` and all directories below it, depth first in path order.
    ///
    /// Each is watched (where there is a watcher), then listed, then given to `visit`. Directories among its items are
    /// entered unless `skip` says otherwise, which is asked after that visit. Mounts are listed and not entered.
    pub fn walk(
        &self,
        from: &SyncPath,
        watcher: Option<&Watcher>,
        skip: &dyn Fn(&SyncPath) -> bool,
        visit: &mut dyn FnMut(Listing) -> Flow,
    ) {
        let mut walk = Walk { root: self, watcher, levels: Vec::new(), names: Names::default() };
        if walk.enter(from.clone(), visit) == Flow::Stop {
            return;
        }
        while let Some(directory) = walk.next_directory(skip) {
            if walk.enter(directory, visit) == Flow::Stop {
                return;
            }
        }
    }
}

struct Walk<'a> {
    root: &'a Root,
    watcher: Option<&'a Watcher>,
    levels: Vec<Level>,
    names: Names,
}

/// A directory that is being walked.
struct Level {
    directory: SyncPath,
    /// None where it was closed to save descriptors.
    fd: Option<OwnedFd>,
    /// Directories in it that are still to be entered, the next one last.
    pending: Vec<SyncPath>,
}

impl Walk<'_> {
    /// The next directory to enter; levels that are done with are left.
    fn next_directory(&mut self, skip: &dyn Fn(&SyncPath) -> bool) -> Option<SyncPath> {
        loop {
            match self.levels.last_mut()?.pending.pop() {
                Some(directory) if skip(&directory) => {}
                Some(directory) => return Some(directory),
                None => drop(self.levels.pop()),
            }
        }
    }

    /// Opens, watches and lists a directory, and lets it be visited.
    fn enter(&mut self, directory: SyncPath, visit: &mut dyn FnMut(Listing) -> Flow) -> Flow {
        let root = self.root;
        let unknown = |trouble| Listing {
            directory: directory.clone(),
            result: Err(root.explained(Attempt::Read, &directory, trouble)),
            troubled: Vec::new(),
            other: Vec::new(),
        };
        let fd = match self.open(&directory) {
            Ok(fd) => fd,
            Err(errno) => return visit(unknown(trouble("open the directory", errno))),
        };
        if let Some(watcher) = self.watcher {
            // What could not be watched is counted there; the listing is as good without.
            let _ = watcher.watch(fd.as_fd(), &directory);
        }
        let listing = match self.list(fd.as_fd(), &directory) {
            Ok(listing) => listing,
            Err(errno) => unknown(trouble("list the directory", errno)),
        };
        let items = listing.result.as_deref().unwrap_or_default();
        let is_directory = |(_, seen): &&(SyncPath, Seen)| seen.kind == Kind::Directory;
        let pending = items.iter().rev().filter(is_directory).map(|(path, _)| path.clone()).collect();
        self.push(Level { directory, fd: Some(fd), pending });
        visit(listing)
    }

    fn push(&mut self, level: Level) {
        self.levels.push(level);
        if let Some(index) = self.levels.len().checked_sub(N_OPEN_MAX + 1) {
            self.levels[index].fd = None;
        }
    }

    fn open(&mut self, directory: &SyncPath) -> Result<OwnedFd, Errno> {
        let Some(level) = self.levels.last_mut() else {
            return at::open_directory(self.root.fd(), directory, LISTED);
        };
        if level.fd.is_none() {
            level.fd = Some(at::open_directory(self.root.fd(), &level.directory, LISTED)?);
        }
        let parent = level.fd.as_ref().expect("opened just now");
        at::open_beneath(parent.as_fd(), directory.name(), LISTED)
    }

    /// Lists a directory and looks at each item.
    ///
    /// A listing is no snapshot: a file that is replaced by a rename meanwhile may be missed under both its names. So a
    /// directory that changed under the listing is listed again, and all names ever met are looked at.
    fn list(&mut self, fd: BorrowedFd<'_>, directory: &SyncPath) -> Result<Listing, Errno> {
        self.names.clear();
        for _ in 0..N_LISTINGS_MAX {
            let before = at::stat_fd(fd)?.stat;
            rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(0))?;
            self.names.read(fd)?;
            if is_same_state(&before, &at::stat_fd(fd)?.stat) {
                break;
            }
        }
        self.names.sort();
        let (mut items, mut troubled, mut other) =
            (Vec::with_capacity(self.names.len()), Vec::new(), Vec::new());
        for name in self.names.iter() {
            let bytes = name.to_bytes();
            let met = match at::stat_at(fd, name) {
                Ok(met) => Ok(met),
                Err(Errno::NOENT) => continue,
                // Without search permission nothing in here can be known.
                Err(Errno::ACCESS) => return Err(Errno::ACCESS),
                Err(errno) => Err(trouble("look at it", errno)),
            };
            let path = match directory.join(bytes) {
                Ok(path) => path,
                Err(error) => {
                    other.push((bytes.to_vec(), error.to_string()));
                    continue;
                }
            };
            match met.and_then(|met| self.root.observe(fd, bytes, met)) {
                Ok(Some(seen)) => items.push((path, seen)),
                Ok(None) => {}
                Err(trouble) => {
                    let trouble = self.root.explained(Attempt::Read, &path, trouble);
                    troubled.push((path, trouble));
                }
            }
        }
        Ok(Listing { directory: directory.clone(), result: Ok(items), troubled, other })
    }
}

fn is_same_state(one: &Stat, two: &Stat) -> bool {
    one.mtime == two.mtime && one.ctime == two.ctime
}

/// The names of one directory, in one allocation that is used again for the next.
#[derive(Default)]
struct Names {
    /// All names, each ended by NUL.
    bytes: Vec<u8>,
    starts: Vec<(u32, u32)>,
    buffer: Vec<u8>,
}

impl Names {
    fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
    }

    fn len(&self) -> usize {
        self.starts.len()
    }

    /// Adds the names that a directory has.
    fn read(&mut self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.buffer.reserve(LIST_BYTES);
        let mut listing = RawDir::new(fd, self.buffer.spare_capacity_mut());
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes_with_nul();
            if matches!(name, b".\0" | b"..\0") || name[..name.len() - 1] == *RESERVED_NAME {
                continue;
            }
            let start = u32::try_from(self.bytes.len()).map_err(|_| Errno::OVERFLOW)?;
            self.bytes.extend_from_slice(name);
            self.starts.push((start, name.len() as u32));
        }
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |(start, length): &(u32, u32)| &bytes[*start as usize..(*start + *length) as usize];
        self.starts.sort_unstable_by(|one, two| name(one).cmp(name(two)));
        self.starts.dedup_by(|one, two| name(one) == name(two));
    }

    fn iter(&self) -> impl Iterator<Item = &std::ffi::CStr> {
        self.starts.iter().map(|(start, length)| {
            let name = &self.bytes[*start as usize..(*start + *length) as usize];
            std::ffi::CStr::from_bytes_with_nul(name).expect("the kernel's names end with their only NUL")
        })
    }
}
