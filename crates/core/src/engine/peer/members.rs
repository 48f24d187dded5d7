//! Who takes part: the newest word on each device, told on to those connected.

use crate::engine::{Effect, Engine, Now};
use crate::message::{Member, Members, Message};
use crate::version::DeviceId;

/// How long the member list is not told where it changes without end, in milliseconds.
const MEMBERS_PAUSE_MS: u64 = 1_000;
/// Members that are remembered, those included that have left.
const MEMBERS_MAX: usize = 1_024;
/// No member changes that often; a higher number would leave none for its next change.
const MEMBER_NUMBER_MAX: u64 = 1 << 32;

impl Engine {
    /// Replaces what is known of who takes part; what others know better stays.
    pub fn merge_members(&mut self, now: Now, members: &Members) -> Vec<Effect> {
        self.now = now;
        self.learn_members(members);
        self.settle()
    }

    pub(super) fn learn_members(&mut self, members: &Members) {
        let before = self.members.clone();
        for (device, theirs) in members {
            let newer = |ours: &Member| {
                theirs.number > ours.number || (theirs.number == ours.number && !theirs.active && ours.active)
            };
            let is_news = match self.members.get(device) {
                Some(ours) => newer(ours),
                None => self.members.len() < MEMBERS_MAX,
            };
            if is_news && theirs.number <= MEMBER_NUMBER_MAX {
                self.members.insert(*device, theirs.clone());
            }
        }
        if self.members == before {
            return;
        }
        // Who has left and is back is another, with nothing that it had.
        let is_anew = |(device, now): &(&DeviceId, &Member)| {
            before.get(*device).is_some_and(|then| then.number != now.number)
        };
        let anew: Vec<DeviceId> = self.members.iter().filter(is_anew).map(|(device, _)| *device).collect();
        anew.iter().for_each(|device| self.has_to_follow_anew(device, 0));
        self.commits.note_state();
        self.effects.push(Effect::MembersChanged(self.members.clone()));
        let due = self.members_pace.due_ms(MEMBERS_PAUSE_MS);
        self.members_due_ms.get_or_insert(due.max(self.now.monotonic_ms));
    }

    /// Tells the member list, if it has changed and was not told too often of late. Entries wait for it: by it their receivers
    /// know whose versions they may take.
    pub(super) fn tell_members(&mut self) {
        if self.members_due_ms.is_none_or(|due| due > self.now.monotonic_ms) {
            return;
        }
        self.members_due_ms = None;
        self.members_pace.pay(self.now.monotonic_ms, MEMBERS_PAUSE_MS);
        let message = Message::Members { directory: self.config.directory, members: self.members.clone() };
        let told: Vec<DeviceId> = self.connected().collect();
        for to in told {
            self.effects.push(Effect::Send { to, message: message.clone() });
        }
    }
}
