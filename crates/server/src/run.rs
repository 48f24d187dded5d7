//! The server from start to stop.
//!
//! For now it holds the home and answers `status`; whatever needs an engine is refused.

use std::future::Future;

use tokio::sync::mpsc;

use crate::api::command::Command;
use crate::api::home::{HomeLock, LockError};
use crate::api::socket::{ControlSocket, SocketError, serve};
use crate::api::types::{Device, Status};
use crate::config::ServerConfig;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The home.
    #[error(transparent)]
    Home(#[from] LockError),
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// Runs a server until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    let lock = HomeLock::take(&config.home)?;
    let socket = ControlSocket::bind(&lock)?;
    let (commands_tx, mut commands_rx) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(command) = commands_rx.recv().await {
            if let Command::Status(reply) = command {
                let _ = reply.send(Ok(status(&config)));
            }
        }
    });
    serve(socket, commands_tx, shutdown).await;
    Ok(())
}

fn status(config: &ServerConfig) -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        device: Device { id: String::new(), name: config.name.clone() },
        remotes: Vec::new(),
        directories: Vec::new(),
    }
}
