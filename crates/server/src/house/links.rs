//! Remotes that are connected: who is there, what they offer, and which directories they take part in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use file_sync_core::engine::Event;
use file_sync_core::message::{Attach, Hello, Members, Message, Offer, Page, Terms};
use file_sync_core::path::SyncPath;
use file_sync_core::size::message_bytes;
use file_sync_core::version::{DeviceId, DirectoryId};
use file_sync_index::{Directory, Role};
use file_sync_net::{Link, NetEvent};
use tokio::sync::mpsc;

use super::House;
use crate::clock;
use crate::input::RoomEvent;
use crate::room::{Room, add_member};

/// Messages that wait for a remote to read before its link is given up. Engines keep far below that: they wait for what
/// they sent to be acknowledged.
const OUTBOX_MESSAGES: usize = 4_096;
/// Their bytes, once for each directory that the remote takes part in and once more.
const OUTBOX_BYTES: usize = 64 << 20;
/// A remote that has more than this many bytes to read is not told what a directory holds.
const PEEK_OUTBOX_BYTES: usize = 4 << 20;
/// The least time between two such answers.
const PEEK_PAUSE: Duration = Duration::from_millis(2);
/// So long an answer waits at the most for what was found to be durable.
const PEEK_SETTLES: Duration = Duration::from_secs(1);
/// How often it is looked whether a remote has read enough to be told more.
const PEEK_UNREAD_PAUSE: Duration = Duration::from_millis(100);

/// A remote that is connected.
pub(super) struct Connected {
    pub(super) link: Link,
    outbox: Outbox,
    /// What it offers to this device; none until it has said.
    pub(super) offers: Option<Vec<Offer>>,
    /// The highest barrier that it was asked for, and that it reached.
    pub(super) barrier_asked: u64,
    pub(super) barrier_reached: u64,
    /// What it wants to know of a directory and after which path, and before when it is not told.
    peek: Option<(DirectoryId, Option<SyncPath>)>,
    peek_not_before: Instant,
    /// Since when it waits for what was found to be durable.
    peek_since: Instant,
    /// The directories whose engines have been told that it is up.
    up_in: std::collections::BTreeSet<DirectoryId>,
}

impl Connected {
    fn new(link: Link) -> Connected {
        let outbox = Outbox::new(link.clone());
        Connected {
            link,
            outbox,
            offers: None,
            barrier_asked: 0,
            barrier_reached: 0,
            peek: None,
            peek_not_before: Instant::now(),
            peek_since: Instant::now(),
            up_in: BTreeSet::new(),
        }
    }
}

impl Connected {
    /// True if little enough waits to be read that the remote may be told what a directory holds.
    fn reads(&self) -> bool {
        self.outbox.bytes.load(Ordering::Relaxed) <= PEEK_OUTBOX_BYTES
    }
}

/// What waits for a remote to read it, counted and weighed.
struct Outbox {
    messages: mpsc::Sender<(Message, usize)>,
    bytes: Arc<AtomicUsize>,
}

impl Outbox {
    fn new(link: Link) -> Outbox {
        let (messages, mut outgoing) = mpsc::channel::<(Message, usize)>(OUTBOX_MESSAGES);
        let bytes = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&bytes);
        tokio::spawn(async move {
            while let Some((message, message_bytes)) = outgoing.recv().await {
                if link.send(message).await.is_err() {
                    return;
                }
                waiting.fetch_sub(message_bytes, Ordering::Relaxed);
            }
        });
        Outbox { messages, bytes }
    }

    /// Queues a message; false if too much waits already. When the link has ended it goes nowhere: the engines hear of
    /// that by themselves.
    fn send(&self, message: Message, bytes_max: usize) -> bool {
        let message_bytes = message_bytes(&message);
        if self.bytes.load(Ordering::Relaxed) > bytes_max {
            return false;
        }
        self.bytes.fetch_add(message_bytes, Ordering::Relaxed);
        !matches!(self.messages.try_send((message, message_bytes)), Err(mpsc::error::TrySendError::Full(_)))
    }
}

