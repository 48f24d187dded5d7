//! What a path shows, given the versions that stand there: the winner, and what is shown beside it as copies.
//!
//! Versions with equal content are one value. A value whose bytes were what another version replaced does not compete
//! with it (promises L5, W1): it is *hidden*, and only its metadata counts. For a change of metadata alone it is enough
//! that its bytes were replaced some edits before. Of the values left, a directory keeps the
//! name, else the highest rank key; every other is shown at its conflict name. Nothing here changes a register.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use crate::conflict::copy_path;
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::register::Settled;
use crate::version::{Actor, Content, ContentHash, Dot, RankKey, Value, Version};

/// Mode of a directory that exists only for what lives below it and whose own mode nobody remembers.
const IMPLIED_MODE: u16 = 0o755;

/// What a path shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Projection {
    /// The value that has the name.
    pub value: Value,
    /// Values shown at copies' names, highest first.
    pub losers: Vec<Loser>,
    /// Dots that are not shown because another version replaced their bytes.
    pub hidden: Vec<Dot>,
}

impl Projection {
    /// Where nothing stands.
    pub const NOTHING: Projection =
        Projection { value: Value::ABSENT, losers: Vec::new(), hidden: Vec::new() };
}

/// A value that lost the name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loser {
    /// Where it is shown.
    pub copy: SyncPath,
    /// What is shown there.
    pub value: Value,
    /// All dots of this value.
    pub dots: Vec<Dot>,
}

/// One value: all versions with equal content.
struct Group<'a> {
    content: Content,
    versions: Vec<&'a Version>,
}

impl Group<'_> {
    fn representative(&self) -> &Version {
        self.versions.iter().max_by_key(|version| version.rank_key()).expect("a group has a version")
    }

    fn rank_key(&self) -> RankKey {
        self.representative().rank_key()
    }

    fn dots(&self) -> impl Iterator<Item = Dot> {
        self.versions.iter().map(|version| version.dot)
    }

    /// True if nobody wrote these bytes here, as far as is known now: only their mode or time were changed.
    fn is_of_metadata_alone(&self) -> bool {
        self.versions.iter().all(|version| !version.changed.content)
    }
}

/// Projects the versions that stand at `path`.
///
/// `is_parent`: something below is shown, so that a directory has to be here. `settled`: what was settled from here, to
/// copies whose names no other value may use.
pub fn project(path: &SyncPath, versions: &[&Version], is_parent: bool, settled: &[Settled]) -> Projection {
    if let ([only], false) = (versions, is_parent) {
        return Projection { value: only.value.clone(), ..Projection::NOTHING };
    }
    if versions.is_empty() && !is_parent {
        return Projection::NOTHING;
    }
    let latest = versions.iter().max_by_key(|version| version.rank_key());
    if is_made(Mistake::DeleteCompetes) && !is_parent && latest.is_some_and(|it| !it.value.is_present()) {
        return Projection::NOTHING;
    }
    let groups = group(versions);
    let replacements = Replacements::of(versions, &groups, settled);
    let (mut competing, hidden) = replacements.part(&groups);
    competing.sort_by_key(|group| std::cmp::Reverse(group.rank_key()));

    let has_directory = competing.first().is_some_and(|group| group.content == Content::Directory);
    let value_of = |group: &Group<'_>| composite(group, &replacements.contributors(group, &groups));
    let (value, losing) = if has_directory || !is_parent {
        match competing.split_first() {
            Some((winner, rest)) => (value_of(winner), rest),
            None => (Value::ABSENT, [].as_slice()),
        }
    } else {
        (Value::Directory { mode: implied_mode(versions) }, competing.as_slice())
    };
    let losers = name_copies(path, losing, settled)
        .into_iter()
        .map(|(copy, group)| Loser { copy, value: value_of(group), dots: group.dots().collect() })
        .collect();
    let hidden = hidden.into_iter().flat_map(Group::dots).collect();
    Projection { value, losers, hidden }
}

