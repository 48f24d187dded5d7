//! "Is all of it done?": local checks, remotes' checks, and what has to have arrived where.
//!
//! A wait first has the whole disk looked at, so that it sees changes that no event announced; then the remotes look at
//! theirs; then all that was found on either side has to be on the other's disk.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Engine};
use crate::message::Message;
use crate::path::SyncPath;
use crate::version::DeviceId;

/// Names one wait of this engine.
pub type WaitId = u64;

#[derive(Debug)]
pub(super) struct Wait {
    id: WaitId,
    /// A remote that wants to hear that this disk has been looked at; none: somebody here waits.
    asked_by: Option<DeviceId>,
    /// The walk of everything that has to have ended.
    walk: u64,
    /// This device's sequence number once its disk has been looked at.
    sequence: Option<u64>,
    /// The remotes asked to look, and their sequence numbers once they have.
    checks: BTreeMap<DeviceId, Option<u64>>,
    /// The remotes that took part when the wait began: one whose link drops meanwhile has to come back.
    expected: BTreeSet<DeviceId>,
}

impl Engine {
    /// Starts a wait; [`Effect::WaitDone`] ends it.
    pub fn wait(&mut self, now: super::Now, id: WaitId) -> Vec<Effect> {
        self.now = now;
        self.begin_wait(id, None);
        self.settle()
    }

    /// Nobody waits for it any more.
    pub fn cancel_wait(&mut self, id: WaitId) {
        self.waits.retain(|wait| wait.asked_by.is_some() || wait.id != id);
    }

    pub(super) fn begin_wait(&mut self, id: WaitId, asked_by: Option<DeviceId>) {
        self.retry_troubles_now();
        self.ask_everybody_again();
        self.hurry_looks();
        let walk = self.observer.next_walk();
        self.request_walk(SyncPath::root());
        let expected = self.connected().filter(|device| !self.peers[device].is_detached()).collect();
        self.waits.push(Wait { id, asked_by, walk, sequence: None, checks: BTreeMap::new(), expected });
    }

    pub(super) fn advance_waits(&mut self) {
        for mut wait in std::mem::take(&mut self.waits) {
            if wait.sequence.is_none() {
                self.finish_local_check(&mut wait);
            }
            let is_done = match (wait.sequence, wait.asked_by) {
                (None, None) => self.paused || (self.connected().next().is_none() && !self.is_missed(&wait)),
                (None, Some(_)) => false,
                (Some(_), Some(_)) => true,
                (Some(sequence), None) => self.paused || self.is_everywhere(&mut wait, sequence),
            };
            match (is_done, wait.asked_by) {
                (true, None) => self.effects.push(Effect::WaitDone(wait.id)),
                (true, Some(_)) => {}
                (false, _) => self.waits.push(wait),
            }
        }
    }

    fn finish_local_check(&mut self, wait: &mut Wait) {
        if !self.observer.is_idle() {
            self.hurry_looks();
        }
        let is_checked =
            self.observer.full_walk_ended >= wait.walk && self.observer.is_idle() && self.commits.is_idle();
        if !is_checked {
            return;
        }
        let sequence = self.commits.committed;
        wait.sequence = Some(sequence);
        if let Some(device) = wait.asked_by {
            let message = Message::Checked { directory: self.config.directory, token: wait.id, sequence };
            self.effects.push(Effect::Send { to: device, message });
        }
    }

    /// True if every connected member has everything up to `sequence`, and this disk has theirs.
    fn is_everywhere(&mut self, wait: &mut Wait, sequence: u64) -> bool {
        let connected: Vec<DeviceId> = self.connected().collect();
        let mut is_done = true;
        for device in connected {
            let peer = &self.peers[&device];
            if !peer.is_attached() {
                is_done &= peer.is_detached();
                continue;
            }
            let has_ours = peer.applied_ours >= sequence || peer.sends_only;
            match wait.checks.get(&device) {
                None => {
                    wait.checks.insert(device, None);
                    let message = Message::Check { directory: self.config.directory, token: wait.id };
                    self.effects.push(Effect::Send { to: device, message });
                    is_done = false;
                }
                Some(None) => is_done = false,
                Some(Some(theirs)) => {
                    is_done &= has_ours && peer.merged_durable >= *theirs && peer.awaiting.is_empty()
                }
            }
        }
        is_done
            && !self.is_missed(wait)
            && !self.is_troubled()
            && self.planner.is_idle()
            && self.is_all_applied()
    }

    /// True while a member that was there when the wait began is not connected.
    fn is_missed(&self, wait: &Wait) -> bool {
        let is_away = |device: &DeviceId| {
            self.members.get(device).is_some_and(|member| member.active)
                && !self.peers.get(device).is_some_and(super::peer::Peer::is_up)
        };
        wait.expected.iter().any(is_away)
    }

    /// A remote that says itself that it no longer takes part is not waited for, even if it then goes away.
    pub(super) fn expect_no_longer(&mut self, device: &DeviceId) {
        for wait in &mut self.waits {
            wait.expected.remove(device);
        }
    }

    pub(super) fn on_check(&mut self, from: DeviceId, token: u64) {
        self.begin_wait(token, Some(from));
    }

    pub(super) fn on_checked(&mut self, from: DeviceId, token: u64, sequence: u64) {
        let asked = self.waits.iter_mut().filter(|wait| wait.asked_by.is_none() && wait.id == token);
        for wait in asked {
            wait.checks.insert(from, Some(sequence));
        }
    }

    /// A remote that comes back has to be asked again.
    pub(super) fn forget_checks(&mut self, device: &DeviceId) {
        self.waits.retain(|wait| wait.asked_by != Some(*device));
        for wait in &mut self.waits {
            wait.checks.remove(device);
        }
    }
}
