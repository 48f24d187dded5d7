//! Chance, from a seed.

/// xorshift64*, Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016.
pub struct Random(u64);

impl Random {
    /// Another sequence for each seed and each of its uses.
    pub fn new(seed: u64, purpose: u64) -> Random {
        let mixed = blake3::hash(&[seed.to_le_bytes(), purpose.to_le_bytes()].concat());
        let bytes = mixed.as_bytes().first_chunk().expect("a hash has more than eight bytes");
        Random(u64::from_le_bytes(*bytes) | 1)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    /// One of some items.
    pub fn of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let bound = items.len() as u64;
        (bound > 0).then(|| &items[self.below(bound) as usize])
    }
}