/// Finds the link to a device.
pub(super) fn finder(links: &BTreeMap<DeviceId, Connected>) -> impl Fn(DeviceId) -> Option<Link> + use<> {
    let links: BTreeMap<DeviceId, Link> =
        links.iter().map(|(device, connected)| (*device, connected.link.clone())).collect();
    move |device| links.get(&device).cloned()
}

impl House {
    pub(super) fn on_net(&mut self, event: NetEvent) {
        match event {
            NetEvent::Up { device, link, hello, address } => {
                tracing::info!(?device, %address, name = hello.name, software = hello.software, "connected");
                self.on_up(device, link, hello);
            }
            NetEvent::Message { device, link_id, message, held } => {
                if self.link(&device).is_some_and(|link| link.id() == link_id) {
                    self.on_message(device, message);
                }
                drop(held); // From here on the link may bring more.
            }
            NetEvent::Down { device, link_id, reason } => {
                tracing::info!(?device, reason, "disconnected");
                if self.link(&device).is_some_and(|link| link.id() == link_id) {
                    self.on_down(device);
                }
            }
            NetEvent::Refused { device, address, reason } => {
                tracing::warn!(?device, %address, reason, "a connection came to nothing");
            }
            // Stored already, when its ticket was redeemed; from now on it may be dialed.
            NetEvent::Paired { device, addresses, .. } => self.network.expect_remote(device, addresses),
        }
    }

    fn on_up(&mut self, device: DeviceId, link: Link, hello: Hello) {
        self.on_down(device);
        self.links.insert(device, Connected::new(link));
        self.remember_addresses(&device, hello.addresses);
        self.send_offers(&device);
        for directory in self.room_ids(|_| true) {
            self.connect_members(&directory);
        }
    }

    fn on_down(&mut self, device: DeviceId) {
        let Some(connected) = self.links.remove(&device) else { return };
        if let Err(error) = self.home.set_last_seen(&device, clock::seconds()) {
            tracing::warn!(%error, "cannot note when the remote was last seen");
        }
        for directory in connected.up_in {
            self.drive(&directory, RoomEvent::Engine(Event::PeerDown(device)));
        }
    }

    /// Puts the addresses that a remote announces before those known of old.
    pub(super) fn remember_addresses(&mut self, device: &DeviceId, addresses: Vec<String>) {
        let Ok(Some(mut remote)) = self.home.remote(device) else { return };
        remote.last_seen = Some(clock::seconds());
        if !addresses.is_empty() {
            let old = std::mem::take(&mut remote.addresses);
            let fresh = addresses.clone();
            remote.addresses = addresses;
            remote.addresses.extend(old.into_iter().filter(|address| !fresh.contains(address)));
            remote.addresses.truncate(8);
            self.network.set_remote(*device, remote.addresses.clone());
        }
        if let Err(error) = self.home.update_remote(&remote) {
            tracing::warn!(%error, "cannot note where the remote is");
        }
    }

    pub(super) fn send(&self, device: &DeviceId, message: Message) {
        if let Some(connected) = self.links.get(device) {
            let bytes_max = OUTBOX_BYTES * (1 + connected.up_in.len());
            if !connected.outbox.send(message, bytes_max) {
                connected.link.close("it does not read what it is told");
            }
        }
    }

    /// Tells a remote what is offered to it.
    pub(super) fn send_offers(&self, device: &DeviceId) {
        let rows = self.rows();
        let offers = rows.iter().filter(|row| is_offered_to(row, device)).map(|row| Offer {
            directory: row.directory,
            name: row.name.clone(),
            read_only: row.read_only,
        });
        self.send(device, Message::Offers(offers.collect()));
    }

    pub(super) fn send_offers_to_all(&self) {
        self.links.keys().for_each(|device| self.send_offers(device));
    }

