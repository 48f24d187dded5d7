//! The page in Markdown: tables of medians, with ratios to rsync, and what has to be known to read them.

use std::fmt::Write as _;

use crate::meter::{Figures, Rest};
use crate::plan::{FILE_SYNC, Size, Step};
use crate::report::growth::growth;
use crate::report::table::{REFERENCE, Row, Table};
use crate::report::{Document, bytes_text, digits, growth_plot_name, plot_name, seconds_text, sum};
use crate::run::FIND;
use crate::stats::percentile;

/// What a cell without a figure holds.
pub(super) const NOTHING: &str = "–";

/// One line for somebody who waits.
pub fn brief(figures: &Figures) -> String {
    let (cpu, peak) = sum(figures);
    let mut said = vec![
        format!("{} wall", seconds_text(figures.wall_s)),
        format!("{} CPU", seconds_text(cpu)),
        format!("peak {}", bytes_text(peak)),
    ];
    said.extend(figures.wire_bytes.map(|wire| format!("wire {}", bytes_text(wire as f64))));
    said.extend(figures.index_bytes.map(|index| format!("index {}", bytes_text(index as f64))));
    if !figures.saves_ms.is_empty() {
        let at = |percent| digits(percentile(figures.saves_ms.iter().copied(), percent).unwrap_or(0.0));
        said.extend(figures.save_cpu_s.map(|cpu| format!("{} CPU of the source a save", seconds_text(cpu))));
        said.push(format!("{} saves, p50 {} ms, p99 {} ms", figures.saves_ms.len(), at(50.0), at(99.0)));
    }
    if let Some(Rest { resident_bytes, cpu_s_a_minute, written_bytes }) = &figures.rest {
        let resident = bytes_text(resident_bytes.iter().sum::<u64>() as f64);
        let written = bytes_text(*written_bytes as f64);
        said.push(format!(
            "at rest {resident}, {} CPU s a minute, {written} written",
            digits(*cpu_s_a_minute)
        ));
    }
    said.join(", ")
}

