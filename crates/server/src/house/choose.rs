//! What a user means of the versions that there are of a path: the one that is named, the last one, or those of a time.

use std::collections::{BTreeMap, BTreeSet};

use file_sync_core::conflict::origins;
use file_sync_core::path::SyncPath;
use file_sync_core::version::{Content, Time};

use super::history::{Listed, Missing, Version, id_of, short};
use crate::api::command::{Refusal, Restore};
use crate::api::types::{Untold, rfc3339};

/// What is meant.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// The version of the path, or, of a directory, one of each path below it.
    pub(super) versions: Vec<Version>,
    /// Of a directory, what was there and is not to be had.
    pub(super) missing: Vec<Missing>,
    /// Of a directory as of a time, what was replaced after that time and had been written after it, too.
    pub(super) later: Vec<SyncPath>,
    /// Of a directory, what only remotes say was there.
    pub(super) told: Vec<SyncPath>,
}

/// One time that something went from a path.
enum Went<'a> {
    Had(&'a Version),
    Missing(&'a Missing),
}

impl Went<'_> {
    fn at(&self) -> Time {
        match self {
            Went::Had(version) => version.at,
            Went::Missing(missing) => missing.at,
        }
    }
}

/// True if a version is surely the one that is meant, whatever others keep: its id is given in full.
pub(super) fn is_given(version: &Version, path: &SyncPath, request: &Restore) -> bool {
    version.path == *path
        && request.version.as_ref().is_some_and(|given| given.to_lowercase() == id_of(version))
}

/// Chooses what is asked for. `beside`: where else there may be more, as the end of a line.
///
/// # Errors
/// When there is nothing like that, or when what is meant is not to be had: another one is not taken for it.
pub(super) fn choose(
    path: &SyncPath,
    listed: &Listed,
    request: &Restore,
    beside: &str,
) -> Result<Chosen, Refusal> {
    if let Some(given) = &request.version {
        let version = named(path, &listed.versions, given, beside)?;
        return Ok(Chosen { versions: vec![version], ..Chosen::default() });
    }
    let vouched = listed.versions.iter().filter(|version| version.is_vouched()).map(Went::Had);
    let all: Vec<Went<'_>> = vouched.chain(listed.missing.iter().map(Went::Missing)).collect();
    if all.is_empty()
        && let Some(told) = listed.versions.first()
    {
        return Err(Refusal::new(format!(
            "{} was at {} by the word of remotes alone; nothing was changed; `--version {}` takes it",
            id_of(told),
            told.path,
            id_of(told)
        )));
    }
    let since = request.at.map(|seconds| Time { seconds, nanoseconds: 0 });
    let is_own = |version: &Version| version.path == *path;
    let has_had = all.iter().any(|went| matches!(went, Went::Had(version) if is_own(version)));
    let has_below = all.iter().any(|went| matches!(went, Went::Had(version) if !is_own(version)));
    let by_path = meant(all, since);
    if let (Some(went), true) = (by_path.get(path), has_had || !has_below) {
        let version = one(path, went.as_ref(), listed, since, beside)?;
        return Ok(Chosen { versions: vec![version], ..Chosen::default() });
    }
    let mut chosen = below(path, by_path, since, beside)?;
    chosen.told = only_told(path, listed, &chosen);
    Ok(chosen)
}

/// The paths below a directory of which all that is known is by the word of remotes.
fn only_told(path: &SyncPath, listed: &Listed, chosen: &Chosen) -> Vec<SyncPath> {
    let vouched = listed.versions.iter().filter(|version| version.is_vouched()).map(|version| &version.path);
    let known: BTreeSet<&SyncPath> =
        vouched.chain(chosen.missing.iter().map(|missing| &missing.path)).collect();
    let below = listed.versions.iter().map(|version| &version.path);
    let told: BTreeSet<&SyncPath> =
        below.filter(|below| is_below(path, below) && !known.contains(below)).collect();
    told.into_iter().cloned().collect()
}

