//! Questions about paths: what is recorded there, and what is in conflict.

use super::mint::value_of;
use super::{Engine, Mode, RootState};
use crate::conflict::origins;
use crate::effect::{Trouble, TroubleKind};
use crate::path::SyncPath;
use crate::record::Record;
use crate::version::{Content, ContentHash, DeviceId, Time, Value};

/// A conflict copy that nobody has edited, moved, deleted or resolved yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// The path that it is a copy of.
    pub path: SyncPath,
    /// Where it is shown.
    pub copy: SyncPath,
    /// The device whose version lost.
    pub device: DeviceId,
    /// When that version was made, by its device's clock.
    pub at: Time,
    /// What the copy shows.
    pub value: Value,
}

/// One version of a path that stands: nobody who knew it has replaced it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Who made it.
    pub device: DeviceId,
    /// When, by that device's clock: the later has the name.
    pub at: Time,
    /// What it is.
    pub value: Value,
    /// Where it is shown; none: nowhere, as it equals another or is a delete that lost.
    pub shown_at: Option<SyncPath>,
}

/// What keeps a path as it is, or is about to change it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The disk is as the versions say.
    InStep,
    /// The root is not there.
    RootLost(String),
    /// The directory is paused.
    Paused,
    /// The disk has not been looked through since the start.
    FirstScan,
    /// An ignore rule matches it.
    Ignored,
    /// It is of a sort that is not synced.
    LeftAlone(String),
    /// Something is mounted over it.
    Hidden,
    /// Something failed; tried again after so many milliseconds.
    Trouble(Trouble, u64),
    /// It was deleted elsewhere, and is a directory that still holds what is not synced.
    StillHolds,
    /// The deletion of this, of the path itself or of a directory that it lies in, waits for a word of the user's.
    Held(SyncPath),
    /// This device may not send: what was done here stays here.
    LocalChange,
    /// This device takes nothing from others.
    SendOnly,
    /// Its bytes are not those that are recorded, but these; true: no connected member has the right ones.
    Damaged(ContentHash, bool),
    /// It is being found out what is there.
    BeingLookedAt,
    /// What a stop left there could not be looked at yet.
    InDoubt,
    /// Its change waits until what it follows from is durable.
    AwaitingCommit,
    /// Its bytes are being asked for.
    AwaitingBytes,
    /// No connected member has its bytes.
    NobodyHasBytes,
    /// It is about to be changed, or waits for something that is.
    ToBeChanged,
}

/// All that this device knows of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// What was on the disk when it was last looked at.
    pub record: Option<Record>,
    /// What is to be there, as all versions together say.
    pub value: Value,
    /// The versions that stand, the one that has the name first.
    pub versions: Vec<Standing>,
    /// The path that it is a conflict copy of.
    pub copy_of: Option<SyncPath>,
    /// Why it is as it is.
    pub reason: Reason,
    /// Connected members that have not been told yet how it is here.
    pub untold: Vec<DeviceId>,
    /// Connected members that have been told, and have not said yet that their disks have followed.
    pub behind: Vec<DeviceId>,
    /// Connected members whose disks have followed.
    pub followed: Vec<DeviceId>,
    /// Members of which it is not known whether they have it: they are not connected, or take no part now.
    pub away: Vec<DeviceId>,
}

