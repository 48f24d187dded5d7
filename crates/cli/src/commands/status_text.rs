//! `status` as people read it.

use super::remote_ls::remotes_table;
use super::sync_answer::let_through;
use super::{shown, shown_path};
use crate::console::{Colour, Console};
pub(super) use file_sync_server::api::names::counted;
use file_sync_server::api::types::{
    DirectoryStatus, FirstMerge, PathMessage, Reading, ShownPath, State, Status, Straggler, Traffic,
};

/// How many lines of trouble or remarks are shown for each directory; JSON has all.
const N_LINES_MAX: usize = 10;

/// The whole status, some lines each for device, remotes and directories.
pub fn text(status: &Status, console: Console) -> String {
    let mut text = format!(
        "device {} ({}), file-sync {}\n",
        shown(&status.device.name),
        status.device.id,
        status.version
    );
    text.push('\n');
    if status.remotes.is_empty() {
        text.push_str("no remotes\n");
    }
    text.push_str(&remotes_table(&status.remotes));
    text.push_str(&traffic(&status.traffic));
    if status.directories.is_empty() {
        text.push_str("\nno directories\n");
    }
    status.directories.iter().for_each(|directory| text.push_str(&directory_text(directory, console)));
    text
}

/// What may be done next where there is nothing yet.
pub fn hints(status: &Status) -> impl Iterator<Item = &'static str> {
    let pair = "pair with another device: file-sync remote invite";
    let offer = "offer a directory with: file-sync file up DIR, join one with: file-sync sync up";
    let pair = status.remotes.is_empty().then_some(pair);
    pair.into_iter().chain(status.directories.is_empty().then_some(offer))
}

/// What goes and comes just now, if anything does or may only do so slowly.
fn traffic(traffic: &Traffic) -> String {
    let Traffic { upload, download, upload_max, download_max, seconds_left } = traffic;
    if upload_max.is_none() && download_max.is_none() && *upload == 0 && *download == 0 {
        return String::new();
    }
    let flow = |what: &str, speed: u64, max: Option<u64>| {
        let at_most = max.map(|max| format!(" (at most {}/s)", size(max))).unwrap_or_default();
        format!("{what} {}/s{at_most}", size(speed))
    };
    let left =
        seconds_left.map(|seconds| format!(", {} left at most", duration(seconds))).unwrap_or_default();
    format!("\n{}, {}{left}\n", flow("down", *download, *download_max), flow("up", *upload, *upload_max))
}

