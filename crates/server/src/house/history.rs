//! The versions of a path that are to be had: what is kept here, what other members keep, and what the directory still has
//! at another path. One list of them, and what is known to have been there and is not to be had.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use file_sync_core::effect::Kept;
use file_sync_core::engine::ROTTEN;
use file_sync_core::path::SyncPath;
use file_sync_core::version::{Content, ContentHash, DeviceId, Time, Value};
use file_sync_index::Act;
use file_sync_wire::kept::KeptVersion;

use super::aside::{add_copies, add_standing};
use super::decisive::{self, Asking};
use super::elsewhere::{OfRemote, Other};
use super::went::{Asked, Going, Goings, Gone, goings};
use crate::api::command::Refusal;
use crate::api::types::{self, ShownPath, rfc3339};
use crate::room::{Bytes, Editor};

/// What a device's clock may be ahead of this one's, in seconds, before what it kept counts as kept earlier than it was.
const CLOCKS_DIFFER: i64 = 60;

/// A version that is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) path: SyncPath,
    pub(super) content: Content,
    pub(super) length: u64,
    pub(super) mode: u16,
    pub(super) mtime: Time,
    /// When it was replaced or deleted.
    pub(super) at: Time,
    /// Where its bytes are here, if they are.
    pub(super) here: Option<Bytes>,
    /// Who else keeps it, and how long it is by their word.
    pub(super) keepers: BTreeMap<DeviceId, u64>,
    /// When this device noted that; none: it does not know.
    pub(super) noted: Option<Time>,
    /// It is what a file had rotted to, and no user's.
    pub(super) is_rotten: bool,
    /// It was shown under this name, as a conflict copy of the path.
    pub(super) copy: Option<SyncPath>,
    /// It stands: only here something else is at the path, by this device's user, and that is sent to nobody.
    pub(super) is_standing: bool,
}

impl Version {
    /// A symlink's target, as a member tells it.
    pub(super) fn target(&self) -> Option<Bytes> {
        self.here.clone().filter(|here| matches!(here, Bytes::Target(_)))
    }

    /// True if its bytes are to be had.
    pub(super) fn is_had(&self) -> bool {
        self.here.is_some() || !self.keepers.is_empty()
    }

    /// True if this device knows by itself that this was at the path: its bytes are here, or it has noted when it went. All else
    /// rests on the word of whoever tells of it, who could make users' versions of it if it were taken unasked.
    pub(super) fn is_vouched(&self) -> bool {
        matches!(self.here, Some(Bytes::Kept(_) | Bytes::At(_))) || self.noted.is_some()
    }
}

/// What there is of a path, and of all below it.
#[derive(Default)]
pub(super) struct Listed {
    /// What is to be had, the newest first.
    pub(super) versions: Vec<Version>,
    /// What went when.
    pub(super) goings: Goings,
    /// What the path holds now; none: nothing.
    pub(super) present: Option<Content>,
    /// There are more acts below the path than are looked at: nothing is sure of what lies there.
    pub(super) is_cut: bool,
}

impl Listed {
    /// What was last at the path before what is there now, and when it went, if it is not to be had.
    pub(super) fn newer(&self, path: &SyncPath) -> Option<(ContentHash, Time)> {
        match self.last(path)? {
            Going { at, what: Gone::Missing(content) | Gone::Past(content), .. } => Some((*content, *at)),
            _ => None,
        }
    }

    /// True if something of what went is not to be had at present, and might be later.
    pub(super) fn lacks_some(&self) -> bool {
        self.goings.values().flatten().any(|going| matches!(going.what, Gone::Missing(_)))
    }

    /// What went last from the path itself. What is not to be had and there again does not count.
    pub(super) fn last(&self, path: &SyncPath) -> Option<&Going> {
        let present = self.present.as_ref().filter(|content| content.is_bytes()).map(Content::hash);
        let is_there_again = |going: &&Going| match going.what {
            Gone::Missing(content) | Gone::Past(content) => present == Some(content),
            Gone::Had(_) | Gone::Moved { .. } | Gone::Rotten(_) => false,
        };
        self.goings.get(path)?.iter().find(|going| !is_there_again(going))
    }
}

