//! The proxy between a client and a server that sends back what it gets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod islands;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Longer than anything takes, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends back whatever comes, on every connection, for as long as the test runs.
fn echo(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
}

/// Sends bytes and returns as many that came back.
fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut back = vec![0; bytes.len()];
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut sender = stream.try_clone()?;
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(bytes));
        stream.read_exact(&mut back)
    })?;
    Ok(back)
}
