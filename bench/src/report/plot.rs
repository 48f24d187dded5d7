//! The plot: a line a workload, a dot a peer, at how many times as long as the reference it takes.

use svg::Document as Svg;
use svg::node::element::{Circle, Line, Rectangle, Text};

use crate::plan::Step;
use crate::report::table::{REFERENCE, Row, Table};
use crate::report::{Document, digits};

/// Left of the axis are the workloads' names.
const LEFT: f64 = 430.0;
const WIDTH: f64 = 960.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 60.0;
const ROW: f64 = 22.0;
/// The axis, in powers of ten; what is beyond is drawn at its ends.
const LEAST: f64 = -1.0;
const MOST: f64 = 3.0;
/// Who is drawn, and how: to be told apart by everybody (Okabe and Ito).
const PEERS: &[(&str, &str)] = &[
    ("rclone", "#999999"),
    ("Syncthing", "#0072b2"),
    ("Unison", "#009e73"),
    ("rsync", "#000000"),
    ("file-sync", "#d55e00"),
];

/// The plot as SVG.
pub fn plot(document: &Document) -> String {
    let table = Table::new(document);
    let is_drawn =
        |row: &&Row| row.step != Step::Index && !row.is_growth() && table.ratio(row, "file-sync").is_some();
    let rows: Vec<&Row> = table.rows.iter().filter(is_drawn).collect();
    let height = TOP + ROW * rows.len() as f64 + 30.0;
    let title = format!("Time, how many times as long as {REFERENCE}");
    let mut svg = background(WIDTH, height).add(text(WIDTH / 2.0, 18.0, "middle", &title));
    svg = legend(axis(svg, height));
    for (number, row) in rows.into_iter().enumerate() {
        svg = draw(svg, &table, row, TOP + ROW * (number as f64 + 0.5));
    }
    format!("{svg}\n")
}

/// An empty plot.
pub(super) fn background(width: f64, height: f64) -> Svg {
    let background = Rectangle::new().set("width", width).set("height", height).set("fill", "#ffffff");
    Svg::new()
        .set("viewBox", (0.0, 0.0, width, height))
        .set("font-family", "sans-serif")
        .set("font-size", 12)
        .add(background)
}

fn axis(mut svg: Svg, height: f64) -> Svg {
    for power in LEAST as i32..=MOST as i32 {
        let ratio = 10_f64.powi(power);
        let (across, width) = (place(ratio), if power == 0 { 2.0 } else { 1.0 });
        let colour = if power == 0 { "#666666" } else { "#dddddd" };
        svg = svg.add(line((across, TOP), (across, height - 26.0), colour).set("stroke-width", width));
        svg = svg.add(text(across, height - 10.0, "middle", &format!("{}×", digits(ratio))));
    }
    svg
}

fn legend(mut svg: Svg) -> Svg {
    for (number, (peer, colour)) in PEERS.iter().rev().enumerate() {
        let across = LEFT + 100.0 * number as f64;
        svg = svg.add(dot(across, 40.0, colour)).add(text(across + 10.0, 44.0, "start", peer));
    }
    svg
}

fn draw(mut svg: Svg, table: &Table<'_>, row: &Row, down: f64) -> Svg {
    svg = svg.add(text(LEFT - 12.0, down + 4.0, "end", &row.words()));
    svg = svg.add(line((LEFT, down), (WIDTH - RIGHT, down), "#eeeeee"));
    for (peer, colour) in PEERS {
        if let Some(ratio) = table.ratio(row, peer) {
            svg = svg.add(dot(place(ratio), down, colour));
        }
    }
    svg
}

/// Where a ratio is on the axis.
fn place(ratio: f64) -> f64 {
    let share = (ratio.log10().clamp(LEAST, MOST) - LEAST) / (MOST - LEAST);
    LEFT + share * (WIDTH - RIGHT - LEFT)
}

pub(super) fn dot(across: f64, down: f64, colour: &str) -> Circle {
    Circle::new().set("cx", rounded(across)).set("cy", rounded(down)).set("r", 5).set("fill", colour)
}

pub(super) fn line(from: (f64, f64), to: (f64, f64), colour: &str) -> Line {
    let line = Line::new().set("x1", rounded(from.0)).set("y1", rounded(from.1));
    line.set("x2", rounded(to.0)).set("y2", rounded(to.1)).set("stroke", colour)
}

pub(super) fn text(across: f64, down: f64, anchor: &str, words: &str) -> Text {
    Text::new(words).set("x", rounded(across)).set("y", rounded(down)).set("text-anchor", anchor)
}

pub(super) fn rounded(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}
