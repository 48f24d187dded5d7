//! When something went from a path, as this device has noted it, and what became of it: the order in which a user's "last" and
//! "as of a time" are meant. The record of acts tells it; what is kept is only looked for.

use std::collections::{BTreeMap, BTreeSet};

use file_sync_core::engine::{Deed, RENAMED_FROM, RENAMED_TO, moved_here_why};
use file_sync_core::path::SyncPath;
use file_sync_core::record::Stat;
use file_sync_core::retention::KEEP;
use file_sync_core::version::{Content, ContentHash, Time};
use file_sync_index::Act;

use super::history::{Version, is_of_rotten};
use crate::room::Bytes;

/// One time that something went from a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Going {
    /// Of two, the later one has the higher, whatever clocks said: by the act, and by what is in no act after that one.
    pub(super) order: (usize, usize),
    /// When, by this device's clock.
    pub(super) at: Time,
    pub(super) what: Gone,
    /// True if it left nothing at the path.
    pub(super) is_end: bool,
}

impl Going {
    pub(super) fn is_moved(&self) -> bool {
        matches!(self.what, Gone::Moved { .. })
    }
}

/// What went.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Gone {
    /// It is to be had.
    Had(Box<Version>),
    /// It is not to be had.
    Missing(ContentHash),
    /// Nor is it to be expected: it went longer ago than anything is kept.
    Past(ContentHash),
    /// Nobody wrote it: a file had rotted to it.
    Rotten(ContentHash),
    /// It got another name, with all below it if it was a directory.
    Moved { to: Option<SyncPath> },
}

/// Of each path, the latest first.
pub(super) type Goings = BTreeMap<SyncPath, Vec<Going>>;

/// What is asked besides the record of acts.
pub(super) struct Asked<'a> {
    pub(super) path: &'a SyncPath,
    pub(super) now: Time,
    /// What users moved here: as the record says it, and when.
    pub(super) moves: &'a BTreeSet<(String, Time)>,
    /// Where else in the directory, or in the store, a content is that is not at this path.
    pub(super) holder: &'a Holder<'a>,
}

type Holder<'a> = dyn Fn(&ContentHash, &SyncPath) -> Option<(Bytes, Stat)> + 'a;

/// Lists each act at the path, and below it, as the going of a version. Of equal bytes that were there at several times, each
/// is one; those that nobody tells of are added to `versions`.
pub(super) fn goings(asked: &Asked<'_>, acts: &[Act], versions: &mut Vec<Version>) -> Goings {
    let mut listing = Listing { asked, known: BTreeMap::new(), versions };
    for index in 0..listing.versions.len() {
        listing.know(index);
    }
    let (mut goings, mut came_back) = (Goings::new(), BTreeSet::new());
    for (index, act) in acts.iter().enumerate().filter(|(_, act)| says_what_went(act)) {
        let what = match act.before {
            Some(content) if *asked.path == act.path || asked.path.is_ancestor_of(&act.path) => {
                listing.what(act, content)
            }
            // Of a directory that has another name the record says that alone; all below it went with it.
            None if act.what == Deed::Renamed.word() && act.after.is_none() => {
                if let Some(from) = act.why.strip_prefix(RENAMED_FROM) {
                    came_back.insert((&act.path, from));
                }
                match act.why.strip_prefix(RENAMED_TO) {
                    Some(to) if !came_back.remove(&(&act.path, to)) => {
                        Gone::Moved { to: SyncPath::parse(to.as_bytes()).ok() }
                    }
                    _ => continue,
                }
            }
            _ => continue,
        };
        let (order, is_end) = ((acts.len() - index, 0), act.after.is_none());
        goings.entry(act.path.clone()).or_default().push(Going { order, at: act.at, what, is_end });
    }
    listing.versions.retain(Version::is_had);
    add_unnoted(listing.versions, &mut goings);
    goings
}

/// True of what took a user's bytes from their place: those that have rotted were none, and are back.
fn says_what_went(act: &Act) -> bool {
    ![Deed::Expired, Deed::Healed].iter().any(|deed| act.what == deed.word())
}

