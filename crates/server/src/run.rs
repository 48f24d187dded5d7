//! The server from start to stop.
//!
//! A start takes the home's lock, then its identity and databases, then the network, then the directories, and binds the
//! control socket last: whoever can connect to it finds a server that is ready.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use file_sync_index::{HomeIndex, IndexError};
use file_sync_net::{Identity, IdentityError, ListenError, Network, NetworkConfig, Timing};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::home::{HomeLock, LockError};
use crate::api::socket::{ControlSocket, SocketError, serve};
use crate::clock;
use crate::config::ServerConfig;
use crate::house::House;
use crate::policy::Paired;
use crate::provider::Provider;
use crate::room::{RoomContext, RoomError};

/// How many messages wait for the main loop at most.
const INPUTS_MAX: usize = 1024;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The home.
    #[error(transparent)]
    Home(#[from] LockError),
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The device's key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A database.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The network.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A place in the home.
    #[error("cannot make {}: {error}; check its permissions and space", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The system's word.
        error: std::io::Error,
    },
    /// The databases are there, but the key that they belong to is not.
    #[error("{} is missing although this home has databases; put it back, or start with another --home", .path.display())]
    LostIdentity {
        /// The key's file.
        path: PathBuf,
    },
}

/// Under which the home's database has what the device was called last.
const NAME: &str = "name";

/// Runs a server until `shutdown`.
///
/// # Errors
/// When it cannot start; nothing in the home is changed for the worse by trying.
pub async fn run(
    mut config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    let lock = HomeLock::take(&config.home)?;
    let (inputs_tx, inputs) = mpsc::channel(INPUTS_MAX);
    let (net_events_tx, net_events) = mpsc::channel(INPUTS_MAX);
    let (commands_tx, commands) = mpsc::channel(64);

    let mut home = HomeIndex::open(&config.home)?;
    settle_name(&mut config, &mut home)?;
    let identity = Arc::new(Identity::load_or_create(&config.home)?);
    make_private(config.home.join("directories"))?;
    let incarnation = crate::room::random(&config.home).map_err(system_error)?;
    home.add_incarnation(incarnation, clock::seconds())?;

    let remotes: Vec<_> = home.remotes()?.into_iter().filter(|remote| !remote.deleted).collect();
    let devices = remotes.iter().map(|remote| remote.device).collect();
    let paired = Arc::new(Paired::new(devices, inputs_tx.clone()));
    let provider = Arc::new(Provider::default());
    let network = Network::start(NetworkConfig {
        identity: identity.clone(),
        listen: config.listen,
        name: config.name.clone(),
        incarnation,
        policy: paired.clone(),
        provider: provider.clone(),
        events: net_events_tx,
        timing: Timing::default(),
        protocols: NetworkConfig::PROTOCOLS,
        rates: config.rates,
    })?;
    let context = RoomContext {
        home: config.home.clone(),
        identity,
        incarnation,
        inputs: inputs_tx,
        is_low_priority: config.is_low_priority,
        is_strict: config.is_strict,
    };
    let mut house = House::new(config, context, home, network, paired, provider);
    house.open_directories()?;
    for remote in remotes {
        house.network.set_remote(remote.device, remote.addresses);
    }

    let socket = ControlSocket::bind(&lock)?;
    let stop = CancellationToken::new();
    let api = tokio::spawn(serve(socket, commands_tx, stop.clone().cancelled_owned()));
    tracing::info!(home = %lock.home().display(), address = %house.network.local_address(), "ready");
    house.run(commands, net_events, inputs, shutdown).await;
    tracing::info!("stopping");
    stop.cancel();
    house.stop().await;
    // A request that is still being answered is given up with the process.
    let _ = tokio::time::timeout(std::time::Duration::from_millis(1500), api).await;
    Ok(())
}

/// A name that was given is remembered; where none is, the one that was given last counts.
fn settle_name(config: &mut ServerConfig, home: &mut HomeIndex) -> Result<(), IndexError> {
    match home.setting(NAME)? {
        Some(name) if !config.is_name_given => config.name = name,
        Some(name) if name == config.name => {}
        _ if config.is_name_given => home.set_setting(NAME, &config.name)?,
        _ => {}
    }
    Ok(())
}

fn make_private(path: PathBuf) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .map_err(|error| StartError::Io { path, error })
}

fn system_error(error: RoomError) -> StartError {
    match error {
        RoomError::Index(error) => StartError::Index(error),
        RoomError::System { path, error } => StartError::Io { path, error },
        RoomError::Root(error) => {
            StartError::Io { path: PathBuf::new(), error: std::io::Error::other(error) }
        }
    }
}
