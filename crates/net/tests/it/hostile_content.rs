//! Content connections to a paired device that keeps to nothing.

use bytes::Bytes;
use file_sync_core::message::PROTOCOL_VERSION;
use file_sync_core::path::SyncPath;
use file_sync_core::version::ContentHash;
use file_sync_net::{FetchError, Link, NetEvent, Timing};
use file_sync_wire::content::{
    ContentError, ContentFrame, ContentPiece, ContentRequest, ContentWhat, PIECE_BYTES_MAX, PIECE_BYTES_MIN,
    WINDOW_BYTES_MAX,
};
use file_sync_wire::kept::KeptQuestion;
use file_sync_wire::preamble::{Answer, Role};

use crate::contents::{Body, Gate};
use crate::device::{DIRECTORY, Device, Home, Start, quick, soon};
use crate::raw::{LINK, Raw};

/// A device with a hostile remote, which has dialed a link and a content connection.
struct Scene {
    device: Device,
    link: Link,
    hostile: Home,
    control: Raw,
    content: Raw,
}

impl Scene {
    async fn new() -> Scene {
        Scene::with(quick()).await
    }

    async fn with(timing: Timing) -> Scene {
        let mut device = Home::new().start(Start { timing, ..Start::default() });
        let hostile = Home::new();
        device.home.trust.add(hostile.id());
        let control = Raw::link(&hostile, device.address()).await;
        let link = device.up().await.link;
        let content = Raw::content(&hostile, device.address()).await;
        Scene { device, link, hostile, control, content }
    }

    /// After one content connection was dropped the link is up, and a new one works.
    async fn goes_on(mut self) {
        let content = self.device.home.contents.add(Body::Bytes(b"fine".to_vec()));
        let mut raw = Raw::content(&self.hostile, self.device.address()).await;
        raw.send_content(request(1, ContentWhat::Small(vec![content]))).await;
        assert_eq!(read_piece(&mut raw).await.unwrap().1, b"fine");
        self.link.send(crate::device::say(1)).await.unwrap();
        assert_eq!(self.control.message().await, Some(crate::device::say(1)));
    }

    /// The device says why it dropped the content connection.
    async fn dropped(&mut self, reason: &str) {
        match self.device.event().await {
            NetEvent::Refused { device, reason: why, .. } => {
                assert_eq!(device, Some(self.hostile.id()));
                assert!(why.contains(reason), "{why} for {reason}");
            }
            other => panic!("{other:?} for {reason}"),
        }
    }
}

fn request(id: u64, what: ContentWhat) -> ContentFrame {
    ContentFrame::Request(ContentRequest { id, directory: DIRECTORY, window_bytes: 1 << 20, what })
}

async fn read_piece(raw: &mut Raw) -> Option<(ContentPiece, Vec<u8>)> {
    use tokio::io::AsyncReadExt;
    loop {
        let frame = raw.frame().await?;
        match file_sync_wire::content::decode_content_frame(&frame).unwrap() {
            ContentFrame::Piece(piece) => {
                let mut data = vec![0; piece.data_bytes as usize];
                soon(raw.stream.read_exact(&mut data)).await.ok()?;
                return Some((piece, data));
            }
            ContentFrame::Ping => {}
            other => panic!("{other:?}"),
        }
    }
}

fn hash(n: u64) -> ContentHash {
    ContentHash::of(&n.to_be_bytes())
}

#[tokio::test]
async fn h3_what_no_asker_sends_ends_the_content_connection_alone() {
    let gate = std::sync::Arc::new(Gate::default());
    let mut scene = Scene::new().await;
    let stuck = scene.device.home.contents.add(Body::Blocks(gate.clone()));
    let ask = |id| request(id, ContentWhat::Small(vec![stuck]));
    let credit = |bytes| ContentFrame::Credit { id: 1, bytes };
    let encode = file_sync_wire::content::encode_content_frame;
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("unknown message", vec![vec![]]),
        ("malformed", vec![b"garbage".to_vec()]),
        ("over the limit", vec![vec![0; 70_000]]),
        ("two of one number", vec![encode(&ask(1)), encode(&ask(1))]),
        ("too many requests", (0..33).map(|id| encode(&ask(id))).collect()),
        ("too large", vec![encode(&request(1, ContentWhat::Small(vec![hash(1); 1025])))]),
        ("more credit", [vec![encode(&ask(1))], vec![encode(&credit(WINDOW_BYTES_MAX)); 5]].concat()),
    ];
    for (reason, frames) in cases {
        for frame in frames {
            scene.content.send(&frame).await;
        }
        scene.dropped(reason).await;
        let content = Raw::content(&scene.hostile, scene.device.address()).await;
        std::mem::replace(&mut scene.content, content).drained().await;
    }
    gate.open();
    scene.goes_on().await;
}

