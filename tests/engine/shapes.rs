use crate::model::create;
use efscrypt::device::MemoryDevice;
use efscrypt::txn::{Class, Edits, FIRST_FS_TREE};

fn key(n: u64) -> Vec<u8> {
    [&[1][..], &n.to_be_bytes(), &[0xaa; 50]].concat()
}

/// Deleting all of the first interior node and inserting low keys again.
#[test]
fn low_fence_after_the_first_interior_child_went() {
    let engine = create(MemoryDevice::new(), 1).unwrap();
    let put = |n: u64| {
        let mut edits = Edits::new();
        edits.put(FIRST_FS_TREE, &key(n), &[n as u8; 3900]);
        engine.commit(&mut edits, Class::Normal).unwrap();
    };
    let del = |n: u64| {
        let mut edits = Edits::new();
        edits.del(FIRST_FS_TREE, &key(n));
        engine.commit(&mut edits, Class::Freeing).unwrap();
    };
    const N: u64 = 2000;
    const GONE: u64 = 700;
    (0..N).for_each(|n| put(n + 10_000));
    (0..GONE).for_each(|n| del(n + 10_000));
    let mut want: std::collections::BTreeSet<u64> = (GONE..N).map(|n| n + 10_000).collect();
    for n in (0..200u64).map(|n| (n * 7919) % 10_000) {
        put(n);
        want.insert(n);
    }
    let lost: Vec<_> = want
        .iter()
        .filter(|&&n| engine.get(FIRST_FS_TREE, &key(n), |_| ()).unwrap().is_none())
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {} rows are lost: {:?}",
        lost.len(),
        want.len(),
        &lost[..lost.len().min(5)]
    );
    let mut seen = Vec::new();
    engine
        .scan(FIRST_FS_TREE, &[1], &[2], |key, _| {
            seen.push(key.to_vec());
            true
        })
        .unwrap();
    let all: Vec<_> = want.iter().map(|&n| key(n)).collect();
    assert!(seen == all);
}

#[test]
fn a_run_dropped_after_its_commit_stays_taken() {
    let engine = create(MemoryDevice::fixed(8 << 20), 1).unwrap();
    let run = engine.reserve(8).unwrap();
    let unit = run.unit();
    let mut edits = Edits::new();
    edits.take(unit, 8, 0);
    edits.put(FIRST_FS_TREE, &key(1), b"x");
    engine.commit(&mut edits, Class::Normal).unwrap();
    drop(run);
    for _ in 0..5000 {
        let Ok(other) = engine.reserve(8) else { break };
        assert!(
            other.unit() + u64::from(other.units()) <= unit || other.unit() >= unit + 8,
            "live units handed out again"
        );
        std::mem::forget(other);
    }
}
