//! A device as the model sees it: a tree, a disk that is exactly its projection, and a user who acts on that disk.
//!
//! A user's act is a change of the disk; the device finds out what was done by comparing, as a scan would.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use file_sync_core::path::SyncPath;
use file_sync_core::record::{Record, Stat};
use file_sync_core::register::Register;
use file_sync_core::tree::{Act, Tree};
use file_sync_core::version::{Actor, Changed, Content, ContentHash, DeviceId, Dot, Time, Value};

/// What is on a disk.
pub type Disk = BTreeMap<SyncPath, Value>;

/// One member.
#[derive(Clone)]
pub struct Device {
    pub tree: Tree,
    pub disk: Disk,
    actor: Actor,
    counter: u64,
}

/// One path that an act of the user changed.
pub struct Change {
    pub path: SyncPath,
    pub before: Content,
    pub after: Content,
    /// The time by which what was put there competes for the name.
    pub rank: Time,
    /// Whether the core was told: a directory that only exists for what is below is deleted by deleting that.
    pub is_told: bool,
}

impl Device {
    pub fn new(number: u8) -> Device {
        let actor = Actor { device: DeviceId([number + 1; 32]), epoch: 1 };
        Device { tree: Tree::default(), disk: Disk::new(), actor, counter: 0 }
    }

    /// The user turns the disk into `wanted`; the device tells its tree, and the disk follows the tree.
    pub fn change(&mut self, wanted: &Disk, rank: Time) -> Vec<Change> {
        let paths: BTreeSet<SyncPath> = self.disk.keys().chain(wanted.keys()).cloned().collect();
        let mut changes = Vec::new();
        for path in paths {
            let (before, after) = (self.disk.get(&path).cloned(), wanted.get(&path).cloned());
            if before == after {
                continue;
            }
            let before_content = before.as_ref().map_or(Content::Absent, Value::content);
            let after_content = after.as_ref().map_or(Content::Absent, Value::content);
            let is_told = after.is_some() || self.tree.holds_content(&path, before_content);
            if is_told {
                self.act(&path, before.as_ref(), after.as_ref(), rank);
            }
            self.tree.set_record(&path, after.as_ref().map(record));
            let rank = after.as_ref().and_then(Value::mtime).unwrap_or(rank);
            changes.push(Change { path, before: before_content, after: after_content, rank, is_told });
        }
        self.disk = wanted.clone();
        self.follow();
        changes
    }

    fn act(&mut self, path: &SyncPath, before: Option<&Value>, after: Option<&Value>, rank: Time) {
        self.counter += 1;
        let before_value = before.unwrap_or(&Value::ABSENT);
        let value = after.cloned().unwrap_or(Value::Absent {
            directory_mode: match before_value {
                Value::Directory { mode } => Some(*mode),
                _ => None,
            },
        });
        let is_other_kind = discriminant(&value) != discriminant(before_value);
        let changed = Changed {
            content: value.content() != before_value.content(),
            mode: is_other_kind || value.mode() != before_value.mode(),
            mtime: is_other_kind || value.mtime() != before_value.mtime(),
        };
        self.tree.act(Act {
            path: path.clone(),
            before: before_value.content(),
            rank: value.mtime().unwrap_or(rank),
            value,
            changed,
            dot: Dot { actor: self.actor, counter: self.counter },
        });
    }

    /// Merges the other's registers, in the order given, and lets the disk follow; true if anything was learnt.
    pub fn receive<'a>(&mut self, entries: impl IntoIterator<Item = &'a (SyncPath, Register)>) -> bool {
        let is_news = self.hear(entries);
        self.follow();
        is_news
    }

    /// The same for a disk that does not follow yet.
    pub fn hear<'a>(&mut self, entries: impl IntoIterator<Item = &'a (SyncPath, Register)>) -> bool {
        entries
            .into_iter()
            .fold(false, |is_news, (path, register)| self.tree.merge(path, register) || is_news)
    }

    /// All that this device would send, in the order of paths.
    pub fn entries(&self) -> Vec<(SyncPath, Register)> {
        let told = self.tree.iter().filter(|(_, node)| !node.register.is_empty());
        told.map(|(path, node)| (path.clone(), node.register.clone())).collect()
    }

    /// Makes the disk what the tree says, where that may have changed.
    fn follow(&mut self) {
        for path in self.tree.take_stale() {
            let value = self.tree.project(&path).value;
            self.tree.set_record(&path, value.is_present().then(|| record(&value)));
            if value.is_present() {
                self.disk.insert(path, value);
            } else {
                self.disk.remove(&path);
            }
        }
        self.tree.take_stale();
        self.tree.take_changed();
    }

    /// Compares all that is kept in step with the same, derived anew from the registers.
    ///
    /// # Errors
    /// Says what differs.
    pub fn check_derived(&self) -> Result<(), String> {
        let mut anew = Tree::default();
        anew.load(
            self.tree
                .iter()
                .map(|(path, node)| (path.clone(), node.register.clone(), node.record, node.sequence))
                .collect(),
        );
        let paths: Vec<SyncPath> = anew.take_stale().into_iter().collect();
        if let Some(path) = paths.iter().find(|path| anew.project(path) != self.tree.project(path)) {
            return Err(format!(
                "{path} was kept as {:?}, derived anew it is {:?}",
                self.tree.project(path),
                anew.project(path)
            ));
        }
        if anew != self.tree {
            return Err("what is derived was not kept in step".to_owned());
        }
        let disk: Disk = paths
            .into_iter()
            .map(|path| (path.clone(), anew.project(&path).value))
            .filter(|(_, v)| v.is_present())
            .collect();
        if disk != self.disk {
            Err(format!("disk is not the projection: {:?} {disk:?}", self.disk))
        } else {
            Ok(())
        }
    }
}

fn record(value: &Value) -> Record {
    let zero = Time::default();
    let stat = Stat {
        device: 0,
        inode: 0,
        size: 0,
        mode: value.mode().unwrap_or(0),
        mtime: value.mtime().unwrap_or(zero),
        ctime: zero,
    };
    Record { content: value.content(), stat }
}

/// A file whose bytes are `text`.
pub fn file(text: &str, mtime: Time) -> Value {
    Value::File { content: ContentHash::of(text.as_bytes()), length: text.len() as u64, mode: 0o644, mtime }
}

/// A path from text.
pub fn path(text: &str) -> SyncPath {
    SyncPath::parse(text.as_bytes()).expect("a valid path")
}
