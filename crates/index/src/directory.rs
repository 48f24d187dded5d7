//! The database of one directory, on its writer's thread.
//!
//! What a batch holds is durable, all of it, when [`DirectoryIndex::commit`] returns, or none of it is there. Counters
//! and sequence numbers go with the rows that use them, so that none is ever given twice.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use file_sync_core::effect::{ChunkList, Kept};
use file_sync_core::engine::Doubt;
use file_sync_core::path::SyncPath;
use file_sync_core::version::{Content, ContentHash};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::actors::Actors;
use crate::codec;
use crate::doubts;
use crate::error::IndexError;
use crate::log::{self, Act};
use crate::open::{self, DIRECTORY};
use crate::paths::{self, ParentNumbers};
use crate::row::{self, Row};
use crate::state::{self, DirectoryState};

/// A directory's database, open for writing. Dropped without [`DirectoryIndex::close`], it counts as not cleanly
/// stopped, and the next opening checks every page.
pub struct DirectoryIndex {
    connection: Connection,
    path: PathBuf,
    parents: ParentNumbers,
    actors: Actors,
    /// A transaction failed: numbers that it gave are still in `parents` and `actors`, but not in the database.
    is_stale: bool,
    state: Option<DirectoryState>,
}

/// What is to become durable together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// Rows, in any order; the last of a path counts.
    pub rows: Vec<Row>,
    /// How contents divide into chunks.
    pub chunk_lists: Vec<(ContentHash, ChunkList)>,
    /// Names of kept versions that are no more; done before `kept_added`.
    pub kept_removed: Vec<String>,
    /// New kept versions.
    pub kept_added: Vec<Kept>,
    /// Acts on a user's bytes, in order.
    pub acts: Vec<Act>,
    /// Doubts that do not follow from the rows; none: it is over.
    pub doubts: Vec<(SyncPath, Option<Doubt>)>,
    /// The engine's state afterwards; none: as it was. Rows may only use sequence numbers that it covers.
    pub state: Option<DirectoryState>,
}

impl Batch {
    /// True if there is nothing in it.
    pub fn is_empty(&self) -> bool {
        let Batch { rows, chunk_lists, kept_removed, kept_added, acts, doubts, state } = self;
        rows.is_empty()
            && chunk_lists.is_empty()
            && kept_removed.is_empty()
            && kept_added.is_empty()
            && acts.is_empty()
            && doubts.is_empty()
            && state.is_none()
    }
}

impl DirectoryIndex {
    /// Makes a new database, whole and durable or not at all.
    ///
    /// # Errors
    /// [`IndexError::Exists`] if something is at `path`; whatever stops a file from being made.
    pub fn create(path: &Path) -> Result<DirectoryIndex, IndexError> {
        DirectoryIndex::with(open::create(path, &DIRECTORY)?, path)
    }

    /// Opens the database at `path`; checks all of it if it was not stopped cleanly. A process must not open it again
    /// while it is open, except by a [`DirectoryReader`](crate::DirectoryReader).
    ///
    /// # Errors
    /// [`IndexError::Missing`], [`IndexError::Damaged`], [`IndexError::Newer`], [`IndexError::WrongKind`], and what the
    /// system refuses. Nothing is ever begun anew.
    pub fn open(path: &Path) -> Result<DirectoryIndex, IndexError> {
        DirectoryIndex::with(open::open(path, &DIRECTORY)?, path)
    }

    fn with(connection: Connection, path: &Path) -> Result<DirectoryIndex, IndexError> {
        let failed = |error| IndexError::sql(path, error);
        let actors = Actors::read(&connection).map_err(failed)?;
        let state = state::read(&connection).map_err(failed)?;
        Ok(DirectoryIndex {
            connection,
            path: path.to_owned(),
            parents: ParentNumbers::default(),
            actors,
            is_stale: false,
            state,
        })
    }

    /// The state last committed; none in a new database.
    pub fn state(&self) -> Option<&DirectoryState> {
        self.state.as_ref()
    }

