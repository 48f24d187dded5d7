//! The server's database as a whole: its settings, and what proves that its state is not an old copy.
//!
//! Its directories are in `directories`, remotes and invitations in `pairing`. Times are seconds since 1970 UTC, given
//! by the caller.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::error::IndexError;
use crate::open::{self, HOME};

/// The file's name below the home.
pub(crate) const FILE_NAME: &str = "home.db";
/// The server's database, open for writing. Dropped without [`HomeIndex::close`], it counts as not cleanly stopped.
pub struct HomeIndex {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    is_new: bool,
}

impl HomeIndex {
    /// Opens `home.db` in the directory `home`, and makes it if there is none. One opening at a time: whoever calls this
    /// has made sure that no other server runs on this home.
    ///
    /// # Errors
    /// [`IndexError::Damaged`], [`IndexError::Newer`], [`IndexError::WrongKind`], and what the system refuses. What is
    /// there is never begun anew.
    pub fn open(home: &Path) -> Result<HomeIndex, IndexError> {
        let path = home.join(FILE_NAME);
        let is_new = path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        let connection = if is_new { open::create(&path, &HOME)? } else { open::open(&path, &HOME)? };
        Ok(HomeIndex { connection, path, is_new })
    }

    /// True if there was no database: a new home, or one whose state was lost.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// A setting, if it was ever set.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn setting(&self, key: &str) -> Result<Option<String>, IndexError> {
        self.connection
            .query_row("SELECT value FROM settings WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map_err(|error| self.failed(error))
    }

    /// Sets a setting.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_setting(&mut self, key: &str, value: &str) -> Result<(), IndexError> {
        self.connection
            .execute("INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)", [key, value])
            .map_err(|error| self.failed(error))?;
        Ok(())
    }

    /// Sets several settings, all or none, in one write.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_settings(&mut self, settings: &[(String, String)]) -> Result<(), IndexError> {
        let path = self.path.clone();
        self.in_transaction(|transaction| {
            let set = || {
                let mut statement = transaction
                    .prepare_cached("INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)")?;
                settings.iter().try_for_each(|(key, value)| statement.execute([key, value]).map(drop))
            };
            set().map_err(|error| IndexError::sql(&path, error))
        })
    }

    /// Adds the incarnation of a start, durably: call it before the first dot is made.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add_incarnation(&mut self, incarnation: u64, now: i64) -> Result<(), IndexError> {
        self.connection
            .execute(
                "INSERT INTO incarnations (incarnation, started_at) VALUES (?1, ?2)",
                params![incarnation as i64, now],
            )
            .map_err(|error| self.failed(error))?;
        Ok(())
    }

    /// The incarnation of every start, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn incarnations(&self) -> Result<Vec<u64>, IndexError> {
        let read = || {
            let mut statement =
                self.connection.prepare("SELECT incarnation FROM incarnations ORDER BY id")?;
            let rows = statement.query_map([], |row| row.get::<_, i64>(0).map(|signed| signed as u64))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.failed(error))
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
    /// When the database cannot be written; what was stored is there nevertheless.
    pub fn close(self, clean: bool) -> Result<(), IndexError> {
        open::stop(self.connection, &self.path, clean)
    }

    pub(crate) fn in_transaction<T>(
        &mut self,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let path = self.path.clone();
        let failed = |error| IndexError::sql(&path, error);
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let result = write(&transaction)?;
        transaction.commit().map_err(failed)?;
        Ok(result)
    }

    pub(crate) fn expect_some(
        &self,
        n_changed: usize,
        what: impl FnOnce() -> String,
    ) -> Result<(), IndexError> {
        if n_changed == 0 {
            return Err(IndexError::Unknown { path: self.path.clone(), what: what() });
        }
        Ok(())
    }

    pub(crate) fn failed(&self, error: rusqlite::Error) -> IndexError {
        IndexError::sql(&self.path, error)
    }
}
