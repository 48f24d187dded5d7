//! Of the acts on record, those that a restore is decided by. There may be any number of acts, as nothing ever leaves the
//! record; what decides is not more than there are paths, versions to be had, and renames of directories. Only where something
//! is kept that is in no act, as after a loss of the record, can what was passed over move it among what went before.

use std::collections::{BTreeMap, BTreeSet};

use file_sync_core::engine::Deed;
use file_sync_core::path::SyncPath;
use file_sync_core::version::{ContentHash, Time};
use file_sync_index::{Act, ActsAfter};

use crate::api::command::Refusal;
use crate::room::Editor;

/// So many acts are looked at all together, whatever is asked.
const ACTS_MAX: usize = 200_000;
/// So many of the acts beyond are read at a time,
const PAGE: usize = 10_000;
/// and so many that decide are remembered at the most.
const DECIDING_MAX: usize = 1_000_000;

/// What is asked of the acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asking {
    /// All of them, the latest at least.
    All,
    /// What went last from each path.
    Last,
    /// What went first from each path after a time.
    After(Time),
}

/// The acts that are asked for, the newest first, and true if there are more. `had`: what is to be had, and where it was.
///
/// # Errors
/// When the database cannot be read, or the directory is stopped.
pub(super) fn acts(
    editor: &Editor,
    path: &SyncPath,
    asking: Asking,
    had: impl FnOnce() -> BTreeSet<(SyncPath, ContentHash)>,
) -> Result<(Vec<Act>, bool), Refusal> {
    let first = editor.acts_after(path, None, ACTS_MAX)?;
    if asking == Asking::All || first.1.is_none() {
        return Ok((first.0, first.1.is_some()));
    }
    let mut deciding = Deciding::new(path, asking, had());
    let mut is_cut = deciding.read(editor, first)?;
    if let Some(again) = deciding.again() {
        deciding = again;
        is_cut = deciding.read(editor, editor.acts_after(path, None, PAGE)?)?;
    }
    Ok((deciding.acts(), is_cut))
}

/// Takes acts, the newest first, and keeps those that decide.
struct Deciding<'a> {
    path: &'a SyncPath,
    asking: Asking,
    had: BTreeSet<(SyncPath, ContentHash)>,
    n_taken: usize,
    /// By how many were taken before.
    acts: BTreeMap<usize, Act>,
    paths: BTreeMap<SyncPath, OfPath>,
    /// Where a directory may have got another name: by how many acts were taken before the earliest of that.
    renamed: BTreeMap<SyncPath, usize>,
    /// What acts, or versions to be had, lie below.
    directories: BTreeSet<SyncPath>,
    /// At what acts were passed over.
    passed: BTreeSet<SyncPath>,
    /// What was a file and a directory, by turns: what lies below it may have gone with the file's name.
    both: BTreeSet<SyncPath>,
}

/// Which acts at a path decide.
struct OfPath {
    /// The last, or the last before a directory above got another name.
    last: usize,
    /// The first after the time, unless it is kept for another reason.
    after: Option<usize>,
}

impl<'a> Deciding<'a> {
    fn new(path: &'a SyncPath, asking: Asking, had: BTreeSet<(SyncPath, ContentHash)>) -> Deciding<'a> {
        let below = had.iter().flat_map(|(path, _)| path.ancestors());
        let directories = below.filter(|above| path.is_ancestor_of(above)).collect();
        Deciding {
            path,
            asking,
            had,
            n_taken: 0,
            acts: BTreeMap::new(),
            paths: BTreeMap::new(),
            renamed: BTreeMap::new(),
            directories,
            passed: BTreeSet::new(),
            both: BTreeSet::new(),
        }
    }

    /// Takes these acts and all that follow. True if there are more than can be remembered.
    fn read(&mut self, editor: &Editor, first: (Vec<Act>, Option<ActsAfter>)) -> Result<bool, Refusal> {
        let (mut acts, mut after) = first;
        loop {
            acts.into_iter().for_each(|act| self.take(act));
            if after.is_none() || self.acts.len() >= DECIDING_MAX {
                return Ok(after.is_some());
            }
            if editor.is_ending() {
                return Err(Refusal::stopping());
            }
            (acts, after) = editor.acts_after(self.path, after, PAGE)?;
        }
    }

    /// To be begun anew with, where acts were passed over at what turned out to have been a directory, too.
    fn again(&mut self) -> Option<Deciding<'a>> {
        let both: BTreeSet<SyncPath> = self.passed.intersection(&self.directories).cloned().collect();
        let again =
            || Deciding { both, ..Deciding::new(self.path, self.asking, std::mem::take(&mut self.had)) };
        (!self.passed.is_disjoint(&self.directories)).then(again)
    }

