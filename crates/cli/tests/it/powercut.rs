//! Power cuts on a real disk: a server's root and home lie on an ext4 file system whose state is taken at an instant,
//! under load, and on which a server is then started beside a remote that never stopped.
//!
//! Three users are at work. The one on the remote writes in `a`; on the device that is cut, a careful one in `b`, who
//! makes all that is done durable, and a careless one in `c`, who makes nothing durable. `machine` says what a cut is.

#![expect(clippy::print_stdout, reason = "the test says what it has found")]

mod busy;
mod machine;
mod remains;

use std::ffi::OsString;
use std::time::Duration;

use rustix::process::Signal;

use crate::device::Device;
use crate::evidence::{Evidence, is_full, seed};
use crate::random::Random;
use crate::strace::is_allowed_or_skips;
use crate::tree::{difference, tree_of};
use crate::world::{PATIENCE, eventually, introduce, is_root_or_skips, join, offer, settle};
use busy::{Busy, Habit, Journal, Values, values_below};
use machine::Machine;
use remains::{Remains, is_beside, unlike};

/// How many cuts a full run takes.
const N_CUTS: u32 = 200;
/// How many a slice takes, if they take less than its time.
const N_CUTS_SLICE: u32 = 8;
const SLICE: Duration = Duration::from_secs(30);

const HARMS: [&str; 7] = [
    "acknowledged and not on the disk",
    "made durable and not on the disk",
    "records ahead of the disk",
    "epochs begun anew",
    "lost, fallen back or come back on the remote",
    "changed after the cut",
    "trees not equal",
];

#[test]
fn c1_c2_c3_what_was_acknowledged_survives_a_power_cut_and_nothing_falls_back() {
    let Some(mut world) = World::new("a power cut") else { return };
    let mut evidence = Evidence::new("power cuts", "power cuts of a disk under load", &HARMS);
    let mut random = Random::new(seed(), 0);
    for n_cuts in 0..if is_full() { N_CUTS } else { N_CUTS_SLICE } {
        if !is_full() && n_cuts > 1 && evidence.elapsed() > SLICE {
            break;
        }
        let scene = world.cut_under_load(&mut random);
        world.judge_disk(&scene, &mut evidence);
        world.beta.begin();
        world.judge_at_rest(scene, &mut evidence);
        if evidence.bad_so_far() > 10 {
            break;
        }
    }
    evidence.report();
}

/// The judge of the test above can tell: where making durable is only pretended, it finds losses.
#[test]
fn c2_a_server_whose_syncs_do_nothing_is_found_out_by_power_cuts() {
    if !is_allowed_or_skips("a server whose syncs do nothing") {
        return;
    }
    let calls = "fsync,fdatasync,syncfs,sync_file_range,msync";
    let wrapper = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e"].map(OsString::from);
    let wrapper: Vec<_> = wrapper.into_iter().chain([format!("inject={calls}:retval=0").into()]).collect();
    let mut evidence =
        Evidence::new("power cuts", "control: the same without syncs, which has to do harm", &[]);
    let mut random = Random::new(seed(), 0);
    let mut n_harmed = 0;
    for _ in 0..if is_full() { 10 } else { 1 } {
        let Some(mut world) = World::new("a power cut without syncs") else { return };
        world.beta.stop();
        world.beta.begin_under(&wrapper);
        world.beta.await_ready();
        let scene = world.cut_under_load(&mut random);
        let mut found = Evidence::new("power cuts", "what the control found", &HARMS);
        world.judge_disk(&scene, &mut found);
        scene.alphas_user.stop();
        evidence.count("cuts", 1);
        evidence.count("harm found", found.bad_so_far());
        n_harmed += u64::from(found.bad_so_far() > 0);
    }
    evidence.count("cuts that did harm", n_harmed);
    evidence.report();
    assert!(n_harmed > 0, "without syncs a power cut harms nothing: the test cannot tell");
}

/// A remote that lives, and a device on a disk of its own.
struct World {
    alpha: Device,
    beta: Device,
    /// Last, so that it is unmounted last.
    machine: Machine,
    epoch: Option<u64>,
}

/// What is known at a cut.
struct Scene {
    /// Goes on working.
    alphas_user: Busy,
    careful: Journal,
    careless: Journal,
    /// Acts of the careful user that were done.
    n_careful_done: usize,
    /// Acts of the three users that a `sync wait` on both sides had covered.
    acknowledged: [usize; 3],
}

impl World {
    fn new(test: &str) -> Option<World> {
        if !is_root_or_skips(test) {
            return None;
        }
        let machine = Machine::new(test)?;
        let (alpha, beta) = (Device::start("alpha"), Device::start_in(&machine.users(), "beta", None));
        introduce(&alpha, &beta);
        offer(&alpha, &[]);
        for name in ["a", "b", "c"] {
            alpha.user().mkdir(name);
        }
        join(&beta, &alpha, &[]);
        settle(&[&alpha, &beta]);
        machine.flush();
        Some(World { alpha, beta, machine, epoch: None })
    }

