//! What a register may say of versions that are gone, and who bears witness to it.
//!
//! A context says what was heard of at a path, and so which versions are to be taken for gone. Anybody may pass a register
//! on, so that a context alone is anybody's word. Each dot that is heard of has to be accounted for: it stands; or it was
//! settled; or somebody whose version stands here, or was settled from here, had heard that it was gone, and signed that.
//! A version names what it replaced ([`Version::replaced`]; of each actor the lowest and the highest stand for those
//! between), and what else was gone and what stood beside all that ([`Version::heard`]). Who writes accounts for all that
//! he had heard of, so that whoever keeps to the rules has such registers only, and merging keeps them so.
//!
//! Promise kept here: H5.

use std::collections::{BTreeMap, BTreeSet};

use crate::conflict::{is_copy_of, may_have_landed};
use crate::context::Context;
use crate::path::SyncPath;
use crate::register::{Register, Settled};
use crate::version::{Actor, Content, Dot, Heard, Version};

/// Of one path no more versions have ever gone together with what had replaced their bytes.
const RETIRED_MAX: usize = 64;
/// Comparisons that a remote's register is worth; one of thousands of versions that all speak of thousands is a liar's.
const COMPARISONS_MAX: usize = 1 << 16;

/// A register says what nobody bears witness to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unproved;

/// What of a remote's register counts beside what is known of its path: all that somebody bears witness to.
///
/// # Errors
/// If it takes something for gone that stands here, or stood when others wrote, and nobody bears witness to that; or has
/// something at a path to which what was written elsewhere cannot have come.
pub(crate) fn believed(
    path: &SyncPath,
    register: Register,
    own: Option<&Register>,
) -> Result<Register, Unproved> {
    let held = own.map(Register::versions).unwrap_or_default();
    let is_gone = |version: &&Version| register.get(&version.dot).is_none() && register.knows(version);
    let mut going = held.iter().filter(is_gone).peekable();
    if going.peek().is_none() && is_plain(&register) {
        return Ok(register);
    }
    let mut witnesses = Witnesses::of(path, &register)?;
    let context = witnesses.context();
    // A delete that all have followed may have been forgotten since by others, who write there as if nothing had been (D3):
    // of deletes it is enough that their actor has written there later.
    let is_accounted_for = |version: &Version| {
        let is_delete = !version.value.is_present();
        (is_delete && context.has(&version.dot, version.is_foreign())) || witnesses.account_for(&version.dot)
    };
    if !going.all(is_accounted_for) || !witnesses.account_for_all() {
        return Err(Unproved);
    }
    Ok(if context == *register.context() { register } else { register.with_context(context) })
}

/// What a version that is about to be written has to say beside what it replaces: its author had heard of `before`, of
/// which `after` is left.
pub(crate) fn heard(before: &Register, after: &Register, replaced: &[Dot]) -> Option<Box<Heard>> {
    let context = before.context();
    let settled = after.settled().iter().filter(|settled| settled.copy.is_some());
    let standing = after.versions().iter().chain(settled.map(|settled| &settled.version));
    let standing: BTreeSet<Dot> = standing.map(|version| version.dot).collect();
    let foreign: Vec<Dot> = context.foreign().iter().filter(|dot| !standing.contains(dot)).copied().collect();
    let named = Ranges::of(replaced, &foreign);
    let mut highest: BTreeMap<Actor, u64> = BTreeMap::new();
    let mut note = |dot: Dot| {
        let counter = highest.entry(dot.actor).or_default();
        *counter = dot.counter.max(*counter);
    };
    let is_open = |dot: &Dot| !context.has_foreign(dot) && !named.has(dot);
    context.born().filter(|dot| is_open(dot) && !standing.contains(dot)).for_each(&mut note);
    for version in all_of(before).filter(|version| !version.is_foreign()) {
        let own = Some(version.dot).filter(|dot| !standing.contains(dot));
        own.into_iter().filter(&is_open).for_each(&mut note);
        // What stands at the end of a range, or of all that is lower, stands for what is gone below it.
        version.replaced.iter().copied().filter(&is_open).for_each(&mut note);
        version.heard.iter().flat_map(|heard| heard.gone.born()).for_each(&mut note);
    }
    // Where only a lower dot is not named, all up to the highest that is known is.
    for (actor, counter) in &mut highest {
        *counter = context.counter_of(actor).unwrap_or_default().max(*counter);
    }
    let gone = Context::from_parts(highest.into_iter().collect(), foreign);
    let is_covered = |dot: &&Dot| !context.has_foreign(dot) && (named.has(dot) || gone.has_born(dot));
    let beside: Vec<Dot> = standing.iter().filter(is_covered).copied().collect();
    (!gone.is_empty() || !beside.is_empty()).then(|| Box::new(Heard { gone, beside }))
}

