//! Races and hostile rearrangements, stepped in between the steps of an op.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use file_sync_core::effect::{HashItem, HashOutcome, Op, OpOutcome, Source};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Record};
use file_sync_core::version::{Content, ContentHash, DirectoryId, Time};

use crate::Root;
use crate::hash::N_SINGLE_SYNCS_MAX;

const MTIME: Time = Time { seconds: 1_000_000_000, nanoseconds: 123_456_789 };

struct Scene {
    directory: tempfile::TempDir,
    root: Root,
}

impl Scene {
    fn new() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/canary"), "sings").unwrap();
        let (root, _) = Root::offer(&directory.path().join("root"), DirectoryId([7; 16])).unwrap();
        Scene { directory, root }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join("root").join(path)
    }

    fn write(&self, path: &str, bytes: &str) -> Record {
        fs::write(self.at(path), bytes).unwrap();
        self.record(path)
    }

    /// The record of what is there now.
    fn record(&self, path: &str) -> Record {
        let path = sync(path);
        let seen = self.root.look(&path).unwrap().unwrap();
        let content = match &seen.kind {
            Kind::Symlink(target) => Content::Symlink(ContentHash::of(target)),
            Kind::Directory => Content::Directory,
            _ => match self.root.hash(&[HashItem { path }], &AtomicBool::new(false)).pop().unwrap() {
                HashOutcome::Hashed { content, .. } => Content::File(content),
                outcome => panic!("{outcome:?}"),
            },
        };
        Record { content, stat: seen.stat }
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    /// Does something when an op gets to a step, once.
    fn at_step(&self, wanted: &'static str, act: impl FnOnce() + Send + 'static) {
        let mut act = Some(act);
        self.root.hook.set(move |step| {
            if step == wanted
                && let Some(act) = act.take()
            {
                act();
            }
        });
    }

    fn place(&self, path: &str, bytes: &str, expect: Option<Record>) -> Op {
        let content = ContentHash::of(bytes.as_bytes());
        self.root.stage_small(&[(content, bytes.as_bytes())]).pop().unwrap().unwrap();
        let source = Source::Staged { consume: true };
        Op::Place { path: sync(path), content, source, mode: 0o640, mtime: MTIME, expect }
    }

    fn apply(&self, op: Op) -> OpOutcome {
        self.root.apply(&[op]).unwrap().pop().unwrap()
    }

    fn n_kept(&self) -> usize {
        self.root.kept_list().unwrap().len()
    }

    /// Names in the root, without the engine's own.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.at("")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name != ".file-sync");
        names.sort();
        names
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let canary = fs::read_to_string(self.directory.path().join("outside/canary")).unwrap();
        assert_eq!(canary, "sings");
        assert_eq!(fs::read_dir(self.directory.path().join("outside")).unwrap().count(), 1);
    }
}

fn sync(path: &str) -> SyncPath {
    SyncPath::parse(path.as_bytes()).unwrap()
}

const UNTOUCHED: OpOutcome = OpOutcome::Differs { rescued: None };

#[test]
fn l2_an_edit_after_the_check_is_put_back() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let path = scene.at("f");
    scene.at_step("checked", move || fs::write(path, "edited").unwrap());
    let outcome = scene.apply(scene.place("f", "new", Some(expect)));
    assert_eq!(outcome, UNTOUCHED);
    assert_eq!(scene.read("f"), "edited");
    assert_eq!(scene.n_kept(), 0);
    assert!(scene.root.staged(ContentHash::of(b"new")), "what was not placed is staged again");
}

#[test]
fn l2_a_file_renamed_over_after_the_check_is_put_back() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let (from, path) = (scene.at("tmp"), scene.at("f"));
    scene.at_step("checked", move || {
        fs::write(&from, "saved by an editor").unwrap();
        fs::rename(from, path).unwrap();
    });
    assert_eq!(scene.apply(scene.place("f", "new", Some(expect))), UNTOUCHED);
    assert_eq!(scene.read("f"), "saved by an editor");
    assert_eq!(scene.names(), ["f"]);
}

