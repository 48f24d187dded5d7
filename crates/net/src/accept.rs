//! Listening: who comes in, and what for.
//!
//! A stranger costs at most one of a limited number of handshakes, for a limited time, with frames of at most 4 KiB, and
//! gets no byte beyond TLS itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use file_sync_core::version::DeviceId;
use file_sync_wire::preamble::{Answer, PairRole, Preamble, Role, decode_preamble, encode_answer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::connection::{Connection, ExchangeError};
use crate::content;
use crate::control;
use crate::event::NetEvent;
use crate::frame::FrameError;
use crate::handshakes::{Handshakes, Permit};
use crate::link::Link;
use crate::network::Shared;
use crate::remote::{Admission, Remote};
use crate::socket::{self, Socket};
use crate::text::one_line;

/// How long to wait when no connection can be accepted, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Accepts connections until the network stops.
pub(crate) async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    let handshakes = Handshakes::default();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shared.stop.stopped() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept connections");
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failing = false;
        // What exceeds the limit is closed, unread.
        let Some(permit) = handshakes.begin(address.ip()) else {
            tracing::debug!(%address, "too many handshakes under way");
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            tokio::select! {
                _ = shared.stop.stopped() => {}
                () = receive(&shared, stream, address, permit) => {}
            }
        });
    }
}

/// Receives one connection and hands it to whom it is for. The permit is held until it is part of a link.
async fn receive(shared: &Arc<Shared>, stream: TcpStream, address: SocketAddr, permit: Permit) {
    socket::prepare(&stream);
    let handshake = timeout(shared.timing.handshake, shared.acceptor.accept(Socket::new(stream))).await;
    let Ok(Ok(stream)) = handshake else {
        tracing::debug!(%address, "no TLS handshake");
        return;
    };
    let Ok(mut connection) = Connection::new(stream.into(), address) else { return };
    let device = connection.device;
    let received = connection.receive(shared.timing.handshake).await;
    if device == shared.identity.device_id() {
        tracing::debug!(%address, "this device dialed itself");
        return;
    }
    let paired = shared.policy.is_paired(device);
    // Two that dial each other at once give one of the connections up before a word is said.
    let is_given_up = matches!(&received, Err(ExchangeError::Frame(FrameError::Io(_) | FrameError::Closed)));
    let preamble = received.map_err(|error| error.to_string());
    let preamble = preamble.and_then(|frame| decode_preamble(&frame).map_err(|error| error.to_string()));
    let preamble = match preamble {
        Ok(preamble) => preamble,
        Err(reason) => {
            if paired && !is_given_up {
                tracing::warn!(?device, %address, reason, "no preamble");
            } else {
                tracing::debug!(?device, %address, reason, paired, "no preamble");
            }
            return;
        }
    };
    let protocol = match choose_protocol(shared, &preamble) {
        Ok(protocol) => protocol,
        Err(reason) => {
            let known = paired || matches!(preamble.role, Role::Pair(_));
            return refuse(shared, connection, known, paired, reason).await;
        }
    };
    match preamble.role {
        Role::Pair(pair) => redeem(shared, connection, pair, protocol).await,
        _ if !paired => {
            tracing::debug!(?device, %address, "not paired");
            // Shown, so that one side's removal does not leave the other's user wondering; no byte is answered.
            shared.stranger(device, address, "a device that is not paired tried to connect");
        }
        Role::Control { link, incarnation } => {
            become_link(shared, connection, link, incarnation, protocol).await;
        }
        Role::Content { link } => carry_content(shared, connection, link, protocol).await,
    }
    drop(permit);
}

/// The highest version that both speak, or one line with both.
fn choose_protocol(shared: &Shared, preamble: &Preamble) -> Result<u32, String> {
    let (ours_min, ours_max) = (*shared.protocols.start(), *shared.protocols.end());
    let highest = preamble.protocol_max.min(ours_max);
    if highest >= preamble.protocol_min.max(ours_min) {
        return Ok(highest);
    }
    let newer = if preamble.protocol_min > ours_max { "listening" } else { "dialing" };
    Err(format!(
        "protocol versions differ: the dialing device speaks {} to {}, the listening one {ours_min} to {ours_max}; \
         update file-sync on the {newer} device",
        preamble.protocol_min, preamble.protocol_max,
    ))
}

