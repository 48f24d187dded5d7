//! What is to be done to bring versions back, and what has been fetched for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use file_sync_core::path::SyncPath;
use file_sync_core::record::Record;
use file_sync_core::version::ContentHash;
use file_sync_disk::Root;

use super::history::Version;
use super::written::{check_is_free, is_there_already};
use crate::api::command::Refusal;
use crate::api::names::{LocalPath, printable};
use crate::room::{AllUnplaced, Bytes, Editor, Unplaced, Wanted};

/// What is to be done to bring versions back.
#[derive(Default)]
pub(super) struct Plan {
    /// What is put in place, or written out: each version, and its path there.
    pub(super) wanted: Vec<(Version, SyncPath)>,
    /// What is not fetched, as it is in place already.
    pub(super) in_place: BTreeSet<SyncPath>,
    pub(super) left: Vec<SyncPath>,
    /// What is recorded, and has gone from the disk all the same: that it has is not noted yet.
    pub(super) lost: Vec<Version>,
    /// What is not fetched, as something is in the way.
    pub(super) hindered: AllUnplaced,
    /// What is at the path of the only one now, and may be replaced. Of a directory, only what is not there comes back.
    pub(super) expect: Option<Record>,
    /// Where it is written, outside of the directory.
    pub(super) out: Option<PathBuf>,
}

/// Where versions are to come to.
#[derive(Clone)]
pub(super) struct Aim {
    /// Another place than their own.
    pub(super) to: Option<LocalPath>,
    /// The same as a path of this directory, if it is one.
    pub(super) inside: Option<SyncPath>,
    /// What was at the path when it was asked for: nothing else is replaced.
    pub(super) expect: Option<Record>,
}

impl Plan {
    /// What is to be done to bring these versions of a path back, here or to another place.
    pub(super) fn of(
        editor: &Editor,
        path: &SyncPath,
        chosen: Vec<Version>,
        aim: Aim,
    ) -> Result<Plan, Refusal> {
        let Aim { to, inside, expect } = aim;
        let at_its_path = |version: Version| (version.clone(), version.path);
        let mut plan = Plan::default();
        match (&to, &chosen[..]) {
            (Some(to), [version]) if version.path == *path => match inside {
                Some(place) if editor.is_present(&place) => {
                    return Err(is_there_already(&printable(to.as_path().as_os_str())));
                }
                Some(place) => plan.wanted.push((version.clone(), place)),
                None => {
                    check_is_free(to.as_path())?;
                    plan.wanted.push((version.clone(), version.path.clone()));
                    plan.out = Some(to.as_path().to_owned());
                    return Ok(plan);
                }
            },
            (Some(_), _) => {
                return Err(Refusal::new(format!(
                    "{path} was a directory; --to takes one file's version, without it all of them come back"
                )));
            }
            (None, [version]) if version.path == *path => {
                plan.expect = expect;
                plan.wanted.push(at_its_path(version.clone()));
            }
            (None, _) => {
                let (there, gone): (Vec<Version>, Vec<Version>) =
                    chosen.into_iter().partition(|version| editor.is_present(&version.path));
                let (lost, there): (Vec<Version>, Vec<Version>) = there
                    .into_iter()
                    .partition(|version| editor.has_gone(&version.path) && !editor.is_nobodys(&version.path));
                plan.left = there.into_iter().map(|version| version.path).collect();
                plan.wanted = gone.into_iter().map(at_its_path).collect();
                plan.lost = lost;
            }
        }
        plan.see_what_is_there(editor, path)?;
        Ok(plan)
    }

    /// What cannot be placed is not fetched either, nor what is there already.
    fn see_what_is_there(&mut self, editor: &Editor, path: &SyncPath) -> Result<(), Refusal> {
        let wanted: Vec<Wanted> = self.wanted.iter().map(|each| as_wanted(each, &self.expect)).collect();
        let (lacking, hindered) = editor.lacking(&wanted);
        if let (true, Some(Unplaced::Failed(reason))) = (self.is_one(path), hindered.values().next()) {
            return Err(Refusal::new(reason.clone()));
        }
        self.in_place = wanted.into_iter().map(|wanted| wanted.path).collect();
        self.in_place.retain(|path| !lacking.contains(path) && !hindered.contains_key(path));
        self.hindered = hindered;
        Ok(())
    }

    /// Keeps in the stage what only others have and is to be placed, as it comes.
    pub(super) fn reserve(&self, root: &Root) -> Fetched {
        let is_lacking = |(version, place): &&(Version, SyncPath)| {
            self.is_lacking(version, place) && !self.hindered.contains_key(place)
        };
        let lacking = self.wanted.iter().filter(is_lacking).map(|(version, _)| version.content.hash());
        let contents: BTreeSet<ContentHash> = lacking.collect();
        let reserved = root.reserve_stage(contents.iter().copied().collect());
        // What is there already was not staged for this, and stays.
        let contents = contents.into_iter().filter(|content| !root.staged(*content)).collect();
        Fetched { contents, failures: BTreeMap::new(), unplaced: BTreeSet::new(), reserved }
    }

    /// True if it is one file's version that is asked for, and not what a directory held.
    pub(super) fn is_one(&self, path: &SyncPath) -> bool {
        matches!(&self.wanted[..], [(version, _)] if version.path == *path)
    }

    /// True if a version's bytes have to come first.
    pub(super) fn is_lacking(&self, version: &Version, place: &SyncPath) -> bool {
        version.here.is_none() && !self.in_place.contains(place)
    }
}

/// What was fetched, which did not come and why, and what keeps it in the stage.
pub(super) struct Fetched {
    pub(super) contents: BTreeSet<ContentHash>,
    pub(super) failures: BTreeMap<ContentHash, (String, bool)>,
    /// What has come and could not be put in place: another try is to find it in the stage.
    pub(super) unplaced: BTreeSet<ContentHash>,
    pub(super) reserved: file_sync_disk::Reserved,
}

pub(super) fn as_wanted((version, place): &(Version, SyncPath), expect: &Option<Record>) -> Wanted {
    Wanted {
        path: place.clone(),
        content: version.content,
        mode: version.mode,
        mtime: version.mtime,
        bytes: version.here.clone().unwrap_or(Bytes::Staged),
        expect: *expect,
    }
}
