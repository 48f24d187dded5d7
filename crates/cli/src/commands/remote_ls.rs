//! `remote ls`: lists the paired devices.

use file_sync_server::api::types::{Remote, RemoteList};

use super::shown;
use crate::client::Client;
use crate::console::{Console, table};
use crate::failure::Failure;

/// Asks, and prints the list.
///
/// # Errors
/// When no server answers.
pub async fn run(client: &Client, console: Console) -> Result<(), Failure> {
    let list: RemoteList = client.get("/v1/remotes").await?;
    if list.remotes.is_empty() {
        console.hint("no device is paired; pair one with: file-sync remote invite");
    }
    console.result(&list, |list| remotes_table(&list.remotes))
}

/// Devices in columns; nothing for none.
pub fn remotes_table(remotes: &[Remote]) -> String {
    if remotes.is_empty() {
        return String::new();
    }
    table(["NAME", "STATE", "ADDRESS", "LAST SEEN", "DEVICE"], remotes.iter().map(row))
}

fn row(remote: &Remote) -> [String; 5] {
    let state = if remote.connected { "connected" } else { "away" };
    let or_dash = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), shown);
    let last_seen = remote.last_seen.as_deref().map_or("never".to_owned(), shown);
    let id = remote.id.chars().take(7).collect();
    [shown(&remote.name), state.to_owned(), or_dash(&remote.address), last_seen, id]
}
