//! Processes of one member: started here, counted here, and ended by their ids, with what they started themselves.
//!
//! CPU is what /proc says of them and of what they have waited for, peak memory the highest sum of their VmHWM seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use procfs::process::{Process, Stat, Task};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open, waitid,
};

use crate::interrupt::{self, SLICE};
use crate::network::Seat;

/// How long a process may take to end when it is asked to.
const ENDING: Duration = Duration::from_secs(15);

/// All processes of one member.
#[derive(Clone)]
pub struct Crew {
    seat: Arc<Seat>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Ids of what was started here and has not been reaped.
    roots: BTreeSet<i32>,
    /// What those that were reaped had used.
    ended_cpu: Duration,
    /// The living, as of the last look.
    known: BTreeSet<i32>,
    peak_bytes: u64,
}

/// CPU of threads in nanoseconds, by their ids.
pub struct FineCpu(BTreeMap<i32, u64>);

impl FineCpu {
    /// What was used since then. Of a thread that has ended in between nothing counts: those that end had nothing to do
    /// for seconds.
    pub fn since(&self, before: &FineCpu) -> Duration {
        let used = |(id, now): (&i32, &u64)| now.saturating_sub(before.0.get(id).copied().unwrap_or(0));
        Duration::from_nanos(self.0.iter().map(used).sum())
    }
}

/// What a command that has ended said.
pub struct Said {
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Crew {
    /// Nobody yet, at a place in the network.
    pub fn new(seat: Arc<Seat>) -> Crew {
        Crew { seat, state: Arc::default() }
    }

    /// Starts a process that goes on.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, command: &mut Command) -> Result<Running> {
        command.process_group(0).stdin(Stdio::null());
        let child = self.seat.spawn(command).with_context(|| format!("cannot start {}", name_of(command)))?;
        let mut state = self.state();
        state.roots.insert(id_of(&child));
        state.known.insert(id_of(&child));
        Ok(Running { child: Some(child), crew: self.clone() })
    }

    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started, or has not ended in time.
    pub fn say(&self, command: &mut Command, limit: Duration) -> Result<Said> {
        let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        let running = self.start(command)?;
        let status = running.wait(limit).with_context(|| name_of(command))?;
        Ok(Said { stdout: text(&mut stdout)?, stderr: text(&mut stderr)?, status })
    }

    /// Runs a command that must succeed; returns its stdout.
    ///
    /// # Errors
    /// When it does not, with the end of what it said.
    pub fn run(&self, command: &mut Command, limit: Duration) -> Result<String> {
        let said = self.say(command, limit)?;
        if !said.status.success() {
            bail!("{} ended with {}: {}", name_of(command), said.status, end_of(&said.stderr));
        }
        Ok(said.stdout)
    }

    /// CPU of all processes so far, the ended ones included.
    pub fn cpu(&self) -> Duration {
        let state = self.state();
        state.ended_cpu + living(&state.roots).iter().map(cpu_of).sum::<Duration>()
    }

    /// CPU of each living thread, to the nanosecond.
    pub fn fine_cpu(&self) -> FineCpu {
        let processes = self.processes();
        let tasks = processes.iter().filter_map(|process| process.tasks().ok()).flatten().flatten();
        let of = |task: Task| Some((task.tid, task.schedstat().ok()?.sum_exec_runtime));
        FineCpu(tasks.filter_map(of).collect())
    }

    /// What the living have in memory now.
    pub fn resident_bytes(&self) -> u64 {
        let resident = |process: &Process| process.status().ok()?.vmrss;
        self.processes().iter().filter_map(resident).sum::<u64>() * 1024
    }

    /// Bytes that the living have handed to write calls.
    pub fn written_bytes(&self) -> u64 {
        self.processes().iter().filter_map(|process| process.io().ok()).map(|io| io.wchar).sum()
    }

    /// Begins to look for a new peak.
    pub fn forget_peak(&self) {
        let mut state = self.state();
        state.peak_bytes = 0;
        state.known = living(&state.roots).iter().map(|stat| stat.pid).collect();
        for id in &state.known {
            // 5 resets VmHWM, proc_pid_clear_refs(5); a process that has gone has none.
            let _ = std::fs::write(format!("/proc/{id}/clear_refs"), "5");
        }
    }

