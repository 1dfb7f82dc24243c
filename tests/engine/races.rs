use crate::hook::Hook;
use crate::model::{Workload, create, open, verify};
use efscrypt::device::sim::{Failure, FaultPlan, Op, Repeat, SimDevice};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::txn::{
    Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, fixed_keys, fixed_unlock, units_check,
};
use std::sync::Arc;

const POOL_AT: u64 = 1 << 20;

fn put(engine: &Engine, n: u64) -> u64 {
    let mut edits = Edits::new();
    edits.put(FIRST_FS_TREE, &[&[1][..], &n.to_be_bytes()].concat(), &[7; 100]);
    engine.commit(&mut edits, Class::Normal).unwrap()
}
fn has(engine: &Engine, n: u64) -> bool {
    engine.get(FIRST_FS_TREE, &[&[1][..], &n.to_be_bytes()].concat(), |_| ()).unwrap().is_some()
}

/// A sync while a checkpoint writes its nodes.
#[test]
fn a_sync_during_a_checkpoint_is_durable() {
    let device = Arc::new(MemoryDevice::new());
    let hook = Hook::new(device.clone());
    let engine = Arc::new(create(hook.clone(), 1).unwrap());
    put(&engine, 1);
    engine.sync(engine.last()).unwrap();
    let other = Arc::clone(&engine);
    hook.set(move |op, at, _| {
        if op != "write" || at < POOL_AT {
            return Ok(false);
        }
        let engine = Arc::clone(&other);
        std::thread::spawn(move || {
            let lsn = put(&engine, 2);
            engine.sync(lsn).unwrap();
        })
        .join()
        .unwrap();
        Ok(true)
    });
    engine.checkpoint().unwrap();
    assert!(has(&engine, 2));
    let engine = open(device.snapshot(), 2).unwrap();
    assert!(has(&engine, 1));
    assert!(has(&engine, 2), "an acknowledged transaction is lost");
}

/// What becomes of the flush behind the superblock's second place.
#[derive(Clone, Copy, PartialEq)]
enum Flush {
    /// The process dies before it.
    Never,
    /// It fails, and the superblock is on no medium: only the host's cache has it.
    Dropped,
}

/// The process dies between the superblock's write and its flush; the store is opened again; the
/// power fails during recovery.
#[test]
fn power_fails_in_recovery_after_a_killed_process() {
    power_fails_in_recovery(Flush::Never);
}

/// The flush behind the superblock fails, and later flushes do not write it; the store is opened
/// again on the word of the cache; the power fails during recovery.
#[test]
fn power_fails_in_recovery_after_a_superblock_was_dropped() {
    power_fails_in_recovery(Flush::Dropped);
}

