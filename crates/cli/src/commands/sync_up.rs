//! `sync up`: joins a directory that a remote offers.

use std::path::Path;

use file_sync_server::api::command::SyncUp;
use file_sync_server::api::types::{Mode, Remote, Status, Synced};

use super::meanwhile::meanwhile;
use super::{local_path, shown, shown_path};
use crate::args::RemoteDirectory;
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// Asks, and says what was joined.
///
/// # Errors
/// When the server refuses.
pub async fn run(
    source: RemoteDirectory,
    directory: &Path,
    mode: Mode,
    client: &Client,
    console: Console,
) -> Result<(), Failure> {
    let request = request(source, directory, mode)?;
    let asking = client.post("/v1/syncs", &request);
    let line = |status: &Status| waiting_line(status, &request);
    let synced: Synced = meanwhile(asking, client, console, line).await?;
    console.hint("`file-sync status` says what the first merge did, once it has ended");
    console.result(&synced, |synced| {
        let (remote, name, path) = (shown(&synced.remote), shown(&synced.name), shown_path(&synced.path));
        let read_only =
            if synced.read_only { ", offered read-only: changes made here stay here" } else { "" };
        format!("joined {remote}:{name} at {path}, {}{read_only}\n", synced.mode.as_str())
    })
}

/// Whom a terminal is told to wait for.
pub(super) fn waiting_line(status: &Status, request: &SyncUp) -> String {
    let name = shown(request.remote.as_str());
    match status.remotes.iter().find(|remote| remote.name == request.remote.as_str()) {
        Some(Remote { connected: false, address: Some(address), .. }) => {
            format!("connecting to {name} at {}", shown(address))
        }
        Some(Remote { connected: false, .. }) => format!("connecting to {name}"),
        _ => format!("waiting for an answer of {name}"),
    }
}

/// What is asked for.
///
/// # Errors
/// When the directory can be no local one.
pub(super) fn request(source: RemoteDirectory, directory: &Path, mode: Mode) -> Result<SyncUp, Failure> {
    let RemoteDirectory { remote, name } = source;
    Ok(SyncUp { remote, name, path: local_path(directory)?, mode })
}