    /// Looks at the memory of the processes that are known, and for new ones if told so.
    pub fn look(&self, for_new: bool) {
        let mut state = self.state();
        if for_new {
            state.known = living(&state.roots).iter().map(|stat| stat.pid).collect();
        }
        let high = |id: &i32| Process::new(*id).ok()?.status().ok()?.vmhwm;
        let now = state.known.iter().filter_map(high).sum::<u64>() * 1024;
        state.peak_bytes = state.peak_bytes.max(now);
    }

    /// The highest since [`Crew::forget_peak`].
    pub fn peak_bytes(&self) -> u64 {
        self.state().peak_bytes
    }

    fn processes(&self) -> Vec<Process> {
        let ids: Vec<i32> = living(&self.state().roots).iter().map(|stat| stat.pid).collect();
        ids.into_iter().filter_map(|id| Process::new(id).ok()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps a process that has ended, and keeps what it had used.
    fn reap(&self, child: &mut Child) -> std::io::Result<ExitStatus> {
        let id = id_of(child);
        let mut state = self.state();
        // A zombie's times can be read until it is waited for.
        let stat = Process::new(id).and_then(|process| process.stat());
        state.ended_cpu += stat.as_ref().map_or(Duration::ZERO, cpu_of);
        state.roots.remove(&id);
        state.known.remove(&id);
        child.wait()
    }
}

/// A process that goes on until it is waited for or dropped.
pub struct Running {
    child: Option<Child>,
    crew: Crew,
}

impl Running {
    /// Waits for its end.
    ///
    /// # Errors
    /// When it has not ended in time; it is then killed.
    pub fn wait(mut self, limit: Duration) -> Result<ExitStatus> {
        let child = self.child.as_mut().context("it was waited for")?;
        if !has_ended_within(child, limit, interrupt::check)? {
            bail!("not done within {}", humantime::format_duration(limit));
        }
        let status = self.crew.reap(child)?;
        self.child = None;
        Ok(status)
    }

    /// True until it has ended.
    pub fn is_alive(&mut self) -> bool {
        self.child
            .as_ref()
            .is_some_and(|child| !has_ended_within(child, Duration::ZERO, || Ok(())).unwrap_or(true))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let id = Pid::from_child(&child);
        // It may have ended already, and there is nobody to tell.
        let _ = kill_process(id, Signal::TERM);
        if !has_ended_within(&child, ENDING, || Ok(())).unwrap_or(false) {
            let _ = kill_process_group(id, Signal::KILL);
            let _ = has_ended_within(&child, ENDING, || Ok(()));
        }
        // What it started and left behind is in its group, whose id is not free until this is reaped.
        let _ = kill_process_group(id, Signal::KILL);
        let _ = self.crew.reap(&mut child);
    }
}

/// Waits for an end without reaping, for as long as `check` allows.
fn has_ended_within(child: &Child, limit: Duration, check: impl Fn() -> Result<()>) -> Result<bool> {
    let id = Pid::from_child(child);
    let handle = pidfd_open(id, PidfdFlags::empty()).context("a process of one's own can be opened")?;
    let start = Instant::now();
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(id), options)?.is_some() {
            return Ok(true);
        }
        check()?;
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = Timespec::try_from(left.min(SLICE)).context("a limit that the kernel can take")?;
        // An interrupted poll is one more round.
        let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout));
    }
}

/// The processes and all that they started and that still runs.
fn living(roots: &BTreeSet<i32>) -> Vec<Stat> {
    if roots.is_empty() {
        return Vec::new();
    }
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    let mut children: BTreeMap<i32, Vec<Stat>> = BTreeMap::new();
    let mut found = Vec::new();
    for stat in all.filter_map(|process| process.stat().ok()) {
        match roots.contains(&stat.pid) {
            true => found.push(stat),
            false => children.entry(stat.ppid).or_default().push(stat),
        }
    }
    let mut next = 0;
    while let Some(stat) = found.get(next) {
        found.extend(children.remove(&stat.pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Its own and of those that it has waited for, in steps of a clock tick.
fn cpu_of(stat: &Stat) -> Duration {
    let waited_for = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
    let ticks = stat.utime + stat.stime + waited_for;
    Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64)
}

/// What a page can name: neither paths nor an environment.
fn name_of(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn id_of(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("process ids fit")
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
