//! What a server is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

/// How to run one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where everything that it keeps lies; absolute. Made if missing.
    pub home: PathBuf,
    /// Where it listens for remotes.
    pub listen: SocketAddr,
    /// What it calls itself to remotes.
    pub name: String,
    /// How much memory what remotes announce may take, of all directories together, in bytes.
    pub announced_bytes_max: u64,
}
