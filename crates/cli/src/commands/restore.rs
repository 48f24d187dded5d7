//! `restore`: brings kept versions back.

use file_sync_server::api::command::Restore;
use file_sync_server::api::types::{Restored, ShownPath, Unrestored};

use super::history::{keepers, say_untold};
use super::{shown, shown_path};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// So many of the paths that were left get named.
const NAMED_MAX: usize = 10;

/// Has versions brought back, and says which.
///
/// # Errors
/// When none is kept, something is in the way, or the server refuses.
pub async fn run(request: &Restore, client: &Client, console: Console) -> Result<(), Failure> {
    // Bytes may have to come from a remote first.
    let restored: Restored = client.post_patiently("/v1/restore", request).await?;
    say_untold(&restored.untold, console);
    console.result(&restored, text)?;
    failed(&restored.failed)
}

/// What could not be brought back, as one line.
fn failed(failed: &[Unrestored]) -> Result<(), Failure> {
    let Some(first) = failed.first() else { return Ok(()) };
    let (path, reason) = (shown_path(&first.path), shown(&first.reason));
    Err(Failure::refused(match failed.len() {
        1 => format!("one file could not be brought back: {path}: {reason}"),
        n_failed => format!("{n_failed} files could not be brought back; the first, {path}: {reason}"),
    }))
}

/// A line that names the first paths of many.
fn named(what: &str, paths: &[ShownPath]) -> String {
    if paths.is_empty() {
        return String::new();
    }
    let names: Vec<String> = paths.iter().take(NAMED_MAX).map(shown_path).collect();
    let more = if paths.len() > names.len() { ", …" } else { "" };
    format!("{what} ({}): {}{more}\n", paths.len(), names.join(", "))
}

fn text(restored: &Restored) -> String {
    let mut text = String::new();
    for version in &restored.restored {
        let to = restored.to.as_ref().map(|to| format!(", at {}", shown_path(to))).unwrap_or_default();
        let from = if version.here { String::new() } else { format!(", kept by {}", keepers(version)) };
        text.push_str(&format!("restored {} {}{from}{to}\n", shown_path(&version.path), version.id));
    }
    for version in &restored.already {
        text.push_str(&format!(
            "{} {} is there already: nothing was changed\n",
            shown_path(&version.path),
            version.id
        ));
    }
    if restored.local {
        text.push_str("it stays here: this device may not send what is changed on it\n");
    }
    text.push_str(&named("left as they are, since they are there", &restored.left));
    text.push_str(&named("left out, since they were written after that time", &restored.later));
    text.push_str(&named("left out, since only remotes say that they were there", &restored.told));
    text.push_str(&named(
        "left out, since they have other names by now (see `file-sync log`)",
        &restored.moved,
    ));
    if text.is_empty() && restored.failed.is_empty() {
        text = format!(
            "{} in {}: nothing was missing\n",
            shown_path(&restored.path),
            shown(&restored.directory)
        );
    }
    text
}
