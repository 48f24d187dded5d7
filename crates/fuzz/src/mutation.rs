//! Mutations of inputs that follow from a number: what is done in the test command, where there is no fuzzer.

/// Numbers that code tends to have trouble with, as bytes.
const ODD: &[&[u8]] = &[
    &[0x00],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    b"/../",
    b"{",
    b"**/",
    b"[!",
];

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(u64);

impl Random {
    /// The numbers that follow from this one.
    pub fn seeded(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_number() % bound as u64) as usize
    }
}

/// One of the inputs, changed in one to eight places; sometimes crossed with another. In every other one no byte moves,
/// so that lengths stay true and what is inside is reached.
pub fn mutated(corpus: &[Vec<u8>], bytes_max: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::seeded(seed);
    let mut bytes = corpus[random.below(corpus.len())].clone();
    let first_kind = if random.below(2) == 0 { 0 } else { N_MOVING };
    for _ in 0..1 << random.below(4) {
        let other = &corpus[random.below(corpus.len())];
        let kind = first_kind + random.below(N_KINDS - first_kind);
        mutate(&mut bytes, other, kind, &mut random);
    }
    bytes.truncate(bytes_max);
    bytes
}

/// Kinds of mutations, and how many of them, the first ones, move bytes.
const N_KINDS: usize = 9;
const N_MOVING: usize = 6;

fn mutate(bytes: &mut Vec<u8>, other: &[u8], kind: usize, random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let length = 1 + random.below(16);
    let end = (at + length).min(bytes.len());
    match kind {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
        3 => bytes.splice(at..end, ODD[random.below(ODD.len())].iter().copied()).for_each(drop),
        4 => bytes.splice(at..at, ODD[random.below(ODD.len())].iter().copied()).for_each(drop),
        5 => {
            let from = random.below(other.len() + 1);
            let until = (from + 1 + random.below(64)).min(other.len());
            bytes.splice(at..end, other[from..until].iter().copied()).for_each(drop);
        }
        6 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        7 if at < bytes.len() => bytes[at] = random.next_number() as u8,
        _ if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(random.below(9) as u8).wrapping_sub(4),
        _ => bytes.push(random.next_number() as u8),
    }
}
