//! `sync approve` and `sync reject`: what becomes of deletions that are held.

use std::path::PathBuf;

use file_sync_server::api::command::OnDirectory;
use file_sync_server::api::types::HoldAnswered;

use super::status_text::counted;
use super::{shown, shown_path, target};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// Lets deletions through, or accepts a root that lost its marker.
///
/// # Errors
/// When the server refuses: nothing is held, for instance.
pub async fn approve(typed: PathBuf, client: &Client, console: Console) -> Result<(), Failure> {
    let request = OnDirectory { target: target(&typed)? };
    let done: HoldAnswered = client.post("/v1/syncs/approve", &request).await?;
    console.result(&done, |done| {
        let (name, path) = (shown(&done.name), shown_path(&done.path));
        match done.root_accepted {
            true => format!("accepted: {path} is {name}; what is missing there is fetched again\n"),
            false => {
                format!("approved: {} of {name} ({path})\n", counted(done.held, "deletion", "deletions"))
            }
        }
    })
}

/// Brings the files back.
///
/// # Errors
/// When the server refuses: nothing is held, for instance.
pub async fn reject(typed: PathBuf, client: &Client, console: Console) -> Result<(), Failure> {
    let request = OnDirectory { target: target(&typed)? };
    let done: HoldAnswered = client.post("/v1/syncs/reject", &request).await?;
    console.result(&done, |done| {
        let (name, path) = (shown(&done.name), shown_path(&done.path));
        let held = counted(done.held, "deletion", "deletions");
        format!(
            "rejected: {held} of {name} ({path}); the files come back\n{}",
            let_through(done.let_through, &path)
        )
    })
}

/// What was deleted before there was too much of it, and how it comes back.
pub(super) fn let_through(count: u64, root: &str) -> String {
    match count {
        0 => String::new(),
        _ => format!(
            "{} of the ten minutes before went through, as there were not too many yet; `file-sync restore {root}` brings back \
             what is missing\n",
            counted(count, "deletion", "deletions")
        ),
    }
}
