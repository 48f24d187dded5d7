//! The verbs, one a file: each asks the server for one thing and prints the answer.

mod completions;
mod conflicts;
mod demo;
mod doctor;
mod file_down;
mod file_ls;
mod file_up;
mod history;
mod log;
mod man;
mod meanwhile;
mod remote_add;
mod remote_invite;
mod remote_ls;
mod remote_rm;
mod resolve;
mod restore;
mod server;
mod status;
mod status_text;
mod sync_answer;
mod sync_down;
mod sync_held;
mod sync_hold;
mod sync_ls;
mod sync_pause;
mod sync_preview;
mod sync_resume;
mod sync_up;
mod sync_wait;
mod verify;
mod why;

use std::path::Path;

use file_sync_server::api::command::{Hold, HoldChange, Restore};
use file_sync_server::api::names::{LocalPath, Target, printable};
use file_sync_server::api::types::ShownPath;

use crate::args::{Arguments, FileVerb, RemoteVerb, SyncVerb, Verb, absolute};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// Does what the command line asks.
///
/// # Errors
/// Says why not, once.
pub async fn run(arguments: Arguments, console: Console) -> Result<(), Failure> {
    let Arguments { global, verb } = arguments;
    match verb {
        Verb::Server(server) => server::run(server, global.home()?).await,
        Verb::File(verb) => file(verb, &Client::new(global.home()?), console).await,
        Verb::Remote(verb) => remote(verb, &Client::new(global.home()?), console).await,
        Verb::Sync(verb) => sync(verb, &Client::new(global.home()?), console).await,
        Verb::Status { watch } => status::run(watch, &Client::new(global.home()?), console).await,
        Verb::Conflicts { target, diff } => {
            conflicts::run(target, diff, &Client::new(global.home()?), console).await
        }
        Verb::Resolve { path, keep } => {
            resolve::run(&path, keep.into(), &Client::new(global.home()?), console).await
        }
        Verb::History { path } => history::run(&path, &Client::new(global.home()?), console).await,
        Verb::Restore { path, version, at, to } => {
            let path = local_path(&path)?;
            let to = to.as_deref().map(local_path).transpose()?;
            let request = Restore { path, version, to, at };
            restore::run(&request, &Client::new(global.home()?), console).await
        }
        Verb::Verify { target, timeout } => {
            verify::run(target, timeout, &Client::new(global.home()?), console).await
        }
        Verb::Why { path } => why::run(&path, &Client::new(global.home()?), console).await,
        Verb::Log { path, limit } => log::run(&path, limit, &Client::new(global.home()?), console).await,
        Verb::Doctor { listen } => doctor::run(listen, global.home()?, console).await,
        Verb::Demo { keep } => demo::run(keep, console).await,
        Verb::Completions { shell } => completions::run(shell, console),
        Verb::Man { directory } => man::run(directory, console),
    }
}

async fn file(verb: FileVerb, client: &Client, console: Console) -> Result<(), Failure> {
    match verb {
        FileVerb::Up { directory, name, to, read_only } => {
            let request = file_up::request(&directory, name, to, read_only)?;
            file_up::run(&request, client, console).await
        }
        FileVerb::Down { target } => file_down::run(target.target, client, console).await,
        FileVerb::Ls => file_ls::run(client, console).await,
    }
}

async fn remote(verb: RemoteVerb, client: &Client, console: Console) -> Result<(), Failure> {
    match verb {
        RemoteVerb::Invite { expires } => remote_invite::run(expires, client, console).await,
        RemoteVerb::Add { name, ticket } => remote_add::run(name, ticket, client, console).await,
        RemoteVerb::Rm { name, lost } => remote_rm::run(name, lost, client, console).await,
        RemoteVerb::Ls => remote_ls::run(client, console).await,
    }
}

async fn sync(verb: SyncVerb, client: &Client, console: Console) -> Result<(), Failure> {
    match verb {
        SyncVerb::Up { source, directory, mode, dry_run: true } => {
            sync_preview::run(source, &directory, mode.into(), client, console).await
        }
        SyncVerb::Up { source, directory, mode, dry_run: false } => {
            sync_up::run(source, &directory, mode.into(), client, console).await
        }
        SyncVerb::Down { target } => sync_down::run(target.target, client, console).await,
        SyncVerb::Ls => sync_ls::run(client, console).await,
        SyncVerb::Pause { target } => sync_pause::run(target.target, client, console).await,
        SyncVerb::Resume { target } => sync_resume::run(target.target, client, console).await,
        SyncVerb::Held { target } => sync_held::run(target, client, console).await,
        SyncVerb::Hold { target: typed, files, percent, never, default } => {
            let change = match (never, default) {
                (true, _) => Some(HoldChange::Never),
                (_, true) => Some(HoldChange::Default),
                _ => (files.is_some() || percent.is_some()).then_some(HoldChange::Limit { files, percent }),
            };
            sync_hold::run(&Hold { target: target(&typed.target)?, change }, client, console).await
        }
        SyncVerb::Approve { target } => sync_answer::approve(target.target, client, console).await,
        SyncVerb::Reject { target } => sync_answer::reject(target.target, client, console).await,
        SyncVerb::Wait { target, timeout } => sync_wait::run(target, timeout, client, console).await,
    }
}

/// A path as the server takes it.
fn local_path(path: &Path) -> Result<LocalPath, Failure> {
    LocalPath::new(absolute(path)?).map_err(|error| Failure::Usage(error.to_string()))
}

/// `DIR|NAME` as the server takes it.
fn target(typed: &Path) -> Result<Target, Failure> {
    Ok(Target { name: typed.to_str().map(str::to_owned), path: local_path(typed)? })
}

/// Text of unknown origin, on one line.
fn shown(text: &str) -> String {
    printable(text.as_ref())
}

/// A path as people see it: two whose bytes are no text do not look alike.
fn shown_path(path: &ShownPath) -> String {
    printable(path.to_path().as_os_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_text_do_not_look_alike() {
        let shown = |bytes: &[u8]| shown_path(&bytes.into());
        assert_eq!(shown(b"d/bad\xff.txt"), "d/bad\\xff.txt");
        assert_eq!(shown(b"d/bad\xfe.txt"), "d/bad\\xfe.txt");
        assert_eq!(shown("d/größe\n".as_bytes()), "d/größe\\x0a");
    }
}
