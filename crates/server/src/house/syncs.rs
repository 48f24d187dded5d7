//! `sync down`, `ls`, `pause`, `resume`, and what remotes offer.

use file_sync_core::message::{Attach, Member, Members, Message};
use file_sync_core::version::DirectoryId;
use file_sync_index::{Directory, IndexError, Role};

use super::files::done;
use super::{House, refused};
use crate::api::command::Refusal;
use crate::api::names::Target;
use crate::api::types::{DirectoryDone, RemoteOffer, RemoteOfferList, Synced, SyncedList};
use crate::clock;
use crate::house::shown::{mode_of, state_of};
use crate::room::add_member;

impl House {
    /// Leaves a directory: the others hear of it, the files stay, what was known of them goes.
    pub(super) fn sync_down(&mut self, target: &Target) -> Result<DirectoryDone, Refusal> {
        let row = self.find(target)?;
        if row.role != Role::Synced {
            return Err(Refusal::new(format!(
                "{} is offered here; `file-sync file down` stops that",
                row.name
            )));
        }
        self.say_farewell(&row);
        self.take_down(&row)?;
        self.remove_database(&row);
        Ok(done(&row))
    }

    /// Tells all members that this device is none any more; who is away hears it when it asks for the directory.
    fn say_farewell(&mut self, row: &Directory) {
        let own = self.context.identity.device_id();
        let key = self.context.identity.public_key();
        let members = match self.rooms.get(&row.directory) {
            Some(resident) => Ok(resident.room.engine().members().clone()),
            None => self.stored_members(&row.directory),
        };
        let mut members = members.unwrap_or_else(|error| {
            tracing::warn!(%error, "members may not hear that this device has left");
            Members::default() // Who never left before is out by that, too.
        });
        // Whom the others have removed need not leave as well: by another number, they would not know of it.
        let is_removed = |member: &&Member| !member.active;
        let farewell = match members.get(&own).filter(is_removed) {
            Some(removed) => std::iter::once((own, removed.clone())).collect(),
            None => add_member(&members, own, key, false),
        };
        let number = farewell.get(&own).map_or(0, |member| member.number);
        let number = number.max(self.left_as(&row.directory).unwrap_or(0));
        if let Err(error) = self.home.set_setting(&left_key(&row.directory), &number.to_string()) {
            tracing::warn!(%error, "members that are away will not hear that this device has left");
        }
        members.extend(farewell);
        let is_other = |device: &&file_sync_core::version::DeviceId| **device != own;
        for device in
            members.iter().filter(|(_, member)| member.active).map(|(device, _)| device).filter(is_other)
        {
            self.send(device, Message::Members { directory: row.directory, members: members.clone() });
        }
    }

    /// A directory that this device has left, as the others are to know it.
    pub(super) fn farewell(&self, directory: &DirectoryId) -> Option<Members> {
        let is_here = self.rooms.contains_key(directory) || self.dormant.contains_key(directory);
        let number = self.left_as(directory).filter(|_| !is_here)?;
        let (own, key) = (self.context.identity.device_id(), self.context.identity.public_key());
        let member = Member { number, active: false, key };
        Some(std::iter::once((own, member)).collect())
    }

    /// Notes that a remote is asked to let this device take part, or that this has come about: a remote for whom it has not
    /// is to hear so.
    pub(super) fn note_joining(&mut self, directory: &DirectoryId, is_under_way: bool) {
        let noted = self.was_offered(directory).and_then(|was_offered| {
            let noted = if is_under_way && !was_offered { "1" } else { "0" };
            self.home.set_setting(&joining_key(directory), noted)
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "should the joining fail, its members may not hear that");
        }
    }

    /// Who offered a directory and stopped that is a member still, and stays one.
    fn was_offered(&self, directory: &DirectoryId) -> Result<bool, IndexError> {
        self.home.directory(directory).map(|row| row.is_some_and(|row| row.role == Role::Offered))
    }

