//! Carrying out the steps of a script.

use crate::link::pair;
use crate::script::{Scene, Step, Verb};
use crate::user::path;
use crate::world::World;

const HOUR_US: u64 = 3_600_000_000;
const YEAR_US: u64 = 31_557_600_000_000;

impl World {
    /// Makes the world of a scene, with all devices started and linked.
    pub fn of_scene(scene: &Scene) -> World {
        let modes: Vec<_> = scene.machines.iter().map(|machine| machine.mode).collect();
        let mut world = World::new(scene.seed, &modes, scene.options.clone());
        for (device, machine) in scene.machines.iter().enumerate() {
            let only_author = scene.only_author.map(|author| world.devices[author].id);
            let own = &mut world.devices[device];
            (own.wall_offset_seconds, own.drift_ppm) = (machine.clock_seconds, machine.drift_ppm);
            (own.disk.step_ns, own.config.time_step_ns) = (machine.time_step_ns, machine.time_step_ns);
            own.disk.renames_change_ctime = !machine.keeps_ctime;
            own.config.only_author = only_author;
            if scene.options.cuts_power > 0 {
                own.checkpoints = Some(Vec::new());
                world.is_durable(device);
            }
        }
        (0..scene.machines.len()).for_each(|device| world.start(device));
        scene.links.iter().for_each(|(one, two)| world.connect(*one, *two));
        world
    }

    /// Carries out one step. What it needs and does not find makes it do nothing.
    pub fn play(&mut self, scene: &Scene, step: &Step) {
        match step {
            Step::Wait(us) => self.run_us(*us),
            Step::Rest => self.heal(scene),
            Step::Year => {
                // What is tried again every few seconds is not tried three million times: the rest of it all sleep.
                self.stats.n_years_away += 1;
                self.run_us(HOUR_US);
                self.now_us += YEAR_US - HOUR_US;
            }
            Step::Device(device, verb) if *device < self.devices.len() => self.do_verb(*device, verb),
            Step::Link(one, two) if self.has(*one, *two) => {
                let is_up = self.links.get(&pair(*one, *two)).is_some_and(|link| link.is_up);
                if is_up { self.unstall(*one, *two) } else { self.connect(*one, *two) }
            }
            Step::Cut(one, two) if self.has(*one, *two) => self.cut(*one, *two),
            Step::Stall(from, to) if self.has(*from, *to) => self.stall(*from, *to),
            _ => {}
        }
    }

    fn has(&self, one: usize, two: usize) -> bool {
        one != two && one.max(two) < self.devices.len()
    }

    fn do_verb(&mut self, device: usize, verb: &Verb) {
        let may_act = !self.devices[device].is_root_lost && !self.devices[device].disk.is_read_only;
        match verb {
            Verb::Crash { down_us } => {
                self.crash(device);
                self.restart_in(device, *down_us);
            }
            Verb::CutPower { down_us } => {
                self.cut_power(device);
                self.restart_in(device, *down_us);
            }
            Verb::Pause { on } => self.set_paused(device, *on),
            Verb::Approve {} => self.approve(device),
            Verb::Reject {} => self.reject(device),
            Verb::Scan {} => self.rescan(device),
            Verb::Full { on } => self.set_full(device, *on),
            Verb::ReadOnly { on } => self.set_read_only(device, *on),
            Verb::Unreadable { at, on } => self.set_unreadable(device, &path(at), *on),
            Verb::Failing { at, on } => self.set_failing(device, &path(at), *on),
            Verb::Mount { at, on } => self.set_mounted(device, &path(at), *on),
            Verb::LoseRoot { on } => self.set_root_lost(device, *on),
            Verb::BackUp {} => self.back_up(device),
            Verb::Restore { down_us } => {
                self.restore_home(device);
                self.restart_in(device, *down_us);
            }
            Verb::Snapshot {} => self.take_snapshot(device),
            Verb::Revert { down_us } => {
                self.revert(device);
                self.restart_in(device, *down_us);
            }
            Verb::Turn { down_us } => {
                self.turn(device);
                self.restart_in(device, *down_us);
            }
            Verb::Leave {} if !self.devices[device].is_away => self.leave(device),
            Verb::Join {} if self.devices[device].is_away => self.join(device),
            Verb::Clock { seconds } => self.step_clock(device, *seconds),
            Verb::Freeze { on } => self.freeze_clock(device, *on),
            act if may_act => self.do_act(device, act),
            _ => {}
        }
    }

    /// What a user does. Nobody can do anything below what cannot be read, is mounted over or fails.
    fn do_act(&mut self, device: usize, act: &Verb) {
        if self.is_out_of_reach(device, act) {
            return;
        }
        match act {
            Verb::Write { at, bytes } => self.write(device, at, bytes),
            Verb::Save { at, bytes } => self.save(device, at, bytes),
            Verb::Append { at, bytes } => self.append(device, at, bytes),
            Verb::Remove { at } => self.delete(device, at),
            Verb::Move { from, to } => self.mv(device, from, to),
            Verb::Swap { one, two } => self.swap(device, one, two),
            Verb::MakeDirectory { at } => self.mkdir(device, at),
            Verb::Chmod { at, mode } => self.chmod(device, at, *mode),
            Verb::Touch { at, seconds } => self.touch(device, at, *seconds),
            Verb::Symlink { at, target } => self.symlink(device, at, target),
            Verb::Open { at, descriptor } => self.open(device, at, *descriptor),
            Verb::WriteLate { descriptor, bytes } => self.write_late(device, *descriptor, bytes),
            _ => {}
        }
    }

    fn is_out_of_reach(&self, device: usize, act: &Verb) -> bool {
        let disk = &self.devices[device].disk;
        if let Verb::WriteLate { .. } = act {
            return false;
        }
        let words = act.to_string();
        words.split_whitespace().skip(1).filter_map(crate::user::try_path).any(|at| {
            let is_struck = |struck: &Vec<_>| {
                struck.iter().any(|bad: &file_sync_core::path::SyncPath| {
                    *bad == at || bad.is_ancestor_of(&at) || at.is_ancestor_of(bad)
                })
            };
            is_struck(&disk.unreadable) || is_struck(&disk.failing) || is_struck(&disk.mounts)
        })
    }

    /// Ends all faults.
    fn heal(&mut self, scene: &Scene) {
        self.note(|| "heal".to_owned());
        let (work_us_max, link_us_max) = (self.options.work_us_max, self.options.link_us_max);
        let (cuts_power, is_traced) = (self.options.cuts_power, self.options.is_traced);
        self.options = crate::world::Options {
            work_us_max,
            link_us_max,
            cuts_power,
            is_traced,
            ..crate::world::Options::default()
        };
        for device in 0..self.devices.len() {
            self.heal_device(device);
        }
        for (one, two) in &scene.links {
            self.unstall(*one, *two);
            if !self.is_linked(*one, *two) {
                self.connect(*one, *two);
            }
        }
    }

    fn heal_device(&mut self, device: usize) {
        let disk = &mut self.devices[device].disk;
        disk.unreadable.clear();
        disk.failing.clear();
        disk.mounts.clear();
        disk.is_read_only = false;
        self.devices[device].frozen_at_us = None;
        if self.devices[device].disk.is_full {
            self.set_full(device, false);
        }
        if self.devices[device].is_root_lost {
            self.set_root_lost(device, false);
        }
        if self.devices[device].is_away {
            self.join(device);
        }
        if self.devices[device].engine.is_none() {
            self.start(device);
        }
        if self.devices[device].is_paused {
            self.set_paused(device, false);
        }
        self.rescan(device);
    }
}
