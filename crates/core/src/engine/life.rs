//! Lives: what the dots of each start carry, and whether this device's state is the last that went by its name.
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

use super::{Counters, Engine, Incarnation};
use crate::message::Attach;
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::register::Register;
use crate::tree::Act;
use crate::version::{Actor, Content, ContentHash, DeviceId, Dot, Version};

/// The epochs that this device's dots carry.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// Of this life alone.
    this_life: u64,
    /// Of all lives that it remembers, under their common epoch.
    own: BTreeSet<u64>,
    /// The highest counter of any life before this one, as far as this device remembers.
    counter_before: u64,
    /// How many were begun on remotes' bare word.
    n_on_word: u32,
}

/// So many epochs are begun on remotes' bare word in one life: each costs every register that this life wrote to one
/// actor more, and a machine is not resumed from an older image over and over.
const EPOCHS_ON_WORD_MAX: u32 = 4;

impl Epochs {
    pub(super) fn new(common: u64, counter_before: u64, incarnations: &[Incarnation]) -> Epochs {
        let of_life = |life: &Incarnation| {
            let hash = ContentHash::of(&[common.to_le_bytes(), life.number.to_le_bytes()].concat());
            u64::from_le_bytes(*hash.0.first_chunk().expect("a hash is longer"))
        };
        let own: BTreeSet<u64> = incarnations.iter().map(of_life).chain([common]).collect();
        Epochs { this_life: incarnations.last().map_or(common, of_life), own, counter_before, n_on_word: 0 }
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

    /// True for a life of this device that it does not remember: it was put back to an earlier image since, or cloned.
    pub(super) fn is_lost_life(&self, actor: &Actor) -> bool {
        actor.device == self.config.device && !self.is_own(actor)
    }

    /// Lives that this device remembers, and that went on after what it remembers of them, as is proved by what it signed at
    /// this path then: it was put back to an image of such a life, or is a clone.
    ///
    /// A dot proves that which no life before this one got as far as, and a version of which its path has never heard. The one
    /// alone is not enough, since this device may have counted on for some starts before it is told; nor is the other, since
    /// it may have heard of that version, and not of all that belongs to it, from whoever does not take others' word for that.
    pub(super) fn lives_cut_short(&self, path: &SyncPath, register: &Register) -> BTreeSet<Actor> {
        let node = self.tree.get(path);
        let is_news = |version: &Version| node.as_ref().is_none_or(|node| !node.register.knows(version));
        let is_later = |dot: &Dot| dot.actor != self.actor() && dot.counter > self.epochs.counter_before;
        let settled = register.settled().iter().map(|settled| &settled.version);
        let born_here = register.versions().iter().chain(settled).filter(|version| !version.is_foreign());
        let proofs = born_here.flat_map(|version| {
            let own = Some(version.dot).filter(|dot| is_later(dot) || is_news(version));
            own.into_iter().chain(version.replaced.iter().copied().filter(is_later))
        });
        proofs.map(|dot| dot.actor).filter(|actor| self.is_own(actor)).collect()
    }

    /// True for a dot of this very life that it did not make: it goes on elsewhere too, or has gone on.
    pub(super) fn is_forgotten(&self, dot: &Dot) -> bool {
        dot.actor == self.actor() && dot.counter > self.commits.counters.counter
    }

    /// True if a remote remembers more of this very life than this device does.
    pub(super) fn is_lived_twice(&self, attach: &Attach) -> bool {
        if is_made(Mistake::OldStateGoesOn) {
            return false;
        }
        let Counters { index_id, sequence, counter, .. } = self.commits.counters;
        let has_heard_more = attach.known_index_id == index_id
            && attach.known_incarnation == self.incarnation()
            && attach.known_incarnation != 0
            && heard(attach) > sequence;
        let highest = attach.counters.get(&self.actor().epoch);
        has_heard_more || highest.is_some_and(|highest| *highest > counter)
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
        let ended = lives[last + 1..].iter().map(|later| later.began).min();
        ended.is_some_and(|ended| heard(attach) > ended)
    }

    /// Goes on apart from whoever else went by this device's name.
    pub(super) fn part(&mut self, is_lived_twice: bool, is_proved: bool) {
        if is_lived_twice && (is_proved || self.epochs.n_on_word < EPOCHS_ON_WORD_MAX) {
            self.epochs.n_on_word += u32::from(!is_proved);
            self.start_new_epoch();
        } else {
            self.commits.counters.index_id = self.drawn()[1];
        }
        self.commits.note_state();
        self.tell_all_again();
    }

    /// Numbers that nobody has used.
    fn drawn(&self) -> [u64; 2] {
        let Counters { epoch, index_id, .. } = self.commits.counters;
        let wall = self.now.wall;
        let seed = [epoch, index_id, self.incarnation(), wall.seconds as u64, wall.nanoseconds.into()];
        let bytes: Vec<u8> =
            seed.iter().chain([&self.now.monotonic_ms]).flat_map(|number| number.to_le_bytes()).collect();
        let hash = ContentHash::of(&bytes);
        [0, 8].map(|at| u64::from_le_bytes(*hash.0[at..].first_chunk().expect("a hash holds four numbers")))
    }

    /// Begins a new epoch in the middle of a life: the dots that this life gave may have been given twice.
    fn start_new_epoch(&mut self) {
        let old = self.actor();
        let [epoch, index_id] = self.drawn();
        (self.commits.counters.epoch, self.commits.counters.index_id) = (epoch, index_id);
        let (n_on_word, counter) = (self.epochs.n_on_word, self.commits.counters.counter);
        self.epochs = Epochs { n_on_word, ..Epochs::new(epoch, counter, &self.config.incarnations) };
        self.reissue(old);
    }

    /// Gives what this life wrote and deleted a dot of the new epoch, which replaces the old one: that may stand for two
    /// values.
    fn reissue(&mut self, old: Actor) {
        let versions = self.tree.iter().flat_map(|(path, node)| {
            node.into_owned().register.into_versions().into_iter().map(|version| (path.clone(), version))
        });
        let is_double = |(path, version): &(_, Version)| {
            let recorded = self.tree.record(path).map_or(Content::Absent, |record| record.content);
            version.dot.actor == old && recorded == version.value.content()
        };
        let double: Vec<_> = versions.filter(is_double).collect();
        for (path, Version { value, changed, rank, .. }) in double {
            let (before, dot) = (value.content(), self.next_dot());
            self.tree.act(Act { path, before, value, changed, rank, dot });
        }
    }

    /// Makes all remotes forget how far they had come with this device's numbering.
    fn tell_all_again(&mut self) {
        if !self.paused {
            self.attach_to_all();
        }
        self.level.clear();
        let devices: Vec<DeviceId> = self.peers.keys().copied().collect();
        for device in devices {
            let Some(peer) = self.peers.get_mut(&device) else { continue };
            (peer.applied_ours, peer.followed_ours) = (0, 0);
            if peer.is_attached() {
                self.fill_outbox(&device, 0);
            }
        }
    }
}

/// How far a remote has ever taken what it remembers; one of an earlier version does not say, and has at least what it
/// remembers for good.
fn heard(attach: &Attach) -> u64 {
    attach.heard_sequence.max(attach.known_sequence)
}
