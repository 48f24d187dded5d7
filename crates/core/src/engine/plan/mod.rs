//! Bringing the disk to the projection.
//!
//! Every path whose register or record changed is assessed: is the disk as it should be, and if not, what would make
//! it so? What can be done now becomes one batch of ops (a *round*); results change records, and what they touch is
//! assessed again. Nothing is planned before the first walk has told what the disk holds, and nothing is remembered
//! that a new assessment would not find.

mod applied;
mod doubts;
mod hearing;
mod implied;
mod left;
mod round;

use std::collections::{BTreeMap, BTreeSet};

pub use self::doubts::Doubt;
use self::doubts::Doubts;
use self::left::Left;
use super::{Effect, Engine, Mode, RootState};
use crate::conflict::origins;
use crate::effect::TroubleKind;
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::record::Record;
use crate::tree::Tree;
use crate::version::{Content, DeviceId, Time, Value};

#[derive(Debug, Default)]
pub(super) struct Planner {
    /// Paths to assess.
    todo: BTreeSet<SyncPath>,
    /// Files that are to be put, and that the last round had no room for.
    left: Left,
    /// Paths whose disk is not as it should be.
    pub(super) needed: BTreeSet<SyncPath>,
    /// Everything was assessed since the start, so that what is needed is known.
    pub(super) is_assessed: bool,
    /// Removals and moves that wait for the rest of what a remote is saying.
    deferred: BTreeSet<SyncPath>,
    deferred_since: Option<u64>,
    /// When a remote has said something last.
    heard_at_ms: u64,
    /// It took too long: nothing waits any more until all that was announced has been said.
    has_heard_enough: bool,
    /// This device's number of the last change that was said in several parts; none yet while there is more to come.
    heard_through: Option<u64>,
    is_applying: bool,
    /// The paths that the ops under way are at work on, and those whose registers say what a copy there is.
    applying: BTreeSet<SyncPath>,
    /// Directories that could not be moved as they are, so that their items are moved one by one.
    unmovable: BTreeSet<SyncPath>,
    /// Paths that were found to be something else than recorded, until they are looked at.
    unsure: BTreeSet<SyncPath>,
    pub(super) doubts: Doubts,
    /// Paths whose change waits until what it follows from is durable.
    awaiting_commit: BTreeSet<SyncPath>,
    /// Directories made for what is to lie in them alone, whose records are in no commit yet, or in the one under way.
    implied: BTreeSet<SyncPath>,
    implied_under_way: BTreeSet<SyncPath>,
    /// Copies that are removed once their paths show their values again.
    held_back: BTreeSet<SyncPath>,
    /// How often in a row a path was found to be something else than expected.
    surprises: BTreeMap<SyncPath, u32>,
    /// The remote that a needed path was last heard of from.
    origins: BTreeMap<SyncPath, DeviceId>,
    /// The remote whose register this one now equals, until the change is numbered.
    exact_origins: BTreeMap<SyncPath, DeviceId>,
}

impl Planner {
    /// Has a path assessed (again).
    pub(super) fn reconsider(&mut self, path: SyncPath) {
        if !path.is_root() {
            self.todo.insert(path);
        }
    }

    /// A path was looked at, and what was found there is minted.
    pub(super) fn is_sure(&mut self, path: &SyncPath) {
        if self.unsure.remove(path) {
            self.reconsider(path.clone());
            origins(path).into_iter().for_each(|origin| self.reconsider(origin));
        }
    }

    /// The paths of which nothing is assessed before they were looked at.
    pub(super) fn unsure(&self) -> impl Iterator<Item = SyncPath> + use<> {
        self.unsure.clone().into_iter()
    }

    /// True where a stop may have left something that could not be looked at yet.
    pub(super) fn is_doubtful(&self, path: &SyncPath) -> bool {
        self.doubts.is_about(path)
    }

    /// What was merged up to now is durable.
    pub(super) fn is_committed(&mut self) {
        self.todo.append(&mut self.awaiting_commit);
        self.implied_under_way.clear();
        self.doubts.is_committed();
    }

    /// What was noted up to now is in a commit that is under way.
    pub(super) fn is_being_committed(&mut self) {
        self.implied_under_way = std::mem::take(&mut self.implied);
    }

    pub(super) fn reconsider_all(&mut self, tree: &Tree) {
        self.todo.extend(tree.paths().cloned());
    }

    pub(super) fn note_origin(&mut self, path: &SyncPath, device: DeviceId, is_same: bool) {
        self.origins.insert(path.clone(), device);
        if is_same {
            self.exact_origins.insert(path.clone(), device);
        } else {
            self.exact_origins.remove(path);
        }
    }

