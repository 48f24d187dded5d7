//! Every command that there is, for people and as JSON, with its exit code.
//!
//! Wrong usage and homes without a server are in `usage.rs`, refusals in `refusals.rs`.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::device::{Device, text};
use crate::world::{
    JANUARY, PATIENCE, check, eventually, holds, join, mentions, offer, paired, settle, sharing, steady,
};

fn fields(value: &Value) -> Vec<&str> {
    value.as_object().map(|fields| fields.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn assert_has(value: &Value, names: &[&str]) {
    for name in names {
        assert!(value.get(name).is_some(), "{name} is missing: {:?}", fields(value));
    }
}

#[test]
fn status_tells_device_remotes_and_directories() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "12345", JANUARY);
    alpha.user().link("f", "l");
    settle(&[&alpha, &beta]);
    let status = beta.status();
    assert_has(&status, &["version", "device", "remotes", "directories"]);
    assert_eq!(status["device"]["name"], "beta");
    let remote = &status["remotes"][0];
    assert_has(remote, &["name", "id", "connected", "address", "last_seen"]);
    assert_eq!((remote["name"].clone(), remote["connected"].clone()), ("alpha".into(), true.into()));
    assert_eq!(remote["id"], alpha.status()["device"]["id"]);
    let seen = remote["last_seen"].as_str().expect("it was seen");
    assert!(seen.ends_with('Z') && seen.contains('T'), "RFC 3339 in UTC: {seen}");
    let directory = &status["directories"][0];
    let names =
        ["name", "path", "role", "remote", "mode", "state", "files", "bytes", "need_files", "need_bytes"];
    assert_has(directory, &names);
    assert_has(directory, &["conflicts", "local_changes", "errors"]);
    let told =
        ["name", "role", "remote", "mode", "state", "files", "need_files", "conflicts", "local_changes"];
    let told = told.map(|name| directory[name].clone());
    let expected = json!(["docs", "synced", "alpha", "two-way", "idle", 2, 0, 0, 0]);
    assert_eq!(json!(told), expected);
    assert_eq!(directory["errors"], json!([]));
    assert_eq!(directory["path"], beta.root().to_str().expect("a root in UTF-8"));
    let offered = alpha.directory();
    assert_eq!((offered["role"].clone(), offered["remote"].clone()), ("offered".into(), Value::Null));
    let human = beta.ok(["status"]);
    for word in ["beta", "alpha", "docs", "idle"] {
        assert!(human.contains(word), "{word} is missing: {human}");
    }
}

#[test]
fn status_tells_what_is_still_to_come() {
    let (alpha, beta) = sharing();
    alpha.user().write("big", crate::user::noise(1, 150 << 20), JANUARY);
    let seen = eventually(crate::world::PATIENCE, || {
        let directory = beta.directory();
        match directory["state"] == "syncing" && directory["need_files"] == 1 || beta.user().has("big") {
            true => Ok(directory),
            false => Err(format!("nothing is to come: {directory}")),
        }
    });
    // It may have come between two looks; then there is nothing to tell.
    if !beta.user().has("big") {
        assert_eq!(
            (seen["need_bytes"].clone(), seen["files"].clone()),
            ((150 << 20).into(), 0.into()),
            "{seen}"
        );
    }
    settle(&[&alpha, &beta]);
    let directory = beta.directory();
    let facts = ["state", "need_files", "need_bytes", "files", "bytes"].map(|fact| directory[fact].clone());
    assert_eq!(json!(facts), json!(["idle", 0, 0, 1, 150 << 20]));
}

