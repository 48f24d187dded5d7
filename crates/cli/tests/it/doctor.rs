//! `doctor`: what is set up well is said to be, what is not is named with what mends it, and nothing is changed by asking.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::device::{Device, text};
use crate::tree::tree_of;
use crate::trouble::listed;
use crate::world::{JANUARY, connected, directory_becomes, holds, settle, sharing};

/// What `doctor` says, and its exit code.
fn examined(device: &Device, options: &[&str]) -> (Value, Option<i32>) {
    let args = ["doctor", "--json"].into_iter().chain(options.iter().copied());
    let output = device.run(args);
    let document =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    (document, output.status.code())
}

/// The findings of one check that are no `ok`.
fn bad(document: &Value, check: &str) -> Vec<Value> {
    let findings = document["findings"].as_array().expect("findings");
    let is_bad = |finding: &&Value| finding["check"] == check && finding["verdict"] != "ok";
    findings.iter().filter(is_bad).cloned().collect()
}

#[track_caller]
fn only(found: Vec<Value>) -> Value {
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// A free port for a server that does not run.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn a_machine_that_is_set_up_well_is_said_to_be_and_nothing_is_changed() {
    let (mut alpha, beta) = sharing();
    alpha.user().write("f", "text", 0);
    settle(&[&alpha, &beta]);
    let before = (tree_of(&alpha.root()), own_names(&alpha.root()));
    let (document, code) = examined(&alpha, &[]);
    assert_eq!(code, Some(0), "{document}");
    let findings = document["findings"].as_array().expect("findings");
    for check in ["server", "home", "database", "clock", "watches", "files", "remote", "filesystem", "space"]
    {
        assert!(findings.iter().any(|finding| finding["check"] == check), "{check}: {document}");
        assert!(!findings.iter().any(|finding| finding["verdict"] == "problem"), "{document}");
    }
    assert_eq!(bad(&document, "home"), Vec::<Value>::new());
    assert!(alpha.ok(["doctor"]).contains("ok       server"), "for people");
    assert_eq!((tree_of(&alpha.root()), own_names(&alpha.root())), before);
    alpha.stop();
    let (document, code) = examined(&alpha, &["--listen", &free_port()]);
    assert_eq!(code, Some(0), "{document}");
    assert_eq!(only(bad(&document, "server"))["verdict"], "warning");
    alpha.begin();
    connected(&alpha);
}

fn own_names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(".file-sync")).expect("the engine's own directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_is_not_set_up_well_is_named_with_what_mends_it() {
    let (mut alpha, beta) = sharing();
    settle(&[&alpha, &beta]);
    let database = alpha.home().join("home.db");
    fs::set_permissions(&database, Permissions::from_mode(0o644)).expect("set");
    let (document, _) = examined(&alpha, &[]);
    let finding = only(bad(&document, "home"));
    let mend = finding["mend"].as_str().expect("a command");
    assert!(Command::new("sh").args(["-c", mend]).status().expect("it runs").success(), "{mend}");
    assert_eq!(bad(&examined(&alpha, &[]).0, "home"), Vec::<Value>::new(), "{mend} mends it");

    alpha.stop();
    let spaced = alpha.beside("it's a home; touch here");
    fs::create_dir(&spaced).expect("made");
    fs::set_permissions(&spaced, Permissions::from_mode(0o777)).expect("set");
    let output =
        alpha.command().arg("--home").arg(&spaced).args(["doctor", "--json"]).output().expect("it runs");
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let finding = only(bad(&document, "home"));
    let mend = finding["mend"].as_str().expect("a command");
    assert!(Command::new("sh").args(["-c", mend]).status().expect("it runs").success(), "{mend}");
    assert_eq!(fs::metadata(&spaced).expect("it is there").permissions().mode() & 0o777, 0o700, "{mend}");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (document, code) = examined(&alpha, &["--listen", &address]);
    assert_eq!((only(bad(&document, "port"))["verdict"].as_str(), code), (Some("problem"), Some(1)));

    let marker = alpha.root().join(".file-sync/marker");
    fs::rename(&marker, alpha.beside("marker")).expect("moved");
    let (document, code) = examined(&alpha, &["--listen", &free_port()]);
    let finding = only(bad(&document, "root"));
    assert!(finding["mend"].as_str().is_some_and(|mend| mend.contains("sync approve docs")), "{finding}");
    assert_eq!(code, Some(1));
    fs::rename(alpha.beside("marker"), &marker).expect("moved back");

    let said = alpha.run(["doctor", "--listen", &address]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("1 problem; what mends each"), "{}", text(&said.stderr));
}

