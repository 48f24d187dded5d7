//! What tests say of what they proved, and the page that is made of it.
//!
//! A test that gathers evidence prints lines that begin with `evidence: ` and go on with one JSON object: `part` and `what`
//! name it, `figures` counts what was tried, `bad` what has to be 0, `seconds` how long it took.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Deserialize;

/// What begins a line of evidence.
pub const MARK: &str = "evidence: ";

/// What one test has proved.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Evidence {
    /// What kind of proof it is part of.
    pub part: String,
    /// What was done.
    pub what: String,
    /// How much of what was tried.
    pub figures: serde_json::Map<String, serde_json::Value>,
    /// What must not happen, and how often it did.
    #[serde(default)]
    pub bad: BTreeMap<String, u64>,
    /// How long it took.
    #[serde(default)]
    pub seconds: f64,
}

/// Where and when evidence was gathered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The commit that was tested.
    pub commit: String,
    /// The day.
    pub date: String,
    /// The machine, in a few words.
    pub machine: String,
    /// How long all tests took, those without evidence included.
    pub seconds: u64,
    /// What cargo said of all tests: how many passed, failed and were ignored.
    pub tests: (u64, u64, u64),
    /// What was tried in full size, the rest being the slice that every run of the tests has.
    pub full: Full,
    /// The commit of what was tried in full size, if it is another.
    pub full_at: Option<String>,
}

/// What was tried in full size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Full {
    /// Everything.
    All,
    /// These parts.
    Parts(Vec<String>),
}

/// Finds the lines of evidence in what tests printed; lines that say none, although they begin so, are returned too.
pub fn collect(output: &str) -> (Vec<Evidence>, Vec<String>) {
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    for line in output.lines() {
        let Some((_, json)) = line.split_once(MARK) else { continue };
        match serde_json::from_str(json.trim()) {
            Ok(evidence) => found.push(evidence),
            Err(_) => broken.push(line.to_owned()),
        }
    }
    (found, broken)
}

/// Puts the rows of `full` in place of those of the same parts; returns which parts these are.
pub fn replace_parts(evidence: &mut Vec<Evidence>, full: Vec<Evidence>) -> Vec<String> {
    let parts: BTreeSet<String> = full.iter().map(|one| one.part.clone()).collect();
    evidence.retain(|one| !parts.contains(&one.part));
    evidence.extend(full);
    parts.into_iter().collect()
}

/// Sums up cargo's own lines: tests passed, failed and ignored.
pub fn count_tests(output: &str) -> (u64, u64, u64) {
    let mut sums = (0, 0, 0);
    // One line a test binary; sums of such lines, as a gate prints, say nothing of a time.
    let is_result = |line: &&str| line.starts_with("test result: ") && line.contains("finished in ");
    for line in output.lines().filter(is_result) {
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else { continue };
            match pair[1].trim_end_matches(';') {
                "passed" => sums.0 += count,
                "failed" => sums.1 += count,
                "ignored" => sums.2 += count,
                _ => {}
            }
        }
    }
    sums
}

/// Sums up how long cargo's test binaries took, in seconds.
pub fn count_seconds(output: &str) -> f64 {
    let results = output.lines().filter(|line| line.starts_with("test result: "));
    let seconds =
        results.filter_map(|line| line.rsplit_once("finished in ")?.1.strip_suffix('s')?.parse::<f64>().ok());
    seconds.sum()
}

