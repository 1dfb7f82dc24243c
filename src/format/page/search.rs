//! Search: the slot of a key, by prefix and heads, and how those are kept.

use std::cmp::Ordering;

use super::{PREFIX, Page, SLOT, SLOTS};
use crate::limits::NODE_SIZE;

impl Page {
    /// The slot of `key`, or the slot where it would stand.
    #[inline]
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let first = self.first_alike();
        if first == 1 && !self.is_empty() {
            match key.cmp(self.key(0)) {
                Ordering::Less => return Err(0),
                Ordering::Equal => return Ok(0),
                Ordering::Greater => {}
            }
        }
        self.search_alike(key)
    }

    /// The slot of an interior page whose subtree holds `key`. The first subtree also holds
    /// everything before its separator.
    #[inline]
    pub fn child_of(&self, key: &[u8]) -> usize {
        match self.search_alike(key) {
            Ok(slot) => slot,
            Err(slot) => slot.saturating_sub(1),
        }
    }

    /// The first slot whose key has the prefix and a head that counts.
    fn first_alike(&self) -> usize {
        usize::from(self.level() > 0)
    }

    /// As [`Page::search`], among the slots whose keys have the prefix.
    #[inline]
    fn search_alike(&self, key: &[u8]) -> Result<usize, usize> {
        let (first, count) = (self.first_alike(), self.len());
        if count <= first {
            return Err(count);
        }
        let prefix = usize::from(self.0[PREFIX]);
        let shared = &self.key(first)[..prefix];
        match key[..prefix.min(key.len())].cmp(shared) {
            Ordering::Less => return Err(first),
            Ordering::Greater => return Err(count),
            Ordering::Equal => {}
        }
        let head = head_of(key, prefix);
        let (mut low, mut size) = (first, count - first);
        while size > 0 {
            let half = size / 2;
            let mid = low + half;
            let order = self.head(mid).cmp(&head).then_with(|| self.key(mid).cmp(key));
            match order {
                Ordering::Equal => return Ok(mid),
                Ordering::Less => {
                    low = mid + 1;
                    size -= half + 1;
                }
                Ordering::Greater => size = half,
            }
        }
        Err(low)
    }

    /// Restores invariant 3 after the row in `slot` was inserted.
    pub(super) fn keep_prefix(&mut self, slot: usize) {
        let (first, last) = (self.first_alike(), self.len() - 1);
        if slot <= first || slot == last {
            let prefix = usize::from(self.0[PREFIX]);
            // Before the first, it made that one of those that count.
            if slot < first
                || last <= first
                || common_prefix(self.key(first), self.key(last)) < prefix
            {
                self.rebuild_heads();
                return;
            }
        }
        let head = head_of(self.key(slot), usize::from(self.0[PREFIX]));
        self.set_head(slot, head);
    }

    pub(super) fn rebuild_heads(&mut self) {
        let (first, count) = (self.first_alike(), self.len());
        let prefix = match count > first {
            false => 0,
            true => common_prefix(self.key(first), self.key(count - 1)),
        };
        self.0[PREFIX] = prefix as u8;
        for slot in 0..count {
            let head = head_of(self.key(slot), prefix);
            self.set_head(slot, head);
        }
    }

    #[inline]
    fn head(&self, slot: usize) -> u32 {
        let at = (SLOTS + slot * SLOT) & (NODE_SIZE - 1);
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    fn set_head(&mut self, slot: usize, head: u32) {
        let at = SLOTS + slot * SLOT;
        self.0[at..at + 4].copy_from_slice(&head.to_be_bytes());
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// The 4 bytes behind the prefix, zero-padded, as a number that orders like the bytes.
#[inline]
fn head_of(key: &[u8], prefix: usize) -> u32 {
    let tail = key.get(prefix..).unwrap_or(&[]);
    match tail.first_chunk::<4>() {
        Some(bytes) => u32::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 4];
            bytes[..tail.len()].copy_from_slice(tail);
            u32::from_be_bytes(bytes)
        }
    }
}
