//! `sync up --dry-run`: what it says comes true, and nothing is touched by it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::device::{Device, text};
use crate::tree::tree_of;
use crate::world::{
    FEBRUARY, JANUARY, MARCH, PATIENCE, copy_name, directory_becomes, equal, eventually, introduce,
    is_root_or_skips, join, mentions, offer, paired, settle, trio,
};

const NOBODY: u32 = 65_534;

/// Two devices that have not joined yet, with all that can meet in a first merge.
fn apart(options: &[&str]) -> (Device, Device) {
    let (alpha, beta) = paired();
    let (there, here) = (alpha.user(), beta.user());
    for user in [&there, &here] {
        user.mkdir("d");
        user.write("d/same", "the same", JANUARY);
        user.link("somewhere", "same link");
        user.write("deleted", "deleted there", JANUARY);
        user.write("edited", "as it was", JANUARY);
    }
    offer(&alpha, options);
    directory_becomes(&alpha, "files", 4);
    there.remove("deleted");
    there.write("edited", "as it is", MARCH);
    there.write("only there", "bytes", JANUARY);
    here.write("only here", "bytes here", JANUARY);
    there.write("d/differs.txt", "from alpha", JANUARY);
    here.write("d/differs.txt", "from beta", FEBRUARY);
    there.mkdir("a directory there");
    there.write("a directory there/f", "below", JANUARY);
    here.write("a directory there", "a file here", FEBRUARY);
    directory_becomes(&alpha, "files", 6);
    (alpha, beta)
}

fn preview(device: &Device, options: &[&str]) -> Value {
    let root = device.root();
    let root = root.to_str().expect("a root in UTF-8");
    device.json([&["sync", "up", "alpha:docs", root, "--dry-run"], options].concat())
}

/// What is said, a line a file: what, path, and for conflicts who has the name.
fn lines(preview: &Value) -> Vec<String> {
    let line = |file: &Value| {
        let (what, path) = (file["what"].as_str().expect("a word"), file["path"].as_str().expect("a path"));
        let named = file["named_here"].as_bool().map(|here| if here { " (here)" } else { " (there)" });
        format!("{what} {path}{}", named.unwrap_or_default())
    };
    preview["files"].as_array().expect("files").iter().map(line).collect()
}

/// The files that there are afterwards, if what is said comes true.
fn promised(preview: &Value) -> BTreeSet<String> {
    let files = preview["files"].as_array().expect("files").iter();
    let names = files.filter(|file| file["what"] != "remove").flat_map(|file| {
        let copies = file["copies"].as_array().cloned().unwrap_or_default();
        let is_directory = file["path"] == "a directory there";
        let own = (!is_directory).then(|| file["path"].clone());
        own.into_iter().chain(copies.into_iter().map(|copy| copy["path"].clone()))
    });
    names.map(|name| name.as_str().expect("a path").to_owned()).collect()
}

fn files_of(device: &Device) -> BTreeSet<String> {
    let tree = tree_of(&device.root());
    let files = tree.iter().filter(|(_, node)| !matches!(node, crate::tree::Node::Directory { .. }));
    files.map(|(path, _)| String::from_utf8(path.clone()).expect("names in UTF-8")).collect()
}

