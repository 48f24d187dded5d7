//! `history` and `restore`: what is to be had of a path, here and from connected members, and bringing it back.
//!
//! Members are asked by tasks beside the main loop. Bytes that only others have come into the staging area first, all of
//! them; what is placed then is placed as any kept version is, and the engine finds it as its user's act.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use file_sync_core::engine::FetchRequest;
use file_sync_core::path::SyncPath;
use file_sync_core::record::Record;
use file_sync_core::version::{Content, ContentHash, DeviceId};
use file_sync_disk::Root;
use file_sync_index::Directory;

use super::House;
use super::elsewhere::{self, Other, Told};
use super::history::{self, Listed, Version, choose, id_of, not_asked, shown};
use super::written::{check_is_free, is_there_already, write_out};
use crate::api::command::{Refusal, Reply, Restore};
use crate::api::names::{LocalPath, printable};
use crate::api::types::{History, Restored, ShownPath, Unrestored, Untold};
use crate::input::answer;
use crate::room::{AllUnplaced, Bytes, Editor, Unplaced, Wanted};
use crate::transfer::{Beside, Failure};

/// What is fetched at once: contents, and their bytes.
const BATCH_FILES: usize = 1_024;
const BATCH_BYTES: u64 = 64 << 20;

/// So long a user's act may take until it is noted, and so often that is looked at.
const NOTED_WITHIN: Duration = Duration::from_secs(3);
const NOTED_PAUSE: Duration = Duration::from_millis(20);

/// What the versions of a path are found out with, and brought back.
struct Seeker {
    editor: Arc<Editor>,
    beside: Beside,
    row: Directory,
    path: SyncPath,
    others: Vec<Other>,
}