    /// Gives every row to `each`, in no promised order.
    ///
    /// # Errors
    /// [`IndexError::Damaged`] at the first row that cannot be read; `each` has then seen only a part.
    pub fn load(&mut self, each: impl FnMut(Row)) -> Result<(), IndexError> {
        row::each(&self.connection, &self.actors, each).map_err(|error| self.failed(error))
    }

    /// Makes a batch durable, in one transaction.
    ///
    /// # Errors
    /// [`IndexError::Full`] and others; nothing of the batch is stored then, and the same batch may be tried again.
    /// [`IndexError::Backwards`] if it would use a counter or sequence number twice.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), IndexError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.check_numbers(batch)?;
        if self.is_stale {
            self.parents.clear();
            self.actors = Actors::read(&self.connection).map_err(|error| self.failed(error))?;
            self.is_stale = false;
        }
        let written = self.write(batch);
        self.is_stale = written.is_err();
        written.map_err(|error| self.failed(error))?;
        if let Some(state) = &batch.state {
            self.state = Some(state.clone());
        }
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for row in &batch.rows {
            row::put(&transaction, &mut self.parents, &mut self.actors, row)?;
        }
        for (content, list) in &batch.chunk_lists {
            put_chunk_list(&transaction, content, list)?;
        }
        for name in &batch.kept_removed {
            log::remove_kept(&transaction, name)?;
        }
        for kept in &batch.kept_added {
            log::put_kept(&transaction, kept)?;
        }
        for act in &batch.acts {
            log::put_act(&transaction, &mut self.parents, &mut self.actors, act)?;
        }
        for (path, doubt) in &batch.doubts {
            doubts::put(&transaction, path, doubt.as_ref())?;
        }
        if let Some(state) = &batch.state {
            state::put(&transaction, self.state.as_ref(), state)?;
        }
        transaction.commit()
    }

    fn check_numbers(&self, batch: &Batch) -> Result<(), IndexError> {
        let refused = |detail: String| Err(IndexError::Backwards { path: self.path.clone(), detail });
        if let (Some(before), Some(after)) = (&self.state, &batch.state) {
            if before.epoch == after.epoch && after.counter < before.counter {
                return refused(format!("counter {} after {}", after.counter, before.counter));
            }
            if before.index_id == after.index_id && after.sequence < before.sequence {
                return refused(format!("sequence {} after {}", after.sequence, before.sequence));
            }
        }
        let covered = batch.state.as_ref().or(self.state.as_ref()).map_or(0, |state| state.sequence);
        match batch.rows.iter().find(|row| row.sequence > covered) {
            Some(row) => refused(format!("{} has sequence {}, beyond {covered}", row.path, row.sequence)),
            None => Ok(()),
        }
    }

    /// How a content divides into chunks, if that is known.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn chunk_list(&self, content: &ContentHash) -> Result<Option<ChunkList>, IndexError> {
        read_chunk_list(&self.connection, content).map_err(|error| self.failed(error))
    }

    /// Gives every chunk list to `each`, with the hash of its content.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn chunk_lists(&self, each: impl FnMut(ContentHash, ChunkList)) -> Result<(), IndexError> {
        each_chunk_list(&self.connection, each).map_err(|error| self.failed(error))
    }

    /// Drops chunk lists whose content is in no register, record or kept version, and names of directories that
    /// nothing is stored below of. Returns how many lists it dropped. Reads every row: for idle times.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub fn drop_unreferenced(&mut self) -> Result<usize, IndexError> {
        let dropped = self.write_drops();
        self.parents.clear();
        dropped.map_err(|error| self.failed(error))
    }

    fn write_drops(&mut self) -> rusqlite::Result<usize> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let unused = unused_contents(&transaction, &self.actors)?;
        for content in &unused {
            transaction.prepare_cached("DELETE FROM chunk_lists WHERE content = ?1")?.execute([content.0])?;
        }
        paths::drop_unused(&transaction)?;
        transaction.commit()?;
        Ok(unused.len())
    }

    /// Gives every kept version to `each`, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn kept(&self, each: impl FnMut(Kept)) -> Result<(), IndexError> {
        log::each_kept(&self.connection, each).map_err(|error| self.failed(error))
    }

    /// The versions kept of one path, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn kept_for(&self, path: &SyncPath) -> Result<Vec<Kept>, IndexError> {
        log::kept_for(&self.connection, path).map_err(|error| self.failed(error))
    }

    /// The latest acts of all, at most `limit`, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn acts(&self, limit: usize) -> Result<Vec<Act>, IndexError> {
        log::acts(&self.connection, &self.actors, (&SyncPath::root(), None), None, limit)
            .map(|(acts, _)| acts)
            .map_err(|error| self.failed(error))
    }

    /// The doubts that are stored.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn doubts(&self) -> Result<BTreeMap<SyncPath, Doubt>, IndexError> {
        doubts::read(&self.connection).map_err(|error| self.failed(error))
    }

    /// Moves the log into the database file, so that nothing is left to be written while idle.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn checkpoint(&mut self) -> Result<(), IndexError> {
        open::checkpoint(&self.connection, &self.path)
    }

    /// Closes the database; `clean` spares the next opening its check of every page.
    ///
    /// # Errors
    /// When the database cannot be written; what was committed is there nevertheless.
    pub fn close(self, clean: bool) -> Result<(), IndexError> {
        open::stop(self.connection, &self.path, clean)
    }

    fn failed(&self, error: rusqlite::Error) -> IndexError {
        IndexError::sql(&self.path, error)
    }
}

