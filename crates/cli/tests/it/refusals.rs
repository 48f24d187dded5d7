//! Bad input: one line on stderr that names the thing, the promised exit code, and no change of state.
//!
//! What arrives from the wire is refused in the crates that read it, and tested there.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::device::Device;
use crate::world::{JANUARY, PATIENCE, eventually, introduce, join, offer, paired, settle, sharing};

/// Asserts that a command is refused with a line that holds `named`, and that nothing the server tells has changed.
fn refused(device: &Device, args: &[&str], named: &str) {
    let before = told(device);
    let line = device.refused(1, args);
    assert!(line.contains(named), "{args:?}: {named} is not named in: {line}");
    assert!(line.starts_with("file-sync: "), "{args:?}: {line}");
    assert_eq!(told(device), before, "after {args:?}");
}

/// All that the listings tell once every directory is idle, without times.
fn told(device: &Device) -> Value {
    eventually(PATIENCE, || {
        let status = device.status();
        let directories = status["directories"].as_array().ok_or("no directories in status")?;
        match directories.iter().all(|directory| directory["state"] == "idle") {
            true => Ok(()),
            false => Err("a directory is not idle"),
        }
    });
    let listings = [vec!["status"], vec!["file", "ls"], vec!["remote", "ls"], vec!["sync", "ls"]];
    let mut told = Value::Array(listings.into_iter().map(|args| device.json(args)).collect());
    forget_times(&mut told);
    told
}

fn forget_times(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(forget_times),
        Value::Object(fields) => {
            fields.remove("last_seen");
            fields.values_mut().for_each(forget_times);
        }
        _ => {}
    }
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("a path of the test is UTF-8")
}

/// A paired device that offers `docs`, and directories beside it.
fn offering() -> (Device, Device) {
    let (alpha, beta) = paired();
    offer(&alpha, &[]);
    fs::create_dir_all(alpha.root().join("inside")).expect("a directory");
    fs::create_dir_all(alpha.beside("free")).expect("a directory");
    std::os::unix::fs::symlink(alpha.root(), alpha.beside("link")).expect("a symlink");
    std::os::unix::fs::symlink(alpha.root().join("inside"), alpha.beside("link-inside")).expect("a symlink");
    fs::write(alpha.beside("a-plain-file"), "a file").expect("a file");
    settle(&[&alpha, &beta]);
    (alpha, beta)
}

#[test]
fn file_up_refuses_paths_that_cannot_be_offered() {
    let (alpha, _beta) = offering();
    let up =
        |path: PathBuf, named: &str| refused(&alpha, &["file", "up", utf8(&path), "--name", "other"], named);
    up(alpha.beside("missing"), "missing");
    up(alpha.beside("a-plain-file"), "a-plain-file");
    up(alpha.root(), "docs");
    up(alpha.root().join("inside"), "inside");
    up(alpha.beside("link"), "docs");
    up(alpha.beside("link-inside"), "docs");
    up(alpha.home(), "home");
    up(alpha.root().join(".file-sync"), ".file-sync");
    up(alpha.beside(""), "file-sync-it-");
    up(PathBuf::from("/"), "/");
    assert!(!alpha.root().join("inside/.file-sync").exists(), "no marker is left behind");
    refused(&alpha, &["file", "up", utf8(&alpha.beside("free")), "--name", "docs"], "docs");
    refused(&alpha, &["file", "up", utf8(&alpha.beside("free")), "--to", "nobody"], "nobody");
    assert!(!alpha.beside("free/.file-sync").exists(), "no marker is left behind");
    alpha.ok(["file", "up", utf8(&alpha.beside("free"))]);
}

