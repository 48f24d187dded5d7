//! The histories that once went wrong, each as the shortest script that did.

use file_sync_core::path::SyncPath;
use file_sync_core::version::Value;

use crate::oracle::is_copy;
use crate::script::{Ranks, parse, run};

fn check(script: &str, n_shown: usize) {
    for ranks in [Ranks::Rising, Ranks::Falling, Ranks::Equal] {
        let world =
            run(3, ranks, &parse(script)).unwrap_or_else(|reason| panic!("{script} {ranks:?}: {reason}"));
        assert_eq!(world.devices[0].disk.len(), n_shown, "{script} {ranks:?}: {:?}", world.devices[0].disk);
    }
}

/// d is a directory for the sake of d/x alone, its file shows as a copy. `rm -r` of all that lies in one directory
/// deletes d/x first, by which the file takes its name back before the delete of the copy is told.
#[test]
fn d1_a_copy_deleted_with_the_directory_in_its_place_is_deleted() {
    check("p0 write t/d\n p1 write t/d/x\n p0 > p1\n p1 rm t", 0);
    check("p0 write t/d\n p1 write t/d/x\n p1 > p0\n p0 rm t\n p2 write g", 1);
    check("p0 write t/d\n p1 write t/d/x\n p0 > p1\n p1 mv t u", 4);
}

/// The value lost d, and again at its copy's name, where a directory is: two registers stand between it and the
/// name at which it is edited.
#[test]
fn d3_a_copy_of_a_copy_that_is_deleted_stays_deleted() {
    check("p0 write d\n p1 write d\n p0 > p1\n p1 mkdir d~0\n p1 > p0\n p0 rm d~1\n p0 rm d", 1);
}

/// p1's file is a copy on its disk, beside a directory that p2 has replaced: p1 has heard of it, its disk has not
/// followed. What its user writes over the directory leaves the copy where it is.
#[test]
fn l4_a_copy_that_has_its_name_back_unseen_stays_a_copy() {
    let script = "p0 mkdir f\n p1 write f\n p0 > p2\n p0 > p1\n p2 write f\n p2 <unseen> p1\n p1 write f";
    check(script, 3);
}

/// p0's user sees p1's edit, with the mode of the file that it replaced; whoever deals with what is shown has dealt with
/// that file too.
#[test]
fn d1_what_was_not_shown_is_deleted_with_what_replaced_it() {
    let seen = "p0 write f\n p0 > p1\n p0 chmod f\n p1 write f\n p1 > p0";
    check(&format!("{seen}\n p0 rm f"), 0);
    check(&format!("{seen}\n p0 chmod f"), 1);
    check(&format!("{seen}\n p0 write f\n p1 rm f"), 1);
    check(&format!("{seen}\n p0 mv f g"), 1);
}

/// p0 swaps f, a directory, with its copy, and p1 writes to both: the bytes that p0 put at f stand at the copy's name
/// again, where they did not replace the directory that p0 made there.
#[test]
fn l1_what_lands_at_a_copys_name_has_replaced_nothing_there() {
    let both = "p0 same f\n p1 write f/x\n p0 > p1\n p1 > p0";
    let acts = "p0 mkdir f~0\n p0 same f\n p1 write f~0\n p1 write f/x";
    for ranks in [Ranks::Rising, Ranks::Falling, Ranks::Equal] {
        let world = run(2, ranks, &parse(&format!("{both}\n {acts}"))).expect("it is as it should be");
        let disk = &world.devices[0].disk;
        let is_made =
            |(path, value): (&SyncPath, &Value)| is_copy(path) && matches!(value, Value::Directory { .. });
        assert!(disk.iter().any(is_made), "{ranks:?}: {disk:?}");
    }
}