    pub(super) fn origin(&self, path: &SyncPath) -> Option<DeviceId> {
        self.origins.get(path).copied()
    }

    pub(super) fn exact_origin(&self, path: &SyncPath) -> Option<DeviceId> {
        self.exact_origins.get(path).copied()
    }

    /// A path was changed here: nobody has it so yet.
    pub(super) fn is_changed_here(&mut self, path: &SyncPath) {
        self.exact_origins.remove(path);
    }

    pub(super) fn forget_exact_origins(&mut self) {
        self.exact_origins.clear();
    }

    /// True once everything was assessed since the start and nothing waits to be.
    pub(super) fn has_settled(&self) -> bool {
        self.is_assessed && !self.is_applying && self.has_assessed_all()
    }

    fn has_assessed_all(&self) -> bool {
        self.todo.is_empty() && self.left.is_empty() && self.deferred.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_idle_but_for(&BTreeSet::new())
    }

    /// True if nothing is to be done but at these paths.
    pub(super) fn is_idle_but_for(&self, pending: &BTreeSet<SyncPath>) -> bool {
        !self.is_applying
            && self.has_assessed_all()
            && self.needed.len() <= pending.len()
            && self.needed.is_subset(pending)
    }
}

/// What an assessment says.
enum Assessment {
    /// The disk is as it should be, or is rightly left as it is.
    Fine,
    /// Something is at work on the path, or it is in trouble: it is assessed again when that is over.
    NotNow,
    /// The disk should hold this.
    Change(Value),
}

impl Engine {
    /// True if this engine changes the disk at all at present.
    pub(super) fn may_change_disk(&self) -> bool {
        self.root == RootState::Proved
            && self.observer.is_ready
            && self.observer.knows_root()
            && !self.paused
            && self.config.mode != Mode::SendOnly
    }

    pub(super) fn advance_plan(&mut self) {
        let stale = self.tree.take_stale();
        if !stale.is_empty() {
            self.totals.take();
        }
        self.planner.todo.extend(stale.into_iter().filter(|path| !path.is_root()));
        self.note_parts();
        if self.config.mode == Mode::SendOnly {
            self.planner.todo.clear();
        }
        if !self.may_change_disk() || self.planner.is_applying {
            return;
        }
        self.take_up_deferred();
        let mut changes = BTreeMap::new();
        let mut todo = std::mem::take(&mut self.planner.todo);
        if !todo.is_empty() || !self.planner.left.is_empty() {
            todo.append(&mut self.planner.held_back); // What they waited for may have come to nothing.
        }
        if !self.may_leave() {
            todo.extend(self.planner.left.take_all());
        }
        while let Some(path) = todo.pop_first() {
            self.planner.left.remove(&path);
            if let Some(value) = self.consider(&path) {
                todo.extend(self.clear_way(&path, &value));
                if self.gives_way(&path, &value) {
                    todo.extend(self.planner.left.take_all());
                }
                changes.insert(path, value);
            }
        }
        if !std::mem::replace(&mut self.planner.is_assessed, true) {
            self.await_needed();
        }
        let n_held = self.n_held();
        let ops = self.plan_round(changes);
        if ops.is_empty() {
            if self.n_held() > n_held {
                self.advance_plan(); // What is held is as it should be for the moment.
            }
            return;
        }
        for path in ops.iter().flat_map(round::touched) {
            self.planner.applying.extend(origins(&path));
            self.planner.applying.insert(path.clone());
            self.busy.insert(path);
        }
        if is_made(Mistake::RemovalRecordedFirst) {
            self.record_removals(&ops);
        }
        self.planner.is_applying = true;
        self.effects.push(Effect::Apply(ops));
    }

    /// True if the ops under way follow from what this path's register was before it changed.
    ///
    /// Its change is not made durable before they have ended, and then with the records of what they did: else a crash
    /// would leave a disk that neither records nor registers account for, and that would be taken for a user's.
    pub(super) fn is_being_applied(&self, path: &SyncPath) -> bool {
        let applying = &self.planner.applying;
        let is_gone = || self.tree.project(path).value.content() == Content::Absent;
        let is_for_what_lies_in_it = |above: &SyncPath| {
            let known = self.tree.get(above);
            let node = known.as_ref().map(|node| node.register.versions()).unwrap_or_default();
            !node.iter().any(|version| version.value.content() == Content::Directory)
        };
        let follows =
            |above: SyncPath| applying.contains(&above) && (is_for_what_lies_in_it(&above) || is_gone());
        !applying.is_empty() && (applying.contains(path) || path.ancestors().any(follows))
    }