#[test]
fn a_preview_says_what_the_first_merge_then_does() {
    let (alpha, beta) = apart(&[]);
    let (before, members) = ([&alpha, &beta].map(|device| tree_of(&device.root())), alpha.status());
    let said = preview(&beta, &[]);
    let expected = [
        "conflict a directory there (there)",
        "fetch a directory there/f",
        "conflict d/differs.txt (here)",
        "adopt d/same",
        "remove deleted",
        "fetch edited",
        "send only here",
        "fetch only there",
        "adopt same link",
    ];
    assert_eq!(lines(&said), expected);
    let count = |what: &str| {
        said["counts"].as_array().and_then(|all| all.iter().find(|one| one["what"] == what).cloned())
    };
    assert_eq!(
        count("send").map(|send| (send["files"].clone(), send["bytes"].clone())),
        Some((1.into(), 10.into()))
    );
    assert_eq!(count("left"), None);
    assert_eq!([&alpha, &beta].map(|device| tree_of(&device.root())), before);
    assert!(!beta.root().join(".file-sync").exists(), "nothing of the engine's is left behind");
    let is_left = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("preview-");
    let home = fs::read_dir(beta.home()).expect("a home").filter_map(Result::ok);
    assert_eq!(home.filter(is_left).count(), 0, "nor in the home");
    assert_eq!(beta.status()["directories"], Value::Array(Vec::new()));
    assert_eq!(alpha.status()["directories"], members["directories"]);

    join(&beta, &alpha, &[]);
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!(files_of(&beta), promised(&said));
    let did = json!({"adopted": 2, "fetched": 3, "sent": 1, "conflicts": 2, "removed": 2});
    directory_becomes(&beta, "first_merge", did);
    assert!(
        beta.ok(["status"])
            .contains("first merge: 2 equal, 3 fetched, 1 sent, 2 in conflict, 2 replaced or removed here")
    );
}

#[test]
fn a_preview_knows_modes_and_read_only_offers() {
    let (alpha, beta) = apart(&[]);
    let sending = lines(&preview(&beta, &["--mode", "send-only"]));
    for line in ["left only there", "local edited", "send only here", "local deleted"] {
        assert!(sending.iter().any(|one| one == line), "no {line:?} in {sending:?}");
    }
    let receiving = lines(&preview(&beta, &["--mode", "receive-only"]));
    for line in ["fetch only there", "local only here", "conflict d/differs.txt (there)"] {
        assert!(receiving.iter().any(|one| one == line), "no {line:?} in {receiving:?}");
    }
    let (said, before) = (preview(&beta, &["--mode", "receive-only"]), alpha.user().has("only here"));
    join(&beta, &alpha, &["--mode", "receive-only"]);
    settle(&[&alpha, &beta]);
    assert!(!before && !alpha.user().has("only here"), "it receives only");
    let local: Vec<String> =
        lines(&said).into_iter().filter_map(|line| line.strip_prefix("local ").map(str::to_owned)).collect();
    assert!(local.iter().all(|path| beta.user().has(path)), "{local:?} stay");
    drop((alpha, beta));
    let (_alpha, beta) = apart(&["--read-only"]);
    let said = preview(&beta, &[]);
    assert_eq!(said["read_only"], true);
    assert!(lines(&said).contains(&"local only here".to_owned()), "{said}");
}

#[test]
fn a_preview_of_what_cannot_be_joined_is_refused() {
    let (alpha, beta) = paired();
    offer(&alpha, &[]);
    let root = beta.root();
    let root = root.to_str().expect("a root in UTF-8");
    let said = beta.refused(1, ["sync", "up", "alpha:nothing", root, "--dry-run"]);
    assert!(said.contains("offers no directory called nothing"), "{said}");
    fs::write(beta.beside("file"), "").expect("a file beside the root");
    let file = beta.beside("file");
    let said = beta.refused(1, ["sync", "up", "alpha:docs", file.to_str().expect("UTF-8"), "--dry-run"]);
    assert!(said.contains("not a directory"), "{said}");
    // Where nothing is yet, all of it would come; and nothing is made.
    alpha.user().write("f", "bytes", JANUARY);
    directory_becomes(&alpha, "files", 1);
    let new = beta.beside("new");
    let said = beta.json(["sync", "up", "alpha:docs", new.to_str().expect("UTF-8"), "--dry-run"]);
    assert_eq!(lines(&said), ["fetch f"]);
    assert!(!new.exists());
    // A join that cannot work here is refused before the other counts on it.
    let said = beta.refused(1, ["sync", "up", "alpha:docs", "/proc/file-sync"]);
    assert!(said.contains("cannot make /proc/file-sync"), "{said}");
    assert_eq!(alpha.json(["file", "ls"])["directories"][0]["members"], json!([]));
    join(&beta, &alpha, &[]);
    let said = beta.refused(1, ["sync", "up", "alpha:docs", new.to_str().expect("UTF-8"), "--dry-run"]);
    assert!(said.contains("is taken by"), "{said}");
}

