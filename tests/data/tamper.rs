//! Damage and forgery on the device: a typed error for what was touched, the truth for the rest.

use std::sync::Arc;

use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::data::{FsKey, owned_units};
use efscrypt::txn::{Class, Edits, FIRST_FS_TREE, STORE_TREE, StoreKey};
use efscrypt::{Error, Object};

use crate::bed::{Bed, other_rng, pattern};

const UNIT: usize = 4096;

/// The units of the device that hold a file, in order.
fn units(bed: &Bed, ino: u64) -> Vec<u64> {
    let mut units = Vec::new();
    let (from, to) = (FsKey::Data(ino, 0).encode(), FsKey::Data(ino + 1, 0).encode());
    let visit = |key: &[u8], value: &[u8]| {
        let (first, count) = owned_units(key, value).unwrap().unwrap();
        units.extend(first..first + u64::from(count));
        true
    };
    bed.engine.scan(FIRST_FS_TREE, &from, &to, visit).unwrap();
    units
}

/// Reads unit by unit; the numbers of those that are damaged.
fn damaged(bed: &Bed, ino: u64, want: &[u8]) -> Vec<usize> {
    let mut damaged = Vec::new();
    for (n, want) in want.chunks(UNIT).enumerate() {
        let offset = (n * UNIT) as u64;
        match bed.read(ino, offset, UNIT) {
            Ok(found) => assert!(found == want, "unit {n}"),
            Err(Error::Corrupt { object, .. }) => {
                assert_eq!(object, Object::File { ino, offset });
                damaged.push(n);
            }
            Err(error) => panic!("unit {n}: {error}"),
        }
    }
    damaged
}

fn swap(device: &MemoryDevice, a: u64, b: u64) {
    let (mut one, mut two) = ([0; UNIT], [0; UNIT]);
    device.read_at(a * UNIT as u64, &mut one).unwrap();
    device.read_at(b * UNIT as u64, &mut two).unwrap();
    device.write_at(a * UNIT as u64, &two).unwrap();
    device.write_at(b * UNIT as u64, &one).unwrap();
}

fn flip(device: &MemoryDevice, offset: u64) {
    let mut byte = [0];
    device.read_at(offset, &mut byte).unwrap();
    device.write_at(offset, &[byte[0] ^ 0x10]).unwrap();
}

#[test]
fn flipped_bytes_cost_exactly_their_units() {
    let device = Arc::new(MemoryDevice::new());
    let bed = Bed::create(device.clone(), 1).unwrap();
    bed.make(7, 0).unwrap();
    let bytes = pattern(1, 90 * UNIT + 77);
    bed.write_all(7, 0, &bytes).unwrap();
    let places = units(&bed, 7);
    for (n, at) in [(0, 0), (31, 4095), (63, 16), (64, 2048), (90, 70), (90, 4000)] {
        let offset = places[n] * UNIT as u64 + at;
        flip(&device, offset);
        assert_eq!(damaged(&bed, 7, &bytes), [n]);
        let mut buf = vec![0xee; bytes.len()];
        let row = bed.row(7).unwrap().unwrap();
        let error = bed.contents.read(7, &row, 0, &mut buf).unwrap_err();
        let object = Object::File { ino: 7, offset: (n * UNIT) as u64 };
        assert!(matches!(error, Error::Corrupt { object: o, .. } if o == object), "{error}");
        assert!(buf.iter().all(|byte| *byte == 0));
        flip(&device, offset);
    }
    assert!(damaged(&bed, 7, &bytes).is_empty());
    // A damaged unit can be replaced, but not changed in part.
    flip(&device, places[5] * UNIT as u64);
    let part = bed.write(7, 0, 5 * UNIT as u64 + 10, b"x");
    assert!(matches!(part, Err(Error::Corrupt { .. })));
    bed.write_all(7, 0, &bytes[..10 * UNIT]).unwrap();
    assert!(damaged(&bed, 7, &bytes).is_empty());
}

