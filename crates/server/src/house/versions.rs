//! `conflicts`, `resolve`, `history` and `restore`.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use file_sync_core::conflict::origins;
use file_sync_core::effect::Kept;
use file_sync_core::path::SyncPath;
use file_sync_core::version::{Content, Time};
use file_sync_disk::Root;
use file_sync_index::Directory;

use super::House;
use crate::api::command::{Refusal, Reply, Resolve, Restore};
use crate::api::names::{LocalPath, Target, printable};
use crate::api::types::{
    Conflict, ConflictList, History, KeptVersion, Resolved, Restored, ShownPath, rfc3339,
};
use crate::input::answer;
use crate::room::{Editor, Settled};

impl House {
    pub(super) fn conflicts(&self, target: Option<&Target>) -> Result<ConflictList, Refusal> {
        let only = target.map(|target| self.find(target)).transpose()?;
        if let Some(row) = &only {
            self.editor(row)?; // A directory that is not at work knows of none, and must not seem to have none.
        }
        let rooms = self.rooms.values().map(|resident| &resident.room);
        let rooms = rooms.filter(|room| only.as_ref().is_none_or(|row| row.directory == room.id()));
        let mut conflicts: Vec<Conflict> = rooms
            .flat_map(|room| {
                let conflicts = room.engine().conflicts();
                conflicts.into_iter().map(|conflict| Conflict {
                    directory: room.row.name.clone(),
                    root: room.row.path.as_path().into(),
                    path: (&conflict.path).into(),
                    copy: (&conflict.copy).into(),
                    by: self.name_of_any(&conflict.device),
                    at: rfc3339(conflict.at),
                })
            })
            .collect();
        conflicts.sort_by(|a, b| (&a.directory, &a.copy.path).cmp(&(&b.directory, &b.copy.path)));
        Ok(ConflictList { conflicts })
    }

    pub(super) fn name_of_any(&self, device: &file_sync_core::version::DeviceId) -> String {
        let is_own = *device == self.context.identity.device_id();
        if is_own { self.config.name.clone() } else { self.name_of(device) }
    }

    pub(super) fn resolve(&self, request: Resolve, reply: Reply<Resolved>) {
        self.edit(&request.path, reply, move |editor, row, path| {
            let Settled { path, copies, renamed, is_taken, left } = editor.resolve(&path, request.keep)?;
            let shown = |paths: &[SyncPath]| paths.iter().map(ShownPath::from).collect();
            Ok(Resolved {
                directory: row.name,
                path: (&path).into(),
                copies: shown(&copies),
                renamed: shown(&renamed),
                taken: is_taken,
                left: shown(&left),
            })
        });
    }

    pub(super) fn history(&self, path: &LocalPath, reply: Reply<History>) {
        self.edit(path, reply, |editor, row, path| {
            let present = editor.is_present(&path);
            let versions = editor.versions(&path)?;
            if versions.is_empty() && !present {
                return Err(Refusal::unknown(format!(
                    "nothing is at {path} in {}, and no version of it is kept here",
                    row.name
                )));
            }
            let versions = versions.iter().map(shown_version).collect();
            Ok(History { directory: row.name, path: (&path).into(), present, versions })
        });
    }

