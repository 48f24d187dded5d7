//! `sync resume`: goes on with a paused directory.

use std::path::PathBuf;

use file_sync_server::api::command::OnDirectory;
use file_sync_server::api::types::DirectoryDone;

use super::{shown, shown_path, target};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// Asks, and says which directory it was.
///
/// # Errors
/// When the server refuses.
pub async fn run(typed: PathBuf, client: &Client, console: Console) -> Result<(), Failure> {
    let request = OnDirectory { target: target(&typed)? };
    let done: DirectoryDone = client.post("/v1/syncs/resume", &request).await?;
    let what = if done.already { "was not paused" } else { "resumed" };
    console.result(&done, |done| format!("{what}: {} ({})\n", shown(&done.name), shown_path(&done.path)))
}
