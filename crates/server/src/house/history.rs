//! The versions of a path that are to be had: what is kept here, what other members keep, and what the directory still has
//! at another path. One list of them, and what a user chooses from it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use file_sync_core::conflict::origins;
use file_sync_core::effect::Kept;
use file_sync_core::path::SyncPath;
use file_sync_core::version::{Content, ContentHash, DeviceId, Time, Value};
use file_sync_index::Act;
use file_sync_wire::kept::KeptVersion;

use super::elsewhere::{OfRemote, Other};
use crate::api::command::{Refusal, Restore};
use crate::api::types::{self, Untold, rfc3339};
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
    fn is_vouched(&self) -> bool {
        matches!(self.here, Some(Bytes::Kept(_) | Bytes::At(_))) || self.noted.is_some()
    }
}

/// What there is of a path.
pub(super) struct Listed {
    /// Of it and of all below it, the newest first.
    pub(super) versions: Vec<Version>,
    /// What was there before that and is not to be had now, if it is newer than all that is.
    pub(super) newer: Option<types::Unhad>,
}

/// The versions of a path that are to be had, those that members have told of among them.
///
/// # Errors
/// When the database cannot be read.
pub(super) fn list(editor: &Editor, path: &SyncPath, told: Vec<OfRemote>) -> Result<Listed, Refusal> {
    let acts = editor.acts(path, ACTS_MAX)?;
    let mut versions = gather(editor.versions(path)?, &acts, told);
    add_from_other_paths(editor, path, &acts, &mut versions);
    sort(&mut versions);
    let present = editor.record(path).map(|record| record.content.hash());
    let newer = newer(path, &acts, &versions, present);
    Ok(Listed { versions, newer })
}

/// The last that was replaced or deleted at the path, unless it is to be had, or there again.
fn newer(
    path: &SyncPath,
    acts: &[Act],
    versions: &[Version],
    present: Option<ContentHash>,
) -> Option<types::Unhad> {
    let own = acts.iter().filter(|act| act.path == *path && act.what != "expired");
    let (content, at) = own.filter_map(|act| Some((act.before?, act.at))).next()?;
    let mut had = versions.iter().filter(|version| version.path == *path);
    let is_had = had.any(|version| version.content.hash() == content) || present == Some(content);
    (!is_had).then(|| types::Unhad { id: short(&content), replaced: rfc3339(at) })
}

/// What was replaced here, and is not kept, may still be part of the directory under another name.
fn add_from_other_paths(editor: &Editor, path: &SyncPath, acts: &[Act], versions: &mut Vec<Version>) {
    let mut known: BTreeMap<ContentHash, Vec<usize>> = BTreeMap::new();
    let own = versions.iter().enumerate().filter(|(_, version)| version.path == *path);
    for (index, version) in own {
        known.entry(version.content.hash()).or_default().push(index);
    }
    let mut seen = BTreeSet::new();
    for act in acts.iter().filter(|act| act.path == *path && act.what != "expired") {
        let Some(content) = act.before.filter(|content| seen.insert(*content)) else { continue };
        let known = known.get(&content).map(Vec::as_slice).unwrap_or_default();
        let is_lacking = known.iter().any(|index| versions[*index].here.is_none());
        if !known.is_empty() && !is_lacking {
            continue;
        }
        let Some((bytes, stat)) = editor.holder(&content, path) else { continue };
        for index in known {
            versions[*index].here.get_or_insert_with(|| bytes.clone());
        }
        if known.is_empty() {
            versions.push(Version {
                path: path.clone(),
                content: Content::File(content),
                length: stat.size,
                mode: stat.mode & 0o777,
                mtime: stat.mtime,
                at: act.at,
                here: Some(bytes),
                keepers: BTreeMap::new(),
                noted: Some(act.at),
            });
        }
    }
}

