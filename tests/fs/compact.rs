//! The store stays compact, and what is left between other data is not where large writes go.

use std::sync::Arc;

use efscrypt::device::sim::{FaultPlan, SimDevice};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO};

use crate::bed::{FILE, assert_clean, create, pattern};

const MIB: u64 = 1 << 20;

fn write_all(fs: &FileSystem, ino: u64, mib: u64) {
    let chunk = pattern(mib, MIB as usize);
    for n in 0..mib {
        assert_eq!(fs.write(ino, n * MIB, &chunk).unwrap().len, chunk.len());
    }
}

#[test]
fn a_file_that_is_written_again_and_again_takes_little_more_room() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(Arc::clone(&device), 1);
    let ino = fs.create(ROOT_INO, b"f", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    write_all(&fs, ino, 48);
    let once = device.len().unwrap();
    for _ in 0..8 {
        write_all(&fs, ino, 48);
    }
    let grown = device.len().unwrap() - once;
    assert!(grown < 160 * MIB, "{} MiB", grown / MIB);
    assert_clean(&fs, "written again");
}

#[test]
fn a_large_write_does_not_go_into_small_holes() {
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(1)));
    let fs = create(device.clone(), 1);
    let ino = fs.create(ROOT_INO, b"f", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    write_all(&fs, ino, 32);
    // Every second unit moves, and leaves a hole.
    let unit = pattern(2, 4096);
    for n in 0..32 * MIB / 8192 {
        fs.write(ino, n * 8192, &unit).unwrap();
    }
    fs.maintain().unwrap();
    let other = fs.create(ROOT_INO, b"other", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    let before = device.counters().writes;
    write_all(&fs, other, 8);
    let writes = device.counters().writes - before;
    assert!(writes < 64, "{writes} writes of 8 MiB");
    assert_clean(&fs, "holes");
}
