//! `status`: everything at a glance, once or until interrupted.

use std::time::Duration;

use file_sync_server::api::types::Status;
use tokio::signal::unix::{SignalKind, signal};

use super::status_text::{hints, text};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

const INTERVAL: Duration = Duration::from_secs(1);

/// Asks, and prints it; with `watch`, again whenever it has changed.
///
/// # Errors
/// When no server answers the first time.
pub async fn run(watch: bool, client: &Client, console: Console) -> Result<(), Failure> {
    let status: Status = client.get("/v1/status").await?;
    if !watch {
        console.result(&status, |status| text(status, console))?;
        hints(&status).for_each(|hint| console.hint(hint));
        return Ok(());
    }
    // Heard from before anything is printed: who has seen output may interrupt.
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| Failure::refused(format!("cannot watch for signals: {error}; try again")))?;
    tokio::select! {
        result = follow(status, client, console) => result,
        _ = interrupt.recv() => Ok(()),
    }
}

/// Prints each new state: in place on a terminal, else one after the other.
async fn follow(first: Status, client: &Client, console: Console) -> Result<(), Failure> {
    show(&first, console)?;
    let mut last = Ok(first);
    loop {
        tokio::time::sleep(INTERVAL).await;
        // The server may be restarted meanwhile; that is news, not the end.
        let next = client.get("/v1/status").await.map_err(|failure: Failure| failure.to_string());
        if next == last {
            continue;
        }
        match &next {
            Ok(status) => show(status, console)?,
            Err(message) => console.remark(&format!("file-sync: {message}")),
        }
        last = next;
    }
}

fn show(status: &Status, console: Console) -> Result<(), Failure> {
    if console.is_json() {
        // One document a line, so that a reader can tell where each ends.
        let line = serde_json::to_string(status).expect("documents have string keys alone");
        return console.text(&(line + "\n"));
    }
    if console.is_live() {
        return console.text(&format!("\x1b[H\x1b[2J{}", text(status, console)));
    }
    console.text(&format!("{}\n", text(status, console)))
}
