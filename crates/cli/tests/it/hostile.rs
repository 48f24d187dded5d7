//! A paired member that does its worst to a real server: no panic, bounded memory, nothing outside the root, nothing
//! that is not its own, and the others go on as if it were not there.
//!
//! Promises checked here: H1, H3, H4, H5.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use file_sync_core::context::Context;
use file_sync_core::message::{Entries, Entry, MESSAGE_BYTES_MAX, Member, Message};
use file_sync_core::path::SyncPath;
use file_sync_core::register::{Register, Settled};
use file_sync_core::version::{Actor, ContentHash, DeviceId, DirectoryId, Signature, Time, Value, Version};
use file_sync_wire::content::{
    ContentError, ContentFrame, ContentPiece, ContentRequest, ContentWhat, decode_content_frame,
    encode_content_frame,
};
use file_sync_wire::encode_message;
use file_sync_wire::preamble::Role;
use serde_json::Value as Json;

use crate::device::Device;
use crate::enemy::{Enemy, Line, attach, entry, hello, path, unsigned};
use crate::world::{
    JANUARY, PATIENCE, connected, equal, eventually, holds, join, offer, paired, settle, sharing,
};

const DIRECTORY: Value = Value::Directory { mode: 0o755 };
/// What remotes may announce in the test of floods.
const ANNOUNCED_BYTES: u64 = 64 << 20;
/// Memory of a server that has nothing to do with remotes' words, from above: its code, databases, buffers.
const BASE_BYTES: u64 = 96 << 20;
/// What is on its way from and to one remote, from above: messages decoded and not dealt with, what it was told and did
/// not read, contents. See docs/guarantees.md, H3.
const REMOTE_BYTES: u64 = 256 << 20;

fn file(bytes: &[u8], length: u64) -> Value {
    Value::File { content: ContentHash::of(bytes), length, mode: 0o644, mtime: Time::default() }
}

/// The honest two still keep their trees equal, and no server has panicked.
pub(crate) fn others_go_on(alpha: &Device, beta: &Device, round: &str) {
    let (name, back) = (format!("from-alpha-{round}"), format!("from-beta-{round}"));
    alpha.user().write(&name, round, JANUARY);
    beta.user().write(&back, round, JANUARY);
    eventually(2 * PATIENCE, || {
        let has_come = beta.user().has(&name) && alpha.user().has(&back);
        if has_come { Ok(()) } else { Err(format!("{round}: not yet; {}", alpha.log())) }
    });
    for device in [alpha, beta] {
        assert!(!device.log().contains("panicked"), "{}", device.log());
    }
}

