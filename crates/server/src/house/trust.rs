//! Whose word a version is: one that a remote relays must carry its author's signature.
//!
//! What comes from its author's own device is vouched for by the link. A version of a device that is in no member list is
//! not taken: whoever relays it had it from a member, and told the member list before.
//!
//! Promise kept here: H5.

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
        // One line, however many there are: a log is not to be filled by others.
        if let Some(first) = forged.first() {
            let n_forged = forged.len();
            tracing::error!(?from, path = %first.path, n_forged, "versions are not by whom they say; not taken");
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
            || self.tree.get(path).is_some_and(|node| node.register.get(&version.dot) == Some(version));
        if author == *self.from || is_held() {
            return true;
        }
        let Some(member) = self.members.get(&author).filter(|member| device_id_of(&member.key) == author)
        else {
            return false;
        };
        let born_at = version.born_at.as_ref().unwrap_or(path);
        let bytes = signed_bytes(&self.directory, born_at, version);
        version.signature.0.is_some_and(|signature| verify(&member.key, &bytes, &signature))
    }
}

#[cfg(test)]
mod tests {
    use file_sync_core::context::Context;
    use file_sync_core::message::Member;
    use file_sync_core::register::Register;
    use file_sync_core::version::{Actor, Changed, Content, Dot, Signature, Time, Value};
    use file_sync_net::Identity;

    use super::*;

    const DIRECTORY: DirectoryId = DirectoryId([7; 16]);
    const RELAY: DeviceId = DeviceId([1; 32]);

    fn identity() -> Identity {
        let home = tempfile::tempdir().unwrap();
        Identity::load_or_create(home.path()).unwrap()
    }

    fn path() -> SyncPath {
        SyncPath::parse(b"d/f").unwrap()
    }

    fn version(author: &Identity) -> Version {
        let dot = Dot { actor: Actor { device: author.device_id(), epoch: 5 }, counter: 9 };
        let mut version = Version {
            dot,
            value: Value::Directory { mode: 0o755 },
            rank: Time { seconds: 1, nanoseconds: 2 },
            replaced: Vec::new(),
            heard: None,
            base: Content::Absent,
            changed: Changed::ALL,
            born_at: None,
            signature: Signature(None),
        };
        version.signature = Signature(Some(author.sign(&signed_bytes(&DIRECTORY, &path(), &version))));
        version
    }

    fn is_trusted(from: &DeviceId, members: &[&Identity], version: Version) -> bool {
        let member = |identity: &&Identity| {
            let member = Member { number: 1, active: true, key: identity.public_key() };
            (identity.device_id(), member)
        };
        let members: Members = members.iter().map(member).collect();
        let register =
            Register::from_parts(vec![version], Context::from_parts(Vec::new(), Vec::new()), Vec::new());
        let entry = Entry { path: path(), register, holds: true };
        Check { from, directory: DIRECTORY, members: &members, tree: &Tree::default() }.is_trusted(&entry)
    }

    #[test]
    fn h5_a_relayed_version_carries_its_authors_signature() {
        let author = identity();
        let signed = version(&author);
        let altered = Version { value: Value::Directory { mode: 0o777 }, ..signed.clone() };
        let unsigned = Version { signature: Signature(None), ..signed.clone() };
        assert!(is_trusted(&RELAY, &[&author], signed));
        assert!(!is_trusted(&RELAY, &[&author], altered));
        assert!(!is_trusted(&RELAY, &[&author], unsigned.clone()));
        assert!(is_trusted(&author.device_id(), &[&author], unsigned), "its link vouches for it");
    }

    #[test]
    fn h5_a_version_of_nobody_known_is_not_taken() {
        let (author, stranger) = (identity(), identity());
        assert!(!is_trusted(&RELAY, &[&author], version(&stranger)));
        let mut in_its_name = version(&stranger);
        in_its_name.dot.actor.device = author.device_id();
        assert!(!is_trusted(&RELAY, &[&author], in_its_name));
    }
}