/// What is to be done to bring versions back.
#[derive(Default)]
struct Plan {
    /// What is put in place, or written out: each version, and its path there.
    wanted: Vec<(Version, SyncPath)>,
    /// What is not fetched, as it is in place already.
    in_place: BTreeSet<SyncPath>,
    left: Vec<SyncPath>,
    /// What is recorded, and has gone from the disk all the same: that it has is not noted yet.
    lost: Vec<Version>,
    /// What is not fetched, as something is in the way.
    hindered: AllUnplaced,
    /// What is at the path of the only one now, and may be replaced. Of a directory, only what is not there comes back.
    expect: Option<Record>,
    /// Where it is written, outside of the directory.
    out: Option<PathBuf>,
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
        let (Listed { versions, newer }, untold) = self.versions().await?;
        let present = self.editor.is_present(&self.path);
        if versions.is_empty() && !present {
            return Err(Refusal::unknown(format!(
                "nothing is at {} in {}, and no version of it is kept here or told of by a remote{}",
                self.path,
                self.row.name,
                not_asked(&untold)
            )));
        }
        let versions = versions.iter().map(|version| shown(version, &self.others)).collect();
        Ok(History { directory: self.row.name, path: (&self.path).into(), present, versions, untold, newer })
    }

    /// All that is to be had, and who may have more.
    async fn versions(&self) -> Result<(Listed, Vec<Untold>), Refusal> {
        let told = tokio::select! {
            told = elsewhere::ask(&self.others, self.row.directory, &self.path) => told,
            () = self.beside.stopped() => return Err(is_ending()),
        };
        let Told { versions, untold } = told;
        Ok((self.listed(versions).await?, untold))
    }

    async fn listed(&self, told: Vec<elsewhere::OfRemote>) -> Result<Listed, Refusal> {
        let (editor, path) = (self.editor.clone(), self.path.clone());
        blocking(move || history::list(&editor, &path, told)).await
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
        if request.to.is_none() {
            self.catch_up().await?;
        }
        let mut untold = Vec::new();
        let mut listed = self.listed(Vec::new()).await?;
        // Others are asked unless it is clear already which one is meant.
        if !listed.versions.iter().any(|version| history::is_given(version, &self.path, request)) {
            (listed, untold) = self.versions().await?;
        }
        let chosen = choose(&self.path, listed.versions, request, &untold)?;
        // Who names a version or a time does not mean the newest.
        let newer = listed.newer.filter(|_| request.version.is_none() && request.at.is_none());
        let inside = inside.filter(|(other, _)| other.directory == self.row.directory);
        let (editor, path, to) = (self.editor.clone(), self.path.clone(), request.to.clone());
        let planned = blocking(move || {
            let plan = Plan::of(&editor, &path, chosen, to.as_ref(), inside.map(|(_, place)| place))?;
            let fetched = plan.reserve(&editor.root);
            Ok((plan, fetched))
        });
        let (plan, mut fetched) = planned.await?;
        let is_fetched = tokio::select! {
            biased;
            () = is_gone => false,
            () = self.fetch(&plan, &mut fetched) => true,
        };
        let done = if is_fetched {
            let done = self.carry_out(plan, &mut fetched, request).await;
            done.map(|restored| Restored { untold, newer, ..restored })
        } else {
            Err(Refusal::new("nobody waits for it any more"))
        };
        self.give_back(fetched).await;
        done
    }

    /// Waits until what a user has just done at the path is noted: what is to be had, and what it is put in place of, follows
    /// from that. Of a directory, what has still not been noted then fails by itself.
    async fn catch_up(&self) -> Result<(), Refusal> {
        let deadline = Instant::now() + NOTED_WITHIN;
        loop {
            let (editor, path) = (self.editor.clone(), self.path.clone());
            let seen = blocking(move || Ok((editor.is_behind(&path), editor.is_directory(&path))));
            let (is_behind, is_directory) = seen.await?;
            if !is_behind {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return if is_directory { Ok(()) } else { Err(self.is_not_noted()) };
            }
            tokio::time::sleep(NOTED_PAUSE).await;
        }
    }

    fn is_not_noted(&self) -> Refusal {
        let path = &self.path;
        Refusal::new(format!(
            "{path} has just changed, or cannot be looked at; nothing was done; look, and try again"
        ))
    }

    /// Has it all staged. Each keeper is asked in its turn for what those before it did not have.
    async fn fetch(&self, plan: &Plan, fetched: &mut Fetched) {
        let links = elsewhere::links(&self.others);
        let mut open: BTreeMap<ContentHash, (&Version, Keepers)> = BTreeMap::new();
        for (version, _) in &plan.wanted {
            if fetched.contents.contains(&version.content.hash()) {
                let keepers = version.keepers.iter().map(|(device, length)| (*device, *length));
                let (_, known) = open.entry(version.content.hash()).or_insert((version, Vec::new()));
                known.extend(keepers);
            }
        }
        loop {
            let mut requests = Vec::new();
            open.retain(|content, (version, keepers)| {
                let next = keepers.pop();
                requests.extend(next.map(|(from, length)| self.request(version, *content, from, length)));
                next.is_some()
            });
            if requests.is_empty() {
                return;
            }
            for some in batches(requests) {
                let asked: Vec<_> = some.iter().map(|request| (request.content, request.from)).collect();
                let mut failed = self.beside.fetch(some, &links).await;
                for (content, from) in asked {
                    if let Some(failure) = failed.remove(&content) {
                        fetched.failures.insert(content, self.said(from, failure));
                    } else {
                        fetched.failures.remove(&content);
                        open.remove(&content);
                    }
                }
            }
        }
    }

    fn request(&self, version: &Version, content: ContentHash, from: DeviceId, length: u64) -> FetchRequest {
        let base = match self.editor.record(&version.path).map(|record| record.content) {
            Some(Content::File(base)) => Some(base),
            _ => None,
        };
        FetchRequest { content, length, from, path: version.path.clone(), base }
    }

    /// Why a content did not come, and whether what has come of it may be of use at another time.
    fn said(&self, from: DeviceId, failure: Failure) -> (String, bool) {
        let other = self.others.iter().find(|other| other.device == from);
        let name = other.map_or_else(|| from.short(), |other| other.name.clone());
        match failure {
            Failure::NotHeld => (format!("{name} does not have it any more"), false),
            Failure::Wrong => (format!("the bytes that {name} sent are not those of this version"), false),
            Failure::Other(reason) => (format!("it did not come from {name}: {reason}"), true),
        }
    }

    async fn carry_out(
        &self,
        mut plan: Plan,
        fetched: &mut Fetched,
        request: &Restore,
    ) -> Result<Restored, Refusal> {
        let is_one = plan.is_one(&self.path);
        let mut failed = self.without_bytes(&mut plan, fetched, is_one)?;
        let wanted: Vec<Wanted> = plan.wanted.iter().map(|each| as_wanted(each, &plan.expect)).collect();
        let (editor, out) = (self.editor.clone(), plan.out.take());
        let unplaced = blocking(move || match (out, &wanted[..]) {
            (Some(out), [wanted]) => write_out(&editor, wanted, &out).map(|()| AllUnplaced::new()),
            _ => Ok(editor.bring_back(&wanted)),
        });
        let contents = plan.wanted.iter().map(|(version, _)| version.content.hash());
        let mut unplaced = unplaced.await.inspect_err(|_| fetched.unplaced.extend(contents))?;
        let mut restored = Vec::new();
        for (version, place) in &plan.wanted {
            match unplaced.remove(place) {
                None => restored.push(shown(version, &self.others)),
                Some(Unplaced::Changed) if is_one => {
                    fetched.unplaced.insert(version.content.hash());
                    return Err(Refusal::new(format!(
                        "{place} has changed meanwhile; nothing was changed; look, and try again"
                    )));
                }
                Some(Unplaced::Changed) => plan.left.push(place.clone()),
                Some(Unplaced::Failed(reason)) => {
                    fetched.unplaced.insert(version.content.hash());
                    if is_one {
                        return Err(Refusal::new(format!("{place}: {reason}")));
                    }
                    failed.push(unrestored(version, reason));
                }
            }
        }
        Ok(Restored {
            directory: self.row.name.clone(),
            path: (&self.path).into(),
            restored,
            left: plan.left.iter().map(ShownPath::from).collect(),
            failed,
            untold: Vec::new(),
            newer: None,
            to: request.to.as_ref().map(|to| to.as_path().into()),
        })
    }

    /// Takes those from what is wanted whose bytes have not come.
    fn without_bytes(
        &self,
        plan: &mut Plan,
        fetched: &Fetched,
        is_one: bool,
    ) -> Result<Vec<Unrestored>, Refusal> {
        let lost = std::mem::take(&mut plan.lost);
        let mut failed: Vec<Unrestored> =
            lost.iter().map(|version| unrestored(version, self.is_not_noted().message)).collect();
        for (version, place) in std::mem::take(&mut plan.wanted) {
            let is_lacking = plan.is_lacking(&version, &place) && !plan.hindered.contains_key(&place);
            match fetched.failures.get(&version.content.hash()).filter(|_| is_lacking) {
                Some((reason, _)) if is_one => {
                    return Err(Refusal::new(format!("{}: {reason}; nothing was changed", version.path)));
                }
                Some((reason, _)) => failed.push(unrestored(&version, reason.clone())),
                None => match plan.hindered.remove(&place) {
                    Some(Unplaced::Failed(reason)) => failed.push(unrestored(&version, reason)),
                    Some(Unplaced::Changed) => plan.left.push(place),
                    None => plan.wanted.push((version, place)),
                },
            }
        }
        Ok(failed)
    }

    /// Gives the staged bytes back that nobody wants any more.
    async fn give_back(&self, fetched: Fetched) {
        let editor = self.editor.clone();
        let gone = blocking(move || {
            let Fetched { contents, failures, unplaced, reserved } = fetched;
            drop(reserved);
            for content in contents {
                let may_go_on = failures.get(&content).is_some_and(|(_, may_go_on)| *may_go_on);
                if may_go_on || unplaced.contains(&content) || editor.is_wanted_by_engine(&content) {
                    continue;
                }
                if let Err(trouble) = editor.root.discard_stage(content) {
                    tracing::warn!(%trouble, "cannot give staged space back");
                }
            }
            Ok(())
        });
        // It says so itself.
        _ = gone.await;
    }
}

