//! The home: whose it is, whether it can be written, and whether its databases are whole.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use file_sync_index::{HomeReader, IndexError, check_directory};

use super::{Finding, Place, quoted};
use crate::api::names::counted;

/// What only its owner may read: the key signs in this device's name, the databases list names and hashes.
const PRIVATE: [&str; 3] = ["identity.key", "home.db", "directories"];

/// Looks at the home itself, and opens its database.
pub(super) fn examine(home: &Path) -> (Option<HomeReader>, Vec<Finding>) {
    let shown = home.display();
    let metadata = match home.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let finding = Finding::warning(
                "home",
                format!("{shown} is not there yet"),
                format!("file-sync server --home {}", quoted(home)),
            );
            return (None, vec![finding]);
        }
        Err(error) => {
            let mend = "name a directory that you may enter with --home, or $FILE_SYNC_HOME";
            return (None, vec![Finding::problem("home", format!("{shown} cannot be read: {error}"), mend)]);
        }
    };
    let mut findings: Vec<Finding> = permissions(home, &metadata);
    let reader = HomeReader::open(home);
    match reader {
        Ok(reader) => (reader, findings),
        Err(error) => {
            findings.push(damaged(&error, "home.db"));
            (None, findings)
        }
    }
}

fn permissions(home: &Path, metadata: &Metadata) -> Vec<Finding> {
    let (shown, user) = (home.display(), rustix::process::geteuid().as_raw());
    if metadata.uid() != user && user != 0 {
        let message = format!("{shown} belongs to user {}, and you are {user}", metadata.uid());
        return vec![Finding::problem("home", message, "run file-sync as that user, or with another --home")];
    }
    if rustix::fs::access(home, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err() {
        let mend = format!("chmod u+rwx {}; or mount its file system writable", quoted(home));
        return vec![Finding::problem("home", format!("{shown} cannot be written"), mend)];
    }
    let is_open = |path: &Path| path.metadata().is_ok_and(|found| found.permissions().mode() & 0o077 != 0);
    let mut open: Vec<_> = PRIVATE.iter().map(|name| home.join(name)).filter(|path| is_open(path)).collect();
    if is_open(home) && metadata.permissions().mode() & 0o022 != 0 {
        open.push(home.to_owned());
    }
    let warning = |path: &std::path::PathBuf| {
        let message = format!("{} may be read or changed by others", path.display());
        Finding::warning("home", message, format!("chmod go-rwx {}", quoted(path)))
    };
    match open.is_empty() {
        true => vec![Finding::ok("home", format!("{shown}, yours alone"))],
        false => open.iter().map(warning).collect(),
    }
}

/// Looks at every page of every database.
pub(super) fn databases(home: Option<&HomeReader>, places: &[Place]) -> Vec<Finding> {
    let Some(home) = home else { return Vec::new() };
    let mut damages: Vec<Finding> =
        home.check().err().map(|error| damaged(&error, "home.db")).into_iter().collect();
    let mut n_whole = u64::from(damages.is_empty());
    for place in places.iter().filter(|place| place.database.exists()) {
        match check_directory(&place.database) {
            Ok(()) => n_whole += 1,
            Err(error) => damages.push(damaged(&error, &place.name)),
        }
    }
    if damages.is_empty() {
        damages.push(Finding::ok(
            "database",
            format!("{} whole, every page looked at", counted(n_whole, "database", "databases")),
        ));
    }
    damages
}

pub(super) fn damaged(error: &IndexError, which: &str) -> Finding {
    let mend = match error {
        IndexError::Newer { .. } => "use the newer version of file-sync that wrote it".to_owned(),
        _ if which == "home.db" => {
            "stop the server and put a copy of the whole home back; what it lacks is fetched again".to_owned()
        }
        _ => "stop the server and put a copy of the whole home back; without one, move that file away: the directory is \
              then looked through as a new member's, and nothing on the disk is lost"
            .to_owned(),
    };
    Finding::problem("database", error.to_string(), mend).about(which)
}
