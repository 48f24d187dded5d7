//! The signals that ask a process to stop: SIGINT, SIGTERM, and SIGHUP unless it is ignored, as under nohup(1).

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Watches for them.
pub struct Stopping {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Stopping {
    /// Begins to watch: from now on they end nothing by themselves.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn watch() -> Result<Stopping, Failure> {
        let watch = |kind| {
            signal(kind)
                .map_err(|error| Failure::refused(format!("cannot watch for signals: {error}; try again")))
        };
        Ok(Stopping {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: if is_hangup_ignored() { None } else { Some(watch(SignalKind::hangup())?) },
        })
    }

    /// Waits for one; says which.
    pub async fn asked(&mut self) -> &'static str {
        let Stopping { interrupt, terminate, hangup } = self;
        let hung_up = async {
            match hangup {
                Some(hangup) => _ = hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => "interrupted",
            _ = terminate.recv() => "terminated",
            () = hung_up => "its terminal is gone",
        }
    }
}

/// Whether whoever started this process had SIGHUP ignored, as the kernel tells it (see proc(5), `SigIgn`).
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & 1 << (SignalKind::hangup().as_raw_value() - 1) != 0
}
