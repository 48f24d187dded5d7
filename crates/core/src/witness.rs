//! What a register may say of versions that are gone, and who bears witness to it.
//!
//! A context says what was heard of at a path, and so which versions are to be taken for gone. Anybody may pass a register
//! on, so that a context alone is anybody's word. Each dot that is heard of has to be accounted for: it stands; or it was
//! settled; or somebody whose version stands here, or was settled from here, had heard that it was gone, and signed that.
//! A version names what it replaced ([`Version::replaced`]; of each actor the lowest and the highest stand for those
//! between), and what else was gone and what stood beside all that ([`Version::heard`]). Who runs with `--strict` and writes
//! accounts for all that he had heard of, so that among such members registers are so, and merging keeps them so, but for what
//! docs/guarantees.md says of H5.
//!
//! Promise kept here: H5.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::conflict::{is_copy_of, may_have_landed};
use crate::context::Context;
use crate::path::SyncPath;
use crate::register::{Register, Settled};
use crate::version::{Actor, Content, Dot, Heard, Version};

/// So many versions that went with what had replaced their bytes are looked at, of one path; whoever says more is refused.
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
        // Bytes alone have copies; a directory that was said to be one would leave its place, and its mode.
        let has_bytes = |settled: &Settled| settled.version.value.content().is_bytes();
        let may_be_at = |settled: &Settled| {
            settled.copy.as_ref().is_none_or(|copy| has_bytes(settled) && is_copy_of(copy, path))
        };
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

    /// True if somebody whom a version's author did not know to be replaced in turn, and who had not written before that author
    /// did, replaced the same bytes: equal ones, or, of a change of metadata alone, those that it was a change of.
    fn is_replaced_unheard(&mut self, version: &Version) -> bool {
        let own = Claims::of(version);
        let of_bytes: Vec<Dot> = match (version.changed.content, &version.heard) {
            (true, _) => Vec::new(),
            (false, Some(heard)) if version.replaced.is_empty() => heard.gone.born().collect(),
            (false, _) => version.replaced.clone(),
        };
        self.n_comparisons = self.n_comparisons.saturating_add(self.claims.len() * (1 + of_bytes.len()));
        let others = self.claims.iter().filter(|other| other.version.born_at == version.born_at);
        let is_earlier = |dot: &Dot| dot.actor == version.dot.actor && dot.counter < version.dot.counter;
        let is_unheard = |dot: &Dot| !is_earlier(dot) && !own.had_heard_gone(dot);
        let unheard: Vec<_> = others.filter(|other| is_unheard(&other.version.dot)).collect();
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
