//! Requests about paired devices and what they offer.

use axum::body::Bytes;

use super::command::{Command, EXPIRES_SECONDS_MAX, Refusal, RemoteInvite};
use super::router::{Answer, Commands, ask, parse};
use super::types::{Invitation, Remote, RemoteList, RemoteOfferList, RemoteRemoved};

pub(super) async fn invite(commands: Commands, body: Bytes) -> Answer<Invitation> {
    let request: RemoteInvite = parse(&body)?;
    if !(1..=EXPIRES_SECONDS_MAX).contains(&request.expires_seconds) {
        return Err(Refusal::malformed("expires_seconds must be from one second to ten years"));
    }
    ask(commands, |reply| Command::RemoteInvite(request, reply)).await
}

pub(super) async fn add(commands: Commands, body: Bytes) -> Answer<Remote> {
    let request = parse(&body)?;
    ask(commands, |reply| Command::RemoteAdd(request, reply)).await
}

pub(super) async fn rm(commands: Commands, body: Bytes) -> Answer<RemoteRemoved> {
    let request = parse(&body)?;
    ask(commands, |reply| Command::RemoteRm(request, reply)).await
}

pub(super) async fn ls(commands: Commands) -> Answer<RemoteList> {
    ask(commands, Command::RemoteLs).await
}

pub(super) async fn offers(commands: Commands) -> Answer<RemoteOfferList> {
    ask(commands, Command::Offers).await
}
