//! Samples as a table of medians: a row a workload, a column a peer.

use crate::meter::Figures;
use crate::plan::Step;
use crate::report::Document;
use crate::report::growth::Kind;
use crate::run::Sample;
use crate::stats::{median, range};

/// What ratios are quoted to.
pub const REFERENCE: &str = "rsync";

/// One workload: a step of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// What its tree is.
    pub title: String,
    /// What was done.
    pub step: Step,
}

impl Row {
    /// True for what shows how everything grows.
    pub fn is_growth(&self) -> bool {
        self.growth().is_some()
    }

    /// What it shows growth with, and how many of these there are.
    pub fn growth(&self) -> Option<(Kind, u64)> {
        let (kind, number) = self.scenario.split_once('-')?;
        let kind = match kind {
            "growth" => Kind::Files,
            "star" => Kind::Star,
            "mesh" => Kind::Mesh,
            _ => return None,
        };
        Some((kind, number.parse().ok()?))
    }

    /// What it is, for readers.
    pub fn words(&self) -> String {
        let what = match self.step {
            Step::Index => "read for the first time",
            Step::First => "first sync",
            Step::Insert => "1 byte inserted at the front",
            Step::Overwrite => "4 KiB overwritten in the middle",
            Step::Append => "1 MiB appended",
            Step::Rename => "its directory renamed",
            Step::Saves => "single saves, the median",
            Step::Rescan => "a pass with nothing changed",
            Step::Restart => "restart and reconnect, nothing changed",
            Step::Catchup => "restart and reconnect, 10 files changed",
            Step::Idle => "idle",
        };
        let place = match self.scenario.split('-').next() {
            Some("long") => ", 100 ms and 100 Mbit/s",
            Some("lossy") => ", 100 ms, 100 Mbit/s and 0.5 % loss",
            Some("three") => ", two receivers at once",
            _ => "",
        };
        format!("{}{place}: {what}", self.title)
    }
}

/// All samples, to be asked.
pub struct Table<'d> {
    samples: &'d [Sample],
    /// In the order in which they were measured.
    pub rows: Vec<Row>,
    /// Those who have samples, in their order.
    pub peers: Vec<&'d str>,
}

impl<'d> Table<'d> {
    /// Gathers rows and peers.
    pub fn new(document: &'d Document) -> Table<'d> {
        let mut rows: Vec<Row> = Vec::new();
        for sample in &document.samples {
            let Sample { scenario, title, step, .. } = sample.clone();
            let row = Row { scenario, title, step };
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        let has_samples = |peer: &&str| document.samples.iter().any(|sample| sample.peer == *peer);
        let names = document.programs.iter().map(|program| program.name.as_str());
        Table { samples: &document.samples, rows, peers: names.filter(has_samples).collect() }
    }

    /// What a peer did in a row, a sample a run.
    pub fn of<'t>(&'t self, row: &'t Row, peer: &'t str) -> impl Iterator<Item = &'d Sample> + 't {
        let samples: &'d [Sample] = self.samples;
        samples.iter().filter(move |sample| {
            sample.scenario == row.scenario && sample.step == row.step && sample.peer == peer
        })
    }

    /// The figures of the runs that went well.
    pub fn figures<'t>(&'t self, row: &'t Row, peer: &'t str) -> impl Iterator<Item = &'d Figures> + 't {
        self.of(row, peer).filter_map(|sample| sample.figures.as_ref().ok())
    }

    /// Why a run did not go well, if one did not.
    pub fn failure(&self, row: &Row, peer: &str) -> Option<&'d str> {
        self.of(row, peer).find_map(|sample| sample.figures.as_ref().err().map(String::as_str))
    }

    /// The median of something over all runs.
    pub fn median(&self, row: &Row, peer: &str, what: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        median(self.figures(row, peer).filter_map(what))
    }

    /// What is compared, in seconds: wall, and of saves how long one takes.
    pub fn seconds(&self, row: &Row, peer: &str) -> Option<f64> {
        match row.step {
            Step::Saves => median(self.saves_ms(row, peer)).map(|milliseconds| milliseconds / 1000.0),
            _ => self.median(row, peer, |figures| Some(figures.wall_s)),
        }
    }

    /// The quickest and the slowest run.
    pub fn range_seconds(&self, row: &Row, peer: &str) -> Option<(f64, f64)> {
        range(self.figures(row, peer).map(|figures| figures.wall_s))
    }

    /// All saves of all runs.
    pub fn saves_ms(&self, row: &Row, peer: &str) -> Vec<f64> {
        self.figures(row, peer).flat_map(|figures| figures.saves_ms.iter().copied()).collect()
    }

    /// How many times as long as the reference.
    pub fn ratio(&self, row: &Row, peer: &str) -> Option<f64> {
        let reference = self.seconds(row, REFERENCE).filter(|seconds| *seconds > 0.0)?;
        Some(self.seconds(row, peer)? / reference)
    }

    /// Files of a row's tree.
    pub fn n_files(&self, row: &Row) -> u64 {
        let sample = self.samples.iter().find(|sample| sample.scenario == row.scenario);
        sample.map_or(0, |sample| sample.n_files)
    }
}
