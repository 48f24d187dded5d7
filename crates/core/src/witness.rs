//! What a register may say of versions that are gone, and who bears witness to it.
//!
//! A context says what was heard of at a path, and so which versions are to be taken for gone. Anybody may pass a register
//! on, so that a context alone is anybody's word. It counts as far as those bear it out who wrote what stands there, or
//! was settled from there: a version names, under its author's signature, what it replaced ([`Version::replaced`]) and
//! what else its author had heard of there ([`Version::heard`]). Who wrote it last had heard of all that led to it.
//!
//! Believed without a witness is what takes bytes from nobody: that a delete is gone, a directory, or a change of metadata
//! alone.
//!
//! Promise kept here: H5.

use crate::conflict::{is_copy_of, may_have_landed};
use crate::context::Context;
use crate::path::SyncPath;
use crate::register::{Register, Settled};
use crate::version::{Dot, Version};

/// A register says what nobody bears witness to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unproved;

/// What of a remote's register counts beside what is known of its path: all that somebody bears witness to.
///
/// # Errors
/// If it takes something for gone that stands here, and nobody bears witness to that; or has something at a path to which
/// what was written elsewhere cannot have come.
pub(crate) fn believed(
    path: &SyncPath,
    register: Register,
    own: Option<&Register>,
) -> Result<Register, Unproved> {
    if is_plain(&register) {
        return Ok(register);
    }
    let mut born_elsewhere = register.versions().iter().filter_map(|version| version.born_at.as_ref());
    if !born_elsewhere.all(|born_at| may_have_landed(path, born_at)) {
        return Err(Unproved);
    }
    let mut context = borne_out(path, &register);
    if context.covers(register.context()) {
        return Ok(register);
    }
    let held = own.map(Register::versions).unwrap_or_default();
    let is_gone = |version: &&Version| register.get(&version.dot).is_none() && register.knows(version);
    for version in held.iter().filter(is_gone) {
        let is_proved = context.has(&version.dot, version.is_foreign());
        if !is_proved && is_of_bytes(version) && !are_bytes_replaced(version, &register) {
            return Err(Unproved);
        }
        context.insert(version.dot, version.is_foreign());
    }
    Ok(register.with_context(context))
}

/// What the author of a version that stands in a register had heard of there that is gone, and that the version does not
/// name as replaced.
pub(crate) fn gone_beside(version: &Version, register: &Register) -> Option<Box<Context>> {
    let standing = || register.versions().iter().filter(|other| other.dot != version.dot);
    // Of an actor that something else stands of, what is older than that.
    let below_standing = |dot: Dot| {
        let others = standing().filter(|other| !other.is_foreign() && other.dot.actor == dot.actor);
        let counter = others.map(|other| other.dot.counter - 1).min().unwrap_or(dot.counter);
        Dot { counter: counter.min(dot.counter), ..dot }
    };
    // Who names a dot had heard of all earlier ones of its actor.
    let is_named = |dot: &Dot| {
        let mut named = version.replaced.iter().chain([&version.dot]);
        named.any(|named| named.actor == dot.actor && named.counter >= dot.counter)
    };
    let context = register.context();
    let born = context.born().map(below_standing).filter(|dot| dot.counter > 0 && !is_named(dot));
    let is_gone = |dot: &&Dot| register.get(dot).is_none() && !version.replaced.contains(dot);
    let foreign = context.foreign().iter().filter(is_gone).copied().collect();
    let gone = Context::from_parts(born.map(|dot| (dot.actor, dot.counter)).collect(), foreign);
    (!gone.is_empty()).then(|| Box::new(gone))
}

/// Keeps what went from a register together with what had replaced its bytes, if nobody else bears witness to what its
/// author had heard of.
pub(crate) fn keep(path: &SyncPath, gone: Version, register: &mut Register) {
    if gone.is_foreign() {
        return;
    }
    let mut kept = register.clone();
    kept.retire(gone);
    if borne_out(path, &kept) != borne_out(path, register) {
        *register = kept;
    }
}

