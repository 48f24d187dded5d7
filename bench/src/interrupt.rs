//! ^C and SIGTERM: whoever waits stops waiting, and everything is cleaned up on the way out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// How long somebody who waits goes without looking.
pub const SLICE: Duration = Duration::from_millis(200);

/// Takes both signals from now on.
///
/// # Errors
/// When there is no thread to be had.
pub fn install() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _here = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = async move {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        IS_INTERRUPTED.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(wait))?;
    Ok(())
}

/// Refuses to go on once a signal came.
///
/// # Errors
/// Then.
pub fn check() -> Result<()> {
    if IS_INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Sleeps, unless a signal comes.
///
/// # Errors
/// Then.
pub fn sleep(period: Duration) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < period {
        check()?;
        std::thread::sleep(SLICE.min(period.saturating_sub(start.elapsed())));
    }
    check()
}
