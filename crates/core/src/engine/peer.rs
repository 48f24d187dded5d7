//! Exchanging registers with the other members.
//!
//! Each member numbers the changes of its registers; the other asks for what follows the number that it has. A register
//! is merged, committed and relayed on receipt, whatever this disk can do. What this disk has caught up with is told in
//! [`Progress`]. Which versions may be believed is decided here too: in a read-only offer the offering device's alone.

mod known;
mod limits;
mod members;
mod pace;

use std::collections::{BTreeMap, BTreeSet};

pub use known::PeerProgress;
pub(super) use known::{Peer, Refusal};
pub(super) use pace::Pace;

use self::known::{ATTACH_PATHS_EACH_MS, ATTACH_PAUSE_MS};
use self::limits::Lost;
use super::{Counters, Effect, Engine};
use crate::conflict::is_copy_of;
use crate::context::Context;
use crate::message::{Attach, Entries, Entry, Message, Progress};
use crate::mistake::{self, Mistake, is_made};
use crate::path::SyncPath;
use crate::register::{Register, Settled};
use crate::size::entry_bytes_max;
use crate::version::{Actor, Content, DeviceId, Dot, Version};

const ENTRIES_MAX: usize = 8_192;
/// How long what only forgetting needs waits at the least until it is told again, in milliseconds.
const LEVEL_PAUSE_MS: u64 = 2_000;
/// A message holds as much as is under way already, so that the receiver of a long line begins with the first of them, and
/// there are not many; between these bytes.
const ENTRIES_BYTES: std::ops::RangeInclusive<usize> = (64 << 10)..=(4 << 20);

impl Engine {
    /// Members that are connected.
    pub(super) fn connected(&self) -> impl Iterator<Item = DeviceId> {
        let is_member = |device: &DeviceId| self.members.get(device).is_some_and(|member| member.active);
        let up = self.peers.iter().filter(|(_, peer)| peer.is_up).map(|(device, _)| *device);
        up.filter(is_member).collect::<Vec<_>>().into_iter()
    }

    pub(super) fn on_peer_up(&mut self, device: DeviceId) {
        let peer = self.peers.entry(device).or_default();
        peer.forget_connection();
        peer.is_up = true;
        if self.paused {
            self.detach(device);
        } else {
            self.attach_soon(device);
        }
    }

    pub(super) fn on_peer_down(&mut self, device: DeviceId) {
        if let Some(peer) = self.peers.get_mut(&device) {
            peer.forget_connection();
        }
        self.forget_checks(&device);
    }

    /// Attaches to a remote, or puts that off if it has made this device do so often of late.
    fn attach_soon(&mut self, device: DeviceId) {
        let (now, pause) = (self.now.monotonic_ms, self.attach_pause_ms());
        let Some(peer) = self.peers.get_mut(&device) else { return };
        peer.must_attach = !peer.attach_pace.pay(now, pause);
        if !peer.must_attach {
            self.attach(device);
        }
    }

    fn attach_pause_ms(&self) -> u64 {
        ATTACH_PAUSE_MS + self.tree.n_paths() as u64 / ATTACH_PATHS_EACH_MS
    }

    /// Does what was put off and is due.
    fn advance_attaches(&mut self) {
        let (now, pause) = (self.now.monotonic_ms, self.attach_pause_ms());
        let is_paused = self.paused;
        let is_due = |peer: &Peer| !is_paused && peer.has_put_off() && peer.attach_pace.due_ms(pause) <= now;
        let due: Vec<DeviceId> =
            self.peers.iter().filter(|(_, peer)| is_due(peer)).map(|(device, _)| *device).collect();
        for device in due {
            let Some(peer) = self.peers.get_mut(&device) else { continue };
            let put_off = peer.attach_put_off.take();
            if std::mem::take(&mut peer.must_attach) {
                self.attach_soon(device);
            }
            if let Some(attach) = put_off {
                self.on_attach(device, attach);
                // What it has said since and was not taken in is asked for again.
                let Some(peer) = self.peers.get_mut(&device) else { continue };
                if peer.attach_put_off.is_none() && std::mem::take(&mut peer.has_missed) {
                    self.attach_soon(device);
                }
            }
        }
    }

