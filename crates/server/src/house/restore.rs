//! `history` and `restore`: what is to be had of a path, here and from connected members, and bringing it back.
//!
//! Members are asked by tasks beside the main loop. Bytes that only others have come into the staging area first, all of
//! them; what is placed then is placed as any kept version is, and the engine finds it as its user's act.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use file_sync_core::path::SyncPath;
use file_sync_core::version::{ContentHash, DeviceId, Time};
use file_sync_index::Directory;

use super::House;
use super::choose::{Chosen, choose, is_given, not_asked};
use super::decisive::Asking;
use super::elsewhere::{self, Other, Told};
use super::history::{self, Listed, Version, short, shown};
use super::moved::{ACTS_MAX, moved_away};
use super::restore_plan::{Aim, Fetched, Plan, as_wanted};
use super::written::write_out;
use crate::api::command::{Refusal, Reply, Restore};
use crate::api::names::{LocalPath, printable};
use crate::api::types::{
    History, KeptVersion, MovedAway, Restored, ShownPath, Unhad, Unrestored, Untold, rfc3339,
};
use crate::clock;
use crate::input::answer;
use crate::room::{Bytes, Editor, KEPT_IS_OTHER, Unplaced, Wanted};
use crate::transfer::Beside;

/// So long a user's act may take until it is noted, and so often that is looked at.
const NOTED_WITHIN: Duration = Duration::from_secs(3);
const NOTED_PAUSE: Duration = Duration::from_millis(20);
/// So long remotes may take to follow what was done here, where something is not to be had before.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(10);
const FOLLOWED_PAUSE: Duration = Duration::from_millis(200);

/// What the versions of a path are found out with, and brought back.
pub(super) struct Seeker {
    pub(super) editor: Arc<Editor>,
    pub(super) beside: Beside,
    pub(super) row: Directory,
    path: SyncPath,
    pub(super) others: Vec<Other>,
}

impl House {
    pub(super) fn history(&self, path: &LocalPath, reply: Reply<History>) {
        match self.seeker(path) {
            Ok(seeker) => _ = tokio::spawn(async move { answer(reply, seeker.history().await) }),
            Err(refusal) => answer(reply, Err(refusal)),
        }
    }

    pub(super) fn restore(&self, request: Restore, reply: Reply<Restored>) {
        // Within a directory no draft may be seen, by its users or by others: there it is placed as any version is.
        let inside = request.to.as_ref().and_then(|to| self.locate(to.as_path()).ok());
        match self.seeker(&request.path) {
            Ok(seeker) => _ = tokio::spawn(seeker.restore_for(request, inside, reply)),
            Err(refusal) => answer(reply, Err(refusal)),
        }
    }

    fn seeker(&self, path: &LocalPath) -> Result<Seeker, Refusal> {
        let (row, path) = self.locate(path.as_path())?;
        let editor = Arc::new(self.editor(&row)?);
        let others = self.others(&row);
        let resident = self.rooms.get(&row.directory);
        let beside = resident.map(|resident| resident.room.beside()).ok_or_else(Refusal::stopping)?;
        Ok(Seeker { editor, beside, row, path, others })
    }
}

impl Seeker {
    async fn history(self) -> Result<History, Refusal> {
        let (listed, untold) = self.versions(Asking::All).await?;
        let held = self.held().await?;
        let newer = listed.newer(&self.path);
        let newer = newer.map(|(content, at)| Unhad { id: short(&content), replaced: rfc3339(at) });
        let (versions, cut) = (listed.versions, listed.is_cut);
        let present = self.editor.is_present(&self.path);
        let moved_away = self.moved_away().await?;
        if versions.is_empty() && !present && held.is_empty() {
            let (path, name, beside) = (&self.path, &self.row.name, self.beside(&untold, &held));
            return Err(Refusal::unknown(match &moved_away {
                Some(moved) => {
                    let moved = moved.said(|path| printable(path.to_path().as_os_str()));
                    format!(
                        "nothing is at {path} in {name} any more: {moved}; `file-sync log` says more{beside}"
                    )
                }
                None => format!(
                    "nothing is at {path} in {name}, and no version of it is kept here or told of by a remote{beside}"
                ),
            }));
        }
        let versions = versions.iter().map(|version| shown(version, &self.others)).collect();
        let held = held.len() as u64;
        let (directory, path) = (self.row.name, (&self.path).into());
        Ok(History { directory, path, present, versions, untold, newer, cut, held, moved_away })
    }

