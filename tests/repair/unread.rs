//! What the device does not read: tried again, and never given up unasked.

use std::sync::Arc;

use efscrypt::ErrorKind;
use efscrypt::check::Damage;
use efscrypt::device::sim::{Failure, FaultPlan, Op, Repeat, SimDevice};
use efscrypt::device::{Device, MemoryDevice};

use crate::bed::{LOG, POOL, UNIT, assert_sound, open, plan, plan_as, populated};
use crate::flawed::Flawed;
use crate::wrecks::{blocks_of_level, newest_slots};

fn spoiled(base: &MemoryDevice, at: &[usize]) -> Arc<Flawed> {
    let device = Flawed::new(base.snapshot());
    device.spoil(at.iter().map(|at| *at as u64..(at + UNIT) as u64));
    device
}

/// Fails unless a repair without the blocks is refused, and then made where it may give them up.
fn refused_at_first(base: &MemoryDevice, at: &[usize], what: &str) {
    let device = spoiled(base, at);
    let error = plan(Arc::clone(&device)).err().unwrap_or_else(|| panic!("{what}: not refused"));
    assert_eq!(error.kind(), ErrorKind::Io, "{what}: {error}");
    assert!(error.to_string().contains(&format!("byte {} of", at[0])), "{what}: {error}");
    let repair = plan_as(Arc::clone(&device), true).unwrap();
    let unread = |damage: &Damage| matches!(damage, Damage::Unread { .. });
    assert!(repair.report().damage.iter().any(unread), "{what}: {:?}", repair.report());
    assert!(repair.report().is_lossy(), "{what}");
    // Where the medium reads again, nothing was lost.
    device.spoil([]);
    assert!(!plan(device).unwrap().report().needed, "{what}");
}

#[test]
fn what_cannot_be_read_is_not_given_up_unasked() {
    let base = populated(true);
    let bytes = base.to_vec();
    let used = |at: &usize| {
        let device = spoiled(&base, &[*at]);
        open(device, true).and_then(|fs| efscrypt::check::check(&fs)).is_ok_and(|r| !r.is_clean())
    };
    let leaf = blocks_of_level(&bytes, 0).into_iter().find(used).unwrap();
    refused_at_first(&base, &[leaf], "a leaf");
    let starts = (LOG..POOL).step_by(UNIT).filter(|at| bytes[*at..].starts_with(b"EFSL"));
    let mut records: Vec<usize> = starts.collect();
    records.sort_by_key(|at| u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap()));
    refused_at_first(&base, &[records[records.len() - 10]], "a record");
    refused_at_first(&base, &newest_slots(&bytes), "the newest superblock");
}

#[test]
fn a_copy_that_cannot_be_read_is_no_loss_and_one_failure_none_at_all() {
    let base = populated(false);
    let slot = newest_slots(&base.to_vec())[0];
    let device = spoiled(&base, &[slot]);
    let repair = plan(device).unwrap();
    assert!(!repair.report().is_lossy(), "{:?}", repair.report());
    for n in [0, 5, 30, 60] {
        let faults = FaultPlan::new(0).fail(Op::Read, n, Failure::Io, Repeat::Once);
        let device = Arc::new(SimDevice::new(base.snapshot(), faults));
        let repair = plan(device).unwrap_or_else(|error| panic!("read {n}: {error}"));
        assert!(!repair.report().needed, "read {n}: {:?}", repair.report());
    }
    let device = Arc::new(base);
    assert_sound(&device, "nothing was written");
    assert!(device.len().is_ok());
}
