//! The main loop: it owns all state of a server and is the only one to change it.
//!
//! Commands come from the api, events from the network, reports from the directories' workers, and time passes. Each is
//! dealt with at once, without waiting for anything; what takes time is handed to a worker or a task that reports back.

mod aside;
mod choose;
mod decisive;
mod elsewhere;
mod files;
mod history;
mod holds;
mod joins;
mod links;
mod lives;
mod log;
mod moved;
mod paths;
mod preview;
mod remotes;
mod restore;
mod restore_fetch;
mod restore_plan;
mod shown;
mod syncs;
mod trust;
mod unwatched;
mod verify;
mod versions;
mod waits;
mod went;
mod why;
mod written;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use file_sync_core::engine::Event;
use file_sync_core::retention;
use file_sync_core::version::{DeviceId, DirectoryId, Time};
use file_sync_index::{HomeIndex, IndexError};
use file_sync_net::{Link, NetEvent, Network};
use tokio::sync::mpsc;

use crate::api::command::{Command, Refusal};
use crate::config::ServerConfig;
use crate::input::{Input, RoomEvent, answer};
use crate::policy::Paired;
use crate::provider::Provider;
use crate::room::{Outward, Room, RoomContext};
use joins::Join;
use links::Connected;
use lives::{Dormant, Failure};
use waits::ApiWait;

/// How often everything is walked although nothing was announced.
const RESCAN_EVERY: Duration = Duration::from_secs(3600);
/// The same for directories of which not all can be watched.
const RESCAN_UNWATCHED_EVERY: Duration = Duration::from_secs(60);
/// How often remotes are asked whether there is anything that they did not announce.
const POLL_EVERY: Duration = Duration::from_secs(300);
/// How often it is looked what need not be known of deleted paths any more, and how long after the start for the first
/// time.
const TIDY_EVERY: Duration = Duration::from_secs(300);
const TIDY_FIRST: Duration = Duration::from_secs(20);
/// How often a directory that could not be started is tried again.
const WAKE_EVERY: Duration = Duration::from_secs(3);
/// The longest the loop sleeps.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// Everything a server knows.
pub(crate) struct House {
    pub(crate) config: ServerConfig,
    pub(crate) context: RoomContext,
    pub(crate) home: HomeIndex,
    pub(crate) network: Network,
    pub(crate) paired: Arc<Paired>,
    pub(crate) provider: Arc<Provider>,
    rooms: BTreeMap<DirectoryId, Resident>,
    /// Directories whose root could not be opened, or whose disk failed, and why: they are tried again.
    dormant: BTreeMap<DirectoryId, Dormant>,
    links: BTreeMap<DeviceId, Connected>,
    joins: Vec<Join>,
    /// The preview that is being made.
    preview: Weak<preview::Making>,
    waits: BTreeMap<u64, ApiWait>,
    /// Since when devices are members of directories, as far as the home has been asked; none: they are not any more.
    members_since: BTreeMap<(DirectoryId, DeviceId), Option<Time>>,
    failures: BTreeMap<DirectoryId, Failure>,
    n_lives: u64,
    n_waits: u64,
    dormant_tried: Instant,
    polled: Instant,
    /// When what is known of deleted paths was last gone through.
    tidied: Instant,
    /// The kernel's name of the present run of the machine.
    boot_id: String,
}

/// A directory at work.
struct Resident {
    room: Room,
    /// When its engine wants to hear of the time, in monotonic milliseconds.
    deadline_ms: Option<u64>,
    scanned: Instant,
    /// What its first walk found is durable, and the home knows that it was in this run of the machine.
    is_boot_noted: bool,
    /// Deletions are held here, and the home knows it.
    is_holding: bool,
    /// How far the last `verify` is, while it is at work.
    reading: Weak<verify::Progress>,
}

impl House {
    pub(crate) fn new(
        config: ServerConfig,
        context: RoomContext,
        home: HomeIndex,
        network: Network,
        paired: Arc<Paired>,
        provider: Arc<Provider>,
    ) -> House {
        House {
            config,
            context,
            home,
            network,
            paired,
            provider,
            rooms: BTreeMap::new(),
            dormant: BTreeMap::new(),
            links: BTreeMap::new(),
            joins: Vec::new(),
            preview: Weak::new(),
            waits: BTreeMap::new(),
            members_since: BTreeMap::new(),
            failures: BTreeMap::new(),
            n_lives: 0,
            n_waits: 0,
            dormant_tried: Instant::now(),
            polled: Instant::now(),
            tidied: Instant::now().checked_sub(TIDY_EVERY - TIDY_FIRST).unwrap_or_else(Instant::now),
            boot_id: file_sync_disk::boot_id().unwrap_or_default(),
        }
    }

