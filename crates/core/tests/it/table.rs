//! Every row of the table of what happens when, and every pair of kinds, at the level of trees.
//!
//! A case is what was there before, what p0 does, what p1 does at the same time, and what everybody has in the end. It
//! is played with either side's times newer, with equal times, and delivered in both orders.

use file_sync_core::version::{Content, ContentHash, Time, Value};

use crate::device::Disk;
use crate::oracle::{family, is_copy};
use crate::script::{Ranks, World, parse};

/// `before ; here ; there => disk`. A disk is a list of NAME=WHAT: WHAT is `old` (written before), `here`, `there`, or
/// `new` and `late` for the newer and the older of the two; `dir`; `same`. `f~` is a copy of f.
pub fn check(case: &str) {
    let (acts, expected) = case.split_once(" => ").expect("a case has an outcome");
    let [before, here, there] = acts.split(';').collect::<Vec<_>>()[..] else {
        panic!("before; here; there: {case}")
    };
    for ranks in [Ranks::Favour(0), Ranks::Favour(1), Ranks::Equal] {
        for deliveries in ["p0 > p1\np1 > p0", "p1 > p0\np0 > p1"] {
            let mut world = World::new(3, ranks);
            let lines = |device: usize, acts: &str| -> String {
                acts.split(',')
                    .filter(|act| !act.trim().is_empty())
                    .map(|act| format!("p{device} {act}\n"))
                    .collect()
            };
            // What was there before is the third device's, so that neither side's first write is older than the other's.
            let script = format!(
                "{}p2 > p0\np2 > p1\n{}{}{deliveries}",
                lines(2, before),
                lines(0, here),
                lines(1, there)
            );
            for step in parse(&script) {
                world.step(&step);
            }
            let world =
                world.settle_and_check().unwrap_or_else(|reason| panic!("{case} {ranks:?}: {reason}"));
            let is_here_newer = ranks == Ranks::Favour(0);
            let found = listing(&world.devices[0].disk, is_here_newer, expected);
            assert_eq!(found, sorted(expected), "{case}, {ranks:?}, {deliveries:?}");
        }
    }
}

fn sorted(listing: &str) -> String {
    let mut items: Vec<&str> = listing.split_whitespace().collect();
    items.sort_unstable();
    items.join(" ")
}

fn listing(disk: &Disk, is_here_newer: bool, expected: &str) -> String {
    let is_by_age = expected.contains("=new");
    let name_of = |token: &str| -> String {
        let device_is_newer = token.starts_with("p0") == is_here_newer;
        match (token, is_by_age) {
            ("same", _) => "same".to_owned(),
            (token, _) if token.starts_with("p2") => "old".to_owned(),
            (_, true) => if device_is_newer { "new" } else { "late" }.to_owned(),
            (token, false) => if token.starts_with("p0") { "here" } else { "there" }.to_owned(),
        }
    };
    let tokens: Vec<String> = (0..3)
        .flat_map(|device| (0..6).map(move |act| format!("p{device}.{act}")))
        .chain(["same".to_owned()])
        .collect();
    let mut items: Vec<String> = disk
        .iter()
        .map(|(path, value)| {
            let name = if is_copy(path) { format!("{}~", family(path)) } else { path.to_string() };
            let what = match value.content() {
                Content::File(hash) | Content::Symlink(hash) => {
                    let token = tokens.iter().find(|token| ContentHash::of(token.as_bytes()) == hash);
                    name_of(token.expect("only what was written is there"))
                }
                _ => "dir".to_owned(),
            };
            format!("{name}={what}")
        })
        .collect();
    items.sort_unstable();
    items.join(" ")
}

// The rows of the table, one by one.

#[test]
fn table_edit_and_edit_keep_both() {
    check("write f; write f; write f => f=new f~=late");
}

#[test]
fn table_edit_and_edit_with_the_same_bytes_are_one_file() {
    check("write f; same f; same f => f=same");
}

#[test]
fn table_edit_beats_delete() {
    check("write f; write f; rm f => f=here");
    check("write f; rm f; write f => f=there");
}

#[test]
fn table_edit_and_rename_keep_both_names() {
    check("write f; write f; mv f g => f=here g=old");
}

#[test]
fn table_delete_and_delete_delete() {
    check("write f; rm f; rm f => ");
}

#[test]
fn table_create_and_create_keep_both() {
    check("; write f; write f => f=new f~=late");
}

#[test]
fn table_directory_keeps_the_name_before_a_file() {
    check("; write f; mkdir f => f=dir f~=here");
    check("; mkdir f; write f => f=dir f~=there");
}

#[test]
fn table_new_file_keeps_its_deleted_directory_alone() {
    check("write d/f; write d/x; rm d => d=dir d/x=here");
}

#[test]
fn table_rename_and_rename_make_both_names() {
    check("write f; mv f g; mv f h => g=old h=old");
}

#[test]
fn table_new_file_in_a_renamed_directory_stays_where_it_was_made() {
    check("write d/f; mv d e; write d/x => e=dir e/f=old d=dir d/x=there");
}

#[test]
fn table_chmod_or_touch_go_with_the_edit() {
    check("write f; chmod f; write f => f=there");
    check("write f; touch f; write f => f=there");
    check("write f; write f; touch f => f=here");
}

#[test]
fn table_edit_after_a_year_away_beats_the_delete() {
    check("write f; write f; rm f, write g, rm g, mkdir g, rm g => f=here");
}

#[test]
fn table_nothing_after_a_year_away_follows_the_delete() {
    check("write f; ; rm f => ");
    check("write f; write h, rm h; rm f, write g, rm g => ");
}

