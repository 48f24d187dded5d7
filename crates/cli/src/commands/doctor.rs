//! `doctor`: whether this machine is set up so that a server can do its work, with what mends what is not.

use std::net::SocketAddr;
use std::path::PathBuf;

use file_sync_server::doctor::{Examination, Finding, Patient, Server, Verdict, examine};

use super::shown;
use super::status_text::counted;
use crate::client::Client;
use crate::console::{Colour, Console};
use crate::failure::Failure;

/// Looks at home, machine and directories, and prints what was found.
///
/// # Errors
/// When something cannot work as it is.
pub async fn run(listen: SocketAddr, home: PathBuf, console: Console) -> Result<(), Failure> {
    let server = match Client::new(home.clone()).get("/v1/status").await {
        Ok(status) => Server::Running(status),
        Err(Failure::NoServer(_)) => Server::None,
        Err(failure) => Server::Silent(failure.to_string()),
    };
    console.hint("looking at home, machine and directories");
    let look = move || examine(&Patient { home, server, listen });
    let examination =
        tokio::task::spawn_blocking(look).await.map_err(|error| Failure::refused(error.to_string()))?;
    console.result(&examination, |examination| text(examination, console))?;
    let n_problems =
        examination.findings.iter().filter(|finding| finding.verdict == Verdict::Problem).count();
    if n_problems == 0 {
        return Ok(());
    }
    let problems = counted(n_problems as u64, "problem", "problems");
    Err(Failure::refused(format!("{problems}; what mends each stands below it")))
}

fn text(examination: &Examination, console: Console) -> String {
    examination.findings.iter().map(|finding| finding_text(finding, console)).collect()
}

fn finding_text(finding: &Finding, console: Console) -> String {
    let (word, colour) = match finding.verdict {
        Verdict::Ok => ("ok", Colour::Green),
        Verdict::Warning => ("warning", Colour::Yellow),
        Verdict::Problem => ("problem", Colour::Red),
    };
    let about = finding.about.as_deref().map(|about| format!("{}: ", shown(about))).unwrap_or_default();
    let word = console.coloured(colour, &format!("{word:8}"));
    let mut text = format!("{word} {:11} {about}{}\n", finding.check, shown(&finding.message));
    if let Some(mend) = &finding.mend {
        text.push_str(&format!("{:21}mend: {}\n", "", shown(mend)));
    }
    text
}
