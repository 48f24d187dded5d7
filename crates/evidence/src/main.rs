//! Runs all tests and writes what they proved to docs/evidence.md.
//!
//! `--full` tries everything in full size; `--full NAMES` tries the slice, and then, in full size, the tests whose names
//! contain one of these. `--from FILE...` takes the output of earlier runs in place of new ones: of the slice first, then
//! of what was tried in full size, which takes hours: `--full-at COMMIT` says of which commit that was, if of an earlier one. The
//! page is written whatever came out; the command fails if a test failed, or anything happened that must not.

#![expect(clippy::print_stdout, reason = "a tool for developers")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use file_sync_evidence::{Full, Run, collect, count_seconds, count_tests, page, replace_parts};

const PAGE: &str = "docs/evidence.md";
const USAGE: &str = "usage: file-sync-evidence [--full [NAMES...] | --from FILES... [--full-at COMMIT]]";

/// What tests printed.
struct Outputs {
    /// All tests.
    all: String,
    /// Tests that were tried in full size besides.
    full: Option<String>,
    /// All were tried in full size.
    is_all_full: bool,
    /// Those in full size are of another commit.
    full_at: Option<String>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (words, full_at) = match words.as_slice() {
        ["--from", files @ .., "--full-at", commit] => {
            ([&["--from"], files].concat(), Some((*commit).to_owned()))
        }
        _ => (words, None),
    };
    let outputs = match words.as_slice() {
        [] => Outputs { all: run_tests(&[], false)?, full: None, is_all_full: false, full_at },
        ["--full"] => Outputs { all: run_tests(&[], true)?, full: None, is_all_full: true, full_at },
        ["--full", names @ ..] if names.iter().all(|name| !name.starts_with('-')) => {
            let all = run_tests(&[], false)?;
            Outputs { all, full: Some(run_tests(names, true)?), is_all_full: false, full_at }
        }
        ["--from", first, others @ ..] => {
            let read = |file: &&str| std::fs::read_to_string(file).with_context(|| (*file).to_owned());
            let full = others.iter().map(read).collect::<Result<Vec<String>>>()?;
            let full = (!full.is_empty()).then(|| full.concat());
            Outputs { all: read(first)?, full, is_all_full: false, full_at }
        }
        _ => bail!(USAGE),
    };
    write_page(&outputs)
}

fn write_page(outputs: &Outputs) -> Result<()> {
    let (mut evidence, mut broken) = collect(&outputs.all);
    let (mut tests, mut seconds) = (count_tests(&outputs.all), count_seconds(&outputs.all));
    let mut parts = Vec::new();
    if let Some(full) = &outputs.full {
        let (rows, lines) = collect(full);
        parts = replace_parts(&mut evidence, rows);
        broken.extend(lines);
        tests.1 += count_tests(full).1;
        seconds += count_seconds(full);
    }
    let run = Run {
        commit: said_by("git", &["rev-parse", "--short", "HEAD"])?,
        date: said_by("date", &["-u", "+%Y-%m-%d"])?,
        machine: format!("{} cores, Linux {}", said_by("nproc", &[])?, said_by("uname", &["-r"])?),
        seconds: seconds as u64,
        tests,
        full: if outputs.is_all_full { Full::All } else { Full::Parts(parts) },
        full_at: outputs.full_at.clone(),
    };
    std::fs::write(PAGE, page(&run, &evidence)).with_context(|| PAGE.to_owned())?;
    println!("{PAGE}: {} rows of evidence", evidence.len());
    let n_bad: u64 = evidence.iter().flat_map(|one| one.bad.values()).sum();
    if run.tests.1 > 0 || n_bad > 0 || !broken.is_empty() {
        bail!("{} tests failed, {n_bad} bad things seen, {} lines not understood", run.tests.1, broken.len());
    }
    Ok(())
}

/// Runs cargo's tests, all or those whose names contain one of `names`, shows what they print, and returns it.
fn run_tests(names: &[&str], is_full: bool) -> Result<String> {
    let mut command = Command::new("cargo");
    command.args(["test", "--release", "--workspace", "--locked", "--no-fail-fast", "--", "--show-output"]);
    command.args(names);
    if is_full {
        command.env("EVIDENCE", "full");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut output = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what cargo prints")?;
        println!("{line}");
        output.push_str(&line);
        output.push('\n');
    }
    child.wait().context("cannot wait for cargo")?;
    Ok(output)
}

fn said_by(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
