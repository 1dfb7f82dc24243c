//! What removed files hold comes back: by maintenance, by closing, and by whoever needs it.

use std::sync::Arc;

use efscrypt::Store;
use efscrypt::device::MemoryDevice;
use efscrypt::ffi::efscrypt_status as S;
use efscrypt::ffi::*;

use crate::bed::*;

const UNIT: u64 = 4096;

/// A file of so many extents that removing it leaves most of them to be freed later.
fn scatter(store: &Open, name: &str, units: u64) {
    let ino = store.make(name).unwrap().ino;
    for at in 0..units {
        store.write(ino, 2 * at * UNIT, &[at as u8; UNIT as usize]).unwrap();
    }
}

fn used(store: &Open) -> u64 {
    let statfs = store.statfs();
    statfs.total - statfs.free
}

fn maintain(store: &Open) -> bool {
    let mut done = false;
    // SAFETY: all pointers are valid.
    call(|error| unsafe { efscrypt_store_maintain(store.0, &raw mut done, error) }).unwrap();
    done
}

#[test]
fn maintenance_frees_what_a_removed_file_holds() {
    let store = Open::on(Arc::new(MemoryDevice::fixed(64 << 20)));
    let before = used(&store);
    scatter(&store, "large", 3000);
    store.unlink("large").unwrap();
    assert!(used(&store) > before + 2000 * UNIT, "removing freed all: the test shows nothing");
    while !maintain(&store) {}
    assert!(used(&store) < before + 200 * UNIT, "{} of {before}", used(&store));
    store.close().unwrap();
}

#[test]
fn a_writer_gets_the_space_of_removed_files() {
    let store = Open::on(Arc::new(MemoryDevice::fixed(64 << 20)));
    scatter(&store, "large", 8000);
    store.unlink("large").unwrap();
    // More than is free, less than is free once the removed file is.
    let free = store.statfs().free;
    let size = free as usize + (16 << 20);
    let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    let ino = store.make("next").unwrap().ino;
    store.write(ino, 0, &bytes).unwrap();
    assert!(store.read(ino, 0, size).unwrap().0 == bytes);
    // There is an end to it.
    let more = store.write(ino, size as u64, &vec![1; 64 << 20]).unwrap_err();
    assert_eq!(more.status, S::NoSpace);
    // What of it is written, it says.
    assert!(more.done > 0 && more.done < 64 << 20, "{} bytes", more.done);
    assert_eq!(store.getattr(ino).unwrap().size, size as u64 + more.done);
    let read = store.read(ino, size as u64, 64 << 20).unwrap().0;
    assert!(read.len() as u64 == more.done && read.iter().all(|byte| *byte == 1));
    assert_eq!(store.write(99, 0, b"x").unwrap_err().done, 0);
    store.unlink("next").unwrap();
    store.close().unwrap();
}

#[test]
fn closing_frees_what_removed_files_hold() {
    let device = Arc::new(MemoryDevice::new());
    let store = Open::on(device.clone());
    scatter(&store, "large", 3000);
    store.unlink("large").unwrap();
    store.close().unwrap();
    let store = Open::again(device);
    assert!(used(&store) < 200 * UNIT, "{}", used(&store));
    assert!(maintain(&store), "something is left to free");
    store.close().unwrap();
}

#[test]
fn the_verifier_changes_with_each_open() {
    let device = Arc::new(MemoryDevice::new());
    let verifier = |store: &Open| {
        let mut verifier = 0;
        // SAFETY: all pointers are valid.
        call(|error| unsafe { efscrypt_store_write_verifier(store.0, &raw mut verifier, error) })
            .unwrap();
        verifier
    };
    let store = Open::on(device.clone());
    let first = verifier(&store);
    store.commit().unwrap();
    assert_eq!(verifier(&store), first);
    store.close().unwrap();
    assert_ne!(verifier(&Open::again(device)), first);
}

#[test]
fn a_store_says_that_it_can_be_poisoned_by_its_owner() {
    let store = Open::on(Arc::new(MemoryDevice::new()));
    // SAFETY: an open store, made by `Box`.
    let inner: &efscrypt_store = unsafe { &*store.0 };
    let rust: &Store = inner.as_ref();
    rust.poison("the owner says so");
    let failure = store.make("file").unwrap_err();
    assert_eq!(failure.status, S::Poisoned);
    assert!(failure.message.contains("the owner says so"), "{failure:?}");
    store.getattr(EFSCRYPT_ROOT).unwrap();
}

#[test]
fn a_trim_tells_what_came_back() {
    let store = Open::on(Arc::new(MemoryDevice::limited(128 << 20)));
    let ino = store.make("large").unwrap().ino;
    store.write(ino, 0, &vec![7; 40 << 20]).unwrap();
    store.unlink("large").unwrap();
    while !maintain(&store) {}
    let mut trimmed = std::mem::MaybeUninit::uninit();
    // SAFETY: all pointers are valid.
    call(|error| unsafe { efscrypt_store_trim(store.0, trimmed.as_mut_ptr(), error) }).unwrap();
    // SAFETY: the call has written it.
    let trimmed = unsafe { trimmed.assume_init() };
    assert_eq!((trimmed.supported, trimmed.returned), (1, u64::MAX));
    assert!(trimmed.discarded + trimmed.cut > 0, "{trimmed:?}");
    let statfs = store.statfs();
    assert!(statfs.available > 100 << 20 && statfs.available < statfs.free, "{statfs:?}");
    store.close().unwrap();
}
