//! The directories: whether each is there, can be written, and lies where a server can keep its promises.

use file_sync_disk::Abilities;

use super::{Finding, Place, quoted};
use crate::api::names::{counted, printable};
use crate::api::types::{DirectoryStatus, PathMessage, State, Status};

/// How many paths in trouble are named, of each directory.
const N_PATHS_MAX: usize = 10;
/// Less room than this is worth a word, in bytes.
const FREE_BYTES_MIN: u64 = 1 << 30;

pub(super) fn examine(place: &Place, status: Option<&Status>) -> Vec<Finding> {
    let shown = place.path.display();
    let of_server = status.and_then(|status| status.directories.iter().find(|one| one.name == place.name));
    let mut findings: Vec<Finding> = of_server.map(at_work).into_iter().flatten().collect();
    if !place.path.is_dir() {
        let finding = Finding::problem(
            "root",
            format!("{shown} is not there"),
            format!("mount or create it; or file-sync sync down {}", quoted(&place.name)),
        );
        findings.push(finding);
    } else if !place.path.join(".file-sync/marker").is_file() {
        let finding = Finding::problem(
            "root",
            format!("{shown} has no marker: it may not be the directory that was synced"),
            format!(
                "mount the right file system; if it is the right one: file-sync sync approve {}",
                quoted(&place.name)
            ),
        );
        findings.push(finding);
    } else {
        match Abilities::of(&place.path) {
            Ok(abilities) => findings.extend(filesystem(place, &abilities)),
            Err(error) => findings.push(Finding::problem(
                "root",
                format!("{shown} cannot be written: {error}"),
                format!(
                    "sudo chown -R \"$USER\" {}; or mount its file system writable",
                    quoted(place.path.join(".file-sync"))
                ),
            )),
        }
    }
    findings.into_iter().map(|finding| finding.about(&place.name)).collect()
}

/// What its server says of a directory: how it is itself, and each path in trouble with what mends it.
fn at_work(directory: &DirectoryStatus) -> Vec<Finding> {
    let name = quoted(&directory.name);
    let (of_root, of_paths): (Vec<_>, Vec<_>) =
        own_errors(directory).partition(|error| error.path.path == ".");
    let mut findings = Vec::new();
    if directory.state == State::Error {
        let said = of_root.first().map_or("in trouble", |error| error.message.as_str());
        let mend = "file-sync status says more; it is tried again every few seconds";
        findings.push(Finding::problem("root", said, mend));
    } else {
        findings.extend(of_root.into_iter().map(|error| in_trouble("root", error.message.clone(), error)));
    }
    if directory.state == State::Held {
        let held = counted(directory.held, "deletion is", "deletions are");
        let mend = format!("file-sync sync approve {name}, or file-sync sync reject {name}");
        findings.push(Finding::warning("root", format!("{held} held"), mend));
    }
    let path_in_trouble = |error: &&PathMessage| {
        let path = printable(error.path.to_path().as_os_str());
        in_trouble("path", format!("{path}: {}", error.message), error)
    };
    findings.extend(of_paths.iter().take(N_PATHS_MAX).map(path_in_trouble));
    if let Some(n_more @ 1..) = of_paths.len().checked_sub(N_PATHS_MAX) {
        let message = format!("{} in trouble", counted(n_more as u64, "more path is", "more paths are"));
        findings.push(Finding::warning(
            "path",
            message,
            "file-sync status --json lists all, each with what mends it",
        ));
    }
    findings
}

/// Its errors, but for what is not watched: that is told of all directories together, as `watches`.
fn own_errors(directory: &DirectoryStatus) -> impl Iterator<Item = &PathMessage> {
    let of_watches = directory.unwatched.as_ref().map(|unwatched| unwatched.message.as_str());
    let is_own = move |error: &&PathMessage| of_watches.is_none_or(|said| !error.message.starts_with(said));
    directory.errors.iter().filter(is_own)
}

fn in_trouble(check: &str, message: String, error: &PathMessage) -> Finding {
    let again = error.retry_in_seconds.map_or_else(
        || "it goes when something else changes; file-sync why says more of a path".to_owned(),
        |seconds| format!("nothing has to be done that is known; it is tried again within {seconds} s"),
    );
    Finding::warning(check, message, error.mend.clone().unwrap_or(again))
}

fn filesystem(place: &Place, abilities: &Abilities) -> Vec<Finding> {
    let shown = place.path.display();
    let mut findings = Vec::new();
    let mut bad = |verdict: fn(&str, String, String) -> Finding, message: &str, mend: &str| {
        findings.push(verdict("filesystem", format!("{shown} {message}"), mend.to_owned()));
    };
    const MOVE: &str = "put the directory on ext4, xfs, btrfs or tmpfs";
    if !abilities.exchanges || !abilities.renames_to_free_names {
        let message = "is on a file system that cannot exchange two names at once (renameat2): nothing is replaced there";
        bad(Finding::problem, message, MOVE);
    }
    if let Some(kind) = abilities.shared {
        let message = format!(
            "is on {kind}: what other machines change there is noticed by the hourly scan and `sync wait` alone"
        );
        bad(Finding::warning, &message, "run file-sync on the machine that has the disk");
    }
    if !abilities.tells_cases_apart {
        bad(Finding::warning, "takes `a` and `A` for one name: of two such files one is in trouble", MOVE);
    }
    if !abilities.has_symlinks {
        bad(Finding::warning, "cannot hold symlinks: each is in trouble there", MOVE);
    }
    if !abilities.keeps_modes {
        bad(
            Finding::warning,
            "does not keep permission bits: each file whose bits differ is in trouble",
            MOVE,
        );
    }
    if findings.is_empty() {
        let step = match abilities.time_step_ns {
            Some(1) => "to the nanosecond".to_owned(),
            Some(step) => format!("to {} µs", step as f64 / 1_000.0),
            None => "in a way of its own".to_owned(),
        };
        findings.push(Finding::ok("filesystem", format!("{shown} has all that is needed; times {step}")));
    }
    findings.push(space(abilities));
    findings
}

fn space(abilities: &Abilities) -> Finding {
    let (free, total) = (abilities.free_bytes, abilities.total_bytes);
    let said = format!("{} MiB free of {} MiB", free >> 20, total >> 20);
    let mend = "make room: du -x -d 2 / | sort -n | tail; kept versions are in .file-sync/kept of each directory, and go by themselves";
    if free == 0 {
        return Finding::problem("space", said, mend);
    }
    if free < FREE_BYTES_MIN.min(total / 10) {
        return Finding::warning("space", said, mend);
    }
    Finding::ok("space", said)
}
