//! Kinds, modes and times: whatever a directory may hold arrives as it is, or is left alone and listed.
//!
//! Names have a file of their own (`names.rs`), as have the rules of `.syncignore` (`ignored.rs`).
//!
//! Promises checked here, beside others: H1 and M4.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use crate::tree::{Node, tree_of};
use crate::user::noise;
use crate::world::{FEBRUARY, JANUARY, MARCH, PATIENCE, check, equal, eventually, holds};
use crate::world::{is_root_or_skips, mentions, settle, sharing};

#[test]
fn s1_empty_files_and_empty_directories_arrive() {
    let (alpha, beta) = sharing();
    alpha.user().write("empty", "", JANUARY);
    alpha.user().mkdir("a/b/c");
    beta.user().write("x/empty", "", JANUARY);
    beta.user().mkdir("y");
    check(&[&alpha, &beta], "empty \"\"\na/\na/b/\na/b/c/\nx/\nx/empty \"\"\ny/");
    beta.user().remove_all("a");
    alpha.user().remove("empty");
    check(&[&alpha, &beta], "x/\nx/empty \"\"\ny/");
}

#[test]
fn s1_symlinks_arrive_as_they_are_and_are_not_followed() {
    let (alpha, beta) = sharing();
    let user = alpha.user();
    user.write("file", "bytes", JANUARY);
    user.mkdir("directory");
    user.link("file", "to-file");
    user.link("directory", "to-directory");
    user.link("nowhere/at/all", "dangling");
    user.link("/etc/passwd", "absolute");
    user.link("../../outside", "upwards");
    user.link(b"not-\xff\xfe-text", "bytes");
    user.link("loop", "loop");
    user.link("x".repeat(4000), "long");
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    let target = Node::Symlink { target: b"not-\xff\xfe-text".to_vec() };
    assert_eq!(tree_of(&beta.root()).get(&b"bytes"[..]), Some(&target));

    beta.user().remove("dangling");
    beta.user().link("file", "dangling");
    alpha.user().remove("to-file");
    alpha.user().write("to-file", "a file now", FEBRUARY);
    beta.user().remove("to-directory");
    beta.user().mkdir("to-directory");
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!(alpha.user().read("dangling"), b"bytes");
    assert_eq!(beta.user().read("to-file"), b"a file now");
    assert!(std::fs::read("/etc/passwd").is_ok(), "what a symlink points to is untouched");
}

#[test]
fn h1_a_parent_that_became_a_symlink_leads_nowhere() {
    let (alpha, mut beta) = sharing();
    alpha.user().write("d/f", "inside", JANUARY);
    settle(&[&alpha, &beta]);
    beta.stop();
    std::fs::create_dir(beta.beside("outside")).expect("a directory");
    std::fs::write(beta.beside("outside/f"), "outside").expect("a file");
    beta.user().remove_all("d");
    beta.user().link("../outside", "d");
    alpha.user().write("d/f", "edited", FEBRUARY);
    alpha.user().write("d/new", "new", FEBRUARY);
    beta.begin();
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    holds(&beta.beside("outside"), "f \"outside\"");
    // A directory keeps the name; the symlink is what lost.
    assert_eq!(beta.user().read("d/new"), b"new");
    assert!(tree_of(&alpha.root()).values().any(|node| matches!(node, Node::Symlink { .. })));
}

#[test]
fn m4_a_path_changes_its_kind() {
    let (alpha, beta) = sharing();
    alpha.user().write("a", "file", JANUARY);
    alpha.user().write("b/inside", "below", JANUARY);
    alpha.user().link("target", "c");
    settle(&[&alpha, &beta]);
    alpha.user().remove("a");
    alpha.user().write("a/inside", "below", FEBRUARY);
    alpha.user().remove_all("b");
    alpha.user().link("a", "b");
    alpha.user().remove("c");
    alpha.user().write("c", "file", FEBRUARY);
    check(&[&alpha, &beta], "a/\na/inside \"below\"\nb -> a\nc \"file\"");
}

