//! Strangers at the door: whoever is not paired costs little, learns nothing and harms nobody (H2).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::device::Device;
use crate::user::noise;
use crate::world::{JANUARY, check, settle, sharing};

/// A TLS alert is all that a stranger may get: it says that this is no handshake.
const ALERT_BYTES: usize = 7;

#[test]
fn h2_garbage_gets_no_answer_and_closes() {
    let (alpha, beta) = sharing();
    alpha.user().write("f", "secret", JANUARY);
    settle(&[&alpha, &beta]);
    let mut lines: Vec<Vec<u8>> = vec![
        b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0; 100_000],
        vec![0xff; 100_000],
        b"\x16\x03\x01\xff\xff".to_vec(),
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00".to_vec(),
        b"\x00\x00\x00\x04file-sync".to_vec(),
        Vec::new(),
    ];
    lines.extend((0..5).map(|seed| noise(seed, 10_000)));
    for line in lines {
        let answer = answer_to(&alpha, &line);
        let is_alert = answer.len() == ALERT_BYTES && answer[0] == 0x15;
        assert!(answer.is_empty() || is_alert, "{} bytes in answer to a stranger", answer.len());
    }
    alpha.user().write("g", "still there", JANUARY);
    check(&[&alpha, &beta], "f \"secret\"\ng \"still there\"");
}

#[test]
fn h2_many_silent_strangers_keep_no_remote_out() {
    let (mut alpha, mut beta) = sharing();
    let strangers: Vec<TcpStream> =
        (0..200).filter_map(|_| TcpStream::connect(alpha.address()).ok()).collect();
    assert!(strangers.len() > 100, "only {} strangers could connect", strangers.len());
    beta.stop();
    beta.begin();
    alpha.user().write("f", "bytes", JANUARY);
    check(&[&alpha, &beta], "f \"bytes\"");
    alpha.stop();
}

#[test]
fn h2_a_silent_stranger_is_sent_away() {
    let alpha = Device::start("alpha");
    let mut stranger = TcpStream::connect(alpha.address()).expect("alpha listens");
    stranger.set_read_timeout(Some(Duration::from_secs(60))).expect("a time to wait");
    let mut answer = Vec::new();
    // A reset is as good as an end.
    match stranger.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "still open after a minute")
        }
    }
    assert!(answer.len() <= ALERT_BYTES);
}

#[test]
fn h3_garbage_on_the_control_socket_harms_nobody() {
    let alpha = Device::start("alpha");
    let control = alpha.home().join("control.sock");
    for line in [
        &b"\x00\x01\x02"[..],
        b"GET / HTTP/9\r\n\r\n",
        b"POST /v1/files HTTP/1.1\r\ncontent-length: 9999999999\r\n\r\n",
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(&control).expect("the owner may connect");
        stream.write_all(line).expect("a write");
    }
    alpha.status();
}

/// What comes back for `bytes`, until the other side closes or ten seconds have passed.
fn answer_to(device: &Device, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(device.address()).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time to wait");
    // The server may hang up before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}
