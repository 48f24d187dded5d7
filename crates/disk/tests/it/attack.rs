//! A local attacker who swaps directories, files and the engine's own directory for symlinks to a canary, in a tight
//! loop, while everything that this crate can do is done at those very paths.
//!
//! The canary is never touched, read, or met. Every round is one call under attack. `EVIDENCE=full` makes 120,000.
//!
//! Promise checked here: H1.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use file_sync_core::effect::{HashItem, HashOutcome, Op, OpOutcome, Source};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Record, Seen};
use file_sync_core::version::{Content, ContentHash, Time};
use file_sync_disk::{Flow, Root, Watcher};
use rustix::fs::{AtFlags, CWD, Mode, RenameFlags};

use crate::canary::{Canary, Spot, TOKEN, found_in, holds_token};
use crate::support::{ID, sync};

/// What a look, an op or a walk is asked for.
const PATHS: [&str; 9] = ["f", "d", "d/f", "d/g", "d/sub", "d/sub/h", "d/sub/new", "d/.syncignore", "new"];
/// What is swapped, and for which decoys.
const VICTIMS: [(&str, &[&str]); 9] = [
    ("d", &["to-canary", "to-canary-relative", "to-parent", "a-file", "a-directory"]),
    ("d/sub", &["to-sub", "to-sub-relative", "to-parent", "a-fifo"]),
    ("d/f", &["to-file", "to-file-relative", "a-fifo", "a-directory", "another-file"]),
    ("d/sub/h", &["to-file", "a-directory"]),
    ("d/.syncignore", &["to-rules", "a-fifo"]),
    ("f", &["to-file", "to-canary", "a-fifo", "a-directory"]),
    (".file-sync", &["to-canary", "a-file"]),
    (".file-sync/stage", &["to-canary", "to-sub-relative"]),
    (".file-sync/kept", &["to-canary", "a-directory"]),
];
/// Rounds between two repairs of what the attack has left.
const ROUNDS_BETWEEN_REPAIRS: u64 = 200;

/// A root under attack.
struct Siege {
    base: tempfile::TempDir,
    canary: Canary,
    /// Held by the attacker while something is swapped, so that repairs find everything in its place.
    swapping: Mutex<()>,
    n_swaps: AtomicU64,
    is_over: AtomicBool,
}