impl Plan {
    /// What is to be done to bring these versions of a path back, here or to another place.
    fn of(
        editor: &Editor,
        path: &SyncPath,
        chosen: Vec<Version>,
        to: Option<&LocalPath>,
        inside: Option<SyncPath>,
    ) -> Result<Plan, Refusal> {
        let at_its_path = |version: Version| (version.clone(), version.path);
        let mut plan = Plan::default();
        match (to, &chosen[..]) {
            (Some(to), [version]) if version.path == *path => match inside {
                Some(place) if editor.is_present(&place) => {
                    return Err(is_there_already(&printable(to.as_path().as_os_str())));
                }
                Some(place) => plan.wanted.push((version.clone(), place)),
                None => {
                    check_is_free(to.as_path())?;
                    plan.wanted.push((version.clone(), version.path.clone()));
                    plan.out = Some(to.as_path().to_owned());
                    return Ok(plan);
                }
            },
            (Some(_), _) => {
                return Err(Refusal::new(format!(
                    "{path} was a directory; --to takes one file's version, without it all of them come back"
                )));
            }
            (None, [version]) if version.path == *path => {
                plan.expect = editor.record(&version.path);
                plan.wanted.push(at_its_path(version.clone()));
            }
            (None, _) => {
                let (there, gone): (Vec<Version>, Vec<Version>) =
                    chosen.into_iter().partition(|version| editor.is_present(&version.path));
                let (lost, there): (Vec<Version>, Vec<Version>) =
                    there.into_iter().partition(|version| editor.has_gone(&version.path));
                plan.left = there.into_iter().map(|version| version.path).collect();
                plan.wanted = gone.into_iter().map(at_its_path).collect();
                plan.lost = lost;
            }
        }
        plan.see_what_is_there(editor, path)?;
        Ok(plan)
    }

