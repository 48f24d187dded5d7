//! Lives: whether this device's state is the last that went by its name, and a new epoch where it is not.
//!
//! A home that was put back from a copy is behind what others heard of it. A device that was cloned goes on beside its
//! original, and both number alike: neither is behind, but what others heard last was said by a server that this home
//! does not remember, or by one that it does, after this one had begun (promise C5).

use super::{Counters, Engine};
use crate::message::Attach;
use crate::mistake::{Mistake, is_made};
use crate::version::DeviceId;

impl Engine {
    /// True if a remote remembers dots of this device's present epoch that this device does not: its state is older
    /// than it was.
    pub(super) fn has_lost_counters(&self, attach: &Attach) -> bool {
        let counters = &self.commits.counters;
        !is_made(Mistake::OldStateGoesOn)
            && attach.counters.get(&counters.epoch).is_some_and(|highest| *highest > counters.counter)
    }

    /// True if another server with this device's name and numbers has spoken to a remote since this one's memory ends.
    ///
    /// Only what the remote had from that server itself counts: what it has heard of this device through others may be of
    /// later starts than the last that it was linked to.
    pub(super) fn has_lived_elsewhere(&self, attach: &Attach) -> bool {
        let Counters { index_id, epoch, .. } = self.commits.counters;
        let is_by_index = attach.known_index_id == index_id;
        if is_made(Mistake::CloneGoesOn) {
            return false;
        }
        if attach.known_incarnation == 0 || !(is_by_index || attach.counters.contains_key(&epoch)) {
            return false; // What the remote remembers is not in these numbers.
        }
        let mut earlier = self.config.incarnations.iter().rev();
        if earlier.next() == Some(&attach.known_incarnation) {
            return false;
        }
        !earlier.any(|incarnation| *incarnation == attach.known_incarnation)
            || (is_by_index && attach.heard_sequence > self.commits.began.sequence)
    }

    /// Begins a new life: what was written since the old epoch's counters were last known is not told apart from what
    /// was written before, so from now on dots carry a new epoch, and others' view of the old one is merged as it is.
    ///
    /// Sequence numbers may have been used twice as well, so that all is told again under a new numbering.
    pub(super) fn start_new_epoch(&mut self) {
        let incarnation = self.config.incarnations.last().copied().unwrap_or(0);
        let counters = &mut self.commits.counters;
        let seed = [
            counters.epoch.to_le_bytes(),
            incarnation.to_le_bytes(),
            self.now.wall.seconds.to_le_bytes(),
            self.now.monotonic_ms.to_le_bytes(),
        ];
        let hash = crate::version::ContentHash::of(&seed.concat());
        let number = |index: usize| {
            let bytes = hash.0[index * 8..].first_chunk().expect("a hash holds four numbers");
            u64::from_le_bytes(*bytes)
        };
        (counters.epoch, counters.index_id, counters.counter) = (number(0), number(1), 0);
        self.commits.began = *counters;
        self.commits.note_state();
        self.reissue_own_versions();
        self.tell_all_again();
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
