//! Stretches of lost contents, as a repair leaves them: never zeros, and gone once they are
//! written over.

use efscrypt::check::check;
use efscrypt::device::MemoryDevice;
use efscrypt::fs::data::FsKey;
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO, SetAttr};
use efscrypt::txn::{Class, Edits, FIRST_FS_TREE};
use efscrypt::{ErrorKind, Result};

use crate::bed::{DIR, UNIT, create, pattern};

/// A file of ten units, of which those from 2 to 6 are lost.
fn gap() -> (FileSystem, u64, Vec<u8>) {
    let fs = create(MemoryDevice::limited(32 << 20));
    let ino = fs.create(ROOT_INO, b"file", &DIR, CreateMode::Guarded).unwrap().attr.ino;
    let bytes = pattern(1, 10 * UNIT);
    for unit in [0, 7] {
        let (from, to) = (unit * UNIT, (unit + if unit == 0 { 2 } else { 3 }) * UNIT);
        fs.write(ino, from as u64, &bytes[from..to]).unwrap();
    }
    let value = [&[3, 0, 0, 0, 0, 0, 0, 0][..], &5u64.to_le_bytes()].concat();
    let mut edits = Edits::new();
    edits.put(FIRST_FS_TREE, &FsKey::Data(ino, 2).encode(), &value);
    fs.engine().commit(&mut edits, Class::Normal).unwrap();
    assert!(check(&fs).unwrap().is_clean());
    (fs, ino, bytes)
}

/// Which units can be read.
fn readable(fs: &FileSystem, ino: u64) -> Vec<bool> {
    let units = fs.getattr(ino).unwrap().size.div_ceil(UNIT as u64);
    let read = |unit: u64| {
        let mut bytes = vec![0; UNIT];
        let read: Result<_> = fs.read(ino, unit * UNIT as u64, &mut bytes);
        assert!(read.is_ok() || bytes.iter().all(|byte| *byte == 0));
        read.map(|_| ()).map_err(|error| error.kind()) != Err(ErrorKind::Corrupt)
    };
    (0..units).map(read).collect()
}

fn mask(bits: &str) -> Vec<bool> {
    bits.chars().map(|bit| bit == '1').collect()
}

fn cut(fs: &FileSystem, ino: u64, size: u64) {
    fs.setattr(ino, &SetAttr { size: Some(size), ..SetAttr::default() }).unwrap();
}

#[test]
fn what_is_lost_is_an_error_and_no_hole() {
    let (fs, ino, bytes) = gap();
    assert_eq!(readable(&fs, ino), mask("1100000111"));
    let mut all = vec![1; 10 * UNIT];
    assert_eq!(fs.read(ino, 0, &mut all).unwrap_err().kind(), ErrorKind::Corrupt);
    let mut tail = vec![1; 3 * UNIT];
    fs.read(ino, 7 * UNIT as u64, &mut tail).unwrap();
    assert!(tail == bytes[7 * UNIT..]);
    assert_eq!(fs.seek_hole(ino, 0).unwrap(), Some(10 * UNIT as u64));
    assert_eq!(fs.seek_data(ino, 3 * UNIT as u64).unwrap(), Some(3 * UNIT as u64));
}

#[test]
fn whole_units_written_there_can_be_read_again() {
    let (fs, ino, bytes) = gap();
    // A part of a unit would need the rest of it.
    let part = fs.write(ino, 3 * UNIT as u64 + 5, b"part");
    assert_eq!(part.unwrap_err().kind(), ErrorKind::Corrupt);
    fs.write(ino, 3 * UNIT as u64, &bytes[3 * UNIT..5 * UNIT]).unwrap();
    assert_eq!(readable(&fs, ino), mask("1101100111"));
    fs.write(ino, UNIT as u64, &bytes[UNIT..3 * UNIT]).unwrap();
    assert_eq!(readable(&fs, ino), mask("1111100111"));
    fs.write(ino, 5 * UNIT as u64, &bytes[5 * UNIT..8 * UNIT]).unwrap();
    let mut all = vec![1; 10 * UNIT];
    fs.read(ino, 0, &mut all).unwrap();
    assert!(all == bytes && check(&fs).unwrap().is_clean());
}

#[test]
fn cutting_and_punching_leave_the_rest_lost() {
    let (fs, ino, _) = gap();
    fs.punch_hole(ino, 3 * UNIT as u64, 2 * UNIT as u64).unwrap();
    assert_eq!(readable(&fs, ino), mask("1101100111"));
    cut(&fs, ino, 6 * UNIT as u64 - 100);
    assert_eq!(readable(&fs, ino), mask("110110"));
    // The rest of the unit does not come to be zeros when the file grows.
    cut(&fs, ino, 8 * UNIT as u64);
    assert_eq!(readable(&fs, ino), mask("11011011"));
    assert!(check(&fs).unwrap().is_clean());
    cut(&fs, ino, 0);
    cut(&fs, ino, 7 * UNIT as u64);
    assert_eq!(readable(&fs, ino), mask("1111111"));
    fs.unlink(ROOT_INO, b"file").unwrap();
    while !fs.maintain().unwrap() {}
    let report = check(&fs).unwrap();
    assert!(report.is_clean() && report.inodes == 1, "{report:?}");
}
