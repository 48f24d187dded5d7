//! What a register has ever heard of: its causal context.
//!
//! Per actor the highest counter of the dots born at this path, and foreign dots (settled here from another path)
//! one by one: counters run through the whole directory, so a high counter here says nothing of dots born elsewhere.

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

    /// The highest counter of each actor.
    pub fn highest(&self) -> &[(Actor, u64)] {
        &self.highest
    }

    /// The foreign dots.
    pub fn foreign(&self) -> &[Dot] {
        &self.foreign
    }

    /// True if nothing was ever heard of.
    pub fn is_empty(&self) -> bool {
        self.highest.is_empty() && self.foreign.is_empty()
    }

    /// True if a dot born at this path has been heard of.
    pub fn has_born(&self, dot: &Dot) -> bool {
        self.highest
            .binary_search_by_key(&dot.actor, |(actor, _)| *actor)
            .is_ok_and(|index| self.highest[index].1 >= dot.counter)
    }

    /// True if a dot born at another path has been heard of here.
    pub fn has_foreign(&self, dot: &Dot) -> bool {
        self.foreign.binary_search(dot).is_ok()
    }

    /// Hears of a dot born at this path, and so of all earlier ones of its actor here.
    pub fn insert_born(&mut self, dot: Dot) {
        match self.highest.binary_search_by_key(&dot.actor, |(actor, _)| *actor) {
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
