//! Redeeming another device's ticket.
//!
//! The secret is sent only inside TLS to the device that the ticket names. Which side's user is asked first, and that a
//! ticket is good once, is the inviting side's affair.

use std::sync::Arc;
use std::time::Duration;

use file_sync_core::version::DeviceId;
use file_sync_wire::preamble::{Answer, PairRole, Preamble, Role};
use tokio::time::timeout;

use crate::control::resolve_addresses;
use crate::dial::{DialError, ask, dial_any};
use crate::identity::Identity;
use crate::network::NetworkConfig;
use crate::text::one_line;
use crate::ticket::Ticket;
use crate::tls;

/// Within this time an address has to have let us in: time for three retransmissions, and for a slow line.
const REACHED_WITHIN: Duration = Duration::from_secs(8);

/// A ticket to redeem, and by whom.
#[derive(Debug, Clone)]
pub struct PairRequest {
    /// The ticket.
    pub ticket: Ticket,
    /// This device's name.
    pub name: String,
    /// Where this device listens, as [`crate::Network::announced_addresses`] says.
    pub addresses: Vec<String>,
    /// How long all of it may take.
    pub timeout: Duration,
    /// The time now, in seconds since 1970.
    pub now_seconds: u64,
}

/// The device that a ticket paired us with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairedWith {
    /// Its id.
    pub device: DeviceId,
    /// Its own name for itself.
    pub name: String,
    /// Its raw Ed25519 public key.
    pub key: [u8; 32],
    /// Where it may be reached, as `IP:PORT`: where it was reached first.
    pub addresses: Vec<String>,
}

/// Why there is no pairing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// A device does not pair with itself.
    #[error("this ticket is this device's own; use it on the other device")]
    Own,
    /// By our clock the ticket has ended.
    #[error("the ticket has expired; make a new one there with `file-sync remote invite`")]
    Expired,
    /// The device does not answer.
    #[error(
        "the device cannot be reached ({reason}); check that its server runs and the network lets us through"
    )]
    Unreachable {
        /// What went wrong, at each of its addresses.
        reason: String,
    },
    /// The device closed the connection, as it does when the ticket is no good.
    #[error(
        "the device refused the ticket: used up, expired or withdrawn; make a new one there with `file-sync remote invite`"
    )]
    Refused,
    /// Somebody else answers at its address.
    #[error(
        "another device than the one that made the ticket answers at {address}; make a new ticket there with `file-sync remote invite`"
    )]
    OtherDevice {
        /// Where.
        address: String,
    },
    /// The device says why not.
    #[error("the device refused: {0}")]
    Told(String),
    /// Our key is of no use.
    #[error("cannot use this device's key for TLS: {0}")]
    Tls(String),
}

/// Redeems a ticket.
///
/// # Errors
/// Each says in one line what to do. After [`PairError::Unreachable`] the ticket may be tried again.
pub async fn pair(identity: &Identity, request: PairRequest) -> Result<PairedWith, PairError> {
    if request.ticket.device == identity.device_id() {
        return Err(PairError::Own);
    }
    if request.ticket.expires <= request.now_seconds {
        return Err(PairError::Expired);
    }
    let within = request.timeout;
    match timeout(within, redeem(identity, request)).await {
        Ok(result) => result,
        Err(_) => {
            let reason = format!("no answer to the ticket within {} s", within.as_secs_f64());
            Err(PairError::Unreachable { reason })
        }
    }
}

async fn redeem(identity: &Identity, request: PairRequest) -> Result<PairedWith, PairError> {
    let PairRequest { ticket, name, addresses, timeout, .. } = request;
    let config =
        tls::client_config(identity, ticket.device).map_err(|error| PairError::Tls(error.to_string()))?;
    let dialed = dial_any(&Arc::new(config), &ticket.addresses, timeout.min(REACHED_WITHIN)).await;
    let mut connection = dialed.map_err(|error| match error {
        DialError::OtherDevice { address } => PairError::OtherDevice { address },
        DialError::Unreachable(tried) => PairError::Unreachable { reason: tried.join(", ") },
        DialError::NoAddress => PairError::Unreachable { reason: error.to_string() },
    })?;
    let role = Role::Pair(PairRole { secret: ticket.secret, name, addresses });
    let protocols = NetworkConfig::PROTOCOLS;
    let preamble = Preamble { protocol_min: *protocols.start(), protocol_max: *protocols.end(), role };
    match ask(&mut connection, &preamble, timeout).await {
        Ok(Answer::Accepted { name, addresses, .. }) => {
            let mut all = vec![connection.address.to_string()];
            let announced = resolve_addresses(&addresses, connection.address.ip());
            for address in announced.into_iter().chain(ticket.addresses) {
                if !all.contains(&address) {
                    all.push(address);
                }
            }
            Ok(PairedWith {
                device: connection.device,
                name: one_line(&name),
                key: connection.key,
                addresses: all,
            })
        }
        Ok(Answer::Refused { reason, .. }) => Err(PairError::Told(one_line(&reason))),
        Err(reason) => {
            tracing::debug!(reason, "no answer to a ticket");
            Err(PairError::Refused)
        }
    }
}
