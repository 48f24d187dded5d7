//! The record of acts on a user's bytes (only ever added to), and the list of kept versions.

use std::collections::BTreeSet;

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

/// Where a listing of acts has come to: what follows is older.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActsAfter(i64);

/// Acts at other paths that are told of with a path's own: those that did this, and say why in these words, or in words that
/// begin so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlsoActs {
    /// What was done, in a word.
    pub what: String,
    /// Why.
    pub why: String,
    /// How it may begin instead.
    pub why_begins: String,
}

/// The acts at a path, at what lies below it, and at the directories above; the newest first, at most `limit`, from where an
/// earlier listing has come to. With where this one has come to, if it lists as many.
///
/// Reads the table from there to the last that is listed: nobody asks often, and an index would cost every act.
pub(crate) fn acts(
    connection: &Connection,
    actors: &Actors,
    (path, also): (&SyncPath, Option<&AlsoActs>),
    after: Option<ActsAfter>,
    limit: usize,
) -> rusqlite::Result<(Vec<Act>, Option<ActsAfter>)> {
    let (above, below) = paths::places_to(connection, path)?;
    let places = vec!["(?, ?)"; above.len()].join(", ");
    let is_at =
        if above.is_empty() { String::new() } else { format!("OR (parent, name) IN (VALUES {places})") };
    let is_also = if also.is_some() { "OR (what = ? AND (why = ? OR instr(why, ?) = 1))" } else { "" };
    let sql = format!(
        "WITH RECURSIVE below (id) AS (
             SELECT ? UNION SELECT parents.id FROM parents JOIN below ON parents.parent = below.id
             WHERE parents.id <> 0
         )
         SELECT at_seconds, at_nanoseconds, parent, name, before, after, what, why, by, id FROM acts
         WHERE (parent IN below {is_at} {is_also}) AND id < ? ORDER BY id DESC LIMIT ?"
    );
    let mut statement = connection.prepare(&sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let above = above.into_iter().flat_map(|(parent, name)| [Value::Integer(parent), Value::Blob(name)]);
    let below = below.map_or(Value::Null, Value::Integer);
    let also = also.into_iter().flat_map(|AlsoActs { what, why, why_begins }| {
        [what, why, why_begins].map(|text| Value::Text(text.clone()))
    });
    let end = after.map_or(i64::MAX, |ActsAfter(id)| id);
    let values: Vec<Value> =
        std::iter::once(below).chain(above).chain(also).chain([end.into(), limit.into()]).collect();
    let mut last = None;
    let acts = statement.query_map(params_from_iter(values), |row| {
        let by = match row.get::<_, Option<i64>>(8)? {
            Some(number) => Some(actors.device(number).ok_or_else(|| Malformed.in_column(8))?),
            None => None,
        };
        last = Some(ActsAfter(row.get(9)?));
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
    let acts = acts.collect::<rusqlite::Result<Vec<Act>>>()?;
    let is_full = i64::try_from(acts.len()).is_ok_and(|n_acts| n_acts >= limit);
    Ok((acts, last.filter(|_| is_full)))
}

/// Of what was done in a word, at all paths since a time, why, and when: what `is_asked` of it.
pub(crate) fn whys(
    connection: &Connection,
    what: &str,
    since: Time,
    is_asked: impl Fn(&(String, Time)) -> bool,
) -> rusqlite::Result<BTreeSet<(String, Time)>> {
    connection
        .prepare_cached(
            "SELECT why, at_seconds, at_nanoseconds FROM acts WHERE what = ?1 AND at_seconds >= ?2",
        )?
        .query_map(params![what, since.seconds], |row| {
            Ok((row.get(0)?, Time { seconds: row.get(1)?, nanoseconds: row.get(2)? }))
        })?
        .filter(|why| why.as_ref().map_or(true, &is_asked))
        .collect()
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

/// Where a kept version stands among those of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptAt<'a> {
    /// The path that it was at, as bytes.
    pub path: &'a [u8],
    /// When it was kept.
    pub at: Time,
    /// Its name; none: that of the last one which was kept there then.
    pub name: Option<&'a str>,
}

const KEPT_AT: &str = "SELECT name, path, record, at_seconds, at_nanoseconds FROM kept
     WHERE path = ?1 AND (at_seconds, at_nanoseconds, name) > (?2, ?3, ?4)
     ORDER BY at_seconds, at_nanoseconds, name LIMIT ?5";
const KEPT_BELOW: &str = "SELECT name, path, record, at_seconds, at_nanoseconds FROM kept
     WHERE (path, at_seconds, at_nanoseconds, name) > (?1, ?2, ?3, ?4) AND path < ?5
         AND (at_seconds, at_nanoseconds) >= (?6, ?7)
     ORDER BY path, at_seconds, at_nanoseconds, name LIMIT ?8";

/// Kept versions of a path and of all below it, by path (as bytes), time and name: those after a place that were kept at a
/// time or later, at most `limit`.
///
/// Both statements go along the index from where the listing goes on, and read nothing that lies before it.
pub(crate) fn kept_after(
    connection: &Connection,
    path: &SyncPath,
    since: Time,
    after: Option<KeptAt<'_>>,
    limit: usize,
) -> rusqlite::Result<Vec<Kept>> {
    let mut kept = kept_at(connection, path.as_bytes(), since, after, limit)?;
    let left = limit - kept.len();
    if left > 0 {
        kept.extend(kept_below(connection, path, since, after, left)?);
    }
    Ok(kept)
}

fn kept_at(
    connection: &Connection,
    path: &[u8],
    since: Time,
    after: Option<KeptAt<'_>>,
    limit: usize,
) -> rusqlite::Result<Vec<Kept>> {
    let beginning = KeptAt { path, at: since, name: Some("") };
    let lower = after.map_or(beginning, |after| later(after, beginning));
    if lower.path != path {
        return Ok(Vec::new());
    }
    let Time { seconds, nanoseconds } = lower.at;
    connection
        .prepare_cached(KEPT_AT)?
        .query_map(params![path, seconds, nanoseconds, stored_name(lower), at_most(limit)], read_kept)?
        .collect()
}

fn kept_below(
    connection: &Connection,
    path: &SyncPath,
    since: Time,
    after: Option<KeptAt<'_>>,
    limit: usize,
) -> rusqlite::Result<Vec<Kept>> {
    let below = |separator: u8| [path.as_bytes(), &[separator]].concat();
    // The byte after the separator bounds what begins with it; no path begins with so many of the highest.
    let all = || (Vec::new(), vec![0xff; NAME_BYTES_MAX + 1]);
    let (first, end) = if path.is_root() { all() } else { (below(b'/'), below(b'/' + 1)) };
    let beginning = KeptAt { path: &first, at: Time { seconds: i64::MIN, nanoseconds: 0 }, name: Some("") };
    let lower = after.map_or(beginning, |after| later(after, beginning));
    let Time { seconds, nanoseconds } = lower.at;
    connection
        .prepare_cached(KEPT_BELOW)?
        .query_map(
            params![
                lower.path,
                seconds,
                nanoseconds,
                stored_name(lower),
                end,
                since.seconds,
                since.nanoseconds,
                at_most(limit)
            ],
            read_kept,
        )?
        .collect()
}

/// The later of two places.
fn later<'a>(one: KeptAt<'a>, other: KeptAt<'a>) -> KeptAt<'a> {
    // The last name of all is none.
    let key = |place: &KeptAt<'a>| (place.path, place.at, place.name.is_none(), place.name);
    if key(&one) > key(&other) { one } else { other }
}

/// As the database compares it: a blob comes after every text.
fn stored_name(place: KeptAt<'_>) -> Value {
    place.name.map_or(Value::Blob(Vec::new()), |name| Value::Text(name.to_owned()))
}

fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::{self, DIRECTORY};

    #[test]
    fn h3_a_listing_reads_no_more_of_what_is_kept_than_it_lists() {
        let home = tempfile::tempdir().unwrap();
        let connection = open::create(&home.path().join("d.db"), &DIRECTORY).unwrap();
        for statement in [KEPT_AT, KEPT_BELOW] {
            let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
            let nulls = vec![Value::Null; explained.parameter_count()];
            let steps = explained.query_map(params_from_iter(nulls), |row| row.get(3)).unwrap();
            let steps: Vec<String> = steps.map(Result::unwrap).collect();
            assert_eq!(steps.len(), 1, "{steps:?}");
            assert!(steps[0].starts_with("SEARCH kept USING INDEX kept_place ("), "{steps:?}");
            let bounds = if statement == KEPT_AT {
                "path=? AND (at_seconds,at_nanoseconds,name)>(?,?,?))"
            } else {
                "((path,at_seconds,at_nanoseconds,name)>(?,?,?,?) AND path<?)"
            };
            assert!(steps[0].contains(bounds), "{steps:?}");
        }
    }
}
