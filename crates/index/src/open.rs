//! Opening and making a database: what it must be, how durable it is, and who may read it.
//!
//! A database is made under a temporary name and renamed when it is whole, so that a file under the final name was once
//! good: if it is empty, cut short or garbage, that is damage to be told, never a reason to begin anew.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

use crate::error::IndexError;

/// How long to wait for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page cache of one connection, in KiB.
const CACHE_KIB: i64 = 2 * 1024;
/// The log file is cut to this after a checkpoint, in bytes.
const LOG_BYTES_MAX: i64 = 16 << 20;
/// Bytes of a page, in a new database. Rows of up to a quarter of it need no overflow page.
const PAGE_BYTES: i64 = 4096;
/// Where SQLite's header has the page size: two bytes, big-endian.
const PAGE_BYTES_AT: usize = 16;
/// Where it has the version of its format, 1 or with a log 2; one with a higher number, SQLite would only read.
const WRITE_VERSION_AT: usize = 18;
/// Where it has the number of pages: four bytes.
const PAGE_COUNT_AT: usize = 28;
/// Where it has the application id: four bytes.
const APPLICATION_ID_AT: usize = 68;

/// A kind of database.
pub(crate) struct Schema {
    /// Marks its files.
    pub application_id: u32,
    /// For messages.
    pub kind: &'static str,
    /// Every migration, the first one first.
    pub migrations: &'static [M<'static>],
}

/// The server's database.
pub(crate) const HOME: Schema = Schema {
    application_id: u32::from_be_bytes(*b"FsHm"),
    kind: "the database of a file-sync server",
    migrations: &[M::up(include_str!("../migrations/home/001_first.sql"))],
};

/// A directory's database.
pub(crate) const DIRECTORY: Schema = Schema {
    application_id: u32::from_be_bytes(*b"FsDr"),
    kind: "the database of a file-sync directory",
    migrations: &[
        M::up(include_str!("../migrations/directory/001_first.sql")),
        M::up(include_str!("../migrations/directory/002_doubts.sql")),
        M::up(include_str!("../migrations/directory/003_began.sql")),
        M::up(include_str!("../migrations/directory/004_kept_order.sql")),
    ],
};

/// Makes a database where none is, whole and durable or not at all, and opens it.
pub(crate) fn create(path: &Path, schema: &Schema) -> Result<Connection, IndexError> {
    if path.symlink_metadata().is_ok() {
        return Err(IndexError::Exists { path: path.to_owned() });
    }
    let fresh = with_suffix(path, ".new");
    // Left over from a creation that was cut short, or (the log) from a database that somebody deleted: a log without
    // its database says nothing, but SQLite would replay it into ours.
    for leftover in [&fresh, path] {
        ["", "-wal", "-shm", "-journal"]
            .iter()
            .try_for_each(|suffix| remove(&with_suffix(leftover, suffix)))?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(|error| IndexError::io(&fresh, error))?;
    fill(&fresh, schema).inspect_err(|_| {
        // Best effort: the next creation removes it anyway.
        let _ = fs::remove_file(&fresh);
    })?;
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(|error| IndexError::io(&fresh, error))?;
    fs::rename(&fresh, path).map_err(|error| IndexError::io(path, error))?;
    sync_parent(path)?;
    open(path, schema)
}

fn fill(fresh: &Path, schema: &Schema) -> Result<(), IndexError> {
    let failed = |error| IndexError::sql(fresh, error);
    let mut connection = connect(fresh, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES).map_err(failed)?;
    configure(&connection).map_err(failed)?;
    connection.pragma_update(None, "application_id", schema.application_id).map_err(failed)?;
    migrate(&mut connection, fresh, schema)?;
    close(connection, fresh)
}

/// Opens a database that is there. From here on it counts as not cleanly stopped until [`stop`].
pub(crate) fn open(path: &Path, schema: &Schema) -> Result<Connection, IndexError> {
    check_header(path, schema)?;
    keep_private(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let failed = |error| IndexError::sql(path, error);
    check_version(&connection, path, schema)?;
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(failed)? {
        return Err(IndexError::ReadOnly { path: path.to_owned() });
    }
    configure(&connection).map_err(failed)?;
    if !was_clean(&connection).map_err(failed)? {
        check_pages(&connection, path)?;
    }
    migrate(&mut connection, path, schema)?;
    connection.execute("UPDATE condition SET clean_stop = 0", []).map_err(failed)?;
    Ok(connection)
}

/// Opens a database for reading beside its writer.
///
/// Asks SQLite alone: were the file opened and closed otherwise, this process would lose the locks that the writer
/// holds on it.
pub(crate) fn open_reader(path: &Path, schema: &Schema) -> Result<Connection, IndexError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let found: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|error| IndexError::sql(path, error))?;
    if found != i64::from(schema.application_id) {
        return Err(IndexError::WrongKind { path: path.to_owned(), expected: schema.kind });
    }
    check_version(&connection, path, schema)?;
    Ok(connection)
}

