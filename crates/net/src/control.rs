//! The control connection of a link, from hello to goodbye.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use file_sync_core::message::{Hello, MESSAGE_BYTES_MAX, Message};
use file_sync_wire::preamble::ADDRESSES_MAX;
use file_sync_wire::{decode_message, encode_content_wanted, encode_message, is_content_wanted};
use tokio::sync::MutexGuard;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::connection::{Connection, Reader, Writer};
use crate::content;
use crate::event::NetEvent;
use crate::frame::push_frame;
use crate::link::{Link, Queues, Urgent};
use crate::network::Shared;
use crate::remote::Remote;
use crate::text::one_line;
use crate::waiting::Waiting;

/// How long a goodbye may take.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);
/// Written at once, in bytes, while there is more to write.
const WRITE_BYTES: usize = 64 * 1024;

/// Runs a link that was agreed on until it ends. `accept` is the listener's answer, still to be sent.
pub(crate) async fn run(
    shared: Arc<Shared>,
    remote: Arc<Remote>,
    link: Link,
    queues: Queues,
    connection: Connection,
    accept: Option<Vec<u8>>,
) {
    let live = shared.count_link();
    // Whoever is replaced meanwhile makes way at once: however many connections a remote makes, it has one.
    tokio::select! {
        biased;
        _ = link.stop().stopped() => {}
        begun = begin_in_turn(&shared, &remote, connection, accept) => match begun {
            Ok((connection, hello, running)) => {
                remote.announce(&hello.addresses, link.id(), hello.incarnation);
                link.close(&run_up(&shared, &link, queues, connection, hello).await);
                drop(running);
            }
            Err((address, reason)) => {
                shared.refused(Some(remote.device), address, &reason);
                link.close(&reason);
            }
        },
    }
    remote.ended(link.id());
    drop(live);
}

/// Exchanges hellos when the link before this one, which was told to end, has ended; its events come first.
async fn begin_in_turn<'a>(
    shared: &Shared,
    remote: &'a Remote,
    connection: Connection,
    accept: Option<Vec<u8>>,
) -> Result<(Connection, Hello, MutexGuard<'a, ()>), (SocketAddr, String)> {
    let address = connection.address;
    let running = remote.running.lock().await;
    let (connection, hello) = begin(shared, connection, accept).await.map_err(|reason| (address, reason))?;
    Ok((connection, hello, running))
}

