//! Power cuts on a real disk: a server's root and home lie on an ext4 file system whose state is taken at an instant,
//! under load, and on which a server is then started beside a remote that never stopped.
//!
//! Three users are at work. The one on the remote writes in `a`; on the device that is cut, a careful one in `b`, who
//! makes all that is done durable, and a careless one in `c`, who makes nothing durable. `machine` says what a cut is,
//! and how the server that is started on it comes to see another run of the machine.

#![expect(clippy::print_stdout, reason = "the test says what it has found")]

mod busy;
mod machine;
mod remains;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use file_sync_core::version::ContentHash;
use rustix::process::Signal;

use crate::device::Device;
use crate::evidence::{Evidence, is_full, seed};
use crate::random::Random;
use crate::strace::is_allowed_or_skips;
use crate::tree::{difference, tree_of};
use crate::world::{PATIENCE, eventually, files_below, introduce, is_root_or_skips, join, offer, settle};
use busy::{Busy, Habit, Journal, Values, values_below};
use machine::Machine;
use remains::{Remains, unlike};

/// How many cuts a full run takes.
const N_CUTS: u32 = 200;
/// How many a slice takes, if they take less than its time.
const N_CUTS_SLICE: u32 = 8;
const SLICE: Duration = Duration::from_secs(30);
/// How many cuts the control takes; a slice ends with the first that does harm. Not each does: a careful user's own
/// syncs have the file system write out what others wrote before.
const N_CUTS_CONTROL: u32 = 10;

const HARMS: [&str; 9] = [
    "acknowledged and not on the disk",
    "made durable and not on the disk",
    "records ahead of the disk",
    "epochs begun anew",
    "lost, fallen back or come back on the remote",
    "changed after the cut",
    "trees not equal",
    "blank, and not given its last synced content back",
    "neither of a user nor what the cut left",
];

