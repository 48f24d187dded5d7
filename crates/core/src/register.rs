//! The register of one path: what is known of it, whatever this disk can do.
//!
//! A register is a set of versions that nobody who had seen them replaced, the causal context of all it ever heard
//! of, and what was settled from here to conflict copies' own names. Merging is a join: commutative, associative,
//! idempotent. No value leaves but by a user's act; projections and policies live elsewhere.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::context::Context;
use crate::mistake::{Mistake, is_made};
use crate::path::SyncPath;
use crate::version::{Dot, Version};

/// What is known of one path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Register {
    versions: Vec<Version>,
    context: Context,
    settled: Vec<Settled>,
}

/// A version that a user's act moved from its path to the conflict copy that showed it; or one that went with what had
/// replaced its bytes, and is kept for what its author had heard of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// The version.
    pub version: Version,
    /// The copy's path, which is its own from now on; none: it is shown nowhere.
    pub copy: Option<SyncPath>,
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

    /// One as it was taken apart, in order.
    pub(crate) fn from_encoded(versions: Vec<Version>, context: Context, settled: Vec<Settled>) -> Register {
        Register { versions, context, settled }
    }

    /// The versions not replaced, ordered by dot; deletes are among them.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The same, and nothing else of it.
    pub(crate) fn into_versions(self) -> Vec<Version> {
        self.versions
    }

    /// All it ever heard of.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// What was settled from here, ordered by dot and copy.
    pub fn settled(&self) -> &[Settled] {
        &self.settled
    }

    /// True if a version with this dot was settled from here.
    pub(crate) fn has_settled(&self, dot: &Dot) -> bool {
        self.settled.binary_search_by(|settled| settled.version.dot.cmp(dot)).is_ok()
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
        if version.is_foreign() && !is_made(Mistake::ForeignCountedAsBorn) {
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
        if is_made(Mistake::LatestAlone) {
            let latest = self.versions.iter().map(Version::rank_key).max();
            self.versions.retain(|version| Some(version.rank_key()) == latest);
        }
        if !is_made(Mistake::ContextNotMerged) {
            self.context.union(&other.context);
        }
        if !is_made(Mistake::SettledNotMerged) {
            other.settled.iter().for_each(|settled| self.insert_settled(settled.clone()));
        }
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
        if !is_made(Mistake::SettledNotKept) && !is_made(Mistake::ConflictWritten) {
            self.insert_settled(Settled { version: version.clone(), copy: Some(copy.clone()) });
        }
        version.born_at.get_or_insert_with(|| here.clone());
        Some(version)
    }

    /// The same register by another causal context, which also has all that it holds.
    pub(crate) fn with_context(self, context: Context) -> Register {
        Register::from_parts(self.versions, context, self.settled)
    }

    /// Keeps a version that is shown nowhere any more for what its author had heard of.
    pub(crate) fn retire(&mut self, version: Version) {
        self.insert_settled(Settled { version, copy: None });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Actor, Changed, Content, DeviceId, Signature, Time, Value};

    fn dot(device: u8, counter: u64) -> Dot {
        Dot { actor: Actor { device: DeviceId([device; 32]), epoch: 1 }, counter }
    }

    fn version(dot: Dot, value: Value) -> Version {
        let (rank, changed, signature) = (Time::default(), Changed::ALL, Signature(None));
        Version {
            dot,
            value,
            rank,
            replaced: Vec::new(),
            heard: None,
            base: Content::Absent,
            changed,
            born_at: None,
            signature,
        }
    }

    fn written(dot: Dot) -> Version {
        version(dot, Value::Symlink { target: format!("{dot:?}").into_bytes().into() })
    }

    fn path(text: &str) -> SyncPath {
        SyncPath::parse(text.as_bytes()).expect("a valid path")
    }

    fn dots(register: &Register) -> Vec<Dot> {
        register.versions().iter().map(|version| version.dot).collect()
    }

    fn merged(one: &Register, other: &Register) -> Register {
        let mut merged = one.clone();
        merged.merge(other);
        assert_eq!(merged == *one, one.covers(other), "covered is what would change nothing");
        merged
    }

    /// What three devices may hold of one path after a few acts and merges: every act is a write, a delete or a
    /// settling of what was seen.
    fn samples() -> Vec<Register> {
        let mut registers = vec![Register::default(); 3];
        let mut samples = registers.clone();
        for step in 1..=24 {
            let device = step * step / 2 % 3;
            let (own, seen) = (dot(device as u8, step as u64), dots(&registers[device]));
            match step % 4 {
                0 => registers[device].write(&seen[..seen.len().min(1)], version(own, Value::ABSENT)),
                1 | 2 => registers[device].write(&seen[..seen.len() / 2], written(own)),
                _ => {
                    let from = registers[(device + 1) % 3].clone();
                    registers[device].merge(&from);
                    if let [first, _, ..] = dots(&registers[device])[..] {
                        registers[device].settle(&first, &path("f"), &path("f.copy"));
                    }
                }
            }
            samples.push(registers[device].clone());
        }
        samples
    }

    #[test]
    fn s4_merging_is_a_join() {
        let samples = samples();
        assert!(
            samples.iter().any(|register| !register.settled().is_empty() && register.versions().len() > 1)
        );
        for a in &samples {
            assert_eq!(merged(a, a), *a);
            for b in &samples {
                assert_eq!(merged(a, b), merged(b, a));
                assert_eq!(merged(&merged(a, b), b), merged(a, b));
                for c in &samples {
                    assert_eq!(merged(&merged(a, b), c), merged(a, &merged(b, c)));
                }
            }
        }
    }

    #[test]
    fn l1_what_a_write_had_not_seen_stays() {
        let mut register = Register::default();
        register.write(&[], written(dot(1, 1)));
        register.merge(&Register::from_parts(vec![written(dot(2, 1))], Context::default(), Vec::new()));
        register.write(&[dot(1, 1)], written(dot(1, 2)));
        assert_eq!(dots(&register), [dot(1, 2), dot(2, 1)]);
    }

    #[test]
    fn d3_what_was_deleted_does_not_come_back_by_a_merge() {
        let mut register = Register::default();
        register.write(&[], written(dot(1, 1)));
        let old = register.clone();
        register.write(&[dot(1, 1)], version(dot(2, 1), Value::ABSENT));
        register.merge(&old);
        assert_eq!(dots(&register), [dot(2, 1)]);
        assert!(!register.has_value() && !register.is_empty());
    }

    #[test]
    fn d4_the_old_delete_does_not_remove_what_was_made_after_it() {
        let mut register = Register::default();
        register.write(&[], version(dot(2, 1), Value::ABSENT));
        let deleted = register.clone();
        register.write(&[dot(2, 1)], written(dot(1, 3)));
        register.merge(&deleted);
        assert_eq!(dots(&register), [dot(1, 3)]);
    }

    #[test]
    fn l4_what_settles_moves_and_is_taken_in_once() {
        let (mut origin, mut copy) = (Register::default(), Register::default());
        origin.write(&[], written(dot(1, 1)));
        let settled = origin.settle(&dot(1, 1), &path("f"), &path("f.copy")).expect("it is held");
        assert_eq!(origin.settle(&dot(1, 1), &path("f"), &path("f.copy")), None);
        assert!(!origin.has_value() && origin.settled().len() == 1);
        assert_eq!(settled.born_at, Some(path("f")));
        copy.adopt(settled.clone());
        copy.write(&[dot(1, 1)], version(dot(1, 2), Value::ABSENT));
        copy.adopt(settled);
        assert_eq!(dots(&copy), [dot(1, 2)], "the copy was deleted, it is not taken in again");
    }

    #[test]
    fn h3_untrusted_parts_hold_no_dot_twice_and_know_what_they_hold() {
        let copies =
            ["b", "a", "b"].map(|copy| Settled { version: written(dot(1, 1)), copy: Some(path(copy)) });
        let versions = vec![written(dot(2, 5)), written(dot(1, 7)), written(dot(2, 5))];
        let register = Register::from_parts(versions, Context::default(), copies.to_vec());
        assert_eq!(dots(&register), [dot(1, 7), dot(2, 5)]);
        assert_eq!(
            register.settled().iter().map(|s| s.copy.clone()).collect::<Vec<_>>(),
            [Some(path("a")), Some(path("b"))]
        );
        assert!(register.context().has_born(&dot(1, 7)) && register.context().has_born(&dot(2, 5)));
    }
}
