//! Runs a script with a trace of all that happens: `replay FILE`.

#![expect(clippy::print_stdout, reason = "the trace is for people to read")]

use file_sync_sim::{Script, run_script};

fn main() {
    let path = std::env::args().nth(1).unwrap_or_default();
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut script: Script = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
    script.scene.options.is_traced = std::env::var_os("QUIET").is_none();
    let report = run_script(&script);
    report.trace.iter().for_each(|line| println!("{line}"));
    report.shown.iter().for_each(|shown| println!("{shown:?}"));
    println!("{:?} {:?}", report.failures, report.stats);
}
