//! What is committed is what is found again, and nothing else.

use file_sync_core::context::Context;
use file_sync_core::effect::Kept;
use file_sync_core::engine::Incarnation;
use file_sync_core::path::SyncPath;
use file_sync_core::register::{Register, Settled};
use file_sync_core::version::{Heard, Time, Version};
use file_sync_index::{Act, Batch, DirectoryIndex, DirectoryReader, IndexError, KeptAt, Row};

use crate::samples;

pub fn rows_of(index: &mut DirectoryIndex) -> Vec<Row> {
    let mut rows = Vec::new();
    index.load(|row| rows.push(row)).expect("rows can be read");
    rows.sort_by_key(|row| row.sequence);
    rows
}

#[test]
fn c1_everything_committed_is_found_after_a_restart() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let batch = samples::full_batch();
    let mut index = DirectoryIndex::create(&path).expect("created");
    assert_eq!(index.state(), None);
    index.commit(&batch).expect("committed");
    for is_reopened in [false, true] {
        if is_reopened {
            index.close(true).expect("closed");
            index = DirectoryIndex::open(&path).expect("opened");
        }
        assert_eq!(rows_of(&mut index), batch.rows);
        assert_eq!(index.state(), batch.state.as_ref());
        let mut lists = Vec::new();
        index.chunk_lists(|content, list| lists.push((content, list))).expect("lists can be read");
        assert_eq!(lists, batch.chunk_lists);
        assert_eq!(index.chunk_list(&samples::hash(9)).expect("read"), Some(samples::chunk_list(1)));
        assert_eq!(index.chunk_list(&samples::hash(8)).expect("read"), None);
        let mut kept = Vec::new();
        index.kept(|one| kept.push(one)).expect("kept versions can be read");
        assert_eq!(kept, batch.kept_added);
        let for_path = index.kept_for(&samples::path(b"a/\xffk")).expect("read");
        assert_eq!(for_path, [samples::kept("two", 2), samples::kept("one", 1)]);
        let mut acts = index.acts(10).expect("acts can be read");
        acts.reverse();
        assert_eq!(acts, batch.acts);
        assert_eq!(index.acts(1).expect("read"), batch.acts[1..]);
        let doubts = index.doubts().expect("doubts can be read");
        assert_eq!(
            doubts.into_iter().map(|(path, doubt)| (path, Some(doubt))).collect::<Vec<_>>(),
            batch.doubts
        );
    }
}

#[test]
fn kept_versions_are_listed_part_by_part_by_path_and_time() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let mut index = DirectoryIndex::create(&path).expect("created");
    let paths: [&[u8]; 7] = [b"d", b"d/a", b"d/a/x", b"d/a", b"d0", b"d.txt", b"\xff\xff"];
    let kept = |(number, at): (usize, &&[u8])| {
        let name = format!("name-{number}");
        Kept { path: samples::path(at), ..samples::kept(&name, number as u64) }
    };
    let kept: Vec<Kept> = paths.iter().enumerate().map(kept).collect();
    index.commit(&Batch { kept_added: kept.clone(), ..Batch::default() }).expect("committed");
    let reader = DirectoryReader::open(&path).expect("opened");
    let listed = |at: &SyncPath, since, after: Option<&Kept>, limit| {
        let after =
            after.map(|kept| KeptAt { path: kept.path.as_bytes(), at: kept.at, name: Some(&kept.name) });
        let listed = reader.kept_after(at, since, after, limit).expect("read");
        listed.into_iter().map(|kept| kept.name).collect::<Vec<_>>()
    };
    let (directory, ever) = (samples::path(b"d"), Time { seconds: i64::MIN, nanoseconds: 0 });
    assert_eq!(listed(&directory, ever, None, 10), ["name-0", "name-1", "name-3", "name-2"]);
    assert_eq!(listed(&directory, ever, Some(&kept[1]), 10), ["name-3", "name-2"]);
    assert_eq!(listed(&directory, ever, Some(&kept[0]), 2), ["name-1", "name-3"]);
    assert_eq!(listed(&directory, kept[2].at, None, 10), ["name-3", "name-2"]);
    assert_eq!(listed(&SyncPath::root(), ever, None, 10).len(), paths.len());
    assert_eq!(listed(&SyncPath::root(), ever, Some(&kept[4]), 10), ["name-6"]);
    assert_eq!(listed(&samples::path(b"d/b"), ever, None, 10), [""; 0]);
    assert_eq!(listed(&directory, kept[1].at, Some(&kept[0]), 10), ["name-1", "name-3", "name-2"]);
    assert_eq!(listed(&directory, ever, Some(&kept[6]), 10), [""; 0]);
}

