//! The first frame of each side of a connection: what the dialer wants, and the answer.

use prost::Message as _;

use crate::WireError;
use crate::field::exact;
use crate::proto;

/// Most addresses that anybody announces; what follows is dropped.
pub const ADDRESSES_MAX: usize = 16;

/// What the dialer says first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Preamble {
    /// It speaks all protocol versions from this …
    pub protocol_min: u32,
    /// … to this.
    pub protocol_max: u32,
    /// What the connection is for.
    pub role: Role,
}

/// What a connection is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// Messages: the link itself.
    Control {
        /// Random; names the link to its content connections.
        link: u64,
        /// Random for every start of the dialer's server.
        incarnation: u64,
    },
    /// Contents, for a link.
    Content {
        /// Which link.
        link: u64,
    },
    /// Redeeming a ticket.
    Pair(PairRole),
}

/// Who redeems a ticket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PairRole {
    /// The ticket's secret.
    pub secret: [u8; 16],
    /// The dialer's name.
    pub name: String,
    /// Where the dialer listens.
    pub addresses: Vec<String>,
}

/// What the listener answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Go on.
    Accepted {
        /// In this protocol version.
        protocol: u32,
        /// When pairing, the listener's name.
        name: String,
        /// When pairing, where the listener listens.
        addresses: Vec<String>,
    },
    /// Go away.
    Refused {
        /// One line.
        reason: String,
        /// True if it is because there is a link already.
        linked: bool,
    },
}

/// Encodes a preamble.
pub fn encode_preamble(preamble: &Preamble) -> Vec<u8> {
    use proto::preamble::Role as Encoded;
    let role = match &preamble.role {
        Role::Control { link, incarnation } => {
            Encoded::Control(proto::ControlRole { link: *link, incarnation: *incarnation })
        }
        Role::Content { link } => Encoded::Content(proto::ContentRole { link: *link }),
        Role::Pair(pair) => Encoded::Pair(proto::PairRole {
            secret: pair.secret.to_vec(),
            name: pair.name.clone(),
            addresses: pair.addresses.iter().take(ADDRESSES_MAX).cloned().collect(),
        }),
    };
    let Preamble { protocol_min, protocol_max, .. } = *preamble;
    proto::Preamble { protocol_min, protocol_max, role: Some(role) }.encode_to_vec()
}

/// Decodes a preamble from whoever connected; the caller bounds its length.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode_preamble(bytes: &[u8]) -> Result<Preamble, WireError> {
    use proto::preamble::Role as Encoded;
    let proto::Preamble { protocol_min, protocol_max, role } = proto::Preamble::decode(bytes)?;
    if protocol_min > protocol_max {
        return Err(WireError::Invalid("protocol versions in the wrong order"));
    }
    let role = match role.ok_or(WireError::Invalid("connection for an unknown purpose"))? {
        Encoded::Control(control) => Role::Control { link: control.link, incarnation: control.incarnation },
        Encoded::Content(content) => Role::Content { link: content.link },
        Encoded::Pair(pair) => Role::Pair(PairRole {
            secret: exact("ticket secret", &pair.secret)?,
            name: pair.name,
            addresses: pair.addresses.into_iter().take(ADDRESSES_MAX).collect(),
        }),
    };
    Ok(Preamble { protocol_min, protocol_max, role })
}

/// Encodes an answer.
pub fn encode_answer(answer: &Answer) -> Vec<u8> {
    use proto::answer::Answer as Encoded;
    let answer = match answer {
        Answer::Accepted { protocol, name, addresses } => Encoded::Accepted(proto::Accepted {
            protocol: *protocol,
            name: name.clone(),
            addresses: addresses.iter().take(ADDRESSES_MAX).cloned().collect(),
        }),
        Answer::Refused { reason, linked } => {
            Encoded::Refused(proto::Refused { reason: reason.clone(), linked: *linked })
        }
    };
    proto::Answer { answer: Some(answer) }.encode_to_vec()
}

/// Decodes an answer; the caller bounds its length.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode_answer(bytes: &[u8]) -> Result<Answer, WireError> {
    use proto::answer::Answer as Encoded;
    match proto::Answer::decode(bytes)?.answer.ok_or(WireError::UnknownMessage)? {
        Encoded::Accepted(accepted) => Ok(Answer::Accepted {
            protocol: accepted.protocol,
            name: accepted.name,
            addresses: accepted.addresses.into_iter().take(ADDRESSES_MAX).collect(),
        }),
        Encoded::Refused(refused) => Ok(Answer::Refused { reason: refused.reason, linked: refused.linked }),
    }
}