/// The most memory that a server has ever had at once, in bytes.
fn peak_bytes(process_id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

fn problems(device: &Device) -> String {
    device.directory().to_string()
}

/// A batch with this path in place of one that has as many bytes.
fn batch_with(directory: DirectoryId, path: &[u8]) -> Vec<u8> {
    let stand_in: Vec<u8> =
        (0..path.len()).map(|index| if index % 200 == 199 { b'/' } else { b'p' }).collect();
    let stand_in = if stand_in.len() > 16_000 { vec![b'p'; 100] } else { stand_in };
    let parsed = SyncPath::parse(&stand_in).expect("a good path");
    let entries = vec![Entry { path: parsed, register: Register::default(), holds: false }];
    let entries = Entries { directory, index_id: 1, after: 0, through: 1, latest: 1, entries };
    let mut bytes = encode_message(&Message::Entries(entries));
    let at = bytes.windows(stand_in.len()).position(|window| window == stand_in).expect("it is there");
    let n_bytes = stand_in.len().min(path.len());
    bytes[at..at + n_bytes].copy_from_slice(&path[..n_bytes]);
    bytes
}

#[test]
fn h1_h3_garbage_and_hostile_paths_end_the_link_and_nothing_else() {
    let (alpha, beta) = sharing();
    let enemy = Enemy::paired(&alpha);
    let mut n_attacks = 0;
    for first in [b"garbage".to_vec(), vec![], vec![0xff; 4_000], encode_message(&Message::Ping)] {
        let mut line = enemy.dial(Role::Control { link: 7, incarnation: 7 });
        line.frame().expect("it is accepted");
        line.send(&first);
        line.drain();
        n_attacks += 1;
    }
    let names: [&[u8]; 10] = [
        b"../outside",
        b"a/../../outside",
        b"/etc/outside",
        b"a//b",
        b"a/",
        b"a\0b",
        b"./a",
        b"..",
        b".file-sync/marker",
        b"a/.file-sync/kept/x",
    ];
    let long = vec![b'n'; 256];
    for name in names.into_iter().chain([&long[..]]) {
        let (mut line, directory) = enemy.member(100 + n_attacks);
        // The stand-in of a single long component has to be one that passes.
        line.send(&batch_with(directory, name));
        line.drain();
        n_attacks += 1;
    }
    for bytes in [vec![0xff; 1 << 20], vec![], encode_message(&hello())] {
        let (mut line, _) = enemy.member(200 + n_attacks);
        line.send(&bytes);
        line.drain();
        n_attacks += 1;
    }
    for length in [MESSAGE_BYTES_MAX as u32 + 1, u32::MAX] {
        let (mut line, _) = enemy.member(300 + n_attacks);
        line.send_raw(&length.to_be_bytes());
        line.drain();
        n_attacks += 1;
    }
    assert!(!alpha.beside("outside").exists());
    others_go_on(&alpha, &beta, "after-garbage");
    println!("hostile: {n_attacks} links ended by garbage and hostile paths; the others went on");
}

#[test]
fn h5_versions_in_anothers_name_are_taken_by_nobody() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "alpha's", JANUARY);
    settle(&[&alpha, &beta]);
    let enemy = Enemy::paired(&alpha);
    let (mut line, directory) = enemy.member(1);
    let heard = line.until(|message| match message {
        Message::Entries(entries) if !entries.entries.is_empty() => Some(entries.entries),
        _ => None,
    });
    let victim = heard[0].register.versions()[0].dot.actor;
    let beta_id = DeviceId::from_hex(beta.status()["device"]["id"].as_str().expect("an id")).expect("an id");
    let nobody = Actor { device: DeviceId([9; 32]), epoch: 1 };
    let actors = [victim, Actor { device: beta_id, epoch: 1 }, nobody];
    let mut entries = Vec::new();
    for (number, actor) in actors.into_iter().enumerate() {
        for (kind, counter) in [("first", 1_000_000), ("last", u64::MAX)] {
            let at = path(&format!("forged-{number}-{kind}"));
            let bare = unsigned(actor, counter, DIRECTORY);
            let own = enemy.version(&directory, &at, counter, DIRECTORY).signature;
            entries.push(entry(&at, bare.clone()));
            entries.push(entry(&at, Version { signature: own, ..bare.clone() }));
            let wrong = Signature(Some([7; 64]));
            entries.push(entry(&at, Version { signature: wrong, ..bare }));
        }
    }
    // A true version of another's, at a path where it was never written.
    entries.extend(heard.iter().map(|heard| Entry { path: path("elsewhere"), ..heard.clone() }));
    let n_forged = entries.len();
    let last = line.announce(directory, 0, entries);
    let at = path("its-own");
    line.announce(directory, last, vec![entry(&at, enemy.version(&directory, &at, 1, DIRECTORY))]);
    line.barrier(1);
    eventually(PATIENCE, || {
        let is_there = alpha.user().has("its-own") && beta.user().has("its-own");
        if is_there { Ok(()) } else { Err("what it may write has not come") }
    });
    drop(line);
    others_go_on(&alpha, &beta, "after-forgery");
    equal(&[&alpha, &beta]);
    let expected = "f \"alpha's\"\nits-own/\nfrom-alpha-after-forgery \"after-forgery\"\n\
                    from-beta-after-forgery \"after-forgery\"";
    holds(&alpha.root(), expected);
    println!("hostile: {n_forged} versions in others' names, none taken");
}