#[test]
fn kept_versions_of_one_moment_are_listed_by_name_and_passed_over_together() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let mut index = DirectoryIndex::create(&path).expect("created");
    let kept: Vec<Kept> = ["c", "a", "b"].map(|name| samples::kept(name, 1)).into();
    let late = samples::kept("0", 2);
    index
        .commit(&Batch { kept_added: [kept.clone(), vec![late]].concat(), ..Batch::default() })
        .expect("committed");
    let reader = DirectoryReader::open(&path).expect("opened").again().expect("opened once more");
    let (at, ever) = (kept[0].at, Time { seconds: i64::MIN, nanoseconds: 0 });
    for asked in [&kept[0].path, &SyncPath::root()] {
        let listed = |name| {
            let after = Some(KeptAt { path: kept[0].path.as_bytes(), at, name });
            let listed = reader.kept_after(asked, ever, after, 10).expect("read");
            listed.into_iter().map(|kept| kept.name).collect::<Vec<_>>()
        };
        assert_eq!(listed(Some("a")), ["b", "c", "0"]);
        assert_eq!(listed(Some("")), ["a", "b", "c", "0"]);
        assert_eq!(listed(None), ["0"]);
    }
}

#[test]
fn a_doubt_that_is_over_is_forgotten() {
    let home = tempfile::tempdir().expect("a directory");
    let mut index = DirectoryIndex::create(&home.path().join("d.db")).expect("created");
    let [first, second] = [samples::doubt(b"a/one", 1), samples::doubt(b"a/two", 2)];
    let doubts = vec![first.clone(), second.clone()];
    index.commit(&Batch { doubts, ..Batch::default() }).expect("committed");
    let doubts = vec![(first.0, None)];
    index.commit(&Batch { doubts, ..Batch::default() }).expect("committed");
    let left: Vec<_> = index.doubts().expect("read").into_keys().collect();
    assert_eq!(left, [second.0]);
}

#[test]
fn h5_what_an_author_had_heard_of_is_found_again() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let mut row = samples::plain_row("f", 7);
    let [version] = row.register.versions() else { panic!("a plain row has one version") };
    let gone = Context::from_parts(vec![(samples::dot(8, 0).actor, 3)], vec![samples::dot(9, 4)]);
    let heard = Some(Box::new(Heard { gone, beside: vec![samples::dot(8, 2)] }));
    let version = Version { heard, ..version.clone() };
    let retired = Settled { version: version.clone(), copy: None };
    row.register = Register::from_parts(vec![version], Context::default(), vec![retired]);
    let mut index = DirectoryIndex::create(&path).expect("created");
    let batch = Batch { rows: vec![row.clone()], state: Some(samples::state(9)), ..Batch::default() };
    index.commit(&batch).expect("committed");
    index.close(true).expect("closed");
    assert_eq!(rows_of(&mut DirectoryIndex::open(&path).expect("opened")), [row]);
}

#[test]
fn rows_are_replaced_and_empty_ones_dropped() {
    let home = tempfile::tempdir().expect("a directory");
    let mut index = DirectoryIndex::create(&home.path().join("d.db")).expect("created");
    let rows = (1..=3).map(|n| samples::plain_row(format!("d/{n}"), n)).collect();
    index.commit(&Batch { rows, state: Some(samples::state(5)), ..Batch::default() }).expect("committed");
    let changed = Row { record: None, sequence: 4, ..samples::plain_row("d/1", 7) };
    let emptied = Row { register: Register::default(), record: None, ..samples::plain_row("d/2", 5) };
    let batch = Batch {
        rows: vec![changed.clone(), emptied],
        kept_removed: vec!["nothing".to_owned()],
        ..Batch::default()
    };
    index.commit(&batch).expect("committed");
    assert_eq!(rows_of(&mut index), [samples::plain_row("d/3", 3), changed]);
}