/// The versions of a path that are to be had, those that members have told of among them, and what went when: all of it, or
/// what decides.
///
/// # Errors
/// When the database cannot be read.
pub(super) fn list(
    editor: &Editor,
    path: &SyncPath,
    told: Vec<OfRemote>,
    others: &[Other],
    now: Time,
    asking: Asking,
) -> Result<Listed, Refusal> {
    // What is not noted in time is listed the next time.
    let _ = editor.await_noted();
    let (kept, copies): (Vec<Kept>, Vec<Kept>) = editor
        .versions(path)?
        .into_iter()
        .partition(|kept| kept.path == *path || path.is_ancestor_of(&kept.path));
    let (acts, is_cut) = decisive::acts(editor, path, asking, || {
        let kept = kept.iter().map(|kept| (kept.path.clone(), kept.content.hash()));
        let told = told.iter().map(|(_, told)| (told.place.path.clone(), told.value.content().hash()));
        kept.chain(told).collect()
    })?;
    let is_there = |kept: &Kept| editor.is_in_store(&kept.name, &kept.stat);
    let mut versions = gather(kept, &is_there, &acts, told);
    let is_of_many = acts.iter().any(|act| path.is_ancestor_of(&act.path));
    let times = acts.iter().map(|act| act.at).filter(|_| is_of_many).collect();
    let moves = editor.moves(&times)?;
    let holder = |content: &ContentHash, path: &SyncPath| editor.holder(content, path);
    let mut goings = goings(&Asked { path, now, moves: &moves, holder: &holder }, &acts, &mut versions);
    add_standing(editor, path, (now, acts.len()), others, &mut versions, &mut goings);
    add_copies(path, copies, &is_there, &mut versions);
    sort(&mut versions);
    let present = editor.on_disk(path).map(|record| record.content);
    Ok(Listed { versions, goings, present, is_cut })
}

/// One list of what is kept here (the newest first) and elsewhere (of each member, in order). What several keep of the same
/// act is listed once.
///
/// `is_there`: false of what is listed as kept here and has gone all the same.
fn gather(
    kept: Vec<Kept>,
    is_there: &dyn Fn(&Kept) -> bool,
    acts: &[Act],
    told: Vec<OfRemote>,
) -> Vec<Version> {
    let mut noted = Noted::new(acts);
    let kept = kept.into_iter();
    let mut versions: Vec<Version> = kept.map(|kept| of_kept(kept, &mut noted, is_there)).collect();
    let mut same = Same::default();
    for (index, version) in versions.iter().enumerate() {
        let group = same.group(version);
        same.members[group].push(index);
    }
    // Of each path, the newest first here as well.
    for (device, one) in told.into_iter().rev() {
        let Some(version) = of_remote(device, one, &mut noted) else { continue };
        let group = same.group(&version);
        let n_told = same.told.entry((device, group)).or_default();
        *n_told += 1;
        match same.members[group].get(*n_told - 1) {
            Some(index) => versions[*index].keepers.extend(version.keepers),
            None => {
                same.members[group].push(versions.len());
                versions.push(version);
            }
        }
    }
    sort(&mut versions);
    versions
}

/// Versions of one path, content and act: what one member tells of first is the first, and so on.
#[derive(Default)]
struct Same {
    groups: BTreeMap<(SyncPath, bool, ContentHash, Option<Time>), usize>,
    /// Of each group, the versions by their place in the list.
    members: Vec<Vec<usize>>,
    /// How many of a group a member has told of.
    told: BTreeMap<(DeviceId, usize), usize>,
}

impl Same {
    fn group(&mut self, version: &Version) -> usize {
        let is_symlink = matches!(version.content, Content::Symlink(_));
        let key = (version.path.clone(), is_symlink, version.content.hash(), version.noted);
        let group = *self.groups.entry(key).or_insert(self.members.len());
        if group == self.members.len() {
            self.members.push(Vec::new());
        }
        group
    }
}

pub(super) fn of_kept(kept: Kept, noted: &mut Noted<'_>, is_there: &dyn Fn(&Kept) -> bool) -> Version {
    let when = noted.when(None, &kept.path, kept.content.hash(), kept.at);
    Version {
        noted: when,
        is_rotten: noted.is_of_rotten(&kept.path, kept.content.hash(), when),
        here: is_there(&kept).then(|| Bytes::Kept(kept.name.clone())),
        path: kept.path,
        content: kept.content,
        length: kept.stat.size,
        mode: kept.stat.mode & 0o777,
        mtime: kept.stat.mtime,
        at: kept.at,
        keepers: BTreeMap::new(),
        copy: None,
        is_standing: false,
    }
}