#[test]
fn what_is_the_systems_own_is_neither_offered_nor_joined_into() {
    let (alpha, beta) = offering();
    for (path, named) in [("/proc", "(proc)"), ("/proc/self/task", "(proc)"), ("/sys", "(sysfs)")] {
        refused(&beta, &["file", "up", path, "--name", "other"], named);
    }
    for path in ["/proc", "/proc/new"] {
        refused(&beta, &["sync", "up", "alpha:docs", path], "(proc)");
        refused(&beta, &["sync", "up", "alpha:docs", path, "--dry-run"], "(proc)");
    }
    let members = &alpha.json(["file", "ls"])["directories"][0]["members"];
    assert_eq!(members, &serde_json::json!([]), "nobody counts as a member");
}

#[test]
fn file_up_refuses_a_parent_of_what_is_offered() {
    let (alpha, _beta) = paired();
    fs::create_dir_all(alpha.beside("outer/inner")).expect("a directory");
    alpha.ok(["file", "up", utf8(&alpha.beside("outer/inner"))]);
    refused(&alpha, &["file", "up", utf8(&alpha.beside("outer"))], "outer");
    assert!(!alpha.beside("outer/.file-sync").exists(), "no marker is left behind");
}

#[test]
fn sync_up_refuses_paths_that_cannot_be_joined() {
    let (alpha, beta) = offering();
    join(&beta, &alpha, &[]);
    settle(&[&alpha, &beta]);
    fs::create_dir_all(alpha.beside("second")).expect("a directory");
    alpha.ok(["file", "up", utf8(&alpha.beside("second"))]);
    fs::write(beta.beside("a-plain-file"), "a file").expect("a file");
    fs::create_dir_all(beta.root().join("inside")).expect("a directory");
    std::os::unix::fs::symlink(beta.root(), beta.beside("link")).expect("a symlink");
    let up = |path: PathBuf, named: &str| refused(&beta, &["sync", "up", "alpha:second", utf8(&path)], named);
    up(beta.beside("a-plain-file"), "a-plain-file");
    up(beta.root(), "docs");
    up(beta.root().join("inside"), "inside");
    up(beta.root().join("new/below"), "below");
    up(beta.beside("link"), "docs");
    up(beta.beside("link/below"), "docs");
    up(beta.home(), "home");
    up(beta.home().join("below"), "home");
    up(beta.beside(""), "file-sync-it-");
    assert!(!beta.root().join("new").exists() && !beta.root().join("below").exists(), "nothing was made");
    assert_eq!(fs::read(beta.beside("a-plain-file")).expect("it stays"), b"a file");
}

#[test]
fn sync_up_refuses_what_is_not_offered() {
    let (alpha, beta) = offering();
    let target = beta.beside("target");
    let up = |offered: &str, named: &str| refused(&beta, &["sync", "up", offered, utf8(&target)], named);
    up("nobody:docs", "nobody");
    up("alpha:nothing", "nothing");
    assert!(!target.exists(), "nothing was made");
    for wrong in ["docs", "alpha:", ":docs"] {
        let code = beta.run(["sync", "up", wrong, utf8(&target)]).status.code();
        assert_eq!(code, Some(2), "{wrong}");
    }
    join(&beta, &alpha, &[]);
    settle(&[&alpha, &beta]);
    refused(&beta, &["sync", "up", "alpha:docs", utf8(&target)], "docs");
    assert!(!target.exists(), "nothing was made");
}

#[test]
fn unknown_names_are_refused_everywhere() {
    let (alpha, _beta) = offering();
    for args in [
        vec!["file", "down", "nothing"],
        vec!["sync", "down", "nothing"],
        vec!["sync", "pause", "nothing"],
        vec!["sync", "resume", "nothing"],
        vec!["sync", "wait", "nothing"],
        vec!["remote", "rm", "nothing"],
    ] {
        refused(&alpha, &args, "nothing");
    }
    // An offered directory is no joined one.
    refused(&alpha, &["sync", "down", "docs"], "docs");
}

