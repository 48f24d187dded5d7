//! The second plot: how file-sync grows, a panel a unit and what it grows with. Both axes are logarithmic: what does not
//! grow is flat, and what grows by as much each time is straight.

use svg::Document as Svg;
use svg::node::element::Polyline;

use crate::report::Document;
use crate::report::growth::{Kind, Measure, PANELS, Panel, Unit, firsts};
use crate::report::plot::{background, dot, line, rounded, text};
use crate::report::table::Table;

/// Panels side by side.
const N_ACROSS: usize = 3;
/// Of a panel, with what is around its axes.
const WIDTH: f64 = 330.0;
const HEIGHT: f64 = 330.0;
/// Around the axes: left of them are the units, above them the title and what each line is.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 112.0;
const BOTTOM: f64 = 34.0;
/// To be told apart by everybody (Okabe and Ito).
const COLOURS: [&str; 5] = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#000000"];

/// The plot as SVG; `None` where nothing of it was measured.
pub fn curves(document: &Document) -> Option<String> {
    let table = Table::new(document);
    let panels: Vec<Drawn<'_>> = PANELS.iter().filter_map(|panel| Drawn::new(panel, &table)).collect();
    if panels.is_empty() {
        return None;
    }
    let width = WIDTH * panels.len().min(N_ACROSS) as f64;
    let height = HEIGHT * panels.len().div_ceil(N_ACROSS) as f64;
    let mut svg = background(width, height);
    for (number, panel) in panels.iter().enumerate() {
        let corner = (WIDTH * (number % N_ACROSS) as f64, HEIGHT * (number / N_ACROSS) as f64);
        svg = panel.draw(svg, corner);
    }
    Some(format!("{svg}\n"))
}

/// A panel with its figures.
struct Drawn<'p> {
    panel: &'p Panel,
    curves: Vec<(&'p Measure, Vec<(f64, f64)>)>,
    across: Axis,
    down: Axis,
}

impl<'p> Drawn<'p> {
    fn new(panel: &'p Panel, table: &Table<'_>) -> Option<Drawn<'p>> {
        let rows = firsts(table, panel.kind);
        let curve = |measure: &'p Measure| {
            let point = |row: &&_| {
                let (_, number) = crate::report::table::Row::growth(row)?;
                let figure = measure.value(table, row).filter(|figure| *figure > 0.0)?;
                Some((number as f64, figure))
            };
            (measure, rows.iter().filter_map(point).collect::<Vec<_>>())
        };
        let curves: Vec<_> = panel.measures.iter().map(curve).filter(|curve| !curve.1.is_empty()).collect();
        let unit = curves.first()?.0.unit;
        let points = || curves.iter().flat_map(|(_, points)| points);
        let across =
            Axis::new(if panel.kind == Kind::Files { 10.0 } else { 4.0 }, points().map(|point| point.0));
        // Bytes are read in powers of two.
        let down = Axis::new(if unit == Unit::Bytes { 4.0 } else { 10.0 }, points().map(|point| point.1));
        Some(Drawn { panel, curves, across, down })
    }

    fn draw(&self, mut svg: Svg, (left, top): (f64, f64)) -> Svg {
        svg = self.axes(svg, (left, top)).add(text(left + LEFT, top + 18.0, "start", self.panel.title));
        for (number, ((measure, points), colour)) in self.curves.iter().zip(COLOURS).enumerate() {
            let below = top + 34.0 + 15.0 * number as f64;
            svg = svg.add(dot(left + LEFT + 5.0, below, colour));
            svg = svg.add(text(left + LEFT + 16.0, below + 4.0, "start", measure.words));
            let places: Vec<(f64, f64)> =
                points.iter().map(|point| self.place(*point, (left, top))).collect();
            let joined: Vec<String> = places
                .iter()
                .map(|(across, down)| format!("{},{}", rounded(*across), rounded(*down)))
                .collect();
            let polyline = Polyline::new().set("points", joined.join(" ")).set("fill", "none");
            svg = svg.add(polyline.set("stroke", colour).set("stroke-width", 1.5));
            for (across, down) in places {
                svg = svg.add(dot(across, down, colour).set("r", 3));
            }
        }
        svg
    }

    fn axes(&self, mut svg: Svg, corner: (f64, f64)) -> Svg {
        let (left, right) = (corner.0 + LEFT, corner.0 + WIDTH - RIGHT);
        let (top, bottom) = (corner.1 + TOP, corner.1 + HEIGHT - BOTTOM);
        let unit = self.curves[0].0.unit;
        for figure in self.down.marks() {
            let down = self.place((1.0, figure), corner).1;
            svg = svg.add(line((left, down), (right, down), "#dddddd"));
            svg = svg.add(text(left - 6.0, down + 4.0, "end", &unit.text(figure)));
        }
        for number in self.across.marks() {
            let across = self.place((number, 1.0), corner).0;
            svg = svg.add(line((across, top), (across, bottom), "#dddddd"));
            svg = svg.add(text(across, bottom + 16.0, "middle", &format!("{number:.0}")));
        }
        svg
    }

    fn place(&self, (number, figure): (f64, f64), corner: (f64, f64)) -> (f64, f64) {
        let across = corner.0 + LEFT + self.across.share(number) * (WIDTH - LEFT - RIGHT);
        let down = corner.1 + HEIGHT - BOTTOM - self.down.share(figure) * (HEIGHT - TOP - BOTTOM);
        (across, down)
    }
}

/// From one power of a base to another.
struct Axis {
    base: f64,
    least: i32,
    most: i32,
}

impl Axis {
    /// Room for all figures, which are above zero.
    fn new(base: f64, figures: impl Iterator<Item = f64>) -> Axis {
        let powers: Vec<f64> = figures.map(|figure| figure.log(base)).collect();
        // What is a power but for the last bits is one.
        let least = powers.iter().copied().fold(f64::INFINITY, f64::min) + 1e-9;
        let most = powers.iter().copied().fold(f64::NEG_INFINITY, f64::max) - 1e-9;
        let least = least.floor() as i32;
        Axis { base, least, most: (most.ceil() as i32).max(least + 1) }
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        (self.least..=self.most).map(|power| self.base.powi(power))
    }

    /// How far along the axis a figure is, from 0 to 1.
    fn share(&self, figure: f64) -> f64 {
        (figure.log(self.base) - f64::from(self.least)) / f64::from(self.most - self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_room_for_all_figures_and_ends_at_powers() {
        let axis = Axis::new(10.0, [0.02, 3.0].into_iter());
        assert_eq!(axis.marks().collect::<Vec<_>>(), [0.01, 0.1, 1.0, 10.0]);
        assert!((axis.share(0.1) - 1.0 / 3.0).abs() < 1e-9);
        let powers = Axis::new(10.0, [1e3, 1e6].into_iter());
        assert_eq!((powers.least, powers.most), (3, 6));
        let single = Axis::new(4.0, [1.0].into_iter());
        assert_eq!((single.least, single.most), (0, 1));
    }
}
