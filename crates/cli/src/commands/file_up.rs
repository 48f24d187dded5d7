//! `file up`: offers a directory.

use std::path::Path;

use file_sync_server::api::command::FileUp;
use file_sync_server::api::names::{DirectoryName, RemoteName};
use file_sync_server::api::types::Offered;

use super::{local_path, shown, shown_path};
use crate::client::Client;
use crate::console::Console;
use crate::failure::Failure;

/// What to ask for. Without a name, the directory's own is taken.
///
/// # Errors
/// When the directory's own name is no name.
pub fn request(
    directory: &Path,
    name: Option<DirectoryName>,
    to: Vec<RemoteName>,
    read_only: bool,
) -> Result<FileUp, Failure> {
    let path = local_path(directory)?;
    let name = match name {
        Some(name) => name,
        None => own_name(path.as_path())?,
    };
    Ok(FileUp { path, name, to, read_only })
}

/// Asks, and says what is offered now.
///
/// # Errors
/// When the server refuses.
pub async fn run(request: &FileUp, client: &Client, console: Console) -> Result<(), Failure> {
    let offered: Offered = client.post("/v1/files", request).await?;
    console.result(&offered, |offered| {
        let kind = if offered.read_only { " (read-only)" } else { "" };
        let to = offered.to.as_ref().map_or("every remote".to_owned(), |to| shown(&to.join(", ")));
        format!("offered {} as {}{kind} to {to}\n", shown_path(&offered.path), shown(&offered.name))
    })
}

/// The last component of a path; of what it leads to, where it ends in `..`.
fn own_name(path: &Path) -> Result<DirectoryName, Failure> {
    let nameless =
        |why: &str| Failure::refused(format!("{}: {why}; give a name with --name", path.display()));
    let resolved;
    let name = match path.file_name() {
        Some(name) => name,
        None => {
            resolved = path.canonicalize().map_err(|error| nameless(&error.to_string()))?;
            resolved.file_name().ok_or_else(|| nameless("has no name of its own"))?
        }
    };
    let text = name.to_str().ok_or_else(|| nameless("its own name is not UTF-8"))?;
    text.parse().map_err(|error| nameless(&format!("its own name will not do ({error})")))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_directory_is_called_by_its_last_component() {
        let name =
            |path: &str| own_name(Path::new(path)).map(String::from).map_err(|failure| failure.to_string());
        assert_eq!(name("/a/my docs"), Ok("my docs".to_owned()));
        assert_eq!(name("/a/docs/"), Ok("docs".to_owned()));
        assert_eq!(name("/usr/bin/.."), Ok("usr".to_owned()));
        assert!(name("/").expect_err("no name").contains("--name"));
        assert!(own_name(Path::new(OsStr::from_bytes(b"/a/\xff"))).is_err());
    }
}