    pub(super) fn restore(&self, request: Restore, reply: Reply<Restored>) {
        let file = request.path.clone();
        // Within a directory no draft may be seen, by its users or by others: there it is placed as any version is.
        let inside = request.to.as_ref().and_then(|to| self.locate(to.as_path()).ok());
        self.edit(&file, reply, move |editor, row, path| {
            let versions = editor.versions(&path)?;
            let chosen = choose(&path, versions, &request)?;
            let mut restored = Restored {
                directory: row.name,
                path: (&path).into(),
                restored: chosen.iter().map(shown_version).collect(),
                left: Vec::new(),
                to: request.to.as_ref().map(|to| to.as_path().into()),
            };
            match (&request.to, &chosen[..]) {
                (Some(to), [kept]) => match inside.filter(|(other, _)| other.directory == row.directory) {
                    Some((_, place)) if editor.is_present(&place) => {
                        return Err(is_there_already(&printable(to.as_path().as_os_str())));
                    }
                    Some((_, place)) => editor.bring_back(&[Kept { path: place, ..kept.clone() }])?,
                    None => write_out(&editor.root, kept, to.as_path())?,
                },
                (Some(_), _) => {
                    return Err(Refusal::new(format!(
                        "{path} was a directory; --to takes one file's version, without it all of them come back"
                    )));
                }
                (None, [kept]) if kept.path == path => editor.bring_back(&chosen)?,
                (None, _) => {
                    let is_there = |kept: &Kept| editor.is_present(&kept.path);
                    let (there, gone): (Vec<Kept>, Vec<Kept>) = chosen.into_iter().partition(is_there);
                    restored.restored = gone.iter().map(shown_version).collect();
                    restored.left = there.iter().map(|kept| ShownPath::from(&kept.path)).collect();
                    editor.bring_back(&gone)?;
                }
            }
            Ok(restored)
        });
    }

    /// Does something with a path on a thread that may wait for the disk.
    pub(super) fn edit<T: Send + 'static>(
        &self,
        path: &LocalPath,
        reply: Reply<T>,
        act: impl FnOnce(Editor, Directory, SyncPath) -> Result<T, Refusal> + Send + 'static,
    ) {
        let found = self.locate(path.as_path());
        match found.and_then(|(row, path)| Ok((self.editor(&row)?, row, path))) {
            Ok((editor, row, path)) => {
                tokio::task::spawn_blocking(move || answer(reply, act(editor, row, path)));
            }
            Err(refusal) => answer(reply, Err(refusal)),
        }
    }

    pub(super) fn editor(&self, row: &Directory) -> Result<Editor, Refusal> {
        self.rooms.get(&row.directory).map(|resident| resident.room.editor()).ok_or_else(|| {
            let message = self.dormant.get(&row.directory).map(|dormant| dormant.message.as_str());
            Refusal::new(format!("{} is not at work: {}", row.name, message.unwrap_or("it is stopping")))
        })
    }

    /// The directory that a path lies in, and what it is called there.
    fn locate(&self, path: &Path) -> Result<(Directory, SyncPath), Refusal> {
        let show = |path: &Path| printable(path.as_os_str());
        let real = real_place(path);
        let rows = self.rows();
        let row = rows.into_iter().find(|row| real.starts_with(&row.path)).ok_or_else(|| {
            Refusal::unknown(format!(
                "{} is in no directory that is offered or synced here; `file-sync status` lists them",
                show(path)
            ))
        })?;
        let below = real.strip_prefix(&row.path).unwrap_or(Path::new(""));
        if below.as_os_str().is_empty() {
            return Ok((row.clone(), SyncPath::root()));
        }
        let below = SyncPath::parse(below.as_os_str().as_bytes());
        let below = below.map_err(|error| Refusal::new(format!("{}: {error}", show(path))))?;
        Ok((row.clone(), below))
    }
}

/// A path by its real name, but for the last component: that may be a symlink which is meant itself, and none of it
/// needs to exist any more.
fn real_place(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let (mut above, mut name) = (path.parent(), path.file_name());
    while let (Some(parent), Some(last)) = (above, name) {
        missing.push(last);
        if let Ok(real) = parent.canonicalize() {
            return missing.iter().rev().fold(real, |real, name| real.join(name));
        }
        (above, name) = (parent.parent(), parent.file_name());
    }
    path.to_owned()
}

fn shown_version(kept: &Kept) -> KeptVersion {
    KeptVersion {
        id: id_of(kept),
        path: (&kept.path).into(),
        symlink: matches!(kept.content, Content::Symlink(_)),
        bytes: kept.stat.size,
        modified: rfc3339(kept.stat.mtime),
        replaced: rfc3339(kept.at),
    }
}

/// Of the content: versions with equal ids hold equal bytes.
fn id_of(kept: &Kept) -> String {
    kept.content.hash().to_string()[..16].to_owned()
}

