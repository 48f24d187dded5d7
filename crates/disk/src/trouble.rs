//! Trouble in words: from the system's error numbers to the core's [`Trouble`], whose item is in the way, and what mends
//! it.
//!
//! What was tried says the call that failed; whose file it is, and whether there is a command that mends it, is found out
//! here, once the path is known: at the doors of a [`Root`].

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use file_sync_core::effect::{Op, OpOutcome, Trouble, TroubleKind};
use file_sync_core::path::{RESERVED_NAME, SyncPath};
use rustix::fs::{Access, AtFlags, CWD, FileType, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::at::{self, Met, PASSAGE};
use crate::root::Root;
use crate::shell::quoted;

/// Trouble while doing `what` ("open the file"), by the system's word.
pub(crate) fn trouble(what: impl Display, errno: Errno) -> Trouble {
    let kind = match errno {
        Errno::NOSPC | Errno::DQUOT => TroubleKind::NoSpace,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => TroubleKind::Denied,
        Errno::NAMETOOLONG | Errno::ILSEQ | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::FBIG => {
            TroubleKind::Unsupported
        }
        Errno::NOTEMPTY => TroubleKind::NotEmpty,
        _ => TroubleKind::Other,
    };
    let hint = match errno {
        Errno::XDEV => " (another file system is mounted there)",
        _ => "",
    };
    let mend = mend_of(errno).map(str::to_owned);
    Trouble { mend, ..Trouble::new(kind, format!("cannot {what}: {errno}{hint}")) }
}

/// What mends it, whatever path it is about.
fn mend_of(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::DQUOT => {
            "quota -s says what its user may use; delete something of theirs, or have the quota raised"
        }
        Errno::NAMETOOLONG => "give it a shorter name on a device that has it",
        Errno::ILSEQ | Errno::INVAL => {
            "give it another name on a device that has it; or put the directory on ext4, xfs, btrfs or tmpfs"
        }
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::FBIG => "put the directory on ext4, xfs, btrfs or tmpfs",
        Errno::MFILE => "raise LimitNOFILE= of the server's systemd unit, or `ulimit -n` before its start",
        Errno::NFILE => "sudo sysctl fs.file-max=9223372036854775807",
        Errno::IO => "sudo dmesg | tail says what the disk reports; look after it",
        _ => return None,
    })
}

/// Trouble that no call reported.
pub(crate) fn other(message: impl Into<String>) -> Trouble {
    Trouble::new(TroubleKind::Other, message)
}

/// Why an op is not carried out; nothing was changed.
pub(crate) enum Refusal {
    /// Something else than expected is there.
    Differs,
    /// The bytes are not to be had.
    NoSource,
    /// It cannot be done.
    Trouble(Trouble),
}

impl From<Refusal> for OpOutcome {
    fn from(refusal: Refusal) -> OpOutcome {
        match refusal {
            Refusal::Differs => OpOutcome::Differs { rescued: None },
            Refusal::NoSource => OpOutcome::NoSource,
            Refusal::Trouble(trouble) => OpOutcome::Trouble(trouble),
        }
    }
}

/// What was to be done with a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// To look at it, list it or read it.
    Read,
    /// To put something there, or take away what is there.
    Change,
}

impl Root {
    /// The same trouble, with a word about whose item is in the way, and with what mends it, as far as that can be told.
    pub fn explained(&self, attempt: Attempt, path: &SyncPath, trouble: Trouble) -> Trouble {
        if trouble.mend.is_some() {
            return trouble;
        }
        let shown = quoted(self.path());
        match trouble.kind {
            TroubleKind::NoSpace => {
                let mend = format!(
                    "make room on its file system: df -h -- {shown} says how full it is; the oldest kept versions go by themselves"
                );
                Trouble { mend: Some(mend), ..trouble }
            }
            TroubleKind::Denied if self.is_mounted_read_only() => {
                let mend = format!("sudo mount -o remount,rw \"$(findmnt -n -o TARGET -T {shown})\"");
                Trouble { mend: Some(mend), ..trouble }
            }
            TroubleKind::Denied => match self.culprit(attempt, path) {
                Some(culprit) => Trouble {
                    message: format!("{}; {}", trouble.message, culprit.words(path)),
                    mend: Some(culprit.mend(self)),
                    ..trouble
                },
                None => trouble,
            },
            _ => trouble,
        }
    }

    /// The same of what came of an op.
    pub(crate) fn explained_outcome(&self, op: &Op, outcome: OpOutcome) -> OpOutcome {
        let OpOutcome::Trouble(mut trouble) = outcome else { return outcome };
        if let Op::Move { from, .. } | Op::MoveDirectory { from, .. } = op {
            trouble = self.explained(Attempt::Change, from, trouble);
        }
        OpOutcome::Trouble(self.explained(Attempt::Change, op.path(), trouble))
    }

    fn is_mounted_read_only(&self) -> bool {
        rustix::fs::fstatvfs(self.fd()).is_ok_and(|space| space.f_flag.contains(StatVfsMountFlags::RDONLY))
    }

