//! Real input: what the machine has below /usr/include, and with REAL=1 a file of 2 GiB and /usr/share/doc.
//!
//! Prints what was compared. The default run copies the tree first, so that the machine's own files are only read.

#![expect(clippy::print_stdout, reason = "says what was compared")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::device::Device;
use crate::tree::{Node, tree_of};
use crate::user::noise;
use crate::world::{FEBRUARY, MARCH, connected, equal, join, offer, paired};

#[test]
fn s1_the_headers_of_this_machine_arrive_and_are_edited_on_both_sides() {
    a_tree_arrives_and_is_edited_on_both_sides(Path::new("/usr/include"));
}

#[test]
fn s1_the_documents_of_this_machine_arrive_when_real_is_set() {
    if is_real_or_skips("/usr/share/doc") {
        a_tree_arrives_and_is_edited_on_both_sides(Path::new("/usr/share/doc"));
    }
}

#[test]
fn s1_a_file_of_two_gibibytes_arrives_when_real_is_set() {
    if !is_real_or_skips("a file of 2 GiB") {
        return;
    }
    let (alpha, beta) = paired();
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    // A quarter is noise in islands of 32 MiB, the rest is holes.
    let draft = alpha.beside("draft");
    let file = File::create(&draft).expect("a file");
    file.set_len(2 << 30).expect("a length");
    for island in 0..16_u64 {
        file.write_all_at(&noise(island, 32 << 20), island * (128 << 20)).expect("an island");
    }
    drop(file);
    std::fs::rename(&draft, alpha.user().path("big")).expect("a rename");
    settle_within(&alpha, &beta, "2 GiB");
    let file = File::options().write(true).open(beta.user().path("big")).expect("it arrived");
    file.write_all_at(&noise(99, 4096), 1 << 30).expect("an edit in the middle");
    drop(file);
    alpha.user().write("beside", "small", FEBRUARY);
    settle_within(&beta, &alpha, "2 GiB, edited in the middle");
}

fn a_tree_arrives_and_is_edited_on_both_sides(source: &Path) {
    if !source.is_dir() {
        println!("skipped: this machine has no {}", source.display());
        return;
    }
    let (alpha, beta) = paired();
    let copied = Command::new("cp").arg("-a").arg(source).arg(alpha.root()).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp(1) copies {}", source.display());
    offer(&alpha, &[]);
    join(&beta, &alpha, &[]);
    let name = source.display().to_string();
    settle_within(&alpha, &beta, &name);
    edit_on_both_sides(&alpha, &beta);
    settle_within(&alpha, &beta, &format!("{name}, edited on both sides"));
    assert_eq!(alpha.directory()["conflicts"], 0);
}

/// Edits, deletes and renames a few dozen files on either side, no path on both.
fn edit_on_both_sides(alpha: &Device, beta: &Device) {
    let tree = tree_of(&alpha.root());
    let files = tree.iter().filter(|(_, node)| matches!(node, Node::File { .. })).map(|(path, _)| path);
    for (index, path) in files.step_by(97).enumerate() {
        let user = if index % 2 == 0 { alpha.user() } else { beta.user() };
        match index % 6 {
            0 | 1 => user.write(path, format!("edited {index}"), MARCH),
            2 | 3 => user.remove(path),
            _ => user.rename(path, [path, &b".renamed"[..]].concat()),
        }
    }
    alpha.user().write("new/alpha", "new", FEBRUARY);
    beta.user().write("new/beta", "new", FEBRUARY);
}

/// Waits on both sides for up to ten minutes, compares, and prints what was compared.
fn settle_within(first: &Device, second: &Device, what: &str) {
    let start = Instant::now();
    connected(first);
    for device in [first, second, first, second] {
        device.ok(["sync", "wait", "--timeout", "600s"]);
    }
    let took = start.elapsed();
    equal(&[first, second]);
    let (mut n_files, mut n_bytes) = (0, 0);
    let tree = tree_of(&first.root());
    for node in tree.values() {
        if let Node::File { length, .. } = node {
            n_files += 1;
            n_bytes += length;
        }
    }
    println!(
        "{what}: {} paths, {n_files} files, {n_bytes} bytes compared by hash, mode and mtime; synced in {:.1} s",
        tree.len(),
        took.as_secs_f64()
    );
    assert!(took < Duration::from_secs(600));
}

fn is_real_or_skips(what: &str) -> bool {
    let is_real = std::env::var_os("REAL").is_some_and(|value| value == "1");
    if !is_real {
        println!("skipped: {what} needs REAL=1");
    }
    is_real
}
