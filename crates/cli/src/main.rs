//! The `file-sync` command: reads the command line, asks the server of the home (or is it), prints the answer.
//!
//! It decides nothing about synced files and opens none of the server's; both belong to the server.

mod args;
mod client;
mod commands;
mod console;
mod duration;
mod failure;
mod logging;
#[cfg(test)]
mod reference;
mod size;
mod stopping;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Verb};
use crate::console::Console;
use crate::failure::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(&arguments.global, matches!(arguments.verb, Verb::Server(_)));
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let console = Console::new(&arguments.global);
    let runtime = match arguments.verb {
        Verb::Server(_) => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    };
    let runtime = runtime.map_err(|error| Failure::refused(format!("cannot start: {error}; try again")))?;
    let result = runtime.block_on(commands::run(arguments, console));
    // A read that hangs on a dead disk must not keep a stopped server from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}
