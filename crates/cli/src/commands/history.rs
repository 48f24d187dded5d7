//! `history`: lists the versions of a path that are to be had.

use std::path::Path;

use file_sync_server::api::command::OnPath;
use file_sync_server::api::types::{History, KeptVersion, Unhad, Untold};

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
    say_untold(&history.untold, console);
    if let Some(Unhad { id, replaced }) = &history.newer {
        console.remark(&format!(
            "a newer version, {id}, was replaced or deleted {replaced}: nobody who was asked has it"
        ));
    }
    if history.cut {
        console.remark("more has been done below it than is looked at; ask for a path further down");
    }
    if let Some(moved) = &history.moved_away {
        console.remark(&format!("{}; `file-sync log` says more", moved.said(shown_path)));
    }
    if history.held > 0 {
        console.remark(&format!(
            "{} deleted here, which is held; `file-sync sync reject {}` brings {} back",
            if history.held == 1 {
                "one file was".to_owned()
            } else {
                format!("{} files were", history.held)
            },
            shown(&history.directory),
            if history.held == 1 { "it" } else { "them" }
        ));
    }
    console.result(&history, text)
}

/// Says who may keep more: what is not known must not seem not to be.
pub fn say_untold(untold: &[Untold], console: Console) {
    for Untold { remote, reason } in untold {
        console.remark(&format!("not known what {} keeps: {}", shown(remote), shown(reason)));
    }
}

fn text(history: &History) -> String {
    if history.versions.is_empty() {
        return format!(
            "{} in {}: no earlier version is kept here or by a remote that could be asked\n",
            shown_path(&history.path),
            shown(&history.directory)
        );
    }
    table(["ID", "REPLACED", "MODIFIED", "SIZE", "KEPT BY", "PATH"], history.versions.iter().map(row))
}

/// A version in columns.
fn row(version: &KeptVersion) -> [String; 6] {
    let bytes = if version.symlink { "symlink".to_owned() } else { size(version.bytes) };
    let replaced = if version.standing { "here alone".to_owned() } else { version.replaced.clone() };
    let modified = version.modified.clone();
    let copy = version.copy.as_ref().map(|copy| format!(" (as {})", shown_path(copy))).unwrap_or_default();
    let path = format!("{}{copy}", shown_path(&version.path));
    [version.id.clone(), replaced, modified, bytes, keepers(version), path]
}

/// Where its bytes are.
pub fn keepers(version: &KeptVersion) -> String {
    let here = match &version.at {
        Some(path) => Some(format!("here (at {})", shown_path(path))),
        None => version.here.then(|| "here".to_owned()),
    };
    let remotes = version.remotes.iter().map(|remote| shown(remote));
    let rotten = version.damaged.then(|| "rotten".to_owned());
    here.into_iter().chain(remotes).chain(rotten).collect::<Vec<_>>().join(", ")
}
