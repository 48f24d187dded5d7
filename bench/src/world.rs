//! Members side by side: each with a root, a home, a place in the network and its processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::interrupt;
use crate::network::{Means, Network, Seat};
use crate::plan::{Limits, Scenario, Shape};
use crate::process::Crew;

/// How often is asked whether something is done, at first and at last.
const PROBING: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(500));

/// All members of one measurement; it goes with all that is in it.
pub struct World {
    /// The first has the tree.
    pub members: Vec<Member>,
    /// Which of them are to know each other.
    pub shape: Shape,
    /// What is between them.
    pub network: Network,
    /// How long things may take.
    pub limits: Limits,
    base: TempDir,
}

/// One member.
pub struct Member {
    /// `m0`, `m1`, …
    pub name: String,
    /// Its directory.
    pub root: PathBuf,
    /// Where a peer may keep what it needs.
    pub home: PathBuf,
    /// Its place in the network.
    pub seat: Arc<Seat>,
    /// Its processes that count.
    pub crew: Crew,
}

impl World {
    /// Makes members with empty roots below `directory`.
    ///
    /// # Errors
    /// When there is no network or no directory to be had.
    pub fn new(directory: &Path, scenario: &Scenario, means: Means, limits: Limits) -> Result<World> {
        let base = tempfile::Builder::new().prefix("file-sync-bench-").tempdir_in(directory);
        let base = base.with_context(|| format!("{}", directory.display()))?;
        let network = Network::new(scenario.n_members, scenario.line, means)?;
        let mut members = Vec::new();
        for (number, seat) in network.seats().iter().enumerate() {
            let name = format!("m{number}");
            let (root, home) = (base.path().join(&name).join("root"), base.path().join(&name).join("home"));
            std::fs::create_dir_all(&root)?;
            std::fs::create_dir_all(&home)?;
            members.push(Member {
                name,
                root,
                home,
                crew: Crew::new(Arc::clone(seat)),
                seat: Arc::clone(seat),
            });
        }
        Ok(World { members, shape: scenario.shape, network, limits, base })
    }

    /// The member that has the tree.
    pub fn source(&self) -> &Member {
        &self.members[0]
    }

    /// All others.
    pub fn receivers(&self) -> &[Member] {
        &self.members[1..]
    }

    /// How many others each member is to know, in their order.
    pub fn n_acquaintances(&self) -> impl Iterator<Item = usize> {
        let n_others = self.members.len() - 1;
        let of = move |number| if number == 0 || self.shape == Shape::Mesh { n_others } else { 1 };
        (0..self.members.len()).map(of)
    }

    /// A path beside all roots, on their file system.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// Probes until the answer is there: less often the longer it takes, since to be asked costs a peer something too. What
    /// is measured is too long by a twentieth at most.
    ///
    /// # Errors
    /// When the probe fails, or a step's time has passed; `what` says what was missing.
    pub fn await_some<T>(&self, what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(answer) = probe()? {
                return Ok(answer);
            }
            if start.elapsed() > self.limits.step {
                bail!("{what}: not within {}", humantime::format_duration(self.limits.step));
            }
            interrupt::sleep((start.elapsed() / 20).clamp(PROBING.0, PROBING.1))?;
        }
    }

    /// Does the same for every receiver at once.
    ///
    /// # Errors
    /// The first failure.
    pub fn for_receivers(&self, work: impl Fn(&Member) -> Result<()> + Sync) -> Result<()> {
        let work = &work;
        match self.receivers() {
            [one] => work(one),
            many => std::thread::scope(|scope| {
                let started: Vec<_> = many.iter().map(|member| scope.spawn(move || work(member))).collect();
                let join = |thread: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                };
                started.into_iter().try_for_each(join)
            }),
        }
    }
}

impl Member {
    /// A command in an environment that nothing leaks into.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.home).env("LANG", "C.UTF-8").current_dir(&self.home);
        command
    }
}