    fn attach(&mut self, device: DeviceId) {
        let counters = self.seen_counters(&device);
        let (receives_only, incarnation) = (!self.may_send(), self.incarnation());
        let Some(peer) = self.peers.get_mut(&device) else { return };
        peer.told = None;
        peer.is_detached_from = false;
        let attach = Attach {
            directory: self.config.directory,
            index_id: self.commits.counters.index_id,
            sequence: self.commits.committed,
            known_index_id: peer.index_id,
            known_sequence: peer.merged_durable,
            counters,
            receives_only,
            sends_only: self.config.mode == super::Mode::SendOnly,
            members: self.members.clone(),
            incarnation,
            known_incarnation: peer.incarnation,
            heard_sequence: peer.heard,
        };
        // What was merged but is not durable yet is sent again.
        peer.merged = peer.merged_durable;
        self.effects.push(Effect::Send { to: device, message: Message::Attach(attach) });
    }

    /// The highest counter of each of a device's epochs that this directory's registers have heard of.
    fn seen_counters(&self, device: &DeviceId) -> BTreeMap<u64, u64> {
        let mut counters: BTreeMap<u64, u64> = BTreeMap::new();
        for (_, node) in self.tree.iter() {
            for (actor, counter) in node.register.context().highest() {
                if actor.device == *device {
                    let highest = counters.entry(actor.epoch).or_default();
                    *highest = (*highest).max(*counter);
                }
            }
        }
        counters
    }

    pub(super) fn attach_to_all(&mut self) {
        let connected: Vec<DeviceId> = self.connected().collect();
        connected.into_iter().for_each(|device| self.attach(device));
    }

    pub(super) fn attach_all(&mut self) {
        self.attach_to_all();
        let attached: Vec<DeviceId> =
            self.peers.iter().filter(|(_, peer)| peer.is_attached()).map(|(device, _)| *device).collect();
        for device in attached {
            let from = self.peers[&device].merged_ours;
            self.fill_outbox(&device, from);
        }
        self.ask_everybody_again();
    }

    pub(super) fn detach_all(&mut self) {
        // Whoever was attached to, known as a member or not.
        let up: Vec<DeviceId> =
            self.peers.iter().filter(|(_, peer)| peer.is_up).map(|(device, _)| *device).collect();
        up.into_iter().for_each(|device| self.detach(device));
    }

