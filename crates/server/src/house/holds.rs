//! `sync approve` and `sync reject`: the answers to deletions that are held, and to a root that lost its marker.

use file_sync_core::engine::HoldLimit;
use file_sync_core::version::DirectoryId;
use file_sync_disk::{Root, RootError};
use file_sync_index::{Directory, IndexError};

use super::House;
use crate::api::command::{Hold, HoldChange, Refusal};
use crate::api::names::Target;
use crate::api::types::{self, Held, HeldList, HeldPath, HoldAnswered, HoldLimited};
use crate::clock;
use crate::room::Room;

/// How many held paths `status` names.
pub(super) const N_NAMED: usize = 100;
/// The setting of a directory in which no deletion is held.
const NEVER: &str = "never";

impl House {
    /// Lets through what is held, or accepts a root without a marker.
    pub(super) fn approve(&mut self, target: &Target) -> Result<HoldAnswered, Refusal> {
        let row = self.find(target)?;
        if has_lost_marker(&row) {
            self.accept_root(&row)?;
            return Ok(HoldAnswered { root_accepted: true, ..answered(&row, (0, 0)) });
        }
        let counts = self.n_held(&row)?;
        self.with_engine(&row.directory, |engine| engine.approve(clock::now()));
        Ok(answered(&row, counts))
    }

    /// All that is held.
    pub(super) fn held(&self, target: Option<&Target>) -> Result<HeldList, Refusal> {
        let only = target.map(|target| self.find(target)).transpose()?;
        if let Some(row) = &only {
            self.editor(row)?; // A directory that is not at work knows of none, and must not seem to have none.
        }
        let rooms = self.rooms.values().map(|resident| &resident.room);
        let rooms = rooms.filter(|room| only.as_ref().is_none_or(|row| row.directory == room.id()));
        let held = rooms.flat_map(|room| {
            let named = |held| Held { directory: room.row.name.clone(), held };
            held_paths(room, usize::MAX).into_iter().map(named).collect::<Vec<_>>()
        });
        let mut held: Vec<Held> = held.collect();
        held.sort_by(|a, b| a.directory.cmp(&b.directory)); // Each directory's are in order.
        let not_at_work = if only.is_some() { Vec::new() } else { self.not_at_work() };
        Ok(HeldList { held, not_at_work })
    }

    /// Brings back what is held.
    pub(super) fn reject(&mut self, target: &Target) -> Result<HoldAnswered, Refusal> {
        let row = self.find(target)?;
        let counts = self.n_held(&row)?;
        self.with_engine(&row.directory, |engine| engine.reject(clock::now()));
        Ok(answered(&row, counts))
    }

    /// Sets how much is held, or only says it.
    pub(super) fn hold(&mut self, request: &Hold) -> Result<HoldLimited, Refusal> {
        let row = self.find(&request.target)?;
        let failed = |error: IndexError| Refusal::new(error.to_string());
        let mut limit = self.stored_hold_limit(&row.directory).map_err(failed)?;
        if let Some(change) = &request.change {
            let before = limit.unwrap_or_default();
            limit = match change {
                HoldChange::Never => None,
                HoldChange::Default => Some(HoldLimit::default()),
                HoldChange::Limit { percent: Some(101..), .. } => {
                    return Err(Refusal::malformed("more than 100 of a hundred"));
                }
                HoldChange::Limit { files, percent } => Some(HoldLimit {
                    files: files.unwrap_or(before.files),
                    percent: percent.unwrap_or(before.percent),
                }),
            };
            let text = limit.map_or(NEVER.to_owned(), |limit| format!("{}:{}", limit.files, limit.percent));
            self.home.set_setting(&limit_key(&row.directory), &text).map_err(failed)?;
            if let Some(resident) = self.rooms.get(&row.directory) {
                resident.room.engine().set_hold_limit(limit);
            }
        }
        Ok(HoldLimited {
            name: row.name.clone(),
            id: row.directory.to_string(),
            path: row.path.as_path().into(),
            limit: limit.map(|HoldLimit { files, percent }| types::HoldLimit { files, percent }),
        })
    }

    /// How much is held in a directory; what cannot be understood is the default.
    pub(super) fn stored_hold_limit(&self, directory: &DirectoryId) -> Result<Option<HoldLimit>, IndexError> {
        let stored = self.home.setting(&limit_key(directory))?.unwrap_or_default();
        let numbers = stored.split_once(':').and_then(|(files, percent)| {
            Some(HoldLimit { files: files.parse().ok()?, percent: percent.parse().ok()? })
        });
        Ok(if stored == NEVER { None } else { Some(numbers.unwrap_or_default()) })
    }

    /// A directory that is new here holds what is held at first, whatever was said when it was here before.
    pub(super) fn reset_hold_limit(&mut self, directory: &DirectoryId) -> Result<(), IndexError> {
        self.home.set_setting(&limit_key(directory), "")
    }

    /// How many deletions are held, and how many went through before.
    fn n_held(&self, row: &Directory) -> Result<(u64, u64), Refusal> {
        let Some(resident) = self.rooms.get(&row.directory) else {
            let message = self.dormant.get(&row.directory).map(|dormant| dormant.message.as_str());
            return Err(Refusal::new(format!(
                "{} is not at work: {}",
                row.name,
                message.unwrap_or("its root is not there")
            )));
        };
        let engine = resident.room.engine();
        match engine.n_held() {
            0 => Err(Refusal::new(format!(
                "nothing is held in {}; `file-sync status` says if something is",
                row.name
            ))),
            held => Ok((held, engine.n_let_through())),
        }
    }

    /// Gives a root its marker again and starts anew: the first scan of a root that remembers no server infers no
    /// deletion, so that what is missing is fetched.
    fn accept_root(&mut self, row: &Directory) -> Result<(), Refusal> {
        let id = row.directory;
        let open = || {
            let (root, found) = Root::offer(&row.path, id).map_err(|error| error.to_string())?;
            match found == id {
                true => Ok(root),
                false => Err(format!("{} carries another directory's marker", row.path.display())),
            }
        };
        self.start_anew(row, open).map_err(Refusal::new)
    }

    /// Remembers, durably, that something is held: less than the limit may be left of it at the next start.
    pub(super) fn note_holding(&mut self, directory: &DirectoryId) {
        let Some(resident) = self.rooms.get_mut(directory) else { return };
        let is_holding = resident.room.engine().is_holding();
        if resident.is_holding == is_holding {
            return;
        }
        let noted =
            self.home.set_setting(&format!("holding:{directory}"), if is_holding { "1" } else { "0" });
        match noted {
            Ok(()) => resident.is_holding = is_holding,
            Err(error) => {
                tracing::warn!(%error, "cannot note that deletions are held; a restart might let some through");
            }
        }
    }
}

fn limit_key(directory: &DirectoryId) -> String {
    format!("hold:{directory}")
}

/// The first so many of the paths that are held.
pub(super) fn held_paths(room: &Room, n_max: usize) -> Vec<HeldPath> {
    let engine = room.engine();
    let named = engine.held().take(n_max);
    named.map(|(path, deleted_here)| HeldPath { path: path.into(), deleted_here }).collect()
}

fn has_lost_marker(row: &Directory) -> bool {
    matches!(Root::open(&row.path, row.directory), Err(RootError::NoMarker { .. }))
}

fn answered(row: &Directory, (held, let_through): (u64, u64)) -> HoldAnswered {
    HoldAnswered {
        name: row.name.clone(),
        id: row.directory.to_string(),
        path: row.path.as_path().into(),
        held,
        let_through,
        root_accepted: false,
    }
}
