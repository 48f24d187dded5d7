//! What has to be true of a tree after a round, and how what is not is called.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::device::Device;
use crate::tree::{Node, Tree, difference, tree_of};
use crate::world::files_below;

/// The names under which harm is counted.
pub const HARMS: [&str; 10] = [
    "lost",
    "resurrected",
    "phantom",
    "changed",
    "partial",
    "left in the stage",
    "outside touched",
    "not at rest",
    "errors left",
    "gave up",
];

/// Something that is not as it has to be.
#[derive(Debug)]
pub struct Harm {
    /// One of `HARMS`.
    pub name: &'static str,
    /// What was found.
    pub detail: String,
}

impl Harm {
    /// Names what was found.
    pub fn new(name: &'static str, detail: String) -> Harm {
        Harm { name, detail }
    }
}

impl std::fmt::Display for Harm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.detail)
    }
}

/// A device's tree is what the users' acts have left.
///
/// # Errors
/// When it is not.
pub fn is_as_acted(device: &Device, before: &Tree, after: &Tree) -> Result<(), Harm> {
    let found = tree_of(&device.root());
    let Some(difference) = difference(after, &found) else { return Ok(()) };
    let missing = |path: &&Vec<u8>| !found.contains_key(*path);
    let extra = |path: &&Vec<u8>| !after.contains_key(*path);
    let name = if after.keys().any(|path| missing(&path)) {
        "lost"
    } else if found.keys().filter(extra).any(|path| before.contains_key(path)) {
        "resurrected"
    } else if found.keys().any(|path| extra(&path)) {
        "phantom"
    } else {
        "changed"
    };
    Err(Harm::new(name, format!("as acted | on {}: {difference}", device.name)))
}

/// Nothing is left in the stage, and no error is listed.
///
/// # Errors
/// When there is.
pub fn is_tidy(device: &Device) -> Result<(), Harm> {
    let stage = device.root().join(".file-sync/stage");
    within(Duration::from_secs(20), "left in the stage", || {
        let left = files_below(&stage);
        (!left.is_empty()).then(|| format!("{left:?}"))
    })?;
    within(Duration::from_secs(20), "errors left", || {
        let errors = device.directory()["errors"].clone();
        (errors != json!([])).then(|| errors.to_string())
    })
}

fn within(limit: Duration, name: &'static str, found: impl Fn() -> Option<String>) -> Result<(), Harm> {
    let start = Instant::now();
    while let Some(found) = found() {
        if start.elapsed() > limit {
            return Err(Harm::new(name, found));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Every regular file below a root is one of these contents.
///
/// # Errors
/// When one is not.
pub fn nothing_unknown(root: &Path, known: &BTreeSet<&str>) -> Result<(), Harm> {
    for (path, node) in tree_of(root) {
        if hash_of(&node).is_some_and(|hash| !known.contains(hash)) {
            return Err(Harm::new("partial", format!("{}: {node:?}", String::from_utf8_lossy(&path))));
        }
    }
    Ok(())
}

/// The hash of a file's bytes.
pub fn hash_of(node: &Node) -> Option<&str> {
    match node {
        Node::File { hash, .. } => Some(hash),
        _ => None,
    }
}

/// Whether a device says that it is connected to all remotes; false if its server does not answer.
pub fn is_connected(device: &Device) -> bool {
    let output = device.run(["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let remotes = status["remotes"].as_array().cloned().unwrap_or_default();
    !remotes.is_empty() && remotes.iter().all(|remote| remote["connected"] == true)
}

/// What devices say of themselves.
pub fn state(devices: &[&Device]) -> String {
    let said = |device: &&Device| {
        let output = device.run(["status", "--json"]);
        format!("{}: {}\n{}", device.name, String::from_utf8_lossy(&output.stdout), device.log())
    };
    devices.iter().map(said).collect::<Vec<_>>().join("\n")
}
