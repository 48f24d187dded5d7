//! Resolving a conflict: which of its versions stays, as ops like any of a user's.

use std::collections::BTreeMap;

use file_sync_core::effect::{Op, Source};
use file_sync_core::engine::Conflict;
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Kind, Seen};
use file_sync_core::version::Content;

use super::{Editor, has_changed, in_the_way};
use crate::api::command::{Keep, Refusal};
use crate::room::lock;

/// What was done to resolve a conflict: which copies there were, and where those are that stay.
pub(crate) struct Settled {
    pub(crate) path: SyncPath,
    pub(crate) copies: Vec<SyncPath>,
    pub(crate) renamed: Vec<SyncPath>,
    /// True if a copy has its path's place now.
    pub(crate) is_taken: bool,
    /// Copies of the same path that are still to be dealt with.
    pub(crate) left: Vec<SyncPath>,
}

impl Editor {
    /// Resolves the conflict that a path, or a copy, is in.
    ///
    /// # Errors
    /// When it is in none, when it has to be said which copy is meant, or when something has just changed.
    pub(crate) fn resolve(&self, path: &SyncPath, keep: Keep) -> Result<Settled, Refusal> {
        let conflicts = lock(&self.engine).conflicts();
        let named = conflicts.iter().find(|conflict| conflict.copy == *path);
        let (is_copy, meant): (bool, Vec<&Conflict>) = match named {
            Some(conflict) => (true, vec![conflict]),
            None => (false, conflicts.iter().filter(|conflict| conflict.path == *path).collect()),
        };
        let Some(first) = meant.first() else {
            let name = if path.is_root() { "the directory itself".to_owned() } else { path.to_string() };
            return Err(Refusal::new(format!(
                "{name} is in no conflict (any more); `file-sync conflicts` lists what is"
            )));
        };
        let copies: Vec<SyncPath> = meant.iter().map(|conflict| conflict.copy.clone()).collect();
        let mut renamed = Vec::new();
        match (keep, is_copy) {
            (Keep::This, false) | (Keep::Other, true) => self.apply(self.removing(&copies)?)?,
            (Keep::Other, false) if meant.len() > 1 => {
                let names: Vec<String> = copies.iter().map(ToString::to_string).collect();
                return Err(Refusal::new(format!(
                    "{path} has {} copies; name the one that is to stay, with --keep this: {}",
                    names.len(),
                    names.join(", ")
                )));
            }
            (Keep::Other, false) | (Keep::This, true) => {
                self.apply(self.taking(first)?)?;
                self.apply(self.removing(&copies)?)?;
            }
            (Keep::Both, _) => {
                let (ops, names) = self.renaming(&meant)?;
                self.apply(ops)?;
                renamed = names;
            }
        }
        let is_taken = matches!((keep, is_copy), (Keep::Other, false) | (Keep::This, true));
        let same = conflicts.iter().filter(|conflict| conflict.path == first.path);
        let left = same.map(|conflict| conflict.copy.clone()).filter(|copy| !copies.contains(copy));
        Ok(Settled { path: first.path.clone(), renamed, is_taken, left: left.collect(), copies })
    }

    fn removing(&self, copies: &[SyncPath]) -> Result<Vec<Op>, Refusal> {
        let engine = lock(&self.engine);
        let remove = |copy: &SyncPath| {
            let expect = engine.on_disk(copy).ok_or_else(|| has_changed(copy))?;
            Ok(Op::Remove { path: copy.clone(), expect })
        };
        copies.iter().map(remove).collect()
    }

    /// What puts a copy in its path's place.
    fn taking(&self, conflict: &Conflict) -> Result<Vec<Op>, Refusal> {
        let Conflict { path, copy, .. } = conflict;
        let expect = self.on_disk(path);
        if expect.as_ref().is_some_and(|record| record.content == Content::Directory) {
            return Err(Refusal::new(format!(
                "{path} is a directory, which gives way to nothing here; keep it, keep both, or move it yourself"
            )));
        }
        let shown = self.on_disk(copy).ok_or_else(|| has_changed(copy))?;
        let (path, mode, mtime) = (path.clone(), shown.stat.mode, shown.stat.mtime);
        match shown.content {
            Content::Symlink(_) => match self.root.look(copy) {
                Ok(Some(Seen { kind: Kind::Symlink(target), .. })) => {
                    Ok(vec![Op::PlaceSymlink { path, target, copy: Some(copy.clone()), expect }])
                }
                _ => Err(has_changed(copy)),
            },
            Content::File(content) => {
                let source = Source::Local { path: copy.clone() };
                Ok(vec![Op::Place { path, content, source, mode, mtime, expect }])
            }
            Content::Directory | Content::Absent => Err(has_changed(copy)),
        }
    }

    /// What gives copies names that no conflict gives.
    fn renaming(&self, conflicts: &[&Conflict]) -> Result<(Vec<Op>, Vec<SyncPath>), Refusal> {
        let engine = lock(&self.engine);
        let mut taken = BTreeMap::new();
        for conflict in conflicts {
            let expect = engine.on_disk(&conflict.copy).ok_or_else(|| has_changed(&conflict.copy))?;
            let mut names = (1..100).filter_map(|number| own_name(conflict, number));
            let is_there = |name: &SyncPath| engine.record(name).is_some() || engine.on_disk(name).is_some();
            let is_free = |name: &SyncPath| !is_there(name) && !taken.contains_key(name);
            let to = names.find(is_free).ok_or_else(|| in_the_way(&conflict.copy))?;
            taken.insert(to, (conflict.copy.clone(), expect));
        }
        let names = taken.keys().cloned().collect();
        let op = |(to, (from, expect))| Op::Move { from, expect, to, metadata: None };
        Ok((taken.into_iter().map(op).collect(), names))
    }
}

/// `NAME.of-DEVICE.EXT` beside a path, with a number from the second on.
fn own_name(conflict: &Conflict, number: u32) -> Option<SyncPath> {
    let name = conflict.path.name();
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let number = if number > 1 { format!("-{number}") } else { String::new() };
    let mark = format!(".of-{}{number}", conflict.device.short());
    conflict.path.parent()?.join(&[stem, mark.as_bytes(), extension].concat()).ok()
}
