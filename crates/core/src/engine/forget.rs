//! Forgetting what is known of deleted paths, once every member has followed (promise D3).
//!
//! What was deleted must not come back, whoever returns: so the register of a deleted path stays until the disk of every
//! member, whether it is connected or not, is known to be without it. Members say how far their disks have come with this
//! device's numbers, and that all they had done before is said ([`Progress::is_all_told`]). Of those that are only
//! connected to others one hears from these: once such a member's disk has followed all that they have, it has followed
//! what they had merged of ours ([`Progress::level`]).
//!
//! Nothing that is under way can bring back what is forgotten. A link keeps its order, and of a connected member its own
//! word alone counts: what it said before it followed has arrived before that. A member that is put back to an older state
//! has forgotten what it said; against that, deletes stay for a while longer, as long as kept versions do.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Engine, Now};
use crate::conflict::origins;
use crate::message::Progress;
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::tree::Node;
use crate::version::{Actor, DeviceId, Time, Value};

impl Engine {
    /// Forgets paths that were deleted before a time, where every member has followed. Costs a pass over all paths.
    pub fn forget_deleted(&mut self, now: Now, before: Time) -> Vec<Effect> {
        self.now = now;
        let Some(followed) = self.followed_by_all() else { return self.settle() };
        let is_old = |node: &Node| node.sequence <= followed && is_deleted_before(node, before);
        let old = self.tree.iter().filter(|(_, node)| is_old(node)).map(|(path, _)| path.clone());
        let old: Vec<SyncPath> = old.collect();
        if !old.is_empty() {
            self.forget(old);
            self.uncount_announced();
        }
        self.settle()
    }

    fn forget(&mut self, deleted: Vec<SyncPath>) {
        let highest = self.highest_counters();
        // What lies in a directory goes before it.
        for path in deleted.into_iter().rev() {
            let is_last = self.tree.get(&path).is_some_and(|node| is_last_of_an_actor(&node, &highest));
            if !is_last && !self.is_about_something(&path) {
                self.tree.forget(&path);
                self.commits.note_row(&path);
            }
        }
    }

    /// Up to which of this device's numbers all members' disks have followed; none where that cannot be told now.
    fn followed_by_all(&self) -> Option<u64> {
        let is_at_rest = self.observer.is_ready && self.observer.is_idle() && self.commits.is_idle();
        if !is_at_rest || self.paused || self.is_doubted() {
            return None;
        }
        if is_made(Mistake::ForgottenTooEarly) {
            return Some(self.commits.committed);
        }
        let others = self.members.iter().filter(|(_, member)| member.active).map(|(device, _)| device);
        let others = others.filter(|device| **device != self.config.device);
        let followed = others.map(|device| self.followed_by(device, None));
        followed.chain([self.commits.committed]).min()
    }

    /// Up to which of this device's numbers a member's disk has followed, as far as is known, but for what one other says.
    fn followed_by(&self, device: &DeviceId, but: Option<&DeviceId>) -> u64 {
        let peer = self.peers.get(device);
        let told = peer.map_or(0, |peer| peer.followed_ours);
        // What a connected member said before may be on its way: of the same link, its own word comes after that.
        if peer.is_some_and(super::peer::Peer::is_up) {
            return told;
        }
        let by = self.level.get(device).into_iter().flatten();
        told.max(by.filter(|(by, _)| Some(*by) != but).map(|(_, number)| *number).max().unwrap_or(0))
    }

    /// True if nothing is known here that a remote has not been told: what its users did before they followed it, say.
    pub(super) fn has_told_all(&self, to: &DeviceId) -> bool {
        // A directory that could not be removed is being looked through for what somebody has put there.
        let is_all_found = self.observer.is_ready && self.observer.is_idle();
        is_all_found
            && self.commits.is_idle()
            && self.members_due_ms.is_none()
            && self.peers.get(to).is_some_and(super::peer::Peer::is_told_all)
    }

