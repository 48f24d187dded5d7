//! The directories: whether each is there, can be written, and lies where a server can keep its promises.

use file_sync_disk::Abilities;

use super::{Finding, Place, quoted};
use crate::api::types::{DirectoryStatus, State, Status};

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

/// What its server says of a directory.
fn at_work(directory: &DirectoryStatus) -> Option<Finding> {
    let name = quoted(&directory.name);
    let first = directory.errors.first().map(|error| format!("{}: {}", error.path.path, error.message));
    match (directory.state, directory.errors.len()) {
        (State::Error, _) => Some(Finding::problem(
            "root",
            first.unwrap_or_else(|| "in trouble".to_owned()),
            "file-sync status says more; it is tried again every few seconds",
        )),
        (State::Held, _) => Some(Finding::warning(
            "root",
            format!("{} deletions are held", directory.held),
            format!("file-sync sync approve {name}, or file-sync sync reject {name}"),
        )),
        (_, 0) => None,
        (_, count) => Some(Finding::warning(
            "root",
            format!("{count} paths are in trouble, the first: {}", first.unwrap_or_default()),
            "file-sync status lists them, with what mends them; what may heal is tried again every 10 s",
        )),
    }
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
