//! `why`: what disk, index and versions say of a path, and what follows.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use file_sync_core::engine::{Damage, Explanation, Reason, Standing};
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Record, Seen};
use file_sync_core::version::{Content, ContentHash, DeviceId, Time, Value};

use super::House;
use super::verify::{Finding, find_out};
use crate::api::command::Reply;
use crate::api::names::{LocalPath, printable};
use crate::api::types::{Item, ShownPath, StandingVersion, Why, rfc3339};
use crate::input::{Input, RoomEvent};
use crate::room::Editor;

/// The longest file, in bytes, that is read again by whoever asks why it is as it is: a second's worth.
const READ_BYTES_MAX: u64 = 64 << 20;

impl House {
    /// Every paired device's name here, and this one's own.
    pub(super) fn names(&self) -> BTreeMap<DeviceId, String> {
        let remotes = self.home.remotes().unwrap_or_default();
        let own = (self.context.identity.device_id(), self.config.name.clone());
        remotes.into_iter().map(|remote| (remote.device, remote.name)).chain([own]).collect()
    }

    pub(super) fn why(&self, path: &LocalPath, reply: Reply<Why>) {
        let names = self.names();
        let inputs = self.context.inputs.clone();
        let lives: BTreeMap<_, _> =
            self.rooms.iter().map(|(directory, resident)| (*directory, resident.room.life)).collect();
        self.edit(path, reply, move |editor, row, path| {
            // What is below the root that was opened tells nothing of what is at the path now.
            let lost = editor.root.prove().err();
            let kept = editor.versions(&path)?.iter().filter(|kept| kept.path == path).count() as u64;
            let Explanation { record, value, versions, copy_of, reason, untold, behind, followed, away } =
                editor.explain(&path);
            let reason = lost.map_or(reason, |error| Reason::RootLost(error.to_string()));
            let disk =
                if matches!(reason, Reason::RootLost(_)) { None } else { editor.root.look(&path).ok() };
            let (damage, reason) = damaged(&editor, &path, record.as_ref(), disk.as_ref(), reason);
            let found = match reason {
                Reason::Damaged(found, _) => Some(found),
                _ => None,
            };
            if let (Some(damage), Some(life)) = (damage, lives.get(&row.directory)) {
                let (directory, life, event) = (row.directory, *life, RoomEvent::Damaged(vec![damage]));
                // Nobody listens only when the server is at its end.
                let _ = inputs.blocking_send(Input::Room { directory, life, event });
            }
            let is_gone = disk == Some(None);
            let name = |device: &DeviceId| names.get(device).cloned().unwrap_or_else(|| device.short());
            let is_any = !versions.is_empty();
            let standing = versions.iter().map(|version| StandingVersion {
                by: name(&version.device),
                at: rfc3339(version.at),
                item: of_value(&version.value),
                shown_at: version.shown_at.as_ref().map(ShownPath::from),
            });
            let conflict = conflict(&path, copy_of.as_ref(), &versions);
            let mend = mend(&reason);
            let held = matches!(reason, Reason::Held(_));
            let there = There { record: record.as_ref(), is_gone, is_known: is_any };
            let (word, explanation) = follows(&reason, &path, &there);
            let (word, explanation) = match &conflict {
                Some(conflict) if held => ("conflict", format!("{conflict}; besides, {explanation}")),
                _ => (word, explanation), // The lines above it show a conflict, too.
            };
            Ok(Why {
                directory: row.name,
                path: (&path).into(),
                disk: disk.map(|seen| of_seen(seen.as_ref(), record.as_ref(), found.as_ref())),
                index: of_record(record.as_ref()),
                wanted: of_value(&value),
                versions: standing.collect(),
                copy_of: copy_of.as_ref().map(ShownPath::from),
                reason: word.to_owned(),
                explanation,
                mend,
                in_conflict: conflict.is_some(),
                held,
                untold: untold.iter().map(name).collect(),
                behind: behind.iter().map(name).collect(),
                followed: followed.iter().map(name).collect(),
                away: away.iter().map(name).collect(),
                kept,
            })
        });
    }
}

/// What mends what is wrong with a path, if that is known.
fn mend(reason: &Reason) -> Option<String> {
    match reason {
        Reason::Trouble(trouble, _) => trouble.mend.clone(),
        _ => None,
    }
}

