//! Whose item is in the way where something is denied, and the command that mends it.
//!
//! A command that is run as root must do nothing to any other item than the one that is named, whoever swaps it
//! meanwhile: `chown -h` follows no symlink at the end of a path, and a mode is changed as the new owner alone. There is none
//! for symlinks and for files with other names, whose other names may lie anywhere. What lies above a path can still be
//! swapped by whoever may write there.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, OnceLock, PoisonError};

use file_sync_core::path::{RESERVED_NAME, SyncPath};
use rustix::fs::{Access, AtFlags, CWD, FileType, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::at::{self, PASSAGE};
use crate::root::Root;
use crate::shell::quoted;
use crate::trouble::Attempt;

const READ: u16 = 0o4;
const WRITE: u16 = 0o2;
const SEARCH: u16 = 0o1;
const STICKY: u16 = 0o1000;
/// A longer command is not told: a trouble is kept in memory for each path, and others choose the paths.
const MEND_BYTES_MAX: usize = 1_024;
/// Names of users that are remembered.
const USERS_MAX: usize = 64;

/// An item that this process may not do with what it is to.
pub(crate) struct Culprit {
    /// Below the root, as bytes: the engine's own directory has no [`SyncPath`].
    path: Vec<u8>,
    item: Item,
    why: Why,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// These permission bits are needed.
    Bits(u16),
    /// Only its owner may.
    Owner,
    /// Nobody may change it.
    Protected,
}

/// What is told of an item.
struct Item {
    file_type: FileType,
    mode_bits: u16,
    owner: u32,
    n_names: u32,
    is_protected: bool,
}

impl Item {
    fn of(fd: BorrowedFd<'_>) -> Option<Item> {
        let met = at::stat_fd(fd).ok()?;
        let asked = StatxFlags::NLINK;
        let more = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, asked).ok()?;
        let protected = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
        Some(Item {
            file_type: met.file_type,
            mode_bits: met.mode_bits,
            owner: met.owner,
            n_names: more.stx_nlink,
            is_protected: more.stx_attributes.intersects(protected),
        })
    }

    fn is_own(&self) -> bool {
        self.owner == geteuid().as_raw()
    }
}

impl Culprit {
    /// The first item on the way to a path, or in the engine's own directory, that this process may not do with what is to
    /// be done. A root that nobody may search is found, too.
    pub(crate) fn find(root: &Root, attempt: Attempt, path: &SyncPath) -> Option<Culprit> {
        let mut above: Vec<SyncPath> = std::iter::successors(path.parent(), SyncPath::parent).collect();
        above.reverse();
        let mut parent: Option<OwnedFd> = None;
        for passed in &above {
            if let Some(directory) = &parent {
                let next = at::open_item(directory.as_fd(), passed.name()).ok()?;
                parent = Some(next);
            }
            let fd = parent.as_ref().map_or(root.fd(), OwnedFd::as_fd);
            if let Some(culprit) = Culprit::denied(passed.as_bytes(), fd, SEARCH) {
                return Some(culprit);
            }
            if parent.is_none() {
                parent = Some(at::open_directory(root.fd(), &SyncPath::root(), PASSAGE).ok()?);
            }
        }
        let item = parent.as_ref().map(|parent| at::open_item(parent.as_fd(), path.name()).ok());
        match (attempt, parent, item) {
            (Attempt::Read, None, _) => Culprit::denied(b"", root.fd(), READ),
            (Attempt::Read, Some(_), item) => Culprit::denied(path.as_bytes(), item??.as_fd(), READ),
            (_, None, _) => Culprit::of_own_directory(root),
            (_, Some(parent), item) => {
                let in_directory = above.last()?;
                Culprit::of_own_directory(root)
                    .or_else(|| Culprit::of_parent(in_directory, parent.as_fd()))
                    .or_else(|| Culprit::of_item(attempt, path, item??.as_fd(), parent.as_fd()))
            }
        }
    }

    /// The directory that something is to be put into or taken from. The mode of an own one is lent while that is done.
    fn of_parent(path: &SyncPath, directory: BorrowedFd<'_>) -> Option<Culprit> {
        let item = Item::of(directory)?;
        if item.is_protected {
            return Some(Culprit { path: path.as_bytes().to_owned(), item, why: Why::Protected });
        }
        if item.is_own() { None } else { Culprit::denied(path.as_bytes(), directory, WRITE | SEARCH) }
    }

    /// What is to be replaced, taken away or described.
    fn of_item(
        attempt: Attempt,
        path: &SyncPath,
        fd: BorrowedFd<'_>,
        parent: BorrowedFd<'_>,
    ) -> Option<Culprit> {
        let (item, parent) = (Item::of(fd)?, Item::of(parent)?);
        let is_the_owners =
            attempt == Attempt::Describe || (parent.mode_bits & STICKY != 0 && !parent.is_own());
        if item.is_protected {
            return Some(Culprit { path: path.as_bytes().to_owned(), item, why: Why::Protected });
        }
        if is_the_owners && !item.is_own() && !geteuid().is_root() {
            return Some(Culprit { path: path.as_bytes().to_owned(), item, why: Why::Owner });
        }
        // What is displaced is read; of an own file the bits are lent.
        if item.is_own() { None } else { Culprit::denied(path.as_bytes(), fd, READ) }
    }

