//! `conflicts` and `resolve`, and where a path that a user names lies.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use file_sync_core::path::SyncPath;
use file_sync_index::Directory;

use super::House;
use crate::api::command::{Refusal, Reply, Resolve};
use crate::api::names::{LocalPath, Target, printable};
use crate::api::types::{Conflict, ConflictList, NotAtWork, Resolved, ShownPath, rfc3339};
use crate::input::answer;
use crate::room::{Editor, Settled};

impl House {
    pub(super) fn conflicts(&self, target: Option<&Target>) -> Result<ConflictList, Refusal> {
        let only = target.map(|target| self.find(target)).transpose()?;
        if let Some(row) = &only {
            self.editor(row)?; // A directory that is not at work knows of none, and must not seem to have none.
        }
        let not_at_work = if only.is_some() { Vec::new() } else { self.not_at_work() };
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
        Ok(ConflictList { conflicts, not_at_work })
    }

    /// The directories of which nothing can be said at present, and why.
    pub(super) fn not_at_work(&self) -> Vec<NotAtWork> {
        let dormant = self.dormant.values().map(|dormant| NotAtWork {
            directory: dormant.row.name.clone(),
            message: dormant.message.clone(),
        });
        let mut dormant: Vec<NotAtWork> = dormant.collect();
        dormant.sort_by(|one, other| one.directory.cmp(&other.directory));
        dormant
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
    pub(super) fn locate(&self, path: &Path) -> Result<(Directory, SyncPath), Refusal> {
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
