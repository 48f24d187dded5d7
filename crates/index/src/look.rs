//! Looking at a home's databases without changing them, also beside a server that has them open in another process.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::directories::{Directory, read_directories};
use crate::error::IndexError;
use crate::open::{self, DIRECTORY, HOME};

/// The server's database, open for reading alone.
pub struct HomeReader {
    connection: Connection,
    path: PathBuf,
}

impl HomeReader {
    /// Opens the database of a home, if there is one. Not within the process of the server that has it open.
    ///
    /// # Errors
    /// [`IndexError::Damaged`], [`IndexError::Newer`], [`IndexError::WrongKind`], and what the system refuses.
    pub fn open(home: &Path) -> Result<Option<HomeReader>, IndexError> {
        let path = home.join(crate::home::FILE_NAME);
        if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        Ok(Some(HomeReader { connection: open::open_reader(&path, &HOME)?, path }))
    }

    /// Every directory, those deleted included.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn directories(&self) -> Result<Vec<Directory>, IndexError> {
        open::at_one_moment(&self.connection, &self.path, read_directories)
    }

    /// When a server was started last, in seconds since 1970 UTC by the clock of that time; none: never.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_started_at(&self) -> Result<Option<i64>, IndexError> {
        self.connection
            .query_row("SELECT max(started_at) FROM incarnations", [], |row| row.get(0))
            .map_err(|error| IndexError::sql(&self.path, error))
    }

    /// Looks at every page.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    pub fn check(&self) -> Result<(), IndexError> {
        open::check_pages(&self.connection, &self.path)
    }
}

/// Looks at every page of a directory's database.
///
/// # Errors
/// [`IndexError::Damaged`], [`IndexError::Newer`], [`IndexError::WrongKind`], and what the system refuses.
pub fn check_directory(path: &Path) -> Result<(), IndexError> {
    let connection = open::open_reader(path, &DIRECTORY)?;
    open::check_pages(&connection, path)
}
