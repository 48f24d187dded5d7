//! What a user means of the versions that there are of a path: the one that is named, the last one, or those of a time.

use std::collections::BTreeSet;

use file_sync_core::conflict::origins;
use file_sync_core::path::SyncPath;
use file_sync_core::version::{Content, ContentHash, Time};

use super::history::{Listed, Version, id_of, short};
use super::went::{Going, Gone};
use crate::api::command::{Refusal, Restore};
use crate::api::types::{Untold, rfc3339};

/// What is meant.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// The version of the path, or, of a directory, one of each path below it.
    pub(super) versions: Vec<Version>,
    /// Of a directory, what was there and is not to be had.
    pub(super) missing: Vec<(SyncPath, ContentHash)>,
    /// Of a directory as of a time, what was replaced after that time and had been written after it, too.
    pub(super) later: Vec<SyncPath>,
    /// Of a directory, what only remotes say was there.
    pub(super) told: Vec<SyncPath>,
    /// Of a directory, what got another name.
    pub(super) moved: Vec<SyncPath>,
}

/// True if a version is surely the one that is meant, whatever others keep: its id is given in full.
pub(super) fn is_given(version: &Version, path: &SyncPath, request: &Restore) -> bool {
    version.path == *path
        && request.version.as_ref().is_some_and(|given| given.to_lowercase() == id_of(version))
}

/// Chooses what is asked for. `beside`: where else there may be more, as the end of a line. `is_there`: true of a path that
/// something is at, which stays as it is when its directory is restored.
///
/// # Errors
/// When there is nothing like that, or when what is meant is not to be had: another one is not taken for it.
pub(super) fn choose(
    path: &SyncPath,
    listed: &Listed,
    request: &Restore,
    beside: &str,
    is_there: &dyn Fn(&SyncPath) -> bool,
) -> Result<Chosen, Refusal> {
    if let Some(given) = &request.version {
        let version = named(path, &listed.versions, given, beside)?;
        return Ok(Chosen { versions: vec![version], ..Chosen::default() });
    }
    let since = request.at.map(|seconds| Time { seconds, nanoseconds: 0 });
    if is_of_one(path, listed) {
        let version = one(path, listed, since, beside, is_there)?;
        return Ok(Chosen { versions: vec![version], ..Chosen::default() });
    }
    if listed.is_cut {
        return Err(Refusal::new(format!(
            "more has been done below {path} than is looked at; nothing was changed; restore what lies further down, one directory at a time"
        )));
    }
    let mut chosen = below(path, listed, since, is_there);
    chosen.told = only_told(path, listed);
    let Chosen { missing, later, told, moved, .. } = &mut chosen;
    missing.retain(|(path, _)| !is_there(path));
    [later, told, moved].into_iter().for_each(|paths| paths.retain(|path| !is_there(path)));
    if chosen.versions.is_empty() && chosen.later.is_empty() {
        return Err(nothing(path, &chosen, listed, beside));
    }
    Ok(chosen)
}

/// True if a file is meant, and not what a directory held: what is there now decides, or else what went last.
fn is_of_one(path: &SyncPath, listed: &Listed) -> bool {
    let of_file = |going: &&Going| !going.is_moved();
    let own = listed.goings.get(path).and_then(|goings| goings.iter().find(of_file));
    let below = listed.goings.iter().filter(|(below, _)| path.is_ancestor_of(below));
    let below = below.filter_map(|(_, goings)| goings.first()).map(|going| going.order).max();
    match (&listed.present, own) {
        (_, None) => false,
        (Some(Content::Directory), Some(_)) => below.is_none(),
        (Some(_), Some(_)) => true,
        (None, Some(own)) => below.is_none_or(|below| below < own.order),
    }
}

