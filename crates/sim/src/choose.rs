//! What users do and what befalls devices, chosen by a seed from what is possible at the moment, as steps of a script.

use file_sync_core::path::SyncPath;

use crate::disk::{Body, Disk};
use crate::link::pair;
use crate::random::Random;
use crate::script::{Step, Verb};
use crate::settings::Settings;
use crate::world::World;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// How long a crashed engine is down, at most (microseconds).
const DOWN_US_MAX: u64 = 500_000;

/// The chooser of one history.
pub(crate) struct Chooser {
    random: Random,
    /// Tokens given out.
    counter: u64,
    /// Descriptors opened: of which device, and their numbers.
    descriptors: Vec<(usize, u64)>,
    unreadable: Vec<(usize, String)>,
    failing: Vec<(usize, String)>,
    mounted: Vec<(usize, String)>,
}

impl Chooser {
    pub(crate) fn new(seed: u64) -> Chooser {
        Chooser {
            random: Random::new(seed ^ 0xc405_e000),
            counter: 0,
            descriptors: Vec::new(),
            unreadable: Vec::new(),
            failing: Vec::new(),
            mounted: Vec::new(),
        }
    }

    /// Forgets what ended with a rest.
    pub(crate) fn rested(&mut self) {
        (self.unreadable, self.failing, self.mounted) = Default::default();
    }

    /// The next act, what befalls a device after it, and how much time passes.
    pub(crate) fn next(&mut self, world: &World, settings: &Settings) -> Vec<Step> {
        let mut steps = Vec::new();
        let device = self.random.below(world.devices.len() as u64) as usize;
        if !world.devices[device].is_root_lost && !world.devices[device].disk.is_read_only {
            steps.extend(self.act(device, &world.devices[device].disk, settings));
        }
        steps.extend(self.misfortune(world, settings));
        let gap = if self.random.percent(30) { 100 } else { settings.act_gap_us };
        steps.push(Step::Wait(self.random.below(gap)));
        steps
    }

    fn act(&mut self, device: usize, disk: &Disk, settings: &Settings) -> Option<Step> {
        let odds = &settings.odds;
        let files: Vec<String> = disk.items.iter().filter(is_file).map(|(path, _)| text(path)).collect();
        let copies: Vec<String> =
            disk.items.keys().map(text).filter(|path| path.contains(".sync-conflict-")).collect();
        let verb = if self.random.percent(odds.late) {
            self.late(device, &files)
        } else if self.random.percent(odds.ignore) {
            self.ignore(disk)
        } else if !copies.is_empty() && self.random.percent(odds.copies) {
            self.act_on_copy(&copies)
        } else {
            self.plain(disk, &files)
        };
        verb.map(|verb| Step::Device(device, verb))
    }

    /// Something is done to a file that is opened now and written to later, or was.
    fn late(&mut self, device: usize, files: &[String]) -> Option<Verb> {
        let own: Vec<u64> =
            self.descriptors.iter().filter(|(of, _)| *of == device).map(|(_, number)| *number).collect();
        if let Some(descriptor) = self.random.pick(&own).copied()
            && self.random.percent(60)
        {
            return Some(Verb::WriteLate { descriptor, bytes: self.token() });
        }
        let at = self.random.pick(files)?.clone();
        let descriptor = self.descriptors.len() as u64 + 1;
        self.descriptors.push((device, descriptor));
        Some(Verb::Open { at, descriptor })
    }

    /// Rules name whole components, so that the oracle can tell what they cover.
    fn ignore(&mut self, disk: &Disk) -> Option<Verb> {
        let directories: Vec<String> = disk
            .items
            .iter()
            .filter(|(_, item)| item.body == Body::Directory)
            .map(|(path, _)| text(path))
            .collect();
        let at = match self.random.pick(&directories).filter(|_| disk.items.len().is_multiple_of(2)) {
            Some(directory) => format!("{directory}/.syncignore"),
            None => ".syncignore".to_owned(),
        };
        if self.random.percent(40) {
            return Some(Verb::Remove { at });
        }
        let name = NAMES[self.random.below(5) as usize];
        Some(Verb::Write { at, bytes: name.to_owned() })
    }

