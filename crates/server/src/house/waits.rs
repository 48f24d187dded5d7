//! `sync wait`: of one directory or of all, within a time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use file_sync_core::engine::{Engine, WaitId};
use file_sync_core::version::{DeviceId, DirectoryId};

use super::House;
use crate::api::command::{Refusal, Reply, SyncWait};
use crate::api::types::{Absent, HeldHere, Waited};
use crate::clock;
use crate::input::answer;
use crate::room::Room;

/// Somebody who waits.
pub(super) struct ApiWait {
    directories: BTreeSet<DirectoryId>,
    left: BTreeSet<DirectoryId>,
    pub(super) deadline: Instant,
    started: Instant,
    /// Who took part when it began, and in what.
    remotes: BTreeSet<(DirectoryId, DeviceId)>,
    paused: Vec<String>,
    tells_late: bool,
    reply: Option<Reply<Waited>>,
}

impl House {
    pub(super) fn sync_wait(&mut self, request: &SyncWait, reply: Reply<Waited>) {
        let directories: BTreeSet<DirectoryId> = match &request.target {
            None => self.rows().iter().map(|row| row.directory).collect(),
            Some(target) => match self.find(target) {
                Ok(row) => BTreeSet::from([row.directory]),
                Err(refusal) => return answer(reply, Err(refusal)),
            },
        };
        let started = Instant::now();
        // A time that no clock reaches is a year.
        let deadline =
            started + Duration::from_millis(request.timeout_ms).min(Duration::from_secs(366 * 86_400));
        self.n_waits += 1;
        let id = self.n_waits;
        let at_work = self.rooms.values().map(|resident| &resident.room);
        let waited_for = at_work.filter(|room| !room.row.paused && directories.contains(&room.id()));
        let taking_part = |room: &Room| {
            let devices = room.engine().taking_part();
            devices.into_iter().map(|device| (room.id(), device)).collect::<Vec<_>>()
        };
        let remotes = waited_for.flat_map(taking_part).collect();
        let rows = self.rows().into_iter().filter(|row| row.paused && directories.contains(&row.directory));
        let paused = rows.map(|row| row.name.clone()).collect();
        // A directory whose root is not there cannot be waited for, unless nobody is connected.
        let dormant =
            |directory: &DirectoryId| self.dormant.contains_key(directory) && !self.links.is_empty();
        let left = directories.iter().copied().filter(|id| self.rooms.contains_key(id) || dormant(id));
        let left: BTreeSet<DirectoryId> = left.collect();
        let left_now = left.clone();
        let (tells_late, reply) = (request.tells_late, Some(reply));
        let wait = ApiWait { directories, left, deadline, started, remotes, paused, tells_late, reply };
        self.waits.insert(id, wait);
        for directory in left_now {
            self.with_engine(&directory, |engine| engine.wait(clock::now(), id));
        }
        self.end_waits(Instant::now());
    }

    /// A directory was started that somebody waits for.
    pub(super) fn wait_again(&mut self, directory: &DirectoryId) {
        let waiting = self.waits.iter().filter(|(_, wait)| wait.left.contains(directory));
        for id in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.with_engine(directory, |engine| engine.wait(clock::now(), id));
        }
    }

    pub(super) fn wait_is_done(&mut self, directory: &DirectoryId, id: WaitId) {
        if let Some(wait) = self.waits.get_mut(&id) {
            wait.left.remove(directory);
        }
    }

    pub(super) fn end_waits(&mut self, now: Instant) {
        let is_over = |wait: &ApiWait| {
            wait.left.is_empty() || wait.deadline <= now || wait.reply.as_ref().is_none_or(Reply::is_closed)
        };
        let over: Vec<u64> = self.waits.iter().filter(|(_, wait)| is_over(wait)).map(|(id, _)| *id).collect();
        for id in over {
            let Some(mut wait) = self.waits.remove(&id) else { continue };
            if let Some(reply) = wait.reply.take() {
                answer(reply, self.outcome(id, &wait));
            }
            for directory in &wait.left {
                if let Some(resident) = self.rooms.get(directory) {
                    resident.room.engine().cancel_wait(id);
                }
            }
        }
    }

    fn outcome(&self, id: WaitId, wait: &ApiWait) -> Result<Waited, Refusal> {
        let in_sync = wait.left.is_empty();
        if !in_sync && !wait.tells_late {
            return Err(Refusal::timed_out(self.what_is_missing(id, &wait.left)));
        }
        let absent = self.members_in(&wait.directories, Engine::not_taking_part);
        let mut away = self.members_in(&wait.directories, Engine::away);
        away.retain(|away| !absent.contains(away));
        Ok(Waited {
            in_sync,
            behind: self.members_in(&wait.left, |engine| engine.behind(id)),
            remotes: self.n_waited_for(&wait.remotes),
            paused: wait.paused.clone(),
            absent,
            away,
            held: self.held_in(&wait.directories),
            waited_ms: u64::try_from(wait.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn held_in(&self, directories: &BTreeSet<DirectoryId>) -> Vec<HeldHere> {
        let rooms = directories.iter().filter_map(|directory| self.rooms.get(directory));
        let held = rooms.map(|resident| HeldHere {
            directory: resident.room.row.name.clone(),
            deletions: resident.room.engine().n_held(),
        });
        held.filter(|held| held.deletions > 0).collect()
    }

    /// What a wait ends with that has not seen everything in sync.
    fn what_is_missing(&self, id: WaitId, left: &BTreeSet<DirectoryId>) -> String {
        let mut is_elsewhere = false;
        let shown = left.iter().filter_map(|directory| {
            let name = self.directory_name(directory)?;
            let room = self.rooms.get(directory).map(|resident| &resident.room);
            let behind = room.map(|room| room.engine().behind(id)).unwrap_or_default();
            let behind: Vec<String> = behind.iter().map(|device| self.name_of(device)).collect();
            is_elsewhere |= !behind.is_empty();
            Some(if behind.is_empty() { name } else { format!("{name} (waiting for {})", behind.join(", ")) })
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        let place = if is_elsewhere { ", here and there," } else { "" };
        format!("not everything is in sync yet: {shown}; `file-sync status`{place} says what is missing")
    }

    /// How many of those who took part at a wait's begin still do.
    fn n_waited_for(&self, remotes: &BTreeSet<(DirectoryId, DeviceId)>) -> u64 {
        let still = remotes.iter().filter(|(directory, device)| {
            let room = self.rooms.get(directory).map(|resident| &resident.room);
            room.is_some_and(|room| room.engine().taking_part().contains(device))
        });
        still.map(|(_, device)| device).collect::<BTreeSet<_>>().len() as u64
    }

    fn members_in(
        &self,
        directories: &BTreeSet<DirectoryId>,
        which: impl Fn(&Engine) -> Vec<DeviceId>,
    ) -> Vec<Absent> {
        let rooms = self.rooms.values().map(|resident| &resident.room);
        let rooms = rooms.filter(|room| !room.row.paused && directories.contains(&room.id()));
        let absent = rooms.flat_map(|room| {
            let absent = which(&room.engine());
            let directory = &room.row.name;
            absent.into_iter().map(|device| Absent {
                remote: self.name_of(&device),
                directory: directory.clone(),
                unpaired: !self.is_paired(&device),
            })
        });
        absent.collect()
    }

    fn directory_name(&self, directory: &DirectoryId) -> Option<String> {
        self.rows().into_iter().find(|row| row.directory == *directory).map(|row| row.name.clone())
    }
}
