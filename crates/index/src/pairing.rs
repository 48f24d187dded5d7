//! Whom a home is paired with, and the invitations by which it may come to be.
//!
//! An invitation is good once: using it and adding the remote are one transaction. Only the hash of its secret is
//! stored.

use file_sync_core::version::DeviceId;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::error::IndexError;
use crate::home::HomeIndex;

/// The columns that [`read_remote`] wants.
const REMOTE_COLUMNS: &str = "device, name, key, last_seen, paired_at, deleted";

/// A device that this home is paired with, or once was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    /// Its id.
    pub device: DeviceId,
    /// What it is called here. Unique among those not deleted.
    pub name: String,
    /// Its raw Ed25519 public key, whose hash is its id.
    pub key: [u8; 32],
    /// Where it may be reached, the best first, as `IP:PORT`.
    pub addresses: Vec<String>,
    /// When it was last connected.
    pub last_seen: Option<i64>,
    /// When it was paired.
    pub paired_at: i64,
    /// True once it was removed.
    pub deleted: bool,
}

/// An invitation that was given out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invitation {
    /// BLAKE3 of its secret.
    pub secret_hash: [u8; 32],
    /// When it was made.
    pub created_at: i64,
    /// From when on it is good for nothing.
    pub expires_at: i64,
    /// Who used it.
    pub used_by: Option<DeviceId>,
}

impl HomeIndex {
    /// Every remote, those removed included, in the order in which they were first paired.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn remotes(&self) -> Result<Vec<Remote>, IndexError> {
        let read = || {
            let mut statement = self
                .connection
                .prepare_cached(&format!("SELECT {REMOTE_COLUMNS} FROM remotes ORDER BY id"))?;
            let rows = statement.query_map([], |row| read_remote(&self.connection, row))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.failed(error))
    }

    /// One remote, also if it was removed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn remote(&self, device: &DeviceId) -> Result<Option<Remote>, IndexError> {
        self.connection
            .prepare_cached(&format!("SELECT {REMOTE_COLUMNS} FROM remotes WHERE device = ?1"))
            .and_then(|mut statement| {
                statement.query_row([device.0], |row| read_remote(&self.connection, row)).optional()
            })
            .map_err(|error| self.failed(error))
    }

    /// Adds a remote; one that was removed comes back, with all that is given.
    ///
    /// # Errors
    /// [`IndexError::Taken`] if its id or name is in use.
    pub fn insert_remote(&mut self, remote: &Remote) -> Result<(), IndexError> {
        let path = self.path.clone();
        self.in_transaction(|transaction| insert_remote(transaction, &path, remote))
    }

    /// Changes everything about a remote but its id.
    ///
    /// # Errors
    /// [`IndexError::Taken`] if its new name is in use, [`IndexError::Unknown`] if there is no such remote.
    pub fn update_remote(&mut self, remote: &Remote) -> Result<(), IndexError> {
        let path = self.path.clone();
        self.in_transaction(|transaction| {
            let n_changed = transaction
                .execute(
                    "UPDATE remotes SET name = ?2, key = ?3, last_seen = ?4, paired_at = ?5, deleted = ?6
                     WHERE device = ?1",
                    params![
                        remote.device.0,
                        remote.name,
                        remote.key,
                        remote.last_seen,
                        remote.paired_at,
                        remote.deleted
                    ],
                )
                .map_err(|error| IndexError::rule(&path, error, |rule| broken_rule(rule, remote)))?;
            if n_changed == 0 {
                let what = format!("the remote {}", remote.device);
                return Err(IndexError::Unknown { path: path.clone(), what });
            }
            put_addresses(transaction, remote).map_err(|error| IndexError::sql(&path, error))
        })
    }

    /// Marks a remote as removed, and takes it from every list of whom a directory is offered to.
    ///
    /// A directory that was offered to it alone stays offered to it by name, that is to nobody: an empty list would
    /// mean everybody.
    ///
    /// # Errors
    /// [`IndexError::Unknown`] if there is no such remote, or it is removed already.
    pub fn delete_remote(&mut self, device: &DeviceId) -> Result<(), IndexError> {
        let path = self.path.clone();
        self.in_transaction(|transaction| {
            let failed = |error| IndexError::sql(&path, error);
            let n_changed = transaction
                .execute("UPDATE remotes SET deleted = 1 WHERE device = ?1 AND NOT deleted", [device.0])
                .map_err(failed)?;
            if n_changed == 0 {
                let what = format!("the remote {device}");
                return Err(IndexError::Unknown { path: path.clone(), what });
            }
            transaction
                .execute(
                    "DELETE FROM offers_to WHERE device = ?1 AND EXISTS (SELECT 1 FROM offers_to AS others
                     WHERE others.directory_id = offers_to.directory_id AND others.device <> ?1)",
                    [device.0],
                )
                .map_err(failed)?;
            Ok(())
        })
    }

    /// Notes that a remote was seen, without touching anything else about it.
    ///
    /// # Errors
    /// [`IndexError::Unknown`] if there is no such remote.
    pub fn set_last_seen(&mut self, device: &DeviceId, now: i64) -> Result<(), IndexError> {
        let n_changed = self
            .connection
            .execute("UPDATE remotes SET last_seen = ?2 WHERE device = ?1", params![device.0, now])
            .map_err(|error| self.failed(error))?;
        self.expect_some(n_changed, || format!("the remote {device}"))
    }

    /// Every invitation, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn invitations(&self) -> Result<Vec<Invitation>, IndexError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT secret_hash, created_at, expires_at, used_by FROM invitations ORDER BY created_at, secret_hash",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(Invitation {
                    secret_hash: row.get(0)?,
                    created_at: row.get(1)?,
                    expires_at: row.get(2)?,
                    used_by: row.get::<_, Option<_>>(3)?.map(DeviceId),
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.failed(error))
    }

    /// Adds an invitation.
    ///
    /// # Errors
    /// [`IndexError::Taken`] if there is one with that secret.
    pub fn insert_invitation(&mut self, invitation: &Invitation) -> Result<(), IndexError> {
        self.connection
            .execute(
                "INSERT INTO invitations (secret_hash, created_at, expires_at, used_by) VALUES (?1, ?2, ?3, ?4)",
                params![
                    invitation.secret_hash,
                    invitation.created_at,
                    invitation.expires_at,
                    invitation.used_by.map(|device| device.0)
                ],
            )
            .map_err(|error| IndexError::rule(&self.path, error, |_| "the invitation".to_owned()))?;
        Ok(())
    }

    /// Uses an invitation; true once only, and only if there is one and `now` is before its end.
    ///
    /// # Errors
    /// When the database cannot be written; the invitation is not used then.
    pub fn redeem_invitation(
        &mut self,
        secret_hash: &[u8; 32],
        device: &DeviceId,
        now: i64,
    ) -> Result<bool, IndexError> {
        redeem(&self.connection, secret_hash, device, now).map_err(|error| self.failed(error))
    }

    /// Uses an invitation and adds the remote, both or neither; false if the invitation is not good.
    ///
    /// # Errors
    /// [`IndexError::Taken`] if the remote's id or name is in use; the invitation is not used then.
    pub fn pair_by_invitation(
        &mut self,
        secret_hash: &[u8; 32],
        remote: &Remote,
        now: i64,
    ) -> Result<bool, IndexError> {
        let path = self.path.clone();
        self.in_transaction(|transaction| {
            let is_good = redeem(transaction, secret_hash, &remote.device, now)
                .map_err(|error| IndexError::sql(&path, error))?;
            if is_good {
                insert_remote(transaction, &path, remote)?;
            }
            Ok(is_good)
        })
    }

    /// Drops invitations that ended before `end`, used or not.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn drop_invitations(&mut self, end: i64) -> Result<usize, IndexError> {
        self.connection
            .execute("DELETE FROM invitations WHERE expires_at < ?1", [end])
            .map_err(|error| self.failed(error))
    }
}

