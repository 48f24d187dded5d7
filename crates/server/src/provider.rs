//! Serving contents to remotes, and telling them what is kept of a path: only what belongs to a directory that the remote is
//! a member of, and of kept versions those that were kept since it became one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use file_sync_core::effect::{ChunkList, Kept};
use file_sync_core::engine::Engine;
use file_sync_core::path::SyncPath;
use file_sync_core::record::{Record, Stat};
use file_sync_core::version::{Content, ContentHash, DeviceId, DirectoryId, Time, Value};
use file_sync_disk::{ContentFile, Root};
use file_sync_index::{DirectoryReader, IndexError, KeptAt};
use file_sync_net::{ContentProvider, ContentReader, FetchError};
use file_sync_wire::kept::{KEPT_PAGE_BYTES_MAX, KeptPage, KeptPlace, KeptQuestion, KeptVersion};

use crate::room::{await_noted, lock};

/// Equal files that are tried before a content counts as not held.
pub(crate) const HOLDERS_MAX: usize = 16;
/// Kept versions that are read from the database at once.
const KEPT_AT_ONCE: usize = 1_000;

/// What a directory's contents are served from.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) engine: Arc<Mutex<Engine>>,
    pub(crate) root: Arc<Root>,
    pub(crate) reader: Arc<Mutex<DirectoryReader>>,
    /// The only devices that it is offered to; none: every member may have it.
    pub(crate) only_to: Option<BTreeSet<DeviceId>>,
}

/// A directory at work, and a reader that is opened once a remote wants to know what is kept: whoever asks for much of
/// that keeps nobody waiting who wants contents.
#[derive(Clone)]
struct Entry {
    serving: Serving,
    kept_reader: Arc<Mutex<Option<DirectoryReader>>>,
}

/// All directories at work, for the threads that serve.
#[derive(Default)]
pub(crate) struct Provider {
    directories: RwLock<BTreeMap<DirectoryId, Entry>>,
    /// Since when members are known to be some.
    members: RwLock<BTreeMap<(DirectoryId, DeviceId), Time>>,
}

impl Provider {
    /// Serves a directory from now on.
    pub(crate) fn insert(&self, directory: DirectoryId, serving: Serving) {
        let entry = Entry { serving, kept_reader: Arc::default() };
        self.directories.write().unwrap_or_else(PoisonError::into_inner).insert(directory, entry);
    }

    /// No longer serves it.
    pub(crate) fn remove(&self, directory: &DirectoryId) {
        self.directories.write().unwrap_or_else(PoisonError::into_inner).remove(directory);
    }

    /// Notes since when a device is a member of a directory; none: it is no member.
    pub(crate) fn note_member(&self, directory: DirectoryId, device: DeviceId, since: Option<Time>) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        match since {
            Some(since) => members.insert((directory, device), since),
            None => members.remove(&(directory, device)),
        };
    }

    /// The directory, if the remote is a member of it; else it learns nothing, not even that there is one.
    fn serving(&self, remote: DeviceId, directory: &DirectoryId) -> Result<Serving, FetchError> {
        Ok(self.entry(remote, directory)?.serving)
    }

    fn entry(&self, remote: DeviceId, directory: &DirectoryId) -> Result<Entry, FetchError> {
        let directories = self.directories.read().unwrap_or_else(PoisonError::into_inner);
        let entry = directories.get(directory).ok_or(FetchError::NotHeld)?.clone();
        let serving = &entry.serving;
        let is_served = {
            let engine = lock(&serving.engine);
            !engine.is_paused() && engine.members().get(&remote).is_some_and(|member| member.active)
        };
        let is_offered = serving.only_to.as_ref().is_none_or(|devices| devices.contains(&remote));
        if is_served && is_offered { Ok(entry) } else { Err(FetchError::NotHeld) }
    }
}

impl Serving {
    /// The paths that hold a content by their records, the first few.
    fn holders(&self, content: &ContentHash) -> Vec<(SyncPath, Record)> {
        let engine = lock(&self.engine);
        let holders = engine.holders(content).take(HOLDERS_MAX);
        holders.map(|(path, record)| (path.clone(), record)).collect()
    }