/// The context that the versions of a register bear out, of that which it has.
fn borne_out(path: &SyncPath, register: &Register) -> Context {
    let context = register.context();
    let mut heard = Context::default();
    // Nobody makes bytes go by saying that they were settled, where they are shown nowhere.
    let is_shown = |settled: &&Settled| {
        !is_of_bytes(&settled.version) || settled.copy.as_ref().is_some_and(|copy| is_copy_of(copy, path))
    };
    let settled = register.settled().iter().filter(is_shown).map(|settled| &settled.version);
    for version in register.versions().iter().chain(settled) {
        heard.insert(version.dot, version.is_foreign());
    }
    for version in all_of(register).filter(|version| !version.is_foreign()) {
        for dot in &version.replaced {
            heard.insert(*dot, context.has_foreign(dot));
        }
        version.heard.iter().for_each(|gone| heard.union(gone));
    }
    let lower = |dot: Dot| Some((dot.actor, heard.counter_of(&dot.actor)?.min(dot.counter)));
    let foreign = context.foreign().iter().filter(|dot| heard.has_foreign(dot)).copied().collect();
    Context::from_parts(context.born().filter_map(lower).collect(), foreign)
}

/// True for the usual register: one version, and nothing else ever heard of.
fn is_plain(register: &Register) -> bool {
    let (versions, context) = (register.versions(), register.context());
    let [only] = versions else { return false };
    !only.is_foreign()
        && context.highest() == [(only.dot.actor, only.dot.counter)]
        && context.foreign().is_empty()
        && register.settled().is_empty()
}

/// True if somebody replaced the same bytes at the same path, whoever had put them there.
fn are_bytes_replaced(version: &Version, register: &Register) -> bool {
    let content = version.value.content();
    let has_replaced = |other: &Version| other.changed.content && other.base == content;
    all_of(register).any(|other| has_replaced(other) && other.born_at == version.born_at)
}

/// What stands in a register, and what was settled from there.
fn all_of(register: &Register) -> impl Iterator<Item = &Version> {
    register.versions().iter().chain(register.settled().iter().map(|settled| &settled.version))
}