    fn take(&mut self, act: Act) {
        let place = self.n_taken;
        self.n_taken += 1;
        if act.what == Deed::Expired.word() {
            return;
        }
        if act.what == Deed::Healed.word() {
            self.acts.insert(place, act); // It says of what is kept that nobody wrote it.
            return;
        }
        let is_renamed = act.what == Deed::Renamed.word() && act.before.is_none() && act.after.is_none();
        let is_rename = is_renamed || self.both.contains(&act.path);
        self.directories.extend(act.path.ancestors().filter(|above| self.path.is_ancestor_of(above)));
        if is_rename {
            self.renamed.insert(act.path.clone(), place);
        }
        let decides = match act.before {
            _ if is_rename || !self.path.is_ancestor_of(&act.path) => true,
            Some(before) => {
                self.is_last(&act, place)
                    || self.had.contains(&(act.path.clone(), before))
                    || self.is_first_after(&act, place)
            }
            None => return,
        };
        if decides {
            self.acts.insert(place, act);
        } else {
            self.passed.insert(act.path);
        }
    }

    /// True of the last act at a path, and of the last before a directory above got another name.
    fn is_last(&mut self, act: &Act, place: usize) -> bool {
        let renamed = act.path.ancestors().filter_map(|above| self.renamed.get(&above)).max();
        match self.paths.get_mut(&act.path) {
            None => {
                self.paths.insert(act.path.clone(), OfPath { last: place, after: None });
                true
            }
            Some(of_path) if renamed.is_some_and(|renamed| *renamed > of_path.last) => {
                of_path.last = place;
                true
            }
            Some(_) => false,
        }
    }

    /// True of the first act at a path after the time, as far as has been taken. The one that was it so far is dropped.
    fn is_first_after(&mut self, act: &Act, place: usize) -> bool {
        let Asking::After(since) = self.asking else { return false };
        let Some(of_path) = self.paths.get_mut(&act.path).filter(|_| act.at > since) else { return false };
        if let Some(later) = of_path.after.replace(place) {
            self.acts.remove(&later);
            self.passed.insert(act.path.clone());
        }
        true
    }

    /// The newest first.
    fn acts(self) -> Vec<Act> {
        self.acts.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use file_sync_core::effect::Kept;
    use file_sync_core::engine::ROTTEN;
    use file_sync_core::version::{Content, DeviceId};
    use file_sync_wire::kept::KeptVersion;

    use super::super::choose::choose;
    use super::super::history::tests::{BETA, act, in_order, kept, path, time, told};
    use super::*;
    use crate::api::command::Restore;
    use crate::api::names::LocalPath;

    /// Numbers that look random.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % end
        }

