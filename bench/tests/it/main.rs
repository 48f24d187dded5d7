//! Runs the benchmark itself, in a size that takes seconds: whether it works, not how quick anything is.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A scenario of every kind.
const SCENARIOS: &[&str] = &[
    "large",
    "small",
    "tree",
    "many",
    "long-small",
    "three-small",
    "growth-10",
    "growth-20",
    "star-4",
    "mesh-4",
];
/// What growth is about, by file-sync alone.
const GROWTH: &[(&str, &[&str])] = &[
    ("growth-20", &["index", "first", "rescan", "saves", "restart", "catchup", "idle"]),
    ("star-4", &["index", "first", "saves", "restart", "idle"]),
    ("mesh-4", &["index", "first", "saves", "restart", "idle"]),
];

#[test]
fn the_benchmark_measures_every_scenario_and_writes_page_plot_and_samples() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let (page, samples) = (place.path().join("page.md"), place.path().join("samples.json"));
    let mut bench = Command::new(env!("CARGO_BIN_EXE_file-sync-bench"));
    bench.args(["--tiny", "--with", "file-sync", "--with", "rsync", "--dir"]).arg(place.path());
    bench.args(SCENARIOS.iter().flat_map(|name| ["--only", name]));
    bench.arg("--write").arg(&page).arg("--json").arg(&samples);
    // Where all tests run, it has just been built; else it is built now.
    let built = Path::new(env!("CARGO_BIN_EXE_file-sync-bench")).with_file_name("file-sync");
    if built.exists() {
        bench.arg("--peer").arg(format!("file-sync={}", built.display()));
    }
    let output = bench.output().expect("the benchmark starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");

    let document: Value =
        serde_json::from_slice(&std::fs::read(&samples).expect("samples")).expect("a document");
    let measured = document["samples"].as_array().expect("samples are listed");
    for scenario in SCENARIOS {
        let is_of = |sample: &&Value| sample["scenario"] == *scenario && sample["peer"] == "file-sync";
        let is_there = measured.iter().any(|sample| is_of(&sample));
        let is_left_out = *scenario == "long-small" && stderr.contains("there is no long line")
            || stderr.contains("all is on loopback");
        assert!(is_there || is_left_out, "nothing of {scenario}: {stderr}");
    }
    check_growth(measured);
    let words = std::fs::read_to_string(&page).expect("a page");
    assert!(words.contains("## Time") && words.contains("page.svg"), "{words}");
    assert!(words.contains("page-growth.svg") && words.contains("| 4, a star | "), "{words}");
    let plot = std::fs::read_to_string(page.with_extension("svg")).expect("a plot");
    assert!(plot.contains("<svg"), "{plot}");
    let plot = std::fs::read_to_string(place.path().join("page-growth.svg")).expect("a plot of growth");
    for panel in ["Time, by files", "Memory, by files", "Time, by remotes", "CPU, by remotes"] {
        assert!(plot.contains(panel), "{plot}");
    }
    let left = std::fs::read_dir(place.path()).expect("the directory").flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("file-sync-bench"));
    assert_eq!(left.count(), 0, "it leaves nothing");
}

/// Every step was taken by as many members as there are, and peers took no part where they are not asked for.
fn check_growth(measured: &[Value]) {
    for (scenario, steps) in GROWTH {
        let of = |peer: &str| {
            let is_of = |sample: &&Value| sample["scenario"] == *scenario && sample["peer"] == peer;
            measured.iter().filter(is_of).collect::<Vec<&Value>>()
        };
        let ours: Vec<&str> = of("file-sync").iter().filter_map(|sample| sample["step"].as_str()).collect();
        assert_eq!(ours, *steps, "{scenario}");
        let rsyncs = of("rsync");
        let is_compared = |sample: &&Value| sample["step"] == "first" || sample["step"] == "rescan";
        assert!(rsyncs.iter().all(is_compared), "{rsyncs:?}");
        let n_members = if scenario.starts_with("growth") { 2 } else { 5 };
        for sample in of("file-sync") {
            let figures = &sample["figures"]["Ok"];
            match sample["step"].as_str() {
                Some("idle") => {
                    let resident = figures["rest"]["resident_bytes"].as_array().expect("of each member");
                    assert_eq!(resident.len(), n_members, "{sample}");
                    assert!(resident.iter().all(|bytes| bytes.as_u64() > Some(0)), "{sample}");
                }
                Some("saves") => {
                    assert!(figures["save_cpu_s"].as_f64() > Some(0.0), "a save costs something: {sample}");
                }
                _ => assert_eq!(figures["cpu_s"].as_array().map(Vec::len), Some(n_members), "{sample}"),
            }
        }
    }
}
