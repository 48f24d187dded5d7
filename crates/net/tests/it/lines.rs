//! Lines that stall, crawl or die without a word.

use std::time::Duration;

use file_sync_core::message::Message;
use file_sync_net::{FetchError, Timing};
use file_sync_proxy::{Proxy, Way};

use crate::contents::{Body, is_pattern};
use crate::device::{DIRECTORY, Device, PATIENCE, quick, soon, talk};

#[tokio::test]
async fn s3_an_idle_link_stays_up_on_keep_alive_alone() {
    let (mut one, mut two) = (Device::new(), Device::new());
    one.trusts(&two);
    two.trusts(&one);
    let proxy = Proxy::to(two.address()).unwrap();
    one.dials(&two, proxy.address());
    let (up, two_up) = (one.up().await, two.up().await);
    // Pings and pongs of some 30 bytes each.
    soon(proxy.pass(600)).await;
    one.has_no_more_events();
    two.has_no_more_events();
    talk(&mut one, &up.link, &mut two, &two_up.link).await;
}

#[tokio::test]
async fn s2_a_remote_that_died_without_a_word_is_noticed_and_found_again() {
    let watchful = Timing { dead_after: Duration::from_secs(2), ..quick() };
    let (mut one, mut two) = (Device::with(watchful), Device::with(watchful));
    one.trusts(&two);
    two.trusts(&one);
    let proxy = Proxy::to(two.address()).unwrap();
    one.dials(&two, proxy.address());
    let (up, two_up) = (one.up().await, two.up().await);
    let content = two.home.contents.add(Body::Pattern(64 << 20));
    let mut fetch = up.link.fetch_ranges(DIRECTORY, content, vec![(0, 64 << 20)]);
    soon(fetch.recv()).await.unwrap().unwrap();
    proxy.set(|fault| fault.stalled = Some(Way::Both));
    assert!(one.down(&up.link).await.contains("silent"));
    assert!(two.down(&two_up.link).await.contains("silent"));
    let last = soon(async {
        loop {
            match fetch.recv().await {
                Some(Ok(_)) => {}
                other => break other,
            }
        }
    })
    .await;
    assert!(matches!(last, Some(Err(FetchError::Closed))), "{last:?}");

    proxy.set(|fault| fault.stalled = None);
    let up = one.up().await;
    let mut fetch = up.link.fetch_ranges(DIRECTORY, content, vec![(0, 1000)]);
    let (offset, bytes) = soon(fetch.recv()).await.unwrap().unwrap();
    assert!(offset == 0 && bytes.len() == 1000 && is_pattern(0, &bytes));
}

/// Over a long way each takes three round trips: they are there before anything is asked for, whoever of the two joins.
#[tokio::test]
async fn content_connections_are_opened_while_a_directory_is_joined() {
    for one_joins in [true, false] {
        let (mut one, mut two) = (Device::new(), Device::new());
        one.trusts(&two);
        two.trusts(&one);
        let proxy = Proxy::to(two.address()).unwrap();
        one.dials(&two, proxy.address());
        let (up, two_up) = (one.up().await, two.up().await);
        assert_eq!(proxy.counts().accepted, 1, "nothing is opened for nothing");
        let joining = if one_joins { &up.link } else { &two_up.link };
        joining.send(Message::Join { directory: DIRECTORY }).await.unwrap();
        soon(async {
            while proxy.counts().accepted < 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn s2_content_connections_that_break_are_made_again() {
    let (one, mut two) = (Device::new(), Device::new());
    let mut one = one;
    one.trusts(&two);
    two.trusts(&one);
    let proxy = Proxy::to(two.address()).unwrap();
    one.dials(&two, proxy.address());
    let content = two.home.contents.add(Body::Pattern(256 << 20));
    for _ in 0..3 {
        let (up, two_up) = (one.up().await, two.up().await);
        // Each side asks: only one of them can dial.
        let own = one.home.contents.add(Body::Pattern(256 << 20));
        let mut there =
            up.link.fetch_ranges(DIRECTORY, content, vec![(0, 128 << 20), (128 << 20, 128 << 20)]);
        let mut here = two_up.link.fetch_ranges(DIRECTORY, own, vec![(0, 256 << 20)]);
        for fetch in [&mut there, &mut here] {
            soon(fetch.recv()).await.unwrap().unwrap();
        }
        proxy.cut();
        for fetch in [&mut there, &mut here] {
            let last = soon(async {
                loop {
                    match fetch.recv().await {
                        Some(Ok((offset, bytes))) => assert!(is_pattern(offset, &bytes)),
                        other => break other,
                    }
                }
            })
            .await;
            assert!(matches!(last, Some(Err(FetchError::Closed))), "{last:?}");
        }
        one.down(&up.link).await;
        two.down(&two_up.link).await;
        assert!(matches!(up.link.fetch_chunk_list(DIRECTORY, content).await, Err(FetchError::Closed)));
    }
}

#[tokio::test]
async fn a_slow_line_is_not_a_dead_one() {
    let watchful = Timing { dead_after: Duration::from_secs(5), ..quick() };
    let (mut one, mut two) = (Device::with(watchful), Device::with(watchful));
    one.trusts(&two);
    two.trusts(&one);
    let proxy = Proxy::to(two.address()).unwrap();
    // The content takes twice as long as a silent link would live.
    proxy.set(|fault| (fault.bytes_per_second, fault.delay) = (Some(100_000), Duration::from_millis(5)));
    one.dials(&two, proxy.address());
    let (up, two_up) = (one.up().await, two.up().await);
    let content = two.home.contents.add(Body::Pattern(1_000_000));
    let mut fetch = up.link.fetch_ranges(DIRECTORY, content, vec![(0, 1_000_000)]);
    let mut bytes = 0;
    while let Some(piece) = soon(fetch.recv()).await {
        bytes += piece.unwrap().1.len();
    }
    assert_eq!(bytes, 1_000_000);
    talk(&mut one, &up.link, &mut two, &two_up.link).await;
}

#[tokio::test]
async fn a_link_in_doubt_is_given_up_sooner() {
    // The smaller device id has a link that it dialed; the other dials again, as if it had lost it.
    let doubtful = Timing { dead_after: PATIENCE * 100, probe: Duration::from_millis(500), ..quick() };
    let (one, two) = (Device::with(doubtful), Device::with(doubtful));
    let (mut smaller, mut larger) = if one.id() < two.id() { (one, two) } else { (two, one) };
    smaller.trusts(&larger);
    larger.trusts(&smaller);
    let proxy = Proxy::to(larger.address()).unwrap();
    smaller.dials(&larger, proxy.address());
    let (up, larger_up) = (smaller.up().await, larger.up().await);
    // The line dies, but only the larger one's side hears of it.
    proxy.set(|fault| fault.stalled = Some(Way::Both));
    larger_up.link.close("lost");
    larger.dials(&smaller, smaller.address());
    assert!(smaller.down(&up.link).await.contains("silent"));
    let (up, larger_up) = (smaller.up().await, larger.up().await);
    talk(&mut smaller, &up.link, &mut larger, &larger_up.link).await;
}

#[tokio::test]
async fn s2_a_stalled_line_does_not_hold_up_a_shutdown() {
    let (mut one, mut two) = (Device::new(), Device::new());
    one.trusts(&two);
    two.trusts(&one);
    let proxy = Proxy::to(two.address()).unwrap();
    one.dials(&two, proxy.address());
    one.up().await;
    two.up().await;
    proxy.set(|fault| fault.stalled = Some(Way::Both));
    let began = std::time::Instant::now();
    one.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
