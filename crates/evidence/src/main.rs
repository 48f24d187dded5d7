//! Runs all tests, in full with `--full`, and writes what they proved to docs/evidence.md.
//!
//! `--from FILE` takes the output of an earlier run in place of a new one. The page is written whatever came out; the
//! command fails if a test failed, or anything happened that must not.

#![expect(clippy::print_stdout, reason = "a tool for developers")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use file_sync_evidence::{Run, collect, count_seconds, count_tests, page};

const PAGE: &str = "docs/evidence.md";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_full = arguments.iter().any(|argument| argument == "--full");
    let from = arguments.iter().position(|argument| argument == "--from").map(|index| index + 1);
    let known = |argument: &String| ["--full", "--from"].contains(&argument.as_str());
    if arguments.iter().enumerate().any(|(index, argument)| !known(argument) && Some(index) != from) {
        bail!("usage: file-sync-evidence [--full] [--from FILE]");
    }
    let output = match from {
        Some(index) => {
            let file = arguments.get(index).context("--from needs a file")?;
            std::fs::read_to_string(file).with_context(|| file.clone())?
        }
        None => run_tests(is_full)?,
    };
    let (evidence, broken) = collect(&output);
    let run = Run {
        commit: said_by("git", &["rev-parse", "--short", "HEAD"])?,
        date: said_by("date", &["-u", "+%Y-%m-%d"])?,
        machine: format!("{} cores, Linux {}", said_by("nproc", &[])?, said_by("uname", &["-r"])?),
        seconds: count_seconds(&output) as u64,
        tests: count_tests(&output),
        is_full,
    };
    std::fs::write(PAGE, page(&run, &evidence)).with_context(|| PAGE.to_owned())?;
    println!("{PAGE}: {} rows of evidence", evidence.len());
    let n_bad: u64 = evidence.iter().flat_map(|one| one.bad.values()).sum();
    if run.tests.1 > 0 || n_bad > 0 || !broken.is_empty() {
        bail!("{} tests failed, {n_bad} bad things seen, {} lines not understood", run.tests.1, broken.len());
    }
    Ok(())
}

/// Runs cargo's tests, shows what they print, and returns it.
fn run_tests(is_full: bool) -> Result<String> {
    let mut command = Command::new("cargo");
    command.args(["test", "--release", "--workspace", "--locked", "--no-fail-fast", "--", "--show-output"]);
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
