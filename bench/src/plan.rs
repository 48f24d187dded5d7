//! What is measured, in which size: scenarios, each a tree and the steps that are taken with it one after the other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The project's own program, as its peer is called.
pub const FILE_SYNC: &str = "file-sync";

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// Whether the benchmark works.
    Tiny,
    /// A few minutes.
    Quick,
    /// What the budgets are about.
    Full,
}

/// What a tree is filled with.
#[derive(Clone, Debug)]
pub enum Fill {
    /// One large file in a directory `d`.
    Large {
        /// Its size.
        bytes: u64,
    },
    /// Files of 4 KiB in a directory `d`, a hundred a directory.
    Small {
        /// How many.
        n_files: u64,
    },
    /// Copies of real files, at most so many.
    Real {
        /// How many at most.
        n_files_max: usize,
    },
}

/// What is done and measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The source is read for the first time, where a peer does that apart.
    Index,
    /// All of it to members that have nothing.
    First,
    /// One byte inserted at the front of the large file.
    Insert,
    /// 4 KiB overwritten in its middle.
    Overwrite,
    /// 1 MiB appended.
    Append,
    /// The directory `d` renamed.
    Rename,
    /// Single small saves, each until it is visible.
    Saves,
    /// A forced pass with nothing changed.
    Rescan,
    /// Both sides stopped, started again and connected, with nothing changed.
    Restart,
    /// The same, with ten files of the source changed meanwhile.
    Catchup,
    /// Nothing for a while.
    Idle,
}

impl Step {
    /// Its name on the command line and in the page.
    pub fn name(self) -> &'static str {
        match self {
            Step::Index => "index",
            Step::First => "first",
            Step::Insert => "insert",
            Step::Overwrite => "overwrite",
            Step::Append => "append",
            Step::Rename => "rename",
            Step::Saves => "saves",
            Step::Rescan => "rescan",
            Step::Restart => "restart",
            Step::Catchup => "catchup",
            Step::Idle => "idle",
        }
    }

    /// True if about as much as the tree holds may be written in it.
    pub fn writes(self) -> bool {
        matches!(self, Step::First | Step::Insert | Step::Overwrite | Step::Append | Step::Rename)
    }
}

/// What is between the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// As quick as the machine.
    Direct,
    /// A long way.
    Long(LongLine),
}

/// A long way between two members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongLine {
    /// One way.
    pub delay: Duration,
    /// Of the bottleneck, in each direction.
    pub bits_per_second: u64,
    /// One packet in so many is lost, if any.
    pub lost_every: Option<u32>,
}

/// Which members are paired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each with each.
    Mesh,
    /// Each with the source alone.
    Star,
}

/// A tree and what is done with it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name on the command line and in the page.
    pub name: String,
    /// What it is, for readers.
    pub title: String,
    /// The tree.
    pub fill: Fill,
    /// Members, the first of which has the tree.
    pub n_members: usize,
    /// Which of them know each other.
    pub shape: Shape,
    /// What is between them.
    pub line: Line,
    /// What is done.
    pub steps: Vec<Step>,
    /// Those of the steps that file-sync alone takes: how it grows is asked, not who grows less.
    pub own_steps: Vec<Step>,
    /// It is measured once, however many runs there are, and in the quick size only with everybody's fastest setting.
    pub is_once: bool,
}

/// Limits of what is done over and over.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Single saves.
    pub n_saves: usize,
    /// No more saves are begun after this.
    pub saving: Duration,
    /// How long nothing is done.
    pub idle: Duration,
    /// How long one step may take.
    pub step: Duration,
}

impl Size {
    /// Limits in this size.
    pub fn limits(self) -> Limits {
        let seconds = Duration::from_secs;
        match self {
            Size::Tiny => Limits { n_saves: 3, saving: seconds(5), idle: seconds(1), step: seconds(60) },
            Size::Quick => Limits { n_saves: 10, saving: seconds(4), idle: seconds(5), step: seconds(120) },
            Size::Full => {
                Limits { n_saves: 100, saving: seconds(120), idle: seconds(60), step: seconds(1800) }
            }
        }
    }

