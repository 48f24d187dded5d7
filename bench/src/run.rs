//! Measures: every scenario with every peer, one after the other, and all of that over again, so that what else the
//! machine does falls on all of them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::fill::{Change, fill};
use crate::interrupt;
use crate::meter::{Figures, measure, measure_rest};
use crate::network::Means;
use crate::peers::{Peer, Session};
use crate::plan::{FILE_SYNC, Scenario, Size, Step};
use crate::tree::compare;
use crate::world::World;

/// One step of one peer in one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// The scenario's name.
    pub scenario: String,
    /// What its tree is.
    pub title: String,
    /// What was done.
    pub step: Step,
    /// By whom.
    pub peer: String,
    /// In which run, from 0.
    pub run: u32,
    /// Files of the tree.
    pub n_files: u64,
    /// What it took, or why that is not known.
    pub figures: std::result::Result<Figures, String>,
}

/// How everything is measured.
pub struct Bench {
    /// How much.
    pub size: Size,
    /// How often.
    pub n_runs: u32,
    /// Where.
    pub directory: PathBuf,
    /// What is copied as a real tree.
    pub real: PathBuf,
    /// In what networks.
    pub means: Means,
}

impl Bench {
    /// Measures all scenarios; `tell` hears of every sample.
    ///
    /// # Errors
    /// When a tree cannot be made. What fails with a peer is a sample.
    pub fn run(
        &self,
        scenarios: &[Scenario],
        peers: &[Box<dyn Peer>],
        mut tell: impl FnMut(&Sample),
    ) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for scenario in scenarios {
            let n_runs = if scenario.is_once { 1 } else { self.n_runs };
            for run in 0..n_runs {
                // Another one is first each time.
                let first = run as usize % peers.len().max(1);
                for peer in peers[first..].iter().chain(&peers[..first]) {
                    let is_for_comparison = peer.n_runs_max(self.size) == 1;
                    if run >= peer.n_runs_max(self.size) || (is_for_comparison && scenario.is_once) {
                        continue;
                    }
                    let before = samples.len();
                    self.run_one(scenario, peer.as_ref(), run, &mut samples)?;
                    samples[before..].iter().for_each(&mut tell);
                    interrupt::check()?;
                }
            }
        }
        Ok(samples)
    }

    /// All steps of a scenario that a peer takes, in a world of their own.
    fn run_one(
        &self,
        scenario: &Scenario,
        peer: &dyn Peer,
        run: u32,
        samples: &mut Vec<Sample>,
    ) -> Result<()> {
        let is_taken = |step: &&Step| peer.takes(**step, self.size) && scenario.is_for(**step, peer.name());
        let steps: Vec<Step> = scenario.steps.iter().filter(is_taken).copied().collect();
        let is_prepared_only = steps.iter().all(|step| *step == Step::Index);
        if is_prepared_only {
            return Ok(());
        }
        warm(&self.directory, scenario.fill.bytes() * scenario.n_members.max(8) as u64)?;
        let world = World::new(&self.directory, scenario, self.means, scenario.limits(self.size))?;
        let n_files = fill(&world.source().root, &scenario.fill, &self.real)?;
        // What was just written is not written back while something is measured.
        rustix::fs::sync();
        let mut sample = |step, peer: &str, figures: Result<Figures>| {
            let is_ok = figures.is_ok();
            samples.push(Sample {
                scenario: scenario.name.clone(),
                title: scenario.title.clone(),
                step,
                peer: peer.to_owned(),
                run,
                n_files,
                figures: figures.map_err(|error| format!("{error:#}")),
            });
            is_ok
        };
        let mut session = match peer.open(&world, n_files) {
            Ok(session) => session,
            Err(error) => {
                sample(steps[0], peer.name(), Err(error));
                return Ok(());
            }
        };
        for step in steps {
            if step.writes() {
                // What was warm when the scenario began may have cooled since, and who keeps old versions needs more.
                warm(&self.directory, scenario.fill.bytes() * 2)?;
            }
            if step == Step::Rescan && peer.name() == FILE_SYNC {
                sample(step, FIND, measure_find(&world));
            }
            if !sample(step, peer.name(), carry_out(step, &world, session.as_mut(), run)) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Writes so much to tmpfs and deletes it: of a virtual machine's memory, what was never used, or was given back to the host,
/// is slow to be had, which would fall on whoever comes first, or needs most.
fn warm(directory: &Path, bytes: u64) -> Result<()> {
    let about = rustix::fs::statvfs(directory).with_context(|| format!("{}", directory.display()))?;
    let is_memory = rustix::fs::statfs(directory)?.f_type == TMPFS_MAGIC;
    if is_memory {
        let bytes = bytes.min(about.f_bavail * about.f_frsize / 2);
        std::io::copy(&mut std::io::repeat(1).take(bytes), &mut tempfile::tempfile_in(directory)?)?;
    }
    Ok(())
}

/// What statfs(2) says of tmpfs.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Who lists all names, for comparison.
pub const FIND: &str = "find";

/// Takes a step and measures it; what came out is compared afterwards.
fn carry_out(step: Step, world: &World, session: &mut (dyn Session + '_), run: u32) -> Result<Figures> {
    let mut figures = match step {
        Step::Index => return with_index(measure(world, || session.index())?, session),
        Step::First => measure(world, || session.first())?,
        Step::Insert | Step::Overwrite | Step::Append | Step::Rename => {
            let change = Change::prepare(world, step, u64::from(run))?;
            measure(world, || {
                change.make()?;
                session.pass()
            })?
        }
        Step::Rescan => measure(world, || session.pass())?,
        Step::Saves => measure_saves(world, session)?,
        Step::Restart => {
            session.stop()?;
            measure(world, || session.start())?
        }
        Step::Catchup => {
            session.stop()?;
            Change::prepare(world, step, u64::from(run))?.make()?;
            measure(world, || session.start())?
        }
        Step::Idle => {
            session.watch()?;
            // What follows from the steps before is over by then.
            interrupt::sleep(world.limits.idle.min(Duration::from_secs(5)))?;
            let rest = measure_rest(world, world.limits.idle)?;
            session.unwatch()?;
            Figures { wall_s: world.limits.idle.as_secs_f64(), rest: Some(rest), ..Figures::default() }
        }
    };
    compare(world)?;
    figures.index_bytes = session.index_bytes()?;
    Ok(figures)
}

fn with_index(figures: Figures, session: &(dyn Session + '_)) -> Result<Figures> {
    Ok(Figures { index_bytes: session.index_bytes()?, ..figures })
}

/// Saves one small file after the other, each when the one before is visible.
fn measure_saves(world: &World, session: &mut (dyn Session + '_)) -> Result<Figures> {
    session.watch()?;
    let mut saves_ms = Vec::new();
    let start = Instant::now();
    let source_cpu = || world.source().crew.fine_cpu();
    let cpu_before = source_cpu();
    let saving = measure(world, || {
        for number in 0..world.limits.n_saves {
            if start.elapsed() > world.limits.saving {
                break;
            }
            saves_ms.push(save_once(world, number)?);
            // As a user who is quick; not in step with anybody's timer.
            interrupt::sleep(Duration::from_millis(250 + number as u64 * 37 % 101))?;
        }
        Ok(())
    });
    let cpu = source_cpu().since(&cpu_before).as_secs_f64();
    session.unwatch()?;
    Ok(Figures { save_cpu_s: Some(cpu / saves_ms.len() as f64), saves_ms, ..saving? })
}

fn save_once(world: &World, number: usize) -> Result<f64> {
    let name = "saved.txt";
    // Each is longer than the one before: nobody needs more than the size to see a change.
    let text = format!("save {number} {}\n", "x".repeat(1000 + number));
    let receivers: Vec<PathBuf> = world.receivers().iter().map(|member| member.root.join(name)).collect();
    let start = Instant::now();
    std::fs::write(world.source().root.join(name), &text)?;
    let is_there = |path: &PathBuf| {
        let has_length = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == text.len() as u64);
        has_length && std::fs::read(path).is_ok_and(|bytes| bytes == text.as_bytes())
    };
    loop {
        if receivers.iter().all(is_there) {
            return Ok(start.elapsed().as_secs_f64() * 1000.0);
        }
        if start.elapsed() > world.limits.step {
            bail!("a save was not visible within {}", humantime::format_duration(world.limits.step));
        }
        interrupt::check()?;
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Lists the source's names and what stat(2) says of them.
fn measure_find(world: &World) -> Result<Figures> {
    let start = Instant::now();
    let mut find = Command::new("find");
    find.arg(&world.source().root)
        .args(["-newermt", "2100-01-01"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let status = find.status().context("cannot run find")?;
    if !status.success() {
        bail!("find ended with {status}");
    }
    Ok(Figures { wall_s: start.elapsed().as_secs_f64(), ..Figures::default() })
}