#[test]
fn swapped_units_are_found_out_inside_and_between_files() {
    let device = Arc::new(MemoryDevice::new());
    let bed = Bed::create(device.clone(), 1).unwrap();
    let bytes = pattern(1, 70 * UNIT);
    for ino in [7, 8] {
        bed.make(ino, 0).unwrap();
        bed.write_all(ino, 0, &bytes).unwrap();
    }
    let (seven, eight) = (units(&bed, 7), units(&bed, 8));
    swap(&device, seven[3], seven[4]);
    assert_eq!(damaged(&bed, 7, &bytes), [3, 4]);
    swap(&device, seven[3], seven[4]);
    (64..70).for_each(|n| swap(&device, seven[n - 64], seven[n]));
    assert_eq!(damaged(&bed, 7, &bytes), [0, 1, 2, 3, 4, 5, 64, 65, 66, 67, 68, 69]);
    (64..70).for_each(|n| swap(&device, seven[n - 64], seven[n]));
    swap(&device, seven[9], eight[9]);
    assert_eq!((damaged(&bed, 7, &bytes), damaged(&bed, 8, &bytes)), (vec![9], vec![9]));
}

#[test]
fn an_older_version_of_a_unit_is_found_out() {
    let device = Arc::new(MemoryDevice::new());
    let bed = Bed::create(device.clone(), 1).unwrap();
    bed.make(7, 0).unwrap();
    let (old, new) = (pattern(1, 8 * UNIT), pattern(2, 8 * UNIT));
    bed.write_all(7, 0, &old).unwrap();
    let before = units(&bed, 7);
    bed.write_all(7, 0, &new).unwrap();
    let after = units(&bed, 7);
    assert!(before.iter().all(|unit| !after.contains(unit)));
    swap(&device, before[2], after[2]);
    assert_eq!(damaged(&bed, 7, &new), [2]);
}

#[test]
fn a_missing_or_foreign_key_is_an_error_never_plaintext() {
    let device = Arc::new(MemoryDevice::new());
    let bed = Bed::create(device.clone(), 1).unwrap();
    let bytes = pattern(1, 3 * UNIT);
    for (ino, len) in [(7, 3 * UNIT), (8, 3 * UNIT), (9, 500)] {
        bed.make(ino, 0).unwrap();
        bed.write_all(ino, 0, &bytes[..len]).unwrap();
    }
    let keys = bed.data_keys();
    assert_eq!(keys.iter().map(|(_, ino)| *ino).collect::<Vec<_>>(), [7, 8, 9]);
    let row = |id| StoreKey::DataKey(id).encode();
    let value = |id| bed.engine.get(STORE_TREE, &row(id), <[u8]>::to_vec).unwrap().unwrap();
    let put = |id, value: &[u8]| {
        let mut edits = Edits::new();
        edits.put(STORE_TREE, &row(id), value);
        bed.engine.commit(&mut edits, Class::Normal).unwrap();
    };
    let fails = |ino: u64| {
        bed.relock();
        bed.unlock();
        let error = bed.read_all(ino).unwrap_err();
        let id = keys.iter().find(|(_, owner)| *owner == ino).unwrap().0;
        let object = Object::Key { id };
        assert!(matches!(error, Error::Corrupt { object: o, .. } if o == object), "{error}");
    };
    let (seven, eight) = (value(keys[0].0), value(keys[1].0));
    // Another file's row, then that row with the inode number put right.
    put(keys[0].0, &eight);
    fails(7);
    let mut forged = eight.clone();
    forged[8..16].copy_from_slice(&7u64.to_le_bytes());
    put(keys[0].0, &forged);
    fails(7);
    let mut noise = seven.clone();
    other_rng().fill(&mut noise[24..84]).unwrap();
    put(keys[0].0, &noise);
    fails(7);
    put(keys[0].0, &seven);
    bed.relock();
    bed.unlock();
    assert!(bed.read_all(7).unwrap() == bytes);

    for (id, ino) in &keys[1..] {
        let mut edits = Edits::new();
        edits.del(STORE_TREE, &row(*id));
        bed.engine.commit(&mut edits, Class::Normal).unwrap();
        fails(*ino);
    }
}