    /// The kept versions that hold it, the first few.
    fn kept_holders(&self, content: &ContentHash) -> Vec<(String, Stat)> {
        let engine = lock(&self.engine);
        let kept = engine.kept_holders(content).take(HOLDERS_MAX);
        kept.map(|(name, stat)| (name.to_owned(), *stat)).collect()
    }

    /// Files that still are as their records say, then kept versions, then what is staged: it may have to stay there, and
    /// whoever asks may reach nobody else that has it.
    fn files(&self, content: &ContentHash) -> impl Iterator<Item = ContentFile> {
        let recorded = self.holders(content).into_iter().filter_map(|(path, record)| {
            let file = self.root.open_content(&path, &record);
            file.inspect_err(|trouble| tracing::debug!(%path, %trouble, "cannot serve a content from here"))
                .ok()
        });
        // What holds it is asked for as late as it is needed: it may be placed from one moment to the next.
        let kept = std::iter::once_with(|| self.kept_holders(content)).flatten();
        let kept = kept.filter_map(|(name, stat)| self.root.open_kept_content(&name, &stat).ok());
        let staged = std::iter::once_with(|| self.root.open_staged_content(*content).ok()).flatten();
        recorded.chain(kept).chain(staged)
    }

    fn open(&self, content: &ContentHash) -> Result<ContentFile, FetchError> {
        self.files(content).next().ok_or(FetchError::NotHeld)
    }

    /// What a kept version is; none if it is not there any more.
    fn kept_value(&self, kept: &Kept) -> Option<Value> {
        match kept.content {
            Content::File(content) => {
                let Stat { size: length, mode, mtime, .. } = kept.stat;
                Some(Value::File { content, length, mode: mode & 0o777, mtime })
            }
            Content::Symlink(_) => {
                let target = self.root.kept_target(&kept.name).ok()?;
                Some(Value::Symlink { target })
            }
            Content::Directory | Content::Absent => None,
        }
    }
}

impl Entry {
    /// What was kept of a path since then, as much as one page holds.
    fn kept_page(&self, question: &KeptQuestion, since: Time) -> Result<KeptPage, FetchError> {
        let mut page = Page::default();
        let asked = question.after.as_ref();
        let after = asked.map(|place| KeptAt { path: place.path.as_bytes(), at: place.at, name: None });
        let mut listed = self.kept_after(&question.path, since, after)?;
        loop {
            for kept in &listed {
                let Some(value) = self.serving.kept_value(kept) else { continue };
                let place = KeptPlace { path: kept.path.clone(), at: kept.at };
                let written = matches!(value, Value::Symlink { .. }).then_some(kept.stat.mtime);
                if !page.add(KeptVersion { place, value, written }) {
                    return Ok(KeptPage { versions: page.versions, is_last: false });
                }
            }
            let Some(last) = listed.last().filter(|_| listed.len() == KEPT_AT_ONCE) else {
                return Ok(KeptPage { versions: page.versions, is_last: true });
            };
            let after = KeptAt { path: last.path.as_bytes(), at: last.at, name: Some(&last.name) };
            listed = self.kept_after(&question.path, since, Some(after))?;
        }
    }

    fn kept_after(
        &self,
        path: &SyncPath,
        since: Time,
        after: Option<KeptAt<'_>>,
    ) -> Result<Vec<Kept>, FetchError> {
        let mut opened = self.kept_reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut read = || {
            let reader = match opened.take() {
                Some(reader) => reader,
                None => self.serving.reader.lock().unwrap_or_else(PoisonError::into_inner).again()?,
            };
            opened.insert(reader).kept_after(path, since, after, KEPT_AT_ONCE)
        };
        read().map_err(|error: IndexError| {
            tracing::warn!(%error, "cannot tell a remote what is kept");
            FetchError::Remote("it cannot read which versions it keeps".to_owned())
        })
    }
}

/// A page that is being filled.
#[derive(Default)]
struct Page {
    versions: Vec<KeptVersion>,
    bytes: usize,
}

