//! Damaged blobs in a database that SQLite has no complaint about.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use file_sync_index::{Batch, DirectoryIndex, IndexError, Row};
use file_sync_wire::{decode_register, encode_register};
use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::database::{DIRECTORY, scratch};

/// What can be damaged, as a statement with the blob for a parameter.
const PLACES: [&str; 9] = [
    "UPDATE files SET register = ?1 WHERE sequence = 1",
    "UPDATE files SET register = ?1, record = NULL WHERE sequence = 7",
    "UPDATE files SET record = ?1 WHERE sequence = 1",
    "UPDATE files SET record = ?1 WHERE sequence = 7",
    "UPDATE files SET name = ?1 WHERE sequence = 2",
    "UPDATE parents SET name = ?1 WHERE id = (SELECT max(id) FROM parents)",
    "UPDATE chunk_lists SET chunks = ?1",
    "UPDATE kept SET record = ?1 WHERE name = 'one'",
    "UPDATE kept SET path = ?1 WHERE name = 'one'",
];

/// A byte that chooses what is damaged, and what stands there then.
pub fn blobs(bytes: &[u8]) -> bool {
    thread_local! { static SCENE: RefCell<Option<Scene>> = const { RefCell::new(None) } }
    let Some((place, blob)) = bytes.split_first() else { return false };
    SCENE.with_borrow_mut(|scene| {
        scene.get_or_insert_with(Scene::new).damaged(PLACES[usize::from(*place) % PLACES.len()], blob)
    })
}

struct Scene {
    index: DirectoryIndex,
    other: Connection,
    _home: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let home = scratch();
        let path: PathBuf = home.path().join("d.db");
        fs::write(&path, DIRECTORY).expect("written");
        let index = DirectoryIndex::open(&path).expect("opened");
        let other = Connection::open(&path).expect("opened");
        other.pragma_update(None, "synchronous", "OFF").expect("set");
        Scene { index, other, _home: home }
    }

    fn damaged(&mut self, place: &str, blob: &[u8]) -> bool {
        self.other.execute_batch("SAVEPOINT whole").expect("begun");
        let is_written = match self.other.execute(place, params![blob]) {
            Ok(n_rows) => n_rows > 0,
            // A name that is there already.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                false
            }
            Err(error) => panic!("{error}"),
        };
        self.other.execute_batch("RELEASE whole").expect("committed");
        let is_taken = is_written && self.is_read();
        self.heal();
        is_taken
    }

    /// Reads everything. What can be read is written again, and is then read as the same.
    fn is_read(&mut self) -> bool {
        let Some(rows) = self.rows() else { return false };
        for row in &rows {
            assert!(!row.path.is_root(), "the root has no row");
            let said = decode_register(&encode_register(&row.register));
            assert_eq!(said.as_ref(), Ok(&row.register), "what is read cannot be said to anybody");
        }
        let lists = refused_or(self.index.chunk_lists(|_, list| drop(list)));
        let kept = refused_or(self.index.kept(drop));
        let batch = Batch { rows: rows.clone(), ..Batch::default() };
        self.index.commit(&batch).expect("what was read can be written");
        let mut again = self.rows().expect("what was written can be read");
        let mut before = rows;
        before.retain(|row| !row.is_empty());
        let key = |row: &Row| (row.sequence, row.path.clone());
        before.sort_by_key(key);
        again.sort_by_key(key);
        assert_eq!(again, before, "what is written is not what was read");
        refused_or(self.index.drop_unreferenced().map(drop));
        lists && kept
    }

    fn rows(&mut self) -> Option<Vec<Row>> {
        let mut rows = Vec::new();
        refused_or(self.index.load(|row| rows.push(row))).then_some(rows)
    }

    /// Puts everything back as it was.
    fn heal(&mut self) {
        *self = Scene::new();
    }
}

/// True if it went well; anything but a word of damage is a fault.
fn refused_or(result: Result<(), IndexError>) -> bool {
    match result {
        Ok(()) => true,
        Err(IndexError::Damaged { .. }) => false,
        Err(error) => panic!("not told as damage: {error:?}"),
    }
}
