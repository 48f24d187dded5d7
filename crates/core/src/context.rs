//! What a register has ever heard of: its causal context.
//!
//! Per actor the highest counter of the dots born at this path, and foreign dots (settled here from another path)
//! one by one: counters run through the whole directory, so a high counter here says nothing of dots born elsewhere.

use crate::mistake::{Mistake, is_made};
use crate::version::{Actor, Dot};

/// The causal context of one register. Both lists are sorted and hold no actor, or dot, twice.
#[derive(Clone, PartialEq, Eq, Debug, Default, PartialOrd, Ord, Hash)]
pub struct Context {
    highest: Vec<(Actor, u64)>,
    foreign: Vec<Dot>,
}

impl Context {
    /// Builds one from untrusted parts, in any order.
    pub fn from_parts(highest: Vec<(Actor, u64)>, foreign: Vec<Dot>) -> Context {
        let (mut highest, mut foreign) = (highest, foreign);
        highest.sort_unstable_by_key(|(actor, counter)| (*actor, std::cmp::Reverse(*counter)));
        highest.dedup_by_key(|(actor, _)| *actor);
        foreign.sort_unstable();
        foreign.dedup();
        Context { highest, foreign }
    }

    /// Of a path at which one dot was born, and no other.
    pub(crate) fn of_born(dot: Dot) -> Context {
        Context { highest: vec![(dot.actor, dot.counter)], foreign: Vec::new() }
    }

    /// One as it was taken apart, in order.
    pub(crate) fn from_encoded(highest: Vec<(Actor, u64)>, foreign: Vec<Dot>) -> Context {
        Context { highest, foreign }
    }

    /// The highest counter of each actor.
    pub fn highest(&self) -> &[(Actor, u64)] {
        &self.highest
    }

    /// The same as dots.
    pub fn born(&self) -> impl Iterator<Item = Dot> {
        self.highest.iter().map(|(actor, counter)| Dot { actor: *actor, counter: *counter })
    }

    /// The highest counter of an actor, if anything of it was heard of.
    pub fn counter_of(&self, actor: &Actor) -> Option<u64> {
        let index = self.highest.binary_search_by_key(actor, |(actor, _)| *actor).ok()?;
        Some(self.highest[index].1)
    }

    /// True if a dot has been heard of, born at this path or elsewhere.
    pub fn has(&self, dot: &Dot, is_foreign: bool) -> bool {
        if is_foreign { self.has_foreign(dot) } else { self.has_born(dot) }
    }

    /// The foreign dots, in order.
    pub fn foreign(&self) -> &[Dot] {
        &self.foreign
    }

    /// True if nothing was ever heard of.
    pub fn is_empty(&self) -> bool {
        self.highest.is_empty() && self.foreign.is_empty()
    }

    /// True if a dot born at this path has been heard of.
    pub fn has_born(&self, dot: &Dot) -> bool {
        self.counter_of(&dot.actor).is_some_and(|counter| counter >= dot.counter)
    }

    /// True if a dot born at another path has been heard of here.
    pub fn has_foreign(&self, dot: &Dot) -> bool {
        self.foreign.binary_search(dot).is_ok()
    }

    /// Hears of a dot born at this path, and so of all earlier ones of its actor here.
    pub fn insert_born(&mut self, dot: Dot) {
        match self.highest.binary_search_by_key(&dot.actor, |(actor, _)| *actor) {
            Ok(index) if is_made(Mistake::LowerCounterForgets) => self.highest[index].1 = dot.counter,
            Ok(index) => self.highest[index].1 = self.highest[index].1.max(dot.counter),
            Err(index) => {
                // Most paths are ever written by one actor: no room for more is kept.
                if self.highest.len() == self.highest.capacity() {
                    self.highest.reserve_exact(self.highest.len().max(1));
                }
                self.highest.insert(index, (dot.actor, dot.counter));
            }
        }
    }

