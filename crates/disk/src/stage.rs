//! The staging area, `.file-sync/stage/`: whole files by their hash, files in pieces (`HASH.part`), files that are being
//! placed (`HASH.NAME.claimed`), and nameless work.
//!
//! No user's bytes are ever in here, so everything may be unlinked. Which files are whole is known from having
//! verified them in this run; after a start, that is `clean_stage`'s work. Small files are not made durable here:
//! placing does that, for many at once. What is whole is served to others from here, too: it may have to stay here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use file_sync_core::effect::{Trouble, TroubleKind};
use file_sync_core::version::ContentHash;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::at;
use crate::copy::{digest, write_all_at};
use crate::root::Root;
use crate::stage_file::StageFile;
use crate::trouble::{other, trouble};

/// Bytes that stay free on a file system however much there is to stage.
const RESERVE_BYTES: u64 = 16 << 20;

/// What the names of files end with that are being placed.
const CLAIMED: &str = ".claimed";

/// The staging area of one root.
#[derive(Debug)]
pub(crate) struct Stage {
    fd: OwnedFd,
    /// What is here whole and verified. Held while a file is written under its final name.
    whole: Mutex<HashSet<ContentHash>>,
    /// What is not cleaned away, as somebody beside the engine wants it, and how many do. Locked after `whole`, if both are.
    reserved: Mutex<HashMap<ContentHash, usize>>,
}

/// Contents that stay in the stage, as far as they come, until this is dropped.
#[derive(Debug)]
pub struct Reserved {
    stage: Arc<Stage>,
    contents: Vec<ContentHash>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut reserved = self.stage.reserved();
        for content in &self.contents {
            if let Some(count) = reserved.get_mut(content) {
                *count -= 1;
            }
        }
        reserved.retain(|_, count| *count > 0);
    }
}

impl Stage {
    pub(crate) fn new(fd: OwnedFd) -> Stage {
        Stage { fd, whole: Mutex::default(), reserved: Mutex::default() }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn whole(&self) -> MutexGuard<'_, HashSet<ContentHash>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserved(&self) -> MutexGuard<'_, HashMap<ContentHash, usize>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn free_bytes(&self) -> Result<u64, Trouble> {
        let space = rustix::fs::fstatvfs(&self.fd).map_err(|errno| trouble("ask for free space", errno))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Checks that so many bytes more may be written.
    pub(crate) fn check_space(&self, length: u64) -> Result<(), Trouble> {
        let free = self.free_bytes()?;
        if free >= length.saturating_add(RESERVE_BYTES) {
            return Ok(());
        }
        let message = format!("cannot stage the file: {length} bytes wanted, {free} free; make room");
        Err(Trouble::new(TroubleKind::NoSpace, message))
    }

    /// Removes a file or directory of the stage; missing is fine.
    pub(crate) fn unlink(&self, name: &str) -> Result<(), Errno> {
        at::unlink(self.fd(), name)
    }

    /// Makes a file that nobody else has the name of.
    pub(crate) fn create(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::from_bits_truncate(0o600))
    }

    fn write_small(&self, content: ContentHash, bytes: &[u8]) -> Result<(), Trouble> {
        if ContentHash::of(bytes) != content {
            return Err(other("the bytes received are not those announced; they are asked for again"));
        }
        let mut whole = self.whole();
        if whole.contains(&content) {
            return Ok(());
        }
        let name = content.to_string();
        let created = match self.create(&name) {
            // A leftover that nobody has verified.
            Err(Errno::EXIST) => self.unlink(&name).and_then(|()| self.create(&name)),
            created => created,
        };
        let result = created.and_then(|fd| write_all_at(fd.as_fd(), bytes, 0));
        if let Err(errno) = result {
            // Space is given back; nobody takes the file for whole.
            let _ = self.unlink(&name);
            return Err(trouble("stage the file", errno));
        }
        whole.insert(content);
        Ok(())
    }

    /// Takes a whole content out of what is staged, for whoever places it: from now on it has another name, so that whoever
    /// stages it once more meanwhile (a restore, beside the engine) writes into a file of its own. None: it is not staged.
    pub(crate) fn claim(&self, content: ContentHash, unique: &str) -> Result<Option<String>, Errno> {
        let mut whole = self.whole();
        if !whole.remove(&content) {
            return Ok(None);
        }
        let name = format!("{content}.{unique}{CLAIMED}");
        match rustix::fs::renameat(self.fd(), content.to_string().as_str(), self.fd(), name.as_str()) {
            Ok(()) => Ok(Some(name)),
            // Somebody has emptied the stage.
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => {
                whole.insert(content);
                Err(errno)
            }
        }
    }

    /// Stages again what was claimed and not placed.
    pub(crate) fn give_back(&self, content: ContentHash, name: &str) {
        let mut whole = self.whole();
        let is_again = whole.contains(&content);
        if !is_again && rustix::fs::renameat(self.fd(), name, self.fd(), content.to_string().as_str()).is_ok()
        {
            whole.insert(content);
        } else if let Err(errno) = self.unlink(name) {
            tracing::warn!(%errno, name, "cannot remove a staged file");
        }
    }

    fn discard(&self, whole: &mut HashSet<ContentHash>, content: ContentHash) -> Result<(), Trouble> {
        whole.remove(&content);
        let name = content.to_string();
        self.unlink(&name)
            .and_then(|()| self.unlink(&format!("{name}.part")))
            .map_err(|errno| trouble("discard a staged file", errno))
    }

    /// Nothing is staged whole any more: the file system could not write all that it was given, says so once, and of which files
    /// nobody knows. Pieces stay: each of those is asked for itself before it counts as whole.
    pub(crate) fn distrust(&self) {
        for content in self.whole().drain() {
            if let Err(errno) = self.unlink(&content.to_string()) {
                tracing::warn!(%errno, ?content, "cannot remove a staged file");
            }
        }
    }

    /// All names in the stage.
    fn names(&self) -> Result<Vec<String>, Errno> {
        crate::keep::names(self.fd())
    }

    /// A file that was found in the stage under this name: true if it is whole, and staged from now on.
    fn is_taken_in(&self, name: &str, content: ContentHash) -> bool {
        let own = content.to_string();
        self.is_verified(name, content) == Ok(true)
            && (name == own || rustix::fs::renameat(self.fd(), name, self.fd(), own.as_str()).is_ok())
    }

    fn is_verified(&self, name: &str, content: ContentHash) -> Result<bool, Errno> {
        let fd = at::open_file(self.fd(), name.as_bytes())?;
        let length = at::stat_fd(fd.as_fd())?.stat.size;
        Ok(digest(fd.as_fd(), length, None, &mut Vec::new())?.content == content)
    }
}

impl Root {
    /// Stages small files whole; outcomes are in the order of `files`. What is staged already is left as it is.
    ///
    /// # Errors
    /// Per file: when bytes are not what their hash says, or there is no space.
    pub fn stage_small(&self, files: &[(ContentHash, &[u8])]) -> Vec<Result<(), Trouble>> {
        let length: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if let Err(trouble) = self.stage().check_space(length) {
            return files.iter().map(|_| Err(trouble.clone())).collect();
        }
        files.iter().map(|(content, bytes)| self.stage().write_small(*content, bytes)).collect()
    }

