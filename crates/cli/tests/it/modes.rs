//! One-way directories and offers to some: receive-only, send-only, `--read-only` and `--to`.
//!
//! Trees differ here by intent, so that each side is asserted on its own.
//!
//! Promise checked here, beside others: H4.

use serde_json::json;

use crate::device::Device;
use crate::world::{
    FEBRUARY, JANUARY, MARCH, PATIENCE, check, directory_becomes, disconnected, eventually, holds,
};
use crate::world::{introduce, join, mentions, offer, paired, settle, trio};

fn sharing_in_mode(mode: &str) -> (Device, Device) {
    let (alpha, beta) = paired();
    offer(&alpha, &[]);
    alpha.user().write("f", "before", JANUARY);
    alpha.user().write("g", "before", JANUARY);
    join(&beta, &alpha, &["--mode", mode]);
    settle(&[&alpha, &beta]);
    assert_eq!(beta.directory()["mode"], mode);
    (alpha, beta)
}

#[test]
fn modes_receive_only_keeps_local_changes_local_and_lists_them() {
    let (alpha, beta) = sharing_in_mode("receive-only");
    holds(&beta.root(), "f \"before\"\ng \"before\"");
    beta.user().write("f", "local edit", FEBRUARY);
    beta.user().write("new", "local file", FEBRUARY);
    settle(&[&alpha, &beta]);
    directory_becomes(&beta, "local_changes", 2);
    let counted = |device: &Device| ["files", "bytes"].map(|figure| device.directory()[figure].clone());
    assert_eq!(counted(&beta), [json!(3), json!(26)], "what is here, as it is here");
    assert_eq!(counted(&alpha), [json!(2), json!(12)]);
    holds(&alpha.root(), "f \"before\"\ng \"before\"");
    holds(&beta.root(), "f \"local edit\"\ng \"before\"\nnew \"local file\"");
    alpha.user().write("g", "edited by alpha", MARCH);
    settle(&[&alpha, &beta]);
    holds(&beta.root(), "f \"local edit\"\ng \"edited by alpha\"\nnew \"local file\"");
    beta.user().remove("g");
    beta.user().remove("new");
    directory_becomes(&beta, "files", 1);
}

#[test]
fn modes_receive_only_gives_the_name_to_a_remote_version_and_keeps_the_bytes() {
    let (alpha, beta) = sharing_in_mode("receive-only");
    beta.user().write("f", "local edit", MARCH);
    settle(&[&alpha, &beta]);
    alpha.user().write("f", "edited by alpha", FEBRUARY);
    settle(&[&alpha, &beta]);
    assert_eq!(beta.user().read("f"), b"edited by alpha");
    let copies: Vec<_> = crate::tree::text_of(&beta.root());
    assert!(copies.iter().any(|line| line.ends_with("\"local edit\"")), "the local bytes stay: {copies:?}");
    holds(&alpha.root(), "f \"edited by alpha\"\ng \"before\"");
}

/// What stands is to be had again where only this device's user replaced or deleted it, from a member that has it.
#[test]
fn l3_modes_receive_only_undoes_its_own_edits_and_deletes() {
    let (mut alpha, beta) = sharing_in_mode("receive-only");
    alpha.user().mkdir("d");
    alpha.user().write("d/x", "x there", JANUARY);
    alpha.user().link("there", "d/l");
    settle(&[&alpha, &beta]);
    beta.user().write("f", "local edit", FEBRUARY);
    beta.user().remove("g");
    beta.user().remove("d/x");
    beta.user().remove("d/l");
    settle(&[&alpha, &beta]);
    directory_becomes(&beta, "local_changes", 4);
    let path = |name: &str| beta.root().join(name).to_string_lossy().into_owned();
    for (name, bytes) in [("f", "before"), ("g", "before")] {
        let version = beta.json(["history", &path(name)])["versions"][0].clone();
        assert_eq!(
            (&version["standing"], &version["remotes"]),
            (&json!(true), &json!(["alpha"])),
            "{version}"
        );
        let said = beta.ok(["restore", &path(name)]);
        assert!(!said.contains("stays here"), "it is as the others have it: {said}");
        assert_eq!(beta.user().read(name), bytes.as_bytes());
    }
    alpha.user().write("f", "after", MARCH);
    settle(&[&alpha, &beta]);
    let newest = beta.json(["history", &path("f")])["versions"][0].clone();
    let restored = beta.json(["restore", &path("f"), "--version", newest["id"].as_str().expect("an id")]);
    assert_eq!(restored["local"], true, "{restored}");
    assert_eq!((beta.user().read("f"), alpha.user().read("f")), (b"before".to_vec(), b"after".to_vec()));
    assert!(beta.ok(["restore", &path("f"), "--to", &path("beside")]).contains("it stays here"));
    beta.user().remove("beside");
    beta.ok(["restore", &path("f")]);
    assert!(beta.ok(["history", &path("d/x")]).contains("here alone"));
    beta.ok(["restore", &path("d")]);
    directory_becomes(&beta, "local_changes", 0);
    holds(&beta.root(), "d/\nd/l -> there\nd/x \"x there\"\nf \"after\"\ng \"before\"");
    assert!(
        beta.json(["history", &path("g")])["versions"]
            .as_array()
            .is_some_and(|all| { all.iter().all(|version| version["standing"] != json!(true)) })
    );
    // With nobody there who has it, it is not to be had, and that is said.
    beta.user().remove("d/x");
    directory_becomes(&beta, "local_changes", 1);
    alpha.stop();
    disconnected(&beta);
    let refusal = beta.refused(1, ["restore", &path("d/x")]);
    assert!(refusal.contains("is not to be had") && refusal.contains("alpha (not connected)"), "{refusal}");
}

