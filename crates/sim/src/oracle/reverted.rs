//! What is asked of a machine that was put back to what it was, and of the others.

use std::collections::BTreeSet;

use file_sync_core::path::SyncPath;
use file_sync_core::version::Content;

use super::{Destroyed, Oracle, Told, What, family, home_of, key_of};
use crate::disk::{Body, Disk};
use crate::unheard::Left;

/// What a disk shows, by the family that it belongs to.
pub(crate) type Shown = BTreeSet<(Body, SyncPath)>;

/// What a machine alone had that was put back to what it was.
pub(crate) type Withheld = BTreeSet<(Body, SyncPath)>;

pub(crate) fn shown_by(disk: &Disk) -> Shown {
    disk.items.iter().map(|(path, item)| (item.body.clone(), home_of(&item.body, path))).collect()
}

impl Oracle {
    /// A machine was put back to what it was: what it alone showed and shows no more is gone, whoever had made it.
    ///
    /// Returns what was asked for and is not any more: it is again if the machine goes on as it was, see [`Oracle::turn`].
    pub(crate) fn revert(
        &mut self,
        device: usize,
        mark: usize,
        shown_before: &Shown,
        shown_after: &Shown,
        shown_elsewhere: &Shown,
    ) -> Withheld {
        self.reverted.insert(device);
        // Who went back has not seen what came after, and nobody need have heard of what it destroyed.
        let destroyed = self.told[mark.min(self.told.len())..].iter().flatten();
        let destroyed = destroyed.filter(|told| told.device == device && told.what == What::Destroyed);
        for key in destroyed.map(key_of).collect::<BTreeSet<_>>() {
            let how = self.fates.entry(key).or_default().destroyed.iter_mut();
            how.filter(|how| how.device == device).for_each(|how| how.is_partial = true);
        }
        // What it made since is undone, though the same may be there from before.
        for index in (mark.min(self.told.len())..self.told.len()).rev() {
            let is_undone = |told: &Told| {
                told.device == device
                    && told.what != What::Destroyed
                    && shown_after.contains(&key_of(told))
                    && !shown_elsewhere.contains(&key_of(told))
            };
            if self.told[index].as_ref().is_some_and(is_undone) {
                self.undo_one(index);
            }
        }
        let mut withheld = Withheld::new();
        let is_gone = |key: &&(Body, SyncPath)| !shown_after.contains(key) && !shown_elsewhere.contains(key);
        for key in shown_before.iter().filter(is_gone) {
            let fate = self.fates.entry(key.clone()).or_default();
            let n_made = std::mem::take(&mut fate.n_made) + std::mem::take(&mut fate.n_confirmed);
            self.undone.insert(key.clone());
            if self.appeared.insert(key.clone()) && n_made > 0 && fate.destroyed.is_empty() {
                withheld.insert(key.clone());
            }
            for told in &mut self.told {
                told.take_if(|told| told.what != What::Destroyed && key_of(told) == *key);
            }
        }
        withheld
    }

    /// A machine that only sends was put back: what it had done since at these paths, or at any that were told of since so much
    /// was, is another's to it now, which it does not take.
    pub(crate) fn takes_back_nothing(&mut self, device: usize, mark: usize, paths: &BTreeSet<SyncPath>) {
        let told = self.told[mark.min(self.told.len())..].iter().flatten();
        let told = told.filter(|told| told.device == device).map(|told| family(&told.path));
        for family in told.chain(paths.iter().map(family)).collect::<BTreeSet<_>>() {
            self.actors.entry(family).or_default().insert(usize::MAX);
        }
    }

    /// What was at a device's path may be taken for destroyed there.
    pub(crate) fn is_unrecorded(&mut self, path: &SyncPath, device: usize) {
        let home = family(path);
        let how = Destroyed { device, life: 0, is_partial: true, is_rested: false };
        let around = self.fates.iter_mut().filter(|((_, other), _)| *other == home || other == path);
        around.for_each(|(_, fate)| fate.destroyed.push(how));
    }

    /// A machine that was put back has this, of a version that nobody else knows to be replaced.
    ///
    /// If nobody else has heard of it, it is made once more: who destroys what there was otherwise has not seen it. Else it
    /// may be the one that there was.
    pub(crate) fn made_and_left(&mut self, left: &Left, device: usize, withheld: &Withheld) {
        let Left { token, path, is_unheard_of, may_be_replaced } = left;
        let is_counted = withheld.contains(&(token.clone(), home_of(token, path)));
        let fate = self.fate(token, path);
        let is_new = fate.n_made + fate.n_confirmed == 0 && fate.destroyed.is_empty();
        fate.n_made += u32::from(is_new || (*is_unheard_of && !is_counted));
        if *may_be_replaced {
            fate.destroyed.push(Destroyed { device, life: 0, is_partial: true, is_rested: false });
        }
    }

    /// A machine that was put back knows that this was replaced, or deleted, and nobody else does.
    pub(crate) fn replaced_unheard_of(&mut self, content: Content, path: &SyncPath, device: usize) {
        let how = Destroyed { device, life: 0, is_partial: true, is_rested: false };
        let is_it = |(token, home): &(Body, SyncPath)| {
            token.content() == Some(content) && *home == home_of(token, path)
        };
        let known = self.fates.iter_mut().filter(|(key, _)| is_it(key));
        known.for_each(|(_, fate)| fate.destroyed.push(how));
    }

    /// A machine goes on as it was: what it alone had is asked for again.
    pub(crate) fn turn(&mut self, withheld: &Withheld) {
        for key in withheld {
            self.appeared.remove(key);
            self.fates.entry(key.clone()).or_default().n_made += 1;
            self.undone.remove(key);
        }
    }

    /// True if any machine was ever put back to what it was.
    pub fn had_reverts(&self) -> bool {
        !self.reverted.is_empty()
    }
}
