//! Random bytes: the operating system's generator, buffered, and nothing else.
//!
//! Invariants: a byte handed out is zeroized in the buffer and never handed out again; the buffer
//! lives in the store's key arena, so a forked child finds it wiped and gets an error, never the
//! bytes that its parent will use.

use std::sync::Arc;

use parking_lot::Mutex;
use zeroize::Zeroize;

use super::arena::{KeyArena, Slot};
use crate::error::{Error, Object, Result};
use crate::secret::Secret;

/// Bytes asked of the operating system at a time: a call costs about 0.5 us whatever its size.
const BUFFER: usize = 2048;

/// The random generator of one store. Threads may share it.
pub struct Rng {
    buffer: Slot<Mutex<Buffer>>,
}

struct Buffer {
    source: Source,
    bytes: [u8; BUFFER],
    /// Bytes of the buffer that are handed out already.
    used: usize,
}

enum Source {
    System,
    /// SplitMix64 from a seed: for tests and simulation, where runs must repeat.
    #[cfg(any(test, feature = "sim"))]
    Seeded(u64),
}

impl Rng {
    /// A generator that draws from the operating system.
    ///
    /// # Errors
    /// As [`KeyArena::place`].
    pub fn new(arena: &Arc<KeyArena>) -> Result<Rng> {
        Rng::from_source(arena, Source::System)
    }

    /// A generator whose output follows from `seed` alone. For tests: nothing that it makes is
    /// secret.
    ///
    /// # Errors
    /// As [`KeyArena::place`].
    #[cfg(any(test, feature = "sim"))]
    pub fn seeded(arena: &Arc<KeyArena>, seed: u64) -> Result<Rng> {
        Rng::from_source(arena, Source::Seeded(seed))
    }

    fn from_source(arena: &Arc<KeyArena>, source: Source) -> Result<Rng> {
        let buffer =
            arena.place(|| Ok(Mutex::new(Buffer { source, bytes: [0; BUFFER], used: BUFFER })))?;
        Ok(Rng { buffer })
    }

    /// Fails in a forked child, as every other call does.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn check_process(&self) -> Result<()> {
        self.buffer.arena().check()
    }

    /// Fills `out` with random bytes.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system has none; [`Error::Forked`] in a forked child.
    pub fn fill(&self, out: &mut [u8]) -> Result<()> {
        self.check_process()?;
        self.buffer.get()?.lock().fill(out)
    }

    /// A fresh tweak start: 96 random bits above 32 zero bits, so that the units of a run, which
    /// add at most 2^32, never meet another run's.
    ///
    /// # Errors
    /// As [`Rng::fill`].
    pub fn tweak_start(&self) -> Result<u128> {
        let mut bytes = [0u8; 16];
        self.fill(&mut bytes[4..])?;
        Ok(u128::from_le_bytes(bytes))
    }

    /// A nonce for [`super::SealKey`].
    ///
    /// # Errors
    /// As [`Rng::fill`].
    pub fn nonce(&self) -> Result<[u8; 12]> {
        let mut nonce = [0u8; 12];
        self.fill(&mut nonce)?;
        Ok(nonce)
    }

    /// A random number.
    ///
    /// # Errors
    /// As [`Rng::fill`].
    pub fn u64(&self) -> Result<u64> {
        let mut bytes = [0u8; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A random secret.
    ///
    /// # Errors
    /// As [`Rng::fill`].
    pub fn secret<const N: usize>(&self) -> Result<Secret<N>> {
        let mut secret = Secret::zeroed();
        self.fill(secret.expose_mut())?;
        Ok(secret)
    }
}

impl Buffer {
    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        if out.len() > BUFFER {
            return self.source.fill(out);
        }
        if out.len() > BUFFER - self.used {
            // Until the refill succeeds nothing in the buffer counts as random.
            self.used = BUFFER;
            self.source.fill(&mut self.bytes)?;
            self.used = 0;
        }
        let taken = &mut self.bytes[self.used..][..out.len()];
        out.copy_from_slice(taken);
        taken.zeroize();
        self.used += out.len();
        Ok(())
    }
}

impl Source {
    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        match self {
            Source::System => getrandom::fill(out).map_err(|error| {
                Error::io("drawing random bytes", Object::Store, std::io::Error::other(error))
            }),
            #[cfg(any(test, feature = "sim"))]
            Source::Seeded(state) => {
                for chunk in out.chunks_mut(8) {
                    let word = split_mix(state).to_le_bytes();
                    chunk.copy_from_slice(&word[..chunk.len()]);
                }
                Ok(())
            }
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[cfg(any(test, feature = "sim"))]
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_never_handed_out_twice() {
        let rng = Rng::new(&KeyArena::new().unwrap()).unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2000 {
            assert!(seen.insert(rng.nonce().unwrap()));
        }
        let buffer = rng.buffer.get().unwrap().lock();
        assert!(buffer.bytes[..buffer.used].iter().all(|&b| b == 0));
    }

    #[test]
    fn a_tweak_start_has_96_random_bits_above_32_zeros() {
        let rng = Rng::new(&KeyArena::new().unwrap()).unwrap();
        let (mut ones, mut zeros) = (0u128, 0u128);
        for _ in 0..200 {
            let start = rng.tweak_start().unwrap();
            ones |= start;
            zeros |= !start;
        }
        assert_eq!(ones, !0u128 << 32);
        assert_eq!(zeros, !0);
    }

    #[test]
    fn requests_larger_than_the_buffer_are_filled() {
        let rng = Rng::new(&KeyArena::new().unwrap()).unwrap();
        let mut large = vec![0u8; 3 * BUFFER + 5];
        rng.fill(&mut large).unwrap();
        assert!(large.chunks(64).all(|c| c.iter().any(|&b| b != 0) || c.len() < 16));
    }

    #[test]
    fn seeded_generators_repeat() {
        let arena = KeyArena::new().unwrap();
        let draw = |seed| Rng::seeded(&arena, seed).unwrap().secret::<32>().unwrap();
        assert!(draw(1).ct_eq(&draw(1)));
        assert!(!draw(1).ct_eq(&draw(2)));
    }
}
