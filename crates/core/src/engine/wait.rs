//! "Is all of it done?": local checks, remotes' checks, and what has to have arrived where.
//!
//! A wait first has the whole disk looked at, so that it sees changes that no event announced; then the remotes look at
//! theirs; then all that was found on either side has to be on the other's disk. Bytes that no connected member holds
//! are pending and not waited for.

use std::collections::{BTreeMap, BTreeSet};

use super::peer::Peer;
use super::{Effect, Engine, RootState};
use crate::message::Message;
use crate::path::SyncPath;
use crate::version::DeviceId;

/// Names one wait of this engine.
pub type WaitId = u64;

/// A connected member whose disk is not in step with this one, as far as it has said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Straggler {
    /// Which.
    pub device: DeviceId,
    /// It does not take part at present: its directory is paused, taken down or not at work.
    pub takes_no_part: bool,
    /// How many paths are in trouble there.
    pub n_troubles: u64,
}

/// Tokens of a remote that are remembered; where there are more, the oldest are forgotten.
const TOKENS_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Wait {
    id: WaitId,
    /// The walk of everything that has to have ended.
    walk: u64,
    /// This device's sequence number once its disk has been looked at.
    sequence: Option<u64>,
    /// The remotes asked to look, and their sequence numbers once they have.
    checks: BTreeMap<DeviceId, Option<u64>>,
    /// The remotes that took part when the wait began: one whose link drops meanwhile has to come back.
    expected: BTreeSet<DeviceId>,
}

/// A remote's wish to hear that this disk has been looked at.
#[derive(Debug)]
pub(super) struct Check {
    /// The walk of everything that has to have ended.
    walk: u64,
    /// All answered then.
    tokens: Vec<u64>,
    /// What it asked after that walk had begun: looked at once more for all of them.
    later: Vec<u64>,
}

impl Engine {
    /// Starts a wait; [`Effect::WaitDone`] ends it.
    pub fn wait(&mut self, now: super::Now, id: WaitId) -> Vec<Effect> {
        self.now = now;
        let walk = self.begin_check();
        let expected = self.taking_part().into_iter().collect();
        self.waits.push(Wait { id, walk, sequence: None, checks: BTreeMap::new(), expected });
        self.settle()
    }

    /// The connected members that take part in this directory.
    pub fn taking_part(&self) -> Vec<DeviceId> {
        self.connected().filter(|device| !self.peers[device].is_absent()).collect()
    }

    /// The connected members that have said that they do not take part in this directory, or not at present.
    pub fn not_taking_part(&self) -> Vec<DeviceId> {
        self.connected().filter(|device| self.peers[device].is_absent()).collect()
    }

    /// Nobody waits for it any more.
    pub fn cancel_wait(&mut self, id: WaitId) {
        self.waits.retain(|wait| wait.id != id);
    }

    /// The remotes that take part and whose disks have not followed this device's yet, as far as they have said, or that do
    /// not say what a wait asks of them.
    pub fn behind(&self, id: WaitId) -> Vec<DeviceId> {
        let wait = self.waits.iter().find(|wait| wait.id == id && wait.sequence.is_some());
        let is_silent =
            |device: &DeviceId| wait.is_some_and(|wait| matches!(wait.checks.get(device), None | Some(None)));
        let peers = self.peers.iter().filter(|(_, peer)| peer.is_attached());
        peers
            .filter(|(device, peer)| self.has_yet_to_follow(peer) || is_silent(device))
            .map(|(device, _)| *device)
            .collect()
    }

    /// The connected members that have not followed this device's changes yet, or take no part.
    pub fn stragglers(&self) -> Vec<Straggler> {
        let straggler = |device: DeviceId| {
            let peer = &self.peers[&device];
            let takes_no_part = peer.is_absent();
            let is_late = takes_no_part || (peer.is_attached() && self.has_yet_to_follow(peer));
            is_late.then_some(Straggler { device, takes_no_part, n_troubles: peer.n_troubles })
        };
        self.connected().filter_map(straggler).collect()
    }

    /// True if a remote that takes part has not followed yet, as far as it has said.
    pub fn is_followed_late(&self) -> bool {
        self.peers.values().any(|peer| peer.is_attached() && self.has_yet_to_follow(peer))
    }

    fn has_yet_to_follow(&self, peer: &Peer) -> bool {
        !peer.sends_only && peer.applied_ours < self.commits.committed
    }

