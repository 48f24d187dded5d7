//! A local attacker against two real servers: while changes flow both ways, directories and files of the one are swapped
//! for symlinks to a canary beside its root. The canary is not touched, not read, and comes nowhere.
//!
//! Promise checked here: H1.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::RenameFlags;

use crate::canary::{Canary, Spot, found_in, holds_token};
use crate::device::Device;
use crate::world::{JANUARY, approve_held, equal, files_below, settle, sharing};

/// What is swapped, and for what.
const SWAPS: [(&str, &str); 8] = [
    ("d", "to-canary"),
    ("d", "to-parent"),
    ("d/sub", "to-sub"),
    ("d/f", "to-file"),
    ("d/sub/h", "to-file"),
    ("f", "to-file"),
    (".file-sync/stage", "to-canary"),
    (".file-sync/kept", "to-canary"),
];

/// Swaps and swaps back until told to end; returns how often.
fn attack(root: &Path, is_over: &AtomicBool) -> u64 {
    let (mut n_swaps, mut seed) = (0, 0x9e37_79b9_u64);
    while !is_over.load(Ordering::Relaxed) {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (victim, decoy) = SWAPS[(seed >> 33) as usize % SWAPS.len()];
        let (Some(victim), Some(decoy)) = (Spot::open(root, victim), Spot::open(root, decoy)) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        if victim.rename(&decoy, RenameFlags::EXCHANGE) {
            n_swaps += 1;
            std::thread::sleep(Duration::from_micros((seed >> 40) % 4_000));
            victim.rename(&decoy, RenameFlags::EXCHANGE);
        }
        std::thread::sleep(Duration::from_micros((seed >> 50) % 2_000));
    }
    n_swaps
}

/// Both users work: the one away in what is attacked, the other beside it. Returns how many files they have written.
fn work(alpha: &Device, beta: &Device, time: Duration) -> u64 {
    let (start, mut n_written) = (Instant::now(), 0);
    while start.elapsed() < time {
        for name in ["d/f", "d/g", "d/sub/h", "d/sub/new", "f"] {
            // A directory of its own may be a symlink by now, which came from the attacked side.
            if Spot::open(&beta.root(), name).is_some() && !beta.user().path(name).is_symlink() {
                beta.user().write(name, format!("beta {n_written}"), JANUARY + n_written as i64);
                n_written += 1;
            }
        }
        alpha.user().write(format!("beside-{}", n_written % 20), format!("alpha {n_written}"), JANUARY);
        n_written += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    n_written
}

#[test]
fn h1_an_attacker_beside_a_real_server_leads_it_nowhere() {
    let (alpha, beta) = sharing();
    let canary = Canary::new(alpha.beside("canary"));
    for name in ["d/f", "d/g", "d/sub/h", "f"] {
        alpha.user().write(name, format!("bytes of {name}"), JANUARY);
    }
    // Relative, so that on the other device they lead to nothing.
    let links = [
        ("to-canary", "../canary"),
        ("to-parent", ".."),
        ("to-sub", "../../canary/sub"),
        ("to-file", "../../canary/f"),
    ];
    for (name, target) in links {
        symlink(target, alpha.user().path(name)).expect("a symlink can be made");
    }
    settle(&[&alpha, &beta]);
    let is_full = std::env::var("EVIDENCE").is_ok_and(|size| size == "full");
    let (start, time) = (Instant::now(), Duration::from_secs(if is_full { 600 } else { 8 }));
    let is_over = AtomicBool::new(false);
    let root = alpha.root();
    let (n_swaps, n_written) = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| attack(&root, &is_over));
        let n_written = work(&alpha, &beta, time);
        is_over.store(true, Ordering::Relaxed);
        (attacker.join().expect("the attacker does not panic"), n_written)
    });
    settle(&[&alpha, &beta]);
    // What the attacker moved out of sight all the time may look like deletions of too much.
    while approve_held(&[&alpha, &beta]) {
        settle(&[&alpha, &beta]);
    }
    equal(&[&alpha, &beta]);
    assert_eq!(canary.touched(), Vec::<String>::new());
    for device in [&alpha, &beta] {
        assert_eq!(found_in(&device.root()), Vec::<std::path::PathBuf>::new(), "on {}", device.name);
        for path in files_below(&device.home()).iter().filter(|path| path.is_file()) {
            let bytes = std::fs::read(path).unwrap_or_default();
            assert!(!holds_token(&bytes), "{} knows what is in the canary", path.display());
        }
        assert!(!device.log().contains("panicked"), "{}", device.log());
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "attacker: {n_swaps} swaps while {n_written} files were written; the canary is untouched and nowhere else"
    );
    println!(
        "evidence: {{\"part\":\"attack\",\"what\":\"local attacker beside real servers\",\"figures\":{{\"swaps\":\
         {n_swaps},\"files written\":{n_written}}},\"bad\":{{\"escapes\":0,\"canary read\":0,\"trees that differ\":0}},\
         \"seconds\":{seconds:.1}}}"
    );
}