#[test]
fn rows_may_come_in_any_order_and_as_deep_as_a_path_goes() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let deep = vec!["d"; 8000].join("/");
    let mut index = DirectoryIndex::create(&path).expect("created");
    let names = [deep.clone(), "d/d/d".into(), "d".into(), format!("{deep}/e")];
    let rows: Vec<Row> = names.iter().zip(1..).map(|(name, n)| samples::plain_row(name, n)).collect();
    for row in &rows {
        let batch = Batch { rows: vec![row.clone()], state: Some(samples::state(9)), ..Batch::default() };
        index.commit(&batch).expect("committed");
    }
    assert_eq!(rows_of(&mut index), rows);
    index.close(true).expect("closed");
    assert_eq!(rows_of(&mut DirectoryIndex::open(&path).expect("opened")), rows);
}

#[test]
fn c3_no_counter_or_sequence_number_goes_back() {
    let home = tempfile::tempdir().expect("a directory");
    let mut index = DirectoryIndex::create(&home.path().join("d.db")).expect("created");
    let without_state = Batch { rows: vec![samples::plain_row("a", 1)], ..Batch::default() };
    assert!(matches!(index.commit(&without_state), Err(IndexError::Backwards { .. })));
    let state = samples::state(5);
    index.commit(&Batch { state: Some(state.clone()), ..Batch::default() }).expect("committed");
    let mut lower_counter = state.clone();
    lower_counter.counter -= 1;
    let mut lower_sequence = state.clone();
    lower_sequence.sequence -= 1;
    for backwards in [&lower_counter, &lower_sequence] {
        let batch = Batch { state: Some(backwards.clone()), ..Batch::default() };
        assert!(matches!(index.commit(&batch), Err(IndexError::Backwards { .. })));
        assert_eq!(index.state(), Some(&state));
    }
    let beyond = Batch { rows: vec![samples::plain_row("a", 6)], ..Batch::default() };
    assert!(matches!(index.commit(&beyond), Err(IndexError::Backwards { .. })));
    // A new life of the state begins at nought.
    lower_counter.epoch += 1;
    lower_sequence.index_id += 1;
    for anew in [lower_counter, lower_sequence] {
        index.commit(&Batch { state: Some(anew.clone()), ..Batch::default() }).expect("committed");
        assert_eq!(index.state(), Some(&anew));
    }
}

#[test]
fn a_state_that_loses_members_and_remotes_loses_them_on_disk() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let mut index = DirectoryIndex::create(&path).expect("created");
    let mut state = samples::state(1);
    for _ in 0..3 {
        index.commit(&Batch { state: Some(state.clone()), ..Batch::default() }).expect("committed");
        drop(index);
        index = DirectoryIndex::open(&path).expect("opened");
        assert_eq!(index.state(), Some(&state));
        let reader = DirectoryReader::open(&path).expect("opened beside it");
        assert_eq!(reader.members().expect("read"), state.members);
        state.members.pop_first();
        state.remotes.pop_last();
        state.incarnations.push(Incarnation { number: 4, began: u64::MAX });
        state.remotes.values_mut().for_each(|remote| remote.merged += 1);
    }
}

#[test]
fn p3_acts_are_read_as_of_one_moment_while_acts_of_new_devices_are_added() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let mut index = DirectoryIndex::create(&path).expect("created");
    let reader = DirectoryReader::open(&path).expect("opened beside it");
    let reading = std::thread::spawn(move || {
        loop {
            let acts = reader.acts(&samples::path(b"acted/on"), 1000).expect("whole at any moment");
            let by: Vec<u8> = acts.iter().rev().map(|act| act.by.expect("a device").0[0]).collect();
            assert_eq!(by, (1..=by.len() as u8).collect::<Vec<_>>());
            if by.len() == 255 {
                break;
            }
        }
    });
    for number in 1..=255 {
        let act = Act { by: Some(samples::device(number)), ..samples::acts().remove(0) };
        index.commit(&Batch { acts: vec![act], ..Batch::default() }).expect("committed");
    }
    reading.join().expect("every answer was whole");
}