impl Engine {
    /// Says of a path why it is as it is, and what follows.
    pub fn explain(&self, path: &SyncPath) -> Explanation {
        let projection = self.tree.project(path);
        let known = self.tree.get(path);
        let own = known.as_ref().map(|node| node.register.versions()).unwrap_or_default();
        let landed = self.tree.shown_copy(path);
        let landed = landed.iter().map(|(_, version)| version);
        let is_own = |version: &crate::version::Version| own.iter().any(|other| other.dot == version.dot);
        let all = own.iter().chain(landed.filter(|version| !is_own(version)));
        let shown_at = |version: &crate::version::Version| {
            let loser = projection.losers.iter().find(|loser| loser.dots.contains(&version.dot));
            let has_name = version.value.content() == projection.value.content();
            loser.map(|loser| loser.copy.clone()).or_else(|| has_name.then(|| path.clone()))
        };
        let mut versions: Vec<Standing> = all
            .map(|version| Standing {
                device: version.dot.actor.device,
                at: version.rank,
                value: version.value.clone(),
                shown_at: shown_at(version),
            })
            .collect();
        versions
            .sort_by_key(|version| (version.shown_at.as_ref() != Some(path), std::cmp::Reverse(version.at)));
        let sequence = known.as_ref().map_or(0, |node| node.sequence);
        let (mut untold, mut behind, mut followed) = (Vec::new(), Vec::new(), Vec::new());
        for device in self.connected() {
            let peer = &self.peers[&device];
            if peer.is_to_be_told_of(path) {
                untold.push(device);
            } else if peer.is_attached() && !peer.sends_only {
                let told = if peer.applied_ours < sequence { &mut behind } else { &mut followed };
                told.push(device);
            }
        }
        Explanation {
            record: self.tree.record(path),
            value: projection.value,
            versions,
            copy_of: self.tree.shown_copy(path).map(|(origin, _)| origin),
            reason: self.reason(path),
            untold,
            behind,
            followed,
            away: self.away(),
        }
    }

    fn reason(&self, path: &SyncPath) -> Reason {
        let record = self.tree.record(path);
        let value = self.tree.project(path).value;
        let is_directory = matches!(value, Value::Directory { .. })
            || record.is_some_and(|record| record.content == Content::Directory);
        let above = || path.ancestors().chain([path.clone()]);
        let left_alone = above().find_map(|above| self.unsupported.get(above.as_bytes()));
        let concerns = |above: &SyncPath, trouble: &Trouble| {
            trouble.kind != TroubleKind::NotEmpty || above == path // What lies in it need not go.
        };
        let trouble = above()
            .find_map(|above| self.troubles.get(&above).filter(|(trouble, _)| concerns(&above, trouble)));
        if let RootState::Lost(reason) = &self.root {
            return Reason::RootLost(reason.clone());
        }
        match (left_alone, trouble, self.holds.about(path)) {
            _ if self.paused => Reason::Paused,
            _ if self.is_ignored(path, is_directory) => Reason::Ignored,
            (Some(message), ..) => Reason::LeftAlone(message.clone()),
            _ if self.is_hidden(path) => Reason::Hidden,
            (_, Some((trouble, _)), _) if trouble.kind == TroubleKind::NotEmpty => Reason::StillHolds,
            (_, Some((trouble, at)), _) => {
                Reason::Trouble(trouble.clone(), at.saturating_sub(self.now.monotonic_ms))
            }
            _ if !self.observer.is_ready => Reason::FirstScan,
            (_, _, Some(held)) => Reason::Held(held),
            _ if self.local_changes.contains_key(path) => Reason::LocalChange,
            _ if self.is_found_out_about(path) => Reason::BeingLookedAt,
            _ if self.is_damaged(path) => Reason::Damaged(self.damaged[path], self.pending().contains(path)),
            _ if self.is_as_shown(&value, record.as_ref()) => Reason::InStep,
            _ if self.config.mode == Mode::SendOnly => Reason::SendOnly,
            _ if self.planner.is_doubtful(path) => Reason::InDoubt,
            _ if self.pending().contains(path) => Reason::NobodyHasBytes,
            _ if self.commits.is_uncommitted(path) => Reason::AwaitingCommit,
            _ if self.is_wanted(&value) => Reason::AwaitingBytes,
            _ => Reason::ToBeChanged,
        }
    }

    /// What is recorded at a path: what it was when it was last looked at.
    pub fn record(&self, path: &SyncPath) -> Option<Record> {
        self.tree.record(path)
    }