#[tokio::test]
async fn h3_content_connections_are_counted_and_belong_to_a_link() {
    let mut scene = Scene::new().await;
    let address = scene.device.address();
    let mut dialing = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let hostile = crate::raw::config(&scene.hostile);
        dialing.spawn(async move {
            let mut raw = Raw::connect_with(hostile, crate::raw::tcp(1, address).await).await.unwrap();
            let role = Role::Content { link: LINK };
            let preamble = file_sync_wire::preamble::Preamble {
                protocol_min: PROTOCOL_VERSION,
                protocol_max: PROTOCOL_VERSION,
                role,
            };
            raw.send(&file_sync_wire::preamble::encode_preamble(&preamble)).await;
            (raw.answer().await, raw)
        });
    }
    // With the first one, four.
    let answered = soon(dialing.join_all()).await;
    let accepted = |answer: &Option<Answer>| matches!(answer, Some(Answer::Accepted { .. }));
    assert_eq!(answered.iter().filter(|(answer, _)| accepted(answer)).count(), 3);
    drop(answered);

    for role in [Role::Content { link: LINK + 1 }, Role::Content { link: 0 }] {
        let mut raw = Raw::asking(&scene.hostile, address, role).await;
        match raw.answer().await {
            Some(Answer::Refused { reason, .. }) => assert_eq!(reason, "no such link"),
            other => panic!("{other:?}"),
        }
    }
    // Another paired device cannot use the link either.
    let other = Home::new();
    scene.device.home.trust.add(other.id());
    let mut raw = Raw::asking(&other, address, Role::Content { link: LINK }).await;
    assert!(matches!(raw.answer().await, Some(Answer::Refused { .. })));

    // With the link its content connections end.
    scene.link.close("done");
    scene.device.down(&scene.link).await;
    scene.content.drained().await;
}

#[tokio::test]
async fn h3_no_more_is_read_for_a_remote_than_it_has_room_for() {
    let mut scene = Scene::new().await;
    let contents = &scene.device.home.contents;
    let content = contents.add(Body::Pattern(1 << 40));
    let read_bytes = contents.read_bytes.clone();
    for id in 0..32 {
        let what = ContentWhat::Ranges(content, vec![(0, u32::MAX); 100]);
        let request = ContentRequest { id, directory: DIRECTORY, window_bytes: 0, what };
        scene.content.send_content(ContentFrame::Request(request)).await;
    }
    // One more request, which does get through, on the last free number.
    scene.content.send_content(ContentFrame::Cancel { id: 31 }).await;
    let small = scene.device.home.contents.add(Body::Bytes(b"x".to_vec()));
    scene.content.send_content(request(99, ContentWhat::Small(vec![small]))).await;
    let (piece, data) = read_piece(&mut scene.content).await.unwrap();
    assert_eq!((piece.id, &data[..]), (99, &b"x"[..]));
    let read = read_bytes.load(std::sync::atomic::Ordering::Relaxed);
    assert!(read <= 33 << 20, "{read}");
    // What nobody waits for any more is not read on.
    for id in 0..31 {
        scene.content.send_content(ContentFrame::Cancel { id }).await;
    }
    scene.goes_on().await;
}

#[tokio::test]
async fn h4_what_is_asked_for_beyond_the_end_or_elsewhere_is_refused() {
    let mut scene = Scene::new().await;
    let content = scene.device.home.contents.add(Body::Pattern(1000));
    let ranges = vec![(0, 1001), (u64::MAX, 1), (u64::MAX, u32::MAX), (1000, 1), (1000, 0), (990, 10)];
    scene.content.send_content(request(1, ContentWhat::Ranges(content, ranges))).await;
    for item in 0..6 {
        let (piece, data) = read_piece(&mut scene.content).await.unwrap();
        assert_eq!((piece.item, piece.ends, piece.error.is_some()), (item, true, item < 4));
        assert_eq!(data.len(), if item == 5 { 10 } else { 0 });
    }
    let elsewhere = file_sync_core::version::DirectoryId([1; 16]);
    let what = ContentWhat::Small(vec![content]);
    let elsewhere = ContentRequest { id: 2, directory: elsewhere, window_bytes: 0, what };
    scene.content.send_content(ContentFrame::Request(elsewhere)).await;
    assert_eq!(read_piece(&mut scene.content).await.unwrap().0.error, Some(ContentError::NotHeld));
    scene.goes_on().await;
}

