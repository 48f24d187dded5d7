//! The versions of a path that are to be had: what is kept here, what other members keep, and what the directory still has
//! at another path. One list of them, and what is known to have been there and is not to be had.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use file_sync_core::effect::Kept;
use file_sync_core::path::SyncPath;
use file_sync_core::record::Stat;
use file_sync_core::retention::KEEP;
use file_sync_core::version::{Content, ContentHash, DeviceId, Time, Value};
use file_sync_index::Act;
use file_sync_wire::kept::KeptVersion;

use super::elsewhere::{OfRemote, Other};
use crate::api::command::Refusal;
use crate::api::types::{self, rfc3339};
use crate::room::{Bytes, Editor};

/// What a device's clock may be ahead of this one's, in seconds, before what it kept counts as kept earlier than it was.
const CLOCKS_DIFFER: i64 = 60;
/// The latest acts that are looked at: by them it is known when something was replaced here.
const ACTS_MAX: usize = 50_000;

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
    noted: Option<Time>,
}

impl Version {
    /// True if this device knows by itself that this was at the path: its bytes are here, or it has noted when it went. All else
    /// rests on the word of whoever tells of it, who could make users' versions of it if it were taken unasked.
    pub(super) fn is_vouched(&self) -> bool {
        matches!(self.here, Some(Bytes::Kept(_) | Bytes::At(_))) || self.noted.is_some()
    }
}

/// A version that was there and is not to be had: it was noted when it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) path: SyncPath,
    pub(super) content: ContentHash,
    /// When it was replaced or deleted.
    pub(super) at: Time,
}

/// What there is of a path, and of all below it.
#[derive(Default)]
pub(super) struct Listed {
    /// The newest first.
    pub(super) versions: Vec<Version>,
    /// What is not to be had of it; of what lies below, only where nothing is now. The newest first.
    pub(super) missing: Vec<Missing>,
}

impl Listed {
    /// What was last at the path before what is there now, if it is not to be had.
    pub(super) fn newer(&self, path: &SyncPath) -> Option<&Missing> {
        let missing = self.missing.iter().find(|missing| missing.path == *path)?;
        let mut had = self.versions.iter().filter(|version| version.path == *path && version.is_vouched());
        had.all(|version| version.at < missing.at).then_some(missing)
    }
}

/// The versions of a path that are to be had, those that members have told of among them.
///
/// # Errors
/// When the database cannot be read.
pub(super) fn list(
    editor: &Editor,
    path: &SyncPath,
    told: Vec<OfRemote>,
    now: Time,
) -> Result<Listed, Refusal> {
    let acts = editor.acts(path, ACTS_MAX)?;
    let mut versions =
        gather(editor.versions(path)?, &|kept| editor.is_in_store(&kept.name, &kept.stat), &acts, told);
    let elsewhere = add_noted(path, &acts, &mut versions, |content| editor.holder(content, path));
    let mut missing = elsewhere;
    // What has gone from the store, and nobody else keeps.
    let (had, gone): (Vec<Version>, Vec<Version>) =
        versions.into_iter().partition(|version| version.here.is_some() || !version.keepers.is_empty());
    let gone = gone.into_iter().map(|Version { path, content, at, .. }| (path, content.hash(), at));
    missing.extend(gone.map(|(path, content, at)| Missing { path, content, at }));
    let mut missing = still_missing(path, &acts, missing, now);
    missing.retain(|missing| match editor.record(&missing.path) {
        Some(record) if missing.path == *path => record.content.hash() != missing.content,
        Some(_) => false,
        None => missing.path == *path || editor.holder(&missing.content, &missing.path).is_none(),
    });
    let mut versions = had;
    sort(&mut versions);
    Ok(Listed { versions, missing })
}