/// What a member says to be gone goes if somebody who had seen it wrote what stands there instead.
#[test]
fn h5_nobody_drops_a_version_by_saying_that_it_was_replaced() {
    let (mut alpha, mut beta) = sharing();
    for device in [&mut alpha, &mut beta] {
        device.stop();
        device.begin_under(&["sh", "-c", "exec \"$@\" --strict", "sh"].map(Into::into));
        device.await_ready();
    }
    for name in ["said", "beside", "renamed"] {
        alpha.user().write(name, "alpha's", JANUARY);
    }
    settle(&[&alpha, &beta]);
    let enemy = Enemy::paired(&alpha);
    let (mut line, directory) = enemy.member(1);
    let mut heard = std::collections::BTreeMap::new();
    while heard.len() < 3 {
        let told = line.until(|message| match message {
            Message::Entries(entries) => Some(entries.entries),
            _ => None,
        });
        heard.extend(told.into_iter().map(|entry| (entry.path.to_string(), entry.register)));
    }
    let said = |name: &str, versions: Vec<Version>, settled: Vec<Settled>| {
        let register = Register::from_parts(versions, heard[name].context().clone(), settled);
        Entry { path: path(name), register, holds: true }
    };
    let its_own = enemy.version(&directory, &path("beside"), 1, file(b"its own", 7));
    let renamed = Settled { version: heard["renamed"].versions()[0].clone(), copy: Some(path("away")) };
    let lies = vec![
        said("said", Vec::new(), Vec::new()),
        said("beside", vec![its_own], Vec::new()),
        said("renamed", Vec::new(), vec![renamed]),
    ];
    let last = line.announce(directory, 0, lies);
    line.barrier(1);
    eventually(PATIENCE, || {
        let told = problems(&alpha);
        let n_told = told.matches("nobody is known to have done so").count();
        if n_told == 3 { Ok(()) } else { Err(told) }
    });
    others_go_on(&alpha, &beta, "after-lies");
    for device in [&alpha, &beta] {
        for name in ["said", "beside", "renamed"] {
            assert_eq!(device.user().read(name), b"alpha's", "{name}");
        }
    }
    // What it has seen it may replace, in its own name.
    let replaced = vec![heard["said"].versions()[0].dot];
    let actor = Actor { device: enemy.id(), epoch: 1 };
    let version = Version { replaced, ..unsigned(actor, 2, DIRECTORY) };
    let version = enemy.replacing(&directory, &path("said"), version);
    line.announce(directory, last, vec![said("said", vec![version], Vec::new())]);
    eventually(PATIENCE, || {
        let is_there = [&alpha, &beta].iter().all(|device| device.root().join("said").is_dir());
        if is_there { Ok(()) } else { Err(problems(&alpha)) }
    });
}

/// Where it may only receive, a member's word counts for nothing: neither its author nor another receiver drops anything.
#[test]
fn h5_who_may_only_receive_drops_nothing_by_saying_that_it_is_gone() {
    let (alpha, beta) = paired();
    offer(&alpha, &["--read-only"]);
    join(&beta, &alpha, &[]);
    for name in ["said", "deleted"] {
        alpha.user().write(name, "alpha's", JANUARY);
    }
    settle(&[&alpha, &beta]);
    let lie = |enemy: &Enemy, mut line: Line, directory: DirectoryId, number: u64| {
        let mut heard = std::collections::BTreeMap::new();
        while heard.len() < 2 {
            let told = line.until(|message| match message {
                Message::Entries(entries) => Some(entries.entries),
                _ => None,
            });
            heard.extend(told.into_iter().map(|entry| (entry.path.to_string(), entry.register)));
        }
        let actor = Actor { device: enemy.id(), epoch: 1 };
        let replaced = vec![heard["deleted"].versions()[0].dot];
        let deleted = Version { replaced, ..unsigned(actor, number, Value::ABSENT) };
        let lies =
            [("said", Vec::new()), ("deleted", vec![enemy.replacing(&directory, &path("deleted"), deleted)])];
        let lies = lies.into_iter().map(|(name, versions)| {
            let register = Register::from_parts(versions, heard[name].context().clone(), Vec::new());
            Entry { path: path(name), register, holds: true }
        });
        line.announce(directory, 0, lies.collect());
        line.barrier(number);
    };
    let enemy = Enemy::paired(&alpha);
    let (line, directory) = enemy.member(1);
    lie(&enemy, line, directory, 1);
    // Beta offers it to nobody, and knows who takes part.
    let enemy = enemy.paired_with(&beta);
    let mut line = enemy.link(2);
    line.say(&Message::Attach(attach(directory)));
    lie(&enemy, line, directory, 2);
    alpha.user().write("after-lies", "alpha's", JANUARY);
    eventually(PATIENCE, || if beta.user().has("after-lies") { Ok(()) } else { Err(beta.log()) });
    for device in [&alpha, &beta] {
        holds(&device.root(), "after-lies \"alpha's\"\ndeleted \"alpha's\"\nsaid \"alpha's\"");
    }
}

