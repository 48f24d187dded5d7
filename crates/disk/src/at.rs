//! The few calls that everything else is made of: resolve a directory beneath the root, stat or open one name in it,
//! rename between two of them, change a mode through a descriptor.
//!
//! Directories are resolved with `openat2` beneath the root; symlinks, magic links and mounts on the way are refused by
//! the kernel. Nothing here interprets an error; callers do.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use file_sync_core::path::SyncPath;
use file_sync_core::record::Stat;
use file_sync_core::version::Time;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// How a directory is opened that only names are looked up in.
pub(crate) const PASSAGE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// How a directory is opened that is listed, watched or synced.
pub(crate) const LISTED: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Longest piece of a path given to the kernel at once, in bytes; below its `PATH_MAX` of 4,096.
const SEGMENT_BYTES_MAX: usize = 3_500;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A name in an open directory.
pub(crate) struct Spot {
    /// The whole path.
    pub(crate) path: SyncPath,
    /// Its parent, opened as [`PASSAGE`].
    pub(crate) parent: OwnedFd,
}

impl Spot {
    /// Resolves the parent of `path`, which must not be the root.
    pub(crate) fn open(root: BorrowedFd<'_>, path: &SyncPath) -> Result<Spot, Errno> {
        let parent = open_directory(root, &path.parent().ok_or(Errno::INVAL)?, PASSAGE)?;
        Ok(Spot { path: path.clone(), parent })
    }

    /// The last component.
    pub(crate) fn name(&self) -> &[u8] {
        self.path.name()
    }
}

/// What `statx` said of an item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met {
    pub(crate) file_type: FileType,
    pub(crate) stat: Stat,
    /// All twelve mode bits.
    pub(crate) mode_bits: u16,
    pub(crate) owner: u32,
    /// The mount that it is on, where the kernel says so.
    pub(crate) mount_id: Option<u64>,
    pub(crate) is_mount_root: bool,
}