#[test]
fn l2_a_name_taken_again_while_putting_back_costs_neither_edit() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let (path, temporary) = (scene.at("f"), scene.at("tmp"));
    let mut n_steps = 0;
    scene.root.hook.set(move |step| match step {
        "checked" => fs::write(&path, "first edit").unwrap(),
        "putting back" if n_steps == 0 => {
            n_steps += 1;
            fs::write(&temporary, "second edit").unwrap();
            fs::rename(&temporary, &path).unwrap();
        }
        _ => {}
    });
    let outcome = scene.apply(scene.place("f", "new", Some(expect)));
    let OpOutcome::Differs { rescued: Some(rescued) } = outcome else { panic!("{outcome:?}") };
    assert_eq!(scene.read("f"), "second edit");
    assert_eq!(scene.read(&rescued.to_string()), "first edit");
}

#[test]
fn l2_what_a_user_wrote_into_a_placed_file_that_is_taken_back_survives() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let path = scene.at("f");
    scene.root.hook.set(move |step| match step {
        "checked" => fs::write(&path, "edit").unwrap(),
        "putting back" => fs::write(&path, "edit of the new file").unwrap(),
        _ => {}
    });
    let outcome = scene.apply(scene.place("f", "new", Some(expect)));
    let OpOutcome::Differs { rescued: Some(rescued) } = outcome else { panic!("{outcome:?}") };
    assert_eq!(scene.read("f"), "edit");
    assert_eq!(scene.read(&rescued.to_string()), "edit of the new file");
}

#[test]
fn l2_a_file_deleted_after_the_check_stays_deleted() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let path = scene.at("f");
    scene.at_step("checked", move || fs::remove_file(path).unwrap());
    assert_eq!(scene.apply(scene.place("f", "new", Some(expect))), UNTOUCHED);
    assert!(scene.names().is_empty());
    assert_eq!(scene.n_kept(), 0);
}

#[test]
fn l2_a_directory_in_the_place_of_a_file_is_put_back() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let path = scene.at("f");
    scene.at_step("checked", move || {
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "precious").unwrap();
    });
    assert_eq!(scene.apply(scene.place("f", "new", Some(expect))), UNTOUCHED);
    assert_eq!(scene.read("f/inside"), "precious");
}

#[test]
fn l2_a_file_that_appears_at_a_free_name_is_not_overwritten() {
    let scene = Scene::new();
    let path = scene.at("f");
    scene.at_step("checked", move || fs::write(path, "quicker").unwrap());
    assert_eq!(scene.apply(scene.place("f", "new", None)), UNTOUCHED);
    assert_eq!(scene.read("f"), "quicker");
}

#[test]
fn l2_an_edit_of_a_file_being_removed_is_put_back() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let path = scene.at("f");
    scene.at_step("checked", move || fs::write(path, "edit").unwrap());
    assert_eq!(scene.apply(Op::Remove { path: sync("f"), expect }), UNTOUCHED);
    assert_eq!(scene.read("f"), "edit");
}

#[test]
fn l2_an_edit_of_a_file_being_removed_is_rescued_where_its_name_is_taken() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let path = scene.at("f");
    scene.root.hook.set(move |step| match step {
        "checked" => fs::write(&path, "edit").unwrap(),
        "swapped" => fs::write(&path, "created again").unwrap(),
        _ => {}
    });
    let outcome = scene.apply(Op::Remove { path: sync("f"), expect });
    let OpOutcome::Differs { rescued: Some(rescued) } = outcome else { panic!("{outcome:?}") };
    assert_eq!(scene.read("f"), "created again");
    assert_eq!(scene.read(&rescued.to_string()), "edit");
}

#[test]
fn l2_a_rescue_of_the_longest_name_finds_room() {
    let scene = Scene::new();
    let name = "n".repeat(255);
    let expect = scene.write(&name, "old");
    let path = scene.at(&name);
    scene.root.hook.set(move |step| match step {
        "checked" => fs::write(&path, "edit").unwrap(),
        "swapped" => fs::write(&path, "created again").unwrap(),
        _ => {}
    });
    let outcome = scene.apply(Op::Remove { path: sync(&name), expect });
    let OpOutcome::Differs { rescued: Some(rescued) } = outcome else { panic!("{outcome:?}") };
    assert_eq!(scene.read(&rescued.to_string()), "edit");
}

