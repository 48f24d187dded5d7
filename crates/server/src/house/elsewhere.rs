//! What other members keep of a path: who can be asked, what they say, and since when they may ask in their turn.
//!
//! They are asked when a user wants to know, and never otherwise; nothing of what they say is remembered. It is not
//! believed either: bytes count once their hash is right, and who says that it keeps something is named.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use file_sync_core::path::SyncPath;
use file_sync_core::version::{DeviceId, DirectoryId, Time, Value};
use file_sync_index::Directory;
use file_sync_net::{FetchError, Link};
use file_sync_wire::kept::{KeptPage, KeptQuestion, KeptVersion};
use tokio::task::JoinSet;

use super::House;
use crate::api::types::Untold;
use crate::clock;

/// So long a member may take for a page.
const PAGE_WITHIN: Duration = Duration::from_secs(10);
/// So long it may take for all of them.
const ALL_WITHIN: Duration = Duration::from_secs(60);
/// Versions that are taken of one member.
const VERSIONS_MAX: usize = 50_000;
/// Their paths and targets, in bytes.
const BYTES_MAX: usize = 16 << 20;

/// Another member of a directory.
#[derive(Clone)]
pub(super) struct Other {
    pub(super) device: DeviceId,
    pub(super) name: String,
    /// Or why it cannot be asked.
    pub(super) link: Result<Link, String>,
}

/// A version, and who keeps it.
pub(super) type OfRemote = (DeviceId, KeptVersion);

/// What members have told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) versions: Vec<OfRemote>,
    pub(super) untold: Vec<Untold>,
}

impl House {
    /// All other members of a directory, by their names.
    pub(super) fn others(&self, row: &Directory) -> Vec<Other> {
        let Some(resident) = self.rooms.get(&row.directory) else { return Vec::new() };
        let engine = resident.room.engine();
        let (members, is_paused) = (engine.members().clone(), engine.is_paused());
        drop(engine);
        let own = self.context.identity.device_id();
        let active = members.iter().filter(|(device, member)| member.active && **device != own);
        let mut others: Vec<Other> = active
            .map(|(device, _)| {
                let link = if is_paused {
                    Err(format!("{} is paused here", row.name))
                } else {
                    self.link_for_asking(device, &row.directory)
                };
                Other { device: *device, name: self.name_of(device), link }
            })
            .collect();
        others.sort_by(|one, other| one.name.cmp(&other.name));
        others
    }

    fn link_for_asking(&self, device: &DeviceId, directory: &DirectoryId) -> Result<Link, String> {
        let Some(connected) = self.links.get(device) else {
            let is_paired = self.is_paired(device);
            let reason = if is_paired { "not connected" } else { "not paired with this device" };
            return Err(reason.to_owned());
        };
        if !self.is_up_in(device, directory) {
            return Err("the directory is not offered to it".to_owned());
        }
        Ok(connected.link.clone())
    }

    /// Notes, durably, since when devices are members of a directory: of what was kept before they are not told.
    ///
    /// Only those that could ask are noted, and all of them in one write: a member may tell of any number of devices.
    pub(super) fn note_members(&mut self, directory: &DirectoryId) {
        let Some(resident) = self.rooms.get(directory) else { return };
        let members = resident.room.engine().members().clone();
        let is_known = |device: &DeviceId, active: bool| {
            self.members_since.get(&(*directory, *device)).is_some_and(|since| since.is_some() == active)
        };
        let members = members.into_iter().map(|(device, member)| (device, member.active));
        let open: Vec<_> = members.filter(|(device, active)| !is_known(device, *active)).collect();
        if open.is_empty() {
            return;
        }
        let key = |device: &DeviceId| format!("member:{directory}:{device}");
        let stored = |device: &DeviceId| parse_time(&self.home.setting(&key(device)).ok().flatten()?);
        let noted = since_when(open, &self.asking(), stored, clock::now().wall);
        let text =
            |since: Option<Time>| since.map(|since| format!("{}:{}", since.seconds, since.nanoseconds));
        let fresh = noted.iter().filter(|(_, noted)| noted.is_new);
        let fresh: Vec<(String, String)> =
            fresh.map(|(device, noted)| (key(device), text(noted.since).unwrap_or_default())).collect();
        if !fresh.is_empty()
            && let Err(error) = self.home.set_settings(&fresh)
        {
            tracing::warn!(%error, "cannot note since when devices are members");
        }
        for (device, Noted { since, .. }) in noted {
            self.members_since.insert((*directory, device), since);
            self.provider.note_member(*directory, device, since);
        }
    }

    /// The devices that may ask something of this one: those that are paired with it.
    fn asking(&self) -> BTreeSet<DeviceId> {
        let remotes = self.home.remotes().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read which devices are paired with this one");
            Vec::new()
        });
        let paired = remotes.into_iter().filter(|remote| !remote.deleted).map(|remote| remote.device);
        paired.chain(self.links.keys().copied()).collect()
    }
}

/// Since when a device is a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Noted {
    /// None: it is not.
    since: Option<Time>,
    /// What is stored says something else.
    is_new: bool,
}

