//! `sync up --dry-run`: what it says comes true, and nothing is touched by it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::device::Device;
use crate::tree::tree_of;
use crate::world::{FEBRUARY, JANUARY, MARCH, directory_becomes, equal, join, offer, paired, settle};

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
    join(&beta, &alpha, &[]);
    let said = beta.refused(1, ["sync", "up", "alpha:docs", new.to_str().expect("UTF-8"), "--dry-run"]);
    assert!(said.contains("is taken by"), "{said}");
}
