//! Runs the benchmark itself, in a size that takes seconds: whether it works, not how quick anything is.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A scenario of every kind.
const SCENARIOS: &[&str] = &["large", "small", "tree", "many", "long-small", "three-small", "growth-10"];

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
    let words = std::fs::read_to_string(&page).expect("a page");
    assert!(words.contains("## Time") && words.contains("page.svg"), "{words}");
    let plot = std::fs::read_to_string(page.with_extension("svg")).expect("a plot");
    assert!(plot.contains("<svg"), "{plot}");
    let left = std::fs::read_dir(place.path()).expect("the directory").flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("file-sync-bench"));
    assert_eq!(left.count(), 0, "it leaves nothing");
}