/// Lets a device fetch two ranges of `PIECE_BYTES_MIN` each, or two small contents, and answers as told.
async fn answering(small: bool, pieces: impl AsyncFnOnce(&mut Raw, u64), reason: &str) {
    let mut scene = Scene::new().await;
    let link = scene.link.clone();
    let fetching = tokio::spawn(async move {
        if small {
            let mut fetch = link.fetch_small(DIRECTORY, vec![hash(1), hash(2)]);
            let mut ended = Vec::new();
            while let Some((_, result)) = soon(fetch.recv()).await {
                ended.push(result);
            }
            assert_eq!(ended.len(), 2);
            ended.pop().unwrap()
        } else {
            let length = PIECE_BYTES_MIN as u32;
            let mut fetch = link.fetch_ranges(DIRECTORY, hash(1), vec![(0, length), (1 << 20, length)]);
            let mut last = Ok(Bytes::new());
            while let Some(piece) = soon(fetch.recv()).await {
                last = piece.map(|(_, bytes)| bytes);
            }
            last
        }
    });
    let id = scene.content.request().await.unwrap().id;
    pieces(&mut scene.content, id).await;
    assert_eq!(soon(fetching).await.unwrap(), Err(FetchError::Closed), "{reason}");
    scene.dropped(reason).await;
    scene.goes_on().await;
}

fn piece(id: u64, item: u32, ends: bool) -> ContentPiece {
    ContentPiece { id, item, ends, ..ContentPiece::default() }
}

#[tokio::test]
async fn v2_a_remote_that_sends_what_was_not_asked_for_is_dropped() {
    let exact = vec![1; PIECE_BYTES_MIN];
    for small in [false, true] {
        answering(small, async |raw, id| raw.send_piece(piece(id, 2, true), &exact).await, "not asked for")
            .await;
        answering(
            small,
            async |raw, id| raw.send_piece(piece(id, u32::MAX, true), &[]).await,
            "not asked for",
        )
        .await;
        let twice = async |raw: &mut Raw, id| {
            raw.send_piece(piece(id, 0, true), &exact).await;
            raw.send_piece(piece(id, 0, true), &exact).await;
        };
        answering(small, twice, "not asked for").await;
        let thrice = async |raw: &mut Raw, id| {
            for _ in 0..3 {
                raw.send_piece(piece(id, 7, true), &exact).await;
            }
        };
        answering(small, thrice, "asked for").await;
    }
    let longer = vec![1; PIECE_BYTES_MIN + 1];
    answering(false, async |raw, id| raw.send_piece(piece(id, 0, true), &longer).await, "another length")
        .await;
    answering(false, async |raw, id| raw.send_piece(piece(id, 0, true), &exact[1..]).await, "another length")
        .await;
    answering(false, async |raw, id| raw.send_piece(piece(id, 0, false), &longer).await, "another length")
        .await;
}

#[tokio::test]
async fn h3_a_remote_that_sends_more_than_there_is_room_for_is_dropped() {
    let large = vec![1; 256 << 10];
    let without_end = async |raw: &mut Raw, id| {
        for _ in 0..100 {
            raw.send_piece(piece(id, 0, false), &large).await;
        }
    };
    answering(true, without_end, "").await;
    let tiny = async |raw: &mut Raw, id| raw.send_piece(piece(id, 0, false), &[1]).await;
    answering(true, tiny, "needlessly small").await;
    answering(false, tiny, "needlessly small").await;
    answering(true, async |raw, id| raw.send_piece(piece(id, 0, false), &[]).await, "needlessly small").await;
    let beyond = async |raw: &mut Raw, id| {
        let header = ContentFrame::Piece(ContentPiece { data_bytes: (256 << 10) + 1, ..piece(id, 0, false) });
        raw.send_content(header).await;
    };
    answering(true, beyond, "too large").await;
}

#[tokio::test]
async fn pieces_that_nobody_waits_for_any_more_are_passed_over() {
    let mut scene = Scene::new().await;
    for id in [0, 12, u64::MAX] {
        scene.content.send_piece(piece(id, 0, true), &[1; 10]).await;
    }
    let mut fetch = scene.link.fetch_small(DIRECTORY, vec![hash(1)]);
    let id = scene.content.request().await.unwrap().id;
    scene.content.send_piece(piece(id, 0, true), b"data").await;
    assert_eq!(soon(fetch.recv()).await, Some((hash(1), Ok(Bytes::from_static(b"data")))));
    scene.device.has_no_more_events();
    scene.goes_on().await;
}

