//! A history as text, a line a step: what a seed's history is recorded as, shrunk to, and kept as a regression test.
//!
//! First the scene (devices, links, how adverse the world is), then what happens, in order:
//!
//! ```text
//! seed 12                     delays, losses and the like are chosen by it
//! device two-way              A; then B, C, …; also: clock=-300 drift=50 step=1000000000 keeps-ctime
//! device receive-only
//! link A B
//! author A                    a read-only offer: its versions alone count
//! set work 3000               longest time of a piece of disk work (microseconds); see [`Options`]
//! A write d/f t1              a user's act
//! wait 300000                 microseconds
//! A crash 50000               down for so long
//! rest                        heal, wait for rest, ask all questions
//! ```
//!
//! What a step needs and does not find (a file to delete, a link to cut) makes it do nothing, so that any part of a script
//! is a script.

use std::fmt;
use std::str::FromStr;

use file_sync_core::engine::Mode;

use crate::world::Options;

/// One simulated machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// How it takes part.
    pub mode: Mode,
    /// How far its wall clock is off, in seconds.
    pub clock_seconds: i64,
    /// How much faster its wall clock runs, in millionths.
    pub drift_ppm: i64,
    /// The step in which its file system stores times, in nanoseconds.
    pub time_step_ns: u64,
    /// A rename leaves the change time as it was, as on some file systems.
    pub keeps_ctime: bool,
}

/// Where a history takes place.
#[derive(Clone, PartialEq, Debug)]
pub struct Scene {
    /// What delays, losses and the like are chosen by.
    pub seed: u64,
    /// The devices.
    pub machines: Vec<Machine>,
    /// Who is linked to whom, lower index first.
    pub links: Vec<(usize, usize)>,
    /// In a read-only offer, whose versions alone count.
    pub only_author: Option<usize>,
    /// How adverse the world is.
    pub options: Options,
}

/// A scene and what happens there.
#[derive(Clone, PartialEq, Debug)]
pub struct Script {
    /// Where.
    pub scene: Scene,
    /// What.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// So many microseconds pass.
    Wait(u64),
    /// All faults end, all come to rest, and all is compared.
    Rest,
    /// A year passes.
    Year,
    /// Something happens to a device, or its user does something: a verb and its words.
    Device(usize, Verb),
    /// Two devices are linked.
    Link(usize, usize),
    /// Their link is cut.
    Cut(usize, usize),
    /// What the first says does not arrive until the link is whole again, or is cut.
    Stall(usize, usize),
}

macro_rules! verbs {
    ($($name:ident($($word:ident: $kind:ty),*) = $text:literal, $doc:literal;)*) => {
        /// What a device's user does, or what happens to the device.
        #[derive(Clone, PartialEq, Eq, Debug)]
        #[expect(missing_docs, reason = "the words are said in each verb's line")]
        pub enum Verb {
            $(#[doc = $doc] $name { $($word: $kind),* },)*
        }

        impl fmt::Display for Verb {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Verb::$name { $($word),* } => {
                        formatter.write_str($text)?;
                        $(write!(formatter, " {}", $word)?;)*
                        Ok(())
                    })*
                }
            }
        }

        impl Verb {
            fn parse(words: &mut Words<'_>) -> Option<Verb> {
                match words.next()? {
                    $($text => Some(Verb::$name { $($word: words.next()?.parse::<$kind>().ok()?),* }),)*
                    _ => None,
                }
            }
        }
    };
}

