//! A user who is busy until told to stop, and a journal of what the user did, by which a disk is judged after a cut.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use file_sync_core::version::ContentHash;

use crate::random::Random;

/// Bytes by path.
pub type Values = BTreeMap<String, Vec<u8>>;

/// How a user saves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Habit {
    /// Writes beside, makes it durable, renames, makes that durable. What is done is done.
    Careful,
    /// As most programs do: nothing is made durable, and files are also written and truncated in place.
    Careless,
}

/// What one user did, in order.
#[derive(Default)]
pub struct Journal {
    /// A path and what it had from then on.
    acts: Vec<(String, Option<Vec<u8>>)>,
    /// So many of them are done; the one after them may be.
    n_done: usize,
}

impl Journal {
    /// How many acts are done.
    pub fn n_done(&self) -> usize {
        self.n_done
    }

    /// Every path ever touched.
    pub fn paths(&self) -> BTreeSet<&str> {
        self.acts.iter().map(|(path, _)| path.as_str()).collect()
    }

    /// What a path had after so many acts.
    pub fn value_after(&self, path: &str, n_acts: usize) -> Option<&[u8]> {
        let last = self.acts[..n_acts].iter().rev().find(|(acted, _)| acted == path);
        last.and_then(|(_, value)| value.as_deref())
    }

    /// What a path may have if everything up to `n_acts` counts, and later acts may.
    pub fn may_be(&self, path: &str, n_acts: usize) -> Vec<Option<&[u8]>> {
        let later = self.acts[n_acts..].iter().filter(|(acted, _)| acted == path);
        let later = later.map(|(_, value)| value.as_deref());
        [self.value_after(path, n_acts)].into_iter().chain(later).collect()
    }

    /// After how many acts a path had this content first: a rename may bring it there again. `None` if it never did.
    pub fn n_acts_until(&self, path: &str, content: ContentHash) -> Option<usize> {
        let is_it = |(acted, value): &(String, Option<Vec<u8>>)| {
            acted == path && value.as_ref().is_some_and(|value| ContentHash::of(value) == content)
        };
        self.acts.iter().position(is_it).map(|index| index + 1)
    }

    /// Everything there is after all acts.
    pub fn values(&self) -> Values {
        let mut values = Values::new();
        for (path, value) in &self.acts {
            match value {
                Some(value) => drop(values.insert(path.clone(), value.clone())),
                None => drop(values.remove(path)),
            }
        }
        values
    }

    /// Begins anew, with what is there now.
    fn begin_with(values: Values) -> Journal {
        let acts: Vec<_> = values.into_iter().map(|(path, value)| (path, Some(value))).collect();
        Journal { n_done: acts.len(), acts }
    }
}