#[tokio::test]
async fn s2_a_remote_that_never_answers_is_given_up() {
    let impatient = Timing { stalled_after: std::time::Duration::from_millis(500), ..quick() };
    let mut scene = Scene::with(impatient).await;
    let mut fetch = scene.link.fetch_small(DIRECTORY, vec![hash(1)]);
    let id = scene.content.request().await.unwrap().id;
    assert_eq!(soon(fetch.recv()).await, Some((hash(1), Err(FetchError::Stalled))));
    // It is told so, and the connection stays.
    let cancelled = loop {
        let frame = scene.content.frame().await.unwrap();
        match file_sync_wire::content::decode_content_frame(&frame).unwrap() {
            ContentFrame::Ping => {}
            other => break other,
        }
    };
    assert_eq!(cancelled, ContentFrame::Cancel { id });
    assert_eq!(soon(scene.link.fetch_chunk_list(DIRECTORY, hash(1))).await, Err(FetchError::Stalled));
    scene.goes_on().await;
}

#[tokio::test]
async fn s2_a_remote_that_lets_no_content_connection_through_is_given_up() {
    let impatient = Timing { stalled_after: std::time::Duration::from_millis(500), ..quick() };
    let mut device = Home::new().start(Start { timing: impatient, ..Start::default() });
    let hostile = Home::new();
    device.home.trust.add(hostile.id());
    let _control = Raw::link(&hostile, device.address()).await;
    let link = device.up().await.link;
    let mut fetch = link.fetch_small(DIRECTORY, vec![hash(1)]);
    assert_eq!(soon(fetch.recv()).await, Some((hash(1), Err(FetchError::Stalled))));
}

#[tokio::test]
async fn h3_a_chunk_list_that_is_none_is_refused() {
    let mut scene = Scene::new().await;
    let link = scene.link.clone();
    let fetching = tokio::spawn(async move { link.fetch_chunk_list(DIRECTORY, hash(1)).await });
    let id = scene.content.request().await.unwrap().id;
    scene.content.send_piece(piece(id, 0, true), &[9; 41]).await;
    assert!(matches!(soon(fetching).await.unwrap(), Err(FetchError::Remote(_))));
    let link = scene.link.clone();
    let fetching = tokio::spawn(async move { link.fetch_chunk_list(DIRECTORY, hash(1)).await });
    let id = scene.content.request().await.unwrap().id;
    scene
        .content
        .send_piece(
            ContentPiece { error: Some(ContentError::Other("a\nb".to_owned())), ..piece(id, 0, true) },
            &[],
        )
        .await;
    assert_eq!(soon(fetching).await.unwrap(), Err(FetchError::Remote("a\u{fffd}b".to_owned())));
    scene.goes_on().await;
}

#[tokio::test]
async fn h3_what_is_kept_is_no_more_than_a_page_and_well_formed() {
    let mut scene = Scene::new().await;
    let question = || KeptQuestion { path: SyncPath::root(), after: None };
    for (data, error) in [
        (vec![9; 41], "malformed"),
        (vec![10, 0], "without a place"),
        (vec![10, 8, 10, 6, 10, 2, b'.', b'.', 18, 0], "bad path"),
    ] {
        let link = scene.link.clone();
        let fetching = tokio::spawn(async move { link.fetch_kept(DIRECTORY, question()).await });
        let request = scene.content.request().await.unwrap();
        assert_eq!(request.what, ContentWhat::Kept(question()));
        scene.content.send_piece(piece(request.id, 0, true), &data).await;
        let answer = soon(fetching).await.unwrap();
        let Err(FetchError::Remote(message)) = &answer else { panic!("{answer:?}") };
        assert!(message.contains(error), "{message} for {error}");
    }
    let link = scene.link.clone();
    let fetching = tokio::spawn(async move { link.fetch_kept(DIRECTORY, question()).await });
    let id = scene.content.request().await.unwrap().id;
    for _ in 0..2 {
        scene.content.send_piece(piece(id, 0, false), &vec![0; PIECE_BYTES_MAX]).await;
    }
    assert_eq!(soon(fetching).await.unwrap(), Err(FetchError::Closed));
    scene.dropped("more data than was asked for").await;
    scene.goes_on().await;
}