/// Why nothing of a directory is restored.
fn nothing(path: &SyncPath, chosen: &Chosen, listed: &Listed, beside: &str) -> Refusal {
    if let Some((missing, _)) = chosen.missing.first() {
        return Refusal::new(format!(
            "nobody has what was below {path} ({} in all, {missing} among them); nothing was changed{beside}",
            chosen.missing.len()
        ));
    }
    let is_at = |version: &&Version| version.path == *path || chosen.told.contains(&version.path);
    let last = listed.goings.get(path).and_then(|goings| goings.first()).filter(|last| last.is_moved());
    if let (None, Some(last)) = (&listed.present, last) {
        return Refusal::new(format!(
            "{path} has another name since {}, as `file-sync log` says; nothing was changed{beside}",
            rfc3339(last.at)
        ));
    }
    match listed.versions.iter().find(is_at) {
        Some(rotten) if rotten.is_rotten => Refusal::new(format!(
            "all that is kept of {path} is what it had rotted to; nothing was changed; `--version {}` takes that{beside}",
            id_of(rotten)
        )),
        Some(Version { copy: Some(copy), .. }) => Refusal::new(format!(
            "what is kept of {path} was never at that name, but at {copy}, as a conflict copy; nothing was changed; `file-sync history` lists such, and `--version` takes one{beside}"
        )),
        Some(told) => Refusal::new(format!(
            "{id} was at {at} by the word of remotes alone; nothing was changed; `file-sync restore {at} --version {id}` takes it{beside}",
            id = id_of(told),
            at = told.path
        )),
        None if !chosen.moved.is_empty() => Refusal::new(format!(
            "what was below {path} has other names by now ({} in all, {} among them), as `file-sync log` says; nothing was changed{beside}",
            chosen.moved.len(),
            chosen.moved[0]
        )),
        None => Refusal::unknown(format!("no version of {path} is kept here or told of by a remote{beside}")),
    }
}

/// What is meant of a path, or of one below it: what went last, or first after a time. What went with a directory above it
/// counts among that, unless there was nothing any more when the directory went, and nothing is where it went to.
fn meant<'a>(
    path: &SyncPath,
    listed: &'a Listed,
    since: Option<Time>,
    is_there: &dyn Fn(&SyncPath) -> bool,
) -> Option<&'a Going> {
    let own = listed.goings.get(path).map(Vec::as_slice).unwrap_or_default();
    let went_with = |(above, going): &(SyncPath, &Going)| {
        let before = own.iter().find(|own| own.order < going.order);
        let Gone::Moved { to } = &going.what else { return false };
        let is_at_target = || {
            let target = to.as_ref().and_then(|to| above.rebase(path, to));
            target.is_none_or(|target| is_there(&target))
        };
        before.is_none_or(|before| !before.is_end) || is_at_target()
    };
    let above = path.ancestors().filter_map(|above| Some((listed.goings.get(&above)?, above)));
    let above = above.flat_map(|(goings, above)| goings.iter().map(move |going| (above.clone(), going)));
    let all = own.iter().chain(above.filter(went_with).map(|(_, going)| going));
    match since {
        None => all.max_by_key(|going| going.order),
        Some(since) => all.filter(|going| going.at > since).min_by_key(|going| going.order),
    }
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
    listed: &Listed,
    since: Option<Time>,
    beside: &str,
    is_there: &dyn Fn(&SyncPath) -> bool,
) -> Result<Version, Refusal> {
    let last = meant(path, listed, since, is_there);
    // What is there again is not what was there before that.
    let is_own = since.is_none() && last.is_some_and(|last| !last.is_moved());
    let last = if is_own { listed.last(path) } else { last };
    let mut had = listed.versions.iter().filter(|version| version.path == *path);
    let other = had.next().map_or(String::new(), |version| {
        format!("; `--version {}` takes what was replaced {}", id_of(version), rfc3339(version.at))
    });
    let was = if since.is_some() { "what was there then" } else { "what was there last" };
    match last.map(|going| (&going.what, rfc3339(going.at))) {
        None => Err(Refusal::new(format!(
            "{path}: it has not been replaced since then, as far as is known: what is there now was there{beside}"
        ))),
        Some((Gone::Moved { .. }, at)) => Err(Refusal::new(format!(
            "{path}: {was} has another name since {at}, as `file-sync log` says; nothing was changed{other}{beside}"
        ))),
        Some((Gone::Missing(content) | Gone::Past(content), at)) => Err(Refusal::new(format!(
            "{path}: {was}, {}, replaced or deleted {at}, is not to be had; nothing was changed{other}{beside}",
            short(content)
        ))),
        Some((Gone::Rotten(content), at)) => Err(Refusal::new(format!(
            "{path}: {was}, until {at}, had rotted to {}; nothing was changed{other}{beside}",
            short(content)
        ))),
        Some((Gone::Had(version), _)) => match since.filter(|since| is_later(version, *since)) {
            Some(_) => Err(Refusal::new(format!(
                "{path}: nothing is known of it at that time: what was replaced first since then was written {}; `--version {}` takes that{beside}",
                rfc3339(version.mtime),
                id_of(version)
            ))),
            None => Ok((**version).clone()),
        },
    }
}

