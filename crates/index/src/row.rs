//! One path's row: its register, its record, and when it last changed.

use file_sync_core::path::SyncPath;
use file_sync_core::record::Record;
use file_sync_core::register::Register;
use rusqlite::{Connection, params};

use crate::actors::Actors;
use crate::codec::{self, Malformed};
use crate::paths::{ParentNames, ParentNumbers};

/// What is remembered of one path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Where.
    pub path: SyncPath,
    /// What is known of it.
    pub register: Register,
    /// What was last seen or put on this disk.
    pub record: Option<Record>,
    /// This device's sequence number for the latest change of the register or of `holds`.
    pub sequence: u64,
    /// True if this device has the bytes of what it shows there.
    pub holds: bool,
}

impl Row {
    /// True if it says nothing; such a row is not stored.
    pub fn is_empty(&self) -> bool {
        self.register.is_empty() && self.record.is_none()
    }
}

/// Stores a row in place of what was stored for its path.
pub(crate) fn put(
    connection: &Connection,
    parents: &mut ParentNumbers,
    actors: &mut Actors,
    row: &Row,
) -> rusqlite::Result<()> {
    let (parent, name) = parents.locate(connection, &row.path)?;
    if row.is_empty() {
        connection
            .prepare_cached("DELETE FROM files WHERE parent = ?1 AND name = ?2")?
            .execute(params![parent, name])?;
        return Ok(());
    }
    let mut register = Vec::with_capacity(192);
    codec::put_register(&mut register, &row.register, &mut |actor| actors.number(connection, actor))?;
    let record = row.record.as_ref().map(|record| codec::record_blob(record, &row.register));
    connection
        .prepare_cached(
            "INSERT INTO files (parent, name, sequence, holds, register, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (parent, name) DO UPDATE SET sequence = excluded.sequence, holds = excluded.holds,
             register = excluded.register, record = excluded.record",
        )?
        .execute(params![parent, name, row.sequence as i64, row.holds, register, record])?;
    Ok(())
}

/// Reads every row, a directory at a time, in no promised order.
pub(crate) fn each(
    connection: &Connection,
    actors: &Actors,
    mut each: impl FnMut(Row),
) -> rusqlite::Result<()> {
    let mut parents = ParentNames::read(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT parent, name, sequence, holds, register, record FROM files ORDER BY parent, name",
    )?;
    let mut rows = statement.query([])?;
    let actor_of = |number| actors.actor(number);
    while let Some(row) = rows.next()? {
        let in_column = |column| move |malformed: Malformed| malformed.in_column(column);
        let name = row.get_ref(1)?.as_blob()?;
        if name.is_empty() {
            return Err(Malformed.in_column(1)); // It would be its parent.
        }
        let path = parents.path(row.get(0)?, name).map_err(in_column(1))?;
        let register = codec::register(row.get_ref(4)?.as_blob()?, &actor_of).map_err(in_column(4))?;
        let record = match row.get_ref(5)?.as_blob_or_null()? {
            Some(blob) => Some(codec::record(blob, &register).map_err(in_column(5))?),
            None => None,
        };
        let sequence = row.get::<_, i64>(2)? as u64;
        each(Row { path, register, record, sequence, holds: row.get(3)? });
    }
    Ok(())
}