/// Who bears witness in one register, and to what.
struct Witnesses<'a> {
    register: &'a Register,
    claims: Vec<Claims<'a>>,
    n_comparisons: usize,
}

impl<'a> Witnesses<'a> {
    fn of(path: &SyncPath, register: &'a Register) -> Result<Witnesses<'a>, Unproved> {
        let may_stand =
            |version: &Version| version.born_at.as_ref().is_none_or(|born_at| may_have_landed(path, born_at));
        let may_be_at = |settled: &Settled| settled.copy.as_ref().is_none_or(|copy| is_copy_of(copy, path));
        if !all_of(register).all(may_stand) || !register.settled().iter().all(may_be_at) {
            return Err(Unproved);
        }
        let (settled, retired): (Vec<_>, Vec<_>) =
            register.settled().iter().partition(|settled| settled.copy.is_some());
        let shown = register.versions().iter().chain(settled.into_iter().map(|settled| &settled.version));
        let claims = shown.map(Claims::of).collect();
        let mut witnesses = Witnesses { register, claims, n_comparisons: 0 };
        witnesses.add(retired.into_iter().map(|settled| &settled.version).collect())?;
        Ok(witnesses)
    }

    /// Adds what went with what had replaced its bytes, and is shown nowhere: each for which somebody speaks that counts.
    fn add(&mut self, mut retired: Vec<&'a Version>) -> Result<(), Unproved> {
        if retired.len() > RETIRED_MAX {
            return Err(Unproved);
        }
        while !retired.is_empty() {
            let (gone, open): (Vec<_>, Vec<_>) =
                retired.iter().copied().partition(|version| self.is_rightly_gone(version));
            if gone.is_empty() {
                return Err(Unproved);
            }
            self.claims.extend(gone.into_iter().map(Claims::of));
            retired = open;
        }
        Ok(())
    }

    fn is_rightly_gone(&mut self, version: &Version) -> bool {
        self.has_heard_gone(&version.dot, version.is_foreign()) || self.is_replaced_unheard(version)
    }

    /// True if somebody of whom a version's author had not heard replaced the same bytes: equal ones, or, of a change of
    /// metadata alone, those that it was a change of.
    fn is_replaced_unheard(&mut self, version: &Version) -> bool {
        let own = Claims::of(version);
        let of_bytes: Vec<Dot> = match (version.changed.content, &version.heard) {
            (true, _) => Vec::new(),
            (false, Some(heard)) if version.replaced.is_empty() => heard.gone.born().collect(),
            (false, _) => version.replaced.clone(),
        };
        self.n_comparisons = self.n_comparisons.saturating_add(self.claims.len() * (1 + of_bytes.len()));
        let others = self.claims.iter().filter(|other| other.version.born_at == version.born_at);
        let unheard: Vec<_> = others.filter(|other| !own.had_heard_gone(&other.version.dot)).collect();
        // What is gone may be so by the change itself: only who replaced it by other bytes counts.
        let content = version.value.content();
        let register = self.register;
        let is_gone_by = |dot: &Dot, other: &Claims<'_>| {
            let was_beside = other.had_beside(dot) && !register.has_settled(dot);
            other.content != content && other.replaced.has(dot) && !was_beside
        };
        let is_gone = |dot: &Dot| unheard.iter().any(|other| is_gone_by(dot, other));
        let is_equal = |other: &Version| other.changed.content && other.base == content;
        self.n_comparisons <= COMPARISONS_MAX
            && (unheard.iter().any(|other| is_equal(other.version))
                || (!of_bytes.is_empty() && of_bytes.iter().all(is_gone)))
    }