/// What is kept here and in no act, as after the record of acts was lost: it went when it was kept.
fn add_unnoted(versions: &[Version], goings: &mut Goings) {
    let unnoted = versions.iter().filter(|version| version.noted.is_none() && version.is_vouched());
    // The oldest first: each comes right after what had gone by then.
    for version in unnoted.rev() {
        let of_path = goings.entry(version.path.clone()).or_default();
        let place = of_path.iter().position(|going| going.at <= version.at).unwrap_or(of_path.len());
        let order = of_path.get(place).map_or((0, 0), |earlier| (earlier.order.0, earlier.order.1 + 1));
        let what = Gone::Had(Box::new(version.clone()));
        of_path.insert(place, Going { order, at: version.at, what, is_end: true });
    }
}

struct Listing<'a> {
    asked: &'a Asked<'a>,
    known: BTreeMap<(SyncPath, ContentHash), Known>,
    versions: &'a mut Vec<Version>,
}

/// What is known of one content at one path.
#[derive(Default)]
struct Known {
    /// The best of its versions: one whose bytes are here, else one that somebody keeps.
    best: Option<usize>,
    /// By when it was noted that they went.
    noted: BTreeMap<Time, usize>,
}

impl Listing<'_> {
    fn know(&mut self, index: usize) {
        let version = &self.versions[index];
        let known = self.known.entry((version.path.clone(), version.content.hash())).or_default();
        known.noted.extend(version.noted.map(|at| (at, index)));
        let is_better = |best: usize| {
            (version.here.is_some(), version.is_had())
                > (self.versions[best].here.is_some(), self.versions[best].is_had())
        };
        if known.best.is_none_or(is_better) {
            known.best = Some(index);
        }
    }

    fn what(&mut self, act: &Act, content: ContentHash) -> Gone {
        let is_own = act.path == *self.asked.path;
        let is_moved = || self.asked.moves.contains(&(moved_here_why(&act.path), act.at));
        if !is_own && (act.what == Deed::Renamed.word() || is_moved()) {
            return Gone::Moved { to: None };
        }
        if is_of_rotten(act) {
            return Gone::Rotten(content);
        }
        let key = (act.path.clone(), content);
        let known = self.known.get(&key);
        let best = known.and_then(|known| known.best);
        let noted = known.and_then(|known| known.noted.get(&act.at).copied());
        let is_here = best.is_some_and(|best| self.versions[best].here.is_some());
        let elsewhere = if is_here { None } else { (self.asked.holder)(&content, &act.path) };
        match (noted, self.like(best, elsewhere, act, content)) {
            (Some(index), Some(like)) => {
                let version = &mut self.versions[index];
                version.here = version.here.take().or(like.here);
                version.keepers.extend(like.keepers);
                return Gone::Had(Box::new(version.clone()));
            }
            (None, Some(like)) => {
                let version = Version { at: act.at, noted: Some(act.at), ..like };
                self.versions.push(version.clone());
                self.know(self.versions.len() - 1);
                return Gone::Had(Box::new(version));
            }
            (_, None) => {}
        }
        let is_late = act.at.seconds > self.asked.now.seconds.saturating_sub(KEEP);
        if is_late { Gone::Missing(content) } else { Gone::Past(content) }
    }

    /// A version of the same bytes, if there is any.
    fn like(
        &self,
        best: Option<usize>,
        elsewhere: Option<(Bytes, Stat)>,
        act: &Act,
        content: ContentHash,
    ) -> Option<Version> {
        match (best.map(|best| &self.versions[best]).filter(|best| best.is_had()), elsewhere) {
            (Some(best), None) => Some(best.clone()),
            (Some(best), Some((bytes, _))) => Some(Version { here: Some(bytes), ..best.clone() }),
            (None, Some((bytes, stat))) => Some(Version {
                path: act.path.clone(),
                content: Content::File(content),
                length: stat.size,
                mode: stat.mode & 0o777,
                mtime: stat.mtime,
                at: act.at,
                here: Some(bytes),
                keepers: BTreeMap::new(),
                noted: None,
                is_rotten: false,
                copy: None,
                is_standing: false,
            }),
            (None, None) => None,
        }
    }
}