/// The dots of what is not shown, of all that stands at a path, because another replaced its bytes.
pub fn hidden(versions: &[&Version], settled: &[Settled]) -> Vec<Dot> {
    let groups = group(versions);
    let (_, hidden) = Replacements::of(versions, &groups, settled).part(&groups);
    hidden.into_iter().flat_map(Group::dots).collect()
}

fn group<'a>(versions: &[&'a Version]) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<Content, Vec<&'a Version>> = BTreeMap::new();
    for version in versions.iter().filter(|version| version.value.is_present()) {
        groups.entry(version.value.content()).or_default().push(version);
    }
    let groups = groups.into_iter().map(|(content, versions)| Group { content, versions });
    if is_made(Mistake::EqualBytesConflict) {
        let apart = |group: Group<'a>| {
            group.versions.into_iter().map(move |version| Group { versions: vec![version], ..group })
        };
        return groups.flat_map(apart).collect();
    }
    groups.collect()
}

/// Which bytes the versions replaced, by what they put there.
struct Replacements(BTreeMap<Content, BTreeSet<Content>>);

impl Replacements {
    fn of(versions: &[&Version], groups: &[Group<'_>], settled: &[Settled]) -> Replacements {
        let mut bases: BTreeMap<Content, BTreeSet<Content>> = BTreeMap::new();
        if is_made(Mistake::BasesForgotten) {
            return Replacements(bases);
        }
        let present = || versions.iter().filter(|version| version.value.is_present());
        let writes = present().filter(|version| version.changed.content);
        let writes = writes.filter(|version| version.base != version.value.content());
        let replaced: BTreeSet<Content> = writes.clone().map(|version| version.base).collect();
        let origins = Origins::of(groups.iter().filter(|group| replaced.contains(&group.content)));
        for version in writes.filter(|version| origins.may_be_replaced_by(version)) {
            bases.entry(version.value.content()).or_default().insert(version.base);
        }
        for group in groups.iter().filter(|group| group.is_of_metadata_alone()) {
            let has_replaced = |other: &&&Version| {
                other.value.content() != group.content
                    && group.versions.iter().all(|version| has_replaced_bytes(other, version, settled))
            };
            for other in present().filter(has_replaced) {
                bases.entry(other.value.content()).or_default().insert(group.content);
            }
        }
        Replacements(bases)
    }

    /// The values that compete, and those that do not.
    fn part<'a, 'b>(&self, groups: &'b [Group<'a>]) -> (Vec<&'b Group<'a>>, Vec<&'b Group<'a>>) {
        let shown = self.shown(groups);
        groups.iter().partition(|group| shown.contains(&group.content))
    }

    /// The contents that compete: all but those whose replacements lead to one that nobody replaced.
    ///
    /// Contents that replace each other in a circle all stay.
    fn shown(&self, groups: &[Group<'_>]) -> BTreeSet<Content> {
        let replaced: BTreeSet<&Content> = self.0.values().flatten().collect();
        let contents = || groups.iter().map(|group| group.content);
        let ends: BTreeSet<Content> = contents().filter(|content| !replaced.contains(content)).collect();
        let reaches_end = self.bases(ends.clone());
        contents().filter(|content| ends.contains(content) || !reaches_end.contains(content)).collect()
    }

    /// These contents and all that they replaced, however often.
    fn bases(&self, contents: BTreeSet<Content>) -> BTreeSet<Content> {
        let mut open: Vec<Content> = contents.iter().copied().collect();
        let mut found = contents;
        while let Some(content) = open.pop() {
            let bases = self.0.get(&content).into_iter().flatten();
            open.extend(bases.filter(|base| found.insert(**base)));
        }
        found
    }

    /// The versions whose metadata count for a value: its own, and those whose bytes it replaced, however often.
    fn contributors<'a>(&self, group: &Group<'a>, groups: &[Group<'a>]) -> Vec<&'a Version> {
        let contents = self.bases(BTreeSet::from([group.content]));
        let of_content = |content: &Content| {
            groups
                .binary_search_by_key(content, |group| group.content)
                .ok()
                .map(|index| &groups[index].versions)
        };
        contents.iter().filter_map(of_content).flatten().copied().collect()
    }
}

/// Where the versions of each content were written, and the last that each actor wrote.
struct Origins<'a>(BTreeMap<Content, Origin<'a>>);

#[derive(Default)]
struct Origin<'a> {
    born_at: BTreeSet<&'a Option<SyncPath>>,
    last: BTreeMap<Actor, u64>,
    /// Those that were written at another path and only landed here.
    landed: Vec<Dot>,
    /// Those that took the place of a directory.
    over_directories: Vec<Dot>,
}

