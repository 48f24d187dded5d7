//! Devices that are not paired: a bounded handshake each, and not a byte.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use file_sync_core::message::PROTOCOL_VERSION;
use file_sync_net::{NetEvent, Timing};
use file_sync_wire::preamble::{PairRole, Preamble, Role, encode_preamble};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::device::{Device, Home, quick, soon};
use crate::raw::{Raw, config, config_with, frame, tcp};

/// Handshakes that a listener has under way at once, and of those from one address.
const HANDSHAKES: usize = 64;
const HANDSHAKES_HERE: usize = 16;

fn impatient() -> Timing {
    Timing { handshake: Duration::from_millis(300), ..quick() }
}

/// Waits until the other side has closed, and returns how many bytes came before.
async fn closed(mut stream: TcpStream) -> usize {
    let mut bytes = Vec::new();
    // A reset is as good an end as any.
    _ = stream.read_to_end(&mut bytes).await;
    bytes.len()
}

async fn works(device: &mut Device, from: &Device) {
    device.trusts(from);
    from.trusts(device);
    from.dials(device, device.address());
    device.up().await;
}

#[tokio::test]
async fn h2_an_unpaired_device_gets_no_byte_whatever_it_asks_for() {
    let mut device = Device::with(impatient());
    let stranger = Home::new();
    let pair = PairRole { secret: [1; 16], name: "me".to_owned(), addresses: vec![] };
    let control = Role::Control { link: 1, incarnation: 1 };
    let preamble =
        |role, protocol| encode_preamble(&Preamble { protocol_min: protocol, protocol_max: protocol, role });
    let openings = [
        frame(&preamble(control.clone(), 1)),
        frame(&preamble(Role::Content { link: 1 }, 1)),
        frame(&preamble(Role::Pair(pair.clone()), 1)),
        frame(&preamble(control, 99)),
        frame(&preamble(Role::Pair(pair), 99)),
        frame(&[]),
        frame(b"garbage"),
        frame(&[0; 4096]),
        u32::to_be_bytes(4097).to_vec(),
        u32::MAX.to_be_bytes().to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![],
    ];
    for opening in openings {
        let mut raw = Raw::connect(&stranger, device.address()).await;
        raw.send_bytes(&opening).await;
        assert_eq!(raw.drained().await, 0, "{opening:?}");
    }
    works(&mut device, &Device::new()).await;
}

#[tokio::test]
async fn h2_who_says_nothing_or_too_slowly_is_dropped() {
    let mut device = Device::with(impatient());
    let address = device.address();
    let stranger = Home::new();
    let mut dropped = JoinSet::new();
    dropped.spawn(closed(tcp(1, address).await));
    let mut half = tcp(1, address).await;
    half.write_all(&[22, 3, 1, 2]).await.unwrap();
    dropped.spawn(closed(half));
    dropped.spawn(Raw::connect(&stranger, address).await.drained());
    let mut slow = Raw::connect(&stranger, address).await;
    dropped.spawn(async move {
        // Each byte comes soon after the last; it is the whole that takes too long.
        while slow.stream.write_all(&[0]).await.is_ok() && slow.stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        0
    });
    assert_eq!(soon(dropped.join_all()).await, [0; 4]);
    works(&mut device, &Device::new()).await;
}

#[tokio::test]
async fn h2_only_who_shows_an_ed25519_certificate_comes_in() {
    let mut device = Device::with(impatient());
    let home = Home::new();
    let other_key = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(other_key.signing_key.serialize_der()).unwrap();
    let shown = |certificate| config_with(Some((certificate, key.clone_key())));
    let configs = [config_with(None), shown(other_key.cert.der().clone())];
    for config in configs {
        let raw = Raw::connect_with(config, tcp(1, device.address()).await).await;
        if let Ok(raw) = raw {
            assert_eq!(raw.drained().await, 0);
        }
    }
    device.has_no_more_events();
    // The same way of connecting works with the right key.
    assert!(Raw::connect_with(config(&home), tcp(1, device.address()).await).await.is_ok());
    works(&mut device, &Device::new()).await;
}

/// Connects silently from an address of loopback, so often, and waits until the listener has closed all but `kept`.
async fn crowd(to: SocketAddr, from: &[u8], each: usize, kept: usize) -> JoinSet<usize> {
    let mut waiting = JoinSet::new();
    for from in from {
        for _ in 0..each {
            waiting.spawn(closed(tcp(*from, to).await));
        }
    }
    for _ in 0..from.len() * each - kept {
        assert_eq!(soon(waiting.join_next()).await.unwrap().unwrap(), 0);
    }
    assert_eq!(waiting.len(), kept);
    waiting
}

#[tokio::test]
async fn h2_one_address_does_not_keep_others_out() {
    let mut device = Device::new();
    let crowd = crowd(device.address(), &[2], HANDSHAKES_HERE + 50, HANDSHAKES_HERE).await;
    works(&mut device, &Device::new()).await;
    // Nor itself, once it has gone.
    let home = Home::new();
    device.home.trust.add(home.id());
    let again = Raw::connect_with(config(&home), tcp(2, device.address()).await).await;
    assert!(again.is_err(), "one more was let in");
    drop(crowd);
    loop {
        let stream = tcp(2, device.address()).await;
        if let Ok(mut raw) = Raw::connect_with(config(&home), stream).await {
            let role = Role::Control { link: 1, incarnation: 1 };
            raw.send(&encode_preamble(&Preamble {
                protocol_min: PROTOCOL_VERSION,
                protocol_max: PROTOCOL_VERSION,
                role,
            }))
            .await;
            if raw.answer().await.is_some() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn h2_handshakes_are_bounded_in_all() {
    let mut device = Device::new();
    let crowd = crowd(device.address(), &[2, 3, 4, 5, 6, 7], HANDSHAKES_HERE, HANDSHAKES).await;
    let home = Home::new();
    assert!(Raw::connect_with(config(&home), tcp(8, device.address()).await).await.is_err());
    drop(crowd);
    works(&mut device, &Device::new()).await;
}

#[tokio::test]
async fn h2_strangers_do_not_fill_the_log() {
    let mut device = Device::new();
    let stranger = Home::new();
    let began = Instant::now();
    for _ in 0..30 {
        let role = Role::Control { link: 1, incarnation: 1 };
        assert_eq!(Raw::asking(&stranger, device.address(), role).await.drained().await, 0);
    }
    let at_most = began.elapsed().as_secs() as usize + 1;
    works(&mut device, &Device::new()).await;
    let mut told = 0;
    while let Ok(event) = device.events.try_recv() {
        told += usize::from(matches!(event, NetEvent::Refused { .. }));
    }
    assert!(told <= at_most, "{told}");
}

#[tokio::test]
async fn h2_a_stranger_that_knocks_is_told_of() {
    let mut device = Device::new();
    let stranger = Home::new();
    let role = Role::Control { link: 1, incarnation: 1 };
    assert_eq!(Raw::asking(&stranger, device.address(), role).await.drained().await, 0);
    match device.event().await {
        NetEvent::Refused { device, reason, .. } => {
            assert_eq!(device, Some(stranger.id()));
            assert!(reason.contains("not paired"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_device_that_meets_itself_does_not_link() {
    let device = Device::new();
    // Even where somebody paired it with itself.
    device.home.trust.add(device.id());
    let role = Role::Control { link: 1, incarnation: 1 };
    assert_eq!(Raw::asking(&device.home, device.address(), role).await.drained().await, 0);
}