    /// What cannot be placed is not fetched either, nor what is there already.
    fn see_what_is_there(&mut self, editor: &Editor, path: &SyncPath) -> Result<(), Refusal> {
        let wanted: Vec<Wanted> = self.wanted.iter().map(|each| as_wanted(each, &self.expect)).collect();
        let (lacking, hindered) = editor.lacking(&wanted);
        if let (true, Some(Unplaced::Failed(reason))) = (self.is_one(path), hindered.values().next()) {
            return Err(Refusal::new(reason.clone()));
        }
        self.in_place = wanted.into_iter().map(|wanted| wanted.path).collect();
        self.in_place.retain(|path| !lacking.contains(path) && !hindered.contains_key(path));
        self.hindered = hindered;
        Ok(())
    }

    /// Keeps in the stage what only others have and is to be placed, as it comes.
    fn reserve(&self, root: &Root) -> Fetched {
        let is_lacking = |(version, place): &&(Version, SyncPath)| {
            self.is_lacking(version, place) && !self.hindered.contains_key(place)
        };
        let lacking = self.wanted.iter().filter(is_lacking).map(|(version, _)| version.content.hash());
        let contents: BTreeSet<ContentHash> = lacking.collect();
        let reserved = root.reserve_stage(contents.iter().copied().collect());
        // What is there already was not staged for this, and stays.
        let contents = contents.into_iter().filter(|content| !root.staged(*content)).collect();
        Fetched { contents, failures: BTreeMap::new(), unplaced: BTreeSet::new(), reserved }
    }

    /// True if it is one file's version that is asked for, and not what a directory held.
    fn is_one(&self, path: &SyncPath) -> bool {
        matches!(&self.wanted[..], [(version, _)] if version.path == *path)
    }

    /// True if a version's bytes have to come first.
    fn is_lacking(&self, version: &Version, place: &SyncPath) -> bool {
        version.here.is_none() && !self.in_place.contains(place)
    }
}

/// Who keeps a content, and how long it is by their word.
type Keepers = Vec<(DeviceId, u64)>;

/// What was fetched, which did not come and why, and what keeps it in the stage.
struct Fetched {
    contents: BTreeSet<ContentHash>,
    failures: BTreeMap<ContentHash, (String, bool)>,
    /// What has come and could not be put in place: another try is to find it in the stage.
    unplaced: BTreeSet<ContentHash>,
    reserved: file_sync_disk::Reserved,
}

/// What is asked for at once, so that not too much waits in memory to be staged.
fn batches(requests: Vec<FetchRequest>) -> Vec<Vec<FetchRequest>> {
    let (mut batches, mut bytes) = (Vec::<Vec<FetchRequest>>::new(), 0_u64);
    for request in requests {
        bytes = bytes.saturating_add(request.length);
        match batches.last_mut().filter(|batch| bytes <= BATCH_BYTES && batch.len() < BATCH_FILES) {
            Some(batch) => batch.push(request),
            None => {
                bytes = request.length;
                batches.push(vec![request]);
            }
        }
    }
    batches
}

fn as_wanted((version, place): &(Version, SyncPath), expect: &Option<Record>) -> Wanted {
    Wanted {
        path: place.clone(),
        content: version.content,
        mode: version.mode,
        mtime: version.mtime,
        bytes: version.here.clone().unwrap_or(Bytes::Staged),
        expect: expect.clone(),
    }
}

fn unrestored(version: &Version, reason: String) -> Unrestored {
    Unrestored { path: (&version.path).into(), id: id_of(version), reason }
}

fn is_ending() -> Refusal {
    Refusal::new("the directory is being stopped or started again; look at its status, and try again")
}

/// Does what waits for the disk, on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let failed = |_| Err(Refusal::new("it has failed; the server's log says why"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h3_what_is_fetched_at_once_is_bounded() {
        let request = |number: u64, length| FetchRequest {
            content: ContentHash::of(&number.to_be_bytes()),
            length,
            from: DeviceId([1; 32]),
            path: SyncPath::root(),
            base: None,
        };
        let sizes = |lengths: &[u64]| {
            let requests = (0..).zip(lengths).map(|(number, length)| request(number, *length)).collect();
            batches(requests).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[BATCH_BYTES, 1, 1]), [1, 2]);
        assert_eq!(sizes(&[1, BATCH_BYTES - 1, 1]), [2, 1]);
        assert_eq!(sizes(&[u64::MAX, u64::MAX, 1]), [1, 1, 1]);
        assert_eq!(sizes(&[0; BATCH_FILES + 1]), [BATCH_FILES, 1]);
    }
}
