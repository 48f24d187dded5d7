//! `doctor`: whether a machine is set up so that a server can do its work, each finding with what mends it.
//!
//! It looks for itself, so that it also helps where no server starts, and takes the word of one that runs for what only
//! that can know; it changes nothing. Not in the server's own process: see [`HomeReader`].

mod home;
mod machine;
mod roots;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use file_sync_disk::quoted;
use file_sync_index::{Directory, HomeReader};
use serde::{Deserialize, Serialize};

use crate::api::types::Status;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, but not as well as it could, or not for long.
    Warning,
    /// Something cannot be done until it is mended.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What: `server`, `home`, `database`, `clock`, `watches`, `files`, `port`, `remote`, `root`, `path`,
    /// `filesystem` or `space`.
    pub check: String,
    /// Which: a directory's or a remote's name, a path; null where there is but one.
    pub about: Option<String>,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, in one line.
    pub message: String,
    /// What mends it, a command where there is one; null where nothing has to be.
    pub mend: Option<String>,
}

/// What `doctor` answers with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// The worst verdict.
    pub verdict: Verdict,
    /// All that was looked at.
    pub findings: Vec<Finding>,
}

impl Finding {
    fn new(check: &str, verdict: Verdict, message: impl Into<String>) -> Finding {
        Finding { check: check.to_owned(), about: None, verdict, message: message.into(), mend: None }
    }

    fn ok(check: &str, message: impl Into<String>) -> Finding {
        Finding::new(check, Verdict::Ok, message)
    }

    fn warning(check: &str, message: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { mend: Some(mend.into()), ..Finding::new(check, Verdict::Warning, message) }
    }

    fn problem(check: &str, message: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { mend: Some(mend.into()), ..Finding::new(check, Verdict::Problem, message) }
    }

    fn about(self, what: impl Into<String>) -> Finding {
        Finding { about: Some(what.into()), ..self }
    }
}

/// What is looked at.
pub struct Patient {
    /// The home.
    pub home: PathBuf,
    /// Its server.
    pub server: Server,
    /// Where a server would listen for remotes.
    pub listen: SocketAddr,
}

/// The server of a home.
pub enum Server {
    /// None is running.
    None,
    /// One is, and does not say how it is.
    Silent(String),
    /// What it says of itself.
    Running(Status),
}

impl Server {
    fn status(&self) -> Option<&Status> {
        match self {
            Server::Running(status) => Some(status),
            Server::None | Server::Silent(_) => None,
        }
    }
}

/// A directory that is offered or synced.
struct Place {
    name: String,
    path: PathBuf,
    database: PathBuf,
}

/// Looks at everything. Blocks, for seconds where directories are large or remotes do not answer.
pub fn examine(patient: &Patient) -> Examination {
    let mut findings = vec![machine::server(patient)];
    let (reader, found) = home::examine(&patient.home);
    findings.extend(found);
    let places =
        reader.as_ref().map(|reader| places(reader, &patient.home, &mut findings)).unwrap_or_default();
    findings.extend(home::databases(reader.as_ref(), &places));
    findings.push(machine::clock(reader.as_ref()));
    findings.extend(machine::watches(&places, patient.server.status()));
    findings.push(machine::open_files(&places));
    findings.extend(machine::network(patient));
    places.iter().for_each(|place| findings.extend(roots::examine(place, patient.server.status())));
    let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    Examination { verdict, findings }
}

fn places(reader: &HomeReader, home: &Path, findings: &mut Vec<Finding>) -> Vec<Place> {
    let place = |row: Directory| Place {
        database: home.join("directories").join(format!("{}.db", row.directory)),
        name: row.name,
        path: row.path,
    };
    match reader.directories() {
        Ok(rows) => rows.into_iter().filter(|row| !row.deleted).map(place).collect(),
        Err(error) => {
            findings.push(home::damaged(&error, "home.db"));
            Vec::new()
        }
    }
}