#[test]
fn status_watch_runs_until_interrupted() {
    let alpha = Device::start("alpha");
    let mut watch =
        alpha.command().args(["status", "--watch"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut first = [0; 1];
    std::io::Read::read_exact(watch.stdout.as_mut().expect("a pipe"), &mut first).expect("it says something");
    assert!(watch.try_wait().expect("a child can be asked").is_none(), "it goes on");
    kill_process(Pid::from_child(&watch), Signal::INT).expect("a child can be signalled");
    assert_eq!(watch.wait().expect("it ends when interrupted").code(), Some(0));
}

#[test]
fn file_up_ls_and_down() {
    let (alpha, beta) = paired();
    assert_eq!(alpha.json(["file", "ls"]), json!({ "directories": [] }));
    let name = "S\u{fc}\u{df} und \u{1f980} da";
    let path = alpha.beside(name);
    std::fs::create_dir(&path).expect("a directory");
    std::fs::create_dir(alpha.beside("other")).expect("a directory");
    // Relative paths are the client's, whose working directory is beside the home.
    let up = alpha.json(["file", "up", name]);
    assert_eq!((up["name"].clone(), up["path"].clone()), (name.into(), path.to_str().into()));
    alpha.ok(["file", "up", "./other/.", "--name", "my other", "--read-only", "--to", "beta"]);
    let listed = alpha.json(["file", "ls"]);
    let directories = listed["directories"].as_array().expect("a list");
    assert_eq!(directories.len(), 2);
    let other = directories.iter().find(|directory| directory["name"] == "my other").expect("it is listed");
    assert_eq!((other["read_only"].clone(), other["to"].clone()), (true.into(), json!(["beta"])));
    let human = alpha.ok(["file", "ls"]);
    assert!(human.contains(name) && human.contains("my other"), "{human}");
    beta.ok(["sync", "up", &format!("alpha:{name}"), "here"]);
    alpha.ok(["file", "down", name]);
    alpha.ok(["file", "down", alpha.beside("other").to_str().expect("UTF-8")]);
    assert_eq!(alpha.json(["file", "ls"]), json!({ "directories": [] }));
    assert!(path.is_dir() && alpha.beside("other").is_dir(), "every file is left");
}

#[test]
fn remote_invite_add_ls_and_rm() {
    let (alpha, beta) = (Device::start("alpha"), Device::start("beta"));
    assert_eq!(alpha.json(["remote", "ls"]), json!({ "remotes": [] }));
    let human = alpha.ok(["remote", "invite"]);
    assert_eq!(human.lines().count(), 1, "one ticket, one line: {human:?}");
    let invitation = alpha.json(["remote", "invite", "--expires", "2h"]);
    assert_has(&invitation, &["ticket"]);
    let ticket = invitation["ticket"].as_str().expect("a ticket is text");
    beta.ok(["remote", "add", "the alpha", ticket]);
    let (known, knows) = (alpha.json(["remote", "ls"]), beta.json(["remote", "ls"]));
    assert_eq!(known["remotes"][0]["name"], "beta", "listed under its --name");
    assert_eq!(known["remotes"][0]["id"], beta.status()["device"]["id"]);
    assert_eq!(knows["remotes"][0]["name"], "the alpha");
    assert_eq!(knows["remotes"][0]["id"], alpha.status()["device"]["id"]);
    crate::world::connected(&alpha);
    crate::world::connected(&beta);
    assert!(beta.ok(["remote", "ls"]).contains("the alpha"));
    beta.ok(["remote", "rm", "the alpha"]);
    assert_eq!(beta.json(["remote", "ls"]), json!({ "remotes": [] }));
    crate::world::disconnected(&alpha);
}

#[test]
fn remote_names_are_made_unique_on_the_inviting_side() {
    let (alpha, one, two) = (Device::start("alpha"), Device::start("twin"), Device::start("twin"));
    for twin in [&one, &two] {
        let ticket = alpha.ok(["remote", "invite"]);
        twin.ok(["remote", "add", "alpha", ticket.trim_end()]);
    }
    let listed = alpha.json(["remote", "ls"]);
    let names: Vec<_> =
        listed["remotes"].as_array().into_iter().flatten().map(|remote| &remote["name"]).collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1]);
    assert!(names.iter().all(|name| name.as_str().is_some_and(|name| name.starts_with("twin"))), "{names:?}");
}

#[test]
fn several_tickets_are_good_at_once_and_each_once() {
    let (alpha, beta, gamma) = crate::world::trio();
    let tickets = [alpha.ok(["remote", "invite"]), alpha.ok(["remote", "invite"])];
    gamma.ok(["remote", "add", "alpha", tickets[0].trim_end()]);
    beta.ok(["remote", "add", "alpha", tickets[1].trim_end()]);
    assert_eq!(alpha.status()["remotes"].as_array().map(Vec::len), Some(2));
}