fn put_chunk_list(
    transaction: &Transaction<'_>,
    content: &ContentHash,
    list: &ChunkList,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO chunk_lists (content, average_bytes, chunks) VALUES (?1, ?2, ?3)
             ON CONFLICT (content) DO UPDATE SET average_bytes = excluded.average_bytes, chunks = excluded.chunks",
        )?
        .execute(params![content.0, list.average_bytes, codec::chunks_blob(list)])?;
    Ok(())
}

/// The chunk list of one content.
pub(crate) fn read_chunk_list(
    connection: &Connection,
    content: &ContentHash,
) -> rusqlite::Result<Option<ChunkList>> {
    connection
        .prepare_cached("SELECT average_bytes, chunks FROM chunk_lists WHERE content = ?1")?
        .query_row([content.0], |row| chunk_list_at(row, 0))
        .optional()
}

pub(crate) fn each_chunk_list(
    connection: &Connection,
    mut each: impl FnMut(ContentHash, ChunkList),
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("SELECT content, average_bytes, chunks FROM chunk_lists")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(ContentHash(row.get(0)?), chunk_list_at(row, 1)?);
    }
    Ok(())
}

fn chunk_list_at(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<ChunkList> {
    codec::chunks(row.get(column)?, row.get_ref(column + 1)?.as_blob()?)
        .map_err(|malformed| malformed.in_column(column + 1))
}

fn unused_contents(connection: &Connection, actors: &Actors) -> rusqlite::Result<HashSet<ContentHash>> {
    let mut unused: HashSet<ContentHash> = connection
        .prepare_cached("SELECT content FROM chunk_lists")?
        .query_map([], |row| row.get(0).map(ContentHash))?
        .collect::<rusqlite::Result<_>>()?;
    if unused.is_empty() {
        return Ok(unused);
    }
    let mut uses = |content: Content| {
        if let Content::File(hash) = content {
            unused.remove(&hash);
        }
    };
    row::each(connection, actors, |row| {
        let settled = row.register.settled().iter().map(|settled| &settled.version);
        row.register.versions().iter().chain(settled).for_each(|version| uses(version.value.content()));
        row.record.iter().for_each(|record| uses(record.content));
    })?;
    log::each_kept(connection, |kept| uses(kept.content))?;
    Ok(unused)
}
