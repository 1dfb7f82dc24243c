//! Pins: what readers may still look at.
//!
//! A reader that goes to the device without a lock pins the current generation first. Units that
//! a checkpoint of generation `g` freed are handed out again only when no pin below `g` is left,
//! so a reader never finds other bytes at an address than those its pointer named.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// The generations that readers hold.
#[derive(Default)]
pub struct Pins {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: u64,
    held: BTreeMap<u64, usize>,
}

impl Pins {
    /// No pins; the first generation is `current`.
    pub fn new(current: u64) -> Pins {
        Pins { state: Mutex::new(State { current, held: BTreeMap::new() }) }
    }

    /// Pins the current generation until the guard is dropped.
    pub fn pin(&self) -> Pin<'_> {
        let mut state = self.state.lock();
        let generation = state.current;
        *state.held.entry(generation).or_default() += 1;
        Pin { pins: self, generation }
    }

    /// New pins hold `generation` from now on: everything that it freed is out of reach for them.
    pub fn advance(&self, generation: u64) {
        self.state.lock().current = generation;
    }

    /// The oldest generation that some reader may look at.
    pub fn oldest(&self) -> u64 {
        let state = self.state.lock();
        state.held.keys().next().copied().unwrap_or(state.current)
    }
}

/// A held pin.
pub struct Pin<'a> {
    pins: &'a Pins,
    generation: u64,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut state = self.pins.state.lock();
        if let Some(count) = state.held.get_mut(&self.generation) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&self.generation);
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
        let a = pins.pin();
        pins.advance(4);
        let b = pins.pin();
        assert_eq!(pins.oldest(), 3);
        drop(a);
        assert_eq!(pins.oldest(), 4);
        pins.advance(9);
        assert_eq!(pins.oldest(), 4);
        drop(b);
        assert_eq!(pins.oldest(), 9);
    }
}
