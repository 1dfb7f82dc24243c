//! Looks for secrets in bytes that should hold none. The leak scans of the tests use it, too.
//!
//! What is too short, or nearly all one byte, stands in any bytes by chance: it proves nothing, and
//! is left out.

use std::collections::HashMap;

/// Bytes of a secret that are looked for together: fewer may stand anywhere by chance.
pub const WINDOW: usize = 16;

/// What is remembered is masked, so that a search of this process's memory does not find it here.
const MASK: u8 = 0xa7;
const FILTER_BITS: u32 = 22;

/// Secrets by number, and what finds any part of them.
pub struct Secrets {
    /// Windows, masked, and the secret that each is of.
    windows: HashMap<[u8; WINDOW], usize>,
    /// A bit for the hash of each window: most bytes are decided by it.
    filter: Vec<u64>,
}

impl Default for Secrets {
    fn default() -> Secrets {
        Secrets { windows: HashMap::new(), filter: vec![0; 1 << (FILTER_BITS - 6)] }
    }
}

/// Whether bytes stand nowhere by chance: there are 16, and no value makes up half of them.
pub fn is_telling(window: &[u8]) -> bool {
    let count = |value: &u8| window.iter().filter(|byte| *byte == value).count();
    window.len() == WINDOW && window.iter().all(|value| 2 * count(value) < WINDOW)
}

impl Secrets {
    /// Adds all parts of a secret that are telling, and returns whether there is one.
    pub fn add(&mut self, number: usize, secret: &[u8]) -> bool {
        let mut any = false;
        for window in secret.windows(WINDOW).filter(|window| is_telling(window)) {
            self.windows.entry(masked(window)).or_insert(number);
            let (word, bit) = place(window);
            self.filter[word] |= bit;
            any = true;
        }
        any
    }

    /// Where parts of secrets stand in some bytes, and of which.
    pub fn find(&self, bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
        bytes.windows(WINDOW).enumerate().filter_map(|(at, window)| {
            let (word, bit) = place(window);
            if self.filter[word] & bit == 0 {
                return None;
            }
            Some((at, *self.windows.get(&masked(window))?))
        })
    }
}

fn masked(window: &[u8]) -> [u8; WINDOW] {
    std::array::from_fn(|at| window[at] ^ MASK)
}

/// The word and the bit of the filter that are a window's.
fn place(window: &[u8]) -> (usize, u64) {
    let half = |at: usize| {
        let bytes = window[at..at + 8].try_into().expect("a window has two halves");
        u64::from_le_bytes(bytes)
    };
    let mixed = (half(0) ^ half(8).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = mixed >> (64 - FILTER_BITS);
    ((hash / 64) as usize, 1 << (hash % 64))
}
