//! Looks and walks.

use std::fs;
use std::os::unix::fs::symlink;

use file_sync_core::path::SyncPath;
use file_sync_core::record::Kind;
use file_sync_disk::Flow;
use rustix::fs::{CWD, Mode, OFlags};

use crate::support::{Scene, sync};

#[test]
fn a_walk_lists_all_kinds_in_path_order() {
    let scene = Scene::new();
    for directory in ["a", "a/b", "a-b", "z/.file-sync"] {
        fs::create_dir_all(scene.at(directory)).unwrap();
    }
    for file in ["a.b", "a/f", "a/b/g", "z/.file-sync/own", ".syncignore"] {
        fs::write(scene.at(file), "*.o\n").unwrap();
    }
    symlink("nowhere", scene.at("link")).unwrap();
    rustix::fs::mkfifoat(CWD, scene.at("fifo"), Mode::RUSR).unwrap();
    let listings = scene.walk(None);
    let directories: Vec<String> = listings.iter().map(|listing| listing.directory.to_string()).collect();
    assert_eq!(directories, [".", "a", "a/b", "a-b", "z"]);
    let mut all = Vec::new();
    for listing in listings {
        let items = listing.result.unwrap();
        assert!(items.is_sorted_by(|one, two| one.0 < two.0));
        assert!(listing.troubled.is_empty() && listing.other.is_empty());
        all.extend(items);
    }
    let kind =
        |path: &str| all.iter().find(|(listed, _)| *listed == sync(path)).map(|(_, seen)| seen.clone());
    assert_eq!(kind("link").unwrap().kind, Kind::Symlink(b"nowhere"[..].into()));
    assert_eq!(kind("fifo").unwrap().kind, Kind::Unsupported);
    assert_eq!(kind("a/b/g").unwrap().rules, None);
    assert_eq!(kind(".syncignore").unwrap().rules, Some(b"*.o\n".to_vec()));
    assert_eq!(all.len(), 10, "{all:?}");
    for (path, seen) in &all {
        assert_eq!(scene.root.look(path).as_ref(), Ok(&Some(seen.clone())));
    }
}

#[test]
fn a_walk_skips_and_stops_as_it_is_told() {
    let scene = Scene::new();
    fs::create_dir_all(scene.at("a/b")).unwrap();
    fs::create_dir_all(scene.at("c/d")).unwrap();
    let mut visited = Vec::new();
    scene.root.walk(&SyncPath::root(), None, &|path| *path == sync("a"), &mut |listing| {
        visited.push(listing.directory.to_string());
        if listing.directory == sync("c") { Flow::Stop } else { Flow::Continue }
    });
    assert_eq!(visited, [".", "c"]);
}

#[test]
fn l6_a_directory_that_vanishes_during_a_walk_is_unknown_not_empty() {
    let scene = Scene::new();
    fs::create_dir_all(scene.at("a/b")).unwrap();
    let mut listings = Vec::new();
    scene.root.walk(&SyncPath::root(), None, &|_| false, &mut |listing| {
        if listing.directory.is_root() {
            fs::remove_dir_all(scene.at("a")).unwrap();
        }
        listings.push(listing);
        Flow::Continue
    });
    assert_eq!(listings.len(), 2);
    assert!(listings[1].result.is_err());
}

#[test]
fn deep_trees_and_long_paths_are_walked_and_looked_at() {
    let scene = Scene::new();
    let name = "d".repeat(10);
    let mut current = rustix::fs::open(scene.directory.path(), OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..1_000 {
        rustix::fs::mkdirat(&current, name.as_str(), Mode::RWXU).unwrap();
        current = rustix::fs::openat(&current, name.as_str(), OFlags::PATH, Mode::empty()).unwrap();
    }
    let path = SyncPath::parse(vec![name; 1_000].join("/").as_bytes()).unwrap();
    assert!(path.as_bytes().len() > 4_096);
    assert_eq!(scene.root.look(&path).unwrap().unwrap().kind, Kind::Directory);
    let listings = scene.walk(None);
    assert_eq!(listings.len(), 1_001);
    assert!(listings.iter().all(|listing| listing.result.is_ok()));
    let file = path.join(b"f").unwrap();
    let op = file_sync_core::effect::Op::MakeDirectory { path: file, mode: 0o700, mtime: None };
    scene.done(op);
}

#[test]
fn wide_directories_at_every_depth_are_walked_whole() {
    let scene = Scene::new();
    let mut path = String::new();
    for _ in 0..100 {
        path += "m/";
        fs::create_dir_all(scene.at(format!("{path}z/y"))).unwrap();
    }
    assert_eq!(scene.walk(None).len(), 1 + 3 * 100);
}

#[test]
fn l6_absent_is_said_only_where_nothing_is() {
    let scene = Scene::new();
    fs::write(scene.at("f"), "").unwrap();
    symlink(".", scene.at("here")).unwrap();
    for path in ["no", "no/f", "f/f", "here/f"] {
        assert_eq!(scene.root.look(&sync(path)), Ok(None), "{path}");
    }
    assert!(scene.root.look(&SyncPath::root()).unwrap().is_some());
}