fn power_fails_in_recovery(flush: Flush) {
    let mut failures = Vec::new();
    let mut states = 0;
    for seed in 0..12u64 {
        let sim =
            Arc::new(SimDevice::recording(MemoryDevice::limited(32 << 20), FaultPlan::new(seed)));
        let hook = Hook::new(sim.clone());
        let engine = Arc::new(create(hook.clone(), seed).unwrap());
        let mut work = Workload::new(seed);
        for _ in 0..30 {
            let lsn = work.step(&engine).unwrap();
            engine.sync(lsn).unwrap();
        }
        engine.checkpoint().unwrap();
        for _ in 0..20 {
            let lsn = work.step(&engine).unwrap();
            engine.sync(lsn).unwrap();
        }
        let acked = work.history.len() as u64 - 1;
        let shared = Arc::new(std::sync::Mutex::new(work));
        let (other, list, flushes) = (Arc::clone(&engine), Arc::clone(&shared), Arc::clone(&hook));
        let device = Arc::clone(&sim);
        hook.set(move |op, at, after| {
            // Behind the superblock's second place, before its flush.
            if op != "write" || !after || !(256 << 10..512 << 10).contains(&at) {
                return Ok(false);
            }
            match flush {
                Flush::Never => flushes.no_flush.store(true, std::sync::atomic::Ordering::SeqCst),
                Flush::Dropped => {
                    device.set_plan(FaultPlan::new(seed).drop_at_flush(0, 0..512 << 10));
                }
            }
            let (engine, list) = (Arc::clone(&other), Arc::clone(&list));
            std::thread::spawn(move || {
                let mut lsn = 0;
                for _ in 0..3 {
                    lsn = list.lock().unwrap().step(&engine).unwrap();
                }
                assert!(engine.sync(lsn).is_err());
            })
            .join()
            .unwrap();
            Ok(true)
        });
        assert!(engine.checkpoint().is_err());
        drop(engine);
        let work = std::mem::replace(&mut *shared.lock().unwrap(), Workload::new(0));
        let from = sim.steps();
        let engine = open(sim.clone(), seed + 100).unwrap();
        drop(engine);
        let recording = sim.take_recording();
        for step in from..=recording.steps() {
            for dice in 0..6 {
                states += 1;
                let image = recording.crash_image(step, dice);
                let bad = std::panic::catch_unwind(|| {
                    let engine = open(image, seed).unwrap();
                    verify(&engine, &work.history, acked, "crash");
                });
                if bad.is_err() {
                    failures.push((seed, step, dice));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {states} states are lost: {:?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
}

/// The device grows between a checkpoint's first flush and its superblock.
#[test]
fn the_device_grows_while_a_checkpoint_commits() {
    let sim = Arc::new(SimDevice::recording(MemoryDevice::new(), FaultPlan::new(1)));
    let hook = Hook::new(sim.clone());
    let engine = Arc::new(create(hook.clone(), 1).unwrap());
    put(&engine, 1);
    let other = Arc::clone(&engine);
    hook.set(move |op, _, after| {
        if op != "flush" || !after {
            return Ok(false);
        }
        let engine = Arc::clone(&other);
        std::thread::spawn(move || {
            // More than a chunk: the device has to grow.
            for _ in 0..10 {
                std::mem::forget(engine.reserve(64).unwrap());
            }
        })
        .join()
        .unwrap();
        Ok(true)
    });
    let from = sim.steps();
    engine.checkpoint().unwrap();
    let recording = sim.take_recording();
    let mut bad = Vec::new();
    for step in from..=recording.steps() {
        for dice in 0..30 {
            if let Err(error) = open(recording.crash_image(step, dice), 2) {
                bad.push((step, dice, error.to_string()));
            }
        }
    }
    assert!(bad.is_empty(), "{} states do not open: {:?}", bad.len(), bad[0]);
}

/// A flush of a sync fails while a checkpoint is at work.
#[test]
fn a_failed_flush_stops_the_checkpoint_at_work() {
    let (mut wrong, mut lost) = (0, 0);
    for seed in 0..40u64 {
        let sim = Arc::new(SimDevice::recording(MemoryDevice::new(), FaultPlan::new(seed)));
        let hook = Hook::new(sim.clone());
        let engine = Arc::new(create(hook.clone(), 1).unwrap());
        for n in 0..2000 {
            put(&engine, n);
        }
        engine.sync(engine.last()).unwrap();
        for n in 0..300 {
            put(&engine, n * 7);
        }
        engine.sync(engine.last()).unwrap();
        let (other, device) = (Arc::clone(&engine), sim.clone());
        let mut writes = 0;
        hook.set(move |op, at, after| {
            if op != "write" || at < POOL_AT || !after {
                return Ok(false);
            }
            writes += 1;
            if writes < 2 {
                return Ok(false);
            }
            device.set_plan(FaultPlan::new(seed).fail(Op::Flush, 0, Failure::Io, Repeat::Once));
            let engine = Arc::clone(&other);
            let sim2 = device.clone();
            std::thread::spawn(move || {
                let lsn = put(&engine, 9999);
                let answer = engine.sync(lsn);
                eprintln!("{answer:?} {:?}", sim2.counters());
            })
            .join()
            .unwrap();
            Ok(true)
        });
        sim.set_trace(true);
        wrong += u32::from(engine.checkpoint().is_ok());
        let (a, b) = (sim.durable_image().to_vec(), sim.live_image().to_vec());
        let differ: Vec<_> = (0..b.len() / 4096)
            .filter(|n| a.get(n * 4096..n * 4096 + 4096) != b.get(n * 4096..n * 4096 + 4096))
            .collect();
        let _ = (differ, sim.take_trace());
        let image = sim.durable_image();
        let ok = std::panic::catch_unwind(|| {
            let engine = open(image, 2).unwrap();
            for n in 0..2000 {
                assert!(has(&engine, n));
            }
        });
        lost += u32::from(ok.is_err());
    }
    assert_eq!(
        (wrong, lost),
        (0, 0),
        "checkpoints that went on, stores that lost acknowledged rows; of 40"
    );
}

/// The host is full, region 0 is fragmented, and a search looks into region 1.
#[test]
fn a_full_host_does_not_poison() {
    let engine = create(MemoryDevice::limited(POOL_AT + (64 << 20)), 1).unwrap();
    put(&engine, 1);
    let mut kept = Vec::new();
    let mut n = 0u64;
    while let Ok(run) = engine.reserve(1) {
        if run.unit() * 4096 >= POOL_AT + (64 << 20) {
            break;
        }
        n += 1;
        kept.push(run);
        if n > 16300 {
            break;
        }
    }
    // Every other unit is free: no long run is left.
    let mut index = 0;
    kept.retain(|_| {
        index += 1;
        index % 2 == 0
    });
    let run = engine.reserve(64).unwrap();
    drop(run);
    put(&engine, 2);
    engine.checkpoint().unwrap();
}

/// The host is full for a while in the middle of recovery.
#[test]
fn recovery_without_space_can_be_repeated() {
    let options = EngineOptions { log_bytes: 32 << 20, cache_bytes: 64 << 20, read_only: false };
    let base = Arc::new(MemoryDevice::new());
    let engine = Engine::create(base.clone(), fixed_keys(1).unwrap(), &options).unwrap();
    for n in 0..800u64 {
        let mut run = engine.reserve(1).unwrap();
        run.write(&[&[5; 4096]]).unwrap();
        let mut edits = Edits::new();
        edits.take(run.unit(), 1, units_check([crc32fast::hash(&[5; 4096])]));
        let key = [&[9][..], &(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes()].concat();
        let mut value = [&[9][..], &run.unit().to_le_bytes(), &1u32.to_le_bytes()].concat();
        value.resize(3900, 0);
        edits.put(FIRST_FS_TREE, &key, &value);
        engine.commit(&mut edits, Class::Normal).unwrap();
        run.taken(1);
    }
    engine.sync(engine.last()).unwrap();
    drop(engine);
    let mut bad = Vec::new();
    for nth in 1..12 {
        let plan = FaultPlan::new(1).fail(Op::Allocate, nth, Failure::NoSpace, Repeat::Sticky);
        let sim = Arc::new(SimDevice::new(base.snapshot(), plan));
        let first = Engine::open(sim.clone(), |_| fixed_unlock(2), &options).map(drop);
        // Now the host has room again.
        sim.set_plan(FaultPlan::new(1));
        if let Err(error) = Engine::open(sim.clone(), |_| fixed_unlock(3), &options) {
            bad.push((nth, format!("{first:?}"), error.to_string()));
        }
    }
    assert!(bad.is_empty(), "{} do not open any more: {bad:?}", bad.len());
}

/// One rotten bit in the version field of an old slot.
#[test]
fn a_rotten_version_in_an_old_slot_does_not_close_the_store() {
    let device = MemoryDevice::new();
    let device = Arc::new(device);
    let engine = create(device.clone(), 1).unwrap();
    for n in 0..4 {
        put(&engine, n);
        engine.checkpoint().unwrap();
    }
    drop(engine);
    // Slot 2 of place 0: generation 2, three generations old.
    let at = 2 * 16384 + 8;
    let mut block = vec![0; 4096];
    device.read_at(2 * 16384, &mut block).unwrap();
    block[(at % 4096) as usize] ^= 4;
    device.write_at(2 * 16384, &block).unwrap();
    open(device.snapshot(), 2).map(drop).unwrap();
}

/// A read that fails once while a checkpoint retires a node.
#[test]
fn create_on_a_full_host_says_no_space() {
    let kind = create(MemoryDevice::limited(600 << 10), 1).map(drop).unwrap_err().kind();
    assert_eq!(kind, efscrypt::ErrorKind::NoSpace);
    let kind = create(MemoryDevice::fixed(900 << 10), 1).map(drop).unwrap_err().kind();
    assert_eq!(kind, efscrypt::ErrorKind::NoSpace);
}
