//! `sync up --dry-run`: says what joining a directory would do.

use std::path::Path;

use file_sync_server::api::command::SyncUp;
use file_sync_server::api::types::{Foreseen, ForeseenCount, ForeseenFile, Mode, Preview, Status};

use super::meanwhile::meanwhile;
use super::status_text::{counted, progress, size};
use super::{shown, shown_path, sync_up};
use crate::args::RemoteDirectory;
use crate::client::Client;
use crate::console::{Console, table};
use crate::failure::Failure;

/// Asks, and prints what would happen: in figures, and for each file that would not stay as it is.
///
/// # Errors
/// When the server refuses.
pub async fn run(
    source: RemoteDirectory,
    directory: &Path,
    mode: Mode,
    client: &Client,
    console: Console,
) -> Result<(), Failure> {
    let request = sync_up::request(source, directory, mode)?;
    let asking = client.post_patiently("/v1/syncs/preview", &request);
    let line = |status: &Status| progress_line(status, &request);
    let preview: Preview = meanwhile(asking, client, console, line).await?;
    for error in &preview.errors {
        console.remark(&format!(
            "{}: {}; not in the figures",
            shown_path(&error.path),
            shown(&error.message)
        ));
    }
    console.hint("nothing was changed; without --dry-run it is joined");
    console.result(&preview, text)?;
    match missing(&preview) {
        Some(missing) => Err(Failure::refused(missing)),
        None => Ok(()),
    }
}

fn progress_line(status: &Status, request: &SyncUp) -> String {
    let reading = status.previewing.as_ref().filter(|reading| reading.of_files > 0);
    reading.map_or_else(|| sync_up::waiting_line(status, request), progress)
}

/// Why the figures are not the whole truth, in one line.
fn missing(preview: &Preview) -> Option<String> {
    let here = counted(preview.errors.len() as u64, "path", "paths");
    let there = counted(preview.remote_errors, "path", "paths");
    let remote = shown(&preview.remote);
    let who = match (preview.errors.is_empty(), preview.remote_errors == 0) {
        (true, true) => return None,
        (false, true) => format!("{here} here could not be read"),
        (true, false) => format!("{there} at {remote} in trouble, see `file-sync status` there"),
        (false, false) => {
            format!(
                "{here} here could not be read, {there} at {remote} in trouble, see `file-sync status` there"
            )
        }
    };
    Some(format!(
        "{who}: what the first merge would do about them is not in the figures; mend that and ask again"
    ))
}

fn text(preview: &Preview) -> String {
    let (remote, name, path) = (shown(&preview.remote), shown(&preview.name), shown_path(&preview.path));
    if preview.files.is_empty() && preview.directories.is_empty() && preview.unsupported.is_empty() {
        return format!("{remote}:{name} and {path} hold no files\n");
    }
    let mut counts: String = preview.counts.iter().map(|count| count_line(count, preview)).collect();
    if preview.held {
        counts.push_str("           so much that it would be held until `file-sync sync approve`\n");
    }
    let row = |file: &ForeseenFile| {
        [word(file.what).to_owned(), shown_path(&file.path), remark(file, preview.mode)]
    };
    let files = preview.files.iter().filter(|file| file.what != Foreseen::Adopt).map(row);
    let directories = preview.directories.iter().map(|directory| {
        let path = shown_path(&directory.path) + "/";
        [word(directory.what).to_owned(), path, "a directory, with nothing to tell of in it".to_owned()]
    });
    let left_alone = preview
        .unsupported
        .iter()
        .map(|left| ["leave".to_owned(), shown_path(&left.path), shown(&left.message)]);
    let rows: Vec<_> = files.chain(directories).chain(left_alone).collect();
    if rows.is_empty() {
        return format!("joining {remote}:{name} at {path}, {}, would\n{counts}", preview.mode.as_str());
    }
    let rows = table(["WHAT", "PATH", ""], rows);
    format!("joining {remote}:{name} at {path}, {}, would\n{counts}\n{rows}", preview.mode.as_str())
}

fn count_line(count: &ForeseenCount, preview: &Preview) -> String {
    let remote = shown(&preview.remote);
    let files = if count.files == 1 { "1 file".to_owned() } else { format!("{} files", count.files) };
    let what = match count.what {
        Foreseen::Adopt => format!("equal on both sides: no bytes are sent; {}", metadata(preview, &remote)),
        Foreseen::Fetch => format!("only at {remote}, or newer there: fetched"),
        Foreseen::Send => format!("only here: sent to {remote}"),
        Foreseen::Conflict => {
            "different on both sides: one gets the name, the other stands beside it".to_owned()
        }
        Foreseen::Remove => {
            format!("equal to what was deleted at {remote}: taken away here, and kept for 30 days")
        }
        Foreseen::Local => "only here: not sent".to_owned(),
        Foreseen::Left => format!("at {remote}: not fetched, by the mode or an ignore rule here"),
    };
    format!("  {:<8} {files}, {}: {what}\n", word(count.what), size(count.bytes))
}

/// What becomes of the modes and times of files that are equal (promise W1).
fn metadata(preview: &Preview, remote: &str) -> String {
    match (preview.mode, preview.read_only) {
        (Mode::SendOnly, _) => "modes and times stay as they are on this device".to_owned(),
        (Mode::TwoWay, false) => {
            format!("modes and times become those at {remote} as a rule, even where those here are later")
        }
        (Mode::ReceiveOnly, _) | (Mode::TwoWay, true) => format!("modes and times become those at {remote}"),
    }
}

fn word(what: Foreseen) -> &'static str {
    match what {
        Foreseen::Adopt => "adopt",
        Foreseen::Fetch => "fetch",
        Foreseen::Send => "send",
        Foreseen::Conflict => "conflict",
        Foreseen::Remove => "remove",
        Foreseen::Local | Foreseen::Left => "leave",
    }
}

fn remark(file: &ForeseenFile, mode: Mode) -> String {
    let Some(named_here) = file.named_here else { return size(file.bytes) };
    let copies: Vec<String> = file.copies.iter().map(shown_path).collect();
    match (named_here, copies.is_empty()) {
        _ if mode == Mode::SendOnly => "stays as it is here; the others see both".to_owned(),
        (true, _) => format!("this one has the name; the other: {}", copies.join(", ")),
        (false, true) => "the remote's has the name; this one stays beside it, here alone".to_owned(),
        (false, false) => format!("the remote's has the name; this one: {}", copies.join(", ")),
    }
}
