//! A paired device that says what no device should: its link ends with a reason, and others go on.
//!
//! Promise checked here, beside others: H3.

use file_sync_core::message::{Entries, Entry, MESSAGE_BYTES_MAX, Message};
use file_sync_core::path::SyncPath;
use file_sync_core::register::Register;
use file_sync_net::{NetEvent, Timing};
use file_sync_wire::content::{ContentFrame, encode_content_frame};
use file_sync_wire::encode_message;
use file_sync_wire::preamble::{Answer, Role};
use tokio::io::AsyncWriteExt;

use crate::contents::Body;
use crate::device::{DIRECTORY, Device, Home, Start, Up, linked, quick, soon, talk};
use crate::raw::{LINK, Raw, hello};

/// A device, a friend that is linked with it, and a hostile home that it is paired with.
struct Scene {
    device: Device,
    up: Up,
    friend: Device,
    friend_up: Up,
    hostile: Home,
}

impl Scene {
    async fn new() -> Scene {
        let (friend, friend_up, device, up) = linked().await;
        let hostile = Home::new();
        device.home.trust.add(hostile.id());
        Scene { device, up, friend, friend_up, hostile }
    }

    async fn link(&mut self) -> (Raw, Up) {
        let raw = Raw::link(&self.hostile, self.device.address()).await;
        (raw, self.device.up().await)
    }

    /// The friend notices nothing.
    async fn others_go_on(mut self) {
        talk(&mut self.friend, &self.friend_up.link, &mut self.device, &self.up.link).await;
        let content = self.device.home.contents.add(Body::Pattern(10));
        let mut fetch = self.friend_up.link.fetch_small(DIRECTORY, vec![content]);
        assert!(soon(fetch.recv()).await.unwrap().1.is_ok());
    }
}

/// A batch with this path in place of `path`, which has as many bytes.
fn batch_with(path: &[u8]) -> Vec<u8> {
    let stand_in = vec![b'p'; path.len()];
    let entry =
        Entry { path: SyncPath::parse(&stand_in).unwrap(), register: Register::default(), holds: false };
    let entries =
        Entries { directory: DIRECTORY, index_id: 1, after: 0, through: 1, latest: 1, entries: vec![entry] };
    let mut bytes = encode_message(&Message::Entries(entries));
    let at = bytes.windows(path.len()).position(|window| window == stand_in).unwrap();
    bytes[at..at + path.len()].copy_from_slice(path);
    bytes
}

#[tokio::test]
async fn h3_what_no_device_says_ends_the_link() {
    let mut scene = Scene::new().await;
    let content = encode_content_frame(&ContentFrame::Credit { id: 1, bytes: 1 });
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("unknown message", vec![]),
        ("unknown message", vec![0xc2, 0x3e, 0]),
        ("message", b"garbage".to_vec()),
        ("message", vec![0xff; 100_000]),
        ("message", content),
        ("a second hello", encode_message(&hello())),
    ];
    for (reason, bytes) in cases {
        let (mut raw, up) = scene.link().await;
        raw.send(&bytes).await;
        // It is told why.
        let told = raw.message().await;
        assert!(matches!(told, Some(Message::Goodbye { .. })), "{told:?} for {bytes:?}");
        assert_eq!(raw.frame().await, None);
        let why = scene.device.down(&up.link).await;
        assert!(why.contains(reason), "{why} for {bytes:?}");
    }
    scene.others_go_on().await;
}

#[tokio::test]
async fn h3_a_frame_that_is_too_long_is_not_waited_for() {
    let mut scene = Scene::new().await;
    for length in [MESSAGE_BYTES_MAX as u32 + 1, u32::MAX] {
        let (mut raw, up) = scene.link().await;
        raw.send_bytes(&length.to_be_bytes()).await;
        assert!(scene.device.down(&up.link).await.contains("over the limit"));
    }
    scene.others_go_on().await;
}

/// What a server has no time for waits at its sender: few bytes of it are taken in, none are lost.
#[tokio::test]
async fn h3_what_waits_for_the_server_is_weighed() {
    let mut device = Device::new();
    let hostile = Home::new();
    device.home.trust.add(hostile.id());
    let mut raw = Raw::link(&hostile, device.address()).await;
    let up = device.up().await;
    let batch = batch_with(&[b'n'; 200]);
    // Fields that nobody knows make it long.
    let filler = vec![0xa2_u8, 0x06, 0xfe, 0xff, 0x3f].into_iter().chain(vec![0; 0x0f_fffe]);
    let long: Vec<u8> = batch.into_iter().chain(filler).collect();
    let frame = crate::raw::frame(&long);
    let mut n_written = 0;
    while n_written < 200 {
        let written = raw.stream.write_all(&frame);
        match tokio::time::timeout(std::time::Duration::from_secs(2), written).await {
            Ok(written) => written.unwrap(),
            Err(_) => break,
        }
        n_written += 1;
    }
    let n_mib = (n_written * long.len()) >> 20;
    assert!((4..64).contains(&n_mib), "{n_mib} MiB went in though nobody listens");
    // All of it comes once somebody does.
    for _ in 0..n_written {
        assert!(matches!(device.event().await, NetEvent::Message { link_id, .. } if link_id == up.link.id()));
    }
}

