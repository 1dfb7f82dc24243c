//! Contents against byte vectors, without faults.

use std::sync::Arc;

use efscrypt::device::sim::{FaultPlan, Rng, SimDevice};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::{Error, ErrorKind};

use crate::bed::{Bed, pattern};
use crate::model::Files;

const UNIT: usize = 4096;

#[test]
fn sizes_around_every_edge_come_back() {
    let device = Arc::new(MemoryDevice::new());
    let bed = Bed::create(device.clone(), 1).unwrap();
    let mut sizes = vec![1, 2, 100];
    for edge in [2048, UNIT, 2 * UNIT, 63 * UNIT, 64 * UNIT, 65 * UNIT, 256 * UNIT, 600 * UNIT] {
        sizes.extend([edge - 1, edge, edge + 1]);
    }
    for (ino, &size) in (10..).zip(&sizes) {
        bed.make(ino, 0).unwrap();
        bed.write_all(ino, 0, &pattern(ino, size)).unwrap();
    }
    bed.engine.checkpoint().unwrap();
    drop(bed);
    let bed = Bed::open(device, 2).unwrap();
    for (ino, &size) in (10..).zip(&sizes) {
        assert!(bed.read_all(ino).unwrap() == pattern(ino, size), "size {size}");
        let row = bed.row(ino).unwrap().unwrap();
        let units = if size <= 2048 { 0 } else { size.div_ceil(UNIT) };
        assert_eq!(row.units.get(), units as u64, "size {size}");
    }
    bed.check("sizes");
}

#[test]
fn random_operations_agree_with_byte_vectors() {
    for seed in 0..8 {
        let device = Arc::new(MemoryDevice::new());
        let mut bed = Bed::create(device.clone(), seed).unwrap();
        let mut files = Files::new(seed, 1 << 20);
        for round in 0..250u64 {
            files.step(&bed).unwrap();
            files.probe(&bed);
            if round % 50 == 49 {
                files.verify(&bed, &format!("seed {seed}, round {round}"));
                bed.engine.sync(bed.engine.last()).unwrap();
                drop(bed);
                bed = Bed::open(device.clone(), seed + round).unwrap();
                files.verify(&bed, &format!("seed {seed}, round {round}, reopened"));
            }
        }
    }
}

#[test]
fn a_large_write_is_few_requests_and_transactions() {
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(1)));
    let bed = Bed::create(device.clone(), 1).unwrap();
    bed.make(7, 0).unwrap();
    let bytes = pattern(1, 1 << 20);
    let (before, last) = (device.counters(), bed.engine.last());
    bed.write_all(7, 0, &bytes).unwrap();
    let after = device.counters();
    assert_eq!(after.writes - before.writes, 1);
    assert_eq!(after.bytes_written - before.bytes_written, 1 << 20);
    assert_eq!(bed.engine.last() - last, 1);
    assert!(bed.read_all(7).unwrap() == bytes);
    let read = device.counters();
    assert!(read.reads - after.reads <= 4);
    assert_eq!(read.bytes_read - after.bytes_read, 1 << 20);
}

/// Rows of the contents of a file.
fn rows(bed: &Bed, ino: u64) -> usize {
    let mut rows = 0;
    let key = |ino| efscrypt::fs::data::FsKey::Data(ino, 0).encode();
    let visit = |_: &[u8], _: &[u8]| {
        rows += 1;
        true
    };
    bed.engine.scan(1, &key(ino), &key(ino + 1), visit).unwrap();
    rows
}

#[test]
fn small_writes_in_order_make_few_extents_also_side_by_side() {
    let bed = Bed::create(MemoryDevice::new(), 1).unwrap();
    let bytes = pattern(1, 200 * UNIT + 50);
    for ino in 7..10 {
        bed.make(ino, 0).unwrap();
    }
    for (n, unit) in bytes.chunks(UNIT).enumerate() {
        for ino in 7..10 {
            bed.write(ino, 0, (n * UNIT) as u64, unit).unwrap();
        }
    }
    for ino in 7..10 {
        assert!(bed.read_all(ino).unwrap() == bytes);
        assert!(rows(&bed, ino) <= 16, "{} rows", rows(&bed, ino));
        bed.write(ino, 0, 70 * UNIT as u64, &bytes[..UNIT]).unwrap();
        assert!(bed.read(ino, 69 * UNIT as u64, UNIT).unwrap() == bytes[69 * UNIT..70 * UNIT]);
        assert!(bed.read(ino, 70 * UNIT as u64, UNIT).unwrap() == bytes[..UNIT]);
        bed.contents.rest(ino);
    }
    bed.check("streams");
    bed.remove(8, 0).unwrap();
    bed.check("removed");
}

