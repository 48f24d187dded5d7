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
    let copies = match resolved.renamed.is_empty() {
        true => format!("gone, and kept among the versions: {}", names(&resolved.copies)),
        false => format!("now {}: {}", names(&resolved.renamed), names(&resolved.copies)),
    };
    format!("resolved {path} in {}; {copies}\n", shown(&resolved.directory))
}
