//! `server`: runs the server of the home until it is told to stop.

use std::path::PathBuf;

use file_sync_server::ServerConfig;
use file_sync_server::config::RatesMax;

use crate::args::Server;
use crate::failure::Failure;
use crate::stopping::Stopping;

/// Runs it in the foreground.
///
/// # Errors
/// When it cannot start.
pub async fn run(arguments: Server, home: PathBuf) -> Result<(), Failure> {
    let is_name_given = arguments.name.is_some();
    let name = arguments.name.map_or_else(host_name, String::from);
    let announced_bytes_max = arguments.announced_max.unwrap_or_else(half_of_memory);
    let (listen, kept_max) = (arguments.listen, arguments.kept_max);
    let rates = RatesMax { upload: arguments.upload_max, download: arguments.download_max };
    let (is_low_priority, is_strict) = (arguments.low_priority, arguments.strict);
    let config = ServerConfig {
        home,
        listen,
        name,
        is_name_given,
        announced_bytes_max,
        kept_max,
        rates,
        is_low_priority,
        is_strict,
    };
    let mut stopping = Stopping::watch()?;
    let stop = async move {
        let why = stopping.asked().await;
        tracing::info!("stopping: {why}");
    };
    file_sync_server::run(config, stop).await.map_err(|error| Failure::refused(error.to_string()))
}

/// Half of the machine's memory in bytes, as the kernel tells it; at least as much as a million files take.
fn half_of_memory() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total_kib = total.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    (total_kib.unwrap_or(0) * 1024 / 2).max(1 << 30)
}

/// The host's name, as the kernel has it, without what a device's name may not contain.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim().replace(':', "-") {
        name if name.is_empty() => "file-sync".to_owned(),
        name => name,
    }
}