    /// Gets the bytes of a value that may not be put in place yet.
    pub(in super::super) fn fetch_ahead(&mut self, path: &SyncPath, value: &Value) {
        let Value::File { content, length, .. } = value else { return };
        if !self.has_bytes(content) {
            self.want(*content, *length, path);
        }
    }

    /// Assesses a path, and notes what follows; returns what the disk should hold there if that can be done now.
    fn consider(&mut self, path: &SyncPath) -> Option<Value> {
        match self.assess(path) {
            Assessment::Fine => self.is_fine(path),
            Assessment::NotNow => {
                self.planner.needed.insert(path.clone());
            }
            Assessment::Change(value) => {
                self.planner.needed.insert(path.clone());
                let is_early = self.commits.is_uncommitted(path) || self.is_in_implied(path);
                if !is_early && !self.planner.doubts.is_stored(path) {
                    return Some(value);
                }
                self.fetch_ahead(path, &value);
                self.planner.awaiting_commit.insert(path.clone());
            }
        }
        None
    }

    /// True if something has to go from a path for what is to be there: another path may be to get it.
    fn gives_way(&self, path: &SyncPath, value: &Value) -> bool {
        let (record, content) = (self.tree.record(path), value.content());
        record.is_some_and(|record| {
            record.content != content && !(record.content.is_bytes() && content.is_bytes())
        })
    }

    fn is_fine(&mut self, path: &SyncPath) {
        self.holds.is_fine(path);
        self.planner.needed.remove(path);
        self.planner.origins.remove(path);
        self.planner.surprises.remove(path);
        self.path_is_applied(path);
    }

    fn assess(&mut self, path: &SyncPath) -> Assessment {
        let value = self.tree.project(path).value;
        let record = self.tree.record(path);
        let is_directory = matches!(value, Value::Directory { .. })
            || record.is_some_and(|record| record.content == Content::Directory);
        if self.is_ignored(path, is_directory) || self.is_left_alone(path) {
            return Assessment::Fine;
        }
        if self.is_held(path) {
            return Assessment::Fine;
        }
        let record = self.tree.record(path);
        if matches!(value, Value::Directory { .. }) && self.is_not_empty(path) {
            self.troubles.remove(path); // It has to stay after all.
        }
        if self.is_as_shown(&value, record.as_ref()) && !self.is_damaged(path) {
            return Assessment::Fine;
        }
        if is_made(Mistake::LocalWins) && self.is_loser(path) {
            return Assessment::Fine;
        }
        if self.is_made_alike(path, &value) {
            return Assessment::Fine;
        }
        if self.local_changes.contains_key(path) && self.is_local_change_kept(path, &value) {
            return Assessment::Fine;
        }
        match self.troubles.get(path) {
            // A directory that still holds what is ignored stays, and that is no trouble.
            Some(_) if self.is_not_empty(path) => {
                self.fetch_for_others(path, &value);
                Assessment::Fine
            }
            Some(_) => Assessment::NotNow,
            None if self.busy.contains(path) || self.planner.unsure.contains(path) => Assessment::NotNow,
            None if self.is_copy_unsure(path, &value) => Assessment::NotNow,
            None if self.is_in_place_of_directory(path, &value) => Assessment::NotNow,
            None => Assessment::Change(value),
        }
    }

    /// True if a file is where the registers want a directory, and it is not known yet whether what they say lies in it
    /// went when the file came.
    fn is_in_place_of_directory(&self, path: &SyncPath, value: &Value) -> bool {
        matches!(value, Value::Directory { .. })
            && self.tree.record(path).is_some_and(|record| record.content.is_bytes())
            && self.is_found_out_below(path)
    }

    /// True for a directory that could not be removed because of what it still holds.
    pub(super) fn is_not_empty(&self, path: &SyncPath) -> bool {
        self.troubles.get(path).is_some_and(|(trouble, _)| trouble.kind == TroubleKind::NotEmpty)
    }

    /// True if a copy that is to take its name back was found to be something else, or is at this moment being found out
    /// about: a user may just have dealt with it.
    fn is_copy_unsure(&self, path: &SyncPath, value: &Value) -> bool {
        let is_shown_at = |copy: &SyncPath| {
            self.tree.record(copy).is_some_and(|record| record.content == value.content())
                && origins(copy).contains(path)
        };
        let is_found_out = || {
            let copy = self.copy_to_take_back(path, value.content());
            copy.is_some_and(|copy| self.is_found_out_about(&copy))
        };
        value.is_present() && (self.planner.unsure.iter().any(is_shown_at) || is_found_out())
    }

