//! `sync up`: joins a directory that a remote offers.

use std::path::Path;

use file_sync_server::api::command::SyncUp;
use file_sync_server::api::types::{Mode, Synced};

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
    let synced: Synced = client.post("/v1/syncs", &request).await?;
    console.hint("`file-sync status` says what the first merge did, once it has ended");
    console.result(&synced, |synced| {
        let (remote, name, path) = (shown(&synced.remote), shown(&synced.name), shown_path(&synced.path));
        let read_only =
            if synced.read_only { ", offered read-only: changes made here stay here" } else { "" };
        format!("joined {remote}:{name} at {path}, {}{read_only}\n", synced.mode.as_str())
    })
}

/// What is asked for.
///
/// # Errors
/// When the directory can be no local one.
pub(super) fn request(source: RemoteDirectory, directory: &Path, mode: Mode) -> Result<SyncUp, Failure> {
    let RemoteDirectory { remote, name } = source;
    Ok(SyncUp { remote, name, path: local_path(directory)?, mode })
}
