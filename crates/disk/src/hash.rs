//! Reading files to know what is in them: one pass that hashes and cuts into chunks.
//!
//! Bytes are made durable before they are read. That also makes the kernel note the next store through a memory map in
//! the file's times, so that a stat which is the same before and after the pass vouches for the bytes read. The stat
//! after is taken one tick of the file system's clock later, once for the whole batch.
//!
//! A sync takes a while, and what is written in that time may come too late for it although it is read afterwards. So
//! the sync as well begins one tick after a stat, and only what has that stat when it is read was synced as it is.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use file_sync_core::effect::{ChunkList, HashItem, HashOutcome, Trouble, TroubleKind};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Stat};
use file_sync_core::version::ContentHash;
use rustix::fs::{Advice, FileType};
use rustix::io::Errno;

use crate::at::{self, LISTED, Spot};
use crate::chunk::{Chunker, SINGLE_BYTES_MAX, average_bytes};
use crate::copy::{Digest, digest_until};
use crate::root::Root;
use crate::serve::ContentFile;
use crate::trouble::{Attempt, trouble};

/// Up to this many things are made durable one by one; more, by syncing the whole file system once.
pub(crate) const N_SINGLE_SYNCS_MAX: usize = 16;

/// What the pass over one file found.
enum Pass {
    Read { stat: Stat, content: ContentHash, chunks: Option<ChunkList> },
    Over(HashOutcome),
}

impl Root {
    /// Reads and hashes files; outcomes are in the order of the items.
    ///
    /// Files over 64 KiB also get a chunk list. Memory does not depend on their size. Once `cancel` is set, what is
    /// left is reported as changing.
    pub fn hash(&self, items: &[HashItem], cancel: &AtomicBool) -> Vec<HashOutcome> {
        let all_trouble =
            |trouble: Trouble| items.iter().map(|_| HashOutcome::Trouble(trouble.clone())).collect();
        let befores = self.settled(items);
        let is_together = items.len() > N_SINGLE_SYNCS_MAX;
        if is_together {
            if let Err(errno) = self.sync_file_system() {
                return all_trouble(trouble("make the file system durable", errno));
            }
            self.between("synced together");
        }
        let mut buffer = Vec::new();
        let read = |(item, before): (&HashItem, &Option<Stat>)| match cancel.load(Ordering::Relaxed) {
            true => Pass::Over(HashOutcome::Changing),
            false => {
                let before = Before { stat: *before, is_synced: is_together };
                read_one(self, &item.path, before, &mut buffer, cancel)
            }
        };
        let passes: Vec<Pass> = items.iter().zip(&befores).map(read).collect();
        let is_alone = |pass: &Pass, before: &Option<Stat>| match pass {
            Pass::Read { stat, .. } => !is_together || Some(*stat) != *before,
            Pass::Over(_) => false,
        };
        let alone = items.iter().zip(&passes).zip(&befores);
        let alone = alone.filter(|((_, pass), before)| is_alone(pass, before));
        let names: Vec<SyncPath> = alone.map(|((item, _), _)| item.path.clone()).collect();
        if let Err(trouble) = self.sync_names(&names) {
            return all_trouble(trouble);
        }
        self.between("read");
        self.settle(passes.iter().filter_map(|pass| match pass {
            Pass::Read { stat, .. } => Some(stat),
            Pass::Over(_) => None,
        }));
        items.iter().zip(passes).map(|(item, pass)| self.confirm(&item.path, pass)).collect()
    }

    /// The stats of items, once no write can any more leave them as they are; none where there is nothing.
    fn settled(&self, items: &[HashItem]) -> Vec<Option<Stat>> {
        let stat = |item: &HashItem| Some(self.look(&item.path).ok()??.stat);
        let stats: Vec<Option<Stat>> = items.iter().map(stat).collect();
        self.settle(stats.iter().flatten());
        stats
    }