/// Of each path below a directory the version that is meant.
fn below(
    path: &SyncPath,
    listed: &Listed,
    since: Option<Time>,
    is_there: &dyn Fn(&SyncPath) -> bool,
) -> Chosen {
    let mut chosen = Chosen::default();
    for below in listed.goings.keys().filter(|below| is_below(path, below)) {
        match meant(below, listed, since, is_there).map(|going| &going.what) {
            Some(Gone::Missing(content) | Gone::Rotten(content)) => {
                chosen.missing.push((below.clone(), *content))
            }
            Some(Gone::Had(version)) if since.is_some_and(|since| is_later(version, since)) => {
                chosen.later.push(below.clone());
            }
            Some(Gone::Had(version)) => chosen.versions.push((**version).clone()),
            Some(Gone::Moved { .. }) => chosen.moved.push(below.clone()),
            Some(Gone::Past(_)) | None => {}
        }
    }
    chosen
}

/// The paths below a directory of which all that is known is by the word of remotes.
fn only_told(path: &SyncPath, listed: &Listed) -> Vec<SyncPath> {
    let below = listed.versions.iter().filter(|version| !version.is_rotten).map(|version| &version.path);
    let told = below.filter(|below| is_below(path, below) && !listed.goings.contains_key(below));
    told.collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

/// True of what comes back with a directory. A conflict copy that is gone was dealt with: it comes back when it is named
/// itself.
fn is_below(path: &SyncPath, below: &SyncPath) -> bool {
    path.is_ancestor_of(below) && origins(below).is_empty()
}

/// True if a version was written after a time; of a symlink, whose time is not kept equal: if it was made after that where it is
/// kept.
fn is_later(version: &Version, since: Time) -> bool {
    version.mtime > since
}

/// Who may keep other versions, as the end of a line.
pub(super) fn not_asked(untold: &[Untold]) -> String {
    let each: Vec<String> =
        untold.iter().map(|untold| format!("{} ({})", untold.remote, untold.reason)).collect();
    if each.is_empty() { String::new() } else { format!("; not known of: {}", each.join(", ")) }
}

#[cfg(test)]
mod tests {
    use file_sync_core::effect::Kept;
    use file_sync_index::Act;

    use super::super::history::tests::{
        BETA, act, gathered, in_order, kept, listed_at, listed_by, path, told,
    };
    use super::*;

    fn restore(version: Option<&str>, at: Option<i64>) -> Restore {
        let path = crate::api::names::LocalPath::new("/f".into()).unwrap();
        Restore { path, version: version.map(str::to_owned), to: None, at }
    }

    fn hash(bytes: &str) -> ContentHash {
        ContentHash::of(bytes.as_bytes())
    }

    /// What was done to the bytes at a path.
    fn act_at(at: &str, before: &str, seconds: i64, what: &str) -> Act {
        Act { path: path(at), what: what.to_owned(), ..act(before, seconds) }
    }

    fn kept_at(at: &str, bytes: &str, seconds: i64) -> Kept {
        Kept { path: path(at), ..kept(bytes, seconds) }
    }

    fn renamed_directory(from: &str, seconds: i64) -> Act {
        let act = act_at(from, "", seconds, "renamed");
        Act { before: None, why: "to another".to_owned(), ..act }
    }

    /// The length of the one that is chosen of `f`, or why none is.
    fn chosen(listed: &Listed, request: &Restore) -> Result<u64, String> {
        chosen_at("f", listed, request)
    }

    fn chosen_at(at: &str, listed: &Listed, request: &Restore) -> Result<u64, String> {
        let chosen = choose(&path(at), listed, request, "", &|_| false).map_err(|refusal| refusal.message)?;
        assert_eq!((chosen.versions.len(), &chosen.versions[0].path), (1, &path(at)));
        Ok(chosen.versions[0].length)
    }

    type OfAll = (Vec<(String, u64)>, Vec<String>);

    /// Paths and lengths of what is chosen of all, and the paths of what is missing.
    fn chosen_of_all(listed: &Listed, since: Option<i64>) -> Result<OfAll, String> {
        let chosen = choose(&SyncPath::root(), listed, &restore(None, since), "", &|_| false);
        let chosen = chosen.map_err(|refusal| refusal.message)?;
        let versions = chosen.versions.iter().map(|one| (one.path.to_string(), one.length)).collect();
        Ok((versions, chosen.missing.iter().map(|(path, _)| path.to_string()).collect()))
    }

    #[test]
    fn h5_what_a_member_alone_knows_of_is_taken_only_by_its_name() {
        let lie = told(BETA, "authored by a receiver", 4_102_444_800);
        let listed = listed_by(vec![kept("a", 10)], &[act("a", 10)], vec![lie.clone()]);
        assert_eq!(listed.versions[0].length, 22, "it says that it is the newest");
        let id = id_of(&listed.versions[0]);
        assert_eq!(chosen(&listed, &restore(None, None)), Ok(1));
        assert_eq!(chosen(&listed, &restore(Some(&id), None)), Ok(22));
        let alone = Listed { versions: gathered(Vec::new(), &[], vec![lie]), ..Listed::default() };
        for at in ["f", "."] {
            let asked = SyncPath::parse(at.as_bytes()).unwrap_or_else(|_| SyncPath::root());
            let refusal = choose(&asked, &alone, &restore(None, None), "", &|_| false).unwrap_err();
            assert!(refusal.message.contains(&format!("restore f --version {id}")), "{refusal}");
        }
    }

    #[test]
    fn h5_of_a_directory_what_only_members_know_of_is_left_out_and_named() {
        let mut lie = told(BETA, "authored by a receiver", 20);
        lie.1.place.path = path("g");
        let listed = listed_at("", vec![kept("a", 10)], &[act("a", 10)], vec![lie], &[]);
        let chosen = choose(&SyncPath::root(), &listed, &restore(None, None), "", &|_| false).unwrap();
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
            let refusal = choose(&path("f"), &listed, &request, &untold, &|_| false).unwrap_err();
            assert!(refusal.message.contains("gamma (not connected)"), "{refusal}");
        }
    }

    #[test]
    fn v3_an_older_version_is_not_taken_for_what_was_there_last_or_then() {
        let acts = [act("ccc", 30), act("bb", 20), act("a", 10)];
        let listed = listed_by(vec![kept("a", 10), kept("ccc", 30)], &acts, Vec::new());
        assert_eq!(chosen(&listed, &restore(None, None)), Ok(3));
        assert_eq!(chosen(&listed, &restore(None, Some(25))), Ok(3));
        let lost = short(&hash("bb"));
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
        let listed = listed_at("", vec![kept("a", 10)], &[act("a", 10)], Vec::new(), &[]);
        let chosen = choose(&SyncPath::root(), &listed, &restore(None, Some(0)), "", &|_| false).unwrap();
        assert_eq!((chosen.versions.len(), chosen.later), (0, vec![path("f")]));
    }

    #[test]
    fn v3_of_a_directory_what_is_not_to_be_had_is_named_and_no_older_one_taken_for_it() {
        let acts = [act("bb", 20), act("a", 10)];
        let listed = listed_at("", vec![kept("a", 10)], &acts, Vec::new(), &[]);
        let refusal = chosen_of_all(&listed, None).unwrap_err();
        assert!(refusal.contains("f among them"), "{refusal}");
        let kept = vec![kept("a", 10), kept_at("g", "other", 20)];
        let listed = listed_at("", kept, &acts, Vec::new(), &[]);
        assert_eq!(chosen_of_all(&listed, None), Ok((vec![("g".into(), 5)], vec!["f".into()])));
    }

    #[test]
    fn v3_of_what_was_moved_away_no_older_version_comes_back_with_its_directory() {
        // Another device replaced `a`; a user here moved what came of that.
        let replaced = Act { after: Some(hash("bb")), ..act_at("d/x", "a", 10, "replaced") };
        let acts = [replaced, act_at("d/x", "bb", 20, "deleted")];
        let kept = vec![kept_at("d/x", "a", 10), kept_at("g", "other", 5)];
        let moves = [("d/x", 20)];
        let listed = listed_at("", kept.clone(), &acts, Vec::new(), &moves);
        assert_eq!(chosen_of_all(&listed, None), Ok((vec![("g".into(), 5)], vec![])));
        assert_eq!(chosen_of_all(&listed, Some(7)), Ok((vec![("d/x".into(), 1)], vec![])));
        // Another device renamed the directory: the record says that of the directory alone.
        let acts = [acts[0].clone(), renamed_directory("d", 20)];
        let listed = listed_at("", kept.clone(), &acts, Vec::new(), &[]);
        assert_eq!(chosen_of_all(&listed, None), Ok((vec![("g".into(), 5)], vec![])));
        let of_directory = listed_at("d", vec![kept[0].clone()], &acts, Vec::new(), &[]);
        let refusal = choose(&path("d"), &of_directory, &restore(None, None), "", &|_| false).unwrap_err();
        assert!(refusal.message.contains("d has another name since"), "{refusal}");
        let listed = listed_at("d/x", kept, &acts, Vec::new(), &[]);
        let refusal = chosen_at("d/x", &listed, &restore(None, None)).unwrap_err();
        assert!(refusal.contains("what was there last has another name since"), "{refusal}");
    }

    #[test]
    fn v3_what_has_expired_is_missing_and_no_other_version_taken_for_it() {
        let acts = [
            act_at("d/x", "a", 10, "changed"),
            act_at("d/x", "bb", 20, "removed"),
            act_at("d/x", "bb", 30, "expired"),
        ];
        let kept = vec![kept_at("d/x", "a", 10), kept_at("g", "other", 5)];
        let listed = listed_at("", kept.clone(), &acts, Vec::new(), &[]);
        let is_missing = Ok((vec![("g".into(), 5)], vec!["d/x".into()]));
        assert_eq!(chosen_of_all(&listed, None), is_missing);
        let thinned = [acts[0].clone(), acts[1].clone(), act_at("d/x", "a", 30, "expired")];
        let later = vec![kept_at("d/x", "bb", 20), kept_at("g", "other", 5)];
        let listed = listed_at("", later, &thinned, Vec::new(), &[]);
        assert_eq!(chosen_of_all(&listed, Some(3)), is_missing);
        // What went longer ago than anything is kept is not missed.
        let root = SyncPath::root();
        let long_ago = [act_at("d/x", "bb", 20, "deleted"), act_at("d/x", "a", 10, "changed")];
        let listed = in_order(&root, kept, &long_ago, Vec::new(), &[], 30 + file_sync_core::retention::KEEP);
        assert_eq!(chosen_of_all(&listed, None), Ok((vec![("g".into(), 5)], vec![])));
    }

    #[test]
    fn v3_what_was_deleted_before_its_directory_was_renamed_is_no_part_of_that() {
        let acts = [act_at("d/z", "zz", 10, "deleted"), renamed_directory("d", 20)];
        let listed = listed_at("d/z", vec![kept_at("d/z", "zz", 10)], &acts, Vec::new(), &[]);
        assert_eq!(chosen_at("d/z", &listed, &restore(None, None)), Ok(2));
        let listed = listed_at("", vec![kept_at("d/z", "zz", 10)], &acts, Vec::new(), &[]);
        assert_eq!(chosen_of_all(&listed, None), Ok((vec![("d/z".into(), 2)], vec![])));
        // Made anew, it went with its directory: something is there.
        let is_at_other = |path: &SyncPath| path.to_string() == "another/z";
        let refusal = choose(&SyncPath::root(), &listed, &restore(None, None), "", &is_at_other).unwrap_err();
        assert!(refusal.message.contains("has other names by now (2 in all, d among them)"), "{refusal}");
    }

    #[test]
    fn v3_a_directory_that_has_its_name_again_is_not_gone() {
        let back = Act { why: "from another".to_owned(), ..renamed_directory("d", 30) };
        let acts = [
            Act { after: Some(hash("bb")), ..act_at("d/x", "a", 10, "replaced") },
            renamed_directory("d", 20),
            back,
        ];
        let listed = listed_at("d/x", vec![kept_at("d/x", "a", 10)], &acts, Vec::new(), &[]);
        assert_eq!(chosen_at("d/x", &listed, &restore(None, None)), Ok(1));
        let listed = listed_at("d/x", vec![kept_at("d/x", "a", 10)], &acts[..2], Vec::new(), &[]);
        assert!(chosen_at("d/x", &listed, &restore(None, None)).is_err(), "it went with its directory");
    }

    #[test]
    fn v3_of_two_versions_that_are_in_no_act_the_later_one_was_last() {
        let kept = vec![kept("bb", 20), kept("a", 10)];
        let listed = listed_at("", kept, &[], Vec::new(), &[]);
        assert_eq!(chosen_of_all(&listed, None), Ok((vec![("f".into(), 2)], vec![])));
        assert_eq!(chosen_of_all(&listed, Some(5)), Ok((vec![("f".into(), 1)], vec![])));
    }

    #[test]
    fn v3_the_order_of_acts_counts_and_not_a_clock_that_was_set_back() {
        let acts = [act("bb", 10), act("a", 20)];
        let kept = vec![kept("a", 20), kept("bb", 10)];
        let listed = in_order(&path("f"), kept, &acts, Vec::new(), &[], 100);
        assert_eq!(chosen(&listed, &restore(None, None)), Ok(2));
    }

    #[test]
    fn what_was_a_file_and_a_directory_is_what_it_was_last() {
        let acts = [act_at("d", "a", 10, "replaced"), act_at("d/x", "bb", 20, "deleted")];
        let kept = vec![kept_at("d", "a", 10), kept_at("d/x", "bb", 20)];
        let mut listed = listed_at("d", kept.clone(), &acts, Vec::new(), &[]);
        let as_directory = |listed: &Listed| {
            let chosen = choose(&path("d"), listed, &restore(None, None), "", &|_| false).unwrap();
            chosen.versions.iter().map(|one| one.path.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(as_directory(&listed), ["d/x"]);
        listed.present = Some(Content::Directory);
        assert_eq!(as_directory(&listed), ["d/x"]);
        let acts = [act_at("d", "a", 30, "replaced"), acts[1].clone()];
        let listed = listed_at("d", vec![kept_at("d", "a", 30), kept[1].clone()], &acts, Vec::new(), &[]);
        assert_eq!(as_directory(&listed), ["d"]);
    }

    #[test]
    fn where_not_all_acts_were_looked_at_no_directory_is_restored() {
        let mut listed = listed_at("", vec![kept("a", 10)], &[act("a", 10)], Vec::new(), &[]);
        listed.is_cut = true;
        let refusal = chosen_of_all(&listed, None).unwrap_err();
        assert!(refusal.contains("one directory at a time"), "{refusal}");
    }
}
