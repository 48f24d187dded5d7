//! `verify`: reads every byte again, and says whether disk, index and remotes agree.

use std::path::PathBuf;
use std::time::Duration;

use file_sync_server::api::command::{Conflicts, SyncWait};
use file_sync_server::api::types::{Verified, VerifiedDirectory};
use serde::Serialize;

use super::status_text::size;
use super::sync_wait::{milliseconds, wait};
use super::{shown, shown_path, target};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// What `verify --json` prints.
#[derive(Serialize)]
struct Verification {
    /// Connected members that have all that this device has, and the other way round.
    remotes: u64,
    /// None of the connected members differs, as far as they have said within the time.
    in_sync: bool,
    #[serde(flatten)]
    verified: Verified,
}

/// Waits until remotes are in step, has all files read, and prints what was found.
///
/// # Errors
/// When the server refuses, or disk, index and remotes do not agree.
pub async fn run(
    typed: Option<PathBuf>,
    timeout: Duration,
    client: &Client,
    console: Console,
) -> Result<(), Failure> {
    let target = typed.as_deref().map(target).transpose()?;
    let waited = wait(&SyncWait { target: target.clone(), timeout_ms: milliseconds(timeout) }, client).await;
    let (remotes, in_sync) = match waited {
        Ok(waited) => (waited.remotes, waited.away.is_empty()),
        Err(Failure::TimedOut(_)) => (0, false),
        Err(failure) => return Err(failure),
    };
    console.hint("reading every file again");
    let verified: Verified = client.post("/v1/verify", &Conflicts { target }).await?;
    let verification = Verification { remotes, in_sync, verified };
    console.result(&verification, text)?;
    match wrong(&verification) {
        None => Ok(()),
        Some(wrong) => Err(Failure::refused(wrong)),
    }
}

fn text(verification: &Verification) -> String {
    let directories = verification.verified.directories.iter().map(directory_text);
    let remotes = match (verification.in_sync, verification.remotes) {
        (false, _) => "not in sync with all connected remotes; `file-sync status` says more\n".to_owned(),
        (true, 0) => "no connected remote takes part: nothing to compare with\n".to_owned(),
        (true, 1) => "in sync with the one connected remote\n".to_owned(),
        (true, n_remotes) => format!("in sync with {n_remotes} connected remotes\n"),
    };
    directories.chain([remotes]).collect()
}

fn directory_text(directory: &VerifiedDirectory) -> String {
    let (name, files) = (shown(&directory.name), directory.files);
    let mut text = format!("{name}: {files} files are as recorded, {} read\n", size(directory.bytes));
    for path in &directory.damaged {
        text.push_str(&format!("  damaged: {}\n", shown_path(path)));
    }
    for error in &directory.errors {
        text.push_str(&format!("  error: {}: {}\n", shown(&error.path.path), shown(&error.message)));
    }
    if directory.changed > 0 {
        text.push_str(&format!("  {} files were being changed\n", directory.changed));
    }
    text
}

/// Why not all is well, in one line.
fn wrong(verification: &Verification) -> Option<String> {
    let sum = |count: fn(&VerifiedDirectory) -> u64| -> u64 {
        verification.verified.directories.iter().map(count).sum()
    };
    let damaged = sum(|directory| directory.damaged.len() as u64);
    let (errors, changed) =
        (sum(|directory| directory.errors.len() as u64), sum(|directory| directory.changed));
    if damaged > 0 {
        return Some(format!(
            "{damaged} files have other bytes than were recorded, and nobody changed them; they are replaced as soon as the right bytes are found, `file-sync status` lists those that are not: look at the disk"
        ));
    }
    if errors > 0 {
        return Some(format!("{errors} files could not be read"));
    }
    if changed > 0 {
        return Some(format!("{changed} files were being changed; run it again when nobody writes"));
    }
    (!verification.in_sync)
        .then(|| "not all connected remotes are in sync; run it again, or see `file-sync status`".to_owned())
}