    /// Looks again whether the file is as it was when it was read.
    fn confirm(&self, path: &SyncPath, pass: Pass) -> HashOutcome {
        let (stat, content, chunks) = match pass {
            Pass::Read { stat, content, chunks } => (stat, content, chunks),
            Pass::Over(HashOutcome::Trouble(trouble)) => {
                return HashOutcome::Trouble(self.explained(Attempt::Read, path, trouble));
            }
            Pass::Over(outcome) => return outcome,
        };
        match self.look(path) {
            Ok(Some(seen)) if seen.kind == Kind::File && seen.stat == stat => {
                HashOutcome::Hashed { seen, content, chunks }
            }
            Ok(Some(seen)) if seen.kind == Kind::File => HashOutcome::Changing,
            Ok(_) => HashOutcome::Differs,
            Err(trouble) => HashOutcome::Trouble(trouble),
        }
    }

    /// Reads a file again from where it is stored, past what the system has in memory of it, and returns its stat (of
    /// afterwards: if it is as it was before, the file was not written to meanwhile) and what its bytes are.
    ///
    /// It is made durable first, as for [`Root::hash`]: what is in memory alone cannot be dropped, and what is stored
    /// through a memory map shows in the stat from then on. Where files are in memory alone (tmpfs) it does not show.
    ///
    /// # Errors
    /// When it is not there, no regular file, or cannot be read, or once `cancel` is set.
    pub fn reread(&self, path: &SyncPath, cancel: &AtomicBool) -> Result<(Stat, ContentHash), Trouble> {
        self.try_reread(path, cancel).map_err(|trouble| self.explained(Attempt::Read, path, trouble))
    }

    fn try_reread(&self, path: &SyncPath, cancel: &AtomicBool) -> Result<(Stat, ContentHash), Trouble> {
        let (fd, stat) = open_regular(self, path).map_err(|errno| trouble("open the file", errno))?;
        rustix::fs::fsync(&fd).map_err(|errno| trouble("make the file durable", errno))?;
        // Advice: a file system that does not take it reads from memory.
        let _ = rustix::fs::fadvise(&fd, 0, None, Advice::DontNeed);
        let pass = digest_until(fd.as_fd(), stat.size, None, &mut Vec::new(), cancel);
        let pass = pass.map_err(|errno| trouble("read the file", errno))?;
        let after = at::stat_fd(fd.as_fd()).map_err(|errno| trouble("look at the file", errno))?;
        Ok((after.stat, pass.content))
    }

    /// Cuts a file anew with another average chunk size (bytes), and returns what its bytes are now.
    ///
    /// # Errors
    /// When it is not there, no regular file, cannot be read, or changes meanwhile.
    pub fn rechunk(&self, path: &SyncPath, average_bytes: u32) -> Result<(ContentHash, ChunkList), Trouble> {
        let (fd, stat) = open_regular(self, path).map_err(|errno| trouble("open the file", errno))?;
        ContentFile { fd, stat }.rechunk(average_bytes)
    }

    /// Makes items durable that are no files: their names, where they are or are no longer, and directories' modes. What is
    /// gone is passed over.
    ///
    /// # Errors
    /// When the file system fails to; then nothing is known to be durable.
    pub fn sync_paths(&self, paths: &[SyncPath]) -> Result<(), Trouble> {
        let items: BTreeSet<&SyncPath> = paths.iter().collect();
        let parents: BTreeSet<SyncPath> = paths.iter().filter_map(SyncPath::parent).collect();
        let only_items = items.into_iter().filter(|item| !parents.contains(*item)).cloned();
        let (n_parents, items): (usize, Vec<SyncPath>) = (parents.len(), only_items.collect());
        if n_parents + items.len() > N_SINGLE_SYNCS_MAX {
            return self.sync_file_system().map_err(|errno| trouble("make the file system durable", errno));
        }
        for item in items {
            match self.sync_directory(&item) {
                Err(Errno::XDEV) => {} // A mount came over it: the engine will look again.
                result => result.map_err(|errno| trouble("make the directory durable", errno))?,
            }
        }
        self.sync_directories(parents)
    }

