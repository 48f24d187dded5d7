//! A disk whose power can be cut: an ext4 image that lies on a reflink file system, xfs.
//!
//! A copy by reference of the image is its state at one instant. xfs holds the file's lock against writes while it
//! flushes and clones it, and the loop device writes through that same lock, each block once: what ext4 had handed to
//! the device is in the copy, what was only in memory is not. So a disk behaves that keeps what it was given. One that
//! also loses, or reorders, what it has not been told to flush is not shown by this.
//!
//! A machine whose power failed is started anew, and tells its programs so by another id of its run (C4): each server
//! after a cut finds one of its own in place of the kernel's, through a mount that nobody else sees.
//!
//! ext4 is mounted so that little is written unasked: a journal commit every 300 seconds, and no flush of files that
//! were truncated or renamed over (`noauto_da_alloc`).

#![expect(clippy::print_stdout, reason = "a test that cannot run here says so")]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::world::{PATIENCE, eventually};

/// A mounted disk, and the shelf that its image and its copies lie on.
pub struct Machine {
    base: TempDir,
    /// The same at every mount, as a disk's number is the same after a power cut.
    device: String,
    image: PathBuf,
    n_cuts: u32,
}

impl Machine {
    /// Makes and mounts one; `None`, and said, where that is not possible.
    pub fn new(test: &str) -> Option<Machine> {
        static N_MACHINES: AtomicU32 = AtomicU32::new(0);
        let base = tempfile::Builder::new().prefix("file-sync-cut-").tempdir().expect("a directory");
        // A number that nobody gets who asks for any free one.
        let number = 100_000 + std::process::id() % 100_000 * 8 + N_MACHINES.fetch_add(1, Ordering::Relaxed);
        let device = format!("/dev/loop{number}");
        let image = base.path().join("shelf/0.img");
        let machine = Machine { base, device, image, n_cuts: 0 };
        if machine.make() && machine.can_begin_anew() {
            return Some(machine);
        }
        println!(
            "skipped: {test} needs root, mount(8), unshare(1), losetup(8), mkfs.ext4(8) and mkfs.xfs(8), and xfs with \
             reflinks"
        );
        None
    }

    fn make(&self) -> bool {
        let (shelf, shelf_image) = (self.base.path().join("shelf"), self.base.path().join("shelf.img"));
        fs::create_dir(&shelf).expect("a directory");
        fs::create_dir(self.mount_point()).expect("a directory");
        sparse(&shelf_image, 4 << 30);
        if !did("mkfs.xfs", ["-q".as_ref(), "-m".as_ref(), "reflink=1".as_ref(), shelf_image.as_os_str()])
            || !did("mount", ["-o".as_ref(), "loop".as_ref(), shelf_image.as_os_str(), shelf.as_os_str()])
        {
            return false;
        }
        sparse(&self.image, 1 << 30);
        did(
            "mkfs.ext4",
            ["-q".as_ref(), "-F".as_ref(), "-b".as_ref(), "4096".as_ref(), self.image.as_os_str()],
        ) && self.attach()
            && fs::create_dir(self.users()).is_ok()
    }

    /// Whether the id of the machine's run can be another one for a program.
    fn can_begin_anew(&self) -> bool {
        let words = self.next_run();
        did("env", words.iter().map(OsString::as_os_str).chain(["true".as_ref()]))
    }

    fn attach(&self) -> bool {
        let options = "noauto_da_alloc,commit=300";
        did("losetup", [self.device.as_ref(), self.image.as_os_str()])
            && did(
                "mount",
                ["-o".as_ref(), options.as_ref(), self.device.as_ref(), self.mount_point().as_os_str()],
            )
    }

    /// Where everything of a device can be put.
    pub fn users(&self) -> PathBuf {
        self.mount_point().join("users")
    }

    fn mount_point(&self) -> PathBuf {
        self.base.path().join("disk")
    }

    /// Makes everything durable that is on the disk.
    pub fn flush(&self) {
        assert!(did("sync", ["-f".as_ref(), self.mount_point().as_os_str()]), "sync(1) is there");
    }

    /// The words before a server's own that let it run on a machine that was started anew since the last cut. They end
    /// in exec(2), as `Device::begin_under` wants it; the mount goes with the server.
    pub fn next_run(&self) -> Vec<OsString> {
        let id = self.base.path().join("run");
        let text = format!("00000000-0000-4000-8000-{:012}\n", self.n_cuts);
        fs::write(&id, text).expect("a file can be written");
        let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
        ["unshare", "-m", "sh", "-c", script].map(OsString::from).into_iter().chain([id.into()]).collect()
    }

    /// What the disk would hold if the power failed now.
    pub fn cut(&mut self) -> Cut {
        self.n_cuts += 1;
        let image = self.base.path().join(format!("shelf/{}.img", self.n_cuts));
        let is_cut = did("cp", ["--reflink=always".as_ref(), self.image.as_os_str(), image.as_os_str()]);
        assert!(is_cut, "xfs copies by reference");
        Cut(image)
    }

    /// Goes on with what was left at the cut. Nothing may be open on the disk; what was written since is gone.
    pub fn restart(&mut self, cut: Cut) {
        eventually(PATIENCE, || match did("umount", [self.mount_point().as_os_str()]) {
            true => Ok(()),
            false => Err("the disk is busy"),
        });
        assert!(did("losetup", ["-d".as_ref(), OsStr::new(&self.device)]), "the loop device can be detached");
        // It was used and unmounted: this shows that an earlier cut had left a file system in order. Where another test has
        // just begun a mount namespace of its own, it is in use there until that ends.
        eventually(PATIENCE, || {
            match did("e2fsck", ["-f".as_ref(), "-n".as_ref(), self.image.as_os_str()]) {
                true => Ok(()),
                false => Err(format!("e2fsck finds faults in {}", self.image.display())),
            }
        });
        fs::remove_file(&self.image).expect("an image can be removed");
        self.image = cut.0;
        eventually(PATIENCE, || if self.attach() { Ok(()) } else { Err("the cut cannot be mounted") });
    }
}

/// The image of a disk at an instant.
pub struct Cut(PathBuf);

impl Drop for Machine {
    fn drop(&mut self) {
        for point in [self.mount_point(), self.base.path().join("shelf")] {
            did("umount", ["-l".as_ref(), point.as_os_str()]);
            did("losetup", ["-d".as_ref(), OsStr::new(&self.device)]);
        }
    }
}

fn sparse(path: &Path, length: u64) {
    let file = fs::File::create(path).expect("an image");
    file.set_len(length).expect("a sparse file");
}

fn did<'a>(program: &str, args: impl IntoIterator<Item = &'a OsStr>) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