/// Tells the server, if `known`, and the device, if it is paired, why there will be no connection.
async fn refuse(shared: &Shared, mut connection: Connection, known: bool, paired: bool, reason: String) {
    let (device, address) = (connection.device, connection.address);
    if !paired {
        if known {
            shared.stranger(device, address, &reason);
        }
        return;
    }
    shared.refused(Some(device), address, &reason);
    answer(shared, &mut connection, &Answer::Refused { reason, linked: false }).await;
    connection.close(shared.timing.handshake).await;
}

async fn answer(shared: &Shared, connection: &mut Connection, answer: &Answer) -> bool {
    let sent = connection.send(&encode_answer(answer), shared.timing.handshake).await;
    sent.is_ok()
}

fn accepted(protocol: u32) -> Answer {
    Answer::Accepted { protocol, name: String::new(), addresses: Vec::new() }
}

async fn redeem(shared: &Shared, mut connection: Connection, pair: PairRole, protocol: u32) {
    let (device, key, address) = (connection.device, connection.key, connection.address);
    let addresses = control::resolve_addresses(&pair.addresses, address.ip());
    let (policy, announced) = (Arc::clone(&shared.policy), addresses.clone());
    let PairRole { secret, name, .. } = pair;
    let name = one_line(&name);
    let their_name = name.clone();
    let redeemed =
        tokio::task::spawn_blocking(move || policy.redeem(&secret, device, key, &their_name, &announced));
    let own_name = match redeemed.await {
        Ok(Some(own_name)) => own_name,
        Ok(None) => {
            shared.stranger(device, address, "a ticket that is used up, expired or not ours");
            return;
        }
        Err(error) => {
            tracing::error!(%error, "redeeming a ticket failed");
            return;
        }
    };
    // The pairing is stored, so the server is told whether or not the answer arrives.
    let event = NetEvent::Paired { device, key, name, addresses };
    if shared.events.send(event).await.is_err() {
        return;
    }
    let yes = Answer::Accepted { protocol, name: own_name, addresses: shared.announced.clone() };
    if answer(shared, &mut connection, &yes).await {
        connection.close(shared.timing.handshake).await;
    }
}

async fn become_link(
    shared: &Arc<Shared>,
    mut connection: Connection,
    nonce: u64,
    incarnation: u64,
    protocol: u32,
) {
    let device = connection.device;
    let Some(remote) = paired_remote(shared, device) else { return };
    let (link, queues) = Link::new(shared, device, false, nonce);
    let mut changes = remote.subscribe();
    loop {
        match remote.admit_inbound(shared.identity.device_id(), &link, incarnation) {
            Admission::Linked => break,
            Admission::Forgotten => return,
            Admission::Wait => changes.changed().await.expect("the remote is held here"),
            Admission::Already(current) => {
                current.probe();
                let reason = "there is a link already".to_owned();
                answer(shared, &mut connection, &Answer::Refused { reason, linked: true }).await;
                connection.close(shared.timing.handshake).await;
                return;
            }
        }
    }
    let accept = encode_answer(&accepted(protocol));
    tokio::spawn(control::run(Arc::clone(shared), remote, link, queues, connection, Some(accept)));
}

async fn carry_content(shared: &Arc<Shared>, mut connection: Connection, nonce: u64, protocol: u32) {
    let remote = shared.remote(connection.device);
    let link = remote.and_then(|remote| remote.link());
    let link = link.filter(|link| link.nonce() == nonce && !link.is_dialed()).ok_or("no such link");
    // Taken before the answer, so that many who ask at once do not all find room.
    let placed = link.and_then(|link| match link.content().place() {
        Some(place) => Ok((link, place)),
        None => Err("too many content connections"),
    });
    match placed {
        Ok((link, place)) => {
            if answer(shared, &mut connection, &accepted(protocol)).await {
                tokio::spawn(content::run(Arc::clone(shared), link, connection, place));
            }
        }
        Err(reason) => {
            let refused = Answer::Refused { reason: reason.to_owned(), linked: false };
            if answer(shared, &mut connection, &refused).await {
                connection.close(shared.timing.handshake).await;
            }
        }
    }
}

/// The remote's entry, made if need be; none if it is not paired, or no more.
fn paired_remote(shared: &Shared, device: DeviceId) -> Option<Arc<Remote>> {
    let remote = shared.remote_or_insert(device);
    // Asked again now that there is an entry which a removal from here on will find.
    shared.policy.is_paired(device).then_some(remote)
}
