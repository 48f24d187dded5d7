//! `sync held`: lists the deletions that wait for a word.

use std::path::PathBuf;

use file_sync_server::api::command::Conflicts;
use file_sync_server::api::types::{Held, HeldList};

use super::conflicts::all_at_work;
use super::{shown, shown_path, target};
use crate::client::Client;
use crate::console::{Console, table};
use crate::failure::Failure;

/// Asks, and prints the list.
///
/// # Errors
/// When the server refuses.
pub async fn run(typed: Option<PathBuf>, client: &Client, console: Console) -> Result<(), Failure> {
    let target = typed.as_deref().map(target).transpose()?;
    let list: HeldList = client.post("/v1/syncs/held", &Conflicts { target }).await?;
    if list.held.is_empty() && list.not_at_work.is_empty() {
        console.hint("nothing is held");
    } else if !list.held.is_empty() {
        console.hint("`file-sync sync approve` lets them through, `reject` brings the files back");
    }
    console.result(&list, |list| text(&list.held))?;
    all_at_work(&list.not_at_work)
}

fn text(held: &[Held]) -> String {
    if held.is_empty() {
        return String::new();
    }
    let row = |held: &Held| {
        let by = if held.held.deleted_here { "here" } else { "others" };
        [shown(&held.directory), by.to_owned(), shown_path(&held.held.path)]
    };
    table(["DIRECTORY", "DELETED BY", "PATH"], held.iter().map(row))
}
