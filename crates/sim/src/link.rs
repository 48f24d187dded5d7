//! Links between devices: up, cut, or silent one way; messages under way.
//!
//! What a link promises is what TCP and TLS promise: whole messages, in order, until it is cut. Worlds that double
//! messages, or let what is said of paths overtake itself, go beyond that.

use std::collections::BTreeSet;

use file_sync_core::engine::Event;
use file_sync_core::message::Message;
use file_sync_core::version::{DeviceId, Time};

use crate::world::{Happening, World, name};

/// How long, at most, until a side notices that a link is up or down (microseconds).
const NOTICE_US_MAX: u64 = 20_000;

#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) is_up: bool,
    pub(crate) connection: u64,
    /// Which connection each side, the lower one first, believes in.
    pub(crate) told: [Option<u64>; 2],
    arrivals: [u64; 2],
    /// When the last word about the session, or of how far a disk has come, arrives: nothing overtakes it.
    session_arrivals: [u64; 2],
    /// What each side has said since it is not heard any more.
    stalled: [Option<Vec<Message>>; 2],
}

impl World {
    /// Links two devices, or makes their link whole again.
    pub fn connect(&mut self, one: usize, two: usize) {
        self.n_connections += 1;
        let connection = self.n_connections;
        let link = self.links.entry(pair(one, two)).or_default();
        (link.is_up, link.connection) = (true, connection);
        link.stalled = [None, None];
        self.after(NOTICE_US_MAX, Happening::Up { side: one, other: two, connection });
        self.after(NOTICE_US_MAX, Happening::Up { side: two, other: one, connection });
    }

    /// Cuts a link. What is under way on it is lost.
    pub fn cut(&mut self, one: usize, two: usize) {
        self.n_connections += 1;
        let connection = self.n_connections;
        let Some(link) = self.links.get_mut(&pair(one, two)).filter(|link| link.is_up) else { return };
        (link.is_up, link.connection) = (false, connection);
        self.stats.n_lost_messages +=
            link.stalled.iter().flatten().map(|held| held.len() as u64).sum::<u64>();
        link.stalled = [None, None];
        self.stats.n_cuts += 1;
        self.note(|| format!("link {}-{} is cut", name(one), name(two)));
        self.after(NOTICE_US_MAX, Happening::Down { side: one, other: two, connection });
        self.after(NOTICE_US_MAX, Happening::Down { side: two, other: one, connection });
    }

    /// What `from` says does not arrive at `to` any more, and neither of them notices.
    pub fn stall(&mut self, from: usize, to: usize) {
        let Some(link) = self.links.get_mut(&pair(from, to)).filter(|link| link.is_up) else { return };
        link.stalled[side(from, to)].get_or_insert_default();
        self.stats.n_stalls += 1;
        self.note(|| format!("{} does not hear {} any more", name(to), name(from)));
    }

    /// Everything that was held back on a link arrives, in order.
    pub fn unstall(&mut self, one: usize, two: usize) {
        for (from, to) in [(one, two), (two, one)] {
            let Some(link) = self.links.get_mut(&pair(from, to)) else { return };
            let held = link.stalled[side(from, to)].take().unwrap_or_default();
            held.into_iter().for_each(|message| self.put_under_way(from, to, message));
        }
    }

    pub(crate) fn is_stalled(&self, one: usize, two: usize) -> bool {
        self.links.get(&pair(one, two)).is_some_and(|link| link.stalled.iter().any(Option::is_some))
    }

    pub(crate) fn tell_up(&mut self, own: usize, other: usize, connection: u64) {
        let is_alive = self.devices[own].engine.is_some() && self.devices[other].engine.is_some();
        let Some(link) = self.links.get_mut(&pair(own, other)) else { return };
        if !is_alive || !link.is_up || link.connection != connection {
            return;
        }
        let told = &mut link.told[side(own, other)];
        if *told == Some(connection) {
            return;
        }
        let was_told = told.replace(connection).is_some();
        let device = self.devices[other].id;
        if was_told {
            self.step(own, Event::PeerDown(device));
        }
        self.step(own, Event::PeerUp(device));
    }

