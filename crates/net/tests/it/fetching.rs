//! Fetching contents: small ones many at a time, large ones by ranges, at the pace of whoever takes them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use file_sync_core::version::{ContentHash, DirectoryId};
use file_sync_net::{FetchError, Link, SMALL_BYTES_MAX};

use crate::contents::{Body, is_pattern};
use crate::device::{DIRECTORY, linked, soon};

pub(crate) async fn fetch_small(
    link: &Link,
    contents: Vec<ContentHash>,
) -> BTreeMap<ContentHash, Result<Bytes, FetchError>> {
    let n_contents = contents.len();
    let mut fetch = link.fetch_small(DIRECTORY, contents);
    let mut answers = BTreeMap::new();
    let mut n_answers = 0;
    while let Some((content, answer)) = soon(fetch.recv()).await {
        n_answers += 1;
        answers.insert(content, answer);
    }
    assert_eq!(n_answers, n_contents, "one answer each");
    answers
}

/// Fetches ranges and checks that they are what was asked for; returns the bytes of all.
pub(crate) async fn fetch_ranges(
    link: &Link,
    content: ContentHash,
    ranges: &[(u64, u32)],
) -> Result<u64, FetchError> {
    let mut missing: BTreeMap<u64, u32> = ranges.iter().copied().filter(|(_, length)| *length > 0).collect();
    let mut fetch = link.fetch_ranges(DIRECTORY, content, ranges.to_vec());
    let mut total = 0;
    while let Some(piece) = soon(fetch.recv()).await {
        let (offset, bytes) = piece?;
        assert!(is_pattern(offset, &bytes), "at {offset}");
        total += bytes.len() as u64;
        if bytes.is_empty() {
            continue;
        }
        let left = missing.remove(&offset).expect("the next part of a range") - bytes.len() as u32;
        if left > 0 {
            missing.insert(offset + bytes.len() as u64, left);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    Ok(total)
}

#[tokio::test]
async fn many_small_contents_come_in_one_exchange_both_ways() {
    let (one, up, two, two_up) = linked().await;
    let body = |n: usize| vec![n as u8; n * 7 % 5000];
    let add = |contents: &crate::contents::Contents| -> Vec<ContentHash> {
        (0..2000usize).map(|n| contents.add(Body::Bytes([&n.to_be_bytes()[..], &body(n)].concat()))).collect()
    };
    let (there, here) = (add(&two.home.contents), add(&one.home.contents));
    let (got_there, got_here) =
        tokio::join!(fetch_small(&up.link, there.clone()), fetch_small(&two_up.link, here.clone()));
    for (asked, answers) in [(there, got_there), (here, got_here)] {
        assert_eq!(answers.len(), asked.len());
        for content in asked {
            assert_eq!(ContentHash::of(answers[&content].as_ref().unwrap()), content);
        }
    }
}

#[tokio::test]
async fn empty_and_largest_small_contents_come_whole_and_larger_ones_do_not() {
    let (_one, up, two, _) = linked().await;
    let contents = &two.home.contents;
    let empty = contents.add(Body::Bytes(vec![]));
    let largest = contents.add(Body::Bytes(vec![7; SMALL_BYTES_MAX as usize]));
    let larger = contents.add(Body::Bytes(vec![7; SMALL_BYTES_MAX as usize + 1]));
    let many: Vec<_> =
        (0..20).map(|n| contents.add(Body::Bytes(vec![n; SMALL_BYTES_MAX as usize]))).collect();
    let answers = fetch_small(&up.link, [vec![empty, largest, larger], many.clone()].concat()).await;
    assert_eq!(answers[&empty], Ok(Bytes::new()));
    assert_eq!(answers[&largest].as_ref().unwrap().len() as u64, SMALL_BYTES_MAX);
    assert_eq!(answers[&larger], Err(FetchError::TooLarge));
    assert!(many.iter().all(|content| ContentHash::of(answers[content].as_ref().unwrap()) == *content));
    assert!(fetch_small(&up.link, vec![]).await.is_empty());
}

#[tokio::test]
async fn ranges_of_a_large_content_come_as_asked() {
    let (_one, up, two, _) = linked().await;
    let length = (1u64 << 33) + 12_345;
    let content = two.home.contents.add(Body::Pattern(length));
    let ranges: Vec<(u64, u32)> = vec![
        (0, 1),
        (1, 0),
        (5, 256 << 10),
        (1 << 20, (256 << 10) + 1),
        (1 << 32, 20 << 20),
        (length - 10, 10),
        (length, 0),
    ];
    let expected = ranges.iter().map(|(_, length)| u64::from(*length)).sum();
    assert_eq!(fetch_ranges(&up.link, content, &ranges).await, Ok(expected));
    let many: Vec<(u64, u32)> = (0..3000).map(|n| (n * 10_000, 4096)).collect();
    assert_eq!(fetch_ranges(&up.link, content, &many).await, Ok(3000 * 4096));
    assert_eq!(fetch_ranges(&up.link, content, &[]).await, Ok(0));
    let beyond = fetch_ranges(&up.link, content, &[(length - 1, 2)]).await;
    assert!(matches!(beyond, Err(FetchError::Remote(_))), "{beyond:?}");
}

#[tokio::test]
async fn chunk_lists_come_whole_however_long() {
    let (_one, up, two, _) = linked().await;
    for n_chunks in [0, 1, 1000, 200_000] {
        let (content, list) = two.home.contents.add_list(12, n_chunks);
        assert_eq!(soon(up.link.fetch_chunk_list(DIRECTORY, content)).await, Ok((12, list)));
    }
    let unknown = ContentHash::of(b"unknown");
    assert_eq!(soon(up.link.fetch_chunk_list(DIRECTORY, unknown)).await, Err(FetchError::NotHeld));
}

#[tokio::test]
async fn h4_contents_of_another_directory_are_not_held() {
    let (_one, up, two, _) = linked().await;
    let (content, _) = two.home.contents.add_list(12, 1);
    let other = DirectoryId([1; 16]);
    let mut small = up.link.fetch_small(other, vec![content]);
    assert_eq!(soon(small.recv()).await, Some((content, Err(FetchError::NotHeld))));
    assert_eq!(soon(up.link.fetch_chunk_list(other, content)).await, Err(FetchError::NotHeld));
    let mut ranges = up.link.fetch_ranges(other, content, vec![(0, 1), (1, 1)]);
    assert_eq!(soon(ranges.recv()).await, Some(Err(FetchError::NotHeld)));
    assert_eq!(soon(ranges.recv()).await, None, "one error is enough");
}

#[tokio::test]
async fn h3_a_receiver_that_is_slow_is_not_run_over() {
    let (_one, up, two, _) = linked().await;
    let contents = &two.home.contents;
    let large = contents.add(Body::Pattern(1 << 30));
    let small: Vec<_> = (0..200).map(|n| contents.add(Body::Bytes(vec![n; 1 << 20]))).collect();
    let ranges = (0..1024).map(|n| (n << 20, 1 << 20)).collect();
    let mut slow_ranges = up.link.fetch_ranges(DIRECTORY, large, ranges);
    let mut slow_small = up.link.fetch_small(DIRECTORY, small);
    soon(slow_ranges.recv()).await.unwrap().unwrap();
    assert!(soon(slow_small.recv()).await.unwrap().1.is_ok());
    // Others are served meanwhile, many times over, and those two stand still.
    let quick = contents.add(Body::Pattern(1 << 30));
    for n in 0..8 {
        assert_eq!(fetch_ranges(&up.link, quick, &[(n << 24, 8 << 20)]).await, Ok(8 << 20));
    }
    let read = contents.read_bytes.load(Ordering::Relaxed) - (64 << 20);
    // Two windows of 8 MiB, what the other side has read ahead for them, and what waits in the receivers.
    assert!(read < 40 << 20, "{read}");
    // They are not broken off for it.
    for _ in 0..100 {
        soon(slow_ranges.recv()).await.unwrap().unwrap();
        assert!(soon(slow_small.recv()).await.unwrap().1.is_ok());
    }
    // Who goes leaves nothing behind: there is room for many more after them.
    drop((slow_ranges, slow_small));
    for n in 0..100 {
        drop(up.link.fetch_ranges(DIRECTORY, large, vec![(n, 64 << 20)]));
        drop(up.link.fetch_small(DIRECTORY, vec![large]));
    }
    assert_eq!(fetch_ranges(&up.link, quick, &[(0, 8 << 20)]).await, Ok(8 << 20));
}

#[tokio::test]
async fn many_fetches_at_once_all_end() {
    let (one, up, two, two_up) = linked().await;
    let (there, here) =
        (two.home.contents.add(Body::Pattern(1 << 30)), one.home.contents.add(Body::Pattern(1 << 30)));
    let mut fetches = tokio::task::JoinSet::new();
    for n in 0..60 {
        let (link, content) = if n % 2 == 0 { (up.link.clone(), there) } else { (two_up.link.clone(), here) };
        fetches
            .spawn(async move { fetch_ranges(&link, content, &[(n << 20, 1 << 20), (500 << 20, 10)]).await });
    }
    for result in soon(fetches.join_all()).await {
        assert_eq!(result, Ok((1 << 20) + 10));
    }
}