    /// What was there and has another name by now.
    async fn moved_away(&self) -> Result<Option<MovedAway>, Refusal> {
        let (editor, path) = (self.editor.clone(), self.path.clone());
        blocking(move || {
            let acts = editor.acts(&path, ACTS_MAX)?;
            Ok(moved_away(&path, &acts, &|path| editor.is_present(path)))
        })
        .await
    }

    /// All that is to be had, and who may have more.
    async fn versions(&self, asking: Asking) -> Result<(Listed, Vec<Untold>), Refusal> {
        let told = tokio::select! {
            told = elsewhere::ask(&self.others, self.row.directory, &self.path) => told,
            () = self.beside.stopped() => return Err(is_ending()),
        };
        let Told { versions, untold } = told;
        Ok((self.listed(versions, asking).await?, untold))
    }

    /// What lies there has been deleted here, and that is held.
    async fn held(&self) -> Result<Held, Refusal> {
        let (editor, path) = (self.editor.clone(), self.path.clone());
        blocking(move || Ok(editor.held(&path))).await
    }

    fn rejecting(&self) -> String {
        format!(
            "its deletion is held: `file-sync sync reject {}` brings it back",
            printable(self.row.name.as_ref())
        )
    }

    /// Where else there may be something, as the end of a line.
    fn beside(&self, untold: &[Untold], held: &Held) -> String {
        let rejecting = if held.is_empty() { String::new() } else { format!("; {}", self.rejecting()) };
        format!("{rejecting}{}", not_asked(untold))
    }

    async fn listed(&self, told: Vec<elsewhere::OfRemote>, asking: Asking) -> Result<Listed, Refusal> {
        let (editor, path, others) = (self.editor.clone(), self.path.clone(), self.others.clone());
        blocking(move || history::list(&editor, &path, told, &others, clock::now().wall, asking)).await
    }

    async fn restore_for(
        self,
        request: Restore,
        inside: Option<(Directory, SyncPath)>,
        mut reply: Reply<Restored>,
    ) {
        let restored = self.restore(&request, inside, reply.closed()).await;
        answer(reply, restored);
    }

    /// `is_gone` ends when whoever asked does not want it any more; what is being placed then is placed all the same.
    async fn restore(
        &self,
        request: &Restore,
        inside: Option<(Directory, SyncPath)>,
        is_gone: impl Future<Output = ()>,
    ) -> Result<Restored, Refusal> {
        let mut is_gone = pin!(is_gone);
        // Who names a version, and another place for it, need not wait for what is going on at the path.
        if request.to.is_none() || request.version.is_none() {
            tokio::select! {
                caught_up = self.catch_up() => caught_up?,
                () = self.beside.stopped() => return Err(is_ending()),
                () = is_gone.as_mut() => return Err(nobody_waits()),
            }
        }
        let expect = self.editor.on_disk(&self.path);
        let Sought { chosen, untold, held } = tokio::select! {
            sought = self.sought_until_followed(request) => sought?,
            () = self.beside.stopped() => return Err(is_ending()),
            () = is_gone.as_mut() => return Err(nobody_waits()),
        };
        let Chosen { versions, missing, later, told, moved } = chosen;
        let inside =
            inside.filter(|(other, _)| other.directory == self.row.directory).map(|(_, place)| place);
        let is_of_many = !matches!(&versions[..], [version] if version.path == self.path);
        let aim = Aim { to: request.to.clone(), inside, expect };
        let mut done = self.bring_back(versions, &aim, is_gone.as_mut()).await?;
        if !done.rotten.is_empty() {
            let versions = self.found_elsewhere(&mut done).await?;
            done.extend(self.bring_back(versions, &aim, is_gone.as_mut()).await?);
        }
        let reason = format!("it is not to be had{}", not_asked(&untold));
        done.failed.extend(missing.iter().map(|(path, content)| unrestored(path, content, reason.clone())));
        if is_of_many {
            let held = held.iter().map(|(path, content)| unrestored(path, content, self.rejecting()));
            done.failed.extend(held);
        }
        let is_outside = request.to.is_some() && aim.inside.is_none();
        let local = done.is_change && !is_outside && !self.editor.may_send();
        let shown = |paths: &[SyncPath]| paths.iter().map(ShownPath::from).collect();
        Ok(Restored {
            directory: self.row.name.clone(),
            path: (&self.path).into(),
            restored: done.restored,
            already: done.already,
            local,
            left: shown(&done.left),
            later: shown(&later),
            told: shown(&told),
            moved: shown(&moved),
            failed: done.failed,
            untold,
            to: request.to.as_ref().map(|to| to.as_path().into()),
        })
    }

