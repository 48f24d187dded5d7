//! Whose word a version is: one that a remote relays must carry its author's signature.
//!
//! What comes from its author's own device is vouched for by the link; a device that is in no member list cannot be
//! impersonated, since there is no key to tell it by.

use file_sync_core::message::{Entries, Entry, Members};
use file_sync_core::path::SyncPath;
use file_sync_core::tree::Tree;
use file_sync_core::version::{DeviceId, DirectoryId, Version};
use file_sync_net::{device_id_of, verify};
use file_sync_wire::signed_bytes;

use super::House;

impl House {
    /// The entries without those that hold a version which is not by whom it says it is; none if there is no such
    /// directory.
    pub(super) fn trusted(&self, from: &DeviceId, entries: Entries) -> Option<Entries> {
        let room = &self.rooms.get(&entries.directory)?.room;
        let engine = room.engine();
        let check =
            Check { from, directory: entries.directory, members: engine.members(), tree: engine.tree() };
        let Entries { directory, index_id, after, through, latest, entries } = entries;
        let (trusted, forged): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| check.is_trusted(entry));
        for entry in forged {
            tracing::error!(?from, path = %entry.path, "a version carries a false signature; not taken");
        }
        Some(Entries { directory, index_id, after, through, latest, entries: trusted })
    }
}

struct Check<'a> {
    from: &'a DeviceId,
    directory: DirectoryId,
    members: &'a Members,
    tree: &'a Tree,
}

impl Check<'_> {
    fn is_trusted(&self, entry: &Entry) -> bool {
        let settled = entry.register.settled().iter().map(|settled| &settled.version);
        entry
            .register
            .versions()
            .iter()
            .chain(settled)
            .all(|version| self.is_by_its_author(&entry.path, version))
    }

    fn is_by_its_author(&self, path: &SyncPath, version: &Version) -> bool {
        let author = version.dot.actor.device;
        let is_held =
            || self.tree.get(path).and_then(|node| node.register.get(&version.dot)) == Some(version);
        if author == *self.from || is_held() {
            return true;
        }
        let Some(member) = self.members.get(&author).filter(|member| device_id_of(&member.key) == author)
        else {
            return true;
        };
        let born_at = version.born_at.as_ref().unwrap_or(path);
        let bytes = signed_bytes(&self.directory, born_at, version);
        version.signature.0.is_some_and(|signature| verify(&member.key, &bytes, &signature))
    }
}
