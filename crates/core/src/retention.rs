//! Which kept versions may go: none for 30 days, unless together they take more room than they may (promise L3).
//!
//! Then they are thinned first: all of the last hour stay, one per ten minutes of the last day, one a day of the time
//! before. If that is not enough the oldest go, those younger than a day only for want of space.

use std::collections::BTreeSet;

use crate::effect::Kept;
use crate::path::SyncPath;
use crate::version::Time;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// How long a kept version stays where there is room, in seconds.
pub const KEEP: i64 = 30 * DAY;
/// Of the versions of one path that were kept within this time one stays, in seconds, on the last day.
const SLOT: i64 = 600;

/// Why a kept version may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It has been there for 30 days.
    Old,
    /// There is a newer one of the same path and time span, and they take more room than they may.
    Thinned,
    /// They take more room than they may even so.
    NoRoom,
    /// The same, and it is younger than a day: users have to be told.
    NoRoomForYoung,
}

/// The kept versions that may go, by their place in `kept`, in the order in which to remove them.
///
/// `cap_bytes` is the room that all together may take.
pub fn expired(kept: &[Kept], now: Time, cap_bytes: u64) -> Vec<(usize, Reason)> {
    let age = |kept: &Kept| now.seconds.saturating_sub(kept.at.seconds);
    let mut oldest_first: Vec<usize> = (0..kept.len()).collect();
    oldest_first.sort_by_key(|index| kept[*index].at);
    let (old, mut staying): (Vec<usize>, Vec<usize>) =
        oldest_first.into_iter().partition(|index| age(&kept[*index]) > KEEP);
    let mut going: Vec<(usize, Reason)> = old.into_iter().map(|index| (index, Reason::Old)).collect();
    let mut bytes: u64 = staying.iter().map(|index| kept[*index].stat.size).sum();
    let mut drop_while_over = |staying: &mut Vec<usize>, reason: &dyn Fn(usize) -> Option<Reason>| {
        staying.retain(|index| match reason(*index) {
            Some(reason) if bytes > cap_bytes => {
                bytes -= kept[*index].stat.size;
                going.push((*index, reason));
                false
            }
            _ => true,
        });
    };
    let spare = superseded(kept, &staying, &age);
    drop_while_over(&mut staying, &|index| spare.contains(&index).then_some(Reason::Thinned));
    drop_while_over(&mut staying, &|index| {
        Some(if age(&kept[index]) > DAY { Reason::NoRoom } else { Reason::NoRoomForYoung })
    });
    going
}

/// Those of which there is a newer one of the same path in the same span of time.
fn superseded(kept: &[Kept], oldest_first: &[usize], age: &dyn Fn(&Kept) -> i64) -> BTreeSet<usize> {
    let mut spans: BTreeSet<(&SyncPath, i64, i64)> = BTreeSet::new();
    let mut superseded = BTreeSet::new();
    for index in oldest_first.iter().rev() {
        let kept = &kept[*index];
        let span_seconds = match age(kept) {
            age if age <= HOUR => continue,
            age if age <= DAY => SLOT,
            _ => DAY,
        };
        if !spans.insert((&kept.path, span_seconds, kept.at.seconds.div_euclid(span_seconds))) {
            superseded.insert(*index);
        }
    }
    superseded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stat;
    use crate::version::{Content, ContentHash};

    const NOW: Time = Time { seconds: 100 * DAY, nanoseconds: 0 };

    fn kept(path: &str, age: i64, size: u64) -> Kept {
        Kept {
            name: format!("{path}-{age}"),
            path: SyncPath::parse(path.as_bytes()).unwrap(),
            content: Content::File(ContentHash::of(path.as_bytes())),
            stat: Stat { device: 1, inode: 1, size, mode: 0o644, mtime: NOW, ctime: NOW },
            at: Time { seconds: NOW.seconds - age, nanoseconds: 0 },
        }
    }

    #[test]
    fn l3_nothing_goes_for_30_days_where_there_is_room() {
        let kept = [kept("a", 31 * DAY, 5), kept("a", 30 * DAY, 5), kept("a", 0, 5), kept("a", 1, 5)];
        assert_eq!(expired(&kept, NOW, 15), [(0, Reason::Old)]);
    }

    #[test]
    fn l3_where_there_is_not_they_are_thinned_first_oldest_first() {
        let kept = [
            kept("a", 10 * DAY, 1),
            kept("a", 5 * DAY + 20, 1),
            kept("a", 5 * DAY + 10, 1),
            kept("a", 2 * HOUR + 20, 1),
            kept("a", 2 * HOUR + 10, 1),
            kept("a", 20, 1),
            kept("a", 10, 1),
            kept("b", 5 * DAY + 30, 1),
        ];
        assert_eq!(expired(&kept, NOW, 7), [(1, Reason::Thinned)]);
        assert_eq!(expired(&kept, NOW, 6), [(1, Reason::Thinned), (3, Reason::Thinned)]);
        assert_eq!(expired(&kept, NOW, 5)[2], (0, Reason::NoRoom));
    }

    #[test]
    fn l3_what_is_younger_than_a_day_goes_last_and_is_said() {
        let kept = [kept("a", HOUR, 4), kept("b", 2 * DAY, 4), kept("c", 10, 4)];
        let all = [(1, Reason::NoRoom), (0, Reason::NoRoomForYoung), (2, Reason::NoRoomForYoung)];
        assert_eq!(expired(&kept, NOW, 0), all);
        assert_eq!(expired(&kept, NOW, 8), all[..1]);
    }

    #[test]
    fn l3_a_clock_that_was_set_back_removes_nothing_that_has_room() {
        let kept = [kept("a", -400 * DAY, 4), kept("b", -DAY, 4)];
        assert_eq!(expired(&kept, NOW, 8), []);
    }
}