#[test]
fn l2_an_edit_of_a_file_being_moved_is_moved_back() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let path = scene.at("f");
    scene.at_step("checked", move || fs::write(path, "edit").unwrap());
    let op = Op::Move { from: sync("f"), expect, to: sync("g"), metadata: Some((0o600, MTIME)) };
    assert_eq!(scene.apply(op), UNTOUCHED);
    assert_eq!((scene.names(), scene.read("f")), (vec!["f".to_owned()], "edit".to_owned()));
}

#[test]
fn l2_what_a_user_puts_where_a_file_is_being_moved_stays_there() {
    for step in ["moved", "given"] {
        let scene = Scene::new();
        let expect = scene.write("f", "old");
        let before = expect.stat;
        let path = scene.at("g");
        scene.at_step(step, move || fs::write(path, "a user's").unwrap());
        let op = Op::Move { from: sync("f"), expect, to: sync("g"), metadata: Some((0o600, MTIME)) };
        assert_eq!(scene.apply(op), UNTOUCHED);
        assert_eq!((scene.read("f"), scene.read("g")), ("old".to_owned(), "a user's".to_owned()));
        let stat = scene.root.look(&sync("f")).unwrap().unwrap().stat;
        assert_eq!((stat.mode, stat.mtime), (before.mode, before.mtime), "not those of its new name");
        assert!(scene.root.kept_list().unwrap().is_empty());
    }
}

#[test]
fn l2_a_file_that_was_made_anew_while_it_was_moved_leaves_the_old_one_a_name() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let (old, new) = (scene.at("f"), scene.at("g"));
    scene.at_step("moved", move || {
        fs::write(old, "made again").unwrap();
        fs::write(new, "a user's").unwrap();
    });
    let outcome = scene.apply(Op::Move { from: sync("f"), expect, to: sync("g"), metadata: None });
    let OpOutcome::Differs { rescued: Some(rescued) } = outcome else { panic!("{outcome:?}") };
    let read = [scene.read("f"), scene.read("g"), scene.read(&rescued.to_string())];
    assert_eq!(read, ["made again", "a user's", "old"]);
}

#[test]
fn c1_a_directory_that_a_stop_left_in_the_store_gets_a_name_again() {
    let scene = Scene::new();
    let kept = scene.at(".file-sync/kept/1-2-abc");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("x"), "a user's").unwrap();
    let to = sync("back");
    assert_eq!(scene.root.bring_back_directory("1-2-abc", &to), Ok(()));
    assert_eq!(scene.read("back/x"), "a user's");
    assert!(scene.root.bring_back_directory("1-2-abc", &to).is_err(), "it is not there any more");
    assert!(scene.root.bring_back_directory("../marker", &to).is_err(), "no name of the store's");
}

#[test]
fn l2_a_write_while_a_time_is_set_is_not_hidden_by_it() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let path = scene.at("f");
    scene.at_step("known", move || fs::write(path, "new").unwrap());
    let op = Op::SetMetadata { path: sync("f"), expect, mode: 0o600, mtime: Some(MTIME) };
    assert_eq!(scene.apply(op), UNTOUCHED);
    assert_eq!(scene.read("f"), "new");
    assert_ne!(fs::metadata(scene.at("f")).unwrap().mtime(), MTIME.seconds);
}

#[test]
fn l2_a_write_while_a_mode_is_set_is_a_difference() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let path = scene.at("f");
    scene.at_step("known", move || fs::write(path, "new").unwrap());
    let op = Op::SetMetadata { path: sync("f"), expect, mode: 0o600, mtime: None };
    assert_eq!(scene.apply(op), UNTOUCHED);
}

#[test]
fn s3_a_write_after_placing_differs_from_the_stat_reported() {
    let scene = Scene::new();
    let path = scene.at("f");
    scene.at_step("carried out", move || fs::write(path, "edi").unwrap());
    let outcome = scene.apply(scene.place("f", "new", None));
    let OpOutcome::Done { stat: Some(stat), .. } = outcome else { panic!("{outcome:?}") };
    let record = Record { content: Content::File(ContentHash::of(b"new")), stat };
    let seen = scene.root.look(&sync("f")).unwrap().unwrap();
    assert!(!record.matches(&seen), "the edit shows");
}