#[test]
fn only_chunk_lists_that_nothing_refers_to_are_dropped() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let mut index = DirectoryIndex::create(&path).expect("created");
    let mut batch = samples::full_batch();
    // In a register, in a settled version, in a record, in a kept version; and in none.
    let used = [12, 9, 77, 2].map(samples::hash);
    batch.chunk_lists = used.iter().map(|content| (*content, samples::chunk_list(1))).collect();
    batch.chunk_lists.push((samples::hash(1000), samples::chunk_list(2)));
    index.commit(&batch).expect("committed");
    assert_eq!(index.drop_unreferenced().expect("dropped"), 1);
    assert_eq!(index.drop_unreferenced().expect("dropped"), 0);
    let mut left = Vec::new();
    index.chunk_lists(|content, _| left.push(content)).expect("read");
    assert_eq!(left, used);
    let dropped = samples::odd_rows()
        .into_iter()
        .map(|row| Row { register: Register::default(), record: None, ..row })
        .collect();
    let kept_removed = vec!["one".to_owned(), "two".to_owned()];
    index.commit(&Batch { rows: dropped, kept_removed, ..Batch::default() }).expect("committed");
    assert_eq!(index.drop_unreferenced().expect("dropped"), 4);
    // The record of acts still names its paths, and rows can come back.
    assert_eq!(index.acts(9).expect("read")[1].path, samples::path(b"acted/on/\xff"));
    index.commit(&batch).expect("committed");
    assert_eq!(rows_of(&mut index), batch.rows);
}

#[test]
fn a_reader_sees_what_was_committed_from_another_thread() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let mut index = DirectoryIndex::create(&path).expect("created");
    let reader = DirectoryReader::open(&path).expect("opened");
    assert_eq!(reader.chunk_list(&samples::hash(9)).expect("read"), None);
    index.commit(&samples::full_batch()).expect("committed");
    let read = std::thread::spawn(move || reader.chunk_list(&samples::hash(9)).expect("read"));
    assert_eq!(read.join().expect("no panic"), Some(samples::chunk_list(1)));
    index.checkpoint().expect("checkpointed");
}

#[test]
fn an_act_on_the_root_has_the_root_for_a_path() {
    let home = tempfile::tempdir().expect("a directory");
    let mut index = DirectoryIndex::create(&home.path().join("d.db")).expect("created");
    index.commit(&Batch { acts: samples::acts(), ..Batch::default() }).expect("committed");
    assert_eq!(index.acts(1).expect("read")[0].path, SyncPath::root());
}

#[test]
fn p3_acts_are_found_at_a_path_below_it_and_at_what_is_above() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("d.db");
    let mut index = DirectoryIndex::create(&path).expect("created");
    let acts = ["d", "d/e/f", "d/e/g", "d/ee", "x/d/e/f"]
        .map(|at| file_sync_index::Act { path: samples::path(at.as_bytes()), ..samples::acts().remove(0) });
    index.commit(&Batch { acts: acts.to_vec(), ..Batch::default() }).expect("committed");
    let reader = DirectoryReader::open(&path).expect("opened");
    let at = |path: &str, limit| -> Vec<String> {
        let acts = reader.acts(&samples::path(path.as_bytes()), limit).expect("read");
        acts.iter().map(|act| act.path.to_string()).collect()
    };
    assert_eq!(at("d/e/f", 9), ["d/e/f", "d"]);
    assert_eq!(at("d/e", 9), ["d/e/g", "d/e/f", "d"]);
    assert_eq!(at("d", 9), ["d/ee", "d/e/g", "d/e/f", "d"]);
    assert_eq!(at("x", 9), ["x/d/e/f"]);
    assert_eq!(at("nowhere/f", 9), [""; 0]);
    assert_eq!(at(&vec!["d"; 1500].join("/"), 9), ["d"]);
    let (mut by_pages, mut after) = (Vec::new(), None);
    loop {
        let page = reader.acts_after(&samples::path("d"), after, 2).expect("read");
        by_pages.extend(page.0);
        after = page.1;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(by_pages, reader.acts(&samples::path("d"), 9).expect("read"));
    let all = reader.acts(&SyncPath::root(), 3).expect("read");
    assert_eq!(all.iter().map(|act| act.path.to_string()).collect::<Vec<_>>(), ["x/d/e/f", "d/ee", "d/e/g"]);
}