    /// All scenarios in this size.
    pub fn scenarios(self) -> Vec<Scenario> {
        let pick = |tiny: u64, quick: u64, full: u64| match self {
            Size::Tiny => tiny,
            Size::Quick => quick,
            Size::Full => full,
        };
        let large = Fill::Large { bytes: pick(1, 64, 1024) << 20 };
        let small = Fill::Small { n_files: pick(20, 1_000, 10_000) };
        let real =
            Fill::Real { n_files_max: usize::try_from(pick(20, 1_000, 1_000_000)).unwrap_or(usize::MAX) };
        let mut all = vec![
            scenario("large", large, LARGE),
            scenario("small", small, &[Step::Index, Step::First, Step::Rename, Step::Saves]),
            scenario("tree", real, &[Step::Index, Step::First]),
            scenario("many", Fill::Small { n_files: pick(50, 5_000, 50_000) }, MANY),
        ];
        all.extend(self.long_lines());
        let three = Fill::Large { bytes: pick(1, 32, 512) << 20 };
        all.push(Scenario { n_members: 3, ..scenario("three-large", three, &[Step::Index, Step::First]) });
        let three = Fill::Small { n_files: pick(20, 500, 10_000) };
        all.push(Scenario { n_members: 3, ..scenario("three-small", three, &[Step::Index, Step::First]) });
        all.extend(self.growth());
        all.extend(self.remotes());
        for scenario in &mut all[2..] {
            scenario.is_once |= self == Size::Quick; // The first two, of all kinds, are measured more than once.
        }
        all
    }

    /// A line of 100 ms, without and with loss.
    fn long_lines(self) -> Vec<Scenario> {
        let line =
            LongLine { delay: Duration::from_millis(50), bits_per_second: 100_000_000, lost_every: None };
        let (bytes, n_files) = match self {
            Size::Tiny => (1 << 18, 5),
            Size::Quick => (8 << 20, 100),
            Size::Full => (256 << 20, 2_000),
        };
        let steps = [Step::Index, Step::First];
        let long = |name, fill, line| Scenario { line: Line::Long(line), ..scenario(name, fill, &steps) };
        let lossy = LongLine { lost_every: Some(200), ..line };
        vec![
            long("long-large", Fill::Large { bytes }, line),
            long("long-small", Fill::Small { n_files }, line),
            long("lossy-large", Fill::Large { bytes }, lossy),
        ]
    }

    /// How everything grows with the number of files.
    fn growth(self) -> Vec<Scenario> {
        let counts: &[u64] = match self {
            Size::Tiny => &[10, 20],
            Size::Quick => &[1_000, 10_000],
            Size::Full => &[1_000, 10_000, 100_000, 1_000_000],
        };
        let grown = |n_files: &u64| Scenario {
            is_once: *n_files >= 10_000,
            own_steps: vec![Step::Saves, Step::Restart, Step::Catchup, Step::Idle],
            ..scenario(&format!("growth-{n_files}"), Fill::Small { n_files: *n_files }, GROWTH)
        };
        counts.iter().map(grown).collect()
    }

    /// How everything grows with the number of remotes: those of one member, and those of each.
    fn remotes(self) -> Vec<Scenario> {
        let (n_files, counts): (u64, &[usize]) = match self {
            Size::Tiny => (10, &[1, 4]),
            Size::Quick => (1_000, &[1, 4, 16]),
            Size::Full => (10_000, &[1, 4, 16]),
        };
        let among = |name: &str, shape, n_remotes: usize| {
            let scenario = scenario(&format!("{name}-{n_remotes}"), Fill::Small { n_files }, REMOTES);
            Scenario {
                title: format!("{}, {n_remotes} remotes, a {name}", scenario.title),
                n_members: n_remotes + 1,
                shape,
                own_steps: REMOTES.to_vec(),
                is_once: true,
                ..scenario
            }
        };
        let stars = counts.iter().map(|n_remotes| among("star", Shape::Star, *n_remotes));
        stars.chain([among("mesh", Shape::Mesh, 4)]).collect()
    }
}

const LARGE: &[Step] = &[Step::Index, Step::First, Step::Insert, Step::Overwrite, Step::Append, Step::Rename];
const MANY: &[Step] = &[Step::Index, Step::First, Step::Rescan, Step::Restart, Step::Idle];
const GROWTH: &[Step] =
    &[Step::Index, Step::First, Step::Rescan, Step::Saves, Step::Restart, Step::Catchup, Step::Idle];