/// True of what comes back with a directory. A conflict copy that is gone was dealt with: it comes back when it is named
/// itself.
fn is_below(path: &SyncPath, below: &SyncPath) -> bool {
    path.is_ancestor_of(below) && origins(below).is_empty()
}

/// Of each path what is meant: what went last, or first after a time; none: nothing has gone since then.
fn meant(all: Vec<Went<'_>>, since: Option<Time>) -> BTreeMap<SyncPath, Option<Went<'_>>> {
    let mut by_path: BTreeMap<SyncPath, Option<Went<'_>>> = BTreeMap::new();
    for went in all {
        let path = match &went {
            Went::Had(version) => &version.path,
            Went::Missing(missing) => &missing.path,
        };
        let place = by_path.entry(path.clone()).or_default();
        let is_meant = match since {
            Some(since) => went.at() > since && place.as_ref().is_none_or(|other| went.at() < other.at()),
            None => place.as_ref().is_none_or(|other| went.at() > other.at()),
        };
        if is_meant {
            *place = Some(went);
        }
    }
    by_path
}

/// The version that is named by the beginning of its id.
fn named(path: &SyncPath, versions: &[Version], given: &str, beside: &str) -> Result<Version, Refusal> {
    let given = given.to_lowercase();
    let is_named = |version: &&Version| version.path == *path && id_of(version).starts_with(&given);
    let candidates: Vec<&Version> = versions.iter().filter(is_named).collect();
    let ids: BTreeSet<String> = candidates.iter().map(|version| id_of(version)).collect();
    // Of equal ones that whose bytes are here.
    let best = candidates.iter().find(|version| version.here.is_some()).or(candidates.first());
    match best {
        Some(version) if ids.len() == 1 && !given.is_empty() => Ok((*version).clone()),
        Some(_) => {
            Err(Refusal::new(format!("{} versions of {path} have ids like that; give more of it", ids.len())))
        }
        None => Err(Refusal::unknown(format!(
            "no version {given} of {path} is kept here or told of by a remote; `file-sync history` lists them{beside}"
        ))),
    }
}

/// The version of the path itself that is meant.
fn one(
    path: &SyncPath,
    went: Option<&Went<'_>>,
    listed: &Listed,
    since: Option<Time>,
    beside: &str,
) -> Result<Version, Refusal> {
    match went {
        None => Err(Refusal::new(format!(
            "{path}: it has not been replaced since then, as far as is known: what is there now was there{beside}"
        ))),
        Some(Went::Missing(Missing { content, at, .. })) => {
            let was = if since.is_some() { "what was there then" } else { "what was there last" };
            let mut had = listed.versions.iter().filter(|version| version.path == *path);
            let other = had.next().map(|version| {
                format!("; `--version {}` takes what was replaced {}", id_of(version), rfc3339(version.at))
            });
            Err(Refusal::new(format!(
                "{path}: {was}, {}, replaced or deleted {}, is not to be had; nothing was changed{}{beside}",
                short(content),
                rfc3339(*at),
                other.unwrap_or_default()
            )))
        }
        Some(Went::Had(version)) => match since.filter(|since| is_later(version, *since)) {
            Some(_) => Err(Refusal::new(format!(
                "{path}: nothing is known of it at that time: what was replaced first since then was written {}; `--version {}` takes that{beside}",
                rfc3339(version.mtime),
                id_of(version)
            ))),
            None => Ok((*version).clone()),
        },
    }
}

/// Of each path below a directory the version that is meant.
fn below(
    path: &SyncPath,
    by_path: BTreeMap<SyncPath, Option<Went<'_>>>,
    since: Option<Time>,
    beside: &str,
) -> Result<Chosen, Refusal> {
    let mut chosen = Chosen::default();
    let meant = by_path.into_iter().filter(|(below, _)| is_below(path, below));
    for went in meant.filter_map(|(_, went)| went) {
        match went {
            Went::Missing(missing) => chosen.missing.push(missing.clone()),
            Went::Had(version) if since.is_some_and(|since| is_later(version, since)) => {
                chosen.later.push(version.path.clone());
            }
            Went::Had(version) => chosen.versions.push(version.clone()),
        }
    }
    if chosen.versions.is_empty() && chosen.later.is_empty() {
        return Err(match chosen.missing.first() {
            Some(missing) => Refusal::new(format!(
                "nobody has what was below {path} ({} in all, {} among them); nothing was changed{beside}",
                chosen.missing.len(),
                missing.path
            )),
            None => {
                Refusal::unknown(format!("no version of {path} is kept here or told of by a remote{beside}"))
            }
        });
    }
    Ok(chosen)
}

/// True if a version was written after a time. A symlink's time is not kept equal and says nothing.
fn is_later(version: &Version, since: Time) -> bool {
    matches!(version.content, Content::File(_)) && version.mtime > since
}

/// Who may keep other versions, as the end of a line.
pub(super) fn not_asked(untold: &[Untold]) -> String {
    let each: Vec<String> =
        untold.iter().map(|untold| format!("{} ({})", untold.remote, untold.reason)).collect();
    if each.is_empty() { String::new() } else { format!("; not known of: {}", each.join(", ")) }
}

#[cfg(test)]
mod tests {
    use file_sync_core::version::ContentHash;

    use super::super::history::tests::{BETA, act, gathered, kept, listed_by, path, told};
    use super::*;

    fn all(versions: Vec<Version>) -> Listed {
        Listed { versions, missing: Vec::new() }
    }

    fn restore(version: Option<&str>, at: Option<i64>) -> Restore {
        let path = crate::api::names::LocalPath::new("/f".into()).unwrap();
        Restore { path, version: version.map(str::to_owned), to: None, at }
    }

    /// The length of the one that is chosen, or why none is.
    fn chosen(listed: &Listed, request: &Restore) -> Result<u64, String> {
        let chosen = choose(&path("f"), listed, request, "").map_err(|refusal| refusal.message)?;
        assert_eq!(chosen.versions.len(), 1);
        Ok(chosen.versions[0].length)
    }

    #[test]
    fn h5_what_a_member_alone_knows_of_is_taken_only_by_its_name() {
        let lie = told(BETA, "authored by a receiver", 4_102_444_800);
        let versions = gathered(vec![kept("a", 10)], &[act("a", 10)], vec![lie.clone()]);
        assert_eq!(versions[0].length, 22, "it says that it is the newest");
        let id = id_of(&versions[0]);
        assert_eq!(chosen(&all(versions.clone()), &restore(None, None)), Ok(1));
        assert_eq!(chosen(&all(versions), &restore(Some(&id), None)), Ok(22));
        let alone = all(gathered(Vec::new(), &[], vec![lie]));
        for at in ["f", "."] {
            let asked = SyncPath::parse(at.as_bytes()).unwrap_or_else(|_| SyncPath::root());
            let refusal = choose(&asked, &alone, &restore(None, None), "").unwrap_err();
            assert!(refusal.message.contains(&format!("--version {id}")), "{refusal}");
        }
    }

    #[test]
    fn h5_of_a_directory_what_only_members_know_of_is_left_out_and_named() {
        let mut lie = told(BETA, "authored by a receiver", 20);
        lie.1.place.path = path("g");
        let listed = listed_by(vec![kept("a", 10)], &[act("a", 10)], vec![lie]);
        let chosen = choose(&SyncPath::root(), &listed, &restore(None, None), "").unwrap();
        assert_eq!(chosen.versions.iter().map(|one| &one.path).collect::<Vec<_>>(), [&path("f")]);
        assert_eq!(chosen.told, [path("g")]);
    }

    #[test]
    fn as_of_a_time_the_first_that_was_replaced_later_is_chosen_wherever_it_is() {
        let acts = [act("a", 10), act("bb", 20)];
        let told = vec![told(BETA, "a", 500), told(BETA, "bb", 600)];
        let listed = listed_by(vec![kept("ccc", 30)], &acts, told);
        for (at, length) in [(Some(5), 1), (Some(10), 2), (Some(15), 2), (Some(25), 3), (None, 3)] {
            assert_eq!(chosen(&listed, &restore(None, at)), Ok(length), "as of {at:?}");
        }
        let untold = not_asked(&[Untold { remote: "gamma".into(), reason: "not connected".into() }]);
        for request in [restore(None, Some(40)), restore(Some("0000"), None)] {
            let refusal = choose(&path("f"), &listed, &request, &untold).unwrap_err();
            assert!(refusal.message.contains("gamma (not connected)"), "{refusal}");
        }
    }

    #[test]
    fn v3_an_older_version_is_not_taken_for_what_was_there_last_or_then() {
        let acts = [act("ccc", 30), act("bb", 20), act("a", 10)];
        let listed = listed_by(vec![kept("a", 10), kept("ccc", 30)], &acts, Vec::new());
        assert_eq!(chosen(&listed, &restore(None, None)), Ok(3));
        assert_eq!(chosen(&listed, &restore(None, Some(25))), Ok(3));
        let lost = short(&ContentHash::of(b"bb"));
        let refusal = chosen(&listed, &restore(None, Some(15))).unwrap_err();
        assert!(refusal.contains(&format!("what was there then, {lost}")), "{refusal}");
        assert_eq!(chosen(&listed, &restore(None, Some(5))), Ok(1));
        let listed = listed_by(vec![kept("a", 10)], &acts[1..], Vec::new());
        let refusal = chosen(&listed, &restore(None, None)).unwrap_err();
        let other = id_of(&listed.versions[0]);
        assert!(refusal.contains(&format!("what was there last, {lost}")), "{refusal}");
        assert!(refusal.contains(&format!("--version {other}")), "{refusal}");
        assert_eq!(chosen(&listed, &restore(Some(&other), None)), Ok(1));
    }

    #[test]
    fn of_equal_bytes_at_several_times_the_last_time_counts() {
        let acts = [act("a", 30), act("bb", 20), act("a", 10)];
        let listed = listed_by(vec![kept("bb", 20), kept("a", 10)], &acts, Vec::new());
        assert_eq!(chosen(&listed, &restore(None, None)), Ok(1));
        assert_eq!(chosen(&listed, &restore(None, Some(15))), Ok(2));
    }

    #[test]
    fn as_of_a_time_nothing_is_taken_that_was_written_later() {
        // Everything here is of second 1.
        let listed = listed_by(vec![kept("a", 10)], &[act("a", 10)], Vec::new());
        assert_eq!(chosen(&listed, &restore(None, Some(1))), Ok(1));
        let refusal = chosen(&listed, &restore(None, Some(0))).unwrap_err();
        assert!(refusal.contains("nothing is known of it at that time"), "{refusal}");
        let chosen = choose(&SyncPath::root(), &listed, &restore(None, Some(0)), "").unwrap();
        assert_eq!((chosen.versions.len(), chosen.later), (0, vec![path("f")]));
    }

    #[test]
    fn v3_of_a_directory_what_is_not_to_be_had_is_named_and_no_older_one_taken_for_it() {
        let acts = [act("bb", 20), act("a", 10)];
        let listed = listed_by(vec![kept("a", 10)], &acts, Vec::new());
        let refusal = choose(&SyncPath::root(), &listed, &restore(None, None), "").unwrap_err();
        assert!(refusal.message.contains("f among them"), "{refusal}");
        let mut other = kept("other", 20);
        other.path = path("g");
        let listed = listed_by(vec![kept("a", 10), other], &acts, Vec::new());
        let chosen = choose(&SyncPath::root(), &listed, &restore(None, None), "").unwrap();
        assert_eq!(chosen.versions.iter().map(|one| &one.path).collect::<Vec<_>>(), [&path("g")]);
        assert_eq!(chosen.missing.iter().map(|one| &one.path).collect::<Vec<_>>(), [&path("f")]);
    }
}
