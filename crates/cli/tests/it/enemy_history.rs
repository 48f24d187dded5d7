//! Members that are old or hostile and are asked what they keep of a path; and strangers that ask.
//!
//! Promises checked here: H1, H3, H4, V3.

use std::fs;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use file_sync_core::path::SyncPath;
use file_sync_core::version::{ContentHash, DirectoryId, Time, Value};
use file_sync_wire::content::{
    ContentError, ContentFrame, ContentPiece, ContentRequest, ContentWhat, decode_content_frame,
    encode_content_frame,
};
use file_sync_wire::kept::{KeptPage, KeptPlace, KeptQuestion, KeptVersion, encode_kept_page};
use serde_json::{Value as Json, json};

use crate::device::Device;
use crate::enemy::{Enemy, Line, path};
use crate::world::{FEBRUARY, JANUARY, PATIENCE, check, eventually, files_below, path_of, settle, sharing};

/// Longer than a server waits for one page.
const PAGE_PATIENCE: Duration = Duration::from_secs(20);

fn version(name: &str, bytes: &[u8], seconds: i64) -> KeptVersion {
    let content = ContentHash::of(bytes);
    let value = Value::File { content, length: bytes.len() as u64, mode: 0o644, mtime: Time::default() };
    KeptVersion {
        place: KeptPlace { path: path(name), at: Time { seconds, nanoseconds: 0 } },
        value,
        written: None,
    }
}

fn page(versions: Vec<KeptVersion>, is_last: bool) -> Vec<u8> {
    encode_kept_page(&KeptPage { versions, is_last })
}

/// Sends a piece that ends its item.
fn answer(content: &mut Line, id: u64, data: &[u8]) {
    let data_bytes = u32::try_from(data.len()).expect("short");
    let piece = ContentPiece { id, data_bytes, ends: true, ..ContentPiece::default() };
    content.send(&encode_content_frame(&ContentFrame::Piece(piece)));
    content.send_raw(data);
}

/// Answers what is asked over a content connection until it ends; none: nothing is answered.
fn answering(
    mut content: Line,
    mut make: impl FnMut(&ContentWhat) -> Option<Vec<u8>> + Send + 'static,
) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut n_asked = 0;
        while let Some(frame) = content.frame() {
            let Ok(ContentFrame::Request(request)) = decode_content_frame(&frame) else { continue };
            n_asked += 1;
            if let Some(data) = make(&request.what) {
                answer(&mut content, request.id, &data);
            }
        }
        n_asked
    })
}

/// Alpha and beta, of which beta keeps what alpha has replaced at `f`.
fn with_history() -> (Device, Device) {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "old", JANUARY);
    settle(&[&alpha, &beta]);
    alpha.user().write("f", "new", FEBRUARY);
    settle(&[&alpha, &beta]);
    (alpha, beta)
}

fn reason_of(history: &Json, remote: &str) -> Option<String> {
    let untold = history["untold"].as_array().expect("a list");
    let of_it = untold.iter().find(|untold| untold["remote"] == remote)?;
    Some(of_it["reason"].as_str().expect("a reason").to_owned())
}

#[test]
fn h1_h3_what_hostile_members_tell_is_bounded_checked_and_named() {
    let (alpha, beta) = with_history();
    let enemy = Enemy::paired(&alpha);
    let file = path_of(&alpha, "f");
    let hostile = page(vec![version("f", b"x", 1)], true);
    let at = hostile.windows(3).position(|bytes| bytes == [10, 1, b'f']).expect("the path is there");
    let outside = [&hostile[..at + 2], b"\0", &hostile[at + 3..]].concat();
    let answers: [(&str, Vec<u8>, &str); 6] = [
        ("garbage", vec![9; 100], "says: "),
        ("another path", page(vec![version("g", b"x", 1)], true), "makes no sense"),
        ("the same again", page(vec![version("f", b"x", 2), version("f", b"x", 1)], true), "makes no sense"),
        ("nothing, for ever", page(Vec::new(), false), "makes no sense"),
        ("the same page for ever", page(vec![version("f", b"x", 1)], false), "makes no sense"),
        ("no path at all", outside, "says: "),
    ];
    for (link, (what, data, said)) in (10..).zip(answers) {
        let (line, _) = enemy.member(link);
        let asked = answering(enemy.content(link), move |_| Some(data.clone()));
        let history = alpha.json(["history", &file]);
        let reason = reason_of(&history, "enemy").unwrap_or_else(|| panic!("{what}: {history}"));
        assert!(reason.contains(said), "{what}: {reason}");
        let versions = history["versions"].as_array().expect("a list");
        assert_eq!((versions.len(), &versions[0]["remotes"]), (1, &json!(["beta"])), "{what}: {history}");
        drop(line);
        assert!(asked.join().expect("no panic") > 0, "{what}");
    }
    // One that says nothing is waited for so long and no longer; one that goes on for ever likewise.
    let (line, _) = enemy.member(30);
    let asked = answering(enemy.content(30), |_| None);
    let start = Instant::now();
    let history = alpha.json(["history", &file]);
    assert!(start.elapsed() < PAGE_PATIENCE, "{:?}", start.elapsed());
    let reason = reason_of(&history, "enemy").expect("it is named");
    assert!(reason.contains("not answered in time"), "{reason}");
    drop(line);
    asked.join().expect("no panic");
    let (line, _) = enemy.member(31);
    let mut seconds = 0;
    let asked = answering(enemy.content(31), move |_| {
        seconds += 2_000;
        Some(page((0..2_000).map(|index| version("f", b"x", seconds + index)).collect(), false))
    });
    let history = alpha.json(["history", &file]);
    let reason = reason_of(&history, "enemy").expect("it is named");
    assert!(reason.contains("more than is listed"), "{reason}");
    drop(line);
    asked.join().expect("no panic");
    let bytes = [&alpha, &beta].map(|device| device.user().read("f"));
    assert_eq!(bytes, [b"new", b"new"]);
    assert!(!alpha.log().contains("panicked"), "{}", alpha.log());
}

