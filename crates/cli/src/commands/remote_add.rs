//! `remote add`: pairs with the device that made a ticket.

use file_sync_server::api::command::RemoteAdd;
use file_sync_server::api::names::RemoteName;
use file_sync_server::api::types::{Remote, Status};

use super::meanwhile::meanwhile;
use super::shown;
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// Asks, and says who it is.
///
/// # Errors
/// When the server refuses, or cannot reach that device.
pub async fn run(name: RemoteName, ticket: String, client: &Client, console: Console) -> Result<(), Failure> {
    let request = RemoteAdd { name, ticket };
    let asking = client.post("/v1/remotes", &request);
    let line = |_: &Status| "connecting to the device that made the ticket".to_owned();
    let remote: Remote = meanwhile(asking, client, console, line).await?;
    console.result(&remote, |remote| {
        format!("paired with {} (device {})\n", shown(&remote.name), shown(&remote.id))
    })
}