/// Lists each act that none of the versions is of: where its bytes are to be had, as a version of its own, since others of the
/// same bytes were there at other times. Those are returned whose bytes are not.
///
/// `holder`: what was replaced here, and is not kept, may still be part of the directory under another name.
fn add_noted(
    path: &SyncPath,
    acts: &[Act],
    versions: &mut Vec<Version>,
    holder: impl Fn(&ContentHash) -> Option<(Bytes, Stat)>,
) -> Vec<Missing> {
    let mut known: BTreeMap<(SyncPath, ContentHash), Known> = BTreeMap::new();
    for (index, version) in versions.iter().enumerate() {
        known.entry((version.path.clone(), version.content.hash())).or_default().add(index, version);
    }
    let mut held: BTreeMap<ContentHash, Option<(Bytes, Stat)>> = BTreeMap::new();
    let mut missing = Vec::new();
    for act in acts.iter().filter(|act| act.what != "expired" && is_at_or_below(path, &act.path)) {
        let Some(content) = act.before else { continue };
        let known = known.entry((act.path.clone(), content)).or_default();
        let is_here = known.best.is_some_and(|index| versions[index].here.is_some());
        let elsewhere = if is_here || act.path != *path {
            None
        } else {
            held.entry(content).or_insert_with(|| holder(&content)).clone()
        };
        if let Some((bytes, _)) = &elsewhere {
            known.all.iter().for_each(|index| versions[*index].here = Some(bytes.clone()));
        }
        if known.times.contains(&act.at) {
            continue;
        }
        let like = known.best.map(|index| &versions[index]);
        let version = match (like, elsewhere) {
            (Some(like), _) if like.here.is_some() || !like.keepers.is_empty() => like.clone(),
            (_, Some((bytes, stat))) => Version {
                path: path.clone(),
                content: Content::File(content),
                length: stat.size,
                mode: stat.mode & 0o777,
                mtime: stat.mtime,
                at: act.at,
                here: Some(bytes),
                keepers: BTreeMap::new(),
                noted: None,
            },
            _ => {
                missing.push(Missing { path: act.path.clone(), content, at: act.at });
                continue;
            }
        };
        let version = Version { at: act.at, noted: Some(act.at), ..version };
        known.add(versions.len(), &version);
        versions.push(version);
    }
    missing
}

/// What is known of one content at one path.
#[derive(Default)]
struct Known {
    /// Its versions, by their place in the list.
    all: Vec<usize>,
    /// One of them, whose bytes are here if those of any are.
    best: Option<usize>,
    /// When it was noted that they went.
    times: BTreeSet<Time>,
}

impl Known {
    fn add(&mut self, index: usize, version: &Version) {
        self.all.push(index);
        self.times.extend(version.noted);
        if self.best.is_none() || version.here.is_some() {
            self.best = Some(index);
        }
    }
}

fn is_at_or_below(path: &SyncPath, other: &SyncPath) -> bool {
    path == other || path.is_ancestor_of(other)
}

