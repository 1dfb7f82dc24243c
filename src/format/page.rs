//! Page: the rows of one node, in the block that is sealed and written.
//!
//! A slot says where its cell is; a cell is key length, key and value. Slots stand in key order.
//! Invariants of a parsed or edited page:
//!
//! 1. Keys ascend strictly; a key has 1 to `MAX_KEY_LEN` bytes.
//! 2. Every cell lies between the end of the slots and the end of the block.
//! 3. The first `prefix` bytes are the same in all keys; a slot's head is the 4 key bytes behind
//!    them, zero-padded. So a search compares heads, which stand together, and touches a cell
//!    only where heads tie. Above the leaves the first key is left out: it stands for all that is
//!    below the second, and has nothing in common with the others.
//! 4. A page above the leaves has a row.
//! 5. `garbage` is the number of bytes below the end of the block, from `heap`, in no cell; they
//!    are zero, so a deleted row does not linger in a live node.

mod search;

use super::{NODE_HEADER_LEN, POINTER_LEN};
use crate::error::{Error, Object, Result};
use crate::limits::{MAX_KEY_LEN, MAX_VALUE_LEN, NODE_SIZE};
use crate::secret::wipe;

const COUNT: usize = NODE_HEADER_LEN;
const HEAP: usize = COUNT + 2;
const GARBAGE: usize = COUNT + 4;
const PREFIX: usize = COUNT + 6;
const LEVEL: usize = COUNT + 7;
const SLOTS: usize = COUNT + 8;
const SLOT: usize = 8;
/// Bytes that a row takes beside its key and value.
const ROW_OVERHEAD: usize = SLOT + 1;
/// Bytes of slots and cells in an empty page.
const CAPACITY: usize = NODE_SIZE - SLOTS;

type Block = [u8; NODE_SIZE];

/// What [`Page::put`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// A new row stands in this slot.
    Inserted(usize),
    /// The row in this slot has the new value.
    Replaced(usize),
    /// The page has no room; nothing changed.
    Full,
}

/// A verified page. See the module for its layout and invariants.
pub struct Page(Box<Block>);

impl Drop for Page {
    /// Names and attributes stand in it.
    fn drop(&mut self) {
        wipe(&mut self.0[..]);
    }
}

impl Clone for Page {
    fn clone(&self) -> Page {
        let mut block = Self::zeroed();
        block.copy_from_slice(&self.0[..]);
        Page(block)
    }
}

impl Page {
    /// An empty page of a node at `level`.
    pub fn new(level: u8) -> Page {
        let mut page = Page(Self::zeroed());
        page.0[LEVEL] = level;
        page.set_u16(HEAP, NODE_SIZE);
        page
    }

    /// A zeroed block on the heap, without a copy through the stack.
    pub fn zeroed() -> Box<Block> {
        let block: Box<[u8]> = vec![0u8; NODE_SIZE].into_boxed_slice();
        match block.try_into() {
            Ok(block) => block,
            Err(_) => unreachable!("the slice has the array's length"),
        }
    }

    /// Checks an opened block and takes it over. Heads are computed anew, never trusted.
    pub fn parse(block: Box<Block>, level: u8, unit: u64) -> Result<Page> {
        let mut page = Page(block);
        page.check(level).map_err(|why| Error::corrupt(Object::Node { unit }, why))?;
        page.rebuild_heads();
        Ok(page)
    }

    /// A page with a change that nobody checked, to be sealed and never used.
    #[cfg(any(test, feature = "sim"))]
    pub fn forged(page: &Page, change: impl FnOnce(&mut Block)) -> Page {
        let mut page = page.clone();
        change(&mut page.0);
        page
    }

