//! `verify`: every byte is read again and compared with what is recorded (promises P2, C6).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use file_sync_core::effect::Trouble;
use file_sync_core::engine::Damage;
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Record};
use file_sync_core::version::{Content, ContentHash};
use file_sync_index::Directory;
use tokio::sync::mpsc;

use super::House;
use crate::api::command::{Refusal, Reply};
use crate::api::names::Target;
use crate::api::types::{PathMessage, Reading, Verified, VerifiedDirectory};
use crate::input::{Input, RoomEvent, answer};
use crate::room::Editor;

/// How often a file that changes under the reading is tried, before it is left out.
const N_TRIES: usize = 3;

/// How many paths are named that have changed.
const N_NAMED: usize = 100;

/// What reading one file again came to.
pub(super) enum Finding {
    /// As recorded, and so many bytes.
    Same(u64),
    /// Its stat is as recorded, and its bytes are not: they are these.
    Damaged(ContentHash),
    /// It has changed, or gone, since it was recorded.
    Changed,
    Trouble(Trouble),
}

/// How far a reading is, for whoever asks meanwhile.
#[derive(Default)]
pub(super) struct Progress {
    files: AtomicU64,
    of_files: AtomicU64,
    bytes: AtomicU64,
    of_bytes: AtomicU64,
}