/// Of what is not to be had at a path all, of what lies below it that which is still to be expected: it went lately, and no
/// copy of it was kept here until its time was over. The newest first.
fn still_missing(path: &SyncPath, acts: &[Act], mut missing: Vec<Missing>, now: Time) -> Vec<Missing> {
    let expired = acts.iter().filter(|act| act.what == "expired");
    let expired: BTreeSet<(&SyncPath, ContentHash)> =
        expired.filter_map(|act| Some((&act.path, act.before?))).collect();
    missing.retain(|missing| {
        let is_late = missing.at.seconds > now.seconds.saturating_sub(KEEP);
        missing.path == *path || is_late && !expired.contains(&(&missing.path, missing.content))
    });
    missing.sort_by(|one, other| (other.at, &one.path).cmp(&(one.at, &other.path)));
    missing
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
    let mut versions: Vec<Version> = kept
        .into_iter()
        .map(|kept| Version {
            noted: noted.when(None, &kept.path, kept.content.hash(), kept.at),
            here: is_there(&kept).then(|| Bytes::Kept(kept.name.clone())),
            path: kept.path,
            content: kept.content,
            length: kept.stat.size,
            mode: kept.stat.mode & 0o777,
            mtime: kept.stat.mtime,
            at: kept.at,
            keepers: BTreeMap::new(),
        })
        .collect();
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

fn of_remote(device: DeviceId, told: KeptVersion, noted: &mut Noted<'_>) -> Option<Version> {
    let KeptVersion { place, value } = told;
    let (content, at) = (value.content(), place.at);
    let (length, mode, mtime, here) = match value {
        Value::File { length, mode, mtime, .. } => (length, mode, mtime, None),
        // All of it was told.
        Value::Symlink { target } => {
            (target.len() as u64, 0o777, Time::default(), Some(Bytes::Target(target)))
        }
        Value::Absent { .. } | Value::Directory { .. } => return None,
    };
    let noted = noted.when(Some(device), &place.path, content.hash(), at);
    let keepers = BTreeMap::from([(device, length)]);
    Some(Version {
        path: place.path,
        content,
        length,
        mode,
        mtime,
        at: noted.unwrap_or(at),
        here,
        keepers,
        noted,
    })
}

fn sort(versions: &mut [Version]) {
    versions.sort_by(|one, other| (other.at, &one.path).cmp(&(one.at, &other.path)));
}

/// When contents were replaced at paths, as this device has noted.
struct Noted<'a> {
    times: BTreeMap<(&'a SyncPath, ContentHash), BTreeSet<Time>>,
    /// Which of these was the last that something of this keeper was taken for; none: of this device.
    taken: BTreeMap<(Option<DeviceId>, SyncPath, ContentHash), Time>,
}

impl<'a> Noted<'a> {
    fn new(acts: &'a [Act]) -> Noted<'a> {
        let mut times: BTreeMap<(&SyncPath, ContentHash), BTreeSet<Time>> = BTreeMap::new();
        for act in acts.iter().filter(|act| act.what != "expired") {
            if let Some(before) = act.before {
                times.entry((&act.path, before)).or_default().insert(act.at);
            }
        }
        Noted { times, taken: BTreeMap::new() }
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
        (device, KeptVersion { place: KeptPlace { path: path("f"), at: time(seconds) }, value })
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

    /// The same, with what is known by the acts alone; nothing is elsewhere in the directory.
    pub(in super::super) fn listed_by(
        kept: Vec<Kept>,
        acts: &[Act],
        told: Vec<(DeviceId, KeptVersion)>,
    ) -> Listed {
        let mut versions = gathered(kept, acts, told);
        let missing = add_noted(&path("f"), acts, &mut versions, |_| None);
        sort(&mut versions);
        Listed { versions, missing: still_missing(&path("f"), acts, missing, time(100)) }
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
        let listed = listed_by(vec![kept("a", 10)], &acts, Vec::new());
        let missing = listed.newer(&path("f")).expect("bb is nowhere");
        assert_eq!((missing.content, missing.at), (ContentHash::of(b"bb"), time(20)));
        assert_eq!(listed_by(vec![kept("a", 10)], &acts[1..], Vec::new()).newer(&path("f")), None);
        assert_eq!(listed.newer(&path("g")), None);
    }

    #[test]
    fn what_was_there_several_times_is_listed_for_each_of_them() {
        // Of the last time nobody who was asked tells; its bytes are those of the first.
        let acts = [act("a", 30), act("bb", 20), act("a", 10)];
        let listed = listed_by(vec![kept("bb", 20), kept("a", 10)], &acts, Vec::new());
        assert_eq!(listed_lines(&listed.versions), [(1, 30, true, 0), (2, 20, true, 0), (1, 10, true, 0)]);
        assert_eq!(listed.missing, []);
    }

    #[test]
    fn what_has_gone_from_the_store_is_not_said_to_be_here() {
        let told = vec![told(BETA, "a", 11)];
        let versions = gather(vec![kept("a", 10), kept("bb", 20)], &|_| false, &[act("a", 10)], told);
        assert_eq!(listed_lines(&versions), [(2, 20, false, 0), (1, 10, false, 1)]);
    }

    #[test]
    fn l3_what_expired_below_a_directory_or_went_long_ago_is_not_missed() {
        let below = |name: &str, seconds: i64, what: &str| Act {
            path: path(name),
            what: what.to_owned(),
            ..act(name, seconds)
        };
        let now = time(KEEP + 50);
        let acts = [
            below("d/late", 60, "deleted"),
            below("d/long-ago", 40, "deleted"),
            below("d/expired", 90, "expired"),
            below("d/expired", 70, "removed"),
        ];
        let mut versions = Vec::new();
        let missing = add_noted(&path("d"), &acts, &mut versions, |_| None);
        assert_eq!(missing.len(), 3);
        let missing = still_missing(&path("d"), &acts, missing, now);
        assert_eq!(missing.iter().map(|one| &one.path).collect::<Vec<_>>(), [&path("d/late")]);
        // What is asked for by its name is named, however long ago it was there.
        let missing = add_noted(&path("d/long-ago"), &acts, &mut versions, |_| None);
        assert_eq!(still_missing(&path("d/long-ago"), &acts, missing, now).len(), 1);
    }

    #[test]
    fn a_clock_that_is_a_little_ahead_or_behind_does_not_divide_them() {
        let versions =
            gathered(Vec::new(), &[act("a", 100)], vec![told(BETA, "a", 60), told(GAMMA, "a", 9_000)]);
        assert_eq!(listed_lines(&versions), [(1, 100, false, 2)]);
    }
}
