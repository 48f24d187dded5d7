//! `resolve`: one side of a conflict stays, or both do.

use std::path::Path;

use file_sync_server::api::command::{Keep, Resolve};
use file_sync_server::api::types::{Resolved, ShownPath};

use super::{local_path, shown, shown_path};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// Has it resolved, and says what became of the copies.
///
/// # Errors
/// When there is no such conflict, or the server refuses.
pub async fn run(path: &Path, keep: Keep, client: &Client, console: Console) -> Result<(), Failure> {
    let request = Resolve { path: local_path(path)?, keep };
    let resolved: Resolved = client.post("/v1/conflicts/resolve", &request).await?;
    console.result(&resolved, text)
}

fn text(resolved: &Resolved) -> String {
    let names = |paths: &[ShownPath]| paths.iter().map(shown_path).collect::<Vec<_>>().join(", ");
    let path = shown_path(&resolved.path);
    let copies = names(&resolved.copies);
    let what = if !resolved.renamed.is_empty() {
        format!("now {}: {copies}", names(&resolved.renamed))
    } else if resolved.taken {
        format!("{copies} has its place, and what was there is kept among the versions")
    } else {
        format!("gone, and kept among the versions: {copies}")
    };
    let mut text = format!("resolved {path} in {}; {what}\n", shown(&resolved.directory));
    if !resolved.left.is_empty() {
        text.push_str(&format!("still in conflict with {path}: {}\n", names(&resolved.left)));
    }
    text
}