    fn act_on_copy(&mut self, copies: &[String]) -> Option<Verb> {
        let at = self.random.pick(copies)?.clone();
        let bytes = self.token();
        Some(match self.random.below(4) {
            0 => Verb::Write { at, bytes },
            1 => Verb::Remove { at },
            2 => Verb::Move { from: at, to: self.path() },
            _ => Verb::Save { at, bytes },
        })
    }

    fn plain(&mut self, disk: &Disk, files: &[String]) -> Option<Verb> {
        let existing: Vec<String> = disk.items.keys().map(text).collect();
        let (some, file) = (self.random.pick(&existing).cloned(), self.random.pick(files).cloned());
        let (target, bytes) = (self.path(), self.bytes());
        Some(match (self.random.below(100), some, file) {
            (0..16, _, _) => Verb::Write { at: target, bytes },
            (16..34, _, Some(at)) => Verb::Write { at, bytes },
            (34..42, _, Some(at)) => Verb::Save { at, bytes },
            (42..46, _, Some(at)) => Verb::Append { at, bytes: format!("+{}", self.counter) },
            (46..56, Some(at), _) => Verb::Remove { at },
            (56..62, _, Some(at)) => Verb::Remove { at },
            (62..74, Some(from), _) => Verb::Move { from, to: target },
            (74..79, Some(one), Some(two)) => Verb::Swap { one, two },
            (79..86, _, _) => Verb::MakeDirectory { at: target },
            (86..91, Some(at), _) => {
                Verb::Chmod { at, mode: [0o755, 0o700, 0o640, 0o600][self.random.below(4) as usize] }
            }
            (91..95, _, Some(at)) => {
                Verb::Touch { at, seconds: self.random.below(4_000_000_000) as i64 - 1_000_000_000 }
            }
            (95..98, _, _) => Verb::Symlink { at: target, target: format!("to{}", self.counter) },
            // Another kind takes a path's place.
            (_, Some(at), _) if disk.is_directory(&parsed(&at)) => Verb::Write { at, bytes },
            (_, Some(at), _) => Verb::Write { at: format!("{at}/x"), bytes },
            _ => Verb::Write { at: target, bytes },
        })
    }

    fn path(&mut self) -> String {
        let depth = 1 + self.random.below(3).min(self.random.below(3));
        let names: Vec<&str> = (0..depth).map(|_| NAMES[self.random.below(5) as usize]).collect();
        names.join("/")
    }

    /// Mostly bytes of their own; sometimes the same as somebody else's.
    fn bytes(&mut self) -> String {
        if self.random.percent(8) {
            return format!("same{}", self.random.below(3));
        }
        let pad = ".".repeat(self.random.below(6) as usize);
        format!("{}{pad}", self.token())
    }

    fn token(&mut self) -> String {
        self.counter += 1;
        format!("t{}", self.counter)
    }

    fn misfortune(&mut self, world: &World, settings: &Settings) -> Vec<Step> {
        let odds = &settings.odds;
        let device = self.random.below(world.devices.len() as u64) as usize;
        let mut verbs = Vec::new();
        if self.random.percent(odds.crash) {
            let down_us = self.random.below(DOWN_US_MAX);
            let is_power_cut = odds.power_cut > 0 && self.random.percent(odds.power_cut);
            verbs.push(if is_power_cut { Verb::CutPower { down_us } } else { Verb::Crash { down_us } });
        }
        let machine = &world.devices[device];
        let toggles = [
            (odds.pause, Verb::Pause { on: !machine.is_paused }),
            (odds.scan, Verb::Scan {}),
            (odds.full, Verb::Full { on: !machine.disk.is_full }),
            (odds.read_only, Verb::ReadOnly { on: !machine.disk.is_read_only }),
            (odds.lost_root, Verb::LoseRoot { on: !machine.is_root_lost }),
        ];
        for (percent, verb) in toggles {
            if self.random.percent(percent) {
                verbs.push(verb);
            }
        }
        if odds.approve > 0 && self.random.percent(odds.approve) {
            verbs.push(Verb::Approve {});
        }
        verbs.extend(self.disk_fault(device, &machine.disk, settings));
        verbs.extend(self.home_or_clock_fault(world, device, settings));
        let mut steps: Vec<Step> = verbs.into_iter().map(|verb| Step::Device(device, verb)).collect();
        steps.extend(self.link_fault(world, settings));
        steps
    }