    /// The copy at which this disk shows a value that is to be put at its path.
    fn copy_to_take_back(&self, path: &SyncPath, content: Content) -> Option<SyncPath> {
        if self.tree.record(path).is_some_and(|record| record.content == content) {
            return None;
        }
        let (copy, _) = self.tree.shown_as_copy(path, content)?;
        // Of what is ignored or left alone the record may say what is long gone, and of what cannot be looked at, too, where
        // an op has found that it is not so.
        let is_held = match content {
            Content::File(hash) => self.holders.is_at(&hash, &copy, &self.tree),
            _ => !self.troubles.contains_key(&copy),
        };
        (is_held && !self.is_frozen(&copy)).then_some(copy)
    }

    /// True if what is on the disk is what ought to be there.
    pub(super) fn is_as_shown(&self, value: &Value, record: Option<&Record>) -> bool {
        match (value, record) {
            (Value::Absent { .. }, None) => true,
            (Value::Absent { .. }, Some(_)) | (_, None) => false,
            (value, Some(record)) => {
                record.content == value.content()
                    && value.mode().is_none_or(|mode| mode == record.stat.mode)
                    && value.mtime().is_none_or(|mtime| self.is_stored_as(mtime, record.stat.mtime))
            }
        }
    }

    /// True if the file system would store `asked` as `stored`.
    pub(super) fn is_stored_as(&self, asked: Time, stored: Time) -> bool {
        let step = i128::from(self.config.time_step_ns.max(1));
        let nanoseconds =
            |time: Time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
        let step = if is_made(Mistake::TimeStepForgotten) { 1 } else { step };
        nanoseconds(asked).div_euclid(step) == nanoseconds(stored).div_euclid(step)
    }

    /// True for what is no file, directory or symlink, for mounts, and for all below them.
    pub(super) fn is_left_alone(&self, path: &SyncPath) -> bool {
        !self.unsupported.is_empty()
            && (self.unsupported.contains_key(path.as_bytes())
                || path.ancestors().any(|above| self.unsupported.contains_key(above.as_bytes())))
    }

    /// On a member that may not send: what was made here and elsewhere alike, mode and time included, is no local change any
    /// more; else it would stay when it is changed elsewhere again.
    fn is_made_alike(&mut self, path: &SyncPath, value: &Value) -> bool {
        let Some(Some(local)) = self.local_changes.get(path) else { return false };
        if self.busy.contains(path) || !value.is_present() || !self.is_as_shown(value, Some(local)) {
            return false;
        }
        let local = self.local_changes.remove(path).flatten();
        self.set_record(path, local);
        true
    }

    /// On a member that may not send: a local change stays until there is a version newer than the one it changed.
    fn is_local_change_kept(&mut self, path: &SyncPath, value: &Value) -> bool {
        let known = self.tree.record(path).map_or(Content::Absent, |record| record.content);
        if value.content() == known {
            return true;
        }
        let is_gone = matches!(self.local_changes.get(path), Some(None));
        if is_gone {
            self.local_changes.remove(path);
            self.set_record(path, None);
            return !value.is_present();
        }
        if !value.is_present() {
            self.set_record(path, None); // Deleted elsewhere, changed here: what is here was made here.
            return true;
        }
        false
    }

    /// On a member that may not send: where a directory was deleted or replaced here, and something newer is to be put
    /// into it, it is needed again; what took its place is only here. Returns what has to be assessed for that.
    fn clear_way(&mut self, path: &SyncPath, value: &Value) -> Vec<SyncPath> {
        if self.local_changes.is_empty() || !value.is_present() {
            return Vec::new();
        }
        let is_in_the_way = |above: &SyncPath| {
            let is_no_directory = |local: &Option<Record>| {
                local.as_ref().is_none_or(|local| local.content != Content::Directory)
            };
            self.local_changes.get(above).is_some_and(is_no_directory) && self.tree.record(above).is_some()
        };
        let blocked: Vec<SyncPath> = path.ancestors().filter(is_in_the_way).collect();
        for above in &blocked {
            if matches!(self.local_changes.get(above), Some(None)) {
                self.local_changes.remove(above);
            }
            self.set_record(above, None);
        }
        blocked
    }

    /// For [`Mistake::LocalWins`]: what lost the name is on the disk.
    fn is_loser(&self, path: &SyncPath) -> bool {
        let Some(record) = self.tree.record(path) else { return false };
        self.tree.project(path).losers.iter().any(|loser| loser.value.content() == record.content)
    }
}
