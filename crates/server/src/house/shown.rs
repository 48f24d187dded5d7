//! `status`: everything at a glance.

use std::num::NonZeroU64;
use std::time::Duration;

use file_sync_core::engine;
use file_sync_core::version::DeviceId;
use file_sync_index::{Directory, Role};

use super::House;
use super::holds::{N_NAMED, held_paths};
use super::unwatched::unwatched_message;
use crate::api::command::Refusal;
use crate::api::names::printable;
use crate::api::types::{
    self, Device, DirectoryStatus, Mode, PathMessage, State, Status, Straggler, Traffic,
};
use crate::clock;
use crate::config::RatesMax;
use crate::room::{PROVE_EVERY, Room};

impl House {
    pub(super) fn status(&self) -> Result<Status, Refusal> {
        let at_work = self.rooms.values().map(|resident| self.directory_status(&resident.room));
        let dormant = self.dormant.values().map(|dormant| {
            let mut status = empty(&dormant.row, self.remote_of(&dormant.row));
            status.errors.push(root_message(dormant.message.clone(), Some(dormant.retry_within())));
            status
        });
        let mut directories: Vec<DirectoryStatus> = at_work.chain(dormant).collect();
        directories.sort_by(|a, b| a.name.cmp(&b.name));
        let id: DeviceId = self.context.identity.device_id();
        let traffic = self.traffic(coming_bytes(&directories));
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: Device { id: id.to_string(), name: self.config.name.clone() },
            remotes: self.shown_remotes(),
            directories,
            previewing: self.previewing(),
            traffic,
        })
    }

    fn traffic(&self, coming_bytes: u64) -> Traffic {
        let (upload, download) = self.network.speeds();
        let RatesMax { upload: upload_max, download: download_max } = self.config.rates;
        let seconds_left = coming_bytes.checked_div(download).filter(|_| coming_bytes > 0);
        let (upload_max, download_max) = (upload_max.map(NonZeroU64::get), download_max.map(NonZeroU64::get));
        Traffic { upload, download, upload_max, download_max, seconds_left }
    }

    /// What to do where other members have removed this device from a directory.
    fn removed_from(&self, room: &Room) -> Option<String> {
        let own = self.context.identity.device_id();
        room.engine().members().get(&own).filter(|member| !member.active)?;
        let name = printable(room.row.name.as_ref());
        let anew = match self.remote_of(&room.row) {
            Some(remote) => {
                let (remote, path) = (printable(remote.as_ref()), printable(room.row.path.as_os_str()));
                format!(
                    "`file-sync sync down {name}` and `file-sync sync up {remote}:{name} {path}` join it anew"
                )
            }
            None => {
                "on the devices that have it from here, `file-sync sync down` and then `file-sync sync up` join it anew"
                    .to_owned()
            }
        };
        Some(format!("another member has removed this device from it, so that nothing is exchanged: {anew}"))
    }

    fn remote_of(&self, row: &Directory) -> Option<String> {
        row.origin.map(|device| self.name_of(&device))
    }

    pub(super) fn stragglers(&self, room: &Room) -> Vec<Straggler> {
        let stragglers = room.engine().stragglers();
        let named = |straggler: engine::Straggler| Straggler {
            remote: self.name_of(&straggler.device),
            takes_no_part: straggler.takes_no_part,
            troubles: straggler.n_troubles,
        };
        stragglers.into_iter().map(named).collect()
    }

    fn directory_status(&self, room: &Room) -> DirectoryStatus {
        let status = room.engine().status();
        let now_ms = clock::now().monotonic_ms;
        let message = |problem: &engine::Problem| match problem.path.is_empty() {
            true => PathMessage {
                mend: problem.mend.clone(),
                ..root_message(problem.message.clone(), Some(PROVE_EVERY))
            },
            false => PathMessage {
                retry_in_seconds: problem.retry_at_ms.map(|at| at.saturating_sub(now_ms).div_ceil(1_000)),
                mend: problem.mend.clone(),
                ..PathMessage::new(problem.path.as_slice(), problem.message.clone())
            },
        };
        let reading = self.rooms.get(&room.id()).and_then(|resident| resident.reading.upgrade());
        let failure = self.failure_of(&room.id(), status.state);
        let unwatched = self.unwatched(room);
        let own = room.commit_trouble().into_iter().chain(failure).chain(self.removed_from(room));
        let own = own.map(|message| root_message(message, None));
        let own = unwatched.as_ref().map(unwatched_message).into_iter().chain(own);
        DirectoryStatus {
            state: state_of(status.state),
            files: status.files,
            bytes: status.bytes,
            need_files: status.need_files,
            need_bytes: status.need_bytes,
            blocked_bytes: status.blocked_bytes,
            conflicts: status.conflicts,
            local_changes: status.local_changes.len() as u64,
            held: status.held,
            held_paths: held_paths(room, N_NAMED),
            let_through: status.let_through,
            kept_gone_young: status.kept_gone_young,
            stragglers: self.stragglers(room),
            unwatched: unwatched.clone(),
            first_merge: first_merge(room),
            verifying: reading.map(|reading| reading.shown()),
            errors: own.chain(status.problems.iter().map(message)).collect(),
            unsupported: status.left_alone.iter().map(message).collect(),
            root_hash: Some(status.root_hash.to_string()),
            ..empty(&room.row, self.remote_of(&room.row))
        }
    }
}

