//! Holes and contents that stand in the tree: what is lost is never zeros, and a hole stays one.

use std::sync::Arc;

use efscrypt::check::{Damage, Mending};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::data::FsKey;
use efscrypt::fs::{FileSystem, SetAttr};
use efscrypt::txn::{Class, Edits, FIRST_FS_TREE};

use crate::bed::{UNIT, assert_sound, create, open, pattern, repair};
use crate::overlaps::file;
use crate::picture::{compare, mentioned, picture};
use crate::wrecks::blocks_of_level;

fn at(unit: u64) -> u64 {
    unit * UNIT as u64
}

fn grow(fs: &FileSystem, ino: u64, units: u64) {
    fs.setattr(ino, &SetAttr { size: Some(at(units)), ..SetAttr::default() }).unwrap();
}

/// Files whose first unit stands in the tree and others on the device, and one that has a stretch
/// that an earlier repair found lost.
fn mixed() -> MemoryDevice {
    let device = Arc::new(MemoryDevice::limited(32 << 20));
    let fs = create(Arc::clone(&device));
    let inos: Vec<u64> = (0..150).map(|n| file(&fs, &format!("a file with number {n}"))).collect();
    for &ino in &inos {
        fs.write(ino, 0, &pattern(ino, 300)).unwrap();
        fs.write(ino, at(2), &pattern(ino, UNIT)).unwrap();
    }
    for &ino in inos.iter().step_by(10) {
        let lost = [&[3, 0, 0, 0, 0, 0, 0, 0][..], &2u64.to_le_bytes()].concat();
        let mut edits = Edits::new();
        edits.put(FIRST_FS_TREE, &FsKey::Data(ino, 4).encode(), &lost);
        edits.put(0, &[&b"\x03l:"[..], &ino.to_be_bytes()].concat(), &[]);
        grow(&fs, ino, 8);
        fs.engine().commit(&mut edits, Class::Normal).unwrap();
    }
    fs.engine().finish().unwrap();
    drop(fs);
    device.snapshot()
}

#[test]
fn a_leaf_that_is_lost_with_its_parent_is_no_zeros() {
    let base = mixed();
    let bytes = base.to_vec();
    let before = picture(&open(base.snapshot(), true).unwrap());
    let mut missing = 0;
    for leaf in blocks_of_level(&bytes, 0) {
        let what = format!("without the leaf at {leaf} and its parent");
        let device = Arc::new(base.snapshot());
        for block in blocks_of_level(&bytes, 1).into_iter().chain([leaf]) {
            device.write_at(block as u64, &[0; UNIT]).unwrap();
        }
        let report = repair(Arc::clone(&device)).unwrap();
        assert!(report.is_lossy(), "{what}");
        assert_sound(&device, &what);
        compare(&before, &picture(&open(device, true).unwrap()), &mentioned(&report), &what);
        let more = |damage: &Damage| matches!(damage, Damage::Missing { .. });
        missing += usize::from(report.damage.iter().any(more));
    }
    assert!(missing > 1, "{missing}");
}

#[test]
fn lost_stretches_that_are_lost_again_are_no_zeros() {
    let base = mixed();
    let bytes = base.to_vec();
    let before = picture(&open(base.snapshot(), true).unwrap());
    for leaf in blocks_of_level(&bytes, 0) {
        let what = format!("without the leaf at {leaf}");
        let device = Arc::new(base.snapshot());
        device.write_at(leaf as u64, &[0; UNIT]).unwrap();
        let report = repair(Arc::clone(&device)).unwrap();
        assert_sound(&device, &what);
        compare(&before, &picture(&open(device, true).unwrap()), &mentioned(&report), &what);
    }
}

/// Units of the sparse files that have contents.
const WRITTEN: [u64; 4] = [3, 4, 9, 20];
const UNITS: u64 = 40;

/// Files with holes before, between and behind contents: never written, punched and grown.
fn sparse() -> (MemoryDevice, Vec<u64>) {
    let device = Arc::new(MemoryDevice::limited(32 << 20));
    let fs = create(Arc::clone(&device));
    let inos: Vec<u64> = (0..120).map(|n| file(&fs, &format!("a file with number {n}"))).collect();
    for (n, &ino) in inos.iter().enumerate() {
        for unit in WRITTEN {
            fs.write(ino, at(unit), &pattern(ino + unit, UNIT)).unwrap();
        }
        if n % 2 == 0 {
            fs.write(ino, at(12), &pattern(ino, UNIT)).unwrap();
            fs.punch_hole(ino, at(12), at(1)).unwrap();
        }
        grow(&fs, ino, UNITS);
    }
    fs.engine().checkpoint().unwrap();
    // Every leaf is written anew, and the older one says the same of contents.
    for &ino in &inos {
        let mut edits = Edits::new();
        let key = FsKey::Data(ino, 3).encode();
        let row = fs.engine().get(FIRST_FS_TREE, &key, <[u8]>::to_vec).unwrap().unwrap();
        edits.put(FIRST_FS_TREE, &key, &row);
        fs.engine().commit(&mut edits, Class::Normal).unwrap();
    }
    fs.engine().finish().unwrap();
    drop(fs);
    (device.snapshot(), inos)
}

#[test]
fn a_hole_stays_one_where_all_contents_are_found() {
    let (base, inos) = sparse();
    let before = picture(&open(base.snapshot(), true).unwrap());
    let mut found = 0;
    for leaf in blocks_of_level(&base.to_vec(), 0) {
        let what = format!("without the leaf at {leaf}");
        let device = Arc::new(base.snapshot());
        device.write_at(leaf as u64, &[0; UNIT]).unwrap();
        let report = repair(Arc::clone(&device)).unwrap();
        assert_sound(&device, &what);
        let fs = open(device, true).unwrap();
        compare(&before, &picture(&fs), &mentioned(&report), &what);
        let made = |ino| {
            let of = |what: &Mending| {
                matches!(what, Mending::AttributesLost { .. } | Mending::AttributesOlder { .. })
            };
            report.notes.iter().any(|note| note.ino == ino && of(&note.what))
        };
        for &ino in inos.iter().filter(|ino| !made(**ino)) {
            let mut bytes = vec![0; UNIT];
            let mut reads = |unit| fs.read(ino, at(unit), &mut bytes).is_ok();
            let whole = WRITTEN.into_iter().all(&mut reads);
            // The first unit is too small to be counted where it stands in the tree.
            if whole {
                let notes = report.notes.iter().filter(|note| note.ino == ino);
                let notes: Vec<_> = notes.map(|note| &note.what).collect();
                assert!((1..UNITS).all(&mut reads), "{what}: inode {ino} lost a hole: {notes:?}");
                found += usize::from(report.needed);
            }
        }
    }
    assert!(found > 0);
}
