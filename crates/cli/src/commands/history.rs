//! `history`: lists the versions kept of a path.

use std::path::Path;

use file_sync_server::api::command::OnPath;
use file_sync_server::api::types::{History, KeptVersion};

use super::status_text::size;
use super::{local_path, shown, shown_path};
use crate::client::Client;
use crate::console::{Console, table};
use crate::failure::Failure;

/// Asks, and prints the list, the newest first.
///
/// # Errors
/// When nothing is known of the path, or the server refuses.
pub async fn run(path: &Path, client: &Client, console: Console) -> Result<(), Failure> {
    let request = OnPath { path: local_path(path)? };
    let history: History = client.post("/v1/history", &request).await?;
    if history.versions.is_empty() {
        console.hint(
            "no earlier version is kept: only what file-sync itself replaced or deleted on this device is",
        );
    }
    console.result(&history, text)
}

fn text(history: &History) -> String {
    if history.versions.is_empty() {
        return format!(
            "{} in {}: no earlier version is kept here\n",
            shown_path(&history.path),
            shown(&history.directory)
        );
    }
    table(["ID", "REPLACED", "MODIFIED", "SIZE", "PATH"], history.versions.iter().map(row))
}

/// A version in columns.
pub fn row(version: &KeptVersion) -> [String; 5] {
    let bytes = if version.symlink { "symlink".to_owned() } else { size(version.bytes) };
    let (replaced, modified) = (version.replaced.clone(), version.modified.clone());
    [version.id.clone(), replaced, modified, bytes, shown_path(&version.path)]
}
