//! Contents under threads: writers, readers under pins, syncs and checkpoints on a small device
//! that is full at times; then crashes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::{FaultPlan, Recording, Rng, SimDevice};
use efscrypt::txn::{
    Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, Run, fixed_keys, fixed_unlock, units_check,
};
use efscrypt::{ErrorKind, Result};

const UNIT: usize = 4096;
const WRITERS: u64 = 3;
const KEYS: u64 = 60;
/// What marks a block: writer, key and number of the write.
const STAMP: usize = 24;
/// Bytes of a row before the stamp: a mark, the first unit, the number of units.
const OWNER: usize = 13;

fn options(cache_bytes: usize) -> EngineOptions {
    EngineOptions { log_bytes: 512 << 10, cache_bytes, read_only: false }
}

fn key(writer: u64, key: u64) -> Vec<u8> {
    [&[1, writer as u8][..], &key.to_be_bytes()].concat()
}

/// The row in which a writer counts.
fn counter(writer: u64) -> [u8; 2] {
    [2, writer as u8]
}

/// The units that a row owns.
fn owned(value: &[u8]) -> Option<(u64, u32)> {
    let rest = value.strip_prefix(&[9])?;
    let (unit, rest) = rest.split_first_chunk()?;
    let (units, _) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(*unit), u32::from_le_bytes(*units)))
}

fn expect_full(error: &efscrypt::Error) {
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
}

/// An acknowledged write: by which step of the device, whose, and its number.
type Ack = (u64, u64, u64);

struct Stage {
    engine: Engine,
    device: Arc<SimDevice>,
    acks: Mutex<Vec<Ack>>,
    done: AtomicBool,
}

impl Stage {
    fn new(seed: u64) -> Stage {
        let memory = MemoryDevice::limited((5 + seed % 3) << 20);
        let device = Arc::new(SimDevice::recording(memory, FaultPlan::new(seed)));
        let keys = fixed_keys(seed).unwrap();
        let engine = Engine::create(device.clone(), keys, &options(1 << 20)).unwrap();
        Stage { engine, device, acks: Mutex::default(), done: AtomicBool::new(false) }
    }

    /// Runs all threads to their end.
    fn run(&self, seed: u64) {
        thread::scope(|scope| {
            let writer = |writer| scope.spawn(move || self.write(writer, Rng::of(seed, writer)));
            let writers: Vec<_> = (0..WRITERS).map(writer).collect();
            for reader in 0..2 {
                scope.spawn(move || self.read(Rng::of(seed, 100 + reader)));
            }
            scope.spawn(|| {
                while !self.done.load(Ordering::Relaxed) {
                    self.engine.checkpoint().unwrap();
                    thread::sleep(Duration::from_millis(2));
                }
            });
            let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            self.done.store(true, Ordering::Relaxed);
            ended.into_iter().for_each(|ended| ended.unwrap());
        });
    }

    fn write(&self, writer: u64, mut rng: Rng) {
        let mut mine: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
        for n in 1..=400u64 {
            let k = rng.below(KEYS);
            let mut edits = Edits::new();
            edits.put(FIRST_FS_TREE, &counter(writer), &n.to_le_bytes());
            if let Some(&(unit, units)) = mine.get(&k) {
                edits.give(unit, units);
            }
            let stamp = [writer, k, n].map(u64::to_le_bytes).concat();
            let mut run = None;
            if !rng.one_in(3) {
                match self.store(&key(writer, k), &stamp, &mut edits, &mut rng) {
                    Ok(stored) => run = Some(stored),
                    Err(error) => expect_full(&error),
                }
            }
            if run.is_none() {
                edits.del(FIRST_FS_TREE, &key(writer, k));
            }
            let class = if run.is_some() { Class::Normal } else { Class::Freeing };
            match self.engine.commit(&mut edits, class) {
                Err(error) => expect_full(&error),
                Ok(lsn) => {
                    mine.remove(&k);
                    if let Some(run) = run {
                        let (unit, units) = (run.unit(), run.units());
                        mine.insert(k, (unit, units));
                        run.taken(units);
                    }
                    if rng.one_in(4) {
                        self.engine.sync(lsn).unwrap();
                        self.acks.lock().unwrap().push((self.device.steps(), writer, n));
                    }
                }
            }
        }
    }

    /// Writes contents, and adds the edits that take them.
    fn store(&self, key: &[u8], stamp: &[u8], edits: &mut Edits, rng: &mut Rng) -> Result<Run<'_>> {
        let mut run = self.engine.reserve(1 + rng.below(12) as u32)?;
        let block = stamp.repeat(UNIT / STAMP + 1);
        let block = &block[..UNIT];
        let blocks: Vec<&[u8]> = (0..run.units()).map(|_| block).collect();
        run.write(&blocks)?;
        let crcs = (0..run.units()).map(|_| crc32fast::hash(block));
        edits.take(run.unit(), run.units(), units_check(crcs));
        let (unit, units) = (run.unit().to_le_bytes(), run.units().to_le_bytes());
        let mut value = [&[9][..], &unit, &units, stamp].concat();
        value.resize(OWNER + STAMP + rng.below(800) as usize, 0);
        edits.put(FIRST_FS_TREE, key, &value);
        Ok(run)
    }

    fn read(&self, mut rng: Rng) {
        while !self.done.load(Ordering::Relaxed) {
            let key = key(rng.below(WRITERS), rng.below(KEYS));
            let _pin = self.engine.pin();
            let value = self.engine.get(FIRST_FS_TREE, &key, <[u8]>::to_vec).unwrap();
            if let Some(value) = value {
                assert!(holds(&self.engine, &value), "other bytes under a pin");
            }
        }
    }
}