/// What is resolved on a receiver stays there, and is no conflict there any more.
#[test]
fn modes_receive_only_resolves_others_conflicts_for_itself() {
    let (alpha, beta, mut gamma) = trio();
    for device in [&beta, &gamma] {
        introduce(&alpha, device);
    }
    alpha.user().write("f", "before", JANUARY);
    offer(&alpha, &[]);
    join(&beta, &alpha, &["--mode", "receive-only"]);
    join(&gamma, &alpha, &[]);
    settle(&[&alpha, &beta, &gamma]);
    gamma.stop();
    gamma.user().write("f", "by gamma", MARCH);
    alpha.user().write("f", "by alpha", FEBRUARY);
    alpha.ok(["sync", "wait"]);
    gamma.begin();
    settle(&[&alpha, &beta, &gamma]);
    directory_becomes(&beta, "conflicts", 1);
    beta.ok(["resolve", &beta.root().join("f").to_string_lossy(), "--keep", "this"]);
    directory_becomes(&beta, "conflicts", 0);
    assert_eq!(beta.json(["conflicts"])["conflicts"], json!([]));
    settle(&[&alpha, &beta, &gamma]);
    holds(&beta.root(), "f \"by gamma\"");
    directory_becomes(&alpha, "conflicts", 1);
}

/// Only this device has such a copy, which is a conflict all the same.
#[test]
fn modes_receive_only_lists_its_own_copies_as_conflicts_and_resolves_them() {
    let (alpha, beta) = sharing_in_mode("receive-only");
    for (mtime, name) in [(FEBRUARY, "f"), (MARCH, "g")] {
        beta.user().write(name, format!("{name} here"), mtime);
        settle(&[&alpha, &beta]);
        alpha.user().write(name, format!("{name} there"), mtime);
    }
    beta.user().link("here", "l");
    settle(&[&alpha, &beta]);
    alpha.user().link("there", "l");
    settle(&[&alpha, &beta]);
    directory_becomes(&beta, "conflicts", 3);
    let listed = beta.json(["conflicts", "docs"])["conflicts"].clone();
    assert_eq!((&listed[0]["path"], &listed[0]["by"]), (&json!("f"), &json!("beta")), "{listed}");
    assert_eq!(listed[1]["path"], "g", "{listed}");
    let path = |name: &str| beta.root().join(name).to_string_lossy().into_owned();
    beta.ok(["resolve", &path("f"), "--keep", "this"]);
    for name in ["g", "l"] {
        beta.ok(["resolve", &path(name), "--keep", "other"]);
    }
    directory_becomes(&beta, "conflicts", 0);
    holds(&beta.root(), "f \"f there\"\ng \"g here\"\nl -> here");
    settle(&[&alpha, &beta]);
    holds(&alpha.root(), "f \"f there\"\ng \"g there\"\nl -> there");
    assert_eq!(beta.json(["conflicts"])["conflicts"], json!([]));
}