fn redeem(
    connection: &Connection,
    secret_hash: &[u8; 32],
    device: &DeviceId,
    now: i64,
) -> rusqlite::Result<bool> {
    // One statement, so that of two connections only one finds it unused.
    let n_changed = connection.execute(
        "UPDATE invitations SET used_by = ?2 WHERE secret_hash = ?1 AND used_by IS NULL AND ?3 < expires_at",
        params![secret_hash, device.0, now],
    )?;
    Ok(n_changed == 1)
}

fn insert_remote(
    transaction: &Transaction<'_>,
    path: &std::path::Path,
    remote: &Remote,
) -> Result<(), IndexError> {
    let n_changed = transaction
        .execute(
            "INSERT INTO remotes (device, name, key, last_seen, paired_at, deleted) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (device) DO UPDATE SET name = ?2, key = ?3, last_seen = ?4, paired_at = ?5, deleted = ?6
             WHERE deleted",
            params![
                remote.device.0,
                remote.name,
                remote.key,
                remote.last_seen,
                remote.paired_at,
                remote.deleted
            ],
        )
        .map_err(|error| IndexError::rule(path, error, |rule| broken_rule(rule, remote)))?;
    if n_changed == 0 {
        return Err(IndexError::Taken { what: format!("the remote {}", remote.device) });
    }
    put_addresses(transaction, remote).map_err(|error| IndexError::sql(path, error))
}

fn put_addresses(transaction: &Transaction<'_>, remote: &Remote) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM remote_addresses WHERE device = ?1", [remote.device.0])?;
    for (position, address) in (0i64..).zip(&remote.addresses) {
        transaction.execute(
            "INSERT INTO remote_addresses (device, position, address) VALUES (?1, ?2, ?3)",
            params![remote.device.0, position, address],
        )?;
    }
    Ok(())
}

fn read_remote(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Remote> {
    let device = DeviceId(row.get(0)?);
    let addresses = connection
        .prepare_cached("SELECT address FROM remote_addresses WHERE device = ?1 ORDER BY position")?
        .query_map([device.0], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Remote {
        device,
        name: row.get(1)?,
        key: row.get(2)?,
        addresses,
        last_seen: row.get(3)?,
        paired_at: row.get(4)?,
        deleted: row.get(5)?,
    })
}

fn broken_rule(rule: &str, remote: &Remote) -> String {
    if rule.contains("remotes.name") {
        format!("the name {}", remote.name)
    } else {
        format!("the remote {}", remote.device)
    }
}
