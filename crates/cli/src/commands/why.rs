//! `why`: says why a path is as it is.

use std::path::Path;

use file_sync_server::api::command::OnPath;
use file_sync_server::api::types::{Item, StandingVersion, Why};

use super::status_text::size;
use super::{local_path, shown, shown_path};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// Asks, and prints what disk, index and versions say, and what follows.
///
/// # Errors
/// When the path is in no directory, or the server refuses.
pub async fn run(path: &Path, client: &Client, console: Console) -> Result<(), Failure> {
    let request = OnPath { path: local_path(path)? };
    let why: Why = client.post("/v1/why", &request).await?;
    console.result(&why, text)
}

fn text(why: &Why) -> String {
    let mut text = format!("{}: {}\n", shown(&why.directory), shown_path(&why.path));
    let disk = why.disk.as_ref().map_or("cannot be told".to_owned(), described);
    text.push_str(&format!("  on the disk      {disk}\n"));
    text.push_str(&format!("  last looked at   {}\n", described(&why.index)));
    text.push_str(&format!("  to be            {}\n", described(&why.wanted)));
    why.versions.iter().for_each(|version| text.push_str(&line(version, why)));
    if let Some(path) = &why.copy_of {
        text.push_str(&format!("  conflict copy of {}\n", shown_path(path)));
    }
    if !why.untold.is_empty() {
        let names: Vec<String> = why.untold.iter().map(|name| shown(name)).collect();
        text.push_str(&format!("  not told yet     {}\n", names.join(", ")));
    }
    if !why.behind.is_empty() {
        let names: Vec<String> = why.behind.iter().map(|name| shown(name)).collect();
        let names = names.join(", ");
        text.push_str(&format!(
            "  not followed yet {names}, as far as it is said; `status` there says what is missing\n"
        ));
    }
    if !why.followed.is_empty() {
        let names: Vec<String> = why.followed.iter().map(|name| shown(name)).collect();
        text.push_str(&format!("  followed         {}\n", names.join(", ")));
    }
    if !why.away.is_empty() {
        let names: Vec<String> = why.away.iter().map(|name| shown(name)).collect();
        text.push_str(&format!("  away             {}: not known whether they have it\n", names.join(", ")));
    }
    if why.kept > 0 {
        text.push_str(&format!("  kept versions    {}; `file-sync history` lists them\n", why.kept));
    }
    text.push_str(&format!("so: {}\n", shown(&why.explanation)));
    if let Some(mend) = &why.mend {
        text.push_str(&format!("mend: {}\n", shown(mend)));
    }
    text
}

fn line(version: &StandingVersion, why: &Why) -> String {
    let place = match &version.shown_at {
        Some(path) if *path == why.path => "has the name".to_owned(),
        Some(path) => format!("shown at {}", shown_path(path)),
        None => "shown nowhere".to_owned(),
    };
    let made = format!("by {}, {}", shown(&version.by), version.at);
    format!("  version          {}; {made}; {place}\n", described(&version.item))
}

fn described(item: &Item) -> String {
    let bytes = item.bytes.map(|bytes| format!(", {}", size(bytes))).unwrap_or_default();
    let part = |name: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!(", {name} {}", shown(value))).unwrap_or_default()
    };
    let (mode, modified, content) =
        (part("mode", &item.mode), part("modified", &item.modified), part("content", &item.content));
    format!("{}{bytes}{mode}{modified}{content}", shown(&item.kind))
}