/// The page; its plots are called as `name` and an ending say.
pub fn page(document: &Document, name: &str) -> String {
    let table = Table::new(document);
    let parts = [
        head(document),
        wall(&table, &plot_name(name)),
        details(&table),
        saves(&table),
        rest(&table),
        growth(&table, &growth_plot_name(name)),
        limits(document),
        contenders(document),
        caveats(document),
        failures(&table),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<String>>().join("\n")
}

fn head(document: &Document) -> String {
    let (size, option) = match document.size {
        Size::Tiny => ("a size that only shows that the benchmark works", "tiny"),
        Size::Quick => ("the quick size", "quick"),
        Size::Full => ("the full size", "full"),
    };
    let machine = &document.machine;
    let medians = if document.n_runs == 1 {
        "One run, no medians.".to_owned()
    } else {
        format!("Medians of {} runs, in which everybody takes turns.", document.n_runs)
    };
    format!(
        "# Performance\n\n\
         Written by `cargo run --release -p file-sync-bench -- --{option} --write docs/performance.md`, which anyone \
         can run; `--help` says more.\n\n\
         Measured on {} in {size}. {medians} All members are on one machine: {}, {} cores that carry all sides, Linux \
         {}; trees and homes on {} ({}). The load average at the end was {}. Only ratios travel to another machine.\n",
        document.date,
        machine.processor,
        machine.n_cores,
        machine.kernel,
        machine.file_system,
        machine.directory,
        machine.load,
    )
}

/// Who takes how long, beside the reference.
fn wall(table: &Table<'_>, plot: &str) -> String {
    let mut text = format!(
        "## Time\n\nFrom the change, or the command, until every receiver has it; in brackets how many times as long as \
         {REFERENCE}.\n\n![How many times as long as {REFERENCE}]({plot})\n\n"
    );
    let mut header = vec!["workload"];
    header.extend(&table.peers);
    begin_table(&mut text, &header);
    // What has a table of its own is not here.
    for row in table.rows.iter().filter(|row| row.step != Step::Idle && !row.is_growth()) {
        let mut cells = vec![row.words()];
        cells.extend(table.peers.iter().map(|peer| wall_cell(table, row, peer)));
        add_row(&mut text, &cells);
    }
    let finds: Vec<String> = table.rows.iter().filter_map(|row| find(table, row)).collect();
    if !finds.is_empty() {
        let _ = writeln!(text, "\nA pass beside `find` over the source: {}.", finds.join("; "));
    }
    text
}

fn wall_cell(table: &Table<'_>, row: &Row, peer: &str) -> String {
    let Some(seconds) = table.seconds(row, peer) else {
        return if table.failure(row, peer).is_some() { "failed".to_owned() } else { NOTHING.to_owned() };
    };
    let ratio = table.ratio(row, peer).filter(|_| peer != REFERENCE);
    let ratio = ratio.map_or(String::new(), |ratio| format!(" ({}×)", digits(ratio)));
    format!("{}{ratio}", seconds_text(seconds))
}

fn find(table: &Table<'_>, row: &Row) -> Option<String> {
    let find = table.seconds(row, FIND).filter(|_| !row.is_growth())?;
    let ours = table.seconds(row, FILE_SYNC)?;
    Some(format!("{}: {}, file-sync {}×", row.title, seconds_text(find), digits(ours / find)))
}

/// What it costs.
fn details(table: &Table<'_>) -> String {
    let mut text =
        "## Cost\n\nCPU and peak memory are of the source's processes, then of the receivers'. Bytes on the \
                    wire are of all packets that all members sent.\n\n"
            .to_owned();
    let header = ["workload", "", "time, least to most", "CPU", "peak memory", "wire", "index"];
    begin_table(&mut text, &header);
    let is_shown = |row: &&Row| !matches!(row.step, Step::Idle | Step::Saves) && !row.is_growth();
    for row in table.rows.iter().filter(is_shown) {
        let mut first = row.words();
        for peer in &table.peers {
            let Some(cells) = detail_cells(table, row, peer) else { continue };
            let mut all = vec![std::mem::take(&mut first), (*peer).to_owned()];
            all.extend(cells);
            add_row(&mut text, &all);
        }
    }
    text
}

fn detail_cells(table: &Table<'_>, row: &Row, peer: &str) -> Option<[String; 5]> {
    let (least, most) = table.range_seconds(row, peer)?;
    let sides = |what: fn(&Figures) -> Vec<f64>, text: fn(f64) -> String| {
        let side = |first: bool| {
            let part = move |figures: &Figures| {
                let all = what(figures);
                let (source, receivers) = all.split_first()?;
                Some(if first { *source } else { receivers.iter().sum() })
            };
            table.median(row, peer, part).map_or(NOTHING.to_owned(), text)
        };
        format!("{} / {}", side(true), side(false))
    };
    let bytes = |what: fn(&Figures) -> Option<u64>| {
        let median = table.median(row, peer, |figures| what(figures).map(|bytes| bytes as f64));
        median.map_or(NOTHING.to_owned(), bytes_text)
    };
    Some([
        format!("{} to {}", seconds_text(least), seconds_text(most)),
        sides(|figures| figures.cpu_s.clone(), seconds_text),
        sides(|figures| figures.peak_bytes.iter().map(|bytes| *bytes as f64).collect(), bytes_text),
        bytes(|figures| figures.wire_bytes),
        bytes(|figures| figures.index_bytes),
    ])
}

fn saves(table: &Table<'_>) -> String {
    let Some(row) = table.rows.iter().find(|row| row.step == Step::Saves && !row.is_growth()) else {
        return String::new();
    };
    let mut text =
        "## One save until it is visible\n\nA file of 1 KiB, written in place, each when the one before was \
                    visible.\n\n"
            .to_owned();
    begin_table(&mut text, &["", "saves", "p50", "p99", "most"]);
    for peer in &table.peers {
        let all = table.saves_ms(row, peer);
        let at = |percent| percentile(all.iter().copied(), percent).map(|ms| seconds_text(ms / 1000.0));
        let (Some(half), Some(nearly), Some(most)) = (at(50.0), at(99.0), at(100.0)) else { continue };
        add_row(&mut text, &[(*peer).to_owned(), all.len().to_string(), half, nearly, most]);
    }
    text
}

fn rest(table: &Table<'_>) -> String {
    let Some(row) = table.rows.iter().find(|row| row.step == Step::Idle && !row.is_growth()) else {
        return String::new();
    };
    let n_files = table.n_files(row);
    let mut text = format!("## Idle, {n_files} files\n\n");
    begin_table(&mut text, &["", "memory, both sides", "CPU a minute", "written", "index a file"]);
    for peer in &table.peers {
        let of = |what: fn(&Rest) -> f64| table.median(row, peer, |figures| figures.rest.as_ref().map(what));
        let memory = of(|rest| rest.resident_bytes.iter().sum::<u64>() as f64);
        let (Some(memory), Some(cpu)) = (memory, of(|rest| rest.cpu_s_a_minute)) else { continue };
        let written = of(|rest| rest.written_bytes as f64).unwrap_or(0.0);
        let index = table.median(row, peer, |figures| figures.index_bytes.map(|bytes| bytes as f64));
        let index = index.map_or(NOTHING.to_owned(), |bytes| format!("{} B", digits(bytes / n_files as f64)));
        let cpu = format!("{} s", digits(cpu));
        add_row(&mut text, &[(*peer).to_owned(), bytes_text(memory), cpu, bytes_text(written), index]);
    }
    text
}

fn limits(document: &Document) -> String {
    let mut text = "## What the machine itself can do\n\nThe best of three, with as many bytes as the large file has and \
                    as many files as the small tree; nothing of a synchroniser is in it.\n\n"
        .to_owned();
    begin_table(&mut text, &["", "bytes", "time", "a second"]);
    for limit in &document.limits {
        let rate = limit.bytes as f64 / limit.wall_s;
        let rate = match limit.n_files {
            0 | 1 => bytes_text(rate),
            n_files => format!("{} files", digits(n_files as f64 / limit.wall_s)),
        };
        add_row(
            &mut text,
            &[limit.what.clone(), bytes_text(limit.bytes as f64), seconds_text(limit.wall_s), rate],
        );
    }
    text
}

fn contenders(document: &Document) -> String {
    let mut text = "## Who, and how set up\n\n".to_owned();
    begin_table(&mut text, &["", "version", "setting"]);
    for program in &document.programs {
        add_row(&mut text, &[program.name.clone(), program.version.clone(), program.setting.clone()]);
    }
    text
}

fn caveats(document: &Document) -> String {
    let wire = if document.machine.is_wired {
        "Every member has a network namespace; they are joined by virtual Ethernet, which hands on packets of up to 64 KiB, \
         so headers count for less than on a cable. Only the long line has packets of 1,500 bytes."
    } else {
        "All is on loopback, and bytes on the wire were not counted: that needs root."
    };
    let disk = if document.machine.file_system == "tmpfs" {
        "On tmpfs nothing is durable and syncing costs nothing; `--dir` names a directory on a disk, where file-sync and \
         `rsync --fsync` wait for it and the others do not."
    } else {
        "file-sync and `rsync --fsync` wait for the disk; the others do not."
    };
    format!(
        "## Caveats\n\n\
         - file-sync and Syncthing encrypt, verify what they receive, and have an index to keep; rclone encrypts and \
         verifies; rsync and Unison do neither here. file-sync and Syncthing have read and hashed the source before a first \
         sync begins: `read for the first time` is to be added where that counts.\n\
         - Debian builds Syncthing without assembly, so that it hashes about five times slower than the project's own \
         build: ratios to that build say little, and so ratios are quoted to rsync.\n\
         - {wire}\n\
         - The long line carries packets between two TUN interfaces, with a queue of 100 ms before its bottleneck; which \
         are lost follows from a seed.\n\
         - {disk}\n\
         - Every result is compared with the source by hash: names, kinds, bytes and symlinks' targets. rclone leaves \
         symlinks out, and so fails where the real tree has some.\n\
         - rsync's quick check overlooks a change of the same size within a second unless `--modify-window=-1`; before the \
         overwrite everybody waits for a second, which is not counted.\n\
         - Peak memory is the sum over a side's processes of the most that each had resident, looked at every 25 ms, with \
         what they share counted in each. CPU is in steps of 10 ms.\n"
    )
}

fn failures(table: &Table<'_>) -> String {
    let mut lines = Vec::new();
    for row in &table.rows {
        for peer in &table.peers {
            lines.extend(table.failure(row, peer).map(|why| format!("- {peer}, {}: {why}\n", row.words())));
        }
    }
    if lines.is_empty() { String::new() } else { format!("## Failed\n\n{}", lines.concat()) }
}

pub(super) fn begin_table(text: &mut String, header: &[&str]) {
    add_row(text, header);
    let _ = writeln!(text, "|{}", "---|".repeat(header.len()));
}

pub(super) fn add_row(text: &mut String, cells: &[impl AsRef<str>]) {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}
