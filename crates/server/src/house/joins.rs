//! `sync up`: joining a directory that a remote offers, or asking what that would do.
//!
//! The remote may still be connecting; it is waited for. It is asked by the directory's id, says on what terms, and then
//! the directory is started here. The command is answered once the two have begun to exchange.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use file_sync_core::message::{Message, Page, Terms};
use file_sync_core::path::SyncPath;
use file_sync_core::version::{DeviceId, DirectoryId};
use file_sync_disk::{Root, RootError};
use file_sync_index::{Directory, Mode, Role};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::House;
use super::preview::Told;
use crate::api::command::{Refusal, Reply, SyncUp};
use crate::api::names::printable;
use crate::api::types::{Preview, Synced};
use crate::clock;
use crate::input::answer;

/// How long the remote is waited for.
const JOIN_WITHIN: Duration = Duration::from_secs(29);

/// What it takes to make something in a directory.
const MAKING: Access = Access::WRITE_OK.union(Access::EXEC_OK);

/// A join under way.
pub(super) struct Join {
    request: SyncUp,
    device: DeviceId,
    path: PathBuf,
    stage: Stage,
    pub(super) deadline: Instant,
    goal: Goal,
    /// The directory was made for it.
    is_made: bool,
}

/// What is wanted.
enum Goal {
    /// To join.
    Join(Reply<Synced>),
    /// To know what joining would do, from what the remote has told so far.
    Preview(Reply<Preview>, Told),
}

impl Goal {
    fn is_given_up(&self) -> bool {
        match self {
            Goal::Join(reply) => reply.is_closed(),
            Goal::Preview(reply, _) => reply.is_closed(),
        }
    }

