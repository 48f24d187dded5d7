//! Why a database could not be opened, read or written, in words that name the file and the next step.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi::{
    SQLITE_CONSTRAINT_FOREIGNKEY, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE, SQLITE_ERROR,
    SQLITE_IOERR_SHMSIZE,
};

/// Most that is said about damage, in characters.
const DETAIL_CHARS_MAX: usize = 300;

/// Why an operation of an index was not done. Nothing of it was: every write is one transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The database was written by a later version of this program.
    #[error(
        "{} has format {found}, this version knows up to {known}: use the newer version of file-sync",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The latest that this build knows.
        known: i64,
    },
    /// The file is no database, or a damaged one.
    #[error("{} is damaged ({detail}): restore it from a backup, or move it away to start anew", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A database, but not the kind that belongs here.
    #[error("{} is not {expected}: move it away", path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// What belongs here.
        expected: &'static str,
    },
    /// There is no such file.
    #[error("{} does not exist: restore it from a backup, or start the directory anew", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A database is to be made where one is.
    #[error("{} exists already: open it, or move it away", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// No space left.
    #[error("no space left to write {}: free some and try again", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// The file or its file system is read-only.
    #[error("{} cannot be written: make it and its file system writable", path.display())]
    ReadOnly {
        /// The database.
        path: PathBuf,
    },
    /// Permission denied.
    #[error("permission denied on {}: let this user read and write it and its directory", path.display())]
    Denied {
        /// The database.
        path: PathBuf,
    },
    /// Another process has the database.
    #[error("{} is in use by another process: stop that one", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// A name, path or id that has to be unique is taken.
    #[error("{what} is taken: choose another")]
    Taken {
        /// Of what kind, and which.
        what: String,
    },
    /// What is to be changed is not there.
    #[error("no {what} in {}: list what there is", path.display())]
    Unknown {
        /// The database.
        path: PathBuf,
        /// Of what kind, and which.
        what: String,
    },
    /// The batch would use a counter or sequence number again, or one that its state does not cover.
    #[error("refused to write {}: {detail}; this is a fault of file-sync, please report it", path.display())]
    Backwards {
        /// The database.
        path: PathBuf,
        /// Which number.
        detail: String,
    },
    /// The system's word on a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Anything else that SQLite says.
    #[error("database {}: {source}", path.display())]
    Sql {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

impl IndexError {
    /// What the system said about a file, by what can be done about it.
    pub(crate) fn io(path: &Path, source: io::Error) -> IndexError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => IndexError::Missing { path },
            io::ErrorKind::AlreadyExists => IndexError::Exists { path },
            io::ErrorKind::PermissionDenied => IndexError::Denied { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => IndexError::Full { path },
            io::ErrorKind::ReadOnlyFilesystem => IndexError::ReadOnly { path },
            _ => IndexError::Io { path, source },
        }
    }

    /// What SQLite said about a database, by what can be done about it.
    pub(crate) fn sql(path: &Path, source: rusqlite::Error) -> IndexError {
        // Every statement is ours: what it names is lacking in a damaged schema only.
        if let rusqlite::Error::SqlInputError { msg, .. } = &source {
            return IndexError::damaged(path, msg.as_str());
        }
        let Some(error) = source.sqlite_error() else {
            return match source {
                // A column that holds another type than was ever written there, or a row that is always there.
                rusqlite::Error::QueryReturnedNoRows
                | rusqlite::Error::Utf8Error(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..) => IndexError::damaged(path, source.to_string()),
                _ => IndexError::Sql { path: path.to_owned(), source },
            };
        };
        let owned = path.to_owned();
        match error.code {
            // SQLite says the same where the system could not read the file: it may be whole.
            ErrorCode::DatabaseCorrupt => {
                let detail = format!("{source}, unless the disk failed to read it: see the system's log");
                IndexError::damaged(path, detail)
            }
            ErrorCode::NotADatabase => IndexError::damaged(path, source.to_string()),
            // As above: no statement is wrong, so what it met is.
            ErrorCode::Unknown if error.extended_code == SQLITE_ERROR => {
                IndexError::damaged(path, source.to_string())
            }
            ErrorCode::DiskFull => IndexError::Full { path: owned },
            ErrorCode::SystemIoFailure if error.extended_code == SQLITE_IOERR_SHMSIZE => {
                IndexError::Full { path: owned }
            }
            ErrorCode::ReadOnly => IndexError::ReadOnly { path: owned },
            ErrorCode::PermissionDenied | ErrorCode::CannotOpen => IndexError::cannot_open(path),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => IndexError::Busy { path: owned },
            _ => IndexError::Sql { path: owned, source },
        }
    }

    /// SQLite does not say why it cannot open a file or its log; asking the system does.
    fn cannot_open(path: &Path) -> IndexError {
        // Not by opening the file: closing it again would drop the locks that this process holds on it.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let tried = std::fs::metadata(path).and_then(|_| std::fs::File::open(parent));
        match tried {
            Err(error) => IndexError::io(path, error),
            // There, and descriptors are to be had: what remains is that it may not be written, or its log not made.
            Ok(_) => IndexError::Denied { path: path.to_owned() },
        }
    }

    /// What is wrong may quote the damaged file: it is made one short line.
    pub(crate) fn damaged(path: &Path, detail: impl AsRef<str>) -> IndexError {
        let shown = |character: char| if character.is_control() { ' ' } else { character };
        let detail = detail.as_ref().chars().take(DETAIL_CHARS_MAX).map(shown).collect();
        IndexError::Damaged { path: path.to_owned(), detail }
    }

    /// As [`IndexError::sql`], but a broken rule of uniqueness says that `what` is taken, and a reference to nothing
    /// that `what` is unknown.
    pub(crate) fn rule(
        path: &Path,
        source: rusqlite::Error,
        what: impl FnOnce(&str) -> String,
    ) -> IndexError {
        match source.sqlite_error().map(|error| error.extended_code) {
            Some(SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY) => {
                IndexError::Taken { what: what(&source.to_string()) }
            }
            Some(SQLITE_CONSTRAINT_FOREIGNKEY) => {
                IndexError::Unknown { path: path.to_owned(), what: what(&source.to_string()) }
            }
            _ => IndexError::sql(path, source),
        }
    }
}