#[test]
fn s1_every_mode_arrives_and_changes() {
    let (alpha, beta) = sharing();
    let modes = [0o644, 0o755, 0o444, 0o400, 0o000, 0o777, 0o600, 0o711];
    for mode in modes {
        alpha.user().write_as(format!("{mode:03o}"), format!("{mode:o}"), mode, (JANUARY, 0));
    }
    // Without root nobody reads a file of mode 0000, and its bytes cannot travel.
    if !is_root_or_skips("the file of mode 0000") {
        alpha.user().chmod("000", 0o400);
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    for mode in modes {
        let name = format!("{mode:03o}");
        assert_eq!(beta.user().mode(&name), alpha.user().mode(&name));
        beta.user().chmod(&name, 0o640);
    }
    beta.user().write_as("444", "saved over a read-only file", 0o444, (FEBRUARY, 0));
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!(alpha.user().mode("000"), 0o640);
    assert_eq!(alpha.user().read("444"), b"saved over a read-only file");
}

#[test]
fn s1_set_id_and_sticky_bits_do_not_travel() {
    let (alpha, beta) = sharing();
    alpha.user().write_as("f", "bytes", 0o755, (JANUARY, 0));
    alpha.user().chmod("f", 0o6755);
    alpha.user().mkdir("d");
    alpha.user().chmod("d", 0o1777);
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    let bits = |name: &str| std::fs::metadata(beta.user().path(name)).expect("it arrived").mode() & 0o7777;
    assert_eq!((bits("f"), bits("d")), (0o755, 0o777));
}

#[test]
fn s1_a_read_only_directory_takes_changes_and_keeps_its_mode() {
    let (alpha, beta) = sharing();
    alpha.user().write("locked/f", "before", JANUARY);
    alpha.user().write("locked/gone", "before", JANUARY);
    alpha.user().mkdir("locked/below");
    alpha.user().chmod("locked/below", 0o555);
    alpha.user().chmod("locked", 0o555);
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!((beta.user().mode("locked"), beta.user().mode("locked/below")), (0o555, 0o555));

    alpha.user().chmod("locked", 0o755);
    alpha.user().chmod("locked/below", 0o755);
    alpha.user().write("locked/f", "after", FEBRUARY);
    alpha.user().write("locked/below/new", "new", FEBRUARY);
    alpha.user().remove("locked/gone");
    alpha.user().chmod("locked/below", 0o555);
    alpha.user().chmod("locked", 0o555);
    check(&[&alpha, &beta], "locked/\nlocked/f \"after\"\nlocked/below/\nlocked/below/new \"new\"");
    assert_eq!((beta.user().mode("locked"), beta.user().mode("locked/below")), (0o555, 0o555));
    for user in [alpha.user(), beta.user()] {
        user.chmod("locked", 0o755);
        user.chmod("locked/below", 0o755);
    }
    settle(&[&alpha, &beta]);
}

#[test]
fn s1_mtimes_arrive_to_the_nanosecond_also_before_1970() {
    let (alpha, beta) = sharing();
    let times = [(JANUARY, 123_456_789), (JANUARY, 1), (0, 0), (0, 999_999_999), (-1, 500_000_000)];
    let more = [(-1_000_000_000, 7), (-2_000_000_000, 0), (4_000_000_000, 42), (MARCH, 999_999_999)];
    for (index, mtime) in times.into_iter().chain(more).enumerate() {
        let owner = if index % 2 == 0 { alpha.user() } else { beta.user() };
        owner.write_as(format!("f{index}"), format!("{index}"), 0o644, mtime);
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    let Some(Node::File { mtime, .. }) = tree_of(&beta.root()).remove(&b"f0"[..]) else {
        panic!("f0 arrived as something else");
    };
    assert_eq!(mtime, (JANUARY, 123_456_789));
    beta.user().touch("f0", -86_400);
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!(alpha.user().mtime("f0"), -86_400);
}

#[test]
fn s1_hard_linked_names_are_separate_files() {
    let (alpha, beta) = sharing();
    alpha.user().write("one", "shared", JANUARY);
    alpha.user().hard_link("one", "two");
    check(&[&alpha, &beta], "one \"shared\"\ntwo \"shared\"");
    beta.user().write("one", "edited there", FEBRUARY);
    check(&[&alpha, &beta], "one \"edited there\"\ntwo \"shared\"");
    // An edit through one of two linked names is an edit of both, whichever name the events told of.
    alpha.user().hard_link("two", "three");
    settle(&[&alpha, &beta]);
    alpha.user().append("two", " and more");
    check(&[&alpha, &beta], "one \"edited there\"\ntwo \"shared and more\"\nthree \"shared and more\"");
}

#[test]
fn l7_fifos_and_sockets_are_left_alone_and_listed() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "bytes", JANUARY);
    let fifo = alpha.root().join("a-fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo(1) is there").success());
    let listener = std::os::unix::net::UnixListener::bind(alpha.root().join("a-socket")).expect("a socket");
    check(&[&alpha, &beta], "f \"bytes\"");
    eventually(PATIENCE, || {
        let directory = alpha.directory();
        let listed = |path| mentions(&directory["unsupported"], path);
        if listed("a-fifo") && listed("a-socket") { Ok(()) } else { Err(format!("not listed: {directory}")) }
    });
    assert_eq!(alpha.directory()["state"], "idle", "what is not supported is no failure of the directory");
    beta.user().write("a-fifo", "a remote's file of that name", FEBRUARY);
    let _ = alpha.run(["sync", "wait", "--timeout", "2s"]);
    assert!(alpha.user().has("a-fifo") && beta.user().has("a-fifo"));
    assert!(
        std::fs::symlink_metadata(&fifo).is_ok_and(|metadata| !metadata.is_file()),
        "the FIFO is still one"
    );
    drop(listener);
}

