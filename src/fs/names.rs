//! Name cache: what a name in a directory leads to, or that it leads nowhere.
//!
//! A lossy table of sets of four, which grows as it fills. It is exact: whoever changes a name in a
//! directory puts the new truth here before the directory's write lock goes, and whoever fills it
//! after a miss holds at least the shared lock. Names are wiped when the table is cleared or
//! dropped.

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
    shards: [Mutex<Shard>; SHARDS],
    /// Most sets of one shard, a power of two.
    most: usize,
}

/// Sets of names, a power of two of them, or none.
#[derive(Default)]
struct Shard {
    names: Vec<Name>,
    /// Names that are not empty places.
    filled: usize,
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
        let most = names.div_ceil(SHARDS * WAYS).next_power_of_two();
        NameCache { shards: Default::default(), most }
    }

    /// What is known of a name: `None` if nothing, `Some(None)` if it leads nowhere.
    pub fn get(&self, dir: u64, bucket: u64, name: &[u8]) -> Option<Option<Target>> {
        let mixed = mix(dir, bucket);
        let shard = self.shard(mixed).lock();
        let set = shard.names.get(shard.set(mixed))?;
        set.iter().find(|way| way.is(dir, bucket, name)).map(|way| way.target)
    }

    /// Says what a name leads to from now on.
    pub fn put(&self, dir: u64, bucket: u64, name: &[u8], target: Option<Target>) {
        let mixed = mix(dir, bucket);
        let mut shard = self.shard(mixed).lock();
        let range = shard.set(mixed);
        let known = shard
            .names
            .get_mut(range)
            .and_then(|set| set.iter_mut().find(|way| way.is(dir, bucket, name)));
        if let Some(way) = known {
            way.target = target;
            return;
        }
        // Half full: what comes next would drive out names although there may be room.
        if shard.filled * 2 >= shard.names.len() && shard.names.len() < self.most * WAYS {
            shard.grow();
        }
        let range = shard.set(mixed);
        let set = &mut shard.names[range];
        set.rotate_right(1);
        let way = &mut set[0];
        let fresh = way.dir == 0;
        way.set(name);
        (way.dir, way.bucket, way.target) = (dir, bucket, target);
        shard.filled += usize::from(fresh);
    }

    /// Forgets and wipes everything.
    pub fn clear(&self) {
        for shard in &self.shards {
            *shard.lock() = Shard::default();
        }
    }

    fn shard(&self, mixed: u64) -> &Mutex<Shard> {
        &self.shards[(mixed >> 60) as usize % SHARDS]
    }
}

/// The bucket is a keyed hash of the name, 55 bits above 8 that are zero; the directory is mixed
/// in. The upper half of the product depends on all bits of both.
fn mix(dir: u64, bucket: u64) -> u64 {
    let mixed = (bucket >> 8) ^ dir.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.wrapping_mul(0xd6e8_feb8_6659_fd93)
}

impl Shard {
    /// Where the set is that a name is in.
    fn set(&self, mixed: u64) -> std::ops::Range<usize> {
        let sets = (self.names.len() / WAYS).max(1);
        let first = ((mixed >> 28) as usize & (sets - 1)) * WAYS;
        first..first + WAYS
    }

    /// Doubles the number of sets. The names move, and leave nothing behind.
    fn grow(&mut self) {
        let mut grown = Vec::new();
        grown.resize_with((self.names.len() * 2).max(WAYS), Name::default);
        let old = std::mem::replace(&mut self.names, grown);
        for name in old.into_iter().filter(|name| name.dir != 0) {
            let range = self.set(mix(name.dir, name.bucket));
            // Each set parts into two: there is a place.
            if let Some(place) = self.names[range].iter_mut().find(|place| place.dir == 0) {
                *place = name;
            }
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.name.zeroize();
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
        assert!(cache.shards.iter().all(|shard| shard.lock().names.len() == 256));
        for shard in &cache.shards {
            let names = shard.lock().names.iter().filter(|name| name.dir == 7).count();
            assert!((100..=256).contains(&names), "{names} of 4096");
        }
    }

    #[test]
    fn an_empty_cache_takes_no_memory_and_one_that_grows_loses_few_names() {
        let cache = NameCache::new(65_536);
        let room = || cache.shards.iter().map(|shard| shard.lock().names.len()).sum::<usize>();
        assert_eq!((room(), cache.get(1, 256, b"a")), (0, None));
        let bucket = |ino: u64| ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 9 << 8;
        for ino in 1..=1000 {
            cache.put(1, bucket(ino), &ino.to_le_bytes(), target(ino));
        }
        assert!((1000..=8192).contains(&room()), "{}", room());
        let found = |ino: &u64| cache.get(1, bucket(*ino), &ino.to_le_bytes()).is_some();
        let known = (1..=1000).filter(found).count();
        assert!(known > 900, "{known}");
        cache.clear();
        assert_eq!(room(), 0);
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
