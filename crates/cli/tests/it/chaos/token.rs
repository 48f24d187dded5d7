//! Contents that prove themselves: a token, bytes that follow from it, and a hash of all before.
//!
//! Whoever opens such a file can say whether it is whole, and whose it is, without asking anybody.

use crate::user::noise;

/// What makes a content unlike any other. Never used twice in a run.
pub type Token = u64;

const HEADER_BYTES: usize = 6 + 16 + 1;
const HASH_BYTES: usize = 32;

/// A content with so many bytes between token and hash.
pub fn bytes_of(token: Token, n_bytes: usize) -> Vec<u8> {
    let mut bytes = format!("token {token:016x}\n").into_bytes();
    bytes.extend(noise(token, n_bytes));
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

/// The token of a content, if it is a whole one.
pub fn token_of(bytes: &[u8]) -> Option<Token> {
    let (all, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
    if blake3::hash(all).as_bytes() != hash {
        return None;
    }
    let digits = all.get(..HEADER_BYTES)?.strip_prefix(b"token ")?.strip_suffix(b"\n")?;
    Token::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[test]
fn a_content_proves_itself_and_nothing_else_does() {
    let bytes = bytes_of(7, 1_000);
    assert_eq!(token_of(&bytes), Some(7));
    assert_eq!(token_of(&bytes_of(8, 0)), Some(8));
    for length in 0..bytes.len() {
        assert_eq!(token_of(&bytes[..length]), None);
    }
    let mut mixed = bytes.clone();
    mixed[500] ^= 1;
    assert_eq!(token_of(&mixed), None);
}