#[test]
fn sync_up_ls_pause_resume_wait_and_down() {
    let (alpha, beta) = paired();
    offer(&alpha, &[]);
    alpha.user().write("f", "bytes", JANUARY);
    // The word of a new offer may take a moment.
    eventually(crate::world::PATIENCE, || {
        let listed = beta.json(["sync", "ls"]);
        assert_eq!(listed["directories"], json!([]));
        if mentions(&listed["offers"], "docs") { Ok(()) } else { Err(format!("not listed: {listed}")) }
    });
    // Made if missing, with its parents; a relative path is the client's.
    let up = beta.json(["sync", "up", "alpha:docs", "new/parents/docs"]);
    assert_eq!((up["name"].clone(), up["remote"].clone()), ("docs".into(), "alpha".into()));
    let path = beta.beside("new/parents/docs");
    settle(&[&alpha, &beta]);
    holds(&path, "f \"bytes\"");
    let listed = beta.json(["sync", "ls"]);
    assert_eq!(listed["directories"][0]["path"], path.to_str().expect("UTF-8"));
    assert!(beta.ok(["sync", "ls"]).contains("docs"));
    let path = path.to_str().expect("UTF-8");
    for target in ["docs", path, "new/parents/docs"] {
        assert_eq!(beta.ok(["sync", "pause", target]), format!("paused: docs ({path})\n"));
        assert_eq!(beta.ok(["sync", "pause", target]), format!("paused already: docs ({path})\n"));
        assert_eq!(beta.json(["sync", "pause", target])["already"], true);
        assert_eq!(beta.directory()["state"], "paused");
        assert_eq!(beta.json(["sync", "resume", target])["already"], false);
        assert_eq!(beta.ok(["sync", "resume", target]), format!("was not paused: docs ({path})\n"));
        let waited = beta.json(["sync", "wait", target, "--timeout", "30s"]);
        assert!(waited.is_object(), "{waited}");
        assert_ne!(beta.directory()["state"], "paused");
    }
    beta.ok(["sync", "down", path]);
    assert_eq!(beta.json(["sync", "ls"])["directories"], json!([]));
    holds(&beta.beside("new/parents/docs"), "f \"bytes\"");
}

#[test]
fn pause_stops_both_directions_and_survives_a_restart() {
    let (alpha, mut beta) = sharing();
    alpha.user().write("f", "before", JANUARY);
    settle(&[&alpha, &beta]);
    beta.ok(["sync", "pause", "docs"]);
    beta.stop();
    beta.begin();
    crate::world::connected(&beta);
    assert_eq!(beta.directory()["state"], "paused");
    alpha.user().write("alpha", "a", JANUARY);
    beta.user().write("beta", "b", JANUARY);
    alpha.ok(["sync", "wait"]);
    beta.ok(["sync", "wait"]);
    crate::world::steady(std::time::Duration::from_secs(2), || {
        (alpha.user().has("beta"), beta.user().has("alpha"))
    });
    holds(&alpha.root(), "f \"before\"\nalpha \"a\"");
    holds(&beta.root(), "f \"before\"\nbeta \"b\"");
    beta.ok(["sync", "resume", "docs"]);
    check(&[&alpha, &beta], "f \"before\"\nalpha \"a\"\nbeta \"b\"");
}

#[test]
fn the_offering_side_can_pause_too() {
    let (alpha, beta) = sharing();
    alpha.ok(["sync", "pause", "docs"]);
    alpha.user().write("alpha", "a", JANUARY);
    beta.user().write("beta", "b", JANUARY);
    beta.ok(["sync", "wait"]);
    crate::world::steady(std::time::Duration::from_secs(1), || {
        (alpha.user().has("beta"), beta.user().has("alpha"))
    });
    alpha.ok(["sync", "resume", "docs"]);
    check(&[&alpha, &beta], "alpha \"a\"\nbeta \"b\"");
}

#[test]
fn sync_up_works_as_soon_as_remote_add_has_returned() {
    let (alpha, beta) = (Device::start("alpha"), Device::start("beta"));
    offer(&alpha, &[]);
    alpha.user().write("f", "bytes", JANUARY);
    let ticket = alpha.ok(["remote", "invite"]);
    beta.ok(["remote", "add", "alpha", ticket.trim_end()]);
    join(&beta, &alpha, &[]);
    check(&[&alpha, &beta], "f \"bytes\"");
}

#[test]
fn sync_up_waits_for_a_remote_that_comes_back() {
    let (mut alpha, beta) = paired();
    offer(&alpha, &[]);
    alpha.stop();
    crate::world::disconnected(&beta);
    let root = beta.root();
    let mut up = beta.command().args(["sync", "up", "alpha:docs"]).arg(&root).spawn().expect("it starts");
    alpha.begin();
    assert!(up.wait().expect("it ends").success());
    settle(&[&alpha, &beta]);
}

#[test]
fn a_directory_can_be_offered_on_by_who_joined_nothing_of_it() {
    let (alpha, beta) = sharing();
    std::fs::create_dir(beta.beside("back")).expect("a directory");
    beta.ok(["file", "up", "back"]);
    alpha.ok(["sync", "up", "beta:back", "back"]);
    std::fs::write(alpha.beside("back/f"), "both ways").expect("a file");
    settle(&[&alpha, &beta]);
    holds(&beta.beside("back"), "f \"both ways\"");
    assert_eq!(beta.status()["directories"].as_array().map(Vec::len), Some(2));
    assert!(mentions(&alpha.json(["file", "ls"]), "docs") && !mentions(&alpha.json(["file", "ls"]), "back"));
}