impl<'a> Origins<'a> {
    fn of<'b>(groups: impl Iterator<Item = &'b Group<'a>>) -> Origins<'a>
    where
        'a: 'b,
    {
        let mut origins: BTreeMap<Content, Origin<'a>> = BTreeMap::new();
        for (group, version) in groups.flat_map(|group| group.versions.iter().map(move |v| (group, v))) {
            let origin = origins.entry(group.content).or_default();
            origin.born_at.insert(&version.born_at);
            let last = origin.last.entry(version.dot.actor).or_insert(version.dot.counter);
            *last = version.dot.counter.max(*last);
            if version.born_at.is_some() {
                origin.landed.push(version.dot);
            }
            if version.base == Content::Directory {
                origin.over_directories.push(version.dot);
            }
        }
        Origins(origins)
    }

    /// True unless it is known that the bytes which a version replaced are others than those that stand here, although
    /// they are equal: what was written at another path and only landed here has replaced nothing that was written here,
    /// nobody replaced what they wrote later, and what landed here, or took the place of a directory that was here, was
    /// replaced here only by whoever saw it itself.
    fn may_be_replaced_by(&self, version: &Version) -> bool {
        let Some(origin) = self.0.get(&version.base) else { return true };
        let last = origin.last.get(&version.dot.actor);
        let is_written_later = last.is_some_and(|counter| *counter > version.dot.counter);
        let is_replaced = |dot: &Dot| version.replaced.contains(dot);
        let is_landed_since = version.born_at.is_none() && !origin.landed.iter().all(is_replaced);
        let is_put_over_directory = !origin.over_directories.iter().all(is_replaced);
        !is_written_later
            && !is_landed_since
            && !is_put_over_directory
            && (version.born_at.is_none() || origin.born_at.contains(&version.born_at))
    }
}

/// True if the bytes whose metadata `changed` changed are among those that led to `version`, over however many edits.
///
/// Bytes that were settled as a copy before are not: that copy is still there.
fn has_replaced_bytes(version: &Version, changed: &Version, settled: &[Settled]) -> bool {
    let is_settled =
        |dot: &Dot| settled.iter().any(|settled| settled.copy.is_some() && settled.version.dot == *dot);
    let is_replaced = |dot: &Dot| {
        let others = || version.replaced.iter().filter(|other| other.actor == dot.actor);
        others().any(|other| other.counter <= dot.counter)
            && others().any(|other| other.counter >= dot.counter)
    };
    version.born_at == changed.born_at
        && !changed.replaced.is_empty()
        && changed.replaced.iter().all(|dot| is_replaced(dot) && !is_settled(dot))
}

/// A value with the latest metadata: mode and mtime each come from the highest key among those that changed them.
fn composite(group: &Group<'_>, contributors: &[&Version]) -> Value {
    let mut value = group.representative().value.clone();
    let same_kind =
        |version: &Version| discriminant(&version.value) == discriminant(&group.representative().value);
    let latest = |changed: &dyn Fn(&Version) -> bool| {
        contributors
            .iter()
            .filter(|version| same_kind(version) && changed(version))
            .max_by_key(|version| version.rank_key())
    };
    let new_mode = latest(&|version| version.changed.mode);
    let new_mtime = latest(&|version| version.changed.mtime);
    match &mut value {
        Value::File { mode, mtime, .. } => {
            *mode = new_mode.and_then(|version| version.value.mode()).unwrap_or(*mode);
            *mtime = new_mtime.and_then(|version| version.value.mtime()).unwrap_or(*mtime);
        }
        Value::Directory { mode } => {
            *mode = new_mode.and_then(|version| version.value.mode()).unwrap_or(*mode)
        }
        Value::Absent { .. } | Value::Symlink { .. } => {}
    }
    value
}

