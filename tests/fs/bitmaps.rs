//! Stores of which a page of the space map is damaged: the rest of them goes on.

use std::sync::Arc;

use efscrypt::ErrorKind;
use efscrypt::check::check;
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO};

use crate::bed::{FILE, create, mount_options, names, open, open_read_only, open_with, pattern};

/// Where the clear header of a space page says its level and its index.
const LEVEL: usize = 36;
const INDEX: usize = 24;

/// Spoils all bitmaps of some regions.
fn spoil(device: &MemoryDevice, regions: impl Fn(u64) -> bool) {
    let bytes = device.to_vec();
    let mut spoiled = 0;
    for at in (0..bytes.len()).step_by(4096) {
        let page = &bytes[at..at + 4096];
        let index = u64::from_le_bytes(page[INDEX..INDEX + 8].try_into().unwrap());
        if page.starts_with(b"EFSSPAC\x01") && page[LEVEL] == 0 && regions(index) {
            device.write_at(at as u64 + 100, &[page[100] ^ 1]).unwrap();
            spoiled += 1;
        }
    }
    assert!(spoiled > 0, "no bitmap was found");
}

fn make(fs: &FileSystem, name: &str) -> u64 {
    fs.create(ROOT_INO, name.as_bytes(), &FILE, CreateMode::Guarded).unwrap().attr.ino
}

const FILES: usize = 12_000;

fn name(n: usize) -> String {
    format!("a-rather-long-name-for-a-file-{n}")
}

/// A store with metadata in two regions, and space in both.
fn store() -> MemoryDevice {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let big = make(&fs, "big");
    for n in 0..61u64 {
        fs.write(big, n << 20, &pattern(1, 1 << 20)).unwrap();
    }
    for n in 0..FILES {
        make(&fs, &name(n));
    }
    fs.maintain().unwrap();
    fs.unlink(ROOT_INO, b"big").unwrap();
    while !fs.maintain().unwrap() {}
    fs.maintain().unwrap();
    drop(fs);
    device.snapshot()
}

#[test]
fn a_damaged_bitmap_costs_the_space_that_it_describes() {
    let store = store();
    assert!(store.len().unwrap() > 68 << 20, "two regions");
    for region in 0..2 {
        let device = Arc::new(store.snapshot());
        spoil(&device, |index| index == region);
        let fs = open_with(device.clone(), 3, mount_options()).unwrap();
        let mut left = names(&fs, ROOT_INO);
        for n in (0..FILES).step_by(FILES / 40) {
            let made = make(&fs, &format!("new{n}"));
            fs.write(made, 0, &pattern(7, 300 << 10)).unwrap();
            fs.unlink(ROOT_INO, name(n).as_bytes()).unwrap();
            left.insert(format!("new{n}").into_bytes(), made);
            left.remove(name(n).as_bytes());
            if n % 3 == 0 {
                fs.maintain().unwrap();
            }
        }
        let report = check(&fs).unwrap();
        assert!(!report.structure.damaged.is_empty(), "region {region}: {report:?}");
        assert_eq!(report.structure.unrecorded + report.structure.shared, 0, "{report:?}");
        fs.sync().unwrap();
        drop(fs);
        let fs = open(device, 4);
        assert!(names(&fs, ROOT_INO) == left, "region {region}");
    }
}

#[test]
fn a_log_is_read_beside_damaged_bitmaps() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let ino = make(&fs, "f");
    fs.write(ino, 0, &pattern(1, 8192)).unwrap();
    fs.maintain().unwrap();
    fs.write(ino, 0, &pattern(2, 8192)).unwrap();
    fs.fsync(ino).unwrap();
    drop(fs);
    spoil(&device, |_| true);
    let fs = open_read_only(device.clone(), 2);
    assert_eq!(fs.engine().recovery().records, 1);
    let mut bytes = vec![0; 8192];
    fs.read(ino, 0, &mut bytes).unwrap();
    assert!(bytes == pattern(2, 8192));
    assert!(!check(&fs).unwrap().is_clean());
}

/// Where a recovery needs room and all of the space map is damaged, the damage is named.
#[test]
fn an_open_without_a_space_map_says_what_is_damaged() {
    let device = Arc::new(MemoryDevice::fixed(24 << 20));
    let fs = create(device.clone(), 1);
    fs.maintain().unwrap();
    for n in 0..200 {
        make(&fs, &name(n));
    }
    fs.sync().unwrap();
    drop(fs);
    spoil(&device, |_| true);
    let error = open_with(device.clone(), 2, mount_options()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("space page"), "{error}");
}
