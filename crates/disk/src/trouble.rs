//! Trouble in words: from the system's error numbers to the core's [`Trouble`], whose item is in the way, and what mends
//! it.
//!
//! What was tried says the call that failed; whose file it is, and whether there is a command that mends it, is found out
//! once the path is known, at the doors of a [`Root`]: see `culprit`.

use std::fmt::Display;

use file_sync_core::effect::{Op, OpOutcome, Trouble, TroubleKind};
use file_sync_core::path::SyncPath;
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;

use crate::culprit::Culprit;
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
    /// To change the mode or the times of what is there, as its owner alone may.
    Describe,
}

impl Root {
    /// The same trouble, with a word about whose item is in the way, and with what mends it, as far as that can be told.
    pub fn explained(&self, attempt: Attempt, path: &SyncPath, trouble: Trouble) -> Trouble {
        self.explained_of(attempt, path, path, trouble)
    }

    /// The same, listed at another path than it was met at.
    fn explained_of(&self, attempt: Attempt, at: &SyncPath, listed: &SyncPath, trouble: Trouble) -> Trouble {
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
            TroubleKind::Denied if attempt != Attempt::Read && self.is_mounted_read_only() => {
                // Not a command: what the kernel has closed after errors is to be looked at before it is written again.
                let mend = format!(
                    "its file system is mounted read-only (findmnt -T {shown}); if nobody meant that, sudo dmesg | tail says why: have it checked before it is mounted writable"
                );
                Trouble { mend: Some(mend), ..trouble }
            }
            TroubleKind::Denied => match Culprit::find(self, attempt, at) {
                Some(culprit) => Trouble {
                    message: format!("{}; {}", trouble.message, culprit.words(listed)),
                    mend: culprit.mend(self),
                    ..trouble
                },
                None => trouble,
            },
            _ => trouble,
        }
    }

    /// The same of what came of an op.
    pub(crate) fn explained_outcome(&self, op: &Op, outcome: OpOutcome) -> OpOutcome {
        let OpOutcome::Trouble(trouble) = outcome else { return outcome };
        OpOutcome::Trouble(match op {
            Op::Move { from, .. } | Op::MoveDirectory { from, .. } => {
                let of_source = self.explained_of(Attempt::Change, from, op.path(), trouble.clone());
                match of_source == trouble {
                    true => self.explained(Attempt::Change, op.path(), trouble),
                    false => of_source,
                }
            }
            Op::SetMetadata { .. } => self.explained(Attempt::Describe, op.path(), trouble),
            _ => self.explained(Attempt::Change, op.path(), trouble),
        })
    }

    fn is_mounted_read_only(&self) -> bool {
        rustix::fs::fstatvfs(self.fd()).is_ok_and(|space| space.f_flag.contains(StatVfsMountFlags::RDONLY))
    }
}