/// Whether the units of a row hold what was written for it.
fn holds(engine: &Engine, value: &[u8]) -> bool {
    let (unit, units) = owned(value).unwrap();
    let mut bytes = vec![0; UNIT * units as usize];
    engine.read_units(unit, &mut bytes).unwrap();
    bytes.chunks(UNIT).all(|block| block[..STAMP] == value[OWNER..OWNER + STAMP])
}

#[test]
fn contents_are_right_under_pins_and_after_crashes() {
    for seed in 0..6 {
        let stage = Stage::new(seed);
        let made = stage.device.steps();
        stage.run(seed);
        drop(stage.engine);
        let (recording, acks) = (stage.device.take_recording(), stage.acks.into_inner().unwrap());
        let stride = ((recording.steps() - made) / 40).max(1);
        for step in (made..=recording.steps()).step_by(stride as usize) {
            verify(&recording, &acks, step, seed);
        }
    }
}

fn verify(recording: &Recording, acks: &[Ack], step: u64, seed: u64) {
    let what = format!("seed {seed}, step {step} of {}", recording.steps());
    let image = Arc::new(recording.crash_image(step, seed));
    let engine = Engine::open(image, |_| fixed_unlock(seed), &options(1 << 20))
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    for writer in 0..WRITERS {
        let number = |value: &[u8]| u64::from_le_bytes(value.try_into().unwrap());
        let have = engine.get(FIRST_FS_TREE, &counter(writer), number).unwrap().unwrap_or(0);
        let acked = acks.iter().filter(|(at, who, _)| *at <= step && *who == writer);
        let want = acked.map(|(.., n)| *n).max().unwrap_or(0);
        assert!(have >= want, "{what}: writer {writer} has {have}, acknowledged {want}");
    }
    let mut rows = Vec::new();
    let visit = |_: &[u8], value: &[u8]| {
        rows.push(value.to_vec());
        true
    };
    engine.scan(FIRST_FS_TREE, &[1], &[2], visit).unwrap();
    assert!(rows.iter().all(|value| holds(&engine, value)), "{what}: other contents");
    let own = |_, _: &[u8], value: &[u8], own: &mut dyn FnMut(u64, u32)| {
        if let Some((unit, units)) = owned(value) {
            own(unit, units);
        }
    };
    let report = engine.check_structure(own).unwrap();
    assert!(report.is_clean(), "{what}: {report:?}");
}

/// Durable contents, overwritten without a sync of its own; the power fails in another's sync.
#[test]
fn an_unsynced_overwrite_never_costs_durable_contents() {
    for seed in 0..40u64 {
        let device = Arc::new(SimDevice::recording(MemoryDevice::new(), FaultPlan::new(seed)));
        let keys = fixed_keys(seed).unwrap();
        let engine = Engine::create(device.clone(), keys, &options(4 << 20)).unwrap();
        let write = |byte: u8, old: Option<u64>| {
            let block = [byte; UNIT];
            let mut run = engine.reserve(1).unwrap();
            run.write(&[&block]).unwrap();
            let mut edits = Edits::new();
            old.into_iter().for_each(|unit| edits.give(unit, 1));
            edits.take(run.unit(), 1, units_check([crc32fast::hash(&block)]));
            let value = [&[byte][..], &run.unit().to_le_bytes()].concat();
            edits.put(FIRST_FS_TREE, &[1, 1], &value);
            let lsn = engine.commit(&mut edits, Class::Normal).unwrap();
            let unit = run.unit();
            run.taken(1);
            engine.sync(lsn).unwrap();
            unit
        };
        let unit = write(1, None);
        let from = device.steps();
        write(2, Some(unit));
        drop(engine);
        let recording = device.take_recording();
        for step in from..=recording.steps() {
            let image = Arc::new(recording.crash_image(step, seed));
            let engine = Engine::open(image, |_| fixed_unlock(seed), &options(4 << 20)).unwrap();
            let value = engine.get(FIRST_FS_TREE, &[1, 1], <[u8]>::to_vec).unwrap().unwrap();
            let mut bytes = [0; UNIT];
            let unit = u64::from_le_bytes(value[1..9].try_into().unwrap());
            engine.read_units(unit, &mut bytes).unwrap();
            assert!(bytes.iter().all(|byte| *byte == value[0]), "seed {seed}, step {step}");
        }
    }
}