#[test]
fn h1_a_component_named_like_the_marker_is_left_alone() {
    let (alpha, beta) = sharing();
    alpha.user().write("d/.file-sync/secret", "stays here", JANUARY);
    alpha.user().write("d/f", "travels", JANUARY);
    alpha.user().write(".file-sync/mine", "stays here", JANUARY);
    check(&[&alpha, &beta], "d/\nd/f \"travels\"");
    assert!(!beta.user().has("d/.file-sync") && !beta.user().has(".file-sync/mine"));
    beta.user().remove_all("d");
    settle(&[&alpha, &beta]);
    assert_eq!(alpha.user().read("d/.file-sync/secret"), b"stays here");
    assert!(!alpha.user().has("d/f"));
}

#[test]
fn l7_another_file_system_below_the_root_is_left_alone() {
    if !is_root_or_skips("another file system below the root") {
        return;
    }
    let (alpha, beta) = sharing();
    alpha.user().mkdir("mounted");
    alpha.user().write("f", "bytes", JANUARY);
    settle(&[&alpha, &beta]);
    let point = alpha.root().join("mounted");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&point).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: another file system below the root needs mount(2)");
        return;
    }
    std::fs::write(point.join("inside"), "another file system").expect("tmpfs takes a file");
    alpha.user().write("g", "bytes", JANUARY);
    let waited = alpha.run(["sync", "wait", "--timeout", "20s"]);
    let seen = (beta.user().has("mounted/inside"), beta.user().has("mounted"), beta.user().has("g"));
    let unmounted = Command::new("umount").arg(&point).status().is_ok_and(|status| status.success());
    assert!(unmounted, "the test's own mount can be unmounted");
    assert_eq!(seen, (false, true, true), "inside, the mount point, a neighbour: {waited:?}");
    check(&[&alpha, &beta], "f \"bytes\"\ng \"bytes\"\nmounted/");
}

#[test]
fn s1_a_sparse_file_arrives_sparse() {
    let (alpha, beta) = sharing();
    let draft = alpha.beside("sparse");
    let file = std::fs::File::create(&draft).expect("a file");
    file.set_len(64 << 20).expect("a length");
    file.write_all_at(&noise(1, 100_000), 10 << 20).expect("an island");
    file.write_all_at(b"the end", (64 << 20) - 7).expect("an end");
    drop(file);
    std::fs::rename(&draft, alpha.root().join("sparse")).expect("a rename");
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    let blocks = |path: std::path::PathBuf| std::fs::metadata(path).expect("it arrived").blocks();
    let (here, there) = (blocks(alpha.root().join("sparse")), blocks(beta.root().join("sparse")));
    assert!(there <= here + 1024, "{there} blocks of 512 bytes arrived where {here} were sent");
}

#[test]
fn s1_three_thousand_small_files_in_one_directory_arrive() {
    let (alpha, beta) = sharing();
    alpha.user().mkdir("many");
    for index in 0..3000 {
        std::fs::write(alpha.root().join(format!("many/{index}")), format!("file {index}")).expect("a file");
    }
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!(tree_of(&beta.root()).len(), 3001);
    alpha.user().rename("many", "moved");
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert!(beta.user().has("moved/2999") && !beta.user().has("many"));
}

#[test]
fn m1_a_rename_moves_no_bytes_of_a_file_or_a_directory() {
    let (alpha, beta) = sharing();
    alpha.user().write("d/big", noise(1, 40 << 20), JANUARY);
    for index in 0..300 {
        alpha.user().write(format!("d/small/{index}"), noise(index + 2, 20_000), JANUARY);
    }
    settle(&[&alpha, &beta]);
    let before = beta.written_bytes();
    alpha.user().rename("d/big", "moved");
    alpha.user().rename("d", "e");
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert!(beta.user().has("moved") && beta.user().has("e/small/299") && !beta.user().has("d"));
    let written = beta.written_bytes() - before;
    assert!(written < 3 << 20, "{written} bytes were written for renames of 46 MB");
}

#[test]
fn s1_a_deep_tree_arrives_and_goes() {
    let (alpha, beta) = sharing();
    let deep = vec!["deep"; 200].join("/");
    alpha.user().write(format!("{deep}/f"), "at the bottom", JANUARY);
    settle(&[&alpha, &beta]);
    equal(&[&alpha, &beta]);
    assert_eq!(beta.user().read(format!("{deep}/f")), b"at the bottom");
    beta.user().remove_all("deep");
    settle(&[&alpha, &beta]);
    holds(&alpha.root(), "");
}
