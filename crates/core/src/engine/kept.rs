//! The kept versions that this engine knows of: what became of them while nobody asked.

use std::collections::BTreeSet;

use super::{Effect, Engine, Hint, Now};
use crate::effect::Kept;
use crate::path::SyncPath;
use crate::retention::Reason;
use crate::version::Content;

/// What a look at all kept versions has led to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeptSweep {
    /// Kept versions that are gone, by name: somebody else has taken them away.
    pub removed: Vec<String>,
    /// Those that were removed because they may go, each with why.
    pub expired: Vec<(Kept, Reason)>,
    /// Kept versions that are not what they were: somebody still wrote into them.
    pub changed: Vec<Kept>,
    /// Where such bytes were put, as files of the user's.
    pub restored: Vec<SyncPath>,
}

impl Engine {
    /// A kept version holds these bytes, as far as is known.
    pub(super) fn holds_kept(&mut self, kept: &Kept) {
        if matches!(kept.content, Content::File(_)) {
            self.kept.insert((kept.content.hash(), kept.name.clone()), kept.stat);
            self.reconsider_wanting(&kept.content.hash());
        }
    }

    /// Takes note of what was done to kept versions.
    pub fn kept_was_swept(&mut self, now: Now, sweep: KeptSweep) -> Vec<Effect> {
        self.now = now;
        let expired = sweep.expired.iter().map(|(kept, _)| kept);
        let listed = expired.chain(&sweep.changed).map(|kept| &kept.name);
        let names: BTreeSet<&String> = sweep.removed.iter().chain(listed).collect();
        if !names.is_empty() {
            self.kept.retain(|(_, name), _| !names.contains(name));
        }
        sweep.removed.into_iter().for_each(|name| self.commits.note_kept_removed(name));
        for kept in sweep.changed {
            self.holds_kept(&kept); // Others may know of these bytes by now.
            self.commits.note_kept(kept);
        }
        for (kept, reason) in sweep.expired {
            self.kept_gone_young += u64::from(reason == Reason::NoRoomForYoung);
            self.note_expired(&kept, reason);
            self.commits.note_kept_removed(kept.name);
        }
        self.on_hints(sweep.restored.into_iter().map(Hint::Path).collect());
        self.settle()
    }
}