    /// The members, but for one, whose disks have followed all that is known here, as far as that one has not said so itself.
    /// None, where others have said more than is taken in: who has followed that cannot be told by numbers.
    pub(super) fn level_members(&self, but: &DeviceId) -> BTreeSet<DeviceId> {
        if !self.has_told_all(but) || self.members.len() < 3 || self.refused().next().is_some() {
            return BTreeSet::new();
        }
        let others = self.members.iter().filter(|(_, member)| member.active).map(|(device, _)| *device);
        let others = others.filter(|device| device != but && *device != self.config.device);
        others.filter(|device| self.followed_by(device, Some(but)) >= self.commits.committed).collect()
    }

    /// A member says whose disks have followed all that it has, by its newest word. In a read-only offer only the author is
    /// believed: to the others it can be of use that something deleted comes back.
    pub(super) fn learn_level(&mut self, from: &DeviceId, progress: Option<&Progress>) {
        self.level.values_mut().for_each(|by| _ = by.remove(from));
        let Some(progress) = progress else { return };
        if self.config.only_author.is_some_and(|author| author != *from) {
            return;
        }
        for device in progress.level.iter().filter(|device| self.members.contains_key(*device)) {
            self.level.entry(*device).or_default().insert(*from, progress.merged);
        }
    }

    /// A member has followed no further than to this number, whatever it said, or others, before it was what it is now.
    pub(super) fn has_to_follow_anew(&mut self, device: &DeviceId, from: u64) {
        let is_level = self.level.get(device).into_iter().flatten().any(|(_, number)| *number > from);
        let has_followed = self.peers.get(device).is_some_and(|peer| peer.followed_ours > from);
        if let Some(peer) = self.peers.get_mut(device).filter(|_| has_followed) {
            peer.followed_ours = from;
            self.commits.note_state();
        }
        if is_level || has_followed {
            self.level.remove(device);
            // Others may have been told that it had followed.
            self.peers.values_mut().for_each(super::peer::Peer::is_told_nothing);
        }
    }

    /// The highest counter of each actor of which anything is heard: a register that has it stays, so that what an actor
    /// has done at last is remembered.
    fn highest_counters(&self) -> BTreeMap<Actor, u64> {
        let mut highest: BTreeMap<Actor, u64> = BTreeMap::new();
        for (_, node) in self.tree.iter() {
            for (actor, counter) in node.register.context().highest() {
                let known = highest.entry(*actor).or_default();
                *known = (*known).max(*counter);
            }
        }
        highest
    }

    /// True for a path that anything else is known of, or that something else depends on.
    fn is_about_something(&self, path: &SyncPath) -> bool {
        let settles = |origin: &SyncPath| {
            let known = self.tree.get(origin);
            let settled = known.as_ref().map(|node| node.register.settled()).unwrap_or_default();
            settled.iter().any(|settled| settled.copy.as_ref() == Some(path))
        };
        // The directory may be wanted again by what somebody still does below it, and then as it was.
        let has_below = self.tree.below(path).next().is_some();
        has_below
            || self.tree.project(path).value.is_present()
            || self.tree.is_landed_on(path)
            || self.tree.copies(path).next().is_some()
            || origins(path).iter().any(settles)
            || self.busy.contains(path)
            || self.planner.needed.contains(path)
            || self.planner.doubts.is_about_name(path)
            || self.holds.is_about(path)
            || self.local_changes.contains_key(path)
            || self.troubles.contains_key(path)
            || self.fallen_back.contains_key(path)
            || self.is_ignored(path, false)
            || self.is_ignored(path, true)
            || self.peers.values().any(|peer| peer.awaiting.contains_key(path))
    }
}

/// True if nothing but deletes that are older than this are known of a path.
fn is_deleted_before(node: &Node, before: Time) -> bool {
    let register = &node.register;
    let is_old_delete = |version: &crate::version::Version| {
        matches!(version.value, Value::Absent { .. }) && version.rank < before
    };
    node.record.is_none()
        && !register.versions().is_empty()
        && register.settled().iter().all(|settled| settled.copy.is_none())
        && register.context().foreign().is_empty()
        && register.versions().iter().all(is_old_delete)
}

fn is_last_of_an_actor(node: &Node, highest: &BTreeMap<Actor, u64>) -> bool {
    node.register.context().highest().iter().any(|(actor, counter)| highest.get(actor) == Some(counter))
}