#[test]
fn h4_what_is_not_offered_to_a_member_is_out_of_its_reach() {
    let (alpha, beta) = sharing();
    let secret = alpha.beside("secret");
    std::fs::create_dir(&secret).expect("it is made");
    std::fs::write(secret.join("s"), "a secret").expect("it is written");
    let name = secret.to_str().expect("UTF-8");
    alpha.ok(["file", "up", name, "--to", "beta"]);
    alpha.user().write("f", "open", JANUARY);
    settle(&[&alpha, &beta]);
    let status = alpha.status();
    let is_secret = |directory: &&Json| directory["name"] == "secret";
    let directories = status["directories"].as_array().expect("directories");
    let id = directories.iter().find(is_secret).expect("it is offered")["id"].as_str().expect("an id");
    let hidden = DirectoryId::from_hex(id).expect("an id");

    let enemy = Enemy::paired(&alpha);
    let mut line = enemy.link(1);
    assert!(line.offers().iter().all(|offer| offer.directory != hidden));
    line.join(hidden).expect_err("it is not offered to it");
    line.say(&Message::Attach(attach(hidden)));
    let at = path("intruder");
    line.announce(hidden, 0, vec![entry(&at, enemy.version(&hidden, &at, 1, DIRECTORY))]);
    line.barrier(1);
    drop(line);
    let (mut line, directory) = enemy.member(2);
    line.barrier(2);
    let mut content = enemy.content(2);
    let mut ask = |directory, bytes: &[u8]| {
        for (id, what) in [
            (1, ContentWhat::Small(vec![ContentHash::of(bytes)])),
            (2, ContentWhat::ChunkList(ContentHash::of(bytes))),
            (3, ContentWhat::Ranges(ContentHash::of(bytes), vec![(0, 4)])),
        ] {
            let request = ContentRequest { id, directory, window_bytes: 1 << 20, what };
            content.send(&encode_content_frame(&ContentFrame::Request(request)));
        }
        (0..3).map(|_| piece(&mut content)).collect::<Vec<_>>()
    };
    for (directory, bytes) in [(hidden, &b"a secret"[..]), (directory, b"a secret"), (hidden, b"open")] {
        for (piece, data) in ask(directory, bytes) {
            assert_eq!((piece.error, &data[..]), (Some(ContentError::NotHeld), &b""[..]));
        }
    }
    assert!(ask(directory, b"open").iter().any(|(_, data)| data == b"open"), "what is offered is served");
    assert!(!secret.join("intruder").exists());
    drop((line, content));
    println!("hostile: 9 requests for what is not offered, none answered");
}

/// The next piece and its bytes; all else is passed over.
fn piece(content: &mut Line) -> (ContentPiece, Vec<u8>) {
    loop {
        let frame = content.frame().expect("the connection is up");
        if let Ok(ContentFrame::Piece(piece)) = decode_content_frame(&frame) {
            let data = content.raw(piece.data_bytes as usize);
            return (piece, data);
        }
    }
}

#[test]
fn v3_h3_contents_that_are_not_what_was_announced_are_placed_nowhere() {
    let (alpha, beta) = sharing();
    let enemy = Enemy::paired(&alpha);
    let (mut line, directory) = enemy.member(1);
    let lies = [
        ("small", 10, &b"small"[..]),
        ("large", 1 << 20, b"large"),
        ("vast", 1 << 50, b"vast"),
        ("none", 0, b"none"),
    ];
    let announced = lies.iter().enumerate().map(|(number, (name, length, bytes))| {
        let at = path(name);
        let version = enemy.version(&directory, &at, number as u64 + 1, file(bytes, *length));
        entry(&at, version)
    });
    line.announce(directory, 0, announced.collect());
    line.barrier(1);
    let mut content = enemy.content(1);
    let (mut n_answers, start) = (0, Instant::now());
    while n_answers < 6 && start.elapsed() < Duration::from_secs(20) {
        let Some(frame) = content.frame() else {
            content = enemy.content(1);
            continue;
        };
        let Ok(ContentFrame::Request(request)) = decode_content_frame(&frame) else { continue };
        n_answers += 1;
        answer_with_lies(&mut content, &request);
    }
    others_go_on(&alpha, &beta, "beside-lies");
    for device in [&alpha, &beta] {
        for (name, ..) in lies {
            assert!(!device.user().has(name), "{name} is on {}", device.name);
        }
    }
    assert!(n_answers > 0, "nothing was asked for");
    println!("hostile: {n_answers} requests answered with lies, nothing placed");
}