#[test]
fn c1_c2_c3_c4_what_was_acknowledged_survives_a_power_cut_and_nothing_falls_back() {
    let Some(mut world) = World::new("a power cut") else { return };
    let mut evidence = Evidence::new("power cuts", "power cuts of a disk under load", &HARMS);
    let mut random = Random::new(seed(), 0);
    for n_cuts in 0..if is_full() { N_CUTS } else { N_CUTS_SLICE } {
        if !is_full() && n_cuts > 1 && evidence.elapsed() > SLICE {
            break;
        }
        let scene = world.cut_under_load(&mut random);
        let remains = world.judge_disk(&scene, &mut evidence);
        world.beta.begin_under(&world.machine.next_run());
        world.beta.await_ready();
        let is_whole = world.judge_at_rest(scene, &remains, &mut evidence);
        if !is_whole && let Some(next) = World::new("a power cut") {
            world = next; // What nobody has is waited for in this one for good.
        }
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
    for _ in 0..N_CUTS_CONTROL {
        if !is_full() && n_harmed > 0 {
            break;
        }
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
    fn judge_disk(&mut self, scene: &Scene, evidence: &mut Evidence) -> Remains {
        let remains = Remains::read(&self.beta.root(), &self.beta.home());
        let [of_alpha, of_careful, of_careless] = scene.acknowledged;
        let n_acts = scene.careful.paths().len() + scene.careless.paths().len();
        evidence.count("cuts", 1);
        evidence.count("paths judged", n_acts as u64);
        evidence.count("records judged", remains.recorded.len() as u64);
        let alphas = scene.alphas_user.journal();
        let [in_a, in_b, in_c] = [
            ("a", &remains.alphas, &*alphas),
            ("b", &remains.carefuls, &scene.careful),
            ("c", &remains.carelesses, &scene.careless),
        ];
        // What a user has done since the wait may be here or not; both are values of that user.
        let is_settled = |path: &String| scene.careless.may_be(path, of_careless).len() == 1;
        let found = [
            (HARMS[0], in_a, of_alpha, unlike(in_a.1, in_a.2, of_alpha)),
            (HARMS[0], in_b, of_careful, unlike(in_b.1, in_b.2, of_careful)),
            // What the careless one has begun since may be cut short.
            (HARMS[0], in_c, of_careless, only(unlike(in_c.1, in_c.2, of_careless), is_settled)),
            (HARMS[1], in_b, scene.n_careful_done, unlike(in_b.1, in_b.2, scene.n_careful_done)),
            (HARMS[2], in_a, of_alpha, remains.ahead(&alphas)),
        ];
        for (name, (whose, values, journal), n_acts, paths) in found {
            for path in paths {
                let may_be: Vec<_> = journal.may_be(&path, n_acts).into_iter().map(said).collect();
                let found = said(values.get(&path));
                bad(evidence, name, &format!("{whose}/{path}: {found} instead of one of {may_be:?}"));
            }
        }
        drop(alphas);
        remains.unlike.iter().for_each(|path| bad(evidence, HARMS[2], path));
        if *self.epoch.get_or_insert(remains.epoch) != remains.epoch {
            evidence.count_bad(HARMS[3]);
            self.epoch = Some(remains.epoch);
        }
        remains
    }

    /// What both have once all is told. False if a version is left that nobody has the bytes of.
    fn judge_at_rest(&self, scene: Scene, remains: &Remains, evidence: &mut Evidence) -> bool {
        let root = self.beta.root();
        let alphas = scene.alphas_user.stop().values();
        let before = values_below(&root.join("b"));
        settle(&[&self.alpha, &self.beta]);
        let lost = self.lost(remains, &scene.careless, scene.acknowledged[2]);
        let tree = |root: &Path| {
            let mut tree = tree_of(root);
            lost.iter().for_each(|path| drop(tree.remove(format!("c/{path}").as_bytes())));
            tree
        };
        if let Some(difference) = difference(&tree(&self.alpha.root()), &tree(&root)) {
            bad(evidence, HARMS[6], &difference);
        }
        unequal(&values_below(&root.join("a")), &alphas)
            .iter()
            .for_each(|path| bad(evidence, HARMS[4], path));
        unequal(&values_below(&root.join("b")), &before)
            .iter()
            .for_each(|path| bad(evidence, HARMS[5], path));
        let values = values_below(&root.join("c"));
        judge_careless(&values, remains, &lost, &scene.careless, scene.acknowledged[2], evidence);
        lost.is_empty()
    }

    /// Blank files of the careless user's of whose last version nobody has the bytes: it was announced, and written over
    /// before anybody had fetched it. What a wait had covered cannot be among them.
    fn lost(&self, remains: &Remains, journal: &Journal, n_acts: usize) -> BTreeSet<String> {
        let files = [&self.alpha, &self.beta].into_iter().flat_map(|device| files_below(&device.root()));
        // What is in the stage may have gone since.
        let held: BTreeSet<ContentHash> =
            files.filter_map(|path| std::fs::read(path).ok()).map(|bytes| ContentHash::of(&bytes)).collect();
        let is_blank = |path: &str| remains.carelesses.get(path).is_some_and(|value| is_blank(value));
        let is_covered =
            |path: &str, hash| journal.value_after(path, n_acts).map(ContentHash::of) == Some(hash);
        let recorded = remains.recorded_in("c").into_iter();
        let lost = recorded
            .filter(|(path, hash)| is_blank(path) && !held.contains(hash) && !is_covered(path, *hash));
        lost.map(|(path, _)| path.to_owned()).collect()
    }
}

/// What became of what the careless user had not made durable (C4): where the cut left nothing of a file, the last
/// content that was synced is there again; where it left more, a value of the user's, or what it left.
fn judge_careless(
    values: &Values,
    remains: &Remains,
    lost: &BTreeSet<String>,
    journal: &Journal,
    n_acts: usize,
    evidence: &mut Evidence,
) {
    let recorded = remains.recorded_in("c");
    let is_synced = |path: &str, value: Option<&Vec<u8>>| {
        value.is_some_and(|value| recorded.get(path) == Some(&ContentHash::of(value)))
    };
    for (path, _) in remains.carelesses.iter().filter(|(_, left)| is_blank(left)) {
        let found = values.get(path);
        if is_synced(path, found) {
            evidence.count("blank, and its last synced content came back (C4)", 1);
        } else if lost.contains(path) {
            evidence.count("blank, and written over before its last version had reached anybody", 1);
        } else if recorded.contains_key(path.as_str()) {
            bad(evidence, HARMS[7], &format!("c/{path}: {}", said(found)));
        } else {
            evidence.count("blank, and never synced", 1);
        }
    }
    for path in unlike(values, journal, n_acts) {
        let (left, found) = (remains.carelesses.get(&path), values.get(&path));
        if left.is_some_and(|left| is_blank(left)) {
            // Judged above.
        } else if found == left {
            evidence.count("cut short, and not to be told from an edit", 1);
        } else if !is_synced(&path, found) {
            bad(evidence, HARMS[8], &format!("c/{path}: {}, at the cut {}", said(found), said(left)));
        }
    }
}

fn bad(evidence: &mut Evidence, name: &str, what: &str) {
    println!("power cut: {name}: {what}");
    evidence.count_bad(name);
}

/// What waits on both sides have covered: so many acts of each user.
fn acknowledge(devices: &[&Device; 2], users: &[&Busy; 3]) -> Option<[usize; 3]> {
    let n_done = users.map(|user| user.journal().n_done());
    let is_done = |device: &&Device| device.run(["sync", "wait", "--timeout", "10s"]).status.success();
    devices.iter().all(is_done).then_some(n_done)
}

fn only(mut paths: Vec<String>, is_meant: impl Fn(&String) -> bool) -> Vec<String> {
    paths.retain(is_meant);
    paths
}

/// Paths at which two sets of files differ.
fn unequal(found: &Values, expected: &Values) -> Vec<String> {
    let paths: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let unlike = paths.into_iter().filter(|path| found.get(*path) != expected.get(*path));
    unlike
        .map(|path| format!("{path}: {} instead of {}", said(found.get(path)), said(expected.get(path))))
        .collect()
}

/// A value in a few words.
fn said(value: Option<impl AsRef<[u8]>>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let text = String::from_utf8_lossy(value.as_ref());
    let start: String = text.lines().next().unwrap_or_default().chars().take(60).collect();
    format!("{} bytes, {start:?}", value.as_ref().len())
}

/// No bytes, or zeros alone: what a file system leaves that allocates late. No user here writes such.
fn is_blank(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == 0)
}