    /// The first item on the way to a path, or in the engine's own directory, that this process may not do with what is to
    /// be done.
    fn culprit(&self, attempt: Attempt, path: &SyncPath) -> Option<Culprit> {
        let mut directory = at::open_directory(self.fd(), &SyncPath::root(), PASSAGE).ok()?;
        let mut above: Vec<SyncPath> = std::iter::successors(path.parent(), SyncPath::parent).collect();
        above.reverse();
        for (index, passed) in above.iter().enumerate() {
            if index > 0 {
                directory = at::open_item(directory.as_fd(), passed.name()).ok()?;
            }
            let is_last = index + 1 == above.len();
            let needed = if is_last && attempt == Attempt::Change { WRITE | SEARCH } else { SEARCH };
            if let Some(culprit) = Culprit::of(passed, &directory, needed) {
                return Some(culprit);
            }
        }
        let item = match path.is_root() {
            true => Some(directory),
            false => at::open_item(directory.as_fd(), path.name()).ok(),
        };
        let found = item.and_then(|item| match attempt {
            Attempt::Read => Culprit::of(path, &item, READ),
            Attempt::Change if path.is_root() => None,
            Attempt::Change => Culprit::of(path, &item, READ).or_else(|| Culprit::of_change(path, &item)),
        });
        found.or_else(|| self.own_culprit())
    }

    fn own_culprit(&self) -> Option<Culprit> {
        ["", "/stage", "/kept"].into_iter().find_map(|below| {
            let path = [RESERVED_NAME, below.as_bytes()].concat();
            let item = at::open_beneath(self.fd(), &path, PASSAGE).ok()?;
            Culprit::at(&path, &item, READ | WRITE | SEARCH)
        })
    }
}

const READ: u16 = 0o4;
const WRITE: u16 = 0o2;
const SEARCH: u16 = 0o1;

/// An item that this process may not do with what it is to.
struct Culprit {
    /// Below the root, as bytes: the engine's own directory has no [`SyncPath`].
    path: Vec<u8>,
    met: Met,
    /// The owner's permission bits that are needed; 0 if it is not they that lack.
    needed: u16,
    /// It may not be changed by anybody.
    is_immutable: bool,
}

impl Culprit {
    /// A directory that is to be read is to be searched as well.
    fn of(path: &SyncPath, item: &OwnedFd, needed: u16) -> Option<Culprit> {
        Culprit::at(path.as_bytes(), item, needed)
    }

    fn at(path: &[u8], item: &OwnedFd, needed: u16) -> Option<Culprit> {
        let met = at::stat_fd(item.as_fd()).ok()?;
        let needed = match met.file_type {
            FileType::Symlink => return None,
            FileType::Directory if needed & READ != 0 => needed | SEARCH,
            _ => needed,
        };
        let mut access = Access::empty();
        access.set(Access::READ_OK, needed & READ != 0);
        access.set(Access::WRITE_OK, needed & WRITE != 0);
        access.set(Access::EXEC_OK, needed & SEARCH != 0);
        let is_immutable = needed & WRITE != 0 && is_immutable(item);
        let allowed = rustix::fs::accessat(CWD, at::proc_path(item.as_fd()), access, AtFlags::EACCESS);
        let is_denied = matches!(allowed, Err(Errno::ACCESS | Errno::PERM));
        (is_denied || is_immutable).then(|| Culprit { path: path.to_owned(), met, needed, is_immutable })
    }

    /// Of an item in a directory that may be changed: it is protected, or only its owner may change it.
    fn of_change(path: &SyncPath, item: &OwnedFd) -> Option<Culprit> {
        let met = at::stat_fd(item.as_fd()).ok()?;
        let is_immutable = is_immutable(item);
        let is_others = met.owner != geteuid().as_raw() && !geteuid().is_root();
        let culprit = Culprit { path: path.as_bytes().to_owned(), met, needed: 0, is_immutable };
        (is_immutable || is_others).then_some(culprit)
    }

    /// Whose it is, and as whom the server runs; `path` is the one in trouble.
    fn words(&self, path: &SyncPath) -> String {
        let it = match self.path.as_slice() {
            own if own == path.as_bytes() => "it".to_owned(),
            b"" => "the directory's root".to_owned(),
            // It has no control characters that could do harm: a path's own are escaped where it is shown.
            above => String::from_utf8_lossy(above).into_owned(),
        };
        let (owner, mode) = (user_name(self.met.owner), self.met.mode_bits);
        let protected = if self.is_immutable { ", protected from all changes" } else { "" };
        let server = user_name(geteuid().as_raw());
        format!("{it} belongs to {owner}, mode {mode:03o}{protected}, and the server runs as {server}")
    }

    /// The command that lets this process do with it what is to be done.
    fn mend(&self, root: &Root) -> String {
        let path = quoted(root.path().join(OsStr::from_bytes(&self.path)));
        if self.is_immutable {
            return format!("sudo chattr -i -a -- {path}");
        }
        let lacking = self.needed & !(self.met.mode_bits >> 6);
        let bits: String = [(READ, 'r'), (WRITE, 'w'), (SEARCH, 'x')]
            .iter()
            .filter(|(bit, _)| lacking & bit != 0)
            .map(|(_, letter)| letter)
            .collect();
        let own = geteuid().as_raw();
        match (self.met.owner == own, bits.as_str()) {
            (true, "") => format!(
                "its mode allows it, something else forbids it: getfacl -- {path}; look at SELinux or AppArmor as well"
            ),
            (true, bits) => format!("chmod u+{bits} -- {path}"),
            (false, "") => format!("sudo chown -- {} {path}", user_name(own)),
            (false, bits) => {
                format!("sudo chown -- {} {path} && sudo chmod u+{bits} -- {path}", user_name(own))
            }
        }
    }
}

fn is_immutable(item: &OwnedFd) -> bool {
    let met = rustix::fs::statx(item, c"", AtFlags::EMPTY_PATH, StatxFlags::empty());
    let protected = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    met.is_ok_and(|met| met.stx_attributes.intersects(protected))
}

/// What a user is called here; one without a name, by their number, which every command takes as well.
fn user_name(id: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        (number.parse() == Ok(id) && is_plain && !name.is_empty()).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| id.to_string())
}
