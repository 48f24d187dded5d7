//! The simulator proves itself: mistakes made on purpose are noticed, each by some seed or by a scripted test.
//!
//! `MISTAKE=Name,Other` tries these at every level; `EVIDENCE=full` tries each at every level, and those too that need many seeds, or that
//! nothing is known to notice; `SEEDS=N` says how many seeds of each level that are.

#![expect(clippy::print_stdout, reason = "what was noticed, and after how many seeds, is for people to read")]

use std::panic::{UnwindSafe, catch_unwind, set_hook, take_hook};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use file_sync_core::mistake::{Mistake, make};
use file_sync_sim::{Settings, run_seed};

const LEVELS: u64 = 5;
/// Seeds of a level that are tried for one mistake.
const SEEDS_MAX: u64 = 1_000;
const SEEDS_MAX_FULL: u64 = 2_000;
const N_WORKERS: usize = 2;
const WORKER: &str = "mistaken";

/// What no scripted test here notices, nor any of 2,000 seeds of levels 2 and 4 and 600 of each other, and why that may be.
const NOT_SEEN: [(Mistake, &str); 5] = [
    (
        Mistake::BasesForgotten,
        "all devices agree on one conflict too many; the search of crates/core notices",
    ),
    (Mistake::SettledNotKept, "all devices agree all the same; no seed shows a difference"),
    (Mistake::CopiesShareName, "no seed seems to make two copies that would have one name"),
    (
        Mistake::KeptDeleteIgnored,
        "who joins anew has forgotten, and then the oracle lets deleted files be new",
    ),
    (Mistake::SourceNotDurable, "what a power cut takes back is taken back in the oracle too"),
];

/// Which seeds notice a mistake.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// Some of this level, soon.
    At(u64),
    /// Some of this level, of so many that they are tried with `EVIDENCE=full` alone.
    Late(u64),
    /// No seed is known to, but this scripted test does, whose failure is a panic.
    Script(fn()),
    /// Nothing here is known to; why.
    Not(&'static str),
}

fn seen(mistake: Mistake) -> Seen {
    use Mistake::*;
    if let Some((_, why)) = NOT_SEEN.iter().find(|(unseen, _)| *unseen == mistake) {
        return Seen::Not(why);
    }
    match mistake {
        ContextNotMerged | LowerCounterForgets | LatestAlone | SeenDotKept => Seen::At(0),
        InodeTrusted | TreeUnchecked | NotKept => Seen::At(0),
        ConflictWritten | AllTakenForSeen | WinnerTakenForSeen | DeleteCompetes => Seen::At(1),
        HiddenComesBack | WalkTrusted | LocalWins | SequenceFromRows | StatAfterRead => Seen::At(1),
        SettledNotMerged | TimesAloneMatch => Seen::At(2),
        EqualBytesConflict => Seen::Script(crate::placing::l5_equal_bytes_of_two_devices_are_one_value),
        RemovalRecordedFirst | TimeStepForgotten | OwnChangeNotRecorded | UnreadableIsAbsent => Seen::At(2),
        AnnouncedBeforeDurable => Seen::At(2),
        RankedByReceiver | RelayForgotten | GapAccepted => Seen::At(2),
        ProgressAheadOfRows => Seen::At(4),
        FreeUnchecked | DirectoryEmptied | HashUnverified | NamesNotDurable => Seen::At(2),
        ForeignCountedAsBorn | ChildrenNotCounted | ScanIgnored | ReceiverSends => Seen::At(3),
        ForgottenTooEarly => Seen::At(1),
        TombstonesAged | ExpectedUnchecked => Seen::At(3),
        OpsNotDurable | RootNotProved => Seen::Late(2),
        OverflowIgnored | CountersFromRows => Seen::Late(2),
        BusyLookTrusted => Seen::Late(3),
        SettlingForgotten => Seen::Late(4),
        UncommittedPlaced | PendingIsAbsent | CommittedUnderOps => Seen::Script(
            crate::placing::v2_c1_what_was_put_on_a_disk_is_known_to_the_record_or_the_register_that_are_durable,
        ),
        AdoptionForgotten => {
            Seen::Script(crate::placing::s3_what_was_put_on_a_disk_before_a_crash_is_no_new_version)
        }
        SyncForgotten => Seen::Script(crate::placing::c3_no_version_is_made_of_a_name_that_is_not_durable),
        AppliedTooEarly => Seen::Script(crate::waits::a_wait_is_for_bytes_that_a_remote_still_lacks_after_its_restart),
        FallbackTakenForEdit => {
            Seen::Script(crate::observing::c4_a_file_that_a_power_cut_left_blank_is_no_edit)
        }
        DoubtedDeletes => {
            Seen::Script(crate::observing::c5_an_older_disk_under_a_home_replaces_nothing_newer_anywhere)
        }
        OldStateGoesOn => {
            Seen::Script(crate::remotes::c5_dots_of_its_own_that_a_device_has_forgotten_are_not_made_again)
        }
        EpochShared => Seen::Script(crate::clones::c5_a_machine_put_back_and_what_it_was_take_nothing_from_each_other),
        CloneGoesOn => Seen::Script(crate::clones::c5_a_clone_and_its_original_take_nothing_from_each_other),
        // Whoever adds a mistake says here where it is noticed, if not here.
        _ => Seen::At(2),
    }
}

