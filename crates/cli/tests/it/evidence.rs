//! What long tests have in common: how much of them runs, and the line by which they report figures.

#![expect(clippy::print_stdout, reason = "the figures are the outcome")]

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// True if everything is to be tried, however long it takes (`EVIDENCE=full`).
pub fn is_full() -> bool {
    std::env::var_os("EVIDENCE").is_some_and(|value| value == "full")
}

/// The seed that a slice is chosen by: `SEED`, or 1.
pub fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// Figures of one test, counted while it runs.
pub struct Evidence {
    part: &'static str,
    what: String,
    start: Instant,
    figures: Map<String, Value>,
    bad: Map<String, Value>,
}

impl Evidence {
    /// Begins to count; `bad` are the names of what must stay 0.
    pub fn new(part: &'static str, what: impl Into<String>, bad: &[&str]) -> Evidence {
        let bad = bad.iter().map(|name| ((*name).to_owned(), json!(0))).collect();
        Evidence { part, what: what.into(), start: Instant::now(), figures: Map::new(), bad }
    }

    /// Adds to a figure.
    pub fn count(&mut self, name: &str, n_more: u64) {
        add(&mut self.figures, name, n_more);
    }

    /// Adds one to what must stay 0.
    pub fn count_bad(&mut self, name: &str) {
        add(&mut self.bad, name, 1);
    }

    /// How much was counted that must stay 0.
    pub fn bad_so_far(&self) -> u64 {
        self.bad.values().filter_map(Value::as_u64).sum()
    }

    /// How long it has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Prints the line, and asserts that nothing bad was counted.
    pub fn report(self) {
        let seconds = (self.start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let line = json!({
            "part": self.part, "what": self.what, "figures": self.figures, "bad": self.bad, "seconds": seconds,
        });
        println!("evidence: {line}");
        let is_clean = self.bad.values().all(|count| *count == json!(0));
        assert!(is_clean, "{}: {}", self.what, Value::Object(self.bad));
    }
}

fn add(counts: &mut Map<String, Value>, name: &str, n_more: u64) {
    let count = counts.get(name).and_then(Value::as_u64).unwrap_or(0);
    counts.insert(name.to_owned(), json!(count + n_more));
}
