//! A synced root: opening it, proving that it is still the one that was opened, and its own directory `.file-sync`.
//!
//! Everything below is done by other files through the descriptors held here. A root that cannot be proved says so;
//! whether anything is then done is for the caller to decide.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use file_sync_core::path::RESERVED_NAME;
use file_sync_core::version::DirectoryId;
use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;

use crate::abilities::systems_own;
use crate::at::{self, LISTED, Met};
use crate::marker::{Marker, MarkerError};
use crate::stage::Stage;

/// Why a root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Nothing is at the path.
    #[error("{}: no such directory; mount or create it", path.display())]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// Something else than a directory is at the path.
    #[error("{}: not a directory", path.display())]
    NotADirectory {
        /// Where.
        path: PathBuf,
    },
    /// It is on a file system in which the system shows itself.
    #[error("{}: this is the system's own ({kind}), where no files can be kept; choose a directory on a disk", path.display())]
    SystemsOwn {
        /// Where.
        path: PathBuf,
        /// The file system's kind.
        kind: &'static str,
    },
    /// The file system makes no directory.
    #[error(
        "{}: {source}, so it cannot be made; if its directory is still there, its file system takes no new ones: choose another",
        path.display()
    )]
    NotMade {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// It may not be entered or written to.
    #[error("{}: {source}; check its permissions and that it is not mounted read-only", path.display())]
    Denied {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The directory carries no marker: it is not, or no longer, the one that was synced.
    #[error(
        "{}: no .file-sync/marker; is the right file system mounted here? If it is, `file-sync sync approve` accepts it",
        path.display()
    )]
    NoMarker {
        /// Where.
        path: PathBuf,
    },
    /// The directory carries another directory's marker.
    #[error("{}: this is another directory ({found}); is the right file system mounted here?", path.display())]
    WrongMarker {
        /// Where.
        path: PathBuf,
        /// The id that it carries.
        found: DirectoryId,
    },
    /// The marker is there and says nothing that can be read.
    #[error("{}: .file-sync/marker is damaged; restore it, or move .file-sync away to start anew", path.display())]
    BadMarker {
        /// Where.
        path: PathBuf,
    },
    /// `.file-sync`, or a directory in it, is a symlink, a file or another file system's mount point.
    #[error("{}: must be a plain directory on the root's own file system; move it away", path.display())]
    NotOwn {
        /// Which.
        path: PathBuf,
    },
    /// The path leads to another directory than the one that was opened.
    #[error("{}: another directory is here now than the one that was opened; open it anew", path.display())]
    Replaced {
        /// Where.
        path: PathBuf,
    },
    /// Somebody is at work in it.
    #[error(
        "{}: another server is at work in this directory, or this one has not yet ended what it did there; stop the other, or try again in a moment",
        path.display()
    )]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Anything else.
    #[error("{}: {source}; it is tried again", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

/// An open synced root. All methods may be called from several threads.
///
/// While it is open no other process, and nobody else in this one, can open it: `.file-sync` is locked by flock(2), where
/// the file system has locks.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    fd: OwnedFd,
    own: OwnedFd,
    kept: OwnedFd,
    stage: Arc<Stage>,
    met: Met,
    marker: Mutex<Marker>,
    n_names: AtomicU64,
    pub(crate) granularity: OnceLock<Duration>,
    #[cfg(test)]
    pub(crate) hook: tests_hook::Hook,
}

impl Root {
    /// Opens a directory to be offered or joined into, and returns it with its id: the one its marker carries, or
    /// else `fresh_id`, for which a marker is made (incarnation 0).
    ///
    /// # Errors
    /// When it is no directory, may not be written to, is open already, or its `.file-sync` is not usable.
    pub fn offer(path: &Path, fresh_id: DirectoryId) -> Result<(Root, DirectoryId), RootError> {
        let fd = open_root(path)?;
        check_kind(path, fd.as_fd())?;
        let own = open_own(path, fd.as_fd(), true)?;
        lock(path, own.as_fd())?;
        let marker = match Marker::read(own.as_fd()) {
            Ok(marker) => marker,
            Err(MarkerError::Missing) => {
                let marker = Marker { id: fresh_id, incarnation: 0 };
                marker.write(own.as_fd()).map_err(|errno| root_error(&path.join(".file-sync"), errno))?;
                rustix::fs::fsync(&fd).map_err(|errno| root_error(path, errno))?;
                marker
            }
            Err(error) => return Err(marker_error(path, error)),
        };
        Ok((Root::assemble(path, fd, own, marker)?, marker.id))
    }

    /// Refuses a directory of the system's own, in which nothing can be kept.
    ///
    /// # Errors
    /// When it is one, is no directory or cannot be opened.
    pub fn check_kind(path: &Path) -> Result<(), RootError> {
        check_kind(path, open_root(path)?.as_fd())
    }

