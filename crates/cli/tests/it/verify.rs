//! `verify` (P2): every byte is read again, and what has rotted on a disk is found, not spread, and healed (C6).

#![expect(clippy::print_stdout, reason = "a test that cannot run here says so")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::device::{Device, new_base};
use crate::trouble::Mount;
use crate::world::{
    JANUARY, MARCH, PATIENCE, check, directory_becomes, eventually, introduce, is_root_or_skips, join, offer,
    paired, path_of, settle, sharing,
};

const NOBODY: u32 = 65_534;

/// Writes a byte through a memory map, and, once told to, another one: in a file of a tmpfs only the first leaves a trace in
/// its stat, so that the second is like a disk that rots.
const ROT: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
int main(int n, char **names) {
    char *bytes = mmap(0, 1, PROT_READ | PROT_WRITE, MAP_SHARED, open(names[1], O_RDWR), 0);
    if (bytes == MAP_FAILED) return 1;
    *(volatile char *)bytes = *(volatile char *)bytes;
    puts("ready");
    fflush(stdout);
    getchar();
    *(volatile char *)bytes = '!';
    return 0;
}
"#;

const TREE: &str = "d/
    d/f \"right\"
    g \"other\"
    l -> target";

fn with_files() -> (Device, Device) {
    let (alpha, beta) = sharing();
    alpha.user().write("d/f", "right", JANUARY);
    alpha.user().write("g", "other", JANUARY);
    std::os::unix::fs::symlink("target", alpha.root().join("l")).expect("a symlink");
    settle(&[&alpha, &beta]);
    (alpha, beta)
}

