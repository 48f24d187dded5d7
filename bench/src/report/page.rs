//! The page in Markdown: tables of medians, with ratios to rsync, and what has to be known to read them.

use crate::meter::Figures;
use crate::report::{Document, bytes_text, digits, seconds_text, sum};
use crate::stats::percentile;

/// One line for somebody who waits.
pub fn brief(figures: &Figures) -> String {
    let (cpu, peak) = sum(figures);
    let mut line = format!("{} wall, {} CPU, {}", seconds_text(figures.wall_s), seconds_text(cpu), bytes_text(peak));
    if let Some(wire) = figures.wire_bytes {
        line.push_str(&format!(", {} on the wire", bytes_text(wire as f64)));
    }
    if let Some(index) = figures.index_bytes {
        line.push_str(&format!(", index {}", bytes_text(index as f64)));
    }
    if !figures.saves_ms.is_empty() {
        let at = |percent| percentile(figures.saves_ms.iter().copied(), percent).unwrap_or_default();
        let n_saves = figures.saves_ms.len();
        line.push_str(&format!(", {n_saves} saves, p50 {} ms, p99 {} ms", digits(at(50.0)), digits(at(99.0))));
    }
    if let Some(rest) = &figures.rest {
        let resident: u64 = rest.resident_bytes.iter().sum();
        let (cpu, written) = (digits(rest.cpu_s_a_minute), bytes_text(rest.written_bytes as f64));
        line.push_str(&format!(", at rest {}, {cpu} CPU s a minute, {written} written", bytes_text(resident as f64)));
    }
    line
}

/// The page.
pub fn page(_document: &Document, _plot: &str) -> String {
    String::new()
}
