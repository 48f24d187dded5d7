//! Doubts: what the engine may have done at a path without having recorded it.

use std::collections::BTreeMap;

use file_sync_core::engine::Doubt;
use file_sync_core::path::SyncPath;
use rusqlite::{Connection, params};

use crate::codec;

/// Stores a doubt in place of what was stored for its path; none: forgets it.
pub(crate) fn put(connection: &Connection, path: &SyncPath, doubt: Option<&Doubt>) -> rusqlite::Result<()> {
    match doubt {
        Some(doubt) => connection
            .prepare_cached("INSERT OR REPLACE INTO doubts (path, doubt) VALUES (?1, ?2)")?
            .execute(params![path.as_bytes(), codec::doubt_blob(doubt)])?,
        None => {
            connection.prepare_cached("DELETE FROM doubts WHERE path = ?1")?.execute([path.as_bytes()])?
        }
    };
    Ok(())
}

pub(crate) fn read(connection: &Connection) -> rusqlite::Result<BTreeMap<SyncPath, Doubt>> {
    let mut statement = connection.prepare_cached("SELECT path, doubt FROM doubts")?;
    let doubts = statement.query_map([], |row| {
        let path = codec::path(row.get_ref(0)?.as_blob()?).map_err(|malformed| malformed.in_column(0))?;
        let doubt = codec::doubt(row.get_ref(1)?.as_blob()?).map_err(|malformed| malformed.in_column(1))?;
        Ok((path, doubt))
    })?;
    doubts.collect()
}
