//! How fast contents may go and come: no faster, whoever of the two sets the limit, and without anybody being given up.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use file_sync_core::version::ContentHash;
use file_sync_net::RatesMax;

use crate::contents::Body;
use crate::device::{Device, Home, Start, Up};
use crate::fetching::{fetch_ranges, fetch_small};

const RATE: u64 = 1 << 20;

async fn linked_with(rates: [RatesMax; 2]) -> (Device, Up, Device, Up) {
    let [mut one, mut two] = rates.map(|rates| Home::new().start(Start { rates, ..Start::default() }));
    one.trusts(&two);
    two.trusts(&one);
    one.dials(&two, two.address());
    let (up, other_up) = (one.up().await, two.up().await);
    (one, up, two, other_up)
}

/// How long it takes the first to fetch three seconds' worth of the second, of one content or of many.
async fn fetched(rates: [RatesMax; 2], is_large: bool) -> Duration {
    let (one, up, two, _two_up) = linked_with(rates).await;
    let start = Instant::now();
    if is_large {
        let content = two.home.contents.add(Body::Pattern(3 * RATE));
        let ranges: Vec<(u64, u32)> = (0..12).map(|n| (n * RATE / 4, RATE as u32 / 4)).collect();
        assert_eq!(fetch_ranges(&up.link, content, &ranges).await, Ok(3 * RATE));
    } else {
        let body = |n: u64| Body::Bytes([&n.to_be_bytes()[..], &[0; 30 << 10][..]].concat());
        let contents: Vec<ContentHash> = (0..103).map(|n| two.home.contents.add(body(n))).collect();
        let answers = fetch_small(&up.link, contents).await;
        assert!(answers.values().all(Result::is_ok));
    }
    let elapsed = start.elapsed();
    let speeds = [two.network.speeds().0, one.network.speeds().1];
    assert!(speeds.iter().all(|speed| *speed > 0), "{speeds:?}: both sides know how fast it goes");
    elapsed
}

#[tokio::test]
async fn contents_go_and_come_no_faster_than_they_may() {
    let max = NonZeroU64::new(RATE);
    let upload = [RatesMax::default(), RatesMax { upload: max, download: None }];
    let download = [RatesMax { upload: None, download: max }, RatesMax::default()];
    // What is not limited here: what the first sends, and what the second takes.
    let others = [RatesMax { upload: max, download: None }, RatesMax { upload: None, download: max }];
    for is_large in [true, false] {
        for rates in [upload, download] {
            let elapsed = fetched(rates, is_large).await;
            assert!(elapsed >= Duration::from_millis(2_500), "{rates:?}, large {is_large}: {elapsed:?}");
        }
        let unlimited = fetched(others, is_large).await;
        println!("3 MiB, large {is_large}: {unlimited:?} where the other direction alone is limited");
    }
}
