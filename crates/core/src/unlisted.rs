//! Where the kept versions were that a stop had left unlisted: told by their names in the store, and by the rows.

use std::collections::BTreeMap;

use crate::path::SyncPath;
use crate::record::Record;
use crate::register::Register;
use crate::version::{Content, ContentHash};

/// Hex digits of the hash of its path at the end of a kept version's name.
const DIGITS: usize = 16;
/// What comes before them. Names that earlier releases gave end with the hash of the content, which is no path's.
const MARK: char = '-';

/// A name in the store for what was at a path: the name that is given, and what stands for the path.
pub fn name_in_store(name: &str, path: &SyncPath) -> String {
    format!("{name}{MARK}{}", digits(path))
}

fn digits(path: &SyncPath) -> String {
    ContentHash::of(path.as_bytes()).to_string()[..DIGITS].to_owned()
}

/// What the rows say of where files were.
#[derive(Debug, Default)]
pub struct Origins {
    /// The paths where a file is recorded, by inode and content: what was displaced a moment before a stop still is.
    recorded: BTreeMap<(u64, Content), Vec<SyncPath>>,
    /// The paths of which this is a version, or the recorded content.
    known: BTreeMap<ContentHash, Vec<SyncPath>>,
}

impl Origins {
    /// From all rows, in the order of their paths.
    pub fn of<'a>(rows: impl Iterator<Item = (&'a SyncPath, &'a Register, Option<&'a Record>)>) -> Origins {
        let mut origins = Origins::default();
        for (path, register, record) in rows {
            origins.note(path, register, record);
        }
        origins
    }

    /// Takes in the next row.
    pub fn note(&mut self, path: &SyncPath, register: &Register, record: Option<&Record>) {
        if let Some(record) = record {
            let file = (record.stat.inode, record.content);
            self.recorded.entry(file).or_default().push(path.clone());
        }
        let versions = register.versions().iter().map(|version| version.value.content());
        for content in versions.chain(record.map(|record| record.content)) {
            if content.is_bytes() {
                self.known.entry(content.hash()).or_default().push(path.clone());
            }
        }
    }

    /// Where an unlisted file was. None: nobody knows of its bytes.
    ///
    /// A file may be recorded at two paths, one of which its user has moved it from. Its name says which; of what has no
    /// such name, the last is taken.
    pub fn of_kept(&self, name: &str, inode: u64, content: Content) -> Option<&SyncPath> {
        let recorded = self.recorded.get(&(inode, content)).map(Vec::as_slice).unwrap_or_default();
        let known = self.known.get(&content.hash()).map(Vec::as_slice).unwrap_or_default();
        let said = name.rsplit_once(MARK).map(|(_, digits)| digits);
        let is_said = |path: &&SyncPath| said.is_some_and(|said| said == digits(path));
        let told = recorded.iter().chain(known).find(is_said);
        told.or_else(|| recorded.last()).or_else(|| known.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stat;
    use crate::version::Time;

    #[test]
    fn of_two_paths_with_the_same_file_the_name_says_which() {
        let path = |name: &str| SyncPath::parse(name.as_bytes()).expect("a path");
        let content = Content::File(ContentHash::of(b"bytes"));
        let time = Time { seconds: 1, nanoseconds: 0 };
        let stat = Stat { device: 1, inode: 4, size: 5, mode: 0o644, mtime: time, ctime: time };
        let record = Record { content, stat };
        let (left, here, register) = (path("d/c"), path("b/c"), Register::default());
        let origins = Origins::of([&here, &left].map(|path| (path, &register, Some(&record))).into_iter());
        for at in [&here, &left] {
            let name = name_in_store("1-2-3", at);
            assert_eq!(origins.of_kept(&name, 4, content), Some(at));
        }
        assert_eq!(origins.of_kept("1-2-3", 4, content), Some(&left), "what has no such name");
        assert_eq!(origins.of_kept("1-2-3", 5, content), Some(&here), "another file with its bytes");
        assert_eq!(origins.of_kept("1-2-3", 4, Content::File(ContentHash::of(b"others"))), None);
    }
}