impl Progress {
    /// So many files are to be read, besides those known before.
    pub(super) fn are_to_be_read(&self, files: u64, bytes: u64) {
        self.of_files.fetch_add(files, Ordering::Relaxed);
        self.of_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn are_read(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn shown(&self) -> Reading {
        let [files, of_files, bytes, of_bytes] = [&self.files, &self.of_files, &self.bytes, &self.of_bytes]
            .map(|number| number.load(Ordering::Relaxed));
        Reading { files, of_files, bytes, of_bytes }
    }
}

fn bytes_of(record: &Record) -> u64 {
    if matches!(record.content, Content::File(_)) { record.stat.size } else { 0 }
}

impl House {
    /// Reads all files of one directory again, or of all; has what is damaged healed.
    pub(super) fn verify(&mut self, target: Option<&Target>, reply: Reply<Verified>) {
        let rows = match target {
            Some(target) => self.find(target).map(|row| vec![row]),
            None => Ok(self.rows().into_iter().cloned().collect()),
        };
        let editors = rows.and_then(|rows| {
            rows.into_iter()
                .map(|row| {
                    Ok((self.editor(&row)?, self.is_read(&row), self.rooms[&row.directory].room.life, row))
                })
                .collect::<Result<Vec<_>, Refusal>>()
        });
        let inputs = self.context.inputs.clone();
        match editors {
            Err(refusal) => answer(reply, Err(refusal)),
            Ok(editors) => _ = tokio::spawn(verify_all(editors, inputs, reply)),
        }
    }

    /// A reading of a directory begins: how far it is shows in `status`.
    fn is_read(&mut self, row: &Directory) -> Arc<Progress> {
        let progress = Arc::new(Progress::default());
        if let Some(resident) = self.rooms.get_mut(&row.directory) {
            resident.reading = Arc::downgrade(&progress);
        }
        progress
    }
}

/// Each directory by itself, so that nobody waits for another's to be ended.
async fn verify_all(
    editors: Vec<(Editor, Arc<Progress>, u64, Directory)>,
    inputs: mpsc::Sender<Input>,
    reply: Reply<Verified>,
) {
    let tasks: Vec<_> = editors
        .into_iter()
        .map(|(editor, progress, life, row)| {
            let name = row.name.clone();
            let path = row.path.as_path().into();
            (tokio::task::spawn_blocking(move || read_again(&editor, &progress, name, path)), life, row)
        })
        .collect();
    let mut directories = Vec::new();
    for (task, life, row) in tasks {
        let Ok((found, damaged)) = task.await else {
            let message = format!("the reading of {} has failed; the server's log says why", row.name);
            return answer(reply, Err(Refusal::new(message)));
        };
        directories.push(found);
        if !damaged.is_empty() {
            let (directory, event) = (row.directory, RoomEvent::Damaged(damaged));
            // Nobody listens only when the server is at its end.
            let _ = inputs.send(Input::Room { directory, life, event }).await;
        }
    }
    answer(reply, Ok(Verified { directories }));
}

fn read_again(
    editor: &Editor,
    progress: &Progress,
    name: String,
    path: crate::api::types::ShownPath,
) -> (VerifiedDirectory, Vec<Damage>) {
    let recorded = editor.recorded();
    let bytes = recorded.iter().map(|(_, record)| bytes_of(record)).sum();
    progress.are_to_be_read(recorded.len() as u64, bytes);
    let mut found = VerifiedDirectory {
        name,
        path,
        files: 0,
        bytes: 0,
        damaged: vec![],
        changed: 0,
        changed_paths: vec![],
        local: editor.n_local(),
        errors: vec![],
    };
    let mut damaged = Vec::new();
    if let Err(error) = editor.root.prove() {
        let message = error.to_string();
        found.errors.push(PathMessage::new(b".".as_slice(), message));
        return (found, damaged); // What can still be read there is not the directory.
    }
    for (path, record) in recorded {
        if editor.is_ending() {
            let message = "the directory was stopped while it was read".to_owned();
            found.errors.push(PathMessage::new(b".".as_slice(), message));
            break;
        }
        let finding = find_out(editor, &path, record);
        progress.are_read(1, bytes_of(&record));
        match finding {
            Finding::Same(bytes) => {
                found.files += 1;
                found.bytes += bytes;
            }
            Finding::Damaged(bytes) => {
                tracing::warn!(%path, "its bytes are not those that were recorded, and nothing says that it was changed");
                found.damaged.push((&path).into());
                damaged.push(Damage { path, record, found: bytes });
            }
            Finding::Changed => {
                found.changed += 1;
                if found.changed_paths.len() < N_NAMED {
                    found.changed_paths.push((&path).into());
                }
            }
            Finding::Trouble(trouble) => {
                let Trouble { message, mend, .. } = trouble;
                found.errors.push(PathMessage { mend, ..PathMessage::new(&path, message) });
            }
        }
    }
    (found, damaged)
}

/// A file that is being changed is compared with its record of then.
pub(super) fn find_out(editor: &Editor, path: &SyncPath, mut record: Record) -> Finding {
    for _ in 0..N_TRIES {
        let finding = compare(editor, path, &record);
        match editor.on_disk(path) {
            _ if !matches!(finding, Finding::Changed) => return finding,
            Some(now) if now != record => record = now,
            _ => break,
        }
    }
    // What cannot be read is not noted, however often it is looked at.
    unreadable(editor, path, &record).map_or(Finding::Changed, Finding::Trouble)
}

/// Why a file cannot be opened as it is now, if it cannot.
fn unreadable(editor: &Editor, path: &SyncPath, record: &Record) -> Option<Trouble> {
    let seen = editor.root.look(path).ok()??;
    let now = Record { stat: seen.stat, ..*record };
    let is_file = matches!(seen.kind, Kind::File) && matches!(now.content, Content::File(_));
    is_file.then(|| editor.root.open_content(path, &now).err()).flatten()
}

fn compare(editor: &Editor, path: &SyncPath, record: &Record) -> Finding {
    let seen = match editor.root.look(path) {
        Ok(Some(seen)) if record.matches(&seen) => seen,
        Ok(_) => return Finding::Changed,
        Err(trouble) => return Finding::Trouble(trouble),
    };
    match (seen.kind, record.content) {
        (Kind::Symlink(target), Content::Symlink(hash)) if ContentHash::of(&target) == hash => {
            Finding::Same(0)
        }
        (Kind::File, Content::File(content)) => match editor.root.reread(path, &editor.cancel) {
            Ok((stat, _)) if stat != seen.stat => Finding::Changed,
            Ok((stat, found)) if found == content => Finding::Same(stat.size),
            Ok((_, found)) => Finding::Damaged(found),
            Err(trouble) => Finding::Trouble(trouble),
        },
        _ => Finding::Changed,
    }
}