    /// What is meant. What only a remote has that is just following what was done here is on its way from its place there to
    /// what it keeps, and is waited for.
    async fn sought_until_followed(&self, request: &Restore) -> Result<Sought, Refusal> {
        let deadline = Instant::now() + FOLLOWED_WITHIN;
        loop {
            // Asked first: who follows while others are asked may keep what was not told.
            let is_followed_late = self.editor.is_followed_late();
            let (listed, untold) = self.all_listed(request).await?;
            let may_come = listed.lacks_some() && is_followed_late && Instant::now() < deadline;
            let held = self.held().await?;
            match self.chosen(request, listed, &untold, &held).await {
                Ok(chosen) if !may_come || chosen.missing.is_empty() => {
                    return Ok(Sought { chosen, untold, held });
                }
                Err(refusal) if !may_come => return Err(refusal),
                _ => tokio::time::sleep(FOLLOWED_PAUSE).await,
            }
        }
    }

    /// All that is to be had, as far as has to be known of it, and who may have more.
    async fn all_listed(&self, request: &Restore) -> Result<(Listed, Vec<Untold>), Refusal> {
        let mut untold = Vec::new();
        let since = request.at.map(|seconds| Time { seconds, nanoseconds: 0 });
        let asking = since.map_or(Asking::Last, Asking::After);
        let mut listed = self.listed(Vec::new(), asking).await?;
        // Others are asked unless it is clear already which one is meant.
        if !listed.versions.iter().any(|version| is_given(version, &self.path, request)) {
            (listed, untold) = self.versions(asking).await?;
        }
        Ok((listed, untold))
    }

    /// What is meant, of all that there is; what is held is not brought back from what was there before it.
    async fn chosen(
        &self,
        request: &Restore,
        listed: Listed,
        untold: &[Untold],
        held: &Held,
    ) -> Result<Chosen, Refusal> {
        let is_last = request.version.is_none() && request.at.is_none();
        if is_last && held.contains_key(&self.path) {
            return Err(Refusal::new(format!("{}: {}; nothing was changed", self.path, self.rejecting())));
        }
        let is_in_place = request.to.is_none() && self.editor.is_nobodys(&self.path);
        if is_in_place && !self.editor.is_directory(&self.path) {
            return Err(Refusal::new(format!(
                "{} is ignored by a rule, or left alone; nothing was changed; `--to` writes it elsewhere",
                self.path
            )));
        }
        let beside = self.beside(untold, held);
        let (editor, path, request) = (self.editor.clone(), self.path.clone(), request.clone());
        let held: BTreeSet<SyncPath> = held.keys().filter(|held| **held != path).cloned().collect();
        blocking(move || {
            // What has just come need not be noted yet.
            let is_there =
                |path: &SyncPath| held.contains(path) || editor.is_present(path) || !editor.has_gone(path);
            let mut chosen = choose(&path, &listed, &request, &beside, &is_there)?;
            chosen.versions.retain(|version| !held.contains(&version.path));
            Ok(chosen)
        })
        .await
    }

