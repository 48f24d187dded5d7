//! Real programs at work in a tree: git, tar, sqlite3, vim, rsync, and one that writes in place.
//!
//! Each has a directory of its own, in which nobody else writes. What it leaves there is there on every member, and
//! nothing else.

#![expect(clippy::print_stdout, reason = "a program that is missing is said")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::user::Desk;
use crate::random::Random;
use crate::user::noise;

/// Where programs have their directories.
pub const OWN: &str = "own";

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Commits, branches, merges, stashes and collects garbage.
    Git,
    /// Makes archives, and unpacks and removes them.
    Tar,
    /// Writes a database with a write-ahead log; killed in the end.
    Sqlite,
    /// An editor that saves with a backup and a swap file.
    Vim,
    /// Mirrors a tree from elsewhere.
    Rsync,
    /// Appends, overwrites and truncates, through one descriptor.
    InPlace,
}

/// A program at work on one device.
pub struct Work<'a> {
    pub desk: &'a Desk<'a>,
    pub program: Program,
}

impl Work<'_> {
    /// Its directory, in the tree.
    pub fn directory(&self) -> PathBuf {
        self.desk.root.join(OWN).join(self.name())
    }

    /// Its directory's name.
    pub fn name(&self) -> String {
        format!("{:?}-{}", self.program, self.desk.device).to_lowercase()
    }

    /// Works until the work is over. A disk that is full makes programs fail; they are run again.
    pub fn run(&self, mut random: Random) {
        let directory = self.directory();
        if fs::create_dir_all(&directory).is_err() || !self.is_there() {
            println!("skipped: {:?} is not there", self.program);
            return;
        }
        let mut database = None;
        while !self.desk.is_over.load(Ordering::Relaxed) {
            self.desk.record.n_programs.fetch_add(1, Ordering::Relaxed);
            let done = match self.program {
                Program::Git => self.git(&directory, &mut random),
                Program::Tar => self.tar(&directory, &mut random),
                Program::Sqlite => sqlite(&directory, &mut random, &mut database),
                Program::Vim => self.vim(&directory, &mut random),
                Program::Rsync => self.rsync(&directory, &mut random),
                Program::InPlace => in_place(&directory, &mut random),
            };
            // What fails for want of space is as it is: whatever it left is what has to be everywhere.
            drop(done);
            std::thread::sleep(Duration::from_millis(100 + random.below(500)));
        }
        if let Some(mut child) = database {
            // Killed, so that its log stays.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Examines a copy of what the program made, as another member has it.
    ///
    /// A copy, since opening a database changes it.
    ///
    /// # Errors
    /// What the program complains of.
    pub fn finds_well(&self, directory: &Path, examined: &Path) -> Result<(), String> {
        let _ = fs::remove_dir_all(examined);
        let copied = Command::new("cp").arg("-a").args([directory, examined]).status();
        if !copied.is_ok_and(|status| status.success()) {
            return Err(format!("cp(1) cannot copy {}", directory.display()));
        }
        let place = examined.to_str().expect("a path in UTF-8");
        let output = match self.program {
            Program::Git if examined.join(".git").exists() => self
                .command("git", ["-C", place, "fsck", "--strict", "--full"])
                .stderr(Stdio::piped())
                .output(),
            Program::Sqlite if examined.join("data.db").exists() => {
                let database = examined.join("data.db");
                let args =
                    [database.as_os_str(), OsStr::new("PRAGMA integrity_check; SELECT count(*) FROM t;")];
                self.command("sqlite3", args).stdout(Stdio::piped()).stderr(Stdio::piped()).output()
            }
            _ => return Ok(()),
        };
        let output = output.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let is_well =
            output.status.success() && (self.program != Program::Sqlite || said.starts_with("ok\n"));
        if is_well { Ok(()) } else { Err(said) }
    }

    fn is_there(&self) -> bool {
        let (program, argument) = match self.program {
            Program::Git => ("git", "--version"),
            Program::Tar => ("tar", "--version"),
            Program::Sqlite => ("sqlite3", "--version"),
            Program::Vim => ("vim", "--version"),
            Program::Rsync => ("rsync", "--version"),
            Program::InPlace => return true,
        };
        self.command(program, [argument]).stdout(Stdio::null()).status().is_ok()
    }

    /// A command that finds no settings of whoever runs the tests.
    fn command<A: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.desk.scratch).env("GIT_CONFIG_NOSYSTEM", "1").env("TERM", "dumb");
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn does<A: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = A>) -> std::io::Result<()> {
        self.command(program, args).status().map(drop)
    }

    fn git(&self, directory: &Path, random: &mut Random) -> std::io::Result<()> {
        let git = |args: &[&str]| {
            let settings = ["-c", "user.name=u", "-c", "user.email=u@example.org", "-c", "gc.auto=0"];
            let place = ["-C", directory.to_str().expect("a path in UTF-8")];
            self.does("git", place.iter().chain(&settings).chain(args))
        };
        if !directory.join(".git").exists() {
            git(&["init", "--quiet", "--initial-branch=main"])?;
        }
        scatter(directory, 4, random)?;
        match random.below(6) {
            0 => git(&["stash", "--include-untracked"])?,
            1 => {
                git(&["checkout", "--quiet", "-B", "side"])?;
                scatter(directory, 2, random)?;
                git(&["add", "--all"])?;
                git(&["commit", "--quiet", "--message", "on the side"])?;
                git(&["checkout", "--quiet", "main"])?;
                git(&["merge", "--quiet", "--no-edit", "--strategy-option=theirs", "side"])?;
            }
            2 => git(&["gc", "--quiet", "--prune=now"])?,
            _ => {}
        }
        git(&["add", "--all"])?;
        git(&["commit", "--quiet", "--message", "more"])
    }

    fn tar(&self, directory: &Path, random: &mut Random) -> std::io::Result<()> {
        let source = self.desk.scratch.join(format!("{}-source", self.name()));
        fs::create_dir_all(&source)?;
        scatter(&source, 6, random)?;
        let (archive, unpacked) = (directory.join("archive.tar"), directory.join("unpacked"));
        self.does(
            "tar",
            ["-cf".as_ref(), archive.as_os_str(), "-C".as_ref(), source.as_ref(), ".".as_ref()],
        )?;
        if random.below(3) == 0 && unpacked.exists() {
            fs::remove_dir_all(&unpacked)?;
        }
        fs::create_dir_all(&unpacked)?;
        self.does("tar", ["-xf".as_ref(), archive.as_os_str(), "-C".as_ref(), unpacked.as_ref()])
    }

    fn vim(&self, directory: &Path, random: &mut Random) -> std::io::Result<()> {
        let file = directory.join(format!("notes-{}.txt", random.below(3)));
        let line = format!("call append('$', 'line {}')", random.below(1_000_000));
        let how = ["set backupcopy=no", "set backupcopy=yes"][random.below(2) as usize];
        let args =
            ["-u", "NONE", "-N", "-es", "-c", "set backup backupdir=. directory=.", "-c", how, "-c", &line];
        let args =
            args.into_iter().map(OsStr::new).chain([OsStr::new("-c"), OsStr::new("wq"), file.as_os_str()]);
        self.does("vim", args)
    }

    fn rsync(&self, directory: &Path, random: &mut Random) -> std::io::Result<()> {
        let source = self.desk.scratch.join(format!("{}-source", self.name()));
        fs::create_dir_all(&source)?;
        scatter(&source, 5, random)?;
        // A trailing slash: what is in it, not it.
        let source = format!("{}/", source.display());
        self.does("rsync", ["-a".as_ref(), "--delete".as_ref(), OsStr::new(&source), directory.as_ref()])
    }
}

