//! The simulated disk against the real one: the same acts and ops on both lead to the same outcomes and trees.
//!
//! What the simulator proves is worth as much as its disk is like a real one. Here users' acts and batches of the
//! engine's ops, chosen from a seed, are carried out on both; expected records may be out of date, sources may lack
//! what is wanted. After each batch outcomes, trees, kept versions and staged contents are compared. Not compared, for
//! the real disk alone has them: what races between two system calls lead to, and times that a clock has set.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use file_sync_core::effect::{Op, OpOutcome, Source};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Record, Seen, Stat};
use file_sync_core::version::{Content, ContentHash, DirectoryId, Time};
use file_sync_disk::{Flow, Root};
use file_sync_sim::{Body, Disk, Random};

/// Steps of one sequence; half are a user's acts, the others batches.
const N_STEPS: u64 = 50;
/// How deep paths are mostly.
const DEPTH_MAX: usize = 4;
const NAMES: [&str; 4] = ["a", "b", "c", ".syncignore"];
const MODES: [u16; 4] = [0o644, 0o600, 0o755, 0o440];
const DIRECTORY_MODES: [u16; 3] = [0o755, 0o700, 0o555];

#[test]
fn the_simulated_disk_does_what_a_real_one_does() {
    let start = Instant::now();
    let is_full = std::env::var("EVIDENCE").is_ok_and(|value| value == "full");
    let seeds = match std::env::var("SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..if is_full { 50_000 } else { 600 },
    };
    let n_sequences = seeds.end - seeds.start;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in seeds {
        let mut both = Both::new(seed);
        for _ in 0..N_STEPS {
            both.step();
            both.compare();
        }
        both.counts.iter().for_each(|(what, n)| *counts.entry(what).or_default() += n);
    }
    println!("{n_sequences} sequences: {counts:?}");
    let figures: String = counts.iter().map(|(what, n)| format!(",\"{what}\":{n}")).collect();
    println!(
        "evidence: {{\"part\":\"differential\",\"what\":\"simulated disk against the real one\",\
         \"figures\":{{\"sequences\":{n_sequences}{figures}}},\"bad\":{{\"differences\":0}},\"seconds\":{:.1}}}",
        start.elapsed().as_secs_f64()
    );
    for outcome in ["done", "differs", "no source", "trouble"] {
        assert!(n_sequences == 1 || counts.contains_key(outcome), "no op came to: {outcome}");
    }
}

/// What stands at a path on either disk: all that is compared.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Shown {
    kind: Kind,
    content: Option<ContentHash>,
    mode: u16,
    /// Of files alone: others' times are the clock's.
    mtime: Option<Time>,
}

/// Two records of one item.
type Known = (Record, Record);

