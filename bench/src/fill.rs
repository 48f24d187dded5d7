//! Fills trees, always with the same bytes, and changes them as users do.

use std::fs::{File, FileTimes, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use walkdir::WalkDir;

use crate::plan::{Fill, Step};
use crate::world::World;

/// Files that are changed while nobody looks.
const N_CHANGED: u64 = 10;
/// Bytes of a small file.
const SMALL_BYTES: usize = 4096;
/// Files in one directory.
const FILES_A_DIRECTORY: u64 = 100;
/// All that is made is as old as this after 1970: a change is newer even where only seconds are compared.
const AGE: Duration = Duration::from_secs(1_600_000_000);
/// The directory that is renamed, and its name afterwards.
const DIRECTORY: (&str, &str) = ("d", "renamed");
/// The large file in it.
const LARGE: &str = "large.bin";

/// Fills a root; returns how many files there are.
///
/// # Errors
/// When the disk says so.
pub fn fill(root: &Path, fill: &Fill, real: &Path) -> Result<u64> {
    let directory = root.join(DIRECTORY.0);
    match fill {
        Fill::Large { bytes } => {
            std::fs::create_dir_all(&directory)?;
            write_random(&directory.join(LARGE), 0, *bytes)?;
            Ok(1)
        }
        Fill::Small { n_files } => {
            for number in 0..*n_files {
                let path = directory.join(small(number));
                if number % FILES_A_DIRECTORY == 0 {
                    std::fs::create_dir_all(path.parent().context("it is in a directory")?)?;
                }
                write_random(&path, number, SMALL_BYTES as u64)?;
            }
            Ok(*n_files)
        }
        Fill::Real { n_files_max } => copy_real(real, root, *n_files_max),
    }
}

/// Where a small file lies.
fn small(number: u64) -> String {
    format!("{:04}/file-{number:07}.txt", number / FILES_A_DIRECTORY)
}

/// Copies files, directories and symlinks of a real tree, until there are so many files.
fn copy_real(from: &Path, to: &Path, n_files_max: usize) -> Result<u64> {
    let mut n_files = 0;
    for entry in WalkDir::new(from).sort_by_file_name() {
        let entry = entry.context("the real tree cannot be read")?;
        let Ok(below) = entry.path().strip_prefix(from) else { continue };
        let copy = to.join(below);
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(&copy)?;
            continue;
        }
        if n_files == n_files_max {
            break;
        }
        if entry.file_type().is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, &copy)?;
        } else if entry.file_type().is_file() {
            std::fs::copy(entry.path(), &copy).with_context(|| format!("{}", entry.path().display()))?;
            make_old(&File::open(&copy)?)?;
        } else {
            continue;
        }
        n_files += 1;
    }
    Ok(n_files as u64)
}

/// A change that is ready to be made at once.
pub struct Change {
    what: Step,
    root: PathBuf,
    staged: PathBuf,
    number: u64,
}

impl Change {
    /// Makes ready what a step changes; nothing is changed yet.
    ///
    /// # Errors
    /// When the disk says so.
    pub fn prepare(world: &World, what: Step, number: u64) -> Result<Change> {
        let root = world.source().root.clone();
        let staged = world.beside("staged");
        if what == Step::Insert {
            let mut old = File::open(root.join(DIRECTORY.0).join(LARGE))?;
            let mut new = File::create(&staged)?;
            new.write_all(&[b'0' + u8::try_from(number % 10)?])?;
            io::copy(&mut old, &mut new)?;
        }
        if what == Step::Overwrite {
            // Where only seconds are compared, a change of the same size would not be seen within one.
            std::thread::sleep(Duration::from_millis(1100));
        }
        Ok(Change { what, root, staged, number })
    }

    /// Makes the change.
    ///
    /// # Errors
    /// When the disk says so.
    pub fn make(&self) -> Result<()> {
        let large = self.root.join(DIRECTORY.0).join(LARGE);
        match self.what {
            Step::Insert => std::fs::rename(&self.staged, large)?,
            Step::Overwrite => {
                let file = OpenOptions::new().write(true).open(large)?;
                let length = file.metadata()?.len();
                file.write_all_at(&random(u64::MAX - self.number, SMALL_BYTES)?, length / 2)?;
            }
            Step::Append => {
                let mut file = OpenOptions::new().append(true).open(large)?;
                file.write_all(&random(u64::MAX / 2 - self.number, 1 << 20)?)?;
            }
            Step::Rename => std::fs::rename(self.root.join(DIRECTORY.0), self.root.join(DIRECTORY.1))?,
            Step::Catchup => {
                for number in 0..N_CHANGED {
                    let path = self.root.join(DIRECTORY.0).join(small(number));
                    std::fs::write(path, random(u64::MAX / 4 - number, SMALL_BYTES)?)?;
                }
            }
            Step::Index | Step::First | Step::Saves | Step::Rescan | Step::Restart | Step::Idle => {}
        }
        Ok(())
    }
}

fn write_random(path: &Path, seed: u64, n_bytes: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("{}", path.display()))?;
    let mut writer = BufWriter::with_capacity(1 << 18, &file);
    io::copy(&mut stream(seed).take(n_bytes), &mut writer)?;
    writer.flush()?;
    drop(writer);
    make_old(&file)
}

fn random(seed: u64, n_bytes: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; n_bytes];
    stream(seed).read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Bytes without an end, as fast as a disk takes them.
fn stream(seed: u64) -> impl Read {
    let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    reader.rewind().expect("a stream begins somewhere");
    reader
}

fn make_old(file: &File) -> Result<()> {
    let then = SystemTime::UNIX_EPOCH + AGE;
    Ok(file.set_times(FileTimes::new().set_modified(then).set_accessed(then))?)
}
