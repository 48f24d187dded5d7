//! What of a remote's entries is taken in: what can be passed on, what there is memory for, and what may be true.

use super::known::Refusal;
use crate::engine::Engine;
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::register::Register;
use crate::size::entry_bytes_max;
use crate::version::{DeviceId, Dot, Version};
use crate::witness::{Unproved, believed};

/// An entry that would get longer than this is not taken in, so that all that is can be passed on.
const ENTRY_BYTES_MAX: usize = 2 << 20;
/// Whoever is told that its state went on elsewhere tells everything anew. On the word of remotes that prove nothing by a
/// signed version that is done after so long a pause in milliseconds, and one millisecond more for each path; a few times
/// at once.
const EPOCH_PAUSE_MS: u64 = 5_000;

/// What a remote's entry says that this device has lost of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Lost {
    Nothing,
    /// Dots of this life that it does not remember to have made, as far as one can believe a remote. It costs a new epoch,
    /// and telling everything anew, and a remote that lies would never stop: so this is believed at a pace.
    OnItsWord,
    /// The same, proved by a version that it signed.
    Proved,
}

impl Engine {
    /// Whether a register knows dots of this life that it has not made, as it remembers: then it goes on elsewhere too, and
    /// who knows better may be connected to others only.
    pub(super) fn lost_by(&self, register: &Register) -> Lost {
        if is_made(Mistake::OldStateGoesOn) {
            return Lost::Nothing;
        }
        let mut heard = register.context().highest().iter();
        if !heard.any(|(actor, counter)| self.is_forgotten(&Dot { actor: *actor, counter: *counter })) {
            return Lost::Nothing;
        }
        // Without its author's signature a version would not have come this far.
        let is_proof = |version: &Version| !version.is_foreign() && self.is_forgotten(&version.dot);
        if register.versions().iter().any(is_proof) { Lost::Proved } else { Lost::OnItsWord }
    }

    /// True, and noted, if a remote's bare word that this device has lost something may be believed by now.
    pub(super) fn may_begin_epoch_on_word(&mut self) -> bool {
        let pause_ms = self.epoch_pause_ms();
        self.epochs_pace.pay(self.now.monotonic_ms, pause_ms)
    }

    fn epoch_pause_ms(&self) -> u64 {
        EPOCH_PAUSE_MS + self.tree.n_paths() as u64
    }

    /// What of a remote's register is taken in, or why it is not.
    pub(super) fn taken(
        &self,
        from: &DeviceId,
        path: &SyncPath,
        register: Register,
        lost: Lost,
    ) -> Result<Register, Refusal> {
        if lost == Lost::OnItsWord && self.epochs_pace.due_ms(self.epoch_pause_ms()) > self.now.monotonic_ms {
            return Err(Refusal::Untrue);
        }
        if self.would_be_too_long(path, &register) {
            return Err(Refusal::TooLong);
        }
        let node = self.tree.get(path);
        let known = node.as_ref().map(|node| &node.register);
        let register = match self.config.only_author {
            Some(_) => register, // What the author says, or follows from what it wrote, by now.
            None if !self.config.is_strict => register,
            None => believed(path, register, known).map_err(|Unproved| Refusal::Unproved)?,
        };
        if self.would_be_too_much(from, path, &register) { Err(Refusal::TooMuch) } else { Ok(register) }
    }

    /// True for a register by which its sender would have made this directory take more than three quarters of what all
    /// may, or more than that altogether.
    fn would_be_too_much(&self, from: &DeviceId, path: &SyncPath, register: &Register) -> bool {
        if self.announced_free_bytes == u64::MAX {
            return false;
        }
        let growth = self.tree.growth_bytes(path, register) as u64;
        let added = self.peers.get(from).map_or(0, |peer| peer.added_bytes);
        let left = self.announced_free_bytes.checked_sub(growth);
        growth > 0 && left.is_none_or(|left| (added + growth) / 3 > left)
    }

    pub(super) fn count_announced(&mut self, from: &DeviceId, before: usize) {
        let added = self.tree.announced_bytes().saturating_sub(before) as u64;
        if let Some(peer) = self.peers.get_mut(from) {
            peer.added_bytes += added;
        }
        if self.announced_free_bytes != u64::MAX {
            self.announced_free_bytes = self.announced_free_bytes.saturating_sub(added);
        }
    }

    /// What has been forgotten since counts against nobody.
    pub(in crate::engine) fn uncount_announced(&mut self) {
        let all = self.tree.announced_bytes() as u64;
        self.peers.values_mut().for_each(|peer| peer.added_bytes = peer.added_bytes.min(all));
    }

    /// True for a register that, joined with what is known here, could not be passed on.
    fn would_be_too_long(&self, path: &SyncPath, register: &Register) -> bool {
        let alone = entry_bytes_max(path, register);
        let Some(node) = self.tree.get(path) else { return alone > ENTRY_BYTES_MAX };
        if alone + entry_bytes_max(path, &node.register) <= ENTRY_BYTES_MAX || node.register.covers(register)
        {
            return false;
        }
        let mut joined = node.register.clone();
        joined.merge(register);
        entry_bytes_max(path, &joined) > ENTRY_BYTES_MAX
    }
}
