//! How finely a file system tells two changes apart, and waiting until one can no longer hide behind another.
//!
//! A write within the same tick of the clock as an earlier one leaves the same timestamps. A stat that is to be relied
//! on is therefore taken one tick after the newest change time in it. Only the change time counts: users set the
//! modification time as they like, and each such call changes the other.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use file_sync_core::effect::Trouble;
use file_sync_core::record::Stat;
use file_sync_core::version::Time;
use rustix::fs::{Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::at;
use crate::clock;
use crate::root::Root;
use crate::trouble::trouble;

/// Assumed where a probe cannot tell: the longest tick of a kernel that is in use.
const ASSUMED: Duration = Duration::from_millis(10);
/// Assumed where change times are whole seconds: FAT's.
const COARSE: Duration = Duration::from_secs(2);
/// How long a probe may take.
const PROBE_MAX: Duration = Duration::from_millis(50);
/// How many changes in a row must each be told from the one before, to say that all are.
const N_DISTINCT: usize = 32;

/// Steps in which file systems store modification times, in nanoseconds, finest first: most, NTFS, some network file
/// systems, ext4 with small inodes, FAT.
const STEPS_NS: [u64; 6] = [1, 100, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000];

impl Root {
    /// The step in which the file system stores modification times, in nanoseconds: a time that is set is cut down to a
    /// multiple of it.
    ///
    /// # Errors
    /// When no file can be made, or its times cannot be set.
    pub fn time_step_ns(&self) -> Result<u64, Trouble> {
        probe_step(self).map_err(|errno| trouble("see how the file system stores times", errno))
    }

    /// The file system's timestamp granularity; zero if every change after a stat is told from those before it (as
    /// Linux 6.13 and later do on most file systems). Probed once.
    pub fn granularity(&self) -> Duration {
        *self.granularity.get_or_init(|| probe(self).unwrap_or(ASSUMED))
    }

    /// Waits until no write can any more leave the timestamps of these stats as they are.
    pub(crate) fn settle<'a>(&self, stats: impl Iterator<Item = &'a Stat>) {
        let granularity = self.granularity();
        if let Some(newest) = stats.map(|stat| stat.ctime).max() {
            std::thread::sleep(remaining(newest, clock::now(), granularity));
        }
    }
}

/// How much of a tick is left after `newest`. A time in the future cannot be met again before the clock gets there.
fn remaining(newest: Time, now: Time, granularity: Duration) -> Duration {
    let passed = clock::nanoseconds(now).saturating_sub(clock::nanoseconds(newest));
    // The kernel's coarse clock lags behind the one read here, never ahead; but clocks are set.
    let tick = i128::try_from(granularity.as_nanos()).unwrap_or(i128::MAX);
    let left = tick.saturating_sub(passed).clamp(0, tick.saturating_mul(2));
    Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
}

/// Touches a file again and again, and sees how far apart the times are that come out.
fn probe(root: &Root) -> Result<Duration, Errno> {
    with_probe(root, |fd| {
        measure(|| {
            let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
            rustix::fs::futimens(fd, &Timestamps { last_access: now, last_modification: now })?;
            Ok(at::stat_fd(fd)?.stat.ctime)
        })
    })
}

fn probe_step(root: &Root) -> Result<u64, Errno> {
    with_probe(root, |fd| {
        let step = time_step(fd)?;
        // One that rounds in a way of its own is taken for the coarsest.
        Ok(step.unwrap_or(STEPS_NS[STEPS_NS.len() - 1]))
    })
}

/// The step in which a file's modification time is stored, in nanoseconds; none where it is not one of the usual.
pub(crate) fn time_step(file: BorrowedFd<'_>) -> Result<Option<u64>, Errno> {
    // Odd in every unit, and within the years that all file systems know.
    let asked = Timespec { tv_sec: 1_234_567_891, tv_nsec: 987_654_321 };
    rustix::fs::futimens(file, &Timestamps { last_access: asked, last_modification: asked })?;
    let stored = clock::nanoseconds(at::stat_fd(file)?.stat.mtime);
    let asked = i128::from(asked.tv_sec) * 1_000_000_000 + i128::from(asked.tv_nsec);
    let is_step = |step: &u64| asked.div_euclid(i128::from(*step)) * i128::from(*step) == stored;
    Ok(STEPS_NS.into_iter().find(is_step))
}

/// Gives a new empty file in the engine's own directory to `look`, and removes it.
fn with_probe<T>(root: &Root, look: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>) -> Result<T, Errno> {
    let name = format!("probe-{}", root.unique_name());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(root.own(), name.as_str(), flags, Mode::from_bits_truncate(0o600))?;
    let found = look(fd.as_fd());
    rustix::fs::unlinkat(root.own(), name.as_str(), rustix::fs::AtFlags::empty())?;
    found
}

fn measure(mut touch: impl FnMut() -> Result<Time, Errno>) -> Result<Duration, Errno> {
    let start = Instant::now();
    let mut times = vec![touch()?];
    let mut n_touches = 0;
    while start.elapsed() < PROBE_MAX {
        let time = touch()?;
        n_touches += 1;
        if times.last() != Some(&time) {
            times.push(time);
        }
        if n_touches == N_DISTINCT && times.len() == N_DISTINCT + 1 {
            return Ok(Duration::ZERO);
        }
    }
    if times.iter().all(|time| time.nanoseconds == 0) {
        return Ok(COARSE);
    }
    // The first step began before the probe did.
    let steps =
        times.windows(2).skip(1).map(|pair| clock::nanoseconds(pair[1]) - clock::nanoseconds(pair[0]));
    let longest = steps.filter_map(|step| u64::try_from(step).ok()).max().map(Duration::from_nanos);
    Ok(longest.unwrap_or(COARSE).clamp(Duration::from_millis(1), COARSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(nanoseconds: u32) -> Time {
        Time { seconds: 100, nanoseconds }
    }

    #[test]
    fn w4_a_stat_is_relied_on_one_tick_after_its_newest_change() {
        let tick = Duration::from_millis(4);
        assert_eq!(remaining(time(0), time(1_000_000), tick), Duration::from_millis(3));
        assert_eq!(remaining(time(0), time(5_000_000), tick), Duration::ZERO);
        assert_eq!(remaining(time(1_000_000), time(0), tick), Duration::from_millis(5));
        assert_eq!(remaining(Time { seconds: i64::MAX, nanoseconds: 0 }, time(0), tick), tick * 2);
        assert_eq!(remaining(Time { seconds: i64::MIN, nanoseconds: 0 }, time(0), tick), Duration::ZERO);
    }

    #[test]
    fn w4_a_probe_tells_fine_and_whole_second_clocks() {
        let mut n_calls = 0;
        let fine = measure(|| {
            n_calls += 1;
            Ok(time(n_calls))
        });
        assert_eq!(fine, Ok(Duration::ZERO));
        assert_eq!(measure(|| Ok(time(0))), Ok(COARSE));
    }
}
