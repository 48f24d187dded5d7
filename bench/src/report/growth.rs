//! How everything grows, with the number of files and of remotes: tables, and what the plots draw of them.
//!
//! What several peers do is beside each other; the rest is of file-sync alone, since whether it grows is asked, and not
//! who grows less.

use std::fmt::Write as _;

use crate::meter::Figures;
use crate::plan::{FILE_SYNC, Step};
use crate::report::page::{NOTHING, add_row, begin_table};
use crate::report::table::{Row, Table};
use crate::report::{bytes_text, digits, seconds_text, sum};
use crate::stats::median;

/// What grows, or should not.
pub struct Measure {
    /// What it is, for readers.
    pub words: &'static str,
    /// What is seconds or bytes of it.
    pub unit: Unit,
    step: Step,
    /// Of a tree of so many files.
    of: fn(&Figures, f64) -> Option<f64>,
}

/// What a measure counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// A figure as people read it.
    pub fn text(self, figure: f64) -> String {
        match self {
            Unit::Seconds => seconds_text(figure),
            Unit::Bytes => bytes_text(figure),
        }
    }
}

impl Measure {
    const fn new(
        words: &'static str,
        unit: Unit,
        step: Step,
        of: fn(&Figures, f64) -> Option<f64>,
    ) -> Measure {
        Measure { words, unit, step, of }
    }

    /// What file-sync came to in a scenario, one row of which is `row`.
    pub fn value(&self, table: &Table<'_>, row: &Row) -> Option<f64> {
        let row = Row { step: self.step, ..row.clone() };
        let n_files = table.n_files(&row) as f64;
        table.median(&row, FILE_SYNC, |figures| (self.of)(figures, n_files))
    }
}

const fn seconds(words: &'static str, step: Step, of: fn(&Figures, f64) -> Option<f64>) -> Measure {
    Measure::new(words, Unit::Seconds, step, of)
}

const fn bytes(words: &'static str, step: Step, of: fn(&Figures, f64) -> Option<f64>) -> Measure {
    Measure::new(words, Unit::Bytes, step, of)
}

const FIRST: Measure = seconds("first sync", Step::First, wall);
const FIRST_CPU: Measure = seconds("first sync, CPU of the source", Step::First, source_cpu);
const FIRST_WIRE: Measure = bytes("first sync, wire", Step::First, wire);
const FIRST_PEAK: Measure = bytes("first sync, peak memory of the source", Step::First, source_peak);
const PASS: Measure = seconds("a pass with nothing changed", Step::Rescan, wall);
const SAVE: Measure = seconds("a save until all have it", Step::Saves, save);
const SAVE_CPU: Measure = seconds("a save, CPU of the source", Step::Saves, |figures, _| figures.save_cpu_s);
const SAVE_PEAK: Measure = bytes("saves, peak memory of the source", Step::Saves, source_peak);
const RESTART: Measure = seconds("restart, nothing changed", Step::Restart, wall);
const RESTART_CPU: Measure = seconds("restart, CPU of both", Step::Restart, all_cpu);
const RESTART_WIRE: Measure = bytes("restart, wire", Step::Restart, wire);
const CATCHUP: Measure = seconds("restart, 10 files changed", Step::Catchup, wall);
const CATCHUP_CPU: Measure = seconds("restart, 10 files changed, CPU of both", Step::Catchup, all_cpu);
const CATCHUP_WIRE: Measure = bytes("restart, 10 files changed, wire", Step::Catchup, wire);
const IDLE_SOURCE: Measure = bytes("idle memory of the source", Step::Idle, source_resident);
const IDLE_RECEIVER: Measure = bytes("idle memory of a receiver", Step::Idle, receiver_resident);
const INDEX: Measure = bytes("index a file", Step::Idle, index_a_file);

/// A column each, a row a number of files.
const OF_FILES: &[Measure] = &[
    SAVE,
    SAVE_CPU,
    RESTART,
    RESTART_CPU,
    RESTART_WIRE,
    CATCHUP,
    CATCHUP_CPU,
    CATCHUP_WIRE,
    IDLE_SOURCE,
    IDLE_RECEIVER,
    INDEX,
];
/// A column each, a row a number of remotes.
const OF_REMOTES: &[Measure] = &[
    FIRST,
    FIRST_CPU,
    FIRST_WIRE,
    FIRST_PEAK,
    SAVE,
    SAVE_CPU,
    SAVE_PEAK,
    RESTART,
    IDLE_SOURCE,
    IDLE_RECEIVER,
];

/// What is drawn together.
pub struct Panel {
    /// What it is of.
    pub title: &'static str,
    /// What it grows with.
    pub kind: Kind,
    /// A line each, all in one unit.
    pub measures: &'static [Measure],
}

/// What everything grows with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The number of files.
    Files,
    /// The number of remotes, all of which know the source alone.
    Star,
    /// The number of remotes, all of which know each other.
    Mesh,
}

/// All that is drawn.
pub const PANELS: &[Panel] = &[
    Panel { title: "Time, by files", kind: Kind::Files, measures: &[FIRST, CATCHUP, RESTART, PASS, SAVE] },
    Panel {
        title: "Memory, by files",
        kind: Kind::Files,
        measures: &[FIRST_PEAK, IDLE_SOURCE, IDLE_RECEIVER],
    },
    Panel {
        title: "Index and wire, by files",
        kind: Kind::Files,
        measures: &[CATCHUP_WIRE, RESTART_WIRE, INDEX],
    },
    Panel { title: "Time, by remotes", kind: Kind::Star, measures: &[FIRST, RESTART, SAVE] },
    Panel {
        title: "Memory, by remotes",
        kind: Kind::Star,
        measures: &[FIRST_PEAK, SAVE_PEAK, IDLE_SOURCE, IDLE_RECEIVER],
    },
    Panel { title: "CPU, by remotes", kind: Kind::Star, measures: &[FIRST_CPU, SAVE_CPU] },
];