#[test]
fn v3_bytes_that_a_member_keeps_by_its_word_alone_are_placed_nowhere() {
    let (alpha, beta) = with_history();
    let enemy = Enemy::paired(&alpha);
    let (line, _) = enemy.member(1);
    let lies =
        [("small", &b"promised"[..], 8), ("large", b"promised as well", 1 << 30), ("f", b"old", 1 << 50)];
    let asked = answering(enemy.content(1), move |what| {
        Some(match what {
            ContentWhat::Kept(question) => {
                let lie = lies.iter().find(|(name, ..)| question.path == path(name));
                let lie = lie.map(|(name, bytes, length)| {
                    let mut version = version(name, bytes, 1);
                    if let Value::File { length: told, .. } = &mut version.value {
                        *told = *length;
                    }
                    version
                });
                page(lie.into_iter().collect(), true)
            }
            ContentWhat::ChunkList(_) => [&u32::MAX.to_be_bytes()[..], &[9; 36]].concat(),
            ContentWhat::Small(_) | ContentWhat::Ranges(..) => b"unlike it".to_vec(),
        })
    });
    for name in ["small", "large"] {
        let refusal = alpha.refused(1, ["restore", &path_of(&alpha, name)]);
        assert!(refusal.contains("nothing was changed"), "{refusal}");
        assert!(!alpha.user().has(name));
    }
    // What an honest one keeps too is had from that one.
    let history = alpha.json(["history", &path_of(&alpha, "f")]);
    assert_eq!(history["versions"][0]["remotes"], json!(["beta", "enemy"]), "{history}");
    alpha.ok(["restore", &path_of(&alpha, "f")]);
    drop(line);
    asked.join().expect("no panic");
    eventually(PATIENCE, || if beta.user().read("f") == b"old" { Ok(()) } else { Err("it has not come") });
}

#[test]
fn h4_what_is_kept_is_told_to_members_alone() {
    let (alpha, beta) = with_history();
    beta.user().write("f", "newest", FEBRUARY + 1); // Which alpha keeps from now on.
    settle(&[&alpha, &beta]);
    let enemy = Enemy::paired(&alpha);
    let ask = |link: u64, directory: DirectoryId| {
        let mut content = enemy.content(link);
        let question = KeptQuestion { path: SyncPath::root(), after: None };
        let what = ContentWhat::Kept(question);
        let request = ContentRequest { id: 1, directory, window_bytes: 1 << 20, what };
        content.send(&encode_content_frame(&ContentFrame::Request(request)));
        loop {
            let frame = content.frame().expect("the connection is up");
            if let Ok(ContentFrame::Piece(piece)) = decode_content_frame(&frame) {
                let data = content.raw(piece.data_bytes as usize);
                return (piece.error, data);
            }
        }
    };
    let mut line = enemy.link(1);
    let directory = line.offers()[0].directory;
    assert_eq!(ask(1, directory), (Some(ContentError::NotHeld), Vec::new()), "it is no member yet");
    assert_eq!(ask(1, DirectoryId([7; 16])), (Some(ContentError::NotHeld), Vec::new()));
    line.join(directory).expect("it may join");
    line.barrier(1);
    let (error, data) = ask(1, directory);
    assert_eq!(error, None);
    assert_eq!(data, page(Vec::new(), true), "what was kept before it is a member is not told");
    alpha.ok(["remote", "rm", "enemy"]);
    drop(line);
    check(&[&alpha, &beta], "f \"newest\"");
}

/// What nobody keeps any more of what alpha has replaced or deleted.
const LOST: [&str; 3] = ["d/x", "f", "h"];