    fn refuse(self, refusal: Refusal) {
        match self {
            Goal::Join(reply) => answer(reply, Err(refusal)),
            Goal::Preview(reply, _) => answer(reply, Err(refusal)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Until the remote is connected and has said what it offers.
    Connecting,
    /// Until this link has brought all that the remote had said when it reached this barrier: it may have offered the
    /// directory only just now.
    Listening { link_id: u64, barrier: u64 },
    /// Until it answers.
    Asked(DirectoryId),
    /// Until both sides have said where they stand.
    Started(DirectoryId),
}

impl House {
    pub(super) fn sync_up(&mut self, request: SyncUp, reply: Reply<Synced>) {
        self.begin_join(request, Goal::Join(reply));
    }

    pub(super) fn sync_preview(&mut self, request: SyncUp, reply: Reply<Preview>) {
        match self.begin_preview() {
            Some(told) => self.begin_join(request, Goal::Preview(reply, told)),
            None => answer(reply, Err(Refusal::new("another dry run is being made; try again in a moment"))),
        }
    }

    fn begin_join(&mut self, request: SyncUp, goal: Goal) {
        let checked = self.remote_named(&request.remote).and_then(|remote| {
            self.check_name(request.name.as_str())?;
            let path = self.joinable(request.path.as_path())?;
            match self.joins.iter().find(|join| overlaps(&join.path, &path)) {
                None => Ok((remote.device, path)),
                Some(_) => Err(Refusal::new(format!("{} is being joined already", path.display()))),
            }
        });
        match checked {
            Err(refusal) => goal.refuse(refusal),
            Ok((device, path)) => {
                self.network.dial_now(device);
                let deadline = Instant::now() + JOIN_WITHIN;
                let stage = Stage::Connecting;
                self.joins.push(Join { request, device, path, stage, deadline, goal, is_made: false });
            }
        }
    }

    /// Takes every join as far as it can go now.
    pub(super) fn advance_joins(&mut self, now: Instant) {
        for mut join in std::mem::take(&mut self.joins) {
            if join.goal.is_given_up() && join.stage == Stage::Connecting {
                continue; // Nobody waits for it any more, and nothing has begun.
            }
            match self.advance_join(&mut join) {
                Err(refusal) => join.goal.refuse(refusal),
                Ok(Some(synced)) => is_done(join.goal, synced),
                Ok(None) if now >= join.deadline => self.give_up(join),
                Ok(None) => self.joins.push(join),
            }
        }
    }

    fn give_up(&self, join: Join) {
        let remote = printable(join.request.remote.as_str().as_ref());
        let result = match join.stage {
            Stage::Started(directory) => self.joined_row(&directory).map(|row| self.synced(&row)),
            Stage::Connecting | Stage::Listening { .. } | Stage::Asked(_) => None,
        };
        match result {
            Some(synced) => is_done(join.goal, synced),
            None => join.goal.refuse(self.silent(&join.device, &remote)),
        }
    }

    fn silent(&self, device: &DeviceId, name: &str) -> Refusal {
        let known = self.home.remote(device).ok().flatten();
        let addresses = known.map(|remote| remote.addresses.join(", ")).unwrap_or_default();
        let addresses = if addresses.is_empty() { "an unknown address" } else { &addresses };
        let name = format!("{name} (at {})", printable(addresses.as_ref()));
        Refusal::new(match self.links.contains_key(device) {
            true => format!(
                "{name} is connected and has not answered for 30 s; its log may say why, or try again"
            ),
            false => format!(
                "{name} could not be reached within 30 s; check that its server runs and the network lets us through, then try again"
            ),
        })
    }

    fn advance_join(&mut self, join: &mut Join) -> Result<Option<Synced>, Refusal> {
        match join.stage {
            Stage::Connecting | Stage::Listening { .. } => {
                let Some(directory) = self.offered_as(join)? else { return Ok(None) };
                if let Some(row) = self.rows().into_iter().find(|row| row.directory == directory) {
                    return Err(Refusal::new(format!("it is kept here already, at {}", row.path.display())));
                }
                match join.goal {
                    Goal::Join(_) => {
                        join.is_made |= !join.path.exists();
                        make_usable(&join.path)?; // Before the remote counts on this device.
                        self.note_joining(&directory, true);
                    }
                    Goal::Preview(..) => could_be_made_usable(&join.path)?,
                }
                self.send(
                    &join.device,
                    match &mut join.goal {
                        Goal::Join(_) => Message::Join { directory },
                        Goal::Preview(_, told) => {
                            told.begin_anew();
                            Message::Peek { directory, after: None }
                        }
                    },
                );
                join.stage = Stage::Asked(directory);
                Ok(None)
            }
            Stage::Asked(_) => {
                if !self.links.contains_key(&join.device) {
                    join.stage = Stage::Connecting;
                }
                Ok(None)
            }
            Stage::Started(directory) => {
                let row = self.joined_row(&directory);
                let row = row.ok_or_else(|| Refusal::new("it was taken down while it was being joined"))?;
                let is_attached = self.rooms[&directory].room.engine().is_attached(&join.device);
                Ok(is_attached.then(|| self.synced(&row)))
            }
        }
    }

    /// The directory that is meant, once the remote is connected and offers it.
    fn offered_as(&mut self, join: &mut Join) -> Result<Option<DirectoryId>, Refusal> {
        let Some(connected) = self.links.get_mut(&join.device) else { return Ok(None) };
        let Some(offers) = &connected.offers else { return Ok(None) };
        let name = join.request.name.as_str();
        if let Some(offer) = offers.iter().find(|offer| offer.name == name) {
            return Ok(Some(offer.directory));
        }
        match join.stage {
            Stage::Listening { link_id, barrier } if link_id == connected.link.id() => {
                if connected.barrier_reached < barrier {
                    return Ok(None);
                }
                Err(Refusal::unknown(format!(
                    "{} offers no directory called {}; `file-sync sync ls` shows what it does offer",
                    printable(join.request.remote.as_str().as_ref()),
                    printable(name.as_ref())
                )))
            }
            _ => {
                connected.barrier_asked += 1;
                let barrier = connected.barrier_asked;
                join.stage = Stage::Listening { link_id: connected.link.id(), barrier };
                self.send(&join.device, Message::Barrier { token: barrier });
                Ok(None)
            }
        }
    }

    /// True while a remote has been asked to let this device take part, and it has not begun to.
    pub(super) fn is_being_joined(&self, directory: &DirectoryId) -> bool {
        let is_asked =
            |join: &Join| matches!(join.goal, Goal::Join(_)) && join.stage == Stage::Asked(*directory);
        self.joins.iter().any(is_asked)
    }

    fn joined_row(&self, directory: &DirectoryId) -> Option<Directory> {
        self.rooms.get(directory).map(|resident| resident.room.row.clone())
    }

    /// A remote answers whether this device may take part.
    pub(super) fn on_joined(
        &mut self,
        device: DeviceId,
        directory: DirectoryId,
        result: Result<Terms, String>,
    ) {
        let is_meant = |join: &Join| {
            let is_join = matches!(join.goal, Goal::Join(_));
            is_join && join.device == device && join.stage == Stage::Asked(directory)
        };
        let Some(index) = self.joins.iter().position(is_meant) else { return };
        let mut join = self.joins.swap_remove(index);
        let started = result
            .map_err(|reason| Refusal::new(format!("{} refused: {reason}", join.request.remote.as_str())))
            .and_then(|terms| self.start_joined(&join, directory, &terms));
        match started {
            Err(refusal) => {
                if join.is_made {
                    let _ = std::fs::remove_dir(&join.path); // Only if nobody has put anything into it.
                }
                join.goal.refuse(refusal);
            }
            Ok(()) => {
                self.note_joining(&directory, false);
                join.stage = Stage::Started(directory);
                self.joins.push(join);
            }
        }
    }

    /// A remote tells, part by part, what a directory holds that might be joined.
    pub(super) fn on_peeked(
        &mut self,
        device: DeviceId,
        directory: DirectoryId,
        after: Option<&SyncPath>,
        page: Result<Page, String>,
    ) {
        let is_meant = |join: &Join| {
            // Another answer is a late one, to a question that was given up.
            let is_asked = matches!(&join.goal, Goal::Preview(_, told) if told.last() == after);
            is_asked && join.device == device && join.stage == Stage::Asked(directory)
        };
        let Some(index) = self.joins.iter().position(is_meant) else { return };
        let mut join = self.joins.swap_remove(index);
        if join.goal.is_given_up() {
            return;
        }
        let page = page.map_err(|reason| format!("{} refused: {reason}", join.request.remote.as_str()));
        let Goal::Preview(_, told) = &mut join.goal else { return };
        let bytes_max = self.announced_free_bytes() / 4 * 3;
        match page.and_then(|page| told.take_in(page, bytes_max)) {
            Err(reason) => join.goal.refuse(Refusal::new(reason)),
            Ok(false) => {
                let after = told.last().cloned();
                join.deadline = (Instant::now() + JOIN_WITHIN).min(told.deadline());
                self.send(&device, Message::Peek { directory, after });
                self.joins.push(join);
            }
            Ok(true) => {
                let Goal::Preview(reply, told) = join.goal else { return };
                self.rehearse(&join.request, join.path, told, reply);
            }
        }
    }

    fn start_joined(&mut self, join: &Join, directory: DirectoryId, terms: &Terms) -> Result<(), Refusal> {
        let request = &join.request;
        self.check_name(request.name.as_str())?;
        let path = self.joinable(&join.path)?;
        let (root, found) = Root::offer(&path, directory).map_err(|error| Refusal::new(error.to_string()))?;
        if found != directory {
            root.adopt_marker(directory).map_err(|error| Refusal::new(error.to_string()))?;
        }
        let now = clock::seconds();
        let row = Directory {
            directory,
            created_at: now,
            updated_at: now,
            path,
            name: request.name.as_str().to_owned(),
            role: Role::Synced,
            mode: match request.mode {
                crate::api::types::Mode::TwoWay => Mode::TwoWay,
                crate::api::types::Mode::ReceiveOnly => Mode::ReceiveOnly,
                crate::api::types::Mode::SendOnly => Mode::SendOnly,
            },
            read_only: terms.only_author.is_some(),
            only_author: terms.only_author,
            origin: Some(join.device),
            origin_name: Some(request.name.as_str().to_owned()),
            paused: false,
            offered_to: Default::default(),
            deleted: false,
        };
        self.remove_database(&row); // Whatever an earlier membership left.
        self.keep(row, root)?;
        self.with_engine(&directory, |engine| engine.merge_members(clock::now(), &terms.members));
        self.become_member(&directory);
        self.connect_members(&directory);
        Ok(())
    }
}

/// Makes a directory if it is missing, and refuses one in which nothing could be done.
fn make_usable(path: &Path) -> Result<(), Refusal> {
    check_kind(path)?;
    std::fs::create_dir_all(path)
        .map_err(|error| Refusal::new(format!("cannot make {}: {error}", path.display())))?;
    check_access(path, Access::READ_OK | MAKING)
}

/// Refuses what [`make_usable`] would refuse, as far as that can be told without making anything.
fn could_be_made_usable(path: &Path) -> Result<(), Refusal> {
    check_kind(path)?;
    match path.ancestors().find(|above| above.exists()) {
        Some(there) if there == path && !path.is_dir() => Ok(()), // Said when it is opened.
        Some(above) if !above.is_dir() => {
            let (path, above) = (path.display(), above.display());
            Err(Refusal::new(format!("cannot make {path}: {above} is not a directory")))
        }
        Some(there) if there == path => {
            check_access(path, Access::READ_OK | MAKING)?;
            Root::check_free(path).map_err(|error| Refusal::new(error.to_string()))
        }
        Some(above) => check_access(above, MAKING),
        None => Ok(()),
    }
}

/// Refuses a place on a file system that keeps no files.
fn check_kind(path: &Path) -> Result<(), Refusal> {
    let Some(above) = path.ancestors().find(|above| above.is_dir()) else { return Ok(()) };
    match Root::check_kind(above) {
        Err(error @ RootError::SystemsOwn { .. }) if above == path => Err(Refusal::new(error.to_string())),
        Err(error @ RootError::SystemsOwn { .. }) => {
            Err(Refusal::new(format!("cannot make {}: {error}", path.display())))
        }
        _ => Ok(()), // What else is wrong is said when it is used.
    }
}

fn check_access(path: &Path, wanted: Access) -> Result<(), Refusal> {
    accessat(CWD, path, wanted, AtFlags::EACCESS).map_err(|error| {
        let path = path.display();
        Refusal::new(format!("{path}: {error}; check its permissions and that it is not mounted read-only"))
    })
}

fn is_done(goal: Goal, synced: Synced) {
    if let Goal::Join(reply) = goal {
        answer(reply, Ok(synced));
    }
}

fn overlaps(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}