/// Wrong bytes, chunk lists that lie about lengths, more than was asked for.
fn answer_with_lies(content: &mut Line, request: &ContentRequest) {
    let data = match &request.what {
        ContentWhat::Small(_) => b"wrong bytes".to_vec(),
        ContentWhat::ChunkList(_) => [&u32::MAX.to_be_bytes()[..], &[9; 36]].concat(),
        ContentWhat::Ranges(_, ranges) => {
            vec![9; ranges.first().map_or(1, |(_, length)| *length as usize).min(100_000)]
        }
        ContentWhat::Kept(_) => vec![9; 100],
    };
    let data_bytes = u32::try_from(data.len()).expect("short");
    let piece = ContentPiece {
        id: request.id,
        item: 0,
        data_bytes,
        ends: true,
        content_length: 1 << 60,
        error: None,
    };
    content.send(&encode_content_frame(&ContentFrame::Piece(piece)));
    content.send_raw(&data);
}

/// What is said again and again; the number is another each time.
type Flood = fn(&Enemy, DirectoryId, u64) -> Message;

/// A server that was started by the test itself, with options.
struct Server(Child);

impl Server {
    /// Starts one in place of a device's.
    fn of(device: &mut Device, options: &[&str]) -> Server {
        device.stop();
        let log = std::fs::File::options().append(true).open(device.beside("log")).expect("a log");
        let mut command = device.command();
        command.args(["server", "--no-discovery", "--no-web", "--name", &device.name]);
        command.args(["--listen", &device.address()]).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let server = Server(command.spawn().expect("the server starts"));
        eventually(PATIENCE, || match device.run(["status"]).status.success() {
            true => Ok(()),
            false => Err("it is not ready"),
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A child that has ended cannot be killed, and there is nobody to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything that makes a server remember, send or look, from a member that reads nothing.
#[test]
fn h3_a_member_that_floods_costs_bounded_memory_and_others_go_on() {
    let (mut alpha, beta) = sharing();
    let enemy = Enemy::paired(&alpha);
    let server = Server::of(&mut alpha, &["--announced-max", "64M"]);
    connected(&beta);
    let start = Instant::now();
    let before = peak_bytes(server.0.id());
    // What was sent, how often, and the peak afterwards in MiB.
    let mut sent: Vec<(&str, u64, u64)> = Vec::new();
    let mut done = |what: &'static str, n_sent: u64| {
        sent.push((what, n_sent, peak_bytes(server.0.id()) >> 20));
        others_go_on(&alpha, &beta, &format!("after-{}", what.replace(' ', "-")));
    };
    let (n_batches, time) = if is_full() { (100, 60) } else { (8, 3) };
    let time = Duration::from_secs(time);
    done("paths", flood_paths(&enemy, 1_000, n_batches, tiny));
    done("long paths", flood_paths(&enemy, 1_001, n_batches, long));
    done("deep paths", flood_paths(&enemy, 1_002, n_batches, deep));
    let floods: [(&'static str, Flood); 7] = [
        ("peeks", |_, directory, _| Message::Peek { directory, after: None }),
        ("answers to no peek", |_, directory, _| Message::Peeked {
            directory,
            after: None,
            result: Err("no".to_owned()),
        }),
        ("attaches", |_, directory, _| Message::Attach(attach(directory))),
        ("checks", |_, directory, token| Message::Check { directory, token }),
        ("barriers", |_, _, token| Message::Barrier { token }),
        ("member lists", members),
        ("gaps", gap),
    ];
    for (number, (what, message)) in floods.into_iter().enumerate() {
        done(what, flood(&enemy, 2_000 + number as u64, time, message));
    }
    let silent: Vec<Line> = (0..40).filter_map(|_| half_a_frame(&enemy)).collect();
    done("half frames", silent.len() as u64);
    drop(silent);
    assert!(
        problems(&alpha).contains("--announced-max"),
        "what was not taken in is said: {}",
        problems(&alpha)
    );
    let (peak, bound) = (peak_bytes(server.0.id()), BASE_BYTES + ANNOUNCED_BYTES + REMOTE_BYTES);
    println!(
        "hostile: (what, how often, peak in MiB) {sent:?}; before: {} MiB, bound: {} MiB",
        before >> 20,
        bound >> 20
    );
    assert!(peak <= bound, "peak {} MiB, bound {} MiB", peak >> 20, bound >> 20);
    let figures: Vec<String> = sent.iter().map(|(what, n_sent, _)| format!("\"{what}\":{n_sent}")).collect();
    println!(
        "evidence: {{\"part\":\"hostile member\",\"what\":\"floods from a paired member\",\"figures\":{{{},\
         \"peak MiB\":{},\"bound MiB\":{}}},\"bad\":{{\"panics\":0,\"over the bound\":0,\"others stopped\":0}},\
         \"seconds\":{:.1}}}",
        figures.join(","),
        peak >> 20,
        bound >> 20,
        start.elapsed().as_secs_f64()
    );
}

fn is_full() -> bool {
    std::env::var("EVIDENCE").is_ok_and(|size| size == "full")
}

fn tiny(number: u64) -> SyncPath {
    path(&format!("t{number:x}"))
}

fn long(number: u64) -> SyncPath {
    let name = "l".repeat(200);
    path(&vec![name.as_str(); 70].join("/")).join(format!("{number:x}").as_bytes()).expect("a good path")
}

fn deep(number: u64) -> SyncPath {
    path(&format!("deep{number:x}{}", "/d".repeat(7_000)))
}

/// Announces so many batches of 2,000 paths, or of 4 MiB; returns how many paths.
fn flood_paths(enemy: &Enemy, link: u64, n_batches: u64, make: fn(u64) -> SyncPath) -> u64 {
    let (mut line, directory) = enemy.member(link);
    line.write_within(PATIENCE);
    let (mut after, mut number) = (0, 0);
    for _ in 0..n_batches {
        let (mut entries, mut n_bytes) = (Vec::new(), 0);
        while entries.len() < 2_000 && n_bytes < 4 << 20 {
            number += 1;
            let at = make(number);
            n_bytes += at.as_bytes().len();
            let actor = Actor { device: enemy.id(), epoch: 1 };
            entries.push(entry(&at, unsigned(actor, link << 32 | number, DIRECTORY)));
        }
        after = line.announce(directory, after, entries);
        // What it is told goes unread until there is too much of it; then it comes again.
    }
    line.barrier(1);
    number
}

/// Says the same sort of thing for a while, without reading; returns how often.
fn flood(enemy: &Enemy, link: u64, time: Duration, message: Flood) -> u64 {
    let (start, mut n_sent, mut links) = (Instant::now(), 0, 0);
    while start.elapsed() < time {
        links += 1;
        let (mut line, directory) = enemy.member(link * 1_000 + links);
        line.write_within(Duration::from_millis(500));
        while start.elapsed() < time && line.say(&message(enemy, directory, n_sent + 1)) {
            n_sent += 1;
        }
    }
    n_sent
}

fn members(_: &Enemy, directory: DirectoryId, number: u64) -> Message {
    let member = |n: u64| {
        let key: [u8; 32] = std::array::from_fn(|index| (n >> (8 * (index % 2))) as u8);
        (DeviceId(ContentHash::of(&key).0), Member { number: number + 1, active: true, key })
    };
    Message::Members { directory, members: (0..900).map(member).collect() }
}

fn gap(_: &Enemy, directory: DirectoryId, number: u64) -> Message {
    let heard =
        Context::from_parts(vec![(Actor { device: DeviceId([1; 32]), epoch: 1 }, number)], Vec::new());
    let register = Register::from_parts(Vec::new(), heard, Vec::new());
    let entries = vec![Entry { path: path("gap"), register, holds: false }];
    let (after, through, latest) = (u64::MAX - 1, u64::MAX, u64::MAX);
    Message::Entries(Entries { directory, index_id: 1, after, through, latest, entries })
}

/// A connection that begins a frame and never ends it.
fn half_a_frame(enemy: &Enemy) -> Option<Line> {
    let mut line = enemy.dial(Role::Control { link: 9, incarnation: 9 });
    line.frame()?;
    line.send_raw(&[0, 0, 4]);
    Some(line)
}
