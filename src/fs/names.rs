//! Name cache: what a name in a directory leads to, or that it leads nowhere.
//!
//! A lossy table of sets of four. It is exact: whoever changes a name in a directory puts the new
//! truth here before the directory's write lock goes, and whoever fills it after a miss holds at
//! least the shared lock. Names are wiped when the table is cleared or dropped.

use parking_lot::Mutex;
use zeroize::Zeroize;

const SHARDS: usize = 16;
const WAYS: usize = 4;

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fs) struct Target {
    pub ino: u64,
    pub kind: u8,
    /// Where the entry stands in its directory.
    pub cookie: u64,
}

/// A bounded number of names.
pub(in crate::fs) struct NameCache {
    shards: Vec<Mutex<Vec<Name>>>,
    /// Sets of one shard, a power of two.
    sets: usize,
}

#[derive(Default)]
struct Name {
    /// 0 in an empty place.
    dir: u64,
    /// First cookie of the name's bucket.
    bucket: u64,
    target: Option<Target>,
    name: Vec<u8>,
}

impl NameCache {
    pub fn new(names: usize) -> NameCache {
        let sets = names.div_ceil(SHARDS * WAYS).next_power_of_two();
        let shard = || {
            let mut shard = Vec::new();
            shard.resize_with(sets * WAYS, Name::default);
            Mutex::new(shard)
        };
        NameCache { shards: std::iter::repeat_with(shard).take(SHARDS).collect(), sets }
    }

    /// What is known of a name: `None` if nothing, `Some(None)` if it leads nowhere.
    pub fn get(&self, dir: u64, bucket: u64, name: &[u8]) -> Option<Option<Target>> {
        let (shard, first) = self.place(dir, bucket);
        let shard = shard.lock();
        let set = &shard[first..first + WAYS];
        set.iter().find(|way| way.is(dir, bucket, name)).map(|way| way.target)
    }

    /// Says what a name leads to from now on.
    pub fn put(&self, dir: u64, bucket: u64, name: &[u8], target: Option<Target>) {
        let (shard, first) = self.place(dir, bucket);
        let mut shard = shard.lock();
        let set = &mut shard[first..first + WAYS];
        if let Some(way) = set.iter_mut().find(|way| way.is(dir, bucket, name)) {
            way.target = target;
            return;
        }
        set.rotate_right(1);
        let way = &mut set[0];
        way.set(name);
        (way.dir, way.bucket, way.target) = (dir, bucket, target);
    }

    /// Forgets and wipes everything.
    pub fn clear(&self) {
        for shard in &self.shards {
            shard.lock().iter_mut().for_each(Name::wipe);
        }
    }

    fn place(&self, dir: u64, bucket: u64) -> (&Mutex<Vec<Name>>, usize) {
        // The bucket is a keyed hash of the name, 55 bits above 8 that are zero; the directory is
        // mixed in. The upper half of the product depends on all bits of both.
        let mixed = (bucket >> 8) ^ dir.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = mixed.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let (shard, set) = ((mixed >> 60) as usize % SHARDS, (mixed >> 28) as usize);
        (&self.shards[shard], (set & (self.sets - 1)) * WAYS)
    }
}

impl Drop for NameCache {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Name {
    fn is(&self, dir: u64, bucket: u64, name: &[u8]) -> bool {
        self.bucket == bucket && self.dir == dir && self.name == name
    }

    /// Puts another name into the place of the old one.
    fn set(&mut self, name: &[u8]) {
        if self.name.capacity() < name.len() {
            // Not grown in place: that would give memory back with the old name in it.
            self.name.zeroize();
            self.name = Vec::with_capacity(name.len());
        }
        self.name.clear();
        self.name.extend_from_slice(name);
    }

    fn wipe(&mut self) {
        self.name.zeroize();
        (self.dir, self.bucket, self.target) = (0, 0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(ino: u64) -> Option<Target> {
        Some(Target { ino, kind: 8, cookie: ino << 8 })
    }

    #[test]
    fn the_last_word_counts() {
        let cache = NameCache::new(64);
        assert_eq!(cache.get(1, 256, b"a"), None);
        cache.put(1, 256, b"a", target(7));
        cache.put(1, 256, b"b", target(8));
        assert_eq!(cache.get(1, 256, b"a"), Some(target(7)));
        cache.put(1, 256, b"a", None);
        assert_eq!(cache.get(1, 256, b"a"), Some(None));
        assert_eq!(cache.get(1, 256, b"b"), Some(target(8)));
        assert_eq!(cache.get(2, 256, b"b"), None);
        cache.clear();
        assert_eq!(cache.get(1, 256, b"b"), None);
    }

    #[test]
    fn the_names_of_one_directory_are_in_all_shards() {
        let cache = NameCache::new(4096);
        for name in 0..4096u64 {
            // As the upper bits of a hash are.
            let bucket = name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 9 << 8;
            cache.put(7, bucket, &name.to_le_bytes(), target(name));
        }
        for shard in &cache.shards {
            let names = shard.lock().iter().filter(|name| name.dir == 7).count();
            assert!((100..=256).contains(&names), "{names} of 4096");
        }
    }

    #[test]
    fn a_full_cache_forgets_and_never_lies() {
        let cache = NameCache::new(64);
        let mut known = 0;
        for ino in 1..=10_000u64 {
            cache.put(ino % 3 + 1, ino << 8, &ino.to_le_bytes(), target(ino));
        }
        for ino in 1..=10_000u64 {
            if let Some(found) = cache.get(ino % 3 + 1, ino << 8, &ino.to_le_bytes()) {
                assert_eq!(found, target(ino));
                known += 1;
            }
        }
        assert!((1..=64).contains(&known), "{known}");
    }
}