#[test]
fn streams_give_way_when_space_is_short() {
    let bed = Bed::create(MemoryDevice::fixed(10 << 20), 1).unwrap();
    for ino in 10..40 {
        bed.make(ino, 0).unwrap();
        bed.write(ino, 0, 0, &pattern(ino, UNIT)).unwrap();
        bed.write(ino, 0, UNIT as u64, &pattern(ino + 1, UNIT)).unwrap();
    }
    let usage = bed.engine.usage();
    bed.make(7, 0).unwrap();
    let (bytes, mut at) = (pattern(7, 64 * UNIT), 0);
    while let Ok(written) = bed.write(7, 0, at, &bytes) {
        at += written.bytes as u64;
    }
    let free = (usage.total - usage.used) * UNIT as u64;
    assert!(at + (2 << 20) > free, "{at} of {free}");
    bed.check("full");
}

#[test]
fn sparse_files_take_a_new_key_after_so_many_units() {
    let mut bed = Bed::create(MemoryDevice::new(), 1).unwrap();
    bed.contents = bed.contents.with_key_units(4);
    bed.make(7, 0).unwrap();
    let (block, step) = (pattern(1, 3 * UNIT + 100), 300u64 << 30);
    for n in 0..10u64 {
        bed.write_all(7, n * step, &block).unwrap();
    }
    assert_eq!(bed.row(7).unwrap().unwrap().size.get(), 9 * step + block.len() as u64);
    assert!(bed.data_keys().len() >= 9, "{:?}", bed.data_keys());
    for n in 0..10u64 {
        assert!(bed.read(7, n * step, block.len()).unwrap() == block);
        let gap = bed.read(7, n * step + block.len() as u64, 5000).unwrap();
        assert!(gap.iter().all(|byte| *byte == 0));
    }
    // Keys that no extent names any more go with the file too.
    for _ in 0..6 {
        bed.write_all(7, 0, &block).unwrap();
    }
    bed.check("many keys");
    bed.remove(7, 0).unwrap();
    assert_eq!(bed.data_keys(), []);
    bed.check("removed");
}

#[test]
fn rewriting_a_block_never_repeats_ciphertext() {
    let device = Arc::new(MemoryDevice::new());
    let bed = Bed::create(device.clone(), 1).unwrap();
    bed.make(7, 0).unwrap();
    bed.make(8, 0).unwrap();
    let mut lanes = std::collections::HashSet::new();
    let block = vec![0x55u8; 2 * UNIT];
    for n in 0..200 {
        bed.write_all(7 + n % 2, 0, &block).unwrap();
        let row = efscrypt::fs::data::FsKey::Data(7 + n % 2, 0).encode();
        let owned = |value: &[u8]| efscrypt::fs::data::owned_units(&row, value);
        let owned = bed.engine.get(1, &row, owned).unwrap().unwrap().unwrap();
        let (unit, units) = owned.unwrap();
        let mut cipher = vec![0; units as usize * UNIT];
        device.read_at(unit * UNIT as u64, &mut cipher).unwrap();
        for lane in cipher.chunks(16) {
            assert!(lanes.insert(lane.to_vec()), "a lane of write {n} was seen before");
        }
    }
}

#[test]
fn a_locked_domain_gives_no_contents_and_lets_the_rest_work() {
    let bed = Bed::create(MemoryDevice::new(), 1).unwrap();
    let bytes = pattern(1, 100_000);
    for (ino, size) in [(7, 100_000), (8, 1000)] {
        bed.make(ino, 0).unwrap();
        bed.write_all(ino, 0, &bytes[..size]).unwrap();
    }
    bed.relock();
    for ino in [7, 8] {
        let mut buf = vec![0xee; 3000];
        let row = bed.row(ino).unwrap().unwrap();
        let error = bed.contents.read(ino, &row, 0, &mut buf).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyUnavailable);
        assert_eq!(bed.write(ino, 0, 0, b"x").unwrap_err().kind(), ErrorKind::KeyUnavailable);
        let cut = bed.truncate(ino, 0, 10);
        assert_eq!(cut.unwrap_err().kind(), ErrorKind::KeyUnavailable);
        assert_eq!(bed.contents.seek_hole(ino, &row, 0).unwrap(), Some(row.size.get()));
    }
    bed.truncate(7, 0, 5 * UNIT as u64).unwrap();
    bed.truncate(8, 0, 0).unwrap();
    bed.unlock();
    assert!(bed.read_all(7).unwrap() == bytes[..5 * UNIT]);
    bed.relock();
    bed.remove(7, 0).unwrap();
    bed.remove(8, 0).unwrap();
    assert_eq!(bed.data_keys(), []);
    bed.check("locked");
}

