//! Lives: whether this device's state is the last that went by its name, and what its dots carry until that is known.
//!
//! A home that was put back from a copy is behind what others heard of it. A device that was cloned, or a whole machine
//! that was put back to what it was, goes on beside what it became otherwise, and both number alike: neither is behind,
//! but what others heard last was said by a server that this home does not remember, or by one that it does, after this
//! one had begun (promise C5).
//!
//! Nothing on the machine itself tells that it was put back. Two lives must not give two versions one dot all the same:
//! who has heard of one would take the other for known, and for replaced. So the dots of every life carry an epoch of
//! their own; what differs between lives that went on from one state is then told apart like the work of two devices. It
//! costs a register one more actor for each life in which this device wrote to its path. What is resumed with its memory,
//! as a suspended virtual machine that goes on from an older image, is the same life twice; that is found out by the
//! numbers alone, when the next remote is met.

use std::collections::BTreeSet;

use super::{Engine, Incarnation};
use crate::message::Attach;
use crate::mistake::{Mistake, is_made};
use crate::tree::Act;
use crate::version::{Actor, ContentHash, DeviceId, Dot, Version};

/// The epochs that this device's dots carry.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// Of this life alone.
    this_life: u64,
    /// Of all lives that it remembers, under their common epoch.
    own: BTreeSet<u64>,
}

impl Epochs {
    pub(super) fn new(common: u64, incarnations: &[Incarnation]) -> Epochs {
        let of_life = |life: &Incarnation| {
            let hash = ContentHash::of(&[common.to_le_bytes(), life.number.to_le_bytes()].concat());
            u64::from_le_bytes(*hash.0.first_chunk().expect("a hash is longer"))
        };
        let own: BTreeSet<u64> = incarnations.iter().map(of_life).chain([common]).collect();
        Epochs { this_life: incarnations.last().map_or(common, of_life), own }
    }
}

impl Engine {
    /// Who makes dots here at present.
    pub(super) fn actor(&self) -> Actor {
        let epoch = match is_made(Mistake::EpochShared) {
            true => self.commits.counters.epoch,
            false => self.epochs.this_life,
        };
        Actor { device: self.config.device, epoch }
    }

    /// The number of this start.
    pub(super) fn incarnation(&self) -> u64 {
        self.config.incarnations.last().map_or(0, |life| life.number)
    }

    /// True for dots that this device makes, or has made in a life that it remembers.
    pub(super) fn is_own(&self, actor: &Actor) -> bool {
        actor.device == self.config.device && self.epochs.own.contains(&actor.epoch)
    }

    /// True for a dot of one of this device's lives that it did not make, as it remembers.
    pub(super) fn is_forgotten(&self, dot: &Dot) -> bool {
        self.is_own(&dot.actor) && dot.counter > self.commits.counters.counter
    }

    /// True if a remote remembers dots of this device's that this device does not: its state is older than it was.
    pub(super) fn has_lost_counters(&self, attach: &Attach) -> bool {
        let device = self.config.device;
        let mut heard = attach
            .counters
            .iter()
            .map(|(epoch, counter)| Dot { actor: Actor { device, epoch: *epoch }, counter: *counter });
        !is_made(Mistake::OldStateGoesOn) && heard.any(|dot| self.is_forgotten(&dot))
    }

    /// True if another server with this device's name and numbers has spoken to a remote since this one's memory ends.
    ///
    /// Only what the remote had from that server itself counts: what it has heard of this device through others may be of
    /// later starts than the last that it was linked to.
    pub(super) fn has_lived_elsewhere(&self, attach: &Attach) -> bool {
        let is_by_index = attach.known_index_id == self.commits.counters.index_id;
        if is_made(Mistake::CloneGoesOn) || attach.known_incarnation == 0 || !is_by_index {
            return false; // What the remote remembers is not in these numbers.
        }
        let lives = &self.config.incarnations;
        let Some(last) = lives.iter().position(|life| life.number == attach.known_incarnation) else {
            return true;
        };
        let ended = lives.get(last + 1).map_or(self.commits.counters.sequence, |next| next.began);
        attach.heard_sequence > ended
    }

    /// Begins a new numbering: what was told under the old one since it is known may have been of another life, so that
    /// all is told again, and dots carry a new epoch.
    pub(super) fn start_new_epoch(&mut self) {
        let incarnation = self.incarnation();
        let (old, began) = (self.actor(), self.commits.began);
        let counters = &mut self.commits.counters;
        let seed = [
            counters.epoch.to_le_bytes(),
            incarnation.to_le_bytes(),
            self.now.wall.seconds.to_le_bytes(),
            self.now.monotonic_ms.to_le_bytes(),
        ];
        let hash = ContentHash::of(&seed.concat());
        let number = |index: usize| {
            let bytes = hash.0[index * 8..].first_chunk().expect("a hash holds four numbers");
            u64::from_le_bytes(*bytes)
        };
        (counters.epoch, counters.index_id, counters.counter) = (number(0), number(1), 0);
        self.commits.began = *counters;
        self.epochs = Epochs::new(counters.epoch, &self.config.incarnations);
        self.commits.note_state();
        self.reissue(old, began.counter);
        self.tell_all_again();
    }

    /// Gives every value that this life made, and that is still shown, a dot of the new epoch, which replaces the old one:
    /// where this life goes on in another machine's memory too, the old one may stand for two values.
    fn reissue(&mut self, old: Actor, through: u64) {
        let versions = self.tree.iter().flat_map(|(path, node)| {
            node.register.versions().iter().map(move |version| (path.clone(), version.clone()))
        });
        let is_double = |(path, version): &(_, Version)| {
            let record = self.tree.record(path);
            version.dot.actor == old
                && version.dot.counter > through
                && record.is_some_and(|record| record.content == version.value.content())
        };
        let double: Vec<_> = versions.filter(is_double).collect();
        for (path, Version { value, changed, rank, .. }) in double {
            let (before, dot) = (value.content(), self.next_dot());
            self.tree.act(Act { path, before, value, changed, rank, dot });
        }
    }

    /// Makes all remotes forget how far they had come with this device's numbering.
    fn tell_all_again(&mut self) {
        self.attach_to_all();
        let devices: Vec<DeviceId> = self.peers.keys().copied().collect();
        for device in devices {
            let Some(peer) = self.peers.get_mut(&device) else { continue };
            peer.applied_ours = 0;
            if peer.is_attached() {
                self.fill_outbox(&device, 0);
            }
        }
    }
}
