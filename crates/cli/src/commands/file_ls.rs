//! `file ls`: lists what is offered.

use file_sync_server::api::types::{Offered, OfferedList};

use super::{shown, shown_path};
use crate::client::Client;
use crate::console::{Console, table};
use crate::failure::Failure;

/// Asks, and prints the list.
///
/// # Errors
/// When no server answers.
pub async fn run(client: &Client, console: Console) -> Result<(), Failure> {
    let list: OfferedList = client.get("/v1/files").await?;
    if list.directories.is_empty() {
        console.hint("nothing is offered; offer a directory with: file-sync file up DIR");
    }
    console.result(&list, |list| match list.directories.as_slice() {
        [] => String::new(),
        directories => {
            table(["NAME", "OFFERED TO", "JOINED BY", "ACCEPTS", "PATH"], directories.iter().map(row))
        }
    })
}

fn row(offered: &Offered) -> [String; 5] {
    let to = offered.to.as_ref().map_or("all".to_owned(), |to| shown(&to.join(", ")));
    let members =
        if offered.members.is_empty() { "-".to_owned() } else { shown(&offered.members.join(", ")) };
    let accepts = if offered.read_only { "nothing" } else { "changes" };
    [shown(&offered.name), to, members, accepts.to_owned(), shown_path(&offered.path)]
}
