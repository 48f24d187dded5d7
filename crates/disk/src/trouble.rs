//! From the system's error numbers to the core's [`Trouble`]. The path is known to whoever asked.

use std::fmt::Display;

use file_sync_core::effect::{OpOutcome, Trouble, TroubleKind};
use rustix::io::Errno;

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
        Errno::MFILE | Errno::NFILE => " (raise the limit of open files)",
        _ => "",
    };
    Trouble { kind, message: format!("cannot {what}: {errno}{hint}") }
}

/// Trouble that no call reported.
pub(crate) fn other(message: impl Into<String>) -> Trouble {
    Trouble { kind: TroubleKind::Other, message: message.into() }
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