impl Siege {
    fn new(base: tempfile::TempDir) -> Siege {
        let canary = Canary::new(base.path().join("canary"));
        let (n_swaps, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        Siege { base, canary, swapping: Mutex::new(()), n_swaps, is_over }
    }

    fn root(&self) -> PathBuf {
        self.base.path().join("root")
    }

    /// Puts everything in its place: what is attacked, and what it is swapped for.
    fn repair(&self) {
        let root = self.root();
        for entry in fs::read_dir(&root).unwrap().map(Result::unwrap) {
            if entry.file_name() != ".file-sync" {
                remove(&entry.path());
            }
        }
        fs::create_dir_all(root.join("d/sub")).unwrap();
        for name in ["f", "d/f", "d/g", "d/sub/h", "d/.syncignore", "a-file", "another-file"] {
            fs::write(root.join(name), format!("# bytes of {name}\n")).unwrap();
        }
        fs::create_dir(root.join("a-directory")).unwrap();
        fs::write(root.join("a-directory/f"), "in a decoy").unwrap();
        rustix::fs::mknodat(CWD, root.join("a-fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let canary = &self.canary.at;
        let links: [(&str, PathBuf); 8] = [
            ("to-canary", canary.clone()),
            ("to-canary-relative", "../canary".into()),
            ("to-parent", "..".into()),
            ("to-sub", canary.join("sub")),
            ("to-sub-relative", "../../canary/sub".into()),
            ("to-file", canary.join("f")),
            ("to-file-relative", "../../canary/f".into()),
            ("to-rules", canary.join(".syncignore")),
        ];
        for (name, target) in links {
            symlink(target, root.join(name)).unwrap();
        }
    }

    /// Swaps until the siege is over; every swap is undone again after a moment.
    fn attack(&self) {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        while !self.is_over.load(Ordering::Relaxed) {
            let (victim, decoys) = VICTIMS[random.below(VICTIMS.len() as u64) as usize];
            let decoy = decoys[random.below(decoys.len() as u64) as usize];
            let _swapping = self.swapping.lock().unwrap();
            let (Some(victim), Some(decoy)) =
                (Spot::open(&self.root(), victim), Spot::open(&self.root(), decoy))
            else {
                continue;
            };
            if random.below(4) > 0 {
                self.exchange(&victim, &decoy, random.below(2_000));
            } else {
                self.replace(&victim, &decoy, random.below(2_000));
            }
        }
    }

    /// In one call there and in one back.
    fn exchange(&self, victim: &Spot, decoy: &Spot, spins: u64) {
        let exchange = || victim.rename(decoy, RenameFlags::EXCHANGE);
        if exchange() {
            self.n_swaps.fetch_add(1, Ordering::Relaxed);
            (0..spins).for_each(|_| std::hint::spin_loop());
            exchange();
        }
    }

    /// Moved away and put back, with a symlink in between.
    fn replace(&self, victim: &Spot, decoy: &Spot, spins: u64) {
        let Some(away) = Spot::open(&self.root(), "away") else { return };
        let target = rustix::fs::readlinkat(&decoy.parent, &decoy.name, Vec::new());
        let Ok(target) = target else { return };
        if !victim.rename(&away, RenameFlags::NOREPLACE) {
            return;
        }
        if rustix::fs::symlinkat(&target, &victim.parent, &victim.name).is_ok() {
            self.n_swaps.fetch_add(1, Ordering::Relaxed);
            (0..spins).for_each(|_| std::hint::spin_loop());
        }
        // What the engine has put there meanwhile is an attack on that in turn; repairs put all right.
        if away.rename(victim, RenameFlags::EXCHANGE) {
            let _ = rustix::fs::unlinkat(&away.parent, &away.name, AtFlags::empty());
        } else {
            away.rename(victim, RenameFlags::NOREPLACE);
        }
    }
}

/// The engine's side: one call after the other.
struct Defender<'a> {
    siege: &'a Siege,
    root: Root,
    watcher: Watcher,
    random: Random,
    n_done: u64,
    n_refused: u64,
    escapes: Vec<String>,
}

impl Defender<'_> {
    fn round(&mut self) {
        let path = sync(PATHS[self.random.below(PATHS.len() as u64) as usize]);
        let to = sync(PATHS[self.random.below(PATHS.len() as u64) as usize]);
        match self.random.below(24) {
            0..=2 => drop(self.look(&path)),
            3..=5 => drop(self.hash(&path)),
            6..=8 => self.place(path),
            9 => self.place_local(path, to),
            10 => {
                let expect = self.record(&path);
                self.apply(Op::PlaceSymlink { path, target: b"x"[..].into(), copy: None, expect });
            }
            11 => self.with_record(path, |path, expect| Op::Remove { path, expect }),
            12 => self.with_record(path, |path, expect| Op::RemoveDirectory { path, expect }),
            13 => self.apply(Op::MakeDirectory { path, mode: 0o755, mtime: None }),
            14 => self.with_record(path, |path, expect| Op::SetMetadata {
                path,
                expect,
                mode: 0o751,
                mtime: Some(Time { seconds: 1_111_111_111, nanoseconds: 0 }),
            }),
            15 => self.with_record(path, |from, expect| Op::Move { from, expect, to, metadata: None }),
            16 => self.move_directory(path, to),
            17..=18 => self.walk(&path),
            19..=20 => self.serve(&path),
            21 => self.stage_large(),
            22 => self.own(),
            _ => self.kept(to),
        }
    }

    fn look(&mut self, path: &SyncPath) -> Option<Seen> {
        let seen = self.root.look(path).ok().flatten()?;
        self.note(path, &seen);
        Some(seen)
    }

    fn note(&mut self, path: &SyncPath, seen: &Seen) {
        let is_rules = seen.rules.as_ref().is_some_and(|rules| holds_token(rules));
        if self.siege.canary.has(seen.stat.device, seen.stat.inode) || is_rules {
            self.escapes.push(format!("{path} was met as the canary's: {seen:?}"));
        }
    }

    fn hash(&mut self, path: &SyncPath) -> Option<Record> {
        let items = [HashItem { path: path.clone() }];
        let outcome = self.root.hash(&items, &AtomicBool::new(false)).pop().unwrap();
        let HashOutcome::Hashed { seen, content, .. } = outcome else { return None };
        self.note(path, &seen);
        Some(Record { content: Content::File(content), stat: seen.stat })
    }

    fn record(&mut self, path: &SyncPath) -> Option<Record> {
        let seen = self.look(path)?;
        match &seen.kind {
            Kind::File => self.hash(path),
            Kind::Directory => Some(Record { content: Content::Directory, stat: seen.stat }),
            Kind::Symlink(target) => {
                Some(Record { content: Content::Symlink(ContentHash::of(target)), stat: seen.stat })
            }
            Kind::Unsupported | Kind::Mount => None,
        }
    }

    fn with_record(&mut self, path: SyncPath, op: impl FnOnce(SyncPath, Record) -> Op) {
        if let Some(expect) = self.record(&path) {
            self.apply(op(path, expect));
        }
    }

    fn apply(&mut self, op: Op) {
        match self.root.apply(&[op]).unwrap().pop().unwrap() {
            OpOutcome::Done { stat, .. } => {
                self.n_done += 1;
                if stat.is_some_and(|stat| self.siege.canary.has(stat.device, stat.inode)) {
                    self.escapes.push("an op reports the canary's stat".to_owned());
                }
            }
            _ => self.n_refused += 1,
        }
    }

    fn place(&mut self, path: SyncPath) {
        let bytes = format!("placed {}", self.random.below(50));
        let content = ContentHash::of(bytes.as_bytes());
        let _ = self.root.stage_small(&[(content, bytes.as_bytes())]);
        let expect = self.record(&path);
        let source = Source::Staged { consume: self.random.below(2) == 0 };
        self.apply(Op::Place { path, content, source, mode: 0o640, mtime: Time::default(), expect });
    }

    /// Asks for the canary's bytes by their hash, from a path that may lead to them.
    fn place_local(&mut self, from: SyncPath, path: SyncPath) {
        let secret = self.siege.canary.bytes_of("f");
        let content = ContentHash::of(&secret);
        let source = Source::Local { path: from };
        self.apply(Op::Place { path, content, source, mode: 0o600, mtime: Time::default(), expect: None });
    }

    fn move_directory(&mut self, from: SyncPath, to: SyncPath) {
        let mut expect: Vec<(SyncPath, Record)> = Vec::new();
        let mut items = vec![from.clone()];
        self.root.walk(&from, None, &|_| false, &mut |listing| {
            items.extend(listing.result.into_iter().flatten().map(|(path, _)| path));
            Flow::Continue
        });
        for path in items {
            expect.extend(self.record(&path).map(|record| (path, record)));
        }
        self.apply(Op::MoveDirectory { from, to, mode: 0o755, expect });
    }

    fn walk(&mut self, from: &SyncPath) {
        let mut met = Vec::new();
        self.root.walk(from, Some(&self.watcher), &|_| false, &mut |listing| {
            met.extend(listing.result.into_iter().flatten());
            Flow::Continue
        });
        for (path, seen) in met {
            self.note(&path, &seen);
            if path.name() == TOKEN.as_bytes() {
                self.escapes.push(format!("{path} was listed, which is the canary's"));
            }
        }
    }

    fn serve(&mut self, path: &SyncPath) {
        let Some(record) = self.hash(path) else { return };
        let Ok(file) = self.root.open_content(path, &record) else { return };
        let mut buffer = [0; 4_096];
        let n_bytes = file.read_at(0, &mut buffer).unwrap_or(0);
        if holds_token(&buffer[..n_bytes]) {
            self.escapes.push(format!("{path} was served with the canary's bytes"));
        }
    }

    fn stage_large(&mut self) {
        let bytes = vec![self.random.below(256) as u8; 70_000];
        let Ok(file) = self.root.open_stage(ContentHash::of(&bytes), bytes.len() as u64) else { return };
        let _ = file.write_at(0, &bytes);
        let _ = file.finish();
        let _ = self.root.discard_stage(ContentHash::of(&bytes));
    }

    /// What is done in `.file-sync` itself, and with the root's path.
    fn own(&mut self) {
        let _ = self.root.set_incarnation(self.random.below(u64::MAX));
        let _ = self.root.prove();
        if let Ok(again) = Root::open(&self.siege.root(), ID) {
            let _ = again.clean_stage(&Default::default());
            let _ = again.set_incarnation(7);
        }
    }

    fn kept(&mut self, to: SyncPath) {
        for (name, seen) in self.root.kept_list().unwrap_or_default().into_iter().take(3) {
            self.note(&to, &seen);
            let _ = self.root.kept_hash(&name);
            let _ = self.root.restore_kept(&name, &to);
            let _ = self.root.kept_remove(&name);
        }
    }
}

#[test]
fn h1_an_attacker_who_swaps_what_is_worked_on_leads_nothing_outside() {
    let is_full = std::env::var("EVIDENCE").is_ok_and(|size| size == "full");
    let (rounds, limit) =
        if is_full { (120_000, Duration::from_secs(7_200)) } else { (20_000, Duration::from_secs(20)) };
    let siege = Arc::new(Siege::new(base()));
    fs::create_dir(siege.root()).unwrap();
    let (root, _) = Root::offer(&siege.root(), ID).unwrap();
    let start = Instant::now();
    let attacker = std::thread::spawn({
        let siege = Arc::clone(&siege);
        move || siege.attack()
    });
    let watcher = Watcher::new().unwrap();
    let (random, escapes) = (Random(0xdead_beef), Vec::new());
    let mut defender = Defender { siege: &siege, root, watcher, random, n_done: 0, n_refused: 0, escapes };
    let mut n_rounds = 0;
    while n_rounds < rounds && (start.elapsed() < limit || n_rounds < 500) {
        if n_rounds % ROUNDS_BETWEEN_REPAIRS == 0 {
            let _swapping = siege.swapping.lock().unwrap();
            siege.repair();
        }
        n_rounds += 1;
        defender.round();
    }
    siege.is_over.store(true, Ordering::Relaxed);
    attacker.join().unwrap();
    let Defender { n_done, n_refused, escapes, .. } = defender;
    let n_swaps = siege.n_swaps.load(Ordering::Relaxed);
    assert_eq!(escapes, Vec::<String>::new());
    assert_eq!(siege.canary.touched(), Vec::<String>::new());
    assert_eq!(found_in(&siege.root()), Vec::<PathBuf>::new());
    assert!(n_done > 0 && n_refused > 0 && n_swaps > n_rounds / 10, "{n_done} {n_refused} {n_swaps}");
    let reads =
        if siege.canary.tells_reads() { "none of its files was read" } else { "reads are not told here" };
    println!(
        "attack: {n_rounds} calls, {n_swaps} swaps; ops: {n_done} done, {n_refused} refused; the canary is untouched, {reads}"
    );
    println!(
        "evidence: {{\"part\":\"attack\",\"what\":\"local attacker who swaps what the disk layer works on\",\
         \"figures\":{{\"rounds\":{n_rounds},\"swaps\":{n_swaps},\"ops done\":{n_done},\"ops refused\":{n_refused}}},\
         \"bad\":{{\"escapes\":0,\"canary read\":0}},\"seconds\":{:.1}}}",
        start.elapsed().as_secs_f64()
    );
}

/// In memory where there is such a place: durability is not what this is about, and it is what takes time.
fn base() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new();
    let in_memory = memory.metadata().is_ok_and(|met| met.is_dir() && met.mode() & 0o222 != 0);
    in_memory
        .then(|| builder.tempdir_in(memory))
        .and_then(Result::ok)
        .unwrap_or_else(|| tempfile::tempdir().unwrap())
}

fn remove(path: &Path) {
    let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
}

/// xorshift64*, Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}
