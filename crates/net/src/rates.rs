//! How fast contents go and come: what the user allows at most, and what it is just now.
//!
//! Contents alone count, not messages. Whoever sends or takes some of it waits until what went before is paid for, in
//! the order of asking, so that nobody is starved; what is not used is saved up for a quarter of a second.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use file_sync_wire::content::{PIECE_BYTES_MAX, PIECE_BYTES_MIN};

/// What may be unused and is made up for.
const SAVED_UP: Duration = Duration::from_millis(250);
/// A speed is that of so long a time, and of as much of the next as has passed.
const WINDOW: Duration = Duration::from_secs(2);

/// What may go and come at most, in bytes a second; none: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RatesMax {
    /// To all remotes together.
    pub upload: Option<NonZeroU64>,
    /// From all remotes together.
    pub download: Option<NonZeroU64>,
}

impl RatesMax {
    /// At this rate the shortest piece takes 4 s: with much less, and some remotes that share it, whoever waits for one would
    /// take this device for stalled.
    pub const LOWEST: u64 = 16 << 10;
}

/// Contents on their way, by direction.
pub(crate) struct Rates {
    pub(crate) upload: Flow,
    pub(crate) download: Flow,
}

impl Rates {
    pub(crate) fn new(max: RatesMax) -> Rates {
        Rates { upload: Flow::new(max.upload), download: Flow::new(max.download) }
    }
}

/// One direction.
pub(crate) struct Flow {
    max: Option<NonZeroU64>,
    meter: Mutex<Meter>,
}

struct Meter {
    /// When what has passed is paid for.
    paid_at: Instant,
    window_start: Instant,
    /// Bytes in the window before, and in this one.
    before: u64,
    bytes: u64,
}

impl Flow {
    fn new(max: Option<NonZeroU64>) -> Flow {
        let now = Instant::now();
        Flow { max, meter: Mutex::new(Meter { paid_at: now, window_start: now, before: 0, bytes: 0 }) }
    }

    /// Waits until so many bytes may pass.
    pub(crate) async fn pass(&self, bytes: usize) {
        let due = {
            let (now, mut meter) = (Instant::now(), self.meter());
            meter.count(now, bytes as u64);
            self.max.map(|max| meter.pay(now, bytes as u64, max))
        };
        if let Some(due) = due {
            sleep_until(due).await;
        }
    }

    /// The longest piece that does not hold up others for long: of what is read at once, a whole part, as what is left over
    /// would be too small a piece.
    pub(crate) fn piece_bytes(&self) -> usize {
        let quarter = self.max.map_or(usize::MAX, |max| usize::try_from(max.get() / 4).unwrap_or(usize::MAX));
        1 << quarter.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX).ilog2()
    }

    /// Bytes a second, of late.
    pub(crate) fn speed(&self) -> u64 {
        self.meter().speed(Instant::now())
    }

    fn meter(&self) -> std::sync::MutexGuard<'_, Meter> {
        // No code that holds it can leave it half changed.
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter {
    /// When so many bytes may pass, which are paid for then.
    fn pay(&mut self, now: Instant, bytes: u64, max: NonZeroU64) -> Instant {
        let earliest = now.checked_sub(SAVED_UP).unwrap_or(now);
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(max.get());
        self.paid_at =
            self.paid_at.max(earliest) + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.paid_at
    }

    fn count(&mut self, now: Instant, bytes: u64) {
        let windows = now.duration_since(self.window_start).as_nanos() / WINDOW.as_nanos();
        if windows > 0 {
            self.before = if windows == 1 { self.bytes } else { 0 };
            self.bytes = 0;
            self.window_start = if windows == 1 { self.window_start + WINDOW } else { now };
        }
        self.bytes += bytes;
    }

    fn speed(&mut self, now: Instant) -> u64 {
        self.count(now, 0);
        let millis = (WINDOW + now.duration_since(self.window_start)).as_millis() as u64;
        (self.before + self.bytes) * 1_000 / millis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_allowed_passes_and_no_more() {
        let flow = Flow::new(NonZeroU64::new(1_000_000));
        let start = Instant::now();
        for _ in 0..100 {
            flow.pass(50_000).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        assert!((4.7..5.1).contains(&seconds), "5 MB at 1 MB/s took {seconds} s");
        assert!((900_000..1_100_000).contains(&flow.speed()), "{}", flow.speed());
        // What was not used long ago is not made up for.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(flow.speed(), 0);
        let start = Instant::now();
        flow.pass(1_000_000).await;
        assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
    }

    /// Of what is read at once nothing may be left over that is too small for a piece.
    #[test]
    fn s2_pieces_divide_what_is_read_at_once_whatever_the_rate() {
        for rate in [1, 262_143, 300_000, 400_000, 500_000, 524_288, 900_000, 1 << 20, 5_000_000] {
            let bytes = Flow::new(NonZeroU64::new(rate)).piece_bytes();
            assert!(PIECE_BYTES_MAX.is_multiple_of(bytes) && bytes >= PIECE_BYTES_MIN, "{rate}: {bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits_and_all_is_counted() {
        let flow = Flow::new(None);
        let start = Instant::now();
        flow.pass(1 << 30).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(flow.speed(), 1 << 29);
        assert_eq!(flow.piece_bytes(), PIECE_BYTES_MAX);
        assert_eq!(Flow::new(NonZeroU64::new(RatesMax::LOWEST)).piece_bytes(), PIECE_BYTES_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_first_is_served_first_however_much_it_wants() {
        let flow = Flow::new(NonZeroU64::new(1_000));
        let start = Instant::now();
        let (large, small) = tokio::join!(
            async {
                flow.pass(10_000).await;
                start.elapsed()
            },
            async {
                flow.pass(10).await;
                start.elapsed()
            }
        );
        assert!(large < small, "{large:?} {small:?}");
    }
}