fn is_of_bytes(version: &Version) -> bool {
    version.value.content().is_bytes() && version.changed.content
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Actor, Changed, Content, ContentHash, DeviceId, Signature, Time, Value};

    fn dot(device: u8, counter: u64) -> Dot {
        Dot { actor: Actor { device: DeviceId([device; 32]), epoch: 1 }, counter }
    }

    fn path(text: &str) -> SyncPath {
        SyncPath::parse(text.as_bytes()).expect("a good path")
    }

    fn version(dot: Dot, value: Value) -> Version {
        let (rank, changed, signature) = (Time::default(), Changed::ALL, Signature(None));
        let (replaced, base) = (Vec::new(), Content::Absent);
        Version { dot, value, rank, replaced, heard: None, base, changed, born_at: None, signature }
    }

    fn written(dot: Dot) -> Version {
        version(dot, Value::Symlink { target: format!("{dot:?}").into_bytes().into() })
    }

    fn register(versions: Vec<Version>, heard: &[Dot]) -> Register {
        let heard = heard.iter().map(|dot| (dot.actor, dot.counter)).collect();
        Register::from_parts(versions, Context::from_parts(heard, Vec::new()), Vec::new())
    }

    /// What is known here after a remote's word of it.
    fn after(own: &Register, said: Register) -> Result<Register, Unproved> {
        let mut known = own.clone();
        known.merge(&believed(&path("f"), said, Some(own))?);
        Ok(known)
    }

    #[test]
    fn h5_a_bare_context_takes_nothing_away() {
        let own = register(vec![written(dot(1, 3))], &[]);
        assert_eq!(after(&own, register(Vec::new(), &[dot(1, 3)])), Err(Unproved));
        assert_eq!(after(&own, register(vec![written(dot(2, 1))], &[dot(1, 3)])), Err(Unproved));
    }

    #[test]
    fn h5_who_had_seen_a_version_may_replace_it_and_who_had_heard_of_it_bears_witness() {
        let own = register(vec![written(dot(1, 3))], &[]);
        let replaced = Version { replaced: vec![dot(1, 3)], ..written(dot(2, 1)) };
        let heard = Some(Box::new(Context::from_parts(vec![(dot(1, 0).actor, 3)], Vec::new())));
        for newer in [replaced, Version { heard, ..written(dot(2, 1)) }] {
            let known = after(&own, register(vec![newer.clone()], &[dot(1, 3)])).expect("it is proved");
            assert_eq!(known.versions(), [newer]);
        }
    }

    #[test]
    fn h5_what_nobody_bears_witness_to_does_not_keep_out_what_comes_later() {
        let mut own = register(vec![written(dot(1, 3))], &[]);
        let said = register(vec![written(dot(1, 3))], &[dot(1, 9), dot(2, u64::MAX)]);
        own = after(&own, said).expect("it takes nothing away");
        assert_eq!(own.context().highest(), [(dot(1, 0).actor, 3)]);
        own.merge(&register(vec![written(dot(2, 5))], &[]));
        assert_eq!(own.versions().len(), 2);
    }

    #[test]
    fn s4_deletes_directories_and_metadata_go_without_a_witness() {
        let touch = Changed { content: false, mode: false, mtime: true };
        let bytesless = [
            version(dot(1, 3), Value::ABSENT),
            version(dot(1, 3), Value::Directory { mode: 0o755 }),
            Version { changed: touch, ..written(dot(1, 3)) },
        ];
        for gone in bytesless {
            let own = register(vec![gone], &[]);
            let known = after(&own, register(Vec::new(), &[dot(1, 3)])).expect("it takes no bytes away");
            assert!(known.versions().is_empty() && known.context().has_born(&dot(1, 3)));
        }
    }

    #[test]
    fn h5_what_settles_goes_to_a_copys_name_or_stays() {
        let own = register(vec![written(dot(1, 3))], &[]);
        let settled = |copy: Option<&str>| {
            let settled = Settled { version: written(dot(1, 3)), copy: copy.map(path) };
            let context = Context::from_parts(vec![(dot(1, 0).actor, 3)], Vec::new());
            Register::from_parts(Vec::new(), context, vec![settled])
        };
        assert_eq!(after(&own, settled(None)), Err(Unproved));
        assert_eq!(after(&own, settled(Some("g"))), Err(Unproved));
        let known =
            after(&own, settled(Some("f.sync-conflict-20260101-000000-0101010"))).expect("a copy's name");
        assert!(known.versions().is_empty() && known.settled().len() == 1);
    }

    #[test]
    fn h5_what_was_written_elsewhere_stands_at_copies_names_only() {
        let landed = Version { born_at: Some(path("d/f")), ..written(dot(1, 3)) };
        let said = || register(vec![landed.clone()], &[]);
        for (at, is_good) in [("d/f.sync-conflict-1", true), ("d/g", false), ("f.sync-conflict-1", false)] {
            assert_eq!(believed(&path(at), said(), None).is_ok(), is_good, "{at}");
        }
    }

    #[test]
    fn h5_an_author_names_what_is_gone_and_nothing_that_stands() {
        let mut own = register(vec![written(dot(2, 7))], &[dot(1, 4), dot(3, 2)]);
        own.write(&[], Version { replaced: vec![dot(3, 2)], ..written(dot(4, 1)) });
        own.attest(&dot(4, 1));
        let heard =
            own.get(&dot(4, 1)).and_then(|version| version.heard.clone()).expect("it had heard of some");
        assert_eq!(heard.highest(), [(dot(1, 0).actor, 4), (dot(2, 0).actor, 6)]);
        // Whoever writes over its own alone names nothing else.
        let mut plain = register(vec![written(dot(1, 1))], &[]);
        plain.write(&[dot(1, 1)], Version { replaced: vec![dot(1, 1)], ..written(dot(1, 2)) });
        plain.attest(&dot(1, 2));
        assert_eq!(plain.get(&dot(1, 2)).and_then(|version| version.heard.clone()), None);
    }

    #[test]
    fn h5_who_goes_with_what_replaced_its_bytes_is_kept_as_a_witness() {
        let directory = version(dot(2, 1), Value::Directory { mode: 0o755 });
        let gone = Version { replaced: vec![dot(1, 3)], ..directory };
        let mut own = register(Vec::new(), &[dot(1, 3), dot(2, 1)]);
        keep(&path("f"), gone, &mut own);
        assert_eq!(own.settled().len(), 1);
        let others = register(vec![Version { changed: Changed::ALL, ..written(dot(1, 3)) }], &[]);
        assert!(after(&others, own.clone()).expect("it is proved").versions().is_empty());
        // Who had heard of nothing more is not.
        let mut plain = register(Vec::new(), &[dot(2, 1)]);
        keep(&path("f"), written(dot(2, 1)), &mut plain);
        assert!(plain.settled().is_empty());
    }

    #[test]
    fn l5_bytes_that_somebody_replaced_are_gone_whoever_had_put_them_there() {
        let bytes =
            Value::File { content: ContentHash::of(b"same"), length: 4, mode: 0o644, mtime: Time::default() };
        let own = register(vec![version(dot(1, 3), bytes.clone())], &[]);
        let newer = Version { base: bytes.content(), ..written(dot(2, 1)) };
        let known =
            after(&own, register(vec![newer.clone()], &[dot(1, 3)])).expect("its bytes were replaced");
        assert_eq!(known.versions(), [newer]);
    }
}
