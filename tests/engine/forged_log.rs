//! Logs that no engine would write: whoever reads the store and whoever opens it for writing come
//! to the same verdict, and never to "a bug".

use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::Rng;
use efscrypt::txn::{
    Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, Forge, fixed_unlock, logged,
};
use efscrypt::{ErrorKind, Object};

use crate::model::{create, open, options};

fn key(n: u64) -> Vec<u8> {
    [&[1][..], &n.to_be_bytes()].concat()
}

/// A store with rows, and the units that contents have: first, and behind the last of the pool.
fn store() -> (Arc<MemoryDevice>, Vec<u64>) {
    let device = Arc::new(MemoryDevice::limited(24 << 20));
    let engine = create(device.clone(), 1).unwrap();
    let mut taken = Vec::new();
    for n in 0..40 {
        let mut run = engine.reserve(1).unwrap();
        run.write(&[&[0; 4096]]).unwrap();
        let mut edits = Edits::new();
        edits.put(FIRST_FS_TREE, &key(n), &[7; 600]);
        edits.take(run.unit(), 1, 0);
        engine.commit(&mut edits, Class::Normal).unwrap();
        taken.push(run.unit());
        run.taken(1);
    }
    engine.finish().unwrap();
    (device, taken)
}

/// What an opening says: rows that are there, or the kind of its error.
fn verdict(device: &MemoryDevice, read_only: bool) -> Result<Vec<u64>, ErrorKind> {
    let options = EngineOptions { read_only, ..options() };
    let engine = Engine::open(Arc::new(device.snapshot()), |_| fixed_unlock(2), &options);
    let engine = engine.map_err(|error| error.kind())?;
    let rows = (0..80).filter(|n| engine.get(FIRST_FS_TREE, &key(*n), |_| ()).unwrap().is_some());
    Ok(rows.collect())
}

fn both(device: &MemoryDevice, payload: &[u8], what: &str) -> Result<Vec<u64>, ErrorKind> {
    let device = Arc::new(device.snapshot());
    Forge::open(device.clone()).unwrap().log(payload).unwrap();
    let (reader, writer) = (verdict(&device, true), verdict(&device, false));
    assert_eq!(reader, writer, "{what}");
    if let Err(kind) = writer {
        assert_eq!(kind, ErrorKind::Corrupt, "{what}");
    }
    writer
}

/// The check of a take that finds its contents: of a unit of zeros.
fn zeros() -> u32 {
    efscrypt::txn::units_check([crc32fast::hash(&[0; 4096])])
}

#[test]
fn space_in_a_forged_log_is_judged_alike_by_readers_and_writers() {
    let (device, taken) = store();
    let base = *taken.iter().min().unwrap();
    let free = |n: u64| base + 3000 + n;
    device_has(&device, free(64));
    let edits = |list: &[(bool, u64, u32)]| {
        let mut edits = Edits::new();
        for &(take, unit, units) in list {
            let crc = crc32fast::hash(&[0; 4096]);
            let check = efscrypt::txn::units_check((0..units).map(|_| crc));
            match take {
                true => edits.take(unit, units, check),
                false => edits.give(unit, units),
            }
        }
        logged(edits)
    };
    let sound = both(&device, &edits(&[(true, free(0), 2), (false, taken[0], 1)]), "sound");
    assert_eq!(sound.unwrap().len(), 40);
    for (list, what) in [
        (&[(true, taken[3], 1)][..], "taken although it is in use"),
        (&[(true, free(0), 1), (true, free(0), 1)], "taken twice in a transaction"),
        (&[(false, free(5), 1)], "given although it is free"),
        (&[(false, taken[1], 1), (false, taken[1], 1)], "given twice in a transaction"),
        (&[(false, base - 2, 1)], "a home of the space map"),
        (&[(false, 1 << 50, 1)], "outside of the pool"),
    ] {
        both(&device, &edits(list), what).expect_err(what);
    }
    let twice = [edits(&[(true, free(0), 1)]), edits(&[(true, free(0), 1)])].concat();
    both(&device, &twice, "taken twice in the log").expect_err("taken twice in the log");
}

/// Makes a device hold zeros up to a unit.
fn device_has(device: &MemoryDevice, unit: u64) {
    use efscrypt::device::Device;
    device.allocate(0, (unit + 1) * 4096).unwrap();
}

#[test]
fn any_forged_log_is_judged_alike_by_readers_and_writers() {
    let (device, taken) = store();
    let base = *taken.iter().min().unwrap();
    device_has(&device, base + 4000);
    for seed in 0..150 {
        let mut dice = Rng::new(seed);
        let mut payload = Vec::new();
        for _ in 0..1 + dice.below(4) {
            let mut edits = Edits::new();
            for _ in 0..1 + dice.below(4) {
                let any = base.saturating_sub(4) + dice.below(200);
                let used = taken[dice.below(taken.len() as u64) as usize];
                let unit = [any, used, base + 3000 + dice.below(20)][dice.below(3) as usize];
                let row = key(dice.below(60));
                match dice.below(4) {
                    0 => edits.put(FIRST_FS_TREE, &row, &vec![3; dice.below(3000) as usize]),
                    1 => edits.del(FIRST_FS_TREE, &row),
                    2 => edits.take(unit, 1, zeros()),
                    _ => edits.give(unit, 1),
                }
            }
            payload.extend(logged(edits));
        }
        if dice.below(4) == 0 {
            let at = dice.below(payload.len() as u64) as usize;
            payload[at] ^= 1 << dice.below(8);
        }
        let _either = both(&device, &payload, &format!("seed {seed}"));
    }
}

/// What the map cannot tell keeps nobody from reading.
#[test]
fn a_log_over_an_unreadable_map_is_read() {
    let (device, taken) = store();
    let engine = open(device.clone(), 2).unwrap();
    let mut edits = Edits::new();
    edits.put(FIRST_FS_TREE, &key(70), &[1]);
    edits.give(taken[0], 1);
    engine.commit(&mut edits, Class::Freeing).unwrap();
    engine.sync(engine.last()).unwrap();
    drop(engine);
    let bytes = device.to_vec();
    for page in (0..bytes.len()).step_by(4096).filter(|at| bytes[*at..].starts_with(b"EFSSPAC")) {
        use efscrypt::device::Device;
        device.write_at(page as u64 + 100, &[0xee; 64]).unwrap();
    }
    assert!(verdict(&device, true).unwrap().contains(&70));
    let error = Engine::open(device, |_| fixed_unlock(3), &options()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let space = matches!(error, efscrypt::Error::Corrupt { object: Object::SpacePage { .. }, .. });
    assert!(space, "{error}");
}
