//! Links between devices: who is at the other end, and that what it sends arrives whole and in order.
//!
//! A link is one TLS 1.3 connection for messages and a few for content, between two devices that know each other's
//! keys. Nothing here knows what a message means, stores anything but the device's own key, or touches a synced
//! directory: messages go to the server as events, content comes from its [`ContentProvider`].
//!
//! **On a connection**, after TLS: the dialer sends a preamble, the listener an answer (both at most 4 KiB, within
//! 10 s), each as a frame: length (u32, big-endian) and that many bytes. A device that is not paired, and redeems no
//! ticket, gets no byte. On a control connection frames are messages, the first of each side a hello; on a content
//! connection frames are requests and pieces, the latter followed by raw bytes.

mod accept;
mod backoff;
mod connection;
mod content;
mod control;
mod dial;
mod event;
pub mod frame;
mod handshakes;
mod identity;
mod link;
mod network;
mod pair;
mod policy;
mod provider;
mod rates;
mod remote;
mod socket;
mod stop;
mod text;
mod ticket;
mod tls;
mod waiting;

pub use event::NetEvent;
pub use identity::{Identity, IdentityError, device_id_of, verify};
pub use link::{Closed, Link, TrySendError};
pub use network::{ListenError, Network, NetworkConfig, Timing};
pub use pair::{PairError, PairRequest, PairedWith, pair};
pub use policy::Policy;
pub use provider::{ContentProvider, ContentReader, FetchError, SMALL_BYTES_MAX};
pub use rates::RatesMax;
pub use ticket::{Ticket, TicketError};
pub use waiting::Held;