    fn detach(&mut self, to: DeviceId) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.is_detached_from = true;
        }
        let directory = self.config.directory;
        self.effects.push(Effect::Send { to, message: Message::Detach { directory, returns: false } });
    }

    pub(super) fn on_message(&mut self, from: DeviceId, message: Message) {
        let is_known = self.peers.get(&from).is_some_and(|peer| peer.is_up);
        if !is_known {
            return;
        }
        match message {
            Message::Attach(attach) => {
                self.note_what_was_put_back(&from, &attach);
                self.on_attach(from, attach);
            }
            Message::Detach { returns, .. } => self.on_detach(from, returns),
            Message::Members { members, .. } => self.learn_members(&members),
            Message::Entries(entries) => self.on_entries(from, entries),
            Message::Progress(progress) => self.on_progress(from, &progress),
            Message::Check { token, .. } => self.on_check(from, token),
            Message::Checked { token, sequence, .. } => self.on_checked(from, token, sequence),
            _ => {} // Not about a directory's content; the server deals with it.
        }
    }

    fn on_detach(&mut self, from: DeviceId, returns: bool) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.has_detached = true;
            peer.is_to_return = returns;
            peer.has_attached = false;
        }
        self.forget_checks(&from);
        if !returns {
            self.expect_no_longer(&from);
        }
    }

    /// A member that was put back to an older state has forgotten how far it had followed.
    fn note_what_was_put_back(&mut self, from: &DeviceId, attach: &Attach) {
        let known = if self.knows_ours(attach) { attach.known_sequence } else { 0 };
        self.has_to_follow_anew(from, known);
    }

    /// True if what a remote says it knows of this device is in the numbers that this one has given.
    fn knows_ours(&self, attach: &Attach) -> bool {
        let Counters { index_id, sequence, .. } = self.commits.counters;
        attach.known_index_id == index_id && attach.known_sequence <= sequence
    }

    fn on_attach(&mut self, from: DeviceId, attach: Attach) {
        self.learn_members(&attach.members);
        let (now, pause) = (self.now.monotonic_ms, self.attach_pause_ms());
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if !peer.attach_pace.pay(now, pause) {
            peer.attach_put_off = Some(attach); // The newest alone counts.
            return;
        }
        let is_lived_twice = self.is_lived_twice(&attach);
        if is_lived_twice || self.has_lived_elsewhere(&attach) {
            if !self.may_begin_epoch_on_word() {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.attach_put_off = Some(attach); // Believed later, and not taken in before.
                }
                return;
            }
            self.part(is_lived_twice, false);
        }
        let is_apart = |peer: &Peer| peer.is_detached() || peer.is_detached_from;
        if self.peers.get(&from).is_some_and(is_apart) && !self.paused {
            self.attach(from); // It did not take part when it was told last, or this device did not.
        }
        let knows_ours = self.knows_ours(&attach);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.has_attached = true;
        peer.has_detached = false;
        peer.sends_only = attach.sends_only;
        peer.attached_incarnation = attach.incarnation;
        peer.latest = attach.sequence;
        peer.told = None;
        if peer.index_id != attach.index_id {
            peer.index_id = attach.index_id;
            // Nothing was heard in these numbers yet, whoever said the last in others.
            (peer.incarnation, peer.heard) = (0, 0);
            (peer.merged, peer.merged_under_way, peer.merged_durable) = (0, 0, 0);
            peer.awaiting.clear();
            peer.awaiting_numbers.clear();
            peer.forget_refused();
            self.commits.note_state();
        }
        let start = if knows_ours { attach.known_sequence } else { 0 };
        if !knows_ours {
            peer.applied_ours = 0;
        }
        self.fill_outbox(&from, start);
        self.ask_again(&from);
        self.ask_everybody_again();
    }

    pub(super) fn fill_outbox(&mut self, device: &DeviceId, start: u64) {
        let later = self.tree.sequences().filter(|(_, sequence)| *sequence > start);
        let outbox: BTreeMap<u64, SyncPath> =
            later.map(|(path, sequence)| (sequence, path.clone())).collect();
        if let Some(peer) = self.peers.get_mut(device) {
            peer.outbox = outbox;
            peer.forget_in_flight();
            peer.sent_through = start;
            peer.merged_ours = start;
        }
    }

    /// Queues a path for every attached remote but the one that it was just heard of from.
    pub(super) fn tell_peers(&mut self, path: &SyncPath, sequence: u64) {
        let origin = self.planner.exact_origin(path);
        if is_made(Mistake::RelayForgotten) && origin.is_some() {
            return;
        }
        for (device, peer) in &mut self.peers {
            if peer.is_attached() && origin != Some(*device) {
                peer.outbox.insert(sequence, path.clone());
            }
        }
    }

    fn on_entries(&mut self, from: DeviceId, entries: Entries) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.index_id != entries.index_id || !peer.has_attached || self.paused {
            peer.has_missed |= peer.attach_put_off.is_some();
            return;
        }
        if entries.after > peer.merged && !is_made(Mistake::GapAccepted) {
            self.attach_soon(from); // Something is missing in between: say again from where on.
            return;
        }
        self.planner.hears(self.now.monotonic_ms);
        peer.latest = entries.latest;
        peer.merged = peer.merged.max(entries.through);
        peer.heard = peer.heard.max(peer.merged).max(peer.latest);
        peer.incarnation = peer.attached_incarnation;
        self.commits.note_state();
        let merged = entries
            .entries
            .into_iter()
            .map(|entry| self.merge_entry(from, entries.after.saturating_add(1), entry))
            .max();
        match merged.unwrap_or(Lost::Nothing) {
            Lost::Nothing => {}
            Lost::OnItsWord if !self.may_begin_epoch_on_word() => {}
            lost => self.part(true, lost == Lost::Proved),
        }
        self.ask_again(&from);
    }

    /// Returns what this device has lost, if the entry is taken in and true.
    fn merge_entry(&mut self, from: DeviceId, number: u64, entry: Entry) -> Lost {
        let Entry { path, register, .. } = entry;
        let register = match self.config.only_author {
            Some(author) if from == author => said_by(&author, &register),
            Some(author) => self.passed_on(&author, &path, &register),
            None => register,
        };
        let register = mistake::ranks(register, self.now.wall);
        if register.is_empty() && self.tree.get(&path).is_none() {
            return Lost::Nothing; // It says nothing.
        }
        let lost = self.lost_by(&register);
        let taken = self.taken(&from, &path, register, lost);
        let Some(peer) = self.peers.get_mut(&from) else { return Lost::Nothing };
        let register = match taken {
            Ok(register) => register,
            Err(refusal) => {
                peer.refuse(path, number, refusal);
                return Lost::Nothing;
            }
        };
        peer.is_taken_in(&path);
        if self.has_forgotten_replacement(&from, &path, &register) {
            self.number(&path);
        }
        let before = self.tree.announced_bytes();
        if self.tree.merge(&path, &register) {
            let is_same = self.tree.get(&path).is_some_and(|node| node.register == register);
            self.planner.note_origin(&path, from, is_same);
            self.let_go_of_deleted(&path);
        }
        self.count_announced(&from, before);
        if let Some(peer) = self.peers.get_mut(&from)
            && self.config.mode != super::Mode::SendOnly
        {
            peer.await_path(&path, number);
            for copy in self.tree.copies(&path) {
                peer.await_path(copy, number);
                self.planner.reconsider(copy.clone());
            }
        }
        self.planner.reconsider(path);
        lost
    }

    /// What of a register counts that somebody else than the only author passes on.
    pub(super) fn passed_on(&self, author: &DeviceId, path: &SyncPath, register: &Register) -> Register {
        let cut_short = self.lives_cut_short(path, register);
        only_by(author, path, register, &|actor| self.is_lost_life(actor) || cut_short.contains(actor))
    }

    /// True if a remote shows what this device knows to be replaced, and was told so: it has forgotten that since, and is
    /// told once more.
    fn has_forgotten_replacement(&self, from: &DeviceId, path: &SyncPath, register: &Register) -> bool {
        let Some((node, peer)) = self.tree.get(path).zip(self.peers.get(from)) else { return false };
        let is_replaced =
            |version: &Version| node.register.knows(version) && node.register.get(&version.dot).is_none();
        (1..=peer.merged_ours).contains(&node.sequence) && register.versions().iter().any(is_replaced)
    }

    /// Paths of which remotes have said more than is taken in.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&SyncPath, Refusal)> {
        self.peers.values().flat_map(|peer| &peer.refused).map(|(path, refusal)| (path, *refusal))
    }

    /// True while a connected remote is about to say more: the other half of a rename may be in it.
    pub(super) fn is_hearing_more(&self) -> bool {
        self.peers.values().any(|peer| peer.is_attached() && peer.merged < peer.latest)
    }

    fn on_progress(&mut self, from: DeviceId, progress: &Progress) {
        let (index_id, paused) = (self.commits.counters.index_id, self.paused);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if progress.index_id == index_id && progress.merged <= self.commits.counters.sequence {
            peer.has_merged_ours(progress.merged);
            peer.expecting = progress.expecting;
            peer.n_troubles = progress.troubles;
            peer.applied_ours = progress.applied.min(progress.merged);
            // It may have told all, and not all of that is taken in.
            let is_heard = peer.is_heard() && !paused;
            if is_heard && progress.is_all_told {
                peer.followed_ours = peer.applied_ours;
            }
            self.learn_level(&from, is_heard.then_some(progress));
        }
    }

    pub(super) fn advance_peers(&mut self) {
        self.tell_members();
        self.advance_attaches();
        let devices: Vec<DeviceId> =
            self.peers.iter().filter(|(_, peer)| peer.is_attached()).map(|(device, _)| *device).collect();
        for device in devices {
            if !self.paused && self.members_due_ms.is_none() {
                self.send_entries(device);
            }
            self.send_progress(device);
        }
    }

    fn send_entries(&mut self, to: DeviceId) {
        while let Some(entries) = self.next_entries(&to) {
            self.effects.push(Effect::Send { to, message: Message::Entries(entries) });
        }
    }

    /// What a remote is told next, as much as one message holds.
    fn next_entries(&mut self, to: &DeviceId) -> Option<Entries> {
        let peer = self.peers.get_mut(to)?;
        let after = peer.sent_through;
        let mut through = self.commits.tellable_after(after);
        if through <= after || peer.has_enough() {
            return None;
        }
        let bytes_max = peer.in_flight_bytes.clamp(*ENTRIES_BYTES.start(), *ENTRIES_BYTES.end());
        let (mut bytes, mut paths) = (0_usize, Vec::new());
        while let Some(next) = peer.outbox.first_entry().filter(|next| *next.key() <= through) {
            let (number, path) = (*next.key(), next.get());
            // What has a newer number is told with that.
            if let Some(node) = self.tree.get(path).filter(|node| node.sequence == number) {
                bytes += entry_bytes_max(path, &node.register);
                if paths.len() >= ENTRIES_MAX || (bytes > bytes_max && !paths.is_empty()) {
                    through = number - 1;
                    break;
                }
                paths.push(path.clone());
            }
            next.remove();
        }
        peer.sent_through = through;
        peer.note_in_flight(through, bytes);
        let entries = paths.into_iter().map(|path| self.entry(path)).collect();
        let (directory, index_id) = (self.config.directory, self.commits.counters.index_id);
        Some(Entries { directory, index_id, after, through, latest: self.commits.announced(), entries })
    }

    fn entry(&self, path: SyncPath) -> Entry {
        let shown = self.tree.project(&path).value.content();
        let is_staged = matches!(shown, Content::File(content) if self.fetcher.staged.contains(&content));
        let is_recorded = self.tree.record(&path).is_some_and(|record| record.content == shown);
        let holds = is_recorded || is_staged || !shown.is_bytes();
        let register = self.tree.get(&path).map(|node| node.register.clone()).unwrap_or_default();
        Entry { path, register, holds }
    }

    /// Says how far this disk has come, when that is news and no more of it is to be expected at once.
    fn send_progress(&mut self, to: DeviceId) {
        let directory = self.config.directory;
        let troubles = self.troubles.len() as u64;
        let is_assessed = self.planner.is_assessed || self.config.mode == super::Mode::SendOnly;
        let (pending, expecting) = (self.pending(), self.expecting(to));
        let now_ms = self.now.monotonic_ms;
        // Each that follows is news of all the others to everybody: what only forgetting needs has time.
        let is_level_due = self.peers.get(&to).is_some_and(|peer| peer.level_due_ms <= now_ms);
        let level = if is_level_due { self.level_members(&to) } else { BTreeSet::new() };
        let is_all_told = self.has_told_all(&to);
        let Some(peer) = self.peers.get_mut(&to) else { return };
        peer.is_level_owed = !is_level_due;
        let applied = if is_assessed { peer.applied(&pending) } else { 0 };
        let (index_id, merged) = (peer.index_id, peer.merged_durable);
        let progress =
            Progress { directory, index_id, merged, applied, troubles, expecting, is_all_told, level };
        let is_news = match &peer.told {
            None => true,
            Some(told) => {
                told.merged != progress.merged
                    || told.expecting != progress.expecting
                    || (is_all_told && !told.is_all_told && peer.has_followed(&pending))
                    || (told.level != progress.level && !progress.level.is_empty())
                    || (told.applied != progress.applied && peer.has_followed(&pending))
            }
        };
        if is_news {
            if !progress.level.is_empty() {
                peer.level_due_ms = now_ms + LEVEL_PAUSE_MS;
            }
            peer.told = Some(progress.clone());
            self.effects.push(Effect::Send { to, message: Message::Progress(progress) });
        }
    }

    pub(super) fn peers_deadline(&self) -> Option<u64> {
        let pause = self.attach_pause_ms();
        let put_off = self.peers.values().filter(|peer| peer.has_put_off() && !self.paused);
        let levels =
            self.peers.values().filter(|peer| peer.is_level_owed && peer.is_attached() && !self.paused);
        let levels = levels.map(|peer| peer.level_due_ms);
        put_off.map(|peer| peer.attach_pace.due_ms(pause)).chain(levels).chain(self.members_due_ms).min()
    }

    /// The path's disk is as its register says, or is rightly left as it is.
    pub(super) fn path_is_applied(&mut self, path: &SyncPath) {
        for peer in self.peers.values_mut() {
            peer.is_applied(path);
        }
    }

    /// Whatever was merged in an earlier life and is not on the disk yet holds back what every remote is told: whose
    /// word each of it was is not known any more.
    pub(super) fn await_needed(&mut self) {
        for peer in self.peers.values_mut() {
            self.planner.needed.iter().for_each(|path| peer.await_path(path, 1));
        }
    }

    pub(super) fn is_all_applied(&self, pending: &BTreeSet<SyncPath>) -> bool {
        self.peers.values().all(|peer| !peer.is_attached() || peer.has_followed(pending))
    }
}

