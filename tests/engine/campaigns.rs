use efscrypt::ErrorKind;
use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::{FaultPlan, Rng, SimDevice};
use efscrypt::txn::{
    Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, fixed_keys, fixed_unlock, units_check,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn options(cache: usize) -> EngineOptions {
    EngineOptions { log_bytes: 512 << 10, cache_bytes: cache, read_only: false }
}
fn owned(value: &[u8]) -> Option<(u64, u32)> {
    let rest = value.strip_prefix(&[9]).filter(|rest| rest.len() >= 36)?;
    Some((
        u64::from_le_bytes(rest[..8].try_into().unwrap()),
        u32::from_le_bytes(rest[8..12].try_into().unwrap()),
    ))
}

/// Data in runs, readers under pins, writers, syncs, checkpoints, a small full device.
#[test]
fn data_readers_and_a_small_device() {
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    for seed in 0..seeds {
        data(seed);
    }
}

fn data(seed: u64) {
    let limit = 5 << 20;
    let sim = Arc::new(SimDevice::recording(
        MemoryDevice::limited(limit + (seed % 3) * (1 << 20)),
        FaultPlan::new(seed),
    ));
    let engine = Engine::create(sim.clone(), fixed_keys(seed).unwrap(), &options(1 << 20)).unwrap();
    let made = sim.steps();
    let done = AtomicBool::new(false);
    let (full, reads) = (AtomicU64::new(0), AtomicU64::new(0));
    let key = |t: u64, k: u64| [&[1, t as u8][..], &k.to_be_bytes()].concat();
    let acks = parking_lot_free();
    std::thread::scope(|scope| {
        let (engine, done, full, reads, acks, sim) = (&engine, &done, &full, &reads, &acks, &sim);
        let workers: Vec<_> = (0..3u64)
            .map(|t| {
                scope.spawn(move || {
                    let mut rng = Rng::of(seed, t);
                    let mut mine: std::collections::BTreeMap<u64, (u64, u32)> = Default::default();
                    for n in 1..=400u64 {
                        let k = rng.below(60);
                        let mut edits = Edits::new();
                        edits.put(FIRST_FS_TREE, &[2, t as u8], &n.to_le_bytes());
                        if let Some(&(unit, units)) = mine.get(&k) {
                            edits.give(unit, units);
                        }
                        let mut run = None;
                        if rng.one_in(3) {
                            edits.del(FIRST_FS_TREE, &key(t, k));
                        } else {
                            match engine.reserve(1 + rng.below(12) as u32) {
                                Ok(mut found) => {
                                    let stamp = [t.to_le_bytes(), k.to_le_bytes(), n.to_le_bytes()]
                                        .concat();
                                    let block = stamp.repeat(4096 / 24 + 1);
                                    let units = found.units();
                                    let blocks: Vec<&[u8]> =
                                        (0..units).map(|_| &block[..4096]).collect();
                                    found.write(&blocks).unwrap();
                                    let crc = crc32fast::hash(&block[..4096]);
                                    let check = units_check((0..units).map(|_| crc));
                                    edits.take(found.unit(), units, check);
                                    let mut value = [
                                        &[9][..],
                                        &found.unit().to_le_bytes(),
                                        &units.to_le_bytes(),
                                        &stamp,
                                    ]
                                    .concat();
                                    value.resize(37 + rng.below(800) as usize, 0);
                                    edits.put(FIRST_FS_TREE, &key(t, k), &value);
                                    run = Some(found);
                                }
                                Err(error) => {
                                    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                                    full.fetch_add(1, Ordering::Relaxed);
                                    edits.del(FIRST_FS_TREE, &key(t, k));
                                }
                            }
                        }
                        let class = if run.is_some() { Class::Normal } else { Class::Freeing };
                        match engine.commit(&mut edits, class) {
                            Ok(lsn) => {
                                mine.remove(&k);
                                if let Some(run) = run {
                                    mine.insert(k, (run.unit(), run.units()));
                                    let units = run.units();
                                    run.taken(units);
                                }
                                if rng.one_in(4) {
                                    engine.sync(lsn).unwrap();
                                    acks.lock().unwrap().push((sim.steps(), t, n));
                                }
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error} {class:?}");
                                full.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                })
            })
            .collect();
        for r in 0..2u64 {
            scope.spawn(move || {
                let mut rng = Rng::of(seed, 100 + r);
                while !done.load(Ordering::Relaxed) {
                    let (t, k) = (rng.below(3), rng.below(60));
                    let _pin = engine.pin();
                    let Some(value) =
                        engine.get(FIRST_FS_TREE, &key(t, k), <[u8]>::to_vec).unwrap()
                    else {
                        continue;
                    };
                    let (unit, units) = owned(&value).unwrap();
                    let mut buf = vec![0; 4096 * units as usize];
                    engine.read_units(unit, &mut buf).unwrap();
                    for block in buf.chunks(4096) {
                        assert_eq!(&block[..24], &value[13..37], "other bytes under a pin");
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                engine.checkpoint().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        });
        let results: Vec<_> = workers.into_iter().map(|w| w.join()).collect();
        done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|r| r.unwrap());
    });
    drop(engine);
    let recording = sim.take_recording();
    let acks = acks.into_inner().unwrap();
    let steps = recording.steps();
    let mut torn = 0;
    for step in (made..=steps).step_by(((steps - made) / 40).max(1) as usize) {
        let what = format!("seed {seed} step {step} of {steps}");
        let device = Arc::new(recording.crash_image(step, seed));
        let engine = Engine::open(device, |_| fixed_unlock(seed), &options(1 << 20))
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        for t in 0..3u64 {
            let have = engine
                .get(FIRST_FS_TREE, &[2, t as u8], |v| u64::from_le_bytes(v.try_into().unwrap()))
                .unwrap()
                .unwrap_or(0);
            let want = acks
                .iter()
                .filter(|(at, who, _)| *at <= step && *who == t)
                .map(|a| a.2)
                .max()
                .unwrap_or(0);
            assert!(have >= want, "{what}: thread {t} has {have}, acknowledged {want}");
        }
        let mut rows = Vec::new();
        engine
            .scan(FIRST_FS_TREE, &[1], &[2], |_, value| {
                rows.push(value.to_vec());
                true
            })
            .unwrap();
        for value in rows {
            let (unit, units) = owned(&value).unwrap();
            let mut buf = vec![0; 4096 * units as usize];
            engine.read_units(unit, &mut buf).unwrap();
            if buf.chunks(4096).any(|block| block[..24] != value[13..37]) {
                torn += 1;
            }
        }
        let report = engine
            .check_structure(|_, _, value, own| {
                if let Some((u, n)) = owned(value) {
                    own(u, n)
                }
            })
            .unwrap();
        assert!(report.is_clean(), "{what}: {report:?}");
    }
    eprintln!("seed {seed}: full {full:?} reads {reads:?} steps {steps}, other contents: {torn}");
}

fn parking_lot_free() -> std::sync::Mutex<Vec<(u64, u64, u64)>> {
    Default::default()
}

/// A full store: freeing transactions over many leaves, after a reopen, on several sizes.
#[test]
fn a_full_store_can_be_emptied_by_large_transactions() {
    let mut bad = Vec::new();
    for mib in [6u64, 8, 16, 40] {
        for batch in [16usize, 63] {
            for reopen in [false, true] {
                let device = Arc::new(MemoryDevice::fixed(mib << 20));
                let mut engine =
                    Engine::create(device.clone(), fixed_keys(1).unwrap(), &options(64 << 20))
                        .unwrap();
                let key = |n: u64| [&[1][..], &n.to_be_bytes()].concat();
                let mut count = 0;
                loop {
                    let mut edits = Edits::new();
                    edits.put(FIRST_FS_TREE, &key(count), &[7; 3000]);
                    match engine.commit(&mut edits, Class::Normal) {
                        Ok(_) => count += 1,
                        Err(e) => {
                            assert_eq!(e.kind(), ErrorKind::NoSpace);
                            break;
                        }
                    }
                }
                if reopen {
                    engine.sync(engine.last()).unwrap();
                    drop(engine);
                    engine =
                        match Engine::open(device.clone(), |_| fixed_unlock(2), &options(64 << 20))
                        {
                            Ok(engine) => engine,
                            Err(error) => {
                                bad.push((mib, batch, format!("open: {error}")));
                                continue;
                            }
                        };
                }
                // One row of each leaf first.
                let mut order: Vec<u64> = (0..count).collect();
                order.sort_by_key(|n| (n % 5, *n));
                for chunk in order.chunks(batch) {
                    let mut edits = Edits::new();
                    chunk.iter().for_each(|&n| edits.del(FIRST_FS_TREE, &key(n)));
                    if let Err(error) = engine.commit(&mut edits, Class::Freeing) {
                        bad.push((mib, batch, format!("reopen {reopen}, {count} rows: {error}")));
                        break;
                    }
                }
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Ascending appends, deletions from the front, low insertions: interiors empty and merge.
#[test]
fn queues_of_rows() {
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    for seed in 0..seeds {
        let mut rng = Rng::of(seed, 5);
        let cache = if rng.one_in(2) { 1 << 20 } else { 256 << 20 };
        let engine = Engine::create(
            Arc::new(MemoryDevice::new()),
            fixed_keys(seed).unwrap(),
            &options(cache),
        )
        .unwrap();
        let key = |n: u64| [&[1][..], &n.to_be_bytes(), &[0xaa; 55]].concat();
        let mut rows = std::collections::BTreeSet::new();
        for round in 0..40 {
            let start = rng.below(20_000);
            let len = rng.below(3000);
            let (del, down, size) = (rng.one_in(2), rng.one_in(3), 3000 + rng.below(900) as usize);
            let list: Vec<u64> = if down {
                (start..start + len).rev().collect()
            } else {
                (start..start + len).collect()
            };
            for chunk in list.chunks(1 + rng.below(16) as usize) {
                let mut edits = Edits::new();
                for &n in chunk {
                    if del {
                        edits.del(FIRST_FS_TREE, &key(n));
                        rows.remove(&n);
                    } else {
                        edits.put(FIRST_FS_TREE, &key(n), &vec![n as u8; size]);
                        rows.insert(n);
                    }
                }
                engine.commit(&mut edits, Class::Normal).unwrap();
            }
            if rng.one_in(4) {
                engine.checkpoint().unwrap();
            }
            let mut it = rows.iter();
            engine
                .scan(FIRST_FS_TREE, &[1], &[2], |found, _| {
                    let n = it.next().unwrap();
                    assert_eq!(found, key(*n), "seed {seed} round {round}");
                    true
                })
                .unwrap();
            assert!(it.next().is_none(), "seed {seed} round {round}: rows are missing");
            for n in rows.iter() {
                assert!(
                    engine.get(FIRST_FS_TREE, &key(*n), |_| ()).unwrap().is_some(),
                    "seed {seed} round {round}: {n}"
                );
            }
        }
        let report = engine.check_structure(|_, _, _, _| ()).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }
}

/// Durable contents, overwritten without a sync of its own; the power fails in another's sync.
#[test]
fn an_unsynced_overwrite_never_costs_durable_contents() {
    let mut lost = 0;
    for seed in 0..40u64 {
        let sim = Arc::new(SimDevice::recording(MemoryDevice::new(), FaultPlan::new(seed)));
        let engine =
            Engine::create(sim.clone(), fixed_keys(seed).unwrap(), &options(4 << 20)).unwrap();
        let mut old = None;
        let write = |byte: u8, old: Option<(u64, u32)>| {
            let mut run = engine.reserve(1).unwrap();
            run.write(&[&[byte; 4096]]).unwrap();
            let mut edits = Edits::new();
            if let Some((unit, units)) = old {
                edits.give(unit, units);
            }
            edits.take(run.unit(), 1, units_check([crc32fast::hash(&[byte; 4096])]));
            edits.put(FIRST_FS_TREE, &[1, 1], &[&[byte][..], &run.unit().to_le_bytes()].concat());
            let lsn = engine.commit(&mut edits, Class::Normal).unwrap();
            let unit = run.unit();
            run.taken(1);
            (lsn, unit)
        };
        let (lsn, unit) = write(1, old);
        old = Some((unit, 1));
        engine.sync(lsn).unwrap();
        let from = sim.steps();
        let (lsn, _) = write(2, old);
        engine.sync(lsn).unwrap();
        drop(engine);
        let recording = sim.take_recording();
        for step in from..=recording.steps() {
            let engine = Engine::open(
                Arc::new(recording.crash_image(step, seed)),
                |_| fixed_unlock(seed),
                &options(4 << 20),
            )
            .unwrap();
            let value = engine.get(FIRST_FS_TREE, &[1, 1], <[u8]>::to_vec).unwrap().unwrap();
            let mut buf = vec![0; 4096];
            engine
                .read_units(u64::from_le_bytes(value[1..9].try_into().unwrap()), &mut buf)
                .unwrap();
            lost += u32::from(buf.iter().any(|byte| *byte != value[0]));
        }
    }
    assert_eq!(lost, 0, "states in which neither the old nor the new contents are there");
}

/// Every state of a store that is full and being emptied opens again.
#[test]
fn a_full_store_opens_at_every_sync() {
    let mut bad = Vec::new();
    for seed in 0..6u64 {
        let mib = [6u64, 7, 8][seed as usize % 3];
        let device = Arc::new(if seed % 2 == 0 {
            MemoryDevice::fixed(mib << 20)
        } else {
            MemoryDevice::limited(mib << 20)
        });
        let engine =
            Engine::create(device.clone(), fixed_keys(1).unwrap(), &options(64 << 20)).unwrap();
        let mut rng = Rng::of(seed, 3);
        let key =
            |n: u64| [&[1][..], &n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()].concat();
        let (mut count, mut errors) = (0u64, 0);
        let mut gone = std::collections::BTreeSet::new();
        for _ in 0..1500 {
            let mut edits = Edits::new();
            let class = if errors > 0 && rng.one_in(2) { Class::Freeing } else { Class::Normal };
            for _ in 0..1 + rng.below(8) {
                if class == Class::Freeing {
                    let n = rng.below(count + 1);
                    edits.del(FIRST_FS_TREE, &key(n));
                    gone.insert(n);
                } else {
                    edits.put(FIRST_FS_TREE, &key(count), &vec![7; 1 + rng.below(3900) as usize]);
                    count += 1;
                }
            }
            match engine.commit(&mut edits, class) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NoSpace);
                    errors += 1;
                }
            }
            if errors > 0 && rng.one_in(5) {
                engine.sync(engine.last()).unwrap();
                let copy = Arc::new(device.snapshot());
                match Engine::open(
                    copy.clone(),
                    |_| fixed_unlock(2),
                    &options([1 << 20, 64 << 20][rng.below(2) as usize]),
                ) {
                    Ok(engine) => {
                        let report = engine.check_structure(|_, _, _, _| ()).unwrap();
                        assert!(report.is_clean(), "{report:?}");
                    }
                    Err(error) => bad.push((seed, count, error.to_string())),
                }
            }
        }
        eprintln!("seed {seed}: {count} rows, {errors} errors");
    }
    assert!(bad.is_empty(), "{} {:?}", bad.len(), bad[0]);
}