    /// Has the whole disk looked at; returns the walk that has to have ended then.
    fn begin_check(&mut self) -> u64 {
        self.retry_troubles_now();
        self.ask_everybody_again();
        self.hurry_looks();
        let walk = self.observer.next_walk();
        self.request_walk(SyncPath::root());
        walk
    }

    pub(super) fn advance_waits(&mut self) {
        self.answer_checks();
        for mut wait in std::mem::take(&mut self.waits) {
            if wait.sequence.is_none() && self.is_checked(wait.walk) {
                wait.sequence = Some(self.commits.committed);
            }
            let is_done = match wait.sequence {
                // Of a root that is not there nobody can look at anything.
                None => self.paused || (matches!(self.root, RootState::Lost(_)) && self.is_alone(&wait)),
                // Nobody can have it, or give anything; what was done before is known, at least.
                Some(_) if self.is_alone(&wait) => true,
                Some(sequence) => self.paused || self.is_everywhere(&mut wait, sequence),
            };
            if is_done {
                self.effects.push(Effect::WaitDone(wait.id));
            } else {
                self.waits.push(wait);
            }
        }
    }

    /// True if everything was looked at by this walk, and what was found is durable.
    fn is_checked(&mut self, walk: u64) -> bool {
        if !self.observer.is_idle() {
            self.hurry_looks();
        }
        self.observer.full_walk_ended >= walk && self.observer.is_idle() && self.commits.is_idle()
    }

    fn answer_checks(&mut self) {
        let asked = self.peers.iter().filter_map(|(device, peer)| Some((*device, peer.check.as_ref()?.walk)));
        for (to, walk) in asked.collect::<Vec<_>>() {
            if !self.is_checked(walk) {
                continue;
            }
            let Some(check) = self.peers.get_mut(&to).and_then(|peer| peer.check.take()) else { continue };
            let (directory, sequence) = (self.config.directory, self.commits.committed);
            let answers = check
                .tokens
                .into_iter()
                .map(|token| Effect::Send { to, message: Message::Checked { directory, token, sequence } });
            self.effects.extend(answers);
            if !check.later.is_empty() {
                self.start_check(to, check.later);
                self.advance_observation();
            }
        }
    }

    /// True if every connected member has everything up to `sequence`, and this disk has theirs.
    fn is_everywhere(&mut self, wait: &mut Wait, sequence: u64) -> bool {
        let connected: Vec<DeviceId> = self.connected().collect();
        let pending = self.pending();
        let mut is_done = true;
        for device in connected {
            let peer = &self.peers[&device];
            if !peer.is_attached() {
                is_done &= peer.is_absent();
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
                    is_done &= has_ours && peer.merged_durable >= *theirs && peer.has_followed(&pending)
                }
            }
        }
        is_done
            && !self.is_missed(wait)
            && !self.is_troubled()
            && self.planner.is_idle_but_for(&pending)
            && self.is_all_applied(&pending)
    }

    /// True if nobody is connected, and nobody was when the wait began.
    fn is_alone(&self, wait: &Wait) -> bool {
        self.connected().next().is_none() && !self.is_missed(wait)
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

    /// One walk answers all that a remote has asked before it began, and one more all that came since: however often
    /// it asks, nothing piles up.
    pub(super) fn on_check(&mut self, from: DeviceId, token: u64) {
        let next_walk = self.observer.next_walk();
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let Some(check) = &mut peer.check else { return self.start_check(from, vec![token]) };
        let tokens = if check.walk >= next_walk { &mut check.tokens } else { &mut check.later };
        if tokens.len() == TOKENS_MAX {
            tokens.remove(0);
        }
        tokens.push(token);
    }

    fn start_check(&mut self, from: DeviceId, tokens: Vec<u64>) {
        let walk = self.begin_check();
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.check = Some(Check { walk, tokens, later: Vec::new() });
        }
    }

    pub(super) fn on_checked(&mut self, from: DeviceId, token: u64, sequence: u64) {
        for wait in self.waits.iter_mut().filter(|wait| wait.id == token) {
            wait.checks.insert(from, Some(sequence));
        }
    }

    /// A remote that comes back has to be asked again.
    pub(super) fn forget_checks(&mut self, device: &DeviceId) {
        if let Some(peer) = self.peers.get_mut(device) {
            peer.check = None;
        }
        for wait in &mut self.waits {
            wait.checks.remove(device);
        }
    }
}
