//! Bounds: the keys that a node may hold, by the separators on the way to it.
//!
//! Pages that authenticate may still contradict each other, by a bug or by whoever holds the key.
//! A change relies on what separators say, so it looks at each node that it is to change.

use crate::error::{Error, Object, Result};
use crate::format::{NodePointer, Page};
use crate::limits::MAX_KEY_LEN;

use super::node::LOWEST;

/// A key in place.
#[derive(Clone, Copy)]
struct Key {
    len: usize,
    bytes: [u8; MAX_KEY_LEN],
}

impl Key {
    fn new(key: &[u8]) -> Key {
        let mut bytes = [0; MAX_KEY_LEN];
        let len = key.len().min(MAX_KEY_LEN);
        bytes[..len].copy_from_slice(&key[..len]);
        Key { len, bytes }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The keys of a subtree: from `low` on, and below `high`.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    low: Key,
    high: Option<Key>,
}

impl Bounds {
    /// Those of a whole tree.
    pub fn all() -> Bounds {
        Bounds { low: Key::new(&[]), high: None }
    }

    /// Those of the child in a slot of an interior page, which has these itself.
    pub fn of_child(&self, page: &Page, slot: usize) -> Bounds {
        let low = if slot > 0 { Key::new(page.key(slot)) } else { self.low };
        let high =
            if slot + 1 < page.len() { Some(Key::new(page.key(slot + 1))) } else { self.high };
        Bounds { low, high }
    }

    /// Whether a page keeps to them: two comparisons, as its keys ascend.
    pub fn hold(&self, page: &Page) -> bool {
        let Some(last) = page.len().checked_sub(1) else { return true };
        let low = self.low.get();
        let above = match page.level() {
            0 => page.key(0) >= low,
            // The first key is the lowest of all by convention, and stands for `low`.
            _ => page.key(0) == LOWEST && (last == 0 || page.key(1) > low),
        };
        let only_lowest = page.level() > 0 && last == 0;
        above && (only_lowest || self.high.is_none_or(|high| page.key(last) < high.get()))
    }

    /// Fails for a node whose page does not keep to them.
    pub fn check(&self, page: &Page, pointer: &NodePointer) -> Result<()> {
        match self.hold(page) {
            true => Ok(()),
            false => Err(Error::corrupt(
                Object::Node { unit: pointer.unit() },
                "a key outside of the node's range",
            )),
        }
    }
}
