//! How often something that costs much is done because remotes ask for it: many times at once, then once a pause.

/// So often at once; no honest remote comes near it.
const AT_ONCE: u64 = 16;

/// Until when what was done is paid for. The idea is that of the generic cell rate algorithm (ITU-T I.371).
#[derive(Debug, Default)]
pub(in crate::engine) struct Pace {
    paid_until_ms: u64,
}

impl Pace {
    /// Pays for doing it once more; false if it is too soon for that.
    pub(super) fn pay(&mut self, now_ms: u64, pause_ms: u64) -> bool {
        let is_due = self.due_ms(pause_ms) <= now_ms;
        if is_due {
            self.paid_until_ms = self.paid_until_ms.max(now_ms) + pause_ms;
        }
        is_due
    }

    /// From when on it may be done again.
    pub(super) fn due_ms(&self, pause_ms: u64) -> u64 {
        self.paid_until_ms.saturating_sub((AT_ONCE - 1) * pause_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h3_many_at_once_then_one_a_pause() {
        let mut pace = Pace::default();
        let n_paid = |pace: &mut Pace, now_ms| (0..100).filter(|_| pace.pay(now_ms, 1_000)).count();
        assert_eq!(n_paid(&mut pace, 5_000), 16);
        assert_eq!(n_paid(&mut pace, 5_999), 0);
        assert_eq!(n_paid(&mut pace, 6_000), 1);
        assert_eq!(n_paid(&mut pace, 60_000), 16);
    }
}
