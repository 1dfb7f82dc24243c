//! Pins: what readers may still look at.
//!
//! A reader that goes to the device without a lock pins the current generation first. Units that
//! a checkpoint of generation `g` freed are handed out again only when no pin below `g` is left,
//! so a reader never finds other bytes at an address than those its pointer named.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Pins of different readers stand apart, so that they do not wait for each other.
const SHARDS: usize = 16;

/// The generations that readers hold.
pub struct Pins {
    current: AtomicU64,
    shards: [Shard; SHARDS],
}

/// Generations that are held, and how often: hardly ever more than two. Each has cache lines of
/// its own.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Vec<(u64, usize)>>);

impl Pins {
    /// No pins; the first generation is `current`.
    pub fn new(current: u64) -> Pins {
        Pins { current: AtomicU64::new(current), shards: Default::default() }
    }

    /// Pins the current generation until the guard is dropped. Readers of different things, told
    /// apart by a number, seldom wait for each other.
    pub fn pin(&self, of: u64) -> Pin<'_> {
        let shard = &self.shards[of as usize % SHARDS];
        let mut held = shard.0.lock();
        // Under the lock: `oldest` sees the pin, or the pin sees what `oldest` saw.
        let generation = self.current.load(Ordering::Acquire);
        match held.iter_mut().find(|(known, _)| *known == generation) {
            Some((_, count)) => *count += 1,
            None => held.push((generation, 1)),
        }
        Pin { shard, generation }
    }

    /// New pins hold `generation` from now on: everything that it freed is out of reach for them.
    pub fn advance(&self, generation: u64) {
        self.current.store(generation, Ordering::Release);
    }

    /// The oldest generation that some reader may look at.
    pub fn oldest(&self) -> u64 {
        // First: a pin that is taken behind a look at its shard holds this generation or a later.
        let current = self.current.load(Ordering::Acquire);
        let oldest = |shard: &Shard| shard.0.lock().iter().map(|(held, _)| *held).min();
        self.shards.iter().filter_map(oldest).min().unwrap_or(current).min(current)
    }
}

/// A held pin.
pub struct Pin<'a> {
    shard: &'a Shard,
    generation: u64,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut held = self.shard.0.lock();
        if let Some(at) = held.iter().position(|(known, _)| *known == self.generation) {
            held[at].1 -= 1;
            if held[at].1 == 0 {
                held.swap_remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_pin_counts() {
        let pins = Pins::new(3);
        let (a, other) = (pins.pin(1), pins.pin(1));
        pins.advance(4);
        let b = pins.pin(2);
        assert_eq!(pins.oldest(), 3);
        drop(a);
        assert_eq!(pins.oldest(), 3);
        drop(other);
        assert_eq!(pins.oldest(), 4);
        pins.advance(9);
        assert_eq!(pins.oldest(), 4);
        drop(b);
        assert_eq!(pins.oldest(), 9);
    }
}
