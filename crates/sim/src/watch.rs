//! The watcher's hints: of users' acts and of the engine's own changes alike; sometimes lost, doubled or given up.

use file_sync_core::effect::Op;
use file_sync_core::engine::{Event, Hint};
use file_sync_core::path::SyncPath;

use crate::world::World;

impl World {
    /// Says that something happened at a path.
    pub(crate) fn hint(&mut self, device: usize, path: &SyncPath) {
        let is_directory = self.devices[device].disk.is_directory(path);
        let hint = if is_directory { Hint::Tree(path.clone()) } else { Hint::Path(path.clone()) };
        let chance = self.random.below(100);
        let lost = self.options.lost_hints_percent;
        if chance < lost + self.options.overflows_percent {
            self.stats.n_lost_hints += 1;
        }
        if chance < lost {
            return;
        }
        let hints = match chance - lost {
            n if n < self.options.overflows_percent => vec![Hint::Overflow],
            n if n < self.options.overflows_percent + 5 => vec![hint.clone(), hint],
            _ => vec![hint],
        };
        self.deliver(device, Event::Hints(hints));
    }

    /// Says what the watcher says of the engine's own change.
    pub(crate) fn hint_op(&mut self, device: usize, op: &Op) {
        if let Op::Move { from, .. } | Op::MoveDirectory { from, .. } = op {
            self.hint(device, from);
        }
        self.hint(device, op.path());
    }
}