#[test]
fn a_preview_of_a_conflict_among_others_is_none_of_this_device() {
    let (alpha, beta, gamma) = trio();
    introduce(&alpha, &beta);
    introduce(&alpha, &gamma);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    settle(&[&alpha, &beta]);
    beta.ok(["sync", "pause", "docs"]);
    alpha.user().write("f", "from alpha", JANUARY);
    beta.user().write("f", "from beta", FEBRUARY);
    beta.ok(["sync", "resume", "docs"]);
    settle(&[&alpha, &beta]);
    let copy = copy_name("f", "20200101-000000", &alpha, "");
    let all = |what: &str| vec![format!("{what} f"), format!("{what} {copy}")];
    assert_eq!(lines(&preview(&gamma, &[])), all("fetch"));
    // A copy of the whole tree, the conflict copy included.
    for name in ["f", &copy] {
        gamma.user().write(name, alpha.user().read(name), JANUARY);
    }
    assert_eq!(lines(&preview(&gamma, &[])), all("adopt"));
    join(&gamma, &alpha, &[]);
    settle(&[&alpha, &beta, &gamma]);
    equal(&[&alpha, &beta, &gamma]);
    assert_eq!(files_of(&gamma).len(), 2);
}

#[test]
fn a_preview_given_up_or_beside_a_join_disturbs_nothing() {
    let (alpha, beta) = apart(&[]);
    let root = beta.root();
    let root = root.to_str().expect("a root in UTF-8");
    let mut previews: Vec<_> = (0..8)
        .map(|_| {
            let mut command = beta.command();
            command.args(["sync", "up", "alpha:docs", root, "--dry-run"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the client starts")
        })
        .collect();
    for preview in previews.iter_mut().skip(4) {
        preview.kill().expect("a child can be ended");
    }
    // One at a time is made, and a join that is under way is in the way of a preview; neither of a join.
    eventually(PATIENCE, || {
        let output = beta.run(["sync", "up", "alpha:docs", root]);
        if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
    });
    for mut preview in previews {
        preview.wait().expect("a child");
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
}

/// A device that may not read and write everything, with an empty root of its own.
fn nobody(name: &str) -> Device {
    let device = Device::start_as(name, Some(NOBODY));
    fs::create_dir(device.root()).expect("a root");
    chown(device.root(), Some(NOBODY), Some(NOBODY)).expect("root may give a directory away");
    device
}

#[test]
fn a_preview_of_what_cannot_be_read_says_so_and_does_not_exit_0() {
    if !is_root_or_skips("a preview of unreadable files") {
        return;
    }
    let (alpha, beta) = (nobody("alpha"), nobody("beta"));
    introduce(&alpha, &beta);
    for (device, own) in [(&alpha, "secret there"), (&beta, "secret here")] {
        device.user().write("same", "the same", JANUARY);
        device.user().write_as(own, "bytes", 0o600, (JANUARY, 0));
    }
    offer(&alpha, &[]);
    eventually(PATIENCE, || {
        let directory = alpha.directory();
        let is_so = directory["files"] == 1 && mentions(&directory["errors"], "secret there");
        if is_so { Ok(()) } else { Err(directory.to_string()) }
    });
    let root = beta.root();
    let args = ["sync", "up", "alpha:docs", root.to_str().expect("UTF-8"), "--dry-run"];
    let output = beta.run([&args[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!(lines(&said), ["adopt same"]);
    assert_eq!((&said["errors"][0]["path"], &said["remote_errors"]), (&json!("secret here"), &json!(1)));
    let output = beta.run(args);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout.contains("adopt    1 file"), "{stdout}");
    assert!(stderr.contains("secret here: "), "{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.contains("1 path here could not be read, 1 path at alpha"), "{stderr}");
    // Once all can be read, all is said.
    alpha.user().chmod("secret there", 0o644);
    beta.user().chmod("secret here", 0o644);
    eventually(PATIENCE, || {
        let output = beta.run(args);
        if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
    });
}

#[test]
fn a_preview_where_a_join_could_write_nothing_is_refused() {
    if !is_root_or_skips("a preview where nothing can be written") {
        return;
    }
    let (alpha, beta) = (nobody("alpha"), nobody("beta"));
    introduce(&alpha, &beta);
    offer(&alpha, &[]);
    let denied = beta.beside("somebody-elses");
    fs::create_dir(&denied).expect("a directory");
    fs::write(beta.beside("file"), "").expect("a file");
    for path in [denied.clone(), denied.join("new/below"), beta.beside("file").join("below")] {
        let path = path.to_str().expect("UTF-8");
        let joined = beta.refused(1, ["sync", "up", "alpha:docs", path]);
        let said = beta.refused(1, ["sync", "up", "alpha:docs", path, "--dry-run"]);
        let reasons = ["Permission denied", "Not a directory", "not a directory"];
        assert!(reasons.iter().any(|reason| joined.contains(reason)), "{joined}");
        assert!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
    }
    assert!(!denied.join("new").exists());
}

#[test]
fn a_preview_tells_of_empty_directories_and_of_what_is_left_alone() {
    let (alpha, beta) = paired();
    let (there, here) = (alpha.user(), beta.user());
    for user in [&there, &here] {
        user.mkdir("both/empty");
    }
    there.mkdir("there/empty");
    there.write("full/f", "bytes", JANUARY);
    there.link("a target", "link there");
    here.mkdir("here/empty");
    here.link("a target", "link here");
    let fifo = beta.root().join("a fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo(1) is there").success());
    offer(&alpha, &[]);
    directory_becomes(&alpha, "files", 2);
    let said = preview(&beta, &[]);
    assert_eq!(lines(&said), ["fetch full/f", "send link here", "fetch link there"]);
    let expected = json!([{"path": "here/empty", "what": "send"}, {"path": "there/empty", "what": "fetch"}]);
    assert_eq!(said["directories"], expected);
    assert_eq!(said["unsupported"][0]["path"], "a fifo", "{said}");
    let bytes: Vec<_> = ["send", "fetch"]
        .iter()
        .map(|what| said["counts"].as_array().expect("counts").iter().find(|one| one["what"] == *what))
        .map(|count| count.expect("a count")["bytes"].clone())
        .collect();
    assert_eq!(bytes, [json!(0), json!(5)], "a symlink has no bytes, as in `status`");
    let root = beta.root();
    let shown = beta.ok(["sync", "up", "alpha:docs", root.to_str().expect("UTF-8"), "--dry-run"]);
    for line in ["send   here/empty/", "fetch  there/empty/", "leave  a fifo"] {
        assert!(shown.lines().any(|one| one.starts_with(line)), "no {line:?} in {shown}");
    }
    join(&beta, &alpha, &[]);
    settle(&[&alpha, &beta]);
    assert!(alpha.user().path("here/empty").is_dir() && beta.user().path("there/empty").is_dir());
}

#[test]
fn how_far_a_preview_is_shows_in_status() {
    const BYTES: u64 = 2 << 30;
    let (alpha, beta) = paired();
    offer(&alpha, &[]);
    fs::create_dir(beta.root()).expect("a root");
    let file = fs::File::create(beta.user().path("sparse")).expect("a file");
    file.set_len(BYTES).expect("a file system with holes");
    assert!(beta.status().get("previewing").is_none(), "nothing is being read");
    let root = beta.root();
    let mut preview = beta.command();
    preview.args(["sync", "up", "alpha:docs", root.to_str().expect("UTF-8"), "--dry-run"]);
    let mut preview = preview.stdout(Stdio::null()).spawn().expect("the client starts");
    eventually(PATIENCE, || {
        let reading = beta.status()["previewing"].clone();
        let of = (reading["of_files"].as_u64(), reading["of_bytes"].as_u64());
        if of == (Some(1), Some(BYTES)) { Ok(()) } else { Err(format!("{reading}")) }
    });
    assert!(preview.wait().expect("a child").success());
    assert!(beta.status().get("previewing").is_none(), "it is over");
}

/// What `status` says that the first merge did, once it has ended.
fn merged(device: &Device) -> Value {
    eventually(PATIENCE, || {
        let directory = device.directory();
        directory.get("first_merge").cloned().ok_or(format!("no first merge yet: {directory}"))
    })
}

#[test]
fn status_says_what_a_first_merge_one_way_did() {
    for (offered, joined) in
        [(&[][..], &["--mode", "receive-only"][..]), (&[], &["--mode", "send-only"]), (&["--read-only"], &[])]
    {
        let (alpha, beta) = apart(offered);
        let said = preview(&beta, joined);
        join(&beta, &alpha, joined);
        settle(&[&alpha, &beta]);
        let did = merged(&beta);
        let counts = said["counts"].as_array().expect("counts");
        let count =
            |what| counts.iter().find(|one| one["what"] == what).map_or(json!(0), |one| one["files"].clone());
        let pairs = [
            ("adopted", "adopt"),
            ("fetched", "fetch"),
            ("sent", "send"),
            ("conflicts", "conflict"),
            ("local", "local"),
            ("left", "left"),
            ("removed", "remove"),
        ];
        for (field, what) in pairs {
            assert_eq!(
                did[field],
                count(what),
                "{field} with {offered:?} {joined:?}: {did}, and before: {said}"
            );
        }
        let shown = beta.ok(["status"]);
        let line = format!(", {} kept here alone, {} left there", did["local"], did["left"]);
        assert!(shown.contains("first merge: 2 equal, ") && shown.contains(&line), "{shown}");
    }
}

#[test]
fn w1_files_equal_at_a_first_merge_get_one_mode_and_time_as_the_preview_says() {
    let (alpha, beta) = paired();
    for (device, [f, g]) in [(&alpha, [JANUARY, FEBRUARY]), (&beta, [FEBRUARY, JANUARY])] {
        let mode = if device.name == "alpha" { 0o644 } else { 0o600 };
        device.user().write_as("f", "the same", mode, (f, 0));
        device.user().write_as("g", "the same as well", mode, (g, 0));
    }
    offer(&alpha, &[]);
    directory_becomes(&alpha, "files", 2);
    let root = beta.root();
    let root = root.to_str().expect("a root in UTF-8");
    let dry_run =
        |options: &[&str]| beta.ok([&["sync", "up", "alpha:docs", root, "--dry-run"], options].concat());
    let rule = "modes and times become those at alpha as a rule, even where those here are later";
    let both_ways = dry_run(&[]);
    assert!(both_ways.contains(rule), "{both_ways}");
    assert!(dry_run(&["--mode", "receive-only"]).contains("modes and times become those at alpha\n"));
    assert!(dry_run(&["--mode", "send-only"]).contains("modes and times stay as they are on this device"));
    join(&beta, &alpha, &[]);
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    for (name, alphas, betas) in [("f", JANUARY, FEBRUARY), ("g", FEBRUARY, JANUARY)] {
        let found = (beta.user().mode(name), beta.user().mtime(name));
        assert!([(0o644, alphas), (0o600, betas)].contains(&found), "{name}: {found:?}");
    }
}
