//! `demo`: two servers in temporary homes, a few changes on both sides, both trees compared at the end.
//!
//! Everything goes through the same requests as any command's, and every wait is a real `sync wait`. Whatever happens,
//! the servers are stopped and the files removed, unless they are to be kept.

mod device;
mod story;
mod tree;

use std::io;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use tempfile::TempDir;

use self::device::Device;
use crate::console::Console;
use crate::failure::Failure;
use crate::stopping::Stopping;

/// What came of it.
#[derive(Serialize)]
struct Outcome {
    equal: bool,
    entries: usize,
    elapsed_ms: u64,
    homes: Option<[String; 2]>,
    directories: Option<[String; 2]>,
}

/// Runs it.
///
/// # Errors
/// When a step fails or the trees differ at the end.
pub async fn run(keep: bool, console: Console) -> Result<(), Failure> {
    let base = tempfile::Builder::new().prefix("file-sync-demo-").tempdir().map_err(|error| {
        Failure::refused(format!("cannot make a temporary directory: {error}; set TMPDIR"))
    })?;
    let started = Instant::now();
    let mut devices = [Device::new(base.path(), "anna"), Device::new(base.path(), "ben")];
    let played = tokio::select! {
        played = play(&mut devices, console) => played,
        interrupted = interruption() => Err(interrupted),
    };
    if keep && played.is_ok() {
        explain_kept(&devices, console)?;
        let _ = base.keep();
    } else {
        end(&mut devices, base, &played, console).await?;
    }
    let entries = played?;
    let outcome = Outcome {
        equal: true,
        entries,
        elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        homes: keep.then(|| devices.each_ref().map(|device| device.home().display().to_string())),
        directories: keep.then(|| devices.each_ref().map(|device| device.root().display().to_string())),
    };
    console.result(&outcome, |outcome| {
        let seconds = started.elapsed().as_secs_f64();
        format!(
            "both trees are equal: {} entries, in names, kinds, bytes, modes and mtimes ({seconds:.1} s)\n",
            outcome.entries
        )
    })
}

async fn play(devices: &mut [Device; 2], console: Console) -> Result<usize, Failure> {
    for device in devices.iter_mut() {
        say(console, &format!("starting {}'s server in a temporary home", device.name()))?;
        device.start().await?;
    }
    let [anna, ben] = &*devices;
    story::tell(anna, ben, console).await?;
    let [left, right] =
        [anna, ben].map(|device| tree::read(&device.root()).map_err(|error| at(&device.root(), error)));
    let (left, right) = (left?, right?);
    match tree::difference(&left, &right) {
        None => Ok(left.len()),
        Some(path) => Err(Failure::refused(format!("the trees differ at {}; this is a bug", path.display()))),
    }
}

/// Never returns unless it is asked to stop.
async fn interruption() -> Failure {
    let mut stopping = match Stopping::watch() {
        Ok(stopping) => stopping,
        Err(failure) => return failure,
    };
    stopping.asked().await;
    Failure::refused("the demo was interrupted; nothing is left of it")
}

/// Stops the servers and removes everything; tells what they logged where that may explain a failure.
async fn end(
    devices: &mut [Device; 2],
    base: TempDir,
    played: &Result<usize, Failure>,
    console: Console,
) -> Result<(), Failure> {
    for device in devices.iter_mut() {
        device.stop().await;
    }
    if played.is_err() {
        devices.iter().flat_map(Device::last_log_lines).for_each(|line| console.remark(&line));
    }
    let path = base.path().to_owned();
    base.close().map_err(|error| at(&path, error))
}

fn explain_kept(devices: &[Device; 2], console: Console) -> Result<(), Failure> {
    for device in devices {
        let (name, home, root) = (device.name(), device.home(), device.root());
        say(console, &format!("{name}: home {}, files in {}", home.display(), root.display()))?;
        say(console, &format!("  file-sync --home {} status", home.display()))?;
        if let Some(id) = device.process_id() {
            say(console, &format!("  kill {id}   # stops {name}'s server"))?;
        }
    }
    Ok(())
}

/// Says what happens as it happens: on stdout, or beside the one document on stderr.
fn say(console: Console, line: &str) -> Result<(), Failure> {
    if console.is_json() {
        console.remark(line);
        return Ok(());
    }
    console.text(&format!("{line}\n"))
}

fn at(path: &Path, error: io::Error) -> Failure {
    Failure::refused(format!("{}: {error}; is the temporary directory's disk full or gone?", path.display()))
}
