//! A good neighbour to what else the machine and its line are for: rates, priorities, and what `status` says of them.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::device::{Device, text};
use crate::world::{JANUARY, check, connected, eventually, settle, sharing};

const MIB: usize = 1 << 20;

fn begin_with(device: &mut Device, options: &str) {
    device.stop();
    device.begin_under(&["sh", "-c", &format!("exec \"$@\" {options}"), "sh"].map(Into::into));
    device.await_ready();
}

/// The priorities (`nice`) of a server's threads, by their names' beginnings; the lowest and highest of each.
fn priorities(device: &Device) -> BTreeMap<String, (i32, i32)> {
    let mut all = BTreeMap::new();
    let tasks = fs::read_dir(format!("/proc/{}/task", device.server_id())).expect("it runs");
    for task in tasks.flatten() {
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
        let (name, rest) =
            stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")).expect("its form");
        let nice: i32 = rest.split(' ').nth(16).and_then(|field| field.parse().ok()).expect("a number");
        let name = name.split(' ').next().unwrap_or_default().to_owned();
        let (lowest, highest) = all.entry(name).or_insert((nice, nice));
        (*lowest, *highest) = (nice.min(*lowest), nice.max(*highest));
    }
    all
}

#[test]
fn what_goes_and_comes_is_held_to_what_it_may_and_status_tells_how_fast_it_does() {
    let (alpha, mut beta) = sharing();
    assert_eq!(alpha.status()["traffic"]["download_max"], json!(null));
    begin_with(&mut beta, "--download-max 1M --upload-max 512K");
    connected(&beta);
    let mixed = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8;
    let bytes: Vec<u8> = (0..4 * MIB as u64).map(mixed).collect();
    let start = Instant::now();
    alpha.user().write("large", bytes, JANUARY);
    let traffic = eventually(Duration::from_secs(60), || {
        let traffic = beta.status()["traffic"].clone();
        let is_coming = traffic["download"].as_u64() > Some(0) && traffic["seconds_left"].is_u64();
        if is_coming { Ok(traffic) } else { Err(traffic) }
    });
    assert_eq!((&traffic["download_max"], &traffic["upload_max"]), (&json!(MIB), &json!(MIB / 2)));
    eventually(Duration::from_secs(60), || {
        let text = beta.ok(["status"]);
        let is_told = text.contains("(at most 1.0 MiB/s), up ") && text.contains(" s left at most");
        if is_told { Ok(()) } else { Err(text) }
    });
    settle(&[&alpha, &beta]);
    assert!(start.elapsed() >= Duration::from_millis(3_500), "{:?}", start.elapsed());
    fs::remove_file(alpha.root().join("large")).expect("it is there");
    settle(&[&alpha, &beta]);
    check(&[&alpha, &beta], "");
}

/// Whatever the rate is: pieces that were cut to it left rests over that were too small.
#[test]
fn s2_a_large_file_comes_at_a_rate_that_is_no_power_of_two() {
    let (mut alpha, beta) = sharing();
    begin_with(&mut alpha, "--upload-max 400000");
    connected(&beta);
    let mixed = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8;
    alpha.user().write("large", (0..MIB as u64).map(mixed).collect::<Vec<u8>>(), JANUARY);
    settle(&[&alpha, &beta]);
    assert_eq!(beta.user().read("large"), alpha.user().read("large"));
    assert!(!beta.log().contains("closing the connection"), "{}", beta.log());
}

#[test]
fn what_walks_and_hashes_gives_way_where_that_is_asked_for() {
    let (alpha, mut beta) = sharing();
    begin_with(&mut beta, "--low-priority");
    connected(&beta);
    let (usual, low) = (priorities(&alpha), priorities(&beta));
    let nice = usual["disk"].0;
    for name in ["walk", "hash", "disk", "index", "watch"] {
        assert_eq!(usual[name], (nice, nice), "{usual:?}");
        let expected = if ["walk", "hash"].contains(&name) { 19 } else { nice };
        assert_eq!(low[name], (expected, expected), "{name}: {low:?}");
    }
    beta.user().write("f", "from beta", JANUARY);
    settle(&[&alpha, &beta]);
    check(&[&alpha, &beta], "f \"from beta\"");
}

#[test]
fn a_rate_that_is_none_is_refused() {
    let device = Device::start("alpha");
    for bad in ["0", "15K", "fast", "1M/s"] {
        let output = device.run(["server", "--upload-max", bad]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.starts_with("error: ") && told.contains("--upload-max"), "{told}");
    }
}
