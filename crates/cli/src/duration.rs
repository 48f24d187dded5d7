//! Durations on the command line: `30s`, `1h 30m`, or plain seconds.

use std::time::Duration;

use file_sync_server::api::command::EXPIRES_SECONDS_MAX;

/// Reads how long to wait: from zero to ten years.
///
/// # Errors
/// Says in one line what is wrong with it.
pub fn parse_timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let duration = match seconds {
        Some(seconds) => Duration::from_secs(seconds),
        None => humantime::parse_duration(text)
            .map_err(|_| "not a duration; write it as 30s, 5m or 1h".to_owned())?,
    };
    if duration > Duration::from_secs(EXPIRES_SECONDS_MAX) {
        return Err("longer than ten years".to_owned());
    }
    Ok(duration)
}

/// Reads how long a ticket is good for: from one second to ten years.
///
/// # Errors
/// Says in one line what is wrong with it.
pub fn parse_expiry(text: &str) -> Result<Duration, String> {
    let duration = parse_timeout(text)?;
    if duration < Duration::from_secs(1) {
        return Err("shorter than a second".to_owned());
    }
    Ok(duration)
}

/// Reads a point in time: RFC 3339, or how long ago. In seconds since 1970.
///
/// # Errors
/// Says in one line what is wrong with it.
pub fn parse_moment(text: &str) -> Result<i64, String> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(moment.as_second());
    }
    let ago = parse_timeout(text).map_err(|_| {
        "not a time; write it as 2026-03-01T12:00:00Z, or as how long ago: 30m, 2h, 3days".to_owned()
    })?;
    Ok(jiff::Timestamp::now().as_second().saturating_sub_unsigned(ago.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_human_or_seconds() {
        for (text, seconds) in
            [("60", 60), ("0", 0), ("30s", 30), ("1h", 3600), ("1h 30m", 5400), ("1day", 86400)]
        {
            assert_eq!(parse_timeout(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", " ", "-1", "+5", "5x", "soon", "1.5", "99999999999999999999", "100years"] {
            assert!(parse_timeout(bad).is_err(), "{bad:?}");
        }
        assert!(parse_expiry("0s").is_err());
        assert!(parse_expiry("999ms").is_err());
    }
}