struct Both {
    seed: u64,
    sim: Disk,
    root: Root,
    folder: tempfile::TempDir,
    random: Random,
    /// What an engine would know: renewed now and then, and out of date in between.
    known: BTreeMap<SyncPath, Known>,
    /// Kept files: their names on either disk, and what they are.
    kept: Vec<(String, String, ContentHash)>,
    contents: Vec<Vec<u8>>,
    n_writes: u64,
    history: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

impl Both {
    fn new(seed: u64) -> Both {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.expect("a directory");
        let (root, _) = Root::offer(folder.path(), DirectoryId([7; 16])).expect("opened");
        let mut sim = Disk::default();
        sim.renames_change_ctime = true;
        Both {
            seed,
            sim,
            root,
            folder,
            random: Random::new(seed),
            known: BTreeMap::new(),
            kept: Vec::new(),
            contents: Vec::new(),
            n_writes: 0,
            history: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        if self.random.percent(50) {
            self.act();
        } else {
            if self.random.percent(60) {
                self.learn();
            }
            self.batch();
        }
    }

    /// A time that no clock has set, different each time.
    fn time(&mut self) -> Time {
        self.n_writes += 1;
        let nanoseconds = (self.random.below(1_000_000_000)) as u32;
        Time { seconds: 1_500_000_000 + self.n_writes as i64, nanoseconds }
    }

    fn wall(&self) -> Time {
        Time { seconds: 1_700_000_000 + self.n_writes as i64, nanoseconds: 0 }
    }

    fn real(&self, path: &SyncPath) -> PathBuf {
        self.folder.path().join(std::ffi::OsStr::from_bytes(path.as_bytes()))
    }

    /// Mostly one whose parent is there.
    fn any_path(&mut self) -> SyncPath {
        let directories: Vec<SyncPath> = (self.sim.items.iter())
            .filter(|(path, item)| item.body == Body::Directory && path.depth() < DEPTH_MAX)
            .map(|(path, _)| path.clone())
            .collect();
        let is_known = self.random.percent(60);
        let mut path =
            self.random.pick(&directories).filter(|_| is_known).cloned().unwrap_or(SyncPath::root());
        let depth = if self.random.percent(90) { 0 } else { self.random.below(3) };
        for _ in 0..=depth {
            let name = self.random.pick(&NAMES).expect("there are names");
            path = path.join(name.as_bytes()).expect("a valid name");
        }
        path
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        *self.random.pick(items).expect("there are some")
    }

    /// Bytes that no other file has, nor their length.
    fn bytes(&mut self) -> Vec<u8> {
        let n = self.contents.len();
        let bytes = [format!("content {n} "), "x".repeat(n)].concat().into_bytes();
        self.contents.push(bytes.clone());
        bytes
    }

    fn compare(&self) {
        let real = self.real_tree();
        let sim: BTreeMap<SyncPath, Shown> = self
            .sim
            .items
            .iter()
            .map(|(path, item)| (path.clone(), shown(&item.seen(path), item.content())))
            .collect();
        assert_eq!(sim, real, "simulated, real; {}", self.told());
        let key = |mode: u16, mtime: Time, content: Option<ContentHash>| (content, mode, mtime);
        let kept = self.root.kept_list().expect("listed").into_iter().map(|(name, seen)| {
            let content = self.root.kept_hash(&name).expect("read");
            let mtime = if seen.kind == Kind::File { seen.stat.mtime } else { Time::default() };
            key(seen.stat.mode, mtime, Some(content))
        });
        let mut kept: Vec<_> = kept.collect();
        let mut simulated: Vec<_> = (self.sim.kept.values())
            .map(|item| {
                let mtime = if matches!(item.body, Body::File(_)) { item.mtime } else { Time::default() };
                key(item.mode, mtime, item.content().map(|content| content.hash()))
            })
            .collect();
        kept.sort();
        simulated.sort();
        assert_eq!(simulated, kept, "kept versions: simulated, real; {}", self.told());
        for bytes in &self.contents {
            let content = ContentHash::of(bytes);
            let is_staged = self.sim.stage.contains_key(&content);
            assert_eq!(is_staged, self.root.staged(content), "{content} is staged; {}", self.told());
        }
        assert_eq!(self.sim.broken, Vec::<String>::new(), "{}", self.told());
    }

    fn real_tree(&self) -> BTreeMap<SyncPath, Shown> {
        let mut tree = BTreeMap::new();
        self.root.walk(&SyncPath::root(), None, &|_| false, &mut |listing| {
            assert!(listing.troubled.is_empty() && listing.other.is_empty(), "{:?}", listing.troubled);
            for (path, seen) in listing.result.expect("listed") {
                let content = match &seen.kind {
                    Kind::File => {
                        Some(Content::File(ContentHash::of(&fs::read(self.real(&path)).expect("readable"))))
                    }
                    Kind::Symlink(target) => Some(Content::Symlink(ContentHash::of(target))),
                    Kind::Directory => Some(Content::Directory),
                    _ => None,
                };
                tree.insert(path, shown(&seen, content));
            }
            Flow::Continue
        });
        tree
    }

    fn told(&self) -> String {
        format!("SEED={}:\n{}", self.seed, self.history.join("\n"))
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

fn shown(seen: &Seen, content: Option<Content>) -> Shown {
    let is_file = seen.kind == Kind::File;
    Shown {
        kind: seen.kind.clone(),
        content: content.map(|content| content.hash()),
        mode: if seen.kind == Kind::Unsupported { 0 } else { seen.stat.mode },
        mtime: is_file.then_some(seen.stat.mtime),
    }
}

/// What users do.
impl Both {
    fn act(&mut self) {
        let path = self.any_path();
        let is_there = self.sim.get(&path).is_some();
        if !self.sim.has_parent(&path) {
            return;
        }
        self.count("user acts");
        match self.random.below(10) {
            0..4 => self.write(&path),
            4 | 5 if !is_there => self.make_directory(&path),
            6 if !is_there => self.link(&path),
            7 if !is_there && self.random.percent(30) => self.make_socket(&path),
            7 | 8 if is_there => self.delete(&path),
            9 if is_there => self.rename(&path),
            _ if is_there => self.touch(&path),
            _ => {}
        }
    }

    fn write(&mut self, path: &SyncPath) {
        let real = self.real(path);
        let (bytes, mtime, wall) = (self.bytes(), self.time(), self.wall());
        match self.sim.get(path).map(|item| (item.body.clone(), item.mode)) {
            None => {
                self.sim.create(path, Body::File(bytes.clone()), 0o644, wall);
                fs::write(&real, &bytes).expect("written");
                set(&real, 0o644, Some(mtime));
                self.sim.set_metadata(path, 0o644, Some(mtime), wall);
            }
            Some((Body::File(_), mode)) => {
                self.sim.overwrite(path, bytes.clone(), wall);
                set(&real, 0o644, None);
                fs::write(&real, &bytes).expect("written");
                set(&real, mode, Some(mtime));
                self.sim.set_metadata(path, mode, Some(mtime), wall);
            }
            Some(_) => return,
        }
        self.history.push(format!("write {path}"));
    }

    fn make_directory(&mut self, path: &SyncPath) {
        self.with_parent(path, |real| fs::create_dir(real).expect("made"));
        set(&self.real(path), 0o755, None);
        self.sim.create(path, Body::Directory, 0o755, self.wall());
        self.history.push(format!("make directory {path}"));
    }

    fn link(&mut self, path: &SyncPath) {
        let target = self.pick(&["a", "../b", "/etc/hostname"]);
        self.with_parent(path, |real| symlink(target, real).expect("linked"));
        self.sim.create(path, Body::Symlink(target.as_bytes().into()), 0o777, self.wall());
        self.history.push(format!("link {path} to {target}"));
    }

    fn make_socket(&mut self, path: &SyncPath) {
        self.with_parent(path, |real| drop(std::os::unix::net::UnixListener::bind(real).expect("bound")));
        self.sim.create(path, Body::Fifo, 0o755, self.wall());
        self.history.push(format!("make a socket {path}"));
    }

    fn delete(&mut self, path: &SyncPath) {
        for below in self.sim.below(path).into_iter().rev() {
            self.delete_one(&below);
        }
        self.delete_one(path);
        self.history.push(format!("delete {path}"));
    }

    fn delete_one(&mut self, path: &SyncPath) {
        let item = self.sim.remove(path);
        self.with_parent(path, |real| match item.body {
            Body::Directory => fs::remove_dir(real).expect("removed"),
            _ => fs::remove_file(real).expect("removed"),
        });
    }

    fn rename(&mut self, from: &SyncPath) {
        let to = self.any_path();
        let is_inside = to == *from || from.is_ancestor_of(&to) || to.is_ancestor_of(from);
        if is_inside || !self.sim.has_parent(&to) {
            return;
        }
        if self.sim.get(&to).is_some() {
            if self.sim.is_directory(&to) || self.sim.is_directory(from) {
                return;
            }
            self.sim.remove(&to);
        }
        let (source, wall) = (self.real(from), self.wall());
        let parent = |path: &SyncPath| self.real(&path.parent().expect("it is not the root"));
        let opened = [parent(from), parent(&to)].map(writable);
        fs::rename(source, self.real(&to)).expect("renamed");
        opened.into_iter().rev().for_each(|(path, mode)| set(&path, mode, None));
        self.sim.rename(from, &to, wall);
        self.history.push(format!("rename {from} to {to}"));
    }

    fn touch(&mut self, path: &SyncPath) {
        let (mtime, wall) = (self.time(), self.wall());
        match self.sim.get(path).map(|item| item.body.clone()) {
            Some(Body::File(_)) => {
                let mode = self.pick(&MODES);
                set(&self.real(path), 0o644, Some(mtime));
                set(&self.real(path), mode, None);
                self.sim.set_metadata(path, mode, Some(mtime), wall);
            }
            Some(Body::Directory) => {
                let mode = self.pick(&DIRECTORY_MODES);
                set(&self.real(path), mode, None);
                self.sim.set_metadata(path, mode, None, wall);
            }
            _ => return,
        }
        self.history.push(format!("touch {path}"));
    }

    /// Does something in a directory that may not be writable for its owner.
    fn with_parent(&self, path: &SyncPath, change: impl FnOnce(&Path)) {
        let (parent, mode) = writable(self.real(&path.parent().expect("it is not the root")));
        change(&self.real(path));
        set(&parent, mode, None);
    }
}

/// Makes a directory writable; returns it with the mode it had.
fn writable(path: PathBuf) -> (PathBuf, u16) {
    let mode = (fs::metadata(&path).expect("there").permissions().mode() & 0o777) as u16;
    set(&path, mode | 0o700, None);
    (path, mode)
}

fn set(path: &Path, mode: u16, mtime: Option<Time>) {
    if let Some(mtime) = mtime {
        let since = Duration::new(mtime.seconds.unsigned_abs(), mtime.nanoseconds);
        File::open(path).and_then(|file| file.set_modified(UNIX_EPOCH + since)).expect("set");
    }
    fs::set_permissions(path, Permissions::from_mode(mode.into())).expect("set");
}

/// What the engine does.
impl Both {
    /// Looks at everything, as after a walk; sometimes some of it is missed.
    fn learn(&mut self) {
        let paths: BTreeSet<SyncPath> = self.known.keys().chain(self.sim.items.keys()).cloned().collect();
        for path in paths {
            if self.random.percent(80) {
                self.learn_one(&path);
            }
        }
    }

    fn learn_one(&mut self, path: &SyncPath) {
        let (sim, real) = (self.sim.look(path), self.root.look(path));
        let (Ok(sim), Ok(real)) = (&sim, &real) else {
            panic!("looks: {sim:?}, {real:?}; {}", self.told());
        };
        let Some((sim, real)) = sim.as_ref().zip(real.as_ref()) else {
            assert_eq!(sim.is_some(), real.is_some(), "something at {path}; {}", self.told());
            self.known.remove(path);
            return;
        };
        assert_eq!((&sim.kind, &sim.rules), (&real.kind, &real.rules), "{path}; {}", self.told());
        let Some(content) = self.sim.get(path).and_then(|item| item.content()) else {
            self.known.remove(path);
            return;
        };
        same_stat(&sim.stat, &real.stat, content, &self.told());
        let record = |stat: Stat| Record { content, stat };
        self.known.insert(path.clone(), (record(sim.stat), record(real.stat)));
    }

    fn batch(&mut self) {
        let mut pairs: Vec<(Op, Op)> = Vec::new();
        for _ in 0..=self.random.below(4) {
            pairs.extend(self.op());
        }
        let (sim, real): (Vec<Op>, Vec<Op>) = pairs.into_iter().unzip();
        self.history.push(format!("apply {real:?}"));
        let simulated = self.sim.apply(sim, self.wall());
        let outcomes = self.root.apply(&real).expect("durable");
        for ((op, one), other) in real.iter().zip(simulated).zip(outcomes) {
            self.count("ops");
            self.same_outcome(op, one, other);
        }
    }

    fn same_outcome(&mut self, op: &Op, sim: OpOutcome, real: OpOutcome) {
        let path = op.path().clone();
        if let Op::Move { from, .. } | Op::MoveDirectory { from, .. } = op {
            self.known.retain(|known, _| known != from && !from.is_ancestor_of(known));
        }
        match (&sim, &real) {
            (OpOutcome::Done { stat: one, kept: first }, OpOutcome::Done { stat: two, kept: second }) => {
                self.count("done");
                assert_eq!(one.is_some(), two.is_some(), "{op:?}; {}", self.told());
                assert_eq!(first.is_some(), second.is_some(), "{op:?}; {}", self.told());
                if let Some((first, second)) = first.as_ref().zip(second.as_ref()) {
                    assert_eq!((&first.path, first.content), (&second.path, second.content));
                    same_stat(&first.stat, &second.stat, first.content, &self.told());
                    if let Content::File(content) = first.content {
                        self.kept.push((first.name.clone(), second.name.clone(), content));
                    }
                }
                self.known.remove(&path);
                let content = self.sim.get(&path).and_then(|item| item.content());
                if let (Some((one, two)), Some(content)) = (one.zip(*two), content) {
                    self.known.insert(path, (Record { content, stat: one }, Record { content, stat: two }));
                }
            }
            (OpOutcome::Differs { rescued: one }, OpOutcome::Differs { rescued: two }) => {
                self.count("differs");
                assert_eq!(one, two, "{op:?}; {}", self.told());
            }
            (OpOutcome::NoSource, OpOutcome::NoSource) => self.count("no source"),
            (OpOutcome::Trouble(one), OpOutcome::Trouble(two)) if one.kind == two.kind => {
                self.count("trouble");
            }
            _ => panic!("{op:?}\nsimulated: {sim:?}\nreal: {real:?}\n{}", self.told()),
        }
    }

    /// One op for each disk, that an engine might want which knows what is known here.
    fn op(&mut self) -> Option<(Op, Op)> {
        let (path, mode, mtime) = (self.any_path(), self.pick(&MODES), self.time());
        let known = self.known.get(&path).cloned();
        let is = |known: &Option<Known>, directory: bool| {
            known.as_ref().is_some_and(|(record, _)| (record.content == Content::Directory) == directory)
        };
        let is_file = known.as_ref().is_some_and(|(record, _)| matches!(record.content, Content::File(_)));
        let both = |make: &dyn Fn(Option<Record>) -> Op| match known {
            Some((one, two)) => (make(Some(one)), make(Some(two))),
            None => (make(None), make(None)),
        };
        let directory_mode = self.pick(&DIRECTORY_MODES);
        Some(match self.random.below(8) {
            0 => {
                let op = Op::MakeDirectory { path, mode: directory_mode, mtime: None };
                (op.clone(), op)
            }
            1 | 2 if !is(&known, true) => {
                let (content, source, real_source) = self.source()?;
                let (one, two) = known.unzip();
                let op =
                    |source, expect| Op::Place { path: path.clone(), content, source, mode, mtime, expect };
                (op(source, one), op(real_source, two))
            }
            3 if !is(&known, true) => {
                let target: Box<[u8]> = self.pick(&["x", "../y"]).as_bytes().into();
                let copy = self.random.percent(50).then(|| self.any_path());
                let (path, target, copy) = (&path, &target, &copy);
                both(&|expect| Op::PlaceSymlink {
                    path: path.clone(),
                    target: target.clone(),
                    copy: copy.clone(),
                    expect,
                })
            }
            4 if is(&known, false) => {
                let (to, metadata) = (self.any_path(), is_file.then_some((mode, mtime)));
                if to == path {
                    return None; // Nothing is moved to where it is.
                }
                let (one, two) = known?;
                let op = |expect| Op::Move { from: path.clone(), expect, to: to.clone(), metadata };
                (op(one), op(two))
            }
            4 | 5 if is(&known, true) => self.move_directory(&path, directory_mode)?,
            5 | 6 if is_file || is(&known, true) => {
                let (mode, mtime) = if is_file { (mode, Some(mtime)) } else { (directory_mode, None) };
                let (one, two) = known?;
                let op = |expect| Op::SetMetadata { path: path.clone(), expect, mode, mtime };
                (op(one), op(two))
            }
            7 if is(&known, false) => {
                let (one, two) = known?;
                let op = |expect| Op::Remove { path: path.clone(), expect };
                (op(one), op(two))
            }
            7 if is(&known, true) => {
                let (one, two) = known?;
                let op = |expect| Op::RemoveDirectory { path: path.clone(), expect };
                (op(one), op(two))
            }
            _ => return None,
        })
    }

    fn move_directory(&mut self, from: &SyncPath, mode: u16) -> Option<(Op, Op)> {
        let to = self.any_path();
        if to == *from || from.is_ancestor_of(&to) || to.is_ancestor_of(from) {
            return None;
        }
        let expected: Vec<(SyncPath, Known)> = (self.known.iter())
            .filter(|(path, _)| *path == from || from.is_ancestor_of(path))
            .map(|(path, known)| (path.clone(), *known))
            .collect();
        let op = |choose: &dyn Fn(&Known) -> Record| Op::MoveDirectory {
            from: from.clone(),
            to: to.clone(),
            mode,
            expect: expected.iter().map(|(path, known)| (path.clone(), choose(known))).collect(),
        };
        Some((op(&|known| known.0), op(&|known| known.1)))
    }

    /// Some content, and where it may be, on either disk.
    fn source(&mut self) -> Option<(ContentHash, Source, Source)> {
        let (content, source) = match self.random.below(10) {
            0..6 => {
                let bytes = self.bytes();
                let content = ContentHash::of(&bytes);
                if self.random.percent(85) {
                    self.root.stage_small(&[(content, &bytes)]).pop().expect("one").expect("staged");
                    self.sim.stage.insert(content, bytes);
                }
                (content, Source::Staged { consume: self.random.percent(70) })
            }
            6..8 => {
                let files: Vec<(SyncPath, ContentHash)> = (self.known.iter())
                    .filter_map(|(path, (record, _))| match record.content {
                        Content::File(content) => Some((path.clone(), content)),
                        _ => None,
                    })
                    .collect();
                let (path, content) = self.random.pick(&files)?.clone();
                (content, Source::Local { path })
            }
            8 => {
                let (name, real_name, content) = self.random.pick(&self.kept)?.clone();
                return Some((content, Source::Kept { name }, Source::Kept { name: real_name }));
            }
            _ => (ContentHash::of(b"nothing has these bytes"), Source::Kept { name: "none".to_owned() }),
        };
        Some((content, source.clone(), source))
    }
}

/// What both file systems say of one item, but for what is each one's own.
fn same_stat(sim: &Stat, real: &Stat, content: Content, told: &str) {
    let is_file = matches!(content, Content::File(_));
    let plain = |stat: &Stat| {
        let size = if content == Content::Directory { 0 } else { stat.size };
        (size, stat.mode, is_file.then_some(stat.mtime))
    };
    assert_eq!(plain(sim), plain(real), "stats: simulated, real; {told}");
}
