//! Users who do anything at any time, on every device at once, while servers are killed, stopped, paused and started.
//!
//! What they do is taken from a seed; when the servers do it is not, so that a failing run is not replayed exactly.
//! Afterwards all trees are equal, and every file that only its maker ever touched is everywhere.

#![expect(clippy::print_stdout, reason = "the test says what it has proved")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::device::Device;
use crate::user::noise;
use crate::world::{connected, equal, introduce, join, offer, settle};

const NAMES: [&str; 8] = ["a", "b", "c", "d e", "ü", ".h", "g.txt", "x.tar.gz"];
const MODES: [u32; 4] = [0o644, 0o600, 0o755, 0o700];

/// xorshift64*, Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let bound = items.len() as u64;
        (bound > 0).then(|| &items[self.below(bound) as usize])
    }
}

/// A user of one device, busy until told to stop.
struct Busy {
    root: PathBuf,
    random: Random,
    n_acts: u64,
    /// Files that nobody touches again: name and bytes.
    alone: Vec<(String, String)>,
}

impl Busy {
    fn new(root: PathBuf, seed: u64) -> Busy {
        Busy { root, random: Random(seed), n_acts: 0, alone: Vec::new() }
    }

    fn work_until(mut self, end: Instant) -> Busy {
        while Instant::now() < end {
            for _ in 0..=self.random.below(20) {
                self.n_acts += 1;
                // What a user wants to touch may be moved away at that moment; then it is not touched.
                let _ = self.act();
            }
            std::thread::sleep(Duration::from_millis([0, 5, 20, 100, 300][self.random.below(5) as usize]));
        }
        self
    }

    fn act(&mut self) -> std::io::Result<()> {
        match self.random.below(20) {
            0..=5 => {
                let length = [0, 10, 3_000, 300_000][self.random.below(4) as usize];
                let seed = self.random.below(u64::MAX);
                let path = self.new_path()?;
                fs::write(path, noise(seed, length))
            }
            6..=8 => self.write_alone(),
            9..=10 => match self.any()? {
                Some(path) if path.is_dir() && !path.is_symlink() => fs::remove_dir_all(path),
                Some(path) => fs::remove_file(path),
                None => Ok(()),
            },
            11..=14 => match self.any()? {
                Some(path) => fs::rename(path, self.new_path()?),
                None => Ok(()),
            },
            15 => match self.any()? {
                Some(path) if path.is_file() && !path.is_symlink() => {
                    fs::File::options().append(true).open(path)?.write_all(b"more")
                }
                _ => Ok(()),
            },
            16 => match self.any()? {
                Some(path) if !path.is_symlink() => {
                    let mode = self.random.below(4) as usize;
                    fs::set_permissions(path, fs::Permissions::from_mode(MODES[mode]))
                }
                _ => Ok(()),
            },
            17 => symlink(format!("target{}", self.n_acts), self.new_path()?),
            _ => fs::create_dir(self.new_path()?),
        }
    }

    fn write_alone(&mut self) -> std::io::Result<()> {
        let device = self.root.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let name = format!("alone-{device}-{}", self.n_acts);
        let bytes = format!("only {device} wrote this, as act {}", self.n_acts);
        fs::write(self.root.join(&name), &bytes)?;
        self.alone.push((name, bytes));
        Ok(())
    }

    /// A path that may be free or not, its parents made.
    fn new_path(&mut self) -> std::io::Result<PathBuf> {
        let mut path = self.root.clone();
        for _ in 0..=self.random.below(3) {
            path.push(self.random.of(&NAMES).expect("there are names"));
        }
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        Ok(path)
    }

    /// Anything in the tree but what is to be left alone.
    fn any(&mut self) -> std::io::Result<Option<PathBuf>> {
        let mut found = Vec::new();
        let mut open = vec![self.root.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name == ".file-sync" || name.starts_with("alone-") {
                    continue;
                }
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                }
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(self.random.of(&found).cloned())
    }
}

/// Kills, stops and pauses servers until the end; returns how often each.
fn disturb(devices: &mut [Device], random: &mut Random, end: Instant) -> [u32; 3] {
    let mut counts = [0; 3];
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(400));
        let index = random.below(devices.len() as u64) as usize;
        let device = &mut devices[index];
        let pause = Duration::from_millis([0, 200, 1_000][random.below(3) as usize]);
        match random.below(4) {
            0 | 1 => {
                device.kill();
                std::thread::sleep(pause);
                device.begin();
                counts[0] += 1;
            }
            2 => {
                assert!(device.stop().success(), "{}", device.log());
                std::thread::sleep(pause);
                device.begin();
                counts[1] += 1;
            }
            _ => {
                device.ok(["sync", "pause", "docs"]);
                std::thread::sleep(pause);
                device.ok(["sync", "resume", "docs"]);
                counts[2] += 1;
            }
        }
    }
    counts
}

fn torture(mut devices: Vec<Device>, seed: u64) {
    let end = Instant::now() + Duration::from_secs(8);
    let roots: Vec<PathBuf> = devices.iter().map(Device::root).collect();
    let (users, counts) = std::thread::scope(|scope| {
        let work = |(index, root): (usize, PathBuf)| {
            let user = Busy::new(root, seed * 1_000 + index as u64 + 1);
            scope.spawn(move || user.work_until(end))
        };
        let users: Vec<_> = roots.into_iter().enumerate().map(work).collect();
        let counts = disturb(&mut devices, &mut Random(seed + 1), end);
        let users: Vec<Busy> =
            users.into_iter().map(|user| user.join().expect("a user does not panic")).collect();
        (users, counts)
    });
    let all: Vec<&Device> = devices.iter().collect();
    all.iter().for_each(|device| connected(device));
    settle(&all);
    equal(&all);
    for (name, bytes) in users.iter().flat_map(|user| &user.alone) {
        for device in &all {
            assert_eq!(device.user().read(name), bytes.as_bytes(), "{name} on {}", device.name);
        }
    }
    for device in &all {
        let directory = device.directory();
        assert_eq!(
            (&directory["state"], &directory["need_files"]),
            (&"idle".into(), &0.into()),
            "{directory}"
        );
        assert!(!device.log().contains("panicked"), "{}", device.log());
    }
    let n_acts: u64 = users.iter().map(|user| user.n_acts).sum();
    let n_alone: usize = users.iter().map(|user| user.alone.len()).sum();
    let [n_kills, n_stops, n_pauses] = counts;
    println!(
        "torture: seed {seed}: {} devices, {n_acts} acts, {n_kills} kills, {n_stops} stops, {n_pauses} pauses; trees \
         equal, none of {n_alone} files lost",
        devices.len()
    );
}

#[test]
fn c1_s1_l1_two_devices_whose_servers_are_killed_at_any_time_lose_nothing() {
    let devices = vec![Device::start("alpha"), Device::start("beta")];
    introduce(&devices[0], &devices[1]);
    offer(&devices[0], &[]);
    join(&devices[1], &devices[0], &[]);
    torture(devices, 1);
}

#[test]
fn c1_s1_l1_three_devices_whose_servers_are_killed_at_any_time_lose_nothing() {
    let devices = vec![Device::start("alpha"), Device::start("beta"), Device::start("gamma")];
    for guest in &devices[1..] {
        introduce(&devices[0], guest);
    }
    offer(&devices[0], &[]);
    join(&devices[1], &devices[0], &[]);
    join(&devices[2], &devices[0], &[]);
    torture(devices, 2);
}
