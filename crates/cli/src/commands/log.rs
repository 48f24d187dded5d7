//! `log`: what was done to the bytes at a path, or below it.

use std::path::Path;

use file_sync_server::api::command::Log as Request;
use file_sync_server::api::types::{Log, LoggedAct};

use super::{local_path, shown, shown_path};
use crate::client::Client;
use crate::console::{Console, table};
use crate::failure::Failure;

/// How much of a hash is shown: as much as `history` shows.
const HASH_DIGITS: usize = 16;

/// Asks, and prints the list, the newest first.
///
/// # Errors
/// When the path is in no directory, or the server refuses.
pub async fn run(path: &Path, limit: u64, client: &Client, console: Console) -> Result<(), Failure> {
    let request = Request { path: local_path(path)?, limit };
    let log: Log = client.post("/v1/log", &request).await?;
    if log.acts.is_empty() {
        console.hint("nothing was done to bytes there; a file that is new does nothing to any");
    }
    if log.more {
        console.hint("there is more; --limit N shows N");
    }
    console.result(&log, text)
}

fn text(log: &Log) -> String {
    if log.acts.is_empty() {
        return String::new();
    }
    table(["WHEN", "WHAT", "BEFORE", "AFTER", "BY", "PATH", "WHY"], log.acts.iter().map(row))
}

fn row(act: &LoggedAct) -> [String; 7] {
    let hash = |hash: &Option<String>| match hash {
        Some(hash) => hash.chars().take(HASH_DIGITS).collect(),
        None => "-".to_owned(),
    };
    let (before, after) = (hash(&act.before), hash(&act.after));
    [act.at.clone(), act.what.clone(), before, after, shown(&act.by), shown_path(&act.path), shown(&act.why)]
}
