//! Requests about offered directories.

use axum::body::Bytes;

use super::command::{Command, OnDirectory};
use super::router::{Answer, Commands, ask, parse};
use super::types::{DirectoryDone, Offered, OfferedList};

pub(super) async fn up(commands: Commands, body: Bytes) -> Answer<Offered> {
    let request = parse(&body)?;
    ask(commands, |reply| Command::FileUp(request, reply)).await
}

pub(super) async fn down(commands: Commands, body: Bytes) -> Answer<DirectoryDone> {
    let OnDirectory { target } = parse(&body)?;
    ask(commands, |reply| Command::FileDown(target, reply)).await
}

pub(super) async fn ls(commands: Commands) -> Answer<OfferedList> {
    ask(commands, Command::FileLs).await
}
