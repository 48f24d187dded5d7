//! `completions`: prints a completion script.

use clap::CommandFactory;

use crate::args::Arguments;
use crate::console::Console;
use crate::failure::Failure;

/// Prints the script for a shell.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(shell: clap_complete::Shell, console: Console) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "file-sync", &mut script);
    console.text(&String::from_utf8_lossy(&script))
}
