//! Versions written outside of their directory, as `restore --to` has it.

use std::io::{self, Read, Seek, Write};
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
    let rotten = || AllUnplaced::from([(wanted.path.clone(), Unplaced::Rotten)]);
    let Some(mut from) = open(editor, wanted)? else { return Ok(rotten()) };
    let directory = to.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    if !copy(&mut from, &mut file).map_err(failed)? {
        return Ok(rotten());
    }
    file.rewind().map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&mut file).map_err(failed)?;
    if ContentHash(*hasher.finalize().as_bytes()) != wanted.content.hash() {
        return Ok(rotten());
    }
    file.as_file().set_modified(system_time(wanted.mtime)).map_err(failed)?;
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(u32::from(wanted.mode & 0o777));
    file.as_file().set_permissions(permissions).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(to).map_err(|error| failed(error.error))?;
    Ok(AllUnplaced::new())
}

/// Copies all of it; false if it cannot be read.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<bool> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(n_bytes) => to.write_all(&buffer[..n_bytes])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::warn!(%error, "a version that is to be restored cannot be read");
                return Ok(false);
            }
        }
    }
}

fn target(editor: &Editor, wanted: &Wanted) -> Result<Box<[u8]>, Refusal> {
    match &wanted.bytes {
        Bytes::Target(target) => Ok(target.clone()),
        Bytes::Kept(name) => editor.root.kept_target(name).map_err(refused),
        Bytes::At(_) | Bytes::Staged => Err(Refusal::new(format!("{}: it is no symlink", wanted.path))),
    }
}

/// What a version's bytes are read from; none: they are not there any more.
fn open(editor: &Editor, wanted: &Wanted) -> Result<Option<Box<dyn Read>>, Refusal> {
    let root = &editor.root;
    let opened: Result<Box<dyn Read>, Trouble> = match &wanted.bytes {
        Bytes::Kept(name) => root.kept_file(name).map(|file| Box::new(file) as _),
        // It was verified when it came.
        Bytes::Staged => {
            root.open_staged_content(wanted.content.hash()).map(|file| Box::new(Reading::of(file)) as _)
        }
        // Its bytes are verified as they are written.
        Bytes::At(path) => match editor.on_disk(path) {
            Some(record) => root.open_content(path, &record).map(|file| Box::new(Reading::of(file)) as _),
            None => return Ok(None),
        },
        Bytes::Target(_) => return Err(Refusal::new(format!("{}: it is a symlink", wanted.path))),
    };
    Ok(opened.inspect_err(|trouble| tracing::warn!(%trouble, "cannot open what is to be restored")).ok())
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
