//! Versions written outside of their directory, as `restore --to` has it.

use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use file_sync_core::effect::Trouble;
use file_sync_core::version::{Content, ContentHash, Time};
use file_sync_disk::ContentFile;

use crate::api::command::Refusal;
use crate::api::names::printable;
use crate::room::{AllUnplaced, Bytes, Editor, Unplaced, Wanted};

/// Refuses a place that nothing can be written to.
///
/// # Errors
/// When something is there, or it is the server's own.
pub(super) fn check_is_free(to: &Path) -> Result<(), Refusal> {
    let show = printable(to.as_os_str());
    if to.components().any(|part| part.as_os_str() == ".file-sync") {
        return Err(Refusal::new(format!(
            "cannot write {show}: .file-sync is the server's own; name another place"
        )));
    }
    if to.symlink_metadata().is_ok() { Err(is_there_already(&show)) } else { Ok(()) }
}

pub(super) fn is_there_already(show: &str) -> Refusal {
    Refusal::new(format!("{show} is there already; name a file that is not, or move it first"))
}

/// Writes a version to a path where nothing is, whole or not at all: not if its bytes are not what they were.
///
/// # Errors
/// When it cannot be written or read.
pub(super) fn write_out(editor: &Editor, wanted: &Wanted, to: &Path) -> Result<AllUnplaced, Refusal> {
    check_is_free(to)?;
    let show = printable(to.as_os_str());
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => is_there_already(&show),
        io::ErrorKind::NotFound => Refusal::new(format!("cannot write {show}: its directory does not exist")),
        kind => Refusal::new(format!("cannot write {show}: {kind}")),
    };
    if matches!(wanted.content, Content::Symlink(_)) {
        let target = target(editor, wanted)?;
        std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&target), to).map_err(failed)?;
        return Ok(AllUnplaced::new());
    }
    let mut from = open(editor, wanted)?;
    let directory = to.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    io::copy(&mut from, &mut file).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&mut file).map_err(failed)?;
    if ContentHash(*hasher.finalize().as_bytes()) != wanted.content.hash() {
        return Ok(AllUnplaced::from([(wanted.path.clone(), Unplaced::Rotten)]));
    }
    file.as_file().set_modified(system_time(wanted.mtime)).map_err(failed)?;
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(u32::from(wanted.mode & 0o777));
    file.as_file().set_permissions(permissions).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(to).map_err(|error| failed(error.error))?;
    Ok(AllUnplaced::new())
}

fn target(editor: &Editor, wanted: &Wanted) -> Result<Box<[u8]>, Refusal> {
    match &wanted.bytes {
        Bytes::Target(target) => Ok(target.clone()),
        Bytes::Kept(name) => editor.root.kept_target(name).map_err(refused),
        Bytes::At(_) | Bytes::Staged => Err(Refusal::new(format!("{}: it is no symlink", wanted.path))),
    }
}

fn open(editor: &Editor, wanted: &Wanted) -> Result<Box<dyn Read>, Refusal> {
    let root = &editor.root;
    match &wanted.bytes {
        Bytes::Kept(name) => Ok(Box::new(root.kept_file(name).map_err(refused)?)),
        // It was verified when it came.
        Bytes::Staged => {
            Ok(Box::new(Reading::of(root.open_staged_content(wanted.content.hash()).map_err(refused)?)))
        }
        Bytes::At(path) => {
            let has_changed = || Refusal::new(format!("{path} has just changed; look, and try again"));
            let record = editor.record(path).ok_or_else(has_changed)?;
            let file = root.open_content(path, &record).map_err(refused)?;
            let (content, _) = file.rechunk(file_sync_disk::average_bytes(file.length())).map_err(refused)?;
            if content != wanted.content.hash() {
                return Err(has_changed());
            }
            Ok(Box::new(Reading::of(file)))
        }
        Bytes::Target(_) => Err(Refusal::new(format!("{}: it is a symlink", wanted.path))),
    }
}

fn refused(trouble: Trouble) -> Refusal {
    Refusal::new(trouble.message)
}

fn system_time(time: Time) -> std::time::SystemTime {
    let since = std::time::Duration::new(time.seconds.unsigned_abs(), time.nanoseconds);
    let epoch = std::time::UNIX_EPOCH;
    let at = if time.seconds < 0 { epoch.checked_sub(since) } else { epoch.checked_add(since) };
    at.unwrap_or(epoch)
}

/// A file that is read from its beginning to its end, and found to have changed if it has.
struct Reading {
    file: ContentFile,
    offset: u64,
}

impl Reading {
    fn of(file: ContentFile) -> Reading {
        Reading { file, offset: 0 }
    }
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let failed = |trouble: Trouble| io::Error::other(trouble.message);
        let n_bytes = self.file.read_at(self.offset, buffer).map_err(failed)?;
        self.offset += n_bytes as u64;
        if n_bytes == 0 && !buffer.is_empty() && !self.file.unchanged().map_err(failed)? {
            return Err(io::Error::other("it has just changed"));
        }
        Ok(n_bytes)
    }
}
