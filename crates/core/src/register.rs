//! The register of one path: what is known of it, whatever this disk can do.
//!
//! A register is a set of versions that nobody who had seen them replaced, the causal context of all it ever heard
//! of, and what was settled from here to conflict copies' own names. Merging is a join: commutative, associative,
//! idempotent. No value leaves but by a user's act; projections and policies live elsewhere.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::context::Context;
use crate::path::SyncPath;
use crate::version::{Dot, Version};

/// What is known of one path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Register {
    versions: Vec<Version>,
    context: Context,
    settled: Vec<Settled>,
}

/// A version that a user's act moved from its path to the conflict copy that showed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// The version.
    pub version: Version,
    /// The copy's path, which is its own from now on.
    pub copy: SyncPath,
}

impl Register {
    /// Builds one from untrusted parts: sorts, drops doubles, and hears of every dot that it holds.
    pub fn from_parts(versions: Vec<Version>, context: Context, settled: Vec<Settled>) -> Register {
        let (mut versions, mut context, mut settled) = (versions, context, settled);
        versions.sort_by_key(|version| version.dot);
        versions.dedup_by_key(|version| version.dot);
        settled.sort_by(Settled::order);
        settled.dedup_by(|one, other| one.order(other).is_eq());
        for version in &versions {
            context.insert(version.dot, version.is_foreign());
        }
        versions.shrink_to_fit();
        Register { versions, context, settled }
    }

    /// The versions not replaced, ordered by dot; deletes are among them.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// All it ever heard of.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What was settled from here, ordered by dot and copy.
    pub fn settled(&self) -> &[Settled] {
        &self.settled
    }

    /// True if nothing was ever written here.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.context.is_empty() && self.settled.is_empty()
    }

    /// True if any version is a value rather than a delete.
    pub fn has_value(&self) -> bool {
        self.versions.iter().any(|version| version.value.is_present())
    }

    /// True if the version has been heard of at this path, held or since replaced.
    pub fn knows(&self, version: &Version) -> bool {
        if version.is_foreign() {
            self.context.has_foreign(&version.dot)
        } else {
            self.context.has_born(&version.dot)
        }
    }

    /// True if merging `other` would change nothing here.
    pub fn covers(&self, other: &Register) -> bool {
        let is_kept = |version: &Version| other.get(&version.dot).is_some() || !other.knows(version);
        let is_known = |version: &Version| self.get(&version.dot).is_some() || self.knows(version);
        let is_settled = |settled: &Settled| self.settled.binary_search_by(|own| own.order(settled)).is_ok();
        self.versions.iter().all(is_kept)
            && other.versions.iter().all(is_known)
            && self.context.covers(&other.context)
            && other.settled.iter().all(is_settled)
    }

    /// Joins what another knows into this.
    ///
    /// A version stays if both hold it, or if one holds it and the other never heard of it.
    pub fn merge(&mut self, other: &Register) {
        self.versions.retain(|version| other.get(&version.dot).is_some() || !other.knows(version));
        for version in &other.versions {
            if self.get(&version.dot).is_none() && !self.knows(version) {
                self.insert_version(version.clone());
            }
        }
        self.context.union(&other.context);
        other.settled.iter().for_each(|settled| self.insert_settled(settled.clone()));
    }

    /// A user's write: removes the dots that the user had seen and adds the new version.
    pub fn write(&mut self, seen: &[Dot], version: Version) {
        self.remove(seen);
        self.insert(version);
    }

    /// Takes a foreign version in as one of this path's own: what a settled copy is from now on.
    ///
    /// Does nothing if this path has heard of it before.
    pub fn adopt(&mut self, version: Version) {
        debug_assert!(version.is_foreign(), "only a version born elsewhere is adopted");
        if !self.knows(&version) {
            self.insert(version);
        }
    }

    /// Moves a version from here to the copy that shows it, and returns it as it is to be adopted there.
    ///
    /// `here` is this register's own path. Returns none if the dot is not held.
    pub fn settle(&mut self, dot: &Dot, here: &SyncPath, copy: &SyncPath) -> Option<Version> {
        let mut version = self.get(dot)?.clone();
        self.remove(&[*dot]);
        self.insert_settled(Settled { version: version.clone(), copy: copy.clone() });
        version.born_at.get_or_insert_with(|| here.clone());
        Some(version)
    }

    /// Removes dots that a user had seen and replaced; they stay heard of.
    pub fn remove(&mut self, seen: &[Dot]) {
        let seen: BTreeSet<&Dot> = seen.iter().collect();
        self.versions.retain(|version| !seen.contains(&version.dot));
    }

    /// The version with this dot, if held.
    pub fn get(&self, dot: &Dot) -> Option<&Version> {
        self.versions.binary_search_by_key(dot, |version| version.dot).ok().map(|index| &self.versions[index])
    }

    /// Puts a signature on the version with this dot, and on its settled twin.
    pub fn sign(&mut self, dot: &Dot, signature: crate::version::Signature) {
        let settled = self.settled.iter_mut().map(|settled| &mut settled.version);
        self.versions.iter_mut().chain(settled).filter(|version| version.dot == *dot).for_each(|version| {
            version.signature = signature;
        });
    }

    fn insert(&mut self, version: Version) {
        self.context.insert(version.dot, version.is_foreign());
        self.insert_version(version);
    }

    fn insert_version(&mut self, version: Version) {
        if let Err(index) = self.versions.binary_search_by_key(&version.dot, |version| version.dot) {
            // Nearly every register holds one version: no room for more is kept.
            if self.versions.len() == self.versions.capacity() {
                self.versions.reserve_exact(self.versions.len().max(1));
            }
            self.versions.insert(index, version);
        }
    }

    fn insert_settled(&mut self, settled: Settled) {
        if let Err(index) = self.settled.binary_search_by(|own| own.order(&settled)) {
            self.settled.insert(index, settled);
        }
    }
}

impl Settled {
    fn order(&self, other: &Settled) -> Ordering {
        self.version.dot.cmp(&other.version.dot).then_with(|| self.copy.cmp(&other.copy))
    }
}
