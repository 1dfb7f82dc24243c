//! Stores on a device with sectors that cannot be read: what does not need them goes on.

use std::ops::Range;
use std::sync::Arc;

use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::data::owned_units;
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO};
use efscrypt::txn::{Engine, EngineOptions, FIRST_FS_TREE, fixed_unlock};
use efscrypt::{Error, ErrorKind as Kind, Object};

use crate::bed::{FILE, create, mount_options, open_with, pattern};
use crate::flawed::Flawed;

const NODE: usize = 16 << 10;
/// Where the clear header of a node says its level.
const LEVEL: usize = 69;

fn make(fs: &FileSystem, name: &str) -> u64 {
    fs.create(ROOT_INO, name.as_bytes(), &FILE, CreateMode::Guarded).unwrap().attr.ino
}

/// The first unit of the device that contents stand in.
fn first_unit(fs: &FileSystem) -> u64 {
    let mut unit = 0;
    let visit = |key: &[u8], value: &[u8]| {
        unit = owned_units(key, value).unwrap().unwrap().0;
        false
    };
    fs.engine().scan(FIRST_FS_TREE, &[4], &[5], visit).unwrap();
    unit
}

fn open_engine(device: &Arc<Flawed>) -> efscrypt::Result<Engine> {
    let options = EngineOptions { read_only: true, ..EngineOptions::default() };
    Engine::open(device.clone(), |_| fixed_unlock(2), &options)
}

#[test]
fn a_read_names_the_unit_that_cannot_be_read() {
    let device = Flawed::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let ino = make(&fs, "f");
    fs.write(ino, 0, &pattern(1, 256 << 10)).unwrap();
    let unit = first_unit(&fs) + 60;
    device.spoil([unit * 4096..unit * 4096 + 512]);
    let error = fs.read(ino, 0, &mut vec![0; 256 << 10]).unwrap_err();
    let object = Object::File { ino, offset: 60 * 4096 };
    assert!(matches!(error, Error::Io { object: found, .. } if found == object), "{error}");
    fs.read(ino, 0, &mut vec![0; 60 * 4096]).unwrap();
    fs.read(ino, 61 * 4096, &mut vec![0; 3 * 4096]).unwrap();
}

#[test]
fn sectors_that_nothing_needs_close_no_store() {
    let device = Flawed::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    make(&fs, "f");
    fs.sync().unwrap();
    drop(fs);
    let engine = open_engine(&device).unwrap();
    let (superblock, generation) = (engine.superblock(), engine.generation() - 1);
    let records = engine.recovery().records;
    assert!(records > 0);
    drop(engine);
    let sector = |at: u64| -> Range<u64> { at..at + 512 };
    let slot = |place: u64, slot: u64| sector(place * (256 << 10) + (slot % 8) * (16 << 10));
    let log = superblock.body.log_base.get() + superblock.body.log_head.get() + (100 << 10);
    let cases = [
        ("behind the log", vec![sector(log)], true),
        ("old slots", vec![slot(0, generation + 2), slot(1, generation + 3)], true),
        ("one of the newest", vec![slot(0, generation), slot(1, generation + 2)], true),
        ("one that may be newer", vec![slot(0, generation + 1), slot(1, generation + 2)], true),
        ("what may be newer", vec![slot(0, generation + 1), slot(1, generation + 1)], false),
        ("both of the newest", vec![slot(0, generation), slot(1, generation)], false),
    ];
    for (what, bad, opens) in cases {
        device.spoil(bad);
        match open_engine(&device) {
            Ok(engine) => assert!(opens && engine.recovery().records == records, "{what}"),
            Err(error) => assert!(!opens && error.kind() == Kind::Io, "{what}: {error}"),
        }
    }
}

#[test]
fn a_store_mounts_without_its_last_inode() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    for n in 0..2_000 {
        make(&fs, &format!("n{n}"));
    }
    fs.maintain().unwrap();
    drop(fs);
    let bytes = device.to_vec();
    let leaf = |block: &[u8]| block.starts_with(b"EFSNODE\x01") && block[LEVEL] == 0;
    let (mut leaves, mut refused) = (0, 0);
    for at in (0..bytes.len() - NODE).step_by(4096).filter(|at| leaf(&bytes[*at..])) {
        let device = Arc::new(device.snapshot());
        device.write_at(at as u64 + 5_000, &[bytes[at + 5_000] ^ 1]).unwrap();
        leaves += 1;
        refused += u32::from(open_with(device, 2, mount_options()).is_err());
    }
    // The STORE tree's, and the one with the root directory.
    assert!(leaves > 30 && refused == 2, "{refused} of {leaves} leaves");
}
