//! How a command fails: one line on stderr and an exit code that scripts can tell apart.

use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Refused or failed: exit 1.
    #[error("{0}")]
    Refused(String),
    /// Wrong usage that only the command itself can see: exit 2.
    #[error("{0}")]
    Usage(String),
    /// A wait ran out of time: exit 3.
    #[error("{0}")]
    TimedOut(String),
    /// No server is running for the home: exit 4.
    #[error("{0}")]
    NoServer(String),
    /// Whoever read the output has seen enough: exit 0, and nothing to say.
    #[error("the output's reader is gone")]
    ReaderGone,
}

impl Failure {
    /// Refused or failed.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure::Refused(message.into())
    }

    /// Output that could not be written.
    pub fn output(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => Failure::Refused(format!("cannot write to stdout: {error}")),
        }
    }

    /// Says it, and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let code = match self {
            Failure::ReaderGone => return ExitCode::SUCCESS,
            Failure::Refused(_) => 1,
            Failure::Usage(_) => 2,
            Failure::TimedOut(_) => 3,
            Failure::NoServer(_) => 4,
        };
        let line = self.to_string().replace('\n', " ");
        // Nobody is left to be told when stderr is gone too.
        let _ = writeln!(io::stderr(), "file-sync: {line}");
        ExitCode::from(code)
    }
}