/// Seconds for people.
fn duration(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

fn directory_text(directory: &DirectoryStatus, console: Console) -> String {
    let colour = match directory.state {
        State::Idle => Colour::Green,
        State::Scanning | State::Syncing | State::Paused => Colour::Yellow,
        State::Held | State::Error => Colour::Red,
    };
    let origin = match &directory.remote {
        Some(remote) => format!("from {}, {}", shown(remote), directory.mode.as_str()),
        None => "offered".to_owned(),
    };
    let read_only = if directory.read_only { ", read-only" } else { "" };
    let state = console.coloured(colour, directory.state.as_str());
    let (name, path) = (shown(&directory.name), shown_path(&directory.path));
    let mut text = format!("\n{name}: {state}  ({origin}{read_only})\n  {path}\n");
    let files = counted(directory.files, "file", "files");
    text.push_str(&format!("  {files}, {}{}\n", size(directory.bytes), counts(directory)));
    if let Some(merge) = &directory.first_merge {
        text.push_str(&first_merge(merge));
    }
    if let Some(reading) = &directory.verifying {
        text.push_str(&format!("  verify: {}\n", progress(reading)));
    }
    text.push_str(&held(directory, console));
    if directory.kept_gone_young > 0 {
        let gone = counted(directory.kept_gone_young, "kept version", "kept versions");
        let why =
            "of the last day had to go for want of room (server --kept-max); `file-sync log` says which";
        text.push_str(&format!("  {}\n", console.coloured(Colour::Red, &format!("{gone} {why}"))));
    }
    directory.stragglers.iter().for_each(|straggler| text.push_str(&straggler_text(straggler)));
    let errors: Vec<String> =
        directory.errors.iter().map(|error| line(&error.path, &error_text(error))).collect();
    text.push_str(&lines(&errors, |line| console.coloured(Colour::Red, &format!("error: {line}"))));
    let left: Vec<String> =
        directory.unsupported.iter().map(|item| line(&item.path, &item.message)).collect();
    text.push_str(&lines(&left, |line| format!("left alone: {line}")));
    text
}

fn first_merge(merge: &FirstMerge) -> String {
    let FirstMerge { adopted, fetched, sent, conflicts, removed, local, left } = merge;
    let local = local.map(|local| format!(", {local} kept here alone")).unwrap_or_default();
    let left = left.map(|left| format!(", {left} left there")).unwrap_or_default();
    format!(
        "  first merge: {adopted} equal, {fetched} fetched, {sent} sent, {conflicts} in conflict, {removed} replaced or removed here{local}{left}\n"
    )
}

/// How far a reading is.
pub(super) fn progress(reading: &Reading) -> String {
    let of_bytes = size(reading.of_bytes);
    let of_files = counted(reading.of_files, "file", "files");
    format!("{} of {of_files} read, {} of {of_bytes}", reading.files, size(reading.bytes))
}

/// Who is not in step.
fn straggler_text(straggler: &Straggler) -> String {
    let remote = shown(&straggler.remote);
    if straggler.takes_no_part {
        return format!("  {}\n", no_part(straggler));
    }
    let troubles = match straggler.troubles {
        0 => String::new(),
        n_troubles => format!(
            ": {} in trouble there, `file-sync status` there says why",
            counted(n_troubles, "path is", "paths are")
        ),
    };
    format!("  {remote} has not followed yet, as far as it has said{troubles}\n")
}

/// Who takes no part, and why that may be.
pub(super) fn no_part(straggler: &Straggler) -> String {
    let remote = shown(&straggler.remote);
    format!("{remote} takes no part at present: it is paused, taken down or not at work there")
}

fn error_text(error: &PathMessage) -> String {
    match error.retry_in_seconds {
        Some(seconds) => format!("{} (tried again within {seconds} s)", error.message),
        None => error.message.clone(),
    }
}

/// What waits for a word, and how to say it.
fn held(directory: &DirectoryStatus, console: Console) -> String {
    if directory.held == 0 {
        return String::new();
    }
    let name = shown(&directory.name);
    let question = format!(
        "held: {}; `file-sync sync approve {name}` lets them through, `reject` brings the files back",
        counted(directory.held, "deletion", "deletions")
    );
    let paths = directory.held_paths.iter().take(N_LINES_MAX).map(|held| {
        let whose = if held.deleted_here { "deleted here" } else { "deleted elsewhere" };
        format!("  held: {}\n", line(&held.path, whose))
    });
    let mut named: String = paths.collect();
    if directory.held > N_LINES_MAX as u64 {
        let n_more = directory.held - N_LINES_MAX as u64;
        named.push_str(&format!("  … and {n_more} more; `file-sync sync held` lists them\n"));
    }
    let let_through = let_through(directory.let_through, &shown_path(&directory.path));
    let let_through = if let_through.is_empty() { let_through } else { format!("  {let_through}") };
    format!("  {}\n{named}{let_through}", console.coloured(Colour::Red, &question))
}

/// What is not zero.
fn counts(directory: &DirectoryStatus) -> String {
    let needed = size(directory.need_bytes);
    [
        (
            directory.need_files,
            format!("{} to change here ({needed})", counted(directory.need_files, "file", "files")),
        ),
        (directory.conflicts, counted(directory.conflicts, "conflict copy", "conflict copies")),
        (
            directory.local_changes,
            counted(directory.local_changes, "change kept local", "changes kept local"),
        ),
        (directory.held, counted(directory.held, "deletion held", "deletions held")),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(_, text)| format!(", {text}"))
    .collect()
}

fn line(path: &ShownPath, message: &str) -> String {
    format!("{}: {}", shown_path(path), shown(message))
}

fn lines(all: &[String], show: impl Fn(&str) -> String) -> String {
    let mut text: String = all.iter().take(N_LINES_MAX).map(|line| format!("  {}\n", show(line))).collect();
    if all.len() > N_LINES_MAX {
        text.push_str(&format!("  … and {} more; all with --json\n", all.len() - N_LINES_MAX));
    }
    text
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes == 1 {
        return "1 byte".to_owned();
    }
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let power = (bytes.ilog2() / 10) as usize;
    let whole = 1u64 << (10 * power);
    format!("{}.{} {}", bytes / whole, (bytes % whole) * 10 / whole, units[power - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_down_and_never_overflow() {
        let cases = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1_600_000, "1.5 MiB"),
            (u64::MAX, "15.9 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }
}