/// Writes the page.
pub fn page(run: &Run, evidence: &[Evidence]) -> String {
    let mut page = String::from(HEAD);
    let (passed, failed, ignored) = run.tests;
    let slice = "the slice that every run of the tests has";
    let size = match &run.full {
        Full::All => "full size".to_owned(),
        Full::Parts(parts) if parts.is_empty() => slice.to_owned(),
        Full::Parts(parts) => {
            let at = run.full_at.as_ref().map(|commit| format!(", at commit `{commit}`")).unwrap_or_default();
            format!("{slice}, but in full size{at}: {}", parts.join(", "))
        }
    };
    let _ = writeln!(
        page,
        "Commit `{}`, {}, {}, {size}: {} s of tests; {passed} passed, {failed} failed, {ignored} ignored.\n",
        run.commit, run.date, run.machine, run.seconds,
    );
    let mut parts: BTreeMap<&str, Vec<&Evidence>> = BTreeMap::new();
    evidence.iter().for_each(|evidence| parts.entry(&evidence.part).or_default().push(evidence));
    for (part, evidence) in parts {
        let _ = writeln!(
            page,
            "## {part}\n\n| what | tried | must be 0 | rate below | s |\n|---|---|---|---|---|"
        );
        for one in evidence {
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {:.0} |",
                one.what,
                figures(one),
                bad(one),
                bound(one),
                one.seconds
            );
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

const HEAD: &str = "# Evidence

Made by `cargo run --release -p file-sync-evidence`, with `-- --full` in full size, with `-- --full NAMES` for the tests
that are named so; do not edit. Every row is printed by a
test, with all that was tried, and fails the run if anything that must be 0 is not. Where nothing bad was seen in n histories, its rate is
below 3/n with a confidence of 95 % (the rule of three); that says something of histories like these, not of all.

";

fn figures(evidence: &Evidence) -> String {
    let is_counted =
        |(_, value): &(&String, &serde_json::Value)| value.as_f64().is_none_or(|count| count != 0.0);
    let figures = evidence.figures.iter().filter(is_counted);
    figures.map(|(name, value)| format!("{} {name}", text(value))).collect::<Vec<_>>().join(", ")
}

fn bad(evidence: &Evidence) -> String {
    evidence.bad.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// The rule of three, on what was tried most independently of each other: the first figure by these names.
fn bound(evidence: &Evidence) -> String {
    let names = ["seeds", "runs", "rounds", "cuts", "sets of acts", "sequences"];
    let count = names.iter().find_map(|name| evidence.figures.get(*name)?.as_u64());
    match count.filter(|count| *count > 0 && evidence.bad.values().all(|bad| *bad == 0)) {
        Some(count) => format!("{:.1e}", 3.0 / count as f64),
        None => "–".to_owned(),
    }
}

/// A number with its thousands apart.
fn text(value: &serde_json::Value) -> String {
    let Some(count) = value.as_u64() else { return value.to_string() };
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running 2 tests
evidence: {\"part\":\"simulator\",\"what\":\"level 1\",\"figures\":{\"seeds\":1500,\"crashes\":0},\"bad\":{\"lost\":0},\"seconds\":2.6}
evidence: {\"part\":\"simulator\"
test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.0s
test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.0s
";

    #[test]
    fn a_page_says_what_was_tried_and_what_has_to_be_nothing() {
        let (evidence, broken) = collect(OUTPUT);
        assert_eq!((evidence.len(), broken.len()), (1, 1));
        assert_eq!((count_tests(OUTPUT), count_seconds(OUTPUT)), ((10, 2, 1), 2.0));
        let run = Run {
            commit: "abc".to_owned(),
            date: "2026-11-26".to_owned(),
            machine: "2 cores".to_owned(),
            seconds: 9,
            tests: count_tests(OUTPUT),
            full: Full::Parts(vec!["chaos".to_owned()]),
            full_at: Some("def".to_owned()),
        };
        let page = page(&run, &evidence);
        assert!(
            page.contains(
                "the slice that every run of the tests has, but in full size, at commit `def`: chaos: 9 s"
            ),
            "{page}"
        );
        assert!(page.contains("| level 1 | 1,500 seeds | lost 0 | 2.0e-3 | 3 |"), "{page}");
        assert!(page.contains("10 passed, 2 failed, 1 ignored"), "{page}");
    }

    #[test]
    fn what_was_tried_in_full_replaces_its_part_of_the_slice() {
        let (mut evidence, _) = collect(OUTPUT);
        let other = Evidence { part: "other".to_owned(), ..evidence[0].clone() };
        evidence.push(other.clone());
        let full = Evidence { what: "level 1 in full".to_owned(), ..evidence[0].clone() };
        assert_eq!(replace_parts(&mut evidence, vec![full.clone()]), ["simulator"]);
        assert_eq!(evidence, [other, full]);
    }

    #[test]
    fn what_was_bad_has_no_bound() {
        let line = OUTPUT.replace("\"lost\":0", "\"lost\":4");
        let (evidence, _) = collect(&line);
        assert_eq!((bad(&evidence[0]), bound(&evidence[0])), ("lost 4".to_owned(), "–".to_owned()));
    }
}