/// Exchanges hellos.
async fn begin(
    shared: &Shared,
    mut connection: Connection,
    accept: Option<Vec<u8>>,
) -> Result<(Connection, Hello), String> {
    let within = shared.timing.handshake;
    if let Some(accept) = accept {
        connection.send(&accept, within).await.map_err(|error| error.to_string())?;
    }
    let hello = encode_message(&Message::Hello(shared.hello()));
    connection.send(&hello, within).await.map_err(|error| error.to_string())?;
    let frame = connection.receive(within).await.map_err(|error| error.to_string())?;
    match decode_message(&frame) {
        Ok(Message::Hello(mut hello)) => {
            hello.addresses = resolve_addresses(&hello.addresses, connection.address.ip());
            hello.name = one_line(&hello.name);
            hello.software = one_line(&hello.software);
            connection.reader.set_limit(MESSAGE_BYTES_MAX);
            Ok((connection, hello))
        }
        Ok(Message::Goodbye { reason }) => Err(goodbye(&reason)),
        Ok(_) => Err("the remote did not begin with a hello".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

async fn run_up(
    shared: &Arc<Shared>,
    link: &Link,
    queues: Queues,
    connection: Connection,
    hello: Hello,
) -> String {
    let Connection { reader, writer, address, device, round_trip, .. } = connection;
    link.content().note_round_trip(round_trip);
    tracing::debug!(?device, %address, name = hello.name, dialed = link.is_dialed(), "linked");
    let up = NetEvent::Up { device, link: link.clone(), hello, address };
    if shared.events.send(up).await.is_err() {
        return "the server has stopped".to_owned();
    }
    let mut writing = tokio::spawn(write(writer, link.clone(), queues, shared.timing.ping_every));
    let opener = link.is_dialed().then(|| {
        let task = content::open_connections(Arc::clone(shared), link.clone(), address.to_string());
        tokio::spawn(task)
    });
    let reason = read(shared, link, reader).await;
    link.close(&reason);
    if timeout(GOODBYE_WITHIN, &mut writing).await.is_err() {
        writing.abort();
    }
    if let Some(opener) = opener {
        opener.abort();
    }
    tracing::debug!(?device, reason, "link down");
    let down = NetEvent::Down { device, link_id: link.id(), reason: reason.clone() };
    // Nobody listens any more when the server has stopped.
    _ = shared.events.send(down).await;
    reason
}

/// Reads until the link ends, and says why.
async fn read(shared: &Shared, link: &Link, mut reader: Reader) -> String {
    let dead_after = shared.timing.dead_after;
    let waiting = Waiting::new();
    let mut deadline = Instant::now() + dead_after;
    loop {
        match reader.buffered() {
            Ok(Some(frame)) => {
                if let Err(reason) = take(shared, link, &waiting, &frame).await {
                    return reason;
                }
                // The time that the server took is not the remote's silence.
                deadline = Instant::now() + dead_after;
                continue;
            }
            Ok(None) => {}
            Err(error) => return warn(link, error.to_string()),
        }
        tokio::select! {
            biased;
            reason = link.stop().stopped() => return reason,
            () = link.probed() => {
                deadline = deadline.min(Instant::now() + shared.timing.probe);
                link.send_urgent(Urgent::Ping);
            }
            filled = timeout_at(deadline, reader.fill()) => match filled {
                Ok(Ok(())) => deadline = Instant::now() + dead_after,
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "the remote has gone silent".to_owned(),
            },
        }
    }
}

/// Handles one frame; an error ends the link.
async fn take(shared: &Shared, link: &Link, waiting: &Waiting, frame: &[u8]) -> Result<(), String> {
    if is_content_wanted(frame) {
        link.content().want_all();
        return Ok(());
    }
    // Before it is decoded: what waits undecoded has its bytes and no more.
    let held = tokio::select! {
        biased;
        reason = link.stop().stopped() => return Err(reason),
        held = waiting.hold(frame.len()) => held,
    };
    let message = match decode_message(frame) {
        Ok(Message::Ping) => {
            link.send_urgent(Urgent::Pong);
            return Ok(());
        }
        Ok(Message::Pong) => return Ok(()),
        Ok(Message::Goodbye { reason }) => return Err(goodbye(&reason)),
        Ok(Message::Hello(_)) => return Err(warn(link, "a second hello".to_owned())),
        Ok(message) => message,
        Err(error) => return Err(warn(link, error.to_string())),
    };
    foresee(link, &message);
    let event = NetEvent::Message { device: link.device(), link_id: link.id(), message, held };
    tokio::select! {
        biased;
        sent = shared.events.send(event) => sent.map_err(|_| "the server has stopped".to_owned()),
        reason = link.stop().stopped() => Err(reason),
    }
}

/// Whoever joins a directory will ask for what is in it: connections for that are opened while it is let in.
fn foresee(link: &Link, message: &Message) {
    if matches!(message, Message::Join { .. }) {
        link.content().want_all();
    }
}

fn goodbye(reason: &str) -> String {
    format!("the remote says goodbye: {}", one_line(reason))
}

fn warn(link: &Link, reason: String) -> String {
    tracing::warn!(device = ?link.device(), reason, "closing the connection");
    reason
}

/// Writes until the link ends, then says goodbye.
async fn write(mut writer: Writer, link: Link, mut queues: Queues, ping_every: Duration) {
    let mut buffer = Vec::new();
    loop {
        let ping_at = Instant::now() + ping_every;
        let stopped = tokio::select! {
            biased;
            reason = link.stop().stopped() => {
                push_frame(&mut buffer, &encode_message(&Message::Goodbye { reason }));
                true
            }
            Some(urgent) = queues.urgent.recv() => push_urgent(&mut buffer, urgent),
            Some(message) = queues.outbox.recv() => push_message(&mut buffer, &message, &link),
            () = sleep_until(ping_at) => push_urgent(&mut buffer, Urgent::Ping),
        };
        while !stopped && buffer.len() < WRITE_BYTES {
            let Ok(message) = queues.outbox.try_recv() else { break };
            push_message(&mut buffer, &message, &link);
        }
        if let Err(error) = writer.put(&mut [IoSlice::new(&buffer)], link.stalled_after()).await {
            link.close(&format!("connection lost: {error}"));
            return;
        }
        if stopped {
            // The other side may be gone already, which is as good.
            _ = writer.shutdown().await;
            return;
        }
        buffer.clear();
        buffer.shrink_to(WRITE_BYTES);
    }
}

fn push_urgent(buffer: &mut Vec<u8>, urgent: Urgent) -> bool {
    let frame = match urgent {
        Urgent::Ping => encode_message(&Message::Ping),
        Urgent::Pong => encode_message(&Message::Pong),
        Urgent::ContentWanted => encode_content_wanted(),
    };
    push_frame(buffer, &frame);
    false
}

fn push_message(buffer: &mut Vec<u8>, message: &Message, link: &Link) -> bool {
    foresee(link, message);
    let frame = encode_message(message);
    if frame.len() > MESSAGE_BYTES_MAX {
        tracing::error!(device = ?link.device(), bytes = frame.len(), "a message too long to be sent");
        link.close("a message was too long to be sent");
    } else {
        push_frame(buffer, &frame);
    }
    false
}

/// What of the announced addresses makes sense: `IP:PORT` with a port; an unspecified IP is the remote's own, and a
/// loopback one is only good on the same machine.
pub(crate) fn resolve_addresses(announced: &[String], own: IpAddr) -> Vec<String> {
    let own = own.to_canonical();
    let mut resolved = Vec::new();
    for address in announced.iter().take(ADDRESSES_MAX) {
        let Ok(mut address) = address.parse::<SocketAddr>() else { continue };
        if address.ip().is_unspecified() {
            address.set_ip(own);
        }
        let foreign_loopback = address.ip().to_canonical().is_loopback() && !own.is_loopback();
        let text = address.to_string();
        if address.port() != 0 && !foreign_loopback && !resolved.contains(&text) {
            resolved.push(text);
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_addresses_are_made_sense_of() {
        let announced =
            ["0.0.0.0:7", "[::]:8", "10.0.0.1:9", "10.0.0.1:9", "127.0.0.1:9", "x:1", "1.2.3.4:0"];
        let announced = announced.map(str::to_owned);
        let own: IpAddr = "192.168.1.2".parse().expect("an IP");
        assert_eq!(
            resolve_addresses(&announced, own),
            ["192.168.1.2:7", "192.168.1.2:8", "10.0.0.1:9"].map(str::to_owned)
        );
        let mapped: IpAddr = "::ffff:192.168.1.2".parse().expect("an IP");
        assert_eq!(resolve_addresses(&announced[..1], mapped), ["192.168.1.2:7".to_owned()]);
        let same: IpAddr = "127.0.0.1".parse().expect("an IP");
        assert_eq!(resolve_addresses(&announced[4..5], same), ["127.0.0.1:9".to_owned()]);
        assert_eq!(resolve_addresses(&vec!["1.2.3.4:5".to_owned(); 1000], own).len(), 1);
    }
}
