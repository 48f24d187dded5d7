//! Dialing: to a device at any of its addresses, and again until there is a link.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use file_sync_core::version::DeviceId;
use file_sync_wire::preamble::{Answer, Preamble, Role, decode_answer, encode_preamble};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::backoff::{Backoff, random_u64};
use crate::connection::{Connection, ExchangeError};
use crate::control;
use crate::link::Link;
use crate::network::Shared;
use crate::remote::{Admission, Remote};
use crate::socket::{self, Socket};
use crate::text::one_line;
use crate::tls;

/// How long one address may keep the next one waiting.
const STAGGER: Duration = Duration::from_millis(150);
/// A link that lasted this long was a good one: dialing begins again with the shortest wait.
const GOOD_LINK: Duration = Duration::from_secs(5);
/// A remote that did not answer so often in a row does not want to.
const UNANSWERED: u32 = 2;

/// Why a device could not be talked to.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum DialError {
    #[error("no address known")]
    NoAddress,
    /// Each as `ADDRESS: reason`.
    #[error("cannot reach {}", .0.join(", "))]
    Unreachable(Vec<String>),
    #[error("{}: {address}", tls::OTHER_DEVICE)]
    OtherDevice { address: String },
}

/// Dials all addresses, one shortly after the other, and returns the first connection on which the device proved itself.
pub(crate) async fn dial_any(
    config: &Arc<ClientConfig>,
    addresses: &[String],
    within: Duration,
) -> Result<Connection, DialError> {
    let mut dials = JoinSet::new();
    for (index, address) in addresses.iter().enumerate() {
        let (config, address) = (Arc::clone(config), address.clone());
        let wait = STAGGER * u32::try_from(index).unwrap_or(u32::MAX);
        dials.spawn(async move {
            sleep(wait).await;
            dial(config, address, within).await
        });
    }
    let (mut unreachable, mut failure) = (Vec::new(), DialError::NoAddress);
    while let Some(dialed) = dials.join_next().await {
        match dialed {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(DialError::Unreachable(tried))) => unreachable.extend(tried),
            // Another device's answer says most.
            Ok(Err(error)) => failure = error,
            Err(error) => tracing::error!(%error, "a dial ended unexpectedly"),
        }
    }
    if matches!(failure, DialError::NoAddress) && !unreachable.is_empty() {
        unreachable.sort();
        failure = DialError::Unreachable(unreachable);
    }
    Err(failure)
}

async fn dial(config: Arc<ClientConfig>, address: String, within: Duration) -> Result<Connection, DialError> {
    let unreachable = |reason: String| DialError::Unreachable(vec![format!("{address}: {reason}")]);
    let dialing = async {
        let started = Instant::now();
        let stream = TcpStream::connect(&address).await.map_err(|error| unreachable(error.to_string()))?;
        let round_trip = started.elapsed();
        socket::prepare(&stream);
        let peer = stream.peer_addr().map_err(|error| unreachable(error.to_string()))?;
        let connecting = TlsConnector::from(config).connect(tls::server_name(), Socket::new(stream)).await;
        let stream = connecting.map_err(|error| {
            let reason = error.to_string();
            if reason.contains(tls::OTHER_DEVICE) {
                DialError::OtherDevice { address: address.clone() }
            } else {
                unreachable(reason)
            }
        })?;
        let connection =
            Connection::new(stream.into(), peer).map_err(|error| unreachable(error.to_string()))?;
        Ok(Connection { round_trip, ..connection })
    };
    match timeout(within, dialing).await {
        Ok(result) => result,
        Err(_) => Err(unreachable(format!("no answer within {} s", within.as_secs_f64()))),
    }
}

/// Sends the preamble and receives the answer.
pub(crate) async fn ask(
    connection: &mut Connection,
    preamble: &Preamble,
    within: Duration,
) -> Result<Answer, String> {
    let text = |error: ExchangeError| error.to_string();
    connection.send(&encode_preamble(preamble), within).await.map_err(text)?;
    let frame = connection.receive(within).await.map_err(text)?;
    decode_answer(&frame).map_err(|error| error.to_string())
}

/// Keeps a link to a remote up until it is forgotten or the network stops; dials first after this pause.
pub(crate) async fn keep_linked(shared: Arc<Shared>, remote: Arc<Remote>, pause: Duration) {
    let dialing = async {
        sleep(pause).await;
        dial_forever(&shared, &remote).await;
    };
    tokio::select! {
        _ = shared.stop.stopped() => {}
        () = dialing => {}
    }
}

