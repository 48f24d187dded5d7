//! Each fault does what it says, and no more.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use file_sync_proxy::{Proxy, Way};

use crate::{PATIENCE, echo, exchange};

fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    echo(listener);
    address
}

fn connected() -> (Proxy, TcpStream) {
    let proxy = Proxy::to(server()).unwrap();
    let stream = TcpStream::connect(proxy.address()).unwrap();
    (proxy, stream)
}

/// Different bytes for different places.
fn pattern(n_bytes: usize) -> Vec<u8> {
    (0..n_bytes).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// True if the other side ends the connection, in whichever way.
fn is_ended(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn a_good_line_passes_everything() {
    let (proxy, mut stream) = connected();
    let bytes = pattern(3 << 20);
    assert_eq!(exchange(&mut stream, &bytes).unwrap(), bytes);
    let counts = proxy.counts();
    assert_eq!((counts.accepted, counts.corrupted_bytes), (1, 0));
    passes(&proxy, 6 << 20);
}

/// A piece is counted when it has been passed on, which its receiver may see first.
#[track_caller]
fn passes(proxy: &Proxy, n_bytes: u64) {
    let began = Instant::now();
    while proxy.counts().passed_bytes < n_bytes && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(proxy.counts().passed_bytes, n_bytes);
}

#[test]
fn a_delay_is_added_and_does_not_divide_the_rate() {
    let (proxy, mut stream) = connected();
    proxy.set(|fault| fault.delay = Duration::from_millis(50));
    let bytes = pattern(8 << 20);
    let began = Instant::now();
    assert_eq!(exchange(&mut stream, &bytes).unwrap(), bytes);
    let took = began.elapsed();
    // Were each piece of 16 KiB to wait for the one before, it would take 25 s each way.
    assert!(took >= Duration::from_millis(100) && took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_rate_is_kept() {
    let (proxy, mut stream) = connected();
    proxy.set(|fault| fault.bytes_per_second = Some(1 << 20));
    let began = Instant::now();
    exchange(&mut stream, &pattern(512 << 10)).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
}

#[test]
fn one_way_stalls_and_goes_on() {
    for way in [Way::There, Way::Back, Way::Both] {
        let (proxy, mut stream) = connected();
        proxy.set(|fault| fault.stalled = Some(way));
        stream.write_all(b"hello").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        // What arrived there says which way it was that nothing passed.
        let arrived = if way == Way::Back { 5 } else { 0 };
        passes(&proxy, arrived);
        proxy.heal();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    }
}

#[test]
fn a_cut_ends_what_there_is_and_a_refusal_what_comes() {
    let (proxy, mut stream) = connected();
    assert_eq!(exchange(&mut stream, b"hello").unwrap(), b"hello");
    proxy.cut();
    assert!(is_ended(&mut stream));
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    assert_eq!(exchange(&mut stream, b"again").unwrap(), b"again");
    proxy.set(|fault| fault.refusing = true);
    assert_eq!(exchange(&mut stream, b"still").unwrap(), b"still");
    assert!(is_ended(&mut TcpStream::connect(proxy.address()).unwrap()));
}

#[test]
fn bytes_are_corrupted_about_as_often_as_asked() {
    let (proxy, mut stream) = connected();
    proxy.set(|fault| fault.corrupt_every_bytes = Some(1_000));
    let bytes = pattern(100_000);
    let back = exchange(&mut stream, &bytes).unwrap();
    let n_unlike = back.iter().zip(&bytes).filter(|(back, bytes)| back != bytes).count();
    // 200 are expected, after two ways.
    assert!((100..400).contains(&n_unlike), "{n_unlike}");
    assert!(proxy.counts().corrupted_bytes >= n_unlike as u64);
}

#[test]
fn a_dropped_proxy_frees_its_port_and_ends_its_connections() {
    let (proxy, mut stream) = connected();
    exchange(&mut stream, b"hello").unwrap();
    let address = proxy.address();
    drop(proxy);
    assert!(is_ended(&mut stream));
    assert!(TcpStream::connect(address).is_err());
}
