//! Stores that are full: they can be emptied, and open at any time.

use std::collections::BTreeSet;
use std::sync::Arc;

use efscrypt::ErrorKind;
use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::Rng;
use efscrypt::txn::{Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, fixed_keys, fixed_unlock};

fn options(cache_bytes: usize) -> EngineOptions {
    EngineOptions { log_bytes: 512 << 10, cache_bytes, read_only: false }
}

fn key(n: u64) -> Vec<u8> {
    [&[1][..], &n.to_be_bytes()].concat()
}

/// The same keys in another order.
fn scattered(n: u64) -> Vec<u8> {
    key(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Puts rows until no more fit, and returns how many did.
fn fill(engine: &Engine) -> u64 {
    let mut count = 0;
    loop {
        let mut edits = Edits::new();
        edits.put(FIRST_FS_TREE, &key(count), &[7; 3000]);
        match engine.commit(&mut edits, Class::Normal) {
            Ok(_) => count += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                return count;
            }
        }
    }
}

#[test]
fn a_full_store_can_be_emptied_by_large_transactions() {
    for (mib, batch, reopen) in [6u64, 8, 16, 40]
        .into_iter()
        .flat_map(|mib| [(mib, 16, false), (mib, 16, true), (mib, 63, false), (mib, 63, true)])
    {
        let what = format!("{mib} MiB by {batch}, reopened: {reopen}");
        let (device, options) = (Arc::new(MemoryDevice::fixed(mib << 20)), options(64 << 20));
        let mut engine = Engine::create(device.clone(), fixed_keys(1).unwrap(), &options).unwrap();
        let count = fill(&engine);
        if reopen {
            engine.sync(engine.last()).unwrap();
            drop(engine);
            engine = Engine::open(device, |_| fixed_unlock(2), &options)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        // One row of each leaf first: as many leaves as can be are changed at once.
        let mut order: Vec<u64> = (0..count).collect();
        order.sort_by_key(|n| (n % 5, *n));
        for chunk in order.chunks(batch) {
            let mut edits = Edits::new();
            chunk.iter().for_each(|&n| edits.del(FIRST_FS_TREE, &key(n)));
            let emptied = engine.commit(&mut edits, Class::Freeing);
            emptied.unwrap_or_else(|error| panic!("{what}, {count} rows: {error}"));
        }
    }
}

/// One random transaction: rows more, or, where the store was full, rows less.
fn step(engine: &Engine, rng: &mut Rng, count: &mut u64, was_full: bool) -> bool {
    let freeing = was_full && rng.one_in(2);
    let mut edits = Edits::new();
    for _ in 0..1 + rng.below(8) {
        if freeing {
            edits.del(FIRST_FS_TREE, &scattered(rng.below(*count + 1)));
        } else {
            edits.put(FIRST_FS_TREE, &scattered(*count), &vec![7; 1 + rng.below(3900) as usize]);
            *count += 1;
        }
    }
    let class = if freeing { Class::Freeing } else { Class::Normal };
    match engine.commit(&mut edits, class) {
        Ok(_) => was_full,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
            true
        }
    }
}

#[test]
fn a_full_store_opens_at_every_sync() {
    for seed in 0..6u64 {
        let bytes = [6u64, 7, 8][seed as usize % 3] << 20;
        let fixed = seed % 2 == 0;
        let device = if fixed { MemoryDevice::fixed(bytes) } else { MemoryDevice::limited(bytes) };
        let device = Arc::new(device);
        let keys = fixed_keys(1).unwrap();
        let engine = Engine::create(device.clone(), keys, &options(64 << 20)).unwrap();
        let (mut rng, mut count, mut full) = (Rng::of(seed, 3), 0, false);
        for _ in 0..1500 {
            full = step(&engine, &mut rng, &mut count, full);
            if !full || !rng.one_in(5) {
                continue;
            }
            engine.sync(engine.last()).unwrap();
            let copy = Arc::new(device.snapshot());
            let options = options([1 << 20, 64 << 20][rng.below(2) as usize]);
            let engine = Engine::open(copy, |_| fixed_unlock(2), &options)
                .unwrap_or_else(|error| panic!("seed {seed}, {count} rows: {error}"));
            let report = engine.check_structure(|_, _, _, _| ()).unwrap();
            assert!(report.is_clean(), "{report:?}");
        }
        assert!(full, "seed {seed}: the store never was full");
    }
}

/// A model of rows that come and go in long sequences.
struct Queues {
    engine: Engine,
    rng: Rng,
    rows: BTreeSet<u64>,
}

impl Queues {
    /// Long keys: few fit in an interior node, so there are many of those.
    fn key(n: u64) -> Vec<u8> {
        [&key(n)[..], &[0xaa; 55]].concat()
    }

    /// Puts or deletes a sequence of rows, upwards or downwards.
    fn sweep(&mut self) {
        let (start, len) = (self.rng.below(20_000), self.rng.below(3000));
        let (del, down) = (self.rng.one_in(2), self.rng.one_in(3));
        let size = 3000 + self.rng.below(900) as usize;
        let mut numbers: Vec<u64> = (start..start + len).collect();
        if down {
            numbers.reverse();
        }
        for chunk in numbers.chunks(1 + self.rng.below(16) as usize) {
            let mut edits = Edits::new();
            for &n in chunk {
                match del {
                    true => edits.del(FIRST_FS_TREE, &Queues::key(n)),
                    false => edits.put(FIRST_FS_TREE, &Queues::key(n), &vec![n as u8; size]),
                }
                if del {
                    self.rows.remove(&n)
                } else {
                    self.rows.insert(n)
                };
            }
            self.engine.commit(&mut edits, Class::Normal).unwrap();
        }
        if self.rng.one_in(4) {
            self.engine.checkpoint().unwrap();
        }
    }

    fn verify(&self, what: &str) {
        let mut rows = self.rows.iter();
        let visit = |found: &[u8], _: &[u8]| {
            assert_eq!(found, Queues::key(*rows.next().unwrap()), "{what}");
            true
        };
        self.engine.scan(FIRST_FS_TREE, &[1], &[2], visit).unwrap();
        assert!(rows.next().is_none(), "{what}: rows are missing");
        for n in &self.rows {
            let found = self.engine.get(FIRST_FS_TREE, &Queues::key(*n), |_| ()).unwrap();
            assert!(found.is_some(), "{what}: {n}");
        }
    }
}

/// Appends, deletions from the front, insertions below: interior nodes empty and merge.
#[test]
fn rows_in_long_sequences_come_and_go() {
    for seed in 0..8 {
        let mut rng = Rng::of(seed, 5);
        let cache = if rng.one_in(2) { 1 << 20 } else { 256 << 20 };
        let keys = fixed_keys(seed).unwrap();
        let device = Arc::new(MemoryDevice::new());
        let engine = Engine::create(device, keys, &options(cache)).unwrap();
        let mut queues = Queues { engine, rng, rows: BTreeSet::new() };
        for round in 0..40 {
            queues.sweep();
            queues.verify(&format!("seed {seed}, round {round}"));
        }
        let report = queues.engine.check_structure(|_, _, _, _| ()).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }
}