/// The version of a path that is asked for, or, of a directory, one of each path below it.
fn choose(path: &SyncPath, versions: Vec<Kept>, request: &Restore) -> Result<Vec<Kept>, Refusal> {
    let (own, below): (Vec<Kept>, Vec<Kept>) = versions.into_iter().partition(|kept| kept.path == *path);
    let none = || Refusal::unknown(format!("no version of {path} is kept here"));
    if let Some(version) = &request.version {
        let version = version.to_lowercase();
        let candidates: Vec<&Kept> = own.iter().filter(|kept| id_of(kept).starts_with(&version)).collect();
        let ids: BTreeSet<String> = candidates.iter().map(|kept| id_of(kept)).collect();
        return match candidates.first() {
            Some(kept) if ids.len() == 1 && !version.is_empty() => Ok(vec![(*kept).clone()]),
            Some(_) => Err(Refusal::new(format!(
                "{} versions of {path} have ids like that; give more of it",
                ids.len()
            ))),
            None => Err(Refusal::unknown(format!(
                "no version {version} of {path} is kept here; `file-sync history` lists them"
            ))),
        };
    }
    let as_of = |kept: &&Kept| request.at.is_none_or(|at| kept.at > Time { seconds: at, nanoseconds: 0 });
    if !own.is_empty() {
        // The newest, or the first that was replaced after that time.
        let mut fitting = own.iter().filter(as_of);
        let kept = if request.at.is_some() { fitting.next_back() } else { fitting.next() };
        let current = "it has not been replaced since then: what is there now was there";
        return kept.map(|kept| vec![kept.clone()]).ok_or_else(|| Refusal::new(format!("{path}: {current}")));
    }
    let mut chosen: BTreeMap<SyncPath, Kept> = BTreeMap::new();
    // A conflict copy that is gone was dealt with: it comes back when it is named itself.
    let is_copy = |kept: &&Kept| !origins(&kept.path).is_empty();
    for kept in below.iter().filter(as_of).filter(|kept| !is_copy(kept)) {
        if request.at.is_some() {
            chosen.insert(kept.path.clone(), kept.clone());
        } else {
            chosen.entry(kept.path.clone()).or_insert_with(|| kept.clone());
        }
    }
    if chosen.is_empty() { Err(none()) } else { Ok(chosen.into_values().collect()) }
}

fn is_there_already(show: &str) -> Refusal {
    Refusal::new(format!("{show} is there already; name a file that is not, or move it first"))
}

/// Writes a kept version to a path where nothing is, whole or not at all.
fn write_out(root: &Root, kept: &Kept, to: &Path) -> Result<(), Refusal> {
    let show = printable(to.as_os_str());
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => is_there_already(&show),
        std::io::ErrorKind::NotFound => {
            Refusal::new(format!("cannot write {show}: its directory does not exist"))
        }
        kind => Refusal::new(format!("cannot write {show}: {kind}")),
    };
    if to.components().any(|part| part.as_os_str() == ".file-sync") {
        return Err(Refusal::new(format!(
            "cannot write {show}: .file-sync is the server's own; name another place"
        )));
    }
    if to.symlink_metadata().is_ok() {
        return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
    }
    if matches!(kept.content, Content::Symlink(_)) {
        let target = root.kept_target(&kept.name).map_err(|trouble| Refusal::new(trouble.message))?;
        let target = std::ffi::OsStr::from_bytes(&target);
        return std::os::unix::fs::symlink(target, to).map_err(failed);
    }
    let mut from = root.kept_file(&kept.name).map_err(|trouble| Refusal::new(trouble.message))?;
    let directory = to.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    std::io::copy(&mut from, &mut file).map_err(failed)?;
    let (mode, mtime) = (kept.stat.mode, kept.stat.mtime);
    let since = std::time::Duration::new(mtime.seconds.unsigned_abs(), mtime.nanoseconds);
    let epoch = std::time::UNIX_EPOCH;
    let time = if mtime.seconds < 0 { epoch.checked_sub(since) } else { epoch.checked_add(since) };
    file.as_file().set_modified(time.unwrap_or(epoch)).map_err(failed)?;
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(u32::from(mode & 0o777));
    file.as_file().set_permissions(permissions).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(to).map_err(|error| failed(error.error))?;
    Ok(())
}
