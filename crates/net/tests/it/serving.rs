//! Providers that lack, change, fail, panic and block.

use std::sync::Arc;

use file_sync_core::path::SyncPath;
use file_sync_core::version::{ContentHash, Time, Value};
use file_sync_net::FetchError;
use file_sync_wire::kept::{KeptPage, KeptPlace, KeptQuestion, KeptVersion};

use crate::contents::{Body, Gate};
use crate::device::{DIRECTORY, OTHER_DIRECTORY, linked, soon};
use crate::fetching::{fetch_ranges, fetch_small};

#[tokio::test]
async fn what_cannot_be_had_is_said_for_each_and_the_rest_comes() {
    let (_one, up, two, _) = linked().await;
    let contents = &two.home.contents;
    let fine = contents.add(Body::Bytes(b"fine".to_vec()));
    let unknown = ContentHash::of(b"unknown");
    let cases = vec![
        (contents.add(Body::Fails(FetchError::NotHeld)), FetchError::NotHeld),
        (contents.add(Body::Fails(FetchError::Changed)), FetchError::Changed),
        (
            contents.add(Body::Fails(FetchError::Remote("no\nway".to_owned()))),
            FetchError::Remote("no\u{fffd}way".to_owned()),
        ),
        (contents.add(Body::CutOff(1000)), FetchError::Changed),
        (contents.add(Body::Changing(1000)), FetchError::Changed),
        (contents.add(Body::Unreadable(0)), FetchError::Remote("the disk\u{fffd}is broken".to_owned())),
        (unknown, FetchError::NotHeld),
    ];
    let asked: Vec<_> = cases.iter().flat_map(|(content, _)| [*content, fine]).collect();
    let asked: Vec<_> = asked.into_iter().chain([fine]).collect();
    let answers = fetch_small(&up.link, asked).await;
    assert_eq!(answers[&fine].as_deref(), Ok(&b"fine"[..]));
    for (content, error) in &cases {
        assert_eq!(answers[content], Err(error.clone()));
        assert_eq!(fetch_ranges(&up.link, *content, &[(0, 900)]).await, Err(error.clone()));
    }
}

#[tokio::test]
async fn v3_an_error_in_the_middle_is_told_after_what_came_before() {
    let (_one, up, two, _) = linked().await;
    let broken = two.home.contents.add(Body::Unreadable(700_000));
    let mut fetch = up.link.fetch_ranges(crate::device::DIRECTORY, broken, vec![(0, 1 << 20)]);
    let mut came = 0;
    let error = loop {
        match soon(fetch.recv()).await.unwrap() {
            Ok((offset, bytes)) => {
                assert_eq!(offset, came);
                came += bytes.len() as u64;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, FetchError::Remote(_)) && came <= 700_000, "{error:?} after {came}");
    assert_eq!(soon(fetch.recv()).await, None);
}

#[tokio::test]
async fn h3_a_provider_that_panics_fails_that_request_alone() {
    let (_one, up, two, _) = linked().await;
    let panics = two.home.contents.add(Body::Panics);
    let fine = two.home.contents.add(Body::Pattern(1000));
    let answers = fetch_small(&up.link, vec![panics]).await;
    assert!(matches!(answers[&panics], Err(FetchError::Remote(_))));
    for _ in 0..50 {
        assert!(matches!(fetch_ranges(&up.link, panics, &[(0, 1)]).await, Err(FetchError::Remote(_))));
    }
    assert_eq!(fetch_ranges(&up.link, fine, &[(0, 1000)]).await, Ok(1000));
    assert!(fetch_small(&up.link, vec![fine]).await[&fine].is_ok());
}

#[tokio::test]
async fn s2_a_read_that_blocks_holds_up_itself_alone() {
    let (mut one, up, mut two, two_up) = linked().await;
    let gate = Arc::new(Gate::default());
    let stuck: Vec<_> = (0..4).map(|_| two.home.contents.add(Body::Blocks(gate.clone()))).collect();
    let fine = two.home.contents.add(Body::Pattern(1 << 20));
    let waiting: Vec<_> = stuck
        .iter()
        .map(|content| {
            let (link, content) = (up.link.clone(), *content);
            tokio::spawn(async move { fetch_small(&link, vec![content]).await.remove(&content).unwrap() })
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(fetch_ranges(&up.link, fine, &[(0, 1 << 20)]).await, Ok(1 << 20));
    }
    crate::device::talk(&mut one, &up.link, &mut two, &two_up.link).await;
    gate.open();
    for waiting in waiting {
        assert_eq!(soon(waiting).await.unwrap().unwrap().len(), 1 << 20);
    }
}

#[tokio::test]
async fn c7_a_disk_that_hangs_does_not_hold_up_other_directories() {
    let (_one, up, two, _) = linked().await;
    let gate = Arc::new(Gate::default());
    let n_stuck = 20;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..n_stuck {
        let (link, content) = (up.link.clone(), two.home.contents.add(Body::Blocks(gate.clone())));
        waiting.spawn(async move { fetch_small(&link, vec![content]).await.remove(&content).unwrap() });
    }
    let fine = two.home.contents.add(Body::Bytes(b"fine".to_vec()));
    for _ in 0..5 {
        let mut fetch = up.link.fetch_small(OTHER_DIRECTORY, vec![fine]);
        assert_eq!(soon(fetch.recv()).await.unwrap().1.as_deref(), Ok(&b"fine"[..]));
    }
    gate.open();
    for result in soon(waiting.join_all()).await {
        assert_eq!(result.unwrap().len(), 1 << 20);
    }
}

#[tokio::test]
async fn what_is_kept_is_told_as_far_as_it_is_to_be() {
    let (_one, up, two, _) = linked().await;
    let version = |seconds| KeptVersion {
        place: KeptPlace { path: SyncPath::parse(b"d/f").unwrap(), at: Time { seconds, nanoseconds: 5 } },
        value: Value::Symlink { target: b"target".as_slice().into() },
        written: Some(Time { seconds, nanoseconds: 7 }),
    };
    let question = |after: Option<i64>| KeptQuestion {
        path: SyncPath::root(),
        after: after.map(|seconds| version(seconds).place),
    };
    let fetch = |directory, after| soon(up.link.fetch_kept(directory, question(after)));
    assert_eq!(fetch(DIRECTORY, None).await, Err(FetchError::NotHeld));
    let page = KeptPage { versions: vec![version(1), version(2)], is_last: true };
    *two.home.contents.kept.lock().unwrap() = Some(page.clone());
    assert_eq!(fetch(DIRECTORY, None).await, Ok(page));
    let rest = KeptPage { versions: vec![version(2)], is_last: true };
    assert_eq!(fetch(DIRECTORY, Some(1)).await, Ok(rest));
    assert_eq!(fetch(OTHER_DIRECTORY, None).await, Err(FetchError::NotHeld));
    // An empty page that says nothing at all is one as well.
    *two.home.contents.kept.lock().unwrap() = Some(KeptPage::default());
    assert_eq!(fetch(DIRECTORY, None).await, Ok(KeptPage::default()));
}
