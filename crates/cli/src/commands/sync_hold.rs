//! `sync hold`: how many deletions at once are held.

use file_sync_server::api::command::Hold;
use file_sync_server::api::types::{HoldLimit, HoldLimited};

use super::{shown, shown_path};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// Sets the limit, or only shows it.
///
/// # Errors
/// When the server refuses.
pub async fn run(request: &Hold, client: &Client, console: Console) -> Result<(), Failure> {
    let limited: HoldLimited = client.post("/v1/syncs/hold", request).await?;
    console.result(&limited, text)
}

fn text(limited: &HoldLimited) -> String {
    let (name, path) = (shown(&limited.name), shown_path(&limited.path));
    match &limited.limit {
        Some(HoldLimit { files, percent }) => format!(
            "{name} ({path}): more than {files} deletions within ten minutes that are more than {percent} % of the files \
             are held\n"
        ),
        None => format!("{name} ({path}): no deletion is held\n"),
    }
}
