//! Contents that rows of two states stand for: nothing newer goes for what is older.

use std::sync::Arc;

use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::data::FsKey;
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO};
use efscrypt::txn::{Class, Edits, FIRST_FS_TREE};

use crate::bed::{DIR, UNIT, assert_sound, create, open, pattern, repair};
use crate::log::records;

pub fn file(fs: &FileSystem, name: &str) -> u64 {
    fs.create(ROOT_INO, name.as_bytes(), &DIR, CreateMode::Guarded).unwrap().attr.ino
}

pub fn write(fs: &FileSystem, ino: u64, first: usize, bytes: &[u8]) {
    let (mut at, mut rest) = ((first * UNIT) as u64, bytes);
    while !rest.is_empty() {
        let len = fs.write(ino, at, rest).unwrap().len;
        (at, rest) = (at + len as u64, &rest[len..]);
    }
    fs.sync().unwrap();
}

#[test]
fn a_lost_record_does_not_cost_what_later_ones_wrote() {
    let device = Arc::new(MemoryDevice::limited(32 << 20));
    let fs = create(Arc::clone(&device));
    let ino = file(&fs, "file");
    let (old, new) = (pattern(1, 64 * UNIT), pattern(2, 64 * UNIT));
    write(&fs, ino, 0, &old);
    fs.engine().checkpoint().unwrap();
    write(&fs, ino, 10, &new[10 * UNIT..12 * UNIT]);
    let lost = *records(&device).last().unwrap();
    write(&fs, ino, 20, &new[20 * UNIT..]);
    assert!(*records(&device).last().unwrap() != lost);
    std::mem::forget(fs);
    let device = Arc::new(device.snapshot());
    device.write_at(lost as u64, &[0; UNIT]).unwrap();
    let report = repair(Arc::clone(&device)).unwrap();
    assert!(report.needed && report.is_lossy());
    assert_sound(&device, "a lost record");
    let fs = open(Arc::clone(&device), true).unwrap();
    let mut bytes = vec![0; 64 * UNIT];
    for (unit, bytes) in bytes.chunks_exact_mut(UNIT).enumerate() {
        fs.read(ino, (unit * UNIT) as u64, bytes).unwrap();
    }
    assert!(bytes[..20 * UNIT] == old[..20 * UNIT], "what the lost record changed is as before");
    assert!(bytes[20 * UNIT..] == new[20 * UNIT..], "what the later one wrote");
}

#[test]
fn rows_within_a_row_are_parted() {
    let device = Arc::new(MemoryDevice::limited(32 << 20));
    let fs = create(Arc::clone(&device));
    let ino = file(&fs, "file");
    let bytes = pattern(3, 3 * UNIT);
    write(&fs, ino, 30, &bytes);
    let mut edits = Edits::new();
    for (first, units) in [(0, 64u64), (10, 2), (20, 2), (31, 1)] {
        let value = [&[3, 0, 0, 0, 0, 0, 0, 0][..], &units.to_le_bytes()].concat();
        edits.put(FIRST_FS_TREE, &FsKey::Data(ino, first).encode(), &value);
    }
    fs.engine().commit(&mut edits, Class::Normal).unwrap();
    fs.engine().finish().unwrap();
    drop(fs);
    repair(Arc::clone(&device)).unwrap();
    assert_sound(&device, "rows within a row");
    let fs = open(Arc::clone(&device), true).unwrap();
    let mut read = vec![0; 3 * UNIT];
    fs.read(ino, 30 * UNIT as u64, &mut read).unwrap();
    assert!(read == bytes, "what is lost stands for less than contents do");
    assert!(fs.read(ino, 15 * UNIT as u64, &mut read[..UNIT]).is_err());
}