/// True for errors which say that a path leads to nothing that is part of the tree: a component is missing, is no
/// directory or is a symlink.
pub(crate) fn is_absence(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// Opens a directory beneath `root`, however long its path is.
pub(crate) fn open_directory(root: BorrowedFd<'_>, path: &SyncPath, flags: OFlags) -> Result<OwnedFd, Errno> {
    let bytes = path.as_bytes();
    if bytes.is_empty() {
        return open_beneath(root, b".", flags);
    }
    let mut current: Option<OwnedFd> = None;
    let mut rest = bytes;
    loop {
        let from = current.as_ref().map_or(root, AsFd::as_fd);
        if rest.len() <= SEGMENT_BYTES_MAX {
            return open_beneath(from, rest, flags);
        }
        let cut = rest[..SEGMENT_BYTES_MAX].iter().rposition(|byte| *byte == b'/');
        let cut = cut.expect("a component is at most 255 bytes");
        current = Some(open_beneath(from, &rest[..cut], PASSAGE)?);
        rest = &rest[cut + 1..];
    }
}

/// Opens `path` (no longer than one segment) beneath `directory`, following and crossing nothing.
pub(crate) fn open_beneath(directory: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    // The kernel says AGAIN when something was renamed while it was resolving.
    for _ in 0..100 {
        match rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), BENEATH) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens what may be a regular file for reading, without following a symlink or waiting for a FIFO's writer.
pub(crate) fn open_file(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    open_beneath(directory, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY)
}

/// Takes hold of one item of any kind without opening it.
pub(crate) fn open_item(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    open_beneath(directory, name, OFlags::PATH | OFlags::NOFOLLOW)
}

/// Stats one name without following it.
pub(crate) fn stat_at<P: Arg>(directory: BorrowedFd<'_>, name: P) -> Result<Met, Errno> {
    stat_with(directory, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
}

/// Stats what a descriptor refers to.
pub(crate) fn stat_fd(fd: BorrowedFd<'_>) -> Result<Met, Errno> {
    stat_with(fd, c"", AtFlags::EMPTY_PATH)
}

fn stat_with<P: Arg>(directory: BorrowedFd<'_>, name: P, flags: AtFlags) -> Result<Met, Errno> {
    let met = rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?;
    let time = |time: rustix::fs::StatxTimestamp| Time { seconds: time.tv_sec, nanoseconds: time.tv_nsec };
    let has_mount_id = StatxFlags::from_bits_retain(met.stx_mask).contains(StatxFlags::MNT_ID);
    Ok(Met {
        file_type: FileType::from_raw_mode(u32::from(met.stx_mode)),
        stat: Stat {
            device: u64::from(met.stx_dev_major) << 32 | u64::from(met.stx_dev_minor),
            inode: met.stx_ino,
            size: met.stx_size,
            mode: met.stx_mode & 0o777,
            mtime: time(met.stx_mtime),
            ctime: time(met.stx_ctime),
        },
        mode_bits: met.stx_mode & 0o7777,
        owner: met.stx_uid,
        mount_id: has_mount_id.then_some(met.stx_mnt_id),
        is_mount_root: met.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
    })
}

/// A symlink's target.
pub(crate) fn read_link(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Box<[u8]>, Errno> {
    Ok(rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes().into())
}

/// Renames to a free name; EXIST if it is taken.
pub(crate) fn rename_new(from: (BorrowedFd<'_>, &[u8]), to: (BorrowedFd<'_>, &[u8])) -> Result<(), Errno> {
    rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE)
}

/// Exchanges two names; NOENT if one is missing.
pub(crate) fn exchange(one: (BorrowedFd<'_>, &[u8]), two: (BorrowedFd<'_>, &[u8])) -> Result<(), Errno> {
    rustix::fs::renameat_with(one.0, one.1, two.0, two.1, RenameFlags::EXCHANGE)
}

/// Removes a file or an empty directory; missing is fine. For the engine's own files only.
pub(crate) fn unlink(directory: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR),
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

/// Changes the mode of what a descriptor (also one that only takes hold) refers to. It must be no symlink.
pub(crate) fn chmod_fd(fd: BorrowedFd<'_>, mode_bits: u16) -> Result<(), Errno> {
    rustix::fs::chmod(proc_path(fd), Mode::from_bits_truncate(u32::from(mode_bits)))
}

/// The path under which the kernel finds an open descriptor again, without any race.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Runs `change`; if a directory of ours refuses for want of owner's permission, grants it for that moment.
///
/// The modes are restored through the same descriptors whatever comes out. Directories of others are left as they are.
pub(crate) fn with_writable<T>(
    directories: &[BorrowedFd<'_>],
    change: impl Fn() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match change() {
        Err(errno @ (Errno::ACCESS | Errno::PERM)) => {
            let granted: Vec<Granted<'_>> = directories.iter().filter_map(|fd| Granted::grant(*fd)).collect();
            if granted.is_empty() { Err(errno) } else { change() }
        }
        result => result,
    }
}

/// Owner's write and search permission on a directory, for as long as this lives.
struct Granted<'a> {
    fd: BorrowedFd<'a>,
    mode_bits: u16,
}

impl<'a> Granted<'a> {
    fn grant(fd: BorrowedFd<'a>) -> Option<Granted<'a>> {
        let met = stat_fd(fd).ok()?;
        let is_ours = met.owner == rustix::process::geteuid().as_raw();
        if !is_ours || met.file_type != FileType::Directory || met.mode_bits & 0o300 == 0o300 {
            return None;
        }
        chmod_fd(fd, met.mode_bits | 0o300).ok()?;
        Some(Granted { fd, mode_bits: met.mode_bits })
    }
}

impl Drop for Granted<'_> {
    fn drop(&mut self) {
        if let Err(errno) = chmod_fd(self.fd, self.mode_bits) {
            tracing::warn!(%errno, "cannot give a directory its mode {:o} back", self.mode_bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_write_permission_is_lent_it_for_the_moment() {
        let directory = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(directory.path(), PASSAGE, Mode::empty()).unwrap();
        chmod_fd(fd.as_fd(), 0o555).unwrap();
        // Root is never refused, so the refusal is played.
        let change = || match stat_fd(fd.as_fd())?.mode_bits {
            mode if mode & 0o300 == 0o300 => Ok(()),
            _ => Err(Errno::ACCESS),
        };
        with_writable(&[fd.as_fd()], change).unwrap();
        assert_eq!(stat_fd(fd.as_fd()).unwrap().mode_bits, 0o555);
        let failing = || -> Result<(), Errno> { Err(Errno::ACCESS) };
        with_writable(&[fd.as_fd()], failing).unwrap_err();
        assert_eq!(stat_fd(fd.as_fd()).unwrap().mode_bits, 0o555);
    }
}
