//! The machine: the server's process, the clock, what the kernel allows, and the network.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use file_sync_index::HomeReader;
use rustix::process::{Resource, getrlimit};

use super::{Finding, Patient, Place, Server, quoted};
use crate::api::names::counted;
use crate::api::types::{DirectoryStatus, Remote, Status, Unwatched};
use crate::watches;

/// How long a remote may take to answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Open files that a server needs at least: links, contents, databases.
const FILES_MIN: u64 = 1_024;
/// 2025-01-01: no machine that runs this lives before it.
const EARLIEST: i64 = 1_735_689_600;
/// Directories are counted up to so many.
const DIRECTORIES_MAX: u64 = 4_000_000;

pub(super) fn server(patient: &Patient) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    match &patient.server {
        Server::None => {
            let mend = format!("file-sync server --home {}", quoted(&patient.home));
            Finding::warning("server", "none is running for this home", mend)
        }
        Server::Silent(why) => Finding::problem(
            "server",
            format!("it does not say how it is: {why}"),
            "stop it, and start it again",
        ),
        Server::Running(status) if status.version == own => {
            Finding::ok("server", format!("{own} is running"))
        }
        Server::Running(status) => {
            let message = format!("{} is running, and this is {own}", status.version);
            Finding::warning("server", message, "stop the server, and start it again")
        }
    }
}

/// Times rank versions, and decide nothing else: a wrong clock gives the name to the wrong version.
pub(super) fn clock(home: Option<&HomeReader>) -> Finding {
    let mend = "sudo timedatectl set-ntp true";
    let now = crate::clock::seconds();
    if now < EARLIEST {
        return Finding::problem("clock", "it says a year before 2025", mend);
    }
    let last = home.and_then(|home| home.last_started_at().ok().flatten()).unwrap_or(0);
    let behind = last.saturating_sub(now);
    if behind > 60 {
        let message =
            format!("it is {behind} s behind the last start of a server: it was wrong then, or is now");
        return Finding::problem("clock", message, mend);
    }
    match Path::new("/run/systemd/timesync/synchronized").exists() {
        true => Finding::ok("clock", "kept by the network"),
        false => Finding::ok("clock", "plausible; whether anything keeps it right cannot be told from here"),
    }
}

/// Whether the kernel allows a watch for every directory: by the server's word where one runs.
pub(super) fn watches(places: &[Place], status: Option<&Status>) -> Vec<Finding> {
    let missing: Vec<Finding> = status.map(unwatched).unwrap_or_default();
    if !missing.is_empty() {
        return missing;
    }
    let (Some(watches), Some(instances)) = (watches::watches(), watches::instances()) else {
        let message = "the limits of inotify cannot be read";
        return vec![Finding::warning("watches", message, "mount /proc; until then nobody knows them")];
    };
    let needed: u64 = places.iter().map(|place| count_directories(&place.path)).sum();
    let said = format!(
        "{} to be watched, {} allowed for all your programs",
        counted(needed, "directory", "directories"),
        counted(watches.allowed, "watch", "watches")
    );
    let mut findings = vec![match status {
        // What is ignored is not watched, and counted here all the same.
        Some(_) if needed * 5 <= watches.allowed * 4 => {
            Finding::ok("watches", format!("{said}; the server lacks none"))
        }
        None if needed >= watches.allowed => {
            let message = format!("{said}: the others are scanned every minute instead");
            Finding::problem("watches", message, watches.raise_watches(needed))
        }
        _ if needed * 5 > watches.allowed * 4 => {
            Finding::warning("watches", said, watches.raise_watches(needed))
        }
        _ => Finding::ok("watches", said),
    }];
    let (n_places, spare) = (places.len() as u64, 8);
    if n_places + spare > instances.allowed {
        let need = if n_places == 1 { "directory needs" } else { "directories need" };
        let message =
            format!("{n_places} {need} an inotify instance each, and {} are allowed", instances.allowed);
        findings.push(Finding::warning("watches", message, instances.raise(n_places + spare, 0)));
    }
    findings
}

