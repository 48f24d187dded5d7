//! What is not watched, only scanned for: why, what mends it, and when it is tried again.

use file_sync_disk::Missed;

use super::{House, RESCAN_UNWATCHED_EVERY};
use crate::api::types::{PathMessage, Unwatched};
use crate::room::{self, Room};
use crate::watches;

impl House {
    /// What the system does not let be watched of a directory, if anything.
    pub(super) fn unwatched(&self, room: &Room) -> Option<Unwatched> {
        let of_room = room.unwatched()?;
        let scanned = self.rooms.get(&room.id())?.scanned;
        let retry_in_seconds = RESCAN_UNWATCHED_EVERY.saturating_sub(scanned.elapsed()).as_secs() + 1;
        let (directories, message, mend) = match of_room {
            room::Unwatched::Everything => {
                let (message, mend) = self.without_instance();
                (None, message, mend)
            }
            room::Unwatched::Some(missed) => {
                let (message, mend) = self.without_watch(&missed);
                (Some(missed.n_directories), message, mend)
            }
        };
        Some(Unwatched { directories, message, mend, retry_in_seconds })
    }

    fn without_instance(&self) -> (String, Option<String>) {
        let message =
            "changes are not watched, only scanned for every minute: the system gives no inotify instance";
        let Some(limit) = watches::instances() else { return (message.to_owned(), None) };
        let message =
            format!("{message}, of which {} allows {} to all your programs", limit.setting, limit.allowed);
        (message, Some(limit.raise(limit.allowed + self.rooms.len() as u64, 1_024)))
    }

    fn without_watch(&self, missed: &Missed) -> (String, Option<String>) {
        let which = match missed.n_directories {
            1 => "1 directory is not watched, only scanned every minute".to_owned(),
            count => format!("{count} directories are not watched, only scanned every minute"),
        };
        match (watches::watches().filter(|_| missed.n_for_limit > 0), &missed.other) {
            (Some(limit), _) => {
                let (setting, allowed) = (limit.setting, limit.allowed);
                let message =
                    format!("{which}: {setting} allows {allowed} to all your programs, and they are taken");
                // All that are allowed are in use, by this server and by others.
                (message, Some(limit.raise_watches(allowed + self.n_over_limit())))
            }
            (None, Some((path, error))) => (format!("{which}, the first: {path}: {error}"), None),
            (None, None) => (format!("{which}: the system allows no more"), None),
        }
    }

    /// How many directories could not be watched for want of watches, of all that are kept equal.
    fn n_over_limit(&self) -> u64 {
        let of_room = |room: &Room| match room.unwatched() {
            Some(room::Unwatched::Some(missed)) => missed.n_for_limit,
            Some(room::Unwatched::Everything) | None => 0,
        };
        self.rooms.values().map(|resident| of_room(&resident.room)).sum()
    }
}

/// The same as one of a directory's errors.
pub(super) fn unwatched_message(unwatched: &Unwatched) -> PathMessage {
    let message = match &unwatched.mend {
        Some(_) => format!("{}; `file-sync doctor` says what mends it", unwatched.message),
        None => unwatched.message.clone(),
    };
    PathMessage {
        retry_in_seconds: Some(unwatched.retry_in_seconds),
        mend: unwatched.mend.clone(),
        ..PathMessage::new(b".".as_slice(), message)
    }
}
