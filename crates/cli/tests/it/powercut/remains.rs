//! What is on a disk after its power was cut, before any server runs on it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use file_sync_core::record::{Record, Stat};
use file_sync_core::version::{Content, ContentHash};
use file_sync_index::DirectoryIndex;

use super::busy::{Journal, Values, values_below};

/// The files that three users had, and what the home says.
pub struct Remains {
    /// By the first component of the path: whose it was.
    pub alphas: Values,
    /// Of the user who makes everything durable.
    pub carefuls: Values,
    /// Of the one who does not.
    pub carelesses: Values,
    /// This device's epoch in the directory.
    pub epoch: u64,
    /// Paths and contents of the files that there are records of.
    pub recorded: Vec<(String, ContentHash)>,
    /// Records of files that look unchanged and have other bytes.
    pub unlike: Vec<String>,
}

impl Remains {
    /// Reads them; the home is copied first, since reading a database may change it.
    pub fn read(root: &Path, home: &Path) -> Remains {
        let copy = tempfile::tempdir().expect("a directory");
        for entry in fs::read_dir(home.join("directories")).expect("a home") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("a file can be copied");
        }
        let database = fs::read_dir(copy.path()).expect("a directory").flatten().map(|entry| entry.path());
        let database = database.into_iter().find(|path| path.extension().is_some_and(|e| e == "db"));
        let mut index = DirectoryIndex::open(&database.expect("one directory")).expect("a database in order");
        let epoch = index.state().expect("it was at work").epoch;
        let (mut recorded, mut unlike) = (Vec::new(), Vec::new());
        let each = |row: file_sync_index::Row| {
            let Some(Record { content: Content::File(hash), stat }) = row.record else { return };
            let path = String::from_utf8_lossy(row.path.as_bytes()).into_owned();
            if has_other_bytes(&root.join(&path), &stat, hash) {
                unlike.push(path.clone());
            }
            recorded.push((path, hash));
        };
        index.load(each).expect("rows can be read");
        let [alphas, carefuls, carelesses] = ["a", "b", "c"].map(|name| values_below(&root.join(name)));
        Remains { alphas, carefuls, carelesses, epoch, recorded, unlike }
    }

    /// What is recorded below one of the three directories, by the path there.
    pub fn recorded_in(&self, name: &str) -> BTreeMap<&str, ContentHash> {
        let recorded = self.recorded.iter();
        recorded
            .filter_map(|(path, hash)| Some((path.strip_prefix(name)?.strip_prefix('/')?, *hash)))
            .collect()
    }

    /// Paths in `a` of which a record says more than the disk has (C2): there nobody on this device writes but the
    /// server, so the disk has what is recorded, or what it was given later.
    pub fn ahead(&self, journal: &Journal) -> Vec<String> {
        let is_ahead = |path: &str, hash: ContentHash| {
            let Some(n_acts) = journal.n_acts_until(path, hash) else { return true };
            !journal.may_be(path, n_acts).contains(&self.alphas.get(path).map(Vec::as_slice))
        };
        let of_alpha =
            self.recorded.iter().filter_map(|(path, hash)| Some((path.strip_prefix("a/")?, *hash)));
        of_alpha.filter(|(path, hash)| is_ahead(path, *hash)).map(|(path, _)| path.to_owned()).collect()
    }
}

/// True if a file is what a record speaks of, by all that its stat says, and has other bytes.
fn has_other_bytes(path: &Path, stat: &Stat, hash: ContentHash) -> bool {
    let is_recorded = |metadata: &fs::Metadata| {
        let times = [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())];
        (metadata.ino(), metadata.len()) == (stat.inode, stat.size)
            && times == [stat.mtime, stat.ctime].map(|time| (time.seconds, i64::from(time.nanoseconds)))
    };
    fs::symlink_metadata(path).is_ok_and(|metadata| is_recorded(&metadata))
        && !fs::read(path).is_ok_and(|bytes| ContentHash::of(&bytes) == hash)
}

/// The paths whose bytes are neither what they were after so many acts nor what a later act gave them.
pub fn unlike(values: &Values, journal: &Journal, n_acts: usize) -> Vec<String> {
    let is_unlike = |path: &&str| {
        let found = values.get(*path).map(Vec::as_slice);
        !journal.may_be(path, n_acts).contains(&found)
    };
    journal.paths().into_iter().filter(is_unlike).map(str::to_owned).collect()
}
