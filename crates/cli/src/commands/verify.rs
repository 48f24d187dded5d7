//! `verify`: reads every byte again, and says whether disk, index and remotes agree.

use std::path::PathBuf;
use std::time::Duration;

use file_sync_server::api::command::{Conflicts, SyncWait};
use file_sync_server::api::types::{Reading, Status, Verified, VerifiedDirectory, Waited};
use serde::Serialize;

use super::meanwhile::meanwhile;
use super::status_text::{counted, progress, size};
use super::{shown, shown_path, sync_wait};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// Paths that changed meanwhile; JSON has more.
const N_CHANGED_SHOWN: usize = 10;

/// What `verify --json` prints.
#[derive(Serialize)]
struct Verification {
    /// Which connected members have all, and which were not asked.
    #[serde(flatten)]
    waited: Waited,
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
    let request = SyncWait { tells_late: true, ..sync_wait::request(typed.as_deref(), timeout)? };
    let waited = client.post_patiently("/v1/syncs/wait", &request).await?;
    console.hint("reading every file again");
    let verified = read_again(&Conflicts { target: request.target }, client, console).await?;
    let verification = Verification { waited, verified };
    console.result(&verification, text)?;
    match wrong(&verification) {
        Some(wrong) => Err(Failure::refused(wrong)),
        None if !verification.waited.in_sync => Err(Failure::TimedOut(
            "not all connected remotes were in sync in time; run it again, or see `file-sync status`"
                .to_owned(),
        )),
        None => Ok(()),
    }
}

/// Has all files read; how far it is stands on a terminal's last line meanwhile.
async fn read_again(request: &Conflicts, client: &Client, console: Console) -> Result<Verified, Failure> {
    let reading = client.post_patiently("/v1/verify", request);
    meanwhile(reading, client, console, progress_line).await
}

fn progress_line(status: &Status) -> String {
    let sum = |count: fn(&Reading) -> u64| {
        status.directories.iter().filter_map(|one| one.verifying.as_ref()).map(count).sum()
    };
    progress(&Reading {
        files: sum(|reading| reading.files),
        of_files: sum(|reading| reading.of_files),
        bytes: sum(|reading| reading.bytes),
        of_bytes: sum(|reading| reading.of_bytes),
    })
}

fn text(verification: &Verification) -> String {
    let directories = verification.verified.directories.iter().map(directory_text);
    directories.chain([sync_wait::text(&verification.waited)]).collect()
}

fn directory_text(directory: &VerifiedDirectory) -> String {
    let (name, files) = (shown(&directory.name), counted(directory.files, "file", "files"));
    let mut text = format!("{name}: {files} as recorded, {} read\n", size(directory.bytes));
    for path in &directory.damaged {
        text.push_str(&format!("  damaged: {}\n", shown_path(path)));
    }
    for error in &directory.errors {
        text.push_str(&format!("  error: {}: {}\n", shown_path(&error.path), shown(&error.message)));
    }
    if directory.changed > 0 {
        let files = counted(directory.changed, "file", "files");
        text.push_str(&format!("  {files} changed at that moment\n"));
        for path in directory.changed_paths.iter().take(N_CHANGED_SHOWN) {
            text.push_str(&format!("    {}\n", shown_path(path)));
        }
    }
    if directory.local > 0 {
        let changes = counted(directory.local, "change stays", "changes stay");
        text.push_str(&format!("  {changes} here alone, because of the mode\n"));
    }
    text
}

/// Why not all is well on this disk, in one line.
fn wrong(verification: &Verification) -> Option<String> {
    let sum = |count: fn(&VerifiedDirectory) -> u64| -> u64 {
        verification.verified.directories.iter().map(count).sum()
    };
    let damaged = sum(|directory| directory.damaged.len() as u64);
    let (errors, changed) =
        (sum(|directory| directory.errors.len() as u64), sum(|directory| directory.changed));
    if damaged > 0 {
        return Some(format!(
            "{} damaged: other bytes than were recorded, and nobody changed them; the right ones are put back as soon as they are found, see `file-sync status`, and look after the disk",
            counted(damaged, "file is", "files are")
        ));
    }
    if errors > 0 {
        return Some(format!(
            "{} as named above; nothing is known of what could not be read",
            counted(errors, "error", "errors")
        ));
    }
    if changed > 0 {
        let files = counted(changed, "file", "files");
        return Some(format!("{files} changed while all were read; run it again when nobody writes"));
    }
    None
}
