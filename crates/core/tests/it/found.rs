//! The histories that once went wrong, each as the shortest script that did.

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
