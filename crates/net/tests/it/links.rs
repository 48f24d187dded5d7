//! Links between paired devices: exactly one, the same on both sides, and again when it was lost.

use std::time::{Duration, Instant};

use file_sync_core::message::Message;
use file_sync_net::{NetEvent, Timing, TrySendError};
use file_sync_proxy::{Proxy, Way};

use crate::device::{Device, Home, PATIENCE, Start, linked, linked_through, quick, say, soon, talk};

#[tokio::test]
async fn both_sides_link_and_messages_come_in_order() {
    let (mut one, up, mut two, other_up) = linked().await;
    assert_eq!((up.hello.name.as_str(), up.hello.incarnation), ("device", 1));
    assert_eq!(up.hello.addresses, [two.address().to_string()]);
    assert_eq!(other_up.hello.addresses, [one.address().to_string()]);
    let sender = up.link.clone();
    let sending = tokio::spawn(async move {
        for token in 0..1000 {
            sender.send(say(token)).await.unwrap();
        }
    });
    for token in 0..1000 {
        two.hears(&other_up.link, token).await;
    }
    sending.await.unwrap();
    talk(&mut one, &up.link, &mut two, &other_up.link).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_devices_that_dial_at_once_agree_on_one_link() {
    for round in 0..25 {
        let (mut one, mut two) = (Device::new(), Device::new());
        one.trusts(&two);
        two.trusts(&one);
        let (to_one, to_two) = (Proxy::to(one.address()).unwrap(), Proxy::to(two.address()).unwrap());
        let delay = Duration::from_millis(round % 5);
        to_one.set(|fault| fault.delay = delay);
        to_two.set(|fault| fault.delay = delay);
        one.dials(&two, to_two.address());
        two.dials(&one, to_one.address());
        let (up, other_up) = (one.up().await, two.up().await);
        talk(&mut one, &up.link, &mut two, &other_up.link).await;
        // Whatever was left of the other attempt has been answered by now, or is while this is said.
        talk(&mut one, &up.link, &mut two, &other_up.link).await;
        one.has_no_more_events();
        two.has_no_more_events();
    }
}

#[tokio::test]
async fn s2_a_link_that_was_cut_comes_back() {
    let (mut one, mut two) = (Device::new(), Device::new());
    one.trusts(&two);
    two.trusts(&one);
    let proxy = Proxy::to(two.address()).unwrap();
    one.dials(&two, proxy.address());
    for _ in 0..5 {
        let (up, other_up) = (one.up().await, two.up().await);
        talk(&mut one, &up.link, &mut two, &other_up.link).await;
        proxy.cut();
        one.down(&up.link).await;
        two.down(&other_up.link).await;
        assert!(up.link.send(say(1)).await.is_err());
        assert!(matches!(up.link.try_send(say(1)), Err(TrySendError::Closed)));
    }
}

#[tokio::test]
async fn s2_whichever_side_restarts_is_linked_again() {
    let (mut one, up, mut two, _) = linked().await;
    let address = two.address();
    let home = two.stop().await;
    assert!(one.down(&up.link).await.contains("goodbye: shutting down"));
    two = home.start(Start { listen: address, incarnation: 2, ..Start::default() });
    let up = one.up().await;
    assert_eq!(up.hello.incarnation, 2);
    let two_up = two.up().await;

    let home = one.stop().await;
    two.down(&two_up.link).await;
    one = home.start(Start { incarnation: 3, ..Start::default() });
    one.dials(&two, address);
    let (up, two_up) = (one.up().await, two.up().await);
    assert_eq!(two_up.hello.incarnation, 3);
    talk(&mut one, &up.link, &mut two, &two_up.link).await;
}

#[tokio::test]
async fn s2_a_remote_that_restarted_behind_a_dead_line_is_linked_at_once() {
    // The old connection is half open: this side hears nothing of its end, and would wait for long.
    let patient =
        Timing { dead_after: Duration::from_secs(3600), probe: Duration::from_secs(3600), ..quick() };
    for dialer_restarts in [false, true] {
        let (mut one, mut two) = (Device::with(patient), Device::with(patient));
        one.trusts(&two);
        two.trusts(&one);
        let proxy = Proxy::to(two.address()).unwrap();
        one.dials(&two, proxy.address());
        let (up, two_up) = (one.up().await, two.up().await);
        proxy.set(|fault| fault.stalled = Some(Way::Both));
        let start = Start { incarnation: 2, timing: patient, ..Start::default() };
        let (stays, link, restarted) = match dialer_restarts {
            true => (two, two_up.link, one.stop().await),
            false => (one, up.link, two.stop().await),
        };
        let (mut stays, mut restarted) = (stays, restarted.start(start));
        restarted.dials(&stays, stays.address());
        assert!(stays.down(&link).await.contains("replaced"));
        let (up, other_up) = (stays.up().await, restarted.up().await);
        talk(&mut stays, &up.link, &mut restarted, &other_up.link).await;
    }
}

#[tokio::test]
async fn s2_an_address_that_the_remote_announced_is_dialed() {
    let (mut one, up, mut two, _) = linked().await;
    let home = two.stop().await;
    one.down(&up.link).await;
    // It moves to another port, says so once, and then waits to be found there.
    two = home.start(Start { incarnation: 2, ..Start::default() });
    let moved = two.address();
    two.dials(&one, one.address());
    let up = one.up().await;
    let home = two.stop().await;
    one.down(&up.link).await;
    two = home.start(Start { listen: moved, incarnation: 3, ..Start::default() });
    let (up, two_up) = (one.up().await, two.up().await);
    talk(&mut one, &up.link, &mut two, &two_up.link).await;
}

#[tokio::test]
async fn dialing_backs_off() {
    let first = Duration::from_millis(100);
    let mut one = Device::with(Timing { backoff_first: first, backoff_longest: PATIENCE * 10, ..quick() });
    let two = Device::new();
    one.trusts(&two);
    two.trusts(&one);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.dials(&two, listener.local_addr().unwrap());
    drop(soon(listener.accept()).await.unwrap());
    let mut before = Instant::now();
    // Whoever configures also wakes, so the first wait may be none.
    drop(soon(listener.accept()).await.unwrap());
    for doubled in 1..5u32 {
        drop(soon(listener.accept()).await.unwrap());
        let waited = before.elapsed();
        assert!(waited >= first * 2u32.pow(doubled - 1) / 2, "{doubled}: {waited:?}");
        before = Instant::now();
    }
    // By now it waits for long, unless it is told that the remote may have come nearer.
    one.dials(&two, two.address());
    one.up().await;
}

#[tokio::test]
async fn s2_two_homes_with_one_key_do_not_wear_each_other_out() {
    // A cloned machine beside its original: each takes the place of the other, which then dials again.
    let first = Duration::from_millis(100);
    let timing = Timing { backoff_first: first, backoff_longest: PATIENCE * 10, ..quick() };
    let (mut one, original) = (Device::with(timing), Device::with(timing));
    one.trusts(&original);
    original.trusts(&one);
    let copied = Home {
        directory: tempfile::tempdir().unwrap(),
        identity: original.home.identity.clone(),
        ..Home::new()
    };
    let clone = copied.start(Start { incarnation: 2, timing, ..Start::default() });
    clone.trusts(&one);
    let begun = Instant::now();
    for mut home in [original, clone] {
        home.dials(&one, one.address());
        let to = one.address();
        tokio::spawn(async move {
            // As a server does: whenever it is connected, it configures what the remote announces.
            while let Some(event) = home.events.recv().await {
                if let NetEvent::Up { device, .. } = event {
                    home.network.set_remote(device, vec![to.to_string()]);
                }
            }
        });
    }
    let n_links = 6;
    for _ in 0..n_links {
        one.up().await;
    }
    // Each of the two made half of them, and waited 100, 200, … ms, or half as long, before all but its first.
    assert!(begun.elapsed() >= (first + first * 2) / 2, "{n_links} links within {:?}", begun.elapsed());
}

#[tokio::test]
async fn dialing_is_done_at_once_when_there_is_reason_to() {
    let one =
        Device::with(Timing { backoff_first: PATIENCE * 10, backoff_longest: PATIENCE * 10, ..quick() });
    let two = Device::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.dials(&two, listener.local_addr().unwrap());
    for _ in 0..5 {
        drop(soon(listener.accept()).await.unwrap());
        one.network.dial_now(two.id());
    }
}

#[tokio::test]
async fn h2_a_forgotten_remote_stays_away() {
    let (mut one, up, mut two, two_up) = linked().await;
    one.home.trust.remove(two.id());
    one.network.forget(two.id());
    assert!(one.down(&up.link).await.contains("removed"));
    assert!(two.down(&two_up.link).await.contains("goodbye: this device was removed"));
    two.dials(&one, one.address());
    assert!(two.refused().await.contains("may have removed this device"));
    loop {
        match one.event().await {
            NetEvent::Refused { device, reason, .. } => {
                assert_eq!(device, Some(two.id()));
                assert!(reason.contains("not paired"), "{reason}");
                break;
            }
            NetEvent::Up { .. } => panic!("linked again"),
            _ => {}
        }
    }
    two.has_no_more_events();
    // Paired again, it is as before.
    one.trusts(&two);
    one.dials(&two, two.address());
    let (up, two_up) = (one.up().await, two.up().await);
    talk(&mut one, &up.link, &mut two, &two_up.link).await;
}

#[tokio::test]
async fn a_remote_is_told_why_a_link_was_closed_and_it_comes_back() {
    let (mut one, up, mut two, two_up) = linked().await;
    two_up.link.close("for a test");
    assert!(one.down(&up.link).await.contains("goodbye: for a test"));
    assert_eq!(two.down(&two_up.link).await, "for a test");
    let (up, two_up) = (one.up().await, two.up().await);
    talk(&mut one, &up.link, &mut two, &two_up.link).await;
}

#[tokio::test]
async fn h3_a_server_that_is_slow_to_listen_slows_the_remote_down() {
    let (mut one, mut two) = (Device::new(), Home::new().start(Start { events_max: 1, ..Start::default() }));
    one.trusts(&two);
    two.trusts(&one);
    one.dials(&two, two.address());
    let (up, two_up) = (one.up().await, two.up().await);
    // Messages of 1 MB each, which nobody takes: queues and buffers are full before long.
    let message = |token| Message::Joined {
        directory: crate::device::DIRECTORY,
        result: Err(format!("{token:07}").repeat(100_000)),
    };
    let mut sent = 0;
    let full = async {
        loop {
            match up.link.try_send(message(sent)) {
                Ok(()) => sent += 1,
                Err(TrySendError::Full(_)) if sent > 200 => panic!("no end to it"),
                Err(TrySendError::Full(_)) => {
                    // Full for good, or only until the writer had its turn?
                    let again =
                        tokio::time::timeout(Duration::from_millis(500), up.link.send(message(sent))).await;
                    match again {
                        Ok(result) => result.unwrap(),
                        Err(_) => break,
                    }
                    sent += 1;
                }
                Err(TrySendError::Closed) => panic!("closed"),
            }
        }
    };
    soon(full).await;
    for token in 0..sent {
        match two.event().await {
            NetEvent::Message { link_id, message: got, .. } => {
                assert_eq!((link_id, got == message(token)), (two_up.link.id(), true), "{token}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_link_here_not_there() {
    let (mut one, up, mut two, two_up) = linked().await;
    let message = Message::Joined { directory: crate::device::DIRECTORY, result: Err("x".repeat(9 << 20)) };
    up.link.send(message).await.unwrap();
    assert!(one.down(&up.link).await.contains("too long to be sent"));
    assert!(two.down(&two_up.link).await.contains("too long to be sent"));
    one.up().await;
}

#[tokio::test]
async fn a_dropped_network_ends_and_frees_its_port() {
    let (one, _, mut two, two_up) = linked_through(None, quick()).await;
    let address = one.address();
    drop(one);
    two.down(&two_up.link).await;
    soon(async {
        while tokio::net::TcpSocket::new_v4().unwrap().connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
