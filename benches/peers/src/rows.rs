//! Rows of the engine beside redb: inserts in batches that are made durable, then random reads.
//!
//! Both have a cache of 1 GiB. The engine encrypts and authenticates every row; redb does not.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use efscrypt::device::FileDevice;
use efscrypt::txn::{Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, fixed_keys};
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::median;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const CACHE: usize = 1 << 30;
const VALUE: usize = 100;
const READS: u64 = 1_000_000;
/// Rows of one transaction of the engine.
const EDITS: usize = 32;
const ROUNDS: usize = 3;

/// What both sides can do.
trait Rows {
    /// Puts rows, which are durable afterwards.
    fn insert(&mut self, keys: &[u64], value: &[u8]);
    /// Reads rows that exist.
    fn read(&self, keys: &[u64]);
}

struct Ours(Engine);

struct Redb(Database);

/// Class 1, as inodes have, and the number.
fn key(number: u64) -> [u8; 9] {
    let mut key = [1; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

impl Ours {
    fn new(path: &Path) -> Ours {
        let device = Arc::new(FileDevice::create(path).expect("a file"));
        let options = EngineOptions { cache_bytes: CACHE, ..EngineOptions::default() };
        let keys = fixed_keys(1).expect("keys");
        Ours(Engine::create(device, keys, &options).expect("a store"))
    }
}

impl Rows for Ours {
    fn insert(&mut self, keys: &[u64], value: &[u8]) {
        for chunk in keys.chunks(EDITS) {
            let mut edits = Edits::new();
            chunk.iter().for_each(|number| edits.put(FIRST_FS_TREE, &key(*number), value));
            self.0.commit(&mut edits, Class::Normal).expect("a commit");
            self.0.relieve();
        }
        self.0.sync(self.0.last()).expect("a sync");
    }

    fn read(&self, keys: &[u64]) {
        for number in keys {
            let found = self.0.get(FIRST_FS_TREE, &key(*number), |value| black_box(value)[0]);
            assert!(found.expect("a read").is_some());
        }
    }
}

impl Redb {
    fn new(path: &Path) -> Redb {
        let database = Database::builder().set_cache_size(CACHE).create(path).expect("a database");
        Redb(database)
    }
}

impl Rows for Redb {
    fn insert(&mut self, keys: &[u64], value: &[u8]) {
        let write = self.0.begin_write().expect("a transaction");
        {
            let mut table = write.open_table(TABLE).expect("a table");
            for number in keys {
                table.insert(&key(*number)[..], value).expect("an insert");
            }
        }
        write.commit().expect("a commit");
    }

    fn read(&self, keys: &[u64]) {
        let read = self.0.begin_read().expect("a transaction");
        let table = read.open_table(TABLE).expect("a table");
        for number in keys {
            let found = table.get(&key(*number)[..]).expect("a read").expect("a row");
            black_box(found.value()[0]);
        }
    }
}

/// Prints all cases for `count` rows.
pub fn run(count: u64) {
    println!("{:<44}{:>10}{:>10}{:>9}", "", "efscrypt", "redb", "ratio");
    for (order, random) in [("in order", false), ("at random", true)] {
        for batch in [1_000, 100_000] {
            let batch = batch.min(count as usize);
            let mut times: [Vec<(f64, f64)>; 2] = Default::default();
            for _ in 0..ROUNDS {
                for (times, (ours, theirs)) in times.iter_mut().zip(round(count, batch, random)) {
                    times.push((ours.as_secs_f64(), theirs.as_secs_f64()));
                }
            }
            line(&format!("insert {order}, durable every {batch}"), &times[0]);
            if batch > 1_000 {
                line("  get at random", &times[1]);
            }
        }
    }
}

/// Times of both for inserting and for reading.
fn round(count: u64, batch: usize, random: bool) -> [(Duration, Duration); 2] {
    let place = tempfile::tempdir().expect("a directory");
    let mut ours = Ours::new(&place.path().join("efscrypt"));
    let mut theirs = Redb::new(&place.path().join("redb"));
    let numbers: Vec<u64> = match random {
        true => (0..count).map(scatter).collect(),
        false => (0..count).collect(),
    };
    let reads: Vec<u64> = (0..READS).map(|n| numbers[(scatter(n) % count) as usize]).collect();
    let insert = |rows: &mut dyn Rows| {
        timed(|| numbers.chunks(batch).for_each(|keys| rows.insert(keys, &[7; VALUE])))
    };
    let inserts = (insert(&mut ours), insert(&mut theirs));
    let gets = (timed(|| ours.read(&reads)), timed(|| theirs.read(&reads)));
    [inserts, gets]
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn line(name: &str, times: &[(f64, f64)]) {
    let ours = median(times.iter().map(|(ours, _)| *ours).collect());
    let theirs = median(times.iter().map(|(_, theirs)| *theirs).collect());
    let ratio = median(times.iter().map(|(ours, theirs)| theirs / ours).collect());
    println!("{name:<44}{ours:>9.3}s{theirs:>9.3}s{ratio:>9.2}");
}

/// A number that looks random, another one for each `n` (the finaliser of SplitMix64).
fn scatter(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