verbs! {
    Write(at: String, bytes: String) = "write", "Writes a file, in place if it is there.";
    Save(at: String, bytes: String) = "save", "Writes another file and renames it over this one.";
    Append(at: String, bytes: String) = "append", "Adds to a file.";
    Remove(at: String) = "rm", "Removes what is there and below.";
    Move(from: String, to: String) = "mv", "Renames; what is at the new name gives way.";
    Swap(one: String, two: String) = "swap", "Exchanges two items by way of a third name.";
    MakeDirectory(at: String) = "mkdir", "Makes a directory.";
    Chmod(at: String, mode: u16) = "chmod", "Sets permission bits (in decimal).";
    Touch(at: String, seconds: i64) = "touch", "Sets a modification time.";
    Symlink(at: String, target: String) = "ln", "Makes a symlink.";
    Open(at: String, descriptor: u64) = "open", "Opens a file for writing.";
    WriteLate(descriptor: u64, bytes: String) = "late", "Writes through a descriptor.";
    Crash(down_us: u64) = "crash", "The engine is dropped, for so many microseconds.";
    CutPower(down_us: u64) = "power-cut", "The same, and of what was not durable some is gone.";
    Pause(on: bool) = "pause", "Both directions stop, or go on.";
    Approve() = "approve", "Deletions that are held are let through.";
    Reject() = "reject", "What is held is brought back.";
    Scan() = "scan", "The whole disk is looked at.";
    Full(on: bool) = "full", "The disk is full, or has room again.";
    ReadOnly(on: bool) = "read-only", "The disk can only be read, or written again.";
    Unreadable(at: String, on: bool) = "deny", "A path and all below cannot be read, or can.";
    Failing(at: String, on: bool) = "fail", "A path and all below give I/O errors, or no longer.";
    Mount(at: String, on: bool) = "mount", "Another file system is mounted over a directory, or no longer.";
    LoseRoot(on: bool) = "root-lost", "The root is not there, or is back.";
    BackUp() = "back-up", "The home is copied.";
    Restore(down_us: u64) = "restore", "The copy is put in the home's place.";
    Snapshot() = "snapshot", "The whole machine is copied, disk and home.";
    Revert(down_us: u64) = "revert", "The copy is put in the machine's place, and started.";
    Turn(down_us: u64) = "turn", "The copy goes on in the machine's place, and the machine as it was is the copy.";
    Leave() = "leave", "The device leaves; its files stay, what it knew goes.";
    Join() = "join", "It joins again, as new.";
    Clock(seconds: i64) = "clock", "Its wall clock steps.";
    Freeze(on: bool) = "freeze", "Its wall clock stands still, or goes on.";
}

type Words<'a> = std::str::SplitWhitespace<'a>;

/// A line that is none of a script's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line} of the script says nothing that is known: {text}")]
pub struct ScriptError {
    line: usize,
    text: String,
}

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Script, ScriptError> {
        let mut scene = Scene {
            seed: 0,
            machines: Vec::new(),
            links: Vec::new(),
            only_author: None,
            options: Options::default(),
        };
        let mut steps = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() || scene.take(line).is_some() {
                continue;
            }
            let step = Step::parse(line);
            let error = || ScriptError { line: index + 1, text: line.to_owned() };
            steps.push(step.ok_or_else(error)?);
        }
        Ok(Script { scene, steps })
    }
}

impl fmt::Display for Script {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.scene)?;
        self.steps.iter().try_for_each(|step| writeln!(formatter, "{step}"))
    }
}

