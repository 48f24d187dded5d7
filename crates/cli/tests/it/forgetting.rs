//! What is known of deleted paths goes once every member has followed, also of those that only others are connected with.

use std::time::Duration;

use crate::chaos::{clock_library, clock_of, clock_variables, set_clock};
use crate::device::{Device, Place, new_base};
use crate::world::{FEBRUARY, JANUARY, check, eventually, introduce, join, offer, settle};

/// The server looks every five minutes, for the first time soon after its start.
const SOON: Duration = Duration::from_secs(90);

/// A device whose clock is 40 days late, so that what it deletes counts as deleted then.
fn late(name: &str, library: &str) -> Device {
    let base = new_base();
    let clock = clock_of(base.path());
    set_clock(&clock, "-40d");
    let variables = clock_variables(library, &clock);
    Device::start_at(name, base, None, Place { island: None, variables })
}

/// What `why` says of a path, in a word.
fn reason(device: &Device, path: &str) -> String {
    let why = device.json(["why", device.root().join(path).to_str().expect("UTF-8")]);
    why["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn d3_what_all_have_deleted_is_forgotten_after_a_while_and_does_not_come_back() {
    let Some(library) = clock_library() else {
        println!("skipped: a clock that is late needs the package faketime");
        return;
    };
    let (alpha, mut beta, gamma) = (Device::start("alpha"), late("beta", library), Device::start("gamma"));
    introduce(&alpha, &beta);
    introduce(&alpha, &gamma);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    join(&gamma, &alpha, &[]);
    let all = [&alpha, &beta, &gamma];
    beta.user().mkdir("d");
    for file in ["d/long ago", "d/again", "stays"] {
        beta.user().write(file, file, JANUARY);
    }
    alpha.user().write("today", "today", JANUARY);
    settle(&all);
    beta.user().remove_all("d");
    settle(&all);
    alpha.user().remove("today");
    beta.user().write("stays", "the last that was done there", FEBRUARY);
    settle(&all);
    // By its own clock it has deleted just now.
    beta.stop();
    set_clock(&beta.beside("clock"), "+0");
    beta.begin();
    let all = [&alpha, &beta, &gamma];
    settle(&all);
    eventually(SOON, || {
        let known: Vec<String> = all.iter().map(|device| reason(device, "d/long ago")).collect();
        if known.iter().all(|reason| reason == "unknown") { Ok(()) } else { Err(format!("{known:?}")) }
    });
    for device in all {
        assert_eq!(reason(device, "d"), "unknown", "{}", device.name);
        assert_eq!(reason(device, "today"), "in-step", "{}: deleted less than 30 days ago", device.name);
    }
    check(&all, "stays \"the last that was done there\"");
    gamma.user().mkdir("d");
    gamma.user().write("d/again", "a new file", FEBRUARY);
    check(&all, "d/\nd/again \"a new file\"\nstays \"the last that was done there\"");
}
