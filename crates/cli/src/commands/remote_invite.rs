//! `remote invite`: prints a ticket.

use std::time::Duration;

use file_sync_server::api::command::RemoteInvite;
use file_sync_server::api::types::Invitation;

use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// Asks, and prints the ticket alone.
///
/// # Errors
/// When the server refuses.
pub async fn run(expires: Duration, client: &Client, console: Console) -> Result<(), Failure> {
    let request = RemoteInvite { expires_seconds: expires.as_secs() };
    let invitation: Invitation = client.post("/v1/remotes/invite", &request).await?;
    console.result(&invitation, |invitation| format!("{}\n", invitation.ticket))?;
    let until = &invitation.expires_at;
    console.hint(&format!(
        "good once, until {until}; on the other device run: file-sync remote add NAME TICKET"
    ));
    Ok(())
}
