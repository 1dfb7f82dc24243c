//! What a full store says is to be had: nothing, and before that no less than what there is.

use std::sync::Arc;

use efscrypt::ErrorKind;
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO};

use crate::bed::{FILE, create, make, pattern};

const MIB: u64 = 1 << 20;

/// Writes something more, and returns how many bytes; `None` where there is no space.
type Step = Box<dyn FnMut(&FileSystem) -> Option<u64>>;

fn some<T>(answer: efscrypt::Result<T>) -> Option<T> {
    match answer {
        Ok(done) => Some(done),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
            None
        }
    }
}

/// One file in order, in parts that get smaller in the end.
fn large() -> Step {
    let (mut ino, mut end, mut part) = (0, 0, MIB as usize);
    let bytes = pattern(1, part);
    Box::new(move |fs| {
        if ino == 0 {
            ino = make(fs, ROOT_INO, b"large");
        }
        loop {
            match some(fs.write(ino, end, &bytes[..part])) {
                Some(written) => {
                    end += written.len as u64;
                    return Some(written.len as u64);
                }
                None if part > 4096 => part /= 2,
                None => return None,
            }
        }
    })
}

/// Files of one size.
fn files(len: usize) -> Step {
    let (bytes, mut number) = (pattern(2, len), 0u32);
    Box::new(move |fs| {
        number += 1;
        let name = format!("{number}").into_bytes();
        some(fs.create_with(ROOT_INO, &name, &FILE, CreateMode::Guarded, &bytes))?;
        Some(len as u64)
    })
}

/// Units of one file that do not stand in order.
fn scattered() -> Step {
    let (unit, mut ino, mut at) = (pattern(3, 4096), 0, 0);
    Box::new(move |fs| {
        if ino == 0 {
            ino = make(fs, ROOT_INO, b"scattered");
        }
        at += 3;
        some(fs.write(ino, at * 4096, &unit)).map(|_| 4096)
    })
}

#[test]
fn what_is_available_is_what_can_be_written() {
    let devices = [
        MemoryDevice::limited(24 * MIB),
        MemoryDevice::limited(44 * MIB + 12_288),
        MemoryDevice::fixed(24 * MIB),
    ];
    type Way = (&'static str, fn() -> Step);
    let ways: [Way; 5] = [
        ("large", large),
        ("inline", || files(1_000)),
        ("small", || files(9_000)),
        ("files", || files(200_000)),
        ("scattered", scattered),
    ];
    for device in devices {
        for (name, way) in ways {
            let device = Arc::new(device.snapshot());
            let fs = create(device.clone(), 1);
            let first = fs.statfs();
            let (mut step, mut written, mut late) = (way(), 0, 0);
            while let Some(bytes) = step(&fs) {
                written += bytes;
                let now = fs.statfs();
                assert!(now.available <= now.free && now.free <= now.total, "{name}: {now:?}");
                late += if now.available == 0 { bytes } else { 0 };
            }
            let last = fs.statfs();
            let what = format!("{name}, {:?}: {first:?} {last:?} {written}", device.capacity());
            assert!(last.available <= first.total / 64 + (512 << 10), "promised: {what}");
            assert!(late <= first.total / 32 + (256 << 10), "{late} bytes late: {what}");
            if name == "large" {
                let bound = first.available / 32 + (512 << 10);
                assert!(written.abs_diff(first.available) <= bound, "{what}");
            }
        }
    }
}