    /// True if somebody had heard that a dot is gone.
    fn has_heard_gone(&mut self, dot: &Dot, is_foreign: bool) -> bool {
        self.n_comparisons += self.claims.len();
        self.n_comparisons <= COMPARISONS_MAX
            && self.claims.iter().any(|claims| claims.has_heard_gone(dot, is_foreign))
    }

    /// True if a dot stands, was settled, or is known to be gone.
    fn account_for(&mut self, dot: &Dot) -> bool {
        let register = self.register;
        register.get(dot).is_some()
            || register.has_settled(dot)
            || self.has_heard_gone(dot, register.context().has_foreign(dot))
    }

    /// True if all that stood beside what its authors had seen is accounted for.
    fn account_for_all(&mut self) -> bool {
        let heard: Vec<&Heard> = self.claims.iter().filter_map(Claims::heard).collect();
        heard.into_iter().flat_map(|heard| &heard.beside).all(|dot| self.account_for(dot))
    }

    /// What is borne out of all that the register says that it has heard of.
    fn context(&self) -> Context {
        let context = self.register.context();
        let mut highest: BTreeMap<Actor, u64> = BTreeMap::new();
        let mut foreign: BTreeSet<Dot> = BTreeSet::new();
        for claims @ Claims { version, named, .. } in &self.claims {
            if version.is_foreign() {
                foreign.insert(version.dot);
                continue;
            }
            let heard = claims.heard();
            let born = named.highest().chain(heard.into_iter().flat_map(|heard| heard.gone.born()));
            for dot in born.chain([version.dot]) {
                let counter = highest.entry(dot.actor).or_default();
                *counter = dot.counter.max(*counter);
            }
            foreign.extend(heard.into_iter().flat_map(|heard| heard.gone.foreign()));
        }
        let lower = |dot: Dot| Some((dot.actor, *highest.get(&dot.actor)?.min(&dot.counter)));
        let foreign = context.foreign().iter().filter(|dot| foreign.contains(dot)).copied().collect();
        Context::from_parts(context.born().filter_map(lower).collect(), foreign)
    }
}

/// What one version says of others.
struct Claims<'a> {
    version: &'a Version,
    content: Content,
    named: Ranges,
    /// What came from elsewhere to where it was written is among these.
    replaced: Ranges,
}

impl<'a> Claims<'a> {
    fn of(version: &'a Version) -> Claims<'a> {
        let foreign = version.heard.as_ref().map(|heard| heard.gone.foreign()).unwrap_or_default();
        let (named, replaced) = (Ranges::of(&version.replaced, foreign), Ranges::of(&version.replaced, &[]));
        Claims { version, content: version.value.content(), named, replaced }
    }

    /// What its author had heard of here: what was written elsewhere speaks of what was there.
    fn heard(&self) -> Option<&'a Heard> {
        self.version.heard.as_deref().filter(|_| !self.version.is_foreign())
    }

    /// True if its author had heard that a dot is gone here.
    fn has_heard_gone(&self, dot: &Dot, is_foreign: bool) -> bool {
        !self.version.is_foreign()
            && if is_foreign { self.had_foreign_gone(dot) } else { self.had_heard_gone(dot) }
    }

    /// True if its author says that a dot stood beside what he had seen, or had been settled.
    fn had_beside(&self, dot: &Dot) -> bool {
        let is_beside = |heard: &Heard| heard.beside.binary_search(dot).is_ok();
        self.version.heard.as_deref().is_some_and(is_beside)
    }

    /// The same where this version was born, of a dot that had come there from elsewhere.
    fn had_foreign_gone(&self, dot: &Dot) -> bool {
        self.version.heard.as_deref().is_some_and(|heard| heard.gone.has_foreign(dot))
    }

    /// The same of a dot that was born there too.
    fn had_heard_gone(&self, dot: &Dot) -> bool {
        let heard = self.version.heard.as_deref();
        let is_gone = self.named.has(dot) || heard.is_some_and(|heard| heard.gone.has_born(dot));
        is_gone && !self.had_beside(dot)
    }
}

