//! The small world of the end-to-end tests: devices with a real server each, what their users do, and what is then true.
//!
//! Everything a test asserts about a tree goes through `check`, which reads the disk itself and never asks a server.

#![expect(clippy::print_stdout, reason = "a test that cannot run here says so")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::device::Device;
use crate::tree::{difference, text_of, tree_of};

/// Lets deletions through that are held (L6), where a test's users or enemies deleted much; true if any were.
pub fn approve_held(devices: &[&Device]) -> bool {
    let holding: Vec<_> = devices.iter().filter(|device| device.directory()["held"] != 0).collect();
    for device in &holding {
        device.run(["sync", "approve", "docs"]); // It may be held no longer by now.
    }
    !holding.is_empty()
}

/// How long `sync wait` may take in a test, in seconds; also what `eventually` is usually given.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// 2020-01-01 00:00:00 UTC: what everything had before the acts of a test.
pub const JANUARY: i64 = 1_577_836_800;
/// 2020-02-01 00:00:00 UTC.
pub const FEBRUARY: i64 = 1_580_515_200;
/// 2020-03-01 00:00:00 UTC.
pub const MARCH: i64 = 1_583_020_800;
/// 2020-04-01 00:00:00 UTC.
pub const APRIL: i64 = 1_585_699_200;

/// Three devices that are not yet paired.
pub fn trio() -> (Device, Device, Device) {
    (Device::start("alpha"), Device::start("beta"), Device::start("gamma"))
}

/// Two devices that are paired, with nothing offered.
pub fn paired() -> (Device, Device) {
    let (alpha, beta) = (Device::start("alpha"), Device::start("beta"));
    introduce(&alpha, &beta);
    (alpha, beta)
}

/// Two devices that keep `docs` equal: alpha offers it, beta joined it. It is empty.
pub fn sharing() -> (Device, Device) {
    let (alpha, beta) = paired();
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    settle(&[&alpha, &beta]);
    (alpha, beta)
}

/// Pairs two devices by a ticket of `host`, each under its own name.
pub fn introduce(host: &Device, guest: &Device) {
    let ticket = host.ok(["remote", "invite"]);
    guest.ok(["remote", "add", &host.name, ticket.trim_end()]);
}

/// A path in a device's root, for a command line.
pub fn path_of(device: &Device, name: &str) -> String {
    device.root().join(name).to_str().expect("UTF-8").to_owned()
}

/// Offers the device's root as `docs`.
pub fn offer(host: &Device, options: &[&str]) {
    std::fs::create_dir_all(host.root()).expect("the root can be made");
    let root = host.root();
    let mut args = vec!["file", "up", root.to_str().expect("a root in UTF-8")];
    args.extend_from_slice(options);
    host.ok(args);
}

/// Joins the `docs` that `host` offers.
pub fn join(guest: &Device, host: &Device, options: &[&str]) {
    let offered = format!("{}:docs", host.name);
    let root = guest.root();
    let mut args = vec!["sync", "up", offered.as_str(), root.to_str().expect("a root in UTF-8")];
    args.extend_from_slice(options);
    guest.ok(args);
}

/// Waits until every device is connected to all it knows and what it holds has reached them, directly or through others.
///
/// Two rounds: the second carries what the first brought to a device in the middle.
pub fn settle(devices: &[&Device]) {
    for device in devices {
        connected(device);
    }
    for _ in 0..2 {
        for device in devices {
            device.ok(["sync", "wait", "--timeout", "60s"]);
        }
    }
}

/// Waits until a device is connected to every remote it knows.
pub fn connected(device: &Device) {
    eventually(PATIENCE, || {
        let status = device.status();
        let remotes = status["remotes"].as_array().ok_or("no remotes in status")?;
        match remotes.iter().all(|remote| remote["connected"] == true) && !remotes.is_empty() {
            true => Ok(()),
            false => Err(format!("{} is not connected: {}", device.name, status["remotes"])),
        }
    });
}

/// Waits until no remote of a device is connected.
pub fn disconnected(device: &Device) {
    eventually(PATIENCE, || {
        let status = device.status();
        let remotes = status["remotes"].as_array().ok_or("no remotes in status")?;
        match remotes.iter().all(|remote| remote["connected"] == false) {
            true => Ok(()),
            false => Err(format!("{} is still connected: {}", device.name, status["remotes"])),
        }
    });
}

/// Waits until a fact about a device's only directory is as given.
pub fn directory_becomes(device: &Device, field: &str, expected: impl Into<Value>) {
    let expected = expected.into();
    eventually(PATIENCE, || {
        let directory = device.directory();
        match directory[field] == expected {
            true => Ok(()),
            false => Err(format!("{}: {field} is not {expected}: {directory}", device.name)),
        }
    });
}

/// Asserts that all trees are equal: names, kinds, bytes, modes and mtimes.
pub fn equal(devices: &[&Device]) {
    let first = tree_of(&devices[0].root());
    for device in &devices[1..] {
        let other = tree_of(&device.root());
        if let Some(difference) = difference(&first, &other) {
            let states = devices.iter().map(|device| format!("{}: {}", device.name, device.directory()));
            let states: Vec<String> = states.collect();
            panic!("{} and {} differ: {difference}\n{}", devices[0].name, device.name, states.join("\n"));
        }
    }
}

/// Settles, then asserts that all trees are equal and hold exactly what `expected` says, a line a path (see `text_of`).
pub fn check(devices: &[&Device], expected: &str) {
    settle(devices);
    equal(devices);
    holds(&devices[0].root(), expected);
}

/// Asserts what one directory holds, a line a path in any order: `d/`, `f "bytes"` or `l -> target`.
pub fn holds(root: &Path, expected: &str) {
    let mut expected: Vec<String> = expected.lines().map(|line| line.trim().to_owned()).collect();
    expected.retain(|line| !line.is_empty());
    expected.sort();
    let mut found = text_of(root);
    found.sort();
    assert_eq!(found, expected, "in {}", root.display());
}

/// Probes until the answer is `Ok`, or fails with the last `Err` when the deadline has passed.
pub fn eventually<T, E: std::fmt::Display>(deadline: Duration, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let start = std::time::Instant::now();
    loop {
        match probe() {
            Ok(answer) => return answer,
            Err(state) => assert!(start.elapsed() < deadline, "not within {deadline:?}: {state}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asserts that an answer stays the same for as long as given, probing often.
pub fn steady<T: PartialEq + std::fmt::Debug>(period: Duration, mut probe: impl FnMut() -> T) {
    let (start, first) = (std::time::Instant::now(), probe());
    while start.elapsed() < period {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(probe(), first, "changed after {:?}", start.elapsed());
    }
}

/// The name of the conflict copy of a version that `device` wrote at `stamp` (`YYYYMMDD-HHMMSS`).
pub fn copy_name(stem: &str, stamp: &str, device: &Device, extension: &str) -> String {
    format!("{stem}.sync-conflict-{stamp}-{}{extension}", device.short_id())
}

/// Whether a document holds `text` as a string, anywhere.
pub fn mentions(document: &Value, text: &str) -> bool {
    match document {
        Value::String(string) => string == text,
        Value::Array(values) => values.iter().any(|value| mentions(value, text)),
        Value::Object(fields) => fields.values().any(|value| mentions(value, text)),
        _ => false,
    }
}

/// Whether this process runs as root; where not, says that the test named is skipped.
pub fn is_root_or_skips(test: &str) -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.uid() == 0
    });
    if !is_root {
        println!("skipped: {test} needs root");
    }
    is_root
}

/// Every regular file below a directory, with its path; the marker's directory included.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}
