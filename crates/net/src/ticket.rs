//! Tickets: one line of text by which another device may pair with this one, once.
//!
//! `filesync1-` and lower-case base32 without padding of: device id (32 bytes), secret (16), expiry (u64, big-endian,
//! seconds since 1970), number of addresses (u8), each address, and the first 4 bytes of the BLAKE3 hash of all before.
//! An address is a byte 4 or 6, the IP and the port (u16, big-endian); or, where it is no `IP:PORT`, a byte 0, its
//! length (u8) and its text. Reading a ticket does not check whether it has expired.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use file_sync_core::version::DeviceId;

const PREFIX: &str = "filesync";
const VERSION: &str = "1";
const CHECKSUM_BYTES: usize = 4;

/// What it takes to pair with a device.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Where it may be reached, as `IP:PORT`; at most 255, each at most 255 bytes, what is beyond is left out.
    pub addresses: Vec<String>,
    /// Who must answer there.
    pub device: DeviceId,
    /// What proves that the ticket was given to us.
    pub secret: [u8; 16],
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

/// Why text is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not begin like one, or holds characters that none has.
    #[error(
        "not a ticket; it is one line that begins with filesync1-, as `file-sync remote invite` prints it"
    )]
    Malformed,
    /// Part of it is missing, or was changed.
    #[error("the ticket is cut off or mistyped; copy the whole line that `file-sync remote invite` printed")]
    Damaged,
    /// It is of a later kind.
    #[error("the ticket was made by a newer version of file-sync; update this one")]
    UnknownVersion,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&self.device.0);
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&self.expires.to_be_bytes());
        let addresses = || self.addresses.iter().filter(|address| address.len() <= 255).take(255);
        bytes.push(u8::try_from(addresses().count()).unwrap_or(u8::MAX));
        addresses().for_each(|address| push_address(&mut bytes, address));
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        write!(f, "{PREFIX}{VERSION}-{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl fmt::Debug for Ticket {
    /// Without the secret, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ticket of {:?} at {:?}", self.device, self.addresses)
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Ticket, TicketError> {
        let text = text.trim().to_ascii_uppercase();
        let rest = text.strip_prefix(&PREFIX.to_ascii_uppercase()).ok_or(TicketError::Malformed)?;
        let (version, body) = rest.split_once('-').ok_or(TicketError::Malformed)?;
        if version != VERSION {
            let number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
            return Err(if number { TicketError::UnknownVersion } else { TicketError::Malformed });
        }
        if !body.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')) {
            return Err(TicketError::Malformed);
        }
        let bytes = BASE32_NOPAD.decode(body.as_bytes()).map_err(|_| TicketError::Damaged)?;
        let (payload, check) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(TicketError::Damaged)?;
        if checksum(payload) != *check {
            return Err(TicketError::Damaged);
        }
        parse_payload(payload).ok_or(TicketError::Damaged)
    }
}

fn checksum(payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    *blake3::hash(payload).as_bytes().first_chunk().expect("a hash is longer than a checksum")
}

fn push_address(bytes: &mut Vec<u8>, address: &str) {
    match address.parse::<SocketAddr>() {
        // Only what comes back as the same text, which an address with a scope does not.
        Ok(socket) if SocketAddr::new(socket.ip(), socket.port()).to_string() == address => {
            match socket.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(4);
                    bytes.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(6);
                    bytes.extend_from_slice(&ip.octets());
                }
            }
            bytes.extend_from_slice(&socket.port().to_be_bytes());
        }
        _ => {
            bytes.push(0);
            bytes.push(u8::try_from(address.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(address.as_bytes());
        }
    }
}

fn parse_payload(mut payload: &[u8]) -> Option<Ticket> {
    let rest = &mut payload;
    let device = DeviceId(take(rest)?);
    let secret = take(rest)?;
    let expires = u64::from_be_bytes(take(rest)?);
    let [n_addresses] = take(rest)?;
    let addresses = (0..n_addresses).map(|_| take_address(rest)).collect::<Option<_>>()?;
    rest.is_empty().then_some(Ticket { addresses, device, secret, expires })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

fn take_address(rest: &mut &[u8]) -> Option<String> {
    let ip: IpAddr = match take(rest)? {
        [4] => Ipv4Addr::from(take::<4>(rest)?).into(),
        [6] => Ipv6Addr::from(take::<16>(rest)?).into(),
        [0] => {
            let [length] = take(rest)?;
            let (text, after) = rest.split_at_checked(usize::from(length))?;
            *rest = after;
            return String::from_utf8(text.to_vec()).ok();
        }
        _ => return None,
    };
    let port = u16::from_be_bytes(take(rest)?);
    Some(SocketAddr::new(ip, port).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        let addresses = ["192.168.1.10:22000", "[fe80::1]:1", "[fe80::1%3]:1", "host.example:22000"];
        Ticket {
            addresses: addresses.map(str::to_owned).to_vec(),
            device: DeviceId([200; 32]),
            secret: [3; 16],
            expires: 1_900_000_000,
        }
    }

    #[test]
    fn a_ticket_is_one_word_that_reads_back() {
        let text = ticket().to_string();
        assert!(text.starts_with("filesync1-") && text.bytes().all(|b| b.is_ascii_graphic()), "{text}");
        assert_eq!(text.parse(), Ok(ticket()));
        assert_eq!(format!(" {}\n", text.to_uppercase()).parse(), Ok(ticket()));
        let bare = Ticket { addresses: vec![], ..ticket() };
        assert_eq!(bare.to_string().parse(), Ok(bare));
    }

    #[test]
    fn h3_a_hostile_ticket_with_a_right_checksum_does_not_panic() {
        let good = ticket().to_string();
        let bytes = BASE32_NOPAD.decode(good["filesync1-".len()..].to_ascii_uppercase().as_bytes()).unwrap();
        let payload = &bytes[..bytes.len() - CHECKSUM_BYTES];
        let encode = |payload: &[u8]| {
            let whole = [payload, &checksum(payload)].concat();
            format!("filesync1-{}", BASE32_NOPAD.encode(&whole))
        };
        assert_eq!(encode(payload).parse(), Ok(ticket()));
        for length in 0..payload.len() {
            assert_eq!(encode(&payload[..length]).parse::<Ticket>(), Err(TicketError::Damaged), "{length}");
        }
        assert_eq!(encode(&[payload, &[0]].concat()).parse::<Ticket>(), Err(TicketError::Damaged));
        for at in 0..payload.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut changed = payload.to_vec();
                changed[at] = byte;
                // What still reads is a ticket like any other.
                if let Ok(ticket) = encode(&changed).parse::<Ticket>() {
                    assert_eq!(ticket.to_string().parse(), Ok(ticket), "{byte} at {at}");
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_ticket_is_said() {
        let text = ticket().to_string();
        for length in 10..text.len() {
            assert_eq!(text[..length].parse::<Ticket>(), Err(TicketError::Damaged), "{length}");
        }
        for at in 10..text.len() - 1 {
            let other = if text.as_bytes()[at] == b'a' { "b" } else { "a" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(changed.parse::<Ticket>(), Err(TicketError::Damaged), "{at}");
        }
        for text in [
            "",
            "hello",
            "filesync",
            "filesync1",
            "filesync-abc",
            "filesync1-a b",
            "filesync1-1",
            "https://x",
        ] {
            assert_eq!(text.parse::<Ticket>(), Err(TicketError::Malformed), "{text}");
        }
        assert_eq!(text.replace("sync1", "sync2").parse::<Ticket>(), Err(TicketError::UnknownVersion));
    }
}
