//! Users who do anything at any time, and readers who open anything at any time.
//!
//! Every content gets its name whole, by a rename, and whatever had the name comes out of the tree in the same call. So
//! a user knows what they removed, and what is not whole under its name is the product's doing.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::record::{Moment, Record, Removal};
use super::token::{bytes_of, token_of};
use crate::random::Random;
use crate::user::set_mtime;

/// Where contents are written, replaced and deleted, but not moved.
pub const PLAIN: &str = "plain";
/// Where everything is done.
pub const WILD: &str = "wild";
/// Files of this prefix are written once and left alone.
const ALONE: &str = "alone-";
const NAMES: [&str; 8] = ["a", "b", "c", "d e", "ü", ".h", "g.txt", "x.tar.gz"];
const MODES: [u32; 4] = [0o644, 0o600, 0o755, 0o700];
/// 2010 and 2040: what users, and programs that restore, give files for a time.
const MTIMES: [i64; 2] = [1_262_304_000, 2_208_988_800];
/// More than that, and users tidy up.
const N_PATHS_MAX: usize = 250;

/// What all who are busy on one device share.
pub struct Desk<'a> {
    /// Which device it is.
    pub device: usize,
    /// The directory that is kept equal.
    pub root: PathBuf,
    /// Beside it, on the same file system.
    pub scratch: PathBuf,
    /// Held during an act, and by whoever wants users to wait.
    pub gate: Mutex<()>,
    pub record: &'a Record,
    /// Set when the work is over.
    pub is_over: &'a AtomicBool,
}

/// True for what users call files and directories, and for what copies of those are called.
pub fn is_name_of_users(name: &str) -> bool {
    match name.split_once(".sync-conflict-") {
        Some((stem, _)) => stem.starts_with(ALONE) || NAMES.iter().any(|name| name.starts_with(stem)),
        None => name.starts_with(ALONE) || NAMES.contains(&name),
    }
}

