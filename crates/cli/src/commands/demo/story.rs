//! What happens in the demo, step by step.

use std::fs;
use std::path::Path;
use std::time::Duration;

use file_sync_server::api::command::{FileUp, OnDirectory, RemoteAdd, RemoteInvite, SyncUp, SyncWait};
use file_sync_server::api::names::{DirectoryName, LocalPath, RemoteName, Target};
use file_sync_server::api::types::{DirectoryDone, Invitation, Mode, Offered, Remote, Synced};

use super::device::Device;
use super::{at, say};
use crate::commands::sync_wait;
use crate::console::Console;
use crate::failure::Failure;

const DIRECTORY: &str = "docs";
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Plays all steps.
///
/// # Errors
/// When one fails.
pub async fn tell(anna: &Device, ben: &Device, console: Console) -> Result<(), Failure> {
    pair(anna, ben, console).await?;
    share(anna, ben, console).await?;
    edit_and_rename(anna, ben, console).await?;
    conflict(anna, ben, console).await?;
    delete(anna, ben, console).await
}

async fn pair(anna: &Device, ben: &Device, console: Console) -> Result<(), Failure> {
    say(console, "\npairing: anna invites (remote invite), ben takes the ticket (remote add)")?;
    let invitation: Invitation =
        anna.client().post("/v1/remotes/invite", &RemoteInvite { expires_seconds: 60 }).await?;
    let request = RemoteAdd { name: remote_name("anna"), ticket: invitation.ticket };
    let _: Remote = ben.client().post("/v1/remotes", &request).await?;
    say(console, "  each side knows the other's key now")
}

async fn share(anna: &Device, ben: &Device, console: Console) -> Result<(), Failure> {
    say(console, "\nanna offers a directory (file up), ben joins it (sync up)")?;
    let root = anna.root();
    for directory in [root.clone(), root.join("letters"), root.join("empty")] {
        fs::create_dir(&directory).map_err(|error| at(&directory, error))?;
    }
    write(&root.join("plan.txt"), "1. write\n2. sync\n")?;
    write(&root.join("draft.txt"), "a first draft\n")?;
    write(&root.join("old.txt"), "no longer needed\n")?;
    write(&root.join("letters/aunt.txt"), "dear aunt\n")?;
    write(&root.join("photo.raw"), &"pixels ".repeat(100_000))?;
    let link = root.join("latest");
    std::os::unix::fs::symlink("letters/aunt.txt", &link).map_err(|error| at(&link, error))?;
    let offer = FileUp { path: path(&root), name: directory_name(), to: Vec::new(), read_only: false };
    let _: Offered = anna.client().post("/v1/files", &offer).await?;
    let join = SyncUp {
        remote: remote_name("anna"),
        name: directory_name(),
        path: path(&ben.root()),
        mode: Mode::TwoWay,
    };
    let _: Synced = ben.client().post("/v1/syncs", &join).await?;
    settle(anna, ben).await?;
    list(ben, console)
}

async fn edit_and_rename(anna: &Device, ben: &Device, console: Console) -> Result<(), Failure> {
    say(console, "\nben edits plan.txt, anna renames letters to post")?;
    write(&ben.root().join("plan.txt"), "1. write\n2. sync\n3. rest\n")?;
    rename(anna, "letters", "post")?;
    settle(anna, ben).await?;
    let plan = anna.root().join("plan.txt");
    let text = fs::read_to_string(&plan).map_err(|error| at(&plan, error))?;
    say(console, &format!("  anna's plan.txt says now: {text:?}"))?;
    list(ben, console)
}

async fn conflict(anna: &Device, ben: &Device, console: Console) -> Result<(), Failure> {
    say(console, "\nben pauses (sync pause), both edit draft.txt, ben goes on (sync resume)")?;
    on_directory(ben, "/v1/syncs/pause").await?;
    write(&anna.root().join("draft.txt"), "anna's second draft\n")?;
    write(&ben.root().join("draft.txt"), "ben's second draft\n")?;
    on_directory(ben, "/v1/syncs/resume").await?;
    settle(anna, ben).await?;
    say(console, "  the newer one keeps the name, the other is a conflict copy beside it:")?;
    list(anna, console)
}

async fn delete(anna: &Device, ben: &Device, console: Console) -> Result<(), Failure> {
    say(console, "\nanna deletes old.txt, ben deletes photo.raw")?;
    for path in [anna.root().join("old.txt"), ben.root().join("photo.raw")] {
        fs::remove_file(&path).map_err(|error| at(&path, error))?;
    }
    settle(anna, ben).await?;
    list(ben, console)
}

/// Waits on both sides until each has what the other had.
async fn settle(anna: &Device, ben: &Device) -> Result<(), Failure> {
    let timeout_ms = u64::try_from(WAIT_MAX.as_millis()).expect("twenty seconds fit");
    // Ben first: it is he who joins and resumes, and only then does anna have somebody to wait for.
    for device in [ben, anna] {
        sync_wait::wait(&SyncWait { target: None, timeout_ms, tells_late: false }, &device.client()).await?;
    }
    Ok(())
}

async fn on_directory(device: &Device, route: &str) -> Result<(), Failure> {
    let target = Target { name: Some(DIRECTORY.to_owned()), path: path(&device.root()) };
    let _: DirectoryDone = device.client().post(route, &OnDirectory { target }).await?;
    Ok(())
}

/// Says what a device holds.
fn list(device: &Device, console: Console) -> Result<(), Failure> {
    let root = device.root();
    let tree = super::tree::read(&root).map_err(|error| at(&root, error))?;
    let names: Vec<String> = tree.keys().map(|path| path.display().to_string()).collect();
    say(console, &format!("  {} has: {}", device.name(), names.join(", ")))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| at(path, error))
}

fn rename(device: &Device, from: &str, to: &str) -> Result<(), Failure> {
    let (from, to) = (device.root().join(from), device.root().join(to));
    fs::rename(&from, to).map_err(|error| at(&from, error))
}

fn path(path: &Path) -> LocalPath {
    LocalPath::new(path.to_owned()).expect("temporary directories are absolute")
}

fn remote_name(text: &str) -> RemoteName {
    text.parse().expect("a valid name")
}

fn directory_name() -> DirectoryName {
    DIRECTORY.parse().expect("a valid name")
}