#[test]
fn p2_disk_index_and_remotes_that_agree_are_said_to() {
    let (alpha, beta) = with_files();
    let said = alpha.ok(["verify"]);
    assert!(said.starts_with("docs: 3 files as recorded, 10 bytes read\n"), "{said}");
    assert!(said.ends_with("in sync with the one connected remote\n"), "{said}");
    let in_time = beta.json(["verify", "docs"]);
    assert_eq!((&in_time["in_sync"], &in_time["remotes"]), (&json!(true), &json!(1)));
    let directory = &in_time["directories"][0];
    assert_eq!((&directory["files"], &directory["bytes"]), (&json!(3), &json!(10)));
    assert_eq!((&directory["damaged"], &directory["errors"]), (&json!([]), &json!([])));
    let refusal = alpha.refused(1, ["verify", "nowhere"]);
    assert!(refusal.contains("no directory"), "{refusal}");
    check(&[&alpha, &beta], TREE);
    // What lies where the directory should be is not it.
    std::fs::rename(alpha.root().join(".file-sync/marker"), alpha.beside("marker")).expect("a rename");
    let output = alpha.run(["verify", "--timeout", "1s", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert!(
        found["directories"][0]["errors"][0]["message"].to_string().contains("no .file-sync/marker"),
        "{found}"
    );
    std::fs::rename(alpha.beside("marker"), alpha.root().join(".file-sync/marker")).expect("a rename");
    // Where all is well here and a member only does not answer in time, that is what the exit code says.
    beta.freeze();
    let output = alpha.run(["verify", "--timeout", "2s", "--json"]);
    beta.thaw();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let late: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    let fields = |document: &serde_json::Value| document.as_object().map(|all| all.keys().cloned().collect());
    assert_eq!(fields(&late), fields(&in_time) as Option<Vec<String>>, "a script finds the same fields");
    assert_eq!((&late["in_sync"], &late["remotes"]), (&json!(false), &json!(1)));
    assert_eq!(late["behind"], json!([{"remote": "beta", "directory": "docs"}]));
    // A member that is away is named, and no reason to fail.
    drop(beta);
    eventually(PATIENCE, || {
        let said = alpha.ok(["verify"]);
        if said.contains("not waited for: beta is away") { Ok(()) } else { Err(said) }
    });
}

/// The program of [`ROT`], compiled; none, and said, where there is no compiler.
fn rot_program(directory: &Path) -> Option<PathBuf> {
    let (source, program) = (directory.join("rot.c"), directory.join("rot"));
    std::fs::write(&source, ROT).expect("a file can be written");
    let status = Command::new("cc").arg("-o").arg(&program).arg(&source).status();
    if status.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    println!("skipped: a file that rots needs a C compiler");
    None
}

/// [`ROT`] at work on a file.
struct Rotting(Child);

impl Rotting {
    fn of(program: &Path, file: &Path) -> Rotting {
        let mut command = Command::new(program);
        let command = command.arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let output = child.stdout.take().expect("it was piped");
        let mut ready = String::new();
        BufReader::new(output).read_line(&mut ready).expect("it says that it is ready");
        Rotting(child)
    }

    fn rots(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().is_ok_and(|status| status.success()), "the file rots");
    }
}

#[test]
fn c6_p2_a_file_that_rots_is_found_not_spread_and_healed() {
    let outside = new_base();
    let Some(rot) = rot_program(outside.path()) else { return };
    let base = new_base();
    let Some(_mount) = Mount::at(base.path().to_owned(), "64m") else { return };
    let (alpha, beta) = (Device::start("alpha"), Device::start_in(base.path(), "beta", None));
    introduce(&alpha, &beta);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    for name in ["d/f", "g", "alone"] {
        alpha.user().write(name, name.repeat(10_000), JANUARY);
    }
    settle(&[&alpha, &beta]);
    let rotting = Rotting::of(&rot, &beta.root().join("d/f"));
    settle(&[&alpha, &beta]);
    beta.ok(["verify"]);
    rotting.rots();
    assert_eq!(std::fs::read(beta.root().join("d/f")).expect("it is there")[0], b'!');
    settle(&[&alpha, &beta]);
    let output = beta.run(["verify", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!(found["directories"][0]["damaged"], json!([{"path": "d/f"}]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("1 file is damaged: other bytes than were recorded"), "{said}");
    let whole = |name: &str| {
        std::fs::read(beta.root().join(name)).expect("it is there") == name.repeat(10_000).as_bytes()
    };
    eventually(PATIENCE, || if whole("d/f") { Ok(()) } else { Err("it is not healed") });
    settle(&[&alpha, &beta]);
    beta.ok(["verify"]);
    assert_eq!(
        std::fs::read(alpha.root().join("d/f")).expect("it is there"),
        "d/f".repeat(10_000).as_bytes()
    );
    let file = beta.root().join("d/f").to_str().expect("UTF-8").to_owned();
    let history = beta.json(["history", &file]);
    assert_eq!(history["versions"].as_array().map(Vec::len), Some(1), "what was damaged is kept: {history}");
    what_was_damaged_is_truly_told(&beta, &file, &history["versions"][0]);
}

/// What went is what the file had rotted to, under that name: on record, listed, and to be had by whoever names it alone.
fn what_was_damaged_is_truly_told(beta: &Device, file: &str, kept: &serde_json::Value) {
    let right = "d/f".repeat(10_000);
    let rotten = format!("!{}", &right[1..]);
    let hash = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    let act = beta.json(["log", file])["acts"][0].clone();
    assert_eq!([&act["before"], &act["after"]], [&json!(hash(&rotten)), &json!(hash(&right))], "{act}");
    assert_eq!((&act["what"], &kept["damaged"]), (&json!("healed"), &json!(true)), "{act}, {kept}");
    let id = kept["id"].as_str().expect("an id");
    assert!(hash(&rotten).starts_with(id), "{kept}");
    let refusal = beta.refused(1, ["restore", file]);
    assert!(refusal.contains("rotted") && refusal.contains(id), "{refusal}");
    let out = beta.beside("rotten").to_str().expect("UTF-8").to_owned();
    beta.ok(["restore", file, "--version", id, "--to", &out]);
    assert_eq!(std::fs::read(&out).expect("it is there"), rotten.as_bytes());
}

/// Nobody who is connected has the right bytes: `why` finds out by itself, and `status` names the file until they come.
#[test]
fn c6_why_reads_the_file_and_status_names_it_until_it_is_healed() {
    let outside = new_base();
    let Some(rot) = rot_program(outside.path()) else { return };
    let base = new_base();
    let Some(_mount) = Mount::at(base.path().to_owned(), "64m") else { return };
    let (mut alpha, beta) = (Device::start("alpha"), Device::start_in(base.path(), "beta", None));
    introduce(&alpha, &beta);
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    alpha.user().write("f", "right", JANUARY);
    settle(&[&alpha, &beta]);
    let rotting = Rotting::of(&rot, &beta.root().join("f"));
    settle(&[&alpha, &beta]);
    beta.ok(["verify"]);
    alpha.stop();
    rotting.rots();
    let file = beta.root().join("f").to_str().expect("UTF-8").to_owned();
    let why = beta.json(["why", &file]);
    let found = blake3::hash(b"!ight").to_hex().to_string();
    assert_eq!(why["reason"], "damaged", "{why}");
    assert!(found.starts_with(why["disk"]["content"].as_str().unwrap_or("-")), "{why}");
    let said = |text: &str| {
        eventually(PATIENCE, || {
            let errors = beta.directory()["errors"].clone();
            let is_said = errors[0]["path"] == "f" && errors[0]["message"].to_string().contains(text);
            if is_said { Ok(()) } else { Err(format!("{errors}")) }
        });
    };
    said("rotted");
    said("no connected member has the right ones");
    let why = beta.json(["why", &file]);
    assert_eq!(why["reason"], "damaged", "what was found is not read again, or else the same: {why}");
    alpha.begin();
    check(&[&alpha, &beta], "f \"right\"");
    assert_eq!(beta.json(["why", &file])["reason"], "in-step");
}

/// What a mode keeps here is compared with what was last seen of it, and is no failure.
#[test]
fn p2_what_stays_here_alone_is_read_too_and_fails_nothing() {
    let (alpha, beta) = paired();
    offer(&alpha, &[]);
    join(&beta, &alpha, &["--mode", "receive-only"]);
    for name in ["edited", "gone", "same"] {
        alpha.user().write(name, "alpha's", JANUARY);
    }
    settle(&[&alpha, &beta]);
    beta.user().write("edited", "beta's own", MARCH);
    beta.user().write("new", "beta's own too", MARCH);
    beta.user().remove("gone");
    directory_becomes(&beta, "local_changes", 3);
    let said = beta.ok(["verify"]);
    assert!(said.starts_with("docs: 3 files as recorded, 31 bytes read\n"), "{said}");
    assert!(said.contains("  3 changes stay here alone, because of the mode\n"), "{said}");
    assert_eq!(beta.json(["verify"])["directories"][0]["local"], 3);
}

#[test]
fn p2_a_file_that_cannot_be_read_is_named_with_the_reason() {
    if !is_root_or_skips("verify of an unreadable file") {
        return;
    }
    let device = Device::start_as("alpha", Some(NOBODY));
    std::fs::create_dir(device.root()).expect("a root");
    device.user().write("hidden", "bytes", JANUARY);
    let (root, hidden) = (device.root(), device.root().join("hidden"));
    for path in [&root, &hidden] {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    }
    offer(&device, &[]);
    directory_becomes(&device, "files", 1);
    chown(&hidden, Some(0), Some(0)).expect("root may take it back");
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    eventually(PATIENCE, || {
        let errors = device.directory()["errors"].clone();
        if errors.as_array().is_some_and(|errors| !errors.is_empty()) { Ok(()) } else { Err(errors) }
    });
    let output = device.run(["verify", "--timeout", "5s", "--json"]);
    let verified: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let directory = &verified["directories"][0];
    assert_eq!((output.status.code(), &directory["changed"]), (Some(1), &json!(0)), "{directory}");
    assert_eq!(directory["errors"][0]["path"], "hidden");
    assert!(directory["errors"][0]["message"].as_str().is_some_and(|message| message.contains("denied")));
}

#[test]
fn how_far_a_verify_is_shows_in_status() {
    const BYTES: u64 = 2 << 30;
    let alpha = Device::start("alpha");
    offer(&alpha, &[]);
    let file = std::fs::File::create(alpha.user().path("sparse")).expect("a file");
    file.set_len(BYTES).expect("a file system with holes");
    alpha.user().write("small", "bytes", JANUARY);
    directory_becomes(&alpha, "files", 2);
    assert!(alpha.directory().get("verifying").is_none(), "nothing is read again");
    let mut verify = alpha.command();
    let mut verify = verify.arg("verify").stdout(Stdio::null()).spawn().expect("the client starts");
    eventually(PATIENCE, || {
        let reading = alpha.directory()["verifying"].clone();
        let of = (reading["of_files"].as_u64(), reading["of_bytes"].as_u64());
        if of == (Some(2), Some(BYTES + 5)) { Ok(()) } else { Err(format!("{reading}")) }
    });
    assert!(
        alpha.ok(["status"]).contains("verify: ") || verify.try_wait().is_ok_and(|ended| ended.is_some())
    );
    assert!(verify.wait().expect("a child").success());
    assert!(alpha.directory().get("verifying").is_none(), "it is over");
}

#[test]
fn why_says_that_it_has_not_read_a_large_file() {
    let alpha = Device::start("alpha");
    alpha.user().write("large", "", JANUARY);
    let large = std::fs::File::options().write(true).open(alpha.user().path("large")).expect("a file");
    large.set_len((64 << 20) + 1).expect("a sparse file");
    alpha.user().write("small", "s", JANUARY);
    offer(&alpha, &[]);
    alpha.ok(["sync", "wait"]);
    let said = |name: &str| alpha.json(["why", &path_of(&alpha, name)])["explanation"].to_string();
    assert!(said("large").contains("larger than 64 MiB: `file-sync verify` reads it"), "{}", said("large"));
    assert!(!said("small").contains("MiB"), "{}", said("small"));
}
