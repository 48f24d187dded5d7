//! The lives of a directory: its start, its end, and what comes between where its disk fails or its root goes away.
//!
//! A directory that cannot be at work is dormant, and tried again in a while. Its next life begins when nothing of the
//! last is at work any more, which the lock on its root sees to.

use std::collections::BTreeSet;
use std::sync::Weak;
use std::time::{Duration, Instant};

use file_sync_core::engine::{Event, State};
use file_sync_core::message::Message;
use file_sync_core::version::{DeviceId, DirectoryId};
use file_sync_disk::Root;
use file_sync_index::{Directory, IndexError};

use super::{House, Resident, WAKE_EVERY};
use crate::input::{Input, RoomEvent};
use crate::room::{Known, RoomError};

/// The longest that a directory waits whose disk fails again and again.
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(300);
/// After so long without another, a failure is forgotten.
const FAILURE_FORGOTTEN: Duration = Duration::from_secs(600);
/// How long the main loop waits for remotes' requests to let go of a root that is taken down.
const STOP_MAX: Duration = Duration::from_secs(1);

/// A directory that is not at work, and why.
pub(super) struct Dormant {
    pub(super) row: Directory,
    pub(super) message: String,
    /// Its disk failed, so that it is to be started again.
    is_failed: bool,
    /// Who was told that it comes back in a moment.
    awaited_by: BTreeSet<DeviceId>,
    /// Its last life, which has not ended yet.
    ending: Option<u64>,
    not_before: Instant,
}

/// When a directory's disk failed last, and what was said.
pub(super) struct Failure {
    message: String,
    at: Instant,
    /// How often, with less than [`FAILURE_FORGOTTEN`] in between.
    n_in_a_row: u32,
}

impl Dormant {
    /// In how long it is tried again, at the latest.
    pub(super) fn retry_within(&self) -> Duration {
        self.not_before.saturating_duration_since(Instant::now()) + WAKE_EVERY
    }
}

impl House {
    /// The disk may not be what a directory's engine would take it for: it is started again in a while, from what is
    /// stored, and finds out.
    ///
    /// Nothing is waited for here: a disk that fails may also hang. Its next life begins when the last has ended.
    pub(super) fn has_failed(&mut self, directory: &DirectoryId, message: String) {
        let awaited_by = self.disconnect_directory(directory, true); // Its next engine is told anew who is there.
        self.provider.remove(directory);
        let Some(resident) = self.rooms.remove(directory) else { return };
        let (row, life, now) = (resident.room.row.clone(), resident.room.life, Instant::now());
        tracing::warn!(directory = %row.name, %message, "starting this directory again");
        let before = self.failures.get(directory).filter(|failure| now - failure.at < FAILURE_FORGOTTEN);
        let n_in_a_row = before.map_or(1, |failure| failure.n_in_a_row.saturating_add(1));
        self.failures.insert(*directory, Failure { message: message.clone(), at: now, n_in_a_row });
        let pause = WAKE_EVERY.saturating_mul(1 << (n_in_a_row - 1).min(10)).min(FAILURE_PAUSE_MAX);
        let (ending, not_before) = (Some(life), now + pause);
        let dormant = Dormant { row, message, is_failed: true, awaited_by, ending, not_before };
        self.dormant.insert(*directory, dormant);
        let (inputs, directory) = (self.context.inputs.clone(), *directory);
        tokio::task::spawn_blocking(move || {
            resident.room.end();
            // Nobody listens only when the server is at its end.
            let _ = inputs.blocking_send(Input::RoomEnded { directory, life });
        });
    }

    /// Nothing of a life of a directory is at work any more.
    pub(super) fn has_ended(&mut self, directory: &DirectoryId, life: u64) {
        if let Some(dormant) = self.dormant.get_mut(directory) {
            dormant.ending.take_if(|ending| *ending == life);
        }
    }

    /// True if a directory is not at work and will be in a moment, as this remote now knows.
    pub(super) fn is_awaited(&mut self, directory: &DirectoryId, device: DeviceId) -> bool {
        let dormant = self.dormant.get_mut(directory).filter(|dormant| dormant.is_failed);
        dormant.is_some_and(|dormant| {
            dormant.awaited_by.insert(device);
            true
        })
    }

    /// A directory does not come back in a moment after all: nobody waits for it any more.
    fn is_away(&mut self, directory: &DirectoryId, message: String) {
        let Some(dormant) = self.dormant.get_mut(directory) else { return };
        dormant.message = message;
        dormant.is_failed = false;
        for device in std::mem::take(&mut dormant.awaited_by) {
            self.send(&device, Message::Detach { directory: *directory, returns: false });
        }
    }

    /// What a directory's disk said when it failed, until all has been done again since.
    pub(super) fn failure_of(&self, directory: &DirectoryId, state: State) -> Option<String> {
        let failure = self.failures.get(directory)?;
        let is_over = state == State::Idle || failure.at.elapsed() >= FAILURE_FORGOTTEN;
        (!is_over).then(|| failure.message.clone())
    }