    /// Refuses a directory in which somebody is at work. Nothing is left in it.
    ///
    /// # Errors
    /// When somebody is, or it is no directory or cannot be opened.
    pub fn check_free(path: &Path) -> Result<(), RootError> {
        match open_own(path, open_root(path)?.as_fd(), false) {
            Ok(own) => lock(path, own.as_fd()),
            Err(RootError::NoMarker { .. }) => Ok(()), // Nobody has ever been.
            Err(error) => Err(error),
        }
    }

    /// Opens a directory that is known to have this id.
    ///
    /// # Errors
    /// When it is no directory, carries no marker or another one, is open already, or may not be written to.
    pub fn open(path: &Path, expected_id: DirectoryId) -> Result<Root, RootError> {
        let fd = open_root(path)?;
        let own = open_own(path, fd.as_fd(), false)?;
        let marker = Marker::read(own.as_fd()).map_err(|error| marker_error(path, error))?;
        if marker.id != expected_id {
            return Err(RootError::WrongMarker { path: path.to_owned(), found: marker.id });
        }
        lock(path, own.as_fd())?;
        // What it says of the last server is read again now that there is no other.
        let marker = Marker::read(own.as_fd()).map_err(|error| marker_error(path, error))?;
        Root::assemble(path, fd, own, marker)
    }

    /// Opens a directory to be looked through, without leaving anything in it: what the engine would keep in its
    /// `.file-sync` goes to `scratch`, a directory elsewhere. Nobody else is kept from working in it.
    ///
    /// # Errors
    /// When it is no directory or may not be entered, or `scratch` is not usable.
    pub fn peek(path: &Path, scratch: &Path) -> Result<Root, RootError> {
        let (fd, own) = (open_root(path)?, open_root(scratch)?);
        Root::assemble(path, fd, own, Marker { id: DirectoryId([0; 16]), incarnation: 0 })
    }

    fn assemble(path: &Path, fd: OwnedFd, own: OwnedFd, marker: Marker) -> Result<Root, RootError> {
        let met = at::stat_fd(fd.as_fd()).map_err(|errno| root_error(path, errno))?;
        let inside =
            |name: &str| open_or_make(own.as_fd(), name.as_bytes(), &path.join(".file-sync").join(name));
        let (stage, kept) = (inside("stage")?, inside("kept")?);
        Ok(Root {
            path: path.to_owned(),
            fd,
            own,
            kept,
            stage: Arc::new(Stage::new(stage)),
            met,
            marker: Mutex::new(marker),
            n_names: AtomicU64::new(0),
            granularity: OnceLock::new(),
            #[cfg(test)]
            hook: tests_hook::Hook::default(),
        })
    }

    /// Gives the directory another id (it is joined into another directory), durably. The incarnation becomes 0.
    ///
    /// # Errors
    /// When the marker cannot be written, or cannot be made durable; then the old one stands, or the new one.
    pub fn adopt_marker(&self, id: DirectoryId) -> Result<(), RootError> {
        self.write_marker(Marker { id, incarnation: 0 })
    }

    /// Remembers the incarnation of the server that writes here, durably.
    ///
    /// # Errors
    /// When the marker cannot be written, or cannot be made durable; then the old one stands, or the new one.
    pub fn set_incarnation(&self, incarnation: u64) -> Result<(), RootError> {
        let id = self.id();
        self.write_marker(Marker { id, incarnation })
    }

    fn write_marker(&self, marker: Marker) -> Result<(), RootError> {
        let mut current = self.marker();
        marker.write(self.own()).map_err(|errno| root_error(&self.path.join(".file-sync/marker"), errno))?;
        *current = marker;
        Ok(())
    }

    /// The id that the marker carries.
    pub fn id(&self) -> DirectoryId {
        self.marker().id
    }