/// Reads a database as it was at one moment, whatever its writer commits meanwhile: what takes several statements.
pub(crate) fn at_one_moment<T>(
    connection: &Connection,
    path: &Path,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, IndexError> {
    let failed = |error| IndexError::sql(path, error);
    // Only reads, and none of these is ever within another one.
    let snapshot = connection.unchecked_transaction().map_err(failed)?;
    let found = read(&snapshot).map_err(failed)?;
    snapshot.commit().map_err(failed)?;
    Ok(found)
}

/// Closes a database; `clean` says that nothing was going on, so that the next start need not look at every page.
pub(crate) fn stop(connection: Connection, path: &Path, clean: bool) -> Result<(), IndexError> {
    if clean {
        connection
            .execute("UPDATE condition SET clean_stop = 1", [])
            .map_err(|error| IndexError::sql(path, error))?;
    }
    close(connection, path)
}

fn close(connection: Connection, path: &Path) -> Result<(), IndexError> {
    connection.close().map_err(|(_, error)| IndexError::sql(path, error))
}

/// Moves the log into the database and empties it, unless a reader is in the way.
pub(crate) fn checkpoint(connection: &Connection, path: &Path) -> Result<(), IndexError> {
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(|error| IndexError::sql(path, error))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, IndexError> {
    let failed = |error| IndexError::sql(path, error);
    let connection =
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(failed)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))?;
    // In WAL mode, FULL is what makes every commit durable when it returns.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "locking_mode", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// Looks at the file before SQLite does, which would make an empty one a database and write beside a foreign one.
///
/// Not while this process has it open: closing a file drops all locks that a process holds on it.
fn check_header(path: &Path, schema: &Schema) -> Result<(), IndexError> {
    let failed = |error| IndexError::io(path, error);
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(IndexError::damaged(path, "not a regular file"));
    }
    let mut header = [0; 100];
    // Opened for writing too, so that the system says why that is not possible.
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            let detail = format!("only {} bytes long", metadata.len());
            return Err(IndexError::damaged(path, detail));
        }
        other => other.map_err(failed)?,
    }
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(IndexError::damaged(path, "not a database"));
    }
    if header[WRITE_VERSION_AT] > 2 {
        let detail = format!("format {} of SQLite's files", header[WRITE_VERSION_AT]);
        return Err(IndexError::damaged(path, detail));
    }
    if big_endian(&header, APPLICATION_ID_AT) != schema.application_id {
        return Err(IndexError::WrongKind { path: path.to_owned(), expected: schema.kind });
    }
    // With a log, pages may not have reached the file yet. Without, all of them are there, or some were cut off.
    let has_log = fs::metadata(with_suffix(path, "-wal")).is_ok_and(|log| log.len() > 0);
    let expected_bytes = page_bytes(&header) * u64::from(big_endian(&header, PAGE_COUNT_AT));
    if !has_log && metadata.len() < expected_bytes {
        let detail = format!("{} bytes long instead of {expected_bytes}", metadata.len());
        return Err(IndexError::damaged(path, detail));
    }
    Ok(())
}

/// Bytes of a page, as SQLite's header has them.
fn page_bytes(header: &[u8; 100]) -> u64 {
    // 65,536 does not fit into two bytes and is written as 1.
    match u16::from_be_bytes([header[PAGE_BYTES_AT], header[PAGE_BYTES_AT + 1]]) {
        1 => 65_536,
        bytes => bytes.into(),
    }
}

fn big_endian(header: &[u8; 100], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn check_version(connection: &Connection, path: &Path, schema: &Schema) -> Result<(), IndexError> {
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| IndexError::sql(path, error))?;
    let known = i64::try_from(schema.migrations.len()).expect("few migrations");
    if found > known {
        return Err(IndexError::Newer { path: path.to_owned(), found, known });
    }
    if found < 1 {
        return Err(IndexError::damaged(path, format!("its format is {found}")));
    }
    Ok(())
}

fn was_clean(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT clean_stop FROM condition", [], |row| row.get(0))
}

pub(crate) fn check_pages(connection: &Connection, path: &Path) -> Result<(), IndexError> {
    let said: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| IndexError::sql(path, error))?;
    if said == "ok" { Ok(()) } else { Err(IndexError::damaged(path, said)) }
}

fn migrate(connection: &mut Connection, path: &Path, schema: &Schema) -> Result<(), IndexError> {
    Migrations::from_slice(schema.migrations).to_latest(connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => IndexError::sql(path, err),
        other => IndexError::damaged(path, other.to_string()),
    })
}

/// Takes a database's permissions from everybody else: it lists names and hashes of private files.
fn keep_private(path: &Path) -> Result<(), IndexError> {
    let failed = |error| IndexError::io(path, error);
    if fs::metadata(path).map_err(failed)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)
}

fn remove(path: &Path) -> Result<(), IndexError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(IndexError::io(path, error)),
        _ => Ok(()),
    }
}

fn sync_parent(path: &Path) -> Result<(), IndexError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| IndexError::io(parent, error))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