    /// Starts a directory, or leaves it dormant while its root is not there.
    pub(super) fn wake(&mut self, row: Directory) -> Result<(), IndexError> {
        let id = row.directory;
        let opened = Root::open(&row.path, id).map_err(RoomError::from);
        match opened.and_then(|root| self.start_room(row.clone(), root)) {
            Ok(()) => {
                self.dormant.remove(&id);
                Ok(())
            }
            Err(RoomError::Index(error)) => Err(error),
            Err(error) => {
                let message = error.to_string();
                tracing::warn!(directory = %row.name, %message, "cannot work on this directory");
                let (awaited_by, not_before) = (BTreeSet::new(), Instant::now());
                let dormant = Dormant {
                    row,
                    message: String::new(),
                    is_failed: false,
                    awaited_by,
                    ending: None,
                    not_before,
                };
                self.dormant.entry(id).or_insert(dormant);
                self.is_away(&id, message);
                Ok(())
            }
        }
    }

    /// Ends a directory's work and starts it again with a root that is opened now; where that fails it is dormant.
    pub(super) fn start_anew(
        &mut self,
        row: &Directory,
        open: impl FnOnce() -> Result<Root, String>,
    ) -> Result<(), String> {
        let id = row.directory;
        let awaited_by = self.disconnect_directory(&id, true);
        self.stop_room(&id);
        let (message, not_before) = (String::new(), Instant::now());
        let dormant =
            Dormant { row: row.clone(), message, is_failed: true, awaited_by, ending: None, not_before };
        self.dormant.insert(id, dormant);
        let started =
            open().and_then(|root| self.start_room(row.clone(), root).map_err(|error| error.to_string()));
        match &started {
            Ok(()) => _ = self.dormant.remove(&id),
            Err(message) => self.is_away(&id, message.clone()),
        }
        started
    }

    /// Starts what can be started by now.
    pub(super) fn wake_dormant(&mut self) {
        let now = Instant::now();
        let due =
            self.dormant.values().filter(|dormant| dormant.ending.is_none() && dormant.not_before <= now);
        for row in due.map(|dormant| dormant.row.clone()).collect::<Vec<_>>() {
            if let Err(error) = Root::open(&row.path, row.directory) {
                self.is_away(&row.directory, error.to_string());
                continue;
            }
            let id = row.directory;
            if let Err(error) = self.wake(row)
                && let Some(dormant) = self.dormant.get_mut(&id)
            {
                dormant.message = error.to_string();
            }
        }
    }

    /// Starts a directory whose root is open.
    pub(super) fn start_room(&mut self, row: Directory, root: Root) -> Result<(), RoomError> {
        let id = row.directory;
        self.n_lives += 1;
        let [identity_key, doubt_key, unlisted_key, boot_key, holding_key] =
            ["root", "doubt", "unlisted", "boot", "holding"].map(|what| format!("{what}:{id}"));
        let identity = root.identity();
        if !self.context.database(&id).exists() {
            let is_empty = root.kept_list().is_ok_and(|kept| kept.is_empty());
            self.home.set_setting(&unlisted_key, if is_empty { "0" } else { "1" })?;
            self.home.set_setting(&doubt_key, "0")?;
            self.home.set_setting(&holding_key, "0")?;
            self.reset_hold_limit(&id)?;
        }
        let known = Known {
            identity: self.home.setting(&identity_key)?.and_then(|text| parse_identity(&text)),
            is_doubted: self.home.setting(&doubt_key)?.is_some_and(|text| text == "1"),
            may_have_fallen_back: self.home.setting(&boot_key)?.is_some_and(|text| text != self.boot_id),
            was_holding: self.home.setting(&holding_key)?.is_some_and(|text| text == "1"),
            is_unlisted: self.home.setting(&unlisted_key)?.is_some_and(|text| text == "1"),
            hold: self.stored_hold_limit(&id)?,
        };
        let mut doubt = || self.home.set_setting(&doubt_key, "1");
        let room = self.context.start(row, root, self.n_lives, &known, &mut doubt)?;
        self.home.set_setting(&identity_key, &format!("{}:{}", identity.0, identity.1))?;
        self.provider.insert(id, room.serving());
        room.sweep_kept(known.is_unlisted, self.config.kept_max);
        let (scanned, is_holding) = (Instant::now(), known.was_holding);
        let reading = Weak::new();
        let resident =
            Resident { room, deadline_ms: None, scanned, is_boot_noted: false, is_holding, reading };
        self.rooms.insert(id, resident);
        self.drive(&id, RoomEvent::Engine(Event::Tick));
        self.complete_members(&id);
        self.connect_members(&id);
        self.wait_again(&id); // Now that it knows who is there.
        Ok(())
    }

    /// Ends a directory's work; its threads end by themselves.
    pub(super) fn stop_room(&mut self, directory: &DirectoryId) {
        self.provider.remove(directory);
        self.dormant.remove(directory);
        if let Some(resident) = self.rooms.remove(directory) {
            // Its database and its root may be opened again at once, so both have to be closed first.
            tokio::task::block_in_place(|| resident.room.end_within(STOP_MAX));
        }
    }
}

fn parse_identity(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}
