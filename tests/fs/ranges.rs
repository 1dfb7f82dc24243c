//! Ranges of files that are asked for or zeroed, and inodes that are opened many times.

use efscrypt::ErrorKind as Kind;
use efscrypt::Result;
use efscrypt::device::MemoryDevice;
use efscrypt::fs::{Beyond, CreateMode, FileSystem, ROOT_INO, SetAttr};

use crate::bed::{FILE, assert_clean, create, pattern};

const UNIT: u64 = 4096;

fn kind<T>(answer: Result<T>) -> Option<Kind> {
    answer.err().map(|error| error.kind())
}

fn make(fs: &FileSystem, name: &[u8]) -> u64 {
    fs.create(ROOT_INO, name, &FILE, CreateMode::Guarded).unwrap().attr.ino
}

fn contents(fs: &FileSystem, ino: u64) -> Vec<u8> {
    let mut bytes = vec![0xee; fs.getattr(ino).unwrap().size as usize];
    assert_eq!(fs.read(ino, 0, &mut bytes).unwrap().len, bytes.len());
    bytes
}

#[test]
fn a_range_is_asked_for_and_its_bytes_stay() {
    let fs = create(MemoryDevice::new(), 1);
    let ino = make(&fs, b"a");
    let mut want = pattern(1, 10_000);
    fs.write(ino, 0, &want).unwrap();
    let before = fs.getattr(ino).unwrap();
    let wcc = fs.allocate(ino, 5_000, 50_000, Beyond::Keep).unwrap();
    assert_eq!(wcc.after.size, 10_000);
    assert!(wcc.after.change > before.change && wcc.after.ctime > before.ctime);
    let wcc = fs.allocate(ino, 5_000, 50_000, Beyond::Grow).unwrap();
    assert_eq!(wcc.after.size, 55_000);
    want.resize(55_000, 0);
    assert_eq!(fs.allocate(ino, 0, 10, Beyond::Grow).unwrap().after.size, 55_000);
    assert!(contents(&fs, ino) == want);
    let free = fs.statfs().free;
    assert_eq!(kind(fs.allocate(ino, 0, free + (1 << 20), Beyond::Grow)), Some(Kind::NoSpace));
    assert_eq!(kind(fs.allocate(ino, 0, 0, Beyond::Grow)), Some(Kind::InvalidArgument));
    assert_eq!(kind(fs.allocate(ino, u64::MAX, 2, Beyond::Keep)), Some(Kind::FileTooLarge));
    assert_eq!(kind(fs.allocate(ino, 1 << 62, 2, Beyond::Keep)), Some(Kind::FileTooLarge));
    assert_eq!(kind(fs.allocate(ROOT_INO, 0, 2, Beyond::Keep)), Some(Kind::IsDirectory));
    assert_eq!(fs.getattr(ino).unwrap().size, 55_000);
    assert_clean(&fs, "allocated");
}

#[test]
fn a_range_is_zeroed_and_may_make_the_file_longer() {
    let fs = create(MemoryDevice::new(), 1);
    let ino = make(&fs, b"a");
    let mut want = pattern(1, 40_000);
    fs.write(ino, 0, &want).unwrap();
    let wcc = fs.zero_range(ino, 1_000, 20_000, Beyond::Grow).unwrap();
    want[1_000..21_000].fill(0);
    assert_eq!((wcc.after.size, wcc.after.space), (40_000, 6 * UNIT));
    assert!(contents(&fs, ino) == want);
    assert_eq!(fs.zero_range(ino, 39_000, 9_000, Beyond::Keep).unwrap().after.size, 40_000);
    want[39_000..].fill(0);
    assert!(contents(&fs, ino) == want);
    assert_eq!(fs.zero_range(ino, 30_000, 70_000, Beyond::Grow).unwrap().after.size, 100_000);
    want[30_000..].fill(0);
    want.resize(100_000, 0);
    assert!(contents(&fs, ino) == want);
    // A range behind the end.
    assert_eq!(fs.zero_range(ino, 200_000, 1, Beyond::Grow).unwrap().after.size, 200_001);
    assert_eq!(kind(fs.zero_range(ino, 0, 0, Beyond::Keep)), Some(Kind::InvalidArgument));
    assert_clean(&fs, "zeroed");
}

#[test]
fn what_a_truncation_left_does_not_come_back_with_a_range() {
    let fs = create(MemoryDevice::new(), 1);
    let ino = make(&fs, b"a");
    for unit in 0..2_000 {
        fs.write(ino, unit * 2 * UNIT, &pattern(unit, 4096)).unwrap();
    }
    fs.setattr(ino, &SetAttr { size: Some(1), ..SetAttr::default() }).unwrap();
    fs.allocate(ino, 0, 4_000 * UNIT, Beyond::Grow).unwrap();
    assert!(contents(&fs, ino)[1..].iter().all(|byte| *byte == 0));
}

#[test]
fn set_id_bits_go_with_ranges_too() {
    let fs = create(MemoryDevice::new(), 1);
    let ino = make(&fs, b"a");
    let suid = SetAttr { mode: Some(0o4755), ..SetAttr::default() };
    fs.setattr(ino, &suid).unwrap();
    fs.privileged().allocate(ino, 0, 10, Beyond::Grow).unwrap();
    fs.privileged().zero_range(ino, 0, 10, Beyond::Grow).unwrap();
    assert_eq!(fs.getattr(ino).unwrap().mode, 0o4755);
    fs.allocate(ino, 0, 10, Beyond::Grow).unwrap();
    assert_eq!(fs.getattr(ino).unwrap().mode, 0o755);
    fs.setattr(ino, &suid).unwrap();
    fs.zero_range(ino, 0, 10, Beyond::Grow).unwrap();
    assert_eq!(fs.getattr(ino).unwrap().mode, 0o755);
}

#[test]
fn references_are_given_back_many_at_once() {
    let fs = create(MemoryDevice::new(), 1);
    let (ino, other) = (make(&fs, b"a"), make(&fs, b"b"));
    for _ in 0..5 {
        fs.open(ino).unwrap();
    }
    fs.unlink(ROOT_INO, b"a").unwrap();
    assert_eq!(kind(fs.close_times(ino, 6)), Some(Kind::InvalidArgument));
    fs.close_times(ino, 0).unwrap();
    fs.close_times(ino, 4).unwrap();
    assert_eq!(fs.getattr(ino).unwrap().nlink, 0);
    fs.close_times(ino, 1).unwrap();
    assert_eq!(kind(fs.getattr(ino)), Some(Kind::Stale));
    for _ in 0..3 {
        fs.open(other).unwrap();
    }
    fs.open(ROOT_INO).unwrap();
    fs.unlink(ROOT_INO, b"b").unwrap();
    fs.close_all().unwrap();
    assert_eq!(kind(fs.getattr(other)), Some(Kind::Stale));
    assert_eq!(kind(fs.close(ROOT_INO)), Some(Kind::InvalidArgument));
    assert_clean(&fs, "closed");
}
