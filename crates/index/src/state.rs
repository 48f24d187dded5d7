//! What a directory's engine must find again after a restart, apart from its rows.

use std::collections::BTreeMap;

use file_sync_core::engine::Incarnation;
use file_sync_core::message::{Member, Members};
use file_sync_core::version::DeviceId;
use rusqlite::{Connection, OptionalExtension, params};

/// The engine's own numbers, and where it stands with others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DirectoryState {
    /// This device's numbering of its entries: random, made anew whenever the numbers may restart.
    pub index_id: u64,
    /// The epoch of the dots that this device makes.
    pub epoch: u64,
    /// The counter of the last dot made in this epoch; the next is one higher. Never goes back within an epoch.
    pub counter: u64,
    /// The last sequence number given. Never goes back within an `index_id`.
    pub sequence: u64,
    /// The incarnations of this device that wrote here, oldest first.
    pub incarnations: Vec<Incarnation>,
    /// Who takes part.
    pub members: Members,
    /// Where this device stands with each remote.
    pub remotes: BTreeMap<DeviceId, RemoteState>,
    /// True once the whole disk has been looked at.
    pub first_scan_done: bool,
}

/// Where this device stands with one remote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RemoteState {
    /// The remote's numbering of its entries.
    pub index_id: u64,
    /// Its entries are merged here up to this sequence number of its own.
    pub merged: u64,
    /// It has acknowledged our entries up to this sequence number of ours.
    pub acknowledged: u64,
    /// Its incarnation when last met.
    pub incarnation: u64,
    /// The highest sequence number of its own that it has told of.
    pub heard: u64,
}

/// Reads the state; none before the first commit that has one.
pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Option<DirectoryState>> {
    let state = connection
        .query_row("SELECT index_id, epoch, counter, sequence, first_scan_done FROM state", [], |row| {
            let number = |column| row.get::<_, i64>(column).map(|signed| signed as u64);
            Ok(DirectoryState {
                index_id: number(0)?,
                epoch: number(1)?,
                counter: number(2)?,
                sequence: number(3)?,
                first_scan_done: row.get(4)?,
                ..DirectoryState::default()
            })
        })
        .optional()?;
    let Some(mut state) = state else { return Ok(None) };
    state.incarnations = connection
        .prepare("SELECT incarnation, began FROM incarnations ORDER BY position")?
        .query_map([], |row| {
            let number = |column| row.get::<_, i64>(column).map(|signed| signed as u64);
            Ok(Incarnation { number: number(0)?, began: number(1)? })
        })?
        .collect::<rusqlite::Result<_>>()?;
    state.members = connection
        .prepare("SELECT device, number, active, key FROM members")?
        .query_map([], |row| {
            let number = row.get::<_, i64>(1)? as u64;
            Ok((DeviceId(row.get(0)?), Member { number, active: row.get(2)?, key: row.get(3)? }))
        })?
        .collect::<rusqlite::Result<_>>()?;
    state.remotes = connection
        .prepare("SELECT device, index_id, merged, acknowledged, incarnation, heard FROM remotes")?
        .query_map([], |row| {
            let number = |column| row.get::<_, i64>(column).map(|signed| signed as u64);
            let remote = RemoteState {
                index_id: number(1)?,
                merged: number(2)?,
                acknowledged: number(3)?,
                incarnation: number(4)?,
                heard: number(5)?,
            };
            Ok((DeviceId(row.get(0)?), remote))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(state))
}

/// Writes what differs from the state written before.
pub(crate) fn put(
    connection: &Connection,
    before: Option<&DirectoryState>,
    state: &DirectoryState,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO state (id, index_id, epoch, counter, sequence, first_scan_done)
             VALUES (1, ?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            state.index_id as i64,
            state.epoch as i64,
            state.counter as i64,
            state.sequence as i64,
            state.first_scan_done
        ])?;
    if before.is_none_or(|before| before.incarnations != state.incarnations) {
        put_incarnations(connection, &state.incarnations)?;
    }
    if before.is_none_or(|before| before.members != state.members) {
        put_members(connection, &state.members)?;
    }
    put_remotes(connection, before.map(|before| &before.remotes), &state.remotes)
}

fn put_incarnations(connection: &Connection, incarnations: &[Incarnation]) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM incarnations", [])?;
    let mut insert = connection
        .prepare_cached("INSERT INTO incarnations (position, incarnation, began) VALUES (?1, ?2, ?3)")?;
    for (position, incarnation) in (1i64..).zip(incarnations) {
        insert.execute(params![position, incarnation.number as i64, incarnation.began as i64])?;
    }
    Ok(())
}

fn put_members(connection: &Connection, members: &Members) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM members", [])?;
    let mut insert = connection
        .prepare_cached("INSERT INTO members (device, number, active, key) VALUES (?1, ?2, ?3, ?4)")?;
    for (device, member) in members {
        insert.execute(params![device.0, member.number as i64, member.active, member.key])?;
    }
    Ok(())
}

fn put_remotes(
    connection: &Connection,
    before: Option<&BTreeMap<DeviceId, RemoteState>>,
    remotes: &BTreeMap<DeviceId, RemoteState>,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO remotes (device, index_id, merged, acknowledged, incarnation, heard)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (device, remote) in remotes {
        if before.and_then(|before| before.get(device)) == Some(remote) {
            continue;
        }
        insert.execute(params![
            device.0,
            remote.index_id as i64,
            remote.merged as i64,
            remote.acknowledged as i64,
            remote.incarnation as i64,
            remote.heard as i64
        ])?;
    }
    let gone =
        before.into_iter().flatten().map(|(device, _)| device).filter(|device| !remotes.contains_key(device));
    for device in gone {
        connection.execute("DELETE FROM remotes WHERE device = ?1", [device.0])?;
    }
    Ok(())
}
