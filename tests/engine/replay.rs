//! Replay of a log that ends in the middle of a record, or that cannot be read for now.

use std::sync::Arc;

use efscrypt::ErrorKind;
use efscrypt::device::sim::{FaultPlan, SimDevice};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::txn::{
    Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, fixed_keys, fixed_unlock, units_check,
};

use crate::flawed::Flawed;

const ROWS: u64 = 500;
/// The row whose contents did not reach the device.
const LOST: u64 = 340;

fn key(n: u64) -> Vec<u8> {
    [&[1][..], &n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()].concat()
}

fn options(cache_bytes: usize) -> EngineOptions {
    EngineOptions { log_bytes: 8 << 20, cache_bytes, read_only: false }
}

/// A store with two log records, and a unit that a transaction in the middle of the first took.
fn logged() -> (MemoryDevice, u64) {
    let device = Arc::new(MemoryDevice::new());
    let keys = fixed_keys(1).unwrap();
    let engine = Engine::create(device.clone(), keys, &options(64 << 20)).unwrap();
    // What the durable superblock says that the device has: the contents stand behind it.
    let made = device.len().unwrap();
    let (mut unit, mut held) = (0, Vec::new());
    for n in 0..ROWS {
        let mut edits = Edits::new();
        edits.put(FIRST_FS_TREE, &key(n), &[7; 3000]);
        let mut run = engine.reserve(1).unwrap();
        if n == LOST {
            while run.unit() * 4096 < made {
                held.push(std::mem::replace(&mut run, engine.reserve(1).unwrap()));
            }
            let block = [9; 4096];
            run.write(&[&block]).unwrap();
            unit = run.unit();
            edits.take(unit, 1, units_check([crc32fast::hash(&block)]));
        }
        engine.commit(&mut edits, Class::Normal).unwrap();
        if n == LOST {
            run.taken(1);
        }
    }
    engine.sync(engine.last()).unwrap();
    drop(held);
    drop(engine);
    (device.snapshot(), unit)
}

fn rows(engine: &Engine) -> Vec<u64> {
    let has = |n: &u64| engine.get(FIRST_FS_TREE, &key(*n), |_| ()).unwrap().is_some();
    (0..ROWS).filter(has).collect()
}

/// The end of the log is in the middle of a record, and replay writes checkpoints.
#[test]
fn a_crash_in_replay_leaves_a_prefix() {
    let (device, unit) = logged();
    device.write_at(unit * 4096, &[0; 4096]).unwrap();
    let device = Arc::new(SimDevice::recording(device, FaultPlan::new(1)));
    let options = options(1 << 20);
    let engine = Engine::open(device.clone(), |_| fixed_unlock(2), &options).unwrap();
    assert_eq!(rows(&engine), (0..LOST).collect::<Vec<_>>());
    assert_eq!(engine.recovery().records, 1);
    drop(engine);
    let recording = device.take_recording();
    assert!(recording.steps() > 12, "replay wrote no checkpoint of its own");
    for step in 0..=recording.steps() {
        let image = Arc::new(recording.crash_image(step, step));
        let engine = Engine::open(image, |_| fixed_unlock(3), &options).unwrap();
        assert_eq!(rows(&engine), (0..LOST).collect::<Vec<_>>(), "crash at step {step}");
    }
}

/// Contents that the log took cannot be read for a while.
#[test]
fn a_read_error_costs_no_acknowledged_transaction() {
    let (device, unit) = logged();
    let device = Flawed::new(device);
    let bad = unit * 4096..unit * 4096 + 512;
    device.spoil([bad]);
    let open = |read_only| {
        let options = EngineOptions { read_only, ..options(64 << 20) };
        Engine::open(device.clone(), |_| fixed_unlock(2), &options)
    };
    let error = open(false).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains(&format!("unit {unit}")), "{error}");
    // To look at, all of it is there but for these contents.
    let engine = open(true).unwrap();
    assert_eq!(rows(&engine), (0..ROWS).collect::<Vec<_>>());
    assert_eq!(engine.read_units(unit, &mut [0; 4096]).unwrap_err().kind(), ErrorKind::Io);
    device.spoil([]);
    assert_eq!(rows(&open(false).unwrap()), (0..ROWS).collect::<Vec<_>>());
}

/// The device ends before contents that the log took: they were never written.
#[test]
fn contents_behind_the_end_of_the_device_end_the_log() {
    let (device, unit) = logged();
    let image = device.to_vec();
    let device = Arc::new(MemoryDevice::new());
    device.write_at(0, &image[..unit as usize * 4096]).unwrap();
    let engine = Engine::open(device, |_| fixed_unlock(2), &options(64 << 20)).unwrap();
    assert_eq!(rows(&engine), (0..LOST).collect::<Vec<_>>());
}
