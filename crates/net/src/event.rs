//! What the network tells the server.

use std::net::SocketAddr;

use file_sync_core::message::{Hello, Message};
use file_sync_core::version::DeviceId;

use crate::link::Link;
use crate::waiting::Held;

/// Something that happened. Those of one link come in order: up, messages, down.
#[derive(Debug)]
pub enum NetEvent {
    /// A remote is connected.
    Up {
        /// Which.
        device: DeviceId,
        /// For talking to it.
        link: Link,
        /// What it says of itself. Its addresses are well-formed `IP:PORT`, an unspecified IP replaced by the one that
        /// it comes from.
        hello: Hello,
        /// The other end of the connection.
        address: SocketAddr,
    },
    /// A remote says something. Keep-alive, hello and goodbye are not told.
    Message {
        /// Which.
        device: DeviceId,
        /// Over which link.
        link_id: u64,
        /// What.
        message: Message,
        /// Its place among what may wait of this link; to be dropped once the message is dealt with.
        held: Held,
    },
    /// A link ended.
    Down {
        /// With whom.
        device: DeviceId,
        /// Which.
        link_id: u64,
        /// One line.
        reason: String,
    },
    /// A connection came to nothing for a reason worth showing. Left out when the queue is full.
    Refused {
        /// With whom, if known.
        device: Option<DeviceId>,
        /// The other end.
        address: SocketAddr,
        /// One line.
        reason: String,
    },
    /// A device redeemed a ticket of ours; the policy has stored it.
    Paired {
        /// Which.
        device: DeviceId,
        /// Its raw Ed25519 public key.
        key: [u8; 32],
        /// Its own name for itself.
        name: String,
        /// Where it listens, as in [`NetEvent::Up`].
        addresses: Vec<String>,
    },
}