#[test]
fn damaged_databases_and_homes_that_are_not_there_are_said_to_be() {
    let (mut alpha, beta) = sharing();
    (0..200).for_each(|index| alpha.user().write(format!("f{index}"), format!("{index}"), 0));
    settle(&[&alpha, &beta]);
    alpha.stop();
    let directories = alpha.home().join("directories");
    let is_database = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "db");
    let entries = fs::read_dir(&directories).expect("readable").map(|entry| entry.expect("an entry").path());
    let database = { entries }.find(is_database).expect("one database");
    let mut bytes = fs::read(&database).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0x5a);
    fs::write(&database, &bytes).expect("written");
    let (document, code) = examined(&alpha, &["--listen", &free_port()]);
    let finding = only(bad(&document, "database"));
    assert_eq!((finding["about"].as_str(), code), (Some("docs"), Some(1)), "{document}");
    assert_eq!(fs::read(&database).expect("readable"), bytes, "nothing is mended without being asked for");

    let nowhere = alpha.beside("nowhere");
    let output = alpha
        .command()
        .arg("--home")
        .arg(&nowhere)
        .args(["doctor", "--json", "--listen", &free_port()])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!(only(bad(&document, "home"))["verdict"], "warning");
    assert!(!nowhere.exists(), "no home is made by asking");
}

#[track_caller]
fn says(value: &Value, parts: &[&str]) {
    let text = value.as_str().unwrap_or_else(|| panic!("{parts:?} are said"));
    parts.iter().for_each(|part| assert!(text.contains(part), "{part}: {text}"));
}

/// A real limit, that of a user namespace, which is taken away as `doctor` says.
#[test]
fn what_the_running_server_cannot_watch_is_said_by_doctor_and_what_mends_it() {
    let unshare = ["unshare", "--user", "--map-root-user", "sh", "-c"];
    let limit = |count: u64, then: &str| format!("echo {count} > /proc/sys/user/max_inotify_watches{then}");
    let mut tried = Command::new(unshare[0]);
    tried.args(&unshare[1..]).arg(limit(6, "")).stderr(Stdio::null());
    if !tried.status().is_ok_and(|status| status.success()) {
        println!("skipped: a limit of watches needs unshare(1), allowed to make a user namespace");
        return;
    }
    let (alpha, mut beta) = sharing();
    (0..6).for_each(|index| beta.user().mkdir(format!("d{index}")));
    settle(&[&alpha, &beta]);
    let watches = |device: &Device| {
        let findings = examined(device, &[]).0["findings"].as_array().expect("findings").clone();
        only(findings.into_iter().filter(|finding| finding["check"] == "watches").collect())
    };
    says(&watches(&beta)["message"], &["7 directories to be watched", "the server lacks none"]);
    beta.stop();
    let wrapper = unshare.iter().map(OsString::from);
    let wrapper = wrapper.chain([limit(6, " && exec \"$@\"").into(), "sh".into()]);
    beta.begin_under(&wrapper.collect::<Vec<_>>());
    beta.await_ready();
    listed(&beta, ".", true);
    let (finding, code) = (watches(&beta), examined(&beta, &[]).1);
    assert_eq!((&finding["verdict"], &finding["about"], code), (&json!("problem"), &json!("docs"), Some(1)));
    let why = "1 directory is not watched, only scanned every minute: user.max_inotify_watches allows 6 to all your programs";
    says(&finding["message"], &[why, "tried again within "]);
    let unwatched = beta.directory()["unwatched"].clone();
    assert_eq!((&unwatched["directories"], &unwatched["mend"]), (&json!(1), &finding["mend"]));
    assert!(beta.ok(["status"]).contains(why));

    // Within the namespace, and without what makes it last.
    let command = finding["mend"].as_str().expect("a command");
    let (now, lasting) = command.split_once(" && ").expect("two commands");
    assert!(lasting.starts_with("echo user.max_inotify_watches="), "{command}");
    let count = now.strip_prefix("sudo sysctl -w user.max_inotify_watches=").expect("a setting");
    let count: u64 = count.parse().expect("a number");
    assert!(count >= 7, "{command} is sufficient");
    let entered = Command::new("nsenter")
        .args(["--user", "--preserve-credentials", "--target", &beta.server_id().to_string()])
        .args(["sh", "-c", &limit(count, "")])
        .status();
    assert!(entered.is_ok_and(|status| status.success()), "the namespace can be entered");
    settle(&[&alpha, &beta]);
    listed(&beta, ".", false);
    assert_eq!((&watches(&beta)["verdict"], &beta.directory()["unwatched"]), (&json!("ok"), &Value::Null));
}

#[test]
fn one_of_anything_is_counted_as_one() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "bytes", JANUARY);
    alpha.user().write("g", "others", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.ok(["sync", "hold", "docs", "--files", "0", "--percent", "0"]);
    alpha.user().remove("f");
    directory_becomes(&alpha, "held", 1);
    let said = alpha.ok(["doctor"]);
    for one in ["docs: 1 deletion is held", "2 databases whole", " 1 directory to be watched, "] {
        assert!(said.contains(one), "{one}: {said}");
    }
    assert!(alpha.ok(["status"]).contains("1 deletion held"));
    alpha.ok(["sync", "approve", "docs"]);
    settle(&[&alpha, &beta]);
    holds(&beta.root(), "g \"others\"");
}