    fn check(&mut self, level: u8) -> Result<(), &'static str> {
        if self.0[LEVEL] != level {
            return Err("level");
        }
        let (count, heap) = (self.len(), self.u16(HEAP));
        if level > 0 && count == 0 {
            return Err("interior node without rows");
        }
        let slots_end = SLOTS + count * SLOT;
        if slots_end > heap || heap > NODE_SIZE {
            return Err("slot count");
        }
        let mut used = 0;
        let mut cells = Vec::with_capacity(count);
        for slot in 0..count {
            let (offset, value_len) = self.slot(slot);
            if offset < heap || offset >= NODE_SIZE {
                return Err("cell offset");
            }
            let key_len = usize::from(self.0[offset]);
            let cell_len = 1 + key_len + value_len;
            if key_len == 0 || key_len > MAX_KEY_LEN || offset + cell_len > NODE_SIZE {
                return Err("cell length");
            }
            let fits =
                if level == 0 { value_len <= MAX_VALUE_LEN } else { value_len == POINTER_LEN };
            if !fits {
                return Err("value length");
            }
            used += cell_len;
            cells.push((offset, offset + cell_len));
            if slot > 0 && self.key(slot - 1) >= self.key(slot) {
                return Err("key order");
            }
        }
        cells.sort_unstable();
        if cells.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Err("cells overlap");
        }
        self.set_u16(GARBAGE, NODE_SIZE - heap - used);
        Ok(())
    }

    /// The whole block, to be sealed. Bytes before the page head belong to the node header.
    pub fn block(&self) -> &Block {
        &self.0
    }

    /// Height above the leaves.
    pub fn level(&self) -> u8 {
        self.0[LEVEL]
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.u16(COUNT)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes taken by rows.
    pub fn used(&self) -> usize {
        CAPACITY - self.free()
    }

    /// Bytes that rows may still take, each with its overhead.
    pub fn free(&self) -> usize {
        self.gap() + self.u16(GARBAGE)
    }

    /// Bytes that a row of this key and value length takes.
    pub fn row_len(key_len: usize, value_len: usize) -> usize {
        ROW_OVERHEAD + key_len + value_len
    }

    /// Bytes of rows that a page can hold.
    pub const fn capacity() -> usize {
        CAPACITY
    }

    /// The key in a slot.
    ///
    /// # Panics
    /// When `slot` is not below [`Page::len`].
    pub fn key(&self, slot: usize) -> &[u8] {
        let (offset, _) = self.slot(slot);
        let len = usize::from(self.0[offset]);
        &self.0[offset + 1..offset + 1 + len]
    }

    /// The value in a slot.
    ///
    /// # Panics
    /// When `slot` is not below [`Page::len`].
    pub fn value(&self, slot: usize) -> &[u8] {
        let (start, len) = self.value_at(slot);
        &self.0[start..start + len]
    }

    /// The value in a slot, to be overwritten with one of the same length.
    ///
    /// # Panics
    /// When `slot` is not below [`Page::len`].
    pub fn value_mut(&mut self, slot: usize) -> &mut [u8] {
        let (start, len) = self.value_at(slot);
        &mut self.0[start..start + len]
    }

    /// Puts a row.
    ///
    /// # Panics
    /// When the key is empty or longer than `MAX_KEY_LEN`, or the value is longer than 64 KiB.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> PutOutcome {
        assert!(!key.is_empty() && key.len() <= MAX_KEY_LEN, "key length");
        match self.search(key) {
            Ok(slot) => self.replace(slot, value),
            Err(slot) => self.insert(slot, key, value),
        }
    }

    fn replace(&mut self, slot: usize, value: &[u8]) -> PutOutcome {
        let (start, len) = self.value_at(slot);
        if len == value.len() {
            self.0[start..start + len].copy_from_slice(value);
            return PutOutcome::Replaced(slot);
        }
        if self.free() + len < value.len() {
            return PutOutcome::Full;
        }
        let mut key = [0; MAX_KEY_LEN];
        let key_len = self.key(slot).len();
        key[..key_len].copy_from_slice(self.key(slot));
        self.remove(slot);
        match self.insert(slot, &key[..key_len], value) {
            PutOutcome::Inserted(slot) => PutOutcome::Replaced(slot),
            other => other,
        }
    }

    fn insert(&mut self, slot: usize, key: &[u8], value: &[u8]) -> PutOutcome {
        let cell_len = 1 + key.len() + value.len();
        if self.gap() < SLOT + cell_len {
            if self.free() < SLOT + cell_len {
                return PutOutcome::Full;
            }
            self.compact();
        }
        let offset = self.heap() - cell_len;
        self.0[offset] = key.len() as u8;
        self.0[offset + 1..offset + 1 + key.len()].copy_from_slice(key);
        self.0[offset + 1 + key.len()..offset + cell_len].copy_from_slice(value);
        self.set_u16(HEAP, offset);
        let count = self.len();
        let at = SLOTS + slot * SLOT;
        self.0.copy_within(at..SLOTS + count * SLOT, at + SLOT);
        self.set_u16(COUNT, count + 1);
        self.set_slot(slot, offset, value.len());
        self.keep_prefix(slot);
        PutOutcome::Inserted(slot)
    }

    /// Removes the row in a slot and wipes its bytes.
    ///
    /// # Panics
    /// When `slot` is not below [`Page::len`].
    pub fn remove(&mut self, slot: usize) {
        let count = self.len();
        let (offset, value_len) = self.slot(slot);
        let cell_len = 1 + usize::from(self.0[offset]) + value_len;
        self.0[offset..offset + cell_len].fill(0);
        if offset == self.heap() {
            self.set_u16(HEAP, offset + cell_len);
        } else {
            let garbage = self.u16(GARBAGE) + cell_len;
            self.set_u16(GARBAGE, garbage);
        }
        let at = SLOTS + slot * SLOT;
        self.0.copy_within(at + SLOT..SLOTS + count * SLOT, at);
        self.0[SLOTS + (count - 1) * SLOT..SLOTS + count * SLOT].fill(0);
        self.set_u16(COUNT, count - 1);
        if count == 1 {
            self.set_u16(HEAP, NODE_SIZE);
            self.set_u16(GARBAGE, 0);
        }
    }

    /// Moves the rows from slot `at` on to a new page of the same level.
    pub fn split_off(&mut self, at: usize) -> Page {
        let (mut left, mut right) = (Page::new(self.level()), Page::new(self.level()));
        for slot in 0..self.len() {
            let target = if slot < at { &mut left } else { &mut right };
            target.push(self.key(slot), self.value(slot));
        }
        left.rebuild_heads();
        right.rebuild_heads();
        *self = left;
        right
    }

    /// Appends all rows of a page whose keys follow this page's; the caller saw that they fit.
    ///
    /// # Panics
    /// When they do not fit.
    pub fn append(&mut self, right: &Page) {
        assert!(right.used() <= self.free(), "merged rows fit");
        for slot in 0..right.len() {
            self.push(right.key(slot), right.value(slot));
        }
        self.rebuild_heads();
    }

    /// Appends a row behind all others, without its head.
    fn push(&mut self, key: &[u8], value: &[u8]) {
        let cell_len = 1 + key.len() + value.len();
        if self.gap() < SLOT + cell_len {
            self.compact();
        }
        let offset = self.heap() - cell_len;
        self.0[offset] = key.len() as u8;
        self.0[offset + 1..offset + 1 + key.len()].copy_from_slice(key);
        self.0[offset + 1 + key.len()..offset + cell_len].copy_from_slice(value);
        self.set_u16(HEAP, offset);
        let count = self.len();
        self.set_u16(COUNT, count + 1);
        self.set_slot(count, offset, value.len());
    }

    /// Gathers the free bytes into one gap.
    fn compact(&mut self) {
        let mut fresh = Page::new(self.level());
        for slot in 0..self.len() {
            fresh.push(self.key(slot), self.value(slot));
        }
        fresh.rebuild_heads();
        *self = fresh;
    }

    /// Bytes between the slots and the cells.
    fn gap(&self) -> usize {
        self.heap() - (SLOTS + self.len() * SLOT)
    }

    /// Lowest cell, or the end of the block.
    fn heap(&self) -> usize {
        self.u16(HEAP)
    }

    fn value_at(&self, slot: usize) -> (usize, usize) {
        let (offset, len) = self.slot(slot);
        (offset + 1 + usize::from(self.0[offset]), len)
    }

    #[inline]
    fn slot(&self, slot: usize) -> (usize, usize) {
        assert!(slot < self.len(), "slot in range");
        let at = SLOTS + slot * SLOT;
        (self.u16(at + 4), self.u16(at + 6))
    }

    fn set_slot(&mut self, slot: usize, offset: usize, value_len: usize) {
        let at = SLOTS + slot * SLOT;
        self.set_u16(at + 4, offset);
        self.set_u16(at + 6, value_len);
    }

    #[inline]
    fn u16(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.0[at], self.0[at + 1]]))
    }

    fn set_u16(&mut self, at: usize, value: usize) {
        self.0[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn rows(page: &Page) -> Vec<(Vec<u8>, Vec<u8>)> {
        (0..page.len()).map(|slot| (page.key(slot).to_vec(), page.value(slot).to_vec())).collect()
    }

    fn reparse(page: &Page) -> Page {
        Page::parse(Box::new(*page.0), page.level(), 7).unwrap()
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(0u8..4, 1..6),
            (any::<u32>(), any::<u8>()).prop_map(|(n, t)| {
                let mut key = b"\x01common-prefix".to_vec();
                key.extend_from_slice(&(n % 500).to_be_bytes());
                key.push(t % 3);
                key
            }),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(
            ops in proptest::collection::vec(
                (key(), proptest::option::weighted(0.7, 0usize..900)), 0..400
            ),
            level in 0u8..2
        ) {
            let mut page = Page::new(level);
            let (mut model, mut lost) = (BTreeMap::new(), Vec::new());
            for (n, (key, len)) in ops.into_iter().enumerate() {
                match len {
                    Some(len) => {
                        let value = vec![n as u8; len];
                        let before = rows(&page);
                        match page.put(&key, &value) {
                            PutOutcome::Full => prop_assert_eq!(rows(&page), before),
                            _ => { model.insert(key, value); }
                        }
                    }
                    None => {
                        lost.push(key.clone());
                        let found = page.search(&key).ok();
                        prop_assert_eq!(found.is_some(), model.remove(&key).is_some());
                        if let Some(slot) = found { page.remove(slot); }
                    }
                }
                let used: usize = model.iter().map(|(k, v)| Page::row_len(k.len(), v.len())).sum();
                prop_assert_eq!(page.used(), used);
            }
            let want: Vec<_> = model.into_iter().collect();
            prop_assert_eq!(rows(&page), want.clone());
            if level == 0 {
                prop_assert_eq!(rows(&reparse(&page)), want.clone());
            }
            for (slot, (key, _)) in want.iter().enumerate() {
                prop_assert_eq!(page.search(key), Ok(slot));
            }
            for key in lost {
                let above = want.partition_point(|(other, _)| *other <= key);
                prop_assert_eq!(page.child_of(&key), above.saturating_sub(1));
            }
            let at = want.len() / 2;
            let mut left = page.clone();
            let right = left.split_off(at);
            prop_assert_eq!(rows(&left), &want[..at]);
            prop_assert_eq!(rows(&right), &want[at..]);
            left.append(&right);
            prop_assert_eq!(rows(&left), want);
        }

        #[test]
        fn hostile_blocks_never_panic(
            count in 0u16..2100, heap in any::<u16>(),
            flips in proptest::collection::vec((0usize..NODE_SIZE, any::<u8>()), 0..64)
        ) {
            let mut page = Page::new(0);
            for n in 0..100u32 { page.put(&n.to_be_bytes(), b"value"); }
            let mut block = Box::new(*page.0);
            if heap % 3 == 0 {
                block[COUNT..COUNT + 2].copy_from_slice(&count.to_le_bytes());
                block[HEAP..HEAP + 2].copy_from_slice(&heap.to_le_bytes());
            }
            for (at, value) in flips { block[at] = value; }
            if let Ok(mut page) = Page::parse(block, 0, 1) {
                let _ = rows(&page);
                page.put(b"another", &[1; 300]);
                while !page.is_empty() { page.remove(page.len() / 2); }
            }
        }
    }

    #[test]
    fn an_interior_page_without_rows_is_refused() {
        for level in [0, 1, 7] {
            let empty = Page::parse(Box::new(*Page::new(level).0), level, 1);
            assert_eq!(empty.is_ok(), level == 0, "level {level}");
        }
    }

    #[test]
    fn removed_rows_leave_no_bytes() {
        let mut page = Page::new(0);
        page.put(b"a", b"first-secret");
        page.put(b"b", b"second-secret");
        page.put(b"c", b"third");
        page.remove(0);
        page.remove(0);
        let block = page.block();
        assert!(!block.windows(6).any(|window| window == b"secret"));
        assert_eq!(rows(&page), vec![(b"c".to_vec(), b"third".to_vec())]);
    }
}
