//! Pseudo-random numbers that replay.

/// A small generator (SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014). The same seed gives the same numbers on every platform and in
/// every version. For simulation only: its output is predictable.
#[derive(Debug, Clone)]
pub struct Rng(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The generator of a pair, for a stream of its own per step under one seed.
    pub fn of(seed: u64, salt: u64) -> Rng {
        Rng(Rng::new(seed).next_u64() ^ Rng::new(!salt).next_u64().rotate_left(32))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`, or 0 where the bound is 0. The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `n` times on average.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Fills the buffer.
    pub fn fill(&mut self, buf: &mut [u8]) {
        for part in buf.chunks_mut(8) {
            part.copy_from_slice(&self.next_u64().to_le_bytes()[..part.len()]);
        }
    }

    /// Puts the items in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of SplitMix64 for seed 1234567, as published with the reference C code
    /// (Vigna, prng.di.unimi.it) and checked by many ports.
    #[test]
    fn known_answers() {
        let mut rng = Rng::new(1_234_567);
        let first = [(); 3].map(|()| rng.next_u64());
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn pairs_have_streams_of_their_own() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..100 {
            for salt in 0..100 {
                assert!(seen.insert(Rng::of(seed, salt).next_u64()));
            }
        }
    }

    #[test]
    fn draws_stay_in_bounds_and_reach_them() {
        let mut rng = Rng::new(7);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[rng.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (150..250).contains(n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);

        let mut items: Vec<u32> = (0..50).collect();
        rng.shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());

        let mut buf = [0; 13];
        rng.fill(&mut buf);
        assert_ne!(buf[8..], [0; 5]);
    }
}
