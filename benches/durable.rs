//! Durable operations of a store against plain files of the host and against itself.
//!
//! Each line says what its two columns are; the ratio is the second to the first, so above 1 the
//! first is faster. Run with `cargo bench --bench durable [-- PREFIX]` for the cases whose name
//! starts so. Works in `EFSCRYPT_BENCH_DIR`, by default the build's own folder, which should be on
//! the disk that is meant: what is measured is mostly that disk's flush.

#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark says that it could not run")]

mod support;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use efscrypt::device::FileDevice;
use efscrypt::fs::{CreateMode, FileSystem, NewAttr, ROOT_INO};
use efscrypt::{Store, StoreOptions};
use support::{Bed, CALL, compare, new_file, run, timed};

const OPERATIONS: u32 = 500;
const CALLERS: u32 = 16;
const UNIT: usize = 4096;
/// Units of the file that is overwritten.
const UNITS: u64 = 1024;

fn main() {
    run(
        ["first", "second"],
        &[
            ("create: append and fdatasync", 7, create),
            ("create, 16 callers: one caller", 7, create_together),
            ("overwrite: pwrite and fdatasync", 7, overwrite),
            ("p99 beside a bulk writer: alone", 5, beside_bulk),
            ("open with a full log: after close", 3, recover),
        ],
    );
}

fn durable_create(fs: &FileSystem, name: u64) {
    let name = format!("file-{name:08}");
    fs.create(ROOT_INO, name.as_bytes(), &NewAttr::default(), CreateMode::Guarded).unwrap();
    fs.sync().unwrap();
}

fn each(took: Duration, operations: u32) -> Duration {
    took / operations
}

/// A durable creation against 4 KiB at the end of a plain file, made durable.
fn create(bed: &Bed, name: &str, rounds: usize) {
    let store = bed.store();
    let mut file = File::create(bed.dir.join("plain")).unwrap();
    let mut made = 0;
    compare(
        name,
        rounds,
        || {
            let took = timed(|| {
                for _ in 0..OPERATIONS {
                    made += 1;
                    durable_create(store.file_system(), made);
                }
            });
            each(took, OPERATIONS)
        },
        || {
            let took = timed(|| {
                for _ in 0..OPERATIONS {
                    file.write_all(&bed.noise[..UNIT]).unwrap();
                    file.sync_data().unwrap();
                }
            });
            each(took, OPERATIONS)
        },
    );
}

/// Durable creations by many callers at once against those by one.
fn create_together(bed: &Bed, name: &str, rounds: usize) {
    let store = bed.store();
    let made = AtomicU64::new(0);
    let work = |callers: u32| {
        let share = OPERATIONS * 4 / callers;
        let took = timed(|| {
            std::thread::scope(|scope| {
                for _ in 0..callers {
                    scope.spawn(|| {
                        for _ in 0..share {
                            let name = made.fetch_add(1, Ordering::Relaxed);
                            durable_create(store.file_system(), name);
                        }
                    });
                }
            });
        });
        each(took, share * callers)
    };
    compare(name, rounds, || work(CALLERS), || work(1));
}

/// Where the n-th overwrite goes: all over the file, in no order.
fn place(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % UNITS * UNIT as u64
}

/// A store with a file to overwrite, everything durable.
fn store_to_overwrite(bed: &Bed) -> (Store, u64) {
    let store = bed.store();
    let fs = store.file_system();
    let ino = new_file(fs, b"overwritten");
    for at in (0..UNITS * UNIT as u64).step_by(CALL) {
        assert_eq!(fs.write(ino, at, &bed.noise).unwrap().len, CALL);
    }
    store.checkpoint().unwrap();
    (store, ino)
}

fn durable_overwrite(fs: &FileSystem, ino: u64, n: u64, noise: &[u8]) {
    assert_eq!(fs.write(ino, place(n), &noise[..UNIT]).unwrap().len, UNIT);
    fs.fsync(ino).unwrap();
}

/// 4 KiB anywhere in a file, made durable, against the same in a plain file.
fn overwrite(bed: &Bed, name: &str, rounds: usize) {
    let (store, ino) = store_to_overwrite(bed);
    let path = bed.dir.join("plain");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path).unwrap();
    for at in (0..UNITS * UNIT as u64).step_by(CALL) {
        file.write_all_at(&bed.noise, at).unwrap();
    }
    file.sync_all().unwrap();
    let (mut ours, mut theirs) = (0, 0);
    compare(
        name,
        rounds,
        || {
            let took = timed(|| {
                for _ in 0..OPERATIONS {
                    ours += 1;
                    durable_overwrite(store.file_system(), ino, ours, &bed.noise);
                }
            });
            each(took, OPERATIONS)
        },
        || {
            let took = timed(|| {
                for _ in 0..OPERATIONS {
                    theirs += 1;
                    file.write_all_at(&bed.noise[..UNIT], place(theirs)).unwrap();
                    file.sync_data().unwrap();
                }
            });
            each(took, OPERATIONS)
        },
    );
}

/// The 99th percentile of durable overwrites while another file of the store is written in bulk,
/// against that of overwrites alone.
fn beside_bulk(bed: &Bed, name: &str, rounds: usize) {
    let (store, ino) = store_to_overwrite(bed);
    let fs = store.file_system();
    let bulk = new_file(fs, b"bulk");
    let mut written = 0;
    let mut slowest = || {
        let mut took: Vec<Duration> = (0..OPERATIONS)
            .map(|_| {
                written += 1;
                let start = Instant::now();
                durable_overwrite(fs, ino, written, &bed.noise);
                start.elapsed()
            })
            .collect();
        took.sort_unstable();
        took[took.len() * 99 / 100]
    };
    let slowest = std::cell::RefCell::new(&mut slowest);
    let (done, bytes) = (AtomicBool::new(false), AtomicU64::new(0));
    compare(
        name,
        rounds,
        || {
            done.store(false, Ordering::Relaxed);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut at = 0;
                    while !done.load(Ordering::Relaxed) {
                        fs.write(bulk, at % (1 << 30), &bed.noise).unwrap();
                        at += CALL as u64;
                        bytes.fetch_add(CALL as u64, Ordering::Relaxed);
                    }
                });
                let took = slowest.borrow_mut()();
                done.store(true, Ordering::Relaxed);
                took
            })
        },
        || slowest.borrow_mut()(),
    );
    println!("    the bulk writer wrote {} MiB meanwhile", bytes.into_inner() >> 20);
}

/// Opening a store whose log is as full as it gets, against opening one that was closed.
fn recover(bed: &Bed, name: &str, rounds: usize) {
    let path = bed.dir.join("store.efs");
    let open = || {
        let device = Arc::new(FileDevice::open(&path, false).unwrap());
        Store::open(device, bed.providers.clone(), StoreOptions::default()).unwrap()
    };
    let replayed = AtomicU64::new(0);
    compare(
        name,
        rounds,
        || {
            let store = bed.store();
            // Few changes become durable at a time, so nearly all of the log is used.
            for n in 0..7500 {
                durable_create(store.file_system(), n);
            }
            drop(store);
            let mut store = None;
            let took = timed(|| store = Some(open()));
            let records = store.as_ref().map_or(0, |store| store.recovery().records);
            replayed.fetch_max(records, Ordering::Relaxed);
            took
        },
        || {
            bed.store().close().unwrap();
            timed(|| drop(open()))
        },
    );
    println!("    {} records were replayed", replayed.into_inner());
}