#[test]
fn tickets_that_are_not_good_are_refused() {
    let (alpha, beta, gamma) = crate::world::trio();
    for malformed in
        ["nonsense", "file-sync", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\u{1f980}", "-"]
    {
        refused(&beta, &["remote", "add", "alpha", malformed], "ticket");
    }
    let ticket = alpha.ok(["remote", "invite"]);
    let ticket = ticket.trim_end();
    assert!(!ticket.contains(char::is_whitespace), "one line without spaces: {ticket:?}");
    refused(&alpha, &["remote", "add", "self", ticket], "own");
    let cut = &ticket[..ticket.len() - 3];
    refused(&beta, &["remote", "add", "alpha", cut], "ticket");
    introduce(&alpha, &gamma);
    beta.ok(["remote", "add", "alpha", ticket]);
    // Reused, by another and by the same.
    alpha.ok(["remote", "rm", "beta"]);
    beta.ok(["remote", "rm", "alpha"]);
    refused(&beta, &["remote", "add", "alpha", ticket], "ticket");
    let expiring = alpha.ok(["remote", "invite", "--expires", "1s"]);
    let status = alpha.status();
    let invited = std::time::Instant::now();
    eventually(std::time::Duration::from_secs(10), || {
        if invited.elapsed().as_secs() >= 2 { Ok(()) } else { Err("the ticket has not expired") }
    });
    refused(&beta, &["remote", "add", "alpha", expiring.trim_end()], "ticket");
    assert_eq!(
        alpha.status()["remotes"].as_array().map(Vec::len),
        status["remotes"].as_array().map(Vec::len)
    );
}

#[test]
fn a_taken_remote_name_is_refused_and_the_ticket_stays_good() {
    let (alpha, beta, gamma) = crate::world::trio();
    introduce(&alpha, &beta);
    let ticket = gamma.ok(["remote", "invite"]);
    refused(&beta, &["remote", "add", "alpha", ticket.trim_end()], "alpha");
    beta.ok(["remote", "add", "gamma", ticket.trim_end()]);
}

#[test]
fn devices_that_do_not_answer_are_given_up_within_thirty_seconds() {
    let [mut stopped, mut gone, silent, unknown, beta] =
        ["stopped", "gone", "silent", "unknown", "beta"].map(Device::start);
    introduce(&silent, &beta);
    introduce(&gone, &beta);
    gone.stop();
    let tickets = [&stopped, &silent, &unknown].map(|device| device.ok(["remote", "invite"]));
    stopped.stop();
    silent.freeze();
    unknown.freeze();
    let start = std::time::Instant::now();
    let gives_up = |args: &[&str], named: &str| {
        let line = beta.refused(1, args);
        assert!(line.contains(named), "{args:?}: {named} is not named in: {line}");
        assert!(start.elapsed() < std::time::Duration::from_secs(35), "{args:?}: {:?}", start.elapsed());
    };
    let (target, other) = (beta.beside("target"), beta.beside("other"));
    // The silent one is known already: who asks for it again is told so, without waiting.
    gives_up(&["remote", "add", "other", tickets[1].trim_end()], "silent");
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    std::thread::scope(|scope| {
        scope.spawn(|| gives_up(&["remote", "add", "stopped", tickets[0].trim_end()], &stopped.address()));
        scope.spawn(|| gives_up(&["sync", "up", "silent:docs", utf8(&target)], &silent.address()));
        scope.spawn(|| gives_up(&["sync", "up", "gone:docs", utf8(&other)], &gone.address()));
        scope.spawn(|| {
            // Its address takes the connection, and nobody is there.
            gives_up(&["remote", "add", "unknown", tickets[2].trim_end()], &unknown.address());
            assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
        });
    });
    assert!(!target.exists() && !other.exists(), "nothing was made");
    assert_eq!(beta.status()["remotes"].as_array().map(Vec::len), Some(2));
    silent.thaw();
    unknown.thaw();
}

#[test]
fn a_device_is_paired_under_one_name_alone() {
    let (alpha, beta) = paired();
    let ticket = alpha.ok(["remote", "invite"]);
    refused(&beta, &["remote", "add", "another", ticket.trim_end()], "alpha");
    let back = beta.ok(["remote", "invite"]);
    refused(&alpha, &["remote", "add", "another", back.trim_end()], "`file-sync remote add beta TICKET`");
}

#[test]
fn a_home_that_cannot_be_made_is_refused() {
    let alpha = Device::start("alpha");
    let file = alpha.beside("a-file");
    fs::write(&file, "no directory").expect("a file");
    for home in [file.clone(), file.join("below")] {
        refused_start(&alpha.refused_server(&home, "127.0.0.1:0"), "a-file");
    }
    assert_eq!(fs::read(&file).expect("it stays"), b"no directory");
}

#[test]
fn a_second_server_and_a_taken_address_are_refused_and_disturb_nothing() {
    let (alpha, beta) = sharing();
    let before = told(&alpha);
    let address = alpha.address();
    let second = alpha.refused_server(&alpha.home(), "127.0.0.1:0");
    refused_start(&second, alpha.home().to_str().expect("a home in UTF-8"));
    let other_home = beta.beside("other-home");
    let taken = alpha.refused_server(&other_home, &address);
    refused_start(&taken, &address);
    assert_eq!(told(&alpha), before);
    alpha.user().write("f", "after", JANUARY);
    crate::world::check(&[&alpha, &beta], "f \"after\"");
}

#[test]
fn a_newer_database_is_refused_and_left_as_it_is() {
    refuses_its_databases(|bytes| bytes[60..64].copy_from_slice(&9_999_u32.to_be_bytes()));
}

#[test]
fn a_damaged_database_is_refused_and_left_as_it_is() {
    refuses_its_databases(|bytes| bytes[..100].fill(0x5a));
    refuses_its_databases(|bytes| bytes.truncate(bytes.len() / 2 + 17));
    refuses_its_databases(|bytes| bytes.clear());
}

/// Damages every database of a home, one after the other, and asserts that the server names it and does not start.
fn refuses_its_databases(damage: fn(&mut Vec<u8>)) {
    let (mut alpha, beta) = sharing();
    alpha.user().write("f", "bytes", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.stop();
    let is_database =
        |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0"));
    let databases: Vec<PathBuf> =
        crate::world::files_below(&alpha.home()).into_iter().filter(is_database).collect();
    assert!(databases.len() >= 2, "one for the server, one for the directory: {databases:?}");
    for database in databases {
        let good = fs::read(&database).expect("a database");
        let mut bad = good.clone();
        damage(&mut bad);
        fs::write(&database, &bad).expect("a write");
        let name = database.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
        refused_start(&alpha.refused_server(&alpha.home(), &alpha.address()), name);
        assert_eq!(fs::read(&database).expect("it stays"), bad, "{name} is not recreated");
        fs::write(&database, good).expect("a write");
    }
    alpha.begin();
    crate::world::check(&[&alpha, &beta], "f \"bytes\"");
}

#[test]
fn a_read_only_or_full_home_is_refused() {
    if !crate::world::is_root_or_skips("a home on a read-only or full disk") {
        return;
    }
    let alpha = Device::start("alpha");
    for (options, name) in [("ro", "read-only"), ("size=4k", "full")] {
        let point = alpha.beside(name);
        fs::create_dir(&point).expect("a mount point");
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&point)
            .status();
        if !mount.is_ok_and(|status| status.success()) {
            println!("skipped: a {name} home needs mount(2)");
            continue;
        }
        let home = point.join("home");
        let output = alpha.refused_server(&home, "127.0.0.1:0");
        let unmounted = std::process::Command::new("umount").arg(&point).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the test's own mount can be unmounted");
        refused_start(&output, name);
    }
}

fn refused_start(output: &std::process::Output, named: &str) {
    let stderr = crate::device::text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let line = stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("file-sync: ") && line.contains(named), "{named} is not named in: {stderr}");
}
