//! The one place where this crate reads the wall clock: for the names and dates of kept versions, and to tell whether
//! a timestamp is so young that a write could hide behind it.

use std::time::{SystemTime, UNIX_EPOCH};

use file_sync_core::version::Time;

/// Now, by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "the one clock of this crate")]
pub(crate) fn now() -> Time {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Time {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: since.subsec_nanos(),
        },
        Err(_) => Time::default(),
    }
}

/// Nanoseconds from 1970 to `time`, negative before.
pub(crate) fn nanoseconds(time: Time) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)
}
