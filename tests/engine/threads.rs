use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::{FaultPlan, Rng, SimDevice};
use efscrypt::txn::{
    Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, STORE_TREE, fixed_keys, fixed_unlock,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

fn options(cache: usize) -> EngineOptions {
    EngineOptions { log_bytes: 512 << 10, cache_bytes: cache, read_only: false }
}

/// Keys of many lengths, large values, ranges that come and go, large transactions.
#[test]
fn rows_agree_with_a_map() {
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let mut bad = Vec::new();
    for seed in 0..seeds {
        let failed = std::panic::catch_unwind(|| one(seed));
        if failed.is_err() {
            bad.push(seed);
        }
    }
    assert!(bad.is_empty(), "seeds {bad:?}");
}

fn key_of(rng: &mut Rng, style: u64, n: u64) -> Vec<u8> {
    let mut key = vec![1];
    key.extend_from_slice(&n.to_be_bytes());
    match style {
        0 => {}
        1 => key.resize(64, (n % 251) as u8),
        _ => {
            let len = (n.wrapping_mul(31) % 50) as usize;
            key.resize(9 + len, 0xff);
        }
    }
    let _ = rng;
    key
}

fn one(seed: u64) {
    let mut rng = Rng::of(seed, 77);
    let cache = if rng.one_in(2) { 1 << 20 } else { 64 << 20 };
    let device = Arc::new(MemoryDevice::new());
    let mut engine =
        Engine::create(device.clone(), fixed_keys(seed).unwrap(), &options(cache)).unwrap();
    let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let style = rng.below(3);
    let most = [100, 1000, 3968][rng.below(3) as usize];
    let space = [3_000, 30_000][rng.below(2) as usize];
    for round in 0..1500u64 {
        let mut edits = Edits::new();
        let mode = rng.below(5);
        let mut at = rng.below(space);
        let count = 1 + rng.below(60);
        let mut touched = std::collections::BTreeSet::new();
        for _ in 0..count {
            let n = match mode {
                0 | 1 | 3 => {
                    at += 1;
                    at
                }
                2 => rng.below(space),
                _ => rng.below(space),
            };
            let del = mode == 3
                || (mode == 4 && rng.one_in(2))
                || ((round / 100) % 3 == 2 && !rng.one_in(4));
            let key = key_of(&mut rng, style, n);
            if !touched.insert(key.clone()) {
                continue;
            }
            let mut value = vec![0; 1 + rng.below(most) as usize];
            rng.fill(&mut value[..1]);
            if !edits.has_room(2, key.len() + value.len() + 3200) {
                break;
            }
            if del {
                edits.del(FIRST_FS_TREE, &key);
                rows.remove(&key);
            } else {
                edits.put(FIRST_FS_TREE, &key, &value);
                rows.insert(key, value);
            }
        }
        if rng.one_in(4) {
            edits.put(
                STORE_TREE,
                &[&[3][..], &rng.below(100).to_be_bytes()].concat(),
                &vec![1; rng.below(3000) as usize],
            );
        }
        if edits.is_bounded() {
            engine.commit(&mut edits, Class::Normal).unwrap();
        } else {
            panic!("unbounded")
        }
        match rng.below(40) {
            0 => engine.checkpoint().unwrap(),
            1..=5 => engine.sync(engine.last()).unwrap(),
            6 => {
                engine.sync(engine.last()).unwrap();
                drop(engine);
                engine = Engine::open(
                    device.clone(),
                    |_| fixed_unlock(seed * 1000 + round),
                    &options(cache),
                )
                .unwrap();
            }
            _ => {}
        }
        if round % 50 == 49 {
            let mut it = rows.iter();
            engine
                .scan(FIRST_FS_TREE, &[1], &[2], |key, value| {
                    let want = it.next().expect("too many rows");
                    assert!(want.0 == key && want.1 == value, "seed {seed} round {round}");
                    true
                })
                .unwrap();
            assert!(it.next().is_none(), "rows are missing");
            for (key, value) in rows.iter().step_by(7) {
                let same = engine.get(FIRST_FS_TREE, key, |found| found == &value[..]).unwrap();
                assert_eq!(same, Some(true), "seed {seed} round {round}");
            }
        }
    }
    let report = engine.check_structure(|_, _, _, _| ()).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// Writers, syncs and checkpoints in threads on a small ring; crash states at many steps.
#[test]
fn threads_and_crashes() {
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let mut bad = Vec::new();
    for seed in 0..seeds {
        if let Err(why) = threads(seed) {
            bad.push((seed, why));
        }
    }
    assert!(bad.is_empty(), "{} of {seeds} seeds: {:?}", bad.len(), bad[0]);
}

fn threads(seed: u64) -> Result<(), String> {
    let sim = Arc::new(SimDevice::recording(MemoryDevice::new(), FaultPlan::new(seed)));
    let engine = Engine::create(sim.clone(), fixed_keys(seed).unwrap(), &options(4 << 20)).unwrap();
    let made = sim.steps();
    // (lsn, thread, n) and (step, lsn)
    let order = Mutex::new(Vec::new());
    let acks = Mutex::new(Vec::new());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4u64)
            .map(|t| {
                let (engine, order, acks, sim) = (&engine, &order, &acks, &sim);
                scope.spawn(move || {
                    let mut rng = Rng::of(seed, t);
                    for n in 1..=150u64 {
                        let mut edits = Edits::new();
                        edits.put(FIRST_FS_TREE, &[2, t as u8], &n.to_le_bytes());
                        for _ in 0..rng.below(6) {
                            let key = [&[1, t as u8][..], &rng.below(300).to_be_bytes()].concat();
                            if rng.one_in(3) {
                                edits.del(FIRST_FS_TREE, &key)
                            } else {
                                edits.put(FIRST_FS_TREE, &key, &vec![3; rng.below(3900) as usize])
                            }
                        }
                        let lsn = engine.commit(&mut edits, Class::Normal).unwrap();
                        order.lock().unwrap().push((lsn, t, n));
                        if rng.one_in(3) {
                            engine.sync(lsn).unwrap();
                            acks.lock().unwrap().push((sim.steps(), lsn));
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                engine.checkpoint().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        });
        let results: Vec<_> = workers.into_iter().map(|w| w.join()).collect();
        done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|r| r.unwrap());
    });
    drop(engine);
    let recording = sim.take_recording();
    let mut order = order.into_inner().unwrap();
    order.sort();
    let acks = acks.into_inner().unwrap();
    let steps = recording.steps();
    let stride = ((steps - made) / 60).max(1);
    for step in (made..=steps).step_by(stride as usize) {
        let what = format!("step {step} of {steps}");
        let engine = Engine::open(
            Arc::new(recording.crash_image(step, seed)),
            |_| fixed_unlock(seed),
            &options(4 << 20),
        )
        .map_err(|error| format!("{what}: {error}"))?;
        let counts: Vec<u64> = (0..4u8)
            .map(|t| {
                engine
                    .get(FIRST_FS_TREE, &[2, t], |v| u64::from_le_bytes(v.try_into().unwrap()))
                    .unwrap()
                    .unwrap_or(0)
            })
            .collect();
        let holds = |t: u64, n: u64| n <= counts[t as usize];
        let first_missing =
            order.iter().find(|(_, t, n)| !holds(*t, *n)).map_or(u64::MAX, |(lsn, _, _)| *lsn);
        if let Some(gap) = order.iter().find(|(lsn, t, n)| *lsn > first_missing && holds(*t, *n)) {
            return Err(format!("{what}: {gap:?} is there and lsn {first_missing} is not"));
        }
        // An acknowledgement at step s was given when s steps had been done.
        let acked =
            acks.iter().filter(|(at, _)| *at <= step).map(|(_, lsn)| *lsn).max().unwrap_or(0);
        if acked >= first_missing {
            return Err(format!(
                "{what}: lsn {acked} was acknowledged, {first_missing} is missing"
            ));
        }
        let report = engine.check_structure(|_, _, _, _| ()).map_err(|e| format!("{what}: {e}"))?;
        if !report.is_clean() {
            return Err(format!("{what}: {report:?}"));
        }
    }
    Ok(())
}
