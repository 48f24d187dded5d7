//! Logs: to stderr, by `-q`, `-v` and `RUST_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::args::Global;

/// Starts logging: a server tells what it does, a client only what it is asked to.
pub fn start(global: &Global, is_server: bool) {
    let level = match (global.quiet, global.verbose, is_server) {
        (true, _, _) => "error",
        (_, 0, true) => "info",
        (_, 0, false) => "warn",
        (_, 1, _) => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},rusqlite_migration=warn")));
    let colour = std::io::stderr().is_terminal() && crate::console::colour_is_welcome();
    // Errors of writing to a closed stderr would be written to stderr, which panics.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .log_internal_errors(false)
        .init();
}