impl Desk<'_> {
    /// Acts until the work is over.
    pub fn work(&self, mut random: Random) {
        while !self.is_over.load(Ordering::Relaxed) {
            for _ in 0..=random.below(8) {
                let _turn = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
                self.record.n_acts.fetch_add(1, Ordering::Relaxed);
                // What a user wants to touch may be moved away at that moment, or the disk be full: then they do not.
                let _ = self.act(&mut random);
            }
            std::thread::sleep(Duration::from_millis([0, 10, 40, 150, 400][random.below(5) as usize]));
        }
    }

    /// Notes what is about to be done, for who looks for the cause of a failure.
    fn say(&self, verb: &str, path: &Path, to: &Path) {
        let inode = fs::symlink_metadata(path).map_or(0, |metadata| metadata.ino());
        let [path, to] = [path, to].map(|path| path.strip_prefix(&self.root).unwrap_or(path).display());
        self.record.act(self.device, &format!("{verb} {path} (inode {inode}) {to}"));
    }

    /// Opens files until the work is over. Each must be whole, whenever it is opened.
    pub fn read(&self, mut random: Random) {
        while !self.is_over.load(Ordering::Relaxed) {
            let zone = self.root.join(if random.below(3) == 0 { WILD } else { PLAIN });
            for path in below(&zone) {
                if random.below(4) == 0 {
                    let _ = self.read_one(&path);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn read_one(&self, path: &Path) -> io::Result<()> {
        if fs::symlink_metadata(path)?.is_file() {
            let mut bytes = Vec::new();
            File::open(path)?.read_to_end(&mut bytes)?;
            match token_of(&bytes) {
                Some(_) => _ = self.record.n_reads.fetch_add(1, Ordering::Relaxed),
                None => self.record.partial(self.device, path, bytes.len()),
            }
        }
        Ok(())
    }

    fn act(&self, random: &mut Random) -> io::Result<()> {
        let zone = self.root.join(if random.below(2) == 0 { PLAIN } else { WILD });
        let existing = self.touchable(&zone);
        let any = random.of(&existing).cloned();
        if existing.len() > N_PATHS_MAX {
            return any.map_or(Ok(()), |path| self.take(&path));
        }
        let is_wild = zone.ends_with(WILD);
        match (random.below(if is_wild { 16 } else { 8 }), any) {
            (0..=1, _) | (_, None) => self.write(&new_path(&zone, is_wild, random), random),
            (2, _) => {
                let token = self.record.new_token();
                self.write_token(token, &zone.join(format!("{ALONE}{token}")), random)
            }
            (3..=5, Some(path)) if path.is_file() => self.write(&path, random),
            (3..=7, Some(path)) => self.take(&path),
            (8..=11, Some(path)) => {
                let to = new_path(&zone, true, random);
                fs::create_dir_all(to.parent().unwrap_or(&zone))?;
                self.say("move", &path, &to);
                Ok(renameat_with(CWD, &path, CWD, &to, RenameFlags::NOREPLACE)?)
            }
            (12, Some(path)) => {
                let other = random.of(&existing).unwrap_or(&path);
                self.say("exchange", &path, other);
                Ok(renameat_with(CWD, &path, CWD, other, RenameFlags::EXCHANGE)?)
            }
            (13, Some(path)) if !path.is_symlink() => {
                let mode = *random.of(&MODES).expect("there are modes");
                self.say("chmod", &path, Path::new(""));
                fs::set_permissions(path, fs::Permissions::from_mode(mode))
            }
            (14, Some(path)) if path.is_file() => set_mtime(&path, (random.below(2_000_000_000) as i64, 0)),
            _ => symlink("nowhere", new_path(&zone, true, random)),
        }
    }

    fn touchable(&self, zone: &Path) -> Vec<PathBuf> {
        let is_alone =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ALONE));
        let mut found = below(zone);
        // The directories of the one zone stay.
        found.retain(|path| !is_alone(path) && (zone.ends_with(WILD) || !path.is_dir()));
        found.sort();
        found
    }

    fn write(&self, path: &Path, random: &mut Random) -> io::Result<()> {
        self.write_token(self.record.new_token(), path, random)
    }

    /// Prepares a content beside the tree and gives it its name. What had the name comes out.
    fn write_token(&self, token: u64, path: &Path, random: &mut Random) -> io::Result<()> {
        let draft = self.scratch.join(format!("draft-{token}"));
        let length = [0, 10, 3_000, 3_000, 60_000, 300_000][random.below(6) as usize];
        let written =
            self.draft(&draft, token, length, random).and_then(|()| self.place(&draft, token, path));
        if written.is_err() {
            self.record.did_not_write(token);
            let _ = fs::remove_file(&draft);
        }
        written
    }

    fn draft(&self, draft: &Path, token: u64, length: usize, random: &mut Random) -> io::Result<()> {
        fs::write(draft, bytes_of(token, length))?;
        match random.below(6) {
            0 => set_mtime(draft, (*random.of(&MTIMES).expect("there are times"), 0)),
            _ => Ok(()),
        }
    }

    fn place(&self, draft: &Path, token: u64, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        let relative = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned();
        self.record.wrote(token, self.device, &relative);
        self.say(&format!("write token {token}"), draft, path);
        let free = renameat_with(CWD, draft, CWD, path, RenameFlags::NOREPLACE);
        if free.is_ok() {
            return Ok(());
        }
        let before = fs::symlink_metadata(path).ok();
        renameat_with(CWD, draft, CWD, path, RenameFlags::EXCHANGE)?;
        self.came_out(draft, &relative, before.as_ref(), true);
        Ok(())
    }

    /// Deletes a file, or a directory with all that is in it, by one rename out of the tree.
    fn take(&self, path: &Path) -> io::Result<()> {
        let taken = self.scratch.join(format!("taken-{}", self.record.new_token()));
        let before = fs::symlink_metadata(path)?;
        self.say("take", path, &taken);
        fs::rename(path, &taken)?;
        let relative = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned();
        self.came_out(&taken, &relative, Some(&before), false);
        Ok(())
    }

    /// Notes what came out of the tree, and removes it. Directories stay: something may still be put into them.
    fn came_out(&self, taken: &Path, path: &str, before: Option<&fs::Metadata>, is_replaced: bool) {
        let Ok(now) = fs::symlink_metadata(taken) else { return };
        if now.is_dir() {
            let all = below(taken);
            all.iter().for_each(|taken| self.came_out_one(taken, path, None, is_replaced));
        } else {
            let is_same = before.is_some_and(|before| before.ino() == now.ino());
            // A rename changes the time that says when it was placed.
            self.came_out_one(taken, path, before.filter(|_| is_same), is_replaced);
        }
    }

    /// Into a directory that was taken out something may still be put, in exchange for what is there: what is read and
    /// removed has a name of its own before.
    fn came_out_one(&self, taken: &Path, path: &str, before: Option<&fs::Metadata>, is_replaced: bool) {
        let Ok(now) = fs::symlink_metadata(taken) else { return };
        if now.is_dir() {
            return;
        }
        let own = self.scratch.join(format!("out-{}", self.record.new_token()));
        let Ok(()) = fs::rename(taken, &own) else { return };
        let moved = fs::symlink_metadata(&own).expect("nobody else knows its name");
        let now = if moved.ino() == now.ino() { now } else { moved };
        let taken = &own;
        if now.is_file() {
            let at = self.record.now();
            let placed: Moment = self.record.moment_of(before.unwrap_or(&now));
            let bytes = fs::read(taken).unwrap_or_default();
            match token_of(&bytes) {
                Some(token) => {
                    self.record.act(self.device, &format!("removed token {token} (inode {})", now.ino()));
                    let (path, device) = (path.to_owned(), self.device);
                    self.record.removed(token, Removal { path, device, at, placed, is_replaced });
                }
                None => self.record.partial(self.device, taken, bytes.len()),
            }
        }
        // Its token is noted.
        let _ = fs::remove_file(taken);
    }

    /// Notes what was put into directories that users had taken out meanwhile.
    pub fn look_through_taken(&self) {
        for path in below(&self.scratch) {
            // Drafts are exchanged for directories, too.
            let is_taken = |part: std::path::Component<'_>| {
                ["taken-", "draft-"]
                    .iter()
                    .any(|prefix| part.as_os_str().to_string_lossy().starts_with(prefix))
            };
            if path.components().any(is_taken) {
                self.came_out_one(&path, "somewhere", None, false);
            }
        }
    }
}

/// A path that may be free or not.
fn new_path(zone: &Path, is_wild: bool, random: &mut Random) -> PathBuf {
    let depth = if is_wild { 1 + random.below(3) } else { 2 };
    let mut path = zone.to_owned();
    for level in 0..depth {
        // Where nothing is moved, files are files and directories directories.
        let names = if is_wild || level > 0 { &NAMES[..] } else { &NAMES[..3] };
        path.push(random.of(names).expect("there are names"));
    }
    path
}

/// Everything below a directory, as far as it can be seen while others change it.
pub fn below(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}
