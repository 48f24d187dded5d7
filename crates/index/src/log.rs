//! The record of acts on a user's bytes (only ever added to), and the list of kept versions.

use file_sync_core::effect::Kept;
use file_sync_core::path::{NAME_BYTES_MAX, SyncPath};
use file_sync_core::register::Register;
use file_sync_core::version::{ContentHash, DeviceId, Time};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use crate::actors::Actors;
use crate::codec::{self, Malformed};
use crate::paths::{self, ParentNumbers, stored_path};

/// One act on a user's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Act {
    /// When, by this machine's clock.
    pub at: Time,
    /// Where.
    pub path: SyncPath,
    /// What was there.
    pub before: Option<ContentHash>,
    /// What is there now.
    pub after: Option<ContentHash>,
    /// What was done, in a word.
    pub what: String,
    /// Why, in one line.
    pub why: String,
    /// The device on whose word; none: this one's user.
    pub by: Option<DeviceId>,
}

pub(crate) fn put_act(
    connection: &Connection,
    parents: &mut ParentNumbers,
    actors: &mut Actors,
    act: &Act,
) -> rusqlite::Result<()> {
    let (parent, name) = parents.locate(connection, &act.path)?;
    let by = act.by.map(|device| actors.device_number(connection, &device)).transpose()?;
    connection
        .prepare_cached(
            "INSERT INTO acts (at_seconds, at_nanoseconds, parent, name, before, after, what, why, by)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            act.at.seconds,
            act.at.nanoseconds,
            parent,
            name,
            act.before.map(|hash| hash.0),
            act.after.map(|hash| hash.0),
            act.what,
            act.why,
            by
        ])?;
    Ok(())
}

/// The acts at a path, at what lies below it, and at the directories above; the newest first, at most `limit`.
///
/// Reads the whole table: nobody asks often, and an index would cost every act.
pub(crate) fn acts(
    connection: &Connection,
    actors: &Actors,
    path: &SyncPath,
    limit: usize,
) -> rusqlite::Result<Vec<Act>> {
    let (above, below) = paths::places_to(connection, path)?;
    let places = vec!["(?, ?)"; above.len()].join(", ");
    let is_at =
        if above.is_empty() { String::new() } else { format!("OR (parent, name) IN (VALUES {places})") };
    let sql = format!(
        "WITH RECURSIVE below (id) AS (
             SELECT ? UNION SELECT parents.id FROM parents JOIN below ON parents.parent = below.id
             WHERE parents.id <> 0
         )
         SELECT at_seconds, at_nanoseconds, parent, name, before, after, what, why, by FROM acts
         WHERE parent IN below {is_at} ORDER BY id DESC LIMIT ?"
    );
    let mut statement = connection.prepare(&sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let above = above.into_iter().flat_map(|(parent, name)| [Value::Integer(parent), Value::Blob(name)]);
    let below = below.map_or(Value::Null, Value::Integer);
    let values: Vec<Value> = std::iter::once(below).chain(above).chain([limit.into()]).collect();
    let acts = statement.query_map(params_from_iter(values), |row| {
        let by = match row.get::<_, Option<i64>>(8)? {
            Some(number) => Some(actors.device(number).ok_or_else(|| Malformed.in_column(8))?),
            None => None,
        };
        Ok(Act {
            at: Time { seconds: row.get(0)?, nanoseconds: row.get(1)? },
            path: stored_path(connection, row.get(2)?, row.get_ref(3)?.as_blob()?)?,
            before: row.get::<_, Option<_>>(4)?.map(ContentHash),
            after: row.get::<_, Option<_>>(5)?.map(ContentHash),
            what: row.get(6)?,
            why: row.get(7)?,
            by,
        })
    })?;
    acts.collect()
}

pub(crate) fn put_kept(connection: &Connection, kept: &Kept) -> rusqlite::Result<()> {
    let Kept { name, path, content, stat, at } = kept;
    let record = file_sync_core::record::Record { content: *content, stat: *stat };
    let record = codec::record_blob(&record, &Register::default());
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO kept (name, path, record, at_seconds, at_nanoseconds)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![name, path.as_bytes(), record, at.seconds, at.nanoseconds])?;
    Ok(())
}

pub(crate) fn remove_kept(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM kept WHERE name = ?1")?.execute([name])?;
    Ok(())
}

/// Every kept version, oldest first.
pub(crate) fn each_kept(connection: &Connection, mut each: impl FnMut(Kept)) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT name, path, record, at_seconds, at_nanoseconds FROM kept ORDER BY at_seconds, at_nanoseconds, name",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(read_kept(row)?);
    }
    Ok(())
}

/// A path's kept versions, newest first.
pub(crate) fn kept_for(connection: &Connection, path: &SyncPath) -> rusqlite::Result<Vec<Kept>> {
    connection
        .prepare_cached(
            "SELECT name, path, record, at_seconds, at_nanoseconds FROM kept WHERE path = ?1
             ORDER BY at_seconds DESC, at_nanoseconds DESC, name DESC",
        )?
        .query_map([path.as_bytes()], read_kept)?
        .collect()
}

/// Kept versions of a path and of all below it, by path and time: those after a place that were kept at a time or later, at
/// most `limit`.
pub(crate) fn kept_after(
    connection: &Connection,
    path: &SyncPath,
    since: Time,
    after: Option<(&SyncPath, Time)>,
    limit: usize,
) -> rusqlite::Result<Vec<Kept>> {
    let below = |separator: u8| [path.as_bytes(), &[separator]].concat();
    // The byte after the separator bounds what begins with it; no path begins with so many of the highest.
    let all = || (Vec::new(), vec![0xff; NAME_BYTES_MAX + 1]);
    let (first, end) = if path.is_root() { all() } else { (below(b'/'), below(b'/' + 1)) };
    let beginning = (&[][..], Time { seconds: i64::MIN, nanoseconds: 0 });
    let (after_path, after_at) = after.map_or(beginning, |(path, at)| (path.as_bytes(), at));
    connection
        .prepare_cached(
            "SELECT name, path, record, at_seconds, at_nanoseconds FROM kept
             WHERE (path = ?1 OR (path >= ?2 AND path < ?3))
                 AND (at_seconds, at_nanoseconds) >= (?4, ?5)
                 AND (path, at_seconds, at_nanoseconds) > (?6, ?7, ?8)
             ORDER BY path, at_seconds, at_nanoseconds, name LIMIT ?9",
        )?
        .query_map(
            params![
                path.as_bytes(),
                first,
                end,
                since.seconds,
                since.nanoseconds,
                after_path,
                after_at.seconds,
                after_at.nanoseconds,
                i64::try_from(limit).unwrap_or(i64::MAX)
            ],
            read_kept,
        )?
        .collect()
}

fn read_kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let path = codec::path(row.get_ref(1)?.as_blob()?).map_err(|malformed| malformed.in_column(1))?;
    let record = codec::record(row.get_ref(2)?.as_blob()?, &Register::default())
        .map_err(|malformed| malformed.in_column(2))?;
    Ok(Kept {
        name: row.get(0)?,
        path,
        content: record.content,
        stat: record.stat,
        at: Time { seconds: row.get(3)?, nanoseconds: row.get(4)? },
    })
}