#[test]
fn w4_a_placed_file_whose_time_is_the_present_tick_is_read_again() {
    let scene = Scene::new();
    scene.root.granularity.set(Duration::from_millis(20)).unwrap();
    let path = scene.at("f");
    let mtime = crate::clock::now();
    let content = ContentHash::of(b"new");
    scene.root.stage_small(&[(content, b"new")]).pop().unwrap().unwrap();
    let source = Source::Staged { consume: true };
    let op = Op::Place { path: sync("f"), content, source, mode: 0o600, mtime, expect: None };
    scene.at_step("carried out", move || fs::write(path, "edi").unwrap());
    let outcome = scene.apply(op);
    let OpOutcome::Done { stat: Some(stat), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(stat.ctime, Time::default(), "a stat that nothing matches");
}

#[test]
fn w4_a_file_written_while_it_is_hashed_is_changing() {
    let scene = Scene::new();
    scene.write("f", "old");
    let path = scene.at("f");
    scene.at_step("read", move || fs::write(path, "new").unwrap());
    let outcomes = scene.root.hash(&[HashItem { path: sync("f") }], &AtomicBool::new(false));
    assert_eq!(outcomes, [HashOutcome::Changing]);
}

#[test]
fn c3_what_is_written_while_it_is_synced_is_changing() {
    let scene = Scene::new();
    scene.root.granularity.set(Duration::from_millis(20)).unwrap();
    fs::write(scene.at("f"), "old").unwrap();
    let path = scene.at("f");
    scene.at_step("synced alone", move || fs::write(path, "new").unwrap());
    let items = [HashItem { path: sync("f") }];
    let outcomes = scene.root.hash(&items, &AtomicBool::new(false));
    assert_eq!(outcomes, [HashOutcome::Changing]);
    let outcomes = scene.root.hash(&items, &AtomicBool::new(false));
    assert!(matches!(outcomes[..], [HashOutcome::Hashed { .. }]), "{outcomes:?}");
}

#[test]
fn c3_what_is_written_while_many_files_are_synced_is_synced_alone() {
    let scene = Scene::new();
    scene.root.granularity.set(Duration::from_millis(20)).unwrap();
    let names: Vec<String> = (0..=N_SINGLE_SYNCS_MAX).map(|number| format!("f{number}")).collect();
    names.iter().for_each(|name| fs::write(scene.at(name), "old").unwrap());
    fs::write(scene.directory.path().join("draft"), "new").unwrap();
    let [written, renamed_over] = ["f3", "f5"].map(|name| scene.at(name));
    let draft = scene.directory.path().join("draft");
    let n_alone = Arc::new(AtomicUsize::new(0));
    let counter = n_alone.clone();
    scene.root.hook.set(move |step| match step {
        "synced together" => {
            fs::write(&written, "new").unwrap();
            fs::rename(&draft, &renamed_over).unwrap();
        }
        "synced alone" => drop(counter.fetch_add(1, Ordering::Relaxed)),
        _ => {}
    });
    let items: Vec<HashItem> = names.iter().map(|name| HashItem { path: sync(name) }).collect();
    let outcomes = scene.root.hash(&items, &AtomicBool::new(false));
    let of = |bytes: &[u8]| {
        let content = ContentHash::of(bytes);
        let is_it = |outcome: &&HashOutcome| matches!(outcome, HashOutcome::Hashed { content: found, .. } if *found == content);
        outcomes.iter().filter(is_it).count()
    };
    assert_eq!((of(b"new"), of(b"old")), (2, names.len() - 2), "{outcomes:?}");
    assert_eq!(n_alone.load(Ordering::Relaxed), 2);
}

#[test]
fn h1_a_parent_swapped_for_a_symlink_leads_nowhere() {
    let scene = Scene::new();
    fs::create_dir(scene.at("d")).unwrap();
    let expect = scene.write("d/canary", "sings");
    fs::rename(scene.at("d"), scene.at("away")).unwrap();
    symlink(scene.directory.path().join("outside"), scene.at("d")).unwrap();
    let directory = Record { content: Content::Directory, stat: expect.stat };
    let (from, to) = (sync("d/canary"), sync("taken"));
    let ops = [
        scene.place("d/new", "new", None),
        scene.place("d/canary", "newer", Some(expect)),
        Op::MakeDirectory { path: sync("d/e"), mode: 0o755, mtime: None },
        Op::Move { from: from.clone(), expect, to, metadata: None },
        Op::SetMetadata { path: from.clone(), expect, mode: 0o777, mtime: None },
        Op::Remove { path: from.clone(), expect },
        Op::RemoveDirectory { path: sync("d"), expect: directory },
    ];
    for outcome in scene.root.apply(&ops).unwrap() {
        assert!(!matches!(outcome, OpOutcome::Done { .. }), "{outcome:?}");
    }
    assert_eq!(scene.root.look(&from), Ok(None), "nothing of the tree is behind a symlink");
    let hashed = scene.root.hash(&[HashItem { path: from.clone() }], &AtomicBool::new(false));
    assert_eq!(hashed, [HashOutcome::Differs]);
    assert!(scene.root.open_content(&from, &expect).is_err());
}

#[test]
fn h1_a_parent_swapped_for_a_symlink_in_the_middle_of_an_op_leads_nowhere() {
    let scene = Scene::new();
    fs::create_dir(scene.at("d")).unwrap();
    let expect = scene.write("d/canary", "old");
    let (outside, d, away) = (scene.directory.path().join("outside"), scene.at("d"), scene.at("away"));
    scene.at_step("checked", move || {
        fs::rename(&d, away).unwrap();
        symlink(outside, d).unwrap();
    });
    let _ = scene.apply(scene.place("d/canary", "new", Some(expect)));
    assert_eq!(scene.read("away/canary"), "new", "it went where the directory went");
}

#[test]
fn c7_a_read_only_directory_is_lent_write_permission_and_gets_its_mode_back() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run as root: the plain case is what is tested");
    }
    let scene = Scene::new();
    fs::create_dir(scene.at("d")).unwrap();
    let expect = scene.write("d/f", "old");
    fs::set_permissions(scene.at("d"), fs::Permissions::from_mode(0o555)).unwrap();
    let outcome = scene.apply(scene.place("d/f", "new", Some(expect)));
    assert!(matches!(outcome, OpOutcome::Done { .. }), "{outcome:?}");
    assert_eq!(scene.read("d/f"), "new");
    assert_eq!(fs::metadata(scene.at("d")).unwrap().mode() & 0o777, 0o555);
}