    pub(crate) fn tell_down(&mut self, own: usize, other: usize, connection: u64) {
        let Some(link) = self.links.get_mut(&pair(own, other)) else { return };
        if link.told[side(own, other)].is_some_and(|told| told < connection) {
            link.told[side(own, other)] = None;
            let device = self.devices[other].id;
            self.step(own, Event::PeerDown(device));
        }
    }

    pub(crate) fn arrive(&mut self, from: usize, to: usize, connection: u64, message: Message) {
        self.tell_up(to, from, connection);
        let is_open = self
            .links
            .get(&pair(from, to))
            .is_some_and(|link| link.is_up && link.told[side(to, from)] == Some(connection));
        if is_open {
            let (from, may_forget) = (self.devices[from].id, matches!(message, Message::Progress(_)));
            self.step(to, Event::Message { from, message });
            if may_forget {
                self.forget_deleted(to);
            }
        } else {
            self.stats.n_lost_messages += 1;
        }
    }

    /// Has a device forget what was deleted and all have followed, where that is part of the history.
    fn forget_deleted(&mut self, device: usize) {
        if self.options.forgets > 0 {
            let ever = Time { seconds: i64::MAX, nanoseconds: 0 };
            self.with_engine(device, |engine, now| engine.forget_deleted(now, ever));
        }
    }

    /// True if `one` believes that it is linked to `two`, and it is.
    pub(crate) fn is_linked(&self, one: usize, two: usize) -> bool {
        self.links
            .get(&pair(one, two))
            .is_some_and(|link| link.is_up && link.told[side(one, two)] == Some(link.connection))
    }

    /// A device says something.
    pub(crate) fn send(&mut self, from: usize, to: DeviceId, message: Message) {
        let to = self.index_of(to);
        if let Message::Entries(entries) = &message {
            self.stats.n_entries += entries.entries.len() as u64;
            self.announced.note(&entries.entries);
        }
        let Some(link) = self.links.get_mut(&pair(from, to)) else { return };
        if let Some(held) = &mut link.stalled[side(from, to)] {
            held.push(message);
            return;
        }
        let is_doubled = self.random.percent(self.options.doubled_messages_percent);
        if is_doubled {
            self.stats.n_doubled_messages += 1;
            self.put_under_way(from, to, message.clone());
        }
        self.put_under_way(from, to, message);
    }

    fn put_under_way(&mut self, from: usize, to: usize, message: Message) {
        let delay = 1 + self.random.below(self.options.link_us_max.max(1));
        let is_of_paths = matches!(message, Message::Entries(_));
        let overtakes = self.random.percent(self.options.reordered_messages_percent) && is_of_paths;
        let now_us = self.now_us;
        let Some(link) = self.links.get_mut(&pair(from, to)) else { return };
        let Some(connection) = link.told[side(from, to)] else { return };
        let arrival = &mut link.arrivals[side(from, to)];
        let session_arrival = &mut link.session_arrivals[side(from, to)];
        let after = if overtakes { *session_arrival } else { *arrival };
        let at = (now_us + delay).max(after + 1);
        self.stats.n_reordered_messages += u64::from(at < *arrival);
        *arrival = at.max(*arrival);
        if !is_of_paths {
            *session_arrival = at;
        }
        self.at(at, Happening::Arrive { from, to, connection, message });
    }

    /// Which devices are linked to each other.
    pub fn linked_pairs(&self) -> BTreeSet<(usize, usize)> {
        self.links.iter().filter(|(_, link)| link.is_up).map(|(pair, _)| *pair).collect()
    }
}

pub(crate) fn pair(one: usize, two: usize) -> (usize, usize) {
    (one.min(two), one.max(two))
}

pub(crate) fn side(own: usize, other: usize) -> usize {
    usize::from(own > other)
}
