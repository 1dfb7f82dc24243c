//! Files with contents beyond their size, as a truncation leaves them that took more than a few
//! steps, or that a crash cut short.

use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::{Failure, FaultPlan, Op, Repeat, SimDevice};
use efscrypt::fs::data::{FsKey, InodeRow};
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO, SetAttr};
use zerocopy::IntoBytes;

use crate::bed::{FILE, assert_clean, create, open, pattern, put, row};

const SIZE: u64 = 9 * 4096;

/// A file of [`SIZE`] bytes with more behind them.
fn trimmed(fs: &FileSystem) -> u64 {
    let bytes = pattern(1, 60_000);
    let made = fs.create_with(ROOT_INO, b"f", &FILE, CreateMode::Guarded, &bytes).unwrap();
    let ino = made.attr.ino;
    let mut row = row(fs, ino);
    row.size = SIZE.into();
    row.flags = InodeRow::TRIMMING.into();
    put(fs, FsKey::Orphan(ino), &[]);
    put(fs, FsKey::Inode(ino), row.as_bytes());
    ino
}

fn read(fs: &FileSystem, ino: u64) -> Vec<u8> {
    let mut bytes = vec![1; 200_000];
    let read = fs.read(ino, 0, &mut bytes).unwrap();
    bytes.truncate(read.len);
    bytes
}

#[test]
fn a_change_that_fails_after_settling_changed_nothing() {
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(1)));
    let fs = create(device.clone(), 1);
    let ino = trimmed(&fs);
    let before = fs.getattr(ino).unwrap();
    let unchanged = |what: &str| {
        let after = fs.getattr(ino).unwrap();
        assert_eq!((after.mode, after.uid, after.size), (before.mode, 7, SIZE), "{what}");
        assert_eq!((after.mtime, after.change), (before.mtime, before.change), "{what}");
        let bytes = read(&fs, ino);
        assert!(bytes == pattern(1, 60_000)[..SIZE as usize], "{what}");
    };
    let fail = || device.set_plan(FaultPlan::new(1).fail(Op::Write, 0, Failure::Io, Repeat::Once));
    fail();
    let mode = Some(0o4777);
    let set = SetAttr { size: Some(5_000), mode, uid: Some(9), ..SetAttr::default() };
    fs.setattr(ino, &set).unwrap_err();
    unchanged("a new size");
    fail();
    fs.write(ino, 50_000, &pattern(2, 9_000)).unwrap_err();
    unchanged("a write");
    fs.drop_caches();
    unchanged("read again");
}

#[test]
fn what_stood_beyond_the_size_never_shows_again() {
    let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    for case in 0..5 {
        let device = Arc::new(MemoryDevice::new());
        let fs = create(device.clone(), 1);
        let ino = trimmed(&fs);
        let old = pattern(1, 60_000);
        let mut kept = SIZE as usize;
        let grow = |size| SetAttr { size: Some(size), ..SetAttr::default() };
        match case {
            0 => drop(fs.setattr(ino, &grow(100_000)).unwrap()),
            1 => drop(fs.write(ino, 59_999, b"x").unwrap()),
            2 => drop(fs.punch_hole(ino, 0, 1 << 40).unwrap()),
            3 => {
                kept = 5_000;
                fs.setattr(ino, &grow(5_000)).unwrap();
            }
            _ => assert!(fs.reap(10).unwrap()),
        }
        fs.append(ino, &[0; 30_000]).unwrap();
        let bytes = read(&fs, ino);
        match case {
            1 => assert!(zeros(&bytes[kept..59_999]) && bytes[59_999] == b'x'),
            2 => assert!(zeros(&bytes)),
            _ => assert!(bytes[..kept] == old[..kept] && zeros(&bytes[kept..]), "case {case}"),
        }
        fs.sync().unwrap();
        drop(fs);
        let fs = open(device, 2);
        assert!(read(&fs, ino) == bytes);
        assert!(fs.maintain().unwrap());
        assert_clean(&fs, "trimmed");
        assert!(read(&fs, ino) == bytes);
    }
}

#[test]
fn a_file_that_is_being_trimmed_can_be_deleted() {
    let fs = create(MemoryDevice::new(), 1);
    let used = fs.engine().usage().used;
    let ino = trimmed(&fs);
    fs.open(ino).unwrap();
    fs.unlink(ROOT_INO, b"f").unwrap();
    fs.write(ino, 100_000, b"x").unwrap();
    fs.close(ino).unwrap();
    assert_clean(&fs, "deleted");
    let ino = trimmed(&fs);
    fs.unlink(ROOT_INO, b"f").unwrap();
    assert!(fs.getattr(ino).is_err());
    assert_clean(&fs, "deleted again");
    assert!(fs.engine().usage().used < used + 16);
}