/// The first history that notices.
struct Caught {
    /// None: a script.
    level: Option<u64>,
    /// Seeds of the level that were tried until then.
    n_seeds: u64,
    failure: String,
}

struct Tried {
    mistake: Mistake,
    caught: Option<Caught>,
    seconds: f64,
}

#[test]
fn every_mistake_is_caught() {
    let begun = Instant::now();
    let is_full = std::env::var("EVIDENCE").is_ok_and(|evidence| evidence == "full");
    let names = std::env::var("MISTAKE").ok();
    let is_wanted = |mistake: &Mistake| match &names {
        Some(names) => names.split(',').any(|name| name == format!("{mistake:?}")),
        None => is_full || matches!(seen(*mistake), Seen::At(_) | Seen::Script(_)),
    };
    let wanted: Vec<Mistake> = Mistake::ALL.iter().copied().filter(is_wanted).collect();
    let results = silently(|| catch_all(&wanted, is_full || names.is_some()));
    for mistake in Mistake::ALL.iter().filter(|mistake| !wanted.contains(mistake)) {
        let why = match seen(*mistake) {
            Seen::Not(why) => format!("NOT SEEN: {why}"),
            Seen::Late(level) => format!("tried at level {level} with EVIDENCE=full alone: needs many seeds"),
            Seen::At(_) | Seen::Script(_) => "not asked for".to_owned(),
        };
        println!("mistake {mistake:?} ({}): {why}", mistake.what());
    }
    let is_known_unseen =
        |tried: &&Tried| tried.caught.is_none() && matches!(seen(tried.mistake), Seen::Not(_));
    let n_tried = results.len() - results.iter().filter(is_known_unseen).count();
    let caught: Vec<&Caught> = results.iter().filter_map(|tried| tried.caught.as_ref()).collect();
    let missed: Vec<Mistake> = results
        .iter()
        .filter(|tried| tried.caught.is_none() && !is_known_unseen(tried))
        .map(|tried| tried.mistake)
        .collect();
    println!(
        "evidence: {{\"part\":\"mistakes\",\"what\":\"seeded mistakes\",\"figures\":{{\"mistakes\":{n_tried},\
         \"caught\":{},\"seeds at most\":{}}},\"bad\":{{\"missed\":{}}},\"seconds\":{:.1}}}",
        caught.len(),
        caught.iter().map(|caught| caught.n_seeds).max().unwrap_or(0),
        missed.len(),
        begun.elapsed().as_secs_f64(),
    );
    assert!(missed.is_empty(), "nothing notices {missed:?}");
}