    /// Fetches what only others have, and puts all in place.
    async fn bring_back(
        &self,
        versions: Vec<Version>,
        aim: &Aim,
        is_gone: impl Future<Output = ()>,
    ) -> Result<Done, Refusal> {
        let (editor, path, aim) = (self.editor.clone(), self.path.clone(), aim.clone());
        let planned = blocking(move || {
            let plan = Plan::of(&editor, &path, versions, aim)?;
            let fetched = plan.reserve(&editor.root);
            Ok((plan, fetched))
        });
        let (plan, mut fetched) = planned.await?;
        let is_fetched = tokio::select! {
            biased;
            () = is_gone => false,
            () = self.fetch(&plan, &mut fetched) => true,
        };
        let done = if is_fetched { self.carry_out(plan, &mut fetched).await } else { Err(nobody_waits()) };
        self.give_back(fetched).await;
        done
    }

    /// Where else the bytes are to be had that have gone from the store here, or are others by now. What nobody else has has
    /// failed.
    async fn found_elsewhere(&self, done: &mut Done) -> Result<Vec<Version>, Refusal> {
        let rotten = std::mem::take(&mut done.rotten);
        let (listed, untold) = self.versions(Asking::Last).await?;
        let mut found = Vec::new();
        for mut version in rotten {
            let content = version.content.hash();
            let is_same = |other: &&Version| other.path == version.path && other.content.hash() == content;
            let keepers = listed.versions.iter().filter(is_same).flat_map(|other| other.keepers.clone());
            let keepers: BTreeMap<DeviceId, u64> = keepers.collect();
            let (editor, path, not) = (self.editor.clone(), version.path.clone(), version.here.take());
            let not = not.unwrap_or(Bytes::Staged);
            let target = listed.versions.iter().filter(is_same).find_map(|other| other.target());
            let here = match target {
                Some(target) => Some(target),
                None => blocking(move || Ok(editor.other_holder(&content, &path, &not))).await?,
            };
            if here.is_some() || !keepers.is_empty() {
                (version.here, version.keepers) = (here, keepers);
                found.push(version);
                continue;
            }
            let reason = format!("{KEPT_IS_OTHER}, and nobody else has it{}", not_asked(&untold));
            if version.path == self.path {
                return Err(Refusal::new(format!("{}: {reason}; nothing was changed", version.path)));
            }
            done.failed.push(unrestored(&version.path, &content, reason));
        }
        Ok(found)
    }