/// What is to be noted of devices, each of which is an active member or not. One that cannot ask is passed over, but
/// never stays a member of before when it is none: it may be one again later.
fn since_when(
    members: Vec<(DeviceId, bool)>,
    asking: &BTreeSet<DeviceId>,
    stored: impl Fn(&DeviceId) -> Option<Time>,
    now: Time,
) -> Vec<(DeviceId, Noted)> {
    let members = members.into_iter().filter(|(device, active)| !active || asking.contains(device));
    let noted = members.map(|(device, active)| {
        let noted = match (active, stored(&device)) {
            (true, Some(since)) => Noted { since: Some(since), is_new: false },
            (true, None) => Noted { since: Some(now), is_new: true },
            (false, stored) => Noted { since: None, is_new: stored.is_some() },
        };
        (device, noted)
    });
    noted.collect()
}

fn parse_time(text: &str) -> Option<Time> {
    let (seconds, nanoseconds) = text.split_once(':')?;
    Some(Time { seconds: seconds.parse().ok()?, nanoseconds: nanoseconds.parse().ok()? })
}

/// Asks all that can be asked, at once.
pub(super) async fn ask(others: &[Other], directory: DirectoryId, path: &SyncPath) -> Told {
    let mut told = Told::default();
    let mut answers = JoinSet::new();
    for other in others {
        match &other.link {
            Ok(link) => {
                let (link, path, device, name) =
                    (link.clone(), path.clone(), other.device, other.name.clone());
                answers.spawn(async move { (device, name, ask_one(&link, directory, path).await) });
            }
            Err(reason) => {
                told.untold.push(Untold { remote: other.name.clone(), reason: reason.clone() });
            }
        }
    }
    while let Some(answer) = answers.join_next().await {
        let Ok((device, remote, (versions, reason))) = answer else { continue };
        told.versions.extend(versions.into_iter().map(|version| (device, version)));
        told.untold.extend(reason.map(|reason| Untold { remote, reason }));
    }
    told.untold.sort_by(|one, other| one.remote.cmp(&other.remote));
    told
}

/// What a member keeps, and why that is not all of it, or nothing.
async fn ask_one(link: &Link, directory: DirectoryId, path: SyncPath) -> (Vec<KeptVersion>, Option<String>) {
    let deadline = Instant::now() + ALL_WITHIN;
    let mut telling = Telling::new(path);
    loop {
        let within = PAGE_WITHIN.min(deadline.saturating_duration_since(Instant::now()));
        let page = tokio::time::timeout(within, link.fetch_kept(directory, telling.question())).await;
        let taken = match page {
            Err(_) => Err("has not answered in time".to_owned()),
            Ok(Err(error)) => Err(said(&error)),
            Ok(Ok(page)) => telling.take_in(page),
        };
        match taken {
            Ok(false) => {}
            Ok(true) => return (telling.versions, None),
            Err(reason) => return (telling.versions, Some(reason)),
        }
    }
}

fn said(error: &FetchError) -> String {
    match error {
        FetchError::NotHeld => "takes no part in the directory now".to_owned(),
        FetchError::Closed => "the connection was lost".to_owned(),
        FetchError::Stalled => "has not answered in time".to_owned(),
        FetchError::Remote(message) => format!("says: {message}"),
        FetchError::Changed | FetchError::TooLarge => error.to_string(),
    }
}

/// What a member has told so far.
struct Telling {
    path: SyncPath,
    versions: Vec<KeptVersion>,
    bytes: usize,
}

impl Telling {
    fn new(path: SyncPath) -> Telling {
        Telling { path, versions: Vec::new(), bytes: 0 }
    }

    fn question(&self) -> KeptQuestion {
        let after = self.versions.last().map(|version| version.place.clone());
        KeptQuestion { path: self.path.clone(), after }
    }

    /// Takes a page in; true if that was all. Of a member whose answer makes no sense nothing is used.
    fn take_in(&mut self, page: KeptPage) -> Result<bool, String> {
        let is_meant = |path: &SyncPath| *path == self.path || self.path.is_ancestor_of(path);
        let told = page.versions.iter().map(|version| &version.place);
        let last = self.versions.last().map(|version| &version.place);
        let is_further = page.versions.first().is_none_or(|first| Some(&first.place) > last);
        if !told.clone().all(|place| is_meant(&place.path)) || !told.is_sorted() || !is_further {
            self.versions.clear();
            return Err("its answer makes no sense".to_owned());
        }
        if page.versions.is_empty() && !page.is_last {
            self.versions.clear();
            return Err("its answer makes no sense".to_owned());
        }
        for version in page.versions {
            let target_bytes = if let Value::Symlink { target } = &version.value { target.len() } else { 0 };
            self.bytes += version.place.path.as_bytes().len() + target_bytes;
            if self.versions.len() >= VERSIONS_MAX || self.bytes > BYTES_MAX {
                return Err(format!(
                    "keeps more than is listed here ({} versions); ask for a path further down",
                    self.versions.len()
                ));
            }
            self.versions.push(version);
        }
        Ok(page.is_last)
    }
}

