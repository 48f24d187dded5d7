//! What a path shows, given the versions that stand there: the winner, and what is shown beside it as copies.
//!
//! Versions with equal content are one value. A value whose bytes were what another version replaced does not compete
//! with it (promises L5, W1): it is *hidden*, and only its metadata counts. For a change of metadata alone it is enough
//! that its bytes were replaced some edits before. Of the values left, a directory keeps the
//! name, else the highest rank key; every other is shown at its conflict name. Nothing here changes a register.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use crate::conflict::copy_path;
use crate::path::SyncPath;
use crate::register::Settled;
use crate::version::{Content, ContentHash, Dot, RankKey, Value, Version};

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
        return Projection { value: only.value.clone(), losers: Vec::new(), hidden: Vec::new() };
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
    groups.into_iter().map(|(content, versions)| Group { content, versions }).collect()
}

/// Which bytes the versions replaced, by what they put there.
struct Replacements(BTreeMap<Content, BTreeSet<Content>>);

impl Replacements {
    fn of(versions: &[&Version], groups: &[Group<'_>], settled: &[Settled]) -> Replacements {
        let mut bases: BTreeMap<Content, BTreeSet<Content>> = BTreeMap::new();
        let present = || versions.iter().filter(|version| version.value.is_present());
        let writes = present().filter(|version| version.changed.content);
        for version in writes.filter(|version| version.base != version.value.content()) {
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

/// True if the bytes whose metadata `changed` changed are among those that led to `version`, over however many edits.
///
/// Bytes that were settled as a copy before are not: that copy is still there.
fn has_replaced_bytes(version: &Version, changed: &Version, settled: &[Settled]) -> bool {
    let is_settled = |dot: &Dot| settled.iter().any(|settled| settled.version.dot == *dot);
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
    let taken: BTreeMap<&SyncPath, Content> =
        settled.iter().map(|settled| (&settled.copy, settled.version.value.content())).collect();
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
        (if is_taken { copy_path(path, group.representative(), true) } else { name.clone() }, *group)
    };
    plain.iter().zip(losing).map(name_of).collect()
}
