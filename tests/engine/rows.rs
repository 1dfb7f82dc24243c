//! Rows against the model, without faults.

use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::txn::{Class, Edits, Engine, FIRST_FS_TREE, STORE_TREE};

use crate::model::{Workload, create, open, verify};

#[test]
fn a_store_is_what_its_transactions_say_also_after_reopening() {
    for seed in 0..6 {
        let device = Arc::new(MemoryDevice::limited(64 << 20));
        let mut work = Workload::new(seed);
        let mut engine = create(device.clone(), seed).unwrap();
        for round in 0..400u64 {
            let lsn = work.step(&engine).unwrap();
            match (round * 7 + seed) % 23 {
                0 => engine.checkpoint().unwrap(),
                1..=4 => engine.sync(lsn).unwrap(),
                5 => {
                    engine.sync(engine.last()).unwrap();
                    drop(engine);
                    engine = open(device.clone(), seed + round).unwrap();
                    verify(&engine, &work.history, round + 1, "reopened");
                }
                _ => {}
            }
        }
        let all = work.history.len() as u64 - 1;
        verify(&engine, &work.history, all, "at the end");
    }
}

#[test]
fn point_floor_and_range_agree_with_a_map() {
    let engine = create(MemoryDevice::new(), 1).unwrap();
    let mut work = Workload::new(5);
    for _ in 0..300 {
        work.step(&engine).unwrap();
    }
    let rows: Vec<_> = work.rows().iter().filter(|(key, _)| key[0] != 3).collect();
    for n in 0..2000u64 {
        let mut probe = vec![(n % 10) as u8 + 1];
        probe.extend_from_slice(&(n / 10 % 70).to_be_bytes());
        let exact = work.rows().get(&probe).filter(|_| probe[0] != 3).cloned();
        assert_eq!(engine.get(FIRST_FS_TREE, &probe, <[u8]>::to_vec).unwrap(), exact);
        let before = rows.iter().rev().find(|(key, _)| **key <= probe);
        let floor = engine.floor(FIRST_FS_TREE, &probe, |key, _| key.to_vec()).unwrap();
        assert_eq!(floor.as_ref(), before.map(|(key, _)| *key));
        let mut seen = Vec::new();
        let visit = |key: &[u8], _: &[u8]| {
            seen.push(key.to_vec());
            seen.len() < 5
        };
        engine.scan(FIRST_FS_TREE, &probe, &[200], visit).unwrap();
        let from = rows.iter().filter(|(key, _)| **key >= probe);
        let want: Vec<_> = from.take(5).map(|(key, _)| (*key).clone()).collect();
        assert_eq!(seen, want);
    }
}

#[test]
fn a_full_store_refuses_and_can_be_emptied() {
    let device = Arc::new(MemoryDevice::fixed(8 << 20));
    let engine = create(device.clone(), 3).unwrap();
    let mut count = 0u64;
    let value = [7; 3000];
    loop {
        let mut edits = Edits::new();
        edits.put(FIRST_FS_TREE, &[&[1][..], &count.to_be_bytes()].concat(), &value);
        match engine.commit(&mut edits, Class::Normal) {
            Ok(_) => count += 1,
            Err(error) => {
                assert_eq!(error.kind(), efscrypt::ErrorKind::NoSpace);
                break;
            }
        }
    }
    assert!(count > 1000, "{count}");
    engine.sync(engine.last()).unwrap();
    drop(engine);
    let engine = open(device.clone(), 4).unwrap();
    for n in 0..count {
        let mut edits = Edits::new();
        edits.del(FIRST_FS_TREE, &[&[1][..], &n.to_be_bytes()].concat());
        engine.commit(&mut edits, Class::Freeing).unwrap();
    }
    let report = engine.check_structure(|_, _, _, _| ()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.nodes, 1, "only the STORE tree is left");
}

#[test]
fn deep_trees_shrink_again() {
    let engine = create(MemoryDevice::new(), 3).unwrap();
    let key = |n: u64| [&[1][..], &n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()].concat();
    for n in 0..60_000u64 {
        let mut edits = Edits::new();
        edits.put(FIRST_FS_TREE, &key(n), &[n as u8; 40]);
        engine.commit(&mut edits, Class::Normal).unwrap();
    }
    let full = engine.check_structure(|_, _, _, _| ()).unwrap();
    assert!(full.is_clean());
    for n in 0..60_000u64 {
        let mut edits = Edits::new();
        edits.del(FIRST_FS_TREE, &key(n));
        edits.put(STORE_TREE, b"\x03last", &n.to_be_bytes());
        engine.commit(&mut edits, Class::Freeing).unwrap();
        if n == 50_000 {
            let report = engine.check_structure(|_, _, _, _| ()).unwrap();
            assert!(report.nodes * 2 < full.nodes, "{} of {}", report.nodes, full.nodes);
        }
    }
    let report = engine.check_structure(|_, _, _, _| ()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.nodes, 1);
}

#[test]
fn readers_see_whole_transactions_while_a_writer_works() {
    let engine: Engine = create(MemoryDevice::new(), 9).unwrap();
    let put = |n: u64| {
        let mut edits = Edits::new();
        for copy in 0..8u64 {
            let key = [&[1][..], &(copy << 50).to_be_bytes()].concat();
            edits.put(FIRST_FS_TREE, &key, &n.to_le_bytes());
        }
        edits.put(FIRST_FS_TREE, &[&[2][..], &n.to_be_bytes()].concat(), &[1; 500]);
        engine.commit(&mut edits, Class::Normal).unwrap();
    };
    put(0);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 5_000 {
                        let mut seen = std::collections::BTreeSet::new();
                        let mut rows = 0;
                        let visit = |_: &[u8], value: &[u8]| {
                            seen.insert(u64::from_le_bytes(value.try_into().unwrap()));
                            rows += 1;
                            true
                        };
                        engine.scan(FIRST_FS_TREE, &[1], &[2], visit).unwrap();
                        assert_eq!(rows, 8);
                        last = *seen.last().unwrap();
                    }
                })
            })
            .collect();
        for n in 1..=5_000 {
            put(n);
            if n % 500 == 0 {
                engine.checkpoint().unwrap();
            }
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    let report = engine.check_structure(|_, _, _, _| ()).unwrap();
    assert!(report.is_clean(), "{report:?}");
}