#[test]
fn locking_while_others_read_and_write_leaves_no_plaintext() {
    let bed = Bed::create(MemoryDevice::new(), 1).unwrap();
    let bytes = pattern(1, 200_000);
    for ino in 7..10 {
        bed.make(ino, 0).unwrap();
        bed.write_all(ino, 0, &bytes).unwrap();
    }
    std::thread::scope(|scope| {
        for ino in 7..9 {
            let (bed, bytes) = (&bed, &bytes);
            scope.spawn(move || {
                for _ in 0..200 {
                    let mut buf = vec![0xee; bytes.len()];
                    let row = bed.row(ino).unwrap().unwrap();
                    match bed.contents.read(ino, &row, 0, &mut buf) {
                        Ok(_) => assert!(buf == *bytes),
                        Err(Error::KeyUnavailable) => assert!(buf.iter().all(|byte| *byte == 0)),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        for _ in 0..100 {
            bed.relock();
            assert!(matches!(bed.read_all(9), Err(Error::KeyUnavailable)));
            bed.unlock();
            assert!(bed.read_all(9).unwrap() == bytes);
        }
    });
}

#[test]
fn a_full_device_leaves_old_contents() {
    let bed = Bed::create(MemoryDevice::fixed(12 << 20), 1).unwrap();
    bed.make(7, 0).unwrap();
    bed.make(8, 0).unwrap();
    let old = pattern(1, 1 << 20);
    bed.write_all(7, 0, &old).unwrap();
    let mut at = 0;
    let full = loop {
        match bed.write(8, 0, at, &old) {
            Ok(written) => at += written.bytes as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::NoSpace);
    assert!(at > 1 << 20);
    let mut model = old.clone();
    let (new, mut written) = (pattern(2, 1 << 20), 0);
    while let Ok(step) = bed.write(7, 0, written as u64, &new[written..]) {
        model[written..written + step.bytes].copy_from_slice(&new[written..written + step.bytes]);
        written += step.bytes;
        if written == new.len() {
            break;
        }
    }
    assert!(bed.read_all(7).unwrap() == model);
    bed.check("full");
    bed.remove(8, 0).unwrap();
    bed.write_all(7, 0, &new).unwrap();
    assert!(bed.read_all(7).unwrap() == new);
    bed.check("emptied");
}

#[test]
fn seeking_agrees_with_the_rows() {
    let bed = Bed::create(MemoryDevice::new(), 1).unwrap();
    bed.make(7, 0).unwrap();
    let size = 400 * UNIT as u64;
    bed.truncate(7, 0, size).unwrap();
    let mut rng = Rng::new(3);
    let mut data = vec![false; 400];
    for _ in 0..60 {
        let at = rng.below(390);
        bed.write(7, 0, at * UNIT as u64, &pattern(at, 2 * UNIT)).unwrap();
        data[at as usize..at as usize + 2].fill(true);
    }
    let row = bed.row(7).unwrap().unwrap();
    for offset in (0..size).step_by(1777) {
        let find = |want| {
            let found = (offset as usize / UNIT..400).find(|unit| data[*unit] == want);
            found.map(|unit| offset.max((unit * UNIT) as u64))
        };
        assert_eq!(bed.contents.seek_data(7, &row, offset).unwrap(), find(true));
        let hole = find(false).unwrap_or(size);
        assert_eq!(bed.contents.seek_hole(7, &row, offset).unwrap(), Some(hole));
    }
    assert_eq!(bed.contents.seek_data(7, &row, size).unwrap(), None);
    assert_eq!(bed.contents.seek_hole(7, &row, size).unwrap(), None);
}

#[test]
fn offsets_beyond_the_largest_file_are_refused() {
    let bed = Bed::create(MemoryDevice::new(), 1).unwrap();
    bed.make(7, 0).unwrap();
    let most = (1u64 << 60) - 1;
    for offset in [most, u64::MAX, u64::MAX - 1] {
        assert_eq!(bed.write(7, 0, offset, b"ab").unwrap_err().kind(), ErrorKind::FileTooLarge);
    }
    assert_eq!(bed.truncate(7, 0, most + 1).unwrap_err().kind(), ErrorKind::FileTooLarge);
    bed.write(7, 0, most - 2, b"ab").unwrap();
    assert_eq!(bed.row(7).unwrap().unwrap().size.get(), most);
    assert_eq!(bed.read(7, most - 3, 10).unwrap(), b"\0ab");
    bed.truncate(7, 0, 0).unwrap();
    bed.check("largest");
}