/// What of a register that its author says itself counts: its own versions, and all that it knows of them.
///
/// What it says of conflict copies matters too: an author that was put back to an older image, or cloned, can be in
/// conflict with itself.
fn said_by(author: &DeviceId, register: &Register) -> Register {
    let versions = register.versions().iter().filter(|version| version.dot.actor.device == *author);
    let settled = register.settled().iter().filter(|settled| settled.version.dot.actor.device == *author);
    Register::from_parts(versions.cloned().collect(), register.context().clone(), settled.cloned().collect())
}

/// What of a register is the author's word, if somebody else passes it on: its versions, and what follows from them.
///
/// The context that came along is not believed: somebody else could remove the author's versions by it. Nor is it believed
/// which of them were settled as conflict copies; but of a life of which the author has lost all, or how it went on, nobody
/// knows better.
fn only_by(
    author: &DeviceId,
    path: &SyncPath,
    register: &Register,
    is_lost_life: &dyn Fn(&Actor) -> bool,
) -> Register {
    let is_by = |dot: &Dot| dot.actor.device == *author;
    let versions: Vec<_> = register
        .versions()
        .iter()
        .filter(|version| is_by(&version.dot))
        .filter(|version| !version.is_foreign() || is_lost_life(&version.dot.actor))
        .cloned()
        .collect();
    let is_lost = |dot: &Dot| is_by(dot) && is_lost_life(&dot.actor);
    let settled: Vec<_> =
        register.settled().iter().filter(|settled| is_lost(&settled.version.dot)).cloned().collect();
    // What it had settled replaced what it replaced all the same. What was written elsewhere replaced nothing here.
    let is_here = |settled: &&Settled| settled.copy.as_ref().is_none_or(|copy| is_copy_of(copy, path));
    let settled_here = settled.iter().filter(is_here).map(|settled| &settled.version);
    let said: Vec<&Version> =
        versions.iter().chain(settled_here).filter(|version| !version.is_foreign()).collect();
    let replaced = said.iter().flat_map(|version| version.replaced.iter().copied());
    let heard = || said.iter().filter_map(|version| Some(&version.heard.as_deref()?.gone));
    let highest: Vec<Dot> = replaced.chain(heard().flat_map(Context::born)).filter(is_by).collect();
    // Among them what it had settled here before it deleted or edited that.
    let gone = heard().flat_map(Context::foreign).copied();
    let foreign = highest.iter().copied().chain(gone).filter(is_lost).collect();
    let highest = highest.into_iter().map(|dot| (dot.actor, dot.counter)).collect();
    Register::from_parts(versions, Context::from_parts(highest, foreign), settled)
}