/// What is at a path.
struct There<'a> {
    record: Option<&'a Record>,
    /// Nothing is on the disk.
    is_gone: bool,
    /// There are versions of it.
    is_known: bool,
}

/// A word for scripts, and a sentence: what the reason says, of what is there.
fn follows(reason: &Reason, path: &SyncPath, there: &There<'_>) -> (&'static str, String) {
    match (reason, there) {
        (Reason::RootLost(_), _) => said(reason, path),
        _ if path.is_root() => {
            ("root", "it is the directory's root; `file-sync status` says how it is".to_owned())
        }
        (Reason::InStep, There { record: None, is_gone: true, is_known: false }) => {
            ("unknown", "nothing is there, and no version of it is known".to_owned())
        }
        (Reason::InStep, There { record: None, is_gone: true, .. }) => (
            "in-step",
            "it was deleted or moved elsewhere, and that is followed; `file-sync history` lists what is to be had of it, here and at others".to_owned(),
        ),
        (Reason::InStep, There { record: Some(record), .. }) if is_long(record) => {
            let (word, sentence) = said(reason, path);
            let limit = READ_BYTES_MAX >> 20;
            let unread = "only its size and times were looked at, as it is larger than";
            (word, format!("{sentence}; {unread} {limit} MiB: `file-sync verify` reads it"))
        }
        _ => said(reason, path),
    }
}

/// True of a file whose bytes are not read by whoever asks why it is as it is.
fn is_long(record: &Record) -> bool {
    matches!(record.content, Content::File(_)) && record.stat.size > READ_BYTES_MAX
}

/// Reads a file again that is as it is recorded, as far as its stat tells: if it is not, that is why it is as it is, and what is
/// to be healed.
fn damaged(
    editor: &Editor,
    path: &SyncPath,
    record: Option<&Record>,
    disk: Option<&Option<Seen>>,
    reason: Reason,
) -> (Option<Damage>, Reason) {
    let is_as_recorded =
        |record: &&Record| matches!(disk, Some(Some(seen)) if record.matches(seen)) && !is_long(record);
    match (reason, record.filter(is_as_recorded)) {
        (reason @ (Reason::InStep | Reason::BeingLookedAt), Some(record)) => {
            match find_out(editor, path, *record) {
                Finding::Damaged(found) => {
                    let damage = Damage { path: path.clone(), record: *record, found };
                    (Some(damage), Reason::Damaged(found, false))
                }
                _ => (None, reason),
            }
        }
        (reason, _) => (None, reason),
    }
}

/// What a path is in conflict with, if it is.
fn conflict(path: &SyncPath, copy_of: Option<&SyncPath>, versions: &[Standing]) -> Option<String> {
    if let Some(origin) = copy_of {
        let origin = printable(OsStr::from_bytes(origin.as_bytes()));
        return Some(format!("it is in conflict, as the copy of {origin} (`file-sync resolve` settles it)"));
    }
    let copy =
        versions.iter().filter_map(|version| version.shown_at.as_ref()).find(|shown| *shown != path)?;
    let copy = printable(OsStr::from_bytes(copy.as_bytes()));
    Some(format!("it is in conflict: {copy} is another version of it (`file-sync resolve` settles it)"))
}

