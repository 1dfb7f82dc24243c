//! What the device does not read: tried again, and never given up unasked.

use std::sync::Arc;

use efscrypt::ErrorKind;
use efscrypt::check::Damage;
use efscrypt::device::sim::{Failure, FaultPlan, Op, Repeat, SimDevice};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::ROOT_INO;

use crate::bed::{
    DIR, LOG, POOL, UNIT, assert_sound, create_with_log, open, plan, plan_as, populated,
};
use crate::flawed::Flawed;
use crate::log::records;
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

#[test]
fn what_nothing_is_given_up_for_refuses_no_repair() {
    // A node above the leaves is gone, so that all of the store is read.
    let base = populated(false);
    let bytes = base.to_vec();
    blocks_of_level(&bytes, 1).into_iter().for_each(|at| {
        base.write_at(at as u64, &[0; UNIT]).unwrap();
    });
    let node = |at: &usize| (0..4).any(|n| bytes[at - n * UNIT..].starts_with(b"EFSNODE\x01"));
    let used = |at: &usize| !node(at) && bytes[*at..*at + UNIT].iter().any(|byte| *byte != 0);
    let damages = |at: &usize| {
        let device = spoiled(&populated(false), &[*at]);
        let repair = plan(device).unwrap();
        repair.report().has_damaged_contents()
    };
    let space = |at: &usize| bytes[*at..].starts_with(b"EFSSPAC\x01");
    let mut contents = (POOL..bytes.len()).step_by(UNIT).filter(|at| used(at) && !space(at));
    let contents = contents.find(damages).unwrap();
    let report = plan(spoiled(&base, &[contents])).unwrap().commit().unwrap();
    let unread = |damage: &Damage| matches!(damage, Damage::Unread { .. });
    assert!(report.needed && !report.damage.iter().any(unread), "{report:?}");
    assert!(report.has_damaged_contents());
}

#[test]
fn a_log_that_ended_long_before_is_no_loss() {
    let device = Arc::new(MemoryDevice::limited(64 << 20));
    let fs = create_with_log(Arc::clone(&device), 8 << 20);
    fs.mkdir(ROOT_INO, b"dir", &DIR).unwrap();
    fs.sync().unwrap();
    drop(fs);
    let base = device.snapshot();
    let slot = newest_slots(&base.to_vec())[0];
    base.write_at(slot as u64, &[0; UNIT]).unwrap();
    let report = plan(spoiled(&base, &[LOG + (6 << 20)])).unwrap().commit().unwrap();
    assert!(report.needed && !report.is_lossy(), "{report:?}");
    // Where the next record would stand.
    let next = records(&base).last().unwrap() + UNIT;
    let error = plan(spoiled(&base, &[next])).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
}
