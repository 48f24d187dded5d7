//! Hints.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use file_sync_core::path::SyncPath;
use file_sync_core::record::Kind;
use file_sync_disk::{Flow, Hint, Root, Watcher};

use crate::support::{Scene, sync};

const LONG: Duration = Duration::from_secs(10);

/// Gathers hints until the wanted one has come.
fn wait_for(watcher: &Watcher, wanted: &Hint) -> Vec<Hint> {
    let (start, mut hints) = (Instant::now(), Vec::new());
    while !hints.contains(wanted) {
        assert!(start.elapsed() < LONG, "{wanted:?} not in {hints:?}");
        hints.extend(watcher.next(LONG));
    }
    hints
}

#[test]
fn what_users_do_gives_hints() {
    let scene = Scene::new();
    fs::create_dir(scene.at("d")).unwrap();
    let watcher = Watcher::new().unwrap();
    scene.walk(Some(&watcher));
    assert_eq!((watcher.n_watched(), watcher.n_missed()), (2, 0));
    fs::write(scene.at(".file-sync/own"), "").unwrap();
    fs::write(scene.at("d/f"), "x").unwrap();
    let hints = wait_for(&watcher, &Hint::Changed(sync("d/f")));
    assert_eq!(hints, [Hint::Changed(sync("d/f"))], "none for the engine's own");
    fs::remove_file(scene.at("d/f")).unwrap();
    wait_for(&watcher, &Hint::Changed(sync("d/f")));
    fs::create_dir(scene.at("e")).unwrap();
    wait_for(&watcher, &Hint::Tree(sync("e")));
    fs::set_permissions(scene.at("d"), fs::Permissions::from_mode(0o711)).unwrap();
    let attributes = Hint::Attributes(sync("d"));
    assert_eq!(wait_for(&watcher, &attributes), [attributes], "once, though its parent is watched, too");
}

#[test]
fn a_moved_directory_is_known_by_its_new_path() {
    let scene = Scene::new();
    fs::create_dir_all(scene.at("d/e")).unwrap();
    let watcher = Watcher::new().unwrap();
    scene.walk(Some(&watcher));
    fs::rename(scene.at("d"), scene.at("g")).unwrap();
    let hints = wait_for(&watcher, &Hint::Tree(sync("g")));
    assert!(hints.contains(&Hint::Changed(sync("d"))));
    scene.root.walk(&sync("g"), Some(&watcher), &|_| false, &mut |_| Flow::Continue);
    fs::write(scene.at("g/e/f"), "").unwrap();
    wait_for(&watcher, &Hint::Changed(sync("g/e/f")));
    assert_eq!(watcher.n_watched(), 3);
}

#[test]
fn s5_no_file_in_directories_made_while_they_are_walked_is_missed() {
    let scene = Scene::new();
    let watcher = Watcher::new().unwrap();
    let mut known = BTreeSet::new();
    gather(&scene.root, &watcher, &SyncPath::root(), &mut known);
    let base: PathBuf = scene.directory.path().to_owned();
    let writer = std::thread::spawn(move || {
        for n in 0..200 {
            let directory = base.join(format!("a{}/b{}/c{n}", n % 3, n % 7));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("f"), "x").unwrap();
        }
        fs::write(base.join("last"), "").unwrap();
    });
    let start = Instant::now();
    let mut is_last = false;
    while !is_last || !writer.is_finished() {
        assert!(start.elapsed() < LONG);
        for hint in watcher.next(LONG) {
            is_last |= hint == Hint::Changed(sync("last"));
            follow(&scene.root, &watcher, hint, &mut known);
        }
    }
    writer.join().unwrap();
    loop {
        let hints = watcher.next(Duration::from_millis(20));
        if hints.is_empty() {
            break;
        }
        hints.into_iter().for_each(|hint| follow(&scene.root, &watcher, hint, &mut known));
    }
    let files = known.iter().filter(|path| path.name() == b"f").count();
    assert_eq!(files, 200);
}

fn follow(root: &Root, watcher: &Watcher, hint: Hint, known: &mut BTreeSet<SyncPath>) {
    match hint {
        Hint::Changed(path) => drop(known.insert(path)),
        Hint::Tree(path) => gather(root, watcher, &path, known),
        hint => panic!("{hint:?}"),
    }
}

fn gather(root: &Root, watcher: &Watcher, from: &SyncPath, known: &mut BTreeSet<SyncPath>) {
    root.walk(from, Some(watcher), &|_| false, &mut |listing| {
        let items = listing.result.unwrap_or_default();
        known.extend(items.into_iter().filter(|(_, seen)| seen.kind == Kind::File).map(|(path, _)| path));
        Flow::Continue
    });
}

#[test]
fn a_root_that_goes_says_so() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("root");
    fs::create_dir(&path).unwrap();
    let (root, _) = Root::offer(&path, crate::support::ID).unwrap();
    let watcher = Watcher::new().unwrap();
    root.walk(&SyncPath::root(), Some(&watcher), &|_| false, &mut |_| Flow::Continue);
    fs::rename(&path, outer.path().join("away")).unwrap();
    wait_for(&watcher, &Hint::RootGone);
}

#[test]
fn closing_ends_the_wait() {
    let watcher = Watcher::new().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| watcher.next(Duration::from_secs(3_600)));
        watcher.close();
        assert!(waiting.join().unwrap().is_empty());
    });
    assert!(watcher.is_closed());
    assert!(watcher.next(Duration::from_secs(3_600)).is_empty());
}

#[test]
fn c7_what_cannot_be_watched_is_counted() {
    let watcher = Watcher::new().unwrap();
    let file = tempfile::tempfile().unwrap();
    watcher.watch(file.as_fd(), &sync("f")).unwrap_err();
    assert_eq!((watcher.n_watched(), watcher.n_missed()), (0, 1));
    watcher.watch(file.as_fd(), &sync("f")).unwrap_err();
    assert_eq!(watcher.n_missed(), 1, "once, however often it is tried");
    // What has gone, or can be watched after all, is missed no longer.
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("d/below")).unwrap();
    fs::create_dir(root.path().join("other")).unwrap();
    let open = |path: &str| fs::File::open(root.path().join(path)).unwrap();
    for path in ["d", "d/below", "other"] {
        watcher.watch(file.as_fd(), &sync(path)).unwrap_err();
    }
    watcher.watch(open(".").as_fd(), &SyncPath::root()).unwrap();
    watcher.watch(open("other").as_fd(), &sync("other")).unwrap();
    assert_eq!(watcher.n_missed(), 3, "f, d and below it");
    fs::remove_dir_all(root.path().join("d")).unwrap();
    while watcher.n_missed() > 1 {
        assert_ne!(watcher.next(LONG), [], "it is told");
    }
}