#[tokio::test]
async fn h1_hostile_paths_end_the_link() {
    let mut scene = Scene::new().await;
    let (mut raw, up) = scene.link().await;
    raw.send(&batch_with(b"good/path")).await;
    assert!(matches!(scene.device.event().await, NetEvent::Message { .. }));
    up.link.close("next");
    scene.device.down(&up.link).await;
    let paths: [&[u8]; 8] =
        [b"../etc", b"a/../b", b"/etc/passwd", b"a//b", b"a/", b"a\0b", b"./a", b".file-sync/marker"];
    for path in paths {
        let (mut raw, up) = scene.link().await;
        raw.send(&batch_with(path)).await;
        let reason = scene.device.down(&up.link).await;
        assert!(reason.contains("bad path"), "{reason} for {path:?}");
    }
    scene.others_go_on().await;
}

#[tokio::test]
async fn h3_what_comes_before_a_hello_is_refused() {
    let mut scene = Scene::new().await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("did not begin with a hello", encode_message(&Message::Ping)),
        ("did not begin with a hello", batch_with(b"path")),
        ("unknown message", vec![]),
        ("malformed", b"garbage".to_vec()),
        ("over the limit", vec![0; 4097]),
        ("goodbye: done", encode_message(&Message::Goodbye { reason: "done".to_owned() })),
    ];
    for (reason, bytes) in cases {
        let role = Role::Control { link: LINK, incarnation: 5 };
        let mut raw = Raw::asking(&scene.hostile, scene.device.address(), role).await;
        assert!(matches!(raw.answer().await, Some(Answer::Accepted { .. })));
        raw.send(&bytes).await;
        match scene.device.event().await {
            NetEvent::Refused { device, reason: why, .. } => {
                assert_eq!(device, Some(scene.hostile.id()));
                assert!(why.contains(reason), "{why} for {reason}");
            }
            other => panic!("{other:?}"),
        }
        raw.drained().await;
    }
    scene.others_go_on().await;
}

#[tokio::test]
async fn h3_who_never_says_hello_is_given_up() {
    let impatient = Timing { handshake: std::time::Duration::from_millis(300), ..quick() };
    let mut device = Device::with(impatient);
    let hostile = Home::new();
    device.home.trust.add(hostile.id());
    let raw = Raw::asking(&hostile, device.address(), Role::Control { link: LINK, incarnation: 5 }).await;
    assert!(device.refused().await.contains("no answer"));
    raw.drained().await;
    // Nor who says nothing at all, though it is paired.
    Raw::connect(&hostile, device.address()).await.drained().await;
}

#[tokio::test]
async fn h3_however_many_links_a_remote_opens_it_has_one() {
    let mut scene = Scene::new().await;
    let address = scene.device.address();
    let mut raws = Vec::new();
    for _ in 0..40 {
        let role = Role::Control { link: LINK, incarnation: 5 };
        let mut raw = Raw::asking(&scene.hostile, address, role).await;
        assert!(matches!(raw.answer().await, Some(Answer::Accepted { .. })));
        raws.push(raw);
    }
    // None has said hello; only the last is still open.
    let mut last = raws.pop().unwrap();
    for raw in raws {
        raw.drained().await;
    }
    last.send(&encode_message(&hello())).await;
    let up = scene.device.up().await;
    assert_eq!(up.link.device(), scene.hostile.id());
    scene.device.has_no_more_events();

    let _newer = Raw::link(&scene.hostile, address).await;
    match scene.device.event().await {
        NetEvent::Down { link_id, .. } => assert_eq!(link_id, up.link.id()),
        other => panic!("{other:?}"),
    }
    scene.device.up().await;
    scene.others_go_on().await;
}

#[tokio::test]
async fn h3_a_flood_of_pings_ends_in_nothing() {
    let mut scene = Scene::new().await;
    let (mut raw, up) = scene.link().await;
    let ping = crate::raw::frame(&encode_message(&Message::Ping)).repeat(1000);
    for _ in 0..100 {
        // The answers are never read.
        raw.send_bytes(&ping).await;
    }
    raw.send(&encode_message(&Message::Goodbye { reason: "enough".to_owned() })).await;
    assert!(scene.device.down(&up.link).await.contains("enough"));
    scene.others_go_on().await;
}

#[tokio::test]
async fn h3_a_remotes_words_do_not_spoil_the_log() {
    let mut scene = Scene::new().await;
    let (mut raw, up) = scene.link().await;
    assert_eq!(up.hello.name, "raw\u{fffd}");
    let reason = format!("\x1b[2J\n{}", "x".repeat(500_000));
    raw.send(&encode_message(&Message::Goodbye { reason })).await;
    let why = scene.device.down(&up.link).await;
    assert!(why.len() < 400 && !why.contains(char::is_control), "{why}");
    scene.others_go_on().await;
}

#[tokio::test]
async fn h3_a_remote_that_takes_nothing_is_given_up() {
    let impatient = Timing { stalled_after: std::time::Duration::from_millis(500), ..quick() };
    let mut device = Home::new().start(Start { timing: impatient, ..Start::default() });
    let hostile = Home::new();
    device.home.trust.add(hostile.id());
    let raw = Raw::link(&hostile, device.address()).await;
    let up = device.up().await;
    let long = || Message::Joined { directory: DIRECTORY, result: Err("x".repeat(1_000_000)) };
    let filled = soon(async { while up.link.send(long()).await.is_ok() {} });
    filled.await;
    assert!(device.down(&up.link).await.contains("takes nothing more"));
    drop(raw);
}
