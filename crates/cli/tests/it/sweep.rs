//! A sweep over a server's life: it is killed, or its calls fail, at one point after the other, and must come to no harm.
//!
//! Each round lets two users do the same script (`acts`), strikes one of the two servers at one system call, and judges
//! what is on both disks afterwards (`pair`, `judge`). A few points are tried, which are the same in every run (`choose`),
//! `POINTS=100` so many, and `SEED=2` others; with `EVIDENCE=full` as many as `SWEEP_SECONDS` (1,200 by default) allow
//! each test, of all kinds of faults in turn. `SWEEP=whole` tries every call from the first on until a round ends without
//! having come to it, which takes more than a day. `POINT="EIO from fsync 7 on"`, or whatever a harm was reported with, tries this one again.

#![expect(clippy::print_stdout, reason = "what a round found is printed at once")]

mod acts;
mod judge;
mod pair;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::evidence::{Evidence, is_full, seed};
use crate::strace::{Counts, Fault, Point, is_allowed_or_skips};
use judge::{HARMS, Harm};
use pair::{Fared, Pair, Side};

/// How many points a slice of one test tries.
const N_POINTS_SLICE: usize = 6;

/// Where a round takes so long, a slice begins no more of them.
const SLICE: Duration = Duration::from_secs(40);

/// The same in full size, unless `SWEEP_SECONDS` says otherwise.
const FULL: Duration = Duration::from_secs(1_200);

/// Rounds after which a new pair is made.
const ROUNDS_MAX: u64 = 200;

/// Calls that change a disk, or tell others something.
const CALLS: [&str; 24] = [
    "openat",
    "pwrite64",
    "write",
    "writev",
    "sendto",
    "ftruncate",
    "fallocate",
    "copy_file_range",
    "fsync",
    "fdatasync",
    "syncfs",
    "renameat2",
    "renameat",
    "rename",
    "unlinkat",
    "unlink",
    "mkdirat",
    "mkdir",
    "linkat",
    "symlinkat",
    "fchmod",
    "fchmodat",
    "utimensat",
    "fchown",
];

/// Errors, and the calls that may have them.
const ERRORS: [(&str, &[&str]); 5] = [
    (
        "ENOSPC",
        &[
            "pwrite64",
            "openat",
            "mkdirat",
            "symlinkat",
            "renameat2",
            "renameat",
            "ftruncate",
            "fsync",
            "syncfs",
        ],
    ),
    (
        "EIO",
        &[
            "pwrite64",
            "pread64",
            "fsync",
            "syncfs",
            "renameat2",
            "unlinkat",
            "openat2",
            "getdents64",
            "statx",
        ],
    ),
    ("EMFILE", &["openat", "openat2", "socket", "accept4", "inotify_init1", "epoll_create1", "eventfd2"]),
    (
        "EACCES",
        &[
            "openat",
            "openat2",
            "renameat2",
            "unlinkat",
            "mkdirat",
            "symlinkat",
            "fchmod",
            "utimensat",
            "statx",
        ],
    ),
    ("EDQUOT", &["pwrite64", "openat", "mkdirat", "symlinkat", "renameat2", "ftruncate"]),
];

#[test]
fn c1_v1_l1_a_receiver_killed_at_any_call_loses_nothing() {
    kill_at_any_call(Side::Receiver);
}

#[test]
fn c1_c3_l1_a_sender_killed_at_any_call_loses_nothing() {
    kill_at_any_call(Side::Sender);
}

#[test]
fn c7_v1_a_receiver_whose_calls_fail_harms_no_file_and_recovers() {
    fail_at_any_call(Side::Receiver);
}

#[test]
fn c7_l1_a_sender_whose_calls_fail_harms_no_file_and_recovers() {
    fail_at_any_call(Side::Sender);
}

fn kill_at_any_call(side: Side) {
    if !is_allowed_or_skips("a server killed at any call") {
        return;
    }
    let sweep = Sweep::new(side, "killed");
    let rows = CALLS.map(|call| Row { call, fault: Fault::Kill, n_times: 1 });
    let again = CALLS.map(|call| Row { call, fault: Fault::Kill, n_times: 3 });
    sweep.run(&[&rows[..], &again[..]].concat());
}

