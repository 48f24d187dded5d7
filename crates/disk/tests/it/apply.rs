//! Every op: done, and refused.
//!
//! Promise checked here, beside others: M1.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use file_sync_core::effect::{Op, OpOutcome, Source, TroubleKind};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Record};
use file_sync_core::version::{Content, ContentHash, Time};

use crate::support::{MTIME, Scene, sync};

const UNTOUCHED: OpOutcome = OpOutcome::Differs { rescued: None };

#[test]
fn s1_a_file_is_placed_with_its_mode_and_time() {
    let scene = Scene::new();
    for (seconds, nanoseconds) in
        [(1_000_000_000, 123_456_789), (-5, 999_999_999), (0, 0), (4_000_000_000, 1)]
    {
        let mtime = Time { seconds, nanoseconds };
        let content = scene.stage(b"bytes");
        let name = format!("f{seconds}");
        let source = Source::Staged { consume: true };
        let op = Op::Place { path: sync(&name), content, source, mode: 0o4751, mtime, expect: None };
        let (stat, kept) = scene.done(op);
        let stat = stat.unwrap();
        assert_eq!((stat.mtime, stat.mode, kept), (mtime, 0o751, None));
        assert_eq!(scene.read(&name), "bytes");
        assert_eq!(scene.record(&name).content, Content::File(content));
        assert!(!scene.root.staged(content));
    }
}

#[test]
fn l3_what_is_displaced_is_kept() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let (_, kept) = scene.done(scene.place("f", "new", Some(expect)));
    let kept = kept.unwrap();
    assert_eq!((&kept.path, kept.content), (&sync("f"), expect.content));
    assert_eq!(scene.root.kept_hash(&kept.name).unwrap(), ContentHash::of(b"old"));
    assert_eq!(scene.root.kept_stat(&kept.name).unwrap().unwrap().stat, kept.stat);
    assert_eq!(scene.root.kept_list().unwrap().len(), 1);
    let restored = scene.root.restore_kept(&kept.name, &sync("back"));
    assert!(matches!(restored, OpOutcome::Done { .. }), "{restored:?}");
    assert_eq!(scene.read("back"), "old");
    assert_eq!(scene.record("back").stat.mtime, expect.stat.mtime);
    assert_eq!(scene.root.restore_kept(&kept.name, &sync("f")), UNTOUCHED);
    scene.root.kept_remove(&kept.name).unwrap();
    scene.root.kept_remove(&kept.name).unwrap();
    assert_eq!(scene.root.kept_stat(&kept.name), Ok(None));
    for hostile in ["../marker", "", ".", "a/b"] {
        assert!(scene.root.kept_stat(hostile).is_err());
        assert!(scene.root.kept_hash(hostile).is_err());
        scene.root.kept_remove(hostile).unwrap();
    }
    scene.root.prove().unwrap();
}

#[test]
fn l2_anything_but_what_is_expected_is_untouched() {
    let scene = Scene::new();
    let expect = scene.write("f", "old");
    let other = Record { content: expect.content, stat: scene.write("g", "old").stat };
    fs::create_dir(scene.at("d")).unwrap();
    for (path, expect) in [("f", None), ("f", Some(other)), ("d", Some(expect)), ("no", Some(other))] {
        assert_eq!(scene.apply(scene.place(path, "new", expect)), UNTOUCHED, "{path}");
        if let Some(expect) = expect {
            assert_eq!(scene.apply(Op::Remove { path: sync(path), expect }), UNTOUCHED);
            let op = Op::SetMetadata { path: sync(path), expect, mode: 0o700, mtime: None };
            assert_eq!(scene.apply(op), UNTOUCHED);
            let op = Op::Move { from: sync(path), expect, to: sync("free"), metadata: None };
            assert_eq!(scene.apply(op), UNTOUCHED);
        }
    }
    assert_eq!(scene.read("f"), "old");
    assert!(scene.root.kept_list().unwrap().is_empty());
}

#[test]
fn v3_bytes_that_are_not_those_announced_are_not_placed() {
    let scene = Scene::new();
    scene.write("local", "changed since");
    let content = ContentHash::of(b"announced");
    for source in [
        Source::Local { path: sync("local") },
        Source::Local { path: sync("missing") },
        Source::Staged { consume: true },
        Source::Staged { consume: false },
        Source::Kept { name: "missing".to_owned() },
        Source::Kept { name: "../marker".to_owned() },
    ] {
        let op = Op::Place { path: sync("f"), content, source, mode: 0o600, mtime: MTIME, expect: None };
        assert_eq!(scene.apply(op), OpOutcome::NoSource);
    }
    assert_eq!(scene.root.look(&sync("f")), Ok(None));
    assert_eq!(fs::read_dir(scene.at(".file-sync/stage")).unwrap().count(), 0);
}