fn implied_mode(versions: &[&Version]) -> u16 {
    let deleted = versions.iter().filter_map(|version| match version.value {
        Value::Absent { directory_mode: Some(mode) } => Some((version.rank_key(), mode)),
        _ => None,
    });
    deleted.max().map_or(IMPLIED_MODE, |(_, mode)| mode)
}

/// Gives every loser a name of its own; where two would share one, the lower content hash keeps the plain one.
fn name_copies<'a, 'b>(
    path: &SyncPath,
    losing: &[&'b Group<'a>],
    settled: &[Settled],
) -> Vec<(SyncPath, &'b Group<'a>)> {
    let taken: BTreeMap<&SyncPath, Content> = settled
        .iter()
        .filter_map(|settled| Some((settled.copy.as_ref()?, settled.version.value.content())))
        .collect();
    let plain: Vec<SyncPath> =
        losing.iter().map(|group| copy_path(path, group.representative(), false)).collect();
    let mut lowest: BTreeMap<&SyncPath, ContentHash> = BTreeMap::new();
    for (name, group) in plain.iter().zip(losing) {
        let hash = group.content.hash();
        lowest.entry(name).and_modify(|lowest| *lowest = hash.min(*lowest)).or_insert(hash);
    }
    let name_of = |(name, group): (&SyncPath, &&'b Group<'a>)| {
        let is_taken = taken.get(name).is_some_and(|content| *content != group.content)
            || lowest.get(name).is_some_and(|lowest| *lowest < group.content.hash());
        let is_taken = is_taken && !is_made(Mistake::CopiesShareName);
        (if is_taken { copy_path(path, group.representative(), true) } else { name.clone() }, *group)
    };
    plain.iter().zip(losing).map(name_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Changed, DeviceId, Signature, Time};

    /// A file whose content hash begins with these bytes, written by a device at a second.
    fn version(device: u8, counter: u64, seconds: i64, hash: [u8; 5]) -> Version {
        let mut content = ContentHash([0; 32]);
        content.0[..5].copy_from_slice(&hash);
        let rank = Time { seconds, nanoseconds: 0 };
        Version {
            dot: Dot { actor: Actor { device: DeviceId([device; 32]), epoch: 1 }, counter },
            value: Value::File { content, length: 1, mode: 0o644, mtime: rank },
            rank,
            replaced: Vec::new(),
            heard: None,
            base: Content::Absent,
            changed: Changed::ALL,
            born_at: None,
            signature: Signature(None),
        }
    }

    fn directory(device: u8, mode: u16) -> Version {
        Version { value: Value::Directory { mode }, ..version(device, 1, 0, [0; 5]) }
    }

    fn path() -> SyncPath {
        SyncPath::parse(b"f.txt").expect("a valid path")
    }

    fn shown(versions: &[&Version], settled: &[Settled]) -> (Value, Vec<(String, Value)>) {
        let Projection { value, losers, .. } = project(&path(), versions, false, settled);
        let mut losers: Vec<_> =
            losers.into_iter().map(|loser| (loser.copy.to_string(), loser.value)).collect();
        losers.sort();
        (value, losers)
    }

    /// The first of each pair keeps the name, whatever the order in which they stand.
    #[test]
    fn w1_directory_then_time_then_device_then_hash() {
        let pairs = [
            (directory(1, 0o755), version(9, 1, 9, [9; 5])),
            (version(1, 1, 8, [1; 5]), version(9, 1, 7, [9; 5])),
            (version(9, 1, 7, [1; 5]), version(1, 1, 7, [9; 5])),
            (version(1, 1, 7, [9; 5]), version(1, 2, 7, [1; 5])),
        ];
        for (winner, loser) in &pairs {
            for versions in [[winner, loser], [loser, winner]] {
                let (value, losers) = shown(&versions, &[]);
                assert_eq!((&value, &losers[0].1), (&winner.value, &loser.value));
            }
        }
    }

    #[test]
    fn w1_of_those_that_would_share_a_name_the_lowest_hash_has_the_plain_one() {
        let winner = version(9, 9, 9, [9; 5]);
        let one = version(1, 1, 0, [0x1f; 5]);
        let two = version(1, 2, 0, [0x2f; 5]);
        let plain = "f.sync-conflict-19700101-000000-0101010.txt".to_owned();
        let marked = "f.sync-conflict-19700101-000000-0101010-2f2f2f2f.txt".to_owned();
        let expected = vec![(marked.clone(), two.value.clone()), (plain.clone(), one.value.clone())];
        assert_eq!(shown(&[&one, &two, &winner], &[]).1, expected);
        assert_eq!(shown(&[&winner, &two, &one], &[]).1, expected);
        // Once the plain name belongs to a copy of its own, nobody else has it; its own value may.
        let copy = SyncPath::parse(plain.as_bytes()).expect("a valid path");
        let settled = [Settled { version: one.clone(), copy: Some(copy) }];
        assert_eq!(shown(&[&two, &winner], &settled).1, [(marked, two.value.clone())]);
        assert_eq!(shown(&[&one, &winner], &settled).1, [(plain, one.value.clone())]);
    }

    #[test]
    fn l5_equal_bytes_are_one_value_with_the_latest_metadata() {
        let mut early = version(1, 1, 5, [7; 5]);
        let mut late = version(2, 1, 6, [7; 5]);
        early.value = with(&early.value, 0o600);
        assert_eq!(shown(&[&early, &late], &[]), (late.value.clone(), Vec::new()));
        late.changed = Changed { mode: false, ..Changed::ALL };
        assert_eq!(shown(&[&early, &late], &[]), (with(&late.value, 0o600), Vec::new()));
    }

    #[test]
    fn w1_a_directory_for_what_lies_below_has_the_mode_of_the_one_deleted() {
        let file = version(1, 1, 5, [7; 5]);
        let deleted = Version { value: Value::Absent { directory_mode: Some(0o700) }, ..directory(2, 0) };
        let of = |versions: &[&Version]| project(&path(), versions, true, &[]);
        assert_eq!(of(&[&deleted]).value, Value::Directory { mode: 0o700 });
        assert_eq!(of(&[]).value, Value::Directory { mode: IMPLIED_MODE });
        assert_eq!(of(&[&file]).losers.len(), 1, "the file is shown beside it");
        assert_eq!(of(&[&directory(1, 0o750)]).value, Value::Directory { mode: 0o750 });
        assert_eq!(project(&path(), &[&file, &deleted], false, &[]).value, file.value);
    }

    #[test]
    fn h3_bytes_that_replace_each_other_in_a_circle_all_stay() {
        let mut one = version(1, 1, 5, [1; 5]);
        let mut two = version(2, 1, 5, [2; 5]);
        (one.base, two.base) = (two.value.content(), one.value.content());
        let projection = project(&path(), &[&one, &two], false, &[]);
        assert_eq!((projection.losers.len(), projection.hidden.len()), (1, 0));
        let three = Version { base: one.value.content(), ..version(3, 1, 5, [3; 5]) };
        let hidden = hidden(&[&one, &two, &three], &[]);
        assert_eq!(hidden, [one.dot, two.dot], "who left the circle has replaced all of it");
    }

    fn with(value: &Value, new_mode: u16) -> Value {
        let mut value = value.clone();
        if let Value::File { mode, .. } = &mut value {
            *mode = new_mode;
        }
        value
    }
}
