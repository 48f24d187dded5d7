//! `file up`, `file down`, `file ls`: directories offered from here.

use std::collections::BTreeSet;

use file_sync_core::message::{Member, Members};
use file_sync_core::version::{DeviceId, DirectoryId};
use file_sync_disk::Root;
use file_sync_index::{Directory, Mode, Role};

use super::{House, refused};
use crate::api::command::{FileUp, Refusal};
use crate::api::names::Target;
use crate::api::types::{DirectoryDone, Offered, OfferedList};
use crate::clock;
use crate::room::add_member;

impl House {
    pub(super) fn file_up(&mut self, request: &FileUp) -> Result<Offered, Refusal> {
        let real = self.offerable(request.path.as_path())?;
        self.check_name(request.name.as_str())?;
        let offered_to = self.named_remotes(request)?;
        let fresh_id = DirectoryId(random_bytes()?);
        let (root, id) = Root::offer(&real, fresh_id).map_err(|error| Refusal::new(error.to_string()))?;
        if let Some(other) = self.rows().into_iter().find(|row| row.directory == id) {
            return Err(Refusal::new(format!(
                "{} carries the marker of {} ({}), so it is a copy of it; remove its .file-sync directory to offer it as another",
                real.display(),
                other.name,
                other.path.display()
            )));
        }
        let now = clock::seconds();
        let own = self.context.identity.device_id();
        let earlier = self.home.directory(&id).map_err(refused)?;
        let row = Directory {
            directory: id,
            created_at: earlier.map_or(now, |earlier| earlier.created_at),
            updated_at: now,
            path: real,
            name: request.name.as_str().to_owned(),
            role: Role::Offered,
            mode: Mode::TwoWay,
            read_only: request.read_only,
            only_author: request.read_only.then_some(own),
            origin: None,
            origin_name: None,
            paused: false,
            offered_to,
            deleted: false,
        };
        self.keep(row.clone(), root)?;
        self.become_member(&id);
        self.send_offers_to_all();
        Ok(self.offered(&row))
    }

    fn named_remotes(&self, request: &FileUp) -> Result<BTreeSet<DeviceId>, Refusal> {
        request.to.iter().map(|name| self.remote_named(name).map(|remote| remote.device)).collect()
    }

    /// Stores a directory and starts it; neither, if it cannot be started.
    pub(super) fn keep(&mut self, row: Directory, root: Root) -> Result<(), Refusal> {
        let id = row.directory;
        self.home.insert_directory(&row).map_err(refused)?;
        self.start_room(row, root).map_err(|error| {
            if let Err(undo) = self.home.delete_directory(&id, clock::seconds()) {
                tracing::error!(%undo, "cannot take back a directory that did not start");
            }
            Refusal::new(error.to_string())
        })
    }

    /// Puts this device into a directory's member list.
    pub(super) fn become_member(&mut self, directory: &DirectoryId) {
        let own = self.context.identity.device_id();
        let key = self.context.identity.public_key();
        let Some(resident) = self.rooms.get(directory) else { return };
        let members = resident.room.engine().members().clone();
        let left = self.left_as(directory).unwrap_or(0);
        let is_sure = |member: &Member| member.active && member.number > left;
        if !members.get(&own).is_some_and(is_sure) {
            let mut change = add_member(&members, own, key, true);
            self.number_anew(directory, &mut change);
            self.with_engine(directory, |engine| engine.merge_members(clock::now(), &change));
        }
    }

    /// Others may know of a farewell that whoever let this device join does not: what comes after it has a higher number.
    fn number_anew(&self, directory: &DirectoryId, own: &mut Members) {
        let left = self.left_as(directory).unwrap_or(0);
        for member in own.values_mut() {
            member.number = member.number.max(left.saturating_add(1));
        }
    }

    /// Puts this device, and the one that a directory was joined from, into its member list if they are not on it at
    /// all: a crash may have come before the list was durable, and without them nothing would ever be exchanged.
    pub(super) fn complete_members(&mut self, directory: &DirectoryId) {
        let Some(resident) = self.rooms.get(directory) else { return };
        let origin = resident.room.row.origin.and_then(|device| self.home.remote(&device).ok().flatten());
        let origin = origin.filter(|remote| !remote.deleted).map(|remote| (remote.device, remote.key));
        let own = (self.context.identity.device_id(), self.context.identity.public_key());
        let members = resident.room.engine().members().clone();
        for (device, key) in std::iter::once(own).chain(origin) {
            if !members.contains_key(&device) {
                let mut change = add_member(&members, device, key, true);
                if device == own.0 {
                    self.number_anew(directory, &mut change);
                }
                self.with_engine(directory, |engine| engine.merge_members(clock::now(), &change));
            }
        }
    }

    pub(super) fn file_down(&mut self, target: &Target) -> Result<DirectoryDone, Refusal> {
        let row = self.find(target)?;
        if row.role != Role::Offered {
            return Err(Refusal::new(format!(
                "{} is synced, not offered; `file-sync sync down` leaves it",
                row.name
            )));
        }
        self.take_down(&row)?;
        self.send_offers_to_all();
        Ok(done(&row))
    }

    /// Stops keeping a directory; its files and its database stay.
    pub(super) fn take_down(&mut self, row: &Directory) -> Result<(), Refusal> {
        self.home.delete_directory(&row.directory, clock::seconds()).map_err(refused)?;
        self.disconnect_directory(&row.directory, false);
        self.stop_room(&row.directory);
        Ok(())
    }

    pub(super) fn file_ls(&self) -> Result<OfferedList, Refusal> {
        let rows = self.rows();
        let offered = rows.into_iter().filter(|row| row.role == Role::Offered);
        Ok(OfferedList { directories: offered.map(|row| self.offered(row)).collect() })
    }

    fn offered(&self, row: &Directory) -> Offered {
        let own = self.context.identity.device_id();
        let members = match self.rooms.get(&row.directory) {
            Some(resident) => resident.room.engine().members().clone(),
            None => Default::default(),
        };
        let others = members.iter().filter(|(device, member)| **device != own && member.active);
        let to = row.offered_to.iter().map(|device| self.name_of(device)).collect();
        Offered {
            name: row.name.clone(),
            id: row.directory.to_string(),
            path: row.path.as_path().into(),
            read_only: row.read_only,
            to: (!row.offered_to.is_empty()).then_some(to),
            members: others.map(|(device, _)| self.name_of(device)).collect(),
        }
    }
}

/// What a command on a directory answers with.
pub(super) fn done(row: &Directory) -> DirectoryDone {
    DirectoryDone {
        name: row.name.clone(),
        id: row.directory.to_string(),
        path: row.path.as_path().into(),
        already: false,
    }
}

/// Random bytes for an id or a secret.
pub(super) fn random_bytes() -> Result<[u8; 16], Refusal> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Refusal::new(format!("the system gives no random numbers: {error}")))?;
    Ok(bytes)
}
