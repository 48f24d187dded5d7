//! The directories of a home: what it offers and syncs, and how far each is in step.
//!
//! A row stays when its directory is given up, so that the same id is the same directory when it comes back.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use file_sync_core::version::{DeviceId, DirectoryId};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::error::IndexError;
use crate::home::HomeIndex;

/// The columns that [`read_directory`] wants.
const DIRECTORY_COLUMNS: &str = "directory_id, created_at, updated_at, path, name, role, mode, read_only,
    only_author, origin, origin_name, paused, deleted";

/// Why a home has a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It offers it.
    Offered,
    /// It joined it.
    Synced,
}

/// Which way changes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Both.
    TwoWay,
    /// Only to this device.
    ReceiveOnly,
    /// Only from this device.
    SendOnly,
}

/// A directory that the home offers or syncs, or once did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directory {
    /// Its id, as in its marker.
    pub directory: DirectoryId,
    /// When it was first offered or synced.
    pub created_at: i64,
    /// When this row was last changed.
    pub updated_at: i64,
    /// Its root, absolute. Unique among those not deleted.
    pub path: PathBuf,
    /// What it is called here. Unique among those not deleted.
    pub name: String,
    /// Offered or synced.
    pub role: Role,
    /// Which way changes go.
    pub mode: Mode,
    /// True if only the offering device's versions count.
    pub read_only: bool,
    /// That device.
    pub only_author: Option<DeviceId>,
    /// The remote that it was joined from.
    pub origin: Option<DeviceId>,
    /// What that remote calls it.
    pub origin_name: Option<String>,
    /// True while nothing goes either way.
    pub paused: bool,
    /// Whom it is offered to; empty: every paired remote.
    pub offered_to: BTreeSet<DeviceId>,
    /// True once it is no longer offered or synced.
    pub deleted: bool,
}

/// How far a directory is in step with a remote, as last noted for people. The engine's own figures are in the
/// directory's database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemoteSync {
    /// Which directory.
    pub directory: DirectoryId,
    /// With whom.
    pub device: DeviceId,
    /// The remote's numbering of its entries.
    pub their_index_id: u64,
    /// Its entries are merged here up to this.
    pub their_sequence_merged: u64,
    /// It has acknowledged ours up to this.
    pub our_sequence_acknowledged: u64,
}

impl HomeIndex {
    /// Every directory, those deleted included, in the order in which they were first inserted.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn directories(&self) -> Result<Vec<Directory>, IndexError> {
        read_directories(&self.connection).map_err(|error| self.failed(error))
    }

    /// One directory, also if it is deleted.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn directory(&self, directory: &DirectoryId) -> Result<Option<Directory>, IndexError> {
        self.connection
            .prepare_cached(&format!("SELECT {DIRECTORY_COLUMNS} FROM directories WHERE directory_id = ?1"))
            .and_then(|mut statement| {
                statement.query_row([directory.0], |row| read_directory(&self.connection, row)).optional()
            })
            .map_err(|error| self.failed(error))
    }

    /// Adds a directory; one that was deleted comes back under its id, with all that is given.
    ///
    /// # Errors
    /// [`IndexError::Taken`] if its id, name or path is in use.
    pub fn insert_directory(&mut self, directory: &Directory) -> Result<(), IndexError> {
        self.put_directory(
            directory,
            "INSERT INTO directories (directory_id, created_at, updated_at, path, name, role, mode, read_only,
             only_author, origin, origin_name, paused, deleted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT (directory_id) DO UPDATE SET created_at = ?2, updated_at = ?3, path = ?4, name = ?5, role = ?6,
             mode = ?7, read_only = ?8, only_author = ?9, origin = ?10, origin_name = ?11, paused = ?12, deleted = ?13
             WHERE deleted",
            |what| IndexError::Taken { what },
        )
    }

    /// Changes everything about a directory but its id.
    ///
    /// # Errors
    /// [`IndexError::Taken`] if its new name or path is in use, [`IndexError::Unknown`] if there is no such directory.
    pub fn update_directory(&mut self, directory: &Directory) -> Result<(), IndexError> {
        let path = self.path.clone();
        self.put_directory(
            directory,
            "UPDATE directories SET created_at = ?2, updated_at = ?3, path = ?4, name = ?5, role = ?6, mode = ?7,
             read_only = ?8, only_author = ?9, origin = ?10, origin_name = ?11, paused = ?12, deleted = ?13
             WHERE directory_id = ?1",
            |what| IndexError::Unknown { path, what },
        )
    }

    fn put_directory(
        &mut self,
        directory: &Directory,
        statement: &str,
        if_unchanged: impl FnOnce(String) -> IndexError,
    ) -> Result<(), IndexError> {
        let path = self.path.clone();
        let what = || format!("the directory {}", directory.directory);
        self.in_transaction(|transaction| {
            let n_changed = transaction
                .execute(
                    statement,
                    params![
                        directory.directory.0,
                        directory.created_at,
                        directory.updated_at,
                        directory.path.as_os_str().as_bytes(),
                        directory.name,
                        directory.role,
                        directory.mode,
                        directory.read_only,
                        directory.only_author.map(|device| device.0),
                        directory.origin.map(|device| device.0),
                        directory.origin_name,
                        directory.paused,
                        directory.deleted,
                    ],
                )
                .map_err(|error| IndexError::rule(&path, error, |rule| broken_rule(rule, directory)))?;
            if n_changed == 0 {
                return Err(if_unchanged(what()));
            }
            put_offered_to(transaction, directory).map_err(|error| IndexError::sql(&path, error))
        })
    }

    /// Marks a directory as no longer offered or synced; its row stays, so that its id is found again.
    ///
    /// # Errors
    /// [`IndexError::Unknown`] if there is no such directory, or it is deleted already.
    pub fn delete_directory(&mut self, directory: &DirectoryId, now: i64) -> Result<(), IndexError> {
        let n_changed = self
            .connection
            .execute(
                "UPDATE directories SET deleted = 1, updated_at = ?2 WHERE directory_id = ?1 AND NOT deleted",
                params![directory.0, now],
            )
            .map_err(|error| self.failed(error))?;
        self.expect_some(n_changed, || format!("the directory {directory}"))
    }

    /// How far directories are in step with remotes.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn remote_syncs(&self) -> Result<Vec<RemoteSync>, IndexError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT directory_id, device, their_index_id, their_sequence_merged, our_sequence_acknowledged
                 FROM remote_syncs ORDER BY directory_id, device",
            )?;
            let rows = statement.query_map([], |row| {
                let number = |column| row.get::<_, i64>(column).map(|signed| signed as u64);
                Ok(RemoteSync {
                    directory: DirectoryId(row.get(0)?),
                    device: DeviceId(row.get(1)?),
                    their_index_id: number(2)?,
                    their_sequence_merged: number(3)?,
                    our_sequence_acknowledged: number(4)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.failed(error))
    }

    /// Notes how far a directory is in step with a remote.
    ///
    /// # Errors
    /// [`IndexError::Unknown`] if there is no such directory or remote.
    pub fn put_remote_sync(&mut self, sync: &RemoteSync) -> Result<(), IndexError> {
        self.connection
            .execute(
                "INSERT OR REPLACE INTO remote_syncs
                 (directory_id, device, their_index_id, their_sequence_merged, our_sequence_acknowledged)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    sync.directory.0,
                    sync.device.0,
                    sync.their_index_id as i64,
                    sync.their_sequence_merged as i64,
                    sync.our_sequence_acknowledged as i64
                ],
            )
            .map_err(|error| {
                let what = |_: &str| format!("directory {} with remote {}", sync.directory, sync.device);
                IndexError::rule(&self.path, error, what)
            })?;
        Ok(())
    }

    /// Forgets how far a directory is in step with a remote; nothing if that was not noted.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn delete_remote_sync(
        &mut self,
        directory: &DirectoryId,
        device: &DeviceId,
    ) -> Result<(), IndexError> {
        self.connection
            .execute(
                "DELETE FROM remote_syncs WHERE directory_id = ?1 AND device = ?2",
                params![directory.0, device.0],
            )
            .map_err(|error| self.failed(error))?;
        Ok(())
    }
}