/// What the running server could not watch.
fn unwatched(status: &Status) -> Vec<Finding> {
    let of_directory = |directory: &DirectoryStatus| {
        let Unwatched { message, mend, retry_in_seconds, .. } = directory.unwatched.as_ref()?;
        let message = format!("{message}; tried again within {retry_in_seconds} s");
        let mend = mend.clone().unwrap_or_else(|| "file-sync status says more".to_owned());
        Some(Finding::problem("watches", message, mend).about(&directory.name))
    };
    status.directories.iter().filter_map(of_directory).collect()
}

/// Directories at and below a root, on its file system. What cannot be read has none.
fn count_directories(root: &Path) -> u64 {
    let Ok(device) = root.symlink_metadata().map(|metadata| metadata.dev()) else { return 0 };
    let (mut count, mut left) = (0, vec![root.to_owned()]);
    while let Some(directory) = left.pop().filter(|_| count < DIRECTORIES_MAX) {
        count += 1;
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory
                && entry.file_name() != ".file-sync"
                && entry.metadata().is_ok_and(|metadata| metadata.dev() == device)
            {
                left.push(entry.path());
            }
        }
    }
    count
}

pub(super) fn open_files(places: &[Place]) -> Finding {
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = FILES_MIN + 16 * places.len() as u64;
    if allowed >= needed {
        return Finding::ok("files", format!("{allowed} files may be open at once"));
    }
    let message = format!("{allowed} files may be open at once, {needed} are recommended");
    Finding::warning(
        "files",
        message,
        "raise LimitNOFILE= of its systemd unit, or `ulimit -n` before its start",
    )
}

/// Whether a server could listen, or the one that runs is connected.
pub(super) fn network(patient: &Patient) -> Vec<Finding> {
    match &patient.server {
        Server::Running(status) => status.remotes.iter().map(remote).collect(),
        Server::Silent(_) => Vec::new(), // It has the port.
        Server::None => vec![port(patient.listen)],
    }
}

fn port(listen: SocketAddr) -> Finding {
    match TcpListener::bind(listen) {
        Ok(_) => Finding::ok("port", format!("TCP {listen} is free for a server")),
        Err(error) => {
            let message = format!("a server cannot listen on TCP {listen}: {error}");
            let mend = format!(
                "ss -tlnp 'sport = :{}' says who has it; or file-sync server --listen IP:PORT",
                listen.port()
            );
            Finding::problem("port", message, mend)
        }
    }
}

fn remote(remote: &Remote) -> Finding {
    let address = remote.address.as_deref();
    let said = address.unwrap_or("an address that is not known");
    if remote.connected {
        return Finding::ok("remote", format!("connected, at {said}")).about(&remote.name);
    }
    let seen = remote.last_seen.as_deref().map_or("never seen".to_owned(), |at| format!("last seen {at}"));
    let parsed = address.and_then(|address| address.parse::<SocketAddr>().ok());
    let answers = parsed.map(|address| TcpStream::connect_timeout(&address, ANSWER));
    let (message, mend) = match (answers, parsed) {
        (Some(Ok(_)), _) => (
            format!("not connected ({seen}), though {said} answers"),
            "look there with `file-sync remote ls`: it may have removed this device, or another program answers".to_owned(),
        ),
        (Some(Err(error)), _) if error.kind() == std::io::ErrorKind::ConnectionRefused => (
            format!("not connected ({seen}); nothing listens at {said}"),
            format!(
                "start its server: `file-sync server` there; if it has another address now, `file-sync remote invite` there, and `file-sync remote add {} TICKET` here",
                quoted(Path::new(&remote.name))
            ),
        ),
        (Some(Err(error)), Some(address)) => (
            format!("not connected ({seen}); {said}: {error}"),
            format!("start its server, and open its port there: sudo ufw allow {}/tcp", address.port()),
        ),
        _ => (
            format!("not connected ({seen}), and no address is known"),
            "pair again: `file-sync remote invite` there, `file-sync remote add` here".to_owned(),
        ),
    };
    Finding::warning("remote", message, mend).about(&remote.name)
}
