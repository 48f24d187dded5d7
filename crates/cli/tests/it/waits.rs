//! `sync wait`: what it promises when it returns 0, and when it does not.

use std::time::{Duration, Instant};

use crate::device::Device;
use crate::user::noise;
use crate::world::{FEBRUARY, JANUARY, disconnected, equal, offer, paired, settle, sharing};

#[test]
fn wait_returns_when_what_was_just_written_is_there() {
    let (alpha, beta) = sharing();
    for round in 0..20 {
        alpha.user().write(format!("f{round}"), format!("{round}"), JANUARY);
        alpha.user().write("same", format!("{round}"), JANUARY);
        alpha.ok(["sync", "wait"]);
        assert_eq!(beta.user().read(format!("f{round}")), format!("{round}").as_bytes());
        assert_eq!(beta.user().read("same"), format!("{round}").as_bytes());
        alpha.user().remove(format!("f{round}"));
        alpha.ok(["sync", "wait", "docs"]);
        assert!(!beta.user().has(format!("f{round}")));
    }
}

#[test]
fn wait_with_nobody_connected_has_this_disk_looked_at() {
    let alpha = Device::start("alpha");
    for index in 0..2_000 {
        alpha.user().write(format!("{}/{index}", index % 40), format!("{index}"), JANUARY);
    }
    offer(&alpha, &[]);
    let said = alpha.ok(["sync", "wait"]);
    assert!(said.contains("no connected remote takes part"), "{said}");
    let status = alpha.json(["status"]);
    assert_eq!(status["directories"][0]["files"], 2_000, "{status}");
}

#[test]
fn wait_sees_what_no_event_announced() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "before", JANUARY);
    // A second name outside the root: a write through it raises no event at the root's own directories.
    std::fs::hard_link(alpha.user().path("f"), alpha.beside("outside")).expect("a hard link");
    settle(&[&alpha, &beta]);
    std::fs::write(alpha.beside("outside"), "written behind the watch").expect("a write");
    alpha.ok(["sync", "wait"]);
    assert_eq!(beta.user().read("f"), b"written behind the watch");
    std::fs::write(alpha.beside("outside"), "WRITTEN behind the watch").expect("a write");
    alpha.ok(["sync", "wait", alpha.root().to_str().expect("a root in UTF-8")]);
    assert_eq!(beta.user().read("f"), b"WRITTEN behind the watch");
}

#[test]
fn wait_runs_out_of_time_when_the_remote_stands_still() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "before", JANUARY);
    settle(&[&alpha, &beta]);
    beta.freeze();
    alpha.user().write("f", "after", FEBRUARY);
    let start = Instant::now();
    let line = alpha.refused(3, ["sync", "wait", "--timeout", "2s"]);
    let took = start.elapsed();
    beta.thaw();
    assert!(took >= Duration::from_millis(1900) && took < Duration::from_secs(6), "{took:?}: {line}");
    settle(&[&alpha, &beta]);
    assert_eq!(beta.user().read("f"), b"after");
}

#[test]
fn wait_runs_out_of_time_amid_a_transfer_and_the_transfer_goes_on() {
    let (alpha, beta) = sharing();
    alpha.user().write("big", noise(3, 120 << 20), JANUARY);
    crate::world::eventually(crate::world::PATIENCE, || {
        let begun = crate::world::files_below(&beta.root().join(".file-sync/stage"));
        if begun.is_empty() && !beta.user().has("big") { Err("nothing has begun to arrive") } else { Ok(()) }
    });
    beta.freeze();
    let arrived = beta.user().has("big");
    let code = alpha.run(["sync", "wait", "--timeout", "1s"]).status.code();
    beta.thaw();
    assert!(code == Some(3) || arrived, "{code:?}");
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
}

#[test]
fn wait_is_over_at_once_when_nobody_is_connected() {
    let (alpha, mut beta) = sharing();
    beta.stop();
    disconnected(&alpha);
    alpha.user().write("f", "for nobody", JANUARY);
    let start = Instant::now();
    alpha.ok(["sync", "wait", "--timeout", "50s"]);
    assert!(start.elapsed() < Duration::from_secs(5));
    let (alone, _other) = paired();
    alone.ok(["sync", "wait"]);
}

#[test]
fn wait_does_not_count_what_a_pause_keeps_back() {
    let (alpha, beta) = sharing();
    beta.ok(["sync", "pause", "docs"]);
    alpha.user().write("f", "held back", JANUARY);
    let said = alpha.ok(["sync", "wait", "--timeout", "20s"]);
    assert!(said.contains("beta takes no part in docs now") && !said.contains("in sync"), "{said}");
    let waited = alpha.json(["sync", "wait", "--timeout", "20s"]);
    assert_eq!(waited["remotes"], 0);
    assert_eq!(waited["absent"], serde_json::json!([{ "remote": "beta", "directory": "docs" }]));
    let waited = beta.json(["sync", "wait", "--timeout", "20s"]);
    assert_eq!(
        (&waited["paused"], &waited["remotes"]),
        (&serde_json::json!(["docs"]), &serde_json::json!(0))
    );
    assert!(!beta.user().has("f"));
    assert_eq!(beta.directory()["state"], "paused");
    beta.ok(["sync", "resume", "docs"]);
    settle(&[&alpha, &beta]);
    assert!(beta.user().has("f"));
    beta.ok(["sync", "down", "docs"]);
    let said = alpha.ok(["sync", "wait", "--timeout", "20s"]);
    assert!(said.contains("no connected remote takes part"), "{said}");
}

#[test]
fn wait_counts_what_the_remotes_had_announced() {
    let (alpha, beta) = sharing();
    for round in 0..10 {
        beta.user().write("f", format!("{round}"), JANUARY);
        beta.ok(["sync", "wait"]);
        alpha.ok(["sync", "wait"]);
        assert_eq!(alpha.user().read("f"), format!("{round}").as_bytes());
    }
}
