//! Requests about versions: conflicts, and what is kept.

use axum::body::Bytes;

use super::command::{Command, Conflicts, OnPath};
use super::router::{Answer, Commands, ask, parse};
use super::types::{ConflictList, History, Log, Resolved, Restored, Verified, Why};

pub(super) async fn conflicts(commands: Commands, body: Bytes) -> Answer<ConflictList> {
    let Conflicts { target } = parse(&body)?;
    ask(commands, |reply| Command::Conflicts(target, reply)).await
}

pub(super) async fn verify(commands: Commands, body: Bytes) -> Answer<Verified> {
    let Conflicts { target } = parse(&body)?;
    ask(commands, |reply| Command::Verify(target, reply)).await
}

pub(super) async fn resolve(commands: Commands, body: Bytes) -> Answer<Resolved> {
    let request = parse(&body)?;
    ask(commands, |reply| Command::Resolve(request, reply)).await
}

pub(super) async fn history(commands: Commands, body: Bytes) -> Answer<History> {
    let OnPath { path } = parse(&body)?;
    ask(commands, |reply| Command::History(path, reply)).await
}

pub(super) async fn log(commands: Commands, body: Bytes) -> Answer<Log> {
    let request = parse(&body)?;
    ask(commands, |reply| Command::Log(request, reply)).await
}

pub(super) async fn restore(commands: Commands, body: Bytes) -> Answer<Restored> {
    let request = parse(&body)?;
    ask(commands, |reply| Command::Restore(request, reply)).await
}

pub(super) async fn why(commands: Commands, body: Bytes) -> Answer<Why> {
    let OnPath { path } = parse(&body)?;
    ask(commands, |reply| Command::Why(path, reply)).await
}