    /// Lets all work for a while, cuts the power, and leaves the disk mounted as the cut left it.
    fn cut_under_load(&mut self, random: &mut Random) -> Scene {
        let (alpha, beta) = (&self.alpha, &self.beta);
        let busy = |device: &Device, name, habit, seed| {
            Busy::start(device.root().join(name), device.beside(""), habit, seed)
        };
        let mut seed = || 1 + random.below(u64::MAX >> 1);
        let alphas_user = busy(alpha, "a", Habit::Careless, seed());
        let careful = busy(beta, "b", Habit::Careful, seed());
        let careless = busy(beta, "c", Habit::Careless, seed());
        let users = [&alphas_user, &careful, &careless];
        std::thread::sleep(Duration::from_millis(random.below(400)));
        // A wait ends when all that was done is elsewhere; so nothing is done for a while.
        users.iter().for_each(|user| user.rest(true));
        let acknowledged = eventually(PATIENCE, || acknowledge(&[alpha, beta], &users).ok_or("no wait ends"));
        users.iter().for_each(|user| user.rest(false));
        std::thread::sleep(Duration::from_millis(random.below(600)));
        // Nobody hears of what this device did after the cut.
        beta.freeze();
        let n_careful_done = careful.journal().n_done();
        let cut = self.machine.cut();
        beta.signal(Signal::KILL);
        let (careful, careless) = (careful.stop(), careless.stop());
        self.beta.kill();
        self.machine.restart(cut);
        Scene { alphas_user, careful, careless, n_careful_done, acknowledged }
    }

    /// What the disk has by itself.
    fn judge_disk(&mut self, scene: &Scene, evidence: &mut Evidence) {
        let remains = Remains::read(&self.beta.root(), &self.beta.home());
        let [of_alpha, of_careful, of_careless] = scene.acknowledged;
        let n_acts = scene.careful.paths().len() + scene.careless.paths().len();
        evidence.count("cuts", 1);
        evidence.count("paths judged", n_acts as u64);
        evidence.count("records judged", remains.recorded.len() as u64);
        // What the other user has done since the wait may be here or not; both are values of that user.
        let unlike_alphas = unlike(&remains.alphas, &scene.alphas_user.journal(), of_alpha);
        let found = [
            (HARMS[0], unlike_alphas),
            (HARMS[0], unlike(&remains.carefuls, &scene.careful, of_careful)),
            (HARMS[0], acknowledged_losses(&remains.carelesses, &scene.careless, of_careless)),
            (HARMS[1], unlike(&remains.carefuls, &scene.careful, scene.n_careful_done)),
            (HARMS[2], remains.ahead(&scene.alphas_user.journal())),
            (HARMS[2], remains.unlike.clone()),
        ];
        for (name, paths) in found {
            for path in paths {
                println!("power cut: {name}: {path}");
                evidence.count_bad(name);
            }
        }
        if *self.epoch.get_or_insert(remains.epoch) != remains.epoch {
            evidence.count_bad(HARMS[3]);
            self.epoch = Some(remains.epoch);
        }
    }

    /// What both have once all is told.
    fn judge_at_rest(&self, scene: Scene, evidence: &mut Evidence) {
        let root = self.beta.root();
        let alphas = scene.alphas_user.stop().values();
        let before = values_below(&root.join("b"));
        settle(&[&self.alpha, &self.beta]);
        let mut bad = |name: &str, what: &str| {
            println!("power cut: {name}: {what}");
            evidence.count_bad(name);
        };
        if let Some(difference) = difference(&tree_of(&self.alpha.root()), &tree_of(&root)) {
            bad(HARMS[6], &difference);
        }
        unequal(&values_below(&root.join("a")), &alphas).iter().for_each(|path| bad(HARMS[4], path));
        unequal(&values_below(&root.join("b")), &before).iter().for_each(|path| bad(HARMS[5], path));
        let carelesses = values_below(&root.join("c"));
        let n_acts = scene.acknowledged[2];
        for path in unlike(&carelesses, &scene.careless, n_acts) {
            if is_beside(&carelesses, &path, &scene.careless, n_acts) {
                evidence.count("cut short, kept beside the acknowledged", 1);
            } else if scene.careless.value_after(&path, n_acts).is_none() {
                evidence.count("cut short, never acknowledged", 1);
            } else {
                println!("power cut: c/{path} fell back, and stands alone");
                evidence.count("cut short in place of the acknowledged (C4)", 1);
            }
        }
    }
}

/// What waits on both sides have covered: so many acts of each user.
fn acknowledge(devices: &[&Device; 2], users: &[&Busy; 3]) -> Option<[usize; 3]> {
    let n_done = users.map(|user| user.journal().n_done());
    let is_done = |device: &&Device| device.run(["sync", "wait", "--timeout", "10s"]).status.success();
    devices.iter().all(is_done).then_some(n_done)
}

/// Paths whose acknowledged bytes are gone though the careless user did nothing there since.
fn acknowledged_losses(values: &Values, journal: &Journal, n_acts: usize) -> Vec<String> {
    let is_settled = |path: &String| journal.may_be(path, n_acts).len() == 1;
    unlike(values, journal, n_acts).into_iter().filter(is_settled).collect()
}

/// Paths at which two sets of files differ.
fn unequal(found: &Values, expected: &Values) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let unlike = paths.into_iter().filter(|path| found.get(*path) != expected.get(*path));
    let said = |values: &Values, path: &str| {
        values.get(path).map(|value| {
            let text = String::from_utf8_lossy(value);
            format!("{} bytes, {:?}", value.len(), text.lines().next().unwrap_or_default().to_owned())
        })
    };
    unlike
        .map(|path| format!("{path}: {:?} instead of {:?}", said(found, path), said(expected, path)))
        .collect()
}