    /// Starts all directories that the home knows of.
    ///
    /// # Errors
    /// When a database is damaged or of a newer version. A root that is not there is no error: it may come.
    pub(crate) fn open_directories(&mut self) -> Result<(), IndexError> {
        preview::remove_leftovers(&self.context.home);
        for row in self.home.directories()?.into_iter().filter(|row| !row.deleted) {
            self.wake(row)?;
        }
        Ok(())
    }

    /// Runs until `shutdown`.
    pub(crate) async fn run(
        &mut self,
        mut commands: mpsc::Receiver<Command>,
        mut net_events: mpsc::Receiver<NetEvent>,
        mut inputs: mpsc::Receiver<Input>,
        shutdown: impl Future<Output = ()>,
    ) {
        tokio::pin!(shutdown);
        loop {
            let sleep = tokio::time::sleep(self.sleep());
            tokio::select! {
                () = &mut shutdown => return,
                Some(command) = commands.recv() => self.on_command(command),
                Some(event) = net_events.recv() => self.on_net(event),
                Some(input) = inputs.recv() => self.on_input(input),
                () = sleep => {}
            }
            self.on_time();
        }
    }

    /// Ends all directories and closes the databases.
    pub(crate) async fn stop(self) {
        let House { rooms, home, network, provider, .. } = self;
        network.shutdown().await;
        let threads: Vec<_> = rooms
            .into_values()
            .flat_map(|resident| {
                provider.remove(&resident.room.id());
                resident.room.stop()
            })
            .collect();
        let joined =
            tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| _ = thread.join()));
        if tokio::time::timeout(Duration::from_secs(2), joined).await.is_err() {
            tracing::warn!("a worker is still busy; leaving it");
        }
        if let Err(error) = home.close(true) {
            tracing::warn!(%error, "the home's database was not closed cleanly");
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::FileUp(request, reply) => answer(reply, self.file_up(&request)),
            Command::FileDown(target, reply) => answer(reply, self.file_down(&target)),
            Command::FileLs(reply) => answer(reply, self.file_ls()),
            Command::RemoteInvite(request, reply) => answer(reply, self.remote_invite(&request)),
            Command::RemoteAdd(request, reply) => self.remote_add(request, reply),
            Command::RemoteRm(request, reply) => answer(reply, self.remote_rm(&request)),
            Command::RemoteLs(reply) => answer(reply, self.remote_ls()),
            Command::SyncUp(request, reply) => self.sync_up(request, reply),
            Command::SyncPreview(request, reply) => self.sync_preview(request, reply),
            Command::SyncDown(target, reply) => answer(reply, self.sync_down(&target)),
            Command::SyncLs(reply) => answer(reply, self.sync_ls()),
            Command::SyncPause(target, reply) => answer(reply, self.set_paused(&target, true)),
            Command::SyncResume(target, reply) => answer(reply, self.set_paused(&target, false)),
            Command::SyncHold(request, reply) => answer(reply, self.hold(&request)),
            Command::SyncApprove(target, reply) => answer(reply, self.approve(&target)),
            Command::SyncReject(target, reply) => answer(reply, self.reject(&target)),
            Command::SyncWait(request, reply) => self.sync_wait(&request, reply),
            Command::SyncHeld(target, reply) => answer(reply, self.held(target.as_ref())),
            Command::Conflicts(target, reply) => {
                answer(reply, self.conflicts(target.as_ref()));
            }
            Command::Resolve(request, reply) => self.resolve(request, reply),
            Command::History(path, reply) => self.history(&path, reply),
            Command::Log(request, reply) => self.log(&request, reply),
            Command::Verify(target, reply) => self.verify(target.as_ref(), reply),
            Command::Why(path, reply) => self.why(&path, reply),
            Command::Restore(request, reply) => self.restore(request, reply),
            Command::Offers(reply) => answer(reply, self.offers_of_remotes()),
            Command::Status(reply) => answer(reply, self.status()),
        }
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Room { directory, life, event } => {
                if self.rooms.get(&directory).is_some_and(|resident| resident.room.life == life) {
                    self.drive(&directory, event);
                }
            }
            Input::RoomEnded { directory, life } => {
                self.has_ended(&directory, life);
            }
            Input::Redeem { secret, device, key, name, addresses, reply } => {
                // The device may have given up; then it tries again.
                let _ = reply.send(self.redeem(&secret, device, key, &name, &addresses));
            }
            Input::Added { request, result, reply } => answer(reply, self.added(&request, result)),
        }
    }

    fn sleep(&self) -> Duration {
        let now = crate::clock::now().monotonic_ms;
        let engines = self.rooms.values().filter_map(|resident| resident.deadline_ms);
        let engine = engines.min().map(|at| Duration::from_millis(at.saturating_sub(now)));
        let instant = Instant::now();
        let api =
            self.joins.iter().map(|join| join.deadline).chain(self.waits.values().map(|wait| wait.deadline));
        let api = api.min().map(|at| at.saturating_duration_since(instant));
        let dormant = (!self.dormant.is_empty()).then_some(WAKE_EVERY);
        let peek = self.peek_due().map(|at| at.saturating_duration_since(instant));
        [engine, api, peek, dormant, Some(SLEEP_MAX)].into_iter().flatten().min().unwrap_or(SLEEP_MAX)
    }

    fn on_time(&mut self) {
        let now_ms = crate::clock::now().monotonic_ms;
        let now = Instant::now();
        let is_due = |resident: &Resident| resident.deadline_ms.is_some_and(|at| at <= now_ms);
        for directory in self.room_ids(is_due) {
            self.drive(&directory, RoomEvent::Engine(Event::Tick));
        }
        let scan_due = |resident: &Resident| {
            let every = if resident.room.is_partly_watched() { RESCAN_UNWATCHED_EVERY } else { RESCAN_EVERY };
            now.saturating_duration_since(resident.scanned) >= every
        };
        for directory in self.room_ids(scan_due) {
            if let Some(resident) = self.rooms.get_mut(&directory) {
                resident.scanned = now;
                // By now what had been kept under another database is listed, and that is durable.
                if let Err(error) = self.home.set_setting(&format!("unlisted:{directory}"), "0") {
                    tracing::warn!(%error, "cannot note that the kept versions are listed");
                }
                resident.room.sweep_kept(false, self.config.kept_max);
            }
            self.with_engine(&directory, |engine| engine.rescan(crate::clock::now()));
        }
        if now.saturating_duration_since(self.tidied) >= TIDY_EVERY {
            self.tidied = now;
            for directory in self.room_ids(|_| true) {
                self.with_engine(&directory, |engine| {
                    let now = crate::clock::now();
                    // What was deleted is known at least as long as its bytes are kept.
                    let before = Time { seconds: now.wall.seconds - retention::KEEP, nanoseconds: 0 };
                    engine.forget_deleted(now, before)
                });
            }
        }
        if now.saturating_duration_since(self.polled) >= POLL_EVERY {
            self.polled = now;
            for directory in self.room_ids(|_| true) {
                self.with_engine(&directory, |engine| engine.poll(crate::clock::now()));
            }
        }
        if !self.dormant.is_empty() && now.saturating_duration_since(self.dormant_tried) >= WAKE_EVERY {
            self.dormant_tried = now;
            self.wake_dormant();
        }
        self.answer_peeks();
        self.end_waits(now);
        self.advance_joins(now);
    }

    fn room_ids(&self, is_meant: impl Fn(&Resident) -> bool) -> Vec<DirectoryId> {
        self.rooms.iter().filter(|(_, resident)| is_meant(resident)).map(|(id, _)| *id).collect()
    }

    /// Gives a directory an event and carries out what it wants of the main loop.
    fn drive(&mut self, directory: &DirectoryId, event: RoomEvent) {
        let links = links::finder(&self.links);
        let Some(resident) = self.rooms.get_mut(directory) else { return };
        let outward = resident.room.drive(event, &links);
        resident.deadline_ms = resident.room.engine().deadline();
        self.note_boot(directory);
        self.note_holding(directory);
        self.carry_out(directory, outward);
    }

    /// Notes in which run of the machine a directory was last looked through, so that the first walk of the next run
    /// knows that files may have fallen back (promise C4).
    fn note_boot(&mut self, directory: &DirectoryId) {
        let Some(resident) = self.rooms.get_mut(directory).filter(|resident| !resident.is_boot_noted) else {
            return;
        };
        if resident.room.engine().has_found_out() {
            let noted = self.home.set_setting(&format!("boot:{directory}"), &self.boot_id);
            resident.is_boot_noted = true;
            if let Err(error) = noted {
                tracing::warn!(%error, "cannot note the run of the machine; the next start doubts more than it has to");
            }
        }
    }

    /// Has a directory's engine do something, likewise.
    fn with_engine(
        &mut self,
        directory: &DirectoryId,
        act: impl FnOnce(&mut file_sync_core::engine::Engine) -> Vec<file_sync_core::engine::Effect>,
    ) {
        let links = links::finder(&self.links);
        let Some(resident) = self.rooms.get_mut(directory) else { return };
        let outward = resident.room.with_engine(&links, act);
        resident.deadline_ms = resident.room.engine().deadline();
        self.note_holding(directory);
        self.carry_out(directory, outward);
    }

    fn carry_out(&mut self, directory: &DirectoryId, outward: Vec<Outward>) {
        for outward in outward {
            match outward {
                Outward::Send(device, message) => self.send(&device, message),
                Outward::WaitDone(id) => self.wait_is_done(directory, id),
                Outward::MembersChanged => self.connect_members(directory),
                Outward::Failed(message) => self.has_failed(directory, message),
            }
        }
    }

    fn link(&self, device: &DeviceId) -> Option<&Link> {
        self.links.get(device).map(|connected| &connected.link)
    }
}

/// A failure of the home's database, as a client is told.
fn refused(error: IndexError) -> Refusal {
    Refusal::new(error.to_string())
}
