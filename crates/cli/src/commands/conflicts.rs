//! `conflicts`: lists the conflict copies, and how they differ.

use std::fs;
use std::path::{Path, PathBuf};

use file_sync_server::api::command::Conflicts;
use file_sync_server::api::types::{Conflict, ConflictList, NotAtWork, ShownPath};
use similar::TextDiff;

use super::{shown, shown_path, target};
use crate::client::Client;
use crate::console::{Console, table};
use crate::failure::Failure;

/// Files beyond this many bytes are not compared by lines.
const DIFF_BYTES_MAX: u64 = 4 << 20;

/// Asks, and prints the list.
///
/// # Errors
/// When the server refuses.
pub async fn run(
    typed: Option<PathBuf>,
    diff: bool,
    client: &Client,
    console: Console,
) -> Result<(), Failure> {
    let target = typed.as_deref().map(target).transpose()?;
    let list: ConflictList = client.post("/v1/conflicts", &Conflicts { target }).await?;
    if list.conflicts.is_empty() && list.not_at_work.is_empty() {
        console.hint("nothing is in conflict");
    }
    console.result(&list, |list| match diff {
        true => list.conflicts.iter().map(difference).collect(),
        false => text(&list.conflicts),
    })?;
    all_at_work(&list.not_at_work)
}

/// # Errors
/// When nothing can be said of some directories: a list without theirs is not all.
pub(super) fn all_at_work(not_at_work: &[NotAtWork]) -> Result<(), Failure> {
    if not_at_work.is_empty() {
        return Ok(());
    }
    let named =
        not_at_work.iter().map(|NotAtWork { directory, message }| format!("{}: {message}", shown(directory)));
    Err(Failure::refused(format!(
        "not at work, and so not in the list: {}",
        named.collect::<Vec<_>>().join("; ")
    )))
}

fn text(conflicts: &[Conflict]) -> String {
    if conflicts.is_empty() {
        return String::new();
    }
    let row = |conflict: &Conflict| {
        let (copy, path) = (shown_path(&conflict.copy), shown_path(&conflict.path));
        [shown(&conflict.directory), path, copy, shown(&conflict.by), conflict.at.clone()]
    };
    table(["DIRECTORY", "PATH", "COPY", "BY", "MADE"], conflicts.iter().map(row))
}

fn difference(conflict: &Conflict) -> String {
    let (path, copy) = (shown_path(&conflict.path), shown_path(&conflict.copy));
    let read = |below: &ShownPath| read_text(&conflict.root.to_path().join(below.to_path()));
    let said = match (read(&conflict.path), read(&conflict.copy)) {
        (Ok(one), Ok(other)) if one == other => "the same text\n".to_owned(),
        (Ok(one), Ok(other)) => {
            TextDiff::from_lines(&one, &other).unified_diff().header(&path, &copy).to_string()
        }
        (one, other) => {
            let what = |side: Result<String, String>| side.err().unwrap_or_else(|| "text".to_owned());
            format!("--- {path}: {}\n+++ {copy}: {}\n", what(one), what(other))
        }
    };
    format!("{}: {path}, {copy} by {}\n{}\n", shown(&conflict.directory), shown(&conflict.by), escaped(&said))
}

/// A file's text, or what it is instead.
fn read_text(path: &Path) -> Result<String, String> {
    let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if metadata.is_symlink() {
        let target = fs::read_link(path).map_err(|error| error.to_string())?;
        return Err(format!("symlink to {}", target.display()));
    }
    if metadata.is_dir() {
        return Err("a directory".to_owned());
    }
    let size = metadata.len();
    if size > DIFF_BYTES_MAX {
        return Err(format!("{size} bytes"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| format!("{size} bytes, not text"))
}

/// Text of a file's, for a terminal: line by line, without what a terminal obeys.
fn escaped(text: &str) -> String {
    text.split('\n')
        .map(|line| line.split('\t').map(shown).collect::<Vec<_>>().join("\t"))
        .collect::<Vec<_>>()
        .join("\n")
}