/// Alpha and beta: alpha has replaced `f`, and deleted `h` and `d`, of which beta still keeps `d/y` alone.
fn with_lost_history() -> (Device, Device) {
    let (alpha, beta) = sharing();
    for name in ["f", "h", "d/x", "d/y"] {
        alpha.user().write(name, format!("old {name}"), JANUARY);
    }
    settle(&[&alpha, &beta]);
    alpha.user().write("f", "new", FEBRUARY);
    alpha.user().remove("h");
    alpha.user().remove_all("d");
    settle(&[&alpha, &beta]);
    for file in files_below(&beta.root().join(".file-sync/kept")) {
        if fs::read(&file).ok().as_deref() != Some(b"old d/y") {
            fs::remove_file(file).expect("somebody removes it");
        }
    }
    (alpha, beta)
}

fn old(name: &str) -> Vec<u8> {
    format!("old {name}").into_bytes()
}

/// Which of what is lost a request wants the bytes of.
fn wanted(what: &ContentWhat) -> Option<&'static str> {
    let ContentWhat::Small(contents) = what else { return None };
    LOST.into_iter().find(|name| contents[..] == [ContentHash::of(&old(name))])
}

/// What an honest keeper of these says, and what it sends of them.
fn honest(what: &ContentWhat) -> Vec<u8> {
    match what {
        ContentWhat::Kept(question) => {
            let at = &question.path;
            let is_meant = |name: &&str| *at == path(name) || at.is_ancestor_of(&path(name));
            let some = LOST.into_iter().filter(is_meant);
            page(some.map(|name| version(name, &old(name), 1)).collect(), true)
        }
        _ => wanted(what).map(old).unwrap_or_default(),
    }
}

#[test]
fn s1_what_appears_or_is_edited_while_a_version_is_fetched_is_not_replaced() {
    let (alpha, beta) = with_lost_history();
    let enemy = Enemy::paired(&alpha);
    let (line, _) = enemy.member(1);
    let (here, there) = (alpha.root().to_owned(), beta.root().to_owned());
    // While it is asked for the bytes the user goes on, and that is found, and arrives at others.
    let asked = answering(enemy.content(1), move |what| {
        if let Some(name) = wanted(what) {
            let name = if name == "h" { "g" } else { name };
            fs::create_dir_all(here.join("d")).expect("a directory");
            fs::write(here.join(name), "meanwhile").expect("the user writes");
            eventually(PATIENCE, || match fs::read(there.join(name)) {
                Ok(bytes) if bytes == b"meanwhile" => Ok(()),
                other => Err(format!("{other:?}")),
            });
        }
        Some(honest(what))
    });
    let refusal = alpha.refused(1, ["restore", &path_of(&alpha, "f")]);
    assert!(refusal.contains("f has changed meanwhile; nothing was changed"), "{refusal}");
    let restored = alpha.json(["restore", &path_of(&alpha, "d")]);
    assert_eq!(restored["left"], json!([{ "path": "d/x" }]), "{restored}");
    assert_eq!(restored["restored"][0]["path"], "d/y", "{restored}");
    // The same with a place within the directory.
    let refusal = alpha.refused(1, ["restore", &path_of(&alpha, "h"), "--to", &path_of(&alpha, "g")]);
    assert!(refusal.contains("g has changed meanwhile"), "{refusal}");
    for name in ["d/x", "f", "g"] {
        assert_eq!(alpha.user().read(name), b"meanwhile", "{name}");
    }
    drop(line);
    asked.join().expect("no panic");
}

#[test]
fn what_cannot_be_put_in_place_does_not_keep_the_rest_of_a_directory_from_coming_back() {
    let (alpha, beta) = sharing();
    for name in ["d/a", "d/e/b", "d/z"] {
        alpha.user().write(name, old(name), JANUARY);
    }
    settle(&[&alpha, &beta]);
    beta.user().remove_all("d"); // Which alpha keeps.
    settle(&[&alpha, &beta]);
    alpha.user().write("d/e", "a file", FEBRUARY);
    settle(&[&alpha, &beta]);
    for file in files_below(&alpha.root().join(".file-sync/kept")) {
        if fs::read(&file).ok().as_deref() == Some(b"old d/a") {
            fs::remove_file(file).expect("somebody removes it");
        }
    }
    let output = alpha.run(["restore", &path_of(&alpha, "d"), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let restored: Json = serde_json::from_slice(&output.stdout).expect("a document");
    let paths = |list: &Json| -> Vec<String> {
        let list = list.as_array().expect("a list").iter();
        let mut paths: Vec<String> =
            list.map(|each| each["path"].as_str().expect("a path").to_owned()).collect();
        paths.sort();
        paths
    };
    assert_eq!(paths(&restored["restored"]), ["d/z"], "{restored}");
    assert_eq!(paths(&restored["failed"]), ["d/a", "d/e/b"], "{restored}");
    check(&[&alpha, &beta], "d/\nd/e \"a file\"\nd/z \"old d/z\"");
}