    /// The files and symlinks below a path that are on the disk, as far as it was noted; but for those that rules have made
    /// nobody's affair, of which nothing is noted. Goes through at most `limit` paths, those after `after` (itself a path
    /// below, or the path); and says which was the last of them, or none if there was none.
    pub fn on_disk_below(
        &self,
        path: &SyncPath,
        after: &SyncPath,
        limit: usize,
    ) -> (Vec<SyncPath>, Option<SyncPath>) {
        let below = self.tree.after(Some(after)).take_while(|(below, _)| path.is_ancestor_of(below));
        let some: Vec<_> = below.take(limit).collect();
        let is_there = |below: &SyncPath| self.on_disk(below).is_some_and(|record| record.content.is_bytes());
        let recorded = some.iter().filter(|(_, node)| node.record.is_some()).map(|(below, _)| *below);
        let there = recorded.filter(|below| is_there(below) && !self.is_frozen(below)).cloned().collect();
        (there, some.last().map(|(last, _)| (*last).clone()))
    }

    /// What is to be at a path, and at those below it, by the versions, where this device's user has put something else or
    /// nothing, and may not send that: files and symlinks, and when they were made.
    pub fn changed_here_alone(&self, path: &SyncPath) -> Vec<(SyncPath, Value, Time)> {
        let local = self.local_changes.range(path.clone()..);
        let local = local.take_while(|(below, _)| *below == path || path.is_ancestor_of(below));
        let values = local.map(|(below, local)| (below, local, self.tree.project(below).value));
        let differs = values.filter(|(_, local, value)| {
            let is_same = local.as_ref().is_some_and(|local| local.content == value.content());
            value.content().is_bytes() && !is_same
        });
        let ranked = differs.map(|(below, _, value)| {
            let known = self.tree.get(below);
            let standing = self.tree.standing_with(below, known.as_ref().map(|node| &node.register));
            let such = standing.iter().filter(|version| version.value.content() == value.content());
            let rank = such.map(|version| version.rank).max().unwrap_or_default();
            (below.clone(), value, rank)
        });
        ranked.collect()
    }

    /// The permission bits that a directory had which is gone, as far as its delete tells.
    pub fn mode_of_gone(&self, path: &SyncPath) -> Option<u16> {
        let known = self.tree.get(path);
        let versions = known.as_ref().map(|node| node.register.versions()).unwrap_or_default();
        versions.iter().find_map(|version| match version.value {
            Value::Absent { directory_mode } => directory_mode,
            _ => None,
        })
    }

    /// The active members that are not connected, or say that they take no part: what they have is not known.
    pub fn away(&self) -> Vec<DeviceId> {
        let connected = self.taking_part();
        let active = self.members.iter().filter(|(_, member)| member.active).map(|(device, _)| *device);
        active.filter(|device| *device != self.config.device && !connected.contains(device)).collect()
    }

    /// True of what its user has deleted on this disk alone, as a member's that may not send.
    pub(super) fn is_gone_here(&self, path: &SyncPath) -> bool {
        self.local_changes.get(path).is_some_and(Option::is_none)
    }

    /// What only this disk has, as a member's that may not send, at names of copies of what has taken the files' own names.
    pub(super) fn local_copies(&self) -> impl Iterator<Item = (SyncPath, &SyncPath, &Record)> {
        let local = self.local_changes.iter().filter(|(copy, _)| !self.tree.is_shown_copy(copy));
        local.filter_map(|(copy, record)| {
            let record = record.as_ref().filter(|record| record.content.is_bytes())?;
            let is_there = |origin: &SyncPath| self.on_disk(origin).is_some();
            Some((origins(copy).into_iter().find(is_there)?, copy, record))
        })
    }

    /// All conflict copies that are shown on this disk, by their names.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let shown = self.tree.iter().filter(|(copy, node)| node.record.is_some() && !self.is_gone_here(copy));
        let copies = shown.filter_map(|(copy, _)| {
            let (path, version) = self.tree.shown_copy(copy)?;
            Some(Conflict {
                path,
                copy: copy.clone(),
                device: version.dot.actor.device,
                at: version.rank,
                value: version.value.clone(),
            })
        });
        let local = self.local_copies().map(|(path, copy, record)| Conflict {
            path,
            copy: copy.clone(),
            device: self.config.device,
            at: record.stat.mtime,
            value: value_of(record, None),
        });
        let mut conflicts: Vec<Conflict> = copies.chain(local).collect();
        conflicts.sort_by(|one, other| one.copy.cmp(&other.copy));
        conflicts
    }
}