const REMOTES: &[Step] = &[Step::Index, Step::First, Step::Saves, Step::Restart, Step::Idle];

fn scenario(name: &str, fill: Fill, steps: &[Step]) -> Scenario {
    let title = fill.title();
    Scenario {
        name: name.to_owned(),
        title,
        fill,
        n_members: 2,
        shape: Shape::Mesh,
        line: Line::Direct,
        steps: steps.to_vec(),
        own_steps: Vec::new(),
        is_once: false,
    }
}

impl Fill {
    /// Bytes of all files, about.
    pub fn bytes(&self) -> u64 {
        match self {
            Fill::Large { bytes } => *bytes,
            Fill::Small { n_files } => n_files * 4096,
            Fill::Real { .. } => 128 << 20,
        }
    }

    fn title(&self) -> String {
        match self {
            Fill::Large { bytes } if *bytes < 1 << 20 => format!("one file of {} KiB", bytes >> 10),
            Fill::Large { bytes } => format!("one file of {} MiB", bytes >> 20),
            Fill::Small { n_files } => format!("{n_files} files of 4 KiB"),
            Fill::Real { .. } => "a real tree".to_owned(),
        }
    }
}

impl Scenario {
    /// Limits in a size: where the same is done with many trees or members, each takes less.
    pub fn limits(&self, size: Size) -> Limits {
        let limits = size.limits();
        if self.own_steps.is_empty() {
            return limits;
        }
        let idle = limits.idle.min(Duration::from_secs(2));
        Limits { n_saves: limits.n_saves.div_ceil(2), saving: limits.saving / 2, idle, ..limits }
    }

    /// True if a step is for everybody, or the peer is file-sync.
    pub fn is_for(&self, step: Step, peer: &str) -> bool {
        peer == FILE_SYNC || !self.own_steps.contains(&step)
    }

    /// Leaves out what was not asked for; `None` if nothing is left. What others need first stays.
    ///
    /// A word is a scenario's name, a step's, or `SCENARIO/STEP`.
    pub fn only(mut self, words: &[String]) -> Option<Scenario> {
        if words.is_empty() || words.contains(&self.name) {
            return Some(self);
        }
        let is_asked = |step: &Step| {
            let whole = format!("{}/{}", self.name, step.name());
            words.iter().any(|word| word == step.name() || *word == whole)
        };
        let asked: Vec<Step> = self.steps.iter().copied().filter(is_asked).collect();
        let last = asked.last()?;
        self.steps.retain(|step| asked.contains(step) || (*step <= Step::First && step < last));
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps_of(words: &[&str]) -> Vec<(String, Vec<Step>)> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let asked = Size::Quick.scenarios().into_iter().filter_map(|scenario| scenario.only(&words));
        asked.map(|scenario| (scenario.name, scenario.steps)).collect()
    }

    #[test]
    fn what_is_asked_for_brings_what_it_needs() {
        let saves = ("small".to_owned(), vec![Step::Index, Step::First, Step::Saves]);
        assert!(steps_of(&["saves"]).contains(&saves));
        assert_eq!(steps_of(&["small/saves"]), vec![saves]);
        assert_eq!(steps_of(&["large"]).len(), 1);
        assert_eq!(steps_of(&["nothing"]), []);
        assert_eq!(steps_of(&[]).len(), Size::Quick.scenarios().len());
    }

    #[test]
    fn peers_take_what_shows_who_grows_less_and_file_sync_takes_all() {
        let all = Size::Full.scenarios();
        let named = |name: &str| all.iter().find(|scenario| scenario.name == name).expect("it is planned");
        let of = |name: &str, peer: &str| {
            let scenario = named(name);
            let steps = scenario.steps.iter().copied();
            steps.filter(|step| scenario.is_for(*step, peer)).collect::<Vec<Step>>()
        };
        assert_eq!(of("growth-1000000", "rsync"), [Step::Index, Step::First, Step::Rescan]);
        assert_eq!(of("growth-1000000", FILE_SYNC), GROWTH);
        assert_eq!(of("star-16", "rsync"), []);
        assert_eq!(of("star-16", FILE_SYNC), REMOTES);
        assert_eq!((named("star-16").n_members, named("star-16").shape), (17, Shape::Star));
        assert_eq!(of("many", "rsync"), MANY);
    }
}