/// A user at work in one directory.
pub struct Busy {
    journal: Arc<Mutex<Journal>>,
    is_resting: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Busy {
    /// Sets a user to work below `root`, who prepares files in `scratch`.
    pub fn start(root: PathBuf, scratch: PathBuf, habit: Habit, seed: u64) -> Busy {
        let journal = Arc::new(Mutex::new(Journal::begin_with(values_below(&root))));
        let [is_resting, is_over] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let mut worker = Worker {
            root,
            scratch,
            habit,
            random: Random::new(seed, 0),
            journal: journal.clone(),
            n_acts: 0,
        };
        let (rests, ends) = (is_resting.clone(), is_over.clone());
        let work = move || {
            while !ends.load(Ordering::Relaxed) {
                let n_acts = if rests.load(Ordering::Relaxed) { 0 } else { 1 + worker.random.below(6) };
                (0..n_acts).for_each(|_| worker.act());
                std::thread::sleep(Duration::from_millis([1, 5, 20, 60][worker.random.below(4) as usize]));
            }
        };
        Busy { journal, is_resting, is_over, thread: std::thread::spawn(work) }
    }

    /// What was done so far.
    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the user rest, or go on.
    pub fn rest(&self, is_resting: bool) {
        self.is_resting.store(is_resting, Ordering::Relaxed);
    }

    /// Says that it is enough.
    pub fn tell_to_stop(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Waits for the user's end; returns the journal.
    pub fn stop(self) -> Journal {
        self.tell_to_stop();
        self.thread.join().expect("a user does not panic");
        std::mem::take(&mut self.journal.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The regular files below a directory, with their bytes.
pub fn values_below(root: &Path) -> Values {
    let relative =
        |path: &Path| path.strip_prefix(root).expect("a path below the root").to_string_lossy().into_owned();
    let files = crate::world::files_below(root).into_iter();
    files.map(|path| (relative(&path), fs::read(&path).expect("a file can be read"))).collect()
}

struct Worker {
    root: PathBuf,
    scratch: PathBuf,
    habit: Habit,
    random: Random,
    journal: Arc<Mutex<Journal>>,
    n_acts: u64,
}

impl Worker {
    fn act(&mut self) {
        self.n_acts += 1;
        let path = self.path();
        let is_there = self.root.join(&path).exists();
        match (self.random.below(10), is_there) {
            (0, true) => self.noting(&[(&path, None)], |worker| worker.remove(&path)),
            (1, true) => {
                let to = self.path();
                let value = fs::read(self.root.join(&path)).expect("only this user writes here");
                if to != path {
                    let acts = [(&path, None), (&to, Some(value))];
                    self.noting(&acts, |worker| worker.rename(&path, &to));
                }
            }
            (2..=4, true) if self.habit == Habit::Careless => {
                let value = self.value();
                // It is cut to nothing first, and what is then there may be seen and told to others.
                self.noting(&[(&path, Some(Vec::new())), (&path, Some(value.clone()))], |worker| {
                    fs::write(worker.root.join(&path), &value).expect("a file can be written");
                });
            }
            _ => {
                let value = self.value();
                self.noting(&[(&path, Some(value.clone()))], |worker| worker.save(&path, &value));
            }
        }
    }

    /// Notes an act before it is begun, and that it is done once it is.
    fn noting(&mut self, acts: &[(&String, Option<Vec<u8>>)], act: impl FnOnce(&mut Worker)) {
        let acts = acts.iter().map(|(path, value)| ((*path).clone(), value.clone()));
        self.lock().acts.extend(acts);
        act(self);
        let mut journal = self.lock();
        journal.n_done = journal.acts.len();
    }

    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&mut self) -> String {
        format!("d{}/n{}", self.random.below(3), self.random.below(6))
    }

    /// Bytes that nobody else writes, and that a part of them is not.
    fn value(&mut self) -> Vec<u8> {
        let length = [1, 100, 2_000][self.random.below(3) as usize];
        let name = self.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let line = format!("{name} wrote this as act {} with {}\n", self.n_acts, self.random.below(1 << 30));
        [line.repeat(length), "end\n".to_owned()].concat().into_bytes()
    }

    fn save(&mut self, path: &str, value: &[u8]) {
        let (to, draft) = (self.root.join(path), self.scratch.join(format!("draft-{:?}", self.habit)));
        let parent = to.parent().expect("a file has a parent");
        let mut file = File::create(&draft).expect("a draft");
        file.write_all(value).expect("a draft can be written");
        self.if_careful(|| file.sync_all());
        if !parent.exists() {
            fs::create_dir(parent).expect("a directory");
            self.if_careful(|| File::open(&self.root)?.sync_all());
        }
        fs::rename(&draft, &to).expect("a rename");
        self.if_careful(|| File::open(parent)?.sync_all());
    }

    fn remove(&mut self, path: &str) {
        let path = self.root.join(path);
        fs::remove_file(&path).expect("only this user removes here");
        self.if_careful(|| File::open(path.parent().expect("a file has a parent"))?.sync_all());
    }

    fn rename(&mut self, from: &str, to: &str) {
        let (from, to) = (self.root.join(from), self.root.join(to));
        let parents = [&from, &to].map(|path| path.parent().expect("a file has a parent").to_owned());
        fs::create_dir_all(&parents[1]).expect("a directory");
        fs::rename(&from, &to).expect("only this user renames here");
        self.if_careful(|| File::open(&self.root)?.sync_all());
        for parent in &parents {
            self.if_careful(|| File::open(parent)?.sync_all());
        }
    }

    fn if_careful(&self, sync: impl FnOnce() -> std::io::Result<()>) {
        if self.habit == Habit::Careful {
            sync().expect("what is written can be made durable");
        }
    }
}