/// The part of the page.
pub fn growth(table: &Table<'_>, plot: &str) -> String {
    let (files, mut remotes) = (firsts(table, Kind::Files), firsts(table, Kind::Star));
    remotes.extend(firsts(table, Kind::Mesh));
    if files.is_empty() && remotes.is_empty() {
        return String::new();
    }
    let mut text = format!("## Growth\n\n![How file-sync grows with files and remotes]({plot})\n");
    if !files.is_empty() {
        text += "\n### With the number of files\n\n";
        with_peers(&mut text, table, &files);
        text += "\nAnd file-sync alone, since whether it grows is asked, and not who grows less. At a restart all \
                 members start anew, which each time includes a walk over the whole tree: what a reconnect itself says is \
                 on the wire. Idle memory is that after both restarts.\n\n";
        measured(&mut text, table, &files, "files of 4 KiB", OF_FILES);
    }
    if let [first, ..] = remotes[..] {
        let _ = write!(
            text,
            "\n### With the number of remotes\n\n\
             {} files of 4 KiB, file-sync alone. In a star every remote knows the source alone; in a mesh all know each \
             other, and pass on what they have. All remotes are on this machine too, and take their turns on its cores: \
             what the source needs says more than the time. What stays in memory of a first sync shows at the saves, \
             which follow it; idle memory is that after a restart.\n\n",
            table.n_files(first),
        );
        measured(&mut text, table, &remotes, "remotes", OF_REMOTES);
    }
    text
}

/// The scenarios of a kind, a row each.
pub fn firsts<'t>(table: &'t Table<'_>, kind: Kind) -> Vec<&'t Row> {
    let is_of = |row: &&Row| row.step == Step::First && row.growth().is_some_and(|growth| growth.0 == kind);
    table.rows.iter().filter(is_of).collect()
}

/// What everybody does.
fn with_peers(text: &mut String, table: &Table<'_>, firsts: &[&Row]) {
    let header =
        ["files of 4 KiB", "", "read", "first sync", "a pass", "peak memory, both sides", "index a file"];
    begin_table(text, &header);
    for first in firsts {
        let mut n_files = table.n_files(first).to_string();
        for peer in &table.peers {
            if table.seconds(first, peer).is_none() {
                continue;
            }
            let seconds = |step| {
                let row = Row { step, ..(*first).clone() };
                table.seconds(&row, peer).map_or(NOTHING.to_owned(), seconds_text)
            };
            let peak = table.median(first, peer, |figures| Some(sum(figures).1));
            let a_file = |figures: &Figures| index_a_file(figures, table.n_files(first) as f64);
            let index = table.median(first, peer, a_file);
            add_row(
                text,
                &[
                    std::mem::take(&mut n_files),
                    (*peer).to_owned(),
                    seconds(Step::Index),
                    seconds(Step::First),
                    seconds(Step::Rescan),
                    peak.map_or(NOTHING.to_owned(), bytes_text),
                    index.map_or(NOTHING.to_owned(), |bytes| format!("{} B", digits(bytes))),
                ],
            );
        }
    }
}

/// What file-sync does.
fn measured(text: &mut String, table: &Table<'_>, firsts: &[&Row], of: &str, measures: &[Measure]) {
    let header: Vec<&str> = [of].into_iter().chain(measures.iter().map(|measure| measure.words)).collect();
    begin_table(text, &header);
    for first in firsts {
        let Some((kind, number)) = first.growth() else { continue };
        let number = match kind {
            Kind::Files => number.to_string(),
            Kind::Star => format!("{number}, a star"),
            Kind::Mesh => format!("{number}, a mesh"),
        };
        let cell = |measure: &Measure| {
            measure.value(table, first).map_or(NOTHING.to_owned(), |figure| measure.unit.text(figure))
        };
        let cells: Vec<String> = [number].into_iter().chain(measures.iter().map(cell)).collect();
        add_row(text, &cells);
    }
}

fn wall(figures: &Figures, _: f64) -> Option<f64> {
    Some(figures.wall_s)
}

fn source_cpu(figures: &Figures, _: f64) -> Option<f64> {
    figures.cpu_s.first().copied()
}

fn all_cpu(figures: &Figures, _: f64) -> Option<f64> {
    Some(figures.cpu_s.iter().sum())
}

fn source_peak(figures: &Figures, _: f64) -> Option<f64> {
    figures.peak_bytes.first().map(|bytes| *bytes as f64)
}

fn wire(figures: &Figures, _: f64) -> Option<f64> {
    figures.wire_bytes.map(|bytes| bytes as f64)
}

fn save(figures: &Figures, _: f64) -> Option<f64> {
    median(figures.saves_ms.iter().map(|milliseconds| milliseconds / 1000.0))
}

fn source_resident(figures: &Figures, _: f64) -> Option<f64> {
    figures.rest.as_ref()?.resident_bytes.first().map(|bytes| *bytes as f64)
}

/// The mean of all receivers.
fn receiver_resident(figures: &Figures, _: f64) -> Option<f64> {
    let (_, receivers) = figures.rest.as_ref()?.resident_bytes.split_first()?;
    let n_receivers = receivers.len();
    (n_receivers > 0).then(|| receivers.iter().sum::<u64>() as f64 / n_receivers as f64)
}

fn index_a_file(figures: &Figures, n_files: f64) -> Option<f64> {
    Some(figures.index_bytes? as f64 / n_files)
}
