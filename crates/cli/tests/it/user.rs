//! What the user of a device does to files: the acts of the end-to-end tests.
//!
//! A written file gets its bytes, mode and mtime before its name, as editors save, so that an engine sees one act.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

static N_WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Somebody who works below one directory.
pub struct User {
    directory: PathBuf,
    scratch: PathBuf,
}

impl User {
    /// A user of `directory` who prepares files in `scratch`, on the same file system.
    pub fn new(directory: PathBuf, scratch: PathBuf) -> User {
        User { directory, scratch }
    }

    /// The path of a name.
    pub fn path(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.directory.join(OsStr::from_bytes(name.as_ref()))
    }

    /// Saves a file of mode 0644, replacing what had the name; its parents are made.
    pub fn write(&self, name: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>, mtime: i64) {
        self.write_as(name, bytes, 0o644, (mtime, 0));
    }

    /// Saves a file with a mode and an mtime in seconds and nanoseconds.
    pub fn write_as(&self, name: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>, mode: u32, mtime: (i64, u32)) {
        let draft = self.scratch.join(format!("draft-{}", N_WRITTEN.fetch_add(1, Ordering::Relaxed)));
        done(fs::write(&draft, bytes), &draft);
        done(set_mtime(&draft, mtime), &draft);
        done(fs::set_permissions(&draft, Permissions::from_mode(mode)), &draft);
        let path = self.path(name);
        let parent = path.parent().expect("a file has a parent");
        done(fs::create_dir_all(parent), parent);
        done(fs::rename(&draft, &path), &path);
    }

    /// Appends in place, through the file's own inode, and leaves the mtime to the system.
    pub fn append(&self, name: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) {
        use std::io::Write;
        let path = self.path(name);
        let mut file = done(File::options().append(true).open(&path), &path);
        done(file.write_all(bytes.as_ref()), &path);
    }

    /// The bytes of a file.
    pub fn read(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        let path = self.path(name);
        done(fs::read(&path), &path)
    }

    /// Whether anything has the name, a dangling symlink included.
    pub fn has(&self, name: impl AsRef<[u8]>) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// Makes a directory and its parents.
    pub fn mkdir(&self, name: impl AsRef<[u8]>) {
        let path = self.path(name);
        done(fs::create_dir_all(&path), &path);
    }

    /// Renames, over what has the name.
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) {
        let (from, to) = (self.path(from), self.path(to));
        done(fs::rename(&from, to), &from);
    }

    /// Removes a file or symlink.
    pub fn remove(&self, name: impl AsRef<[u8]>) {
        let path = self.path(name);
        done(fs::remove_file(&path), &path);
    }

    /// Removes a directory with all that is in it.
    pub fn remove_all(&self, name: impl AsRef<[u8]>) {
        let path = self.path(name);
        done(fs::remove_dir_all(&path), &path);
    }

    /// Makes a symlink.
    pub fn link(&self, target: impl AsRef<[u8]>, name: impl AsRef<[u8]>) {
        let path = self.path(name);
        done(std::os::unix::fs::symlink(OsStr::from_bytes(target.as_ref()), &path), &path);
    }

    /// Gives a file a second name.
    pub fn hard_link(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) {
        let path = self.path(from);
        done(fs::hard_link(&path, self.path(to)), &path);
    }

    /// Sets the permission bits.
    pub fn chmod(&self, name: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(name);
        done(fs::set_permissions(&path, Permissions::from_mode(mode)), &path);
    }

    /// Sets the mtime.
    pub fn touch(&self, name: impl AsRef<[u8]>, mtime: i64) {
        let path = self.path(name);
        done(set_mtime(&path, (mtime, 0)), &path);
    }

    /// The permission bits.
    pub fn mode(&self, name: impl AsRef<[u8]>) -> u32 {
        let path = self.path(name);
        done(fs::symlink_metadata(&path), &path).permissions().mode() & 0o777
    }

    /// The mtime in seconds.
    pub fn mtime(&self, name: impl AsRef<[u8]>) -> i64 {
        use std::os::unix::fs::MetadataExt;
        let path = self.path(name);
        done(fs::symlink_metadata(&path), &path).mtime()
    }
}

/// Bytes that no compression or chunk finds twice, the same for the same seed.
pub fn noise(seed: u64, n_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; n_bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Sets a file's mtime, in seconds and nanoseconds.
pub fn set_mtime(path: &Path, (seconds, nanoseconds): (i64, u32)) -> std::io::Result<()> {
    let magnitude = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 { UNIX_EPOCH - magnitude } else { UNIX_EPOCH + magnitude };
    let mtime: SystemTime = whole + Duration::from_nanos(u64::from(nanoseconds));
    File::open(path)?.set_times(FileTimes::new().set_modified(mtime))
}

fn done<T>(result: std::io::Result<T>, path: &Path) -> T {
    result.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