#[test]
fn w1_every_pair_of_kinds_created_at_once() {
    check("; write f; link f => f=new f~=late");
    check("; link f; link f => f=new f~=late");
    check("; link f; mkdir f => f=dir f~=here");
    check("; mkdir f; mkdir f => f=dir");
    check("; same f; same f => f=same");
    check("; write f; write f/x => f=dir f~=here f/x=there");
    check("; write f; => f=here");
    check("; mkdir f; write f/x => f=dir f/x=there");
}

#[test]
fn d2_every_pair_of_changes_of_a_kind() {
    for kind in ["write f", "link f"] {
        check(&format!("{kind}; rm f; link f => f=there"));
        check(&format!("{kind}; rm f; mkdir f => f=dir"));
        check(&format!("{kind}; write f; mkdir f => f=dir f~=here"));
        check(&format!("{kind}; write f; link f => f=new f~=late"));
        check(&format!("{kind}; rm f; rm f => "));
    }
    check("write f; rm f; chmod f => f=old");
    check("mkdir d; rm d; write d/x => d=dir d/x=there");
    check("mkdir d; rm d; write d => d=there");
    check("mkdir d; rm d; rm d => ");
    check("write d/f; rm d; write d/f => d=dir d/f=there");
    check("write d/f; write d; write d/f => d=dir d/f=there d~=here");
    check("write d/f; write d; rm d/f => d=here");
}

#[test]
fn d4_what_is_created_again_is_not_deleted_by_the_old_delete() {
    check("write f, rm f; write f; => f=here");
    check("write f; rm f, write f; rm f => f=here");
    check("write f; rm f, write f; => f=here");
}

#[test]
fn l4_copies_are_files_like_any_other() {
    const CONFLICT: &str = "p0 write f\np1 write f\np0 > p1\np1 > p0\n";
    let check_acts = |here: &str, there: &str, n_files: usize| {
        for ranks in [Ranks::Favour(0), Ranks::Favour(1), Ranks::Equal] {
            let mut world = World::new(3, ranks);
            parse(&format!("{CONFLICT}{here}\n{there}")).iter().for_each(|step| {
                world.step(step);
            });
            let world = world.settle_and_check().unwrap_or_else(|reason| panic!("{here}, {there}: {reason}"));
            assert_eq!(
                world.devices[0].disk.len(),
                n_files,
                "{here}, {there}, {ranks:?}: {:?}",
                world.devices[0].disk
            );
        }
    };
    check_acts("p0 write f~0", "", 2);
    check_acts("p0 rm f~0", "", 1);
    check_acts("p0 mv f~0 g", "", 2);
    check_acts("p0 mv f~0 f", "", 1);
    check_acts("p0 rm f", "", 1);
    check_acts("p0 rm f~0", "p1 rm f~0", 1);
    check_acts("p0 write f", "p1 write f", 3);
    check_acts("p0 write f~0", "p1 write f~0", 3);
    check_acts("p0 write f~0", "p1 rm f~0", 2);
    check_acts("p0 write f~0", "p1 write f", 2);
    check_acts("p0 rm f", "p1 rm f~0", 0);
    check_acts("p0 mkdir f~0", "p1 write f~0", 3);
}

#[test]
fn w1_mode_and_mtime_each_come_from_the_latest_change() {
    for ranks in [Ranks::Favour(0), Ranks::Favour(1)] {
        let mut world = World::new(3, ranks);
        parse("p2 write f\np2 > p0\np2 > p1\np0 chmod f\np1 write f").iter().for_each(|step| {
            world.step(step);
        });
        let edited = world.devices[1].disk.values().next().cloned();
        let world = world.settle_and_check().expect("no conflict");
        let merged = world.devices[0].disk.values().next().cloned();
        let (
            Some(Value::File { mode, content, mtime, .. }),
            Some(Value::File { content: new, mtime: at, .. }),
        ) = (merged, edited)
        else {
            panic!("files")
        };
        // The edit left the mode as it was, so that it has no say in it, whichever of the two is newer.
        assert_eq!((content, mtime, mode), (new, at, 0o700));
    }
}

#[test]
fn l5_a_change_of_metadata_is_never_a_conflict() {
    for change in ["chmod f", "touch f", "touch f, chmod f", "chmod f, touch f, chmod f"] {
        check(&format!("write f; {change}; write f => f=there"));
        check(&format!("write f; {change}; write f, write f => f=there"));
        check(&format!("write f; {change}; write f, chmod f, write f, touch f, write f => f=there"));
        check(&format!("write f, chmod f; {change}; write f, write f => f=there"));
        check(&format!("write f; {change}; chmod f => f=old"));
    }
    // Who deletes a file and makes another has not replaced the bytes.
    check("write f; chmod f; rm f, write f, write f => f=there f~=old");
    check("write f; chmod f; rm f, write f, rm f => f=old");
}

#[test]
fn l5_equal_bytes_are_never_a_conflict() {
    check("; same f; same f => f=same");
    check("; same f, chmod f; same f, touch f => f=same");
    check("write f; same f; same f, chmod f => f=same");
    check("; same f, write f; same f => f=here");
    check("write f; rm f, same f; same f => f=same");
    check("write f; mv f g, same f; rm f, same f => f=same g=old");
}

#[test]
fn w3_a_successor_with_an_older_time_wins() {
    let mut world = World::new(2, Ranks::Falling);
    parse("p0 write f\np0 > p1\np1 write f\np1 > p0\np0 write f").iter().for_each(|step| {
        world.step(step);
    });
    let world = world.settle_and_check().expect("no conflict");
    assert_eq!(world.devices[1].disk.len(), 1);
    assert_eq!(
        world.devices[1].disk.values().next().and_then(Value::mtime),
        Some(Time { seconds: 990, nanoseconds: 0 })
    );
}
