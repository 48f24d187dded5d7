//! The search proves itself: what can be got wrong about registers and acts is noticed by some history of the samples.
//!
//! The rest of the mistakes is for the simulator to notice, which has disks, crashes and links.

use std::panic::catch_unwind;
use std::time::Instant;

use file_sync_core::mistake::{Mistake, make};

use crate::script::run;
use crate::search::{Deliveries, random_history};

/// Those that some history notices; most of the others show on disks alone.
const NOTICED: [Mistake; 14] = [
    Mistake::ContextNotMerged,
    Mistake::LowerCounterForgets,
    Mistake::ForeignCountedAsBorn,
    Mistake::LatestAlone,
    Mistake::SettledNotMerged,
    Mistake::ConflictWritten,
    Mistake::SeenDotKept,
    Mistake::AllTakenForSeen,
    Mistake::WinnerTakenForSeen,
    Mistake::SettlingForgotten,
    Mistake::HiddenComesBack,
    Mistake::DeleteCompetes,
    Mistake::EqualBytesConflict,
    Mistake::BasesForgotten,
];
const KINDS: [Deliveries; 3] = [Deliveries::Whole, Deliveries::Partial, Deliveries::Unseen];
/// Histories of each kind that are tried.
const SEEDS_MAX: u64 = 20_000;

/// The history that notices: its seed and kind, how many were tried until then, and what is wrong.
struct Caught {
    seed: u64,
    kind: Deliveries,
    n_histories: u64,
    failure: String,
}

#[test]
fn every_mistake_about_registers_is_caught() {
    let begun = Instant::now();
    let (mut missed, mut alarms) = (Vec::new(), Vec::new());
    let (mut n_histories, mut most) = (0, 0);
    for mistake in NOTICED {
        let Some(caught) = catch(mistake) else {
            missed.push(mistake);
            continue;
        };
        let failure: String = caught.failure.chars().take(120).collect();
        println!("mistake {mistake:?}: caught after {} histories by {failure:?}", caught.n_histories);
        n_histories += caught.n_histories;
        most = caught.n_histories.max(most);
        alarms.extend(failure_of(None, caught.seed, caught.kind));
    }
    println!(
        "evidence: {{\"part\":\"mistakes\",\"what\":\"mistakes made on purpose in the state model\",\"figures\":\
         {{\"mistakes\":{},\"caught\":{},\"histories until caught\":{n_histories},\"most for one\":{most}}},\
         \"bad\":{{\"missed\":{},\"false alarms\":{}}},\"seconds\":{:.1}}}",
        NOTICED.len(),
        NOTICED.len() - missed.len(),
        missed.len(),
        alarms.len(),
        begun.elapsed().as_secs_f64(),
    );
    assert!(missed.is_empty(), "nothing notices {missed:?}");
    assert!(alarms.is_empty(), "without any mistake these fail too: {alarms:?}");
}

fn catch(mistake: Mistake) -> Option<Caught> {
    let histories = (0..SEEDS_MAX).flat_map(|seed| KINDS.map(|kind| (seed, kind)));
    (1..).zip(histories).find_map(|(n_histories, (seed, kind))| {
        let failure = failure_of(Some(mistake), seed, kind)?;
        Some(Caught { seed, kind, n_histories, failure })
    })
}

fn failure_of(mistake: Option<Mistake>, seed: u64, kind: Deliveries) -> Option<String> {
    let (ranks, steps) = random_history(seed, kind);
    let run = || {
        let _making = make(mistake);
        run(3, ranks, &steps).err()
    };
    catch_unwind(run).unwrap_or_else(|_| Some("panic".to_owned()))
}
