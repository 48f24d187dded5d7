//! The store of kept versions, `.file-sync/kept/`: what was displaced or removed, under names of the engine's own.
//!
//! What is in here is a user's, so nothing is unlinked but on request; how long things stay is decided elsewhere.
//! After a crash it may also hold an item that was about to be placed: files that the caller's list does not know.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use file_sync_core::effect::{Op, OpOutcome, Source, Trouble, TroubleKind};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Seen};
use file_sync_core::version::ContentHash;
use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use crate::at::{self, Spot};
use crate::copy::digest;
use crate::root::Root;
use crate::trouble::{other, trouble};

impl Root {
    /// All kept versions: names, and what they are now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn kept_list(&self) -> Result<Vec<(String, Seen)>, Trouble> {
        let mut listed = Vec::new();
        for name in names(self.kept()).map_err(|errno| trouble("list the kept versions", errno))? {
            if let Some(seen) = self.kept_stat(&name)? {
                listed.push((name, seen));
            }
        }
        Ok(listed)
    }

    /// What a kept version is now; none if it is not there.
    ///
    /// # Errors
    /// When the name is none of this store, or it cannot be told.
    pub fn kept_stat(&self, name: &str) -> Result<Option<Seen>, Trouble> {
        check_name(name).map_err(|errno| trouble("look at a kept version", errno))?;
        self.look_at(self.kept(), name.as_bytes())
    }

    /// Reads a kept version (a symlink: its target) and hashes it: bytes written late through an old descriptor show.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub fn kept_hash(&self, name: &str) -> Result<ContentHash, Trouble> {
        match self.kept_stat(name)?.map(|seen| seen.kind) {
            Some(Kind::Symlink(target)) => Ok(ContentHash::of(&target)),
            Some(Kind::File) => {
                let fd = self.open_kept(name).map_err(|errno| trouble("open a kept version", errno))?;
                hash_all(fd.as_fd()).map_err(|errno| trouble("read a kept version", errno))
            }
            Some(_) => Err(other(format!(".file-sync/kept/{name} is no file; move it away"))),
            None => Err(other(format!(".file-sync/kept/{name} is not there any more"))),
        }
    }

    /// What a kept symlink points to.
    ///
    /// # Errors
    /// When it is not there, or is no symlink.
    pub fn kept_target(&self, name: &str) -> Result<Box<[u8]>, Trouble> {
        match self.kept_stat(name)?.map(|seen| seen.kind) {
            Some(Kind::Symlink(target)) => Ok(target),
            _ => Err(other(format!(".file-sync/kept/{name} is no symlink, or is not there any more"))),
        }
    }

    /// Opens a kept file, to read it.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub fn kept_file(&self, name: &str) -> Result<std::fs::File, Trouble> {
        let fd = self.open_kept(name).map_err(|errno| trouble("open a kept version", errno))?;
        Ok(fd.into())
    }

    /// Removes a kept version for good; missing is fine.
    ///
    /// # Errors
    /// When the name is none of this store, or the file system refuses.
    pub fn kept_remove(&self, name: &str) -> Result<(), Trouble> {
        let removed = check_name(name)
            .and_then(|()| rustix::fs::unlinkat(self.kept(), name, AtFlags::empty()))
            .or_else(|errno| if errno == Errno::NOENT { Ok(()) } else { Err(errno) });
        removed.map_err(|errno| trouble("remove a kept version", errno))
    }

    /// Copies a kept version to a path where nothing is, with the mode and modification time it had.
    ///
    /// The outcome is that of an [`Op::Place`] or [`Op::PlaceSymlink`] there.
    pub fn restore_kept(&self, name: &str, to: &SyncPath) -> OpOutcome {
        let seen = match self.kept_stat(name) {
            Ok(Some(seen)) => seen,
            Ok(None) => return OpOutcome::NoSource,
            Err(trouble) => return OpOutcome::Trouble(trouble),
        };
        let op = match seen.kind {
            Kind::Symlink(target) => Op::PlaceSymlink { path: to.clone(), target, copy: None, expect: None },
            _ => match self.kept_hash(name) {
                Ok(content) => Op::Place {
                    path: to.clone(),
                    content,
                    source: Source::Kept { name: name.to_owned() },
                    mode: seen.stat.mode,
                    mtime: seen.stat.mtime,
                    expect: None,
                },
                Err(trouble) => return OpOutcome::Trouble(trouble),
            },
        };
        match self.apply(&[op]) {
            Ok(mut outcomes) => outcomes.pop().unwrap_or(OpOutcome::NoSource),
            // It is there, and only perhaps not durable: another copy would not be more so.
            Err(_) if matches!(self.look(to), Ok(Some(_))) => OpOutcome::Done { stat: None, kept: None },
            Err(trouble) => OpOutcome::Trouble(trouble),
        }
    }

    /// Gives a directory that a stop left in the store a free name in the tree, with all that is in it: the engine keeps no
    /// directories, so it is a user's that was taken for a file and not put back.
    ///
    /// # Errors
    /// When the name is none of this store, is no directory's, or the file system refuses.
    pub fn bring_back_directory(&self, name: &str, to: &SyncPath) -> Result<(), Trouble> {
        match self.kept_stat(name)?.map(|seen| seen.kind) {
            Some(Kind::Directory) => {}
            _ => return Err(other(format!(".file-sync/kept/{name} is no directory"))),
        }
        let spot = Spot::open(self.fd(), to).map_err(|errno| trouble("enter the parent directory", errno))?;
        let place = (spot.parent.as_fd(), spot.name());
        at::rename_new((self.kept(), name.as_bytes()), place)
            .map_err(|errno| trouble("bring a directory back", errno))?;
        self.sync_names(std::slice::from_ref(to))
    }

    /// Opens a kept file for reading.
    pub(crate) fn open_kept(&self, name: &str) -> Result<OwnedFd, Errno> {
        check_name(name)?;
        let fd = at::open_file(self.kept(), name.as_bytes())?;
        match at::stat_fd(fd.as_fd())?.file_type {
            FileType::RegularFile => Ok(fd),
            _ => Err(Errno::NOENT),
        }
    }
}

/// Hashes all of an open file.
pub(crate) fn hash_all(fd: BorrowedFd<'_>) -> Result<ContentHash, Errno> {
    let length = at::stat_fd(fd)?.stat.size;
    Ok(digest(fd, length, None, &mut Vec::new())?.content)
}

/// Refuses names that this crate does not give; a kept version's name comes back from a database.
fn check_name(name: &str) -> Result<(), Errno> {
    let is_given = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name.is_empty() || !name.bytes().all(is_given) { Err(Errno::NOENT) } else { Ok(()) }
}

/// The names in one of the engine's own directories, sorted; those that are not text are left out.
pub(crate) fn names(directory: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    names.sort();
    Ok(names)
}

/// Trouble after which a user's bytes stand in the store and nowhere else.
pub(crate) fn stranded(name: &str, errno: Errno) -> Trouble {
    let message = format!(
        "cannot put a file back in its directory: {errno}; its bytes are whole in .file-sync/kept/{name}"
    );
    Trouble::new(TroubleKind::Other, message)
}
