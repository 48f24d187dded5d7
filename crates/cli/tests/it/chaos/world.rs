//! The devices of a chaotic run, where everything about them can be made to fail: network, disk and clock.

#![expect(clippy::print_stdout, reason = "what cannot be made to fail here is said")]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use file_sync_proxy::{Island, Proxy};
use tempfile::TempDir;

use super::line::{Lines, socket_address};
use super::record::Record;
use crate::device::{Device, Place, new_base};
use crate::trouble::Mount;
use crate::world::{introduce, join, offer};

/// Where Debian has it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const FAKETIME_ARM: &str = "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1";
const NAMES: [&str; 5] = ["alpha", "beta", "gamma", "delta", "epsilon"];
/// Who is paired with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Everybody with everybody.
    Mesh,
    /// Everybody with the first alone, which stands between them.
    Line,
}

/// What can be made to fail here besides servers.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// Devices have file systems of their own.
    pub has_disks: bool,
    /// Servers have clocks of their own.
    pub has_clocks: bool,
}

/// Devices, and what is around them. Dropped in this order.
pub struct World {
    pub shape: Shape,
    pub devices: Vec<Device>,
    pub lines: Lines,
    pub means: Means,
    _mounts: Vec<Mount>,
    bases: Vec<TempDir>,
}

impl World {
    /// Devices that keep `docs` equal; the first offers it.
    ///
    /// Each has a file system of `disk_mib`, where it can be mounted.
    pub fn new(shape: Shape, n_devices: usize, seed: u64, disk_mib: u32) -> World {
        let disk = format!("{disk_mib}m");
        let bases: Vec<TempDir> = (0..n_devices).map(|_| new_base()).collect();
        let mounts: Vec<Mount> =
            bases.iter().filter_map(|base| Mount::at(base.path().to_owned(), &disk)).collect();
        let library = clock_library();
        if library.is_none() {
            println!("skipped: clocks that are wrong need the package faketime");
        }
        let mut world = World {
            shape,
            devices: Vec::new(),
            lines: Lines::default(),
            means: Means { has_disks: mounts.len() == n_devices, has_clocks: library.is_some() },
            _mounts: mounts,
            bases,
        };
        let islands: Vec<_> = (0..n_devices).map_while(|_| Island::new().ok().map(Arc::new)).collect();
        for (index, name) in NAMES.into_iter().enumerate().take(n_devices) {
            let base = tempfile::Builder::new().prefix("device-").tempdir_in(world.bases[index].path());
            let base = base.expect("a directory");
            let clock = clock_of(base.path());
            set_clock(&clock, "+0");
            let variables = library.map_or(Vec::new(), |library| clock_variables(library, &clock));
            let place = Place { island: islands.get(index).cloned(), variables };
            world.devices.push(Device::start_at(name, base, None, place));
        }
        if islands.len() == n_devices {
            world.draw_lines(&islands, seed);
        } else {
            println!("skipped: lines that fail need root, unshare(1) and ip(8)");
        }
        world.join_all();
        world
    }

    fn draw_lines(&mut self, islands: &[Arc<Island>], seed: u64) {
        for (to, device) in self.devices.iter().enumerate() {
            for from in (0..self.devices.len()).filter(|from| *from != to) {
                let address = socket_address(&device.address());
                let seed = seed + (from * NAMES.len() + to) as u64;
                let proxy = Proxy::between(&islands[from], &islands[to], address, seed);
                self.lines.proxies.insert((from, to), proxy.expect("an island has free ports"));
            }
        }
    }

    fn join_all(&self) {
        offer(&self.devices[0], &[]);
        for (index, guest) in self.devices.iter().enumerate().skip(1) {
            for host in hosts(self.shape, self.devices.len(), index).into_iter().filter(|host| *host < index)
            {
                introduce(&self.devices[host], guest);
            }
            join(guest, &self.devices[0], &[]);
        }
    }

    /// What has to be copied if the run fails.
    pub fn keep_if_bad<'a>(&self, name: &str, record: &'a Record) -> KeepIfBad<'a> {
        let bases = self.bases.iter().zip(&self.devices);
        let bases = bases.map(|(base, device)| (base.path().to_owned(), device.name.clone())).collect();
        KeepIfBad { bases, to: Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), record }
    }
}

/// Copies logs, homes and trees to where they outlive the run, if it is dropped in a panic.
pub struct KeepIfBad<'a> {
    bases: Vec<(PathBuf, String)>,
    to: PathBuf,
    record: &'a Record,
}

impl Drop for KeepIfBad<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let _ = fs::remove_dir_all(&self.to);
        for (base, name) in &self.bases {
            let to = self.to.join(name);
            let _ = fs::create_dir_all(&to);
            // Whatever can be copied is better than nothing.
            let _ = Command::new("cp").arg("-a").arg(base.join(".")).arg(&to).status();
        }
        // As above.
        let _ = fs::write(self.to.join("acts"), self.record.acts());
        let _ = fs::write(self.to.join("troubles"), self.record.troubles());
        println!("logs, homes, trees and acts are in {}", self.to.display());
    }
}

/// Whom a device is paired with.
pub fn hosts(shape: Shape, n_devices: usize, index: usize) -> Vec<usize> {
    let is_paired = |other: &usize| *other != index && (shape == Shape::Mesh || *other == 0 || index == 0);
    (0..n_devices).filter(is_paired).collect()
}

/// Moves the clock of a device's server, as faketime(1) understands it.
pub fn shift_clock(device: &Device, offset: &str) {
    set_clock(&device.beside("clock"), offset);
}

/// Takes away what room a device's disk has left, until what is returned is dropped.
pub fn fill_disk(device: &Device) -> Filler {
    let path = device.beside("filler");
    // Writing fails when the disk is full, which is the purpose.
    if let Ok(mut file) = fs::File::create(&path) {
        let block = vec![1; 16 << 20];
        while file.write_all(&block).is_ok() {}
    }
    Filler { path }
}

/// A disk that is full until this is dropped.
pub struct Filler {
    path: PathBuf,
}

impl Drop for Filler {
    fn drop(&mut self) {
        // It may not even have been made.
        let _ = fs::remove_file(&self.path);
    }
}

pub fn clock_of(base: &Path) -> PathBuf {
    base.join("clock")
}

/// The library that moves clocks, where it is installed.
pub fn clock_library() -> Option<&'static str> {
    [FAKETIME, FAKETIME_ARM].into_iter().find(|path| Path::new(path).exists())
}

/// By one rename: a server may read it at any moment.
pub fn set_clock(clock: &Path, offset: &str) {
    let draft = clock.with_extension("draft");
    let set = fs::write(&draft, offset).and_then(|()| fs::rename(&draft, clock));
    // On a full disk the clock stays as it was.
    drop(set);
}

pub fn clock_variables(library: &str, clock: &Path) -> Vec<(&'static str, OsString)> {
    vec![
        ("LD_PRELOAD", library.into()),
        ("FAKETIME_TIMESTAMP_FILE", clock.into()),
        ("FAKETIME_CACHE_DURATION", "1".into()),
        // Waits go on, and the times of files are those that the file system gave them.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("NO_FAKE_STAT", "1".into()),
    ]
}