#[test]
fn the_home_and_what_is_in_it_are_private() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "bytes", JANUARY);
    settle(&[&alpha, &beta]);
    let mode = |path: &std::path::Path| {
        std::fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!(mode(&alpha.home()), 0o700);
    for path in crate::world::files_below(&alpha.home()) {
        assert_eq!(mode(&path) & 0o077, 0, "{} is private", path.display());
    }
    assert_eq!(mode(&beta.root().join(".file-sync")) & 0o077, 0);
}

#[test]
fn the_server_stops_cleanly_on_either_signal() {
    let mut alpha = Device::start("alpha");
    assert_eq!(alpha.stop().code(), Some(0));
    alpha.begin();
    let second = alpha.refused_server(&alpha.home(), "127.0.0.1:0");
    assert_eq!(second.status.code(), Some(1), "a second server on the same home");
    alpha.signal(Signal::INT);
    eventually(std::time::Duration::from_secs(6), || {
        let code = alpha.run(["status"]).status.code();
        if code == Some(4) { Ok(()) } else { Err(format!("status still exits {code:?}")) }
    });
}

#[test]
fn the_server_stops_with_its_terminal_unless_that_is_ignored() {
    let mut alpha = Device::start("alpha");
    alpha.stop();
    // Whoever runs this may have it ignored.
    alpha.begin_under(&["env".into(), "--default-signal=HUP".into()]);
    alpha.await_ready();
    alpha.signal(Signal::HUP);
    let exit = eventually(std::time::Duration::from_secs(6), || alpha.ended().ok_or("still running"));
    assert_eq!(exit.code(), Some(0));
    alpha.begin_under(&["nohup".into()]);
    alpha.await_ready();
    alpha.signal(Signal::HUP);
    steady(std::time::Duration::from_millis(300), || alpha.run(["status"]).status.code());
    assert_eq!(alpha.run(["status"]).status.code(), Some(0), "nohup(1) keeps it: {}", alpha.log());
}

#[test]
fn results_go_to_stdout_and_the_rest_to_stderr() {
    let (alpha, beta) = sharing();
    for (device, listing) in [(&alpha, "file"), (&beta, "sync")] {
        for args in [vec!["status"], vec!["remote", "ls"], vec![listing, "ls"]] {
            let output = device.run(&args);
            assert_eq!(text(&output.stderr), "", "{args:?}");
            assert!(output.status.success() && !output.stdout.is_empty());
            assert!(!output.stdout.contains(&0x1b), "no colour but on a terminal");
            let quiet = device.run(args.iter().chain(&["-q", "--json"]));
            serde_json::from_slice::<Value>(&quiet.stdout).expect("one JSON document");
        }
    }
}

#[test]
fn hints_are_no_part_of_a_result() {
    let alpha = Device::start("alpha");
    for args in [&["status"][..], &["status", "-q"]] {
        let output = alpha.run(args);
        let said = text(&output.stdout);
        assert!(said.ends_with("\nno remotes\n\nno directories\n"), "{args:?}: {said}");
        assert_eq!(text(&output.stderr), "", "{args:?}: nobody is at a terminal");
    }
}

