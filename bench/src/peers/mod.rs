//! Those that are measured, each behind the same two traits: a peer that may be installed, and a peer at work.

mod file_sync;
mod rclone;
mod rsync;
mod syncthing;
mod unison;

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::plan::{Size, Step};
use crate::world::World;

/// One program in one setting.
pub trait Peer {
    /// The program and, where it is measured in several, the setting.
    fn name(&self) -> &'static str;

    /// How it was set up, for readers.
    fn setting(&self) -> &'static str;

    /// Its version as it says it; `None` if it is not installed.
    fn version(&self) -> Option<String>;

    /// True if the step can be measured, and is worth the time in this size.
    fn takes(&self, step: Step, size: Size) -> bool;

    /// How often it is measured at most: what is there only for comparison takes less of everybody's time.
    fn n_runs_max(&self, _size: Size) -> u32 {
        u32::MAX
    }

    /// Sets it up between members whose source is filled with so many files.
    ///
    /// # Errors
    /// When it does not start.
    fn open<'w>(&self, world: &'w World, n_files: u64) -> Result<Box<dyn Session + 'w>>;
}

/// A peer at work between the members of a world. What it started ends when it is dropped.
pub trait Session {
    /// Reads the source for the first time, if the peer does that apart.
    ///
    /// # Errors
    /// When it fails.
    fn index(&mut self) -> Result<()> {
        Ok(())
    }

    /// Brings everything to receivers that have nothing; returns when it is there.
    ///
    /// # Errors
    /// When it fails.
    fn first(&mut self) -> Result<()>;

    /// Brings what has changed since; returns when it is there.
    ///
    /// # Errors
    /// When it fails.
    fn pass(&mut self) -> Result<()>;

    /// From now on changes are brought without being asked for.
    ///
    /// # Errors
    /// When it cannot be.
    fn watch(&mut self) -> Result<()> {
        Ok(())
    }

    /// Ends what `watch` began.
    ///
    /// # Errors
    /// When something failed meanwhile.
    fn unwatch(&mut self) -> Result<()> {
        Ok(())
    }

    /// Stops all sides.
    ///
    /// # Errors
    /// When there is nothing to stop.
    fn stop(&mut self) -> Result<()> {
        bail!("it runs only when asked to")
    }

    /// Starts all sides again; returns when they are connected and have made sure that all is equal.
    ///
    /// # Errors
    /// When it fails.
    fn start(&mut self) -> Result<()> {
        bail!("it runs only when asked to")
    }

    /// What the source keeps to know what was there, if anything.
    ///
    /// # Errors
    /// When that cannot be read.
    fn index_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// All peers, file-sync first.
pub fn all(args: &Args, file_sync: &Path) -> Vec<Box<dyn Peer>> {
    let mut all: Vec<Box<dyn Peer>> = vec![Box::new(file_sync::FileSync { program: file_sync.to_owned() })];
    all.extend(rsync::all(args));
    all.extend(unison::all(args));
    all.extend(syncthing::all(args));
    all.extend(rclone::all(args));
    all
}

/// The first line of what a program says of its version; `None` if it cannot be run.
fn version_of(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().next()?.trim().to_owned())
}
