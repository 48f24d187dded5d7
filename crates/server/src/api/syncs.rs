//! Requests about joined directories, and those about directories of either role.

use axum::body::Bytes;

use super::command::{Command, Conflicts, OnDirectory};
use super::router::{Answer, Commands, ask, parse};
use super::types::{DirectoryDone, HeldList, HoldAnswered, HoldLimited, Preview, Synced, SyncedList, Waited};

pub(super) async fn up(commands: Commands, body: Bytes) -> Answer<Synced> {
    let request = parse(&body)?;
    ask(commands, |reply| Command::SyncUp(request, reply)).await
}

pub(super) async fn preview(commands: Commands, body: Bytes) -> Answer<Preview> {
    let request = parse(&body)?;
    ask(commands, |reply| Command::SyncPreview(request, reply)).await
}

pub(super) async fn down(commands: Commands, body: Bytes) -> Answer<DirectoryDone> {
    let OnDirectory { target } = parse(&body)?;
    ask(commands, |reply| Command::SyncDown(target, reply)).await
}

pub(super) async fn pause(commands: Commands, body: Bytes) -> Answer<DirectoryDone> {
    let OnDirectory { target } = parse(&body)?;
    ask(commands, |reply| Command::SyncPause(target, reply)).await
}

pub(super) async fn resume(commands: Commands, body: Bytes) -> Answer<DirectoryDone> {
    let OnDirectory { target } = parse(&body)?;
    ask(commands, |reply| Command::SyncResume(target, reply)).await
}

pub(super) async fn held(commands: Commands, body: Bytes) -> Answer<HeldList> {
    let Conflicts { target } = parse(&body)?;
    ask(commands, |reply| Command::SyncHeld(target, reply)).await
}

pub(super) async fn hold(commands: Commands, body: Bytes) -> Answer<HoldLimited> {
    let request = parse(&body)?;
    ask(commands, |reply| Command::SyncHold(request, reply)).await
}

pub(super) async fn approve(commands: Commands, body: Bytes) -> Answer<HoldAnswered> {
    let OnDirectory { target } = parse(&body)?;
    ask(commands, |reply| Command::SyncApprove(target, reply)).await
}

pub(super) async fn reject(commands: Commands, body: Bytes) -> Answer<HoldAnswered> {
    let OnDirectory { target } = parse(&body)?;
    ask(commands, |reply| Command::SyncReject(target, reply)).await
}

pub(super) async fn wait(commands: Commands, body: Bytes) -> Answer<Waited> {
    let request = parse(&body)?;
    ask(commands, |reply| Command::SyncWait(request, reply)).await
}

pub(super) async fn ls(commands: Commands) -> Answer<SyncedList> {
    ask(commands, Command::SyncLs).await
}
