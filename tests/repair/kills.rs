//! Repairs that are interrupted: the power goes at every write and flush of one. What is left is
//! the store as it was, or repaired; and it can be repaired to the same end.

use std::sync::Arc;

use efscrypt::device::sim::{FaultPlan, SimDevice};
use efscrypt::device::{Device, MemoryDevice};

use crate::bed::{LOG, UNIT, assert_sound, open, plan, populated, repair};
use crate::picture::{Picture, picture};
use crate::wrecks::{blocks_of_level, newest_slots};

/// A store that lacks a leaf, nodes above the leaves, and a superblock in one place.
fn wreck() -> MemoryDevice {
    let base = populated(true);
    let bytes = base.to_vec();
    for at in blocks_of_level(&bytes, 1) {
        base.write_at(at as u64, &[0; UNIT]).unwrap();
    }
    let leaves = blocks_of_level(&bytes, 0);
    base.write_at(leaves[leaves.len() / 2] as u64, &[0; UNIT]).unwrap();
    base.write_at(newest_slots(&bytes)[1] as u64, &[0; UNIT]).unwrap();
    base
}

/// The picture without what each repair makes anew.
fn result(device: &Arc<MemoryDevice>, known: &Picture) -> Picture {
    let mut after = picture(&open(Arc::clone(device), true).unwrap());
    after.retain(|ino, _| known.contains_key(ino));
    after.values_mut().for_each(crate::picture::Seen::forget_mtime);
    after
}

#[test]
fn a_repair_that_is_interrupted_leaves_the_store_as_it_was_or_repaired() {
    let base = wreck();
    let known = picture(&open(populated(true), true).unwrap());
    let whole = Arc::new(SimDevice::new(base.snapshot(), FaultPlan::new(0)));
    repair(Arc::clone(&whole)).unwrap();
    let steps = whole.steps();
    let expected = result(&Arc::new(whole.live_image()), &known);
    assert!(steps > 8, "{steps}");
    let (mut unchanged, mut repaired) = (0, 0);
    for step in 0..steps {
        for seed in 0..3 {
            let what = format!("step {step}, seed {seed}");
            let device =
                Arc::new(SimDevice::new(base.snapshot(), FaultPlan::new(seed).stop_at(step)));
            // Once it is committed it says what it could not end.
            let ended = repair(Arc::clone(&device)).is_ok_and(|done| done.unfinished.is_none());
            assert!(!ended, "{what}");
            let left = Arc::new(device.crash_image(seed));
            let planned = plan(Arc::clone(&left)).unwrap_or_else(|e| panic!("{what}: {e}"));
            match planned.report().needed {
                true => unchanged += 1,
                false => repaired += 1,
            }
            planned.commit().unwrap();
            assert_sound(&left, &what);
            assert!(result(&left, &known) == expected, "{what}");
        }
    }
    println!("{steps} steps: {unchanged} as before, {repaired} repaired");
    assert!(unchanged > 0 && repaired > 0, "{unchanged} as before, {repaired} repaired");
}

#[test]
fn a_repair_writes_nothing_that_the_store_reaches_before_its_superblock() {
    let base = wreck();
    let device = Arc::new(SimDevice::recording(base.snapshot(), FaultPlan::new(0)));
    repair(Arc::clone(&device)).unwrap();
    let (before, after) = (base.to_vec(), device.live_image().to_vec());
    // Of what was there, blocks in use are untouched: the store of before is there but for slots
    // of its superblock ring.
    let again = Arc::new(MemoryDevice::from_bytes(&after));
    again.write_at(0, &before[..LOG]).unwrap();
    let known = picture(&open(populated(true), true).unwrap());
    repair(Arc::clone(&again)).unwrap();
    let whole = Arc::new(MemoryDevice::from_bytes(&after));
    assert!(result(&again, &known) == result(&whole, &known));
}