    fn of_own_directory(root: &Root) -> Option<Culprit> {
        ["", "/stage", "/kept"].into_iter().find_map(|below| {
            let path = [RESERVED_NAME, below.as_bytes()].concat();
            let item = at::open_beneath(root.fd(), &path, PASSAGE).ok()?;
            Culprit::denied(&path, item.as_fd(), READ | WRITE | SEARCH)
        })
    }

    /// An item that this process has not these permissions for. A directory that is to be read is to be searched as well.
    fn denied(path: &[u8], fd: BorrowedFd<'_>, needed: u16) -> Option<Culprit> {
        let item = Item::of(fd)?;
        let needed = match item.file_type {
            FileType::Symlink => return None,
            FileType::Directory if needed & READ != 0 => needed | SEARCH,
            _ => needed,
        };
        let mut access = Access::empty();
        access.set(Access::READ_OK, needed & READ != 0);
        access.set(Access::WRITE_OK, needed & WRITE != 0);
        access.set(Access::EXEC_OK, needed & SEARCH != 0);
        let allowed = rustix::fs::accessat(CWD, at::proc_path(fd), access, AtFlags::EACCESS);
        let is_denied = matches!(allowed, Err(Errno::ACCESS | Errno::PERM));
        is_denied.then(|| Culprit { path: path.to_owned(), item, why: Why::Bits(needed) })
    }

    /// Whose it is, and as whom the server runs; `listed` is the path in trouble.
    pub(crate) fn words(&self, listed: &SyncPath) -> String {
        let it = match self.path.as_slice() {
            own if own == listed.as_bytes() => "it".to_owned(),
            b"" => "the directory's root".to_owned(),
            // It has no control characters that could do harm: a path's own are escaped where it is shown.
            other => String::from_utf8_lossy(other).into_owned(),
        };
        let (owner, mode) = (user_name(self.item.owner), self.item.mode_bits);
        let protected = if self.why == Why::Protected { ", protected from all changes" } else { "" };
        let server = user_name(geteuid().as_raw());
        format!("{it} belongs to {owner}, mode {mode:03o}{protected}, and the server runs as {server}")
    }

    /// The command that lets this process do with it what is to be done, where one does that and nothing else.
    pub(crate) fn mend(&self, root: &Root) -> Option<String> {
        let is_alone = match self.item.file_type {
            FileType::Directory => true,
            FileType::RegularFile => self.item.n_names == 1,
            _ => false,
        };
        let path = quoted(root.path().join(OsStr::from_bytes(&self.path)));
        let own = user_name(geteuid().as_raw());
        let lacking = match self.why {
            Why::Bits(needed) => letters(needed & !(self.item.mode_bits >> 6)),
            Why::Owner | Why::Protected => String::new(),
        };
        let mend = match (self.why, self.item.is_own(), lacking.as_str()) {
            _ if !is_alone => return None,
            (Why::Protected, ..) => format!("sudo chattr -i -a -- {path}"),
            (_, true, "") => format!(
                "its mode allows it, something else forbids it: getfacl -- {path}; look at SELinux or AppArmor as well"
            ),
            (_, true, bits) => format!("chmod u+{bits} -- {path}"),
            (_, false, "") => format!("sudo chown -h -- {own} {path}"),
            (_, false, bits) => {
                let as_own = if own.bytes().all(|byte| byte.is_ascii_digit()) {
                    format!("'#{own}'")
                } else {
                    own.clone()
                };
                format!("sudo chown -h -- {own} {path} && sudo -u {as_own} chmod u+{bits} -- {path}")
            }
        };
        Some(mend).filter(|mend| mend.len() <= MEND_BYTES_MAX)
    }
}

fn letters(bits: u16) -> String {
    let all = [(READ, 'r'), (WRITE, 'w'), (SEARCH, 'x')];
    all.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, letter)| letter).collect()
}

/// What a user is called here; one without a name, by their number.
fn user_name(id: u32) -> String {
    static NAMES: OnceLock<Mutex<HashMap<u32, String>>> = OnceLock::new();
    let mut names = NAMES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = names.get(&id) {
        return name.clone();
    }
    let name = look_up(id).unwrap_or_else(|| id.to_string());
    if names.len() >= USERS_MAX {
        names.clear();
    }
    names.insert(id, name.clone());
    name
}

fn look_up(id: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        (number.parse() == Ok(id) && is_plain && !name.is_empty() && !name.starts_with('-'))
            .then(|| name.to_owned())
    })
}
