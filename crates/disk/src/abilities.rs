//! What a file system can do, tried out in the engine's own directory of a root, beside a server that may work there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::clock;
use crate::granularity::time_step;

/// `f_type` of file systems that other machines change too, without an event here.
const SHARED: [(u64, &str); 6] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
];

/// `f_type` of those in which a system shows itself, and that keep no user's files.
const SYSTEMS_OWN: [(u64, &str); 14] = [
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x1cd1, "devpts"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0x6265_6570, "configfs"),
    (0xcafe_4a11, "bpf"),
    (0x6165_676c, "pstore"),
    (0x1980_0202, "mqueue"),
    (0xde5e_81e4, "efivarfs"),
    (0x4249_4e4d, "binfmt_misc"),
];

/// The kind of the file system that something is on, if that keeps no user's files.
pub(crate) fn systems_own(fd: BorrowedFd<'_>) -> Result<Option<&'static str>, Errno> {
    let kind = rustix::fs::fstatfs(fd)?.f_type as u64;
    Ok(named(&SYSTEMS_OWN, kind))
}

fn named(kinds: &[(u64, &'static str)], kind: u64) -> Option<&'static str> {
    // Some architectures have it in 32 bits, with a sign.
    kinds.iter().find(|(magic, _)| *magic == kind & 0xffff_ffff).map(|(_, name)| *name)
}

/// What a root's file system can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Abilities {
    /// Two names can be exchanged in one call: without that nothing can be replaced safely.
    pub exchanges: bool,
    /// A name can be given on condition that it is free.
    pub renames_to_free_names: bool,
    /// Symlinks can be made.
    pub has_symlinks: bool,
    /// Permission bits are kept.
    pub keeps_modes: bool,
    /// `a` and `A` are two names.
    pub tells_cases_apart: bool,
    /// The step in which modification times are stored, in nanoseconds; none where it is not one of the usual.
    pub time_step_ns: Option<u64>,
    /// Its kind, if other machines may change it without an event here.
    pub shared: Option<&'static str>,
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Bytes that it can hold in all.
    pub total_bytes: u64,
}

impl Abilities {
    /// Tries a root's file system out, with files of its own that it removes again. Changes nothing of its user's.
    ///
    /// # Errors
    /// When no file can be made there.
    pub fn of(root: &Path) -> std::io::Result<Abilities> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let own = rustix::fs::openat(CWD, root.join(".file-sync"), flags, Mode::empty())?;
        // Of a name that nobody has left behind.
        let name = format!("probe-{}-{}", std::process::id(), clock::nanoseconds(clock::now()));
        rustix::fs::mkdirat(&own, &name, Mode::from_bits_truncate(0o700))?;
        let tried = rustix::fs::openat(&own, &name, flags, Mode::empty()).and_then(|probe| try_out(&probe));
        let removed = rustix::fs::unlinkat(&own, &name, AtFlags::REMOVEDIR);
        let tried = tried?; // What went wrong first is what is said.
        removed?;
        Ok(tried)
    }
}

fn try_out(probe: &OwnedFd) -> Result<Abilities, Errno> {
    let tried = try_in(probe);
    let remove = |name: &&str| match rustix::fs::unlinkat(probe, *name, AtFlags::empty()) {
        Err(errno) if errno != Errno::NOENT => Err(errno),
        _ => Ok(()),
    };
    let removed = ["a", "b", "l"].iter().try_for_each(remove);
    let tried = tried?;
    removed.map(|()| tried)
}

fn try_in(probe: &OwnedFd) -> Result<Abilities, Errno> {
    let make = |name: &str| {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(probe, name, flags, Mode::from_bits_truncate(0o600))
    };
    let file = make("a")?;
    let tells_cases_apart = rustix::fs::statat(probe, "A", AtFlags::SYMLINK_NOFOLLOW).is_err();
    make("b")?;
    let rename = |flags| rustix::fs::renameat_with(probe, "a", probe, "b", flags);
    let exchanges = rename(RenameFlags::EXCHANGE).is_ok();
    let renames_to_free_names = rename(RenameFlags::NOREPLACE) == Err(Errno::EXIST);
    let keeps_modes = [0o640, 0o600].into_iter().all(|mode| {
        rustix::fs::fchmod(&file, Mode::from_bits_truncate(mode)).is_ok()
            && rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_mode & 0o777 == mode)
    });
    let space = rustix::fs::fstatvfs(probe)?;
    let kind = rustix::fs::fstatfs(probe)?.f_type as u64;
    Ok(Abilities {
        exchanges,
        renames_to_free_names,
        has_symlinks: rustix::fs::symlinkat("target", probe, "l").is_ok(),
        keeps_modes,
        tells_cases_apart,
        time_step_ns: time_step(file.as_fd())?,
        shared: named(&SHARED, kind),
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        total_bytes: space.f_blocks.saturating_mul(space.f_frsize),
    })
}