fn root_message(message: String, retry_within: Option<Duration>) -> PathMessage {
    let retry_in_seconds = retry_within.map(|within| within.as_secs_f64().ceil() as u64);
    PathMessage { retry_in_seconds, ..PathMessage::new(b".".as_slice(), message) }
}

/// An offer has no first merge of its own: who joins it has.
fn first_merge(room: &Room) -> Option<types::FirstMerge> {
    let row = &room.row;
    let is_one_way = row.mode != file_sync_index::Mode::TwoWay || row.only_author.is_some();
    let merge = room.engine().first_merge().filter(|_| row.role == Role::Synced)?;
    let engine::FirstMerge { adopted, fetched, sent, conflicts, removed, local, left } = merge;
    let [local, left] = [local, left].map(|count| is_one_way.then_some(count));
    Some(types::FirstMerge { adopted, fetched, sent, conflicts, removed, local, left })
}

fn empty(row: &Directory, remote: Option<String>) -> DirectoryStatus {
    DirectoryStatus {
        name: row.name.clone(),
        id: row.directory.to_string(),
        path: row.path.as_path().into(),
        role: match row.role {
            Role::Offered => types::Role::Offered,
            Role::Synced => types::Role::Synced,
        },
        remote,
        mode: mode_of(row.mode),
        read_only: row.read_only,
        state: State::Error,
        files: 0,
        bytes: 0,
        need_files: 0,
        need_bytes: 0,
        blocked_bytes: 0,
        conflicts: 0,
        local_changes: 0,
        held: 0,
        held_paths: Vec::new(),
        let_through: 0,
        kept_gone_young: 0,
        stragglers: Vec::new(),
        unwatched: None,
        first_merge: None,
        verifying: None,
        errors: Vec::new(),
        unsupported: Vec::new(),
        root_hash: None,
    }
}

/// What is under way, in bytes: how long the rest takes nobody can say.
fn coming_bytes(directories: &[DirectoryStatus]) -> u64 {
    let is_stopped = |directory: &&DirectoryStatus| matches!(directory.state, State::Paused | State::Error);
    let at_work = directories.iter().filter(|directory| !is_stopped(directory));
    at_work.map(|directory| directory.need_bytes - directory.blocked_bytes).sum()
}

/// An engine's state, as documents write it.
pub(super) fn state_of(state: engine::State) -> State {
    match state {
        engine::State::Idle => State::Idle,
        engine::State::Scanning => State::Scanning,
        engine::State::Syncing => State::Syncing,
        engine::State::Paused => State::Paused,
        engine::State::Held => State::Held,
        engine::State::Error => State::Error,
    }
}

/// A mode, as documents write it.
pub(super) fn mode_of(mode: file_sync_index::Mode) -> Mode {
    match mode {
        file_sync_index::Mode::TwoWay => Mode::TwoWay,
        file_sync_index::Mode::ReceiveOnly => Mode::ReceiveOnly,
        file_sync_index::Mode::SendOnly => Mode::SendOnly,
    }
}