fn fail_at_any_call(side: Side) {
    if !is_allowed_or_skips("a server whose calls fail") {
        return;
    }
    let mut rows = Vec::new();
    for (errno, calls) in ERRORS {
        for &call in calls {
            rows.push(Row { call, fault: Fault::FailsOnce(errno), n_times: 1 });
            // A server that accepts nobody cannot be asked how it is.
            if call != "accept4" {
                rows.push(Row { call, fault: Fault::FailsOn(errno), n_times: 1 });
            }
        }
    }
    Sweep::new(side, "failed").run(&rows);
}

/// One kind of fault at one call, whose number is swept.
#[derive(Clone, Copy)]
struct Row {
    call: &'static str,
    fault: Fault,
    /// How many times in a row it happens.
    n_times: u32,
}

struct Sweep {
    side: Side,
    pair: Option<Pair>,
    evidence: Evidence,
}

impl Sweep {
    fn new(side: Side, what: &str) -> Sweep {
        let who = format!("{side:?}").to_lowercase();
        let evidence = Evidence::new("sweep", format!("the {who} is {what} at its Nth system call"), &HARMS);
        Sweep { side, pair: None, evidence }
    }

    fn run(mut self, rows: &[Row]) {
        match std::env::var("POINT") {
            Ok(point) => self.run_point(rows, &point),
            Err(_) if std::env::var("SWEEP").is_ok_and(|sweep| sweep == "whole") => {
                rows.iter().for_each(|row| self.run_row(row));
            }
            Err(_) => self.run_slice(rows),
        }
        self.evidence.report();
    }

    /// The one point that is called so, a few times.
    fn run_point(&mut self, rows: &[Row], point: &str) {
        let number = point.split(' ').find_map(|word| word.parse().ok()).expect("a point has a number");
        let is_it = |row: &&Row| Point { call: row.call, number, fault: row.fault }.to_string() == point;
        for row in rows.iter().filter(is_it) {
            for _ in 0..5 {
                self.round(row, number);
            }
        }
    }

    /// From the first call on until a round does not come to it. Where all later calls fail too, in growing steps.
    fn run_row(&mut self, row: &Row) {
        let mut number = 1;
        while self.round(row, number) != Some(Fared::Untouched) {
            number += if matches!(row.fault, Fault::FailsOn(_)) { number } else { 1 };
        }
        let (call, fault) = (row.call, row.fault);
        println!("sweep: {call}, {fault:?}: through after {number}, at {:?}", self.evidence.elapsed());
    }

    /// Some points, of all kinds of faults that can be struck.
    fn run_slice(&mut self, rows: &[Row]) {
        let calls: Vec<&str> = rows.iter().map(|row| row.call).collect();
        let counts =
            self.pair().count_calls(&calls).unwrap_or_else(|harm| panic!("nothing was struck: {harm}"));
        let points = choose(rows, &counts, seed());
        let asked = |name: &str| std::env::var(name).ok().and_then(|asked| asked.parse().ok());
        let (n_points, limit) = match asked("POINTS") {
            Some(n_points) => (n_points, Duration::MAX),
            None if is_full() => (
                usize::MAX,
                asked("SWEEP_SECONDS").map_or(FULL, |seconds| Duration::from_secs(seconds as u64)),
            ),
            None => (N_POINTS_SLICE, SLICE),
        };
        println!("sweep: seed {}, {} points to choose from", seed(), points.len());
        self.evidence.count("points there are", points.len() as u64);
        for (row, number) in points.into_iter().take(n_points) {
            if self.evidence.elapsed() > limit {
                break;
            }
            let fared = self.round(row, number);
            let point = Point { call: row.call, number, fault: row.fault };
            println!("sweep: {point}, {} times: {fared:?}, at {:?}", row.n_times, self.evidence.elapsed());
        }
    }