    /// Opens a file to be staged in pieces, of `length` bytes; what was staged of it before is still there.
    ///
    /// Free space is checked here and not reserved: the file stays sparse where its content is zero. One content is
    /// to be opened once at a time.
    ///
    /// # Errors
    /// When there is not space enough for all of it, or it cannot be made.
    pub fn open_stage(&self, content: ContentHash, length: u64) -> Result<StageFile, Trouble> {
        StageFile::open(Arc::clone(self.stage()), content, length)
    }

    /// True if the content is staged, whole and verified.
    pub fn staged(&self, content: ContentHash) -> bool {
        self.stage().whole().contains(&content)
    }

    /// Keeps contents in the stage, whole or in pieces, whatever [`Root::clean_stage`] is told. To be called before the first
    /// of them is staged.
    pub fn reserve_stage(&self, contents: Vec<ContentHash>) -> Reserved {
        let stage = Arc::clone(self.stage());
        let mut reserved = stage.reserved();
        contents.iter().for_each(|content| *reserved.entry(*content).or_default() += 1);
        drop(reserved);
        Reserved { stage, contents }
    }

    /// How many have reserved a content.
    pub fn n_reserved(&self, content: ContentHash) -> usize {
        self.stage().reserved().get(&content).copied().unwrap_or(0)
    }

    /// Gives the space back that a content takes in the stage, whole or in pieces.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn discard_stage(&self, content: ContentHash) -> Result<(), Trouble> {
        self.stage().discard(&mut self.stage().whole(), content)
    }

    /// The same, unless somebody has reserved it. To be called only while nobody has its pieces open.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn discard_unreserved(&self, content: ContentHash) -> Result<(), Trouble> {
        let mut whole = self.stage().whole();
        // Held, so that whoever reserves it now finds it gone, and not going.
        let reserved = self.stage().reserved();
        if reserved.contains_key(&content) { Ok(()) } else { self.stage().discard(&mut whole, content) }
    }

    /// Empties the stage, except for what is still wanted or reserved: whole files are read and verified, pieces stay. Not to be
    /// called while ops are carried out: what a stop has kept from being placed is taken for staged again.
    ///
    /// # Errors
    /// When the stage cannot be listed; single files that cannot be removed are left.
    pub fn clean_stage(&self, keep: &BTreeSet<ContentHash>) -> Result<(), Trouble> {
        let stage = self.stage();
        let mut whole = stage.whole();
        for name in stage.names().map_err(|errno| trouble("list the stage", errno))? {
            let content = content_of(&name);
            let is_wanted =
                |content: &ContentHash| keep.contains(content) || stage.reserved().contains_key(content);
            let wanted = content.filter(is_wanted);
            match wanted {
                Some(_) if name.ends_with(".part") => {}
                Some(content) if whole.contains(&content) && !name.ends_with(CLAIMED) => {}
                Some(content) if !whole.contains(&content) && stage.is_taken_in(&name, content) => {
                    whole.insert(content);
                }
                _ => {
                    if let Err(errno) = stage.unlink(&name) {
                        tracing::warn!(%errno, name, "cannot remove a staged file");
                    }
                    content
                        .filter(|content| content.to_string() == name)
                        .map(|content| whole.remove(&content));
                }
            }
        }
        Ok(())
    }
}

/// Whose content a file of the stage is, whole, in pieces (`HASH.part`), or claimed (`HASH.NAME.claimed`).
fn content_of(name: &str) -> Option<ContentHash> {
    let (hash, suffix) = name.split_once('.').map_or((name, ""), |(hash, _)| (hash, &name[hash.len()..]));
    let is_known = matches!(suffix, "" | ".part") || suffix.ends_with(CLAIMED);
    ContentHash::from_hex(hash).filter(|_| is_known)
}