/// Writes and removes some files in place, as compilers and scripts do.
fn scatter(directory: &Path, n_files: u64, random: &mut Random) -> std::io::Result<()> {
    for _ in 0..n_files {
        let parent = directory.join(format!("d{}", random.below(3)));
        fs::create_dir_all(&parent)?;
        let file = parent.join(format!("f{}", random.below(12)));
        match random.below(5) {
            0 if file.exists() => fs::remove_file(file)?,
            _ => fs::write(file, noise(random.below(u64::MAX), random.below(20_000) as usize))?,
        }
    }
    Ok(())
}

/// One long transaction after the other, in a process that keeps the database open.
///
/// In exclusive mode, so that there is no shared memory in a file: what is written through a mapping, on tmpfs, changes
/// a file without any sign of it.
fn sqlite(directory: &Path, random: &mut Random, database: &mut Option<Child>) -> std::io::Result<()> {
    let child = match database {
        Some(child) => child,
        None => {
            let mut command = Command::new("sqlite3");
            command.arg(directory.join("data.db"));
            let quiet = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = quiet.spawn()?;
            let stdin = child.stdin.as_mut().expect("it was piped");
            stdin.write_all(b"PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;\n")?;
            stdin.write_all(b"CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, bytes BLOB);\n")?;
            database.insert(child)
        }
    };
    let (length, seventh) = (random.below(20_000), random.below(7));
    let stdin = child.stdin.as_mut().expect("it was piped");
    writeln!(stdin, "BEGIN; INSERT INTO t(bytes) VALUES(randomblob({length}));")?;
    writeln!(stdin, "DELETE FROM t WHERE id % 7 = {seventh} AND id < (SELECT max(id) FROM t) - 20; COMMIT;")?;
    if random.below(8) == 0 {
        writeln!(stdin, "PRAGMA wal_checkpoint(TRUNCATE);")?;
    }
    stdin.flush()
}

fn in_place(directory: &Path, random: &mut Random) -> std::io::Result<()> {
    let path = directory.join(format!("log-{}", random.below(3)));
    let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
    let length = file.metadata()?.len();
    match random.below(4) {
        0 => file.set_len(length / 2)?,
        1 => _ = file.seek(SeekFrom::Start(length / 3))?,
        _ => _ = file.seek(SeekFrom::End(0))?,
    }
    for _ in 0..=random.below(4) {
        file.write_all(&noise(random.below(u64::MAX), 5_000))?;
        std::thread::sleep(Duration::from_millis(random.below(60)));
    }
    Ok(())
}
