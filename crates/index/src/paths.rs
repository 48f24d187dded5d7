//! Paths as (number of the parent, name): a long prefix is stored once, not in every row.
//!
//! Parents are numbered when something below them is first stored, in whatever order rows come.

use std::collections::HashMap;

use file_sync_core::path::{PATH_BYTES_MAX, SyncPath};
use rusqlite::{Connection, OptionalExtension, params};

use crate::codec::{self, Malformed};

/// The root's number in `parents`.
const ROOT: i64 = 0;
/// The cache is emptied when its keys take more than this, in bytes.
const CACHE_BYTES_MAX: usize = 8 << 20;

/// Numbers of parents that were lately asked for. Must be [cleared](ParentNumbers::clear) when a transaction fails.
#[derive(Default)]
pub(crate) struct ParentNumbers {
    known: HashMap<Box<[u8]>, i64>,
    known_bytes: usize,
}

impl ParentNumbers {
    /// Where a path is stored: its parent's number, given now if it has none, and its name.
    pub(crate) fn locate<'a>(
        &mut self,
        connection: &Connection,
        path: &'a SyncPath,
    ) -> rusqlite::Result<(i64, &'a [u8])> {
        let (parent, name) = divide(path.as_bytes());
        Ok((self.number(connection, parent)?, name))
    }

    pub(crate) fn clear(&mut self) {
        *self = ParentNumbers::default();
    }

    fn number(&mut self, connection: &Connection, path: &[u8]) -> rusqlite::Result<i64> {
        let mut known = path;
        let mut number = loop {
            if known.is_empty() {
                break ROOT;
            }
            if let Some(number) = self.known.get(known) {
                break *number;
            }
            known = divide(known).0;
        };
        // Downwards from what is known, in a loop: a path may have thousands of components.
        let mut end = known.len();
        while end < path.len() {
            let start = if end == 0 { 0 } else { end + 1 };
            end = path[start..]
                .iter()
                .position(|byte| *byte == b'/')
                .map_or(path.len(), |length| start + length);
            number = find_or_insert(connection, number, &path[start..end])?;
            self.remember(&path[..end], number);
        }
        Ok(number)
    }

    fn remember(&mut self, path: &[u8], number: i64) {
        if self.known_bytes > CACHE_BYTES_MAX {
            self.clear();
        }
        self.known_bytes += path.len();
        self.known.insert(path.into(), number);
    }
}

fn find(connection: &Connection, parent: i64, name: &[u8]) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM parents WHERE parent = ?1 AND name = ?2")?
        .query_row(params![parent, name], |row| row.get(0))
        .optional()
}

fn find_or_insert(connection: &Connection, parent: i64, name: &[u8]) -> rusqlite::Result<i64> {
    if let Some(number) = find(connection, parent, name)? {
        return Ok(number);
    }
    connection
        .prepare_cached("INSERT INTO parents (parent, name) VALUES (?1, ?2)")?
        .execute(params![parent, name])?;
    Ok(connection.last_insert_rowid())
}

/// The parent's bytes and the name; both are empty for the root.
fn divide(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// All of `parents`, for reading many rows. Memory grows with the number of directories, not with their depth.
pub(crate) struct ParentNames {
    entries: HashMap<i64, (i64, Box<[u8]>)>,
    last: Option<(i64, SyncPath)>,
}

impl ParentNames {
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<ParentNames> {
        let mut statement =
            connection.prepare_cached("SELECT id, parent, name FROM parents WHERE id <> 0")?;
        let mut rows = statement.query([])?;
        let mut entries = HashMap::new();
        while let Some(row) = rows.next()? {
            entries.insert(row.get(0)?, (row.get(1)?, row.get_ref(2)?.as_blob()?.into()));
        }
        Ok(ParentNames { entries, last: None })
    }

    /// The path that is stored as this; cheap while the parent stays the same.
    pub(crate) fn path(&mut self, parent: i64, name: &[u8]) -> Result<SyncPath, Malformed> {
        if self.last.as_ref().is_none_or(|(number, _)| *number != parent) {
            self.last = Some((parent, self.resolve(parent)?));
        }
        let (_, directory) = self.last.as_ref().expect("set above");
        if name.is_empty() {
            return Ok(directory.clone());
        }
        directory.join(name).map_err(|_| Malformed)
    }

    fn resolve(&self, parent: i64) -> Result<SyncPath, Malformed> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut number = parent;
        while number != ROOT {
            let (above, name) = self.entries.get(&number).ok_or(Malformed)?;
            if names.len() > PATH_BYTES_MAX {
                return Err(Malformed);
            }
            names.push(name);
            number = *above;
        }
        names.reverse();
        codec::path(&names.join(&b'/'))
    }
}

/// The path that is stored as this, asked of the database component by component: for a few rows.
pub(crate) fn stored_path(connection: &Connection, parent: i64, name: &[u8]) -> rusqlite::Result<SyncPath> {
    let mut statement = connection.prepare_cached("SELECT parent, name FROM parents WHERE id = ?1")?;
    let mut names: Vec<Vec<u8>> = if name.is_empty() { Vec::new() } else { vec![name.to_owned()] };
    let mut number = parent;
    while number != ROOT {
        let (above, name) = statement.query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if names.len() > PATH_BYTES_MAX {
            return Err(Malformed.in_column(1));
        }
        names.push(name);
        number = above;
    }
    names.reverse();
    codec::path(&names.join(&b'/')).map_err(|malformed| malformed.in_column(1))
}

/// The number of a path's parent, and its name.
pub(crate) type Place = (i64, Vec<u8>);

/// Where a path and everything above it is stored, downwards from the root, as far as there are numbers; and the number that
/// the path itself has as a parent, if anything was ever stored below it.
pub(crate) fn places_to(
    connection: &Connection,
    path: &SyncPath,
) -> rusqlite::Result<(Vec<Place>, Option<i64>)> {
    let mut places = Vec::new();
    let mut parent = Some(ROOT);
    for name in path.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let Some(number) = parent else { break };
        places.push((number, name.to_owned()));
        parent = find(connection, number, name)?;
    }
    Ok((places, parent))
}

/// Forgets parents that nothing is stored below of.
pub(crate) fn drop_unused(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM parents WHERE id <> 0
         AND NOT EXISTS (SELECT 1 FROM files WHERE files.parent = parents.id)
         AND NOT EXISTS (SELECT 1 FROM parents AS below WHERE below.parent = parents.id)
         AND id NOT IN (SELECT parent FROM acts)",
    )?;
    // Each pass uncovers the level above.
    while statement.execute([])? > 0 {}
    Ok(())
}