/// A restore stages beside the engine what the engine is about to place.
#[test]
fn v1_what_is_being_placed_is_not_what_is_staged_once_more_meanwhile() {
    let scene = Scene::new();
    let content = ContentHash::of(b"bytes");
    let stage = || scene.root.stage_small(&[(content, b"bytes")]).pop().unwrap().unwrap();
    let source = Source::Staged { consume: true };
    let op = Op::Place { path: sync("f"), content, source, mode: 0o640, mtime: MTIME, expect: None };
    for is_placed in [true, false] {
        stage();
        let prepared = scene.root.prepare(&op, false).ok().flatten().unwrap();
        assert!(!scene.root.staged(content), "nobody else places it");
        let claimed = scene.at(&format!(".file-sync/stage/{}", prepared.name));
        let inode = fs::metadata(&claimed).unwrap().ino();
        stage();
        assert!(scene.root.staged(content));
        let metadata = fs::metadata(&claimed).unwrap();
        assert_eq!((metadata.ino(), metadata.mode() & 0o777), (inode, 0o640), "it is another file");
        if is_placed {
            fs::rename(&claimed, scene.at("f")).unwrap();
            assert_eq!(scene.read("f"), "bytes");
        } else {
            scene.root.unprepare(&prepared);
            assert!(!claimed.exists() && scene.root.staged(content), "one of them is left");
        }
        scene.root.discard_stage(content).unwrap();
    }
}

#[test]
fn c1_what_a_stop_kept_from_being_placed_is_staged_again() {
    let scene = Scene::new();
    let contents = [&b"one"[..], b"two"].map(ContentHash::of);
    let left = |content: ContentHash| scene.at(&format!(".file-sync/stage/{content}.1-2.claimed"));
    fs::write(left(contents[0]), "one").unwrap();
    fs::write(left(contents[1]), "tw").unwrap();
    scene.root.clean_stage(&contents.into_iter().collect()).unwrap();
    assert_eq!(contents.map(|content| scene.root.staged(content)), [true, false]);
    assert_eq!(contents.map(|content| left(content).exists()), [false, false]);
    scene.root.clean_stage(&Default::default()).unwrap();
    assert_eq!(fs::read_dir(scene.at(".file-sync/stage")).unwrap().count(), 0);
}
