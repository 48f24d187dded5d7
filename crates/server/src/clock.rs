//! The one place where clocks are read.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use file_sync_core::engine::Now;
use file_sync_core::version::Time;

static START: OnceLock<Instant> = OnceLock::new();

/// Both clocks: the wall's, and milliseconds since this was first called.
pub(crate) fn now() -> Now {
    let monotonic_ms = START.get_or_init(Instant::now).elapsed().as_millis();
    Now { wall: wall(), monotonic_ms: u64::try_from(monotonic_ms).unwrap_or(u64::MAX) }
}

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "the one clock of the server")]
pub(crate) fn wall() -> Time {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Time {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: since.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            let nanoseconds = (1_000_000_000 - before.subsec_nanos()) % 1_000_000_000;
            let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            Time { seconds: -seconds - i64::from(nanoseconds > 0), nanoseconds }
        }
    }
}

/// The wall clock in seconds.
pub(crate) fn seconds() -> i64 {
    wall().seconds
}