    /// Waits until what a user has just done at the path is noted, durably: what is to be had, and what it is put in place of,
    /// follows from that. Of a directory, what has still not been noted then fails by itself.
    async fn catch_up(&self) -> Result<(), Refusal> {
        let deadline = Instant::now() + NOTED_WITHIN;
        let mut pause = NOTED_PAUSE;
        let is_late = loop {
            let (editor, path) = (self.editor.clone(), self.path.clone());
            let is_behind = blocking(move || Ok(editor.is_behind(&path))).await?;
            if !is_behind || Instant::now() >= deadline {
                break is_behind;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        };
        if is_late && !self.editor.is_directory(&self.path) {
            return Err(self.is_not_noted());
        }
        let editor = self.editor.clone();
        match blocking(move || Ok(editor.await_noted())).await? {
            true => Ok(()),
            false => Err(Refusal::new(format!(
                "what has been done in {} is not on record yet; nothing was done; try again",
                printable(self.row.name.as_ref())
            ))),
        }
    }

    fn not_noted(&self, version: &Version) -> Unrestored {
        failed(
            version,
            format!("{} has just changed, or cannot be looked at; look, and try again", version.path),
        )
    }

    fn is_not_noted(&self) -> Refusal {
        let path = &self.path;
        Refusal::new(format!(
            "{path} has just changed, or cannot be looked at; nothing was done; look, and try again"
        ))
    }

    async fn carry_out(&self, mut plan: Plan, fetched: &mut Fetched) -> Result<Done, Refusal> {
        let is_one = plan.is_one(&self.path);
        let mut done = Done { failed: self.without_bytes(&mut plan, fetched, is_one)?, ..Done::default() };
        let wanted: Vec<Wanted> = plan.wanted.iter().map(|each| as_wanted(each, &plan.expect)).collect();
        let (editor, out) = (self.editor.clone(), plan.out.take());
        let unplaced = blocking(move || match (out, &wanted[..]) {
            (Some(out), [wanted]) => write_out(&editor, wanted, &out),
            _ => Ok(editor.bring_back(&wanted)),
        });
        let contents = plan.wanted.iter().map(|(version, _)| version.content.hash());
        let mut unplaced = unplaced.await.inspect_err(|_| fetched.unplaced.extend(contents))?;
        done.left = plan.left;
        for (version, place) in plan.wanted {
            let not_placed = unplaced.remove(&place);
            if matches!(not_placed, Some(Unplaced::Changed | Unplaced::Failed(_))) {
                fetched.unplaced.insert(version.content.hash());
            }
            match not_placed {
                None if plan.in_place.contains(&place) => {
                    done.already.push(shown(&version, &self.others));
                }
                None => {
                    done.is_change |= !version.is_standing || place != version.path;
                    done.restored.push(shown(&version, &self.others));
                }
                Some(Unplaced::Changed) if is_one => {
                    return Err(Refusal::new(format!(
                        "{place} has changed meanwhile; nothing was changed; look, and try again"
                    )));
                }
                Some(Unplaced::Failed(reason)) if is_one => {
                    return Err(Refusal::new(format!("{place}: {reason}")));
                }
                Some(Unplaced::Changed) => done.left.push(place),
                Some(Unplaced::Failed(reason)) => done.failed.push(failed(&version, reason)),
                Some(Unplaced::Rotten) => done.rotten.push(version),
            }
        }
        Ok(done)
    }

    /// Takes those from what is wanted whose bytes have not come.
    fn without_bytes(
        &self,
        plan: &mut Plan,
        fetched: &Fetched,
        is_one: bool,
    ) -> Result<Vec<Unrestored>, Refusal> {
        let lost = std::mem::take(&mut plan.lost);
        let mut not_done: Vec<Unrestored> = lost.iter().map(|version| self.not_noted(version)).collect();
        for (version, place) in std::mem::take(&mut plan.wanted) {
            let is_lacking = plan.is_lacking(&version, &place) && !plan.hindered.contains_key(&place);
            match fetched.failures.get(&version.content.hash()).filter(|_| is_lacking) {
                Some((reason, _)) if is_one => {
                    return Err(Refusal::new(format!("{}: {reason}; nothing was changed", version.path)));
                }
                Some((reason, _)) => not_done.push(failed(&version, reason.clone())),
                None => match plan.hindered.remove(&place) {
                    Some(Unplaced::Failed(reason)) => not_done.push(failed(&version, reason)),
                    Some(Unplaced::Changed | Unplaced::Rotten) => plan.left.push(place),
                    None => plan.wanted.push((version, place)),
                },
            }
        }
        Ok(not_done)
    }
}

/// What is meant to come back, who may have more, and what is held.
struct Sought {
    chosen: Chosen,
    untold: Vec<Untold>,
    held: Held,
}

/// The files whose deletion here is held.
type Held = BTreeMap<SyncPath, ContentHash>;

/// What has come of a restore.
#[derive(Default)]
struct Done {
    restored: Vec<KeptVersion>,
    /// What was in place before.
    already: Vec<KeptVersion>,
    /// True if something was put in place that does not stand there.
    is_change: bool,
    left: Vec<SyncPath>,
    failed: Vec<Unrestored>,
    /// What is not kept here as it was: gone from the store, or other bytes by now.
    rotten: Vec<Version>,
}

impl Done {
    fn extend(&mut self, other: Done) {
        self.restored.extend(other.restored);
        self.already.extend(other.already);
        self.is_change |= other.is_change;
        self.left.extend(other.left);
        self.failed.extend(other.failed);
        self.failed.extend(other.rotten.iter().map(|version| failed(version, KEPT_IS_OTHER.to_owned())));
    }
}

fn failed(version: &Version, reason: String) -> Unrestored {
    unrestored(&version.path, &version.content.hash(), reason)
}

fn unrestored(path: &SyncPath, content: &ContentHash, reason: String) -> Unrestored {
    Unrestored { path: path.into(), id: short(content), reason }
}

fn nobody_waits() -> Refusal {
    Refusal::new("nobody waits for it any more")
}

fn is_ending() -> Refusal {
    Refusal::new("the directory is being stopped or started again; look at its status, and try again")
}

/// Does what waits for the disk, on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let failed = |_| Err(Refusal::new("it has failed; the server's log says why"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(failed)
}
