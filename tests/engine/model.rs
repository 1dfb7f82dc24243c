//! A model of the engine's rows, and a workload that drives both by a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use efscrypt::Result;
use efscrypt::device::Device;
use efscrypt::device::sim::Rng;
use efscrypt::txn::{
    Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, Lsn, STORE_TREE, fixed_keys, fixed_unlock,
    units_check,
};

/// Row that counts the transactions: tells which prefix a store holds.
const COUNTER: &[u8] = b"\xffcounter";
/// First key byte of rows that own units.
const OWNER: u8 = 9;

pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

pub fn options() -> EngineOptions {
    EngineOptions { log_bytes: 512 << 10, cache_bytes: 4 << 20, read_only: false }
}

pub fn create(device: impl Device + 'static, seed: u64) -> Result<Engine> {
    Engine::create(Arc::new(device), fixed_keys(seed)?, &options())
}

pub fn open(device: impl Device + 'static, seed: u64) -> Result<Engine> {
    Engine::open(Arc::new(device), |_| fixed_unlock(seed), &options())
}

pub fn open_read_only(device: impl Device + 'static) -> Result<Engine> {
    let options = EngineOptions { read_only: true, ..options() };
    Engine::open(Arc::new(device), |_| fixed_unlock(1), &options)
}

/// The workload: it knows the rows after each transaction.
pub struct Workload {
    rng: Rng,
    /// Rows after each transaction; the first entry is the empty store.
    pub history: Vec<Arc<Rows>>,
    /// How large values get.
    pub most: u64,
}

impl Workload {
    pub fn new(seed: u64) -> Workload {
        let mut rng = Rng::new(seed);
        let most = [60, 400, 3000][rng.below(3) as usize];
        Workload { rng, history: vec![Arc::default()], most }
    }

    pub fn rows(&self) -> &Rows {
        &self.history[self.history.len() - 1]
    }

    /// One random transaction on the engine and in the model.
    pub fn step(&mut self, engine: &Engine) -> Result<Lsn> {
        let mut rows = self.rows().clone();
        let mut edits = Edits::new();
        let mut runs = Vec::new();
        let mut touched = BTreeSet::new();
        for _ in 0..1 + self.rng.below(8) {
            let key = self.key();
            if !touched.insert(key.clone()) {
                continue;
            }
            if self.rng.one_in(3) {
                give(&mut edits, rows.get(&key));
                edits.del(tree_of(&key), &key);
                rows.remove(&key);
                continue;
            }
            give(&mut edits, rows.get(&key));
            let value = if key[0] == OWNER {
                let mut run = engine.reserve(1 + self.rng.below(5) as u32)?;
                let mut contents = vec![0; run.units() as usize * 4096];
                self.rng.fill(&mut contents);
                run.write(&[&contents])?;
                let check = units_check(contents.chunks(4096).map(crc32fast::hash));
                edits.take(run.unit(), run.units(), check);
                let (unit, units) = (run.unit().to_le_bytes(), run.units().to_le_bytes());
                let owned = [&unit[..], &units, &check.to_le_bytes()].concat();
                runs.push(run);
                [&[OWNER][..], &owned].concat()
            } else {
                let mut value = vec![0; self.rng.below(self.most) as usize];
                self.rng.fill(&mut value);
                value.insert(0, 0);
                value
            };
            edits.put(tree_of(&key), &key, &value);
            rows.insert(key, value);
        }
        let count = self.history.len() as u64;
        edits.put(FIRST_FS_TREE, COUNTER, &count.to_le_bytes());
        let lsn = engine.commit(&mut edits, Class::Normal)?;
        for run in runs {
            let units = run.units();
            run.taken(units);
        }
        self.history.push(Arc::new(rows));
        Ok(lsn)
    }

    fn key(&mut self) -> Vec<u8> {
        let class = [1, 2, 2, 3, OWNER][self.rng.below(5) as usize];
        let mut key = vec![class];
        key.extend_from_slice(&self.rng.below(60).to_be_bytes());
        key
    }
}

/// Rows of class 3 stand in the STORE tree, so that transactions span two trees.
fn tree_of(key: &[u8]) -> u32 {
    if key[0] == 3 { STORE_TREE } else { FIRST_FS_TREE }
}

fn give(edits: &mut Edits, old: Option<&Vec<u8>>) {
    if let Some((unit, units, _)) = old.and_then(|value| owned(value)) {
        edits.give(unit, units);
    }
}

/// The units that a row owns, and the check of what stands in them.
fn owned(value: &[u8]) -> Option<(u64, u32, u32)> {
    let (unit, rest) = value.strip_prefix(&[OWNER])?.split_first_chunk::<8>()?;
    let (units, check) = rest.split_first_chunk::<4>()?;
    let check = u32::from_le_bytes(check.try_into().ok()?);
    Some((u64::from_le_bytes(*unit), u32::from_le_bytes(*units), check))
}

/// All rows of a store, and how many transactions it holds.
pub fn contents(engine: &Engine) -> Result<(Rows, u64)> {
    let (mut rows, mut count) = (Rows::new(), 0);
    for tree in [STORE_TREE, FIRST_FS_TREE] {
        engine.scan(tree, &[1], &[0xff; 9], |key, value| {
            if key == COUNTER {
                count = u64::from_le_bytes(value.try_into().unwrap());
            } else if tree == FIRST_FS_TREE || key[0] == 3 {
                rows.insert(key.to_vec(), value.to_vec());
            }
            true
        })?;
    }
    Ok((rows, count))
}

/// Fails unless the store holds exactly a prefix of the history from `least` on, without lost
/// space; returns which.
pub fn verify(engine: &Engine, history: &[Arc<Rows>], least: u64, what: &str) -> u64 {
    let (rows, count) = contents(engine).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(count >= least, "{what}: {count} transactions are left of {least} acknowledged");
    let want = history.get(count as usize).unwrap_or_else(|| panic!("{what}: count {count}"));
    assert!(rows == **want, "{what}: the rows are not those of transaction {count}");
    let report = engine
        .check_structure(|_, _, value, own| {
            if let Some((unit, units, _)) = owned(value) {
                own(unit, units);
            }
        })
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.is_clean(), "{what}: {report:?}");
    for (unit, units, check) in rows.values().filter_map(|value| owned(value)) {
        let mut contents = vec![0; units as usize * 4096];
        engine.read_units(unit, &mut contents).unwrap();
        let found = units_check(contents.chunks(4096).map(crc32fast::hash));
        assert_eq!(found, check, "{what}: contents at unit {unit} are not those written");
    }
    count
}