#[test]
fn m1_bytes_are_copied_from_where_they_are() {
    let scene = Scene::new();
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    scene.write("local", &bytes);
    let content = scene.stage(&bytes);
    let sources = [Source::Local { path: sync("local") }, Source::Staged { consume: false }];
    for (source, name) in sources.into_iter().zip(["one", "two"]) {
        scene.done(Op::Place { path: sync(name), content, source, mode: 0o400, mtime: MTIME, expect: None });
        assert_eq!(fs::read(scene.at(name)).unwrap(), bytes);
    }
    assert!(scene.root.staged(content));
}

#[test]
fn l7_a_sparse_file_stays_sparse_when_it_is_copied() {
    let scene = Scene::new();
    let file = fs::File::create(scene.at("sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"island", 32 << 20).unwrap();
    let Content::File(content) = scene.record("sparse").content else { panic!() };
    let source = Source::Local { path: sync("sparse") };
    scene.done(Op::Place { path: sync("copy"), content, source, mode: 0o600, mtime: MTIME, expect: None });
    let copy = fs::metadata(scene.at("copy")).unwrap();
    assert_eq!(copy.len(), 64 << 20);
    assert!(copy.blocks() * 512 < 1 << 20, "{} blocks", copy.blocks());
}

#[test]
fn symlinks_are_placed_moved_and_removed_as_what_they_are() {
    let scene = Scene::new();
    let path = sync("link");
    let target: Box<[u8]> = b"/etc/\xff passwd\n"[..].into();
    scene.done(Op::PlaceSymlink { path: path.clone(), target: target.clone(), copy: None, expect: None });
    assert_eq!(scene.root.look(&path).unwrap().unwrap().kind, Kind::Symlink(target));
    let expect = scene.record("link");
    let moving = Op::Move { from: path.clone(), expect, to: sync("moved"), metadata: None };
    scene.done(moving);
    let (_, kept) = scene.done(scene.place("moved", "a file now", Some(expect)));
    let kept = kept.unwrap();
    assert_eq!(kept.content, expect.content);
    assert_eq!(scene.root.kept_hash(&kept.name).unwrap(), expect.content.hash());
    assert!(matches!(scene.root.restore_kept(&kept.name, &path), OpOutcome::Done { .. }));
    scene.done(Op::Remove { path, expect });
    for bad in [&b""[..], b"a\0b", &[b'x'; 5000]] {
        let op = Op::PlaceSymlink { path: sync("bad"), target: bad.into(), copy: None, expect: None };
        let OpOutcome::Trouble(trouble) = scene.apply(op) else { panic!() };
        assert_eq!(trouble.kind, TroubleKind::Unsupported);
    }
}

#[test]
fn a_moved_file_keeps_its_inode_and_gets_its_metadata() {
    let scene = Scene::new();
    let expect = scene.write("f", "bytes");
    fs::create_dir(scene.at("d")).unwrap();
    let metadata = Some((0o600, MTIME));
    let (stat, _) = scene.done(Op::Move { from: sync("f"), expect, to: sync("d/g"), metadata });
    let stat = stat.unwrap();
    assert_eq!((stat.inode, stat.mtime, stat.mode), (expect.stat.inode, MTIME, 0o600));
    let taken = scene.write("taken", "bytes");
    let op = Op::Move { from: sync("taken"), expect: taken, to: sync("d/g"), metadata: None };
    assert_eq!(scene.apply(op), UNTOUCHED);
    let op = Op::Move { from: sync("taken"), expect: taken, to: sync("no/g"), metadata: None };
    let OpOutcome::Trouble(trouble) = scene.apply(op) else { panic!() };
    assert_eq!(trouble.kind, TroubleKind::Other);
    assert_eq!(scene.read("taken"), "bytes");
}

#[test]
fn hard_links_are_files_of_their_own_when_one_is_replaced() {
    let scene = Scene::new();
    scene.write("one", "shared");
    fs::hard_link(scene.at("one"), scene.at("two")).unwrap();
    let expect = scene.record("one");
    scene.done(scene.place("one", "replaced", Some(expect)));
    assert_eq!((scene.read("one"), scene.read("two")), ("replaced".to_owned(), "shared".to_owned()));
}

#[test]
fn m1_a_directory_is_moved_whole_if_it_is_exactly_as_expected() {
    let scene = Scene::new();
    fs::create_dir_all(scene.at("d/e")).unwrap();
    scene.write("d/e/f", "bytes");
    symlink("x", scene.at("d/link")).unwrap();
    let paths = ["d", "d/e", "d/e/f", "d/link"];
    let expect: Vec<(SyncPath, Record)> = paths.iter().map(|path| (sync(path), scene.record(path))).collect();
    let moving = |expect| Op::MoveDirectory { from: sync("d"), to: sync("g"), mode: 0o750, expect };
    fs::write(scene.at("d/e/extra"), "").unwrap();
    assert_eq!(scene.apply(moving(expect.clone())), UNTOUCHED);
    fs::remove_file(scene.at("d/e/extra")).unwrap();
    assert_eq!(scene.apply(moving(expect[..3].to_vec())), UNTOUCHED);
    let more = [expect.clone(), vec![(sync("d/missing"), expect[2].1)]].concat();
    assert_eq!(scene.apply(moving(more)), UNTOUCHED);
    fs::create_dir(scene.at("g")).unwrap();
    assert_eq!(scene.apply(moving(expect.clone())), UNTOUCHED);
    fs::remove_dir(scene.at("g")).unwrap();
    scene.done(moving(expect));
    assert_eq!(scene.read("g/e/f"), "bytes");
    assert_eq!(fs::metadata(scene.at("g")).unwrap().mode() & 0o777, 0o750);
    assert_eq!(scene.root.look(&sync("d")), Ok(None));
}

#[test]
fn s3_a_directory_keeps_the_time_that_it_was_made_with_until_something_is_put_into_it() {
    let scene = Scene::new();
    for mode in [0o755, 0o555, 0o000] {
        let (stat, _) = scene.done(Op::MakeDirectory { path: sync("d"), mode, mtime: Some(MTIME) });
        let seen = scene.root.look(&sync("d")).unwrap().expect("it is there");
        assert_eq!((stat.unwrap().mtime, seen.stat.mtime), (MTIME, MTIME), "with mode {mode:o}");
        scene.done(Op::RemoveDirectory { path: sync("d"), expect: scene.record("d") });
    }
    scene.done(Op::MakeDirectory { path: sync("d"), mode: 0o755, mtime: Some(MTIME) });
    scene.write("d/f", "");
    assert_ne!(scene.root.look(&sync("d")).unwrap().expect("it is there").stat.mtime, MTIME);
}

#[test]
fn directories_are_made_with_their_mode_and_removed_only_empty() {
    let scene = Scene::new();
    for mode in [0o755, 0o555, 0o000, 0o777] {
        let (stat, _) = scene.done(Op::MakeDirectory { path: sync("d"), mode, mtime: None });
        assert_eq!(stat.unwrap().mode, mode);
        assert_eq!(scene.apply(Op::MakeDirectory { path: sync("d"), mode, mtime: None }), UNTOUCHED);
        let expect = scene.record("d");
        scene.done(Op::RemoveDirectory { path: sync("d"), expect });
    }
    fs::create_dir(scene.at("d")).unwrap();
    scene.write("d/f", "");
    let op = Op::RemoveDirectory { path: sync("d"), expect: scene.record("d") };
    let OpOutcome::Trouble(trouble) = scene.apply(op) else { panic!() };
    assert_eq!(trouble.kind, TroubleKind::NotEmpty);
    let OpOutcome::Trouble(trouble) = scene.apply(scene.place("no/f", "", None)) else { panic!() };
    assert_eq!(trouble.kind, TroubleKind::Other);
}

#[test]
fn metadata_is_set_and_bits_that_are_not_synced_stay() {
    let scene = Scene::new();
    fs::create_dir(scene.at("d")).unwrap();
    fs::set_permissions(scene.at("d"), fs::Permissions::from_mode(0o2755)).unwrap();
    let op = Op::SetMetadata { path: sync("d"), expect: scene.record("d"), mode: 0o700, mtime: None };
    scene.done(op);
    assert_eq!(fs::metadata(scene.at("d")).unwrap().mode() & 0o7777, 0o2700);
    let expect = scene.write("f", "bytes");
    let before = Time { seconds: -1, nanoseconds: 1 };
    let op = Op::SetMetadata { path: sync("f"), expect, mode: 0o000, mtime: Some(before) };
    let (stat, _) = scene.done(op);
    assert_eq!(stat.map(|stat| (stat.mode, stat.mtime)), Some((0, before)));
}

#[test]
fn names_are_bytes() {
    let scene = Scene::new();
    for name in [&b"\xff\xfe"[..], b"new\nline", &[b'n'; 255], b" ", b"-rf", "\u{1f980}".as_bytes()] {
        let content = scene.stage(b"x");
        let (path, source) = (SyncPath::parse(name).unwrap(), Source::Staged { consume: true });
        scene.done(Op::Place {
            path: path.clone(),
            content,
            source,
            mode: 0o600,
            mtime: MTIME,
            expect: None,
        });
        let listed = scene.walk(None).remove(0).result.unwrap();
        assert!(listed.iter().any(|(listed, _)| *listed == path), "{path}");
    }
}

#[test]
fn a_batch_of_many_is_done_in_order() {
    let scene = Scene::new();
    let mut ops = vec![Op::MakeDirectory { path: sync("d"), mode: 0o755, mtime: None }];
    ops.extend((0..100).map(|n| scene.place(&format!("d/{n}"), &format!("bytes {n}"), None)));
    ops.push(scene.place("missing/f", "nowhere", None));
    let outcomes = scene.root.apply(&ops).unwrap();
    assert!(outcomes[..101].iter().all(|outcome| matches!(outcome, OpOutcome::Done { .. })));
    assert!(matches!(outcomes[101], OpOutcome::Trouble(_)));
    assert_eq!(scene.read("d/42"), "bytes 42");
}
