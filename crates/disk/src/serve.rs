//! Reading a file's content for others, only as long as it is what the record says.

use std::os::fd::{AsFd, OwnedFd};

use file_sync_core::effect::{ChunkList, Trouble};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Record, Stat};
use file_sync_core::version::{Content, ContentHash};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::at;
use crate::chunk::Chunker;
use crate::copy::{append_full_at, digest, read_full_at};
use crate::hash::open_regular;
use crate::root::Root;
use crate::stage::Stage;
use crate::trouble::{other, trouble};

/// An open file whose content is being sent.
#[derive(Debug)]
pub struct ContentFile {
    pub(crate) fd: OwnedFd,
    pub(crate) stat: Stat,
}

impl Root {
    /// Opens a file to send its content, if it is still the one recorded.
    ///
    /// # Errors
    /// When it is not, or cannot be opened.
    pub fn open_content(&self, path: &SyncPath, expect: &Record) -> Result<ContentFile, Trouble> {
        let (fd, stat) = open_regular(self, path).map_err(|errno| trouble("open the file", errno))?;
        if stat != expect.stat || !matches!(expect.content, Content::File(_)) {
            return Err(other("the file has changed since it was read; it is looked at again"));
        }
        Ok(ContentFile { fd, stat })
    }
}

impl Root {
    /// Opens a kept version to send its content, if nothing says that somebody has written into it since it was kept. Who
    /// gets it compares the hash.
    ///
    /// # Errors
    /// When it is not there, is no file, cannot be opened, or has other bytes by now.
    pub fn open_kept_content(&self, name: &str, kept: &Stat) -> Result<ContentFile, Trouble> {
        let open = || {
            let fd = self.open_kept(name)?;
            let stat = at::stat_fd(fd.as_fd())?.stat;
            Ok(ContentFile { fd, stat })
        };
        let file = open().map_err(|errno| trouble("open a kept version", errno))?;
        if (file.stat.size, file.stat.mtime) != (kept.size, kept.mtime) {
            return Err(other("somebody has written into this kept version; another one is tried"));
        }
        Ok(file)
    }

    /// Opens a staged file to send its content, if it is whole and verified. It may be placed while it is read: the
    /// descriptor stays good, and [`ContentFile::unchanged`] says no.
    ///
    /// # Errors
    /// When the content is not staged, or cannot be opened.
    pub fn open_staged_content(&self, content: ContentHash) -> Result<ContentFile, Trouble> {
        let stage = self.stage();
        let whole = stage.whole(); // Held, so that nobody takes the file to place it before it is open.
        if !whole.contains(&content) {
            return Err(other("the content is not staged"));
        }
        open_staged(stage, content).map_err(|errno| trouble("open a staged file", errno))
    }
}

/// A file that was to be placed before, and could not be, may have been given a mode that forbids to open it.
fn open_staged(stage: &Stage, content: ContentHash) -> Result<ContentFile, Errno> {
    let name = content.to_string();
    let item = at::open_item(stage.fd(), name.as_bytes())?;
    let met = at::stat_fd(item.as_fd())?;
    if met.file_type != FileType::RegularFile {
        return Err(Errno::NOENT); // Somebody has put it there.
    }
    if met.stat.mode & 0o400 == 0 {
        at::chmod_fd(item.as_fd(), 0o600)?;
    }
    let fd = at::open_file(stage.fd(), name.as_bytes())?;
    let stat = at::stat_fd(fd.as_fd())?.stat;
    Ok(ContentFile { fd, stat })
}

impl ContentFile {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.stat.size
    }

    /// Reads at an offset until the buffer is full or the file ends; returns how many bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Trouble> {
        read_full_at(self.fd.as_fd(), buffer, offset).map_err(|errno| trouble("read the file", errno))
    }

    /// Appends what is at an offset to a buffer: so many bytes, or up to the file's end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn append_at(&self, offset: u64, n_bytes: usize, buffer: &mut Vec<u8>) -> Result<(), Trouble> {
        append_full_at(self.fd.as_fd(), n_bytes, buffer, offset)
            .map_err(|errno| trouble("read the file", errno))
    }

    /// Reads all of it and divides it into chunks; returns the content's hash with them.
    ///
    /// # Errors
    /// When it cannot be read, or changes meanwhile.
    pub fn rechunk(&self, average_bytes: u32) -> Result<(ContentHash, ChunkList), Trouble> {
        let pass =
            digest(self.fd.as_fd(), self.stat.size, Some(Chunker::new(average_bytes)), &mut Vec::new());
        let pass = pass.map_err(|errno| trouble("read the file", errno))?;
        if pass.length != self.stat.size || !self.unchanged()? {
            return Err(other("the file changed while it was read; it is tried again"));
        }
        Ok((pass.content, pass.chunks.expect("a chunker was given")))
    }

    /// True if the file is still as it was when it was opened, and so was every byte read.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn unchanged(&self) -> Result<bool, Trouble> {
        let met = at::stat_fd(self.fd.as_fd()).map_err(|errno| trouble("look at the file", errno))?;
        Ok(met.stat == self.stat)
    }
}
