//! How many connections may be on their way to being known, in all and from one place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Handshakes under way at once.
const HANDSHAKES_MAX: usize = 64;
/// Of those, from one place, so that one stranger does not keep everybody else out.
const PLACE_HANDSHAKES_MAX: usize = 16;

/// Counts handshakes under way.
#[derive(Clone, Default)]
pub(crate) struct Handshakes(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// The right to one handshake, given back when dropped.
pub(crate) struct Permit {
    place: IpAddr,
    handshakes: Handshakes,
}

impl Handshakes {
    /// One more from this address; none if that is one too many.
    pub(crate) fn begin(&self, address: IpAddr) -> Option<Permit> {
        let place = place_of(address);
        let mut counts = self.counts();
        let here = counts.get(&place).copied().unwrap_or(0);
        if here >= PLACE_HANDSHAKES_MAX || counts.values().sum::<usize>() >= HANDSHAKES_MAX {
            return None;
        }
        counts.insert(place, here + 1);
        Some(Permit { place, handshakes: self.clone() })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // No code that holds it can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.handshakes.counts();
        match counts.get_mut(&self.place) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = counts.remove(&self.place),
        }
    }
}

/// An IPv4 address, or the /64 that an IPv6 address is in: whoever has one of those addresses has all of them.
fn place_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(handshakes: &Handshakes, address: &str) -> Option<Permit> {
        handshakes.begin(address.parse().unwrap())
    }

    #[test]
    fn h2_one_place_gets_a_part_of_the_handshakes() {
        let handshakes = Handshakes::default();
        let mut held: Vec<Permit> =
            (0..PLACE_HANDSHAKES_MAX).map(|_| begin(&handshakes, "10.0.0.1").unwrap()).collect();
        assert!(begin(&handshakes, "10.0.0.1").is_none());
        assert!(begin(&handshakes, "::ffff:10.0.0.1").is_none());
        assert!(begin(&handshakes, "10.0.0.2").is_some());
        held.pop();
        assert!(begin(&handshakes, "10.0.0.1").is_some());
        held.clear();
        assert!(handshakes.counts().is_empty(), "what is over takes no memory");
    }

    #[test]
    fn h2_a_network_of_ipv6_addresses_is_one_place() {
        let handshakes = Handshakes::default();
        let held: Vec<_> =
            (0..PLACE_HANDSHAKES_MAX).map(|n| begin(&handshakes, &format!("2001:db8::{n:x}"))).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(begin(&handshakes, "2001:db8::ffff:1").is_none());
        assert!(begin(&handshakes, "2001:db8:0:1::1").is_some());
    }

    #[test]
    fn h2_handshakes_are_bounded_from_however_many_places() {
        let handshakes = Handshakes::default();
        let begun: Vec<_> = (0..=255).filter_map(|n| begin(&handshakes, &format!("10.0.0.{n}"))).collect();
        assert_eq!(begun.len(), HANDSHAKES_MAX);
    }
}
