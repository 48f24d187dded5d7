//! Tickets: text that a user was given by whomever.

use data_encoding::BASE32_NOPAD;
use file_sync_net::Ticket;

/// Text as it is; or, after a zero byte, what a ticket holds, so that its checksum is right.
pub fn ticket(bytes: &[u8]) -> bool {
    let text = match bytes.split_first() {
        Some((0, payload)) => with_checksum(payload),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    match text.parse::<Ticket>() {
        Ok(ticket) => {
            let printed = ticket.to_string();
            assert!(printed.bytes().all(|byte| byte.is_ascii_graphic()), "one word: {printed}");
            assert_eq!(printed.parse().as_ref(), Ok(&ticket));
            assert!(!format!("{ticket:?}").contains(&format!("{:?}", ticket.secret)));
            true
        }
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            false
        }
    }
}

/// The ticket that holds this.
pub fn with_checksum(payload: &[u8]) -> String {
    let hash = blake3::hash(payload);
    let whole = [payload, &hash.as_bytes()[..4]].concat();
    format!("filesync1-{}", BASE32_NOPAD.encode(&whole).to_ascii_lowercase())
}