    /// Hears of a dot, born at this path or elsewhere.
    pub fn insert(&mut self, dot: Dot, is_foreign: bool) {
        let is_foreign = is_foreign && !is_made(Mistake::ForeignCountedAsBorn);
        if is_foreign { self.insert_foreign(dot) } else { self.insert_born(dot) }
    }

    /// True if it has heard of everything that `other` has heard of.
    pub fn covers(&self, other: &Context) -> bool {
        other.highest.iter().all(|(actor, counter)| self.has_born(&Dot { actor: *actor, counter: *counter }))
            && other.foreign.iter().all(|dot| self.has_foreign(dot))
    }

    /// Hears of one dot born elsewhere.
    pub fn insert_foreign(&mut self, dot: Dot) {
        if let Err(index) = self.foreign.binary_search(&dot) {
            self.foreign.insert(index, dot);
        }
    }

    /// Hears of everything that `other` has heard of.
    pub fn union(&mut self, other: &Context) {
        other.highest.iter().for_each(|(actor, counter)| {
            self.insert_born(Dot { actor: *actor, counter: *counter });
        });
        other.foreign.iter().for_each(|dot| self.insert_foreign(*dot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::DeviceId;

    fn dot(device: u8, counter: u64) -> Dot {
        Dot { actor: Actor { device: DeviceId([device; 32]), epoch: 1 }, counter }
    }

    #[test]
    fn d3_a_dot_born_here_says_that_all_earlier_ones_were_heard_of() {
        let mut context = Context::default();
        context.insert_born(dot(1, 5));
        context.insert_born(dot(1, 3));
        assert_eq!(context.highest(), [(dot(1, 0).actor, 5)]);
        assert!(context.has_born(&dot(1, 1)) && context.has_born(&dot(1, 5)));
        assert!(!context.has_born(&dot(1, 6)) && !context.has_born(&dot(2, 1)));
        let other_epoch = Dot { actor: Actor { epoch: 2, ..dot(1, 0).actor }, counter: 1 };
        assert!(!context.has_born(&other_epoch), "counters of another epoch are others");
    }

    #[test]
    fn d3_a_foreign_dot_speaks_for_itself_alone() {
        let mut context = Context::default();
        context.insert(dot(1, 5), true);
        context.insert(dot(1, 5), true);
        assert_eq!(context.foreign(), [dot(1, 5)]);
        assert!(context.has_foreign(&dot(1, 5)) && !context.has_foreign(&dot(1, 4)));
        assert!(!context.has_born(&dot(1, 5)) && !context.is_empty());
    }

    #[test]
    fn h3_untrusted_parts_are_sorted_and_the_highest_counts() {
        let highest =
            [(2, 1), (1, 4), (1, 9), (1, 7)].map(|(device, counter)| (dot(device, 0).actor, counter));
        let context = Context::from_parts(highest.to_vec(), vec![dot(3, 2), dot(1, 8), dot(3, 2)]);
        assert_eq!(context.highest(), [(dot(1, 0).actor, 9), (dot(2, 0).actor, 1)]);
        assert_eq!(context.foreign(), [dot(1, 8), dot(3, 2)]);
    }

    #[test]
    fn s4_a_union_covers_both_and_is_the_same_either_way() {
        let one = Context::from_parts(vec![(dot(1, 0).actor, 4), (dot(2, 0).actor, 1)], vec![dot(3, 1)]);
        let other = Context::from_parts(vec![(dot(1, 0).actor, 2), (dot(3, 0).actor, 7)], vec![dot(3, 2)]);
        let (mut ours, mut theirs) = (one.clone(), other.clone());
        ours.union(&other);
        theirs.union(&one);
        assert_eq!(ours, theirs);
        assert!(ours.covers(&one) && ours.covers(&other));
        assert!(!one.covers(&other) && !other.covers(&one) && one.covers(&Context::default()));
    }
}
