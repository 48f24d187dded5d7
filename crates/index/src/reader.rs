//! A second connection to a directory's database: content is served beside its writer, without waiting for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use file_sync_core::effect::{ChunkList, Kept};
use file_sync_core::message::Members;
use file_sync_core::path::SyncPath;
use file_sync_core::version::{ContentHash, Time};
use rusqlite::Connection;

use crate::actors::Actors;
use crate::directory::{each_chunk_list, read_chunk_list};
use crate::error::IndexError;
use crate::log::{Act, ActsAfter, AlsoActs, KeptAt, acts, each_kept, kept_after, whys};
use crate::open::{self, DIRECTORY};
use crate::state;

/// A directory's database, open for reading: may be moved to another thread than its writer's.
pub struct DirectoryReader {
    connection: Connection,
    path: PathBuf,
}

impl DirectoryReader {
    /// Opens the database at `path`, which a [`DirectoryIndex`](crate::DirectoryIndex) should have open.
    ///
    /// # Errors
    /// As for [`DirectoryIndex::open`](crate::DirectoryIndex::open), but does not look for damage.
    pub fn open(path: &Path) -> Result<DirectoryReader, IndexError> {
        Ok(DirectoryReader { connection: open::open_reader(path, &DIRECTORY)?, path: path.to_owned() })
    }

    /// Opens the same database once more: for questions that must not keep others waiting.
    ///
    /// # Errors
    /// As for [`DirectoryReader::open`].
    pub fn again(&self) -> Result<DirectoryReader, IndexError> {
        DirectoryReader::open(&self.path)
    }

    /// The member list, as last committed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn members(&self) -> Result<Members, IndexError> {
        let state = open::at_one_moment(&self.connection, &self.path, state::read)?;
        Ok(state.map(|state| state.members).unwrap_or_default())
    }

    /// How a content divides into chunks, as last committed, if that is known.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn chunk_list(&self, content: &ContentHash) -> Result<Option<ChunkList>, IndexError> {
        read_chunk_list(&self.connection, content).map_err(|error| IndexError::sql(&self.path, error))
    }

    /// Every committed kept version, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn kept(&self) -> Result<Vec<Kept>, IndexError> {
        let mut kept = Vec::new();
        each_kept(&self.connection, |one| kept.push(one))
            .map_err(|error| IndexError::sql(&self.path, error))?;
        Ok(kept)
    }

    /// The committed kept versions of a path and of all below it, by path (as bytes), time and name: those after a place
    /// that were kept at a time or later, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn kept_after(
        &self,
        path: &SyncPath,
        since: Time,
        after: Option<KeptAt<'_>>,
        limit: usize,
    ) -> Result<Vec<Kept>, IndexError> {
        open::at_one_moment(&self.connection, &self.path, |connection| {
            kept_after(connection, path, since, after, limit)
        })
    }

    /// The latest committed acts at a path, at what lies below it, and at the directories above; at most `limit`, the newest
    /// first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn acts(&self, path: &SyncPath, limit: usize) -> Result<Vec<Act>, IndexError> {
        self.acts_after(path, None, limit).map(|(acts, _)| acts)
    }

    /// The same, with others besides.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn acts_and(&self, path: &SyncPath, also: &AlsoActs, limit: usize) -> Result<Vec<Act>, IndexError> {
        open::at_one_moment(&self.connection, &self.path, |connection| {
            acts(connection, &Actors::read(connection)?, (path, Some(also)), None, limit)
        })
        .map(|(acts, _)| acts)
    }

    /// The same, from where an earlier listing has come to; with where this one has come to, if it lists as many.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn acts_after(
        &self,
        path: &SyncPath,
        after: Option<ActsAfter>,
        limit: usize,
    ) -> Result<(Vec<Act>, Option<ActsAfter>), IndexError> {
        open::at_one_moment(&self.connection, &self.path, |connection| {
            acts(connection, &Actors::read(connection)?, (path, None), after, limit)
        })
    }

    /// Of what was done in a word, at all paths since a time, why, and when: what `is_asked` of it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn whys(
        &self,
        what: &str,
        since: Time,
        is_asked: impl Fn(&(String, Time)) -> bool,
    ) -> Result<BTreeSet<(String, Time)>, IndexError> {
        whys(&self.connection, what, since, is_asked).map_err(|error| IndexError::sql(&self.path, error))
    }

    /// Gives every committed chunk list to `each`, with the hash of its content.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn chunk_lists(&self, each: impl FnMut(ContentHash, ChunkList)) -> Result<(), IndexError> {
        each_chunk_list(&self.connection, each).map_err(|error| IndexError::sql(&self.path, error))
    }
}
