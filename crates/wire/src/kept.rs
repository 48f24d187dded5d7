//! What a member keeps of a path: the question, and a page of the answer, which travels as a content does.
//!
//! Pages are in the order of paths (by their bytes) and of the times at which versions were kept, and each question goes
//! on after the place that the last page ended at; so neither side remembers anything. Versions of equal places come on
//! one page.

use std::cmp::Ordering;

use file_sync_core::path::SyncPath;
use file_sync_core::version::{Time, Value};
use prost::Message as _;

use crate::WireError;
use crate::content::PIECE_BYTES_MAX;
use crate::field::{Budget, Fields};
use crate::proto;
use crate::version::{decode_kept_value, decode_time, encode_kept_value};

/// Longest encoded page, in bytes: one piece.
pub const KEPT_PAGE_BYTES_MAX: usize = PIECE_BYTES_MAX;

const VERSIONS: u32 = 1;

/// Asks for the versions that are kept of a path, and of all below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptQuestion {
    /// Which; the root: of everything in the directory.
    pub path: SyncPath,
    /// What follows this is wanted; none: from the first on.
    pub after: Option<KeptPlace>,
}

/// Where a version stands among those that are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptPlace {
    /// The path that it was at.
    pub path: SyncPath,
    /// When it was kept.
    pub at: Time,
}

impl PartialOrd for KeptPlace {
    fn partial_cmp(&self, other: &KeptPlace) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeptPlace {
    fn cmp(&self, other: &KeptPlace) -> Ordering {
        (self.path.as_bytes(), self.at).cmp(&(other.path.as_bytes(), other.at))
    }
}

/// A version that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptVersion {
    /// Where it was, and when it was kept, by the clock of the device that keeps it.
    pub place: KeptPlace,
    /// What it is: a file or a symlink.
    pub value: Value,
    /// A symlink's modification time where it is kept: when it was made there. Of a file, what it is says that.
    pub written: Option<Time>,
}

/// Some of what is kept, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeptPage {
    /// The versions.
    pub versions: Vec<KeptVersion>,
    /// Nothing follows.
    pub is_last: bool,
}

impl KeptVersion {
    /// The most bytes that it takes in an encoded page.
    pub fn encoded_bytes_max(&self) -> usize {
        let target_bytes = if let Value::Symlink { target } = &self.value { target.len() } else { 0 };
        self.place.path.as_bytes().len() + target_bytes + 128
    }
}

/// Encodes a page; the caller keeps it below [`KEPT_PAGE_BYTES_MAX`].
pub fn encode_kept_page(page: &KeptPage) -> Vec<u8> {
    let encode = |version: &KeptVersion| proto::KeptVersion {
        place: Some(encode_place(&version.place)),
        value: encode_kept_value(&version.value),
        written: version.written.map(|Time { seconds, nanoseconds }| proto::Time { seconds, nanoseconds }),
    };
    proto::KeptPage { versions: page.versions.iter().map(encode).collect(), is_last: page.is_last }
        .encode_to_vec()
}

/// Decodes and checks a page from a remote. That it answers the question is for the caller to see.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode_kept_page(bytes: &[u8]) -> Result<KeptPage, WireError> {
    if bytes.len() > KEPT_PAGE_BYTES_MAX {
        return Err(WireError::TooLarge);
    }
    let PageHeader { is_last } = PageHeader::decode(bytes)?;
    let mut budget = Budget::new();
    let mut versions = Vec::new();
    for field in Fields::of(bytes) {
        if let (VERSIONS, version) = field? {
            budget.take::<KeptVersion>(1, version.len())?;
            versions.push(decode_version(version)?);
        }
    }
    Ok(KeptPage { versions, is_last })
}

fn decode_version(bytes: &[u8]) -> Result<KeptVersion, WireError> {
    let proto::KeptVersion { place, value, written } = proto::KeptVersion::decode(bytes)?;
    let place = place.ok_or(WireError::Invalid("kept version without a place"))?;
    let written = written.map(|written| decode_time(written.seconds, written.nanoseconds)).transpose()?;
    Ok(KeptVersion { place: decode_place(&place)?, value: decode_kept_value(value)?, written })
}

pub(crate) fn encode_question(question: &KeptQuestion) -> proto::KeptQuestion {
    proto::KeptQuestion {
        path: question.path.as_bytes().to_vec(),
        after: question.after.as_ref().map(encode_place),
    }
}

pub(crate) fn decode_question(question: &proto::KeptQuestion) -> Result<KeptQuestion, WireError> {
    let path = match &question.path[..] {
        b"" => SyncPath::root(),
        bytes => SyncPath::parse(bytes)?,
    };
    Ok(KeptQuestion { path, after: question.after.as_ref().map(decode_place).transpose()? })
}

fn encode_place(place: &KeptPlace) -> proto::KeptPlace {
    let Time { seconds, nanoseconds } = place.at;
    proto::KeptPlace { path: place.path.as_bytes().to_vec(), at: Some(proto::Time { seconds, nanoseconds }) }
}

fn decode_place(place: &proto::KeptPlace) -> Result<KeptPlace, WireError> {
    let at = place.at.as_ref().ok_or(WireError::Invalid("kept version without a time"))?;
    let at = decode_time(at.seconds, at.nanoseconds)?;
    Ok(KeptPlace { path: SyncPath::parse(&place.path)?, at })
}

/// `KeptPage` without its versions.
#[derive(Clone, PartialEq, prost::Message)]
struct PageHeader {
    #[prost(bool, tag = "2")]
    is_last: bool,
}
