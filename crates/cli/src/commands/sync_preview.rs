//! `sync up --dry-run`: says what joining a directory would do.

use std::path::Path;

use file_sync_server::api::types::{Foreseen, ForeseenCount, ForeseenFile, Mode, Preview};

use super::status_text::size;
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
    let preview: Preview = client.post("/v1/syncs/preview", &request).await?;
    for error in &preview.errors {
        console.remark(&format!(
            "{}: {}; not in the figures",
            shown_path(&error.path),
            shown(&error.message)
        ));
    }
    console.hint("nothing was changed; without --dry-run it is joined");
    console.result(&preview, text)
}

fn text(preview: &Preview) -> String {
    let (remote, name, path) = (shown(&preview.remote), shown(&preview.name), shown_path(&preview.path));
    if preview.files.is_empty() {
        return format!("{remote}:{name} and {path} hold no files\n");
    }
    let mut counts: String = preview.counts.iter().map(|count| count_line(count, &remote)).collect();
    if preview.held {
        counts.push_str("           so much that it would be held until `file-sync sync approve`\n");
    }
    let row = |file: &ForeseenFile| {
        [word(file.what).to_owned(), shown_path(&file.path), remark(file, preview.mode)]
    };
    let files: Vec<_> = preview.files.iter().filter(|file| file.what != Foreseen::Adopt).map(row).collect();
    if files.is_empty() {
        return format!("joining {remote}:{name} at {path}, {}, would\n{counts}", preview.mode.as_str());
    }
    let files = table(["WHAT", "PATH", ""], files);
    format!("joining {remote}:{name} at {path}, {}, would\n{counts}\n{files}", preview.mode.as_str())
}

fn count_line(count: &ForeseenCount, remote: &str) -> String {
    let files = if count.files == 1 { "1 file".to_owned() } else { format!("{} files", count.files) };
    let what = match count.what {
        Foreseen::Adopt => "equal on both sides: no bytes are sent, mode and time become the same".to_owned(),
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
