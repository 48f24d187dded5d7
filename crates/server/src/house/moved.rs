//! What was at a path, or below it, and is elsewhere by now: for whoever looks for it under the old one.

use std::collections::BTreeMap;

use file_sync_core::engine::{RENAMED_TO, moved_here_from};
use file_sync_core::path::SyncPath;
use file_sync_core::version::Time;
use file_sync_index::Act;

use crate::api::types::{MovedAway, rfc3339};

/// How many acts are looked at.
pub(super) const ACTS_MAX: usize = 10_000;

/// What went to other names last, if nothing has been done at its old one since: what is there, or else what has gone from
/// there, too.
///
/// `acts`: at the path, below it, at the directories above, and its user's moves from there; the newest first.
/// `is_there`: true of a path that something is at.
pub(super) fn moved_away(
    path: &SyncPath,
    acts: &[Act],
    is_there: &dyn Fn(&SyncPath) -> bool,
) -> Option<MovedAway> {
    let moves: BTreeMap<(SyncPath, Time), SyncPath> = acts
        .iter()
        .filter_map(|act| moved(path, act, is_there))
        .map(|(from, to, at)| ((from, at), to))
        .collect();
    // Of each old name the last act there: what was deleted, after it had come back, has no other name.
    let mut last: BTreeMap<&SyncPath, Time> = BTreeMap::new();
    for act in acts {
        last.entry(&act.path).or_insert(act.at);
    }
    let stands =
        |(from, at): &(SyncPath, Time)| !is_there(from) && last.get(from).is_none_or(|last| last <= at);
    let moves = moves.iter().filter(|(of, _)| stands(of));
    let (there, gone): (Vec<_>, Vec<_>) = moves.partition(|(_, to)| is_there(to));
    let (moves, there) = if there.is_empty() { (gone, false) } else { (there, true) };
    let ((from, at), to) = moves.iter().max_by_key(|((from, at), _)| (*at, std::cmp::Reverse(from)))?;
    let (from, to, at) = (from.into(), (*to).into(), rfc3339(*at));
    Some(MovedAway { moved: moves.len() as u64, from, to, at, there })
}

/// From where an act took what was at the path, below it or with a directory above it, to where, and when.
fn moved(
    path: &SyncPath,
    act: &Act,
    is_there: &dyn Fn(&SyncPath) -> bool,
) -> Option<(SyncPath, SyncPath, Time)> {
    let (from, to) = match moved_here_from(&act.why) {
        Some(from) => (from, act.path.clone()),
        None if act.after.is_none() => {
            let to = act.why.strip_prefix(RENAMED_TO)?;
            (act.path.clone(), SyncPath::parse(to.as_bytes()).ok()?)
        }
        None => return None,
    };
    if from == *path || path.is_ancestor_of(&from) {
        // What is still below it is seen there.
        return (!path.is_ancestor_of(&to)).then_some((from, to, act.at));
    }
    // Whether there was anything at the path when the directory went, the act does not say.
    let to = from.rebase(path, &to).filter(|to| is_there(to))?;
    Some((path.clone(), to, act.at))
}

#[cfg(test)]
mod tests {
    use file_sync_core::engine::{Deed, moved_here_why};

    use super::super::history::tests::{path, time};
    use super::*;

    fn act(at: i64, place: &str, deed: Deed, why: &str) -> Act {
        let (what, why) = (deed.word().to_owned(), why.to_owned());
        Act { at: time(at), path: path(place), before: None, after: None, what, why, by: None }
    }

    fn by_user(at: i64, from: &str, to: &str) -> [Act; 2] {
        let moved_here = act(at, to, Deed::MovedHere, &moved_here_why(&path(from)));
        [moved_here, act(at, from, Deed::Deleted, "deleted or moved away by a user or program here")]
    }

    fn names(
        asked: &str,
        acts: &[Act],
        is_there: &dyn Fn(&SyncPath) -> bool,
    ) -> Option<(u64, String, String)> {
        moved_away(&path(asked), acts, is_there).map(|moved| (moved.moved, moved.from.path, moved.to.path))
    }

    #[test]
    fn what_has_another_name_is_told_under_its_old_one() {
        let elsewhere = |place: &SyncPath| !place.as_bytes().starts_with(b"d");
        let acts: Vec<_> =
            [by_user(20, "d/b", "e/b"), by_user(10, "d/a", "a")].into_iter().flatten().collect();
        assert_eq!(names("d", &acts, &elsewhere), Some((2, "d/b".to_owned(), "e/b".to_owned())));
        assert_eq!(names("d/a", &acts[2..], &elsewhere), Some((1, "d/a".to_owned(), "a".to_owned())));
        assert_eq!(names("d/a", &acts[2..], &|_| true), None, "something is there again");
        assert_eq!(names("d", &by_user(10, "d/a", "d/b"), &elsewhere), None, "it is still below");
        // Elsewhere, and with a directory above.
        let followed = [act(10, "d", Deed::Renamed, "to e")];
        assert_eq!(names("d", &followed, &elsewhere), Some((1, "d".to_owned(), "e".to_owned())));
        assert_eq!(names("d/a/b", &followed, &elsewhere), Some((1, "d/a/b".to_owned(), "e/a/b".to_owned())));
    }

    #[test]
    fn what_came_back_and_was_deleted_has_no_other_name() {
        let deleted = act(30, "d/a", Deed::Deleted, "deleted or moved away by a user or program here");
        let acts: Vec<_> = [deleted].into_iter().chain(by_user(10, "d/a", "a")).collect();
        assert_eq!(names("d/a", &acts, &|place| *place == path("a")), None);
        let is_at_new = |place: &SyncPath| *place == path("a");
        assert_eq!(moved_away(&path("d/a"), &acts[1..], &is_at_new).map(|moved| moved.there), Some(true));
        let gone = moved_away(&path("d/a"), &acts[1..], &|_| false);
        assert_eq!(gone.map(|moved| (moved.to.path, moved.there)), Some(("a".to_owned(), false)));
        assert_eq!(names("d/typo", &[act(10, "d", Deed::Renamed, "to e")], &|_| false), None);
    }
}
