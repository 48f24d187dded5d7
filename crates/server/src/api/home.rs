//! The home directory as a whole: made private, and held by one server at a time.
//!
//! What lies in it belongs to others: identity, databases and the control socket. The lock is an flock on `lock` in
//! the home, which the kernel gives up however its holder ends.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, Mode};

const LOCK_NAME: &str = "lock";

/// The right to be the server of a home, for as long as it or a clone of it lives.
#[derive(Debug, Clone)]
pub struct HomeLock(Arc<Held>);

#[derive(Debug)]
struct Held {
    home: PathBuf,
    directory: File,
    lock: File,
}

/// Why a home could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another server holds it.
    #[error("another server{} is running for {}; stop it, or choose another home with --home", holder(.pid), .home.display())]
    Taken {
        /// The home.
        home: PathBuf,
        /// The other server's process id, if known.
        pid: Option<u32>,
    },
    /// Other users may write to it and it holds other things: making it private might lock them out.
    #[error(
        "{} is writable by other users and holds other things; run chmod 700 on it, or choose another home with --home",
        .home.display()
    )]
    Open {
        /// The home.
        home: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}: {error}; make it writable for this user, or choose another home with --home", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (process {pid})"))
}

impl LockError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LockError {
        let path = path.to_owned();
        move |error| LockError::Io { action, path, error }
    }
}

impl HomeLock {
    /// Makes the home if it is missing (0700, its missing parents too), makes it private, and takes its lock.
    ///
    /// # Errors
    /// When another server has it, when it cannot be made private with good conscience, or when the system refuses.
    pub fn take(home: &Path) -> Result<HomeLock, LockError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(home)
            .map_err(LockError::io("make the directory", home))?;
        let directory = File::open(home).map_err(LockError::io("open", home))?;
        make_private(home, &directory)?;
        let path = home.join(LOCK_NAME);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(LockError::io("open", &path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LockError::Taken { home: home.to_owned(), pid: read_pid(&mut lock) });
            }
            Err(errno) => return Err(LockError::io("lock", &path)(errno.into())),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(LockError::io("write to", &path))?;
        Ok(HomeLock(Arc::new(Held { home: home.to_owned(), directory, lock })))
    }

    /// The home.
    pub fn home(&self) -> &Path {
        &self.0.home
    }

    /// The home, opened: it stays the same directory whatever happens to its name.
    pub fn directory(&self) -> &File {
        &self.0.directory
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The file stays, or two servers could lock two files of one name; only the process id in it goes.
        let _ = self.lock.set_len(0);
    }
}

/// Takes group's and others' rights away, unless the directory is plainly of other use too (`--home /usr`): such a one
/// stays as it is where others can only read, since every file of ours is private itself, and is refused otherwise.
fn make_private(home: &Path, directory: &File) -> Result<(), LockError> {
    let mode = directory.metadata().map_err(LockError::io("read", home))?.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if home.join(LOCK_NAME).exists() || !holds_directories(home)? {
        return rustix::fs::fchmod(directory, Mode::from_raw_mode(0o700))
            .map_err(|errno| LockError::io("change the mode of", home)(errno.into()));
    }
    if mode & 0o022 != 0 {
        return Err(LockError::Open { home: home.to_owned() });
    }
    tracing::warn!(home = %home.display(), "other users may list the home, which holds other things too");
    Ok(())
}

fn holds_directories(home: &Path) -> Result<bool, LockError> {
    for entry in home.read_dir().map_err(LockError::io("list", home))? {
        let kind = entry.and_then(|entry| entry.file_type()).map_err(LockError::io("list", home))?;
        if kind.is_dir() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("exists").mode() & 0o777
    }

    #[test]
    fn a_missing_home_is_made_private_and_locked_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = directory.path().join("a/b");
        let lock = HomeLock::take(&home).expect("free");
        assert_eq!((mode(&home), mode(&home.join("lock"))), (0o700, 0o600));
        assert_eq!(mode(&directory.path().join("a")), 0o700);
        let refused = HomeLock::take(&home).expect_err("taken").to_string();
        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        let clone = lock.clone();
        drop(lock);
        assert!(HomeLock::take(&home).is_err());
        drop(clone);
        HomeLock::take(&home).expect("free again");
    }

    #[test]
    fn a_directory_of_other_use_keeps_its_mode() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let home = parent.path().join("home");
        std::fs::create_dir_all(home.join("thesis")).expect("made");
        set_permissions(&home, Permissions::from_mode(0o777)).expect("chmod");
        assert!(matches!(HomeLock::take(&home), Err(LockError::Open { .. })));
        set_permissions(&home, Permissions::from_mode(0o755)).expect("chmod");
        drop(HomeLock::take(&home).expect("others can only read"));
        assert_eq!(mode(&home), 0o755);
    }

    #[test]
    fn a_directory_with_files_alone_becomes_private() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let home = parent.path().join("home");
        std::fs::create_dir(&home).expect("made");
        set_permissions(&home, Permissions::from_mode(0o755)).expect("chmod");
        std::fs::write(home.join("server.log"), "").expect("written");
        HomeLock::take(&home).expect("taken");
        assert_eq!(mode(&home), 0o700);
    }

    #[test]
    fn a_file_is_no_home() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error = HomeLock::take(file.path()).expect_err("no directory").to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }
}