    /// Every directory of this home, at work or not.
    pub(super) fn rows(&self) -> Vec<&Directory> {
        let at_work = self.rooms.values().map(|resident| &resident.room.row);
        let mut rows: Vec<&Directory> =
            at_work.chain(self.dormant.values().map(|dormant| &dormant.row)).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    /// Tells a directory's engine which of its members are connected, and which no longer are members.
    pub(super) fn connect_members(&mut self, directory: &DirectoryId) {
        self.note_members(directory);
        let Some(resident) = self.rooms.get(directory) else { return };
        let members = resident.room.engine().members().clone();
        let row = &resident.room.row;
        let own = self.context.identity.device_id();
        let mut events = Vec::new();
        for (device, connected) in &mut self.links {
            let is_active = members.get(device).is_some_and(|member| member.active);
            let is_member = *device != own && is_active && may_take_part(row, device);
            if is_member && connected.up_in.insert(*directory) {
                events.push(Event::PeerUp(*device));
            } else if !is_member && connected.up_in.remove(directory) {
                events.push(Event::PeerDown(*device));
            }
        }
        for event in events {
            self.drive(directory, RoomEvent::Engine(event));
        }
    }

    /// Forgets a directory on every link: it is no longer kept here, or is about to be started again.
    /// Returns who was told so.
    pub(super) fn disconnect_directory(
        &mut self,
        directory: &DirectoryId,
        returns: bool,
    ) -> BTreeSet<DeviceId> {
        let mut told = BTreeSet::new();
        for (device, connected) in &mut self.links {
            if !connected.up_in.contains(directory) {
                continue;
            }
            told.insert(*device);
            let bytes_max = OUTBOX_BYTES * (1 + connected.up_in.len());
            connected.up_in.remove(directory);
            let message = Message::Detach { directory: *directory, returns };
            if !connected.outbox.send(message, bytes_max) {
                connected.link.close("it does not read what it is told");
            }
        }
        told
    }

    /// Tells a remote that this device takes no part in a directory; or not for the moment.
    fn send_detach(&mut self, device: &DeviceId, directory: DirectoryId) {
        let returns = self.is_awaited(&directory, *device);
        self.send(device, Message::Detach { directory, returns });
    }

    /// What a device that was removed from a directory is told of itself, since it may not know.
    fn removal(&self, device: &DeviceId, directory: &DirectoryId) -> Option<Members> {
        let room = &self.rooms.get(directory)?.room;
        let member = room.engine().members().get(device).filter(|member| !member.active)?.clone();
        Some(std::iter::once((*device, member)).collect())
    }

    fn on_message(&mut self, device: DeviceId, message: Message) {
        match message {
            Message::Offers(offers) => {
                if let Some(connected) = self.links.get_mut(&device) {
                    connected.offers = Some(offers);
                }
            }
            Message::Join { directory } => self.on_join(device, directory),
            Message::Joined { directory, result } => self.on_joined(device, directory, result),
            Message::Peek { directory, after } => self.on_peek(device, directory, after),
            Message::Peeked { directory, after, result } => {
                self.on_peeked(device, directory, after.as_ref(), result);
            }
            Message::Attach(ref attach) => {
                let directory = attach.directory;
                self.remember_joined(&device, attach);
                self.leave_if_unjoined(attach);
                self.pass_to_engine(device, directory, message);
            }
            Message::Entries(entries) => {
                let directory = entries.directory;
                if !self.is_up_in(&device, &directory) {
                    self.send_detach(&device, directory);
                } else if let Some(entries) = self.trusted(&device, entries) {
                    self.limit_announced(&directory);
                    self.pass_to_engine(device, directory, Message::Entries(entries));
                }
            }
            Message::Progress(ref progress) => {
                let directory = progress.directory;
                self.pass_to_engine(device, directory, message);
            }
            Message::Detach { directory, .. }
            | Message::Members { directory, .. }
            | Message::Check { directory, .. }
            | Message::Checked { directory, .. } => self.pass_to_engine(device, directory, message),
            Message::Barrier { token } => self.send(&device, Message::BarrierReached { token }),
            Message::BarrierReached { token } => {
                if let Some(connected) = self.links.get_mut(&device) {
                    connected.barrier_reached = connected.barrier_reached.max(token);
                }
            }
            Message::Hello(_) | Message::Goodbye { .. } | Message::Ping | Message::Pong => {}
        }
    }

    /// Tells a directory's engine how much memory is left for what remotes announce, of all that the server has for it.
    fn limit_announced(&self, directory: &DirectoryId) {
        let free_bytes = self.announced_free_bytes();
        if let Some(resident) = self.rooms.get(directory) {
            resident.room.engine().limit_announced(free_bytes);
        }
    }

    /// How much memory is left for what remotes announce, of all that the server has for it.
    pub(super) fn announced_free_bytes(&self) -> u64 {
        let announced = |room: &Room| room.engine().tree().announced_bytes() as u64;
        let taken: u64 = self.rooms.values().map(|resident| announced(&resident.room)).sum();
        self.config.announced_bytes_max.saturating_sub(taken + self.previewed_bytes())
    }

    pub(super) fn is_up_in(&self, device: &DeviceId, directory: &DirectoryId) -> bool {
        self.links.get(device).is_some_and(|connected| connected.up_in.contains(directory))
    }

    /// Gives a message to a directory's engine, if its sender is a member; others are told that they are not.
    fn pass_to_engine(&mut self, device: DeviceId, directory: DirectoryId, message: Message) {
        if self.is_up_in(&device, &directory) && self.rooms.contains_key(&directory) {
            self.drive(&directory, RoomEvent::Engine(Event::Message { from: device, message }));
        } else if !matches!(message, Message::Detach { .. }) {
            // When it would take part, and no answer to the same: who have both left would go on for ever.
            let is_asked = matches!(message, Message::Attach(_));
            let told = || self.farewell(&directory).or_else(|| self.removal(&device, &directory));
            if let Some(members) = is_asked.then(told).flatten() {
                self.send(&device, Message::Members { directory, members });
            }
            self.send_detach(&device, directory);
        }
    }

    /// A remote wants to take part in a directory.
    fn on_join(&mut self, device: DeviceId, directory: DirectoryId) {
        let row = self.rooms.get(&directory).map(|resident| resident.room.row.clone());
        // Its link may have more to tell after it was removed.
        let Some(row) = row.filter(|row| is_offered_to(row, &device) && self.is_paired(&device)) else {
            let result = Err("it is not offered to this device".to_owned());
            self.send(&device, Message::Joined { directory, result });
            return;
        };
        let mut members = self.rooms[&directory].room.engine().members().clone();
        let admitted = self.admission(device, &members);
        members.extend(admitted.clone());
        let terms = Terms { only_author: row.only_author, members };
        // First: what it is told of a directory that it does not have yet it answers with its farewell.
        self.send(&device, Message::Joined { directory, result: Ok(terms) });
        self.with_engine(&directory, |engine| engine.merge_members(clock::now(), &admitted));
        self.connect_members(&directory);
    }

    /// A remote that may join a directory wants to know what it holds. Its last question alone counts.
    fn on_peek(&mut self, device: DeviceId, directory: DirectoryId, after: Option<SyncPath>) {
        if let Some(connected) = self.links.get_mut(&device) {
            (connected.peek, connected.peek_since) = (Some((directory, after)), Instant::now());
            self.answer_peeks();
        }
    }

    /// Answers what remotes want to know, at a pace, and no faster than they read.
    pub(super) fn answer_peeks(&mut self) {
        let now = Instant::now();
        let rooms = &self.rooms;
        // Before the first page what was found a moment ago gets the time to become durable: nothing else is told.
        let has_to_settle = |connected: &Connected| {
            let first = connected.peek.as_ref().filter(|(_, after)| after.is_none());
            let resident = first.and_then(|(directory, _)| rooms.get(directory));
            now < connected.peek_since + PEEK_SETTLES
                && resident.is_some_and(|resident| !resident.room.engine().has_found_out())
        };
        let may_hear = |connected: &Connected| {
            connected.peek_not_before <= now && connected.reads() && !has_to_settle(connected)
        };
        let due = self.links.iter_mut().filter(|(_, connected)| may_hear(connected));
        let due = due.filter_map(|(device, connected)| {
            let peek = connected.peek.take()?;
            connected.peek_not_before = now + PEEK_PAUSE;
            Some((*device, peek))
        });
        for (device, (directory, after)) in due.collect::<Vec<_>>() {
            let result = self.page(&device, &directory, after.as_ref());
            self.send(&device, Message::Peeked { directory, after, result });
        }
    }

    /// When the next question of a remote's may be answered.
    pub(super) fn peek_due(&self) -> Option<Instant> {
        let waiting = self.links.values().filter(|connected| connected.peek.is_some());
        let now = Instant::now();
        let at = |connected: &Connected| match connected.reads() {
            true => connected.peek_not_before.max(now + PEEK_PAUSE),
            false => now + PEEK_UNREAD_PAUSE,
        };
        waiting.map(at).min()
    }

    fn page(
        &self,
        device: &DeviceId,
        directory: &DirectoryId,
        after: Option<&SyncPath>,
    ) -> Result<Page, String> {
        let is_offered = |row: &Directory| row.directory == *directory && is_offered_to(row, device);
        if !self.rows().into_iter().any(is_offered) {
            return Err("it is not offered to this device".to_owned());
        }
        let engine = self.rooms.get(directory).map(|resident| resident.room.engine());
        let engine = engine.ok_or("it is not at work there; its `file-sync status` says why")?;
        if !engine.has_looked_through() {
            return Err("it is still looking through its files; try again in a while".to_owned());
        }
        Ok(engine.page(after))
    }

    /// Takes a device in again that has joined and that this one does not know as a member: a crash right afterwards made it
    /// forget, or an older farewell came late. Whoever it offers a directory to might join anew as well.
    fn remember_joined(&mut self, device: &DeviceId, attach: &Attach) {
        let directory = &attach.directory;
        let Some(resident) = self.rooms.get(directory) else { return };
        if !is_offered_to(&resident.room.row, device) {
            return;
        }
        let members = resident.room.engine().members().clone();
        let told = attach.members.get(device).filter(|told| told.active);
        let is_news = match members.get(device) {
            None => true,
            Some(member) => told.is_some_and(|told| !member.active && told.number > member.number),
        };
        if is_news {
            let mut admitted = self.admission(*device, &members);
            for member in admitted.values_mut() {
                member.number = member.number.max(told.map_or(0, |told| told.number));
            }
            self.with_engine(directory, |engine| engine.merge_members(clock::now(), &admitted));
            self.connect_members(directory);
        }
    }

    /// What puts a paired device into a member list, if it is not on it.
    fn admission(&self, device: DeviceId, members: &Members) -> Members {
        let is_member = members.get(&device).is_some_and(|member| member.active);
        match self.home.remote(&device) {
            Ok(Some(remote)) if !is_member && !remote.deleted => {
                add_member(members, device, remote.key, true)
            }
            _ => Members::default(),
        }
    }
}

/// False for a device that a member brought in although the directory is not offered to it from here.
fn may_take_part(row: &Directory, device: &DeviceId) -> bool {
    row.role != Role::Offered || is_offered_to(row, device)
}

/// True if this device offers a directory to another.
pub(super) fn is_offered_to(row: &Directory, device: &DeviceId) -> bool {
    row.role == Role::Offered && (row.offered_to.is_empty() || row.offered_to.contains(device))
}
