//! What is asked of a machine that was put back to what it was, and of the others.
//!
//! Acts alone do not say it: the machine brings along what was made, moved and deleted before the oracle last started anew,
//! and who had heard of what by then is in the registers alone. So, for what a machine brings along, and no longer than until
//! all are at rest again:
//!
//! - A file is its token, as ever. What the machine has and nobody knows to be replaced is asked for; what somebody knows to
//!   be replaced must go, as if it had just been made and then deleted by who knew of it, so that a move of it is one more
//!   making and not a return.
//! - Directories have no tokens, and all are alike. Two of one name are the same if a register says that they are one version.
//!   One that a user makes where the engine cannot tell it from one that it knows of (recorded and not missed yet, or hidden
//!   by an edit of it) is not asked for: it goes with the other, empty, for what is put into it keeps it. Nothing that
//!   had to go may stay for that.

use std::collections::BTreeSet;

use file_sync_core::path::SyncPath;
use file_sync_core::version::Content;

use super::{Destroyed, Oracle, SOMEBODY, Told, What, family, home_of, key_of};
use crate::disk::{Body, Disk};
use crate::unheard::Left;

/// What a disk shows, by the family that it belongs to.
pub(crate) type Shown = BTreeSet<(Body, SyncPath)>;

/// What a machine alone had that was put back to what it was.
pub(crate) type Withheld = BTreeSet<(Body, SyncPath)>;

/// What becomes of what machines show when one of them is put back.
pub(crate) struct Shift {
    pub(crate) before: Shown,
    pub(crate) after: Shown,
    pub(crate) elsewhere: Shown,
    /// Directories of which nobody else has heard: what others show of the same name is another. All are alike on disks, so
    /// that the registers have to tell; a file that is elsewhere too has come from here, or to here.
    pub(crate) unheard: BTreeSet<SyncPath>,
}

impl Shift {
    fn is_kept_alone(&self, key: &(Body, SyncPath)) -> bool {
        self.after.contains(key) && !self.elsewhere.contains(key)
    }

    fn is_gone(&self, key: &(Body, SyncPath)) -> bool {
        !self.after.contains(key) && !self.elsewhere.contains(key)
    }

    fn is_unheard_of(&self, (token, path): &(Body, SyncPath)) -> bool {
        *token == Body::Directory && self.unheard.contains(path)
    }
}

pub(crate) fn shown_by(disk: &Disk) -> Shown {
    disk.items.iter().map(|(path, item)| (item.body.clone(), home_of(&item.body, path))).collect()
}

/// The same, with what was taken into the store and would have been put back.
pub(crate) fn shown_or_out(disk: &Disk) -> Shown {
    let own = disk.out.iter().filter_map(|(name, (path, _))| Some((path, disk.kept.get(name)?)));
    let inside = disk.out.values().flat_map(|(_, inside)| inside.iter().map(|(path, item)| (path, item)));
    let out = own.chain(inside).map(|(path, item)| (item.body.clone(), home_of(&item.body, path)));
    shown_by(disk).into_iter().chain(out).collect()
}

impl Oracle {
    /// A machine was put back to what it was: what it alone showed and shows no more is gone, whoever had made it.
    ///
    /// Returns what was asked for and is not any more: it is again if the machine goes on as it was, see [`Oracle::turn`].
    pub(crate) fn revert(&mut self, device: usize, mark: usize, shift: &Shift) -> Withheld {
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
                    && (shift.is_kept_alone(&key_of(told)) || shift.is_unheard_of(&key_of(told)))
            };
            if self.told[index].as_ref().is_some_and(is_undone) {
                self.undo_one(index);
            }
        }
        let mut withheld = Withheld::new();
        for key in shift.before.iter().filter(|key| shift.is_gone(key)) {
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

    /// A machine that was put back has this, and others know all versions of it to be replaced: it is what was made once, and
    /// destroyed by somebody who knew of that. So it has to go, unless its user does something with it before it does; which
    /// of several machines knew is not certain for ever, if more of them are put back.
    pub(crate) fn made_and_destroyed(&mut self, token: &Body, path: &SyncPath, withheld: &Withheld) {
        let is_asked_for = withheld.contains(&(token.clone(), home_of(token, path)));
        let fate = self.fate(token, path);
        if fate.n_made + fate.n_confirmed == 0 && fate.destroyed.iter().all(|how| how.is_partial) {
            fate.n_made = 1;
            let how = Destroyed { device: SOMEBODY, life: 0, is_partial: false, is_rested: true };
            fate.destroyed.push(how);
            // Its user, who does something at the name, makes a copy that is shown here a file of its own.
            self.actors.entry(family(path)).or_default().insert(SOMEBODY);
        } else if is_asked_for {
            // It was withheld, came back from others meanwhile, and was destroyed by who had that.
            fate.destroyed.push(Destroyed { device: SOMEBODY, life: 0, is_partial: true, is_rested: true });
        }
    }

    /// What is not shown at a path may be shown again: a machine that was put back has replaced what hides it, and has not
    /// heard of it.
    pub(crate) fn may_come_back(&mut self, content: Content, path: &SyncPath) {
        let directory = std::iter::once(&Body::Directory);
        let tokens = self.tokens.iter().chain(directory).filter(|token| token.content() == Some(content));
        let keys: Vec<_> = tokens.map(|token| (token.clone(), home_of(token, path))).collect();
        let is_shown = |key: &(Body, SyncPath)| {
            self.fates.get(key).is_some_and(|fate| fate.n_made + fate.n_confirmed > 0)
        };
        let hidden: Vec<_> = keys.into_iter().filter(|key| !is_shown(key)).collect();
        self.undone.extend(hidden);
    }

    /// Others have given what a machine that was put back shows another mode or time, of which it has not heard: its user has
    /// not seen that, and does not destroy it.
    pub(crate) fn changed_unheard_of(&mut self, token: &Body, path: &SyncPath) {
        let fate = self.fate(token, path);
        if fate.n_made + fate.n_confirmed > 0 {
            fate.n_confirmed += 1;
        }
    }

    /// What was made at a path may be taken for what was there, and has to go.
    pub(crate) fn may_go(&mut self, token: &Body, path: &SyncPath, device: usize) {
        let how = Destroyed { device, life: 0, is_partial: true, is_rested: false };
        self.fate(token, path).destroyed.push(how);
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