    fn round(&mut self, row: &Row, number: u32) -> Option<Fared> {
        let point = Point { call: row.call, number, fault: row.fault };
        let pair = self.pair();
        let outcome = catch_unwind(AssertUnwindSafe(|| match row.fault {
            Fault::Kill => pair.kill(&point, row.n_times),
            _ => pair.fail(&point),
        }));
        let harm = match outcome {
            Ok(Ok(fared)) => {
                self.count(fared);
                return Some(fared);
            }
            Ok(Err(harm)) => harm,
            Err(panic) => Harm::new("not at rest", what_panicked(&*panic)),
        };
        println!("sweep: {point}, {} times: {harm}\n{}", row.n_times, pair.last_words());
        self.evidence.count("rounds", 1);
        self.evidence.count_bad(harm.name);
        self.pair = None;
        None
    }

    fn count(&mut self, fared: Fared) {
        self.evidence.count("rounds", 1);
        self.evidence.count(
            match fared {
                Fared::Killed => "killed",
                Fared::WentOn => "went on",
                Fared::RefusedToStart => "refused to start, then started",
                Fared::Untouched => "not reached",
            },
            1,
        );
    }

    fn pair(&mut self) -> &mut Pair {
        // What is known of deleted paths grows, and a round's time with it.
        self.pair.take_if(|pair| pair.n_rounds() >= ROUNDS_MAX);
        self.pair.get_or_insert_with(|| Pair::new(self.side))
    }
}

/// Points that a round comes to, one of each row in turn, in an order that is the same for the same seed.
///
/// How often a server makes a call varies from run to run. So calls are numbered up to the power of two that was
/// counted for certain; and a point's place does not follow from how many there are, but from what it is itself, so that
/// where the next power of two is counted, most of those in front are as they were.
fn choose<'a>(rows: &'a [Row], counts: &Counts, seed: u64) -> Vec<(&'a Row, u32)> {
    let mut points = Vec::new();
    for row in rows {
        let place = |number: u32| {
            let Row { call, fault, n_times } = row;
            let text = format!("{seed} {call} {fault:?} {n_times} {number}");
            *blake3::hash(text.as_bytes()).as_bytes()
        };
        let n_made = counts.get(row.call).and_then(|counts| counts.iter().max()).copied().unwrap_or(0);
        let last = n_made.checked_ilog2().map_or(0, |log| 1 << log);
        let mut of_row: Vec<_> = (1..=last).map(|number| (place(number), number)).collect();
        of_row.sort_unstable();
        let in_turn = of_row.into_iter().enumerate();
        points.extend(in_turn.map(|(turn, (_, number))| (turn, place(0), row, number)));
    }
    points.sort_by_key(|(turn, place, ..)| (*turn, *place));
    points.into_iter().map(|(_, _, row, number)| (row, number)).collect()
}

#[test]
fn a_slice_of_the_sweep_hardly_depends_on_how_many_calls_are_counted() {
    let rows = CALLS.map(|call| Row { call, fault: Fault::Kill, n_times: 1 });
    let chosen = |n_more: u32, seed| -> Vec<(&str, u32)> {
        let n_made = |n: u32| vec![3, 50 + 10 * n + n_more];
        let counts = rows.iter().zip(0..).map(|(row, n)| (row.call.to_owned(), n_made(n)));
        let counts = counts.filter(|(call, _)| call != "linkat").collect();
        let points = choose(&rows, &counts, seed);
        points.into_iter().map(|(row, number)| (row.call, number)).collect()
    };
    let (all, n_rows) = (chosen(0, 1), CALLS.len() - 1);
    let first = &all[..n_rows];
    let calls: BTreeSet<&str> = first.iter().map(|(call, _)| *call).collect();
    assert_eq!(calls.len(), n_rows, "not one point of each row that was counted: {first:?}");
    assert!(first.iter().any(|(_, number)| *number > 64), "the first calls alone: {first:?}");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a point twice");
    // Three of the counts come to another power of two.
    let n_changed = first.iter().filter(|point| !chosen(10, 1)[..n_rows].contains(point)).count();
    assert!(n_changed <= 3, "{n_changed} points are others where ten calls more are counted");
    assert_ne!(first, &chosen(0, 2)[..n_rows], "another seed chooses the same");
}

fn what_panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