/// The links of those that can be asked.
pub(super) fn links(others: &[Other]) -> BTreeMap<DeviceId, Link> {
    others.iter().filter_map(|other| Some((other.device, other.link.clone().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use file_sync_core::version::ContentHash;
    use file_sync_wire::kept::KeptPlace;

    use super::*;

    fn path(text: &str) -> SyncPath {
        SyncPath::parse(text.as_bytes()).unwrap()
    }

    fn version(at: &str, seconds: i64) -> KeptVersion {
        let value = Value::File {
            content: ContentHash::of(at.as_bytes()),
            length: 1,
            mode: 0o644,
            mtime: Time::default(),
        };
        KeptVersion {
            place: KeptPlace { path: path(at), at: Time { seconds, nanoseconds: 0 } },
            value,
            written: None,
        }
    }

    fn page(versions: &[(&str, i64)], is_last: bool) -> KeptPage {
        KeptPage { versions: versions.iter().map(|(at, seconds)| version(at, *seconds)).collect(), is_last }
    }

    #[test]
    fn h3_of_devices_that_a_member_invents_nothing_is_noted() {
        let [paired, old] = [DeviceId([1; 32]), DeviceId([2; 32])];
        let (before, now) = (Time { seconds: 1, nanoseconds: 0 }, Time { seconds: 2, nanoseconds: 0 });
        let stored = |device: &DeviceId| (*device == old).then_some(before);
        let asking = BTreeSet::from([paired]);
        let noted = |members: &[(DeviceId, bool)]| since_when(members.to_vec(), &asking, stored, now);
        let invented = |active: bool| (3..=255).map(move |number| (DeviceId([number; 32]), active));
        assert_eq!(noted(&invented(true).collect::<Vec<_>>()), []);
        assert!(noted(&invented(false).collect::<Vec<_>>()).iter().all(|(_, noted)| !noted.is_new));
        assert_eq!(noted(&[(paired, true)]), [(paired, Noted { since: Some(now), is_new: true })]);
        assert_eq!(noted(&[(paired, false)]), [(paired, Noted { since: None, is_new: false })]);
        // Paired no longer: it is not noted anew, and what was noted goes when it is a member no longer.
        assert_eq!(noted(&[(old, true)]), []);
        assert_eq!(noted(&[(old, false)]), [(old, Noted { since: None, is_new: true })]);
        let asking = BTreeSet::from([old]);
        let again = since_when(vec![(old, true)], &asking, stored, now);
        assert_eq!(again, [(old, Noted { since: Some(before), is_new: false })]);
    }

    #[test]
    fn pages_follow_each_other_to_the_last() {
        let mut telling = Telling::new(path("d"));
        assert_eq!(telling.question(), KeptQuestion { path: path("d"), after: None });
        assert_eq!(telling.take_in(page(&[("d", 1), ("d/a", 1), ("d/a", 2)], false)), Ok(false));
        assert_eq!(telling.question().after, Some(version("d/a", 2).place));
        // Equal places are two versions of one moment.
        assert_eq!(telling.take_in(page(&[("d/b", 1), ("d/b", 1)], true)), Ok(true));
        assert_eq!(telling.versions.len(), 5);
        assert_eq!(Telling::new(SyncPath::root()).take_in(page(&[("any", 1)], true)), Ok(true));
        assert_eq!(Telling::new(path("d")).take_in(page(&[], true)), Ok(true));
    }

    #[test]
    fn h3_answers_that_make_no_sense_end_the_telling_and_nothing_of_them_is_used() {
        for bad in [
            page(&[("e", 1)], true),
            page(&[("dd", 1)], true),
            page(&[("d/b", 1), ("d/a", 1)], true),
            page(&[("d/b", 2), ("d/b", 1)], true),
            page(&[("d/a", 5)], false),
            page(&[("d", 1)], false),
            page(&[], false),
        ] {
            let mut telling = Telling::new(path("d"));
            assert_eq!(telling.take_in(page(&[("d/a", 5)], false)), Ok(false));
            assert!(telling.take_in(bad.clone()).is_err(), "{bad:?}");
            assert!(telling.versions.is_empty());
        }
    }

    #[test]
    fn h3_of_a_member_that_goes_on_telling_so_much_is_taken_and_no_more() {
        let mut telling = Telling::new(path("d"));
        let mut seconds = 0;
        let reason = loop {
            let versions = (0..1_000).map(|index| version("d/a", seconds + index)).collect();
            seconds += 1_000;
            match telling.take_in(KeptPage { versions, is_last: false }) {
                Ok(false) => {}
                ended => break ended.unwrap_err(),
            }
        };
        assert!(reason.contains("more than is listed"), "{reason}");
        assert_eq!(telling.versions.len(), VERSIONS_MAX);
        let mut telling = Telling::new(path("d"));
        let long = format!("d/{}", vec!["x".repeat(250); 60].join("/"));
        for seconds in 0.. {
            if telling.take_in(page(&[(&long, seconds)], false)).is_err() {
                break;
            }
        }
        assert!(telling.bytes <= BYTES_MAX + long.len() && telling.versions.len() > 1_000);
    }
}