fn print(tried: &Tried) {
    let Tried { mistake, caught, seconds } = tried;
    match caught {
        Some(Caught { level, n_seeds, failure }) => {
            let failure: String = failure.chars().take(120).collect();
            let place = level.map_or("in a script".to_owned(), |level| format!("at level {level}"));
            println!(
                "mistake {mistake:?}: caught {place} after {n_seeds} seeds by {failure:?} ({seconds:.1} s)"
            );
        }
        None => {
            println!(
                "mistake {mistake:?} ({}): not caught, {:?} ({seconds:.1} s)",
                mistake.what(),
                seen(*mistake)
            )
        }
    }
}

/// Tries mistakes on all processors.
fn catch_all(mistakes: &[Mistake], is_full: bool) -> Vec<Tried> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some(mistake) = mistakes.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            let begun = Instant::now();
            let caught = catch(mistake, is_full);
            let tried = Tried { mistake, caught, seconds: begun.elapsed().as_secs_f64() };
            print(&tried);
            results.lock().expect("nobody panics with it").push(tried);
        }
    };
    thread::scope(|scope| {
        for _ in 0..N_WORKERS {
            thread::Builder::new().name(WORKER.to_owned()).spawn_scoped(scope, work).expect("a thread");
        }
    });
    results.into_inner().expect("all have ended")
}

/// Tries seed after seed, at the level that promises most, or, in full, at all.
fn catch(mistake: Mistake, is_full: bool) -> Option<Caught> {
    if let Seen::Script(script) = seen(mistake) {
        script(); // Without the mistake it passes, or this test fails here.
        let failure = failure_of(mistake, script)?;
        return Some(Caught { level: None, n_seeds: 0, failure });
    }
    let (levels, n_seeds) = match seen(mistake) {
        Seen::At(level) | Seen::Late(level) if !is_full => (level..level + 1, SEEDS_MAX),
        _ => (0..LEVELS, n_seeds_full()),
    };
    let mut histories = (0..n_seeds).flat_map(|seed| levels.clone().map(move |level| (level, seed)));
    histories.find_map(|(level, seed)| {
        let failure = failure(Some(mistake), level, seed)?;
        // What goes wrong without a mistake too proves nothing.
        let is_sound = self::failure(None, level, seed).is_none();
        is_sound.then_some(Caught { level: Some(level), n_seeds: seed + 1, failure })
    })
}

fn n_seeds_full() -> u64 {
    std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS_MAX_FULL)
}

/// What went wrong first in the history of a seed.
fn failure(mistake: Option<Mistake>, level: u64, seed: u64) -> Option<String> {
    caught(mistake, || run_seed(seed, &Settings::of_seed(seed, level)).failures.into_iter().next())
}

/// What a script's assertion says.
fn failure_of(mistake: Mistake, script: fn()) -> Option<String> {
    caught(Some(mistake), || {
        script();
        None
    })
}

fn caught(mistake: Option<Mistake>, run: impl FnOnce() -> Option<String> + UnwindSafe) -> Option<String> {
    let run = || {
        let _making = make(mistake);
        run()
    };
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let plain = || panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(plain).or_else(|| Some("panic".to_owned()))
    })
}

/// Has panics of the workers, which are expected, say nothing.
fn silently<T>(call: impl FnOnce() -> T) -> T {
    let previous = take_hook();
    set_hook(Box::new(move |info| {
        if thread::current().name() != Some(WORKER) {
            previous(info);
        }
    }));
    call()
}

/// What `cargo build` and `cargo run` build.
#[test]
fn the_product_has_no_switch_for_mistakes() {
    let features = |package: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--locked", "--edges", "features,normal,build"])
            .args(["--invert", "file-sync-core"])
            .args(package)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let is_switched = |tree: &str| tree.contains("feature \"mistakes\"");
    assert!(!is_switched(&features(&[])) && !is_switched(&features(&["--package", "file-sync"])));
    assert!(
        is_switched(&features(&["--package", "file-sync-sim"])),
        "the switch is looked for in the right place"
    );
}