    fn disk_fault(&mut self, device: usize, disk: &Disk, settings: &Settings) -> Vec<Verb> {
        let odds = &settings.odds;
        let existing: Vec<String> = disk.items.keys().map(text).collect();
        let mut verbs = Vec::new();
        for (percent, kind) in [(odds.unreadable, 0), (odds.failing, 1), (odds.mount, 2)] {
            if !self.random.percent(percent) {
                continue;
            }
            let struck = match kind {
                0 => &mut self.unreadable,
                1 => &mut self.failing,
                _ => &mut self.mounted,
            };
            let earlier = struck.iter().position(|(of, _)| *of == device);
            let (at, on) = match earlier {
                Some(index) => (struck.remove(index).1, false),
                None => {
                    let Some(at) = self.random.pick(&existing).cloned() else { continue };
                    struck.push((device, at.clone()));
                    (at, true)
                }
            };
            verbs.push(match kind {
                0 => Verb::Unreadable { at, on },
                1 => Verb::Failing { at, on },
                _ => Verb::Mount { at, on },
            });
        }
        verbs
    }

    fn home_or_clock_fault(&mut self, world: &World, device: usize, settings: &Settings) -> Option<Verb> {
        let (odds, machine) = (&settings.odds, &world.devices[device]);
        if self.random.percent(odds.clock) {
            let seconds = [1, -1, 60, -3_600, 86_400, -86_400_000][self.random.below(6) as usize];
            let is_step = self.random.percent(60);
            let on = machine.frozen_at_us.is_none();
            return Some(if is_step { Verb::Clock { seconds } } else { Verb::Freeze { on } });
        }
        if self.random.percent(odds.restore) && !machine.is_away {
            let down_us = self.random.below(DOWN_US_MAX);
            return Some(if machine.backup.is_some() { Verb::Restore { down_us } } else { Verb::BackUp {} });
        }
        if odds.revert > 0 && self.random.percent(odds.revert) && !machine.is_away && !machine.is_root_lost {
            let down_us = self.random.below(DOWN_US_MAX);
            return Some(match (machine.snapshot.is_some(), self.random.percent(50)) {
                (true, true) => Verb::Turn { down_us },
                (true, false) => Verb::Revert { down_us },
                (false, _) => Verb::Snapshot {},
            });
        }
        if self.random.percent(odds.leave) {
            let is_anybody_away = world.devices.iter().any(|device| device.is_away);
            return match (machine.is_away, is_anybody_away) {
                (true, _) => Some(Verb::Join {}),
                (false, false) => Some(Verb::Leave {}),
                (false, true) => None,
            };
        }
        None
    }

    fn link_fault(&mut self, world: &World, settings: &Settings) -> Option<Step> {
        let (one, two) = self.random.pick(&settings.scene.links).copied()?;
        if self.random.percent(settings.odds.cut) {
            let is_linked = world.links.get(&pair(one, two)).is_some_and(|link| link.is_up);
            return Some(if is_linked { Step::Cut(one, two) } else { Step::Link(one, two) });
        }
        if self.random.percent(settings.odds.stall) {
            let (from, to) = if self.random.percent(50) { (one, two) } else { (two, one) };
            return Some(if world.is_stalled(one, two) {
                Step::Link(one, two)
            } else {
                Step::Stall(from, to)
            });
        }
        None
    }
}

fn is_file((_, item): &(&SyncPath, &crate::disk::Item)) -> bool {
    matches!(item.body, Body::File(_))
}

fn text(path: &SyncPath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

fn parsed(text: &str) -> SyncPath {
    crate::user::path(text)
}