    /// A remote takes this device for a member. If it let it in for a join that came to nothing, this is one that has left.
    pub(super) fn leave_if_unjoined(&mut self, attach: &Attach) {
        let (directory, own) = (&attach.directory, self.context.identity.device_id());
        let is_here = self.rooms.contains_key(directory) || self.dormant.contains_key(directory);
        let Some(member) = attach.members.get(&own).filter(|member| member.active) else { return };
        if is_here || self.is_being_joined(directory) {
            return;
        }
        match self.leave_unjoined(directory, member.number.saturating_add(1)) {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "a remote does not hear that a join came to nothing"),
        }
    }

    fn leave_unjoined(&mut self, directory: &DirectoryId, number: u64) -> Result<(), IndexError> {
        let is_unjoined = self.home.setting(&joining_key(directory))?.as_deref() == Some("1");
        let has_left = self.left_as(directory).is_some_and(|left| left >= number);
        if !is_unjoined || has_left || self.was_offered(directory)? {
            return Ok(());
        }
        self.home.set_setting(&left_key(directory), &number.to_string())
    }

    /// The number under which this device was no member of a directory any more when it last left it.
    pub(super) fn left_as(&self, directory: &DirectoryId) -> Option<u64> {
        let stored = self.home.setting(&left_key(directory));
        let stored =
            stored.inspect_err(|error| tracing::warn!(%error, "cannot tell whether a directory was left"));
        stored.ok().flatten()?.parse().ok()
    }

    /// Removes a directory's database: joined again, it is joined as new.
    pub(super) fn remove_database(&self, row: &Directory) {
        let path = self.context.database(&row.directory);
        for suffix in ["", "-wal", "-shm"] {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            match std::fs::remove_file(&name) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %path.display(), "cannot remove the database of a directory that was left");
                }
                _ => {}
            }
        }
    }

    pub(super) fn sync_ls(&self) -> Result<SyncedList, Refusal> {
        let rows = self.rows();
        let synced = rows.into_iter().filter(|row| row.role == Role::Synced);
        Ok(SyncedList { directories: synced.map(|row| self.synced(row)).collect() })
    }

    pub(super) fn synced(&self, row: &Directory) -> Synced {
        let room = self.rooms.get(&row.directory).map(|resident| &resident.room);
        let state = room.map(|room| state_of(room.engine().state()));
        Synced {
            name: row.name.clone(),
            id: row.directory.to_string(),
            path: row.path.as_path().into(),
            remote: row.origin.map(|device| self.name_of(&device)).unwrap_or_default(),
            mode: mode_of(row.mode),
            read_only: row.read_only,
            state: state.unwrap_or(crate::api::types::State::Error),
            stragglers: room.map(|room| self.stragglers(room)).unwrap_or_default(),
        }
    }

    pub(super) fn set_paused(&mut self, target: &Target, paused: bool) -> Result<DirectoryDone, Refusal> {
        let mut row = self.find(target)?;
        let already = row.paused == paused;
        row.paused = paused;
        row.updated_at = clock::seconds();
        self.home.update_directory(&row).map_err(refused)?;
        if let Some(resident) = self.rooms.get_mut(&row.directory) {
            resident.room.row = row.clone();
        }
        if let Some(dormant) = self.dormant.get_mut(&row.directory) {
            dormant.row = row.clone();
        }
        self.with_engine(&row.directory, |engine| engine.set_paused(clock::now(), paused));
        Ok(DirectoryDone { already, ..done(&row) })
    }

    pub(super) fn offers_of_remotes(&self) -> Result<RemoteOfferList, Refusal> {
        let joined: Vec<_> = self.rows().iter().map(|row| row.directory).collect();
        let mut offers: Vec<RemoteOffer> = self
            .links
            .iter()
            .flat_map(|(device, connected)| {
                connected.offers.iter().flatten().map(move |offer| (device, offer))
            })
            .map(|(device, offer)| RemoteOffer {
                remote: self.name_of(device),
                name: offer.name.clone(),
                id: offer.directory.to_string(),
                read_only: offer.read_only,
                joined: joined.contains(&offer.directory),
            })
            .collect();
        offers.sort_by(|a, b| (&a.remote, &a.name).cmp(&(&b.remote, &b.name)));
        Ok(RemoteOfferList { offers })
    }
}

fn joining_key(directory: &DirectoryId) -> String {
    format!("joining:{directory}")
}

fn left_key(directory: &DirectoryId) -> String {
    format!("left:{directory}")
}