    /// Makes all durable that is on the root's file system. What it could not write it says once, and not of which files: what is
    /// staged, and was not asked for itself, counts for nothing then.
    pub(crate) fn sync_file_system(&self) -> Result<(), Errno> {
        rustix::fs::syncfs(self.fd()).inspect_err(|_| self.stage().distrust())
    }

    /// Makes the names of items durable: where they are, or are no longer.
    pub(crate) fn sync_names(&self, paths: &[SyncPath]) -> Result<(), Trouble> {
        self.sync_directories(paths.iter().filter_map(SyncPath::parent).collect())
    }

    fn sync_directories(&self, directories: BTreeSet<SyncPath>) -> Result<(), Trouble> {
        if directories.len() > N_SINGLE_SYNCS_MAX {
            return self.sync_file_system().map_err(|errno| trouble("make the file system durable", errno));
        }
        let sync = |directory: &SyncPath| self.sync_directory(directory);
        let synced = directories.iter().try_for_each(sync);
        synced.map_err(|errno| trouble("make the directory durable", errno))
    }

    /// Syncs a directory; what is none, or is gone, is passed over.
    fn sync_directory(&self, path: &SyncPath) -> Result<(), Errno> {
        match at::open_directory(self.fd(), path, LISTED).and_then(rustix::fs::fsync) {
            Err(errno) if at::is_absence(errno) => Ok(()),
            // It may be entered but not listed, so it cannot be opened for syncing.
            Err(Errno::ACCESS) => self.sync_file_system(),
            result => result,
        }
    }
}

/// What is known of a file before it is read.
#[derive(Clone, Copy)]
struct Before {
    /// Its stat, from before anything was synced.
    stat: Option<Stat>,
    /// All files were synced together since.
    is_synced: bool,
}

fn read_one(root: &Root, path: &SyncPath, before: Before, buffer: &mut Vec<u8>, cancel: &AtomicBool) -> Pass {
    match try_read(root, path, before, buffer, cancel) {
        Ok((stat, pass)) if pass.length == stat.size => {
            Pass::Read { stat, content: pass.content, chunks: pass.chunks }
        }
        Ok(_) | Err(Errno::CANCELED) => Pass::Over(HashOutcome::Changing),
        Err(errno) if at::is_absence(errno) || errno == Errno::NXIO => Pass::Over(HashOutcome::Differs),
        Err(errno) => {
            let mut trouble = trouble("read the file", errno);
            if trouble.kind == TroubleKind::Unsupported {
                (trouble.kind, trouble.mend) = (TroubleKind::Other, None);
            }
            Pass::Over(HashOutcome::Trouble(trouble))
        }
    }
}

fn try_read(
    root: &Root,
    path: &SyncPath,
    before: Before,
    buffer: &mut Vec<u8>,
    cancel: &AtomicBool,
) -> Result<(Stat, Digest), Errno> {
    let (fd, stat) = open_regular(root, path)?;
    let is_as_before = before.stat == Some(stat);
    if !(is_as_before && before.is_synced) {
        if !is_as_before {
            root.settle(std::iter::once(&stat));
        }
        rustix::fs::fsync(&fd)?;
        root.between("synced alone");
        if at::stat_fd(fd.as_fd())?.stat != stat {
            return Err(Errno::CANCELED); // Written meanwhile, perhaps too late to be durable.
        }
    }
    let chunker = (stat.size > SINGLE_BYTES_MAX).then(|| Chunker::new(average_bytes(stat.size)));
    Ok((stat, digest_until(fd.as_fd(), stat.size, chunker, buffer, cancel)?))
}

/// Opens a regular file; NOENT if something else is there.
pub(crate) fn open_regular(root: &Root, path: &SyncPath) -> Result<(OwnedFd, Stat), Errno> {
    let spot = Spot::open(root.fd(), path)?;
    let fd = at::open_file(spot.parent.as_fd(), spot.name())?;
    let met = at::stat_fd(fd.as_fd())?;
    match met.file_type {
        FileType::RegularFile => Ok((fd, met.stat)),
        _ => Err(Errno::NOENT),
    }
}