fn of_remote(device: DeviceId, told: KeptVersion, noted: &mut Noted<'_>) -> Option<Version> {
    let KeptVersion { place, value, written } = told;
    let (content, at) = (value.content(), place.at);
    let (length, mode, mtime, here) = match value {
        Value::File { length, mode, mtime, .. } => (length, mode, mtime, None),
        // All of it was told. Where its time was not, it was there by the time that it was kept, as far as is known.
        Value::Symlink { target } => {
            (target.len() as u64, 0o777, written.unwrap_or(at), Some(Bytes::Target(target)))
        }
        Value::Absent { .. } | Value::Directory { .. } => return None,
    };
    let when = noted.when(Some(device), &place.path, content.hash(), at);
    let is_rotten = noted.is_of_rotten(&place.path, content.hash(), when);
    let keepers = BTreeMap::from([(device, length)]);
    Some(Version {
        path: place.path,
        content,
        length,
        mode,
        mtime,
        at: when.unwrap_or(at),
        here,
        keepers,
        noted: when,
        is_rotten,
        copy: None,
        is_standing: false,
    })
}

fn sort(versions: &mut [Version]) {
    versions.sort_by(|one, other| (other.at, &one.path).cmp(&(one.at, &other.path)));
}

/// When contents were replaced at paths, as this device has noted.
pub(super) struct Noted<'a> {
    times: BTreeMap<(&'a SyncPath, ContentHash), BTreeSet<Time>>,
    /// Which of these was the last that something of this keeper was taken for; none: of this device.
    taken: BTreeMap<(Option<DeviceId>, SyncPath, ContentHash), Time>,
    /// Which of these was of what a file had rotted to.
    rotten: BTreeSet<(&'a SyncPath, ContentHash, Time)>,
}

impl<'a> Noted<'a> {
    pub(super) fn new(acts: &'a [Act]) -> Noted<'a> {
        let mut times: BTreeMap<(&SyncPath, ContentHash), BTreeSet<Time>> = BTreeMap::new();
        for act in acts.iter().filter(|act| act.what != "expired") {
            if let Some(before) = act.before {
                times.entry((&act.path, before)).or_default().insert(act.at);
            }
        }
        let rotten = acts.iter().filter(|act| is_of_rotten(act));
        let rotten = rotten.filter_map(|act| Some((&act.path, act.before?, act.at))).collect();
        Noted { times, taken: BTreeMap::new(), rotten }
    }

    fn is_of_rotten(&self, path: &SyncPath, content: ContentHash, when: Option<Time>) -> bool {
        when.is_some_and(|when| self.rotten.contains(&(path, content, when)))
    }

    /// When that was replaced here which a keeper kept at this time, by its clock. To be asked of its newest first.
    ///
    /// It was the last before, since an act is followed on other devices sooner or later; unless one just after is nearer,
    /// as clocks differ.
    fn when(
        &mut self,
        keeper: Option<DeviceId>,
        path: &SyncPath,
        content: ContentHash,
        kept_at: Time,
    ) -> Option<Time> {
        let times = self.times.get(&(path, content))?;
        let place = (keeper, path.clone(), content);
        let end = self.taken.get(&place).copied();
        let is_free = |time: &&Time| end.is_none_or(|end| **time < end);
        let latest = Time { seconds: kept_at.seconds.saturating_add(CLOCKS_DIFFER), ..kept_at };
        let before = match end {
            Some(end) if end <= kept_at => Bound::Excluded(end),
            _ => Bound::Included(kept_at),
        };
        let earlier = times.range((Bound::Unbounded, before)).next_back();
        let later = times.range((Bound::Excluded(kept_at), Bound::Unbounded)).next();
        let later = later.filter(is_free).filter(|time| **time <= latest);
        let when = match (earlier, later) {
            (Some(earlier), Some(later)) if apart(kept_at, *earlier) <= apart(*later, kept_at) => *earlier,
            (_, Some(later)) => *later,
            (Some(earlier), None) => *earlier,
            (None, None) => *times.first().filter(is_free)?,
        };
        self.taken.insert(place, when);
        Some(when)
    }
}

/// True of an act by which what a file had rotted to went.
pub(super) fn is_of_rotten(act: &Act) -> bool {
    act.why.ends_with(ROTTEN)
}

fn apart(later: Time, earlier: Time) -> i128 {
    let nanoseconds = |time: Time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    nanoseconds(later) - nanoseconds(earlier)
}

/// A version as it is told to users.
pub(super) fn shown(version: &Version, others: &[Other]) -> types::KeptVersion {
    let is_keeper = |other: &&Other| version.keepers.contains_key(&other.device);
    let at = match &version.here {
        Some(Bytes::At(path)) => Some(path.into()),
        _ => None,
    };
    types::KeptVersion {
        id: id_of(version),
        path: (&version.path).into(),
        symlink: matches!(version.content, Content::Symlink(_)),
        bytes: version.length,
        modified: rfc3339(version.mtime),
        replaced: rfc3339(version.at),
        here: !matches!(version.here, None | Some(Bytes::Target(_))),
        at,
        damaged: version.is_rotten,
        standing: version.is_standing,
        copy: version.copy.as_ref().map(ShownPath::from),
        remotes: others.iter().filter(is_keeper).map(|other| other.name.clone()).collect(),
    }
}

/// Of the content: versions with equal ids hold equal bytes.
pub(super) fn id_of(version: &Version) -> String {
    short(&version.content.hash())
}

pub(super) fn short(content: &ContentHash) -> String {
    content.to_string()[..16].to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use file_sync_core::record::Stat;
    use file_sync_wire::kept::KeptPlace;

    use super::*;

    pub(in super::super) const BETA: DeviceId = DeviceId([1; 32]);
    const GAMMA: DeviceId = DeviceId([2; 32]);

    pub(in super::super) fn path(text: &str) -> SyncPath {
        SyncPath::parse(text.as_bytes()).unwrap()
    }

    pub(in super::super) fn time(seconds: i64) -> Time {
        Time { seconds, nanoseconds: 0 }
    }

    pub(in super::super) fn kept(bytes: &str, seconds: i64) -> Kept {
        let content = Content::File(ContentHash::of(bytes.as_bytes()));
        let stat = Stat {
            device: 1,
            inode: 1,
            size: bytes.len() as u64,
            mode: 0o644,
            mtime: time(1),
            ctime: time(1),
        };
        Kept { name: format!("{bytes}-{seconds}"), path: path("f"), content, stat, at: time(seconds) }
    }

    pub(in super::super) fn told(device: DeviceId, bytes: &str, seconds: i64) -> (DeviceId, KeptVersion) {
        let content = ContentHash::of(bytes.as_bytes());
        let value = Value::File { content, length: bytes.len() as u64, mode: 0o644, mtime: time(1) };
        (
            device,
            KeptVersion { place: KeptPlace { path: path("f"), at: time(seconds) }, value, written: None },
        )
    }

    pub(in super::super) fn act(before: &str, seconds: i64) -> Act {
        let before = Some(ContentHash::of(before.as_bytes()));
        let (what, why) = ("changed".to_owned(), String::new());
        Act { at: time(seconds), path: path("f"), before, after: None, what, why, by: None }
    }

    /// What is kept here and told of; all that is listed is there.
    pub(in super::super) fn gathered(
        kept: Vec<Kept>,
        acts: &[Act],
        told: Vec<(DeviceId, KeptVersion)>,
    ) -> Vec<Version> {
        gather(kept, &|_| true, acts, told)
    }

    /// The same, with what is known by the acts (in any order), asked for at a path at second 100.
    pub(in super::super) fn listed_at(
        asked: &str,
        kept: Vec<Kept>,
        acts: &[Act],
        told: Vec<(DeviceId, KeptVersion)>,
        moves: &[(&str, i64)],
    ) -> Listed {
        let asked = SyncPath::parse(asked.as_bytes()).unwrap_or_else(|_| SyncPath::root());
        let mut acts = acts.to_vec();
        acts.sort_by_key(|act| std::cmp::Reverse(act.at));
        in_order(&asked, kept, &acts, told, moves, 100)
    }

    /// The same, with the acts as they are given, the latest first.
    pub(in super::super) fn in_order(
        asked: &SyncPath,
        kept: Vec<Kept>,
        acts: &[Act],
        told: Vec<(DeviceId, KeptVersion)>,
        moves: &[(&str, i64)],
        now: i64,
    ) -> Listed {
        let mut versions = gathered(kept, acts, told);
        let why = |from: &str| file_sync_core::engine::moved_here_why(&path(from));
        let moves = moves.iter().map(|(from, at)| (why(from), time(*at))).collect();
        let asked = Asked { path: asked, now: time(now), moves: &moves, holder: &|_, _| None };
        let goings = goings(&asked, acts, &mut versions);
        sort(&mut versions);
        Listed { versions, goings, present: None, is_cut: false }
    }

    /// Of `f`, with nothing moved.
    pub(in super::super) fn listed_by(
        kept: Vec<Kept>,
        acts: &[Act],
        told: Vec<(DeviceId, KeptVersion)>,
    ) -> Listed {
        listed_at("f", kept, acts, told, &[])
    }

    /// Each version's bytes, time, whether they are here, and how many others keep it.
    fn listed_lines(versions: &[Version]) -> Vec<(u64, i64, bool, usize)> {
        let line = |version: &Version| {
            (version.length, version.at.seconds, version.here.is_some(), version.keepers.len())
        };
        versions.iter().map(line).collect()
    }

    #[test]
    fn what_several_keep_of_one_act_is_listed_once_at_the_time_of_the_act() {
        let acts = [act("a", 10), act("bb", 20), act("a", 30)];
        let told = vec![
            told(BETA, "a", 11),
            told(BETA, "bb", 21),
            told(BETA, "a", 30),
            // It was off for long, and knows of the last act alone.
            told(GAMMA, "a", 5_000),
        ];
        let versions = gathered(Vec::new(), &acts, told);
        assert_eq!(listed_lines(&versions), [(1, 30, false, 2), (2, 20, false, 1), (1, 10, false, 1)]);
    }

    #[test]
    fn what_is_kept_here_too_says_so() {
        let acts = [act("a", 10)];
        let versions =
            gathered(vec![kept("a", 10)], &acts, vec![told(BETA, "a", 12), told(GAMMA, "ccc", 40)]);
        assert_eq!(listed_lines(&versions), [(3, 40, false, 1), (1, 10, true, 1)]);
        // Where the acts are lost, what is the same in bytes is taken for the same.
        let versions = gathered(vec![kept("a", 10)], &[], vec![told(BETA, "a", 12), told(GAMMA, "a", 14)]);
        assert_eq!(listed_lines(&versions), [(1, 10, true, 2)]);
        // One member's two are two.
        let versions = gathered(Vec::new(), &[], vec![told(BETA, "a", 12), told(BETA, "a", 14)]);
        assert_eq!(versions.len(), 2);
    }

    #[test]
    fn what_was_last_there_and_is_not_to_be_had_is_named() {
        let acts = [act("bb", 20), act("a", 10)];
        let mut listed = listed_by(vec![kept("a", 10)], &acts, Vec::new());
        assert_eq!(listed.newer(&path("f")), Some((ContentHash::of(b"bb"), time(20))));
        assert_eq!(listed.newer(&path("g")), None);
        listed.present = Some(Content::File(ContentHash::of(b"bb")));
        assert_eq!(listed.newer(&path("f")), None, "it is there again");
        assert_eq!(listed_by(vec![kept("a", 10)], &acts[1..], Vec::new()).newer(&path("f")), None);
    }

    #[test]
    fn what_was_there_several_times_is_listed_for_each_of_them() {
        // Of the last time nobody who was asked tells; its bytes are those of the first.
        let acts = [act("a", 30), act("bb", 20), act("a", 10)];
        let listed = listed_by(vec![kept("bb", 20), kept("a", 10)], &acts, Vec::new());
        assert_eq!(listed_lines(&listed.versions), [(1, 30, true, 0), (2, 20, true, 0), (1, 10, true, 0)]);
        assert_eq!(listed.newer(&path("f")), None);
    }

    #[test]
    fn what_has_gone_from_the_store_is_not_said_to_be_here() {
        let told = vec![told(BETA, "a", 11)];
        let versions = gather(vec![kept("a", 10), kept("bb", 20)], &|_| false, &[act("a", 10)], told);
        assert_eq!(listed_lines(&versions), [(2, 20, false, 0), (1, 10, false, 1)]);
    }

    #[test]
    fn a_clock_that_is_a_little_ahead_or_behind_does_not_divide_them() {
        let versions =
            gathered(Vec::new(), &[act("a", 100)], vec![told(BETA, "a", 60), told(GAMMA, "a", 9_000)]);
        assert_eq!(listed_lines(&versions), [(1, 100, false, 2)]);
    }
}
