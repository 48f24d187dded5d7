//! `man`: writes the manual pages.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::args::Arguments;
use crate::console::Console;
use crate::failure::Failure;

/// Writes one file a command into a directory, or all pages to stdout.
///
/// # Errors
/// When they cannot be written.
pub fn run(directory: Option<PathBuf>, console: Console) -> Result<(), Failure> {
    let mut command = Arguments::command();
    command.build();
    let pages = pages(&command);
    match directory {
        None => console.text(&pages.into_iter().map(|(_, page)| page).collect::<String>()),
        Some(directory) => pages.iter().try_for_each(|(name, page)| write(&directory, name, page)),
    }
}

/// A command's page and those of all below it, each with its name.
fn pages(command: &clap::Command) -> Vec<(String, String)> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page).expect("memory takes every write");
    let mut all = vec![(name, String::from_utf8_lossy(&page).into_owned())];
    all.extend(command.get_subcommands().filter(|below| below.get_name() != "help").flat_map(pages));
    all
}

fn write(directory: &Path, name: &str, page: &str) -> Result<(), Failure> {
    let path = directory.join(format!("{name}.1"));
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&path, page))
        .map_err(|error| Failure::refused(format!("cannot write {}: {error}", path.display())))
}
