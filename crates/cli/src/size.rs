//! Sizes on the command line: `512M`, `4G`, or plain bytes.

use std::num::NonZeroU64;

use file_sync_server::config::{KeptMax, RatesMax};

/// Reads a size in bytes; K, M, G and T are powers of 1,024.
///
/// # Errors
/// Says in one line what is wrong with it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("unknown unit; write it as 512M or 4G".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number; write it as 512M or 4G".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

/// Reads how many bytes may go or come each second.
///
/// # Errors
/// Says in one line what is wrong with it.
pub fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let rate = NonZeroU64::new(parse_size(text)?).filter(|rate| rate.get() >= RatesMax::LOWEST);
    rate.ok_or_else(|| format!("less than {}K a second", RatesMax::LOWEST >> 10))
}

/// Reads how much room kept versions may take: a percentage of the file system, or a size.
///
/// # Errors
/// Says in one line what is wrong with it.
pub fn parse_kept_max(text: &str) -> Result<KeptMax, String> {
    let Some(percent) = text.strip_suffix('%') else { return parse_size(text).map(KeptMax::Bytes) };
    let percent = percent.parse().ok().filter(|percent| *percent <= 100);
    percent.map(KeptMax::Percent).ok_or_else(|| "not 0% to 100%, in whole numbers".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_are_bytes() {
        for (text, bytes) in [("0", 0), ("17", 17), ("2k", 2048), ("512M", 512 << 20), ("4G", 4 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_kept_max("25%"), Ok(KeptMax::Percent(25)));
        assert_eq!(parse_kept_max("2G"), Ok(KeptMax::Bytes(2 << 30)));
        assert_eq!(parse_rate("10M").map(NonZeroU64::get), Ok(10 << 20));
        for bad in ["0", "15K", "10M/s", "fast"] {
            assert!(parse_rate(bad).is_err(), "{bad:?}");
        }
        for bad in ["%", "101%", "-1%", "1.5%", "lots"] {
            assert!(parse_kept_max(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "G", "1.5G", "-1", "4X", "4GB", "99999999T", "4 G"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }
}
