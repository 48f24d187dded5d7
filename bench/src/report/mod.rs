//! What came of it: one JSON document of all samples, and from that a page and two plots.

mod curves;
mod growth;
mod page;
mod plot;
mod table;

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::limits::Limit;
use crate::meter::Figures;
use crate::network::Means;
use crate::plan::Size;
use crate::run::Sample;

pub use page::{brief, page};

/// Everything that was measured, and on what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    /// When, in UTC.
    pub date: String,
    /// How much.
    pub size: Size,
    /// How often.
    pub n_runs: u32,
    /// On what.
    pub machine: Machine,
    /// Who, also those who are not there.
    pub programs: Vec<Program>,
    /// What the machine itself can do.
    pub limits: Vec<Limit>,
    /// What it took.
    pub samples: Vec<Sample>,
}

/// A machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Its processor.
    pub processor: String,
    /// Cores that may be used.
    pub n_cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Where trees and homes were.
    pub directory: String,
    /// That directory's file system.
    pub file_system: String,
    /// How busy it was before, as the load average of a minute.
    pub load: String,
    /// Members had namespaces, and the wire was counted.
    pub is_wired: bool,
}

/// One of those that were to be measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    /// The peer's name.
    pub name: String,
    /// What it says of its version.
    pub version: String,
    /// How it was set up.
    pub setting: String,
}

impl Document {
    /// Puts together what was measured.
    ///
    /// # Errors
    /// When the machine cannot be described.
    pub fn new(
        args: &Args,
        means: Means,
        n_runs: u32,
        programs: Vec<Program>,
        limits: Vec<Limit>,
        samples: Vec<Sample>,
    ) -> Result<Document> {
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let machine = Machine::here(&args.dir, means)?;
        Ok(Document { date, size: args.size(), n_runs, machine, programs, limits, samples })
    }
}

impl Machine {
    fn here(directory: &Path, means: Means) -> Result<Machine> {
        let processors = std::fs::read_to_string("/proc/cpuinfo")?;
        let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
        let load = std::fs::read_to_string("/proc/loadavg")?;
        Ok(Machine {
            processor: model.unwrap_or("unknown").trim_start_matches([' ', '\t', ':']).to_owned(),
            n_cores: std::thread::available_parallelism()?.get(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            directory: directory.display().to_string(),
            file_system: file_system(directory)?,
            load: load.split_whitespace().next().unwrap_or_default().to_owned(),
            is_wired: means.has_wire,
        })
    }
}

/// The kind of the file system that a directory is on.
fn file_system(directory: &Path) -> Result<String> {
    let directory = directory.canonicalize().with_context(|| format!("{}", directory.display()))?;
    let mounts = procfs::process::Process::myself()?.mountinfo()?;
    let holding = mounts.into_iter().filter(|mount| directory.starts_with(&mount.mount_point));
    let nearest = holding.max_by_key(|mount| mount.mount_point.as_os_str().len());
    Ok(nearest.map_or_else(|| "unknown".to_owned(), |mount| mount.fs_type))
}

/// The name of the plot of a page of that name.
fn plot_name(name: &str) -> String {
    format!("{name}.svg")
}

/// The name of its plot of growth.
fn growth_plot_name(name: &str) -> String {
    format!("{name}-growth.svg")
}

/// Writes the page, and the plots beside it.
///
/// # Errors
/// When they cannot be written.
pub fn write(document: &Document, file: &Path) -> Result<()> {
    let name = file.file_stem().context("a page has a name")?.to_string_lossy();
    let write = |file: &Path, text| std::fs::write(file, text).with_context(|| format!("{}", file.display()));
    write(file, page(document, &name))?;
    write(&file.with_file_name(plot_name(&name)), plot::plot(document))?;
    match curves::curves(document) {
        Some(curves) => write(&file.with_file_name(growth_plot_name(&name)), curves),
        None => Ok(()),
    }
}

/// What of a figure is shown: sizes as people read them.
pub(crate) fn bytes_text(bytes: f64) -> String {
    match bytes {
        small if small < 1024.0 => format!("{small:.0} B"),
        kibi if kibi < 1024.0 * 1024.0 => format!("{} KiB", digits(kibi / 1024.0)),
        mebi => format!("{} MiB", digits(mebi / 1024.0 / 1024.0)),
    }
}

/// Seconds or milliseconds.
pub(crate) fn seconds_text(seconds: f64) -> String {
    match seconds {
        short if short < 0.9995 => format!("{} ms", digits(short * 1000.0)),
        long => format!("{} s", digits(long)),
    }
}

/// Three digits, or all before the point.
pub(crate) fn digits(figure: f64) -> String {
    match figure {
        small if small < 0.0005 => "0".to_owned(),
        small if small < 0.9995 => format!("{small:.3}"),
        small if small < 9.995 => format!("{small:.2}"),
        middle if middle < 99.95 => format!("{middle:.1}"),
        large => format!("{large:.0}"),
    }
}

/// What all members have together.
pub(crate) fn sum(figures: &Figures) -> (f64, f64) {
    (figures.cpu_s.iter().sum(), figures.peak_bytes.iter().sum::<u64>() as f64)
}
