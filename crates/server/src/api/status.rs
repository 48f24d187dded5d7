//! The request for everything at a glance.

use super::command::Command;
use super::router::{Answer, Commands, ask};
use super::types::Status;

pub(super) async fn status(commands: Commands) -> Answer<Status> {
    ask(commands, Command::Status).await
}