#[test]
fn a_device_keeps_its_name_until_it_is_told_another() {
    let mut alpha = Device::start("alpha");
    let name = |device: &Device| device.status()["device"]["name"].clone();
    // What `begin_under` adds is the program and `server --no-discovery --no-web --name NAME --listen ADDRESS`.
    let unnamed = ["sh", "-c", r#"exec "$0" "$1" "$2" "$3" "$6" "$7""#].map(Into::into);
    for said in ["alpha", "another"] {
        alpha.stop();
        alpha.name = said.to_owned();
        alpha.begin();
        assert_eq!(name(&alpha), said);
        alpha.stop();
        alpha.begin_under(&unnamed);
        alpha.await_ready();
        assert_eq!(name(&alpha), said, "it is remembered");
    }
}

#[test]
fn demo_ends_with_equal_trees_and_leaves_nothing() {
    let alpha = Device::start("alpha");
    let temporary = alpha.beside("temporary");
    std::fs::create_dir(&temporary).expect("a directory");
    let output = alpha.command().arg("demo").env("TMPDIR", &temporary).output().expect("it starts");
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    assert!(stdout.contains("conflict"), "it prints what happens: {stdout}");
    let left: Vec<_> = std::fs::read_dir(&temporary).expect("it is there").flatten().collect();
    assert!(left.is_empty(), "nothing is left behind: {left:?}");
}

#[test]
fn demo_keep_leaves_both_servers_running() {
    let alpha = Device::start("alpha");
    let temporary = alpha.beside("temporary");
    std::fs::create_dir(&temporary).expect("a directory");
    let output = alpha.command().args(["demo", "--keep", "--json"]).env("TMPDIR", &temporary).output();
    let output = output.expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let homes = outcome["homes"].as_array().expect("it tells the homes");
    assert_eq!((homes.len(), outcome["equal"].clone()), (2, true.into()));
    let homes = homes.iter().filter_map(Value::as_str);
    let connected = homes.clone().map(|home| {
        let status = alpha.run(["--home", home, "status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).expect("its server runs");
        status["remotes"][0]["connected"].clone()
    });
    let connected: Vec<Value> = connected.collect();
    for home in homes {
        // The home's lock names its server, which is nobody's child here.
        let lock = std::fs::read_to_string(std::path::Path::new(home).join("lock")).expect("a lock");
        let server = lock.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(server, Signal::TERM).expect("the server runs");
        eventually(std::time::Duration::from_secs(6), || {
            let code = alpha.run(["--home", home, "status"]).status.code();
            if code == Some(4) { Ok(()) } else { Err(format!("status still exits {code:?}")) }
        });
    }
    assert_eq!(connected, [true, true]);
}

#[test]
fn every_command_answers_with_one_json_document() {
    let (alpha, beta) = (Device::start("alpha"), Device::start("beta"));
    std::fs::create_dir(alpha.root()).expect("a directory");
    let ticket = alpha.json(["remote", "invite"])["ticket"].clone();
    let added = beta.json(["remote", "add", "alpha", ticket.as_str().expect("a ticket is text")]);
    assert_eq!(added["name"], "alpha");
    assert_eq!(alpha.json(["file", "up", "docs"])["name"], "docs");
    assert_eq!(beta.json(["sync", "up", "alpha:docs", "docs"])["name"], "docs");
    for verb in ["pause", "resume"] {
        assert_eq!(beta.json(["sync", verb, "docs"])["name"], "docs");
    }
    assert_eq!(beta.json(["sync", "wait"])["remotes"], 1);
    assert_eq!(beta.json(["sync", "down", "docs"])["name"], "docs");
    assert_eq!(alpha.json(["file", "down", "docs"])["name"], "docs");
    assert_eq!(alpha.json(["remote", "rm", "beta"])["name"], "beta");
}

#[test]
fn a_name_wins_over_a_path() {
    let alpha = Device::start("alpha");
    for (directory, name) in [("one", "two"), ("two", "three")] {
        std::fs::create_dir(alpha.beside(directory)).expect("a directory");
        alpha.ok(["file", "up", directory, "--name", name]);
    }
    let left = |alpha: &Device| alpha.json(["file", "ls"])["directories"][0]["name"].clone();
    alpha.ok(["file", "down", "two"]);
    assert_eq!(left(&alpha), "three", "the name two was another directory's");
    alpha.ok(["file", "down", "two"]);
    assert_eq!(left(&alpha), Value::Null, "the path two is what is left");
}

#[test]
fn what_is_normal_while_devices_pair_and_meet_again_is_logged_without_a_warning() {
    let (mut alpha, mut beta) = paired();
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    settle(&[&alpha, &beta]);
    for _ in 0..4 {
        alpha.stop();
        beta.stop();
        // Both dial at once.
        alpha.begin_under(&[]);
        beta.begin_under(&[]);
        alpha.await_ready();
        beta.await_ready();
        settle(&[&alpha, &beta]);
    }
    for device in [&alpha, &beta] {
        let log = device.whole_log();
        let loud: Vec<&str> =
            log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect();
        assert!(loud.is_empty(), "{}: {loud:#?}", device.name);
    }
    // What somebody may want to know is said once, and in words of our own.
    alpha.ok(["remote", "rm", "beta"]);
    let (stranger, gone) = ("a device that is not paired", "which may have removed this device");
    for (device, sentence) in [(&alpha, stranger), (&beta, gone)] {
        eventually(PATIENCE, || {
            let log = device.whole_log();
            if log.contains(sentence) { Ok(()) } else { Err(log) }
        });
        let log = device.whole_log();
        let loud: Vec<&str> = log.lines().filter(|line| line.contains(" WARN ")).collect();
        assert!(
            loud.iter().all(|line| line.contains("came to nothing") && !line.contains("https:")),
            "{loud:#?}"
        );
    }
}
