//! One observation: what is at a path now.
//!
//! Absent is said only where the kernel said so; every other error is trouble, so that what could not be read is never
//! taken for deleted. A parent that is now a file or a symlink holds nothing of the tree; a parent on another file
//! system is trouble.

use std::os::fd::{AsFd, BorrowedFd};

use file_sync_core::effect::Trouble;
use file_sync_core::path::{IGNORE_NAME, SyncPath};
use file_sync_core::record::{Kind, Seen, Stat};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::at::{self, LISTED, Met, Spot};
use crate::root::Root;
use crate::trouble::{Attempt, other, trouble};

/// Longest ignore file whose rules are read, in bytes: it takes up to a thousand times as much memory to understand them,
/// and anybody who may change a directory may write one.
const RULES_BYTES_MAX: u64 = 64 << 10;
/// How often an item that changes between two calls is looked at again.
const N_LOOKS_MAX: usize = 5;

impl Root {
    /// Looks at what is at a path, without following a symlink. None: nothing is there.
    ///
    /// # Errors
    /// Whenever it cannot be told, so also when a parent may not be entered or is on another file system.
    pub fn look(&self, path: &SyncPath) -> Result<Option<Seen>, Trouble> {
        self.try_look(path).map_err(|trouble| self.explained(Attempt::Read, path, trouble))
    }

    fn try_look(&self, path: &SyncPath) -> Result<Option<Seen>, Trouble> {
        if path.is_root() {
            let met = at::stat_fd(self.fd()).map_err(|errno| trouble("look at the root", errno))?;
            return Ok(Some(Seen { kind: Kind::Directory, stat: met.stat, rules: None }));
        }
        match Spot::open(self.fd(), path) {
            Ok(spot) => self.look_at(spot.parent.as_fd(), path.name()),
            Err(errno) if at::is_absence(errno) => Ok(None),
            Err(errno) => Err(trouble("enter the parent directory", errno)),
        }
    }

    /// False of a directory that may not be listed, or whose items may not be looked at.
    pub fn may_list(&self, directory: &SyncPath) -> bool {
        let opened = at::open_directory(self.fd(), directory, LISTED);
        // Its own name in it can be looked at by whoever may look at what it holds.
        let looked = opened.and_then(|fd| at::stat_at(fd.as_fd(), c"."));
        !matches!(looked, Err(Errno::ACCESS | Errno::PERM))
    }

    /// Looks at one name in an open directory of this root.
    pub(crate) fn look_at(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Seen>, Trouble> {
        match at::stat_at(parent, name) {
            Ok(met) => self.observe(parent, name, met),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(trouble("look at it", errno)),
        }
    }

    /// Completes what `statx` said: a symlink's target, an ignore file's rules. None if it vanished meanwhile.
    pub(crate) fn observe(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        mut met: Met,
    ) -> Result<Option<Seen>, Trouble> {
        for _ in 0..N_LOOKS_MAX {
            let seen = match self.kind_of(&met) {
                Some(Kind::File) if name == IGNORE_NAME && met.stat.size > RULES_BYTES_MAX => {
                    return Err(other(
                        "cannot read the rules: an ignore file has at most 64 KiB; make it shorter",
                    ));
                }
                Some(Kind::File) if name == IGNORE_NAME => {
                    read_rules(parent, name, &met.stat).map(|rules| (Kind::File, Some(rules)))
                }
                Some(kind) => Ok((kind, None)),
                None => at::read_link(parent, name).map(|target| (Kind::Symlink(target), None)),
            };
            match seen {
                Ok((kind, rules)) => return Ok(Some(Seen { kind, stat: met.stat, rules })),
                // It has become something else since the stat.
                Err(Errno::INVAL | Errno::NOENT | Errno::LOOP | Errno::AGAIN | Errno::NXIO) => {}
                Err(errno) => return Err(trouble("read it", errno)),
            }
            met = match at::stat_at(parent, name) {
                Ok(met) => met,
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(errno) => return Err(trouble("look at it", errno)),
            };
        }
        Err(other("it keeps changing while it is read"))
    }

    /// The kind, or none for a symlink, whose target is not known yet.
    fn kind_of(&self, met: &Met) -> Option<Kind> {
        let root = self.met();
        // Overlay file systems give files other device numbers than directories; only a directory's tells a border.
        let is_other_device = met.file_type == FileType::Directory && met.stat.device != root.stat.device;
        if met.is_mount_root || met.mount_id != root.mount_id || is_other_device {
            return Some(Kind::Mount);
        }
        match met.file_type {
            FileType::RegularFile => Some(Kind::File),
            FileType::Directory => Some(Kind::Directory),
            FileType::Symlink => None,
            _ => Some(Kind::Unsupported),
        }
    }
}

/// The bytes of an ignore file, all from the very state that `stat` describes; AGAIN if it is no longer in that state.
fn read_rules(parent: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> Result<Vec<u8>, Errno> {
    let fd = at::open_file(parent, name)?;
    let mut rules = vec![0; usize::try_from(stat.size).expect("at most 64 KiB") + 1];
    let n_bytes = crate::copy::read_full_at(fd.as_fd(), &mut rules, 0)?;
    rules.truncate(n_bytes);
    if at::stat_fd(fd.as_fd())?.stat != *stat || n_bytes as u64 != stat.size {
        return Err(Errno::AGAIN);
    }
    Ok(rules)
}
