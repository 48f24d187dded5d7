//! Which dots a write names as replaced: what its author had seen at the path, and what had been replaced before by
//! those who wrote that.
//!
//! By this a change of metadata alone is known to be of bytes that somebody has since replaced, in up to 256 lives of
//! devices one after the other (promise L5). Of each actor's dots the lowest and the highest stand for those between, so that a file that is
//! edited for years carries two dots an actor.

use crate::version::{Actor, Changed, Dot, Version};

/// Of the actors named for what led to it, not for what was seen, so many are carried on.
const ACTORS_MAX: usize = 256;

/// The dots that a write of this author replaces, the newest first, if they had seen these versions and changed this of them.
///
/// A value carries on what led to the bytes that it replaces, back to a delete or to nothing. A change of metadata alone
/// names the writes of its bytes only: neither other changes of metadata, which who replaces the bytes need not have
/// seen, nor a delete that they outlived.
pub(super) fn replaced(seen: &[&Version], changed: Changed) -> Vec<Dot> {
    let mut ranges = Ranges::default();
    for version in seen {
        let is_write = version.value.is_present() && version.changed.content;
        if changed.content || is_write {
            ranges.name(&version.dot);
        }
    }
    let of_values = seen.iter().filter(|version| version.value.is_present());
    of_values.flat_map(|version| &version.replaced).for_each(|dot| ranges.carry(dot));
    ranges.ends()
}

/// Of each actor the lowest dot named and the highest, the newest actors first.
#[derive(Default)]
struct Ranges(Vec<(Actor, u64, u64)>);

impl Ranges {
    fn name(&mut self, dot: &Dot) {
        match self.0.iter_mut().find(|(actor, ..)| *actor == dot.actor) {
            Some((_, lowest, highest)) => {
                (*lowest, *highest) = (dot.counter.min(*lowest), dot.counter.max(*highest));
            }
            None => self.0.push((dot.actor, dot.counter, dot.counter)),
        }
    }

    /// Names what was named before, unless too many actors are: each start of a server is one, and a file may be edited
    /// after each for years.
    fn carry(&mut self, dot: &Dot) {
        if self.0.len() < ACTORS_MAX || self.0.iter().any(|(actor, ..)| *actor == dot.actor) {
            self.name(dot);
        }
    }

    fn ends(self) -> Vec<Dot> {
        let ends = |(actor, lowest, highest): (Actor, u64, u64)| {
            let highest = (highest != lowest).then_some(highest);
            [Some(lowest), highest].into_iter().flatten().map(move |counter| Dot { actor, counter })
        };
        self.0.into_iter().flat_map(ends).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Content, DeviceId, Signature, Time, Value};

    fn dot(device: u8, counter: u64) -> Dot {
        Dot { actor: Actor { device: DeviceId([device; 32]), epoch: 1 }, counter }
    }

    fn version(own: Dot, value: Value, changed: Changed, replaced: Vec<Dot>) -> Version {
        let (rank, base, signature) = (Time::default(), Content::Absent, Signature(None));
        Version { dot: own, value, rank, replaced, heard: None, base, changed, born_at: None, signature }
    }

    const DIRECTORY: Value = Value::Directory { mode: 0o755 };
    const METADATA: Changed = Changed { content: false, mode: true, mtime: false };

    fn check(seen: &Version, changed: Changed, expected: &[Dot]) {
        assert_eq!(replaced(&[seen], changed), expected);
    }

    #[test]
    fn l5_an_edit_names_all_that_led_to_what_it_replaces() {
        let seen = version(dot(1, 9), DIRECTORY, Changed::ALL, vec![dot(1, 2), dot(1, 5), dot(2, 7)]);
        check(&seen, Changed::ALL, &[dot(1, 2), dot(1, 9), dot(2, 7)]);
    }

    #[test]
    fn d4_what_was_there_before_a_delete_is_not_named() {
        let seen = version(dot(1, 9), Value::ABSENT, Changed::ALL, vec![dot(1, 2)]);
        check(&seen, Changed::ALL, &[dot(1, 9)]);
        check(&seen, METADATA, &[]);
    }

    #[test]
    fn l5_a_change_of_metadata_names_the_writes_of_its_bytes() {
        let written = version(dot(1, 9), DIRECTORY, Changed::ALL, vec![dot(1, 2)]);
        check(&written, METADATA, &[dot(1, 2), dot(1, 9)]);
        let touched = version(dot(2, 3), DIRECTORY, METADATA, vec![dot(1, 9)]);
        check(&touched, METADATA, &[dot(1, 9)]);
        check(&touched, Changed::ALL, &[dot(2, 3), dot(1, 9)]);
    }

    #[test]
    fn of_many_lives_those_seen_are_named_and_the_newest_carried_on() {
        let life = |epoch: u64| Dot { actor: Actor { epoch, ..dot(1, 0).actor }, counter: epoch };
        let mut seen = version(life(0), DIRECTORY, Changed::ALL, Vec::new());
        for epoch in 1..1_000 {
            seen = version(life(epoch), DIRECTORY, Changed::ALL, replaced(&[&seen], Changed::ALL));
        }
        let named = replaced(&[&seen], Changed::ALL);
        let newest: Vec<Dot> = (0..ACTORS_MAX as u64).map(|age| life(999 - age)).collect();
        assert_eq!(named, newest);
    }
}
