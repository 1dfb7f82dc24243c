//! Node cache: verified pages by address, bounded, evicted by CLOCK.
//!
//! Only clean nodes live here: an address is written once before its space is freed, so an entry
//! never changes and never has to be written back. An address can hold another node later, so an
//! entry also carries a stamp of its pointer. Shards keep threads apart; the budget is divided
//! among them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use crate::limits::NODE_SIZE;

/// Most shards.
const SHARDS: usize = 64;
/// Fewest entries of a shard: more than the nodes of one path, which a walk needs together.
const LEAST: usize = 32;

/// Pages of type `N` by the first unit of the node.
pub struct NodeCache<N> {
    shards: Vec<RwLock<Shard<N>>>,
    per_shard: usize,
    /// How far the mixed unit is shifted to give the shard.
    shift: u32,
}

struct Shard<N> {
    index: HashMap<u64, usize, BuildHasherDefault<UnitHasher>>,
    entries: Vec<Entry<N>>,
    hand: usize,
}

struct Entry<N> {
    unit: u64,
    stamp: u64,
    node: Arc<N>,
    used: AtomicBool,
}

impl<N> NodeCache<N> {
    /// A cache of at most `bytes` bytes of pages, but of no less than one shard.
    pub fn new(bytes: usize) -> NodeCache<N> {
        let nodes = bytes / NODE_SIZE;
        let shards = (nodes / LEAST).clamp(1, SHARDS).next_power_of_two().min(SHARDS);
        let shard = || Shard { index: HashMap::default(), entries: Vec::new(), hand: 0 };
        NodeCache {
            shards: (0..shards).map(|_| RwLock::new(shard())).collect(),
            per_shard: (nodes / shards).max(LEAST),
            shift: 63 - shards.trailing_zeros(),
        }
    }

    fn shard(&self, unit: u64) -> &RwLock<Shard<N>> {
        // The highest bits of the product depend on all bits of the unit.
        let mixed = unit.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1;
        &self.shards[(mixed >> self.shift) as usize]
    }

    /// The page of the node at `unit` whose pointer has this stamp.
    #[inline]
    pub fn get(&self, unit: u64, stamp: u64) -> Option<Arc<N>> {
        let shard = self.shard(unit).read();
        let entry = &shard.entries[*shard.index.get(&unit)?];
        if entry.stamp != stamp {
            return None;
        }
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(&entry.node))
    }

    /// Keeps a page, evicting another where the shard is full.
    pub fn insert(&self, unit: u64, stamp: u64, node: Arc<N>) {
        let mut shard = self.shard(unit).write();
        let shard = &mut *shard;
        if let Some(&at) = shard.index.get(&unit) {
            shard.entries[at] = Entry { unit, stamp, node, used: AtomicBool::new(false) };
            return;
        }
        let entry = Entry { unit, stamp, node, used: AtomicBool::new(false) };
        let at = if shard.entries.len() < self.per_shard {
            shard.entries.push(entry);
            shard.entries.len() - 1
        } else {
            let at = shard.victim();
            shard.index.remove(&shard.entries[at].unit);
            shard.entries[at] = entry;
            at
        };
        shard.index.insert(unit, at);
    }

    /// Takes a page out, when its node is no longer part of the tree.
    pub fn remove(&self, unit: u64) -> Option<Arc<N>> {
        let mut shard = self.shard(unit).write();
        let at = shard.index.remove(&unit)?;
        let entry = shard.entries.swap_remove(at);
        if let Some(moved) = shard.entries.get(at) {
            let moved = moved.unit;
            shard.index.insert(moved, at);
        }
        Some(entry.node)
    }
}

impl<N> Shard<N> {
    /// CLOCK: the first entry from the hand on that was not used since the hand passed it.
    fn victim(&mut self) -> usize {
        loop {
            self.hand = (self.hand + 1) % self.entries.len();
            if !self.entries[self.hand].used.swap(false, Ordering::Relaxed) {
                return self.hand;
            }
        }
    }
}

/// Units are already spread enough for one multiplication.
#[derive(Default)]
pub struct UnitHasher(u64);

impl Hasher for UnitHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, unit: u64) {
        let mixed = (self.0 ^ unit).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_budget_and_finds_what_it_kept() {
        let cache = NodeCache::new(64 * 4 * NODE_SIZE);
        for unit in 0..10_000u64 {
            cache.insert(unit * 4, 1, Arc::new(unit));
            assert_eq!(cache.get(unit * 4, 1).as_deref(), Some(&unit));
        }
        let kept = (0..10_000u64).filter(|unit| cache.get(unit * 4, 1).is_some()).count();
        assert!(kept <= 64 * 4, "{kept}");
        assert!(kept > 64 * 3, "{kept}");
    }

    #[test]
    fn removing_keeps_the_others() {
        let cache = NodeCache::new(1 << 30);
        for unit in 0..1000u64 {
            cache.insert(unit, 1, Arc::new(unit));
        }
        for unit in (0..1000u64).step_by(3) {
            assert_eq!(cache.remove(unit).as_deref(), Some(&unit));
        }
        for unit in 0..1000u64 {
            assert_eq!(cache.get(unit, 1).is_some(), unit % 3 != 0);
            assert!(cache.get(unit, 2).is_none());
        }
    }
}
