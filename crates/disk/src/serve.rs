//! Reading a file's content for others, only as long as it is what the record says.

use std::os::fd::{AsFd, OwnedFd};

use file_sync_core::effect::Trouble;
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Record, Stat};
use file_sync_core::version::Content;

use crate::at;
use crate::copy::read_full_at;
use crate::hash::open_regular;
use crate::root::Root;
use crate::trouble::{other, trouble};

/// An open file whose content is being sent.
#[derive(Debug)]
pub struct ContentFile {
    fd: OwnedFd,
    stat: Stat,
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

    /// True if the file is still as it was when it was opened, and so was every byte read.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn unchanged(&self) -> Result<bool, Trouble> {
        let met = at::stat_fd(self.fd.as_fd()).map_err(|errno| trouble("look at the file", errno))?;
        Ok(met.stat == self.stat)
    }
}