/// One list of what is kept here (the newest first) and elsewhere (of each member, in order). What several keep of the same
/// act is listed once.
fn gather(kept: Vec<Kept>, acts: &[Act], told: Vec<OfRemote>) -> Vec<Version> {
    let mut noted = Noted::new(acts);
    let mut versions: Vec<Version> = kept
        .into_iter()
        .map(|kept| Version {
            noted: noted.when(None, &kept.path, kept.content.hash(), kept.at),
            path: kept.path,
            content: kept.content,
            length: kept.stat.size,
            mode: kept.stat.mode & 0o777,
            mtime: kept.stat.mtime,
            at: kept.at,
            here: Some(Bytes::Kept(kept.name)),
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

fn short(content: &ContentHash) -> String {
    content.to_string()[..16].to_owned()
}

/// True if a version is surely the one that is meant, whatever others keep: its id is given in full.
pub(super) fn is_given(version: &Version, path: &SyncPath, request: &Restore) -> bool {
    version.path == *path
        && request.version.as_ref().is_some_and(|given| given.to_lowercase() == id_of(version))
}

/// The version of a path that is asked for, or, of a directory, one of each path below it.
pub(super) fn choose(
    path: &SyncPath,
    versions: Vec<Version>,
    request: &Restore,
    untold: &[Untold],
) -> Result<Vec<Version>, Refusal> {
    let beside = not_asked(untold);
    let (own, below): (Vec<Version>, Vec<Version>) =
        versions.into_iter().partition(|version| version.path == *path);
    if let Some(given) = &request.version {
        let given = given.to_lowercase();
        let candidates: Vec<&Version> =
            own.iter().filter(|version| id_of(version).starts_with(&given)).collect();
        let ids: BTreeSet<String> = candidates.iter().map(|version| id_of(version)).collect();
        // Of equal ones that whose bytes are here.
        let best = candidates.iter().find(|version| version.here.is_some()).or(candidates.first());
        return match best {
            Some(version) if ids.len() == 1 && !given.is_empty() => Ok(vec![(*version).clone()]),
            Some(_) => Err(Refusal::new(format!(
                "{} versions of {path} have ids like that; give more of it",
                ids.len()
            ))),
            None => Err(Refusal::unknown(format!(
                "no version {given} of {path} is kept here or told of by a remote; `file-sync history` lists them{beside}"
            ))),
        };
    }
    let told = own.iter().chain(&below).find(|version| !version.is_vouched()).cloned();
    let [own, below] =
        [own, below].map(|all| all.into_iter().filter(Version::is_vouched).collect::<Vec<_>>());
    if let (true, true, Some(told)) = (own.is_empty(), below.is_empty(), told) {
        return Err(Refusal::new(format!(
            "{} was at {} by the word of remotes alone; nothing was changed; `--version {}` takes it",
            id_of(&told),
            told.path,
            id_of(&told)
        )));
    }
    let as_of =
        |version: &&Version| request.at.is_none_or(|at| version.at > Time { seconds: at, nanoseconds: 0 });
    if !own.is_empty() {
        // The newest, or the first that was replaced after that time.
        let mut fitting = own.iter().filter(as_of);
        let version = if request.at.is_some() { fitting.next_back() } else { fitting.next() };
        let current = "it has not been replaced since then, as far as is known: what is there now was there";
        return version
            .map(|version| vec![version.clone()])
            .ok_or_else(|| Refusal::new(format!("{path}: {current}{beside}")));
    }
    let mut chosen: BTreeMap<SyncPath, Version> = BTreeMap::new();
    // A conflict copy that is gone was dealt with: it comes back when it is named itself.
    let is_copy = |version: &&Version| !origins(&version.path).is_empty();
    for version in below.iter().filter(as_of).filter(|version| !is_copy(version)) {
        if request.at.is_some() {
            chosen.insert(version.path.clone(), version.clone());
        } else {
            chosen.entry(version.path.clone()).or_insert_with(|| version.clone());
        }
    }
    if chosen.is_empty() {
        return Err(Refusal::unknown(format!(
            "no version of {path} is kept here or told of by a remote{beside}"
        )));
    }
    Ok(chosen.into_values().collect())
}

/// Who may keep other versions, as the end of a line.
pub(super) fn not_asked(untold: &[Untold]) -> String {
    let each: Vec<String> =
        untold.iter().map(|untold| format!("{} ({})", untold.remote, untold.reason)).collect();
    if each.is_empty() { String::new() } else { format!("; not known of: {}", each.join(", ")) }
}

#[cfg(test)]
mod tests {
    use file_sync_core::record::Stat;
    use file_sync_wire::kept::KeptPlace;

    use super::*;

    const BETA: DeviceId = DeviceId([1; 32]);
    const GAMMA: DeviceId = DeviceId([2; 32]);

    fn path(text: &str) -> SyncPath {
        SyncPath::parse(text.as_bytes()).unwrap()
    }

    fn time(seconds: i64) -> Time {
        Time { seconds, nanoseconds: 0 }
    }

    fn kept(bytes: &str, seconds: i64) -> Kept {
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

    fn told(device: DeviceId, bytes: &str, seconds: i64) -> (DeviceId, KeptVersion) {
        let content = ContentHash::of(bytes.as_bytes());
        let value = Value::File { content, length: bytes.len() as u64, mode: 0o644, mtime: time(1) };
        (device, KeptVersion { place: KeptPlace { path: path("f"), at: time(seconds) }, value })
    }

    fn act(before: &str, seconds: i64) -> Act {
        let before = Some(ContentHash::of(before.as_bytes()));
        let (what, why) = ("changed".to_owned(), String::new());
        Act { at: time(seconds), path: path("f"), before, after: None, what, why, by: None }
    }

    /// Each version's bytes, time, whether they are here, and how many others keep it.
    fn listed(versions: &[Version]) -> Vec<(u64, i64, bool, usize)> {
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
        let versions = gather(Vec::new(), &acts, told);
        assert_eq!(listed(&versions), [(1, 30, false, 2), (2, 20, false, 1), (1, 10, false, 1)]);
    }

    #[test]
    fn what_is_kept_here_too_says_so() {
        let acts = [act("a", 10)];
        let versions = gather(vec![kept("a", 10)], &acts, vec![told(BETA, "a", 12), told(GAMMA, "ccc", 40)]);
        assert_eq!(listed(&versions), [(3, 40, false, 1), (1, 10, true, 1)]);
        // Where the acts are lost, what is the same in bytes is taken for the same.
        let versions = gather(vec![kept("a", 10)], &[], vec![told(BETA, "a", 12), told(GAMMA, "a", 14)]);
        assert_eq!(listed(&versions), [(1, 10, true, 2)]);
        // One member's two are two.
        let versions = gather(Vec::new(), &[], vec![told(BETA, "a", 12), told(BETA, "a", 14)]);
        assert_eq!(versions.len(), 2);
    }

    #[test]
    fn what_was_last_there_and_is_not_to_be_had_is_named() {
        let acts = [act("bb", 20), act("a", 10)];
        let versions = gather(vec![kept("a", 10)], &acts, Vec::new());
        let missing = newer(&path("f"), &acts, &versions, None).expect("bb is nowhere");
        assert_eq!(missing.id, short(&ContentHash::of(b"bb")));
        assert_eq!(newer(&path("f"), &acts, &versions, Some(ContentHash::of(b"bb"))), None);
        assert_eq!(newer(&path("f"), &acts[1..], &versions, None), None);
        assert_eq!(newer(&path("g"), &acts, &versions, None), None);
    }

    #[test]
    fn a_clock_that_is_a_little_ahead_or_behind_does_not_divide_them() {
        let versions =
            gather(Vec::new(), &[act("a", 100)], vec![told(BETA, "a", 60), told(GAMMA, "a", 9_000)]);
        assert_eq!(listed(&versions), [(1, 100, false, 2)]);
    }

    fn restore(version: Option<&str>, at: Option<i64>) -> Restore {
        let path = crate::api::names::LocalPath::new("/f".into()).unwrap();
        Restore { path, version: version.map(str::to_owned), to: None, at }
    }

    #[test]
    fn h5_what_a_member_alone_knows_of_is_taken_only_by_its_name() {
        let lie = told(BETA, "authored by a receiver", 4_102_444_800);
        let versions = gather(vec![kept("a", 10)], &[act("a", 10)], vec![lie.clone()]);
        assert_eq!(versions[0].length, 22, "it says that it is the newest");
        let id = id_of(&versions[0]);
        let chosen = choose(&path("f"), versions.clone(), &restore(None, None), &[]).unwrap();
        assert_eq!(chosen[0].length, 1);
        let chosen = choose(&path("f"), versions, &restore(Some(&id), None), &[]).unwrap();
        assert_eq!(chosen[0].length, 22);
        let alone = gather(Vec::new(), &[], vec![lie]);
        for at in ["f", "."] {
            let asked = SyncPath::parse(at.as_bytes()).unwrap_or_else(|_| SyncPath::root());
            let refusal = choose(&asked, alone.clone(), &restore(None, None), &[]).unwrap_err();
            assert!(refusal.message.contains(&format!("--version {id}")), "{refusal}");
        }
    }

    #[test]
    fn as_of_a_time_the_first_that_was_replaced_later_is_chosen_wherever_it_is() {
        let acts = [act("a", 10), act("bb", 20)];
        let versions =
            gather(vec![kept("ccc", 30)], &acts, vec![told(BETA, "a", 500), told(BETA, "bb", 600)]);
        for (at, length) in [(Some(5), 1), (Some(10), 2), (Some(15), 2), (Some(25), 3), (None, 3)] {
            let chosen = choose(&path("f"), versions.clone(), &restore(None, at), &[]).unwrap();
            assert_eq!(chosen[0].length, length, "as of {at:?}");
        }
        let untold = [Untold { remote: "gamma".into(), reason: "not connected".into() }];
        for request in [restore(None, Some(40)), restore(Some("0000"), None)] {
            let refusal = choose(&path("f"), versions.clone(), &request, &untold).unwrap_err();
            assert!(refusal.message.contains("gamma (not connected)"), "{refusal}");
        }
    }
}