    /// The incarnation that the marker carries.
    pub fn incarnation(&self) -> u64 {
        self.marker().incarnation
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device number (major << 32 | minor) and inode of the root: while a server runs they stay, and where they
    /// differ from those of an earlier run, no deletion is to be inferred from the first scan.
    pub fn identity(&self) -> (u64, u64) {
        (self.met.stat.device, self.met.stat.inode)
    }

    /// Looks the root up again by its path: device, inode and marker must be those of the open one.
    ///
    /// # Errors
    /// Says what is there instead.
    pub fn prove(&self) -> Result<(), RootError> {
        let fd = open_root(&self.path)?;
        let met = at::stat_fd(fd.as_fd()).map_err(|errno| root_error(&self.path, errno))?;
        let own = open_own(&self.path, fd.as_fd(), false)?;
        let marker = Marker::read(own.as_fd()).map_err(|error| marker_error(&self.path, error))?;
        if marker.id != self.id() {
            return Err(RootError::WrongMarker { path: self.path.clone(), found: marker.id });
        }
        if (met.stat.device, met.stat.inode) != self.identity() {
            return Err(RootError::Replaced { path: self.path.clone() });
        }
        Ok(())
    }

    /// A name for a file of the engine's own that was not given before: nanoseconds since 1970 and a counter.
    pub(crate) fn unique_name(&self) -> String {
        let now = crate::clock::nanoseconds(crate::clock::now());
        format!("{now}-{}", self.n_names.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn own(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }

    pub(crate) fn kept(&self) -> BorrowedFd<'_> {
        self.kept.as_fd()
    }

    pub(crate) fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    pub(crate) fn met(&self) -> &Met {
        &self.met
    }

    fn marker(&self) -> MutexGuard<'_, Marker> {
        self.marker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A point between two steps where tests step in.
    pub(crate) fn between(&self, step: &str) {
        #[cfg(test)]
        self.hook.run(step);
        #[cfg(not(test))]
        let _ = step;
    }
}

fn open_root(path: &Path) -> Result<OwnedFd, RootError> {
    rustix::fs::open(path, LISTED, Mode::empty()).map_err(|errno| root_error(path, errno))
}

fn check_kind(path: &Path, root: BorrowedFd<'_>) -> Result<(), RootError> {
    match systems_own(root).map_err(|errno| root_error(path, errno))? {
        Some(kind) => Err(RootError::SystemsOwn { path: path.to_owned(), kind }),
        None => Ok(()),
    }
}

fn open_own(path: &Path, root: BorrowedFd<'_>, may_make: bool) -> Result<OwnedFd, RootError> {
    let own = path.join(".file-sync");
    if may_make {
        return open_or_make(root, RESERVED_NAME, &own);
    }
    at::open_beneath(root, RESERVED_NAME, LISTED).map_err(|errno| match errno {
        Errno::NOENT => RootError::NoMarker { path: path.to_owned() },
        errno => own_error(&own, errno),
    })
}

/// Two that work in one root would take each other's changes for its user's.
fn lock(path: &Path, own: BorrowedFd<'_>) -> Result<(), RootError> {
    match rustix::fs::flock(own, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(RootError::InUse { path: path.to_owned() }),
        _ => Ok(()), // Some file systems have no locks.
    }
}

fn open_or_make(parent: BorrowedFd<'_>, name: &[u8], path: &Path) -> Result<OwnedFd, RootError> {
    match rustix::fs::mkdirat(parent, name, Mode::from_bits_truncate(0o700)) {
        Ok(()) => rustix::fs::fsync(parent).map_err(|errno| root_error(path, errno))?,
        Err(Errno::EXIST) => {}
        // Of a directory that is open these say nothing of what is missing.
        Err(errno @ (Errno::NOENT | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL)) => {
            return Err(RootError::NotMade { path: path.to_owned(), source: errno.into() });
        }
        Err(errno) => return Err(root_error(path, errno)),
    }
    at::open_beneath(parent, name, LISTED).map_err(|errno| own_error(path, errno))
}

fn own_error(path: &Path, errno: Errno) -> RootError {
    match errno {
        Errno::LOOP | Errno::NOTDIR | Errno::XDEV => RootError::NotOwn { path: path.to_owned() },
        errno => root_error(path, errno),
    }
}

fn root_error(path: &Path, errno: Errno) -> RootError {
    let path = path.to_owned();
    match errno {
        Errno::NOENT => RootError::Missing { path },
        Errno::NOTDIR => RootError::NotADirectory { path },
        Errno::ACCESS | Errno::PERM | Errno::ROFS => RootError::Denied { path, source: errno.into() },
        errno => RootError::Io { path, source: errno.into() },
    }
}

fn marker_error(path: &Path, error: MarkerError) -> RootError {
    match error {
        MarkerError::Missing => RootError::NoMarker { path: path.to_owned() },
        MarkerError::Unreadable => RootError::BadMarker { path: path.to_owned() },
        MarkerError::Io(errno) => root_error(&path.join(".file-sync/marker"), errno),
    }
}

#[cfg(test)]
pub(crate) mod tests_hook {
    use std::sync::Mutex;

    type Step = Box<dyn FnMut(&str) + Send>;

    /// What a test does between two steps.
    #[derive(Default)]
    pub(crate) struct Hook(Mutex<Option<Step>>);

    impl Hook {
        pub(crate) fn set(&self, step: impl FnMut(&str) + Send + 'static) {
            *self.0.lock().unwrap() = Some(Box::new(step));
        }

        pub(crate) fn run(&self, step: &str) {
            if let Some(hook) = self.0.lock().unwrap().as_mut() {
                hook(step);
            }
        }
    }

    impl std::fmt::Debug for Hook {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Hook")
        }
    }
}
