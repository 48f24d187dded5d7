//! Measures file-sync beside rsync, Unison, Syncthing and rclone, and what the machine itself can do.
//!
//! `plan.rs` says what is measured, `run.rs` measures it with every peer of `peers/`, each in a world of its own
//! (`world.rs`: directories, a network, processes), `report/` tells. It ends what it starts, by id, and leaves nothing.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for developers")]

mod args;
mod fill;
mod http;
mod interrupt;
mod limits;
mod link;
mod meter;
mod network;
mod peers;
mod plan;
mod process;
mod report;
mod run;
mod stats;
mod tree;
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::args::Args;
use crate::network::Means;
use crate::peers::Peer;
use crate::plan::{FILE_SYNC, Line, Scenario, Size};
use crate::report::{Document, Program};
use crate::run::{Bench, Sample};

fn main() -> Result<()> {
    let args = Args::parse();
    let document = match &args.from {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
            serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?
        }
        None => measure(&args)?,
    };
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&document)?;
        std::fs::write(file, text).with_context(|| format!("{}", file.display()))?;
    }
    match &args.write {
        Some(file) => report::write(&document, file)?,
        None => println!("{}", report::page(&document, "performance")),
    }
    let n_failed = document.samples.iter().filter(|sample| sample.figures.is_err()).count();
    if n_failed > 0 {
        eprintln!("{n_failed} steps failed; the page says which");
    }
    match document.samples.iter().any(|sample| sample.peer == FILE_SYNC && sample.figures.is_err()) {
        true => bail!("a step of file-sync failed"),
        false => Ok(()),
    }
}

fn measure(args: &Args) -> Result<Document> {
    interrupt::install()?;
    let size = args.size();
    let file_sync = file_sync(args)?;
    let mut peers = Vec::new();
    let programs = installed(args, &file_sync, &mut peers)?;
    let means = Means::probe();
    let scenarios = scenarios(args, size, means);
    let n_runs = args.runs.unwrap_or(if size == Size::Tiny { 1 } else { 3 });
    eprintln!("{} scenarios, {} contenders, {n_runs} runs", scenarios.len(), peers.len());
    let limits = limits::measure(&args.dir, size)?;
    let bench = Bench { size, n_runs, directory: args.dir.clone(), real: args.tree.clone(), means };
    let samples = bench.run(&scenarios, &peers, tell)?;
    Document::new(args, means, n_runs, programs, limits, samples)
}

/// Scenarios that were asked for and can be had here.
fn scenarios(args: &Args, size: Size, means: Means) -> Vec<Scenario> {
    let asked = size.scenarios().into_iter().filter_map(|scenario| scenario.only(&args.only));
    asked.filter(|scenario| means.has_long_line || scenario.line == Line::Direct).collect()
}

/// Adds peers that are there to `there`; returns what is said of all of them.
fn installed(args: &Args, file_sync: &Path, there: &mut Vec<Box<dyn Peer>>) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for peer in peers::all(args, file_sync) {
        let is_asked = args.with.is_empty() || args.with.iter().any(|name| name == peer.name());
        if !is_asked {
            continue;
        }
        let version = peer.version();
        let is_there = version.is_some();
        if !is_there {
            eprintln!("{}: not installed", peer.name());
        }
        programs.push(Program {
            name: peer.name().to_owned(),
            version: version.unwrap_or_else(|| "not installed".to_owned()),
            setting: peer.setting().to_owned(),
        });
        if is_there {
            there.push(peer);
        }
    }
    if there.is_empty() {
        bail!("none of those that were asked for is installed");
    }
    Ok(programs)
}

/// The binary that is measured: as given, else built now, as this was, from the same sources.
fn file_sync(args: &Args) -> Result<PathBuf> {
    let given = args.program("file-sync");
    if given.components().count() > 1 {
        return Ok(given);
    }
    let own = std::env::current_exe()?;
    let directory = own.parent().context("a program lies in a directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--locked", "--package", "file-sync"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    if !build.arg("--manifest-path").arg(manifest).status().context("cannot run cargo")?.success() {
        bail!("file-sync cannot be built; `--peer file-sync=PATH` names one that is");
    }
    Ok(directory.join("file-sync"))
}

fn tell(sample: &Sample) {
    let what = format!("{} {} {} {}", sample.run, sample.scenario, sample.step.name(), sample.peer);
    match &sample.figures {
        Ok(figures) => eprintln!("{what}: {}", report::brief(figures)),
        Err(error) => eprintln!("{what}: failed: {error}"),
    }
}