/// A word for scripts, and a sentence.
fn said(reason: &Reason, path: &SyncPath) -> (&'static str, String) {
    let (word, sentence) = match reason {
        Reason::InStep => ("in-step", "the disk is as the versions say; nothing is to be done here"),
        Reason::RootLost(message) => {
            return (
                "root-lost",
                format!("the directory's root is not what it was, so nothing is done: {message}"),
            );
        }
        Reason::Paused => ("paused", "the directory is paused; `file-sync sync resume` goes on"),
        Reason::FirstScan => {
            ("scanning", "the disk is being looked through since the start; nothing is changed before that")
        }
        Reason::Ignored => ("ignored", "a rule in a .syncignore matches it: it is neither sent nor changed"),
        Reason::LeftAlone(message) => return ("left-alone", format!("it is left alone: {message}")),
        Reason::Hidden => {
            ("hidden", "another file system is mounted over it: what is below cannot be told, and stays")
        }
        Reason::Trouble(trouble, retry_ms) => {
            let seconds = retry_ms.div_ceil(1_000);
            return ("trouble", format!("{trouble}; tried again in {seconds} s"));
        }
        Reason::StillHolds => (
            "still-holds",
            "it was deleted elsewhere, and stays while it, or a directory in it, holds what is ignored or left alone",
        ),
        Reason::Held(held) if held != path => {
            let held = printable(OsStr::from_bytes(held.as_bytes()));
            return (
                "held",
                format!(
                    "the deletion of {held}, which it lies in, is held, as one of many: `file-sync sync approve` lets it through, `reject` brings the files back"
                ),
            );
        }
        Reason::Held(_) => (
            "held",
            "its deletion is held, as one of many: `file-sync sync approve` lets it through, `reject` brings the file back",
        ),
        Reason::LocalChange => {
            ("local-change", "it was changed here, and this device may not send: the change stays here")
        }
        Reason::SendOnly => {
            ("send-only", "others have changed it, and this device takes nothing from others")
        }
        Reason::Damaged(_, is_pending) => (
            "damaged",
            if *is_pending {
                "its bytes have rotted: nobody changed it, and they are not those that were recorded; no connected member has the right ones, which come when one that has them is back"
            } else {
                "its bytes have rotted: nobody changed it, and they are not those that were recorded; it is replaced as soon as the right ones are found"
            },
        ),
        Reason::BeingLookedAt => ("looking", "something has changed there and is being looked at"),
        Reason::InDoubt => (
            "in-doubt",
            "a stop may have left the server's own work there, and it could not be looked at yet",
        ),
        Reason::AwaitingCommit => ("committing", "it changes as soon as what it follows from is durable"),
        Reason::AwaitingBytes => ("fetching", "its bytes are being asked for"),
        Reason::NobodyHasBytes => {
            ("no-bytes", "no connected member has its bytes; it comes when one that has them is back")
        }
        Reason::ToBeChanged => ("changing", "the disk is about to be brought to what the versions say"),
    };
    (word, sentence.to_owned())
}

fn item(kind: &str) -> Item {
    Item { kind: kind.to_owned(), bytes: None, mode: None, modified: None, content: None }
}

fn octal(mode: u16) -> Option<String> {
    Some(format!("{mode:03o}"))
}

fn short(content: &ContentHash) -> Option<String> {
    Some(content.to_string()[..16].to_owned())
}

fn of_value(value: &Value) -> Item {
    match value {
        Value::Absent { .. } => item("nothing"),
        Value::Directory { mode } => Item { mode: octal(*mode), ..item("directory") },
        Value::Symlink { target } => Item { content: short(&ContentHash::of(target)), ..item("symlink") },
        Value::File { content, length, mode, mtime } => file(Some(content), *length, *mode, *mtime),
    }
}

fn file(content: Option<&ContentHash>, bytes: u64, mode: u16, mtime: Time) -> Item {
    Item {
        bytes: Some(bytes),
        mode: octal(mode),
        modified: Some(rfc3339(mtime)),
        content: content.and_then(short),
        ..item("file")
    }
}

fn of_record(record: Option<&Record>) -> Item {
    let Some(Record { content, stat }) = record else { return item("nothing") };
    match content {
        Content::Absent => item("nothing"),
        Content::Directory => Item { mode: octal(stat.mode), ..item("directory") },
        Content::Symlink(target) => Item { content: short(target), ..item("symlink") },
        Content::File(content) => file(Some(content), stat.size, stat.mode, stat.mtime),
    }
}

/// Of a file the content is known where the record still fits; unless these other bytes were found.
fn of_seen(seen: Option<&Seen>, record: Option<&Record>, found: Option<&ContentHash>) -> Item {
    let Some(seen) = seen else { return item("nothing") };
    match &seen.kind {
        Kind::Directory => Item { mode: octal(seen.stat.mode), ..item("directory") },
        Kind::Symlink(target) => Item { content: short(&ContentHash::of(target)), ..item("symlink") },
        Kind::Mount => item("mount"),
        Kind::Unsupported => item("neither file, directory nor symlink"),
        Kind::File => {
            let known = record.filter(|record| record.matches(seen)).map(|record| record.content.hash());
            file(found.or(known.as_ref()), seen.stat.size, seen.stat.mode, seen.stat.mtime)
        }
    }
}