#[test]
fn modes_receive_only_a_local_delete_stays_until_a_newer_version_comes() {
    let (alpha, beta) = sharing_in_mode("receive-only");
    beta.user().remove("f");
    settle(&[&alpha, &beta]);
    directory_becomes(&beta, "local_changes", 1);
    holds(&alpha.root(), "f \"before\"\ng \"before\"");
    holds(&beta.root(), "g \"before\"");
    alpha.user().write("f", "newer", FEBRUARY);
    settle(&[&alpha, &beta]);
    holds(&beta.root(), "f \"newer\"\ng \"before\"");
    directory_becomes(&beta, "local_changes", 0);
}

#[test]
fn modes_send_only_merges_nothing_into_its_disk() {
    let (alpha, beta) = paired();
    offer(&alpha, &[]);
    beta.user().write("mine", "from beta", JANUARY);
    join(&beta, &alpha, &["--mode", "send-only"]);
    settle(&[&alpha, &beta]);
    holds(&alpha.root(), "mine \"from beta\"");
    alpha.user().write("theirs", "from alpha", JANUARY);
    beta.user().write("mine", "edited", FEBRUARY);
    settle(&[&alpha, &beta]);
    holds(&alpha.root(), "mine \"edited\"\ntheirs \"from alpha\"");
    holds(&beta.root(), "mine \"edited\"");
    beta.user().remove("mine");
    settle(&[&alpha, &beta]);
    holds(&alpha.root(), "theirs \"from alpha\"");
    alpha.user().remove("theirs");
    settle(&[&alpha, &beta]);
    holds(&beta.root(), "");
}

#[test]
fn modes_a_read_only_offer_takes_nothing_by_any_route() {
    let (alpha, beta, gamma) = trio();
    introduce(&alpha, &beta);
    introduce(&alpha, &gamma);
    introduce(&beta, &gamma);
    offer(&alpha, &["--read-only"]);
    alpha.user().write("f", "from alpha", JANUARY);
    join(&beta, &alpha, &[]);
    join(&gamma, &alpha, &[]);
    settle(&[&alpha, &beta, &gamma]);
    beta.user().write("f", "edited by beta", MARCH);
    beta.user().write("new", "from beta", JANUARY);
    gamma.user().remove("f");
    settle(&[&alpha, &beta, &gamma]);
    holds(&alpha.root(), "f \"from alpha\"");
    holds(&gamma.root(), "");
    holds(&beta.root(), "f \"edited by beta\"\nnew \"from beta\"");
    directory_becomes(&beta, "local_changes", 2);
    directory_becomes(&gamma, "local_changes", 1);
    alpha.user().write("g", "more from alpha", FEBRUARY);
    settle(&[&alpha, &beta, &gamma]);
    assert_eq!(beta.user().read("g"), b"more from alpha");
    holds(&gamma.root(), "g \"more from alpha\"");
}

#[test]
fn modes_a_read_only_offer_travels_between_its_members() {
    let (alpha, beta, gamma) = trio();
    introduce(&alpha, &beta);
    introduce(&alpha, &gamma);
    introduce(&beta, &gamma);
    offer(&alpha, &["--read-only"]);
    join(&beta, &alpha, &[]);
    join(&gamma, &alpha, &[]);
    settle(&[&alpha, &beta, &gamma]);
    let mut gamma = gamma;
    gamma.stop();
    alpha.user().write("f", "from alpha", JANUARY);
    eventually(PATIENCE, || if beta.user().has("f") { Ok(()) } else { Err("beta lacks f") });
    let mut alpha = alpha;
    alpha.stop();
    gamma.begin();
    eventually(PATIENCE, || if gamma.user().has("f") { Ok(()) } else { Err("gamma lacks f") });
    alpha.begin();
    check(&[&alpha, &beta, &gamma], "f \"from alpha\"");
}

#[test]
fn h4_an_offer_to_one_is_nothing_to_another() {
    let (alpha, beta, gamma) = trio();
    introduce(&alpha, &beta);
    introduce(&alpha, &gamma);
    offer(&alpha, &["--to", "beta"]);
    alpha.user().write("f", "for beta", JANUARY);
    join(&beta, &alpha, &[]);
    let root = gamma.root();
    let root = root.to_str().expect("a root in UTF-8");
    let refused = gamma.refused(1, ["sync", "up", "alpha:docs", root]);
    assert!(refused.contains("docs"), "{refused}");
    assert_eq!(gamma.status()["directories"], serde_json::json!([]));
    assert!(!mentions(&gamma.json(["sync", "ls"]), "docs"), "not even its name");
    check(&[&alpha, &beta], "f \"for beta\"");
}
