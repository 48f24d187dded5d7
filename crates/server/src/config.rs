//! What a server is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

pub use file_sync_net::RatesMax;

/// How to run one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where everything that it keeps lies; absolute. Made if missing.
    pub home: PathBuf,
    /// Where it listens for remotes.
    pub listen: SocketAddr,
    /// What it calls itself to remotes.
    pub name: String,
    /// True if it was given, and is remembered; else the one that was given last counts before it.
    pub is_name_given: bool,
    /// How much memory what remotes announce may take, of all directories together, in bytes.
    pub announced_bytes_max: u64,
    /// How much room the kept versions of a directory may take.
    pub kept_max: KeptMax,
    /// How fast contents may go and come.
    pub rates: RatesMax,
    /// True if reading and hashing gives way to everything else on the machine.
    pub is_low_priority: bool,
    /// True if entries of remotes are taken in only as far as authors bear witness.
    pub is_strict: bool,
}

/// How much room the kept versions of a directory may take (promise L3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptMax {
    /// So many hundredths of the file system that it is on.
    Percent(u8),
    /// So many bytes.
    Bytes(u64),
}

impl Default for KeptMax {
    fn default() -> KeptMax {
        KeptMax::Percent(10)
    }
}

impl KeptMax {
    /// In bytes, on a file system of `total_bytes`.
    pub fn bytes_of(self, total_bytes: u64) -> u64 {
        match self {
            KeptMax::Percent(percent) => total_bytes / 100 * u64::from(percent),
            KeptMax::Bytes(bytes) => bytes,
        }
    }
}