/// Of each actor the lowest and the highest dot that are named.
struct Ranges(BTreeMap<Actor, (u64, u64)>);

impl Ranges {
    /// Of all dots but these, which are sorted.
    fn of(dots: &[Dot], foreign: &[Dot]) -> Ranges {
        let mut ranges: BTreeMap<Actor, (u64, u64)> = BTreeMap::new();
        for dot in dots.iter().filter(|dot| foreign.binary_search(dot).is_err()) {
            let (lowest, highest) = ranges.entry(dot.actor).or_insert((dot.counter, dot.counter));
            (*lowest, *highest) = (dot.counter.min(*lowest), dot.counter.max(*highest));
        }
        Ranges(ranges)
    }

    fn has(&self, dot: &Dot) -> bool {
        self.0.get(&dot.actor).is_some_and(|(lowest, highest)| (*lowest..=*highest).contains(&dot.counter))
    }

    fn highest(&self) -> impl Iterator<Item = Dot> {
        self.0.iter().map(|(actor, (_, highest))| Dot { actor: *actor, counter: *highest })
    }
}

/// True for the usual register: one version, whose author had heard of nothing but what it replaced.
fn is_plain(register: &Register) -> bool {
    let (versions, context) = (register.versions(), register.context());
    let [only] = versions else { return false };
    !only.is_foreign()
        && only.heard.is_none()
        && context.highest() == [(only.dot.actor, only.dot.counter)]
        && context.foreign().is_empty()
        && register.settled().is_empty()
}

