//! The marker by which a root is known: `.file-sync/marker`, two lines of text.
//!
//! ```text
//! file-sync directory 00112233445566778899aabbccddeeff
//! incarnation 0123456789abcdef
//! ```
//! It is replaced as a whole and durably; it holds nothing that changes often.

use std::os::fd::{AsFd, BorrowedFd};

use file_sync_core::version::DirectoryId;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::at;

const NAME: &[u8] = b"marker";
const NAME_NEW: &str = "marker.new";
const BYTES_MAX: usize = 4_096;

/// What the marker says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Marker {
    pub(crate) id: DirectoryId,
    pub(crate) incarnation: u64,
}

/// Why there is no marker to be had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MarkerError {
    Missing,
    Unreadable,
    Io(Errno),
}

impl Marker {
    /// Reads it from an open `.file-sync`.
    pub(crate) fn read(own: BorrowedFd<'_>) -> Result<Marker, MarkerError> {
        let fd = at::open_file(own, NAME).map_err(|errno| match errno {
            errno if at::is_absence(errno) => MarkerError::Missing,
            errno => MarkerError::Io(errno),
        })?;
        let mut bytes = vec![0; BYTES_MAX];
        let n_bytes = rustix::io::read(&fd, &mut bytes[..]).map_err(MarkerError::Io)?;
        std::str::from_utf8(&bytes[..n_bytes]).ok().and_then(Marker::parse).ok_or(MarkerError::Unreadable)
    }

    fn parse(text: &str) -> Option<Marker> {
        let mut lines = text.lines();
        let id = DirectoryId::from_hex(lines.next()?.strip_prefix("file-sync directory ")?.trim_end())?;
        let digits = lines.next()?.strip_prefix("incarnation ")?.trim_end();
        let incarnation = u64::from_str_radix(digits, 16).ok()?;
        (digits.len() == 16).then_some(Marker { id, incarnation })
    }

    /// Writes it into an open `.file-sync`, whole or not at all, and durably.
    pub(crate) fn write(&self, own: BorrowedFd<'_>) -> Result<(), Errno> {
        let text = format!("file-sync directory {}\nincarnation {:016x}\n", self.id, self.incarnation);
        // What stands there is left from a crash or was put there; it may be a link to somebody's file.
        at::unlink(own, NAME_NEW)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(own, NAME_NEW, flags, Mode::from_bits_truncate(0o600))?;
        crate::copy::write_all_at(fd.as_fd(), text.as_bytes(), 0)?;
        rustix::fs::fsync(&fd)?;
        rustix::fs::renameat(own, NAME_NEW, own, NAME)?;
        rustix::fs::fsync(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c5_a_damaged_marker_is_no_marker() {
        let id = "00112233445566778899aabbccddeeff";
        let good = format!("file-sync directory {id}\nincarnation 0123456789abcdef\n");
        assert_eq!(Marker::parse(&good).map(|marker| marker.incarnation), Some(0x0123_4567_89ab_cdef));
        for bad in ["", "file-sync directory 12\n", &good[..60], "x\ny\n", &good.replace("incarnation", "in")]
        {
            assert_eq!(Marker::parse(bad), None, "{bad:?}");
        }
    }
}
