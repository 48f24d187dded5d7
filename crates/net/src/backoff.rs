//! How long to wait before dialing again.

use std::time::Duration;

/// Doubles from a first to a longest wait, each cut by a random part, so that two devices do not keep in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, next: first }
    }

    /// The next wait: between half of it and all of it.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        wait.mul_f64(0.5 + 0.5 * random_fraction())
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// For refusals that a quick second try will not change.
    pub(crate) fn exhaust(&mut self) {
        self.next = self.longest;
    }
}

/// A random number for naming something.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    u64::from_be_bytes(bytes)
}

fn random_fraction() -> f64 {
    f64::from((random_u64() >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        let mut full = 200;
        for _ in 0..12 {
            let wait = backoff.next().as_millis();
            assert!(wait <= full && wait >= full / 2 - 1, "{wait} of {full}");
            full = (full * 2).min(30_000);
        }
        backoff.reset();
        assert!(backoff.next().as_millis() <= 200);
    }
}
