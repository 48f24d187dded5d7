//! Signing what this device has written, before it is stored and told.

use file_sync_core::path::SyncPath;
use file_sync_core::tree::StoredNode;
use file_sync_core::version::{DirectoryId, Dot, Signature};
use file_sync_index::Row;
use file_sync_net::Identity;
use file_sync_wire::signed_bytes;

/// So many rows are signed by one thread: a row was measured at some 50 microseconds (unoptimized, beside other work), so that
/// others would save a few milliseconds at most.
const ROWS_ALONE: usize = 128;
/// More threads sign at once only where very much was written, and others wait for the processors too.
const THREADS_MAX: usize = 4;

/// A signature, and where it belongs.
pub(super) type Signed = (SyncPath, Dot, Signature);

/// Whose signatures, and of which directory.
#[derive(Clone, Copy)]
pub(super) struct Signer<'a> {
    pub(super) identity: &'a Identity,
    pub(super) directory: DirectoryId,
}

impl Signer<'_> {
    /// Makes rows of what is to be stored, in its order, with all versions of this device signed; returns the signatures that
    /// are new.
    pub(super) fn rows(self, nodes: Vec<StoredNode>) -> (Vec<Row>, Vec<Signed>) {
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let n_each = nodes.len().div_ceil(n_threads).max(ROWS_ALONE);
        if nodes.len() <= n_each {
            return self.sign_all(nodes);
        }
        let mut nodes = nodes.into_iter();
        let mut parts = Vec::new();
        while nodes.len() > 0 {
            parts.push(nodes.by_ref().take(n_each).collect::<Vec<_>>());
        }
        let (mut rows, mut signatures) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                parts.into_iter().map(|part| scope.spawn(move || self.sign_all(part))).collect();
            for thread in threads {
                let (more_rows, more_signatures) =
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                rows.extend(more_rows);
                signatures.extend(more_signatures);
            }
        });
        (rows, signatures)
    }

    fn sign_all(self, nodes: Vec<StoredNode>) -> (Vec<Row>, Vec<Signed>) {
        let mut signatures = Vec::new();
        let rows = nodes.into_iter().map(|mut node| {
            self.sign(&mut node, &mut signatures);
            let (path, register, record, sequence) = node;
            Row { path, register, record, sequence, holds: true }
        });
        (rows.collect(), signatures)
    }

    /// Signs this device's versions that have no signature yet.
    fn sign(self, (path, register, ..): &mut StoredNode, signatures: &mut Vec<Signed>) {
        let device = self.identity.device_id();
        let settled = register.settled().iter().map(|settled| &settled.version);
        let unsigned: Vec<(Dot, Signature)> = register
            .versions()
            .iter()
            .chain(settled)
            .filter(|version| version.signature.0.is_none() && version.dot.actor.device == device)
            .map(|version| {
                let born_at = version.born_at.as_ref().unwrap_or(path);
                let bytes = signed_bytes(&self.directory, born_at, version);
                (version.dot, Signature(Some(self.identity.sign(&bytes))))
            })
            .collect();
        for (dot, signature) in unsigned {
            register.sign(&dot, signature);
            signatures.push((path.clone(), dot, signature));
        }
    }
}

#[cfg(test)]
mod tests {
    use file_sync_core::context::Context;
    use file_sync_core::register::Register;
    use file_sync_core::version::{Actor, Changed, Content, Time, Value, Version};
    use file_sync_net::verify;

    use super::*;

    #[test]
    fn h5_all_that_is_written_at_once_is_signed_in_its_order() {
        let home = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(home.path()).unwrap();
        let directory = DirectoryId([3; 16]);
        let version = |counter: u64| Version {
            dot: Dot { actor: Actor { device: identity.device_id(), epoch: 1 }, counter },
            value: Value::Directory { mode: 0o755 },
            rank: Time::default(),
            replaced: Vec::new(),
            heard: None,
            base: Content::Absent,
            changed: Changed::ALL,
            born_at: None,
            signature: Signature(None),
        };
        let n_nodes = 5 * ROWS_ALONE as u64 + 1;
        let nodes = (1..=n_nodes).map(|counter| {
            let path = SyncPath::parse(format!("d{counter}").as_bytes()).unwrap();
            let context = Context::from_parts(Vec::new(), Vec::new());
            (path, Register::from_parts(vec![version(counter)], context, Vec::new()), None, counter)
        });
        let (rows, signatures) = Signer { identity: &identity, directory }.rows(nodes.collect());
        let order: Vec<u64> = rows.iter().map(|row| row.sequence).collect();
        assert_eq!(order, (1..=n_nodes).collect::<Vec<_>>());
        assert_eq!(signatures.len(), rows.len());
        for (row, (path, dot, signature)) in rows.iter().zip(&signatures) {
            let version = row.register.get(dot).unwrap();
            let bytes = signed_bytes(&directory, path, version);
            assert_eq!((&row.path, version.signature), (path, *signature));
            assert!(verify(&identity.public_key(), &bytes, &signature.0.unwrap()));
        }
    }
}
