//! Damaged database files: opened in full or refused, never made anew.

use std::fs;
use std::path::Path;

use file_sync_core::path::SyncPath;
use file_sync_index::{Batch, DirectoryIndex, HomeIndex, IndexError};
use tempfile::TempDir;

/// A directory's database, with something of everything.
pub const DIRECTORY: &[u8] = include_bytes!("../../index/tests/fixtures/directory-1.db");
const HOME: &[u8] = include_bytes!("../../index/tests/fixtures/home-1.db");
/// Bytes before what an edit writes: where (3, little-endian), and how many (1).
const EDIT_BYTES: usize = 4;

/// A byte for which database (bit 0), whether it is cut where the first edit is (1), and then edits.
pub fn database(bytes: &[u8]) -> bool {
    let Some((flags, edits)) = bytes.split_first() else { return false };
    let is_home = flags & 1 != 0;
    let mut image = if is_home { HOME } else { DIRECTORY }.to_vec();
    edit(&mut image, edits, flags & 2 != 0);
    let home = scratch();
    let path = home.path().join(if is_home { "home.db" } else { "d.db" });
    fs::write(&path, &image).expect("written");
    let result = if is_home { use_home(home.path()) } else { use_directory(&path) };
    match result {
        Ok(()) => true,
        Err(error) => {
            told(&error);
            let left = fs::metadata(&path).expect("it is never taken away").len();
            assert!(left > 0 || image.is_empty(), "it was made empty: {error}");
            false
        }
    }
}

fn edit(image: &mut Vec<u8>, mut edits: &[u8], is_cut: bool) {
    let mut cut_at = None;
    while let Some((header, rest)) = edits.split_first_chunk::<EDIT_BYTES>() {
        let at = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize % image.len();
        let (written, rest) = rest.split_at(usize::from(header[3]).min(rest.len()));
        let end = (at + written.len()).min(image.len());
        image[at..end].copy_from_slice(&written[..end - at]);
        cut_at = cut_at.or(Some(at));
        edits = rest;
    }
    if let (true, Some(at)) = (is_cut, cut_at) {
        image.truncate(at);
    }
}

fn use_directory(path: &Path) -> Result<(), IndexError> {
    let mut index = match DirectoryIndex::open(path) {
        Ok(index) => index,
        Err(error) => {
            assert!(DirectoryIndex::create(path).is_err(), "made anew over what is there");
            return Err(error);
        }
    };
    let state = index.state().cloned();
    index.load(drop)?;
    index.chunk_lists(|_, list| drop(list))?;
    index.kept(drop)?;
    index.kept_for(&SyncPath::parse(b"a/\xffk").expect("a valid path"))?;
    index.acts(1000)?;
    index.doubts()?;
    index.drop_unreferenced()?;
    index.commit(&Batch { state: state.clone(), ..Batch::default() })?;
    index.close(true)?;
    let index = DirectoryIndex::open(path)?;
    assert_eq!(index.state(), state.as_ref(), "what was written is there");
    index.close(false)
}

fn use_home(home: &Path) -> Result<(), IndexError> {
    let mut index = HomeIndex::open(home)?;
    assert!(!index.is_new(), "a damaged database is not a new one");
    index.directories()?;
    index.remotes()?;
    index.remote_syncs()?;
    index.invitations()?;
    index.incarnations()?;
    index.setting("key")?;
    index.set_setting("key", "other")?;
    index.add_incarnation(7, 8)?;
    index.close(true)?;
    HomeIndex::open(home)?.close(true)
}

/// What is said of a damaged database names it, in one line, and is not about something else.
fn told(error: &IndexError) {
    let text = error.to_string();
    assert!(text.contains(".db") && !text.chars().any(char::is_control) && text.len() < 1000, "{text:?}");
    let is_about_damage = matches!(
        error,
        IndexError::Damaged { .. }
            | IndexError::WrongKind { .. }
            | IndexError::Newer { .. }
            | IndexError::Backwards { .. }
    );
    assert!(is_about_damage, "not told as damage: {error:?}");
}

/// A new directory in memory, where there is one.
pub fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a directory")
}