/// What stands in a register, and what was settled from there.
fn all_of(register: &Register) -> impl Iterator<Item = &Version> {
    register.versions().iter().chain(register.settled().iter().map(|settled| &settled.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Act, Tree};
    use crate::version::{Changed, ContentHash, DeviceId, Signature, Time, Value};

    const TOUCH: Changed = Changed { content: false, mode: false, mtime: true };

    fn dot(device: u8, counter: u64) -> Dot {
        Dot { actor: Actor { device: DeviceId([device; 32]), epoch: 1 }, counter }
    }

    fn path(text: &str) -> SyncPath {
        SyncPath::parse(text.as_bytes()).expect("a good path")
    }

    fn text(bytes: &str) -> Value {
        let (content, length) = (ContentHash::of(bytes.as_bytes()), bytes.len() as u64);
        Value::File { content, length, mode: 0o644, mtime: Time::default() }
    }

    fn version(dot: Dot, value: Value) -> Version {
        let (rank, changed, signature) = (Time::default(), Changed::ALL, Signature(None));
        let (replaced, base) = (Vec::new(), Content::Absent);
        Version { dot, value, rank, replaced, heard: None, base, changed, born_at: None, signature }
    }

    fn written(dot: Dot) -> Version {
        version(dot, text(&format!("{dot:?}")))
    }

    fn replacing(dot: Dot, replaced: &[Dot]) -> Version {
        Version { replaced: replaced.to_vec(), ..written(dot) }
    }

    fn heard_of(heard: &[Dot]) -> Context {
        Context::from_parts(heard.iter().map(|dot| (dot.actor, dot.counter)).collect(), Vec::new())
    }

    fn register(versions: Vec<Version>, heard: &[Dot]) -> Register {
        Register::from_parts(versions, heard_of(heard), Vec::new())
    }

    fn settling(versions: Vec<Version>, heard: &[Dot], settled: Vec<(Version, Option<&str>)>) -> Register {
        let settled = settled.into_iter().map(|(version, copy)| Settled { version, copy: copy.map(path) });
        Register::from_parts(versions, heard_of(heard), settled.collect())
    }

    /// What is known here after a remote's word of it.
    fn after(own: &Register, said: Register) -> Result<Register, Unproved> {
        let mut known = own.clone();
        known.merge(&believed(&path("f"), said, Some(own))?);
        Ok(known)
    }

    fn act(tree: &mut Tree, dot: Dot, before: Content, value: Value) {
        let rank = Time { seconds: dot.counter as i64, nanoseconds: 0 };
        tree.act(Act { path: path("f"), before, value, changed: Changed::ALL, rank, dot });
    }

    fn attesting() -> Tree {
        let mut tree = Tree::of(DeviceId([0; 32]));
        (tree.keeps_witnesses, tree.attests) = (true, true);
        tree
    }

    fn known(tree: &Tree) -> Register {
        tree.get(&path("f")).expect("something is known of it").register.clone()
    }

    #[test]
    fn h5_a_bare_context_takes_nothing_away() {
        let touched = Version { changed: TOUCH, replaced: vec![dot(1, 3)], ..written(dot(1, 4)) };
        let all = [
            written(dot(1, 3)),
            touched,
            version(dot(1, 3), Value::ABSENT),
            version(dot(1, 3), Value::Directory { mode: 0o755 }),
        ];
        for held in all {
            let own = register(vec![held.clone()], &[]);
            assert_eq!(after(&own, register(Vec::new(), &[held.dot])), Err(Unproved), "{held:?}");
            assert_eq!(after(&own, register(vec![written(dot(2, 1))], &[held.dot])), Err(Unproved));
            // Nor does saying that it went with what had replaced it, or to a name that is no copy's.
            for copy in [None, Some("g"), Some("f.sync-conflict-1")] {
                let said = settling(Vec::new(), &[held.dot], vec![(held.clone(), copy)]);
                assert_eq!(after(&own, said).is_ok(), copy == Some("f.sync-conflict-1"), "{held:?} {copy:?}");
            }
        }
    }

    #[test]
    fn h5_who_had_seen_a_version_replaces_it_and_who_had_heard_that_it_is_gone_bears_witness() {
        let own = register(vec![written(dot(1, 3))], &[]);
        let heard = Heard { gone: heard_of(&[dot(1, 3)]), beside: Vec::new() };
        let hearing = Version { heard: Some(Box::new(heard)), ..written(dot(2, 1)) };
        for newer in [replacing(dot(2, 1), &[dot(1, 3)]), hearing] {
            let known = after(&own, register(vec![newer.clone()], &[dot(1, 3)])).expect("it is proved");
            assert_eq!(known.versions(), [newer]);
        }
    }

    #[test]
    fn h5_a_later_version_of_the_same_actor_is_no_witness_by_itself() {
        let own = register(vec![written(dot(1, 3))], &[]);
        assert_eq!(after(&own, register(vec![written(dot(1, 7))], &[])), Err(Unproved));
        assert_eq!(
            after(&own, register(vec![replacing(dot(2, 1), &[dot(1, 7)])], &[dot(1, 7)])),
            Err(Unproved)
        );
    }

    #[test]
    fn h5_what_stood_beside_cannot_be_left_out() {
        let beside = Heard { gone: heard_of(&[dot(1, 7)]), beside: vec![dot(1, 3)] };
        let newer = Version { heard: Some(Box::new(beside)), ..replacing(dot(2, 1), &[dot(1, 7)]) };
        let stranger = Register::default();
        assert_eq!(after(&stranger, register(vec![newer.clone()], &[])), Err(Unproved));
        let whole = register(vec![newer.clone(), written(dot(1, 3))], &[]);
        assert_eq!(after(&stranger, whole).expect("nothing is left out").versions().len(), 2);
        let copy = Some("f.sync-conflict-1");
        let settled = settling(vec![newer], &[dot(1, 7)], vec![(written(dot(1, 3)), copy)]);
        assert!(after(&stranger, settled).is_ok());
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
    fn h5_who_has_replaced_bytes_before_does_not_replace_them_again() {
        let first = version(dot(1, 1), text("x"));
        let second = Version { base: text("x").content(), ..replacing(dot(2, 2), &[dot(1, 1)]) };
        let reverted = Version { replaced: vec![dot(2, 2), dot(1, 1)], ..version(dot(3, 3), text("x")) };
        let own = register(vec![reverted.clone()], &[]);
        for settled in [vec![(reverted.clone(), None)], vec![(reverted, None), (second.clone(), None)]] {
            assert_eq!(after(&own, settling(vec![second.clone()], &[dot(3, 3)], settled)), Err(Unproved));
        }
        // Of equal bytes that it had not heard of it is known to have replaced the bytes.
        let own = register(vec![version(dot(3, 3), text("x"))], &[]);
        let said = settling(vec![second], &[dot(3, 3)], vec![(version(dot(3, 3), text("x")), None)]);
        assert_eq!(after(&own, said).expect("its bytes were replaced").versions().len(), 1);
        assert!(!register(vec![first], &[]).is_empty());
    }

    #[test]
    fn h5_what_was_written_elsewhere_stands_at_copies_names_only() {
        let landed = Version { born_at: Some(path("d/f")), ..written(dot(1, 3)) };
        let at = ["d/f.sync-conflict-1", "d/g", "f.sync-conflict-1", "d/f"];
        for (at, is_good) in at.into_iter().zip([true, false, false, false]) {
            let said = register(vec![landed.clone()], &[]);
            assert_eq!(believed(&path(at), said, None).is_ok(), is_good, "{at}");
        }
        let copy = path("d/f.sync-conflict-1");
        let itself = Version { born_at: Some(copy.clone()), ..written(dot(1, 3)) };
        assert_eq!(believed(&copy, register(vec![itself], &[]), None), Err(Unproved));
    }

    #[test]
    fn h5_an_author_names_what_led_to_a_delete_that_it_writes_over() {
        let mut tree = attesting();
        act(&mut tree, dot(1, 1), Content::Absent, text("a"));
        let old = known(&tree);
        act(&mut tree, dot(2, 2), text("a").content(), Value::ABSENT);
        act(&mut tree, dot(3, 3), Content::Absent, text("b"));
        let now = known(&tree);
        assert_eq!(now.versions()[0].replaced, [dot(2, 2)]);
        assert_eq!(after(&old, now.clone()), Ok(now));
        // Where nothing was deleted, nothing needs to be said.
        let mut plain = attesting();
        act(&mut plain, dot(1, 1), Content::Absent, text("a"));
        act(&mut plain, dot(1, 2), text("a").content(), text("b"));
        act(&mut plain, dot(2, 1), text("b").content(), text("c"));
        assert_eq!(known(&plain).versions()[0].heard, None);
    }

    /// What one actor says of ten thousands of others is dealt with in no time, and refused where it is a liar's.
    #[test]
    fn h3_thousands_of_claims_are_borne() {
        let others = |epoch: u64| Dot { actor: Actor { epoch, ..dot(2, 0).actor }, counter: 1 };
        let many: Vec<Dot> = (0..20_000).rev().map(others).collect();
        let foreign = Register::from_parts(
            vec![replacing(dot(1, 1), &many)],
            Context::from_parts(Vec::new(), many.clone()),
            Vec::new(),
        );
        let start = std::time::Instant::now();
        assert!(believed(&path("f"), foreign, None).is_ok());
        let heard = Heard { gone: Context::default(), beside: many.iter().rev().copied().collect() };
        let beside = Version { heard: Some(Box::new(heard)), ..written(dot(1, 1)) };
        let crowd = (2..5_000).map(|counter| written(dot(3, counter)));
        let liar = register(crowd.chain([beside]).collect(), &[]);
        assert_eq!(believed(&path("f"), liar, None), Err(Unproved));
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }

    /// Numbers that look random, the same for each seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % n
        }

        fn is_one_in(&mut self, n: usize) -> bool {
            self.below(n) == 0
        }
    }

    /// Some of what anybody has ever known of a path, put together as somebody likes who wrote none of it.
    fn lie(random: &mut Random, told: &[Register]) -> Register {
        let some = |random: &mut Random| told[random.below(told.len())].clone();
        let (mut versions, mut settled, mut heard) = (Vec::new(), Vec::new(), Context::default());
        for _ in 0..=random.below(3) {
            let part = some(random);
            versions.extend(part.versions().iter().filter(|_| !random.is_one_in(3)).cloned());
            settled.extend(part.settled().iter().filter(|_| !random.is_one_in(3)).cloned());
            if random.is_one_in(4) {
                settled
                    .extend(part.versions().iter().map(|gone| Settled { version: gone.clone(), copy: None }));
            }
            heard.union(part.context());
        }
        if random.is_one_in(2) {
            told.iter().for_each(|part| heard.union(part.context()));
        }
        Register::from_parts(versions, heard, settled)
    }

    /// True if a register has this, at its path or at a copy's name.
    fn has(register: &Register, version: &Version) -> bool {
        let is_it = |settled: &Settled| settled.copy.is_some() && settled.version.dot == version.dot;
        register.get(&version.dot).is_some() || register.settled().iter().any(is_it)
    }

    /// Three users at one path and its copies, who hear of each other now and then; and somebody who tells them, of what they
    /// wrote, whatever he likes. What stands, as all of them know together, he takes from nobody.
    #[test]
    fn h5_no_choice_of_what_others_wrote_takes_from_anybody_what_stands() {
        let (mut n_lies, mut n_taken_in) = (0, 0);
        for seed in 0..3_000 {
            let mut random = Random(seed);
            let mut trees: [Tree; 3] = std::array::from_fn(|_| attesting());
            let mut counters = [0; 3];
            let mut told: Vec<Register> = Vec::new();
            for _ in 0..random.below(24) {
                let device = random.below(3);
                if random.is_one_in(2) {
                    let from = trees[random.below(3)].clone();
                    from.iter().for_each(|(path, node)| _ = trees[device].merge(path, &node.register));
                    continue;
                }
                let paths: Vec<SyncPath> = trees[device].iter().map(|(path, _)| path.clone()).collect();
                let at = if paths.is_empty() || random.is_one_in(2) {
                    path("f")
                } else {
                    paths[random.below(paths.len())].clone()
                };
                counters[device] += 1;
                let before = trees[device].project(&at).value;
                let value = match random.below(6) {
                    0 => Value::ABSENT,
                    1 => Value::Directory { mode: 0o755 },
                    _ => text(&format!("{seed} {device} {}", counters[device])),
                };
                let is_touch = before.is_present() && random.is_one_in(4);
                let (value, changed) = if is_touch { (before.clone(), TOUCH) } else { (value, Changed::ALL) };
                let rank = Time { seconds: random.below(9) as i64, nanoseconds: 0 };
                let dot = dot(device as u8 + 1, counters[device]);
                trees[device].act(Act { path: at, before: before.content(), value, changed, rank, dot });
                told.extend(trees.iter().filter_map(|tree| Some(tree.get(&path("f"))?.register.clone())));
            }
            let mut all = Register::default();
            told.iter().for_each(|part| all.merge(part));
            let hidden = crate::projection::hidden(&all.versions().iter().collect::<Vec<_>>(), all.settled());
            let owns: Vec<Register> =
                trees.iter().filter_map(|tree| Some(tree.get(&path("f"))?.register.clone())).collect();
            for own in owns.iter().flat_map(|own| [own; 8]) {
                n_lies += 1;
                let said = lie(&mut random, &told);
                let Ok(known) = after(own, said.clone()) else { continue };
                n_taken_in += 1;
                for version in own.versions().iter().filter(|version| version.value.content().is_bytes()) {
                    let is_settled_alone = || {
                        has(&all, version)
                            && told
                                .iter()
                                .flat_map(all_of)
                                .all(|other| !Claims::of(other).had_heard_gone(&version.dot))
                    };
                    let stands = all.get(&version.dot).is_some() && !hidden.contains(&version.dot);
                    let stands = stands || is_settled_alone();
                    // A change of metadata goes with bytes that somebody has replaced (L5).
                    let is_replaced_by = |other: &Version| {
                        let replaced = Ranges::of(&other.replaced, &[]);
                        other.value.content() != version.value.content()
                            && version.replaced.iter().all(|dot| replaced.has(dot))
                    };
                    let is_replaced = !version.changed.content && all_of(&all).any(is_replaced_by);
                    let is_lost = !has(&known, version) && stands && !is_replaced;
                    assert!(
                        !is_lost,
                        "seed {seed}: {version:?} is lost\nknown {own:?}\nsaid {said:?}\nall {all:?}"
                    );
                }
            }
        }
        assert!(n_taken_in > n_lies / 20, "{n_taken_in} of {n_lies} were believed");
    }
}
