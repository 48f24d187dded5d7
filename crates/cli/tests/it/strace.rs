//! Servers under strace(1), which kills them, or fails their system calls, at a chosen call.
//!
//! What is counted: strace counts a system call's invocations by name and for each thread by itself, as its manual says
//! ("per syscall and per tracee"). `when=N` therefore strikes when the first thread makes its Nth call of that name, at
//! the entry of the call, which is not carried out.

#![expect(clippy::print_stdout, reason = "a test that cannot run here says so")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::world::{PATIENCE, eventually};

/// What happens at the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The process is killed.
    Kill,
    /// This one call fails.
    FailsOnce(&'static str),
    /// This call and all later ones of its name and thread fail, until `relieve`.
    FailsOn(&'static str),
}

/// One place in a server's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    /// Name of a system call.
    pub call: &'static str,
    /// The how manieth, from 1.
    pub number: u32,
    /// What happens.
    pub fault: Fault,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Point { call, number, fault } = self;
        match fault {
            Fault::Kill => write!(f, "kill at {call} {number}"),
            Fault::FailsOnce(errno) => write!(f, "{errno} at {call} {number}"),
            Fault::FailsOn(errno) => write!(f, "{errno} from {call} {number} on"),
        }
    }
}

/// The words before a server's own that let it run to this point. What strace saw goes to `log`.
pub fn until(point: &Point, log: &Path) -> Vec<OsString> {
    let Point { call, number, fault } = point;
    let inject = match fault {
        Fault::Kill => format!("inject={call}:signal=SIGKILL:when={number}"),
        Fault::FailsOnce(errno) => format!("inject={call}:error={errno}:when={number}"),
        Fault::FailsOn(errno) => format!("inject={call}:error={errno}:when={number}+"),
    };
    let mut words = words(call, log);
    // Signals do not come through a filter (strace 6.1), and a filter is not taken from a process again: without its
    // tracer, calls that it names would fail for good.
    if matches!(fault, Fault::FailsOnce(_)) {
        words.push("--seccomp-bpf".into());
    }
    words.extend(["-e".into(), inject.into()]);
    words
}

/// The words that let a server run while all its calls of this name that are about this one path fail.
pub fn failing_at(call: &str, errno: &str, path: &Path, log: &Path) -> Vec<OsString> {
    let inject = format!("inject={call}:error={errno}");
    [words(call, log), vec!["-P".into(), path.into(), "-e".into(), inject.into()]].concat()
}

/// The words that let a server run while its calls of these names each take so much longer.
pub fn delaying(calls: &[&str], by: Duration, log: &Path) -> Vec<OsString> {
    let calls = calls.join(",");
    let inject = format!("inject={calls}:delay_enter={}", by.as_micros());
    [words(&calls, log), vec!["-e".into(), inject.into()]].concat()
}

/// The words that let a server run unharmed and note its calls of these names in `log`.
pub fn noting(calls: &[&str], log: &Path) -> Vec<OsString> {
    let mut words = words(&calls.join(","), log);
    words.push("--seccomp-bpf".into());
    words
}

/// With `-D` the server, not strace, is the child of whoever starts it; with `-I2` strace heeds signals, so that it can
/// be told to let go.
fn words(calls: &str, log: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["strace", "-D", "-f", "-qq", "-I2", "-o"].map(OsString::from).into();
    words.extend([log.into(), "-e".into(), format!("trace={calls}").into()]);
    words
}

/// Ends what strace does to a server; the server goes on.
pub fn relieve(server_id: u32) {
    let tracer = || {
        let status = fs::read_to_string(format!("/proc/{server_id}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:").map(str::trim));
        line.and_then(|id| id.parse().ok()).and_then(Pid::from_raw)
    };
    if let Some(tracer) = tracer() {
        // It may have ended meanwhile, with the server.
        let _ = kill_process(tracer, Signal::TERM);
    }
    eventually(PATIENCE, || if tracer().is_none() { Ok(()) } else { Err("strace does not let go") });
}

/// How often each thread made each call.
pub type Counts = BTreeMap<String, Vec<u32>>;

/// Whether a fault was injected, from a log of `until`.
pub fn was_injected(log: &Path) -> bool {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).contains("(INJECTED)")
}

/// How often each thread made each call, from a log of `noting`.
pub fn counted(log: &Path) -> Counts {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(rest)) = (words.next(), words.next()) else { continue };
        let Some((call, _)) = rest.split_once('(') else { continue };
        *counts.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
    }
    let mut by_call = Counts::new();
    for ((call, _), count) in counts {
        by_call.entry(call).or_default().push(count);
    }
    by_call
}

/// Whether strace is here and allowed to do this; where not, says that the test named is skipped.
pub fn is_allowed_or_skips(test: &str) -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "inject=fsync:error=EIO:when=1", "true"]);
    let is_allowed =
        command.stdin(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_allowed {
        println!("skipped: {test} needs strace(1), allowed to trace");
    }
    is_allowed
}