        fn of<'a>(&mut self, some: &[&'a str]) -> &'a str {
            some[self.below(some.len() as u64) as usize]
        }
    }

    /// What happened, the newest first, and what is left of it.
    #[derive(Default)]
    struct History {
        acts: Vec<Act>,
        kept: Vec<Kept>,
        told: Vec<(DeviceId, KeptVersion)>,
        moves: Vec<(&'static str, i64)>,
    }

    impl History {
        fn random(random: &mut Random) -> History {
            let mut history = History::default();
            let mut now = 10;
            for _ in 0..random.below(40) {
                // Clocks are set back now and then; no two acts are of one moment.
                now += if random.below(12) == 0 { -(random.below(20) as i64) * 100 + 1 } else { 100 };
                if history.acts.iter().all(|act| act.at != time(now)) {
                    history.act(random, now);
                }
            }
            history.acts.reverse();
            history.kept.sort_by_key(|kept| std::cmp::Reverse(kept.at));
            history
        }

        fn act(&mut self, random: &mut Random, now: i64) {
            let (at, before) =
                (random.of(&["f", "d/x", "d/y", "d/e/z", "d"]), random.of(&["a", "bb", "ccc"]));
            let after = (random.below(2) == 0).then(|| ContentHash::of(b"after"));
            let what = random.of(&["changed", "deleted", "replaced", "renamed", "expired"]).to_owned();
            let mut act = Act { path: path(at), what, after, ..act(before, now) };
            match random.below(7) {
                6 => {
                    // It went since its file had rotted.
                    act.why = format!("by a later version; {ROTTEN}");
                    if random.below(2) == 0 {
                        act.what = Deed::Healed.word().to_owned();
                    }
                    self.kept.push(Kept { path: path(at), ..kept(before, now) });
                }
                0 => {
                    let why = random.of(&["to d", "to q", "from q", "from d"]).to_owned();
                    let (what, at) = ("renamed".to_owned(), random.of(&["d", "d/e"]));
                    act = Act { path: path(at), what, why, before: None, after: None, ..act };
                }
                1 => self.moves.push((at, now)),
                2 | 3 if act.what != "expired" => {
                    self.kept.push(Kept { path: path(at), ..kept(before, now) })
                }
                4 => {
                    let mut told = told(BETA, before, now);
                    told.1.place.path = path(at);
                    self.told.push(told);
                }
                _ => {}
            }
            self.acts.push(act);
        }

        fn deciding(&self, asked: &SyncPath, asking: Asking) -> Vec<Act> {
            let kept = self.kept.iter().map(|kept| (kept.path.clone(), kept.content.hash()));
            let told =
                self.told.iter().map(|(_, told)| (told.place.path.clone(), told.value.content().hash()));
            let mut deciding = Deciding::new(asked, asking, kept.chain(told).collect());
            self.acts.iter().cloned().for_each(|act| deciding.take(act));
            if let Some(again) = deciding.again() {
                deciding = again;
                self.acts.iter().cloned().for_each(|act| deciding.take(act));
            }
            assert!(deciding.again().is_none());
            deciding.acts()
        }

        fn chosen(
            &self,
            asked: &SyncPath,
            acts: &[Act],
            at: Option<i64>,
            present: Option<Content>,
        ) -> String {
            let (kept, told) = (self.kept.clone(), self.told.clone());
            let mut listed = in_order(asked, kept, acts, told, &self.moves, 5_000);
            listed.present = present;
            let request = Restore { path: LocalPath::new("/f".into()).unwrap(), version: None, to: None, at };
            let is_there = |path: &SyncPath| path.as_bytes().len().is_multiple_of(2);
            match choose(asked, &listed, &request, "", &is_there) {
                Ok(chosen) => format!("{chosen:?}"),
                Err(refusal) => refusal.message,
            }
        }
    }

    #[test]
    fn v3_what_decides_decides_as_all_acts_do() {
        let (mut n_all, mut n_deciding) = (0, 0);
        for seed in 0..4_000 {
            let random = &mut Random(seed);
            let history = History::random(random);
            let asked = random.of(&[".", "d", "d/e", "f"]);
            let asked = SyncPath::parse(asked.as_bytes()).unwrap_or_else(|_| SyncPath::root());
            let at = (random.below(2) == 0).then(|| random.below(4_000) as i64);
            let asking = at.map_or(Asking::Last, |at| Asking::After(time(at)));
            let present = (random.below(2) == 0).then_some(Content::Directory);
            let deciding = history.deciding(&asked, asking);
            (n_all, n_deciding) = (n_all + history.acts.len(), n_deciding + deciding.len());
            assert_eq!(
                history.chosen(&asked, &deciding, at, present),
                history.chosen(&asked, &history.acts, at, present),
                "seed {seed}, {asked} {asking:?}: {:#?}",
                history.acts
            );
        }
        assert!(n_deciding < n_all * 9 / 10, "{n_deciding} of {n_all}");
    }

    #[test]
    fn h3_of_many_acts_at_one_path_few_are_remembered() {
        let asked = SyncPath::root();
        for asking in [Asking::Last, Asking::After(time(500))] {
            let mut deciding = Deciding::new(&asked, asking, BTreeSet::new());
            for seconds in (0..1_000).rev() {
                deciding.take(act(&format!("bytes {seconds}"), seconds));
                assert!(deciding.acts.len() <= 2);
            }
            let times: Vec<i64> = deciding.acts().iter().map(|act| act.at.seconds).collect();
            assert_eq!(times, if asking == Asking::Last { vec![999] } else { vec![999, 501] });
        }
    }
}