async fn dial_forever(shared: &Arc<Shared>, remote: &Arc<Remote>) {
    let mut backoff = Backoff::new(shared.timing.backoff_first, shared.timing.backoff_longest);
    let (mut told, mut unanswered) = (None, 0);
    loop {
        match attempt(shared, remote).await {
            Ok(()) => (told, unanswered) = (None, 0),
            Err(failure) => {
                tracing::debug!(device = ?remote.device, reason = failure.reason, "not linked");
                unanswered = if failure.kind == FailureKind::Unanswered { unanswered + 1 } else { 0 };
                if failure.kind == FailureKind::Refused || unanswered >= UNANSWERED {
                    backoff.exhaust();
                    if told.as_ref() != Some(&failure.reason) {
                        shared.refused(Some(remote.device), failure.address, &failure.reason);
                        told = Some(failure.reason);
                    }
                }
            }
        }
        let linked_at = Instant::now();
        let linked = remote.link().is_some();
        remote.wait_linked(false).await;
        if remote.is_forgotten() {
            return;
        }
        if linked && linked_at.elapsed() >= GOOD_LINK {
            backoff.reset();
        }
        tokio::select! {
            () = remote.woken.notified() => backoff.reset(),
            () = sleep(backoff.next()) => {}
        }
    }
}

/// Why dialing came to nothing.
struct Failure {
    reason: String,
    kind: FailureKind,
    address: SocketAddr,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FailureKind {
    /// It may work the next time.
    Passing,
    /// The remote is there, but says nothing: it is about to end, or does not know us.
    Unanswered,
    /// The remote, or whoever is there, said no.
    Refused,
}

impl Failure {
    fn new(reason: impl Into<String>, kind: FailureKind, address: Option<SocketAddr>) -> Failure {
        let address = address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        Failure { reason: reason.into(), kind, address }
    }
}

/// Dials once. Ends early, and well, when the remote's own connection becomes the link.
async fn attempt(shared: &Arc<Shared>, remote: &Arc<Remote>) -> Result<(), Failure> {
    let config = client_config(shared, remote.device)
        .map_err(|reason| Failure::new(reason, FailureKind::Passing, None))?;
    let addresses = remote.addresses();
    let dialed = tokio::select! {
        biased;
        () = remote.wait_linked(true) => return Ok(()),
        dialed = dial_any(&config, &addresses, shared.timing.handshake) => dialed,
    };
    let mut connection = dialed.map_err(|error| {
        let (kind, address) = match &error {
            DialError::OtherDevice { address } => (FailureKind::Refused, address.parse().ok()),
            _ => (FailureKind::Passing, None),
        };
        Failure::new(error.to_string(), kind, address)
    })?;
    let address = Some(connection.address);
    let Some(question) = remote.ask() else { return Ok(()) };
    let nonce = random_u64();
    let preamble = shared.preamble(Role::Control { link: nonce, incarnation: shared.incarnation });
    match ask(&mut connection, &preamble, shared.timing.handshake).await {
        Ok(Answer::Accepted { protocol, .. }) if shared.protocols.contains(&protocol) => {}
        Ok(Answer::Accepted { protocol, .. }) => {
            let reason = format!("the remote chose protocol {protocol}");
            return Err(Failure::new(reason, FailureKind::Refused, address));
        }
        Ok(Answer::Refused { linked, reason }) => {
            let kind = if linked { FailureKind::Passing } else { FailureKind::Refused };
            return Err(Failure::new(one_line(&reason), kind, address));
        }
        Err(reason) => {
            let reason = format!("no answer from the remote, which may have removed this device ({reason})");
            return Err(Failure::new(reason, FailureKind::Unanswered, address));
        }
    }
    let (link, queues) = Link::new(shared, remote.device, true, nonce);
    match question.accepted(shared.identity.device_id(), &link) {
        Admission::Linked => {
            tokio::spawn(control::run(
                Arc::clone(shared),
                Arc::clone(remote),
                link,
                queues,
                connection,
                None,
            ));
        }
        // Dropping the connection closes it.
        Admission::Already(_) | Admission::Wait | Admission::Forgotten => {}
    }
    Ok(())
}

/// The TLS configuration for dialing a device.
pub(crate) fn client_config(shared: &Shared, device: DeviceId) -> Result<Arc<ClientConfig>, String> {
    tls::client_config(&shared.identity, device).map(Arc::new).map_err(|error| error.to_string())
}