pub(crate) fn read_directories(connection: &Connection) -> rusqlite::Result<Vec<Directory>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {DIRECTORY_COLUMNS} FROM directories ORDER BY id"))?;
    let rows = statement.query_map([], |row| read_directory(connection, row))?;
    rows.collect()
}

fn read_directory(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Directory> {
    let directory = DirectoryId(row.get(0)?);
    let device = |column| row.get::<_, Option<[u8; 32]>>(column).map(|bytes| bytes.map(DeviceId));
    Ok(Directory {
        directory,
        created_at: row.get(1)?,
        updated_at: row.get(2)?,
        path: OsString::from_vec(row.get(3)?).into(),
        name: row.get(4)?,
        role: row.get(5)?,
        mode: row.get(6)?,
        read_only: row.get(7)?,
        only_author: device(8)?,
        origin: device(9)?,
        origin_name: row.get(10)?,
        paused: row.get(11)?,
        offered_to: read_offered_to(connection, &directory)?,
        deleted: row.get(12)?,
    })
}

fn read_offered_to(connection: &Connection, directory: &DirectoryId) -> rusqlite::Result<BTreeSet<DeviceId>> {
    connection
        .prepare_cached("SELECT device FROM offers_to WHERE directory_id = ?1")?
        .query_map([directory.0], |row| row.get(0).map(DeviceId))?
        .collect()
}

fn put_offered_to(transaction: &Transaction<'_>, directory: &Directory) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM offers_to WHERE directory_id = ?1", [directory.directory.0])?;
    for device in &directory.offered_to {
        transaction.execute(
            "INSERT INTO offers_to (directory_id, device) VALUES (?1, ?2)",
            params![directory.directory.0, device.0],
        )?;
    }
    Ok(())
}

fn broken_rule(rule: &str, directory: &Directory) -> String {
    if rule.contains("directories.path") {
        format!("the path {}", directory.path.display())
    } else if rule.contains("directories.name") {
        format!("the name {}", directory.name)
    } else {
        format!("the directory {}", directory.directory)
    }
}

impl ToSql for Role {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Role::Offered => "offered".into(),
            Role::Synced => "synced".into(),
        })
    }
}

impl FromSql for Role {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Role> {
        match value.as_str()? {
            "offered" => Ok(Role::Offered),
            "synced" => Ok(Role::Synced),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

impl ToSql for Mode {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Mode::TwoWay => "two-way".into(),
            Mode::ReceiveOnly => "receive-only".into(),
            Mode::SendOnly => "send-only".into(),
        })
    }
}

impl FromSql for Mode {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Mode> {
        match value.as_str()? {
            "two-way" => Ok(Mode::TwoWay),
            "receive-only" => Ok(Mode::ReceiveOnly),
            "send-only" => Ok(Mode::SendOnly),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}