impl Scene {
    /// Takes in a line about the scene; none if it is about something else.
    fn take(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_whitespace();
        match words.next()? {
            "seed" => self.seed = words.next()?.parse().ok()?,
            "device" => self.machines.push(Machine::parse(&mut words)?),
            "author" => self.only_author = Some(device(words.next()?)?),
            "set" => {
                let field = self.options.field(words.next()?)?;
                *field = words.next()?.parse().ok()?;
            }
            "link" => {
                let pair = (device(words.next()?)?, device(words.next()?)?);
                self.links.push((pair.0.min(pair.1), pair.0.max(pair.1)));
            }
            _ => return None,
        }
        Some(())
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "seed {}", self.seed)?;
        self.machines.iter().try_for_each(|machine| writeln!(formatter, "device {machine}"))?;
        for (one, two) in &self.links {
            writeln!(formatter, "link {} {}", letter(*one), letter(*two))?;
        }
        if let Some(author) = self.only_author {
            writeln!(formatter, "author {}", letter(author))?;
        }
        let (mut options, mut default) = (self.options.clone(), Options::default());
        for name in Options::FIELDS {
            let value = options.field(name).map(|value| *value);
            if value != default.field(name).map(|value| *value) {
                writeln!(formatter, "set {name} {}", value.unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

impl Machine {
    /// A two-way member with a good clock and disk.
    pub fn plain() -> Machine {
        Machine { mode: Mode::TwoWay, clock_seconds: 0, drift_ppm: 0, time_step_ns: 1, keeps_ctime: false }
    }

    fn parse(words: &mut Words<'_>) -> Option<Machine> {
        let mut machine = Machine::plain();
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("two-way", _) => machine.mode = Mode::TwoWay,
                ("receive-only", _) => machine.mode = Mode::ReceiveOnly,
                ("send-only", _) => machine.mode = Mode::SendOnly,
                ("keeps-ctime", _) => machine.keeps_ctime = true,
                ("clock", seconds) => machine.clock_seconds = seconds.parse().ok()?,
                ("drift", ppm) => machine.drift_ppm = ppm.parse().ok()?,
                ("step", ns) => machine.time_step_ns = ns.parse().ok()?,
                _ => return None,
            }
        }
        Some(machine)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.mode {
            Mode::TwoWay => "two-way",
            Mode::ReceiveOnly => "receive-only",
            Mode::SendOnly => "send-only",
        })?;
        for (name, value) in [("clock", self.clock_seconds), ("drift", self.drift_ppm)] {
            if value != 0 {
                write!(formatter, " {name}={value}")?;
            }
        }
        if self.time_step_ns != 1 {
            write!(formatter, " step={}", self.time_step_ns)?;
        }
        formatter.write_str(if self.keeps_ctime { " keeps-ctime" } else { "" })
    }
}

impl Step {
    fn parse(line: &str) -> Option<Step> {
        let mut words = line.split_whitespace();
        let pair = |words: &mut Words<'_>| Some((device(words.next()?)?, device(words.next()?)?));
        let step = match words.next()? {
            "wait" => Step::Wait(words.next()?.parse().ok()?),
            "rest" => Step::Rest,
            "year" => Step::Year,
            "relink" => pair(&mut words).map(|(one, two)| Step::Link(one, two))?,
            "cut" => pair(&mut words).map(|(one, two)| Step::Cut(one, two))?,
            "stall" => pair(&mut words).map(|(one, two)| Step::Stall(one, two))?,
            who => Step::Device(device(who)?, Verb::parse(&mut words)?),
        };
        words.next().is_none().then_some(step)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Wait(us) => write!(formatter, "wait {us}"),
            Step::Rest => formatter.write_str("rest"),
            Step::Year => formatter.write_str("year"),
            Step::Device(device, verb) => write!(formatter, "{} {verb}", letter(*device)),
            Step::Link(one, two) => write!(formatter, "relink {} {}", letter(*one), letter(*two)),
            Step::Cut(one, two) => write!(formatter, "cut {} {}", letter(*one), letter(*two)),
            Step::Stall(one, two) => write!(formatter, "stall {} {}", letter(*one), letter(*two)),
        }
    }
}

fn letter(device: usize) -> char {
    crate::world::name(device)
}

fn device(word: &str) -> Option<usize> {
    match word.as_bytes() {
        [letter @ b'A'..=b'Z'] => Some(usize::from(letter - b'A')),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "seed 12
device two-way clock=-300 step=1000000000 keeps-ctime
device receive-only drift=50
link A B
author A
set work 300
set lost-hints 10
A write d/f t1
wait 300000
B crash 50000
A deny d true
relink A B
stall A B
A late 1 t2
B scan
rest
";

    #[test]
    fn a_script_is_written_as_it_is_read() {
        let script: Script = TEXT.parse().expect("a script");
        assert_eq!(script.to_string(), TEXT);
        assert_eq!(script.scene.machines.len(), 2);
        assert_eq!(script.steps.len(), 9);
    }

    #[test]
    fn a_line_that_says_nothing_is_named() {
        let error = "seed 1\nA frobnicate f".parse::<Script>().expect_err("no verb of ours");
        assert_eq!(error.to_string(), "line 2 of the script says nothing that is known: A frobnicate f");
        for line in ["A write f", "wait", "wait 1 2", "B scan now", "set nothing 1", "device sideways"] {
            assert!(line.parse::<Script>().is_err(), "{line}");
        }
    }
}
