//! The log: what is no damage, what was given back in it, and contents that it took last.

use std::sync::Arc;

use efscrypt::ErrorKind;
use efscrypt::check::Damage;
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO, SetAttr, XattrMode};

use crate::bed::{
    DIR, LOG, POOL, UNIT, assert_sound, create, create_with_log, open, pattern, plan, plan_as,
    repair,
};
use crate::flawed::Flawed;
use crate::overlaps::{file, write};
use crate::wrecks::blocks_of_level;

/// Where the records of the log stand, oldest first.
pub fn records(device: &MemoryDevice) -> Vec<usize> {
    let bytes = device.to_vec();
    let end = bytes.len().min(LOG + (8 << 20));
    let starts = (LOG..end).step_by(UNIT).filter(|at| bytes[*at..].starts_with(b"EFSL"));
    let mut records: Vec<usize> = starts.collect();
    records.sort_by_key(|at| u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap()));
    records
}

#[test]
fn a_batch_that_a_power_cut_tore_is_no_damage() {
    let device = Arc::new(MemoryDevice::limited(64 << 20));
    let fs = create_with_log(Arc::clone(&device), 8 << 20);
    for n in 0..4 {
        file(&fs, &format!("durable {n}"));
        fs.sync().unwrap();
    }
    let known = records(&device).len();
    for n in 0..24 {
        let ino = file(&fs, &format!("late {n}"));
        fs.set_xattr(ino, b"user.large", &pattern(n, 60_000), XattrMode::Either).unwrap();
    }
    fs.sync().unwrap();
    drop(fs);
    let batch = records(&device).split_off(known);
    assert!(batch.len() > 1, "one flush for several records");
    // The first did not reach the medium; nobody was told that any of them is durable.
    let device = Arc::new(device.snapshot());
    device.write_at(batch[0] as u64, &[0; UNIT]).unwrap();
    let before = device.to_vec();
    let report = repair(Arc::clone(&device)).unwrap();
    assert!(!report.needed && report.damage.is_empty(), "{report:?}");
    assert!(device.to_vec() == before, "a sound store is left alone");
    let fs = open(Arc::clone(&device), false).unwrap();
    assert!(fs.lookup(ROOT_INO, b"durable 3").is_ok());
    assert!(fs.lookup(ROOT_INO, b"late 23").is_err());
}

/// Files of 16 units, each of which lost its first units before the last checkpoint, and others
/// in the log.
fn cut_in_the_log(cut: impl Fn(&FileSystem, u64)) -> (MemoryDevice, Vec<u64>) {
    let device = Arc::new(MemoryDevice::limited(32 << 20));
    let fs = create(Arc::clone(&device));
    let inos: Vec<u64> = (0..40).map(|n| file(&fs, &format!("file {n}"))).collect();
    for &ino in &inos {
        write(&fs, ino, 0, &pattern(ino, 16 * UNIT));
    }
    fs.engine().checkpoint().unwrap();
    for &ino in &inos {
        fs.punch_hole(ino, 0, 2 * UNIT as u64).unwrap();
    }
    fs.engine().finish().unwrap();
    for &ino in &inos {
        cut(&fs, ino);
    }
    fs.sync().unwrap();
    drop(fs);
    (device.snapshot(), inos)
}

fn assert_nothing_returns(cut: impl Fn(&FileSystem, u64)) {
    let (base, inos) = cut_in_the_log(cut);
    let read = |fs: &FileSystem, ino, unit: u64| {
        let mut bytes = vec![0; UNIT];
        fs.read(ino, unit * UNIT as u64, &mut bytes).ok().map(|_| bytes)
    };
    let before = open(base.snapshot(), true).unwrap();
    let mut lost = 0;
    for at in blocks_of_level(&base.to_vec(), 0) {
        let device = Arc::new(base.snapshot());
        device.write_at(at as u64, &[0; UNIT]).unwrap();
        let report = repair(Arc::clone(&device)).unwrap();
        assert_sound(&device, &format!("without the leaf at {at}"));
        let after = open(Arc::clone(&device), true).unwrap();
        lost += usize::from(report.is_lossy());
        for &ino in inos.iter().filter(|ino| after.getattr(**ino).is_ok()) {
            for unit in 0..16 {
                let now = read(&after, ino, unit);
                let same = now.is_none() || now == read(&before, ino, unit);
                assert!(same, "leaf {at}, inode {ino}, unit {unit}: what was deleted is back");
            }
        }
    }
    assert!(lost > 0);
}

#[test]
fn what_was_punched_in_the_log_stays_deleted() {
    assert_nothing_returns(|fs, ino| {
        fs.punch_hole(ino, 8 * UNIT as u64, 8 * UNIT as u64).unwrap();
    });
}

#[test]
fn what_was_cut_off_in_the_log_stays_deleted() {
    assert_nothing_returns(|fs, ino| {
        for size in [8, 16] {
            let size = Some(size * UNIT as u64);
            fs.setattr(ino, &SetAttr { size, ..SetAttr::default() }).unwrap();
        }
    });
}

#[test]
fn contents_of_the_last_record_that_cannot_be_read_keep_no_store_closed() {
    let memory = MemoryDevice::limited(32 << 20);
    let device = Flawed::new(memory);
    let fs = create(Arc::clone(&device));
    let made = fs.create(ROOT_INO, b"file", &DIR, CreateMode::Guarded).unwrap();
    fs.sync().unwrap();
    fs.engine().checkpoint().unwrap();
    let bytes = pattern(1, 4 * UNIT);
    let written = fs.write(made.attr.ino, 0, &bytes).unwrap().len;
    assert_eq!(written, bytes.len());
    fs.sync().unwrap();
    let mut all = vec![0; device.len().unwrap() as usize];
    device.read_at(0, &mut all).unwrap();
    std::mem::forget(fs);
    // Of what is no node, page or zeros, the pool holds the contents alone.
    let in_use = |at: &usize| {
        let block = &all[*at..at + UNIT];
        block.iter().any(|byte| *byte != 0)
            && !(0..4).any(|n| all[at - n * UNIT..].starts_with(b"EFSNODE\x01"))
            && !block.starts_with(b"EFSSPAC\x01")
    };
    let contents: Vec<usize> = (POOL..all.len()).step_by(UNIT).filter(in_use).collect();
    assert_eq!(contents.len(), 4);
    let bad = contents[1] as u64;
    device.spoil(std::iter::once(bad..bad + UNIT as u64));
    let error = open(Arc::clone(&device), false).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    // It may be read another time, so that is not given up unasked.
    let error = plan(Arc::clone(&device)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.to_string().contains(&format!("byte {bad} of")), "{error}");
    let report = plan_as(Arc::clone(&device), true).unwrap().commit().unwrap();
    let unsettled = |damage: &Damage| matches!(damage, Damage::Unsettled { count: 1 });
    assert!(report.damage.iter().any(unsettled) && report.is_lossy(), "{report:?}");
    let fs = open(Arc::clone(&device), false).unwrap();
    let mut unit = vec![0; UNIT];
    let ino = fs.lookup(ROOT_INO, b"file").unwrap().ino;
    fs.read(ino, 0, &mut unit).unwrap();
    assert!(unit == bytes[..UNIT]);
    assert!(fs.read(ino, UNIT as u64, &mut unit).is_err());
}
