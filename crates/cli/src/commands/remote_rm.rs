//! `remote rm`: forgets a device.

use file_sync_server::api::command::RemoteRm;
use file_sync_server::api::names::RemoteName;
use file_sync_server::api::types::RemoteRemoved;

use super::shown;
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// Asks, and says who it was.
///
/// # Errors
/// When the server refuses.
pub async fn run(name: RemoteName, lost: bool, client: &Client, console: Console) -> Result<(), Failure> {
    let removed: RemoteRemoved = client.post("/v1/remotes/rm", &RemoteRm { name, lost }).await?;
    console.result(&removed, |RemoteRemoved { remote, already }| match already {
        false => format!("forgotten: {}; every file stays\n", shown(&remote.name)),
        true => format!("forgotten before: {}; it is no member of anything here\n", shown(&remote.name)),
    })
}
