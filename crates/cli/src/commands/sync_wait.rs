//! `sync wait`: returns once what was done before is everywhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use file_sync_server::api::command::SyncWait;
use file_sync_server::api::types::Waited;

use super::status_text::counted;
use super::{shown, target};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// How much longer than it was told to a server may take to say that time is up.
const GRACE: Duration = Duration::from_secs(2);

/// Waits, and says for whom.
///
/// # Errors
/// When the time runs out, or the server refuses.
pub async fn run(
    typed: Option<PathBuf>,
    timeout: Duration,
    client: &Client,
    console: Console,
) -> Result<(), Failure> {
    let waited = wait(&request(typed.as_deref(), timeout)?, client).await?;
    console.result(&waited, text)
}

/// What is asked for.
///
/// # Errors
/// When nothing can be called so.
pub(super) fn request(typed: Option<&Path>, timeout: Duration) -> Result<SyncWait, Failure> {
    Ok(SyncWait {
        target: typed.map(target).transpose()?,
        timeout_ms: milliseconds(timeout),
        tells_late: false,
    })
}

pub(super) fn text(waited: &Waited) -> String {
    let paused =
        waited.paused.iter().map(|name| format!("not waited for, since it is paused: {}\n", shown(name)));
    let absent = waited.absent.iter().map(|absent| {
        let (remote, directory) = (shown(&absent.remote), shown(&absent.directory));
        format!(
            "not waited for: {remote} takes no part in {directory} now (paused there, or no longer kept or offered)\n"
        )
    });
    let away = waited.away.iter().map(|away| {
        let (remote, directory) = (shown(&away.remote), shown(&away.directory));
        let who = if away.unpaired {
            format!("{remote}, a member that is not paired with this device,")
        } else {
            format!("{remote} is away, and")
        };
        format!("not waited for: {who} may lack changes of {directory}\n")
    });
    let held = waited.held.iter().map(|held| {
        let (deletions, directory) = (counted(held.deletions, "deletion", "deletions"), shown(&held.directory));
        format!(
            "not waited for: {deletions} held here in {directory}; members differ in these until `file-sync sync approve` or `reject`\n"
        )
    });
    let behind = waited.behind.iter().map(|behind| {
        let (remote, directory) = (shown(&behind.remote), shown(&behind.directory));
        format!("waited for in vain: {remote} may lack changes of {directory}\n")
    });
    let result = match waited.remotes {
        _ if !waited.in_sync => {
            "not in sync with all connected remotes; `file-sync status` says more\n".to_owned()
        }
        0 => "no connected remote takes part: nothing to wait for\n".to_owned(),
        1 => "in sync with the one connected remote\n".to_owned(),
        n_remotes => format!("in sync with {n_remotes} connected remotes\n"),
    };
    paused.chain(absent).chain(away).chain(held).chain(behind).chain([result]).collect()
}

/// Waits.
///
/// # Errors
/// When the time runs out, or the server refuses.
pub async fn wait(request: &SyncWait, client: &Client) -> Result<Waited, Failure> {
    let patience = Duration::from_millis(request.timeout_ms).saturating_add(GRACE);
    client.post_within(patience, "/v1/syncs/wait", request).await.unwrap_or_else(|| {
        Err(Failure::TimedOut(
            "the server has not said in time whether all is in sync; see file-sync status".into(),
        ))
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