impl Page {
    /// False if the page is full. The next one goes on after a path and a moment, so versions that have both in common are
    /// left for it together; of more of them than fit on a page of their own, the rest is not told.
    fn add(&mut self, version: KeptVersion) -> bool {
        self.bytes += version.encoded_bytes_max();
        if self.bytes <= KEPT_PAGE_BYTES_MAX {
            self.versions.push(version);
            return true;
        }
        let n_before = self.versions.partition_point(|told| told.place < version.place);
        if n_before > 0 {
            self.versions.truncate(n_before);
        }
        false
    }
}

impl ContentProvider for Provider {
    fn open(
        &self,
        remote: DeviceId,
        directory: DirectoryId,
        content: ContentHash,
    ) -> Result<Box<dyn ContentReader>, FetchError> {
        let file = self.serving(remote, &directory)?.open(&content)?;
        Ok(Box::new(Served { file }))
    }

    fn chunk_list(
        &self,
        remote: DeviceId,
        directory: DirectoryId,
        content: ContentHash,
    ) -> Result<(u64, ChunkList), FetchError> {
        let serving = self.serving(remote, &directory)?;
        let known = serving.reader.lock().unwrap_or_else(PoisonError::into_inner).chunk_list(&content);
        if let Ok(Some(list)) = known {
            return Ok((serving.open(&content)?.length(), list));
        }
        let mut error = FetchError::NotHeld;
        for file in serving.files(&content) {
            let length = file.length();
            match file.rechunk(file_sync_disk::average_bytes(length)) {
                Ok((found, list)) if found == content => return Ok((length, list)),
                Ok(_) => error = FetchError::Changed,
                Err(trouble) => error = FetchError::Remote(trouble.to_string()),
            }
        }
        Err(error)
    }

    fn kept(
        &self,
        remote: DeviceId,
        directory: DirectoryId,
        question: &KeptQuestion,
    ) -> Result<KeptPage, FetchError> {
        let entry = self.entry(remote, &directory)?;
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        let since = members.get(&(directory, remote)).copied();
        drop(members);
        let since = since.ok_or(FetchError::Remote("it is just starting; ask again".to_owned()))?;
        // What has just gone from this disk is asked for at once, and kept there before that is durable.
        if question.after.is_none() {
            let _ = await_noted(&entry.serving.engine); // Else it is told the next time.
        }
        entry.kept_page(question, since)
    }
}

struct Served {
    file: ContentFile,
}

impl ContentReader for Served {
    fn length(&self) -> u64 {
        self.file.length()
    }

    fn append_at(&mut self, offset: u64, n_bytes: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let appended = self.file.append_at(offset, n_bytes, buffer);
        appended.map_err(|trouble| io::Error::other(trouble.to_string()))
    }

    fn unchanged(&mut self) -> bool {
        self.file.unchanged().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str, seconds: i64) -> KeptVersion {
        let path = SyncPath::parse(name.as_bytes()).unwrap();
        let value = Value::Symlink { target: vec![b'x'; 4_000].into() };
        KeptVersion { place: KeptPlace { path, at: Time { seconds, nanoseconds: 0 } }, value, written: None }
    }

    /// The versions of which a page can hold no more.
    fn filled(versions: impl Iterator<Item = KeptVersion>) -> Vec<KeptVersion> {
        let mut page = Page::default();
        for version in versions {
            if !page.add(version) {
                return page.versions;
            }
        }
        panic!("the page is never full");
    }

    #[test]
    fn l3_a_page_ends_between_two_moments() {
        let n_max = filled((0..).map(|seconds| version("f", seconds))).len();
        assert!(n_max > 10);
        let n_whole = n_max - 3;
        let whole = || (0..n_whole).map(|seconds| version("f", seconds.try_into().unwrap()));
        // Four of one moment, or of one moment at two paths, where three fit.
        let same = std::iter::repeat_n(version("g", 7), 4);
        assert_eq!(filled(whole().chain(same)), whole().collect::<Vec<_>>());
        let paths = ["g", "g", "h", "h"].map(|name| version(name, 7));
        let told = filled(whole().chain(paths.clone()));
        assert_eq!(told, whole().chain(paths[..2].to_vec()).collect::<Vec<_>>());
        // It gets on where all that fits on a page is of one moment.
        assert_eq!(filled(std::iter::repeat(version("g", 7))).len(), n_max);
    }
}
